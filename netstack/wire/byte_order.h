/* Big-endian loads and stores at any alignment: the wire's byte order (RFC 791 appendix B).
 * Called by every file of wire/. */
#ifndef TP_NETSTACK_BYTE_ORDER_H
#define TP_NETSTACK_BYTE_ORDER_H
#include <stdint.h>
#include <string.h>

static inline uint16_t tp_load_be16(const uint8_t *bytes)
{
    uint16_t value;
    memcpy(&value, bytes, sizeof value);
    return __builtin_bswap16(value);
}

static inline uint32_t tp_load_be32(const uint8_t *bytes)
{
    uint32_t value;
    memcpy(&value, bytes, sizeof value);
    return __builtin_bswap32(value);
}

static inline void tp_store_be16(uint8_t *bytes, uint16_t value)
{
    value = __builtin_bswap16(value);
    memcpy(bytes, &value, sizeof value);
}

static inline void tp_store_be32(uint8_t *bytes, uint32_t value)
{
    value = __builtin_bswap32(value);
    memcpy(bytes, &value, sizeof value);
}

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "only little-endian hosts are supported");
#endif
