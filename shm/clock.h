/* The one clock of a segment: TSC scaled to nanoseconds of CLOCK_MONOTONIC, a calibrated pair that
 * the writer stores in the segment's header, so that every process reads the same time.
 *
 * Read with one rdtsc and one multiplication (about 10 ns); clock_gettime where the TSC is not
 * constant or the machine is not x86-64 (mult == 0). */
#ifndef TP_SHM_CLOCK_H
#define TP_SHM_CLOCK_H
#include <stdbool.h>
#include <stdint.h>
#include <time.h>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

struct tp_clock {
    uint64_t tsc_base; /* TSC when calibrated */
    uint64_t ns_base;  /* CLOCK_MONOTONIC at that moment */
    uint64_t mult;     /* ns = ns_base + ((tsc - tsc_base) * mult >> 32); 0: use clock_gettime */
    uint64_t realtime_offset_ns; /* CLOCK_REALTIME - CLOCK_MONOTONIC when calibrated */
};

/* tsc_base of a clock whose time is what its owner last stored in ns_base (mult is 0): a replay's.
 */
static const uint64_t TP_CLOCK_VIRTUAL = UINT64_MAX;

/* Measures for about 20 ms. */
void tp_clock_calibrate(struct tp_clock *clock);

/* Sleeps once; false: a signal ended it early. */
bool tp_clock_sleep(uint64_t duration_ns);

static inline uint64_t tp_clock_now_ns(const struct tp_clock *clock)
{
#if defined(__x86_64__)
    if (clock->mult != 0) {
        __extension__ typedef unsigned __int128 tp_u128;
        return clock->ns_base +
               (uint64_t)(((tp_u128)(__rdtsc() - clock->tsc_base) * clock->mult) >> 32);
    }
#endif
    if (clock->tsc_base == TP_CLOCK_VIRTUAL)
        return clock->ns_base;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
#endif
