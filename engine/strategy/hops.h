/* Two hops that only a strategy can measure: from the frame's arrival, and from its publication,
 * to the moment that the strategy holds the event.
 *
 * Called by: engine/strategy/runtime.py, once per TOP event just before the user's code. Strategy
 * thread. The words of an event are those of struct tp_event (proto/records.h). */
#ifndef TP_ENGINE_STRATEGY_HOPS_H
#define TP_ENGINE_STRATEGY_HOPS_H
#include "proto/records.h"
#include "shm/histogram.h"
#include "shm/segment_reader.h"

struct tp_strategy_hops {
    const struct tp_reader *reader;
    struct tp_histogram *received_to_seen, *published_to_seen;
};

enum { TP_STRATEGY_RECEIVED_WORD = 2, TP_STRATEGY_PUBLISHED_WORD = 3 };
static_assert(offsetof(struct tp_event, received_ns) == 8 * (TP_STRATEGY_RECEIVED_WORD - 1),
              "word 0 of the reader's event is its ring index");
static_assert(offsetof(struct tp_event, published_ns) == 8 * (TP_STRATEGY_PUBLISHED_WORD - 1),
              "word 0 of the reader's event is its ring index");

/* A stamp of 0 (an event that no frame caused) is left out. */
static inline void tp_strategy_hops_record(const struct tp_strategy_hops *hops)
{
    const uint64_t now = tp_clock_now_ns(&hops->reader->clock);
    const uint64_t received = hops->reader->event[TP_STRATEGY_RECEIVED_WORD];
    const uint64_t published = hops->reader->event[TP_STRATEGY_PUBLISHED_WORD];
    if (received != 0)
        tp_histogram_record(hops->received_to_seen, now > received ? now - received : 0);
    if (published != 0)
        tp_histogram_record(hops->published_to_seen, now > published ? now - published : 0);
}
#endif
