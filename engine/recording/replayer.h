/* Recorded messages through the very feed that runs live: records in, events and books out.
 *
 * engine/recording/replayer.py calls tp_replayer_run once a block of records. Time is the records'
 * own: the feed's clock is virtual and stands at the stamp of the record in hand, so that the same
 * records always give the same bytes. A stage like the others: it neither reads a clock nor waits.
 * Records are foreign bytes: a broken one is refused with its place, never trusted. */
#ifndef TP_ENGINE_REPLAYER_H
#define TP_ENGINE_REPLAYER_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/feed/feed.h"
#include "engine/feed/rows.h"
#include "engine/recording/tap.h"
#include "engine/strategy/native.h"
#include "shm/segment.h"

/* A book whose best bid, best ask or state changed with a record. Quantity 0: side empty. */
struct tp_replay_top {
    uint64_t t_ns;
    uint32_t instrument;
    uint8_t state, reserved;
    int8_t price_exponent, quantity_exponent; /* of the numbers below */
    int64_t bid, bid_quantity, ask, ask_quantity;
};
static_assert(sizeof(struct tp_replay_top) == 48, "read by numpy");

struct tp_replay_event {
    uint64_t index;
    struct tp_event event;
};
static_assert(sizeof(struct tp_replay_event) == 64, "as a reader's batch has it");

enum {
    /* What one record can publish: a message of all levels, or a change of every instrument. */
    TP_REPLAY_EVENTS_PER_RECORD = 2 * TP_DEPTH_LEVEL_COUNT_MAX + 8,
    TP_REPLAY_EVENTS_PER_INSTRUMENT = 4,
};

struct tp_replayer {
    /* the caller's, set before tp_replayer_init */
    struct tp_feed *feed;
    struct tp_clock *clock;      /* the feed's, TP_CLOCK_VIRTUAL */
    struct tp_ring_writer *ring; /* the feed's; holds what one record can publish */
    uint32_t instrument_count, connection_count;
    bool has_ticks;           /* a TICK record stands where time alone did something */
    uint32_t *owner;          /* the connection of each instrument; moved by ROW records */
    struct tp_feed_row *rows; /* per instrument: as it was read last; generation 0: never */
    bool *is_awaited;         /* per instrument: its row is the header's, its ROW record to come;
                                 init leaves it */
    struct tp_native_set *strategies; /* inline, of the same ring; NULL: none */
    struct tp_segment *segment;       /* where readers find the rows; NULL: nobody does */
    bool *is_up;                      /* per connection: told or implied by its first record */
    uint8_t *marked;                  /* per instrument: scratch, zero between records */
    uint8_t *was_live;                /* per instrument: it was, once */
    struct tp_replay_top *last;       /* per instrument: as it was told last */
    /* where results go; NULL: not wanted. The counts are set to 0 by whoever took them. */
    struct tp_replay_top *tops;
    struct tp_replay_event *events;
    uint32_t top_capacity, top_count, event_capacity, event_count;
    uint64_t ring_limit; /* FULL where a record could publish beyond it; the caller's; 0: none */
    /* results */
    uint64_t records, messages, checkpoints, diverged, gaps, bases_refused, now_ns;
    uint64_t backwards;             /* records whose stamp is before that of the one before */
    uint64_t row_changes;           /* ROW records, each of which changed rows */
    uint64_t rows_refused;          /* those of which no book could be made */
    uint64_t next_tick_ns, next_ns; /* next_ns: stamp of the record at which LATER stopped */
    struct tp_record_scale scale;   /* at which SCALED stopped */
    bool is_rescaled;               /* and it was taken: the record itself is next */
};

/* Ring and snapshots in plain memory, for a replay that nobody watches. */
struct tp_replay_store {
    struct tp_ring_writer ring;
    struct tp_snapshot_writer snapshots;
    _Atomic uint64_t head;
};
size_t tp_replay_store_size(uint32_t ring_capacity, uint32_t instrument_count);
/* memory: zero, aligned to 64, store_size bytes; ring_capacity a power of two. */
struct tp_replay_store *tp_replay_store_init(void *memory, uint32_t ring_capacity,
                                             uint32_t instrument_count);

/* Fills the arrays that must begin as zero. */
void tp_replayer_init(struct tp_replayer *replayer);
/* Events and tops that one record may add; the capacities must be at least that. */
uint32_t tp_replayer_room(uint32_t instrument_count);

enum tp_replay_status {
    TP_REPLAY_DONE,      /* all records were taken */
    TP_REPLAY_FULL,      /* take the results and call again */
    TP_REPLAY_LATER,     /* the next record's stamp is above until_ns */
    TP_REPLAY_BASE_TEXT, /* the record at *offset is for tp_replayer_base */
    TP_REPLAY_SCALED,    /* scale says what is for tp_replayer_rescale; then call again */
    TP_REPLAY_BROKEN,    /* the record at *offset cannot be */
};
/* Takes records from data[*offset, size), aligned to 8, and moves *offset. */
enum tp_replay_status tp_replayer_run(struct tp_replayer *replayer, struct tp_span records,
                                      size_t *offset, uint64_t until_ns);
/* The row was written: its book is of the new scale from here on. generation: the row's. */
void tp_replayer_rescale(struct tp_replayer *replayer, int64_t tick_size, uint64_t generation);
/* In place of a BASE_TEXT record; the caller moves past it. */
void tp_replayer_base(struct tp_replayer *replayer, const struct tp_feed_base *base,
                      uint64_t now_ns);
#endif
