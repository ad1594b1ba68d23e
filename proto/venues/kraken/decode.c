/* Items of books, tickers and trades to fixed point.
 *
 * Numbers are bare JSON numbers, which never become floating point. Levels as the venue writes
 * them, {"price":62806.6,"qty":0.00000000}, are read in one go; any other goes through the scanner,
 * with the same answers. Called by venue.c and, through proto/venue.h, by the engine. Any thread.
 */
#include <string.h>

#include "proto/encoding/decimal.h"
#include "proto/encoding/json.h"
#include "proto/encoding/json_levels.h"
#include "proto/encoding/timestamp.h"
#include "proto/venues/kraken/decode.h"

static const struct tp_level_form level_form =
    TP_LEVEL_FORM("{\"price\":", ",\"qty\":", false, '}');

/* ---- numbers */

/* A bare number: where the venue begins to write strings, this is not the format that we know. */
static bool take_number(struct tp_json *in, const struct tp_scale *scale, enum tp_number kind,
                        int64_t *out)
{
    return tp_json_peek(in) == TP_JSON_NUMBER ? tp_json_scaled(in, scale, kind, out)
                                              : tp_json_fail(in, TP_DECODE_MALFORMED);
}

static bool take_price(struct tp_json *in, const struct tp_scale *scale, int64_t *out)
{
    return take_number(in, scale, TP_NUMBER_PRICE, out);
}

static bool take_quantity(struct tp_json *in, const struct tp_scale *scale, int64_t *out)
{
    return take_number(in, scale, TP_NUMBER_QUANTITY, out);
}

static bool take_time(struct tp_json *in, uint64_t *out_ns)
{
    struct tp_text text;
    return tp_json_string(in, &text) && (tp_timestamp_parse(text.at, text.size, out_ns) ||
                                         tp_json_fail(in, TP_DECODE_BAD_NUMBER));
}

/* A key that is read by nobody here. One with an escape could be any of those that are. */
static void skip_field(struct tp_json *in, struct tp_text key)
{
    if (memchr(key.at, '\\', key.size) != NULL)
        (void)tp_json_fail(in, TP_DECODE_MALFORMED);
    else
        (void)tp_json_skip(in);
}

/* ---- levels */

static bool take_level(struct tp_json *in, const struct tp_scale *scale, struct tp_level *out)
{
    struct tp_text key;
    bool price = false, quantity = false;
    (void)tp_json_object(in);
    while (tp_json_key(in, &key)) {
        if (tp_text_is(key, "price"))
            price = take_price(in, scale, &out->price);
        else if (tp_text_is(key, "qty"))
            quantity = take_quantity(in, scale, &out->quantity);
        else
            skip_field(in, key);
    }
    return in->status == TP_DECODE_OK &&
           ((price && quantity) || tp_json_fail(in, TP_DECODE_MALFORMED));
}

static bool take_levels(struct tp_json *in, const struct tp_scale *scale, struct tp_level *levels,
                        uint32_t *count)
{
    *count = 0; /* of a key that stands twice the last one counts */
    if (tp_json_levels_whole(in, &level_form, scale, levels, count))
        return true;
    if (!tp_json_array(in))
        return false;
    while (tp_json_item(in)) {
        if (*count >= TP_DEPTH_LEVEL_COUNT_MAX)
            return tp_json_fail(in, TP_DECODE_TOO_MANY);
        const uint32_t taken = tp_json_levels_run(in, &level_form, scale, levels + *count,
                                                  TP_DEPTH_LEVEL_COUNT_MAX - *count);
        if (taken == 0 && !take_level(in, scale, &levels[*count]))
            return false;
        *count += taken != 0 ? taken : 1;
    }
    return in->status == TP_DECODE_OK;
}

/* ---- items */

/* Behind an item: a comma and nothing more, or the rest of the message. */
static enum tp_decode_status finish_item(struct tp_json *in, const struct tp_body *body)
{
    struct tp_text key;
    tp_body_misfit(body, in->misfit);
    if (in->status == TP_DECODE_OK && in->end - in->at == 1 && *in->at == ',')
        return TP_DECODE_OK;
    if (in->status == TP_DECODE_OK && tp_json_item(in))
        return TP_DECODE_MALFORMED; /* the part that was routed has one item */
    while (tp_json_key(in, &key))
        (void)tp_json_skip(in);
    return tp_json_finish(in);
}

struct seen {
    bool levels, checksum;
};

static void take_checksum(struct tp_json *in, struct seen *seen, uint32_t *out)
{
    uint64_t value = 0;
    struct tp_text text;
    if (!tp_json_number(in, &text))
        return;
    seen->checksum = tp_version_parse(text.at, text.size, &value) && value <= UINT32_MAX;
    if (seen->checksum)
        *out = (uint32_t)value;
    else
        (void)tp_json_fail(in, TP_DECODE_BAD_NUMBER);
}

static enum tp_decode_status decode_book(const struct tp_body *body, const struct tp_scale *scale,
                                         struct tp_depth_update *out)
{
    struct tp_json in;
    struct tp_text key;
    struct seen seen = {false, false};
    tp_json_init(&in, body->data, body->size);
    (void)tp_json_object(&in);
    while (tp_json_key(&in, &key)) {
        if (tp_text_is(key, "bids"))
            seen.levels |= take_levels(&in, scale, out->bids, &out->bid_count);
        else if (tp_text_is(key, "asks"))
            seen.levels |= take_levels(&in, scale, out->asks, &out->ask_count);
        else if (tp_text_is(key, "checksum"))
            take_checksum(&in, &seen, &out->checksum);
        else if (tp_text_is(key, "timestamp"))
            (void)take_time(&in, &out->exchange_ns);
        else
            skip_field(&in, key);
    }
    const enum tp_decode_status status = finish_item(&in, body);
    if (status != TP_DECODE_OK)
        return status;
    out->flags = TP_DEPTH_CHECKSUM;
    if (body->meaning == TP_MEANING_BASE)
        out->flags |= TP_DEPTH_BASE;
    return seen.levels && seen.checksum ? TP_DECODE_OK : TP_DECODE_UNKNOWN;
}

/* An empty side has no number, or none above 0. */
static uint32_t top_count(const struct tp_level *level, unsigned seen)
{
    return seen == 3 && level->quantity > 0;
}

static enum tp_decode_status decode_ticker(const struct tp_body *body, const struct tp_scale *scale,
                                           struct tp_depth_update *out)
{
    struct tp_json in;
    struct tp_text key;
    unsigned bid = 0, ask = 0; /* 1: price, 2: quantity */
    tp_json_init(&in, body->data, body->size);
    (void)tp_json_object(&in);
    while (tp_json_key(&in, &key)) {
        const bool is_number = tp_json_peek(&in) == TP_JSON_NUMBER;
        if (is_number && tp_text_is(key, "bid"))
            bid |= take_price(&in, scale, &out->bids[0].price);
        else if (is_number && tp_text_is(key, "bid_qty"))
            bid |= (unsigned)take_quantity(&in, scale, &out->bids[0].quantity) << 1;
        else if (is_number && tp_text_is(key, "ask"))
            ask |= take_price(&in, scale, &out->asks[0].price);
        else if (is_number && tp_text_is(key, "ask_qty"))
            ask |= (unsigned)take_quantity(&in, scale, &out->asks[0].quantity) << 1;
        else if (tp_text_is(key, "timestamp"))
            (void)take_time(&in, &out->exchange_ns);
        else
            (void)tp_json_skip(&in);
    }
    const enum tp_decode_status status = finish_item(&in, body);
    if (status != TP_DECODE_OK)
        return status;
    out->flags = TP_DEPTH_TOP;
    out->bid_count = top_count(&out->bids[0], bid);
    out->ask_count = top_count(&out->asks[0], ask);
    return out->bid_count + out->ask_count > 0 ? TP_DECODE_OK : TP_DECODE_UNKNOWN;
}

enum tp_decode_status tp_kraken_decode_depth(const struct tp_body *body,
                                             struct tp_depth_update *out)
{
    memset(out, 0, offsetof(struct tp_depth_update, bids));
    return body->meaning == TP_MEANING_TOP ? decode_ticker(body, &body->scale, out)
                                           : decode_book(body, &body->scale, out);
}

enum { PRICE = 1, QUANTITY = 2, SIDE = 4, ALL = 7 };

/* Which of those that a trade must have this key gave. */
static unsigned take_trade_field(struct tp_json *in, struct tp_text key,
                                 const struct tp_scale *scale, struct tp_trade *trade)
{
    struct tp_text side;
    if (tp_text_is(key, "price"))
        return take_price(in, scale, &trade->price) ? PRICE : 0;
    if (tp_text_is(key, "qty"))
        return take_quantity(in, scale, &trade->quantity) ? QUANTITY : 0;
    if (tp_text_is(key, "trade_id"))
        (void)tp_json_unsigned(in, &trade->id);
    else if (tp_text_is(key, "timestamp"))
        (void)take_time(in, &trade->exchange_ns);
    else if (!tp_text_is(key, "side"))
        (void)tp_json_skip(in);
    else if (tp_json_string(in, &side)) {
        trade->flags = tp_text_is(side, "sell") ? TP_TRADE_SELL : 0;
        return trade->flags != 0 || tp_text_is(side, "buy") ? SIDE : 0;
    }
    return 0;
}

enum tp_decode_status tp_kraken_decode_trades(const struct tp_body *body,
                                              struct tp_trade_update *out)
{
    struct tp_json in;
    struct tp_text key;
    unsigned seen = 0;
    memset(out, 0, offsetof(struct tp_trade_update, trades) + sizeof out->trades[0]);
    tp_json_init(&in, body->data, body->size);
    (void)tp_json_object(&in);
    while (tp_json_key(&in, &key))
        seen |= take_trade_field(&in, key, &body->scale, &out->trades[0]);
    const enum tp_decode_status status = finish_item(&in, body);
    if (status != TP_DECODE_OK)
        return status;
    out->count = 1;
    out->exchange_ns = out->trades[0].exchange_ns;
    return seen == ALL ? TP_DECODE_OK : TP_DECODE_UNKNOWN;
}
