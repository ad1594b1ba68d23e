/* The reader of decode.h: the usual shape of a depth message in one pass, every other one key by
 * key. Source: README.md here. */
#include "proto/venues/binance/decode.h"

#include <string.h>

#include "proto/encoding/decimal.h"
#include "proto/encoding/json.h"

#define HOT_PART static inline __attribute__((always_inline))

static const uint64_t NS_PER_MS = 1000000;

/* What a message must have; a body of each kind has each once. */
enum field {
    FIELD_FIRST = 0x1,
    FIELD_LAST = 0x2,
    FIELD_BIDS = 0x4,
    FIELD_ASKS = 0x8,
    FIELD_DEPTH = FIELD_FIRST | FIELD_LAST | FIELD_BIDS | FIELD_ASKS,
    FIELD_BID_PRICE = 0x10,
    FIELD_BID_QUANTITY = 0x20,
    FIELD_ASK_PRICE = 0x40,
    FIELD_ASK_QUANTITY = 0x80,
    FIELD_TOP =
        FIELD_LAST | FIELD_BID_PRICE | FIELD_BID_QUANTITY | FIELD_ASK_PRICE | FIELD_ASK_QUANTITY,
    FIELD_ID = 0x100,
    FIELD_PRICE = 0x200,
    FIELD_QUANTITY = 0x400,
    FIELD_TIME = 0x800,
    FIELD_MAKER = 0x1000,
    FIELD_TRADE = FIELD_ID | FIELD_PRICE | FIELD_QUANTITY | FIELD_TIME | FIELD_MAKER,
};

static bool take_time(struct tp_json *in, uint64_t *out)
{
    uint64_t time_ms;
    if (!tp_json_unsigned(in, &time_ms))
        return false;
    if (time_ms > UINT64_MAX / NS_PER_MS)
        return tp_json_fail(in, TP_DECODE_BAD_NUMBER);
    *out = time_ms * NS_PER_MS;
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

/* A kind that is not the one that the stream has: {"e":"kline",…} under a depth stream. */
static unsigned take_kind(struct tp_json *in, const char *kind)
{
    struct tp_text text;
    if (tp_json_string(in, &text) && !tp_text_is(text, kind))
        (void)tp_json_fail(in, TP_DECODE_UNKNOWN);
    return 0;
}

/* Of a key that stands twice the last counts, as with other readers. */
static unsigned take_side(struct tp_json *in, const struct tp_scale *scale, struct tp_level *levels,
                          uint32_t *count)
{
    *count = 0;
    return tp_json_levels(in, scale, levels, count);
}

static unsigned depth_field(struct tp_json *in, struct tp_text key, const struct tp_scale *scale,
                            struct tp_depth_update *out)
{
    switch (key.size == 1 ? key.at[0] : 0) {
    case 'e':
        return take_kind(in, "depthUpdate");
    case 'E':
        (void)take_time(in, &out->exchange_ns);
        return 0;
    case 'U':
        return tp_json_unsigned(in, &out->first_version) ? FIELD_FIRST : 0;
    case 'u':
        return tp_json_unsigned(in, &out->last_version) ? FIELD_LAST : 0;
    case 'b':
        return take_side(in, scale, out->bids, &out->bid_count) ? FIELD_BIDS : 0;
    case 'a':
        return take_side(in, scale, out->asks, &out->ask_count) ? FIELD_ASKS : 0;
    default:
        return skip_field(in, key);
    }
}

static unsigned top_field(struct tp_json *in, struct tp_text key, const struct tp_scale *scale,
                          struct tp_depth_update *out)
{
    switch (key.size == 1 ? key.at[0] : 0) {
    case 'E': /* not sent today */
        (void)take_time(in, &out->exchange_ns);
        return 0;
    case 'u':
        return tp_json_unsigned(in, &out->last_version) ? FIELD_LAST : 0;
    case 'b':
        return tp_json_scaled(in, scale, TP_NUMBER_PRICE, &out->bids[0].price) ? FIELD_BID_PRICE
                                                                               : 0;
    case 'B':
        return tp_json_scaled(in, scale, TP_NUMBER_QUANTITY, &out->bids[0].quantity)
                   ? FIELD_BID_QUANTITY
                   : 0;
    case 'a':
        return tp_json_scaled(in, scale, TP_NUMBER_PRICE, &out->asks[0].price) ? FIELD_ASK_PRICE
                                                                               : 0;
    case 'A':
        return tp_json_scaled(in, scale, TP_NUMBER_QUANTITY, &out->asks[0].quantity)
                   ? FIELD_ASK_QUANTITY
                   : 0;
    default:
        return skip_field(in, key);
    }
}

/* seen, wanted: enum field. */
static enum tp_decode_status finish(struct tp_json *in, const struct tp_body *body, unsigned seen,
                                    unsigned wanted)
{
    const enum tp_decode_status status = tp_json_finish(in);
    if (status == TP_DECODE_OK)
        return (seen & wanted) == wanted ? TP_DECODE_OK : TP_DECODE_UNKNOWN;
    tp_body_misfit(body, in->misfit);
    return status;
}

static enum tp_decode_status decode_top(const struct tp_body *body, struct tp_depth_update *out)
{
    struct tp_json in;
    struct tp_text key;
    unsigned seen = 0;
    tp_json_init(&in, body->data, body->size);
    (void)tp_json_object(&in);
    while (tp_json_key(&in, &key))
        seen |= top_field(&in, key, &body->scale, out);
    const enum tp_decode_status status = finish(&in, body, seen, FIELD_TOP);
    if (status != TP_DECODE_OK)
        return status;
    out->flags = TP_DEPTH_TOP;
    out->first_version = out->last_version;
    out->bid_count = out->bids[0].quantity != 0; /* an empty side is written as zeros */
    out->ask_count = out->asks[0].quantity != 0;
    return TP_DECODE_OK;
}

enum tp_decode_status tp_binance_decode_any(const struct tp_body *body, struct tp_depth_update *out)
{
    struct tp_json in;
    struct tp_text key;
    unsigned seen = 0;
    memset(out, 0, offsetof(struct tp_depth_update, bids));
    if (body->meaning == TP_MEANING_TOP)
        return decode_top(body, out);
    tp_json_init(&in, body->data, body->size);
    (void)tp_json_object(&in);
    while (tp_json_key(&in, &key))
        seen |= depth_field(&in, key, &body->scale, out);
    const enum tp_decode_status status = finish(&in, body, seen, FIELD_DEPTH);
    if (status != TP_DECODE_OK)
        return status;
    return out->first_version <= out->last_version ? TP_DECODE_OK : TP_DECODE_BAD_NUMBER;
}

/* ---- the usual shape: keys in the venue's order, no space, no escape
 *
 * Whatever is not so is left to tp_binance_decode_any, from the body's beginning: this part refuses
 * nothing by itself, and what it reads it reads by the same functions. */

enum { WORD = 8, TEXT_MAX = 16, SYMBOL_MAX = 64, LEVEL_MAX = 64, TAIL_SIZE = 2 * LEVEL_MAX };
static const uint64_t ONES = 0x0101010101010101, HIGHS = 0x8080808080808080;

/* at[0, size_max] up to a word more is readable. Returns how far the first character is that ends a
 * plain text: a quote, a backslash or a control character; size_max: none is nearer. */
HOT_PART size_t plain_size(const uint8_t *at, size_t size_max)
{
    for (size_t size = 0; size < size_max; size += WORD) {
        const uint64_t word = tp_load_8(at + size);
        const uint64_t quote = word ^ ONES * '"', backslash = word ^ ONES * '\\';
        const uint64_t found = (((word - ONES * ' ') & ~word) | ((quote - ONES) & ~quote) |
                                ((backslash - ONES) & ~backslash)) &
                               HIGHS;
        if (found != 0)
            return size + ((size_t)__builtin_ctzll(found) >> 3);
    }
    return size_max;
}

struct usual {
    const uint8_t *at, *end;
    uint8_t tail[TAIL_SIZE]; /* the last bytes of the body, with room behind them to load */
};

/* A literal of the venue's. */
#define TAKE(in, text)                                                                             \
    ((size_t)((in)->end - (in)->at) >= sizeof(text) - 1 &&                                         \
     memcmp((in)->at, text, sizeof(text) - 1) == 0 && ((in)->at += sizeof(text) - 1, true))

/* Digits up to a comma, as JSON has them: no zero in front. */
HOT_PART bool take_number(struct usual *in, uint64_t *out)
{
    const uint8_t *const begin = in->at, *at = begin;
    while (at < in->end && *at >= '0' && *at <= '9')
        at++;
    in->at = at;
    return at > begin && (*begin != '0' || at == begin + 1) &&
           tp_version_parse(begin, (size_t)(at - begin), out);
}

HOT_PART bool take_decimal(struct usual *in, const struct tp_decimal_scale *scale, int64_t *out)
{
    const size_t size = plain_size(in->at, TEXT_MAX);
    if (size == TEXT_MAX || size == 0 || in->at[size] != '"' ||
        !tp_decimal_parse_loadable(in->at, size, scale, out))
        return false;
    in->at += size;
    return true;
}

/* ["PRICE","QUANTITY"], of which the longest that is read here may be loaded whole. */
HOT_PART bool take_level(struct usual *in, const struct tp_decimal_scale scale[2],
                         struct tp_level *out)
{
    if (memcmp(in->at, "[\"", 2) != 0)
        return false;
    in->at += 2;
    if (!take_decimal(in, &scale[0], &out->price) || memcmp(in->at, "\",\"", 3) != 0)
        return false;
    in->at += 3;
    if (!take_decimal(in, &scale[1], &out->quantity) || memcmp(in->at, "\"]", 2) != 0)
        return false;
    in->at += 2;
    return true;
}

/* Has so much behind in->at that a level can be loaded; the rest of the body moves once. */
HOT_PART void make_room(struct usual *in)
{
    const size_t left = (size_t)(in->end - in->at);
    if (left >= LEVEL_MAX || (in->at >= in->tail && in->at <= in->tail + TAIL_SIZE))
        return;
    memset(in->tail, 0, sizeof in->tail);
    memcpy(in->tail, in->at, left);
    in->at = in->tail;
    in->end = in->tail + left;
}

/* Levels behind the bracket that opens them, and the one that closes. */
HOT_PART bool take_levels(struct usual *in, const struct tp_decimal_scale scale[2],
                          struct tp_level *levels, uint32_t *count)
{
    uint32_t taken = 0;
    make_room(in);
    if (in->at < in->end && *in->at == ']') {
        in->at++;
        *count = 0;
        return true;
    }
    for (;;) { /* each turn takes a level, or ends */
        make_room(in);
        if (taken == TP_DEPTH_LEVEL_COUNT_MAX || !take_level(in, scale, &levels[taken]))
            return false;
        taken++;
        const uint8_t next = *in->at++; /* 0 behind the body's end */
        if (next == ']')
            break;
        if (next != ',')
            return false;
    }
    *count = taken;
    return in->at <= in->end;
}

HOT_PART bool take_head(struct usual *in, struct tp_depth_update *out)
{
    uint64_t time_ms;
    if (!TAKE(in, "{\"e\":\"depthUpdate\",\"E\":") || !take_number(in, &time_ms) ||
        time_ms > UINT64_MAX / NS_PER_MS || !TAKE(in, ",\"s\":\"") ||
        in->end - in->at < SYMBOL_MAX + WORD)
        return false;
    out->exchange_ns = time_ms * NS_PER_MS;
    in->at += plain_size(in->at, SYMBOL_MAX);
    return TAKE(in, "\",\"U\":") && take_number(in, &out->first_version) && TAKE(in, ",\"u\":") &&
           take_number(in, &out->last_version) && out->first_version <= out->last_version;
}

static bool decode_usual(const struct tp_body *body, struct tp_depth_update *out)
{
    struct usual in = {.at = body->data, .end = body->data + body->size};
    const struct tp_decimal_scale scale[2] = {tp_decimal_scale(body->scale.price_exponent),
                                              tp_decimal_scale(body->scale.quantity_exponent)};
    out->previous_version = 0;
    out->flags = out->checksum = 0;
    return take_head(&in, out) && TAKE(&in, ",\"b\":[") &&
           take_levels(&in, scale, out->bids, &out->bid_count) && TAKE(&in, ",\"a\":[") &&
           take_levels(&in, scale, out->asks, &out->ask_count) && TAKE(&in, "}") && in.at == in.end;
}

enum tp_decode_status tp_binance_decode_depth(const struct tp_body *body,
                                              struct tp_depth_update *out)
{
    if (body->meaning == TP_MEANING_DELTA && decode_usual(body, out))
        return TP_DECODE_OK;
    return tp_binance_decode_any(body, out);
}

/* ---- trades */

static unsigned trade_field(struct tp_json *in, struct tp_text key, const struct tp_scale *scale,
                            struct tp_trade_update *out)
{
    struct tp_trade *trade = &out->trades[0];
    bool buyer_made;
    switch (key.size == 1 ? key.at[0] : 0) {
    case 'e':
        return take_kind(in, "trade");
    case 'E':
        (void)take_time(in, &out->exchange_ns);
        return 0;
    case 't':
        return tp_json_unsigned(in, &trade->id) ? FIELD_ID : 0;
    case 'p':
        return tp_json_scaled(in, scale, TP_NUMBER_PRICE, &trade->price) ? FIELD_PRICE : 0;
    case 'q':
        return tp_json_scaled(in, scale, TP_NUMBER_QUANTITY, &trade->quantity) ? FIELD_QUANTITY : 0;
    case 'T':
        return take_time(in, &trade->exchange_ns) ? FIELD_TIME : 0;
    case 'm':
        if (!tp_json_bool(in, &buyer_made))
            return 0;
        trade->flags = buyer_made ? TP_TRADE_SELL : 0;
        return FIELD_MAKER;
    default:
        return skip_field(in, key);
    }
}

enum tp_decode_status tp_binance_decode_trades(const struct tp_body *body,
                                               struct tp_trade_update *out)
{
    struct tp_json in;
    struct tp_text key;
    unsigned seen = 0;
    memset(out, 0, offsetof(struct tp_trade_update, trades) + sizeof out->trades[0]);
    tp_json_init(&in, body->data, body->size);
    (void)tp_json_object(&in);
    while (tp_json_key(&in, &key))
        seen |= trade_field(&in, key, &body->scale, out);
    out->count = 1;
    return finish(&in, body, seen, FIELD_TRADE);
}
