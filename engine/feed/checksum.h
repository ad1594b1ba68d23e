/* CRC-32 (ISO 3309, as zlib's) of the digits of a book's best levels: TP_CHECKSUM_TEN.
 *
 * A level's text is its price and its quantity without point and without zeros in front: the digits
 * of its mantissas, where an instrument's exponents are the digits that the venue writes. The text
 * is made in one buffer, eight digits at a time, and folded sixteen bytes at a time by carry-less
 * multiplication; where the processor has none, four bits at a time by a table.
 * Called by: depth.c. Pure; any thread.
 * Source: V. Gopal and others, Fast CRC Computation for Generic Polynomials Using PCLMULQDQ
 * Instruction (Intel, 2009). */
#ifndef TP_ENGINE_CHECKSUM_H
#define TP_ENGINE_CHECKSUM_H
#include <stdint.h>

#include "proto/records.h"

enum {
    TP_CHECKSUM_LEVELS = 10, /* a side */
    TP_CHECKSUM_DIGITS_MAX = 19,
    TP_CHECKSUM_TEXT_MAX = 2 * TP_CHECKSUM_LEVELS * 2 * TP_CHECKSUM_DIGITS_MAX,
};

/* Of asks[0, ask_count), then bids[0, bid_count), best first; TP_CHECKSUM_LEVELS at most each. */
uint32_t tp_checksum_ten(const struct tp_level *asks, uint32_t ask_count,
                         const struct tp_level *bids, uint32_t bid_count);
/* Of any bytes, by the table alone: what the fast way is held to. */
uint32_t tp_crc32_by_table(const uint8_t *data, uint32_t size);
#endif
