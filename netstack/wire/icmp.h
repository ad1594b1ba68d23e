/* ICMP errors that quote one of our TCP segments (RFC 792, RFC 1191 for the next-hop MTU).
 *
 * Only the quoted addresses, ports and sequence number are handed on: whether the sequence was in
 * flight is the connection's to check (RFC 5927 4.1). Called by netif. */
#ifndef TP_NETSTACK_ICMP_H
#define TP_NETSTACK_ICMP_H
#include <stdint.h>

#include "netstack/span.h"

enum tp_icmp_type { /* the errors of RFC 792; redirects (5) and queries are not taken */
                    TP_ICMP_DESTINATION_UNREACHABLE = 3,
                    TP_ICMP_SOURCE_QUENCH = 4, /* deprecated by RFC 6633: refused */
                    TP_ICMP_TIME_EXCEEDED = 11,
                    TP_ICMP_PARAMETER_PROBLEM = 12,
};
enum { TP_ICMP_CODE_FRAGMENTATION_NEEDED = 4 };

enum tp_icmp_reason {
    TP_ICMP_OK,
    TP_ICMP_TOO_SHORT,    /* fewer than 8 bytes */
    TP_ICMP_BAD_CHECKSUM, /* over the whole message */
    TP_ICMP_NOT_AN_ERROR, /* another type: the kernel's business */
    TP_ICMP_BAD_QUOTE,    /* quoted IPv4 header malformed, or fewer than 8 bytes behind it */
    TP_ICMP_NOT_TCP,      /* quotes another protocol, or a fragment without a TCP header */
    TP_ICMP_REASON_COUNT,
};

struct tp_icmp_error {
    uint8_t type, code;
    uint16_t mtu; /* next hop's, only for "fragmentation needed"; 0 from an RFC 792 router */
    /* Of the segment that we sent: source is us. Host byte order. */
    uint32_t source_address, destination_address;
    uint16_t source_port, destination_port;
    uint32_t sequence;
};

/* message: the IPv4 payload, ICMP header onwards. *out is only set with TP_ICMP_OK. */
enum tp_icmp_reason tp_icmp_parse_error(struct tp_span message, struct tp_icmp_error *out);

const char *tp_icmp_reason_name(enum tp_icmp_reason reason);
#endif
