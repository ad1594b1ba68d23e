/* See lanes.h. */
#include "engine/bench/lanes.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "engine/feed/publish.h"

enum { SILENCE_TURNS = 1024 };
static const uint64_t SILENT_AFTER_NS = 100000000;

struct tp_bench_writer {
    struct tp_bench_writing writing;
    struct tp_clock clock;
    pthread_t thread;
    _Atomic uint32_t may_go;
    uint64_t took_ns;
};

static const struct tp_clock *clock_of(const struct tp_segment *segment)
{
    return &segment->header.clock;
}

struct tp_bench_line *tp_bench_line_new(void)
{
    struct tp_bench_line *line = aligned_alloc(_Alignof(struct tp_bench_line), sizeof *line);
    if (line != NULL) {
        memset(line, 0, sizeof *line);
        tp_clock_calibrate(&line->clock);
    }
    return line;
}

void tp_bench_line_free(struct tp_bench_line *line)
{
    free(line);
}

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static void write_one(const struct tp_bench_writer *writer, uint64_t number)
{
    const struct tp_bench_writing *writing = &writer->writing;
    uint64_t words[TP_BOOK_DEPTH_MAX * 4 + 7];
    switch (writing->lane) {
    case TP_BENCH_LINE:
        atomic_store_explicit(&writing->line->stamp, tp_clock_now_ns(&writer->clock),
                              memory_order_release);
        break;
    case TP_BENCH_RING:
        for (uint64_t i = 1; i < TP_RING_EVENT_WORDS; i++)
            words[i] = number;
        words[0] = tp_clock_now_ns(&writer->clock);
        (void)tp_ring_publish(tp_segment_ring_writer(writing->segment), words);
        break;
    case TP_BENCH_SNAPSHOT:
        for (uint64_t i = 0; i < sizeof words / sizeof words[0]; i++)
            words[i] = number;
        tp_snapshot_publish(tp_segment_snapshot_writer(writing->segment), 0, number, words,
                            sizeof words / sizeof words[0]);
        break;
    }
}

static void *writer_run(void *argument)
{
    struct tp_bench_writer *writer = argument;
    const struct tp_bench_writing *writing = &writer->writing;
    while (atomic_load_explicit(&writer->may_go, memory_order_acquire) == 0)
        relax();
    const uint64_t start = tp_clock_now_ns(&writer->clock);
    uint64_t next = start;
    for (uint64_t i = 0; i < writing->count;) {
        for (uint32_t b = 0; b < writing->burst && i < writing->count; b++, i++)
            write_one(writer, i);
        next += writing->pace_ns;
        while (writing->pace_ns != 0 && tp_clock_now_ns(&writer->clock) < next)
            relax();
    }
    writer->took_ns = tp_clock_now_ns(&writer->clock) - start;
    return NULL;
}

static int attributes_set(pthread_attr_t *attributes, const struct tp_bench_writing *writing)
{
    const struct sched_param priority = {.sched_priority = writing->priority};
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET((size_t)writing->cpu, &cpus);
    int reason = pthread_attr_setaffinity_np(attributes, sizeof cpus, &cpus);
    if (reason == 0)
        reason = pthread_attr_setinheritsched(attributes, PTHREAD_EXPLICIT_SCHED);
    if (reason == 0)
        reason =
            pthread_attr_setschedpolicy(attributes, writing->priority ? SCHED_FIFO : SCHED_OTHER);
    if (reason == 0)
        reason = pthread_attr_setschedparam(attributes, &priority);
    return reason;
}

struct tp_bench_writer *tp_bench_writer_start(const struct tp_bench_writing *writing)
{
    pthread_attr_t attributes;
    struct tp_bench_writer *writer = calloc(1, sizeof *writer);
    if (writer == NULL || pthread_attr_init(&attributes) != 0) {
        free(writer);
        return NULL;
    }
    writer->writing = *writing;
    writer->clock =
        writing->lane == TP_BENCH_LINE ? writing->line->clock : *clock_of(writing->segment);
    int reason = attributes_set(&attributes, writing);
    if (reason == 0)
        reason = pthread_create(&writer->thread, &attributes, writer_run, writer);
    pthread_attr_destroy(&attributes);
    if (reason != 0) {
        free(writer);
        errno = reason;
        return NULL;
    }
    return writer;
}

void tp_bench_writer_go(struct tp_bench_writer *writer)
{
    atomic_store_explicit(&writer->may_go, 1, memory_order_release);
}

uint64_t tp_bench_writer_join(struct tp_bench_writer *writer)
{
    tp_bench_writer_go(writer); /* else it would wait for ever */
    pthread_join(writer->thread, NULL);
    const uint64_t took = writer->took_ns;
    free(writer);
    return took;
}

uint64_t tp_bench_line_receive(struct tp_bench_line *line, uint64_t count, uint32_t *took)
{
    /* The stamp of the turn before still stands there. */
    uint64_t last = atomic_load_explicit(&line->stamp, memory_order_relaxed);
    uint64_t heard = tp_clock_now_ns(&line->clock);
    for (uint64_t i = 0; i < count;) {
        uint64_t stamp = last;
        for (int turn = 0; turn < SILENCE_TURNS && stamp == last; turn++)
            stamp = atomic_load_explicit(&line->stamp, memory_order_acquire);
        const uint64_t now = tp_clock_now_ns(&line->clock);
        if (stamp == last) {
            if (now - heard > SILENT_AFTER_NS)
                return i;
            continue;
        }
        last = stamp;
        heard = now;
        took[i++] = now > stamp ? (uint32_t)(now - stamp) : 0;
    }
    return count;
}

uint64_t tp_bench_ring_receive(struct tp_reader *reader, uint64_t count, uint32_t *took)
{
    const struct tp_clock *clock = clock_of(reader->segment);
    uint64_t heard = tp_clock_now_ns(clock);
    for (uint64_t i = 0; i < count;) {
        enum tp_reader_result result = TP_READER_EMPTY;
        for (int turn = 0; turn < SILENCE_TURNS && result == TP_READER_EMPTY; turn++)
            result = tp_reader_poll(reader);
        const uint64_t now = tp_clock_now_ns(clock), stamp = reader->event[1];
        if (result == TP_READER_LAPPED ||
            (result == TP_READER_EMPTY && now - heard > SILENT_AFTER_NS))
            return i;
        if (result == TP_READER_EMPTY)
            continue;
        heard = now;
        took[i++] = now > stamp ? (uint32_t)(now - stamp) : 0;
    }
    return count;
}

uint64_t tp_bench_ring_drain(struct tp_reader *reader, uint64_t count)
{
    const struct tp_clock *clock = clock_of(reader->segment);
    uint64_t first = 0, heard = tp_clock_now_ns(clock), taken = 0, sum = 0;
    while (taken < count) {
        const uint32_t got = tp_reader_batch(reader);
        if (got == 0) {
            if (reader->lost != 0 || tp_clock_now_ns(clock) - heard > SILENT_AFTER_NS)
                return 0;
            relax();
            continue;
        }
        for (uint32_t i = 0; i < got; i++)
            sum += reader->batch[i][2];
        heard = tp_clock_now_ns(clock);
        if (taken == 0)
            first = heard;
        taken += got;
    }
    /* Every payload was looked at: the numbers 0 to count - 1. */
    return sum == count * (count - 1) / 2 ? heard - first : 0;
}

uint64_t tp_bench_snapshot_receive(struct tp_reader *reader, uint64_t count, uint32_t *took)
{
    const struct tp_clock *clock = clock_of(reader->segment);
    uint64_t retries_max = 0;
    for (uint64_t i = 0; i < count; i++) {
        const uint64_t retries = reader->snapshots.retries;
        const uint64_t start = tp_clock_now_ns(clock);
        (void)tp_reader_snapshot(reader, 0);
        took[i] = (uint32_t)(tp_clock_now_ns(clock) - start);
        if (reader->snapshots.retries - retries > retries_max)
            retries_max = reader->snapshots.retries - retries;
    }
    return retries_max;
}

uint64_t tp_bench_ring_publish(struct tp_segment *segment, uint64_t count)
{
    const struct tp_clock *clock = clock_of(segment);
    uint64_t words[TP_RING_EVENT_WORDS] = {0};
    const uint64_t start = tp_clock_now_ns(clock);
    for (uint64_t i = 0; i < count; i++) {
        words[1] = i;
        (void)tp_ring_publish(tp_segment_ring_writer(segment), words);
    }
    return tp_clock_now_ns(clock) - start;
}

static void record_publish(const struct tp_book *book, struct tp_segment *segment, uint32_t depth,
                           union feed_record *head)
{
    struct tp_snapshot_writer *table = tp_segment_snapshot_writer(segment);
    _Atomic uint64_t *word = tp_snapshot_begin(table, 0, tp_segment_ring_writer(segment)->next + 1);
    head->record.book_sequence++;
    head->record.published_ns = tp_clock_now_ns(clock_of(segment));
    feed_record_share(book, depth, head, word);
    tp_snapshot_end(table, 0);
}

static void top_publish(const struct tp_book *book, struct tp_segment *segment,
                        uint64_t published_ns)
{
    const struct tp_level bid = tp_book_best(book, TP_SIDE_BID);
    const struct tp_level ask = tp_book_best(book, TP_SIDE_ASK);
    union {
        struct tp_event event;
        uint64_t words[TP_RING_EVENT_WORDS];
    } top = {.event = {.type = TP_EVENT_TOP, .published_ns = published_ns}};
    top.event.u.top.bid = bid.price;
    top.event.u.top.bid_quantity = bid.quantity;
    top.event.u.top.ask = ask.price;
    top.event.u.top.ask_quantity = ask.quantity;
    (void)tp_ring_publish(tp_segment_ring_writer(segment), top.words);
}

uint64_t tp_bench_book(struct tp_book *book, struct tp_segment *segment,
                       const struct tp_bench_update *updates, uint32_t count, uint32_t depth)
{
    static const union feed_record empty;
    union feed_record head = empty;
    const uint64_t start = tp_clock_now_ns(clock_of(segment));
    for (uint32_t i = 0; i < count; i++) {
        (void)tp_book_set_level(book, (enum tp_side)updates[i].side, updates[i].price,
                                updates[i].quantity);
        record_publish(book, segment, depth, &head);
        top_publish(book, segment, head.record.published_ns);
    }
    return tp_clock_now_ns(clock_of(segment)) - start;
}

uint64_t tp_bench_join(struct tp_reader *reader, uint32_t slots)
{
    const struct tp_clock *clock = clock_of(reader->segment);
    const uint64_t start = tp_clock_now_ns(clock);
    tp_reader_join(reader);
    for (uint32_t slot = 0; slot < slots; slot++)
        if (tp_reader_snapshot(reader, slot) == 0)
            return 0;
    return tp_clock_now_ns(clock) - start;
}
