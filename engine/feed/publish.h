/* One change of one book into shared memory: the snapshot first, then its events.
 *
 * Order within a change: snapshot (whose ring_index already counts the events that follow),
 * INSTRUMENT if its row changed, STATE if the book stops being LIVE, CLEAR if it was replaced,
 * LEVELs, STATE if it becomes LIVE, TOP. So no level is ever read under a better state than it
 * deserves, and TOP ends every message. */
#ifndef TP_ENGINE_PUBLISH_H
#define TP_ENGINE_PUBLISH_H
#include "engine/feed/feed_parts.h"

/* The word-wise writer of the ring reads events as uint64_t: a union keeps that defined. */
union feed_event {
    struct tp_event event;
    uint64_t words[TP_RING_EVENT_WORDS];
};

struct feed_change {
    uint32_t instrument;
    enum tp_row_change row_change; /* 0: its row is as it was */
    bool state_changed;
    bool cleared;                         /* the book was replaced */
    bool top;                             /* a message or a base: TOP at the end */
    bool compared, equal;                 /* a quiet book, with the venue's */
    const struct tp_depth_update *update; /* whose levels to publish; NULL: none */
    uint64_t received_ns, decoded_ns;
    uint64_t before_ns; /* when the instrument's message before it came; 0: not known */
};
/* When the message in hand reached the host, as records say it, and their flag of that; taken_ns:
 * when it left the NIC queue. */
struct feed_arrived {
    uint64_t received_ns;
    uint8_t flags;
};
static inline struct feed_arrived feed_arrived(const struct tp_feed *feed, uint64_t taken_ns)
{
    const uint64_t arrived_ns = feed->arrived_ns;
    return arrived_ns == 0 ? (struct feed_arrived){taken_ns, 0}
                           : (struct feed_arrived){arrived_ns, TP_EVENT_HOP_ZERO};
}
/* Stores a record into the cell that tp_snapshot_begin gave: the head, which the caller filled but
 * for the counts, and up to depth levels a side, each once, in its place. */
void feed_record_share(const struct tp_book *book, uint32_t depth, union feed_record *head,
                       _Atomic uint64_t *word);
/* STATUS: what the venue says of its trading. */
void feed_publish_status(struct tp_feed *feed, uint32_t instrument,
                         enum tp_instrument_status status, uint64_t exchange_ns, uint64_t now_ns);
void feed_publish(struct tp_feed *feed, const struct feed_change *change);
#endif
