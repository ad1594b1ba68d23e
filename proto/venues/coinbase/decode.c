/* The readers of decode.h: key by key, in any order; updates in the venue's order in one go.
 * Source: README.md here. */
#include "proto/venues/coinbase/decode.h"

#include <string.h>

#include "proto/encoding/decimal.h"
#include "proto/encoding/json.h"
#include "proto/encoding/timestamp.h"
#include "proto/symbol_table.h"
#include "proto/venues/coinbase/sides.h"

#define HOT_PART static inline __attribute__((always_inline))

/* What must be there. */
enum field {
    FIELD_TYPE = 0x1,
    FIELD_UPDATES = 0x2,
    FIELD_EVENT = FIELD_TYPE | FIELD_UPDATES,
    FIELD_SIDE = 0x4,
    FIELD_PRICE = 0x8,
    FIELD_QUANTITY = 0x10,
    FIELD_UPDATE = FIELD_SIDE | FIELD_PRICE | FIELD_QUANTITY,
    FIELD_PRODUCT = 0x20,
    FIELD_TRADE = FIELD_PRICE | FIELD_QUANTITY | FIELD_PRODUCT,
};

static bool take_time(struct tp_json *in, uint64_t *out_ns)
{
    struct tp_text text;
    return tp_json_string(in, &text) && (tp_timestamp_parse(text.at, text.size, out_ns) ||
                                         tp_json_fail(in, TP_DECODE_BAD_NUMBER));
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

/* Behind an event: a comma and nothing more, or the rest of the message. */
static enum tp_decode_status finish(struct tp_json *in, const struct tp_body *body)
{
    struct tp_text key;
    tp_body_misfit(body, in->misfit);
    if (in->status == TP_DECODE_OK)
        (void)tp_json_peek(in); /* takes white space */
    if (in->status == TP_DECODE_OK && in->end - in->at == 1 && *in->at == ',')
        return TP_DECODE_OK;
    if (in->status == TP_DECODE_OK && tp_json_item(in))
        return TP_DECODE_MALFORMED; /* the part that was routed has one event */
    while (tp_json_key(in, &key))
        (void)skip_field(in, key);
    return tp_json_finish(in);
}

/* ---- updates of a book */

struct reader {
    const struct tp_scale *scale;
    struct tp_decimal_scale price, quantity;
    struct tp_coinbase_sides sides;
    uint64_t time_ns; /* of the first update */
};

struct change {
    struct tp_level level;
    bool is_bid;
};

/* "bid" and "offer" are all that the venue says. */
static unsigned take_side(struct tp_json *in, struct change *change)
{
    struct tp_text side;
    if (!tp_json_string(in, &side))
        return 0;
    change->is_bid = tp_text_is(side, "bid");
    if (change->is_bid || tp_text_is(side, "offer"))
        return FIELD_SIDE;
    (void)tp_json_fail(in, TP_DECODE_UNKNOWN);
    return 0;
}

static unsigned change_field(struct tp_json *in, struct tp_text key, struct reader *reader,
                             struct change *change)
{
    if (tp_text_is(key, "side"))
        return take_side(in, change);
    if (tp_text_is(key, "price_level"))
        return tp_json_scaled(in, reader->scale, TP_NUMBER_PRICE, &change->level.price)
                   ? FIELD_PRICE
                   : 0;
    if (tp_text_is(key, "new_quantity"))
        return tp_json_scaled(in, reader->scale, TP_NUMBER_QUANTITY, &change->level.quantity)
                   ? FIELD_QUANTITY
                   : 0;
    if (!tp_text_is(key, "event_time") || reader->time_ns != 0)
        return skip_field(in, key);
    (void)take_time(in, &reader->time_ns);
    return 0;
}

__attribute__((noinline)) static bool take_change(struct tp_json *in, struct reader *reader,
                                                  struct change *change)
{
    struct tp_text key;
    unsigned seen = 0;
    (void)tp_json_object(in);
    while (tp_json_key(in, &key))
        seen |= change_field(in, key, reader, change);
    return in->status == TP_DECODE_OK &&
           (seen == FIELD_UPDATE || tp_json_fail(in, TP_DECODE_MALFORMED));
}

/* {"side":"bid","event_time":"…","price_level":"2667.24","new_quantity":"2.246"} */
#define IS(at, end, literal)                                                                       \
    ((end) - (at) >= (ptrdiff_t)sizeof(literal) - 1 &&                                             \
     memcmp(at, literal, sizeof(literal) - 1) == 0)
enum {
    TIME_SIZE_MAX = 32, /* "2026-09-30T02:39:59.516466608Z" has 30 */
    NUMBER_SIZE_MAX = 24,
};

/* How far it is to the quote; size_max, which may be beyond the end, where it is farther or there
 * is none. */
HOT_PART size_t quote_in(const uint8_t *at, const uint8_t *end, size_t size_max)
{
    if ((size_t)(end - at) >= size_max)
        return tp_symbol_size(at, '"', size_max);
    size_t size = 0;
    while (at + size < end && at[size] != '"')
        size++;
    return at + size < end ? size : size_max;
}

HOT_PART bool number_in(struct tp_text text, const uint8_t *end,
                        const struct tp_decimal_scale *scale, int64_t *out)
{
    return end - text.at >= TP_DECIMAL_LOAD_SIZE
               ? tp_decimal_parse_loadable(text.at, text.size, scale, out)
               : tp_decimal_parse_any(text.at, text.size, scale, out);
}

/* One in the venue's order, without a space; false: it is otherwise, and nothing was taken. */
HOT_PART bool take_usual(struct tp_json *in, struct reader *reader, struct change *change)
{
    static const char bid[] = "{\"side\":\"bid\",\"event_time\":\"";
    static const char offer[] = "{\"side\":\"offer\",\"event_time\":\"";
    const uint8_t *const end = in->end, *at = in->at;
    change->is_bid = IS(at, end, bid);
    if (!change->is_bid && !IS(at, end, offer))
        return false;
    at += change->is_bid ? sizeof bid - 1 : sizeof offer - 1;
    const struct tp_text time = {at, quote_in(at, end, TIME_SIZE_MAX)};
    at += time.size;
    if (!IS(at, end, "\",\"price_level\":\""))
        return false;
    at += sizeof "\",\"price_level\":\"" - 1;
    const struct tp_text price = {at, quote_in(at, end, NUMBER_SIZE_MAX)};
    at += price.size;
    if (!IS(at, end, "\",\"new_quantity\":\""))
        return false;
    at += sizeof "\",\"new_quantity\":\"" - 1;
    const struct tp_text quantity = {at, quote_in(at, end, NUMBER_SIZE_MAX)};
    at += quantity.size;
    if (!IS(at, end, "\"}") || memchr(time.at, '\\', time.size) != NULL ||
        !number_in(price, end, &reader->price, &change->level.price) ||
        !number_in(quantity, end, &reader->quantity, &change->level.quantity) ||
        (reader->time_ns == 0 && !tp_timestamp_parse(time.at, time.size, &reader->time_ns)))
        return false;
    in->at = at + 2;
    return true;
}

static bool take_changes(struct tp_json *in, struct reader *reader)
{
    struct change change;
    if (!tp_json_array(in))
        return false;
    while (tp_json_item(in)) {
        if (!take_usual(in, reader, &change) && !take_change(in, reader, &change))
            return false;
        struct tp_coinbase_side *const side =
            change.is_bid ? &reader->sides.bids : &reader->sides.asks;
        if (!tp_coinbase_side_take(side, &change.level, reader->sides.may_cut))
            return tp_json_fail(in, TP_DECODE_TOO_MANY);
    }
    return in->status == TP_DECODE_OK;
}

/* It must be what the router took it for. */
static unsigned take_type(struct tp_json *in, bool is_base)
{
    struct tp_text type;
    if (!tp_json_string(in, &type))
        return 0;
    if (tp_text_is(type, is_base ? "snapshot" : "update"))
        return FIELD_TYPE;
    (void)tp_json_fail(in, TP_DECODE_UNKNOWN);
    return 0;
}

static enum tp_decode_status decode_book(const struct tp_body *body, struct tp_depth_update *out)
{
    const bool is_base = body->meaning == TP_MEANING_BASE;
    struct reader reader = {.scale = &body->scale,
                            .price = tp_decimal_scale(body->scale.price_exponent),
                            .quantity = tp_decimal_scale(body->scale.quantity_exponent)};
    struct tp_json in;
    struct tp_text key;
    unsigned seen = 0;
    tp_json_init(&in, body->data, body->size);
    (void)tp_json_object(&in);
    while (tp_json_key(&in, &key)) {
        if (tp_text_is(key, "updates")) { /* of a key that stands twice the last one counts */
            tp_coinbase_sides_init(&reader.sides, out, is_base);
            seen |= take_changes(&in, &reader) ? FIELD_UPDATES : 0;
        } else if (tp_text_is(key, "type"))
            seen |= take_type(&in, is_base);
        else
            (void)skip_field(&in, key);
    }
    const enum tp_decode_status status = finish(&in, body);
    if (status != TP_DECODE_OK)
        return status;
    if (seen != FIELD_EVENT)
        return TP_DECODE_UNKNOWN;
    out->flags = is_base ? TP_DEPTH_BASE : 0;
    out->exchange_ns = reader.time_ns;
    tp_coinbase_sides_finish(&reader.sides, out);
    return TP_DECODE_OK;
}

/* ---- best prices: {"type":"update","tickers":[{"product_id":…,"best_bid":…,…}]} */

enum { BID_PRICE = 1, BID_QUANTITY = 2, BID = 3, ASK_PRICE = 4, ASK_QUANTITY = 8, ASK = 12 };

/* A side without an order has no number. */
static unsigned take_number(struct tp_json *in, const struct tp_scale *scale, enum tp_number kind,
                            int64_t *out)
{
    (void)tp_json_peek(in); /* takes white space */
    if (tp_json_is(in, "\"\""))
        return 0;
    return tp_json_scaled(in, scale, kind, out);
}

static unsigned ticker_field(struct tp_json *in, struct tp_text key, const struct tp_scale *scale,
                             struct tp_depth_update *out)
{
    if (tp_text_is(key, "best_bid"))
        return take_number(in, scale, TP_NUMBER_PRICE, &out->bids[0].price) * BID_PRICE;
    if (tp_text_is(key, "best_bid_quantity"))
        return take_number(in, scale, TP_NUMBER_QUANTITY, &out->bids[0].quantity) * BID_QUANTITY;
    if (tp_text_is(key, "best_ask"))
        return take_number(in, scale, TP_NUMBER_PRICE, &out->asks[0].price) * ASK_PRICE;
    if (tp_text_is(key, "best_ask_quantity"))
        return take_number(in, scale, TP_NUMBER_QUANTITY, &out->asks[0].quantity) * ASK_QUANTITY;
    return skip_field(in, key);
}

/* The one ticker of an event; returns what it has. */
static unsigned take_ticker(struct tp_json *in, const struct tp_scale *scale,
                            struct tp_depth_update *out)
{
    struct tp_text key;
    unsigned seen = 0;
    if (!tp_json_array(in) || !tp_json_item(in) || !tp_json_object(in))
        return 0;
    while (tp_json_key(in, &key))
        seen |= ticker_field(in, key, scale, out);
    if (tp_json_item(in)) /* whose is it? */
        (void)tp_json_fail(in, TP_DECODE_UNKNOWN);
    return seen;
}

static enum tp_decode_status decode_ticker(const struct tp_body *body, struct tp_depth_update *out)
{
    struct tp_json in;
    struct tp_text key;
    unsigned seen = 0;
    tp_json_init(&in, body->data, body->size);
    (void)tp_json_object(&in);
    while (tp_json_key(&in, &key))
        if (tp_text_is(key, "tickers"))
            seen = take_ticker(&in, &body->scale, out);
        else
            (void)skip_field(&in, key);
    const enum tp_decode_status status = finish(&in, body);
    if (status != TP_DECODE_OK)
        return status;
    out->flags = TP_DEPTH_TOP;
    out->bid_count = (seen & BID) == BID && out->bids[0].quantity > 0;
    out->ask_count = (seen & ASK) == ASK && out->asks[0].quantity > 0;
    return seen != 0 ? TP_DECODE_OK : TP_DECODE_UNKNOWN;
}

enum tp_decode_status tp_coinbase_decode_depth(const struct tp_body *body,
                                               struct tp_depth_update *out)
{
    memset(out, 0, offsetof(struct tp_depth_update, bids));
    return body->meaning == TP_MEANING_TOP ? decode_ticker(body, out) : decode_book(body, out);
}

/* ---- trades */

struct trade_reader {
    struct tp_json in;
    struct tp_text product; /* of the first one, by which they were routed */
};

static unsigned take_product(struct trade_reader *reader)
{
    struct tp_text text;
    if (!tp_json_string(&reader->in, &text))
        return 0;
    if (reader->product.at == NULL)
        reader->product = text;
    if (text.size == reader->product.size && memcmp(text.at, reader->product.at, text.size) == 0)
        return FIELD_PRODUCT;
    (void)tp_json_fail(&reader->in, TP_DECODE_UNKNOWN);
    return 0;
}

static unsigned trade_field(struct trade_reader *reader, struct tp_text key,
                            const struct tp_scale *scale, struct tp_trade *trade)
{
    struct tp_json *const in = &reader->in;
    if (tp_text_is(key, "price"))
        return tp_json_scaled(in, scale, TP_NUMBER_PRICE, &trade->price) ? FIELD_PRICE : 0;
    if (tp_text_is(key, "size"))
        return tp_json_scaled(in, scale, TP_NUMBER_QUANTITY, &trade->quantity) ? FIELD_QUANTITY : 0;
    if (tp_text_is(key, "product_id"))
        return take_product(reader);
    if (tp_text_is(key, "trade_id"))
        (void)tp_json_unsigned(in, &trade->id);
    else if (tp_text_is(key, "time"))
        (void)take_time(in, &trade->exchange_ns);
    else
        (void)skip_field(in, key);
    return 0;
}

/* Returns what each of the trades has. */
static unsigned take_trades(struct trade_reader *reader, const struct tp_scale *scale,
                            struct tp_trade_update *out)
{
    struct tp_json *const in = &reader->in;
    struct tp_text key;
    unsigned of_all = FIELD_TRADE;
    out->count = 0;
    (void)tp_json_array(in);
    while (tp_json_item(in)) {
        if (out->count == TP_TRADE_COUNT_MAX) {
            (void)tp_json_fail(in, TP_DECODE_TOO_MANY);
            return 0;
        }
        struct tp_trade *const trade = &out->trades[out->count++];
        unsigned seen = 0;
        memset(trade, 0, sizeof *trade);
        trade->flags = TP_TRADE_SIDELESS; /* of whom `side` is, nobody says */
        (void)tp_json_object(in);
        while (tp_json_key(in, &key))
            seen |= trade_field(reader, key, scale, trade);
        of_all &= seen;
    }
    return of_all;
}

/* Oldest first, whichever way the venue wrote them. */
static void put_in_order(struct tp_trade_update *out)
{
    const bool is_newest_first = out->trades[0].id > out->trades[out->count - 1].id;
    for (uint32_t i = 0, last = out->count - 1; is_newest_first && i < last; i++, last--) {
        const struct tp_trade one = out->trades[i];
        out->trades[i] = out->trades[last];
        out->trades[last] = one;
    }
    out->exchange_ns = out->trades[out->count - 1].exchange_ns;
}

enum tp_decode_status tp_coinbase_decode_trades(const struct tp_body *body,
                                                struct tp_trade_update *out)
{
    struct trade_reader reader = {.product = {NULL, 0}};
    struct tp_text key;
    unsigned seen = 0;
    memset(out, 0, offsetof(struct tp_trade_update, trades));
    tp_json_init(&reader.in, body->data, body->size);
    (void)tp_json_object(&reader.in);
    while (tp_json_key(&reader.in, &key))
        if (tp_text_is(key, "trades"))
            seen = take_trades(&reader, &body->scale, out);
        else
            (void)skip_field(&reader.in, key);
    const enum tp_decode_status status = finish(&reader.in, body);
    if (status != TP_DECODE_OK)
        return status;
    if (seen != FIELD_TRADE || out->count == 0)
        return TP_DECODE_UNKNOWN;
    put_in_order(out);
    return TP_DECODE_OK;
}
