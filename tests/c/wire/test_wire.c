/* The wire views against RFC 1071's own example and against packets made by scapy. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "netstack/wire/byte_order.h"
#include "netstack/wire/checksum.h"
#include "netstack/wire/ethernet.h"
#include "netstack/wire/icmp.h"
#include "netstack/wire/ipv4.h"
#include "scapy_packets.h"

#define SPAN(array) ((struct tp_span){array, sizeof(array)})

static const uint32_t local_address = 0xc6120001;         /* 198.18.0.1 */
static const uint32_t remote_address = 0xc6120002;        /* 198.18.0.2 */
static const uint32_t documentation_address = 0xcb007109; /* 203.0.113.9 */

static void test_checksum_rfc1071_example_gives_its_sum(void **state)
{
    (void)state;
    static const uint8_t bytes[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};

    /* RFC 1071 3: the sum is ddf2. */
    assert_int_equal(tp_checksum_fold(tp_checksum_partial(bytes, sizeof bytes, 0)), 0xddf2);
    assert_int_equal(tp_checksum_finish(tp_checksum_partial(bytes, sizeof bytes, 0)), 0x220d);
}

/* The definition in RFC 1071 1, word by word. */
static uint16_t reference_checksum(const uint8_t *bytes, size_t size)
{
    uint32_t sum = 0;

    for (size_t i = 0; i < size; i++) {
        sum += (i & 1) ? bytes[i] : (uint32_t)bytes[i] << 8;
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return (uint16_t)~sum;
}

static void test_checksum_every_size_and_alignment_equals_definition(void **state)
{
    (void)state;
    uint8_t bytes[200];

    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 151 + 240);
    for (size_t start = 0; start < 16; start++) {
        for (size_t size = 0; size + start <= sizeof bytes; size++)
            assert_int_equal(tp_checksum_finish(tp_checksum_partial(bytes + start, size, 0)),
                             reference_checksum(bytes + start, size));
    }
}

static void test_checksum_all_ones_64k_loses_no_carry(void **state)
{
    (void)state;
    static uint8_t bytes[65536];

    memset(bytes, 0xff, sizeof bytes);
    assert_int_equal(tp_checksum_finish(tp_checksum_partial(bytes, sizeof bytes, 0)), 0);
}

static void test_checksum_split_spans_equal_one_span(void **state)
{
    (void)state;
    const size_t size = sizeof scapy_tcp_options;
    const uint64_t whole = tp_checksum_partial(scapy_tcp_options, size, 0);

    for (size_t cut = 0; cut <= size; cut += 2) {
        uint64_t sum = tp_checksum_partial(scapy_tcp_options, cut, 0);
        sum = tp_checksum_partial(scapy_tcp_options + cut, size - cut, sum);
        assert_int_equal(tp_checksum_fold(sum), tp_checksum_fold(whole));
    }
}

static void test_checksum_scapy_tcp_segment_is_valid(void **state)
{
    (void)state;
    struct tp_ipv4_view view;

    assert_int_equal(tp_ipv4_parse(SPAN(scapy_tcp_options), &view), TP_IPV4_OK);
    uint64_t sum = tp_checksum_pseudo_header(view.source_address, view.destination_address,
                                             view.protocol, (uint32_t)view.payload.size);
    sum = tp_checksum_partial(view.payload.data, view.payload.size, sum);
    assert_true(tp_checksum_is_valid(sum));
    assert_false(tp_checksum_is_valid(sum + 1));
}

static void test_ethernet_short_frame_is_refused(void **state)
{
    (void)state;
    uint8_t frame[15] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0x08, 0x00, 0x45};
    struct tp_ethernet_view view;

    assert_false(tp_ethernet_parse((struct tp_span){frame, 13}, &view));
    assert_true(tp_ethernet_parse((struct tp_span){frame, 15}, &view));
    assert_int_equal(view.type, TP_ETHERNET_TYPE_IPV4);
    assert_ptr_equal(view.source, frame + 6);
    assert_int_equal(view.payload.size, 1);

    uint8_t written[TP_ETHERNET_HEADER_SIZE];
    tp_ethernet_write_header(written, frame, frame + 6, TP_ETHERNET_TYPE_IPV4);
    assert_memory_equal(written, frame, sizeof written);
}

static void test_ipv4_padded_frame_is_cut_to_total_length(void **state)
{
    (void)state;
    struct tp_ipv4_view view;

    assert_int_equal(tp_ipv4_parse(SPAN(scapy_tcp_padded), &view), TP_IPV4_OK);
    assert_int_equal(view.source_address, remote_address);
    assert_int_equal(view.destination_address, local_address);
    assert_int_equal(view.protocol, TP_IPV4_PROTOCOL_TCP);
    assert_int_equal(view.header_size, 20);
    assert_int_equal(view.payload.size, 20);
    assert_int_equal(tp_load_be16(view.payload.data), 443);
}

static void test_ipv4_options_are_skipped(void **state)
{
    (void)state;
    struct tp_ipv4_view view;

    assert_int_equal(tp_ipv4_parse(SPAN(scapy_tcp_options), &view), TP_IPV4_OK);
    assert_int_equal(view.header_size, 28);
    assert_int_equal(view.type_of_service, 0x10);
    assert_int_equal(view.time_to_live, 9);
    assert_memory_equal(view.payload.data + 20, "payload", 7);
    assert_int_equal(view.payload.size, 27);
}

/* A copy of a good packet with one byte changed and the header checksum made right again. */
static enum tp_ipv4_reason parse_changed(size_t offset, uint8_t value, size_t size)
{
    uint8_t packet[sizeof scapy_tcp_padded];
    struct tp_ipv4_view view;

    memcpy(packet, scapy_tcp_padded, sizeof packet);
    packet[offset] = value;
    const size_t header_size = (size_t)(packet[0] & 0x0f) * 4;
    tp_store_be16(packet + 10, 0);
    if (header_size <= sizeof packet)
        tp_store_be16(packet + 10, reference_checksum(packet, header_size));
    return tp_ipv4_parse((struct tp_span){packet, size}, &view);
}

static void test_ipv4_each_malformation_has_its_reason(void **state)
{
    (void)state;
    const size_t size = sizeof scapy_tcp_padded; /* 46: 40 and 6 of padding */
    struct tp_ipv4_view view;
    uint8_t packet[sizeof scapy_tcp_padded];

    assert_int_equal(tp_ipv4_parse((struct tp_span){NULL, 0}, &view), TP_IPV4_TOO_SHORT);
    assert_int_equal(parse_changed(1, 0, 19), TP_IPV4_TOO_SHORT);
    assert_int_equal(parse_changed(0, 0x65, size), TP_IPV4_BAD_VERSION);
    assert_int_equal(parse_changed(0, 0x44, size), TP_IPV4_BAD_HEADER_SIZE);
    assert_int_equal(parse_changed(0, 0x40, size), TP_IPV4_BAD_HEADER_SIZE);
    assert_int_equal(parse_changed(0, 0x4a, size), TP_IPV4_OK); /* 40 of 40 bytes: no payload */
    assert_int_equal(parse_changed(0, 0x4b, size), TP_IPV4_HEADER_BEYOND);
    assert_int_equal(parse_changed(3, 19, size), TP_IPV4_HEADER_BEYOND);
    assert_int_equal(parse_changed(3, 0, size), TP_IPV4_HEADER_BEYOND);
    assert_int_equal(parse_changed(3, 20, size), TP_IPV4_OK);
    assert_int_equal(parse_changed(3, 46, size), TP_IPV4_OK);
    assert_int_equal(parse_changed(3, 47, size), TP_IPV4_TOTAL_BEYOND);
    assert_int_equal(parse_changed(1, 0, 40), TP_IPV4_OK);
    assert_int_equal(parse_changed(1, 0, 39), TP_IPV4_TOTAL_BEYOND);
    memcpy(packet, scapy_tcp_padded, sizeof packet);
    packet[10] ^= 1;
    assert_int_equal(tp_ipv4_parse(SPAN(packet), &view), TP_IPV4_BAD_CHECKSUM);
}

static void test_ipv4_fragments_and_impossible_sources_are_refused(void **state)
{
    (void)state;
    struct tp_ipv4_view view;

    assert_int_equal(tp_ipv4_parse(SPAN(scapy_fragment_first), &view), TP_IPV4_FRAGMENT);
    assert_int_equal(tp_ipv4_parse(SPAN(scapy_fragment_later), &view), TP_IPV4_FRAGMENT);
    assert_int_equal(tp_ipv4_parse(SPAN(scapy_source_multicast), &view), TP_IPV4_BAD_SOURCE);
    assert_int_equal(tp_ipv4_parse(SPAN(scapy_source_zero), &view), TP_IPV4_BAD_SOURCE);
    assert_int_equal(tp_ipv4_parse(SPAN(scapy_source_loopback), &view), TP_IPV4_BAD_SOURCE);
}

static void test_ipv4_write_header_equals_scapy(void **state)
{
    (void)state;
    const struct tp_ipv4_header header = {.source_address = 0x0a010203,
                                          .destination_address = documentation_address,
                                          .payload_size = 100,
                                          .identification = 0xbeef,
                                          .protocol = TP_IPV4_PROTOCOL_TCP};
    uint8_t out[TP_IPV4_HEADER_SIZE];

    memset(out, 0xa5, sizeof out);
    tp_ipv4_write_header(&header, out);
    assert_memory_equal(out, scapy_header_df, sizeof out);
}

static void test_icmp_fragmentation_needed_gives_flow_and_mtu(void **state)
{
    (void)state;
    struct tp_icmp_error error;

    assert_int_equal(tp_icmp_parse_error(SPAN(scapy_icmp_too_big), &error), TP_ICMP_OK);
    assert_int_equal(error.type, 3);
    assert_int_equal(error.code, 4);
    assert_int_equal(error.mtu, 1280);
    assert_int_equal(error.source_address, local_address);
    assert_int_equal(error.destination_address, documentation_address);
    assert_int_equal(error.source_port, 61001);
    assert_int_equal(error.destination_port, 443);
    assert_int_equal(error.sequence, 0xdeadbeef);
}

static void test_icmp_quote_with_options_gives_flow_without_mtu(void **state)
{
    (void)state;
    struct tp_icmp_error error;

    assert_int_equal(tp_icmp_parse_error(SPAN(scapy_icmp_port_unreachable_full), &error),
                     TP_ICMP_OK);
    assert_int_equal(error.code, 3);
    assert_int_equal(error.mtu, 0);
    assert_int_equal(error.source_port, 61002);
    assert_int_equal(error.sequence, 7);
    assert_int_equal(tp_icmp_parse_error(SPAN(scapy_icmp_time_exceeded), &error), TP_ICMP_OK);
    assert_int_equal(error.type, 11);
    assert_int_equal(error.sequence, 0xffffffff);
}

static void test_icmp_what_is_not_ours_is_refused(void **state)
{
    (void)state;
    struct tp_icmp_error error;
    uint8_t message[sizeof scapy_icmp_too_big];

    assert_int_equal(tp_icmp_parse_error((struct tp_span){scapy_icmp_too_big, 7}, &error),
                     TP_ICMP_TOO_SHORT);
    assert_int_equal(tp_icmp_parse_error(SPAN(scapy_icmp_echo), &error), TP_ICMP_NOT_AN_ERROR);
    assert_int_equal(tp_icmp_parse_error(SPAN(scapy_icmp_redirect), &error), TP_ICMP_NOT_AN_ERROR);
    assert_int_equal(tp_icmp_parse_error(SPAN(scapy_icmp_quotes_udp), &error), TP_ICMP_NOT_TCP);
    assert_int_equal(tp_icmp_parse_error(SPAN(scapy_icmp_quotes_later_fragment), &error),
                     TP_ICMP_NOT_TCP);
    assert_int_equal(tp_icmp_parse_error(SPAN(scapy_icmp_quote_short), &error), TP_ICMP_BAD_QUOTE);
    memcpy(message, scapy_icmp_too_big, sizeof message);
    message[7] ^= 1;
    assert_int_equal(tp_icmp_parse_error(SPAN(message), &error), TP_ICMP_BAD_CHECKSUM);
    message[7] ^= 1;
    message[8] = 0x4f; /* quoted header of 60 bytes in a quote of 28 */
    tp_store_be16(message + 2, 0);
    tp_store_be16(message + 2, reference_checksum(message, sizeof message));
    assert_int_equal(tp_icmp_parse_error(SPAN(message), &error), TP_ICMP_BAD_QUOTE);
}

static void test_reason_names_are_distinct(void **state)
{
    (void)state;
    for (int i = 0; i < TP_IPV4_REASON_COUNT; i++) {
        for (int j = 0; j < i; j++)
            assert_string_not_equal(tp_ipv4_reason_name((enum tp_ipv4_reason)i),
                                    tp_ipv4_reason_name((enum tp_ipv4_reason)j));
    }
    for (int i = 0; i < TP_ICMP_REASON_COUNT; i++)
        assert_string_not_equal(tp_icmp_reason_name((enum tp_icmp_reason)i), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_checksum_rfc1071_example_gives_its_sum),
        cmocka_unit_test(test_checksum_every_size_and_alignment_equals_definition),
        cmocka_unit_test(test_checksum_all_ones_64k_loses_no_carry),
        cmocka_unit_test(test_checksum_split_spans_equal_one_span),
        cmocka_unit_test(test_checksum_scapy_tcp_segment_is_valid),
        cmocka_unit_test(test_ethernet_short_frame_is_refused),
        cmocka_unit_test(test_ipv4_padded_frame_is_cut_to_total_length),
        cmocka_unit_test(test_ipv4_options_are_skipped),
        cmocka_unit_test(test_ipv4_each_malformation_has_its_reason),
        cmocka_unit_test(test_ipv4_fragments_and_impossible_sources_are_refused),
        cmocka_unit_test(test_ipv4_write_header_equals_scapy),
        cmocka_unit_test(test_icmp_fragmentation_needed_gives_flow_and_mtu),
        cmocka_unit_test(test_icmp_quote_with_options_gives_flow_without_mtu),
        cmocka_unit_test(test_icmp_what_is_not_ours_is_refused),
        cmocka_unit_test(test_reason_names_are_distinct),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
