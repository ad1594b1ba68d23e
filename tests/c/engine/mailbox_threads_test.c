/* Hot and cold thread through the mailbox at full speed: every answer that is taken belongs to its
 * instrument's latest request, and its levels are whole. Build with -Db_sanitize=thread as well. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "engine/feed/mailbox.h"

enum { INSTRUMENTS = 7, TAKE_COUNT = 3000, LEVELS = 40 };

struct shared {
    struct tp_mailbox mailbox;
    _Atomic uint32_t requests[INSTRUMENTS];
    struct tp_mailbox_cell cells[TP_MAILBOX_CELL_COUNT];
    /* What the venue would answer now: raised by the hot thread before each request. */
    _Atomic uint64_t version[INSTRUMENTS];
    _Atomic bool stop;
};

/* Bases and checks in turn: an answer is never one to a request of the other kind. */
static enum tp_request kind_of(uint64_t version)
{
    return version % 2 == 0 ? TP_REQUEST_BASE : TP_REQUEST_CHECK;
}

static void *cold(void *argument)
{
    struct shared *shared = argument;
    struct tp_level bids[LEVELS], asks[LEVELS];
    uint32_t wanted[3];
    for (uint32_t round = 0; !atomic_load(&shared->stop); round++) {
        const enum tp_request asked = round % 2 == 0 ? TP_REQUEST_BASE : TP_REQUEST_CHECK;
        const uint32_t count = tp_mailbox_wanted(&shared->mailbox, asked, wanted, 3);
        for (uint32_t i = 0; i < count; i++) {
            const uint64_t version = atomic_load(&shared->version[wanted[i]]);
            for (int level = 0; level < LEVELS; level++) {
                bids[level] = (struct tp_level){1 + level, (int64_t)version};
                asks[level] = (struct tp_level){1000 - level, (int64_t)version};
            }
            if ((round + i) % 5 == 0) {
                tp_mailbox_failed(&shared->mailbox, wanted[i]);
                continue;
            }
            while (
                !tp_mailbox_offer(&shared->mailbox, &(struct tp_feed_base){.instrument = wanted[i],
                                                                           .version = version,
                                                                           .bids = bids,
                                                                           .bid_count = LEVELS,
                                                                           .asks = asks,
                                                                           .ask_count = LEVELS}) &&
                !atomic_load(&shared->stop))
                sched_yield();
        }
        if (count == 0)
            sched_yield();
    }
    return NULL;
}

static void request(struct shared *shared, uint32_t instrument)
{
    const uint64_t version = atomic_fetch_add(&shared->version[instrument], 1) + 1;
    tp_mailbox_want(&shared->mailbox, instrument, kind_of(version));
}

static void take(struct shared *shared, const struct tp_mailbox_cell *cell)
{
    /* Fetched after the latest request: not older than what that one raised. */
    assert_int_equal(cell->version, atomic_load(&shared->version[cell->instrument]));
    assert_int_equal(tp_mailbox_request(cell), kind_of(cell->version));
    assert_int_equal(cell->bid_count, LEVELS);
    assert_int_equal(cell->ask_count, LEVELS);
    for (int level = 0; level < LEVELS; level++) {
        assert_int_equal(cell->bids[level].price, LEVELS - level);
        assert_int_equal(cell->asks[level].price, 1000 - LEVELS + 1 + level);
        assert_int_equal(cell->bids[level].quantity, cell->version);
        assert_int_equal(cell->asks[level].quantity, cell->version);
    }
}

static void test_mailbox_two_threads_hand_over_whole_and_fresh_answers(void **state)
{
    (void)state;
    struct shared *shared = aligned_alloc(64, (sizeof *shared + 63) / 64 * 64);
    tp_mailbox_init(&shared->mailbox, shared->requests, INSTRUMENTS, shared->cells);
    for (uint32_t i = 0; i < INSTRUMENTS; i++)
        atomic_init(&shared->version[i], 0);
    atomic_init(&shared->stop, false);
    for (uint32_t i = 0; i < INSTRUMENTS; i++)
        request(shared, i);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, cold, shared), 0);
    uint32_t taken = 0, stale = 0;
    for (uint32_t round = 0; taken < TAKE_COUNT; round++) {
        bool fresh;
        const struct tp_mailbox_cell *cell = tp_mailbox_peek(&shared->mailbox, &fresh);
        if (cell == NULL) {
            sched_yield();
            continue;
        }
        const uint32_t instrument = cell->instrument;
        if (fresh) {
            take(shared, cell);
            taken++;
        }
        stale += !fresh;
        tp_mailbox_release(&shared->mailbox);
        if (fresh)
            request(shared, instrument);
        if (round % 3 == 0) /* the connection was lost: ask another anew, whatever its state */
            request(shared, round % INSTRUMENTS);
    }
    atomic_store(&shared->stop, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(atomic_load(&shared->mailbox.refused), 0);
    print_message("taken %u, stale %u\n", taken, stale);
    free(shared);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mailbox_two_threads_hand_over_whole_and_fresh_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
