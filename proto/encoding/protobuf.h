/* A scanner of protobuf's wire format: one field at a time, nothing allocated, no schema.
 *
 * A field of any wire type is read or skipped; groups (wire types 3 and 4) are malformed, since no
 * schema of a venue has them. Inline, because a decoder calls it once or twice a level.
 * Called by the decoders of venues that speak protobuf. Any thread.
 * Source: protobuf's encoding document (developers.google.com/protocol-buffers/docs/encoding). */
#ifndef TP_PROTO_PROTOBUF_H
#define TP_PROTO_PROTOBUF_H
#include <stddef.h>
#include <stdint.h>

#include "proto/encoding/decimal.h"
#include "proto/encoding/status.h"
#include "proto/encoding/text.h"

enum {
    TP_PROTOBUF_VARINT = 0,
    TP_PROTOBUF_FIXED64 = 1,
    TP_PROTOBUF_BYTES = 2,
    TP_PROTOBUF_FIXED32 = 5,
};
enum {
    TP_PROTOBUF_VARINT_SIZE_MAX = 10,
    TP_PROTOBUF_TAG_SIZE_MAX = 5,    /* a tag is 32 bits wide */
    TP_PROTOBUF_LENGTH_SIZE_MAX = 5, /* and so is a length, below 2 GiB */
    TP_PROTOBUF_FIELD_SHIFT = 3,
    TP_PROTOBUF_TYPE_MASK = 7,
    TP_PROTOBUF_TAG_LEAST = 1 << TP_PROTOBUF_FIELD_SHIFT, /* of field 1 */
};

/* What is left of a message. */
struct tp_protobuf {
    const uint8_t *at, *end;
};

struct tp_protobuf_field {
    uint32_t tag;         /* number << TP_PROTOBUF_FIELD_SHIFT | wire type */
    uint64_t varint;      /* TP_PROTOBUF_VARINT */
    struct tp_text bytes; /* TP_PROTOBUF_BYTES: inside the message */
};

/* The message in a field of wire type TP_PROTOBUF_BYTES; any other has no bytes to begin at. */
static inline struct tp_protobuf tp_protobuf_inside(struct tp_text bytes)
{
    return (struct tp_protobuf){bytes.at, bytes.at + bytes.size};
}

enum tp_decode_status tp_protobuf_varint_long(struct tp_protobuf *in, size_t size_max,
                                              uint64_t *out);

/* Two to eight bytes, without a loop: the lowest clear top bit ends the varint; what is above it is
 * masked off and the groups of seven bits move together, in pairs, fours, eights. Returns the size;
 * 0: longer than eight bytes. at[0, 8) must be readable. */
static inline size_t tp_protobuf_varint_join(const uint8_t *at, uint64_t *out)
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

/* The same behind a call, for copies: whose address leaves this file lives in memory, and *in and
 * *out shall stay in registers. */
static inline enum tp_decode_status tp_protobuf_varint_rest(struct tp_protobuf *in, size_t size_max,
                                                            uint64_t *out)
{
    struct tp_protobuf rest = *in;
    uint64_t value = 0;
    const enum tp_decode_status status = tp_protobuf_varint_long(&rest, size_max, &value);
    *in = rest;
    *out = value;
    return status;
}

/* Always inline, as what follows: how much else the library has must not decide whether a level
 * costs calls. */
static inline __attribute__((always_inline)) enum tp_decode_status
tp_protobuf_varint(struct tp_protobuf *in, size_t size_max, uint64_t *out)
{
    if (in->at < in->end && *in->at < 0x80) {
        *out = *in->at++;
        return TP_DECODE_OK;
    }
    if (in->end - in->at >= (ptrdiff_t)sizeof(uint64_t)) {
        const size_t size = tp_protobuf_varint_join(in->at, out);
        if (size != 0 && size <= size_max) {
            in->at += size;
            return TP_DECODE_OK;
        }
    }
    return tp_protobuf_varint_rest(in, size_max, out);
}

static inline enum tp_decode_status tp_protobuf_skip(struct tp_protobuf *in, uint64_t size)
{
    if (size > (uint64_t)(in->end - in->at))
        return TP_DECODE_TRUNCATED;
    in->at += size;
    return TP_DECODE_OK;
}

static inline __attribute__((always_inline)) enum tp_decode_status
tp_protobuf_length(struct tp_protobuf *in, struct tp_text *out)
{
    uint64_t size;
    const enum tp_decode_status status = tp_protobuf_varint(in, TP_PROTOBUF_LENGTH_SIZE_MAX, &size);
    if (status != TP_DECODE_OK)
        return status;
    if (size > INT32_MAX)
        return TP_DECODE_MALFORMED;
    out->at = in->at;
    out->size = (size_t)size;
    return tp_protobuf_skip(in, size);
}

/* Reads one field of any wire type, known or not. Call while in->at < in->end. Inlined so that the
 * field stays in registers: written to memory in halves and read back whole, it stalls. */
static inline __attribute__((always_inline)) enum tp_decode_status
tp_protobuf_next(struct tp_protobuf *in, struct tp_protobuf_field *out)
{
    uint64_t tag;
    const enum tp_decode_status status = tp_protobuf_varint(in, TP_PROTOBUF_TAG_SIZE_MAX, &tag);
    if (status != TP_DECODE_OK)
        return status;
    if (tag - TP_PROTOBUF_TAG_LEAST >
        (uint64_t)UINT32_MAX - TP_PROTOBUF_TAG_LEAST) /* below 1 << SHIFT it wraps: no field 0 */
        return TP_DECODE_MALFORMED;
    out->tag = (uint32_t)tag;
    out->bytes = (struct tp_text){NULL, 0};
    out->varint = 0;
    if ((out->tag & TP_PROTOBUF_TYPE_MASK) == TP_PROTOBUF_BYTES) /* most fields by far */
        return tp_protobuf_length(in, &out->bytes);
    switch (out->tag & TP_PROTOBUF_TYPE_MASK) {
    case TP_PROTOBUF_VARINT:
        return tp_protobuf_varint(in, TP_PROTOBUF_VARINT_SIZE_MAX, &out->varint);
    case TP_PROTOBUF_FIXED64:
        return tp_protobuf_skip(in, sizeof(uint64_t));
    case TP_PROTOBUF_FIXED32:
        return tp_protobuf_skip(in, sizeof(uint32_t));
    default:
        return TP_DECODE_MALFORMED;
    }
}

/* Inside a body the end is a length that we were told: running past it means that one of the two
 * lengths lies, not that bytes are still to come. */
static inline __attribute__((always_inline)) enum tp_decode_status
tp_protobuf_nested_next(struct tp_protobuf *in, struct tp_protobuf_field *out)
{
    const enum tp_decode_status status = tp_protobuf_next(in, out);
    return status == TP_DECODE_TRUNCATED ? TP_DECODE_MALFORMED : status;
}
#endif
