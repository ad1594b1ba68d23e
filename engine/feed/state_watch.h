/* The changes of state among a feed's events, for the log of its cold thread.
 *
 * It reads the ring as any reader does, in the writer's own mapping: the hot thread does nothing
 * for it. Called by: engine/feed_handler/state_log.py, on the cold thread. Calls:
 * shm/broadcast_ring.h. */
#ifndef TP_ENGINE_STATE_WATCH_H
#define TP_ENGINE_STATE_WATCH_H
#include <stdbool.h>
#include <stdint.h>

#include "shm/segment.h"

struct tp_state_change {
    uint32_t instrument;
    uint32_t state, reason; /* enum tp_book_state, enum tp_sync_reason */
    uint64_t published_ns;
};

struct tp_state_watch {
    struct tp_ring_reader ring; /* ring.lapped: events that it did not see */
};

/* Stands at the ring's head. Borrows the segment. */
void tp_state_watch_init(struct tp_state_watch *watch, const struct tp_segment *segment);
/* Reads on, at most one ring's events, and returns how many changes it stored. */
uint32_t tp_state_watch_take(struct tp_state_watch *watch, struct tp_state_change *changes,
                             uint32_t count_max);
/* What shared memory says of an instrument now. False: nothing yet. */
bool tp_state_watch_now(const struct tp_segment *segment, uint32_t instrument,
                        struct tp_state_change *out);
#endif
