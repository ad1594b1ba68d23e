/* A long random flow through small books, every invariant checked as it goes: for the sanitizers.
 * Equality with an oracle is tests/unit/test_book_differential.py's work; here a plain array of all
 * ticks stands in for it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "engine/book/book.h"

enum { TICKS = 6000, ROUNDS = 60000, CHECK_EVERY = 16 };

static uint32_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (uint32_t)(*state >> 32);
}

static struct tp_book *new_book(const struct tp_book_config *config)
{
    const size_t size = tp_book_memory_size(config);
    assert_true(size > 0);
    void *memory = aligned_alloc(64, size);
    memset(memory, 0xa5, size); /* init must not count on zeros */
    return tp_book_init(memory, config);
}

/* The book holds exactly the nearest levels of the truth. */
static void compare(const struct tp_book *book, enum tp_side side, const int64_t *truth,
                    int64_t tick_size)
{
    static struct tp_level levels[TICKS];
    const uint32_t count = tp_book_top(book, side, levels, TICKS);
    assert_int_equal(count, tp_book_level_count(book, side));
    uint32_t found = 0;
    for (int64_t i = 1; i < TICKS && found < count; i++) {
        const int64_t tick = side == TP_SIDE_ASK ? i : TICKS - i;
        if (truth[tick] == 0)
            continue;
        assert_int_equal(levels[found].price, tick * tick_size);
        assert_int_equal(levels[found].quantity, truth[tick]);
        found++;
    }
    assert_int_equal(found, count);
}

static void run(uint32_t overflow_levels, uint32_t window_ticks, int64_t tick_size, uint64_t seed)
{
    const struct tp_book_config config = {
        .tick_size = tick_size, .window_ticks = window_ticks, .overflow_levels = overflow_levels};
    struct tp_book *book = new_book(&config);
    static int64_t truth[2][TICKS];
    memset(truth, 0, sizeof truth);
    int64_t touch = TICKS / 2;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        if (next_random(&seed) % 512 == 0)
            touch = 500 + next_random(&seed) % (TICKS - 1000);
        const enum tp_side side = next_random(&seed) % 2 != 0 ? TP_SIDE_ASK : TP_SIDE_BID;
        int64_t distance = next_random(&seed) % 8;
        if (next_random(&seed) % 4 == 0)
            distance = next_random(&seed) % 490;
        const int64_t tick = side == TP_SIDE_ASK ? touch + distance : touch - distance;
        const int64_t quantity = next_random(&seed) % 2 != 0 ? next_random(&seed) % 100 : 0;
        truth[side][tick] = quantity;
        (void)tp_book_set_level(book, side, tick * tick_size, quantity);
        if (i % CHECK_EVERY == 0) {
            assert_true(tp_book_check(book));
            compare(book, side, truth[side], tick_size);
        }
    }
    if (overflow_levels >= TICKS)
        assert_int_equal(tp_book_counters(book)->dropped, 0);
    free(book);
}

static void test_book_random_flow_holds_invariants(void **state)
{
    (void)state;
    run(TICKS, 256, 1, 1);
    run(TICKS, 1024, 1000, 2);
    run(TICKS, 4096, 3, 3);
}

static void test_book_random_flow_with_full_overflow_holds_invariants(void **state)
{
    (void)state;
    run(1, 256, 1, 4);
    run(40, 256, 10, 5);
    run(300, 512, 1, 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_book_random_flow_holds_invariants),
        cmocka_unit_test(test_book_random_flow_with_full_overflow_holds_invariants),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
