/* One entry of a relayed stream: a book and the events that led to it, as bytes and as published.
 *
 *   book bytes:   head (48), book head (112), bids and asks (16 a level); events bytes: 56 an event
 *
 * Little-endian, the records of proto/records.h with the unused levels left out. What arrives is
 * foreign: tp_relay_entry_read checks all that a reader of the segment relies on, then
 * tp_relay_entry_publish writes it to a segment as engine/feed/publish.h does. Called by:
 * engine/relay (Python), one thread. docs/relay.md has the tables. */
#ifndef TP_ENGINE_RELAY_ENTRY_H
#define TP_ENGINE_RELAY_ENTRY_H
#include <stdbool.h>
#include <stdint.h>

#include "proto/records.h"
#include "shm/broadcast_ring.h"
#include "shm/clock.h"
#include "shm/histogram.h"
#include "shm/snapshot_table.h"

enum {
    TP_RELAY_FORMAT = 2,
    TP_RELAY_FLAG_GAP = 1, /* events are missing before this entry: its book replaces */
    TP_RELAY_EVENT_COUNT_MAX = 1 << 16,
    TP_RELAY_BOOK_HEAD_SIZE = 112,
};

struct tp_relay_head {
    uint16_t format, flags;
    uint32_t instrument;
    uint64_t epoch;             /* random, anew at every start of the relay and of its source */
    uint64_t sequence;          /* entries of this instrument before it, in this epoch */
    uint64_t version;           /* how often the source had published the book */
    int64_t realtime_offset_ns; /* CLOCK_REALTIME - the clock of the stamps */
    int64_t sent_ns;            /* CLOCK_REALTIME */
};
static_assert(sizeof(struct tp_relay_head) == 48, "format 2");
static_assert(offsetof(struct tp_book_record, bids) == TP_RELAY_BOOK_HEAD_SIZE, "format 2");

enum { TP_RELAY_BOOK_SIZE_MAX = sizeof(struct tp_relay_head) + sizeof(struct tp_book_record) };

enum tp_relay_fault {
    TP_RELAY_SOUND = 0,
    TP_RELAY_TRUNCATED,       /* fewer or more bytes than the counts say */
    TP_RELAY_WRONG_FORMAT,    /* another format */
    TP_RELAY_UNKNOWN_FLAGS,   /* of the entry or an event */
    TP_RELAY_OTHER_ONE,       /* of another instrument than the stream's */
    TP_RELAY_STAMP_TOO_FAR,   /* beyond 2^62 ns */
    TP_RELAY_UNKNOWN_STATE,   /* state or reason of the book or of a STATE event */
    TP_RELAY_TOO_DEEP,        /* more levels than a record holds */
    TP_RELAY_EMPTY_LEVEL,     /* a level or event with a quantity that cannot be */
    TP_RELAY_DISORDER,        /* levels not best first */
    TP_RELAY_CROSSED_LIVE,    /* LIVE with bid >= ask */
    TP_RELAY_TOO_MANY_EVENTS, /* or not whole ones */
    TP_RELAY_UNKNOWN_EVENT,   /* type */
    TP_RELAY_WRONG_SCALE,     /* an exponent that cannot be */
};

struct tp_relay_entry {
    struct tp_relay_head head;
    struct tp_book_record record; /* levels in their places, the unused ones 0 */
    const uint8_t *events;        /* borrowed from the caller's bytes */
    uint32_t event_count;
    uint16_t state, reason; /* that the last STATE event tells */
    bool tells_state;       /* there is one */
};

/* Writes head and book and returns the size, at most TP_RELAY_BOOK_SIZE_MAX. record: the words of
 * a snapshot; its state and reason are replaced by these. */
uint32_t tp_relay_entry_write(uint8_t *out, const struct tp_relay_head *head,
                              const uint64_t *record, uint16_t state, uint16_t reason);

/* On any fault *entry holds no entry. */
enum tp_relay_fault tp_relay_entry_read(struct tp_relay_entry *entry, const uint8_t *book,
                                        size_t book_size, const uint8_t *events, size_t events_size,
                                        uint32_t instrument);

/* Where entries are published. */
struct tp_relay_segment {
    struct tp_ring_writer *ring;
    struct tp_snapshot_writer *snapshots;
    const struct tp_clock *clock;
    int64_t realtime_offset_ns; /* CLOCK_REALTIME - clock, as it is now */
    struct tp_histogram *sent_to_published, *received_to_published;
};

/* How it is to be published; told_* is what readers were told last, brought up to date. */
struct tp_relay_publication {
    uint16_t state, reason; /* the entry's own, or a worse one, which its events then tell too */
    uint16_t told_state, told_reason;
    bool is_gap;      /* CLEAR comes before its events */
    bool with_events; /* false: only the book and its state, anew */
};

/* Snapshot first, then STATE if it is worse, CLEAR, the events, STATE if it becomes better; a TOP
 * where a replaced book has no events. Stamps become ours, none of them in the future. */
void tp_relay_entry_publish(const struct tp_relay_segment *segment,
                            const struct tp_relay_entry *entry,
                            struct tp_relay_publication *publication);
#endif
