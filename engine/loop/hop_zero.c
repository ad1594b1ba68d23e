/* How far CLOCK_MONOTONIC and the segment's clock are apart. Cold. */
#include "engine/loop/hop_zero.h"

enum { TRIES = 8 };

struct reading {
    uint64_t ahead_ns, took_ns;
};

/* CLOCK_MONOTONIC between two readings of ours: the closest two of a few, since an interruption
 * between them would count as a difference. */
static struct reading read_both(const struct tp_clock *clock)
{
    struct reading best = {0, UINT64_MAX};
    for (int i = 0; i < TRIES; i++) {
        struct timespec now;
        const uint64_t before_ns = tp_clock_now_ns(clock);
        clock_gettime(CLOCK_MONOTONIC, &now);
        const uint64_t took_ns = tp_clock_now_ns(clock) - before_ns;
        const uint64_t monotonic_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
        if (took_ns < best.took_ns)
            best = (struct reading){monotonic_ns - (before_ns + took_ns / 2), took_ns};
    }
    return best;
}

void tp_hop_zero_follow(struct tp_hop_zero *hop_zero, const struct tp_clock *clock)
{
    if (clock->tsc_base == TP_CLOCK_VIRTUAL)
        return; /* no frame comes at a time of its own */
    const struct reading reading = read_both(clock);
    const uint64_t before_ns = atomic_load_explicit(&hop_zero->ahead_ns, memory_order_relaxed);
    uint64_t parted_ns = 0;
    if (before_ns != 0)
        parted_ns = reading.ahead_ns - before_ns;
    if (parted_ns > UINT64_MAX / 2)
        parted_ns = -parted_ns;
    hop_zero->error_ns = reading.took_ns / 2 + parted_ns;
    /* One nanosecond in place of none, which would say that nothing was measured. */
    const uint64_t ahead_ns = reading.ahead_ns != 0 ? reading.ahead_ns : 1;
    atomic_store_explicit(&hop_zero->ahead_ns, ahead_ns, memory_order_relaxed);
}
