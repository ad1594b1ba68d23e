/* Comparison of 32-bit sequence numbers that wrap (RFC 9293 3.4). Valid while both lie within 2^31
 * of each other: windows are at most 2^30 (RFC 7323 2.3). */
#ifndef TP_NETSTACK_TCP_SEQUENCE_H
#define TP_NETSTACK_TCP_SEQUENCE_H
#include <stdbool.h>
#include <stdint.h>

static inline bool tp_sequence_before(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) < 0;
}

static inline bool tp_sequence_after(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) > 0;
}

static inline uint32_t tp_sequence_max(uint32_t a, uint32_t b)
{
    return tp_sequence_after(a, b) ? a : b;
}

static inline uint32_t tp_sequence_min(uint32_t a, uint32_t b)
{
    return tp_sequence_before(a, b) ? a : b;
}
#endif
