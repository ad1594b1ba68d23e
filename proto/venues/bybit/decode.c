/* The readers of decode.h: key by key, in any order. Source: README.md here. */
#include "proto/venues/bybit/decode.h"

#include <string.h>

#include "proto/encoding/decimal.h"
#include "proto/encoding/json.h"

#define HOT_PART static inline __attribute__((always_inline))

static const uint64_t NS_PER_MS = 1000000;
static const uint64_t RESTARTED = 1; /* u of a book that is sent whole: the service began anew */

/* What a message must have; a body of each kind has each once. */
enum field {
    FIELD_TYPE = 0x1,
    FIELD_DATA = 0x2,
    FIELD_BIDS = 0x4,
    FIELD_ASKS = 0x8,
    FIELD_UPDATE = 0x10,
    FIELD_DEPTH = FIELD_TYPE | FIELD_DATA | FIELD_BIDS | FIELD_ASKS | FIELD_UPDATE,
    FIELD_PRICE = 0x20,
    FIELD_QUANTITY = 0x40,
    FIELD_TIME = 0x80,
    FIELD_SIDE = 0x100,
    FIELD_TRADE = FIELD_PRICE | FIELD_QUANTITY | FIELD_TIME | FIELD_SIDE,
};

HOT_PART bool take_time(struct tp_json *in, uint64_t *out)
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

/* What stands around the data. */
struct frame {
    uint64_t sent_ns, matched_ns; /* ts, cts; 0: not there */
    bool is_whole;                /* type "snapshot" */
};

static unsigned take_type(struct tp_json *in, struct frame *frame)
{
    struct tp_text text;
    if (!tp_json_string(in, &text))
        return 0;
    frame->is_whole = tp_text_is(text, "snapshot");
    if (frame->is_whole || tp_text_is(text, "delta"))
        return FIELD_TYPE;
    (void)tp_json_fail(in, TP_DECODE_UNKNOWN);
    return 0;
}

static unsigned frame_field(struct tp_json *in, struct tp_text key, struct frame *frame)
{
    if (tp_text_is(key, "type"))
        return take_type(in, frame);
    if (tp_text_is(key, "ts"))
        (void)take_time(in, &frame->sent_ns);
    else if (tp_text_is(key, "cts"))
        (void)take_time(in, &frame->matched_ns);
    else
        return skip_field(in, key);
    return 0;
}

/* ---- books */

/* Of a key that stands twice the last counts, as with other readers. */
HOT_PART bool take_side(struct tp_json *in, const struct tp_scale *scale, struct tp_level *levels,
                        uint32_t *count)
{
    *count = 0;
    return tp_json_levels(in, scale, levels, count);
}

static unsigned take_book(struct tp_json *in, const struct tp_scale *scale,
                          struct tp_depth_update *out)
{
    struct tp_text key;
    unsigned seen = FIELD_DATA;
    out->bid_count = out->ask_count = 0;
    (void)tp_json_object(in);
    while (tp_json_key(in, &key)) {
        switch (key.size == 1 ? key.at[0] : 0) {
        case 'b':
            seen |= take_side(in, scale, out->bids, &out->bid_count) ? FIELD_BIDS : 0;
            break;
        case 'a':
            seen |= take_side(in, scale, out->asks, &out->ask_count) ? FIELD_ASKS : 0;
            break;
        case 'u':
            seen |= tp_json_unsigned(in, &out->last_version) ? FIELD_UPDATE : 0;
            break;
        default:
            seen |= skip_field(in, key);
        }
    }
    return seen;
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

/* A change of a book of one level says nothing of the side that it leaves out: such a book comes
 * whole. A level that is gone is no best price. */
static enum tp_decode_status finish_top(const struct frame *frame, struct tp_depth_update *out)
{
    if (!frame->is_whole || out->bid_count > 1 || out->ask_count > 1)
        return TP_DECODE_UNKNOWN;
    out->flags = TP_DEPTH_TOP;
    out->bid_count = out->bid_count == 1 && out->bids[0].quantity != 0;
    out->ask_count = out->ask_count == 1 && out->asks[0].quantity != 0;
    return TP_DECODE_OK;
}

/* A change as the venue writes them, spot or not: {"topic":…,"ts":…,"type":"delta","data":{"s":…,
 * "b":…,"a":…,"u":…,"seq":…},"cts":…}. False: it is in another form, and out is anything. */
HOT_PART bool take_usual(struct tp_json *in, const struct tp_scale *scale, struct frame *frame,
                         struct tp_depth_update *out)
{
    const bool is_change =
        tp_json_is(in, "{\"topic\":") && tp_json_skip(in) &&
        (tp_json_is(in, ",\"ts\":")
             ? take_time(in, &frame->sent_ns) && tp_json_is(in, ",\"type\":\"delta\"")
             : tp_json_is(in, ",\"type\":\"delta\",\"ts\":") && take_time(in, &frame->sent_ns));
    return is_change && tp_json_is(in, ",\"data\":{\"s\":") && tp_json_skip(in) &&
           tp_json_is(in, ",\"b\":") && take_side(in, scale, out->bids, &out->bid_count) &&
           tp_json_is(in, ",\"a\":") && take_side(in, scale, out->asks, &out->ask_count) &&
           tp_json_is(in, ",\"u\":") && tp_json_unsigned(in, &out->last_version) &&
           tp_json_is(in, ",\"seq\":") && tp_json_skip(in) &&
           (tp_json_is(in, "},\"cts\":") ? take_time(in, &frame->matched_ns) && tp_json_is(in, "}")
                                         : tp_json_is(in, "}}")) &&
           in->at == in->end;
}

/* Any other message, key by key; seen: enum field. */
static enum tp_decode_status take_any(const struct tp_body *body, struct frame *frame,
                                      struct tp_depth_update *out)
{
    struct tp_json in;
    struct tp_text key;
    unsigned seen = 0;
    *frame = (struct frame){0};
    tp_json_init(&in, body->data, body->size);
    (void)tp_json_object(&in);
    while (tp_json_key(&in, &key))
        if (tp_text_is(key, "data"))
            seen = (seen & FIELD_TYPE) | take_book(&in, &body->scale, out);
        else
            seen |= frame_field(&in, key, frame);
    return finish(&in, body, seen, FIELD_DEPTH);
}

enum tp_decode_status tp_bybit_decode_depth(const struct tp_body *body, struct tp_depth_update *out)
{
    struct tp_json in;
    struct frame frame = {0};
    memset(out, 0, offsetof(struct tp_depth_update, bids));
    tp_json_init(&in, body->data, body->size);
    if (!take_usual(&in, &body->scale, &frame, out)) {
        memset(out, 0, offsetof(struct tp_depth_update, bids));
        const enum tp_decode_status status = take_any(body, &frame, out);
        if (status != TP_DECODE_OK)
            return status;
    }
    out->first_version = out->last_version;
    out->exchange_ns = frame.matched_ns != 0 ? frame.matched_ns : frame.sent_ns;
    if (body->meaning == TP_MEANING_TOP)
        return finish_top(&frame, out);
    if (frame.is_whole || out->last_version == RESTARTED)
        out->flags = TP_DEPTH_BASE;
    return TP_DECODE_OK;
}

/* ---- trades */

/* FNV-1a, 64 bits: ids are numbers on spot and UUIDs elsewhere. */
static uint64_t hash_of(struct tp_text text)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < text.size; i++)
        hash = (hash ^ text.at[i]) * UINT64_C(1099511628211);
    return hash;
}

static void set_id(struct tp_text text, struct tp_trade *trade)
{
    trade->flags &= ~(uint32_t)TP_TRADE_HASHED;
    trade->id = 0;
    if (text.size == 0 || tp_version_parse(text.at, text.size, &trade->id))
        return;
    trade->id = hash_of(text);
    trade->flags |= TP_TRADE_HASHED;
}

/* Any other word than these two says nothing of who took. */
static void set_side(struct tp_text text, struct tp_trade *trade)
{
    trade->flags &= ~(uint32_t)(TP_TRADE_SELL | TP_TRADE_SIDELESS);
    if (tp_text_is(text, "Sell"))
        trade->flags |= TP_TRADE_SELL;
    else if (!tp_text_is(text, "Buy"))
        trade->flags |= TP_TRADE_SIDELESS;
}

static unsigned trade_field(struct tp_json *in, struct tp_text key, const struct tp_scale *scale,
                            struct tp_trade *trade)
{
    struct tp_text text;
    switch (key.size == 1 ? key.at[0] : 0) {
    case 'p':
        return tp_json_scaled(in, scale, TP_NUMBER_PRICE, &trade->price) ? FIELD_PRICE : 0;
    case 'v':
        return tp_json_scaled(in, scale, TP_NUMBER_QUANTITY, &trade->quantity) ? FIELD_QUANTITY : 0;
    case 'T':
        return take_time(in, &trade->exchange_ns) ? FIELD_TIME : 0;
    case 'S':
        if (!tp_json_string(in, &text))
            return 0;
        set_side(text, trade);
        return FIELD_SIDE;
    case 'i':
        if (tp_json_string(in, &text))
            set_id(text, trade);
        return 0;
    default:
        return skip_field(in, key);
    }
}

static unsigned take_trades(struct tp_json *in, const struct tp_scale *scale,
                            struct tp_trade_update *out)
{
    struct tp_text key;
    unsigned seen = FIELD_TRADE;
    out->count = 0;
    (void)tp_json_array(in);
    while (tp_json_item(in)) {
        if (out->count == TP_TRADE_COUNT_MAX) {
            (void)tp_json_fail(in, TP_DECODE_TOO_MANY);
            break;
        }
        struct tp_trade *trade = &out->trades[out->count++];
        unsigned of_one = 0;
        memset(trade, 0, sizeof *trade);
        (void)tp_json_object(in);
        while (tp_json_key(in, &key))
            of_one |= trade_field(in, key, scale, trade);
        seen &= of_one;
    }
    return out->count > 0 ? seen | FIELD_DATA : 0;
}

enum tp_decode_status tp_bybit_decode_trades(const struct tp_body *body,
                                             struct tp_trade_update *out)
{
    struct tp_json in;
    struct tp_text key;
    struct frame frame = {0};
    unsigned seen = 0;
    memset(out, 0, offsetof(struct tp_trade_update, trades));
    tp_json_init(&in, body->data, body->size);
    (void)tp_json_object(&in);
    while (tp_json_key(&in, &key))
        if (tp_text_is(key, "data"))
            seen = (seen & FIELD_TYPE) | take_trades(&in, &body->scale, out);
        else
            seen |= frame_field(&in, key, &frame);
    out->exchange_ns = frame.sent_ns;
    return finish(&in, body, seen, FIELD_TRADE | FIELD_DATA);
}
