/* An IPv4 packet as a checked view (RFC 791): after tp_ipv4_parse accepted the bytes no accessor
 * can fail. Called by netif (input, output) and the AF_XDP tests. */
#ifndef TP_NETSTACK_IPV4_H
#define TP_NETSTACK_IPV4_H
#include <stdint.h>

#include "netstack/span.h"

enum {
    TP_IPV4_HEADER_SIZE = 20, /* without options: all that we write */
    TP_IPV4_PROTOCOL_ICMP = 1,
    TP_IPV4_PROTOCOL_TCP = 6,
};

/* Why a packet was refused; netif counts them together, as bad_ipv4. */
enum tp_ipv4_reason {
    TP_IPV4_OK,
    TP_IPV4_TOO_SHORT,       /* fewer than 20 bytes */
    TP_IPV4_BAD_VERSION,     /* not 4 */
    TP_IPV4_BAD_HEADER_SIZE, /* IHL < 5 */
    TP_IPV4_HEADER_BEYOND,   /* IHL > total_length */
    TP_IPV4_TOTAL_BEYOND,    /* total_length > what the frame holds */
    TP_IPV4_BAD_CHECKSUM,    /* header checksum */
    TP_IPV4_FRAGMENT,        /* more-fragments or an offset: we reassemble none */
    TP_IPV4_BAD_SOURCE,      /* 0.0.0.0/8, 127/8 or 224.0.0.0 upwards (RFC 1122 3.2.1.3) */
    TP_IPV4_REASON_COUNT,
};

struct tp_ipv4_view {
    uint32_t source_address, destination_address; /* host byte order */
    uint16_t total_size;
    uint8_t header_size; /* 20 .. 60 */
    uint8_t protocol, time_to_live, type_of_service;
    struct tp_span payload; /* cut to total_length: Ethernet padding is gone */
};

struct tp_ipv4_header {
    uint32_t source_address, destination_address; /* host byte order */
    uint16_t payload_size;                        /* at most 65515 */
    uint16_t identification;
    uint8_t protocol;
};

/* bytes: what follows the Ethernet header. *out is only set with TP_IPV4_OK. */
enum tp_ipv4_reason tp_ipv4_parse(struct tp_span bytes, struct tp_ipv4_view *out);

/* Writes TP_IPV4_HEADER_SIZE bytes: don't-fragment (RFC 1191), time-to-live 64, checksum. */
void tp_ipv4_write_header(const struct tp_ipv4_header *header, uint8_t *out);

const char *tp_ipv4_reason_name(enum tp_ipv4_reason reason);
#endif
