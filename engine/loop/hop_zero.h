/* Hop zero: when a frame reached the host, in the time of the segment.
 *
 * The XDP program stamps frames by CLOCK_MONOTONIC; everything else of the path goes by the
 * segment's clock (shm/clock.h), a TSC that was calibrated once: 20 ms of measuring leave a few
 * parts in a million, and NTP goes on to bend the other one, so that the two part by microseconds a
 * second. A cold thread therefore measures how far they are apart, again and again
 * (tp_hop_zero_follow), and says how wrong a converted stamp may be: half of what the reading took,
 * and all that they parted since the reading before.
 *
 * Called by: connection_loop.c (the hot thread) and, for the measuring, process.py. */
#ifndef TP_ENGINE_HOP_ZERO_H
#define TP_ENGINE_HOP_ZERO_H
#include <stdatomic.h>
#include <stdint.h>

#include "shm/clock.h"

/* ahead_ns: how far CLOCK_MONOTONIC is ahead of the segment's clock, as a two's complement; 0:
 * nobody measured it, and no stamp is believed. A number by itself, so relaxed. */
struct tp_hop_zero {
    _Atomic uint64_t ahead_ns;
    uint64_t error_ns; /* cold thread's: of a converted stamp, at most, if the clocks go on so */
};

/* A frame that came while its burst was being taken is stamped later than the turn's time. */
static const uint64_t TP_HOP_ZERO_LATER_NS_MAX = 1000000;
static const uint64_t TP_HOP_ZERO_AGE_NS_MAX = 10000000000;

/* Cold thread, every now and then. */
void tp_hop_zero_follow(struct tp_hop_zero *hop_zero, const struct tp_clock *clock);

/* A frame's stamp (0: it has none) in the segment's time; 0: not known. now_ns: the turn's time, at
 * which the frame left the queue. */
static inline uint64_t tp_hop_zero_of(const struct tp_hop_zero *hop_zero, uint64_t stamp_ns,
                                      uint64_t now_ns)
{
    const uint64_t ahead_ns = atomic_load_explicit(&hop_zero->ahead_ns, memory_order_relaxed);
    if (stamp_ns == 0 || ahead_ns == 0)
        return 0;
    const uint64_t arrived_ns = stamp_ns - ahead_ns;
    if (now_ns - arrived_ns <= TP_HOP_ZERO_AGE_NS_MAX)
        return arrived_ns;
    return arrived_ns - now_ns <= TP_HOP_ZERO_LATER_NS_MAX ? now_ns : 0;
}
#endif
