/* Queues of raw messages over a shared pool of chunks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "engine/feed/backlog.h"

enum { CHUNKS = 8, BYTES_MAX = 8192, QUEUES = 3 };

struct fixture {
    struct tp_backlog_chunk chunks[CHUNKS];
    struct tp_backlog_pool pool;
    struct tp_backlog backlog[QUEUES];
    uint8_t data[BYTES_MAX], staging[BYTES_MAX];
    struct tp_buffer out;
};

static int setup(void **state)
{
    struct fixture *f = malloc(sizeof *f);
    tp_backlog_pool_init(&f->pool, f->chunks, CHUNKS);
    for (int i = 0; i < QUEUES; i++)
        tp_backlog_init(&f->backlog[i]);
    for (size_t i = 0; i < sizeof f->data; i++)
        f->data[i] = (uint8_t)(i * 31 + i / 256);
    f->out = (struct tp_buffer){.data = f->staging, .capacity = sizeof f->staging};
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    free(*state);
    return 0;
}

static bool append(struct fixture *f, int queue, size_t size, uint64_t at)
{
    return tp_backlog_append(&f->pool, &f->backlog[queue], (struct tp_span){f->data + at % 7, size},
                             at, BYTES_MAX);
}

static void expect_first(struct fixture *f, int queue, size_t size, uint64_t at)
{
    uint64_t received_ns;
    assert_true(tp_backlog_peek(&f->pool, &f->backlog[queue], &f->out, &received_ns));
    assert_int_equal(received_ns, at);
    assert_int_equal(tp_buffer_unread(&f->out).size, size);
    assert_memory_equal(f->out.data, f->data + at % 7, size);
    tp_backlog_drop_first(&f->pool, &f->backlog[queue]);
}

static void test_backlog_messages_come_back_in_order(void **state)
{
    struct fixture *f = *state;
    /* Around one and two chunks less the header. */
    const size_t sizes[] = {0, 1, 2032, 2031, 2033, 5, 4076, 12};
    for (int round = 0; round < 50; round++) {
        for (int half = 0; half < 2; half++) {
            const int first = half == 0 ? 0 : 4, last = half == 0 ? 4 : 8;
            for (int i = first; i < last; i++)
                assert_true(append(f, 0, sizes[i], (uint64_t)i));
            for (int i = first; i < last; i++)
                expect_first(f, 0, sizes[i], (uint64_t)i);
        }
        assert_int_equal(f->pool.free_count, CHUNKS);
        assert_int_equal(f->backlog[0].bytes, 0);
    }
}

static void test_backlog_interleaved_append_and_drop_keeps_its_bytes(void **state)
{
    struct fixture *f = *state;
    uint64_t next = 0, oldest = 0;
    for (int i = 0; i < 3000; i++) {
        while (append(f, 0, 100 + next % 333, next))
            next++;
        for (int drop = 0; drop < 1 + i % 5 && oldest < next; drop++, oldest++)
            expect_first(f, 0, 100 + oldest % 333, oldest);
    }
    assert_true(next > 3000);
    for (; oldest < next; oldest++)
        expect_first(f, 0, 100 + oldest % 333, oldest);
    assert_int_equal(f->pool.free_count, CHUNKS);
}

static void test_backlog_bytes_max_is_exact(void **state)
{
    struct fixture *f = *state;
    const struct tp_span message = {f->data, 100};
    assert_false(tp_backlog_append(&f->pool, &f->backlog[0], message, 0, 111));
    assert_true(tp_backlog_append(&f->pool, &f->backlog[0], message, 0, 112));
    assert_false(tp_backlog_append(&f->pool, &f->backlog[0], message, 0, 223));
    assert_true(tp_backlog_append(&f->pool, &f->backlog[0], message, 0, 224));
    tp_backlog_drop_first(&f->pool, &f->backlog[0]);
    assert_true(tp_backlog_append(&f->pool, &f->backlog[0], message, 0, 224));
}

static void test_backlog_pool_exhausted_leaves_the_queue_as_it_was(void **state)
{
    struct fixture *f = *state;
    assert_true(append(f, 0, 8000, 1));
    assert_true(append(f, 1, 6000, 2));
    assert_int_equal(f->pool.free_count, 1);
    assert_false(append(f, 2, 4000, 3));
    assert_int_equal(f->backlog[2].message_count, 0);
    assert_true(append(f, 2, 1000, 4));
    assert_false(append(f, 1, 2000, 5));
    expect_first(f, 1, 6000, 2);
    expect_first(f, 2, 1000, 4);
    tp_backlog_clear(&f->pool, &f->backlog[0]);
    assert_int_equal(f->pool.free_count, CHUNKS);
    assert_int_equal(f->backlog[0].message_count, 0);
}

static void test_backlog_empty_has_nothing(void **state)
{
    struct fixture *f = *state;
    uint64_t received_ns;
    assert_false(tp_backlog_peek(&f->pool, &f->backlog[0], &f->out, &received_ns));
    tp_backlog_clear(&f->pool, &f->backlog[0]);
    assert_int_equal(f->pool.free_count, CHUNKS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_backlog_messages_come_back_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_backlog_interleaved_append_and_drop_keeps_its_bytes,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_backlog_bytes_max_is_exact, setup, teardown),
        cmocka_unit_test_setup_teardown(test_backlog_pool_exhausted_leaves_the_queue_as_it_was,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_backlog_empty_has_nothing, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
