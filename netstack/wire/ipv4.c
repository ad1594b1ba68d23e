/* IPv4 header, read and written (RFC 791 3.1). Called by netif; calls checksum. No state. */
#include "netstack/wire/ipv4.h"

#include <assert.h>

#include "netstack/wire/byte_order.h"
#include "netstack/wire/checksum.h"

enum {
    VERSION = 4,
    WORDS_MIN = 5, /* IHL */
    MORE_FRAGMENTS = 0x2000,
    DONT_FRAGMENT = 0x4000,
    OFFSET_MASK = 0x1fff,
    TIME_TO_LIVE = 64, /* RFC 1700 */
};

static bool source_is_possible(uint32_t address)
{
    const uint32_t network = address >> 24;

    return network != 0 && network != 127 && network < 224;
}

enum tp_ipv4_reason tp_ipv4_parse(struct tp_span bytes, struct tp_ipv4_view *out)
{
    const uint8_t *header = bytes.data;

    if (bytes.size < TP_IPV4_HEADER_SIZE)
        return TP_IPV4_TOO_SHORT;
    if (header[0] >> 4 != VERSION)
        return TP_IPV4_BAD_VERSION;

    const uint8_t words = header[0] & 0x0f;
    const uint8_t header_size = (uint8_t)(words * 4);
    const uint16_t total_size = tp_load_be16(header + 2);
    if (words < WORDS_MIN)
        return TP_IPV4_BAD_HEADER_SIZE;
    if (header_size > total_size)
        return TP_IPV4_HEADER_BEYOND;
    if (total_size > bytes.size)
        return TP_IPV4_TOTAL_BEYOND;
    if (!tp_checksum_is_valid(tp_checksum_partial(header, header_size, 0)))
        return TP_IPV4_BAD_CHECKSUM;
    if (tp_load_be16(header + 6) & (MORE_FRAGMENTS | OFFSET_MASK))
        return TP_IPV4_FRAGMENT;

    const uint32_t source = tp_load_be32(header + 12);
    if (!source_is_possible(source))
        return TP_IPV4_BAD_SOURCE;

    *out = (struct tp_ipv4_view){
        .source_address = source,
        .destination_address = tp_load_be32(header + 16),
        .total_size = total_size,
        .header_size = header_size,
        .protocol = header[9],
        .time_to_live = header[8],
        .type_of_service = header[1],
        .payload = {header + header_size, (size_t)(total_size - header_size)},
    };
    return TP_IPV4_OK;
}

void tp_ipv4_write_header(const struct tp_ipv4_header *header, uint8_t *out)
{
    assert(header->payload_size <= UINT16_MAX - TP_IPV4_HEADER_SIZE);
    out[0] = VERSION << 4 | WORDS_MIN;
    out[1] = 0;
    tp_store_be16(out + 2, (uint16_t)(header->payload_size + TP_IPV4_HEADER_SIZE));
    tp_store_be16(out + 4, header->identification);
    tp_store_be16(out + 6, DONT_FRAGMENT);
    out[8] = TIME_TO_LIVE;
    out[9] = header->protocol;
    tp_store_be16(out + 10, 0);
    tp_store_be32(out + 12, header->source_address);
    tp_store_be32(out + 16, header->destination_address);
    tp_store_be16(out + 10, tp_checksum_finish(tp_checksum_partial(out, TP_IPV4_HEADER_SIZE, 0)));
}

const char *tp_ipv4_reason_name(enum tp_ipv4_reason reason)
{
    switch (reason) {
    case TP_IPV4_OK:
        return "ok";
    case TP_IPV4_TOO_SHORT:
        return "shorter than a header";
    case TP_IPV4_BAD_VERSION:
        return "version is not 4";
    case TP_IPV4_BAD_HEADER_SIZE:
        return "header length below 5 words";
    case TP_IPV4_HEADER_BEYOND:
        return "header length beyond total length";
    case TP_IPV4_TOTAL_BEYOND:
        return "total length beyond the frame";
    case TP_IPV4_BAD_CHECKSUM:
        return "header checksum";
    case TP_IPV4_FRAGMENT:
        return "fragment";
    case TP_IPV4_BAD_SOURCE:
        return "impossible source address";
    case TP_IPV4_REASON_COUNT:
        break;
    }
    return "unknown";
}
