/* Two threads on two CPUs and what lies between them: a bare cache line, the ring, the snapshot
 * table. The writer is a thread of its own; the timed reader is the caller.
 *
 * The bare line is the floor: one word with a stamp, spun on. Nothing between two CPUs is faster.
 * Called by: engine/bench/{ring,ring_python,snapshot,book,join}.py. */
#ifndef TP_BENCH_LANES_H
#define TP_BENCH_LANES_H
#include <stdbool.h>
#include <stdint.h>

#include "engine/book/book.h"
#include "shm/segment_reader.h"

enum tp_bench_lane { TP_BENCH_LINE, TP_BENCH_RING, TP_BENCH_SNAPSHOT };

struct tp_bench_line {
    _Alignas(128) _Atomic uint64_t stamp;
    uint8_t reserved[120];
    struct tp_clock clock; /* of both sides */
};
/* NULL: no memory. */
struct tp_bench_line *tp_bench_line_new(void);
void tp_bench_line_free(struct tp_bench_line *line);

/* What the writer does: `count` writes, one every pace_ns in bursts of `burst`. */
struct tp_bench_writing {
    enum tp_bench_lane lane;
    struct tp_bench_line *line; /* TP_BENCH_LINE */
    struct tp_segment *segment; /* the other two: its ring, or slot 0 of its snapshot table */
    uint64_t count;
    uint64_t pace_ns; /* from burst to burst; 0: as fast as it can */
    uint32_t burst;
    int cpu, priority; /* priority 0: an ordinary task */
};

struct tp_bench_writer;
/* Starts the thread, which waits for tp_bench_writer_go. NULL: refused (errno). */
struct tp_bench_writer *tp_bench_writer_start(const struct tp_bench_writing *writing);
void tp_bench_writer_go(struct tp_bench_writer *writer);
/* Waits for its end, frees it, and returns the nanoseconds that its writes took in all. */
uint64_t tp_bench_writer_join(struct tp_bench_writer *writer);

/* One-way times in nanoseconds of `count` writes into took[]; returns how many were received: fewer
 * after a lap, or when nothing comes for 100 ms. The stamp is taken just before each write. */
uint64_t tp_bench_line_receive(struct tp_bench_line *line, uint64_t count, uint32_t *took);
uint64_t tp_bench_ring_receive(struct tp_reader *reader, uint64_t count, uint32_t *took);
/* Takes `count` events as fast as they come; returns the nanoseconds from the first to the last, 0
 * if one was lost. */
uint64_t tp_bench_ring_drain(struct tp_reader *reader, uint64_t count);
/* Reads slot 0 again and again; took[] per read. Returns the most retries of one read. */
uint64_t tp_bench_snapshot_receive(struct tp_reader *reader, uint64_t count, uint32_t *took);
/* Nanoseconds for `count` publishes by the caller itself. */
uint64_t tp_bench_ring_publish(struct tp_segment *segment, uint64_t count);

struct tp_bench_update {
    int64_t price, quantity; /* quantity 0 removes */
    uint64_t side;           /* enum tp_side */
};
/* Of each update: the level set, best bid and ask, the record of `depth` levels a side and a TOP
 * event published. Returns nanoseconds for all. */
uint64_t tp_bench_book(struct tp_book *book, struct tp_segment *segment,
                       const struct tp_bench_update *updates, uint32_t count, uint32_t depth);
/* Nanoseconds from the first look at the head to the last of `slots` snapshots, as a late joiner
 * takes them; 0 if one was not there. */
uint64_t tp_bench_join(struct tp_reader *reader, uint32_t slots);
#endif
