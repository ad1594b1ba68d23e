/* See handshake_worker.h. */
#include "netstack/tls/handshake_worker.h"

#include <assert.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "netstack/tls/handover.h"

/* Filled by any thread, vacated by the worker only. */
typedef _Atomic(struct tp_tls_handover *) slot_type;

struct tp_tls_handshake_worker {
    slot_type slot[TP_TLS_HANDSHAKE_WORKER_MAX];
    _Atomic uint32_t word;    /* the futex; counts wake-ups */
    _Atomic uint32_t pending; /* work was noted that no wake-up followed yet */
    _Atomic uint32_t stop;
    _Atomic uint64_t works;
};

struct tp_tls_handshake_worker *tp_tls_handshake_worker_new(void)
{
    return calloc(1, sizeof(struct tp_tls_handshake_worker));
}

bool tp_tls_handshake_worker_add(struct tp_tls_handshake_worker *worker,
                                 struct tp_tls_handover *handover)
{
    for (uint32_t i = 0; i < TP_TLS_HANDSHAKE_WORKER_MAX; i++) {
        struct tp_tls_handover *none = NULL;
        /* Pairs with the acquire in look. */
        if (atomic_compare_exchange_strong_explicit(&worker->slot[i], &none, handover,
                                                    memory_order_release, memory_order_relaxed))
            return true;
    }
    return false;
}

void tp_tls_handshake_worker_note(struct tp_tls_handshake_worker *worker)
{
    /* Pairs with the exchange in wake: who wakes has seen what is wanted. */
    atomic_store_explicit(&worker->pending, 1, memory_order_release);
}

static void wake_now(struct tp_tls_handshake_worker *worker)
{
    /* Pairs with the acquire in run. */
    atomic_fetch_add_explicit(&worker->word, 1, memory_order_release);
    (void)syscall(SYS_futex, &worker->word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

void tp_tls_handshake_worker_wake(struct tp_tls_handshake_worker *worker)
{
    /* The load alone where there is nothing: an exchange would take the line each time. */
    if (atomic_load_explicit(&worker->pending, memory_order_relaxed) != 0 &&
        atomic_exchange_explicit(&worker->pending, 0, memory_order_acq_rel) != 0)
        wake_now(worker);
}

void tp_tls_handshake_worker_stop(struct tp_tls_handshake_worker *worker)
{
    atomic_store_explicit(&worker->stop, 1, memory_order_relaxed);
    wake_now(worker);
}

/* Looks at one slot; whether there was anything to do. */
static bool look(slot_type *slot)
{
    /* Pairs with the release in add. */
    struct tp_tls_handover *handover = atomic_load_explicit(slot, memory_order_acquire);
    if (handover == NULL)
        return false;
    const uint32_t seen = atomic_load_explicit(&handover->state, memory_order_relaxed);
    if (seen != TP_TLS_HANDOVER_WANTED && seen != TP_TLS_HANDOVER_ABANDONED)
        return false;
    /* The acquire of its moves pairs with the release of what the hot side did. */
    const enum tp_tls_handover_state state = tp_tls_handshake_work(handover);
    if (state == TP_TLS_HANDOVER_IDLE)
        return true;
    if (state == TP_TLS_HANDOVER_ABANDONED)
        tp_tls_handover_destroy(handover);
    /* Relaxed: only this thread vacates a slot, and who finds it free writes it anew. */
    atomic_store_explicit(slot, NULL, memory_order_relaxed);
    return true;
}

bool tp_tls_handshake_worker_step(struct tp_tls_handshake_worker *worker)
{
    uint64_t works = 0;
    for (uint32_t i = 0; i < TP_TLS_HANDSHAKE_WORKER_MAX; i++)
        works += look(&worker->slot[i]);
    atomic_fetch_add_explicit(&worker->works, works, memory_order_relaxed);
    return works != 0;
}

void tp_tls_handshake_worker_run(struct tp_tls_handshake_worker *worker)
{
    while (atomic_load_explicit(&worker->stop, memory_order_relaxed) == 0) {
        /* Before the look. Pairs with the release in wake_now: who changed the word had noted its
         * work, so that either the look finds it or the futex does not wait. */
        const uint32_t seen = atomic_load_explicit(&worker->word, memory_order_acquire);
        if (!tp_tls_handshake_worker_step(worker) &&
            atomic_load_explicit(&worker->stop, memory_order_relaxed) == 0)
            (void)syscall(SYS_futex, &worker->word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
    }
}

uint64_t tp_tls_handshake_worker_works(const struct tp_tls_handshake_worker *worker)
{
    return atomic_load_explicit(&worker->works, memory_order_relaxed);
}

void tp_tls_handshake_worker_free(struct tp_tls_handshake_worker *worker)
{
    if (worker == NULL)
        return;
    (void)tp_tls_handshake_worker_step(worker); /* frees what was abandoned since */
    for (uint32_t i = 0; i < TP_TLS_HANDSHAKE_WORKER_MAX; i++)
        assert(atomic_load_explicit(&worker->slot[i], memory_order_relaxed) == NULL);
    free(worker);
}
