/* What the hot thread did, in order, for a recorder: the messages of every connection and all that
 * moved a book besides.
 *
 * A second segment, <instance>.raw, holds a ring of messages (shm/message_ring.h). Called by
 * engine/feed_handler/hot_path.c (wire messages, connections, ticks) and engine/feed (bases as
 * they are taken, checkpoints); read by engine/recording/recorder.py. One writer, the hot thread:
 * whoever replays the records in their order does to a feed exactly what was done to this one. No
 * tap is a NULL pointer: one comparison a message. */
#ifndef TP_ENGINE_TAP_H
#define TP_ENGINE_TAP_H
#include <stdbool.h>
#include <stdint.h>

#include "netstack/span.h"
#include "proto/update.h"
#include "shm/message_ring.h"
#include "shm/segment_reader.h"

/* A record is a struct tp_message_header and its payload; the tag holds kind, WebSocket opcode and
 * connection: kind | opcode << 8 | connection << 16. The file format (docs/recording.md) is the
 * same bytes: a change here is a new version of it. */
enum tp_record_kind {
    TP_RECORD_IN = 1,         /* a message of the venue */
    TP_RECORD_OUT = 2,        /* a message to the venue */
    TP_RECORD_BASE = 3,       /* struct tp_record_book: a base as it was taken */
    TP_RECORD_BASE_TEXT = 4,  /* "SYMBOL\n" and the REST body: written by others, not by us */
    TP_RECORD_UP = 5,         /* the connection opened; opcode 1: books need CONFIRMED */
    TP_RECORD_DOWN = 6,       /* it ended */
    TP_RECORD_TICK = 7,       /* time alone changed something: silence, a crossed book */
    TP_RECORD_REFUSED = 8,    /* u64 instrument: the venue refused its subscription */
    TP_RECORD_CHECKPOINT = 9, /* struct tp_record_book: a LIVE book, whole */
    TP_RECORD_GAP = 10,       /* u64 stream (0 raw, 1 events), u64 slots lost: by the recorder */
    TP_RECORD_OVERSIZE = 11,  /* u64 size: a message that was larger than the ring takes */
    TP_RECORD_CONFIRMED = 12, /* u64 instrument: the venue acknowledged its subscription */
    TP_RECORD_ROW = 13,       /* struct tp_feed_row: an instrument came, changed or left */
    TP_RECORD_VERDICT = 14,   /* u64 instrument, u64 proved_ns; opcode: enum tp_verdict */
    TP_RECORD_LISTED = 15, /* struct tp_feed_listing: the venue's list says whether it trades it */
    TP_RECORD_SCALED = 20, /* struct tp_record_scale: its numbers are of it from here on */
};

/* Payload of BASE and CHECKPOINT; bid_count levels of bids, then ask_count of asks follow.
 * flags, 1 << enum tp_side: the side is not whole. Of a snapshot it is known as far as its last
 * level; of a checkpoint as far as its last row, whose quantity is 0, and the two bytes above the
 * lowest are the depths below which it is shallow and is running low. */
struct tp_record_book {
    uint32_t instrument, flags;
    uint64_t version, exchange_ns, received_ns;
    uint32_t bid_count, ask_count;
};
static_assert(sizeof(struct tp_record_book) == 40, "recording version 1");

/* Payload of SCALED. */
struct tp_record_scale {
    uint32_t instrument;
    int8_t price_exponent, quantity_exponent;
    uint16_t reserved;
    int64_t tick_size;
    uint64_t generation; /* of the instrument's row */
};
static_assert(sizeof(struct tp_record_scale) == 24, "recording version 2");

/* The scale of a BASE's or CHECKPOINT's numbers stands in its flags, so that whoever begins in the
 * midst knows it: digits behind the point and 1, of prices in bits 2 to 6, of quantities in bits 24
 * to 28; 0: written before scales moved. */
enum {
    TP_RECORD_PRICE_SHIFT = 2,
    TP_RECORD_QUANTITY_SHIFT = 24,
    TP_RECORD_DIGITS_MASK = 0x1f,
};
static inline uint32_t tp_record_scale_flags(int32_t price_exponent, int32_t quantity_exponent)
{
    return (uint32_t)(1 - price_exponent) << TP_RECORD_PRICE_SHIFT |
           (uint32_t)(1 - quantity_exponent) << TP_RECORD_QUANTITY_SHIFT;
}
/* Exponents above 0: not said. */
static inline struct tp_scale tp_record_scale_of(uint32_t flags)
{
    return (struct tp_scale){
        1 - (int32_t)(flags >> TP_RECORD_PRICE_SHIFT & TP_RECORD_DIGITS_MASK),
        1 - (int32_t)(flags >> TP_RECORD_QUANTITY_SHIFT & TP_RECORD_DIGITS_MASK)};
}

/* One row of the raw segment's table: all that a replay needs to build the same feed. */
struct tp_tap_row {
    struct tp_instrument_record instrument;
    uint64_t silent_after_ns, checkpoint_every_ns; /* of the feed; the same in every row */
    uint16_t connection;
    uint16_t race; /* over so many connections, of which it is the first; 0 and 1: no race */
    char channel[108];
    uint32_t since_start;         /* 0: it came after the hot thread began */
    uint32_t connection_count;    /* of the feed, at most; the same in every row */
    uint64_t keep_ns, keep_bytes; /* of the feed's kept messages; the same in every row */
};
static_assert(sizeof(struct tp_tap_row) == 400, "raw segment's schema");

struct tp_tap {
    /* set before the hot path runs */
    struct tp_segment *segment;
    uint64_t checkpoint_every_ns; /* every book once in so long; 0: never */
    /* hot thread */
    uint64_t next_checkpoint_ns, oversized;
    uint32_t next_instrument;
    struct tp_level bids[TP_DEPTH_LEVEL_COUNT_MAX], asks[TP_DEPTH_LEVEL_COUNT_MAX];
};

static inline uint32_t tp_tap_tag(enum tp_record_kind kind, uint8_t opcode, uint32_t connection)
{
    return (uint32_t)kind | (uint32_t)opcode << 8 | connection << 16;
}

/* Hot thread; tap may be NULL: nothing happens. */
void tp_tap_message(struct tp_tap *tap, uint32_t tag, struct tp_span payload, uint64_t now_ns);
void tp_tap_mark(struct tp_tap *tap, uint32_t tag, uint64_t now_ns);
void tp_tap_scale(struct tp_tap *tap, const struct tp_record_scale *scale, uint64_t now_ns);
/* tag: of REFUSED or CONFIRMED, and the connection that it was said on. */
void tp_tap_answer(struct tp_tap *tap, uint32_t tag, uint32_t instrument, uint64_t now_ns);
void tp_tap_book(struct tp_tap *tap, uint32_t tag, const struct tp_record_book *book,
                 const struct tp_level *const sides[2], uint64_t now_ns);
/* Whether a checkpoint is due, and of which instrument; moves on to the next one. */
bool tp_tap_checkpoint_due(struct tp_tap *tap, uint32_t instrument_count, uint64_t now_ns,
                           uint32_t *instrument);

/* Recorder: where a reader stands. */
struct tp_ring_reader *tp_tap_ring(struct tp_reader *reader);
/* Recorder: goes back to the ring's beginning if nothing of it was overwritten yet; a reader joins
 * at the head, but one that came first must miss nothing. False: it stays where it was. */
bool tp_tap_rewind(struct tp_reader *reader);
/* Recorder: rows of 8 words (ring index, event), at least TP_READER_BATCH_COUNT_MAX of them fit.
 * *lost: events that are gone behind the last row. */
uint32_t tp_tap_events(struct tp_reader *reader, uint64_t *rows, uint32_t row_count_max,
                       uint64_t *lost);
#endif
