/* The readers of decode.h: key by key, in any order; levels in the venue's order many characters at
 * a time. Source: README.md here. */
#include "proto/venues/hyperliquid/decode.h"

#include <string.h>

#include "proto/encoding/decimal.h"
#include "proto/encoding/json.h"
#include "proto/encoding/json_levels.h"

static const uint64_t NS_PER_MS = 1000000;
/* {"px":"84143.0","sz":"10.25923","n":36}: n, how many orders stand there, is read by nobody. */
static const struct tp_level_form level_form =
    TP_LEVEL_FORM_COUNTED("{\"px\":\"", "\",\"sz\":\"", ",\"n\":", true, '}');

/* What a message must have. */
enum field {
    FIELD_SIDES = 0x1,
    FIELD_TIME = 0x2,
    FIELD_COIN = 0x20,
    FIELD_BOOK = FIELD_SIDES | FIELD_TIME | FIELD_COIN,
    FIELD_PRICE = 0x4,
    FIELD_QUANTITY = 0x8,
    FIELD_SIDE = 0x10,
    FIELD_LEVEL = FIELD_PRICE | FIELD_QUANTITY,
    FIELD_TRADE = FIELD_LEVEL | FIELD_TIME | FIELD_SIDE | FIELD_COIN,
};

static unsigned take_time(struct tp_json *in, uint64_t *out)
{
    uint64_t time_ms;
    if (!tp_json_unsigned(in, &time_ms))
        return 0;
    if (time_ms > UINT64_MAX / NS_PER_MS) {
        (void)tp_json_fail(in, TP_DECODE_BAD_NUMBER);
        return 0;
    }
    *out = time_ms * NS_PER_MS;
    return FIELD_TIME;
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

/* The message was routed as one of this channel. */
static bool is_of_channel(struct tp_text name, enum tp_meaning meaning)
{
    const char *const channel = meaning == TP_MEANING_TOP      ? "bbo"
                                : meaning == TP_MEANING_TRADES ? "trades"
                                                               : "l2Book";
    return tp_text_is(name, channel);
}

/* Behind the value of "data": the rest of the message, which may say its channel only here. Of two
 * channels or two books, which would hold? Nothing is numbered, so nothing would show it later. */
static enum tp_decode_status finish(struct tp_json *in, const struct tp_body *body)
{
    struct tp_text key, name;
    while (tp_json_key(in, &key))
        if (tp_text_is(key, "data"))
            (void)tp_json_fail(in, TP_DECODE_MALFORMED);
        else if (!tp_text_is(key, "channel"))
            (void)skip_field(in, key);
        else if (tp_json_string(in, &name) && !is_of_channel(name, body->meaning))
            (void)tp_json_fail(in, TP_DECODE_MALFORMED);
    tp_body_misfit(body, in->misfit);
    return tp_json_finish(in);
}

/* ---- levels */

static unsigned level_field(struct tp_json *in, struct tp_text key, const struct tp_scale *scale,
                            struct tp_level *level)
{
    if (tp_text_is(key, "px"))
        return tp_json_scaled(in, scale, TP_NUMBER_PRICE, &level->price) ? FIELD_PRICE : 0;
    if (tp_text_is(key, "sz"))
        return tp_json_scaled(in, scale, TP_NUMBER_QUANTITY, &level->quantity) ? FIELD_QUANTITY : 0;
    return skip_field(in, key);
}

static bool take_level(struct tp_json *in, const struct tp_scale *scale, struct tp_level *level)
{
    struct tp_text key;
    unsigned seen = 0;
    (void)tp_json_object(in);
    while (tp_json_key(in, &key))
        seen |= level_field(in, key, scale, level);
    return in->status == TP_DECODE_OK &&
           (seen == FIELD_LEVEL || tp_json_fail(in, TP_DECODE_MALFORMED));
}

static bool take_side(struct tp_json *in, const struct tp_scale *scale, struct tp_level *levels,
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

/* [bids, asks]; returns FIELD_SIDES where both are there and no more. */
static unsigned take_sides(struct tp_json *in, const struct tp_scale *scale,
                           struct tp_depth_update *out)
{
    if (!tp_json_array(in) || !tp_json_item(in) ||
        !take_side(in, scale, out->bids, &out->bid_count) || !tp_json_item(in) ||
        !take_side(in, scale, out->asks, &out->ask_count))
        return 0;
    if (!tp_json_item(in))
        return FIELD_SIDES;
    (void)tp_json_fail(in, TP_DECODE_UNKNOWN);
    return 0;
}

/* A side without an order is null; one without a quantity is as good as none. */
static bool take_best(struct tp_json *in, const struct tp_scale *scale, struct tp_level *level,
                      uint32_t *count)
{
    *count = 0;
    if (tp_json_peek(in) == TP_JSON_NULL)
        return tp_json_skip(in);
    if (!take_level(in, scale, level))
        return false;
    *count = level->quantity > 0;
    return true;
}

static unsigned take_bests(struct tp_json *in, const struct tp_scale *scale,
                           struct tp_depth_update *out)
{
    if (!tp_json_array(in) || !tp_json_item(in) ||
        !take_best(in, scale, out->bids, &out->bid_count) || !tp_json_item(in) ||
        !take_best(in, scale, out->asks, &out->ask_count))
        return 0;
    if (!tp_json_item(in))
        return FIELD_SIDES;
    (void)tp_json_fail(in, TP_DECODE_UNKNOWN);
    return 0;
}

/* ---- books and best prices */

/* It was routed by one of them. */
static unsigned take_name(struct tp_json *in, unsigned seen)
{
    if ((seen & FIELD_COIN) == 0)
        (void)tp_json_skip(in);
    else
        (void)tp_json_fail(in, TP_DECODE_MALFORMED);
    return FIELD_COIN;
}

static enum tp_decode_status decode_book(const struct tp_body *body, struct tp_depth_update *out)
{
    struct tp_json in;
    struct tp_text key;
    unsigned seen = 0;
    tp_json_init(&in, body->data, body->size);
    (void)tp_json_object(&in);
    while (tp_json_key(&in, &key)) {
        if (tp_text_is(key, "levels"))
            seen |= take_sides(&in, &body->scale, out);
        else if (tp_text_is(key, "time"))
            seen |= take_time(&in, &out->exchange_ns);
        else if (tp_text_is(key, "coin"))
            seen |= take_name(&in, seen);
        else
            (void)skip_field(&in, key);
    }
    const enum tp_decode_status status = finish(&in, body);
    if (status != TP_DECODE_OK)
        return status;
    out->flags = TP_DEPTH_BASE;
    return seen == FIELD_BOOK ? TP_DECODE_OK : TP_DECODE_UNKNOWN;
}

static enum tp_decode_status decode_best(const struct tp_body *body, struct tp_depth_update *out)
{
    struct tp_json in;
    struct tp_text key;
    unsigned seen = 0;
    tp_json_init(&in, body->data, body->size);
    (void)tp_json_object(&in);
    while (tp_json_key(&in, &key)) {
        if (tp_text_is(key, "bbo"))
            seen |= take_bests(&in, &body->scale, out);
        else if (tp_text_is(key, "time"))
            seen |= take_time(&in, &out->exchange_ns);
        else if (tp_text_is(key, "coin"))
            seen |= take_name(&in, seen);
        else
            (void)skip_field(&in, key);
    }
    const enum tp_decode_status status = finish(&in, body);
    if (status != TP_DECODE_OK)
        return status;
    out->flags = TP_DEPTH_TOP;
    return seen == FIELD_BOOK ? TP_DECODE_OK : TP_DECODE_UNKNOWN;
}

enum tp_decode_status tp_hyperliquid_decode_depth(const struct tp_body *body,
                                                  struct tp_depth_update *out)
{
    memset(out, 0, offsetof(struct tp_depth_update, bids));
    return body->meaning == TP_MEANING_TOP ? decode_best(body, out) : decode_book(body, out);
}

/* ---- trades */

/* "A": who took sold; "B": bought. */
static unsigned take_taker(struct tp_json *in, struct tp_trade *trade)
{
    struct tp_text side;
    if (!tp_json_string(in, &side))
        return 0;
    const bool sold = tp_text_is(side, "A");
    trade->flags = sold ? TP_TRADE_SELL : 0;
    return sold || tp_text_is(side, "B") ? FIELD_SIDE : 0;
}

/* All trades of a message are of the coin that it was routed by, which is the first one's. */
static unsigned take_coin(struct tp_json *in, struct tp_text *coin)
{
    struct tp_text text;
    if (!tp_json_string(in, &text))
        return 0;
    if (coin->at == NULL)
        *coin = text;
    if (text.size == coin->size && memcmp(text.at, coin->at, text.size) == 0)
        return FIELD_COIN;
    (void)tp_json_fail(in, TP_DECODE_UNKNOWN);
    return 0;
}

struct trade_reader {
    struct tp_json in;
    struct tp_text coin;
};

static unsigned trade_field(struct trade_reader *reader, struct tp_text key,
                            const struct tp_scale *scale, struct tp_trade *trade)
{
    struct tp_json *const in = &reader->in;
    if (tp_text_is(key, "px"))
        return tp_json_scaled(in, scale, TP_NUMBER_PRICE, &trade->price) ? FIELD_PRICE : 0;
    if (tp_text_is(key, "sz"))
        return tp_json_scaled(in, scale, TP_NUMBER_QUANTITY, &trade->quantity) ? FIELD_QUANTITY : 0;
    if (tp_text_is(key, "side"))
        return take_taker(in, trade);
    if (tp_text_is(key, "time"))
        return take_time(in, &trade->exchange_ns);
    if (tp_text_is(key, "coin"))
        return take_coin(in, &reader->coin);
    if (!tp_text_is(key, "tid"))
        return skip_field(in, key);
    (void)tp_json_unsigned(in, &trade->id);
    return 0;
}

/* Returns what each of the trades has. */
static unsigned take_trades(struct trade_reader *reader, const struct tp_scale *scale,
                            struct tp_trade_update *out)
{
    struct tp_json *const in = &reader->in;
    struct tp_text key;
    unsigned of_all = FIELD_TRADE;
    (void)tp_json_array(in);
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
            seen |= trade_field(reader, key, scale, trade);
        of_all &= seen;
        out->exchange_ns = trade->exchange_ns;
    }
    return of_all;
}

enum tp_decode_status tp_hyperliquid_decode_trades(const struct tp_body *body,
                                                   struct tp_trade_update *out)
{
    struct trade_reader reader = {.coin = {NULL, 0}};
    memset(out, 0, offsetof(struct tp_trade_update, trades));
    tp_json_init(&reader.in, body->data, body->size);
    const unsigned seen = take_trades(&reader, &body->scale, out);
    const enum tp_decode_status status = finish(&reader.in, body);
    if (status != TP_DECODE_OK)
        return status;
    return seen == FIELD_TRADE && out->count > 0 ? TP_DECODE_OK : TP_DECODE_UNKNOWN;
}
