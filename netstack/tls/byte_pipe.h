/* Bytes from one thread to one other, bounded: the producer writes, the consumer reads at the
 * front.
 *
 * Used by handover.c and tls.c. Positions count up and wrap at 2^32; size is a power of two. */
#ifndef TP_NETSTACK_TLS_BYTE_PIPE_H
#define TP_NETSTACK_TLS_BYTE_PIPE_H
#include <assert.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <string.h>

#include "netstack/span.h"

struct tp_byte_pipe {
    uint8_t *data; /* borrowed */
    uint32_t size;
    alignas(64) _Atomic uint32_t head; /* the producer's: bytes written so far */
    alignas(64) _Atomic uint32_t tail; /* the consumer's: bytes dropped so far */
};

static inline void tp_byte_pipe_init(struct tp_byte_pipe *pipe, uint8_t *memory, uint32_t size)
{
    assert(size != 0 && (size & (size - 1)) == 0);
    pipe->data = memory;
    pipe->size = size;
    atomic_init(&pipe->head, 0);
    atomic_init(&pipe->tail, 0);
}

/* Either side: bytes in it. The other side may have moved on since. */
static inline uint32_t tp_byte_pipe_used(const struct tp_byte_pipe *pipe)
{
    return atomic_load_explicit(&pipe->head, memory_order_relaxed) -
           atomic_load_explicit(&pipe->tail, memory_order_relaxed);
}

/* Producer: takes what fits; returns how much that was. */
static inline size_t tp_byte_pipe_write(struct tp_byte_pipe *pipe, struct tp_span data)
{
    const uint32_t head = atomic_load_explicit(&pipe->head, memory_order_relaxed);
    /* Pairs with the release in drop: those bytes were read, their place is free. */
    const uint32_t tail = atomic_load_explicit(&pipe->tail, memory_order_acquire);
    const size_t space = pipe->size - (head - tail);
    const size_t size = data.size < space ? data.size : space;
    const uint32_t start = head & (pipe->size - 1);
    const size_t first = size < pipe->size - start ? size : pipe->size - start;
    if (size == 0)
        return 0;
    memcpy(pipe->data + start, data.data, first);
    memcpy(pipe->data, data.data + first, size - first);
    /* Pairs with the acquire in front. */
    atomic_store_explicit(&pipe->head, head + (uint32_t)size, memory_order_release);
    return size;
}

/* Consumer: the oldest bytes, as far as they lie in one piece; size 0: empty. */
static inline struct tp_span tp_byte_pipe_front(const struct tp_byte_pipe *pipe)
{
    const uint32_t tail = atomic_load_explicit(&pipe->tail, memory_order_relaxed);
    /* Pairs with the release in write. */
    const uint32_t used = atomic_load_explicit(&pipe->head, memory_order_acquire) - tail;
    const uint32_t start = tail & (pipe->size - 1), piece = pipe->size - start;
    return (struct tp_span){pipe->data + start, used < piece ? used : piece};
}

static inline void tp_byte_pipe_drop(struct tp_byte_pipe *pipe, size_t size)
{
    const uint32_t tail = atomic_load_explicit(&pipe->tail, memory_order_relaxed);
    /* Pairs with the acquire in write. */
    atomic_store_explicit(&pipe->tail, tail + (uint32_t)size, memory_order_release);
}

/* Consumer: moves what fits to out; returns how much that was. */
static inline size_t tp_byte_pipe_read(struct tp_byte_pipe *pipe, uint8_t *out, size_t capacity)
{
    size_t total = 0;
    struct tp_span front;
    while (total < capacity && (front = tp_byte_pipe_front(pipe)).size > 0) { /* two pieces */
        const size_t rest = capacity - total, size = front.size < rest ? front.size : rest;
        memcpy(out + total, front.data, size);
        tp_byte_pipe_drop(pipe, size);
        total += size;
    }
    return total;
}

/* Takes the newest bytes back. Only where producer and consumer are the same thread by now. */
static inline void tp_byte_pipe_take_back(struct tp_byte_pipe *pipe, size_t size)
{
    const uint32_t head = atomic_load_explicit(&pipe->head, memory_order_relaxed);
    atomic_store_explicit(&pipe->head, head - (uint32_t)size, memory_order_relaxed);
}
#endif
