/* What a consumer of a segment does: take events, read snapshots, notice that the writer fell
 * silent, ended or was replaced. Payloads are 64-bit words; tickpath-reader.h gives them types.
 *
 * The order in which to join (at start, after TP_READER_LAPPED, after a reopen): first position in
 * the ring (this module stands at the head then), next read the snapshots, then take events. A
 * snapshot's ring_index is the first event that it does NOT contain: ignore events of its slot
 * before that. This is complete because the writer publishes a snapshot before the events of the
 * same change.
 *
 * Called by: shm/reader.py, C strategies. One thread takes events, and one, the same or another,
 * reads snapshots. Any thread may interrupt, register, reopen or deinit meanwhile: those end the
 * wait that is under way and take the mapping away once nobody is in it (shm/lease.h). The writer
 * is never disturbed: the mapping is read-only, and what a registered reader writes goes to the
 * control segment. Nothing is allocated after tp_reader_init. */
#ifndef TP_SHM_SEGMENT_READER_H
#define TP_SHM_SEGMENT_READER_H
#include "shm/control_segment.h"
#include "shm/lease.h"
#include "shm/segment.h"

enum {
    TP_READER_DIRECTORY_SIZE = 256,
    TP_READER_BATCH_COUNT_MAX = 256,
    TP_READER_EVENT_WORDS = 1 + TP_RING_EVENT_WORDS, /* ring index, payload */
    TP_READER_SNAPSHOT_HEAD_WORDS = 4,
    TP_READER_STALE_AFTER_NS = 100 * 1000 * 1000,
    TP_READER_CURSOR_EVERY = 64, /* events between two stores of a registered reader's cursor */
};

enum tp_reader_result {
    TP_READER_EMPTY = 0,
    TP_READER_EVENT = 1, /* in event[] */
    TP_READER_LAPPED =
        2, /* `lost` events are gone; the reader stands at the head: read snapshots */
    TP_READER_SILENT = 3, /* told once: no heartbeat for stale_after_ns; all is stale from now on */
    TP_READER_ALIVE = 4,  /* told once: the heartbeat is back */
    TP_READER_MOVED =
        5, /* told until reopened: the writer ended, or a newer segment stands there */
    /* 6 is engine/client/reader.py's RESTARTED */
    TP_READER_EVICTED = 7, /* as LAPPED, to a lossless reader that was too slow, or whose slot was
                              taken away: it is lossless no longer */
};

/* Words of snapshot[] before the payload. */
enum {
    TP_READER_SNAPSHOT_VERSION = 0, /* 0: never written */
    TP_READER_SNAPSHOT_RING_INDEX = 1,
    TP_READER_SNAPSHOT_SILENT_NS = 2, /* heartbeat's age where it is too old, else 0 */
    TP_READER_SNAPSHOT_ENDED = 3,     /* 1: the writer ended or was replaced */
};

struct tp_reader {
    uint64_t event[TP_READER_EVENT_WORDS];
    uint64_t lost;                       /* with TP_READER_LAPPED: just now */
    uint64_t spin_ns, sleep_ns, wait_ns; /* of tp_reader_spin; sleep_ns 0: spins all the time */
    uint64_t stale_after_ns;
    struct tp_lease lease; /* of the segment, the control segment and the slot */
    struct tp_clock clock; /* the segment's, which may be gone when an event is looked at */
    uint64_t lost_total, event_total, lap_total;
    uint64_t sleep_total; /* times that it slept until the waker, a signal or a timeout */
    struct tp_segment *segment;
    struct tp_control *control;               /* of the segment; NULL: not registered */
    struct tp_control_slot *slot;             /* its own; NULL: not registered */
    uint64_t owner;                           /* as it stands in the slot while that is ours */
    struct tp_control_slot *_Atomic wakeable; /* the slot as an interrupter may use it */
    uint64_t cursor_mask;
    uint64_t cursor_stored, seen_ns; /* as they stand in the slot */
    bool wants_registration, is_lossless;
    enum tp_segment_status registration; /* of the last try to register */
    struct tp_segment_error registration_error;
    _Atomic uint32_t is_interrupted;
    char name[TP_CONTROL_NAME_SIZE];
    struct tp_ring_reader ring;
    struct tp_snapshot_reader snapshots;
    uint64_t schema_hash;
    uint32_t snapshot_words; /* 0: any number */
    bool is_silent;
    uint64_t snapshot[(size_t)TP_READER_SNAPSHOT_HEAD_WORDS + TP_SEGMENT_SNAPSHOT_WORD_COUNT_MAX];
    uint64_t batch[TP_READER_BATCH_COUNT_MAX][TP_READER_EVENT_WORDS];
    char directory[TP_READER_DIRECTORY_SIZE];
    char instance[TP_SEGMENT_INSTANCE_LENGTH_MAX + 1];
};

/* Opens the segment and stands at its head. directory NULL: /dev/shm; schema_hash 0: any. */
enum tp_segment_status tp_reader_init(struct tp_reader *reader, const char *directory,
                                      const char *instance, uint64_t schema_hash,
                                      struct tp_segment_error *error);
/* Refuses this segment, and the newer ones that a reopen finds, where a snapshot has not just so
 * many words: TP_SEGMENT_BAD_LAYOUT; deinit the reader then. Call it right after tp_reader_init. */
enum tp_segment_status tp_reader_require_words(struct tp_reader *reader, uint32_t words,
                                               struct tp_segment_error *error);
/* From any thread, while others wait in the reader too: their waits end, and only then the memory
 * goes. After it, looks tell MOVED or nothing, batches are empty and snapshots version 0. Not from
 * a signal handler. */
void tp_reader_deinit(struct tp_reader *reader);
/* Takes the newer segment of the same name, if there is one, in place of the present one. On any
 * other status the present one stays mapped (TP_SEGMENT_ABSENT: no newer one yet). */
enum tp_segment_status tp_reader_reopen(struct tp_reader *reader, struct tp_segment_error *error);

/* Takes a slot in the control segment, so that lag and laps are seen by `tickpath stat` and a
 * blocking wait is ended by the waker; joins anew. is_lossless: the writer waits for this reader
 * until its deadline; TP_SEGMENT_REFUSED where it does not do that. Other trouble (no permission,
 * no free slot, no control segment) is no hindrance to read: the reader goes on unregistered, with
 * the reason in registration and registration_error. Kept over tp_reader_reopen; a lossless reader
 * that the next writer does not wait for is told EVICTED when it is lapped. Cold. */
enum tp_segment_status tp_reader_register(struct tp_reader *reader, const char *name,
                                          bool is_lossless);
void tp_reader_unregister(struct tp_reader *reader);
/* From another thread or a signal handler: ends the wait that is under way, or the next. */
void tp_reader_interrupt(struct tp_reader *reader);
/* The segment that is read now, held: tp_segment_release it. NULL: the reader is closed. */
struct tp_segment *tp_reader_hold_segment(struct tp_reader *reader);

/* Joins anew: moves to the head and counts nothing as lost; read the snapshots next. */
void tp_reader_join(struct tp_reader *reader);

/* EVENT, LAPPED or EMPTY: one look at the ring, no system call, no clock. */
enum tp_reader_result tp_reader_poll(struct tp_reader *reader);
/* What an idle reader looks at: EMPTY, SILENT, ALIVE or MOVED (or EVENT, LAPPED: of the last
 * moment). */
enum tp_reader_result tp_reader_check(struct tp_reader *reader);
/* Waits until there is something to tell, at most wait_ns. Spins for spin_ns; where sleep_ns is not
 * 0 it sleeps then: a registered reader until the waker wakes it, another one sleep_ns between
 * looks, so that an event that comes during a sleep waits for its end. A signal ends the wait
 * early with TP_READER_EMPTY. */
enum tp_reader_result tp_reader_spin(struct tp_reader *reader);
/* Waits as tp_reader_spin does, but takes nothing: EVENT where a look would find something. */
enum tp_reader_result tp_reader_await(struct tp_reader *reader);
/* Moves up to TP_READER_BATCH_COUNT_MAX events into batch[] and returns how many; 0 with lost > 0
 * where the reader was lapped (and slot->is_evicted, where it was lossless). */
uint32_t tp_reader_batch(struct tp_reader *reader);
/* Tells the control segment where this reader stands; tp_reader_poll does it every
 * TP_READER_CURSOR_EVERY events and tp_reader_check when it is idle. */
void tp_reader_store_cursor(struct tp_reader *reader);
/* Of the segment's table, as tp_segment_row_count, _row_changes and _row_read; 0 where the reader
 * is closed. words: word_count of them, which must be the table's own number; 0 otherwise. */
uint32_t tp_reader_row_count(struct tp_reader *reader);
uint64_t tp_reader_row_changes(struct tp_reader *reader);
uint64_t tp_reader_row(struct tp_reader *reader, uint32_t row, uint64_t *words,
                       uint32_t word_count);
/* Reads the slot's snapshot into snapshot[] and returns its version, 0: none. */
uint64_t tp_reader_snapshot(struct tp_reader *reader, uint32_t slot);

/* One slot's snapshot in memory of its own, which no read of another slot touches. */
struct tp_reader_view {
    struct tp_reader *reader; /* borrowed */
    uint32_t slot;
    uint32_t reserved;
    uint64_t words[]; /* as snapshot[]: TP_READER_SNAPSHOT_HEAD_WORDS and the payload */
};

/* Reads it into words[] and returns its version, 0: none. */
uint64_t tp_reader_view_read(struct tp_reader_view *view);

/* ---- for shm/reader_registration.c and shm/reader_set.c: the caller holds the lease, or has the
 * reader alone ---- */

enum { TP_READER_NAP_NS_MAX = 25 * 1000 * 1000 }; /* writers end, and wake nobody then */
/* True where tp_reader_poll would tell something. */
bool tp_reader_has_news(const struct tp_reader *reader);
void tp_reader_to_head(struct tp_reader *reader);
/* Wakes who sleeps in the reader: a tp_lease_wake of struct tp_reader. */
void tp_reader_wake(void *reader);
enum tp_segment_status tp_reader_slot_claim(struct tp_reader *reader, bool is_lossless);
void tp_reader_slot_release(struct tp_reader *reader);
#endif
