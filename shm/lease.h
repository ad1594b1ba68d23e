/* Memory that several threads use and one of them takes away: who uses it holds a lease meanwhile,
 * who takes it away (to close, or to put other memory in its place) waits until all leases are
 * back.
 *
 *   tp_lease_enter, use the memory, tp_lease_leave         a hot call: about 1 ns
 *   tp_lease_change, replace the memory, tp_lease_changed   cold
 *   tp_lease_close, unmap, tp_lease_closed                  cold; tp_lease_enter refuses from then
 * on
 *
 * The thread that enters first is favoured. Its lease is a plain store, because who takes away runs
 * the fence for both by membarrier(2); two locked operations would cost a poll 15 ns, as much as
 * all else that it does. Other threads count themselves in. Where the kernel has no membarrier,
 * all do.
 *
 * A lease is not nested, not upgraded to a change, and not held over a fork: the child has no
 * thread but its own, so nothing is waited for there. A signal handler may tp_lease_try.
 *
 * Called by: shm/segment_reader.c and its neighbours. Proof: tests/unit/test_shm_lease_model.py,
 * tests/proofs/test_thread_sanitizer.py. */
#ifndef TP_SHM_LEASE_H
#define TP_SHM_LEASE_H
#include "shm/atomic.h"
#include <stdbool.h>
#include <stdint.h>
#if !defined(__x86_64__)
#include <pthread.h>
#endif

enum tp_lease_state {
    TP_LEASE_CLOSED = 0, /* also: never opened */
    TP_LEASE_OPEN = 1,
    TP_LEASE_CHANGING = 2, /* somebody waits for all leases, or has the memory alone */
};

struct tp_lease {
    _Atomic uint32_t state;
    _Atomic uint32_t is_held; /* by the favoured thread */
    _Atomic uint32_t count;   /* held by all other threads */
    _Atomic uint32_t is_closing;
    _Atomic uintptr_t favoured; /* tp_lease_self; 0: none yet */
    bool has_membarrier;
    int pid;
};

/* Opens it; no other thread knows of it yet. */
void tp_lease_open(struct tp_lease *lease);
bool tp_lease_enter_slow(struct tp_lease *lease);
/* As tp_lease_enter, without a wait: false while somebody changes it. Async-signal-safe. */
bool tp_lease_try(struct tp_lease *lease);
/* Gives back what tp_lease_try took. */
void tp_lease_untry(struct tp_lease *lease);

/* Called again and again while leases are out: ends the sleep of who holds one. */
typedef void tp_lease_wake(void *context);
/* The caller has the memory alone from here to tp_lease_changed. False: it is closed. */
bool tp_lease_change(struct tp_lease *lease, tp_lease_wake *wake, void *context);
void tp_lease_changed(struct tp_lease *lease);
/* As tp_lease_change, for the last time. False: it is closed already. */
bool tp_lease_close(struct tp_lease *lease, tp_lease_wake *wake, void *context);
void tp_lease_closed(struct tp_lease *lease);

/* Somebody waits for the caller's lease: give it back soon. */
static inline bool tp_lease_is_wanted(const struct tp_lease *lease)
{
    return atomic_load_explicit(&lease->state, memory_order_relaxed) != TP_LEASE_OPEN;
}

/* For a change that waits itself: somebody wants to close. */
static inline bool tp_lease_is_closing(const struct tp_lease *lease)
{
    return atomic_load_explicit(&lease->is_closing, memory_order_relaxed) != 0;
}

/* What no other living thread has. */
static inline uintptr_t tp_lease_self(void)
{
#if defined(__x86_64__)
    uintptr_t self; /* x86-64 psABI: the word at the thread pointer is the thread pointer */
    __asm__("mov %%fs:0, %0" : "=r"(self));
    return self;
#else
    return (uintptr_t)pthread_self();
#endif
}

static inline bool tp_lease_is_favoured(const struct tp_lease *lease)
{
    return atomic_load_explicit(&lease->favoured, memory_order_relaxed) == tp_lease_self();
}

/* False: it is closed. Waits while it is being changed. */
static inline bool tp_lease_enter(struct tp_lease *lease)
{
    if (!tp_lease_is_favoured(lease))
        return tp_lease_enter_slow(lease);
    atomic_store_explicit(&lease->is_held, 1, memory_order_relaxed);
    /* Keeps the compiler from loading the state first; that the processor does not is the
     * membarrier's part, in leases_await: either it finds is_held, or this finds CHANGING. */
    atomic_signal_fence(memory_order_seq_cst);
    /* Acquire: pairs with the release store in tp_lease_changed. */
    if (atomic_load_explicit(&lease->state, memory_order_acquire) == TP_LEASE_OPEN)
        return true;
    return tp_lease_enter_slow(lease);
}

static inline void tp_lease_leave(struct tp_lease *lease)
{
    /* Release, both: pair with the acquire loads in leases_await, after which the memory goes. */
    if (tp_lease_is_favoured(lease))
        atomic_store_explicit(&lease->is_held, 0, memory_order_release);
    else
        atomic_fetch_sub_explicit(&lease->count, 1, memory_order_release);
}
#endif
