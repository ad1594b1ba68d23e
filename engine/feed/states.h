/* What becomes of a book besides messages, as a table: its state and an event in, the next state
 * out. Messages that apply lead to LIVE or CROSSED, whichever the levels say, from any state that
 * they are taken in; all else goes by this page.
 *
 * Called by feed_state.c; tests/unit/feed/test_feed_states.py drives a feed through every cell. Hot
 * path's thread. */
#ifndef TP_ENGINE_STATES_H
#define TP_ENGINE_STATES_H
#include <stdint.h>

/* enum tp_book_state, told apart by what STALE comes from. */
enum tp_feed_place {
    TP_PLACE_SYNCING,
    TP_PLACE_LIVE,
    TP_PLACE_CROSSED,
    TP_PLACE_SILENT,  /* STALE: its connection says nothing; the book is whole */
    TP_PLACE_RETIRED, /* STALE: disconnected; its messages do not count */
    TP_PLACE_REFUSED, /* STALE: the venue said no, or nothing; asked again, it may say yes */
    TP_PLACE_HALTED,  /* STALE: the venue does not trade it */
    TP_PLACE_QUIET,   /* STALE: quiet for too long, and not proved; its messages count */
    TP_PLACE_COUNT,
};

enum tp_feed_event {
    TP_FEED_EVENT_UP,          /* its connection opened, or the venue trades it again */
    TP_FEED_EVENT_DOWN,        /* and ended */
    TP_FEED_EVENT_REFUSED,     /* the venue said no to it, or nothing in time */
    TP_FEED_EVENT_SILENCE,     /* its connection fell silent */
    TP_FEED_EVENT_SPEECH,      /* and speaks again */
    TP_FEED_EVENT_BASE,        /* a base was taken, and what was kept since */
    TP_FEED_EVENT_BASE_UNSEEN, /* the same while its connection is silent */
    TP_FEED_EVENT_WAITING,     /* for the venue's yes to its channel; or, with that, for a base */
    TP_FEED_EVENT_LOST,        /* gap, broken message, overflow, crossed for too long */
    TP_FEED_EVENT_HALTED,      /* the venue does not trade it, on a connection that is up */
    TP_FEED_EVENT_UNPROVED,    /* quiet for too long */
    TP_FEED_EVENT_PROVED,      /* still the venue's book */
    TP_FEED_EVENT_COUNT,
};

enum tp_feed_move {
    TP_MOVE_STAY,
    TP_MOVE_SYNCING, /* with the event's own reason, like the next */
    TP_MOVE_STALE,
    TP_MOVE_BY_LEVELS, /* LIVE or CROSSED, whichever the levels say */
};

enum tp_feed_move tp_feed_next(enum tp_feed_place from, enum tp_feed_event on);
#endif
