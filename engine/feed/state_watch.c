#include "engine/feed/state_watch.h"

#include <string.h>

#include "proto/records.h"

void tp_state_watch_init(struct tp_state_watch *watch, const struct tp_segment *segment)
{
    watch->ring = (struct tp_ring_reader){
        .slots = tp_segment_at(segment, &segment->header.ring),
        .mask = (uint64_t)segment->header.ring.count - 1,
        .head = &segment->live->head,
    };
    (void)tp_ring_resume(&watch->ring);
    watch->ring.lapped = 0;
}

uint32_t tp_state_watch_take(struct tp_state_watch *watch, struct tp_state_change *changes,
                             uint32_t count_max)
{
    uint64_t words[TP_RING_EVENT_WORDS];
    struct tp_event event;
    uint32_t count = 0;
    static_assert(sizeof words == sizeof event, "a ring's slot is an event");
    for (uint64_t i = 0; i <= watch->ring.mask && count < count_max; i++) {
        switch (tp_ring_read(&watch->ring, words)) {
        case TP_RING_EMPTY:
            return count;
        case TP_RING_LAPPED:
            (void)tp_ring_resume(&watch->ring);
            continue;
        case TP_RING_EVENT:
            break;
        }
        memcpy(&event, words, sizeof event);
        if (event.type == TP_EVENT_STATE)
            changes[count++] = (struct tp_state_change){
                .instrument = event.instrument,
                .state = (uint32_t)event.u.state.state,
                .reason = (uint32_t)event.u.state.reason,
                .published_ns = event.published_ns,
            };
    }
    return count;
}
