/* One producer, any number of readers that it never waits for: 64-byte slots, sequence in the slot.
 *
 * Event i (64-bit, never wraps) stands in slot i & (capacity - 1) as {u64 seq; u64 word[7]}:
 * seq 2i+1 while it is written, 2i+2 once it is whole. A reader that was overtaken is told so.
 * Orderings: see tp_ring_publish and tp_ring_read; proved by tests/unit/test_shm_model.py. */
#ifndef TP_SHM_BROADCAST_RING_H
#define TP_SHM_BROADCAST_RING_H
#include "shm/atomic.h"
#include <stdint.h>

enum { TP_RING_EVENT_WORDS = 7, TP_RING_SLOT_SIZE = 64 };

struct tp_ring_slot {
    _Atomic uint64_t sequence;
    _Atomic uint64_t word[TP_RING_EVENT_WORDS];
};

struct tp_ring_writer {
    struct tp_ring_slot *slots;
    uint64_t mask;          /* capacity - 1 */
    uint64_t next;          /* index of the next event */
    _Atomic uint64_t *head; /* in the segment: events published so far */
};

static inline uint64_t tp_ring_publish(struct tp_ring_writer *ring,
                                       const uint64_t event[TP_RING_EVENT_WORDS])
{
    const uint64_t index = ring->next++;
    struct tp_ring_slot *slot = &ring->slots[index & ring->mask];
    atomic_store_explicit(&slot->sequence, 2 * index + 1, memory_order_relaxed);
    /* The odd mark must be seen before any new payload word: pairs with the acquire fence in
     * tp_ring_read. */
    atomic_thread_fence(memory_order_release);
    for (int i = 0; i < TP_RING_EVENT_WORDS; i++)
        atomic_store_explicit(&slot->word[i], event[i], memory_order_relaxed);
    /* Pairs with the acquire load of sequence in tp_ring_read. */
    atomic_store_explicit(&slot->sequence, 2 * index + 2, memory_order_release);
    /* Pairs with the acquire load in tp_ring_resume: a reader that jumps to head finds, in the
     * snapshots, all that was published before it. */
    atomic_store_explicit(ring->head, index + 1, memory_order_release);
    return index;
}

struct tp_ring_reader {
    const struct tp_ring_slot *slots;
    uint64_t mask;
    uint64_t next; /* index of the event to read next */
    const _Atomic uint64_t *head;
    uint64_t lapped; /* events lost so far */
};

enum tp_ring_result { TP_RING_EVENT, TP_RING_EMPTY, TP_RING_LAPPED };

/* TP_RING_EVENT: event[] filled, next advanced. TP_RING_LAPPED: the slot holds a later event;
 * call tp_ring_resume, then read the snapshots. */
static inline enum tp_ring_result tp_ring_read(struct tp_ring_reader *ring,
                                               uint64_t event[TP_RING_EVENT_WORDS])
{
    const uint64_t index = ring->next, whole = 2 * index + 2;
    const struct tp_ring_slot *slot = &ring->slots[index & ring->mask];
    /* Pairs with the release store in tp_ring_publish. */
    const uint64_t before = atomic_load_explicit(&slot->sequence, memory_order_acquire);
    if (before != whole)
        return before < whole ? TP_RING_EMPTY : TP_RING_LAPPED;
    for (int i = 0; i < TP_RING_EVENT_WORDS; i++)
        event[i] = atomic_load_explicit(&slot->word[i], memory_order_relaxed);
    /* Pairs with the release fence in tp_ring_publish: had a payload word been a newer one, the
     * re-check sees the odd mark. */
    atomic_thread_fence(memory_order_acquire);
    if (atomic_load_explicit(&slot->sequence, memory_order_relaxed) != whole)
        return TP_RING_LAPPED;
    ring->next = index + 1;
    return TP_RING_EVENT;
}

/* Jumps to the newest event and returns how many were lost. */
static inline uint64_t tp_ring_resume(struct tp_ring_reader *ring)
{
    /* Pairs with the release store of head in tp_ring_publish. */
    const uint64_t head = atomic_load_explicit(ring->head, memory_order_acquire);
    const uint64_t lost = head > ring->next ? head - ring->next : 0;
    ring->next += lost;
    ring->lapped += lost;
    return lost;
}
#endif
