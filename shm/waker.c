/* The loop of waker.h. */
#include "shm/waker.h"

#include <errno.h>
#include <string.h>
#include <sys/prctl.h>

static const uint64_t IDLE_NS = 100000000; /* the longest sleep on the doorbell: the beat's pace */
static const uint64_t REAP_EVERY_NS = 1000000000;

void tp_waker_init(struct tp_waker *waker, const struct tp_segment *segment,
                   struct tp_control *control, uint64_t poll_ns)
{
    memset(waker, 0, sizeof *waker);
    waker->segment = segment;
    waker->control = control;
    waker->poll_ns = poll_ns;
}

static void wake(struct tp_waker *waker, struct tp_control_slot *slot)
{
    if (tp_control_wake(slot))
        atomic_fetch_add_explicit(&waker->wakes, 1, memory_order_relaxed);
}

/* Wakes those for whom there is something; returns whether somebody sleeps on. */
static bool slots_look(struct tp_waker *waker)
{
    bool any_sleeps = false;
    for (uint32_t i = 0; i < TP_CONTROL_SLOT_COUNT; i++) {
        struct tp_control_slot *slot = &waker->control->memory->slot[i];
        /* Pairs with the release store in tp_control_announce_sleep. */
        if (atomic_load_explicit(&slot->wants_wake, memory_order_acquire) == 0)
            continue;
        /* Pairs with the release store of head: who is woken finds the event. */
        const uint64_t head =
            atomic_load_explicit(&waker->segment->live->head, memory_order_acquire);
        if (head > atomic_load_explicit(&slot->sleep_at, memory_order_relaxed))
            wake(waker, slot);
        else
            any_sleeps = true;
    }
    return any_sleeps;
}

void tp_waker_run(struct tp_waker *waker)
{
    struct tp_control_line *line = &waker->control->memory->line;
    uint64_t next_reap_ns = 0;
    (void)prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0); /* 50 us of slack would be most of the latency */
    while (atomic_load_explicit(&waker->stop, memory_order_relaxed) == 0) {
        /* Acquire, and before the look at the slots: pairs with tp_control_ring_doorbell. */
        const uint32_t bell = atomic_load_explicit(&line->doorbell, memory_order_acquire);
        const uint64_t now = tp_clock_now_ns(&waker->control->clock);
        atomic_store_explicit(&line->waker_beat_ns, now, memory_order_relaxed);
        atomic_fetch_add_explicit(&waker->turns, 1, memory_order_relaxed);
        if (now >= next_reap_ns) {
            atomic_fetch_add_explicit(&waker->reaped, tp_control_reap(waker->control),
                                      memory_order_relaxed);
            next_reap_ns = now + REAP_EVERY_NS;
        }
        /* A doorbell that somebody rings without end is heard once in poll_ns. */
        if (slots_look(waker) || tp_control_futex_wait(&line->doorbell, bell, IDLE_NS) == EAGAIN)
            (void)tp_clock_sleep(waker->poll_ns);
    }
    atomic_store_explicit(&line->waker_beat_ns, 0, memory_order_relaxed);
    tp_waker_wake_all(waker);
}

void tp_waker_stop(struct tp_waker *waker)
{
    atomic_store_explicit(&waker->stop, 1, memory_order_relaxed);
    tp_control_ring_doorbell(waker->control);
}

void tp_waker_wake_all(struct tp_waker *waker)
{
    for (uint32_t i = 0; i < TP_CONTROL_SLOT_COUNT; i++)
        wake(waker, &waker->control->memory->slot[i]);
}

uint64_t tp_waker_wakes(const struct tp_waker *waker)
{
    return atomic_load_explicit(&waker->wakes, memory_order_relaxed);
}

uint64_t tp_waker_reaped(const struct tp_waker *waker)
{
    return atomic_load_explicit(&waker->reaped, memory_order_relaxed);
}

uint64_t tp_waker_turns(const struct tp_waker *waker)
{
    return atomic_load_explicit(&waker->turns, memory_order_relaxed);
}
