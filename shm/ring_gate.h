/* Lossless consumers: the writer waits for their cursors, for a deadline, then no longer.
 *
 * `limit` is the first event that must not be published yet. It is the writer's own word: without
 * lossless consumers it is UINT64_MAX and a message costs one comparison, no atomic load at all.
 * Only where it is reached does the writer read the cursors, which consumers may have filled with
 * anything: a cursor ahead of the ring is a lie and its consumer is evicted. Whatever the others
 * do, all of them together hold the writer for deadline_ns a second at most, the second counted
 * from a first wait; then whoever is in the way is evicted, and its slot not accepted as lossless
 * for a second.
 *
 * Called by: engine/feed/publish.c (pass), engine/feed_handler/hot_path.c (tick). The hot thread;
 * no system call. */
#ifndef TP_SHM_RING_GATE_H
#define TP_SHM_RING_GATE_H
#include "shm/control_segment.h"

struct tp_ring_gate_member {
    uint64_t owner; /* 0: not waited for */
    uint64_t refused_until_ns;
};

struct tp_ring_gate_counters {
    uint64_t waits, held_ns, evictions, impossible_cursors;
};

struct tp_ring_gate {
    uint64_t limit;
    const struct tp_ring_writer *ring;
    struct tp_control *control;
    struct tp_clock clock;
    uint64_t deadline_ns;
    uint64_t held_ns, held_since_ns; /* of the present second, and its first wait */
    uint64_t next_look_ns;
    uint32_t registrations_seen, member_count;
    bool is_refusing; /* a slot must be looked at again though nothing moved */
    struct tp_ring_gate_counters counters;
    struct tp_ring_gate_member member[TP_CONTROL_SLOT_COUNT];
};

/* Borrows ring and control. deadline_ns 0: nobody is ever waited for. */
void tp_ring_gate_init(struct tp_ring_gate *gate, const struct tp_ring_writer *ring,
                       struct tp_control *control, uint64_t deadline_ns);
/* Every few hundred microseconds: takes note of who came and went. */
void tp_ring_gate_tick(struct tp_ring_gate *gate, uint64_t now_ns);
/* Waits until `count` events fit, or the deadline is over. */
void tp_ring_gate_wait(struct tp_ring_gate *gate, uint64_t count);

/* Before publishing `count` events; gate may be NULL. A message larger than the ring cannot be
 * waited for: the gate keeps what it can. */
static inline void tp_ring_gate_pass(struct tp_ring_gate *gate, uint64_t count)
{
    if (gate != NULL && gate->limit != UINT64_MAX && gate->ring->next + count > gate->limit)
        tp_ring_gate_wait(gate, count);
}
#endif
