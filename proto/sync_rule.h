/* How a venue's messages keep a book whole, as data: what engine/feed/sync.c judges by.
 *
 * Each venue's folder has a rule a kind of channel; tests/unit/feed/test_feed_rule.py has a row for
 * every venue that we know of, with the sentence of its documents beside it. */
#ifndef TP_PROTO_SYNC_RULE_H
#define TP_PROTO_SYNC_RULE_H
#include <stdbool.h>
#include <stdint.h>

/* How a message says that it follows the one before it. */
enum tp_chain {
    TP_CHAIN_NONE = 0,     /* nothing is numbered: each message is the newest (whole books), or a
                              checksum says that one was lost */
    TP_CHAIN_RANGE = 1,    /* first number == last number before + 1 */
    TP_CHAIN_PLUS_ONE = 2, /* one number a message, one more each time: a range of one */
    TP_CHAIN_PREVIOUS = 3, /* names the last number before it */
};

/* Where a base comes from. */
enum tp_base_source {
    TP_BASE_REST = 0,
    TP_BASE_IN_BAND = 1, /* the subscription begins with it; another is had by subscribing anew */
    TP_BASE_REQUEST = 2, /* asked for on the same socket; messages are kept until it comes */
};

/* How the first message after a base must meet it. */
enum tp_meeting {
    TP_MEETING_CHAINS = 0, /* as every later message follows the one before */
    TP_MEETING_COVERS = 1, /* it may also begin before the base: absolute levels, so all of it
                              holds */
};

/* Numbers that go back. */
enum tp_restart {
    TP_RESTART_NEVER = 0,   /* a lower number is an old message, or a base */
    TP_RESTART_CHAINED = 1, /* a message that names our last number and has a lower one of its own
                               follows: the venue began to count anew */
    TP_RESTART_ZERO = 2,    /* a message whose previous number is 0 ends the chain: a new base */
};

/* What a message's checksum is of. */
enum tp_checksum {
    TP_CHECKSUM_NONE = 0,
    TP_CHECKSUM_TEN = 1,         /* CRC-32 of ten levels a side, asks first, digits only */
    TP_CHECKSUM_TWENTY_FIVE = 2, /* CRC-32 of 25 levels a side in turn, as text: no venue that we
                                    know of sends a live one, and the feed refuses the rule */
};

/* How a message is known that another connection of ours brought already: what lets several
 * connections carry one book (engine/feed/race.c). */
enum tp_copies {
    TP_COPIES_UNKNOWN = 0,   /* nothing says so: not numbered, or numbered by the connection */
    TP_COPIES_BY_NUMBER = 1, /* the chain's numbers are the book's, the same on each connection */
};

struct tp_sync_rule {
    uint8_t chain;          /* enum tp_chain */
    uint8_t base;           /* enum tp_base_source */
    uint8_t meeting;        /* enum tp_meeting */
    uint8_t restart;        /* enum tp_restart */
    uint8_t checksum;       /* enum tp_checksum */
    uint8_t copies;         /* enum tp_copies */
    bool may_overlap;       /* later messages too may begin before the book's number */
    bool in_band_base;      /* a base may come at any time, unasked, and replaces the book */
    bool unchanged;         /* a message may say "nothing changed": it names our number twice */
    bool counts_connection; /* the venue numbers all messages of a connection, one more each: a
                               hole costs every book of the connection its place */
    bool must_truncate;     /* the venue keeps `depth` levels and does not say what falls out */
    uint16_t depth;         /* levels a side that the channel keeps; 0: the whole book */
};
#endif
