/* sources: netstack/wire/checksum.c netstack/wire/ipv4.c netstack/wire/icmp.c ; libs: */
/* Any bytes behind an Ethernet header: what the parsers accept lies within the input, and a header
 * written from an accepted view is accepted again with the same fields. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "netstack/wire/byte_order.h"
#include "netstack/wire/checksum.h"
#include "netstack/wire/icmp.h"
#include "netstack/wire/ipv4.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_rewritten(const struct tp_ipv4_view *view)
{
    static uint8_t packet[65536];
    const struct tp_ipv4_header header = {.source_address = view->source_address,
                                          .destination_address = view->destination_address,
                                          .payload_size = (uint16_t)view->payload.size,
                                          .protocol = view->protocol};
    struct tp_ipv4_view again;

    if (view->payload.size + TP_IPV4_HEADER_SIZE > UINT16_MAX)
        return;
    tp_ipv4_write_header(&header, packet);
    const struct tp_span bytes = {packet, TP_IPV4_HEADER_SIZE + view->payload.size};
    assert(tp_ipv4_parse(bytes, &again) == TP_IPV4_OK);
    assert(again.source_address == view->source_address);
    assert(again.destination_address == view->destination_address);
    assert(again.payload.size == view->payload.size && again.protocol == view->protocol);
}

static void check_icmp(struct tp_span message)
{
    static uint8_t copy[65536];
    struct tp_icmp_error error;

    if (tp_icmp_parse_error(message, &error) == TP_ICMP_OK)
        assert(message.size >= 8 + TP_IPV4_HEADER_SIZE + 8);
    if (message.size < 8 || message.size > sizeof copy)
        return;
    /* The checksum hides the quote from a fuzzer: mend it and look again. */
    memcpy(copy, message.data, message.size);
    tp_store_be16(copy + 2, 0);
    tp_store_be16(copy + 2, tp_checksum_finish(tp_checksum_partial(copy, message.size, 0)));
    const enum tp_icmp_reason reason =
        tp_icmp_parse_error((struct tp_span){copy, message.size}, &error);
    assert(reason != TP_ICMP_BAD_CHECKSUM && reason != TP_ICMP_TOO_SHORT);
    if (reason == TP_ICMP_OK)
        assert(error.mtu == 0 || (error.type == 3 && error.code == 4));
}

static void check_ipv4(struct tp_span bytes)
{
    struct tp_ipv4_view view;

    if (tp_ipv4_parse(bytes, &view) != TP_IPV4_OK)
        return;
    assert(view.header_size >= 20 && view.header_size <= 60);
    assert(view.payload.data == bytes.data + view.header_size);
    assert(view.header_size + view.payload.size == view.total_size);
    assert(view.total_size <= bytes.size);
    check_rewritten(&view);
    check_icmp(view.payload);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t copy[65536];
    const struct tp_span bytes = {data, size};

    check_ipv4(bytes);
    check_icmp(bytes);
    if (size < TP_IPV4_HEADER_SIZE || size > sizeof copy)
        return 0;
    const size_t header_size = (size_t)(data[0] & 0x0f) * 4;
    if (header_size < TP_IPV4_HEADER_SIZE || header_size > size)
        return 0;
    memcpy(copy, data, size);
    tp_store_be16(copy + 10, 0);
    tp_store_be16(copy + 10, tp_checksum_finish(tp_checksum_partial(copy, header_size, 0)));
    check_ipv4((struct tp_span){copy, size});
    return 0;
}
