/* The readers of decode.h: key by key, in any order. Source: README.md here. */
#include "proto/venues/binance/decode.h"

#include <string.h>

#include "proto/encoding/json.h"

#define HOT_PART static inline __attribute__((always_inline))

static const uint64_t NS_PER_MS = 1000000, NS_PER_US = 1000;
/* Times are milliseconds, or microseconds where the connection asked for timeUnit=MICROSECOND:
 * those of this millennium are above, and milliseconds reach here in the year 5138. */
static const uint64_t MICROSECONDS_MIN = 100000000000000;

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
    FIELD_PREVIOUS = 0x2000, /* of contracts alone */
    FIELD_NO_TRADE = 0x4000,
};

HOT_PART bool take_time(struct tp_json *in, uint64_t *out)
{
    uint64_t time;
    if (!tp_json_unsigned(in, &time))
        return false;
    const uint64_t unit_ns = time < MICROSECONDS_MIN ? NS_PER_MS : NS_PER_US;
    if (time > UINT64_MAX / unit_ns)
        return tp_json_fail(in, TP_DECODE_BAD_NUMBER);
    *out = time * unit_ns;
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
HOT_PART unsigned take_kind(struct tp_json *in, const char *kind)
{
    struct tp_text text;
    if (tp_json_string(in, &text) && !tp_text_is(text, kind))
        (void)tp_json_fail(in, TP_DECODE_UNKNOWN);
    return 0;
}

/* Of a key that stands twice the last counts, as with other readers. */
HOT_PART unsigned take_side(struct tp_json *in, const struct tp_scale *scale,
                            struct tp_level *levels, uint32_t *count)
{
    *count = 0;
    return tp_json_levels(in, scale, levels, count);
}

HOT_PART unsigned depth_field(struct tp_json *in, struct tp_text key, const struct tp_scale *scale,
                              struct tp_depth_update *out)
{
    switch (key.size == 1 ? key.at[0] : 0) {
    case 'e':
        return tp_json_is(in, "\"depthUpdate\"") ? 0 : take_kind(in, "depthUpdate");
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
    case 's':
        (void)tp_json_skip(in);
        return 0;
    default:
        return skip_field(in, key);
    }
}

/* What messages of contracts have besides: the number before them, and when it was matched. */
HOT_PART unsigned contract_field(struct tp_json *in, struct tp_text key,
                                 const struct tp_scale *scale, struct tp_depth_update *out,
                                 uint64_t *matched_ns)
{
    if (tp_text_is(key, "pu"))
        return tp_json_unsigned(in, &out->previous_version) ? FIELD_PREVIOUS : 0;
    if (!tp_text_is(key, "T"))
        return depth_field(in, key, scale, out);
    (void)take_time(in, matched_ns);
    return 0;
}

static unsigned top_field(struct tp_json *in, struct tp_text key, const struct tp_scale *scale,
                          struct tp_depth_update *out)
{
    switch (key.size == 1 ? key.at[0] : 0) {
    case 'E': /* of contracts alone, today */
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

/* Another stream or other data behind those that were read: which of the two would hold? */
static void leave_field(struct tp_json *in, struct tp_text key)
{
    if (tp_text_is(key, "data") || tp_text_is(key, "stream"))
        (void)tp_json_fail(in, TP_DECODE_UNKNOWN);
    else
        (void)skip_field(in, key);
}

enum tp_decode_status tp_binance_finish(struct tp_json *in)
{
    struct tp_text key;
    if (in->end - in->at == 1)
        return in->status;
    while (tp_json_key(in, &key))
        leave_field(in, key);
    return tp_json_finish(in);
}

/* seen, wanted: enum field. */
static enum tp_decode_status finish(struct tp_json *in, const struct tp_body *body, unsigned seen,
                                    unsigned wanted)
{
    const enum tp_decode_status status = tp_binance_finish(in);
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

HOT_PART enum tp_decode_status decode_depth(const struct tp_body *body, bool is_contract,
                                            struct tp_depth_update *out)
{
    struct tp_json in;
    struct tp_text key;
    unsigned seen = 0;
    uint64_t matched_ns = 0;
    memset(out, 0, offsetof(struct tp_depth_update, bids));
    if (body->meaning == TP_MEANING_TOP)
        return decode_top(body, out);
    tp_json_init(&in, body->data, body->size);
    (void)tp_json_object(&in);
    while (tp_json_key(&in, &key))
        seen |= is_contract ? contract_field(&in, key, &body->scale, out, &matched_ns)
                            : depth_field(&in, key, &body->scale, out);
    const unsigned wanted = FIELD_DEPTH | (is_contract ? FIELD_PREVIOUS : 0);
    const enum tp_decode_status status = finish(&in, body, seen, wanted);
    if (status != TP_DECODE_OK)
        return status;
    if (matched_ns != 0)
        out->exchange_ns = matched_ns;
    return out->first_version <= out->last_version ? TP_DECODE_OK : TP_DECODE_BAD_NUMBER;
}

enum tp_decode_status tp_binance_decode_depth(const struct tp_body *body,
                                              struct tp_depth_update *out)
{
    return decode_depth(body, false, out);
}

enum tp_decode_status tp_binance_usdm_decode_depth(const struct tp_body *body,
                                                   struct tp_depth_update *out)
{
    return decode_depth(body, true, out);
}

/* ---- trades */

/* Of contracts: how it came about. What is no trade has the word "NA", and zeros. */
static unsigned take_origin(struct tp_json *in)
{
    struct tp_text text;
    return tp_json_string(in, &text) && tp_text_is(text, "NA") ? FIELD_NO_TRADE : 0;
}

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
    case 'X':
        return take_origin(in);
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
    out->count = (seen & FIELD_NO_TRADE) == 0;
    return finish(&in, body, seen, FIELD_TRADE);
}
