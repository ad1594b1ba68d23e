/* The Internet checksum (RFC 1071). Sums little-endian words: a one's-complement sum does not
 * depend on the byte order until it is read as a number (RFC 1071 2.B), so only the fold swaps. */
#include "netstack/wire/checksum.h"

#include <string.h>

/* 32-bit halves into 64-bit accumulators: no carry can be lost below 2^32 additions, and the
 * compiler turns the loop into vector additions. */
uint64_t tp_checksum_partial(const void *data, size_t size, uint64_t sum)
{
    const uint8_t *bytes = data;
    uint64_t accumulator[4] = {0, 0, 0, 0};

    while (size >= 16) {
        uint32_t words[4];
        memcpy(words, bytes, sizeof words);
        accumulator[0] += words[0];
        accumulator[1] += words[1];
        accumulator[2] += words[2];
        accumulator[3] += words[3];
        bytes += 16;
        size -= 16;
    }
    sum += accumulator[0] + accumulator[1] + accumulator[2] + accumulator[3];
    while (size >= 2) {
        uint16_t word;
        memcpy(&word, bytes, sizeof word);
        sum += word;
        bytes += 2;
        size -= 2;
    }
    if (size == 1)
        sum += *bytes;
    return sum;
}

uint64_t tp_checksum_pseudo_header(uint32_t source_address, uint32_t destination_address,
                                   uint8_t protocol, uint32_t size)
{
    return (uint64_t)__builtin_bswap32(source_address) + __builtin_bswap32(destination_address) +
           __builtin_bswap32(protocol) + __builtin_bswap32(size);
}
