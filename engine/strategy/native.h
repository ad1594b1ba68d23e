/* Strategies that are machine code: called in the thread that has the event, without the GIL.
 *
 * Inline, that is the feed handler's hot thread (hot_path.c) or a replay (replayer.c): after each
 * thing that published, tp_native_follow gives each strategy the new events of the ring, in their
 * order, with the book as it stands in the snapshot table: no byte is copied. Split, native_split.c
 * does the same with what a reader sees. The contract is tickpath-strategy.h.
 *
 * What comes back is judged here, whoever wrote it: an intent that could not be meant is counted as
 * refused and goes nowhere. Hot path: one clock reading a TOP where hops are measured. */
#ifndef TP_ENGINE_STRATEGY_NATIVE_H
#define TP_ENGINE_STRATEGY_NATIVE_H
#include <stdbool.h>
#include <stdint.h>

#include "engine/strategy/tickpath-strategy.h"
#include "proto/records.h"
#include "shm/broadcast_ring.h"
#include "shm/clock.h"
#include "shm/histogram.h"
#include "shm/segment.h"
#include "shm/snapshot_table.h"

struct tp_reader;

enum { TP_NATIVE_COUNT_MAX = 16 };

/* An intent that was judged, with what caused it. */
struct tp_native_intent {
    uint64_t ring_index; /* of the event that the strategy was called for */
    uint64_t received_ns;
    uint32_t strategy;
    uint32_t is_refused;
    struct tp_order_intent intent;
};
static_assert(sizeof(struct tp_native_intent) == 56, "read by numpy");

/* Where intents go besides the counters. Whoever takes them sets count to 0. */
struct tp_native_log {
    struct tp_native_intent *rows;
    uint32_t capacity, count;
    uint64_t lost; /* found it full */
};

struct tp_native {
    /* set before the first event; what they point to outlives it */
    tp_strategy_event on_event;
    void *state;
    uint64_t events;      /* TP_STRATEGY_ON of each type */
    const uint8_t *wants; /* per instrument: not 0 where it is the strategy's */
    /* Says, after the process died, whose call it died in; NULL: nobody asks. */
    struct tp_segment *stats;
    uint32_t in_call_counter;                                  /* of stats */
    struct tp_histogram *received_to_seen, *published_to_seen; /* NULL: not measured */
    /* its thread's; the cold side reads them */
    uint64_t calls, tops, places, cancels, refused;
    int32_t stopped_by; /* what on_event returned; 0: it runs */
};

struct tp_native_set {
    const struct tp_ring_writer *ring; /* inline; NULL: split */
    const struct tp_snapshot_writer *snapshots;
    const struct tp_clock *clock;
    struct tp_native_log *log; /* NULL: intents are only counted */
    uint32_t instrument_count; /* of wants */
    uint32_t count;
    uint64_t next;   /* the ring's first event that no strategy has seen */
    uint64_t lapped; /* events that were overwritten first: of one message larger than the ring */
    uint64_t events; /* of all strategies */
    struct tp_reader *reader; /* split: in hand, */
    const struct tp_book_record *(*read_book)(struct tp_native_set *set,
                                              uint32_t instrument); /* and how; else NULL */
    struct tp_book_record book; /* of an instrument that has none yet; split: the one in hand */
    struct tp_order_buffer orders;
    struct tp_native strategies[TP_NATIVE_COUNT_MAX];
};

/* Zeroed; NULL: no memory. */
struct tp_native_set *tp_native_new(void);
void tp_native_free(struct tp_native_set *set);
/* After all of it was set: what is published from now on is theirs. */
void tp_native_begin(struct tp_native_set *set);

/* All that was published since the last call. Out of line, for those who have any. */
void tp_native_run(struct tp_native_set *set);

static inline void tp_native_follow(struct tp_native_set *set)
{
    if (set != NULL && set->next != set->ring->next)
        tp_native_run(set);
}

/* Whether the log holds what so many events may bring. A replay's: it waits until it does. */
static inline bool tp_native_log_has_room(const struct tp_native_set *set, uint32_t event_count)
{
    const uint64_t most = (uint64_t)event_count * set->count * TP_ORDER_INTENTS_MAX;
    return set->log->capacity - set->log->count >= most;
}

/* What strategies are called for. */
struct tp_native_happening {
    const struct tp_event *event;
    const struct tp_book_record *book; /* NULL: it is looked for where somebody wants it */
    uint64_t ring_index, received_ns, published_ns;
    uint32_t instrument, type;
};
/* Calls those who want it. */
void tp_native_give(struct tp_native_set *set, struct tp_native_happening *now_is);
#endif
