/* Calibrates the TSC against CLOCK_MONOTONIC.
 *
 * Called by: shm/segment.c when the writer builds a segment, tests. Cold. Any thread. */
#include "shm/clock.h"

#include <stdbool.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

enum {
    TP_CLOCK_CALIBRATION_NS = 20 * 1000 * 1000,
    TP_CLOCK_PAIR_TRIES = 16,
};

static uint64_t clock_ns(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

#if defined(__x86_64__)
/* CPUID leaf 0x80000007, EDX bit 8: the TSC runs at one rate in all power states. */
static bool tsc_is_invariant(void)
{
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    return __get_cpuid(0x80000007u, &eax, &ebx, &ecx, &edx) != 0 && (edx & (1u << 8)) != 0;
}

struct clock_pair {
    uint64_t tsc, ns;
};

/* The pair whose two TSC readings lie closest: an interrupt between them would skew the rate. */
static struct clock_pair clock_pair_read(void)
{
    struct clock_pair best = {0, 0};
    uint64_t best_width = UINT64_MAX;
    for (int i = 0; i < TP_CLOCK_PAIR_TRIES; i++) {
        const uint64_t before = __rdtsc();
        const uint64_t ns = clock_ns(CLOCK_MONOTONIC);
        const uint64_t width = __rdtsc() - before;
        if (width < best_width) {
            best_width = width;
            best = (struct clock_pair){before + width / 2, ns};
        }
    }
    return best;
}
#endif

void tp_clock_calibrate(struct tp_clock *clock)
{
    *clock = (struct tp_clock){0, clock_ns(CLOCK_MONOTONIC), 0, 0};
    clock->realtime_offset_ns = clock_ns(CLOCK_REALTIME) - clock->ns_base;
#if defined(__x86_64__)
    if (!tsc_is_invariant())
        return;
    const struct clock_pair first = clock_pair_read();
    (void)tp_clock_sleep(TP_CLOCK_CALIBRATION_NS);
    const struct clock_pair last = clock_pair_read();
    if (last.tsc <= first.tsc || last.ns <= first.ns)
        return;
    __extension__ typedef unsigned __int128 tp_u128;
    clock->mult = (uint64_t)(((tp_u128)(last.ns - first.ns) << 32) / (last.tsc - first.tsc));
    clock->tsc_base = last.tsc;
    clock->ns_base = last.ns;
#endif
}

bool tp_clock_sleep(uint64_t duration_ns)
{
    const struct timespec duration = {(time_t)(duration_ns / 1000000000u),
                                      (long)(duration_ns % 1000000000u)};
    return nanosleep(&duration, NULL) == 0;
}
