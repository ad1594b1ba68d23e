/* The readers of decode.h: the usual order of keys in one go, any other key by key. Source:
 * README.md here. */
#include "proto/venues/bitget/decode.h"

#include <string.h>

#include "proto/encoding/decimal.h"
#include "proto/encoding/json.h"

#define HOT_PART static inline __attribute__((always_inline))

static const uint64_t NS_PER_MS = 1000000;

/* What an item must have; each kind has each once. */
enum field {
    FIELD_ASKS = 0x1,
    FIELD_BIDS = 0x2,
    FIELD_NUMBER = 0x4,
    FIELD_PREVIOUS = 0x8, /* the number before it; of a whole book it is 0 and says nothing */
    FIELD_BASE = FIELD_ASKS | FIELD_BIDS | FIELD_NUMBER,
    FIELD_DELTA = FIELD_BASE | FIELD_PREVIOUS,
    FIELD_TOP = FIELD_ASKS | FIELD_BIDS,
    FIELD_PRICE = 0x10,
    FIELD_QUANTITY = 0x20,
    FIELD_SIDE = 0x40,
    FIELD_TRADE = FIELD_PRICE | FIELD_QUANTITY | FIELD_SIDE,
};

HOT_PART bool scale_time(struct tp_json *in, uint64_t time_ms, uint64_t *out_ns)
{
    if (time_ms > UINT64_MAX / NS_PER_MS)
        return tp_json_fail(in, TP_DECODE_BAD_NUMBER);
    *out_ns = time_ms * NS_PER_MS;
    return true;
}

static bool take_time(struct tp_json *in, uint64_t *out_ns)
{
    uint64_t time_ms;
    return tp_json_unsigned(in, &time_ms) && scale_time(in, time_ms, out_ns);
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

/* ---- books and best prices, in the usual order of keys */

/* Of a key that stands twice the last counts, as with other readers. */
HOT_PART bool take_side(struct tp_json *in, const struct tp_scale *scale, struct tp_level *levels,
                        uint32_t *count)
{
    *count = 0;
    return tp_json_levels(in, scale, levels, count);
}

/* The digits of a time and the quote behind them. */
HOT_PART bool take_quoted_time(struct tp_json *in, uint64_t *out_ns)
{
    const uint8_t *const at = in->at;
    if (in->end - at <= TP_JSON_BLOCK || at - in->begin < TP_JSON_BLOCK)
        return false;
    const size_t size = tp_json_digits_size(at);
    if (size == 0 || at[size] != '"')
        return false;
    in->at = at + size + 1;
    return scale_time(in, tp_json_digits_value(at, size), out_ns);
}

HOT_PART bool take_numbers(struct tp_json *in, struct tp_depth_update *out)
{
    return tp_json_is(in, ",\"seq\":") && tp_json_unsigned(in, &out->last_version) &&
           tp_json_is(in, ",\"pseq\":") && tp_json_unsigned(in, &out->previous_version);
}

/* [{"asks":…,"bids":…,"ts":"…","seq":…,"pseq":…}],"ts":…} */
HOT_PART bool take_classic(struct tp_json *in, const struct tp_scale *scale,
                           struct tp_depth_update *out)
{
    return tp_json_is(in, "[{\"asks\":") && take_side(in, scale, out->asks, &out->ask_count) &&
           tp_json_is(in, ",\"bids\":") && take_side(in, scale, out->bids, &out->bid_count) &&
           tp_json_is(in, ",\"ts\":\"") && take_quoted_time(in, &out->exchange_ns) &&
           take_numbers(in, out);
}

/* [{"a":…,"b":…,"seq":…,"pseq":…,"ts":"…","maxdepth":"…"}],"ts":…} */
HOT_PART bool take_unified(struct tp_json *in, const struct tp_scale *scale,
                           struct tp_depth_update *out)
{
    return tp_json_is(in, "[{\"a\":") && take_side(in, scale, out->asks, &out->ask_count) &&
           tp_json_is(in, ",\"b\":") && take_side(in, scale, out->bids, &out->bid_count) &&
           take_numbers(in, out) && tp_json_is(in, ",\"ts\":\"") &&
           take_quoted_time(in, &out->exchange_ns) &&
           (!tp_json_is(in, ",\"maxdepth\":") || tp_json_skip(in));
}

/* False: it is in another form, and out is anything. */
HOT_PART bool take_usual(struct tp_json *in, const struct tp_scale *scale,
                         struct tp_depth_update *out)
{
    return (take_classic(in, scale, out) || take_unified(in, scale, out)) &&
           tp_json_is(in, "}],\"ts\":") && tp_json_skip(in) && tp_json_is(in, "}") &&
           in->at == in->end;
}

/* ---- the same, key by key */

static unsigned depth_field(struct tp_json *in, struct tp_text key, const struct tp_scale *scale,
                            struct tp_depth_update *out)
{
    if (tp_text_is(key, "asks") || tp_text_is(key, "a"))
        return take_side(in, scale, out->asks, &out->ask_count) ? FIELD_ASKS : 0;
    if (tp_text_is(key, "bids") || tp_text_is(key, "b"))
        return take_side(in, scale, out->bids, &out->bid_count) ? FIELD_BIDS : 0;
    if (tp_text_is(key, "seq"))
        return tp_json_unsigned(in, &out->last_version) ? FIELD_NUMBER : 0;
    if (tp_text_is(key, "pseq"))
        return tp_json_unsigned(in, &out->previous_version) ? FIELD_PREVIOUS : 0;
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
    if ((seen & FIELD_TOP) != FIELD_TOP || out->bid_count > 1 || out->ask_count > 1)
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
    if ((seen & wanted) != wanted)
        return TP_DECODE_UNKNOWN;
    if (is_base) {
        out->flags = TP_DEPTH_BASE;
        out->previous_version = 0;
    }
    /* Numbers that do not go on have no range of their own. */
    const bool goes_on = !is_base && out->previous_version < out->last_version;
    out->first_version = goes_on ? out->previous_version + 1 : out->last_version;
    return TP_DECODE_OK;
}

enum tp_decode_status tp_bitget_decode_depth(const struct tp_body *body,
                                             struct tp_depth_update *out)
{
    struct tp_json in;
    unsigned seen = FIELD_DELTA;
    memset(out, 0, offsetof(struct tp_depth_update, bids));
    tp_json_init(&in, body->data, body->size);
    if (!take_usual(&in, &body->scale, out)) {
        memset(out, 0, offsetof(struct tp_depth_update, bids));
        tp_json_init(&in, body->data, body->size);
        seen = take_book(&in, body, out);
        const enum tp_decode_status status = finish(&in, body);
        if (status != TP_DECODE_OK)
            return status;
    }
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
    if (tp_text_is(key, "price") || tp_text_is(key, "p"))
        return tp_json_scaled(in, scale, TP_NUMBER_PRICE, &trade->price) ? FIELD_PRICE : 0;
    if (tp_text_is(key, "size") || tp_text_is(key, "v"))
        return tp_json_scaled(in, scale, TP_NUMBER_QUANTITY, &trade->quantity) ? FIELD_QUANTITY : 0;
    if (tp_text_is(key, "side") || tp_text_is(key, "S"))
        return take_taker(in, trade);
    if (tp_text_is(key, "tradeId") || tp_text_is(key, "i"))
        (void)tp_json_unsigned(in, &trade->id);
    else if (tp_text_is(key, "ts") || tp_text_is(key, "T"))
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
    }
    return of_all;
}

static bool is_older(const struct tp_trade *one, const struct tp_trade *other)
{
    return one->exchange_ns != other->exchange_ns ? one->exchange_ns < other->exchange_ns
                                                  : one->id < other->id;
}

/* Oldest first, whichever end the venue begins with. */
static void put_in_order(struct tp_trade_update *out)
{
    struct tp_trade *first = out->trades, *last = out->trades + out->count - 1;
    if (is_older(last, first))
        for (; first < last; first++, last--) {
            const struct tp_trade newer = *first;
            *first = *last;
            *last = newer;
        }
    out->exchange_ns = out->trades[out->count - 1].exchange_ns;
}

enum tp_decode_status tp_bitget_decode_trades(const struct tp_body *body,
                                              struct tp_trade_update *out)
{
    struct tp_json in;
    memset(out, 0, offsetof(struct tp_trade_update, trades));
    tp_json_init(&in, body->data, body->size);
    const unsigned seen = take_trades(&in, &body->scale, out);
    const enum tp_decode_status status = finish(&in, body);
    if (status != TP_DECODE_OK)
        return status;
    if (seen != FIELD_TRADE || out->count == 0)
        return TP_DECODE_UNKNOWN;
    put_in_order(out);
    return TP_DECODE_OK;
}
