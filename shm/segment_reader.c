/* Reads rings and snapshots for consumers: see segment_reader.h for the rules. */
#include "shm/segment_reader.h"

#include <errno.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "shm/segment_file.h"

/* A look at the clock, the heartbeat and the control line is due every so many empty polls. */
enum { TP_READER_CHECK_TURNS = 64 };
static const uint64_t SEEN_EVERY_NS = 1000000; /* an idle reader shows itself so often */

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
    reader->clock = header->clock;
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

/* A stamp far ahead of the clock is as little a sign of life as one far behind it; other cores'
 * clocks are a little ahead at most. Up to INT64_MAX: Python shows it as a signed word. */
static uint64_t heartbeat_age(const struct tp_segment *segment, uint64_t now_ns)
{
    const uint64_t beat = atomic_load_explicit(&segment->live->heartbeat_ns, memory_order_relaxed);
    const uint64_t distance = now_ns > beat ? now_ns - beat : beat - now_ns;
    return distance < INT64_MAX ? distance : INT64_MAX;
}

/* A schema says what the words of a snapshot mean, not how many the writer's header claims. */
static enum tp_segment_status words_check(const struct tp_segment *segment, uint32_t wanted,
                                          struct tp_segment_error *error)
{
    const uint32_t found = segment->header.snapshot_word_count;
    if (wanted == 0 || found == wanted)
        return TP_SEGMENT_OK;
    return tp_segment_fail(error, TP_SEGMENT_BAD_LAYOUT, "words of a snapshot", found, wanted);
}

/* One that nobody will ever write again is refused. */
static enum tp_segment_status segment_open(struct tp_segment **segment,
                                           const struct tp_reader *reader,
                                           struct tp_segment_error *error)
{
    enum tp_segment_status status =
        tp_segment_open(segment, reader->directory, reader->instance, reader->schema_hash, error);
    if (status != TP_SEGMENT_OK)
        return status;
    const struct tp_segment_header *header = &(*segment)->header;
    if (heartbeat_age(*segment, tp_clock_now_ns(&header->clock)) <= TP_READER_STALE_AFTER_NS ||
        tp_segment_writer_lives(*segment))
        status = words_check(*segment, reader->snapshot_words, error);
    else
        status = tp_segment_fail(error, TP_SEGMENT_DEAD, "writer", header->writer_pid, 0);
    if (status != TP_SEGMENT_OK) {
        tp_segment_close(*segment);
        *segment = NULL;
    }
    return status;
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
    if (strlen(instance) >= sizeof reader->instance) {
        *error =
            (struct tp_segment_error){strlen(instance), sizeof reader->instance - 1, "instance"};
        return TP_SEGMENT_BAD_CONFIG;
    }
    strcpy(reader->directory, where);
    strcpy(reader->instance, instance);
    reader->schema_hash = schema_hash;
    const enum tp_segment_status status = segment_open(&segment, reader, error);
    if (status != TP_SEGMENT_OK)
        return status;
    reader->stale_after_ns = TP_READER_STALE_AFTER_NS;
    reader->spin_ns = reader->wait_ns = 1000 * 1000;
    segment_take(reader, segment);
    tp_lease_open(&reader->lease);
    return TP_SEGMENT_OK;
}

enum tp_segment_status tp_reader_require_words(struct tp_reader *reader, uint32_t words,
                                               struct tp_segment_error *error)
{
    reader->snapshot_words = words;
    return words_check(reader->segment, words, error);
}

void tp_reader_deinit(struct tp_reader *reader)
{
    if (!tp_lease_close(&reader->lease, tp_reader_wake, reader))
        return;
    tp_reader_slot_release(reader);
    tp_segment_close(reader->segment);
    reader->segment = NULL;
    tp_lease_closed(&reader->lease);
}

/* With the reader for itself alone. */
static void segment_replace(struct tp_reader *reader, struct tp_segment *take_segment)
{
    const bool wants_registration = reader->wants_registration;
    tp_reader_slot_release(reader);
    tp_segment_close(reader->segment);
    segment_take(reader, take_segment);
    if (wants_registration) {
        const bool is_lossless = reader->is_lossless;
        (void)tp_reader_slot_claim(reader, is_lossless);
        reader->is_lossless = is_lossless; /* if this writer does not wait: EVICTED at a lap */
    }
}

/* Cheap, since a reader whose writer is silent asks again and again. */
static bool has_other_file(struct tp_reader *reader)
{
    char name[TP_SEGMENT_FILE_NAME_SIZE];
    tp_segment_file_name(name, reader->instance, "");
    if (!tp_lease_enter(&reader->lease))
        return false;
    const bool is_ours = tp_segment_name_is_ours(reader->segment, name);
    tp_lease_leave(&reader->lease);
    return !is_ours;
}

enum tp_segment_status tp_reader_reopen(struct tp_reader *reader, struct tp_segment_error *error)
{
    struct tp_segment *segment;
    *error = (struct tp_segment_error){0, 0, "newer segment"};
    if (!has_other_file(reader))
        return TP_SEGMENT_ABSENT;
    const enum tp_segment_status status = segment_open(&segment, reader, error);
    if (status != TP_SEGMENT_OK)
        return status;
    if (!tp_lease_change(&reader->lease, tp_reader_wake, reader)) {
        tp_segment_close(segment);
        return TP_SEGMENT_ABSENT;
    }
    segment_replace(reader, segment);
    tp_lease_changed(&reader->lease);
    return TP_SEGMENT_OK;
}

static bool has_ring(const struct tp_reader *reader)
{
    return reader->segment->header.ring.count != 0;
}

struct tp_segment *tp_reader_hold_segment(struct tp_reader *reader)
{
    if (!tp_lease_enter(&reader->lease))
        return NULL;
    struct tp_segment *segment = reader->segment;
    tp_segment_hold(segment);
    tp_lease_leave(&reader->lease);
    return segment;
}

/* A slot that names another owner now may be another's: nothing more is written there. So it ends
 * by somebody's scribbling. */
static void slot_lose(struct tp_reader *reader)
{
    atomic_store_explicit(&reader->wakeable, NULL, memory_order_relaxed);
    reader->slot = NULL;
    reader->registration = TP_SEGMENT_SYSTEM;
    reader->registration_error = (struct tp_segment_error){ESRCH, 0, "our slot was taken away"};
}

static void cursor_store_at(struct tp_reader *reader, uint64_t now_ns)
{
    struct tp_control_slot *slot = reader->slot;
    if (atomic_load_explicit(&slot->owner, memory_order_relaxed) != reader->owner) {
        slot_lose(reader);
        return;
    }
    reader->cursor_stored = reader->ring.next;
    reader->seen_ns = now_ns;
    /* Release: all before the cursor was copied. Pairs with the acquire load in cursors_read of
     * shm/ring_gate.c, after which the writer overwrites it. */
    atomic_store_explicit(&slot->cursor, reader->ring.next, memory_order_release);
    atomic_store_explicit(&slot->last_seen_ns, now_ns, memory_order_relaxed);
}

static void cursor_store(struct tp_reader *reader)
{
    if (reader->slot != NULL)
        cursor_store_at(reader, tp_clock_now_ns(&reader->clock));
}

void tp_reader_store_cursor(struct tp_reader *reader)
{
    if (!tp_lease_enter(&reader->lease))
        return;
    cursor_store(reader);
    tp_lease_leave(&reader->lease);
}

void tp_reader_to_head(struct tp_reader *reader)
{
    (void)tp_ring_resume(&reader->ring);
    reader->ring.lapped = 0;
    cursor_store(reader);
}

void tp_reader_join(struct tp_reader *reader)
{
    if (!tp_lease_enter(&reader->lease))
        return;
    tp_reader_to_head(reader);
    tp_lease_leave(&reader->lease);
}

/* To the head, after a lap; counted. */
static enum tp_reader_result resume(struct tp_reader *reader)
{
    reader->lost = tp_ring_resume(&reader->ring);
    if (reader->lost == 0)
        return TP_READER_EMPTY; /* head is not visible yet though the slot is: the next look */
    reader->lost_total += reader->lost;
    reader->lap_total++;
    cursor_store(reader);
    struct tp_control_slot *slot = reader->slot;
    if (slot != NULL) {
        atomic_store_explicit(&slot->lapped_count, reader->lap_total, memory_order_relaxed);
        atomic_store_explicit(&slot->lost_count, reader->lost_total, memory_order_relaxed);
    }
    /* Pairs with the release fence in evict of shm/ring_gate.c. */
    atomic_thread_fence(memory_order_acquire);
    if (!reader->is_lossless ||
        (slot != NULL && atomic_load_explicit(&slot->is_evicted, memory_order_relaxed) == 0))
        return TP_READER_LAPPED;
    reader->is_lossless = false; /* told once; it reads on as any other */
    if (slot != NULL)
        atomic_store_explicit(&slot->flags, TP_CONTROL_ACTIVE, memory_order_relaxed);
    return TP_READER_EVICTED;
}

static inline enum tp_reader_result take_event(struct tp_reader *reader)
{
    if (!has_ring(reader))
        return TP_READER_EMPTY;
    reader->event[0] = reader->ring.next;
    switch (tp_ring_read(&reader->ring, reader->event + 1)) {
    case TP_RING_EVENT:
        reader->event_total++;
        if (reader->slot != NULL && (reader->ring.next & reader->cursor_mask) == 0)
            cursor_store(reader);
        return TP_READER_EVENT;
    case TP_RING_EMPTY:
        return TP_READER_EMPTY;
    case TP_RING_LAPPED:
        break;
    }
    return resume(reader);
}

enum tp_reader_result tp_reader_poll(struct tp_reader *reader)
{
    if (!tp_lease_enter(&reader->lease))
        return TP_READER_EMPTY;
    const enum tp_reader_result result = take_event(reader);
    tp_lease_leave(&reader->lease);
    return result;
}

static bool writer_ended(const struct tp_reader *reader)
{
    const struct tp_segment_live *live = reader->segment->live;
    /* Pair with the release stores in tp_segment_ready (of the next writer) and writer_leave. */
    return atomic_load_explicit(&live->superseded_by, memory_order_acquire) != 0 ||
           atomic_load_explicit(&live->state, memory_order_acquire) != TP_SEGMENT_READY;
}

bool tp_reader_has_news(const struct tp_reader *reader)
{
    const struct tp_ring_reader *ring = &reader->ring;
    return has_ring(reader) && atomic_load_explicit(&ring->slots[ring->next & ring->mask].sequence,
                                                    memory_order_acquire) >= 2 * ring->next + 2;
}

static enum tp_reader_result see_event(struct tp_reader *reader)
{
    return tp_reader_has_news(reader) ? TP_READER_EVENT : TP_READER_EMPTY;
}

typedef enum tp_reader_result look_function(struct tp_reader *reader);

static enum tp_reader_result check_with(struct tp_reader *reader, look_function *look)
{
    const uint64_t now_ns = tp_clock_now_ns(&reader->clock);
    if (reader->slot != NULL &&
        (reader->cursor_stored != reader->ring.next || now_ns - reader->seen_ns >= SEEN_EVERY_NS))
        cursor_store_at(reader, now_ns);
    if (writer_ended(reader)) {
        /* What it published last comes first. */
        const enum tp_reader_result last = look(reader);
        return last != TP_READER_EMPTY ? last : TP_READER_MOVED;
    }
    const bool is_silent = heartbeat_age(reader->segment, now_ns) > reader->stale_after_ns;
    if (is_silent == reader->is_silent)
        return TP_READER_EMPTY;
    reader->is_silent = is_silent;
    return is_silent ? TP_READER_SILENT : TP_READER_ALIVE;
}

enum tp_reader_result tp_reader_check(struct tp_reader *reader)
{
    if (!tp_lease_enter(&reader->lease))
        return TP_READER_MOVED;
    const enum tp_reader_result result = check_with(reader, take_event);
    tp_lease_leave(&reader->lease);
    return result;
}

/* Somebody asked for the end of the wait, or for the memory. */
static bool must_end(struct tp_reader *reader)
{
    return atomic_exchange_explicit(&reader->is_interrupted, 0, memory_order_relaxed) != 0 ||
           tp_lease_is_wanted(&reader->lease);
}

/* Sleeps once; false: a signal came. */
static bool rest(struct tp_reader *reader, uint64_t left_ns)
{
    uint64_t nap_ns = left_ns < TP_READER_NAP_NS_MAX ? left_ns : TP_READER_NAP_NS_MAX;
    if (reader->slot == NULL || !tp_control_waker_lives(reader->control))
        return tp_clock_sleep(reader->sleep_ns < nap_ns ? reader->sleep_ns : nap_ns);
    if (nap_ns > reader->stale_after_ns / 2) /* silence must be noticed in time */
        nap_ns = reader->stale_after_ns / 2;
    tp_control_announce_sleep(reader->control, reader->slot, reader->ring.next);
    /* Sequentially consistent, as in tp_reader_interrupt: one of the two sees the other. */
    atomic_thread_fence(memory_order_seq_cst);
    if (tp_reader_has_news(reader) || tp_lease_is_wanted(&reader->lease) ||
        atomic_load_explicit(&reader->is_interrupted, memory_order_relaxed))
        nap_ns = 0;
    reader->sleep_total++;
    return tp_control_sleep(reader->slot, nap_ns);
}

static inline enum tp_reader_result wait_with(struct tp_reader *reader, look_function *look)
{
    const struct tp_clock *clock = &reader->clock;
    const uint64_t start = tp_clock_now_ns(clock);
    uint64_t waited = 0;
    enum tp_reader_result result;
    do { /* ends after wait_ns */
        const bool may_sleep = reader->sleep_ns != 0 && waited >= reader->spin_ns;
        for (int turn = 0; turn < (may_sleep ? 1 : TP_READER_CHECK_TURNS); turn++) {
            result = look(reader);
            if (result != TP_READER_EMPTY)
                return result;
            cpu_relax();
        }
        result = check_with(reader, look);
        if (result != TP_READER_EMPTY)
            return result;
        if (must_end(reader))
            return TP_READER_EMPTY;
        if (may_sleep && !rest(reader, reader->wait_ns - waited))
            return look(reader);
        waited = tp_clock_now_ns(clock) - start;
    } while (waited < reader->wait_ns);
    return TP_READER_EMPTY;
}

enum tp_reader_result tp_reader_spin(struct tp_reader *reader)
{
    if (!tp_lease_enter(&reader->lease))
        return TP_READER_MOVED;
    const enum tp_reader_result result = wait_with(reader, take_event);
    tp_lease_leave(&reader->lease);
    return result;
}

enum tp_reader_result tp_reader_await(struct tp_reader *reader)
{
    if (!tp_lease_enter(&reader->lease))
        return TP_READER_MOVED;
    const enum tp_reader_result result = wait_with(reader, see_event);
    tp_lease_leave(&reader->lease);
    return result;
}

static uint32_t take_events(struct tp_reader *reader)
{
    uint32_t count = 0;
    while (has_ring(reader) && count < TP_READER_BATCH_COUNT_MAX) {
        uint64_t *event = reader->batch[count];
        event[0] = reader->ring.next;
        const enum tp_ring_result result = tp_ring_read(&reader->ring, event + 1);
        if (result == TP_RING_EVENT) {
            count++;
            continue;
        }
        /* The position did not move: after a partial batch the next call finds the loss again. */
        if (result == TP_RING_LAPPED && count == 0)
            (void)resume(reader);
        break;
    }
    reader->event_total += count;
    if (count != 0)
        cursor_store(reader);
    return count;
}

uint32_t tp_reader_batch(struct tp_reader *reader)
{
    reader->lost = 0;
    if (!tp_lease_enter(&reader->lease))
        return 0;
    const uint32_t count = take_events(reader);
    tp_lease_leave(&reader->lease);
    return count;
}

static inline uint64_t snapshot_read(struct tp_reader *reader, uint32_t slot, uint64_t *head)
{
    head[TP_READER_SNAPSHOT_RING_INDEX] = 0;
    if (!tp_lease_enter(&reader->lease)) {
        head[TP_READER_SNAPSHOT_ENDED] = 1;
        return head[TP_READER_SNAPSHOT_VERSION] = 0;
    }
    head[TP_READER_SNAPSHOT_VERSION] =
        tp_snapshot_read(&reader->snapshots, slot, head + TP_READER_SNAPSHOT_HEAD_WORDS,
                         &head[TP_READER_SNAPSHOT_RING_INDEX]);
    const uint64_t age = heartbeat_age(reader->segment, tp_clock_now_ns(&reader->clock));
    head[TP_READER_SNAPSHOT_SILENT_NS] = age > reader->stale_after_ns ? age : 0;
    head[TP_READER_SNAPSHOT_ENDED] = writer_ended(reader);
    tp_lease_leave(&reader->lease);
    return head[TP_READER_SNAPSHOT_VERSION];
}

uint64_t tp_reader_snapshot(struct tp_reader *reader, uint32_t slot)
{
    return snapshot_read(reader, slot, reader->snapshot);
}

uint64_t tp_reader_view_read(struct tp_reader_view *view)
{
    return snapshot_read(view->reader, view->slot, view->words);
}

uint32_t tp_reader_row_count(struct tp_reader *reader)
{
    if (!tp_lease_enter(&reader->lease))
        return 0;
    const uint32_t count = tp_segment_row_count(reader->segment);
    tp_lease_leave(&reader->lease);
    return count;
}

uint64_t tp_reader_row_changes(struct tp_reader *reader)
{
    if (!tp_lease_enter(&reader->lease))
        return 0;
    const uint64_t changes = tp_segment_row_changes(reader->segment);
    tp_lease_leave(&reader->lease);
    return changes;
}

uint64_t tp_reader_row(struct tp_reader *reader, uint32_t row, uint64_t *words, uint32_t word_count)
{
    if (!tp_lease_enter(&reader->lease))
        return 0;
    const uint64_t generation = tp_segment_row_word_count(reader->segment) == word_count
                                    ? tp_segment_row_read(reader->segment, row, words)
                                    : 0;
    tp_lease_leave(&reader->lease);
    return generation;
}
