/* MEXC decoder under the sanitizers: every message stands in memory of exactly its size.
 *
 * Tags are those of protobuf's encoding document (field << 3 | wire type); values were read off by
 * hand. The comparison with Google's protobuf is tests/unit/test_mexc_decode.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/encoding/decimal.h"
#include "proto/venues/mexc/decode.h"

/* symbol "BTCUSDT", sendTime 1736411507002, then an aggregated body of 84 bytes: asks 92877.59 x
 * 0.5, 92878.00 x 12.25; bids 92877.58 x 0; versions 10589632359 to 10589632360; 2026's field 6. */
static const char message[] = "\x1a\x07"
                              "BTCUSDT"
                              "\x30\xba\xd2\xc3\xd1\xc4\x32"
                              "\xca\x13\x54"
                              "\x0a\x0f\x0a\x08"
                              "92877.59"
                              "\x12\x03"
                              "0.5"
                              "\x0a\x11\x0a\x08"
                              "92878.00"
                              "\x12\x05"
                              "12.25"
                              "\x12\x0d\x0a\x08"
                              "92877.58"
                              "\x12\x01"
                              "0"
                              "\x22\x0b"
                              "10589632359"
                              "\x2a\x0b"
                              "10589632360"
                              "\x30\xb9\xd2\xc3\xd1\xc4\x32";
enum { MESSAGE_SIZE = sizeof(message) - 1 };

static const struct tp_scale scale = {.price_exponent = -2, .quantity_exponent = -8};
static struct tp_depth_update out;

static enum tp_decode_status decode_exact(const char *data, size_t size)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);
    assert_non_null(copy);
    memcpy(copy, data, size);
    const enum tp_decode_status status = tp_mexc_decode_depth(copy, size, &scale, &out);
    free(copy);
    return status;
}

static void test_decode_aggregated_depth_gives_its_values(void **state)
{
    (void)state;
    assert_int_equal(decode_exact(message, MESSAGE_SIZE), TP_DECODE_OK);
    assert_int_equal(out.first_version, 10589632359);
    assert_int_equal(out.last_version, 10589632360);
    assert_int_equal(out.exchange_ns, 1736411507002000000);
    assert_int_equal(out.ask_count, 2);
    assert_int_equal(out.bid_count, 1);
    assert_int_equal(out.asks[0].price, 9287759);
    assert_int_equal(out.asks[0].quantity, 50000000);
    assert_int_equal(out.asks[1].price, 9287800);
    assert_int_equal(out.asks[1].quantity, 1225000000);
    assert_int_equal(out.bids[0].price, 9287758);
    assert_int_equal(out.bids[0].quantity, 0);
}

static void test_decode_every_truncation_is_refused(void **state)
{
    (void)state;
    for (size_t size = 0; size < MESSAGE_SIZE; size++)
        assert_int_not_equal(decode_exact(message, size), TP_DECODE_OK);
}

/* Each single byte replaced by each value: whatever comes out, no read leaves the message. */
static void test_decode_every_changed_byte_stays_inside(void **state)
{
    (void)state;
    char changed[MESSAGE_SIZE];
    for (size_t at = 0; at < MESSAGE_SIZE; at++) {
        memcpy(changed, message, MESSAGE_SIZE);
        for (int value = 0; value < 256; value++) {
            changed[at] = (char)value;
            const enum tp_decode_status status = decode_exact(changed, MESSAGE_SIZE);
            assert_true(status <= TP_DECODE_TOO_MANY);
            assert_true(out.ask_count <= 3 && out.bid_count <= 3);
        }
    }
}

static bool parse_exact(const char *text, int32_t exponent, int64_t *value)
{
    const size_t size = strlen(text);
    uint8_t *copy = malloc(size > 0 ? size : 1);
    assert_non_null(copy);
    memcpy(copy, text, size);
    const bool good = tp_decimal_parse(copy, size, exponent, value);
    free(copy);
    return good;
}

static void test_decimal_limits_are_exact(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int32_t exponent;
        bool good;
        int64_t value;
    } cases[] = {
        {"123.4500", -2, true, 12345},
        {"123.4510", -2, false, 0},
        {"9223372036854775807", 0, true, INT64_MAX},
        {"9223372036854775808", 0, false, 0},
        {"92233720368.54775807", -8, true, INT64_MAX},
        {"92233720368.54775808", -8, false, 0},
        {"9.223372036854775807", -18, true, INT64_MAX},
        {"10", -18, false, 0},
        {"0.000000000000000001", -18, true, 1},
        {"12345678.12345678", -8, true, 1234567812345678},
        {"99999999.99999999", -8, true, 9999999999999999},
        {"00000000000000000000000000001.5", -1, true, 15},
        {"0", 0, true, 0},
        {"0.0", 0, true, 0},
        {"0.1", 0, false, 0},
        {"", -2, false, 0},
        {".", -2, false, 0},
        {"1.", -2, false, 0},
        {".5", -2, false, 0},
        {"1.2.3", -2, false, 0},
        {"-1", -2, false, 0},
        {"1/", -2, false, 0},
        {"1:", -2, false, 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t value = -1;
        assert_int_equal(parse_exact(cases[i].text, cases[i].exponent, &value), cases[i].good);
        if (cases[i].good)
            assert_int_equal(value, cases[i].value);
    }
}

static void test_version_limits_are_exact(void **state)
{
    (void)state;
    uint64_t value;
    const uint8_t largest[] = "18446744073709551615", beyond[] = "18446744073709551616";
    assert_true(tp_version_parse(largest, 20, &value));
    assert_true(value == UINT64_MAX);
    assert_false(tp_version_parse(beyond, 20, &value));
    assert_false(tp_version_parse(NULL, 0, &value));
}

/* Both as tp_version_parse reads each, whatever they share and wherever one is broken. */
static void test_version_pair_says_what_each_says(void **state)
{
    (void)state;
    const uint8_t digits[] = "18273645546372819009";
    for (size_t size = 0; size <= 20; size++)
        for (size_t at = 0; at < 20; at++)
            for (const char *with = "059x"; *with != 0; with++)
                for (size_t other_size = size; other_size <= size + 1; other_size++) {
                    uint8_t changed[21];
                    memcpy(changed, digits, sizeof changed);
                    changed[at] = (uint8_t)*with;
                    const struct tp_text first = {digits, size}, last = {changed, other_size % 21};
                    uint64_t one = 1, two = 2, first_alone = 3, last_alone = 4;
                    const bool good = tp_version_parse(first.at, first.size, &first_alone) &&
                                      tp_version_parse(last.at, last.size, &last_alone);
                    assert_int_equal(tp_version_pair_parse(first, last, &one, &two), good);
                    assert_int_equal(tp_version_pair_parse(last, first, &two, &one), good);
                    assert_true(!good || (one == first_alone && two == last_alone));
                }
}

/* A wrapper's first field. */
static size_t put_channel(uint8_t *into, const char *channel)
{
    into[0] = 0x0a;
    into[1] = (uint8_t)strlen(channel);
    memcpy(into + 2, channel, into[1]);
    return 2 + (size_t)into[1];
}

static void test_router_channel_is_compared_whole(void **state)
{
    (void)state;
    static const char *const names[] = {"spot@public.aggre.depth.v3.api.pb@10ms@A",
                                        "spot@public.limit.depth.v3.api.pb@A@20",
                                        "spot@public.aggre.deals.v3.api.pb@10ms@A"};
    void *memory = malloc(tp_mexc_router_memory_size(2));
    assert_non_null(memory);
    struct tp_mexc_router *router = tp_mexc_router_init(memory, 2);
    assert_true(tp_mexc_router_add(router, names[0], 5));
    assert_true(tp_mexc_router_add(router, names[1], 6));
    assert_false(tp_mexc_router_add(router, names[2], 7)); /* full */
    uint8_t data[64];
    struct tp_route route = {.instrument = 99};
    const size_t size = put_channel(data, names[1]);
    assert_true(tp_mexc_route(router, data, size, &route));
    assert_int_equal(route.instrument, 6);
    assert_int_equal(route.meaning, TP_MEANING_BASE);
    assert_int_equal(route.body_offset, size);
    assert_int_equal(route.body_size, 0);
    assert_false(tp_mexc_route(router, data, size - 1, &route));
    assert_false(tp_mexc_route(router, data, put_channel(data, names[2]), &route));
    assert_false(tp_mexc_route(router, data, 1, &route));
    free(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decode_aggregated_depth_gives_its_values),
        cmocka_unit_test(test_decode_every_truncation_is_refused),
        cmocka_unit_test(test_decode_every_changed_byte_stays_inside),
        cmocka_unit_test(test_decimal_limits_are_exact),
        cmocka_unit_test(test_version_limits_are_exact),
        cmocka_unit_test(test_version_pair_says_what_each_says),
        cmocka_unit_test(test_router_channel_is_compared_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
