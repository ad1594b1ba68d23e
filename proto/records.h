/* The fixed-layout records that stand in rings and snapshots.
 *
 * Prices and quantities are int64 mantissas of the instrument's decimal exponent:
 * value = mantissa * 10^exponent, exponent <= 0. Times are nanoseconds: exchange_ns of
 * CLOCK_REALTIME as the venue stamped it, all others of the segment's clock (shm/clock.h).
 * A change of any offset changes TP_RECORDS_VERSION. */
#ifndef TP_PROTO_RECORDS_H
#define TP_PROTO_RECORDS_H
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

enum { TP_RECORDS_VERSION = 1 };

enum tp_side { TP_SIDE_BID = 0, TP_SIDE_ASK = 1 };

/* Validity is part of the book: a strategy trades on LIVE only. */
enum tp_book_state {
    TP_BOOK_SYNCING = 0, /* waiting for a snapshot; levels are not to be used */
    TP_BOOK_LIVE = 1,    /* contiguous since its snapshot */
    TP_BOOK_STALE = 2,   /* connection lost or silent: last known levels, not to be traded on */
    TP_BOOK_CROSSED = 3, /* best bid >= best ask: never traded on, leaves by itself or by resync */
};

enum tp_event_type {
    TP_EVENT_LEVEL = 1, /* one level changed; quantity 0: removed */
    TP_EVENT_TOP = 2,   /* last event of every message: best bid and ask after it */
    TP_EVENT_STATE =
        3, /* the book's state changed; new state in value[0], tp_sync_reason in value[1] */
    TP_EVENT_CLEAR = 4, /* the book was replaced: forget all levels, read the snapshot */
};

enum tp_event_flag {
    TP_EVENT_ASK = 0x1, /* LEVEL: ask side */
};

struct tp_level {
    int64_t price, quantity;
};

/* 56 bytes: with the ring's sequence word one cache line. */
struct tp_event {
    uint32_t instrument;   /* index into the segment's instrument table */
    uint16_t type;         /* enum tp_event_type */
    uint16_t flags;        /* enum tp_event_flag */
    uint64_t received_ns;  /* the frame left the NIC queue */
    uint64_t published_ns; /* just before it was written to the ring */
    union {
        int64_t value[4];
        struct {
            int64_t price, quantity;
            uint64_t exchange_ns, book_sequence;
        } level;
        struct {
            int64_t bid_price, bid_quantity, ask_price, ask_quantity;
        } top; /* quantity 0: side empty */
    } u;
};
static_assert(sizeof(struct tp_event) == 56, "one event and its sequence word fill one cache line");
static_assert(offsetof(struct tp_event, u) == 24, "layout version 1");

enum { TP_BOOK_DEPTH_MAX = 20 };

/* The latest book of one instrument, as it stands in the snapshot table. */
struct tp_book_record {
    uint64_t book_sequence; /* the venue's version of the last message applied */
    uint64_t exchange_ns, received_ns, decoded_ns, published_ns;
    uint32_t instrument;
    uint16_t state;                /* enum tp_book_state */
    uint16_t reason;               /* enum tp_sync_reason: why it is not LIVE */
    uint32_t bid_count, ask_count; /* levels present below, best first */
    struct tp_level bids[TP_BOOK_DEPTH_MAX], asks[TP_BOOK_DEPTH_MAX];
};
static_assert(sizeof(struct tp_book_record) == 56 + 640, "layout version 1");

enum tp_sync_reason {
    TP_SYNC_REASON_NONE = 0,
    TP_SYNC_REASON_STARTING = 1,     /* no snapshot yet */
    TP_SYNC_REASON_GAP = 2,          /* a version is missing */
    TP_SYNC_REASON_DISCONNECTED = 3, /* the connection that feeds it ended */
    TP_SYNC_REASON_SILENT = 4,       /* nothing arrived for the configured time */
    TP_SYNC_REASON_CROSSED = 5,
    TP_SYNC_REASON_REFUSED = 6, /* the venue refused the subscription */
    TP_SYNC_REASON_BROKEN_MESSAGE = 7,
    TP_SYNC_REASON_OVERFLOW = 8, /* more buffered messages or levels than the limits allow */
};

/* One row of the segment's instrument table. Strings are NUL-padded ASCII. */
struct tp_instrument_record {
    char venue[16];
    char symbol[32];
    int32_t price_exponent, quantity_exponent;
    int64_t tick_size; /* smallest price step, a mantissa; >= 1 */
};
static_assert(sizeof(struct tp_instrument_record) == 64, "layout version 1");
#endif
