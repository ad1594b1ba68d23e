/* Reassembly against a model that keeps one flag and one value for every byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "netstack/tcp/reassembly.h"
#include "netstack/tcp/sequence.h"

enum { RING_SIZE = 1024, ROUND_COUNT = 20000, SEED = 20240607 };

struct model {
    bool held[RING_SIZE]; /* by distance from next */
    uint8_t value[RING_SIZE];
};

static uint64_t random_state;

static uint32_t draw(uint32_t bound)
{
    random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(random_state >> 33) % bound;
}

static uint32_t model_range_count(const struct model *model)
{
    uint32_t count = 0;
    for (uint32_t index = 0; index < RING_SIZE; index++) {
        count += model->held[index] && (index == 0 || !model->held[index - 1]);
    }
    return count;
}

static bool model_touches(const struct model *model, uint32_t offset, uint32_t size)
{
    uint32_t from = offset > 0 ? offset - 1 : 0;
    uint32_t to = offset + size < RING_SIZE ? offset + size + 1 : RING_SIZE;
    for (uint32_t index = from; index < to; index++) {
        if (model->held[index]) {
            return true;
        }
    }
    return false;
}

static void model_shift(struct model *model, uint32_t size)
{
    memmove(model->held, model->held + size, (RING_SIZE - size) * sizeof model->held[0]);
    memmove(model->value, model->value + size, RING_SIZE - size);
    memset(model->held + RING_SIZE - size, 0, size * sizeof model->held[0]);
}

static void insert_both(struct tp_tcp_reassembly *reassembly, struct model *model, uint32_t next)
{
    uint8_t bytes[64];
    uint32_t size = 1 + draw(draw(4) == 0 ? 64 : 8);
    uint32_t offset = 1 + draw(RING_SIZE - size - 1);
    for (uint32_t index = 0; index < size; index++) {
        bytes[index] = (uint8_t)draw(256);
    }
    bool fits =
        model_range_count(model) < TP_TCP_RANGE_COUNT_MAX || model_touches(model, offset, size);
    assert_int_equal(
        tp_tcp_reassembly_insert(reassembly, next + offset, (struct tp_span){bytes, size}), fits);
    for (uint32_t index = 0; fits && index < size; index++) {
        if (!model->held[offset + index]) {
            model->held[offset + index] = true;
            model->value[offset + index] = bytes[index];
        }
    }
}

/* In order arrives what is missing before the first range, then that range is taken. */
static uint32_t take_both(struct tp_tcp_reassembly *reassembly, struct model *model, uint32_t next)
{
    if (reassembly->count == 0) {
        return next;
    }
    uint32_t gap = reassembly->range[0].left - next;
    struct tp_span spans[2];
    model_shift(model, gap);
    uint32_t count = tp_tcp_reassembly_take(reassembly, next + gap, spans);
    uint32_t at = 0;
    assert_in_range(count, 1, 2);
    for (uint32_t index = 0; index < count; index++) {
        for (size_t offset = 0; offset < spans[index].size; offset++, at++) {
            assert_true(model->held[at]);
            assert_int_equal(spans[index].data[offset], model->value[at]);
        }
    }
    assert_false(model->held[at]);
    model_shift(model, at);
    return next + gap + at;
}

static void test_reassembly_random_segments_equals_byte_model(void **state)
{
    (void)state;
    static uint8_t ring[RING_SIZE];
    struct tp_tcp_reassembly reassembly;
    struct model model = {0};
    uint32_t next = UINT32_MAX - 5000; /* wraps on the way */
    random_state = SEED;
    print_message("seed %d\n", SEED);
    tp_tcp_reassembly_init(&reassembly, ring, RING_SIZE);
    for (uint32_t round = 0; round < ROUND_COUNT; round++) {
        insert_both(&reassembly, &model, next);
        if (draw(90) == 0) {
            next = take_both(&reassembly, &model, next);
        }
        assert_int_equal(reassembly.count, model_range_count(&model));
    }
}

static void test_reassembly_take_at_a_gap_gives_nothing(void **state)
{
    (void)state;
    static uint8_t ring[RING_SIZE];
    const uint8_t bytes[4] = {1, 2, 3, 4};
    struct tp_tcp_reassembly reassembly;
    struct tp_span spans[2];
    tp_tcp_reassembly_init(&reassembly, ring, RING_SIZE);
    assert_true(tp_tcp_reassembly_insert(&reassembly, 101, (struct tp_span){bytes, 4}));
    assert_int_equal(tp_tcp_reassembly_take(&reassembly, 100, spans), 0);
    assert_int_equal(tp_tcp_reassembly_take(&reassembly, 102, spans), 0);
    assert_int_equal(tp_tcp_reassembly_take(&reassembly, 101, spans), 1);
    assert_int_equal(spans[0].size, 4);
}

static void test_reassembly_range_over_the_wrap_gives_two_spans(void **state)
{
    (void)state;
    static uint8_t ring[RING_SIZE];
    const uint8_t bytes[4] = {1, 2, 3, 4};
    struct tp_tcp_reassembly reassembly;
    struct tp_span spans[2];
    tp_tcp_reassembly_init(&reassembly, ring, RING_SIZE);
    assert_true(tp_tcp_reassembly_insert(&reassembly, RING_SIZE - 3, (struct tp_span){bytes, 4}));
    assert_int_equal(tp_tcp_reassembly_take(&reassembly, RING_SIZE - 3, spans), 2);
    assert_int_equal(spans[0].size, 3);
    assert_int_equal(spans[1].size, 1);
    assert_int_equal(spans[1].data[0], 4);
}

static void test_reassembly_truncate_forgets_what_lies_behind(void **state)
{
    (void)state;
    static uint8_t ring[RING_SIZE];
    const uint8_t bytes[10] = {0};
    struct tp_tcp_reassembly reassembly;
    tp_tcp_reassembly_init(&reassembly, ring, RING_SIZE);
    assert_true(tp_tcp_reassembly_insert(&reassembly, 10, (struct tp_span){bytes, 10}));
    assert_true(tp_tcp_reassembly_insert(&reassembly, 30, (struct tp_span){bytes, 10}));
    tp_tcp_reassembly_truncate(&reassembly, 30);
    assert_int_equal(reassembly.count, 1);
    tp_tcp_reassembly_truncate(&reassembly, 15);
    assert_int_equal(reassembly.range[0].right, 15);
    assert_true(tp_tcp_reassembly_holds(&reassembly, 10, 15));
    assert_false(tp_tcp_reassembly_holds(&reassembly, 10, 16));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reassembly_random_segments_equals_byte_model),
        cmocka_unit_test(test_reassembly_take_at_a_gap_gives_nothing),
        cmocka_unit_test(test_reassembly_range_over_the_wrap_gives_two_spans),
        cmocka_unit_test(test_reassembly_truncate_forgets_what_lies_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
