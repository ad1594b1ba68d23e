/* ICMP errors (RFC 792). The quote is the IPv4 header that we sent, as some router saw it, and at
 * least 8 bytes behind it: its total length describes the original packet, not the quote, and its
 * checksum may be stale (routers change the TTL), so neither is checked. No state. */
#include "netstack/wire/icmp.h"

#include "netstack/wire/byte_order.h"
#include "netstack/wire/checksum.h"
#include "netstack/wire/ipv4.h"

enum {
    HEADER_SIZE = 8,
    QUOTED_TCP_SIZE_MIN = 8, /* ports and sequence number: all that RFC 792 promises */
    FRAGMENT_OFFSET_MASK = 0x1fff,
};

static enum tp_icmp_reason parse_quote(struct tp_span quote, struct tp_icmp_error *out)
{
    if (quote.size < TP_IPV4_HEADER_SIZE || quote.data[0] >> 4 != 4)
        return TP_ICMP_BAD_QUOTE;

    const size_t header_size = (size_t)(quote.data[0] & 0x0f) * 4;
    if (header_size < TP_IPV4_HEADER_SIZE || quote.size < header_size + QUOTED_TCP_SIZE_MIN)
        return TP_ICMP_BAD_QUOTE;
    if (quote.data[9] != TP_IPV4_PROTOCOL_TCP ||
        (tp_load_be16(quote.data + 6) & FRAGMENT_OFFSET_MASK))
        return TP_ICMP_NOT_TCP;

    const uint8_t *tcp = quote.data + header_size;
    out->source_address = tp_load_be32(quote.data + 12);
    out->destination_address = tp_load_be32(quote.data + 16);
    out->source_port = tp_load_be16(tcp);
    out->destination_port = tp_load_be16(tcp + 2);
    out->sequence = tp_load_be32(tcp + 4);
    return TP_ICMP_OK;
}

enum tp_icmp_reason tp_icmp_parse_error(struct tp_span message, struct tp_icmp_error *out)
{
    struct tp_icmp_error error = {0};

    if (message.size < HEADER_SIZE)
        return TP_ICMP_TOO_SHORT;
    error.type = message.data[0];
    error.code = message.data[1];
    if (error.type != TP_ICMP_DESTINATION_UNREACHABLE && error.type != TP_ICMP_TIME_EXCEEDED &&
        error.type != TP_ICMP_PARAMETER_PROBLEM)
        return TP_ICMP_NOT_AN_ERROR;
    if (!tp_checksum_is_valid(tp_checksum_partial(message.data, message.size, 0)))
        return TP_ICMP_BAD_CHECKSUM;
    if (error.type == TP_ICMP_DESTINATION_UNREACHABLE &&
        error.code == TP_ICMP_CODE_FRAGMENTATION_NEEDED)
        error.mtu = tp_load_be16(message.data + 6);

    const struct tp_span quote = {message.data + HEADER_SIZE, message.size - HEADER_SIZE};
    const enum tp_icmp_reason reason = parse_quote(quote, &error);
    if (reason == TP_ICMP_OK)
        *out = error;
    return reason;
}

const char *tp_icmp_reason_name(enum tp_icmp_reason reason)
{
    switch (reason) {
    case TP_ICMP_OK:
        return "ok";
    case TP_ICMP_TOO_SHORT:
        return "shorter than a header";
    case TP_ICMP_BAD_CHECKSUM:
        return "checksum";
    case TP_ICMP_NOT_AN_ERROR:
        return "not an error message";
    case TP_ICMP_BAD_QUOTE:
        return "malformed quote";
    case TP_ICMP_NOT_TCP:
        return "quotes no TCP segment";
    case TP_ICMP_REASON_COUNT:
        break;
    }
    return "unknown";
}
