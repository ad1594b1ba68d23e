/* The cold half of lease.h. */
#include "shm/lease.h"

#include <assert.h>
#include <linux/membarrier.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Not a spin: who is waited for may need this CPU. */
static void pause_briefly(void)
{
    const struct timespec pause = {0, 20000};
    (void)nanosleep(&pause, NULL);
}

static bool membarrier(int command)
{
    return syscall(SYS_membarrier, command, 0, 0) == 0;
}

void tp_lease_open(struct tp_lease *lease)
{
    memset(lease, 0, sizeof *lease);
    lease->pid = getpid();
    /* Once for the process would do; it is idempotent, and cheap after the first time. */
    lease->has_membarrier = membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
    atomic_store_explicit(&lease->state, TP_LEASE_OPEN, memory_order_release);
}

/* The first one is favoured for good: a favour that moved would need the wait of a change. A later
 * thread that the system gives the same mark comes after that one's end. */
static void favour(struct tp_lease *lease)
{
    uintptr_t none = 0;
    if (lease->has_membarrier)
        (void)atomic_compare_exchange_strong_explicit(&lease->favoured, &none, tp_lease_self(),
                                                      memory_order_relaxed, memory_order_relaxed);
}

bool tp_lease_try(struct tp_lease *lease)
{
    /* Sequentially consistent, as the change of state in lease_take: one of the two sees the
     * other. */
    atomic_fetch_add_explicit(&lease->count, 1, memory_order_seq_cst);
    if (atomic_load_explicit(&lease->state, memory_order_seq_cst) == TP_LEASE_OPEN)
        return true;
    tp_lease_untry(lease);
    return false;
}

void tp_lease_untry(struct tp_lease *lease)
{
    /* Release: pairs with the acquire load in leases_await. */
    atomic_fetch_sub_explicit(&lease->count, 1, memory_order_release);
}

bool tp_lease_enter_slow(struct tp_lease *lease)
{
    if (atomic_load_explicit(&lease->favoured, memory_order_relaxed) == 0)
        favour(lease);
    for (;;) { /* ends with the other's change */
        if (!tp_lease_is_favoured(lease)) {
            if (tp_lease_try(lease))
                return true;
        } else {
            /* As in tp_lease_enter; cold here, so that the fence may be a real one. */
            atomic_store_explicit(&lease->is_held, 1, memory_order_seq_cst);
            if (atomic_load_explicit(&lease->state, memory_order_seq_cst) == TP_LEASE_OPEN)
                return true;
            atomic_store_explicit(&lease->is_held, 0, memory_order_release);
        }
        if (atomic_load_explicit(&lease->state, memory_order_relaxed) == TP_LEASE_CLOSED)
            return false;
        pause_briefly();
    }
}

static void leases_await(struct tp_lease *lease, tp_lease_wake *wake, void *context)
{
    if (getpid() != lease->pid)
        return; /* of a fork: the threads that held leases are not here */
    const bool has_fence = !lease->has_membarrier || membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
    assert(has_fence);
    (void)has_fence;
    /* Acquire at least, both: pair with the release stores in tp_lease_leave. The count is read
     * sequentially consistent, since an acquire load may pass the store of CHANGING before it, on
     * a machine of weak order, while tp_lease_try passes us: this load and its load of the state
     * are the two of which one sees the other. */
    while (atomic_load_explicit(&lease->is_held, memory_order_acquire) != 0 ||
           atomic_load_explicit(&lease->count, memory_order_seq_cst) != 0) {
        wake(context); /* again: it may have been too early for one that was about to sleep */
        pause_briefly();
    }
}

static bool lease_take(struct tp_lease *lease, tp_lease_wake *wake, void *context)
{
    uint32_t state = TP_LEASE_OPEN;
    while (!atomic_compare_exchange_strong_explicit(&lease->state, &state, TP_LEASE_CHANGING,
                                                    memory_order_seq_cst, memory_order_acquire)) {
        if (state == TP_LEASE_CLOSED)
            return false;
        state = TP_LEASE_OPEN;
        pause_briefly(); /* ends with the other's change */
    }
    leases_await(lease, wake, context);
    return true;
}

bool tp_lease_change(struct tp_lease *lease, tp_lease_wake *wake, void *context)
{
    return lease_take(lease, wake, context);
}

void tp_lease_changed(struct tp_lease *lease)
{
    /* Pairs with the acquire load in tp_lease_enter. */
    atomic_store_explicit(&lease->state, TP_LEASE_OPEN, memory_order_release);
}

bool tp_lease_close(struct tp_lease *lease, tp_lease_wake *wake, void *context)
{
    atomic_store_explicit(&lease->is_closing, 1, memory_order_relaxed);
    return lease_take(lease, wake, context);
}

void tp_lease_closed(struct tp_lease *lease)
{
    atomic_store_explicit(&lease->state, TP_LEASE_CLOSED, memory_order_release);
}
