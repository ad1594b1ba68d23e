#include "engine/bench/burst.h"

#include <string.h>

#include "netstack/wire/checksum.h"
#include "netstack/wire/ethernet.h"
#include "netstack/wire/ipv4.h"
#include "netstack/wire/tcp_header.h"

enum { CHECKSUM_OFFSET = 16, MSS = 1460, WINDOW_SCALE = 7, WINDOW = 65535 };

static const uint8_t mac[2][TP_ETHERNET_ADDRESS_SIZE] = {{2, 0, 0, 0, 0, 1}, {2, 0, 0, 0, 0, 2}};

uint32_t tp_bench_frame_write(struct tp_bench_flow *flow, uint8_t flags, struct tp_span payload,
                              uint8_t *out)
{
    const bool syn = (flags & TP_TCP_SYN) != 0;
    const struct tp_tcp_segment segment = {
        .source_port = flow->source_port,
        .destination_port = flow->destination_port,
        .sequence = flow->sequence,
        .acknowledgment = flow->acknowledgment,
        .window = WINDOW,
        .flags = flags,
        .has_mss = syn,
        .mss = MSS,
        .has_window_scale = syn,
        .window_scale = WINDOW_SCALE,
        .sack_permitted = syn,
        .has_timestamps = true,
        .timestamp_value = flow->timestamp_value,
        .timestamp_echo = flow->timestamp_echo,
    };
    uint8_t *ip = out + TP_ETHERNET_HEADER_SIZE, *tcp = ip + TP_IPV4_HEADER_SIZE;
    const uint32_t header_size = tp_tcp_segment_write_header(&segment, tcp);
    memcpy(tcp + header_size, payload.data, payload.size);
    const uint32_t size = header_size + (uint32_t)payload.size;
    const uint64_t pseudo = tp_checksum_pseudo_header(
        flow->source_address, flow->destination_address, TP_IPV4_PROTOCOL_TCP, size);
    tp_store_be16(tcp + CHECKSUM_OFFSET,
                  tp_checksum_finish(tp_checksum_partial(tcp, size, pseudo)));
    const struct tp_ipv4_header header = {.source_address = flow->source_address,
                                          .destination_address = flow->destination_address,
                                          .protocol = TP_IPV4_PROTOCOL_TCP,
                                          .payload_size = (uint16_t)size};
    tp_ipv4_write_header(&header, ip);
    tp_ethernet_write_header(out, mac[0], mac[1], TP_ETHERNET_TYPE_IPV4);
    flow->sequence += (uint32_t)payload.size + (syn ? 1 : 0);
    return TP_ETHERNET_HEADER_SIZE + TP_IPV4_HEADER_SIZE + size;
}
