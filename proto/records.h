/* The fixed-layout records that stand in rings, snapshots and instrument rows.
 * docs/adr/0010-layout-2.md has the reasons.
 *
 * Prices and quantities are int64 mantissas: value = mantissa * 10^exponent, exponent -18 to 0.
 * Each event and each book carries the exponents that its own numbers are of: an instrument's scale
 * may move while it runs, and two mantissas compare only where their exponents are equal. Times are
 * nanoseconds: exchange_ns of CLOCK_REALTIME as the venue stamped it, all others of the segment's
 * clock (shm/clock.h); 0: not known. A change of any offset changes TP_RECORDS_VERSION. */
#ifndef TP_PROTO_RECORDS_H
#define TP_PROTO_RECORDS_H
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

enum { TP_RECORDS_VERSION = 2 };

enum tp_side { TP_SIDE_BID = 0, TP_SIDE_ASK = 1 };

/* Validity is part of the book: a strategy trades on LIVE only. */
enum tp_book_state {
    TP_BOOK_SYNCING = 0, /* waiting for a base; levels are not to be used */
    TP_BOOK_LIVE = 1,    /* contiguous since its base */
    TP_BOOK_STALE = 2,   /* connection lost or silent: last known levels, not to be traded on */
    TP_BOOK_CROSSED = 3, /* best bid >= best ask: never traded on, leaves by itself or by resync */
};

enum tp_event_type {
    TP_EVENT_LEVEL = 1, /* one level changed; quantity 0: removed */
    TP_EVENT_TOP = 2,   /* last event of every depth message: best bid and ask after it */
    TP_EVENT_STATE = 3, /* the book's state changed */
    TP_EVENT_CLEAR = 4, /* the book was replaced: forget all levels, read the snapshot */
    TP_EVENT_TRADE = 5, /* one trade */
    TP_EVENT_BEST = 6,  /* best bid and ask as the venue's own ticker stream says: not our book's */
    /* More of the message whose events stand right before it. One that comes first after a join or
     * a lap belongs to nothing that was seen: ignore it. */
    TP_EVENT_MESSAGE = 7,
    TP_EVENT_INSTRUMENT = 8, /* its row was added or changed: it stands in the table already */
    TP_EVENT_STATUS = 9,     /* the venue trades it, or does not */
    TP_EVENT_VERIFIED = 10,  /* a quiet book was compared with the venue's */
};

enum tp_event_flag {
    TP_EVENT_ASK = 0x1,       /* LEVEL: ask side */
    TP_EVENT_SELL = 0x2,      /* TRADE: who took liquidity sold; unset: bought */
    TP_EVENT_SIDELESS = 0x4,  /* TRADE: the venue does not say who took */
    TP_EVENT_HASHED = 0x8,    /* TRADE: trade_id is the FNV-1a hash of an id that is no number */
    TP_EVENT_MORE = 0x10,     /* the next event of the ring is this one's MESSAGE */
    TP_EVENT_HOP_ZERO = 0x20, /* received_ns is the driver's or the XDP program's stamp; of a book
                                 too: the only flag that it has */
};

enum tp_row_change {
    TP_ROW_ADDED = 1,
    TP_ROW_CHANGED = 2,
    TP_ROW_SCALED = 3, /* changed, and its exponents moved: its book is built anew */
};

enum tp_instrument_status {
    TP_INSTRUMENT_UNKNOWN = 0, /* the venue does not say */
    TP_INSTRUMENT_TRADING = 1,
    TP_INSTRUMENT_CANCEL_ONLY = 2,
    TP_INSTRUMENT_HALTED = 3,
    TP_INSTRUMENT_DELISTED = 4,
    TP_INSTRUMENT_REMOVED = 5, /* of a row: we read it no longer, whatever the venue does */
};

struct tp_level {
    int64_t price, quantity;
};

/* 56 bytes: with the ring's sequence word one cache line. */
struct tp_event {
    uint16_t instrument; /* index into the segment's instrument table */
    uint8_t type;        /* enum tp_event_type; a reader ignores those that it does not know */
    uint8_t flags;       /* enum tp_event_flag */
    int8_t price_exponent, quantity_exponent; /* of the numbers below */
    uint16_t connection;                      /* which of the feed's connections brought it */
    uint64_t received_ns;  /* the frame reached the host: hop zero, or else as taken_ns */
    uint64_t published_ns; /* just before it was written to the ring */
    union {
        int64_t value[4];
        struct {
            int64_t price, quantity;
            uint64_t exchange_ns, book_sequence;
        } level;
        struct {
            int64_t bid, bid_quantity, ask, ask_quantity;
        } top; /* TOP and BEST; quantity 0: side empty */
        struct {
            int64_t price, quantity;
            uint64_t exchange_ns, trade_id;
        } trade;
        struct {
            uint64_t taken_ns; /* the frame left the NIC queue */
            uint64_t decoded_ns, exchange_ns, book_sequence;
        } message;
        struct {
            int64_t state, reason; /* enum tp_book_state, enum tp_sync_reason */
        } state;
        struct {
            uint64_t generation, change; /* enum tp_row_change */
        } row;                           /* INSTRUMENT */
        struct {
            uint64_t status, reserved, exchange_ns; /* enum tp_instrument_status */
        } status;
        struct {
            uint64_t verified_ns, is_equal, reserved, book_sequence;
        } verified;
    } u;
};
static_assert(sizeof(struct tp_event) == 56, "one event and its sequence word fill one cache line");
static_assert(offsetof(struct tp_event, received_ns) == 8, "layout version 2");
static_assert(offsetof(struct tp_event, u) == 24, "layout version 2");

enum { TP_BOOK_DEPTH_MAX = 20 };

/* The latest book of one instrument, as it stands in the snapshot table. */
struct tp_book_record {
    uint64_t book_sequence; /* the venue's version of the last message applied */
    uint64_t exchange_ns;
    uint64_t received_ns; /* as an event's */
    uint64_t taken_ns;    /* the frame left the NIC queue */
    uint64_t decoded_ns, published_ns;
    /* The last message of the instrument's own that it is made of, or its base where none came
     * since: a connection that lives says nothing of a book. */
    uint64_t message_ns;
    uint64_t verified_ns; /* it was last found equal to the venue's book; 0: never compared */
    uint16_t instrument;
    uint16_t connection;           /* that brought the last message */
    uint16_t state;                /* enum tp_book_state */
    uint16_t reason;               /* enum tp_sync_reason: why it is not LIVE */
    uint16_t bid_count, ask_count; /* levels present below, best first */
    int8_t price_exponent, quantity_exponent;
    uint16_t flags;      /* enum tp_event_flag */
    uint64_t generation; /* of the instrument's row when the book was published */
    uint64_t reserved_words[3];
    struct tp_level bids[TP_BOOK_DEPTH_MAX], asks[TP_BOOK_DEPTH_MAX];
};
static_assert(sizeof(struct tp_book_record) == 112 + 640, "with its cell's head 12 cache lines");
static_assert(offsetof(struct tp_book_record, bids) == 112, "the cell's third line");

enum tp_sync_reason {
    TP_SYNC_REASON_NONE = 0,
    TP_SYNC_REASON_STARTING = 1,     /* no base yet */
    TP_SYNC_REASON_GAP = 2,          /* a version is missing */
    TP_SYNC_REASON_DISCONNECTED = 3, /* the connection that feeds it ended */
    TP_SYNC_REASON_SILENT = 4,       /* nothing arrived for the configured time */
    TP_SYNC_REASON_CROSSED = 5,
    TP_SYNC_REASON_REFUSED = 6, /* the venue refused the subscription */
    TP_SYNC_REASON_BROKEN_MESSAGE = 7,
    TP_SYNC_REASON_OVERFLOW = 8,    /* more buffered messages or levels than the limits allow */
    TP_SYNC_REASON_UNCONFIRMED = 9, /* the venue has not confirmed the subscription yet */
    TP_SYNC_REASON_RESET = 10,      /* the venue numbers anew */
    TP_SYNC_REASON_SHALLOW = 11,    /* the touch moved beyond the depth that is known */
    TP_SYNC_REASON_SCALE = 12,      /* a number does not fit the scale, which is moved */
    TP_SYNC_REASON_HALTED = 13,     /* the venue does not trade it */
    TP_SYNC_REASON_UNVERIFIED = 14, /* quiet, and not found equal to the venue's book in time */
    TP_SYNC_REASON_REMOVED = 15,    /* taken out of the configuration; its row says so too */
    TP_SYNC_REASON_MAX = TP_SYNC_REASON_REMOVED,
};

enum tp_instrument_kind {
    TP_INSTRUMENT_SPOT = 0,
    TP_INSTRUMENT_LINEAR = 1,  /* a contract settled in the quote currency */
    TP_INSTRUMENT_INVERSE = 2, /* a contract settled in the base currency */
    TP_INSTRUMENT_QUANTO = 3,  /* a contract settled in a third one */
};

/* A row of the segment's instrument table, behind the row's sequence word. Text is UTF-8 and
 * NUL-padded, with one NUL at least. Mantissas are of the row's own exponents; 0: the venue does
 * not say, but for the exponents, tick_size and multiplier. */
enum { TP_SYMBOL_SIZE_MAX = 64 }; /* bytes, less the NUL */
struct tp_instrument_record {
    char venue[16];
    char symbol[TP_SYMBOL_SIZE_MAX + 8]; /* as the venue spells it */
    char base[32], quote[16], settle[16];
    uint8_t kind;   /* enum tp_instrument_kind */
    uint8_t status; /* enum tp_instrument_status */
    int8_t price_exponent, quantity_exponent;
    int8_t multiplier_exponent, notional_exponent;
    uint16_t connection; /* of the feed, where one carries all of it */
    int64_t tick_size;   /* smallest price step; >= 1 */
    int64_t lot_size;    /* smallest quantity step */
    int64_t quantity_min;
    int64_t notional_min;          /* smallest price * quantity, a mantissa of notional_exponent */
    int64_t multiplier;            /* of a contract; 1 and exponent 0 for spot */
    uint64_t listed_ns, expiry_ns; /* CLOCK_REALTIME; expiry 0: none */
    char strike[16], right[8];     /* of an option: decimal text, "C" or "P" */
    uint64_t reserved;
};
static_assert(sizeof(struct tp_instrument_record) == 248, "with its sequence word 4 cache lines");
static_assert(offsetof(struct tp_instrument_record, kind) == 152, "layout version 2");
#endif
