/* The fixed-layout records of orders: what a strategy asks for, what becomes of it, what an order
 * is. They stand in the order ring, in the broadcast of executions and in the journal.
 *
 * Numbers are as in records.h: mantissas with the exponents beside them. Times are nanoseconds of
 * the segment's clock, exchange_ns excepted. docs/adr/0015-orders.md has the reasons. A change of
 * any offset changes TP_ORDERS_VERSION. */
#ifndef TP_PROTO_ORDERS_H
#define TP_PROTO_ORDERS_H
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

enum { TP_ORDERS_VERSION = 1 };

/* What strategies see. UNKNOWN: the venue alone can say what became of it, and is asked. */
enum tp_order_state {
    TP_ORDER_STATE_NONE = 0,
    TP_ORDER_STATE_NEW = 1, /* has its client order id, in the journal; nothing was sent */
    TP_ORDER_STATE_SENT = 2,
    TP_ORDER_STATE_ACKNOWLEDGED = 3,
    TP_ORDER_STATE_PARTLY_FILLED = 4,
    TP_ORDER_STATE_FILLED = 5,
    TP_ORDER_STATE_CANCELLING = 6,
    TP_ORDER_STATE_CANCELLED = 7, /* also where a part was filled: nothing of it rests */
    TP_ORDER_STATE_REJECTED = 8,
    TP_ORDER_STATE_EXPIRED = 9,
    TP_ORDER_STATE_UNKNOWN = 10,
    TP_ORDER_STATE_COUNT,
};

enum tp_order_type {
    TP_ORDER_LIMIT = 0,
    TP_ORDER_MARKET = 1,
    TP_ORDER_IOC = 2, /* a limit order: what is not filled at once is cancelled */
    TP_ORDER_FOK = 3, /* a limit order: all at once, or nothing */
    TP_ORDER_POST_ONLY = 4,
    TP_ORDER_TYPE_COUNT,
};

enum tp_order_flag {
    TP_ORDER_REDUCE_ONLY = 0x1,
    /* The venue's word and ours contradict each other: asked, shown, never repaired in silence. */
    TP_ORDER_CONTRADICTED = 0x2,
};

/* Why an order is where it is; a refusal of ours names the limit that it would have broken. */
enum tp_order_reason {
    TP_ORDER_REASON_NONE = 0,
    TP_ORDER_REASON_VENUE = 1,      /* the venue refused it */
    TP_ORDER_REASON_ABSENT = 2,     /* the venue has never had it, asked after its settling time */
    TP_ORDER_REASON_UNSENT = 3,     /* no connection took it: no byte of it left */
    TP_ORDER_REASON_LATE = 4,       /* it waited longer than its budget before it was sent */
    TP_ORDER_REASON_TIMEOUT = 5,    /* UNKNOWN: no answer in time */
    TP_ORDER_REASON_BROKEN = 6,     /* UNKNOWN: an answer that says nothing (5xx, unreadable) */
    TP_ORDER_REASON_CONNECTION = 7, /* UNKNOWN: a connection ended first */
    TP_ORDER_REASON_RESTART = 8,    /* UNKNOWN: the gateway was started again */
    TP_ORDER_REASON_CANCEL_REFUSED = 9, /* UNKNOWN: the venue had nothing to cancel */
    TP_ORDER_REASON_WITHDRAWN = 10,     /* cancelled before it was sent */
    TP_ORDER_REASON_COUNT,
};

/* One order, 120 bytes: with a check word two cache lines of the journal. */
enum { TP_VENUE_ORDER_SIZE_MAX = 40 };
struct tp_order {
    uint64_t id;    /* the client order id: epoch << 32 | number; never used twice; 0: no order */
    uint64_t order; /* the strategy's own number */
    int64_t price, quantity;
    int64_t filled;    /* so far, as the venue said: only ever grows, never beyond quantity */
    uint64_t paid_low; /* price * quantity of all fills, 128 bits of the exponents' sum */
    int64_t paid_high;
    uint64_t changed_ns;
    uint16_t instrument;
    uint8_t strategy; /* which of the gateway's */
    uint8_t side;     /* enum tp_side */
    uint8_t type;     /* enum tp_order_type */
    uint8_t flags;    /* enum tp_order_flag */
    int8_t price_exponent, quantity_exponent;
    uint8_t place;    /* enum tp_order_place of engine/gateway/order_state.h */
    uint8_t reason;   /* enum tp_order_reason */
    uint8_t kind;     /* 0: of later versions */
    uint8_t reserved; /* 0 */
    uint32_t changes; /* how often its state, fills or flags changed */
    char venue_order[TP_VENUE_ORDER_SIZE_MAX]; /* the venue's id, NUL-padded; all NUL: not known */
};
static_assert(sizeof(struct tp_order) == 120, "with a check word two cache lines");
static_assert(offsetof(struct tp_order, instrument) == 64, "orders version 1");
static_assert(offsetof(struct tp_order, venue_order) == 80, "orders version 1");

/* What a strategy asks for: eight words, a slot of the order ring. */
enum tp_order_request_verb {
    TP_REQUEST_PLACE = 1,
    TP_REQUEST_CANCEL = 2,
    TP_REQUEST_CANCEL_ALL = 3, /* of this strategy; instrument 0xffff: of all instruments */
};
enum { TP_REQUEST_ALL_INSTRUMENTS = 0xffff };
struct tp_order_request {
    uint64_t order; /* the strategy's own number: PLACE gives it, CANCEL names it */
    int64_t price, quantity;
    uint16_t instrument;
    uint8_t verb; /* enum tp_order_request_verb */
    uint8_t side;
    uint8_t type;
    uint8_t flags; /* TP_ORDER_REDUCE_ONLY alone */
    int8_t price_exponent, quantity_exponent;
    uint64_t caused_ns;  /* received_ns of the event that it answers; 0: none */
    uint64_t decided_ns; /* just before it was written */
    uint64_t budget_ns;  /* refused where it was not sent by decided_ns + this; 0: no limit */
    uint64_t reserved;
};
static_assert(sizeof(struct tp_order_request) == 64, "a slot of the order ring");

/* What became of an order: seven words, an event of the broadcast of executions. */
struct tp_execution {
    uint64_t id, order;
    int64_t filled;          /* of the whole order so far */
    int64_t price, quantity; /* of this fill; 0: none */
    uint64_t published_ns;
    uint16_t instrument;
    uint8_t strategy;
    uint8_t state;  /* enum tp_order_state */
    uint8_t reason; /* enum tp_order_reason, or enum tp_risk_refusal where id is 0 */
    uint8_t flags;  /* enum tp_order_flag */
    int8_t price_exponent, quantity_exponent;
};
static_assert(sizeof(struct tp_execution) == 56, "with the ring's sequence word a cache line");
#endif
