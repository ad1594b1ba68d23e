#include "netstack/netif.h"

#include <assert.h>
#include <stdatomic.h>
#include <string.h>

#include "netstack/wire/checksum.h"
#include "netstack/wire/ethernet.h"
#include "netstack/wire/icmp.h"
#include "netstack/wire/ipv4.h"

enum { TCP_CHECKSUM_OFFSET = 16, TCP_HEADER_SIZE_MIN = 20 };

void tp_netif_init(struct tp_netif *netif, struct tp_link *link, const uint8_t mac[6],
                   uint32_t address)
{
    *netif = (struct tp_netif){.link = link, .address = address};
    memcpy(netif->mac, mac, sizeof netif->mac);
}

void tp_netif_ports(struct tp_netif *netif, struct tp_netif_flow *flows, uint16_t port_low,
                    uint16_t port_count)
{
    assert(port_count > 0 && port_low + port_count <= 65536);
    netif->flows = flows;
    netif->port_low = port_low;
    netif->port_count = port_count;
}

static struct tp_netif_flow *flow_at(const struct tp_netif *netif, uint16_t local_port)
{
    const uint32_t index = (uint32_t)local_port - netif->port_low; /* wraps high below port_low */
    return index < netif->port_count ? &netif->flows[index] : NULL;
}

struct tp_netif_flow *tp_netif_bind(struct tp_netif *netif, const struct tp_tcp_config *config,
                                    struct tp_tcp *tcp, void *owner)
{
    struct tp_netif_flow *flow = flow_at(netif, config->local_port);
    if (flow == NULL || flow->tcp != NULL)
        return NULL;
    flow->tcp = tcp;
    flow->owner = owner;
    flow->remote_address = config->remote_address;
    flow->remote_port = config->remote_port;
    flow->local_port = config->local_port;
    return flow;
}

void tp_netif_unbind(struct tp_netif_flow *flow)
{
    flow->tcp = NULL;
    flow->owner = NULL;
}

void tp_netif_next_hop(struct tp_netif_flow *flow, const uint8_t mac[6])
{
    uint64_t packed = 0;
    memcpy(&packed, mac, TP_ETHERNET_ADDRESS_SIZE);
    atomic_store_explicit(&flow->next_hop_mac, packed, memory_order_relaxed);
}

/* A veth peer leaves only the pseudo-header's sum in the field (CHECKSUM_PARTIAL): no wire in
 * between could have damaged the bytes. Accepted where the link says that it is such a pair,
 * nowhere else. */
static bool checksum_ok(const struct tp_netif *netif, const struct tp_ipv4_view *ip)
{
    const struct tp_span tcp = ip->payload;
    const uint64_t pseudo = tp_checksum_pseudo_header(ip->source_address, ip->destination_address,
                                                      TP_IPV4_PROTOCOL_TCP, (uint32_t)tcp.size);
    if (netif->link->partial_checksums &&
        tp_load_be16(tcp.data + TCP_CHECKSUM_OFFSET) == tp_checksum_fold(pseudo))
        return true;
    return tp_checksum_is_valid(tp_checksum_partial(tcp.data, tcp.size, pseudo));
}

static void icmp_input(struct tp_netif *netif, const struct tp_ipv4_view *ip)
{
    struct tp_icmp_error error;
    if (tp_icmp_parse_error(ip->payload, &error) != TP_ICMP_OK ||
        error.source_address != netif->address)
        return;
    struct tp_netif_flow *flow = flow_at(netif, error.source_port);
    if (flow == NULL || flow->tcp == NULL || flow->remote_address != error.destination_address ||
        flow->remote_port != error.destination_port)
        return;
    netif->counters.icmp_errors++;
    tp_tcp_icmp_input(flow->tcp, error.sequence, error.type, error.code, error.mtu);
}

void *tp_netif_input(struct tp_netif *netif, const struct tp_frame *frame,
                     struct tp_tcp_segment *segment)
{
    struct tp_ethernet_view ethernet;
    struct tp_ipv4_view ip;
    if (!tp_ethernet_parse((struct tp_span){frame->data, frame->size}, &ethernet) ||
        ethernet.type != TP_ETHERNET_TYPE_IPV4) {
        netif->counters.not_ipv4++;
        return NULL;
    }
    if (tp_ipv4_parse(ethernet.payload, &ip) != TP_IPV4_OK ||
        ip.destination_address != netif->address) {
        netif->counters.bad_ipv4++;
        return NULL;
    }
    if (ip.protocol == TP_IPV4_PROTOCOL_ICMP) {
        icmp_input(netif, &ip);
        return NULL;
    }
    if (ip.protocol != TP_IPV4_PROTOCOL_TCP || ip.payload.size < TCP_HEADER_SIZE_MIN ||
        !tp_tcp_segment_parse(ip.payload, segment)) {
        netif->counters.bad_tcp++;
        return NULL;
    }
    if (!checksum_ok(netif, &ip)) {
        netif->counters.bad_checksum++;
        return NULL;
    }
    const struct tp_netif_flow *flow = flow_at(netif, segment->destination_port);
    if (flow == NULL || flow->tcp == NULL || flow->remote_address != ip.source_address ||
        flow->remote_port != segment->source_port) {
        netif->counters.no_connection++;
        return NULL;
    }
    netif->counters.segments_in++;
    return flow->owner;
}

uint32_t tp_netif_output(struct tp_netif *netif, struct tp_netif_flow *flow, uint64_t now_ns,
                         uint32_t budget)
{
    struct tp_link *link = netif->link;
    uint32_t count = 0;
    for (; count < budget; count++) {
        uint8_t *frame = tp_link_tx_claim(link);
        if (frame == NULL) {
            netif->counters.tx_full++;
            break;
        }
        const uint32_t size = tp_tcp_output(flow->tcp, now_ns, frame + TP_NETIF_HEADERS_SIZE,
                                            link->tx_frame_size - TP_NETIF_HEADERS_SIZE);
        if (size == 0) {
            tp_link_tx_abort(link);
            break;
        }
        const uint64_t mac = atomic_load_explicit(&flow->next_hop_mac, memory_order_relaxed);
        tp_ethernet_write_header(frame, (const uint8_t *)&mac, netif->mac, TP_ETHERNET_TYPE_IPV4);
        const struct tp_ipv4_header header = {.source_address = netif->address,
                                              .destination_address = flow->remote_address,
                                              .protocol = TP_IPV4_PROTOCOL_TCP,
                                              .payload_size = (uint16_t)size};
        tp_ipv4_write_header(&header, frame + TP_ETHERNET_HEADER_SIZE);
        tp_link_tx_commit(link, TP_NETIF_HEADERS_SIZE + size);
    }
    netif->counters.segments_out += count;
    return count;
}
