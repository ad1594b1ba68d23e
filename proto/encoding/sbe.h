/* Simple Binary Encoding (FIX SBE 1.0): what any message of it has, whatever its schema.
 *
 * A message is a header, a block of fields at fixed places, groups (a header, then entries that are
 * blocks), and texts. Places come from the schema (sbe_build.py makes accessors of it), lengths
 * from the wire: where a block is longer than our schema says, a newer version wrote more behind
 * what we know, and that is passed over. A decimal is a mantissa and an exponent apart: one
 * multiplication makes it a mantissa of the instrument's own exponent, exactly, or it is refused.
 * Called by decoders of venues. Any thread. */
#ifndef TP_PROTO_SBE_H
#define TP_PROTO_SBE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "proto/encoding/decimal.h" /* which asserts that the lowest byte comes first */
#include "proto/records.h"

enum { TP_SBE_HEADER_SIZE = 8, TP_SBE_POWER_MAX = 18, TP_SBE_SCALE_COUNT = 38 };

struct tp_sbe_header {
    uint16_t block_length, template_id, schema_id, version;
};

/* What is not read yet. */
struct tp_sbe {
    const uint8_t *at, *end;
};

struct tp_sbe_group {
    const uint8_t *entries;
    uint32_t count, stride; /* stride: from one entry to the next */
};

/* Mantissas of one exponent, to become those of another. */
struct tp_sbe_scale {
    uint64_t multiplier; /* 10^n; or, to divide, the inverse of 5^n modulo 2^64 */
    uint64_t whole_max;  /* the largest mantissa that may come */
    uint64_t scaled_max; /* the largest that may come of it: above, it was not divisible */
    uint64_t rotation;   /* n, to divide */
    /* Bits of which none is in any mantissa that may come, or in what comes of it, unless it is one
     * of the few that are near a limit. */
    uint64_t whole_never, scaled_never;
};

static inline uint8_t tp_sbe_u8(const uint8_t *at)
{
    return *at;
}

static inline int8_t tp_sbe_i8(const uint8_t *at)
{
    return (int8_t)*at;
}

static inline uint16_t tp_sbe_u16(const uint8_t *at)
{
    uint16_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static inline uint32_t tp_sbe_u32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static inline int64_t tp_sbe_i64(const uint8_t *at)
{
    int64_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

/* in->end - in->at >= TP_SBE_HEADER_SIZE. */
static inline struct tp_sbe_header tp_sbe_header(struct tp_sbe in)
{
    return (struct tp_sbe_header){tp_sbe_u16(in.at), tp_sbe_u16(in.at + 2), tp_sbe_u16(in.at + 4),
                                  tp_sbe_u16(in.at + 6)};
}

/* Goes behind a block, at which *out is; size: what is read of it. False: it is shorter, or cut. */
static inline bool tp_sbe_block(struct tp_sbe *in, uint32_t length, uint32_t size,
                                const uint8_t **out)
{
    *out = in->at;
    if (length < size || length > (size_t)(in->end - in->at))
        return false;
    in->at += length;
    return true;
}

/* Goes behind a group. count_size: of the number of its entries, 2 or 4; size: what is read of an
 * entry. False: entries are shorter, or cut. */
static inline bool tp_sbe_group(struct tp_sbe *in, uint32_t count_size, uint32_t size,
                                struct tp_sbe_group *out)
{
    const uint32_t header = 2 + count_size;
    if ((size_t)(in->end - in->at) < header)
        return false;
    out->stride = tp_sbe_u16(in->at);
    out->count = count_size == 2 ? tp_sbe_u16(in->at + 2) : tp_sbe_u32(in->at + 2);
    out->entries = in->at + header;
    const uint64_t bytes = (uint64_t)out->count * out->stride;
    if ((out->stride < size && out->count > 0) || bytes > (uint64_t)(in->end - out->entries))
        return false;
    in->at = out->entries + bytes;
    return true;
}

/* Goes behind a text with a length of one byte. */
static inline bool tp_sbe_text(struct tp_sbe *in, struct tp_text *out)
{
    if (in->at == in->end || *in->at > in->end - in->at - 1)
        return false;
    *out = (struct tp_text){in->at + 1, *in->at};
    in->at += 1 + out->size;
    return true;
}

/* By the powers of ten that are to be multiplied by, from -18 on; the last one is of all others. */
extern const struct tp_sbe_scale tp_sbe_scales[TP_SBE_SCALE_COUNT];

/* from: any; to: TP_DECIMAL_EXPONENT_MIN to 0. */
static inline const struct tp_sbe_scale *tp_sbe_scale(int32_t from, int32_t to)
{
    const uint32_t place = (uint32_t)(from - to + TP_SBE_POWER_MAX);
    return &tp_sbe_scales[place < TP_SBE_SCALE_COUNT ? place : TP_SBE_SCALE_COUNT - 1];
}

/* mantissa * 10^from as a mantissa of `to`; false: negative, or not exactly one. To divide by 10^n
 * is to multiply by the inverse of 5^n and to rotate by n: what is not divisible ends up above all
 * that is (Granlund and Montgomery, Division by Invariant Integers, section 9). */
static inline bool tp_sbe_scaled(const struct tp_sbe_scale *scale, int64_t mantissa, int64_t *out)
{
    const uint64_t whole = (uint64_t)mantissa, product = whole * scale->multiplier;
    const uint64_t scaled = product >> scale->rotation | product << (-scale->rotation & 63);
    *out = (int64_t)scaled;
    return (whole <= scale->whole_max) & (scaled <= scale->scaled_max);
}

/* The prices and quantities that the entries of two groups begin with, of 16 bytes or more. False:
 * one may have to be refused, and what is in bids and asks counts for nothing; tp_sbe_scaled says
 * which it is. */
bool tp_sbe_levels(const struct tp_sbe_scale *price, const struct tp_sbe_scale *quantity,
                   const struct tp_sbe_group groups[2], struct tp_level *bids,
                   struct tp_level *asks);

/* Why tp_sbe_scaled refused a mantissa. */
enum tp_decode_status tp_sbe_refusal(int64_t mantissa, int32_t from, int32_t to);
#endif
