/* MEXC push messages to fixed point: one pass over the bytes, nothing allocated.
 *
 * Three layers, bottom first: a protobuf field scanner (field_next), the depth bodies (body_decode,
 * level_decode), the wrapper (tp_mexc_decode_depth). The router at the end needs none of them.
 * Called by engine/feed and by tests; calls decimal.h. Any thread.
 * Source: protobuf's encoding document for the wire; README.md here for MEXC's fields and for the
 * ways in which this reader is deliberately stricter or looser than Google's. */
#include "proto/venues/mexc/decode.h"

#include <string.h>

#include "proto/encoding/decimal.h"
#include "proto/venues/mexc/levels.h"

enum {
    WIRE_VARINT = 0,
    WIRE_FIXED64 = 1,
    WIRE_BYTES = 2,
    WIRE_FIXED32 = 5, /* 3 and 4 are groups: no schema of MEXC's has them, refused */
};
enum {
    VARINT_SIZE_MAX = 10,
    TAG_SIZE_MAX = 5,    /* a tag is 32 bits wide */
    LENGTH_SIZE_MAX = 5, /* and so is a length, below 2 GiB */
    FIELD_SHIFT = 3,
    WIRE_TYPE_MASK = 7,
};
/* Whole tags, number << FIELD_SHIFT | wire type: a known number with another type is an unknown
 * field, as protobuf has it. */
enum {
    WRAPPER_CREATE_TIME = 5 << FIELD_SHIFT | WIRE_VARINT,
    WRAPPER_SEND_TIME = 6 << FIELD_SHIFT | WIRE_VARINT,
    BODY_FIRST = 301 << FIELD_SHIFT | WIRE_BYTES,
    BODY_INCREASE_DEPTHS = 302 << FIELD_SHIFT | WIRE_BYTES,
    BODY_LIMIT_DEPTHS = 303 << FIELD_SHIFT | WIRE_BYTES,
    BODY_BOOK_TICKER = 305 << FIELD_SHIFT | WIRE_BYTES,
    BODY_AGGRE_DEPTHS = 313 << FIELD_SHIFT | WIRE_BYTES,
    BODY_AGGRE_BOOK_TICKER = 315 << FIELD_SHIFT | WIRE_BYTES,
    BODY_LAST = BODY_AGGRE_BOOK_TICKER,
};
enum {
    DEPTH_ASKS = 1 << FIELD_SHIFT | WIRE_BYTES,
    DEPTH_BIDS = 2 << FIELD_SHIFT | WIRE_BYTES,
    DEPTH_VERSION = 4 << FIELD_SHIFT | WIRE_BYTES,
    DEPTH_TO_VERSION = 5 << FIELD_SHIFT | WIRE_BYTES,
};
enum {
    ITEM_PRICE = 1 << FIELD_SHIFT | WIRE_BYTES,
    ITEM_QUANTITY = 2 << FIELD_SHIFT | WIRE_BYTES,
};
enum {
    TICKER_BID_PRICE = 1 << FIELD_SHIFT | WIRE_BYTES,
    TICKER_BID_QUANTITY = 2 << FIELD_SHIFT | WIRE_BYTES,
    TICKER_ASK_PRICE = 3 << FIELD_SHIFT | WIRE_BYTES,
    TICKER_ASK_QUANTITY = 4 << FIELD_SHIFT | WIRE_BYTES,
    TICKER_VERSION = 5 << FIELD_SHIFT | WIRE_BYTES,
};

static const uint64_t NANOSECONDS_PER_MS = 1000000;

struct text {
    const uint8_t *at; /* NULL: the field was absent */
    size_t size;
};

struct field {
    uint32_t tag;
    uint64_t varint;   /* WIRE_VARINT */
    struct text bytes; /* WIRE_BYTES: inside the message */
};

struct reader {
    const uint8_t *at, *end;
};

/* What a body says besides its levels. Parsed when the message has ended, since the last occurrence
 * of a field is the one that counts. */
struct body {
    uint32_t tag; /* the oneof's member; 0: none yet */
    struct text first_version, last_version;
    struct text bid_price, bid_quantity, ask_price, ask_quantity; /* tickers only */
};

/* Two to eight bytes, without a loop: the lowest clear top bit ends the varint; what is above it is
 * masked off and the groups of seven bits move together, in pairs, fours, eights. Returns the size;
 * 0: longer than eight bytes. at[0, 8) must be readable. */
static inline size_t varint_join(const uint8_t *at, uint64_t *out)
{
    const uint64_t word = tp_load_8(at);
    const uint64_t ends = ~word & 0x8080808080808080;
    if (ends == 0)
        return 0;
    uint64_t value = word & (ends ^ (ends - 1)) & 0x7f7f7f7f7f7f7f7f;
    value = (value & 0x007f007f007f007f) | (value & 0x7f007f007f007f00) >> 1;
    value = (value & 0x00003fff00003fff) | (value & 0x3fff00003fff0000) >> 2;
    value = (value & 0x000000000fffffff) | (value & 0x0fffffff00000000) >> 4;
    *out = value;
    return ((size_t)__builtin_ctzll(ends) >> 3) + 1;
}

static enum tp_mexc_status varint_read_long(struct reader *in, size_t size_max, uint64_t *out)
{
    uint64_t value = 0;
    const uint8_t *at = in->at;
    for (size_t i = 0; i < size_max; i++) {
        if (at == in->end)
            return TP_MEXC_TRUNCATED;
        const uint8_t byte = *at++;
        if (i == VARINT_SIZE_MAX - 1 && byte > 1)
            return TP_MEXC_MALFORMED; /* more than 64 bits */
        value |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (byte < 0x80) {
            in->at = at;
            *out = value;
            return TP_MEXC_OK;
        }
    }
    return TP_MEXC_MALFORMED;
}

static inline enum tp_mexc_status varint_read(struct reader *in, size_t size_max, uint64_t *out)
{
    if (in->at < in->end && *in->at < 0x80) {
        *out = *in->at++;
        return TP_MEXC_OK;
    }
    if (in->end - in->at >= (ptrdiff_t)sizeof(uint64_t)) {
        const size_t size = varint_join(in->at, out);
        if (size != 0 && size <= size_max) {
            in->at += size;
            return TP_MEXC_OK;
        }
    }
    return varint_read_long(in, size_max, out);
}

static inline enum tp_mexc_status bytes_skip(struct reader *in, uint64_t size)
{
    if (size > (uint64_t)(in->end - in->at))
        return TP_MEXC_TRUNCATED;
    in->at += size;
    return TP_MEXC_OK;
}

static inline enum tp_mexc_status length_read(struct reader *in, struct text *out)
{
    uint64_t size;
    const enum tp_mexc_status status = varint_read(in, LENGTH_SIZE_MAX, &size);
    if (status != TP_MEXC_OK)
        return status;
    if (size > INT32_MAX)
        return TP_MEXC_MALFORMED;
    out->at = in->at;
    out->size = (size_t)size;
    return bytes_skip(in, size);
}

/* Reads one field of any wire type, known or not. Call while in->at < in->end. Inlined so that the
 * field stays in registers: written to memory in halves and read back whole, it stalls. */
static inline __attribute__((always_inline)) enum tp_mexc_status field_next(struct reader *in,
                                                                            struct field *out)
{
    uint64_t tag;
    const enum tp_mexc_status status = varint_read(in, TAG_SIZE_MAX, &tag);
    if (status != TP_MEXC_OK)
        return status;
    if (tag > UINT32_MAX || tag >> FIELD_SHIFT == 0)
        return TP_MEXC_MALFORMED;
    out->tag = (uint32_t)tag;
    out->bytes = (struct text){NULL, 0};
    out->varint = 0;
    switch (out->tag & WIRE_TYPE_MASK) {
    case WIRE_VARINT:
        return varint_read(in, VARINT_SIZE_MAX, &out->varint);
    case WIRE_FIXED64:
        return bytes_skip(in, sizeof(uint64_t));
    case WIRE_BYTES:
        return length_read(in, &out->bytes);
    case WIRE_FIXED32:
        return bytes_skip(in, sizeof(uint32_t));
    default:
        return TP_MEXC_MALFORMED;
    }
}

/* Inside a body the end is a length that we were told: running past it means that one of the two
 * lengths lies, not that bytes are still to come. */
static inline __attribute__((always_inline)) enum tp_mexc_status nested_next(struct reader *in,
                                                                             struct field *out)
{
    const enum tp_mexc_status status = field_next(in, out);
    return status == TP_MEXC_TRUNCATED ? TP_MEXC_MALFORMED : status;
}

static bool number_parse(const struct tp_mexc_levels *d, struct text text, uint32_t digits,
                         int64_t *out)
{
    const struct tp_decimal_scale scale = tp_decimal_scale(-(int32_t)digits);
    if (d->message_end - text.at >= TP_DECIMAL_LOAD_SIZE)
        return tp_decimal_parse_loadable(text.at, text.size, &scale, out);
    return tp_decimal_parse(text.at, text.size, -(int32_t)digits, out);
}

static enum tp_mexc_status level_store(const struct tp_mexc_levels *d, struct text price,
                                       struct text quantity, struct tp_level *out)
{
    if (price.at == NULL || quantity.at == NULL)
        return TP_MEXC_BAD_NUMBER;
    if (!number_parse(d, price, d->price_digits, &out->price) ||
        !number_parse(d, quantity, d->quantity_digits, &out->quantity))
        return TP_MEXC_BAD_NUMBER;
    return TP_MEXC_OK;
}

static enum tp_mexc_status level_decode(const struct tp_mexc_levels *d, struct text item,
                                        struct tp_level *out)
{
    struct reader in = {item.at, item.at + item.size};
    struct text price = {NULL, 0}, quantity = {NULL, 0};
    while (in.at < in.end) {
        struct field field;
        const enum tp_mexc_status status = nested_next(&in, &field);
        if (status != TP_MEXC_OK)
            return status;
        if (field.tag == ITEM_PRICE)
            price = field.bytes;
        else if (field.tag == ITEM_QUANTITY)
            quantity = field.bytes;
    }
    return level_store(d, price, quantity, out);
}

static enum tp_mexc_status level_append(const struct tp_mexc_levels *d, bool ask, struct text item)
{
    uint32_t *count = ask ? &d->out->ask_count : &d->out->bid_count;
    struct tp_level *levels = ask ? d->out->asks : d->out->bids;
    if (*count == TP_DEPTH_LEVEL_COUNT_MAX)
        return TP_MEXC_TOO_MANY_LEVELS;
    const enum tp_mexc_status status = level_decode(d, item, &levels[*count]);
    *count += status == TP_MEXC_OK;
    return status;
}

static inline void depth_field(struct body *body, const struct field *field)
{
    if (field->tag == DEPTH_VERSION) {
        body->first_version = field->bytes;
        if (body->tag != BODY_AGGRE_DEPTHS)
            body->last_version = field->bytes;
    } else if (field->tag == DEPTH_TO_VERSION && body->tag == BODY_AGGRE_DEPTHS) {
        body->last_version = field->bytes;
    }
}

static enum tp_mexc_status depth_decode(const struct tp_mexc_levels *d, struct body *body,
                                        struct reader in)
{
    while (in.at < in.end) {
        if (*in.at == DEPTH_ASKS || *in.at == DEPTH_BIDS) {
            in.at = tp_mexc_levels_decode(d, in.at, in.end);
            if (in.at == in.end)
                break;
        }
        struct field field;
        enum tp_mexc_status status = nested_next(&in, &field);
        if (status == TP_MEXC_OK && (field.tag == DEPTH_ASKS || field.tag == DEPTH_BIDS))
            status = level_append(d, field.tag == DEPTH_ASKS, field.bytes);
        if (status != TP_MEXC_OK)
            return status;
        depth_field(body, &field);
    }
    return TP_MEXC_OK;
}

static void ticker_field(struct body *body, const struct field *field)
{
    switch (field->tag) {
    case TICKER_BID_PRICE:
        body->bid_price = field->bytes;
        break;
    case TICKER_BID_QUANTITY:
        body->bid_quantity = field->bytes;
        break;
    case TICKER_ASK_PRICE:
        body->ask_price = field->bytes;
        break;
    case TICKER_ASK_QUANTITY:
        body->ask_quantity = field->bytes;
        break;
    case TICKER_VERSION:
        if (body->tag == BODY_AGGRE_BOOK_TICKER)
            body->first_version = body->last_version = field->bytes;
        break;
    default:
        break; /* unknown: skipped */
    }
}

static enum tp_mexc_status ticker_decode(struct body *body, struct reader in)
{
    while (in.at < in.end) {
        struct field field;
        const enum tp_mexc_status status = nested_next(&in, &field);
        if (status != TP_MEXC_OK)
            return status;
        ticker_field(body, &field);
    }
    return TP_MEXC_OK;
}

/* A body of another kind replaces the one before; the same kind again is merged into it: levels are
 * appended, single fields overwritten (proto3, "Last One Wins" and oneof). */
static enum tp_mexc_status body_decode(const struct tp_mexc_levels *d, struct body *body,
                                       const struct field *field)
{
    if (body->tag != field->tag) {
        *body = (struct body){.tag = field->tag};
        d->out->bid_count = d->out->ask_count = 0;
    }
    const struct reader in = {field->bytes.at, field->bytes.at + field->bytes.size};
    switch (body->tag) {
    case BODY_AGGRE_DEPTHS:
    case BODY_INCREASE_DEPTHS:
    case BODY_LIMIT_DEPTHS:
        return depth_decode(d, body, in);
    case BODY_BOOK_TICKER:
    case BODY_AGGRE_BOOK_TICKER:
        return ticker_decode(body, in);
    default:
        return TP_MEXC_OK; /* not ours to look into */
    }
}

/* A ticker side without price and quantity is an empty side. */
static enum tp_mexc_status ticker_side(const struct tp_mexc_levels *d, struct text price,
                                       struct text quantity, uint32_t *count, struct tp_level *out)
{
    *count = 0;
    if (price.size == 0 && quantity.size == 0)
        return TP_MEXC_OK;
    const enum tp_mexc_status status = level_store(d, price, quantity, out);
    *count = status == TP_MEXC_OK;
    return status;
}

static enum tp_mexc_status ticker_finish(const struct tp_mexc_levels *d, const struct body *body)
{
    struct tp_depth_update *out = d->out;
    const enum tp_mexc_status status =
        ticker_side(d, body->bid_price, body->bid_quantity, &out->bid_count, out->bids);
    if (status != TP_MEXC_OK)
        return status;
    return ticker_side(d, body->ask_price, body->ask_quantity, &out->ask_count, out->asks);
}

static enum tp_mexc_status versions_finish(const struct tp_mexc_levels *d, const struct body *body)
{
    struct tp_depth_update *out = d->out;
    const bool ticker = body->tag == BODY_BOOK_TICKER || body->tag == BODY_AGGRE_BOOK_TICKER;
    if (ticker && body->first_version.size == 0) {
        out->first_version = out->last_version = 0; /* the field is newer than the message */
        return TP_MEXC_OK;
    }
    if (!tp_version_parse(body->first_version.at, body->first_version.size, &out->first_version) ||
        !tp_version_parse(body->last_version.at, body->last_version.size, &out->last_version))
        return TP_MEXC_BAD_NUMBER;
    return out->first_version <= out->last_version ? TP_MEXC_OK : TP_MEXC_BAD_NUMBER;
}

static enum tp_mexc_status body_finish(const struct tp_mexc_levels *d, const struct body *body)
{
    switch (body->tag) {
    case BODY_AGGRE_DEPTHS:
    case BODY_INCREASE_DEPTHS:
    case BODY_LIMIT_DEPTHS:
        return versions_finish(d, body);
    case BODY_BOOK_TICKER:
    case BODY_AGGRE_BOOK_TICKER: {
        const enum tp_mexc_status status = ticker_finish(d, body);
        return status == TP_MEXC_OK ? versions_finish(d, body) : status;
    }
    default:
        return TP_MEXC_UNKNOWN_BODY;
    }
}

static enum tp_mexc_status wrapper_decode(const struct tp_mexc_levels *d, struct reader in,
                                          struct body *body, uint64_t times_ms[2])
{
    while (in.at < in.end) {
        struct field field;
        enum tp_mexc_status status = field_next(&in, &field);
        if (status != TP_MEXC_OK)
            return status;
        if (field.tag == WRAPPER_CREATE_TIME)
            times_ms[0] = field.varint;
        else if (field.tag == WRAPPER_SEND_TIME)
            times_ms[1] = field.varint;
        else if (field.tag >= BODY_FIRST && field.tag <= BODY_LAST &&
                 (field.tag & WIRE_TYPE_MASK) == WIRE_BYTES)
            status = body_decode(d, body, &field);
        if (status != TP_MEXC_OK)
            return status;
    }
    return TP_MEXC_OK;
}

enum tp_mexc_status tp_mexc_decode_depth(const uint8_t *data, size_t size,
                                         const struct tp_mexc_scale *scale,
                                         struct tp_depth_update *out)
{
    const struct tp_mexc_levels d = {
        .price_digits = tp_decimal_digits(scale->price_exponent),
        .quantity_digits = tp_decimal_digits(scale->quantity_exponent),
        .message_end = data + size,
        .out = out,
    };
    struct body body; /* its other members are set with the first body's tag */
    body.tag = 0;
    uint64_t times_ms[2] = {0, 0}; /* createTime, sendTime */
    out->bid_count = out->ask_count = 0;
    enum tp_mexc_status status =
        wrapper_decode(&d, (struct reader){data, data + size}, &body, times_ms);
    if (status == TP_MEXC_OK)
        status = body_finish(&d, &body);
    if (status != TP_MEXC_OK)
        return status;
    const uint64_t time_ms = times_ms[1] != 0 ? times_ms[1] : times_ms[0];
    if (time_ms > UINT64_MAX / NANOSECONDS_PER_MS)
        return TP_MEXC_BAD_NUMBER; /* negative, or far beyond any clock */
    out->exchange_ns = time_ms * NANOSECONDS_PER_MS;
    return TP_MEXC_OK;
}

const char *tp_mexc_status_name(enum tp_mexc_status status)
{
    switch (status) {
    case TP_MEXC_OK:
        return "ok";
    case TP_MEXC_UNKNOWN_CHANNEL:
        return "unknown channel";
    case TP_MEXC_UNKNOWN_BODY:
        return "unknown body";
    case TP_MEXC_TRUNCATED:
        return "truncated";
    case TP_MEXC_MALFORMED:
        return "malformed";
    case TP_MEXC_BAD_NUMBER:
        return "bad number";
    case TP_MEXC_TOO_MANY_LEVELS:
        return "too many levels";
    }
    return "not a status";
}
