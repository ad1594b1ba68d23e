/* A link with an address: Ethernet and IPv4 in both directions, frames sorted to TCP connections by
 * local port. Called by session.c and engine/feed_handler/hot_path.c; calls link, wire, tcp. One
 * thread.
 *
 * The neighbour's MAC address comes from the kernel's table (netstack/route.py): ARP stays there.
 */
#ifndef TP_NETSTACK_NETIF_H
#define TP_NETSTACK_NETIF_H
#include <stdint.h>

#include "netstack/link/link.h"
#include "netstack/tcp/connection.h"

enum { TP_NETIF_PORT_COUNT_MAX = 4096, TP_NETIF_HEADERS_SIZE = 14 + 20 };

struct tp_netif_counters {
    uint64_t segments_in, segments_out, not_ipv4, bad_ipv4, bad_checksum, bad_tcp, no_connection,
        icmp_errors, tx_full;
};

/* What sits behind a local port. */
struct tp_netif_flow {
    struct tp_tcp *tcp;
    void *owner; /* handed back by tp_netif_input */
    uint32_t remote_address;
    uint16_t remote_port, local_port;
    _Atomic uint64_t next_hop_mac; /* six bytes in memory order; a cold thread may renew it */
};

struct tp_netif {
    struct tp_link *link;
    uint8_t mac[6];
    uint32_t address; /* host byte order */
    uint16_t port_low, port_count;
    struct tp_netif_counters counters;
    struct tp_netif_flow *flows; /* [port_count], by local port - port_low */
};

/* flows: port_count zeroed entries, borrowed. */
void tp_netif_init(struct tp_netif *netif, struct tp_link *link, const uint8_t mac[6],
                   uint32_t address);
void tp_netif_ports(struct tp_netif *netif, struct tp_netif_flow *flows, uint16_t port_low,
                    uint16_t port_count);
/* config names the ports and the remote address. NULL when local_port lies outside the range or is
 * taken. owner is what tp_netif_input returns for this flow. */
struct tp_netif_flow *tp_netif_bind(struct tp_netif *netif, const struct tp_tcp_config *config,
                                    struct tp_tcp *tcp, void *owner);
void tp_netif_unbind(struct tp_netif_flow *flow);
/* Any thread: where frames to this flow's peer go from now on. */
void tp_netif_next_hop(struct tp_netif_flow *flow, const uint8_t mac[6]);

/* Checks one frame. Returns the owner of its connection and fills *segment (payload borrowed from
 * the frame), or NULL: not for us, broken, or an ICMP error (already passed to its connection). */
void *tp_netif_input(struct tp_netif *netif, const struct tp_frame *frame,
                     struct tp_tcp_segment *segment);
/* Commits all segments that tcp has due now, at most budget. Returns how many; the caller kicks. */
uint32_t tp_netif_output(struct tp_netif *netif, struct tp_netif_flow *flow, uint64_t now_ns,
                         uint32_t budget);
#endif
