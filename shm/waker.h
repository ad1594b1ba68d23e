/* Wakes consumers that sleep, so that the writer never makes a system call for them.
 *
 * A thread of the writer's process, on a housekeeping core: while somebody sleeps it looks at the
 * ring's head every poll_ns and wakes those who sleep before it; while nobody does it sleeps on the
 * doorbell. No wake-up is lost: a sleeper announces itself before it rings, the waker reads the
 * doorbell before it looks at the slots, and the announcement is withdrawn before FUTEX_WAKE
 * (tests/unit/test_shm_wake_model.py). The control segment is its consumers': values there decide
 * whom to wake and nothing else.
 *
 * Called by: engine/feed_handler/consumers.py, in a thread of its own. */
#ifndef TP_SHM_WAKER_H
#define TP_SHM_WAKER_H
#include "shm/control_segment.h"

enum { TP_WAKER_POLL_NS_DEFAULT = 20 * 1000 };

struct tp_waker {
    const struct tp_segment *segment;
    struct tp_control *control;
    uint64_t poll_ns;
    _Atomic uint32_t stop;
    /* the waker's own; others may look */
    _Atomic uint64_t turns, wakes, reaped;
};

/* Borrows both until tp_waker_run returned. */
void tp_waker_init(struct tp_waker *waker, const struct tp_segment *segment,
                   struct tp_control *control, uint64_t poll_ns);
/* Runs until tp_waker_stop. */
void tp_waker_run(struct tp_waker *waker);
/* From any thread. */
void tp_waker_stop(struct tp_waker *waker);
/* Wakes all who sleep: the segment ends. */
void tp_waker_wake_all(struct tp_waker *waker);
/* Named reads, for counters. */
uint64_t tp_waker_wakes(const struct tp_waker *waker);
uint64_t tp_waker_reaped(const struct tp_waker *waker);
uint64_t tp_waker_turns(const struct tp_waker *waker);
#endif
