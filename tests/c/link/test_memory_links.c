/* The in-memory link pair and the fault injector, through the link seam only. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "netstack/link/fault_injector.h"
#include "netstack/link/memory.h"

enum { RING_COUNT = 8, FRAME_SIZE = 256, HOLD_COUNT = 4096, MS = 1000000 };

/* A frame of size bytes whose content tells its number. */
static bool send_numbered(struct tp_link *link, uint32_t number, uint32_t size)
{
    uint8_t *room = tp_link_tx_claim(link);

    if (room == NULL)
        return false;
    memset(room, (int)(number & 0xff), size);
    memcpy(room + 14, &number, sizeof number);
    tp_link_tx_commit(link, size);
    return true;
}

static uint32_t number_of(const struct tp_frame *frame)
{
    uint32_t number;

    memcpy(&number, frame->data + 14, sizeof number);
    return number;
}

/* Receives one burst into numbers[]; returns how many frames it had. */
static uint32_t receive_numbers(struct tp_link *link, uint32_t *numbers)
{
    struct tp_frame frames[TP_LINK_BURST_MAX];
    const uint32_t count = tp_link_rx_burst(link, frames, TP_LINK_BURST_MAX);

    for (uint32_t i = 0; i < count; i++)
        numbers[i] = number_of(&frames[i]);
    tp_link_rx_release(link, frames, count);
    return count;
}

static void test_memory_link_create_bad_sizes_are_refused(void **state)
{
    (void)state;
    assert_null(tp_memory_link_pair_create(0, FRAME_SIZE));
    assert_null(tp_memory_link_pair_create(3, FRAME_SIZE));
    assert_null(tp_memory_link_pair_create(8, 13));
    assert_null(tp_memory_link_pair_create(8, TP_LINK_FRAME_SIZE_MAX + 1));
}

static void test_memory_link_committed_frame_arrives_only_after_kick(void **state)
{
    (void)state;
    struct tp_memory_link_pair *pair = tp_memory_link_pair_create(RING_COUNT, FRAME_SIZE);
    struct tp_link *a = tp_memory_link_end(pair, 0), *b = tp_memory_link_end(pair, 1);
    struct tp_frame frames[TP_LINK_BURST_MAX];

    assert_true(send_numbered(a, 7, 60));
    assert_int_equal(tp_link_rx_burst(b, frames, 4), 0);
    tp_link_rx_release(b, frames, 0);
    assert_int_equal(tp_link_tx_kick(a), 0);
    assert_int_equal(tp_link_rx_burst(b, frames, 4), 1);
    assert_int_equal(frames[0].size, 60);
    assert_int_equal(number_of(&frames[0]), 7);
    tp_link_rx_release(b, frames, 1);
    assert_int_equal(tp_link_rx_burst(b, frames, 4), 0);
    assert_int_equal(b->counters.rx_bytes, 60);
    assert_int_equal(a->counters.tx_frames, 1);
    tp_memory_link_pair_destroy(pair);
}

static void test_memory_link_full_ring_refuses_until_released(void **state)
{
    (void)state;
    struct tp_memory_link_pair *pair = tp_memory_link_pair_create(RING_COUNT, FRAME_SIZE);
    struct tp_link *a = tp_memory_link_end(pair, 0), *b = tp_memory_link_end(pair, 1);
    struct tp_frame frames[TP_LINK_BURST_MAX];

    for (uint32_t i = 0; i < RING_COUNT; i++)
        assert_true(send_numbered(a, i, 64));
    assert_false(send_numbered(a, 99, 64));
    assert_int_equal(a->counters.tx_full, 1);
    tp_link_tx_kick(a);
    assert_int_equal(tp_link_rx_burst(b, frames, TP_LINK_BURST_MAX), RING_COUNT);
    assert_false(send_numbered(a, 99, 64)); /* the frames are still with the receiver */
    tp_link_rx_release(b, frames, RING_COUNT);
    assert_true(send_numbered(a, 99, 64));
    tp_memory_link_pair_destroy(pair);
}

static void test_memory_link_abort_sends_nothing_and_order_is_kept_both_ways(void **state)
{
    (void)state;
    struct tp_memory_link_pair *pair = tp_memory_link_pair_create(RING_COUNT, FRAME_SIZE);
    struct tp_link *a = tp_memory_link_end(pair, 0), *b = tp_memory_link_end(pair, 1);
    uint32_t numbers[TP_LINK_BURST_MAX];

    for (uint32_t i = 0; i < 1000; i++) {
        assert_non_null(tp_link_tx_claim(a));
        tp_link_tx_abort(a);
        assert_true(send_numbered(a, i, 64) && send_numbered(a, i + 1, 64));
        assert_true(send_numbered(b, i, FRAME_SIZE));
        tp_link_tx_kick(a);
        tp_link_tx_kick(b);
        assert_int_equal(receive_numbers(b, numbers), 2);
        assert_true(numbers[0] == i && numbers[1] == i + 1);
        assert_int_equal(receive_numbers(a, numbers), 1);
        assert_int_equal(numbers[0], i);
    }
    tp_memory_link_pair_destroy(pair);
}

static void test_memory_link_broken_pair_tells_its_error(void **state)
{
    (void)state;
    struct tp_memory_link_pair *pair = tp_memory_link_pair_create(RING_COUNT, FRAME_SIZE);
    struct tp_link *a = tp_memory_link_end(pair, 0);

    tp_memory_link_pair_break(pair, -ENETDOWN);
    assert_int_equal(a->error, -ENETDOWN);
    assert_null(tp_link_tx_claim(a));
    assert_int_equal(tp_link_tx_kick(a), -ENETDOWN);
    tp_memory_link_pair_destroy(pair);
}

struct faulty_wire {
    struct tp_memory_link_pair *pair;
    struct tp_fault_injector *injector;
    struct tp_link *near, *far; /* near goes through the injector */
};

static struct faulty_wire faulty_wire(struct tp_fault_profile rx, struct tp_fault_profile tx)
{
    const struct tp_fault_config config = {
        .seed = 1, .frame_count = HOLD_COUNT, .rx = rx, .tx = tx};
    struct faulty_wire wire = {.pair = tp_memory_link_pair_create(4096, FRAME_SIZE)};

    wire.injector = tp_fault_injector_create(tp_memory_link_end(wire.pair, 0), &config);
    assert_non_null(wire.injector);
    wire.near = tp_fault_injector_link(wire.injector);
    wire.far = tp_memory_link_end(wire.pair, 1);
    return wire;
}

static void faulty_wire_destroy(struct faulty_wire wire)
{
    tp_fault_injector_destroy(wire.injector);
    tp_memory_link_pair_destroy(wire.pair);
}

/* Sends count frames over near (or far) and receives them at the other end, in bursts. */
static uint32_t pass(struct tp_link *from, struct tp_link *to, uint32_t count, uint32_t *numbers)
{
    uint32_t received = 0;

    for (uint32_t i = 0; i < count; i++)
        assert_true(send_numbered(from, i, 64));
    tp_link_tx_kick(from);
    for (uint32_t burst = 1, rounds = 0; burst > 0 && rounds < count; rounds++) {
        burst = receive_numbers(to, numbers + received);
        received += burst;
    }
    return received;
}

static void test_fault_injector_no_faults_passes_all_in_order(void **state)
{
    (void)state;
    struct faulty_wire wire =
        faulty_wire((struct tp_fault_profile){0}, (struct tp_fault_profile){0});
    static uint32_t numbers[4096];

    assert_int_equal(pass(wire.near, wire.far, 1000, numbers), 1000);
    for (uint32_t i = 0; i < 1000; i++)
        assert_int_equal(numbers[i], i);
    assert_int_equal(pass(wire.far, wire.near, 1000, numbers), 1000);
    for (uint32_t i = 0; i < 1000; i++)
        assert_int_equal(numbers[i], i);
    assert_true(tp_fault_injector_deadline(wire.injector) == UINT64_MAX);
    faulty_wire_destroy(wire);
}

static void test_fault_injector_loss_rate_is_near_its_probability(void **state)
{
    (void)state;
    const struct tp_fault_profile loss = {.loss = 100000}, none = {0};
    struct faulty_wire wire = faulty_wire(none, loss);
    static uint32_t numbers[4096];
    uint32_t received = 0;

    for (uint32_t round = 0; round < 10; round++)
        received += pass(wire.near, wire.far, 1000, numbers);
    /* Binomial, n = 10000, p = 0.9: sigma 30, so that 9000 +- 200 is over 6 sigma. */
    assert_in_range(received, 8800, 9200);
    assert_int_equal(tp_fault_injector_counters(wire.injector)->lost, 10000 - received);
    assert_int_equal(pass(wire.far, wire.near, 1000, numbers), 1000);
    faulty_wire_destroy(wire);
}

static void test_fault_injector_certain_duplicate_doubles_each_frame(void **state)
{
    (void)state;
    const struct tp_fault_profile twice = {.duplicate = TP_FAULT_CERTAIN}, none = {0};
    struct faulty_wire wire = faulty_wire(twice, none);
    static uint32_t numbers[4096];

    assert_int_equal(pass(wire.far, wire.near, 500, numbers), 1000);
    for (uint32_t i = 0; i < 1000; i++)
        assert_int_equal(numbers[i], i / 2);
    faulty_wire_destroy(wire);
}

static void test_fault_injector_certain_corruption_flips_one_bit_behind_ethernet(void **state)
{
    (void)state;
    const struct tp_fault_profile corrupt = {.corrupt = TP_FAULT_CERTAIN}, none = {0};
    struct faulty_wire wire = faulty_wire(none, corrupt);
    struct tp_frame frames[TP_LINK_BURST_MAX];

    for (uint32_t round = 0; round < 100; round++) {
        uint32_t flipped = 0;
        uint8_t *room = tp_link_tx_claim(wire.near);

        memset(room, 0x55, 64);
        tp_link_tx_commit(wire.near, 64);
        tp_link_tx_kick(wire.near);
        assert_int_equal(tp_link_rx_burst(wire.far, frames, 1), 1);
        for (uint32_t i = 0; i < 64; i++) {
            const uint32_t changed = frames[0].data[i] ^ 0x55u;
            assert_true(i >= 14 || changed == 0);
            flipped += (uint32_t)__builtin_popcount(changed);
        }
        assert_int_equal(flipped, 1);
        tp_link_rx_release(wire.far, frames, 1);
    }
    faulty_wire_destroy(wire);
}

static void test_fault_injector_delay_holds_until_time_is_advanced(void **state)
{
    (void)state;
    const struct tp_fault_profile rx = {.delay_ns = 10 * MS}, tx = {.delay_ns = 4 * MS};
    struct faulty_wire wire = faulty_wire(rx, tx);
    uint32_t numbers[TP_LINK_BURST_MAX];

    tp_fault_injector_advance(wire.injector, 100 * MS);
    assert_int_equal(pass(wire.near, wire.far, 1, numbers), 0);
    assert_int_equal(pass(wire.far, wire.near, 1, numbers), 0);
    assert_int_equal(tp_fault_injector_deadline(wire.injector), 104 * MS);
    tp_fault_injector_advance(wire.injector, 104 * MS - 1);
    assert_int_equal(receive_numbers(wire.far, numbers), 0);
    tp_fault_injector_advance(wire.injector, 104 * MS);
    assert_int_equal(receive_numbers(wire.far, numbers), 1);
    assert_int_equal(tp_fault_injector_deadline(wire.injector), 110 * MS);
    assert_int_equal(receive_numbers(wire.near, numbers), 0);
    tp_fault_injector_advance(wire.injector, 110 * MS);
    assert_int_equal(receive_numbers(wire.near, numbers), 1);
    faulty_wire_destroy(wire);
}

static void test_fault_injector_reordered_frames_are_overtaken_and_none_is_lost(void **state)
{
    (void)state;
    const struct tp_fault_profile tx = {.reorder = 200000, .reorder_delay_ns = 3 * MS}, none = {0};
    struct faulty_wire wire = faulty_wire(none, tx);
    static uint32_t numbers[4096];
    static bool seen[1000];
    uint32_t received = 0, inversions = 0;

    memset(seen, 0, sizeof seen);
    for (uint32_t i = 0; i < 1000; i++) {
        tp_fault_injector_advance(wire.injector, (uint64_t)i * MS);
        assert_true(send_numbered(wire.near, i, 64));
        tp_link_tx_kick(wire.near);
        received += receive_numbers(wire.far, numbers + received);
    }
    tp_fault_injector_advance(wire.injector, (uint64_t)2000 * MS);
    received += receive_numbers(wire.far, numbers + received);
    assert_int_equal(received, 1000);
    for (uint32_t i = 0; i < received; i++) {
        assert_false(seen[numbers[i]]);
        seen[numbers[i]] = true;
        inversions += i > 0 && numbers[i] < numbers[i - 1];
    }
    assert_true(inversions > 50);
    faulty_wire_destroy(wire);
}

static uint64_t outcome_of_seed(uint64_t seed)
{
    const struct tp_fault_profile profile = {.loss = 100000,
                                             .duplicate = 50000,
                                             .corrupt = 50000,
                                             .reorder = 100000,
                                             .delay_jitter_ns = 5 * MS,
                                             .reorder_delay_ns = 2 * MS};
    const struct tp_fault_config config = {
        .seed = seed, .frame_count = HOLD_COUNT, .rx = profile, .tx = profile};
    struct tp_memory_link_pair *pair = tp_memory_link_pair_create(4096, FRAME_SIZE);
    struct tp_fault_injector *injector =
        tp_fault_injector_create(tp_memory_link_end(pair, 0), &config);
    struct tp_link *near = tp_fault_injector_link(injector), *far = tp_memory_link_end(pair, 1);
    struct tp_frame frames[TP_LINK_BURST_MAX];
    uint64_t hash = 14695981039346656037u; /* FNV-1a */

    for (uint32_t i = 0; i < 300; i++) {
        tp_fault_injector_advance(injector, (uint64_t)i * MS);
        assert_true(send_numbered(i & 1 ? near : far, i, 64));
        tp_link_tx_kick(i & 1 ? near : far);
        struct tp_link *to = i & 1 ? far : near;
        const uint32_t count = tp_link_rx_burst(to, frames, TP_LINK_BURST_MAX);
        for (uint32_t j = 0; j < count; j++) {
            for (uint32_t k = 0; k < frames[j].size; k++)
                hash = (hash ^ frames[j].data[k]) * 1099511628211u;
        }
        tp_link_rx_release(to, frames, count);
    }
    tp_fault_injector_destroy(injector);
    tp_memory_link_pair_destroy(pair);
    return hash;
}

static void test_fault_injector_same_seed_gives_same_bytes(void **state)
{
    (void)state;
    assert_true(outcome_of_seed(42) == outcome_of_seed(42));
    assert_true(outcome_of_seed(42) != outcome_of_seed(43));
}

static void test_fault_injector_full_hold_refuses_claim_and_overflow_is_counted(void **state)
{
    (void)state;
    const struct tp_fault_config config = {
        .frame_count = 4, .rx = {.duplicate = TP_FAULT_CERTAIN}, .tx = {.delay_ns = MS}};
    struct tp_memory_link_pair *pair = tp_memory_link_pair_create(RING_COUNT, FRAME_SIZE);
    struct tp_fault_injector *injector =
        tp_fault_injector_create(tp_memory_link_end(pair, 0), &config);
    struct tp_link *near = tp_fault_injector_link(injector), *far = tp_memory_link_end(pair, 1);
    uint32_t numbers[TP_LINK_BURST_MAX];

    for (uint32_t i = 0; i < 4; i++)
        assert_true(send_numbered(near, i, 64));
    assert_false(send_numbered(near, 4, 64));
    for (uint32_t i = 0; i < 4; i++)
        assert_true(send_numbered(far, i, 64));
    tp_link_tx_kick(far);
    assert_int_equal(receive_numbers(near, numbers), 4); /* 0 0 1 1: 2 and 3 found no slot */
    assert_int_equal(tp_fault_injector_counters(injector)->overflowed, 2);
    tp_fault_injector_advance(injector, MS);
    assert_true(send_numbered(near, 5, 64)); /* what was due left its slots free */
    assert_int_equal(receive_numbers(far, numbers), 4);
    tp_fault_injector_destroy(injector);
    tp_memory_link_pair_destroy(pair);
}

static void test_fault_injector_bad_config_is_refused(void **state)
{
    (void)state;
    struct tp_memory_link_pair *pair = tp_memory_link_pair_create(RING_COUNT, FRAME_SIZE);
    struct tp_link *inner = tp_memory_link_end(pair, 0);
    struct tp_fault_config config = {.frame_count = 1, .rx = {.loss = TP_FAULT_CERTAIN + 1}};

    assert_null(tp_fault_injector_create(inner, &config));
    config.rx.loss = TP_FAULT_CERTAIN;
    config.frame_count = 0;
    assert_null(tp_fault_injector_create(inner, &config));
    config.frame_count = 1;
    struct tp_fault_injector *injector = tp_fault_injector_create(inner, &config);
    assert_non_null(injector);
    tp_memory_link_pair_break(pair, -ENXIO);
    tp_fault_injector_advance(injector, 1);
    assert_int_equal(tp_fault_injector_link(injector)->error, -ENXIO);
    tp_fault_injector_destroy(injector);
    tp_memory_link_pair_destroy(pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_link_create_bad_sizes_are_refused),
        cmocka_unit_test(test_memory_link_committed_frame_arrives_only_after_kick),
        cmocka_unit_test(test_memory_link_full_ring_refuses_until_released),
        cmocka_unit_test(test_memory_link_abort_sends_nothing_and_order_is_kept_both_ways),
        cmocka_unit_test(test_memory_link_broken_pair_tells_its_error),
        cmocka_unit_test(test_fault_injector_no_faults_passes_all_in_order),
        cmocka_unit_test(test_fault_injector_loss_rate_is_near_its_probability),
        cmocka_unit_test(test_fault_injector_certain_duplicate_doubles_each_frame),
        cmocka_unit_test(test_fault_injector_certain_corruption_flips_one_bit_behind_ethernet),
        cmocka_unit_test(test_fault_injector_delay_holds_until_time_is_advanced),
        cmocka_unit_test(test_fault_injector_reordered_frames_are_overtaken_and_none_is_lost),
        cmocka_unit_test(test_fault_injector_same_seed_gives_same_bytes),
        cmocka_unit_test(test_fault_injector_full_hold_refuses_claim_and_overflow_is_counted),
        cmocka_unit_test(test_fault_injector_bad_config_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
