/* The shared-memory core in one process, under the sanitizers: ring, snapshots, histogram, segment,
 * reader. What needs several processes is in tests/unit/test_shm_*.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "shm/segment_reader.h"

enum { CAPACITY = 8, WORDS = 11, SLOTS = 2 };
static const char *const COUNTERS[] = {"messages", "gaps"};
static const char *const HISTOGRAMS[] = {"hop"};

struct fixture {
    char directory[32];
    struct tp_segment *segment;
    struct tp_reader *reader;
};

static struct tp_segment *segment_make(const char *directory)
{
    struct tp_segment *segment;
    struct tp_segment_error error;
    const struct tp_segment_config config = {
        .directory = directory,
        .instance = "unit",
        .schema = "event a 0 u64\n",
        .ring_capacity = CAPACITY,
        .snapshot_slot_count = SLOTS,
        .snapshot_word_count = WORDS,
        .table_row_count = 1,
        .table_row_size = 8,
        .counter_count = 2,
        .counter_names = COUNTERS,
        .histogram_count = 1,
        .histogram_names = HISTOGRAMS,
    };
    assert_int_equal(tp_segment_create(&segment, &config, &error), TP_SEGMENT_OK);
    assert_int_equal(tp_segment_ready(segment, &error), TP_SEGMENT_OK);
    return segment;
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    struct tp_segment_error error;
    strcpy(fixture->directory, "/tmp/tickpath-test-XXXXXX");
    assert_non_null(mkdtemp(fixture->directory));
    fixture->segment = segment_make(fixture->directory);
    fixture->reader = malloc(sizeof *fixture->reader);
    assert_int_equal(tp_reader_init(fixture->reader, fixture->directory, "unit", 0, &error),
                     TP_SEGMENT_OK);
    fixture->reader->stale_after_ns = UINT64_MAX; /* a busy test machine is no silent writer */
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    tp_reader_deinit(fixture->reader);
    tp_segment_close(fixture->segment);
    assert_int_equal(rmdir(fixture->directory), 0); /* nothing is left behind */
    free(fixture->reader);
    free(fixture);
    return 0;
}

static void publish(struct fixture *fixture, uint64_t value)
{
    const uint64_t event[TP_RING_EVENT_WORDS] = {value, ~value, 2, 3, 4, 5, 6};
    (void)tp_ring_publish(tp_segment_ring_writer(fixture->segment), event);
}

static void test_ring_wraps_and_keeps_order(void **state)
{
    struct fixture *fixture = *state;
    struct tp_reader *reader = fixture->reader;
    for (uint64_t round = 0; round < 5; round++) {
        for (uint64_t i = 0; i < CAPACITY; i++)
            publish(fixture, round * CAPACITY + i);
        for (uint64_t i = 0; i < CAPACITY; i++) {
            assert_int_equal(tp_reader_poll(reader), TP_READER_EVENT);
            assert_int_equal(reader->event[0], round * CAPACITY + i);
            assert_int_equal(reader->event[1], round * CAPACITY + i);
            assert_int_equal(reader->event[2], ~(round * CAPACITY + i));
            assert_int_equal(reader->event[7], 6);
        }
        assert_int_equal(tp_reader_poll(reader), TP_READER_EMPTY);
    }
    assert_int_equal(reader->event_total, 5 * CAPACITY);
}

static void test_ring_overrun_begins_with_the_slot_in_flight(void **state)
{
    struct fixture *fixture = *state;
    struct tp_reader *reader = fixture->reader;
    for (uint64_t i = 0; i < CAPACITY; i++)
        publish(fixture, i);
    /* The writer has marked the oldest slot odd and not moved head yet: it is gone already. */
    struct tp_ring_slot *slot = &fixture->segment->ring.slots[0];
    atomic_store_explicit(&slot->sequence, 2 * CAPACITY + 1, memory_order_relaxed);
    assert_int_equal(tp_reader_poll(reader), TP_READER_LAPPED);
    assert_int_equal(reader->lost, CAPACITY);
    assert_int_equal(reader->ring.lapped, CAPACITY);
    /* Now it stands at the slot in flight, which is not whole: nothing yet, never a torn event. */
    assert_int_equal(tp_reader_poll(reader), TP_READER_EMPTY);
}

static void test_ring_half_written_by_a_dead_writer_is_never_delivered(void **state)
{
    struct fixture *fixture = *state;
    struct tp_ring_slot *slot = &fixture->segment->ring.slots[0];
    atomic_store_explicit(&slot->sequence, 1, memory_order_relaxed);
    atomic_store_explicit(&slot->word[0], 99, memory_order_relaxed);
    for (int i = 0; i < 100; i++)
        assert_int_equal(tp_reader_poll(fixture->reader), TP_READER_EMPTY);
}

static void test_batch_stops_at_a_lap_and_tells_it_next(void **state)
{
    struct fixture *fixture = *state;
    struct tp_reader *reader = fixture->reader;
    for (uint64_t i = 0; i < 3; i++)
        publish(fixture, i);
    assert_int_equal(tp_reader_batch(reader), 3);
    assert_int_equal(reader->event_total, 3);
    assert_int_equal(reader->batch[2][1], 2);
    for (uint64_t i = 0; i < CAPACITY + 1; i++)
        publish(fixture, i);
    assert_int_equal(tp_reader_batch(reader), 0);
    assert_int_equal(reader->lost, CAPACITY + 1);
    assert_int_equal(tp_reader_batch(reader), 0);
    assert_int_equal(reader->lost, 0);
    assert_int_equal(reader->lost_total, CAPACITY + 1);
}

static void test_snapshot_is_the_latest_version_whole(void **state)
{
    struct fixture *fixture = *state;
    struct tp_reader *reader = fixture->reader;
    assert_int_equal(tp_reader_snapshot(reader, 0), 0);
    assert_int_equal(tp_reader_snapshot(reader, SLOTS), 0); /* out of range: as never written */
    for (uint64_t version = 1; version <= 9; version++) {
        uint64_t words[WORDS];
        for (uint64_t i = 0; i < WORDS; i++)
            words[i] = version * 100 + i;
        tp_snapshot_publish(&fixture->segment->snapshots, 1, version * 7, words, WORDS);
        assert_int_equal(tp_reader_snapshot(reader, 1), version);
        assert_int_equal(reader->snapshot[TP_READER_SNAPSHOT_RING_INDEX], version * 7);
        assert_memory_equal(&reader->snapshot[TP_READER_SNAPSHOT_HEAD_WORDS], words, sizeof words);
        assert_int_equal(tp_reader_snapshot(reader, 0), 0);
    }
}

static void test_snapshot_beyond_the_table_is_as_never_written(void **state)
{
    (void)state;
    enum { CELL = 64, VERSIONS = 2 * TP_SNAPSHOT_VERSIONS };
    /* Two slots, of which the reader's table has the first: what comes next is not its. */
    static _Alignas(CELL) uint8_t cells[VERSIONS * CELL];
    static _Atomic uint64_t index[2];
    struct tp_snapshot_writer writer = {cells, index, 2, CELL, 1};
    struct tp_snapshot_reader reader = {cells, index, 1, CELL, 1, 0};
    uint64_t ring_index = 0, word = 0;
    for (uint64_t i = 0; i < 2; i++) {
        const uint64_t words[] = {7 + i};
        tp_snapshot_publish(&writer, (uint32_t)i, i, words, 1);
    }
    assert_int_equal(tp_snapshot_read(&reader, 0, &word, &ring_index), 1);
    assert_int_equal(word, 7);
    assert_int_equal(tp_snapshot_read(&reader, 1, &word, &ring_index), 0);
    assert_int_equal(word, 7);
}

static void test_snapshot_half_written_for_ever_gives_up(void **state)
{
    struct fixture *fixture = *state;
    const uint64_t words[WORDS] = {1};
    tp_snapshot_publish(&fixture->segment->snapshots, 0, 0, words, 1);
    uint8_t *cell = fixture->segment->snapshots.cells + fixture->segment->snapshots.cell_size;
    const uint64_t odd = 1;
    memcpy(cell, &odd, sizeof odd); /* version 1 stands in cell 1: a writer that died rewriting */
    assert_int_equal(tp_reader_snapshot(fixture->reader, 0), 0);
    assert_true(fixture->reader->snapshots.retries >= 1000);
}

static void test_histogram_keeps_count_sum_and_extremes(void **state)
{
    struct fixture *fixture = *state;
    struct tp_histogram *histogram = tp_segment_histogram(fixture->segment, 0);
    const uint64_t values[] = {5, 0, 1000, UINT64_C(1) << 40, 1000};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        tp_histogram_record(histogram, values[i]);
    assert_int_equal(histogram->count, 5);
    assert_int_equal(histogram->sum, 2005 + (UINT64_C(1) << 40));
    assert_int_equal(~histogram->min_complement, 0);
    assert_int_equal(histogram->max, UINT64_C(1) << 40);
    assert_int_equal(histogram->bucket[0], 1);
    assert_int_equal(histogram->bucket[5], 1);
    assert_int_equal(histogram->bucket[tp_histogram_bucket(1000)], 2);
    assert_int_equal(histogram->bucket[TP_HISTOGRAM_BUCKET_COUNT - 1], 1);
}

static void test_histogram_buckets_are_contiguous(void **state)
{
    (void)state;
    uint32_t last = 0;
    for (uint64_t ns = 0; ns < 1 << 20; ns++) {
        const uint32_t bucket = tp_histogram_bucket(ns);
        assert_true(bucket == last || bucket == last + 1);
        last = bucket;
    }
    assert_int_equal(tp_histogram_bucket((UINT64_C(1) << 36) - 1), TP_HISTOGRAM_BUCKET_COUNT - 1);
}

static void test_reader_moves_to_the_next_writer(void **state)
{
    struct fixture *fixture = *state;
    struct tp_reader *reader = fixture->reader;
    struct tp_segment_error error;
    assert_int_equal(tp_reader_reopen(reader, &error), TP_SEGMENT_ABSENT); /* no newer one */
    publish(fixture, 1);
    tp_segment_close(fixture->segment);
    fixture->segment = NULL;
    assert_int_equal(tp_reader_check(reader), TP_READER_EVENT); /* the last one comes first */
    assert_int_equal(reader->event[1], 1);
    assert_int_equal(tp_reader_check(reader), TP_READER_MOVED);
    assert_int_equal(tp_reader_reopen(reader, &error), TP_SEGMENT_ABSENT);
    fixture->segment = segment_make(fixture->directory);
    assert_int_equal(tp_reader_reopen(reader, &error), TP_SEGMENT_OK);
    publish(fixture, 2);
    assert_int_equal(tp_reader_spin(reader), TP_READER_EVENT);
    assert_int_equal(reader->event[0], 0);
    assert_int_equal(reader->event[1], 2);
}

static void test_reader_silent_and_alive_are_told_once(void **state)
{
    struct fixture *fixture = *state;
    struct tp_reader *reader = fixture->reader;
    const uint64_t beat = atomic_load(&fixture->segment->live->heartbeat_ns);
    reader->stale_after_ns = 1; /* some time has passed since ready */
    assert_int_equal(tp_reader_check(reader), TP_READER_SILENT);
    assert_int_equal(tp_reader_check(reader), TP_READER_EMPTY);
    assert_int_equal(tp_reader_snapshot(reader, 0), 0);
    assert_true(reader->snapshot[TP_READER_SNAPSHOT_SILENT_NS] > 0);
    reader->stale_after_ns = UINT64_C(3600) * 1000000000;
    tp_segment_heartbeat(fixture->segment, beat + TP_SEGMENT_HEARTBEAT_INTERVAL_NS);
    assert_int_equal(tp_reader_check(reader), TP_READER_ALIVE);
    assert_int_equal(tp_reader_check(reader), TP_READER_EMPTY);
}

static void test_crc32_of_the_standard_check_value(void **state)
{
    (void)state;
    /* The catalogue's check value of CRC-32/ISO-HDLC. */
    assert_int_equal(tp_segment_crc32("123456789", 9), 0xCBF43926);
}

static void test_every_status_has_a_name(void **state)
{
    (void)state;
    for (int status = TP_SEGMENT_OK; status <= TP_SEGMENT_SYSTEM; status++)
        assert_string_not_equal(tp_segment_status_name((enum tp_segment_status)status), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_ring_wraps_and_keeps_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_ring_overrun_begins_with_the_slot_in_flight, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_ring_half_written_by_a_dead_writer_is_never_delivered,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_batch_stops_at_a_lap_and_tells_it_next, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_snapshot_is_the_latest_version_whole, set_up,
                                        tear_down),
        cmocka_unit_test(test_snapshot_beyond_the_table_is_as_never_written),
        cmocka_unit_test_setup_teardown(test_snapshot_half_written_for_ever_gives_up, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_histogram_keeps_count_sum_and_extremes, set_up,
                                        tear_down),
        cmocka_unit_test(test_histogram_buckets_are_contiguous),
        cmocka_unit_test_setup_teardown(test_reader_moves_to_the_next_writer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_reader_silent_and_alive_are_told_once, set_up,
                                        tear_down),
        cmocka_unit_test(test_crc32_of_the_standard_check_value),
        cmocka_unit_test(test_every_status_has_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
