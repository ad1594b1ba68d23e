/* An Ethernet II header as a checked view (IEEE 802.3 3.2; no VLAN tags). Called by netif. */
#ifndef TP_NETSTACK_ETHERNET_H
#define TP_NETSTACK_ETHERNET_H
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "netstack/span.h"
#include "netstack/wire/byte_order.h"

enum { TP_ETHERNET_HEADER_SIZE = 14, TP_ETHERNET_ADDRESS_SIZE = 6 };
enum { TP_ETHERNET_TYPE_IPV4 = 0x0800 };

struct tp_ethernet_view {
    const uint8_t *destination; /* 6 bytes, borrowed from the frame */
    const uint8_t *source;
    uint16_t type;
    struct tp_span payload; /* with any padding: only the IP header knows the true length */
};

/* False when the frame is shorter than its header. */
static inline bool tp_ethernet_parse(struct tp_span frame, struct tp_ethernet_view *out)
{
    if (frame.size < TP_ETHERNET_HEADER_SIZE)
        return false;
    out->destination = frame.data;
    out->source = frame.data + TP_ETHERNET_ADDRESS_SIZE;
    out->type = tp_load_be16(frame.data + 12);
    out->payload = (struct tp_span){frame.data + TP_ETHERNET_HEADER_SIZE,
                                    frame.size - TP_ETHERNET_HEADER_SIZE};
    return true;
}

/* Writes TP_ETHERNET_HEADER_SIZE bytes. */
static inline void tp_ethernet_write_header(uint8_t *out, const uint8_t *destination,
                                            const uint8_t *source, uint16_t type)
{
    memcpy(out, destination, TP_ETHERNET_ADDRESS_SIZE);
    memcpy(out + TP_ETHERNET_ADDRESS_SIZE, source, TP_ETHERNET_ADDRESS_SIZE);
    tp_store_be16(out + 12, type);
}
#endif
