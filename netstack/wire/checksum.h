/* The Internet checksum (RFC 1071) over one or more spans, unaligned-safe.
 *
 *   sum = tp_checksum_pseudo_header(source, destination, protocol, size);
 *   sum = tp_checksum_partial(header, header_size, sum);
 *   sum = tp_checksum_partial(payload, payload_size, sum);
 *   to write:  tp_store_be16(field, tp_checksum_finish(sum))   with the field zero while summing
 *   to verify: tp_checksum_is_valid(sum)                       with the field as received
 *
 * Called by ipv4, icmp, the TCP output path and netif. No state. */
#ifndef TP_NETSTACK_CHECKSUM_H
#define TP_NETSTACK_CHECKSUM_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Adds data to a running sum; start with 0. Every span but the last must be of even size (RFC 1071
 * 4.1: an odd byte is padded with zero). Up to 2^20 bytes may go into one sum. */
uint64_t tp_checksum_partial(const void *data, size_t size, uint64_t sum);

/* The sum of the TCP or UDP pseudo-header (RFC 9293 3.1). Addresses in host byte order; size counts
 * the transport header and its payload. */
uint64_t tp_checksum_pseudo_header(uint32_t source_address, uint32_t destination_address,
                                   uint8_t protocol, uint32_t size);

/* The 16-bit one's-complement sum, not complemented, as a number in host byte order. */
static inline uint16_t tp_checksum_fold(uint64_t sum)
{
    sum = (sum & 0xffffffffu) + (sum >> 32);
    sum = (sum & 0xffffffffu) + (sum >> 32);
    sum = (sum & 0xffffu) + (sum >> 16);
    sum = (sum & 0xffffu) + (sum >> 16);
    return __builtin_bswap16((uint16_t)sum);
}

/* What goes into the checksum field, in host byte order. */
static inline uint16_t tp_checksum_finish(uint64_t sum)
{
    return (uint16_t)~tp_checksum_fold(sum);
}

/* True when the sum covered a correct checksum field. */
static inline bool tp_checksum_is_valid(uint64_t sum)
{
    return tp_checksum_fold(sum) == 0xffffu;
}
#endif
