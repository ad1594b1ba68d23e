/* Retransmission time-out by hand-worked figures of RFC 6298, and initial sequence numbers by the
 * properties that RFC 6528 asks for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "netstack/tcp/state.h"

enum { TUPLE_COUNT = 100000 };

struct fixture {
    struct tp_tcp_config config;
    void *memory;
};

static int fixture_setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    tp_tcp_config_init(&fixture->config);
    fixture->config.receive_buffer_size = fixture->config.send_buffer_size = 4096;
    fixture->config.local_address = 0x0a000001;
    fixture->config.remote_address = 0x0a000002;
    fixture->config.local_port = 40000;
    fixture->config.remote_port = 443;
    memset(fixture->config.isn_secret, 0x5a, sizeof fixture->config.isn_secret);
    size_t size = (tp_tcp_memory_size(&fixture->config) + 63) / 64 * 64;
    fixture->memory = aligned_alloc(64, size);
    *state = fixture;
    return fixture->memory == NULL;
}

static int fixture_teardown(void **state)
{
    struct fixture *fixture = *state;
    free(fixture->memory);
    free(fixture);
    return 0;
}

/* RFC 6298 2.2 and 2.3: R = 400 ms: SRTT 400, RTTVAR 200, RTO 1200. Then R' = 480 ms:
 * RTTVAR = 3/4 * 200 + 1/4 * 80 = 170, SRTT = 7/8 * 400 + 1/8 * 480 = 410, RTO 410 + 680 = 1090. */
static void test_rtt_two_samples_equal_the_worked_example(void **state)
{
    struct fixture *fixture = *state;
    struct tp_tcp *tcp = tp_tcp_init(fixture->memory, &fixture->config);
    assert_int_equal(tcp->rto_ns, 1000 * TP_TCP_MS);
    tp_tcp_rtt_sample(tcp, 400 * TP_TCP_MS);
    assert_int_equal(tcp->srtt_ns, 400 * TP_TCP_MS);
    assert_int_equal(tcp->rttvar_ns, 200 * TP_TCP_MS);
    assert_int_equal(tcp->rto_ns, 1200 * TP_TCP_MS);
    tp_tcp_rtt_sample(tcp, 480 * TP_TCP_MS);
    assert_int_equal(tcp->rttvar_ns, 170 * TP_TCP_MS);
    assert_int_equal(tcp->srtt_ns, 410 * TP_TCP_MS);
    assert_int_equal(tcp->rto_ns, 1090 * TP_TCP_MS);
}

static void test_rtt_time_out_stays_within_its_limits(void **state)
{
    struct fixture *fixture = *state;
    struct tp_tcp *tcp = tp_tcp_init(fixture->memory, &fixture->config);
    tp_tcp_rtt_sample(tcp, 0);
    assert_int_equal(tcp->rto_ns, fixture->config.rto_min_ns);
    for (uint32_t round = 0; round < 100; round++) {
        tp_tcp_rtt_sample(tcp, 1000 * TP_TCP_SECOND);
    }
    assert_int_equal(tcp->rto_ns, fixture->config.rto_max_ns);
    tcp->backoff = TP_TCP_BACKOFF_MAX;
    assert_int_equal(tp_tcp_rto_backed_off(tcp), fixture->config.rto_max_ns);
}

static void test_isn_of_one_tuple_follows_the_4_us_clock(void **state)
{
    struct fixture *fixture = *state;
    struct tp_tcp *tcp = tp_tcp_init(fixture->memory, &fixture->config);
    uint32_t first = tp_tcp_isn(tcp, 0);
    for (uint64_t tick = 1; tick < 100000; tick += 7) {
        assert_int_equal(tp_tcp_isn(tcp, tick * 4000) - first, tick);
    }
}

static int compare_u32(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return left < right ? -1 : left > right;
}

/* 100,000 neighbouring tuples at one instant. A random function of 32 bits gives n^2 / 2^33 = 1.2
 * collisions; steps between neighbours that repeat would be a predictor, so they collide as rarely;
 * and each of the 32 bits is set in half of them: 6 sigma are 949. */
static void test_isn_of_neighbouring_tuples_has_no_linear_relation(void **state)
{
    struct fixture *fixture = *state;
    uint32_t *isn = calloc(TUPLE_COUNT, sizeof *isn), *step = calloc(TUPLE_COUNT, sizeof *step);
    uint32_t isn_repeats = 0, step_repeats = 0, ones[32] = {0};
    assert_true(isn != NULL && step != NULL);
    for (uint32_t index = 0; index < TUPLE_COUNT; index++) {
        fixture->config.local_port = (uint16_t)(10000 + index % 50000);
        fixture->config.remote_port = (uint16_t)(443 + index / 50000);
        isn[index] = tp_tcp_isn(tp_tcp_init(fixture->memory, &fixture->config), 0);
        step[index] = index > 0 ? isn[index] - isn[index - 1] : isn[0];
        for (uint32_t bit = 0; bit < 32; bit++) {
            ones[bit] += isn[index] >> bit & 1;
        }
    }
    qsort(isn, TUPLE_COUNT, sizeof *isn, compare_u32);
    qsort(step, TUPLE_COUNT, sizeof *step, compare_u32);
    for (uint32_t index = 1; index < TUPLE_COUNT; index++) {
        isn_repeats += isn[index] == isn[index - 1];
        step_repeats += step[index] == step[index - 1];
    }
    assert_in_range(isn_repeats, 0, 10);
    assert_in_range(step_repeats, 0, 10);
    for (uint32_t bit = 0; bit < 32; bit++) {
        assert_in_range(ones[bit], TUPLE_COUNT / 2 - 949, TUPLE_COUNT / 2 + 949);
    }
    free(isn);
    free(step);
}

static void test_isn_with_another_secret_differs(void **state)
{
    struct fixture *fixture = *state;
    uint32_t one = tp_tcp_isn(tp_tcp_init(fixture->memory, &fixture->config), 0);
    fixture->config.isn_secret[15] ^= 1;
    assert_int_not_equal(one, tp_tcp_isn(tp_tcp_init(fixture->memory, &fixture->config), 0));
}

static void test_config_just_out_of_range_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct tp_tcp_config config = fixture->config;
    assert_int_not_equal(tp_tcp_memory_size(&config), 0);
    config.mss = TP_TCP_MSS_MIN - 1;
    assert_int_equal(tp_tcp_memory_size(&config), 0);
    config = fixture->config;
    config.receive_buffer_size = 4095;
    assert_int_equal(tp_tcp_memory_size(&config), 0);
    config.receive_buffer_size = 6000; /* no power of two */
    assert_int_equal(tp_tcp_memory_size(&config), 0);
    config = fixture->config;
    config.delayed_ack_ns = 500 * TP_TCP_MS;
    assert_int_equal(tp_tcp_memory_size(&config), 0);
    config.delayed_ack_ns = 500 * TP_TCP_MS - 1;
    assert_int_not_equal(tp_tcp_memory_size(&config), 0);
    config.rto_min_ns = config.rto_max_ns + 1;
    assert_int_equal(tp_tcp_memory_size(&config), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rtt_two_samples_equal_the_worked_example),
        cmocka_unit_test(test_rtt_time_out_stays_within_its_limits),
        cmocka_unit_test(test_isn_of_one_tuple_follows_the_4_us_clock),
        cmocka_unit_test(test_isn_of_neighbouring_tuples_has_no_linear_relation),
        cmocka_unit_test(test_isn_with_another_secret_differs),
        cmocka_unit_test(test_config_just_out_of_range_is_refused),
    };
    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
