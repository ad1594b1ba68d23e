/* The control segment, the gate and many rings in one process, under the sanitizers. What needs
 * several processes is in tests/unit/test_shm_control.py. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "shm/mapping_guard.h"
#include "shm/reader_set.h"
#include "shm/ring_gate.h"
#include "shm/waker.h"

enum { CAPACITY = 8, STAMP_WORD = 1 };
static const uint64_t SHORT_NS = 200000, LONG_NS = 60000000000;

struct fixture {
    char directory[32];
    struct tp_segment *segment;
    struct tp_control *control;
    struct tp_ring_gate gate;
    struct tp_reader *reader;
    _Atomic uint32_t is_over;
};

static struct tp_segment *segment_make(const char *directory, const char *instance)
{
    struct tp_segment *segment;
    struct tp_segment_error error;
    const struct tp_segment_config config = {
        .directory = directory, .instance = instance, .schema = "x", .ring_capacity = CAPACITY};
    assert_int_equal(tp_segment_create(&segment, &config, &error), TP_SEGMENT_OK);
    return segment;
}

static struct tp_reader *reader_make(const char *directory, const char *instance)
{
    struct tp_segment_error error;
    struct tp_reader *reader = malloc(sizeof *reader);
    assert_int_equal(tp_reader_init(reader, directory, instance, 0, &error), TP_SEGMENT_OK);
    reader->stale_after_ns = UINT64_MAX; /* a busy test machine is no silent writer */
    return reader;
}

static void reader_free(struct tp_reader *reader)
{
    tp_reader_deinit(reader);
    free(reader);
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    struct tp_segment_error error;
    strcpy(fixture->directory, "/tmp/tickpath-test-XXXXXX");
    assert_non_null(mkdtemp(fixture->directory));
    fixture->segment = segment_make(fixture->directory, "unit");
    assert_int_equal(tp_control_create(&fixture->control, fixture->segment, SHORT_NS, &error),
                     TP_SEGMENT_OK);
    assert_int_equal(tp_segment_ready(fixture->segment, &error), TP_SEGMENT_OK);
    tp_ring_gate_init(&fixture->gate, &fixture->segment->ring, fixture->control, SHORT_NS);
    fixture->reader = reader_make(fixture->directory, "unit");
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    reader_free(fixture->reader);
    tp_control_close(fixture->control);
    tp_segment_close(fixture->segment);
    assert_int_equal(rmdir(fixture->directory), 0);
    free(fixture);
    return 0;
}

static void publish(struct tp_segment *segment, uint64_t stamp)
{
    const uint64_t event[TP_RING_EVENT_WORDS] = {stamp, stamp};
    (void)tp_ring_publish(&segment->ring, event);
}

static void publish_gated(struct fixture *fixture, uint64_t count)
{
    tp_ring_gate_pass(&fixture->gate, count);
    for (uint64_t i = 0; i < count; i++)
        publish(fixture->segment, i);
}

/* As tp_reader_register, which would wait for a gate that nobody ticks in this one thread. */
static struct tp_control_slot *claim_slot(struct fixture *fixture,
                                          const struct tp_control_claimant *claim)
{
    struct tp_segment_error error;
    struct tp_control_slot *slot;
    (void)tp_control_claim(fixture->control, claim, &slot, &error);
    return slot;
}

static struct tp_control_slot *lossless_claim(struct fixture *fixture, uint64_t cursor)
{
    const struct tp_control_claimant claim = {"unit", cursor, true};
    struct tp_control_slot *slot = claim_slot(fixture, &claim);
    assert_non_null(slot);
    fixture->gate.next_look_ns = 0;
    tp_ring_gate_tick(&fixture->gate, tp_clock_now_ns(&fixture->gate.clock));
    return slot;
}

static void cursor_move(struct tp_control_slot *slot, uint64_t cursor)
{
    atomic_store_explicit(&slot->cursor, cursor, memory_order_release);
}

static void claims_fill_the_table_and_releases_free_it(void **state)
{
    struct fixture *fixture = *state;
    struct tp_control_slot *slot[TP_CONTROL_SLOT_COUNT];
    const struct tp_control_claimant claim = {"a name that is longer than the field for it is", 0,
                                              false};
    for (int i = 0; i < TP_CONTROL_SLOT_COUNT; i++)
        assert_ptr_equal(slot[i] = claim_slot(fixture, &claim), &fixture->control->memory->slot[i]);
    assert_int_equal(strlen(slot[0]->name), TP_CONTROL_NAME_SIZE - 1);
    assert_null(claim_slot(fixture, &claim));
    tp_control_release(fixture->control, slot[7]);
    assert_ptr_equal(claim_slot(fixture, &claim), slot[7]);
    slot[8]->owner = 1; /* whatever stands there: who holds the lock lives */
    assert_int_equal(tp_control_reap(fixture->control), 0);
    tp_control_release(fixture->control, slot[7]);
    slot[7]->owner = 1; /* nobody does */
    assert_int_equal(tp_control_reap(fixture->control), 1);
    assert_int_equal(slot[7]->owner, 0);
    slot[9]->owner = 3; /* not ours: release must leave it */
    tp_control_release(fixture->control, slot[9]);
    assert_int_equal(slot[9]->owner, 3);
}

static void gate_without_consumers_never_waits(void **state)
{
    struct fixture *fixture = *state;
    for (int i = 0; i < 100; i++)
        publish_gated(fixture, 5);
    assert_true(fixture->gate.limit == UINT64_MAX);
    assert_int_equal(fixture->gate.counters.waits, 0);
}

static void gate_waits_only_where_the_slowest_would_lose(void **state)
{
    struct fixture *fixture = *state;
    struct tp_control_slot *slow = lossless_claim(fixture, 0);
    struct tp_control_slot *fast = lossless_claim(fixture, 0);
    assert_int_equal(slow->is_gated, 1);
    publish_gated(fixture, CAPACITY); /* exactly one ring: nothing is overwritten */
    cursor_move(fast, CAPACITY);
    cursor_move(slow, 3);
    publish_gated(fixture, 3);
    assert_int_equal(fixture->gate.counters.waits, 0);
    publish_gated(fixture, 1);
    assert_int_equal(fixture->gate.counters.waits, 1);
    assert_int_equal(fixture->gate.counters.evictions, 1);
    assert_int_equal(slow->is_evicted, 1);
    assert_int_equal(fast->is_evicted, 0);
    assert_true(fixture->gate.counters.held_ns >= SHORT_NS);
    assert_true(fixture->gate.limit == CAPACITY + CAPACITY);
}

static void gate_refuses_who_was_evicted_for_a_second(void **state)
{
    struct fixture *fixture = *state;
    struct tp_ring_gate *gate = &fixture->gate;
    const uint64_t start = 5000000000, second = 1000000000;
    gate->clock = (struct tp_clock){TP_CLOCK_VIRTUAL, start, 0, 0};
    struct tp_control_slot *slot = lossless_claim(fixture, 0);
    publish_gated(fixture, CAPACITY);
    gate->held_since_ns = start; /* all that it may wait in this second was waited */
    gate->held_ns = gate->deadline_ns;
    publish_gated(fixture, 1);
    assert_int_equal(slot->is_evicted, 1);
    tp_control_release(fixture->control, slot);
    assert_ptr_equal(lossless_claim(fixture, 9), slot);
    assert_int_equal(slot->is_evicted, 0); /* that was the one before */
    assert_int_equal(slot->is_gated, 0);
    tp_ring_gate_tick(gate, start + second - 1);
    assert_int_equal(slot->is_gated, 0);
    gate->next_look_ns = 0;
    tp_ring_gate_tick(gate, start + second);
    assert_int_equal(slot->is_gated, 1);
}

/* It takes one event at a time, each within the deadline, and yet must not hold the writer for
 * ever. */
static void gate_counts_all_that_one_holds_it(void **state)
{
    struct fixture *fixture = *state;
    struct tp_control_slot *slot = lossless_claim(fixture, 0);
    publish_gated(fixture, CAPACITY);
    fixture->gate.held_ns = SHORT_NS - 1; /* as if it had, in this second */
    fixture->gate.held_since_ns = tp_clock_now_ns(&fixture->gate.clock);
    cursor_move(slot, 1);
    publish_gated(fixture, 1); /* the limit was only old: this costs nothing */
    assert_int_equal(fixture->gate.counters.waits, 0);
    publish_gated(fixture, 1);
    assert_int_equal(fixture->gate.counters.evictions, 1);
    assert_true(fixture->gate.counters.held_ns < SHORT_NS);
}

/* The second that it was waited in stands still here: nothing is left of it for the next one. */
static void gate_has_waited_once_for_all_of_them(void **state)
{
    struct fixture *fixture = *state;
    struct tp_ring_gate *gate = &fixture->gate;
    (void)lossless_claim(fixture, 0);
    publish_gated(fixture, CAPACITY);
    publish_gated(fixture, 1);
    assert_int_equal(gate->counters.evictions, 1);
    assert_true(gate->counters.held_ns >= SHORT_NS);
    assert_int_equal(gate->held_ns, gate->counters.held_ns);
    const uint64_t held_ns = gate->counters.held_ns;
    gate->clock = (struct tp_clock){TP_CLOCK_VIRTUAL, gate->held_since_ns + SHORT_NS, 0, 0};
    struct tp_control_slot *slot = lossless_claim(fixture, fixture->segment->ring.next);
    publish_gated(fixture, CAPACITY);
    publish_gated(fixture, 1);
    assert_int_equal(slot->is_evicted, 1);
    assert_int_equal(gate->counters.held_ns, held_ns);
}

/* To catch up forgives nothing: the feed would stop and go for ever. */
static void gate_holds_for_one_deadline_a_second(void **state)
{
    struct fixture *fixture = *state;
    struct tp_ring_gate *gate = &fixture->gate;
    gate->deadline_ns = gate->held_ns = LONG_NS; /* as if all of it was waited in this second */
    gate->held_since_ns = tp_clock_now_ns(&gate->clock);
    struct tp_control_slot *slot = lossless_claim(fixture, 0);
    publish_gated(fixture, CAPACITY);
    cursor_move(slot, CAPACITY);
    publish_gated(fixture, CAPACITY);
    publish_gated(fixture, 1); /* with a deadline anew this would not end */
    assert_int_equal(slot->is_evicted, 1);
    gate->deadline_ns = gate->held_ns = SHORT_NS;
    gate->held_since_ns -= 1000000000;
    const uint64_t held_ns = gate->counters.held_ns;
    slot = lossless_claim(fixture, fixture->segment->ring.next);
    publish_gated(fixture, CAPACITY);
    publish_gated(fixture, 1);
    assert_int_equal(slot->is_evicted, 1);
    assert_true(gate->counters.held_ns - held_ns >= SHORT_NS);
}

static void gate_answers_one_that_comes_back_between_two_looks(void **state)
{
    struct fixture *fixture = *state;
    struct tp_control_slot *slot = lossless_claim(fixture, 0);
    assert_int_equal(slot->is_gated, 1);
    tp_control_release(fixture->control, slot);
    assert_ptr_equal(lossless_claim(fixture, 0), slot);
    assert_int_equal(slot->is_gated, 1);
    assert_int_equal(fixture->gate.member_count, 1);
}

static void gate_of_a_message_larger_than_the_ring_keeps_what_it_can(void **state)
{
    struct fixture *fixture = *state;
    struct tp_control_slot *slot = lossless_claim(fixture, 0);
    publish_gated(fixture, CAPACITY + 3); /* an empty ring: there is nobody to wait for */
    assert_int_equal(fixture->gate.counters.evictions, 0);
    cursor_move(slot, CAPACITY + 3);
    publish_gated(fixture, 2);
    publish_gated(fixture, CAPACITY + 3);
    assert_int_equal(fixture->gate.counters.evictions, 1);
}

static void gate_does_not_believe_a_cursor_ahead_of_the_ring(void **state)
{
    struct fixture *fixture = *state;
    const uint64_t ahead[] = {1, CAPACITY, UINT64_MAX / 2};
    for (size_t i = 0; i < sizeof ahead / sizeof ahead[0]; i++) {
        struct tp_ring_gate *gate = &fixture->gate;
        const uint64_t next = fixture->segment->ring.next;
        tp_ring_gate_init(gate, &fixture->segment->ring, fixture->control, SHORT_NS);
        struct tp_control_slot *slot = lossless_claim(fixture, next);
        publish_gated(fixture, CAPACITY);
        cursor_move(slot, next + CAPACITY + ahead[i]);
        publish_gated(fixture, 1);
        assert_int_equal(gate->counters.impossible_cursors, 1);
        assert_int_equal(gate->counters.waits, 0);
        assert_int_equal(slot->is_evicted, 1);
        assert_true(gate->limit == UINT64_MAX);
        tp_control_release(fixture->control, slot);
    }
}

static void reader_registers_and_its_cursor_follows(void **state)
{
    struct fixture *fixture = *state;
    struct tp_reader *reader = fixture->reader;
    publish(fixture->segment, 1);
    assert_int_equal(tp_reader_register(reader, "unit", false), TP_SEGMENT_OK);
    assert_int_equal(reader->slot->cursor, 1);
    publish(fixture->segment, 2);
    assert_int_equal(tp_reader_poll(reader), TP_READER_EVENT);
    assert_int_equal(reader->slot->cursor, 2); /* a quarter of this ring is 2 */
    for (uint64_t i = 0; i < CAPACITY + 1; i++)
        publish(fixture->segment, i);
    assert_int_equal(tp_reader_poll(reader), TP_READER_LAPPED);
    assert_int_equal(reader->slot->lost_count, CAPACITY + 1);
    assert_int_equal(reader->slot->lapped_count, 1);
    tp_reader_unregister(reader);
    struct tp_control_slot *slot = &fixture->control->memory->slot[0];
    assert_int_equal(slot->owner, 0);
    const struct tp_control_claimant claim = {"next", 0, false};
    assert_ptr_equal(claim_slot(fixture, &claim), slot); /* it begins with nothing of that one's */
    assert_int_equal(slot->lost_count, 0);
    assert_int_equal(slot->lapped_count, 0);
}

/* Somebody freed its slot, and another took it: that one's cursor is not ours to move. */
static void reader_whose_slot_was_taken_away_is_told_and_leaves_it_alone(void **state)
{
    struct fixture *fixture = *state;
    struct tp_reader *reader = fixture->reader;
    assert_int_equal(tp_reader_register(reader, "unit", false), TP_SEGMENT_OK);
    reader->is_lossless = true; /* as if the gate had answered */
    struct tp_control_slot *slot = &fixture->control->memory->slot[0];
    slot->owner = 3;
    slot->cursor = 0;
    for (uint64_t i = 0; i < CAPACITY + 1; i++)
        publish(fixture->segment, i);
    assert_int_equal(tp_reader_poll(reader), TP_READER_EVICTED);
    assert_false(reader->is_lossless);
    assert_null(reader->slot);
    assert_int_equal(reader->registration, TP_SEGMENT_SYSTEM);
    assert_int_equal(slot->cursor, 0);
    assert_int_equal(slot->lapped_count, 0);
    publish(fixture->segment, 1);
    assert_int_equal(tp_reader_poll(reader), TP_READER_EVENT);
    tp_reader_interrupt(reader);
    tp_reader_unregister(reader);
    assert_int_equal(slot->owner, 3);
}

static void *interrupt_on_and_on(void *argument)
{
    struct fixture *fixture = argument;
    while (atomic_load(&fixture->is_over) == 0)
        tp_reader_interrupt(fixture->reader);
    return NULL;
}

static void reader_may_be_interrupted_while_it_unmaps_its_slot(void **state)
{
    struct fixture *fixture = *state;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, interrupt_on_and_on, fixture), 0);
    for (int i = 0; i < 5000; i++)
        assert_int_equal(tp_reader_register(fixture->reader, "unit", false), TP_SEGMENT_OK);
    atomic_store(&fixture->is_over, 1);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

static void reader_awaits_without_taking(void **state)
{
    struct fixture *fixture = *state;
    struct tp_reader *reader = fixture->reader;
    reader->wait_ns = LONG_NS;
    publish(fixture->segment, 5);
    assert_int_equal(tp_reader_await(reader), TP_READER_EVENT);
    assert_int_equal(tp_reader_await(reader), TP_READER_EVENT);
    assert_int_equal(tp_reader_poll(reader), TP_READER_EVENT);
    assert_int_equal(reader->event[STAMP_WORD], 5);
    tp_reader_interrupt(reader);
    assert_int_equal(tp_reader_await(reader), TP_READER_EMPTY);
}

static void set_by_arrival_merges_and_holds_what_it_read_ahead(void **state)
{
    struct fixture *fixture = *state;
    struct tp_segment_error error;
    struct tp_segment *second = segment_make(fixture->directory, "other");
    assert_int_equal(tp_segment_ready(second, &error), TP_SEGMENT_OK);
    struct tp_reader *other = reader_make(fixture->directory, "other");
    struct tp_reader_set set;
    tp_reader_set_init(&set, TP_READER_SET_ARRIVAL, STAMP_WORD);
    assert_true(tp_reader_set_add(&set, fixture->reader));
    assert_true(tp_reader_set_add(&set, other));
    publish(fixture->segment, 10);
    publish(fixture->segment, 40);
    publish(second, 20);
    publish(second, 30);
    const uint64_t stamps[] = {10, 20, 30, 40};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(tp_reader_set_poll(&set), TP_READER_EVENT);
        assert_int_equal(set.reader[set.found]->event[STAMP_WORD], stamps[i]);
    }
    assert_int_equal(tp_reader_set_poll(&set), TP_READER_EMPTY);
    publish(second, 50);
    tp_segment_close(second);
    set.wait_ns = LONG_NS;
    assert_int_equal(tp_reader_set_spin(&set), TP_READER_EVENT);
    assert_int_equal(tp_reader_set_spin(&set), TP_READER_MOVED);
    assert_int_equal(set.found, 1);
    set.wait_ns = 1000;
    assert_int_equal(tp_reader_set_spin(&set), TP_READER_EMPTY); /* told once */
    reader_free(other);
}

static void guard_replaces_what_was_cut_off_and_only_that(void **state)
{
    struct fixture *fixture = *state;
    char path[64];
    publish(fixture->segment, 1);
    snprintf(path, sizeof path, "%s/tickpath.unit", fixture->directory);
    assert_false(tp_segment_is_broken(fixture->reader->segment));
    /* cmocka took the signal for itself since set_up: another open takes it back. */
    struct tp_reader *other = reader_make(fixture->directory, "unit");
    assert_int_equal(truncate(path, 0), 0);
    reader_free(other);
    assert_int_equal(tp_reader_poll(fixture->reader), TP_READER_EMPTY);
    assert_int_equal(tp_reader_check(fixture->reader), TP_READER_MOVED);
    assert_int_equal(tp_reader_snapshot(fixture->reader, 0), 0);
    assert_true(tp_segment_is_broken(fixture->reader->segment));
    assert_false(tp_mapping_guard_is_broken(fixture->control->memory));
    /* The writer's own mapping is not guarded: give it its bytes back before it says goodbye. */
    assert_int_equal(truncate(path, (off_t)fixture->segment->size), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(claims_fill_the_table_and_releases_free_it, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(gate_without_consumers_never_waits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(gate_waits_only_where_the_slowest_would_lose, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(gate_refuses_who_was_evicted_for_a_second, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(gate_counts_all_that_one_holds_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(gate_has_waited_once_for_all_of_them, set_up, tear_down),
        cmocka_unit_test_setup_teardown(gate_holds_for_one_deadline_a_second, set_up, tear_down),
        cmocka_unit_test_setup_teardown(gate_answers_one_that_comes_back_between_two_looks, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(gate_of_a_message_larger_than_the_ring_keeps_what_it_can,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(gate_does_not_believe_a_cursor_ahead_of_the_ring, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(reader_registers_and_its_cursor_follows, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            reader_whose_slot_was_taken_away_is_told_and_leaves_it_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(reader_may_be_interrupted_while_it_unmaps_its_slot, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(reader_awaits_without_taking, set_up, tear_down),
        cmocka_unit_test_setup_teardown(set_by_arrival_merges_and_holds_what_it_read_ahead, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(guard_replaces_what_was_cut_off_and_only_that, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
