/* Reads rings and snapshots for consumers: see segment_reader.h for the rules. */
#include "shm/segment_reader.h"

#include <string.h>
#include <time.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "shm/segment_file.h"

/* A look at the clock, the heartbeat and the control line is due every so many empty polls. */
enum { TP_READER_CHECK_TURNS = 64 };

static void cpu_relax(void)
{
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

static void segment_take(struct tp_reader *reader, struct tp_segment *take_segment)
{
    const struct tp_segment_header *header = &take_segment->header;
    reader->segment = take_segment;
    reader->is_silent = false;
    reader->ring = (struct tp_ring_reader){
        .slots = tp_segment_at(take_segment, &header->ring),
        .mask = (uint64_t)header->ring.count - 1,
        .head = &take_segment->live->head,
    };
    reader->snapshots = (struct tp_snapshot_reader){
        .cells = tp_segment_at(take_segment, &header->snapshot_cells),
        .index = tp_segment_at(take_segment, &header->snapshot_index),
        .slot_count = header->snapshot_index.count,
        .cell_size = header->snapshot_cells.entry_size,
        .word_count = header->snapshot_word_count,
    };
    (void)tp_ring_resume(&reader->ring); /* to the head: what was before is in the snapshots */
}

enum tp_segment_status tp_reader_init(struct tp_reader *reader, const char *directory,
                                      const char *instance, uint64_t schema_hash,
                                      struct tp_segment_error *error)
{
    const char *where = directory != NULL ? directory : "/dev/shm";
    struct tp_segment *segment;
    memset(reader, 0, sizeof *reader);
    if (strlen(where) >= sizeof reader->directory) {
        *error = (struct tp_segment_error){strlen(where), sizeof reader->directory - 1,
                                           "directory length"};
        return TP_SEGMENT_BAD_CONFIG;
    }
    const enum tp_segment_status status =
        tp_segment_open(&segment, where, instance, schema_hash, error);
    if (status != TP_SEGMENT_OK)
        return status;
    strcpy(reader->directory, where);
    strcpy(reader->instance, instance); /* tp_segment_open checked its length */
    reader->schema_hash = schema_hash;
    reader->stale_after_ns = TP_READER_STALE_AFTER_NS;
    reader->spin_ns = reader->wait_ns = 1000 * 1000;
    segment_take(reader, segment);
    return TP_SEGMENT_OK;
}

void tp_reader_deinit(struct tp_reader *reader)
{
    tp_segment_close(reader->segment);
    reader->segment = NULL;
}

enum tp_segment_status tp_reader_reopen(struct tp_reader *reader, struct tp_segment_error *error)
{
    struct tp_segment *segment;
    char name[TP_SEGMENT_FILE_NAME_SIZE];
    assert(reader->segment != NULL);
    *error = (struct tp_segment_error){0, 0, "newer segment"};
    /* Cheap, since a reader whose writer is silent asks again and again. */
    tp_segment_file_name(name, reader->instance, "");
    if (tp_segment_name_is_ours(reader->segment, name))
        return TP_SEGMENT_ABSENT;
    const enum tp_segment_status status =
        tp_segment_open(&segment, reader->directory, reader->instance, reader->schema_hash, error);
    if (status != TP_SEGMENT_OK)
        return status;
    tp_segment_close(reader->segment);
    segment_take(reader, segment);
    return TP_SEGMENT_OK;
}

void tp_reader_join(struct tp_reader *reader)
{
    if (reader->segment == NULL)
        return;
    (void)tp_ring_resume(&reader->ring);
    reader->ring.lapped = 0;
}

static bool has_ring(const struct tp_reader *reader)
{
    return reader->segment != NULL && reader->segment->header.ring.count != 0;
}

enum tp_reader_result tp_reader_poll(struct tp_reader *reader)
{
    if (!has_ring(reader))
        return TP_READER_EMPTY;
    reader->event[0] = reader->ring.next;
    switch (tp_ring_read(&reader->ring, reader->event + 1)) {
    case TP_RING_EVENT:
        reader->event_total++;
        return TP_READER_EVENT;
    case TP_RING_EMPTY:
        return TP_READER_EMPTY;
    case TP_RING_LAPPED:
        break;
    }
    reader->lost = tp_ring_resume(&reader->ring);
    reader->lost_total += reader->lost;
    /* 0: head is not visible yet though the slot is; the next look will see it. */
    return reader->lost != 0 ? TP_READER_LAPPED : TP_READER_EMPTY;
}

static uint64_t heartbeat_age(const struct tp_reader *reader)
{
    const struct tp_segment *segment = reader->segment;
    const uint64_t beat = atomic_load_explicit(&segment->live->heartbeat_ns, memory_order_relaxed);
    const uint64_t now = tp_clock_now_ns(&segment->header.clock);
    return now > beat ? now - beat : 0;
}

static bool writer_ended(const struct tp_reader *reader)
{
    const struct tp_segment_live *live = reader->segment->live;
    /* Pair with the release stores in tp_segment_ready (of the next writer) and writer_leave. */
    return atomic_load_explicit(&live->superseded_by, memory_order_acquire) != 0 ||
           atomic_load_explicit(&live->state, memory_order_acquire) != TP_SEGMENT_READY;
}

enum tp_reader_result tp_reader_check(struct tp_reader *reader)
{
    if (reader->segment == NULL)
        return TP_READER_MOVED;
    if (writer_ended(reader)) {
        /* What it published last comes first. */
        const enum tp_reader_result last = tp_reader_poll(reader);
        return last != TP_READER_EMPTY ? last : TP_READER_MOVED;
    }
    const bool is_silent = heartbeat_age(reader) > reader->stale_after_ns;
    if (is_silent == reader->is_silent)
        return TP_READER_EMPTY;
    reader->is_silent = is_silent;
    return is_silent ? TP_READER_SILENT : TP_READER_ALIVE;
}

static void sleep_for(uint64_t duration_ns)
{
    const struct timespec duration = {(time_t)(duration_ns / 1000000000u),
                                      (long)(duration_ns % 1000000000u)};
    (void)nanosleep(&duration, NULL);
}

enum tp_reader_result tp_reader_spin(struct tp_reader *reader)
{
    if (reader->segment == NULL)
        return TP_READER_MOVED;
    const struct tp_clock *clock = &reader->segment->header.clock;
    const uint64_t start = tp_clock_now_ns(clock);
    uint64_t waited = 0;
    enum tp_reader_result result;
    do { /* ends after wait_ns */
        for (int turn = 0; turn < TP_READER_CHECK_TURNS; turn++) {
            result = tp_reader_poll(reader);
            if (result != TP_READER_EMPTY)
                return result;
            if (reader->sleep_ns != 0 && waited >= reader->spin_ns)
                break;
            cpu_relax();
        }
        result = tp_reader_check(reader);
        if (result != TP_READER_EMPTY)
            return result;
        if (reader->sleep_ns != 0 && waited >= reader->spin_ns)
            sleep_for(reader->sleep_ns);
        waited = tp_clock_now_ns(clock) - start;
    } while (waited < reader->wait_ns);
    return TP_READER_EMPTY;
}

uint32_t tp_reader_batch(struct tp_reader *reader)
{
    uint32_t count = 0;
    reader->lost = 0;
    while (has_ring(reader) && count < TP_READER_BATCH_COUNT_MAX) {
        uint64_t *event = reader->batch[count];
        event[0] = reader->ring.next;
        const enum tp_ring_result result = tp_ring_read(&reader->ring, event + 1);
        if (result == TP_RING_EVENT) {
            count++;
            continue;
        }
        /* The position did not move: after a partial batch the next call finds the loss again. */
        if (result == TP_RING_LAPPED && count == 0) {
            reader->lost = tp_ring_resume(&reader->ring);
            reader->lost_total += reader->lost;
        }
        break;
    }
    reader->event_total += count;
    return count;
}

uint64_t tp_reader_snapshot(struct tp_reader *reader, uint32_t slot)
{
    uint64_t *head = reader->snapshot;
    head[TP_READER_SNAPSHOT_RING_INDEX] = 0;
    if (reader->segment == NULL) {
        head[TP_READER_SNAPSHOT_ENDED] = 1;
        return head[TP_READER_SNAPSHOT_VERSION] = 0;
    }
    head[TP_READER_SNAPSHOT_VERSION] =
        tp_snapshot_read(&reader->snapshots, slot, head + TP_READER_SNAPSHOT_HEAD_WORDS,
                         &head[TP_READER_SNAPSHOT_RING_INDEX]);
    const uint64_t age = heartbeat_age(reader);
    head[TP_READER_SNAPSHOT_SILENT_NS] = age > reader->stale_after_ns ? age : 0;
    head[TP_READER_SNAPSHOT_ENDED] = writer_ended(reader);
    return head[TP_READER_SNAPSHOT_VERSION];
}
