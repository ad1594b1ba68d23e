/* The readers of decode.h: key by key, in any order. Source: README.md here. */
#include "proto/venues/htx/decode.h"

#include <string.h>

#include "proto/encoding/decimal.h"

static const uint64_t NS_PER_MS = 1000000;

/* What a message must have. */
enum field {
    FIELD_NUMBER = 0x1,
    FIELD_PREVIOUS = 0x2, /* the number before it */
    FIELD_ASKS = 0x4,
    FIELD_BIDS = 0x8,
    FIELD_DELTA = FIELD_NUMBER | FIELD_PREVIOUS, /* a side that did not change may be missing */
    FIELD_BASE = FIELD_NUMBER | FIELD_ASKS | FIELD_BIDS,
    FIELD_PRICE = 0x10,
    FIELD_QUANTITY = 0x20,
    FIELD_SIDE = 0x40,
    FIELD_TRADE = FIELD_PRICE | FIELD_QUANTITY | FIELD_SIDE,
};

/* What a side of best prices has. */
enum best { BEST_PRICE = 0x1, BEST_QUANTITY = 0x2, BEST_TWICE = 0x4 };

static void take_time(struct tp_json *in, uint64_t *out_ns)
{
    uint64_t time_ms;
    if (!tp_json_unsigned(in, &time_ms))
        return;
    if (time_ms > UINT64_MAX / NS_PER_MS)
        (void)tp_json_fail(in, TP_DECODE_BAD_NUMBER);
    else
        *out_ns = time_ms * NS_PER_MS;
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

static enum tp_decode_status finish(struct tp_json *in, const struct tp_body *body)
{
    tp_body_misfit(body, in->misfit);
    return tp_json_finish(in);
}

/* ---- books */

/* Of a key that stands twice the last counts, as with other readers. A side that did not change is
 * missing, an empty array, or what the documents call "a blank object". */
static bool take_side(struct tp_json *in, const struct tp_scale *scale, struct tp_level *levels,
                      uint32_t *count)
{
    struct tp_text key;
    *count = 0;
    if (tp_json_peek(in) != TP_JSON_OBJECT)
        return tp_json_levels(in, scale, levels, count);
    (void)tp_json_object(in);
    return !tp_json_key(in, &key) || tp_json_fail(in, TP_DECODE_UNKNOWN);
}

static unsigned book_field(struct tp_json *in, struct tp_text key, const struct tp_scale *scale,
                           struct tp_depth_update *out)
{
    if (tp_text_is(key, "asks"))
        return take_side(in, scale, out->asks, &out->ask_count) ? FIELD_ASKS : 0;
    if (tp_text_is(key, "bids"))
        return take_side(in, scale, out->bids, &out->bid_count) ? FIELD_BIDS : 0;
    if (tp_text_is(key, "seqNum"))
        return tp_json_unsigned(in, &out->last_version) ? FIELD_NUMBER : 0;
    if (tp_text_is(key, "prevSeqNum"))
        return tp_json_unsigned(in, &out->previous_version) ? FIELD_PREVIOUS : 0;
    return skip_field(in, key);
}

static enum tp_decode_status complete_book(struct tp_depth_update *out, enum tp_meaning meaning,
                                           unsigned seen)
{
    const bool is_base = meaning == TP_MEANING_BASE;
    const unsigned wanted = is_base ? FIELD_BASE : FIELD_DELTA;
    const bool is_unchanged = !is_base && out->previous_version == out->last_version;
    if ((seen & wanted) != wanted || (is_unchanged && out->bid_count + out->ask_count > 0))
        return TP_DECODE_UNKNOWN;
    if (is_base) {
        out->flags = TP_DEPTH_BASE;
        out->previous_version = 0;
    }
    const bool goes_on = !is_base && out->previous_version < out->last_version;
    out->first_version = goes_on ? out->previous_version + 1 : out->last_version;
    return TP_DECODE_OK;
}

/* ---- best prices: a side without an order is null, or missing */

/* bid and bidSize, or ask and askSize: of a side in out->bids[0] or out->asks[0]. */
static void best_number(struct tp_json *in, const struct tp_scale *scale, enum tp_number kind,
                        int64_t *out, uint32_t *side)
{
    const uint32_t bit = kind == TP_NUMBER_PRICE ? BEST_PRICE : BEST_QUANTITY;
    if (tp_json_peek(in) == TP_JSON_NULL)
        (void)tp_json_skip(in);
    else if (tp_json_scaled(in, scale, kind, out))
        *side |= (*side & bit) != 0 ? BEST_TWICE : bit;
}

static unsigned best_field(struct tp_json *in, struct tp_text key, const struct tp_scale *scale,
                           struct tp_depth_update *out)
{
    if (tp_text_is(key, "bid"))
        best_number(in, scale, TP_NUMBER_PRICE, &out->bids[0].price, &out->bid_count);
    else if (tp_text_is(key, "bidSize"))
        best_number(in, scale, TP_NUMBER_QUANTITY, &out->bids[0].quantity, &out->bid_count);
    else if (tp_text_is(key, "ask"))
        best_number(in, scale, TP_NUMBER_PRICE, &out->asks[0].price, &out->ask_count);
    else if (tp_text_is(key, "askSize"))
        best_number(in, scale, TP_NUMBER_QUANTITY, &out->asks[0].quantity, &out->ask_count);
    else if (tp_text_is(key, "seqId"))
        return tp_json_unsigned(in, &out->last_version) ? FIELD_NUMBER : 0;
    else if (tp_text_is(key, "quoteTime"))
        take_time(in, &out->exchange_ns);
    else
        (void)skip_field(in, key);
    return 0;
}

static enum tp_decode_status complete_best(struct tp_depth_update *out, unsigned seen)
{
    /* A price without its quantity, or either twice: which would hold? */
    const uint32_t whole = BEST_PRICE | BEST_QUANTITY;
    if ((seen & FIELD_NUMBER) == 0 || (out->bid_count != 0 && out->bid_count != whole) ||
        (out->ask_count != 0 && out->ask_count != whole))
        return TP_DECODE_UNKNOWN;
    out->flags = TP_DEPTH_TOP;
    out->first_version = out->last_version;
    out->bid_count = out->bid_count == whole && out->bids[0].quantity > 0;
    out->ask_count = out->ask_count == whole && out->asks[0].quantity > 0;
    return TP_DECODE_OK;
}

/* The value of "tick", or of "data" where it answers a request: of two the last counts. */
static unsigned take_tick(struct tp_json *in, const struct tp_body *body,
                          struct tp_depth_update *out)
{
    struct tp_text key;
    unsigned seen = 0;
    memset(out, 0, offsetof(struct tp_depth_update, bids));
    if (!tp_json_object(in))
        return 0;
    while (tp_json_key(in, &key))
        seen |= body->meaning == TP_MEANING_TOP ? best_field(in, key, &body->scale, out)
                                                : book_field(in, key, &body->scale, out);
    return seen;
}

enum tp_decode_status tp_htx_decode_depth(const struct tp_body *body, struct tp_depth_update *out)
{
    struct tp_json in;
    struct tp_text key;
    const bool is_base = body->meaning == TP_MEANING_BASE;
    unsigned seen = 0;
    uint64_t time_ns = 0;
    memset(out, 0, offsetof(struct tp_depth_update, bids));
    tp_json_init(&in, body->data, body->size);
    (void)tp_json_object(&in);
    while (tp_json_key(&in, &key))
        if (tp_text_is(key, "tick") || (is_base && tp_text_is(key, "data")))
            seen = take_tick(&in, body, out);
        else if (tp_text_is(key, "ts"))
            take_time(&in, &time_ns);
        else
            (void)skip_field(&in, key);
    const enum tp_decode_status status = finish(&in, body);
    if (status != TP_DECODE_OK)
        return status;
    if (out->exchange_ns == 0)
        out->exchange_ns = time_ns;
    return body->meaning == TP_MEANING_TOP ? complete_best(out, seen)
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
    if (tp_text_is(key, "price"))
        return tp_json_scaled(in, scale, TP_NUMBER_PRICE, &trade->price) ? FIELD_PRICE : 0;
    if (tp_text_is(key, "amount"))
        return tp_json_scaled(in, scale, TP_NUMBER_QUANTITY, &trade->quantity) ? FIELD_QUANTITY : 0;
    if (tp_text_is(key, "direction"))
        return take_taker(in, trade);
    if (tp_text_is(key, "tradeId"))
        (void)tp_json_unsigned(in, &trade->id);
    else if (tp_text_is(key, "ts"))
        take_time(in, &trade->exchange_ns);
    else
        (void)skip_field(in, key); /* its id has 27 digits, and is deprecated */
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
    }
    return of_all;
}

/* The venue writes the newest first, the seam has the oldest first. */
static void reverse(struct tp_trade_update *out)
{
    for (uint32_t i = 0, j = out->count; i + 1 < j; i++) {
        const struct tp_trade first = out->trades[i];
        out->trades[i] = out->trades[--j];
        out->trades[j] = first;
    }
}

static unsigned take_trade_tick(struct tp_json *in, const struct tp_body *body,
                                struct tp_trade_update *out)
{
    struct tp_text key;
    unsigned seen = 0;
    if (!tp_json_object(in))
        return 0;
    while (tp_json_key(in, &key))
        if (tp_text_is(key, "data")) {
            out->count = 0; /* of a key that stands twice the last counts */
            seen = take_trades(in, &body->scale, out);
        } else if (tp_text_is(key, "ts"))
            take_time(in, &out->exchange_ns);
        else
            (void)skip_field(in, key);
    return seen;
}

enum tp_decode_status tp_htx_decode_trades(const struct tp_body *body, struct tp_trade_update *out)
{
    struct tp_json in;
    struct tp_text key;
    unsigned seen = 0;
    memset(out, 0, offsetof(struct tp_trade_update, trades));
    tp_json_init(&in, body->data, body->size);
    (void)tp_json_object(&in);
    while (tp_json_key(&in, &key))
        if (tp_text_is(key, "tick"))
            seen = take_trade_tick(&in, body, out);
        else
            (void)skip_field(&in, key);
    const enum tp_decode_status status = finish(&in, body);
    if (status != TP_DECODE_OK)
        return status;
    if (seen != FIELD_TRADE || out->count == 0)
        return TP_DECODE_UNKNOWN;
    reverse(out);
    return TP_DECODE_OK;
}
