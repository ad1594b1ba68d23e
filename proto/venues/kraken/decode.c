/* Items of books, tickers and trades to fixed point.
 *
 * Numbers are bare JSON numbers, which never become floating point. A level as the venue writes it,
 * {"price":62806.6,"qty":0.00000000}, is read in one go; any other goes through the scanner, with
 * the same answers. Called by venue.c and, through proto/venue.h, by the engine. Any thread. */
#include <string.h>

#include "proto/encoding/decimal.h"
#include "proto/encoding/json.h"
#include "proto/encoding/timestamp.h"
#include "proto/venues/kraken/decode.h"

#define HOT_PART static inline __attribute__((always_inline))

enum {
    WORD = 8,
    NUMBER_SIZE_MAX = 16,
    /* From a level's first byte on: its keys, two numbers, and what is loaded behind them. */
    LEVEL_LOAD_SIZE = 9 + NUMBER_SIZE_MAX + 7 + NUMBER_SIZE_MAX + TP_DECIMAL_LOAD_SIZE + WORD,
};

struct scales {
    const struct tp_scale *of;
    struct tp_decimal_scale price, quantity;
};

/* ---- numbers */

/* A bare number: where the venue begins to write strings, this is not the format that we know. */
static bool take_number(struct tp_json *in, const struct scales *scales, enum tp_number kind,
                        int64_t *out)
{
    return tp_json_peek(in) == TP_JSON_NUMBER ? tp_json_scaled(in, scales->of, kind, out)
                                              : tp_json_fail(in, TP_DECODE_MALFORMED);
}

static bool take_price(struct tp_json *in, const struct scales *scales, int64_t *out)
{
    return take_number(in, scales, TP_NUMBER_PRICE, out);
}

static bool take_quantity(struct tp_json *in, const struct scales *scales, int64_t *out)
{
    return take_number(in, scales, TP_NUMBER_QUANTITY, out);
}

static bool take_time(struct tp_json *in, uint64_t *out_ns)
{
    struct tp_text text;
    return tp_json_string(in, &text) && (tp_timestamp_parse(text.at, text.size, out_ns) ||
                                         tp_json_fail(in, TP_DECODE_BAD_NUMBER));
}

/* Characters in front of the first `stop`, of sixteen at `at`; 16: there is none. The lowest mark
 * of the subtraction is exact. */
HOT_PART size_t size_before(const uint8_t *at, uint8_t stop)
{
    const uint64_t ones = 0x0101010101010101, highs = 0x8080808080808080;
    for (size_t half = 0; half < NUMBER_SIZE_MAX; half += WORD) {
        const uint64_t word = tp_load_8(at + half) ^ ones * stop;
        const uint64_t found = (word - ones) & ~word & highs;
        if (found != 0)
            return half + ((size_t)__builtin_ctzll(found) >> 3);
    }
    return NUMBER_SIZE_MAX;
}

/* A plain JSON number in front of `stop`; at: moved behind it. */
HOT_PART bool plain_number(const uint8_t **at, uint8_t stop, const struct tp_decimal_scale *scale,
                           int64_t *out)
{
    const uint8_t *const text = *at;
    const size_t size = size_before(text, stop);
    *at += size + 1;
    return size < NUMBER_SIZE_MAX && (text[0] != '0' || text[1] == '.' || size == 1) &&
           tp_decimal_parse_loadable(text, size, scale, out);
}

/* Returns what is behind the level; NULL: it is written otherwise. at[0, LEVEL_LOAD_SIZE) must be
 * readable. */
HOT_PART const uint8_t *plain_level(const uint8_t *at, const struct scales *scales,
                                    struct tp_level *out)
{
    if (memcmp(at, "{\"price\":", 9) != 0)
        return NULL;
    at += 9;
    if (!plain_number(&at, ',', &scales->price, &out->price) || memcmp(at, "\"qty\":", 6) != 0)
        return NULL;
    at += 6;
    return plain_number(&at, '}', &scales->quantity, &out->quantity) ? at : NULL;
}

/* ---- levels */

static bool take_level(struct tp_json *in, const struct scales *scales, struct tp_level *out)
{
    struct tp_text key;
    bool price = false, quantity = false;
    (void)tp_json_object(in);
    while (tp_json_key(in, &key)) {
        if (tp_text_is(key, "price"))
            price = take_price(in, scales, &out->price);
        else if (tp_text_is(key, "qty"))
            quantity = take_quantity(in, scales, &out->quantity);
        else
            (void)tp_json_skip(in);
    }
    return in->status == TP_DECODE_OK &&
           ((price && quantity) || tp_json_fail(in, TP_DECODE_MALFORMED));
}

static bool take_levels(struct tp_json *in, const struct scales *scales, struct tp_level *levels,
                        uint32_t *count)
{
    *count = 0; /* of a key that stands twice the last one counts */
    if (!tp_json_array(in))
        return false;
    while (tp_json_item(in)) {
        if (*count >= TP_DEPTH_LEVEL_COUNT_MAX)
            return tp_json_fail(in, TP_DECODE_TOO_MANY);
        const uint8_t *behind = NULL;
        if (in->end - in->at >= LEVEL_LOAD_SIZE)
            behind = plain_level(in->at, scales, &levels[*count]);
        if (behind != NULL)
            in->at = behind;
        else if (!take_level(in, scales, &levels[*count]))
            return false;
        ++*count;
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

static enum tp_decode_status decode_book(const struct tp_body *body, const struct scales *scales,
                                         struct tp_depth_update *out)
{
    struct tp_json in;
    struct tp_text key;
    struct seen seen = {false, false};
    tp_json_init(&in, body->data, body->size);
    (void)tp_json_object(&in);
    while (tp_json_key(&in, &key)) {
        if (tp_text_is(key, "bids"))
            seen.levels |= take_levels(&in, scales, out->bids, &out->bid_count);
        else if (tp_text_is(key, "asks"))
            seen.levels |= take_levels(&in, scales, out->asks, &out->ask_count);
        else if (tp_text_is(key, "checksum"))
            take_checksum(&in, &seen, &out->checksum);
        else if (tp_text_is(key, "timestamp"))
            (void)take_time(&in, &out->exchange_ns);
        else
            (void)tp_json_skip(&in);
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

static enum tp_decode_status decode_ticker(const struct tp_body *body, const struct scales *scales,
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
            bid |= take_price(&in, scales, &out->bids[0].price);
        else if (is_number && tp_text_is(key, "bid_qty"))
            bid |= (unsigned)take_quantity(&in, scales, &out->bids[0].quantity) << 1;
        else if (is_number && tp_text_is(key, "ask"))
            ask |= take_price(&in, scales, &out->asks[0].price);
        else if (is_number && tp_text_is(key, "ask_qty"))
            ask |= (unsigned)take_quantity(&in, scales, &out->asks[0].quantity) << 1;
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

static struct scales scales_of(const struct tp_body *body)
{
    return (struct scales){&body->scale, tp_decimal_scale(body->scale.price_exponent),
                           tp_decimal_scale(body->scale.quantity_exponent)};
}

enum tp_decode_status tp_kraken_decode_depth(const struct tp_body *body,
                                             struct tp_depth_update *out)
{
    const struct scales scales = scales_of(body);
    memset(out, 0, offsetof(struct tp_depth_update, bids));
    return body->meaning == TP_MEANING_TOP ? decode_ticker(body, &scales, out)
                                           : decode_book(body, &scales, out);
}

enum { PRICE = 1, QUANTITY = 2, SIDE = 4, ALL = 7 };

/* Which of those that a trade must have this key gave. */
static unsigned take_trade_field(struct tp_json *in, struct tp_text key,
                                 const struct scales *scales, struct tp_trade *trade)
{
    struct tp_text side;
    if (tp_text_is(key, "price"))
        return take_price(in, scales, &trade->price) ? PRICE : 0;
    if (tp_text_is(key, "qty"))
        return take_quantity(in, scales, &trade->quantity) ? QUANTITY : 0;
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
    const struct scales scales = scales_of(body);
    struct tp_json in;
    struct tp_text key;
    unsigned seen = 0;
    memset(out, 0, offsetof(struct tp_trade_update, trades) + sizeof out->trades[0]);
    tp_json_init(&in, body->data, body->size);
    (void)tp_json_object(&in);
    while (tp_json_key(&in, &key))
        seen |= take_trade_field(&in, key, &scales, &out->trades[0]);
    const enum tp_decode_status status = finish_item(&in, body);
    if (status != TP_DECODE_OK)
        return status;
    out->count = 1;
    out->exchange_ns = out->trades[0].exchange_ns;
    return seen == ALL ? TP_DECODE_OK : TP_DECODE_UNKNOWN;
}
