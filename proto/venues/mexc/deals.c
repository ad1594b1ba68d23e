/* MEXC's trades to fixed point: its deals, aggregated or not. One pass, nothing allocated.
 *
 * Called by venue.c; calls proto/encoding. Any thread. Source: README.md here. */
#include <string.h>

#include "proto/encoding/decimal.h"
#include "proto/encoding/protobuf.h"
#include "proto/venues/mexc/decode.h"

enum {
    WRAPPER_CREATE_TIME = 5 << TP_PROTOBUF_FIELD_SHIFT | TP_PROTOBUF_VARINT,
    WRAPPER_SEND_TIME = 6 << TP_PROTOBUF_FIELD_SHIFT | TP_PROTOBUF_VARINT,
    BODY_FIRST = 301 << TP_PROTOBUF_FIELD_SHIFT | TP_PROTOBUF_BYTES,
    BODY_DEALS = BODY_FIRST,
    BODY_AGGRE_DEALS = 314 << TP_PROTOBUF_FIELD_SHIFT | TP_PROTOBUF_BYTES,
    BODY_LAST = 315 << TP_PROTOBUF_FIELD_SHIFT | TP_PROTOBUF_BYTES,
    DEALS_ITEM = 1 << TP_PROTOBUF_FIELD_SHIFT | TP_PROTOBUF_BYTES,
};
enum {
    ITEM_PRICE = 1 << TP_PROTOBUF_FIELD_SHIFT | TP_PROTOBUF_BYTES,
    ITEM_QUANTITY = 2 << TP_PROTOBUF_FIELD_SHIFT | TP_PROTOBUF_BYTES,
    ITEM_TYPE = 3 << TP_PROTOBUF_FIELD_SHIFT | TP_PROTOBUF_VARINT,
    ITEM_TIME = 4 << TP_PROTOBUF_FIELD_SHIFT | TP_PROTOBUF_VARINT,
    ITEM_ID = 5 << TP_PROTOBUF_FIELD_SHIFT | TP_PROTOBUF_BYTES,
};
enum { TYPE_BUY = 1, TYPE_SELL = 2 };

static const uint64_t NS_PER_MS = 1000000;

static bool time_of(uint64_t time_ms, uint64_t *out_ns)
{
    *out_ns = time_ms * NS_PER_MS;
    return time_ms <= UINT64_MAX / NS_PER_MS; /* else negative, or far beyond any clock */
}

/* FNV-1a, 64 bits: an id of MEXC's may be two numbers. */
static uint64_t hash_of(struct tp_text text)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < text.size; i++)
        hash = (hash ^ text.at[i]) * UINT64_C(1099511628211);
    return hash;
}

static void set_id(struct tp_text text, struct tp_trade *out)
{
    out->id = 0;
    if (text.size == 0 || tp_version_parse(text.at, text.size, &out->id))
        return;
    out->id = hash_of(text);
    out->flags |= TP_TRADE_HASHED;
}

static enum tp_decode_status number(const struct tp_body *body, struct tp_text text,
                                    enum tp_number kind, int64_t *out)
{
    const int32_t exponent =
        kind == TP_NUMBER_PRICE ? body->scale.price_exponent : body->scale.quantity_exponent;
    if (text.at == NULL)
        return TP_DECODE_BAD_NUMBER;
    if (tp_decimal_parse(text.at, text.size, exponent, out))
        return TP_DECODE_OK;
    tp_body_misfit(body, (struct tp_misfit){.text = text, .kind = kind});
    return tp_decimal_refusal(text, exponent, false);
}

struct item {
    struct tp_text price, quantity, id;
    uint64_t type, time_ms;
};

static enum tp_decode_status item_decode(struct tp_protobuf in, struct item *out)
{
    *out = (struct item){.type = 0};
    while (in.at < in.end) {
        struct tp_protobuf_field field;
        const enum tp_decode_status status = tp_protobuf_nested_next(&in, &field);
        if (status != TP_DECODE_OK)
            return status;
        if (field.tag == ITEM_PRICE)
            out->price = field.bytes;
        else if (field.tag == ITEM_QUANTITY)
            out->quantity = field.bytes;
        else if (field.tag == ITEM_TYPE)
            out->type = field.varint;
        else if (field.tag == ITEM_TIME)
            out->time_ms = field.varint;
        else if (field.tag == ITEM_ID)
            out->id = field.bytes;
    }
    return TP_DECODE_OK;
}

static enum tp_decode_status trade_append(const struct tp_body *body, struct tp_text bytes,
                                          struct tp_trade_update *out)
{
    struct item item;
    if (out->count == TP_TRADE_COUNT_MAX)
        return TP_DECODE_TOO_MANY;
    struct tp_trade *trade = &out->trades[out->count];
    enum tp_decode_status status = item_decode(tp_protobuf_inside(bytes), &item);
    if (status == TP_DECODE_OK)
        status = number(body, item.price, TP_NUMBER_PRICE, &trade->price);
    if (status == TP_DECODE_OK)
        status = number(body, item.quantity, TP_NUMBER_QUANTITY, &trade->quantity);
    if (status != TP_DECODE_OK)
        return status;
    if (!time_of(item.time_ms, &trade->exchange_ns))
        return TP_DECODE_BAD_NUMBER;
    trade->reserved = 0;
    trade->flags = item.type == TYPE_SELL  ? TP_TRADE_SELL
                   : item.type == TYPE_BUY ? 0
                                           : TP_TRADE_SIDELESS;
    set_id(item.id, trade);
    out->count++;
    return TP_DECODE_OK;
}

static enum tp_decode_status deals_decode(const struct tp_body *body, struct tp_text bytes,
                                          struct tp_trade_update *out)
{
    struct tp_protobuf in = tp_protobuf_inside(bytes);
    while (in.at < in.end) {
        struct tp_protobuf_field field;
        enum tp_decode_status status = tp_protobuf_nested_next(&in, &field);
        if (status == TP_DECODE_OK && field.tag == DEALS_ITEM)
            status = trade_append(body, field.bytes, out);
        if (status != TP_DECODE_OK)
            return status;
    }
    return TP_DECODE_OK;
}

/* As of depth: a body of another kind replaces the one before, the same kind again is added. */
enum tp_decode_status tp_mexc_decode_trades(const struct tp_body *body, struct tp_trade_update *out)
{
    struct tp_protobuf in = {body->data, body->data + body->size};
    uint64_t create_ms = 0, send_ms = 0;
    uint32_t tag = 0;
    out->count = out->reserved = 0;
    while (in.at < in.end) {
        struct tp_protobuf_field field;
        enum tp_decode_status status = tp_protobuf_next(&in, &field);
        if (status != TP_DECODE_OK)
            return status;
        if (field.tag == WRAPPER_CREATE_TIME)
            create_ms = field.varint;
        else if (field.tag == WRAPPER_SEND_TIME)
            send_ms = field.varint;
        if (field.tag < BODY_FIRST || field.tag > BODY_LAST ||
            (field.tag & TP_PROTOBUF_TYPE_MASK) != TP_PROTOBUF_BYTES)
            continue;
        if (field.tag != tag)
            out->count = 0;
        tag = field.tag;
        if (tag == BODY_DEALS || tag == BODY_AGGRE_DEALS)
            status = deals_decode(body, field.bytes, out);
        if (status != TP_DECODE_OK)
            return status;
    }
    if (tag != BODY_DEALS && tag != BODY_AGGRE_DEALS)
        return TP_DECODE_UNKNOWN;
    return time_of(send_ms != 0 ? send_ms : create_ms, &out->exchange_ns) ? TP_DECODE_OK
                                                                          : TP_DECODE_BAD_NUMBER;
}
