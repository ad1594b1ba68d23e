/* A log-linear histogram of nanoseconds in shared memory: one writer records in O(1), any process
 * reads percentiles from the buckets.
 *
 * Values below 64 have a bucket each; every octave above has 32 buckets, so that a bucket is at
 * most 1/32 of its value wide (the midpoint is within 1.6 %). Values of 2^36 ns (68 s) and more
 * fall into the last bucket; max keeps the exact one.
 *
 * Called by: the hot path and strategies (record), shm/histogram.py (percentiles). Stores are
 * relaxed atomics of one writer: a reader may see a count ahead of its bucket by one. */
#ifndef TP_SHM_HISTOGRAM_H
#define TP_SHM_HISTOGRAM_H
#include "shm/atomic.h"
#include <stdint.h>

enum {
    TP_HISTOGRAM_OCTAVE_BITS = 5, /* 32 buckets an octave */
    TP_HISTOGRAM_VALUE_BITS = 36,
    TP_HISTOGRAM_BUCKET_COUNT = (TP_HISTOGRAM_VALUE_BITS - TP_HISTOGRAM_OCTAVE_BITS + 1)
                                << TP_HISTOGRAM_OCTAVE_BITS,
};

struct tp_histogram {
    _Atomic uint64_t count;
    _Atomic uint64_t sum;
    _Atomic uint64_t min_complement; /* ~min, so that zeroed memory is an empty histogram */
    _Atomic uint64_t max;
    uint64_t reserved[4];
    _Atomic uint64_t bucket[TP_HISTOGRAM_BUCKET_COUNT];
};

static inline uint32_t tp_histogram_bucket(uint64_t ns)
{
    const uint64_t limit = UINT64_C(1) << TP_HISTOGRAM_VALUE_BITS;
    const uint64_t value = ns < limit ? ns : limit - 1;
    if (value < (UINT64_C(2) << TP_HISTOGRAM_OCTAVE_BITS))
        return (uint32_t)value;
    const uint32_t shift = 63u - (uint32_t)__builtin_clzll(value) - TP_HISTOGRAM_OCTAVE_BITS;
    return (shift << TP_HISTOGRAM_OCTAVE_BITS) + (uint32_t)(value >> shift);
}

/* A load and a store, not an atomic addition: there is one writer, and lock prefixes cost 20
 * cycles each. */
static inline void tp_histogram_add(_Atomic uint64_t *word, uint64_t amount)
{
    atomic_store_explicit(word, atomic_load_explicit(word, memory_order_relaxed) + amount,
                          memory_order_relaxed);
}

static inline void tp_histogram_record(struct tp_histogram *histogram, uint64_t ns)
{
    tp_histogram_add(&histogram->bucket[tp_histogram_bucket(ns)], 1);
    tp_histogram_add(&histogram->sum, ns);
    if (ns > atomic_load_explicit(&histogram->max, memory_order_relaxed))
        atomic_store_explicit(&histogram->max, ns, memory_order_relaxed);
    if (~ns > atomic_load_explicit(&histogram->min_complement, memory_order_relaxed))
        atomic_store_explicit(&histogram->min_complement, ~ns, memory_order_relaxed);
    tp_histogram_add(&histogram->count, 1);
}
#endif
