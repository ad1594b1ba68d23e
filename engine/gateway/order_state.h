/* What becomes of an order, as a table: where it is and what happened in, where it is then out.
 *
 * A place is a state that strategies see, told apart by what is known of it: an order that the
 * venue never spoke of may not exist ("unseen"). UNKNOWN has three: its placing is in doubt, its
 * placing and its cancel are, or it exists and what it is now must be asked. What ends an order by
 * the venue's word is final. ABSENT is not the venue's word about the order but our reading of
 * "not found": a word that it exists, however late, opens it again.
 *
 * Quantities are beside the table: `filled` is the greatest that the venue named, whichever report
 * came first, and decides between "partly" and "all". A report that cannot be true with what is
 * known changes no state: it is a contradiction, flagged on the order and never repaired here.
 *
 * Called by: the gateway, for each report; journal.c, to refuse places that are none. One thread.
 * docs/trading.md shows the table; tests/unit/test_order_states.py holds it to an independent
 * model, cell by cell and in random order. */
#ifndef TP_ENGINE_ORDER_STATE_H
#define TP_ENGINE_ORDER_STATE_H
#include <stdbool.h>
#include <stdint.h>

#include "proto/orders.h"

enum tp_order_place {
    TP_AT_NEW,  /* in the journal; nothing was sent */
    TP_AT_SENT, /* bytes of it may have left */
    TP_AT_ACKNOWLEDGED,
    TP_AT_PARTLY_FILLED,
    TP_AT_CANCELLING_UNSEEN, /* a cancel was sent before the venue spoke of the order */
    TP_AT_CANCELLING,
    TP_AT_UNKNOWN_UNSEEN,        /* its placing is in doubt */
    TP_AT_UNKNOWN_CANCEL_UNSEEN, /* its placing and its cancel are */
    TP_AT_UNKNOWN_SEEN,          /* it exists, or did: what it is now must be asked */
    TP_AT_FILLED,
    TP_AT_CANCELLED,
    TP_AT_EXPIRED,
    TP_AT_REJECTED,
    TP_AT_ABSENT, /* the venue does not know it, asked after its settling time */
    TP_AT_COUNT,
};

enum tp_order_event {
    TP_ON_SENT,           /* its bytes were given to a connection, all or some */
    TP_ON_UNSENT,         /* none were, and none will be */
    TP_ON_ACKNOWLEDGED,   /* the venue took it */
    TP_ON_REJECTED,       /* the venue refused it: it never rested */
    TP_ON_FILL,           /* a part of it was filled */
    TP_ON_FILLED,         /* and all of it */
    TP_ON_CANCEL_ASKED,   /* a cancel is about to be sent; or, of what was not sent: taken back */
    TP_ON_CANCEL_REFUSED, /* the venue had nothing to cancel */
    TP_ON_CANCELLED,      /* the venue ended it, whoever asked */
    TP_ON_EXPIRED,        /* and this: the rest of an IOC, its time, its match */
    TP_ON_DOUBT,          /* time-out, 5xx, unreadable, a connection ended, the gateway started */
    TP_ON_FOUND_RESTING,  /* asked after the doubt, the venue says that it rests */
    TP_ON_NOT_FOUND,      /* asked after its settling time, the venue does not know it */
    TP_ON_COUNT,
};

/* Beside places, what a cell may say. */
enum tp_order_move {
    TP_ORDER_MOVE_NONE = 32,  /* no news: late, or said before */
    TP_ORDER_MOVE_ODD = 33,   /* a contradiction: the place stays, the order is flagged */
    TP_ORDER_MOVE_NEVER = 34, /* our own bug: what was sent is never sent again */
};

/* A place, or an enum tp_order_move. */
uint8_t tp_order_follow(enum tp_order_place from, enum tp_order_event on);
enum tp_order_state tp_order_state_at(enum tp_order_place place);
/* Whether something of it may rest at the venue, now or later: it counts against all limits. */
bool tp_order_is_open(const struct tp_order *order);
/* Whether the venue must be asked. */
bool tp_order_is_unknown(const struct tp_order *order);

/* What was heard, or done. */
struct tp_order_report {
    enum tp_order_event on;
    enum tp_order_reason reason; /* kept where the place changes */
    int64_t filled;              /* of the whole order so far; -1: not said */
    uint64_t paid_low;           /* and what it cost; counts where filled does */
    int64_t paid_high;
    uint64_t now_ns;
    const char *venue_order; /* NULL: not said; ends with its size */
    uint32_t venue_order_size;
};

enum tp_order_news {
    TP_NEWS_NONE = 0,
    TP_NEWS_STATE = 1, /* its place changed */
    TP_NEWS_FILL = 2,  /* filled grew */
    TP_NEWS_ODD = 4,   /* a contradiction */
    TP_NEWS_NAME = 8,  /* the venue's own id became known */
};

/* A new order's place; the caller has filled in what was asked. */
void tp_order_begin(struct tp_order *order, uint64_t now_ns);
/* Applies a report. Returns bits of enum tp_order_news. TP_ON_SENT and TP_ON_UNSENT are the
 * gateway's own: of an order that is not NEW they are its bug, which ends the process. */
uint32_t tp_order_apply(struct tp_order *order, const struct tp_order_report *report);
#endif
