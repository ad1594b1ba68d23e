/* A link that wraps another one and loses, duplicates, corrupts, delays and reorders its frames.
 *
 * Deterministic: the faults depend only on the seed and on the order of calls, time only on
 * tp_fault_injector_advance. One thread. Implements link.h; wraps any link; called by tests and
 * netstack/netif.c. Nothing is allocated after create. */
#ifndef TP_NETSTACK_FAULT_INJECTOR_H
#define TP_NETSTACK_FAULT_INJECTOR_H
#include <stdint.h>

#include "netstack/link/link.h"

enum { TP_FAULT_CERTAIN = 1000000 }; /* probabilities count in millionths */

struct tp_fault_profile { /* of one direction; all zero: frames pass untouched */
    uint32_t loss, duplicate, corrupt, reorder; /* each 0 .. TP_FAULT_CERTAIN, independent */
    uint64_t delay_ns;                          /* every frame */
    uint64_t delay_jitter_ns;  /* plus 0 .. this, uniform: reorders where it exceeds the spacing */
    uint64_t reorder_delay_ns; /* plus this for a reordered frame: later ones overtake it */
};

struct tp_fault_config {
    uint64_t seed;
    uint32_t frame_count; /* frames held per direction (bandwidth times delay); at most 65536 */
    uint32_t frame_size;  /* larger ones are dropped as overflowed; 0: the inner tx_frame_size */
    struct tp_fault_profile rx, tx; /* rx: towards us */
};

struct tp_fault_counters { /* of both directions */
    uint64_t lost, duplicated, corrupted, reordered;
    uint64_t overflowed; /* due frames that found the inner link full, or no frame to hold them */
};

struct tp_fault_injector;

/* inner is borrowed for the life of the injector. NULL when config is out of range or memory is
 * short. Time starts at 0. */
struct tp_fault_injector *tp_fault_injector_create(struct tp_link *inner,
                                                   const struct tp_fault_config *config);
void tp_fault_injector_destroy(struct tp_fault_injector *injector);

/* The faulty link. */
struct tp_link *tp_fault_injector_link(struct tp_fault_injector *injector);

/* Sets the time, which never goes back, and sends what became due. Call it before rx_burst. */
void tp_fault_injector_advance(struct tp_fault_injector *injector, uint64_t now_ns);

/* When the next held frame becomes due in either direction; UINT64_MAX: none is held. */
uint64_t tp_fault_injector_deadline(const struct tp_fault_injector *injector);

/* Replaces the faults from now on: frames already held keep their times. */
void tp_fault_injector_set_profiles(struct tp_fault_injector *injector,
                                    const struct tp_fault_profile *rx,
                                    const struct tp_fault_profile *tx);

const struct tp_fault_counters *
tp_fault_injector_counters(const struct tp_fault_injector *injector);
#endif
