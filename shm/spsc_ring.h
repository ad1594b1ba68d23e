/* One producer, one consumer, slots of eight words, nothing overwritten and nothing skipped: what
 * strategies ask of the gateway.
 *
 * Slot i stands at i & (capacity - 1). The producer fills it, then moves `head`; the consumer
 * copies it, then moves `tail`. Each keeps its own position in private memory, and takes the
 * other's word for nothing but the other's position: what cannot be one breaks the ring for whoever
 * sees it, for good. So a producer that writes anywhere can have the consumer read its own words
 * again, never a slot twice, and never outside of the ring; a consumer that does can have the
 * producer find it full. A producer that dies within a slot leaves nothing to read.
 *
 * Who makes the memory zeroes it, and never uses it for a second pair: a gateway that starts makes
 * new rings (docs/adr/0015-orders.md). Called by: strategies (push), the gateway (take). Proved by
 * tests/unit/test_spsc_ring.py. */
#ifndef TP_SHM_SPSC_RING_H
#define TP_SHM_SPSC_RING_H
#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shm/atomic.h"

enum { TP_SPSC_WORDS = 8, TP_SPSC_HEAD_SIZE = 256 };

struct tp_spsc_slot {
    _Atomic uint64_t word[TP_SPSC_WORDS];
};

/* Positions on pairs of lines of their own: the neighbour line is fetched with its twin. */
struct tp_spsc_memory {
    _Atomic uint64_t head; /* the producer's: slots filled */
    uint64_t reserved[15];
    _Atomic uint64_t tail; /* the consumer's: slots taken */
    uint64_t reserved_too[15];
    struct tp_spsc_slot slot[];
};
static_assert(offsetof(struct tp_spsc_memory, slot) == TP_SPSC_HEAD_SIZE, "layout 1");

/* One end: its own position, and the last that it saw of the other's. */
struct tp_spsc_end {
    struct tp_spsc_memory *memory;
    uint64_t capacity; /* a power of two */
    uint64_t next;     /* of this end; counts up forever */
    uint64_t seen;     /* of the other */
    bool is_broken;    /* the other's position was none */
};

/* Of memory that nobody has used yet. */
static inline void tp_spsc_begin(struct tp_spsc_end *end, struct tp_spsc_memory *memory,
                                 uint64_t capacity)
{
    assert(capacity != 0 && (capacity & (capacity - 1)) == 0);
    end->memory = memory;
    end->capacity = capacity;
    end->next = end->seen = 0;
    end->is_broken = false;
}

/* False: full, or broken: nothing was written that anybody sees. */
static inline bool tp_spsc_push(struct tp_spsc_end *producer, const uint64_t words[TP_SPSC_WORDS])
{
    struct tp_spsc_memory *memory = producer->memory;
    if (producer->next - producer->seen == producer->capacity) {
        /* Pairs with the release in tp_spsc_take: the slot was copied before it is filled again. */
        const uint64_t tail = atomic_load_explicit(&memory->tail, memory_order_acquire);
        /* It only grows, and never beyond what was filled. */
        producer->is_broken |= tail - producer->seen > producer->next - producer->seen;
        if (producer->is_broken || tail == producer->seen)
            return false;
        producer->seen = tail;
    }
    struct tp_spsc_slot *slot = &memory->slot[producer->next & (producer->capacity - 1)];
    for (int i = 0; i < TP_SPSC_WORDS; i++)
        atomic_store_explicit(&slot->word[i], words[i], memory_order_relaxed);
    producer->next++;
    /* Pairs with the acquire in tp_spsc_take: who sees the position finds the words. */
    atomic_store_explicit(&memory->head, producer->next, memory_order_release);
    return true;
}

enum tp_spsc_result { TP_SPSC_TAKEN, TP_SPSC_EMPTY, TP_SPSC_BROKEN };

/* Copies the oldest slot out, once: what is judged is the copy. */
static inline enum tp_spsc_result tp_spsc_take(struct tp_spsc_end *consumer,
                                               uint64_t words[TP_SPSC_WORDS])
{
    struct tp_spsc_memory *memory = consumer->memory;
    if (consumer->is_broken)
        return TP_SPSC_BROKEN;
    if (consumer->next == consumer->seen) {
        /* Pairs with the release in tp_spsc_push. */
        const uint64_t head = atomic_load_explicit(&memory->head, memory_order_acquire);
        if (head - consumer->next > consumer->capacity) {
            consumer->is_broken = true;
            return TP_SPSC_BROKEN;
        }
        consumer->seen = head;
        if (consumer->next == head)
            return TP_SPSC_EMPTY;
    }
    const struct tp_spsc_slot *slot = &memory->slot[consumer->next & (consumer->capacity - 1)];
    for (int i = 0; i < TP_SPSC_WORDS; i++)
        words[i] = atomic_load_explicit(&slot->word[i], memory_order_relaxed);
    consumer->next++;
    /* Pairs with the acquire in tp_spsc_push: the slot is free once it was copied. */
    atomic_store_explicit(&memory->tail, consumer->next, memory_order_release);
    return TP_SPSC_TAKEN;
}
#endif
