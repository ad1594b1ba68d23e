/* The reader of decode.h: key by key, in any order. Source: README.md here. */
#include "proto/venues/okx/decode.h"

#include <string.h>

#include "proto/encoding/decimal.h"
#include "proto/encoding/json.h"

static const uint64_t NS_PER_MS = 1000000;

/* What a book must have; an item of each kind has each once. */
enum field {
    FIELD_ASKS = 0x1,
    FIELD_BIDS = 0x2,
    FIELD_NUMBER = 0x4,
    FIELD_PREVIOUS = 0x8, /* the number before it */
    FIELD_FIRST = 0x10,   /* none was before it: of a whole book */
    FIELD_SIDES = FIELD_ASKS | FIELD_BIDS,
    FIELD_BASE = FIELD_SIDES | FIELD_NUMBER,
    FIELD_DELTA = FIELD_BASE | FIELD_PREVIOUS,
    FIELD_PRICE = 0x20,
    FIELD_QUANTITY = 0x40,
    FIELD_SIDE = 0x80,
    FIELD_TRADE = FIELD_PRICE | FIELD_QUANTITY | FIELD_SIDE,
};

static bool take_time(struct tp_json *in, uint64_t *out_ns)
{
    uint64_t time_ms;
    if (!tp_json_unsigned(in, &time_ms))
        return false;
    if (time_ms > UINT64_MAX / NS_PER_MS)
        return tp_json_fail(in, TP_DECODE_BAD_NUMBER);
    *out_ns = time_ms * NS_PER_MS;
    return true;
}

/* A key that is read by nobody here. One with an escape could be any of those that are: no venue
 * writes it, and whoever did would be read otherwise by others than by us. */
static unsigned skip_field(struct tp_json *in, struct tp_text key)
{
    if (memchr(key.at, '\\', key.size) != NULL)
        (void)tp_json_fail(in, TP_DECODE_MALFORMED);
    else
        (void)tp_json_skip(in);
    return 0;
}

/* Behind the array: the rest of the message. */
static enum tp_decode_status finish(struct tp_json *in, const struct tp_body *body)
{
    struct tp_text key;
    while (tp_json_key(in, &key))
        (void)tp_json_skip(in);
    tp_body_misfit(body, in->misfit);
    return tp_json_finish(in);
}

/* ---- books and best prices */

/* Of a key that stands twice the last counts, as with other readers. */
static bool take_side(struct tp_json *in, const struct tp_scale *scale, struct tp_level *levels,
                      uint32_t *count)
{
    *count = 0;
    return tp_json_levels(in, scale, levels, count);
}

/* A snapshot says -1. */
static unsigned take_previous(struct tp_json *in, uint64_t *out)
{
    struct tp_text text;
    if (!tp_json_scalar(in, &text))
        return 0;
    if (tp_text_is(text, "-1")) {
        *out = 0;
        return FIELD_FIRST;
    }
    if (tp_version_parse(text.at, text.size, out))
        return FIELD_PREVIOUS;
    (void)tp_json_fail(in, TP_DECODE_BAD_NUMBER);
    return 0;
}

static unsigned depth_field(struct tp_json *in, struct tp_text key, const struct tp_scale *scale,
                            struct tp_depth_update *out)
{
    if (tp_text_is(key, "asks"))
        return take_side(in, scale, out->asks, &out->ask_count) ? FIELD_ASKS : 0;
    if (tp_text_is(key, "bids"))
        return take_side(in, scale, out->bids, &out->bid_count) ? FIELD_BIDS : 0;
    if (tp_text_is(key, "seqId"))
        return tp_json_unsigned(in, &out->last_version) ? FIELD_NUMBER : 0;
    if (tp_text_is(key, "prevSeqId"))
        return take_previous(in, &out->previous_version);
    if (!tp_text_is(key, "ts"))
        return skip_field(in, key);
    (void)take_time(in, &out->exchange_ns);
    return 0;
}

/* The one book of a message; returns what it has. */
static unsigned take_book(struct tp_json *in, const struct tp_body *body,
                          struct tp_depth_update *out)
{
    struct tp_text key;
    unsigned seen = 0;
    if (!tp_json_array(in) || !tp_json_item(in) || !tp_json_object(in))
        return 0;
    while (tp_json_key(in, &key))
        seen |= depth_field(in, key, &body->scale, out);
    if (tp_json_item(in)) /* which of the two would hold? */
        (void)tp_json_fail(in, TP_DECODE_UNKNOWN);
    return seen;
}

static enum tp_decode_status complete_top(struct tp_depth_update *out, unsigned seen)
{
    if ((seen & FIELD_SIDES) != FIELD_SIDES || out->bid_count > 1 || out->ask_count > 1)
        return TP_DECODE_UNKNOWN;
    out->flags = TP_DEPTH_TOP;
    out->first_version = out->last_version;
    out->previous_version = 0;
    out->bid_count = out->bid_count == 1 && out->bids[0].quantity > 0;
    out->ask_count = out->ask_count == 1 && out->asks[0].quantity > 0;
    return TP_DECODE_OK;
}

static enum tp_decode_status complete_book(struct tp_depth_update *out, enum tp_meaning meaning,
                                           unsigned seen)
{
    const bool is_base = meaning == TP_MEANING_BASE; /* a change that follows nothing is none */
    const unsigned wanted = is_base ? FIELD_BASE : FIELD_DELTA;
    const bool is_unchanged = !is_base && out->previous_version == out->last_version;
    if ((seen & wanted) != wanted || (is_unchanged && out->bid_count + out->ask_count > 0))
        return TP_DECODE_UNKNOWN;
    if (is_base) {
        out->flags = TP_DEPTH_BASE;
        out->previous_version = 0;
    }
    /* "Nothing changed" and numbers that begin anew have no range of their own. */
    const bool goes_on = !is_base && out->previous_version < out->last_version;
    out->first_version = goes_on ? out->previous_version + 1 : out->last_version;
    return TP_DECODE_OK;
}

enum tp_decode_status tp_okx_decode_depth(const struct tp_body *body, struct tp_depth_update *out)
{
    struct tp_json in;
    memset(out, 0, offsetof(struct tp_depth_update, bids));
    tp_json_init(&in, body->data, body->size);
    const unsigned seen = take_book(&in, body, out);
    const enum tp_decode_status status = finish(&in, body);
    if (status != TP_DECODE_OK)
        return status;
    return body->meaning == TP_MEANING_TOP ? complete_top(out, seen)
                                           : complete_book(out, body->meaning, seen);
}

/* ---- trades */

static unsigned take_taker(struct tp_json *in, struct tp_trade *trade)
{
    struct tp_text side;
    if (!tp_json_string(in, &side))
        return 0;
    const bool sold = tp_text_is(side, "sell");
    trade->flags = sold ? TP_TRADE_SELL : 0;
    return sold || tp_text_is(side, "buy") ? FIELD_SIDE : 0;
}

static unsigned trade_field(struct tp_json *in, struct tp_text key, const struct tp_scale *scale,
                            struct tp_trade *trade)
{
    if (tp_text_is(key, "px"))
        return tp_json_scaled(in, scale, TP_NUMBER_PRICE, &trade->price) ? FIELD_PRICE : 0;
    if (tp_text_is(key, "sz"))
        return tp_json_scaled(in, scale, TP_NUMBER_QUANTITY, &trade->quantity) ? FIELD_QUANTITY : 0;
    if (tp_text_is(key, "side"))
        return take_taker(in, trade);
    if (tp_text_is(key, "tradeId"))
        (void)tp_json_unsigned(in, &trade->id);
    else if (tp_text_is(key, "ts"))
        (void)take_time(in, &trade->exchange_ns);
    else
        (void)skip_field(in, key);
    return 0;
}

/* Returns what each of the trades has. */
static unsigned take_trades(struct tp_json *in, const struct tp_scale *scale,
                            struct tp_trade_update *out)
{
    struct tp_text key;
    unsigned of_all = FIELD_TRADE;
    if (!tp_json_array(in))
        return 0;
    while (tp_json_item(in)) {
        if (out->count == TP_TRADE_COUNT_MAX) {
            (void)tp_json_fail(in, TP_DECODE_TOO_MANY);
            return 0;
        }
        struct tp_trade *const trade = &out->trades[out->count++];
        unsigned seen = 0;
        memset(trade, 0, sizeof *trade);
        (void)tp_json_object(in);
        while (tp_json_key(in, &key))
            seen |= trade_field(in, key, scale, trade);
        of_all &= seen;
        out->exchange_ns = trade->exchange_ns;
    }
    return of_all;
}

enum tp_decode_status tp_okx_decode_trades(const struct tp_body *body, struct tp_trade_update *out)
{
    struct tp_json in;
    memset(out, 0, offsetof(struct tp_trade_update, trades));
    tp_json_init(&in, body->data, body->size);
    const unsigned seen = take_trades(&in, &body->scale, out);
    const enum tp_decode_status status = finish(&in, body);
    if (status != TP_DECODE_OK)
        return status;
    return seen == FIELD_TRADE && out->count > 0 ? TP_DECODE_OK : TP_DECODE_UNKNOWN;
}
