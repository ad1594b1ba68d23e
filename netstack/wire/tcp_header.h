/* A TCP segment as a checked view (RFC 9293 3.1, RFC 7323, RFC 2018): after tp_tcp_segment_parse
 * accepted the bytes no accessor can fail. Called by netif (input) and tcp/tcp_out (output). */
#ifndef TP_NETSTACK_TCP_HEADER_H
#define TP_NETSTACK_TCP_HEADER_H
#include <stdbool.h>
#include <stdint.h>

#include "netstack/span.h"

enum tp_tcp_flag {
    TP_TCP_FIN = 0x01,
    TP_TCP_SYN = 0x02,
    TP_TCP_RST = 0x04,
    TP_TCP_PSH = 0x08,
    TP_TCP_ACK = 0x10,
    TP_TCP_URG = 0x20,
    TP_TCP_ECE = 0x40,
    TP_TCP_CWR = 0x80,
};

enum { TP_TCP_SACK_BLOCK_COUNT_MAX = 4 };

struct tp_tcp_sack_block {
    uint32_t left, right;
};

struct tp_tcp_segment {
    uint16_t source_port, destination_port;
    uint32_t sequence, acknowledgment;
    uint16_t window; /* unscaled, as on the wire */
    uint8_t flags;   /* enum tp_tcp_flag */
    bool has_mss, has_window_scale, has_timestamps, sack_permitted;
    uint16_t mss;
    uint8_t window_scale; /* as on the wire; RFC 7323 2.3: above 14 means 14 */
    uint32_t timestamp_value, timestamp_echo;
    uint8_t sack_count;
    struct tp_tcp_sack_block sack[TP_TCP_SACK_BLOCK_COUNT_MAX];
    struct tp_span payload; /* borrowed from the frame */
};

/* Checks and reads one segment (TCP header onwards, IP payload length already applied).
 * Returns false, and leaves *out undefined, for a data offset < 5 or beyond the segment or a
 * malformed option list. Does not look at the checksum: netif does, it knows the pseudo-header. */
bool tp_tcp_segment_parse(struct tp_span bytes, struct tp_tcp_segment *out);

/* Writes header and options (not the payload, not the checksum: zero). Returns the header's size.
 */
uint32_t tp_tcp_segment_write_header(const struct tp_tcp_segment *segment, uint8_t *out);
#endif
