/* Two links joined by two single-producer single-consumer rings of frames.
 *
 * Thread: one per end. The only shared words are head and tail of each ring; every acquire and
 * release below names its partner. */
#include "netstack/link/memory.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { FRAME_SIZE_MIN = 14, RING_COUNT_MAX = 1 << 16, CACHE_LINE = 64 };

struct frame_ring {
    _Alignas(CACHE_LINE) _Atomic uint32_t head; /* written by the receiver */
    _Alignas(CACHE_LINE) _Atomic uint32_t tail; /* written by the sender */
    uint8_t *data;                              /* ring_count * frame_size */
    uint32_t *size;
};

struct memory_end {
    struct tp_link link; /* first: the ops cast back */
    struct tp_memory_link_pair *pair;
    struct frame_ring *out, *in;
    uint32_t committed; /* sender's tail, not yet published by tx_kick */
    uint32_t burst;     /* frames handed out and not yet released */
    bool claimed;
};

struct tp_memory_link_pair {
    struct frame_ring ring[2];
    struct memory_end end[2];
    uint32_t ring_count, frame_size;
};

static struct memory_end *end_of(struct tp_link *link)
{
    return (struct memory_end *)link;
}

static uint8_t *slot_data(const struct memory_end *end, const struct frame_ring *ring,
                          uint32_t index)
{
    return ring->data + (size_t)(index & (end->pair->ring_count - 1)) * end->pair->frame_size;
}

static uint32_t *slot_size(const struct memory_end *end, const struct frame_ring *ring,
                           uint32_t index)
{
    return &ring->size[index & (end->pair->ring_count - 1)];
}

static uint32_t rx_burst(struct tp_link *link, struct tp_frame *frames, uint32_t count)
{
    struct memory_end *end = end_of(link);
    /* Pairs with the release in tx_kick: the frames below tail are complete. */
    const uint32_t tail = atomic_load_explicit(&end->in->tail, memory_order_acquire);
    const uint32_t head = atomic_load_explicit(&end->in->head, memory_order_relaxed);
    uint32_t got = tail - head;

    assert(end->burst == 0 && count <= TP_LINK_BURST_MAX);
    if (link->error != 0)
        return 0;
    if (got > count)
        got = count;
    for (uint32_t i = 0; i < got; i++) {
        frames[i].data = slot_data(end, end->in, head + i);
        frames[i].size = *slot_size(end, end->in, head + i);
        frames[i].id = head + i;
        frames[i].stamp_ns = 0;
        link->counters.rx_bytes += frames[i].size;
    }
    link->counters.rx_frames += got;
    end->burst = got;
    return got;
}

static void rx_release(struct tp_link *link, const struct tp_frame *frames, uint32_t count)
{
    struct memory_end *end = end_of(link);
    const uint32_t head = atomic_load_explicit(&end->in->head, memory_order_relaxed);

    assert(count == end->burst && (count == 0 || frames[0].id == head));
    end->burst = 0;
    /* Pairs with the acquire in tx_claim: the slots may be overwritten from here on. */
    atomic_store_explicit(&end->in->head, head + count, memory_order_release);
}

static uint8_t *tx_claim(struct tp_link *link)
{
    struct memory_end *end = end_of(link);
    /* Pairs with the release in rx_release: the receiver is done with slots below head. */
    const uint32_t head = atomic_load_explicit(&end->out->head, memory_order_acquire);

    assert(!end->claimed);
    if (link->error != 0 || end->committed - head == end->pair->ring_count) {
        link->counters.tx_full++;
        return NULL;
    }
    end->claimed = true;
    return slot_data(end, end->out, end->committed);
}

static void tx_commit(struct tp_link *link, uint32_t size)
{
    struct memory_end *end = end_of(link);

    assert(end->claimed && size >= FRAME_SIZE_MIN && size <= end->pair->frame_size);
    *slot_size(end, end->out, end->committed) = size;
    end->committed++;
    end->claimed = false;
    link->counters.tx_frames++;
    link->counters.tx_bytes += size;
}

static void tx_abort(struct tp_link *link)
{
    assert(end_of(link)->claimed);
    end_of(link)->claimed = false;
}

static int tx_kick(struct tp_link *link)
{
    struct memory_end *end = end_of(link);

    link->counters.tx_kicks++;
    /* Pairs with the acquire in the other end's rx_burst. */
    atomic_store_explicit(&end->out->tail, end->committed, memory_order_release);
    return link->error;
}

static const struct tp_link_ops memory_ops = {
    .rx_burst = rx_burst,
    .rx_release = rx_release,
    .tx_claim = tx_claim,
    .tx_commit = tx_commit,
    .tx_abort = tx_abort,
    .tx_kick = tx_kick,
};

struct tp_memory_link_pair *tp_memory_link_pair_create(uint32_t ring_count, uint32_t frame_size)
{
    if (ring_count == 0 || ring_count > RING_COUNT_MAX || (ring_count & (ring_count - 1)) != 0)
        return NULL;
    if (frame_size < FRAME_SIZE_MIN || frame_size > TP_LINK_FRAME_SIZE_MAX)
        return NULL;

    struct tp_memory_link_pair *pair =
        aligned_alloc(_Alignof(struct tp_memory_link_pair), sizeof *pair);
    if (pair == NULL)
        return NULL;
    *pair = (struct tp_memory_link_pair){.ring_count = ring_count, .frame_size = frame_size};
    for (uint32_t i = 0; i < 2; i++) {
        pair->ring[i].data = calloc(ring_count, frame_size);
        pair->ring[i].size = calloc(ring_count, sizeof *pair->ring[i].size);
        if (pair->ring[i].data == NULL || pair->ring[i].size == NULL) {
            tp_memory_link_pair_destroy(pair);
            return NULL;
        }
        pair->end[i].link = (struct tp_link){.ops = &memory_ops, .tx_frame_size = frame_size};
        pair->end[i].pair = pair;
        pair->end[i].out = &pair->ring[i];
        pair->end[i].in = &pair->ring[1 - i];
    }
    return pair;
}

void tp_memory_link_pair_destroy(struct tp_memory_link_pair *pair)
{
    if (pair == NULL)
        return;
    for (uint32_t i = 0; i < 2; i++) {
        free(pair->ring[i].data);
        free(pair->ring[i].size);
    }
    free(pair);
}

struct tp_link *tp_memory_link_end(struct tp_memory_link_pair *pair, uint32_t index)
{
    assert(index < 2);
    return &pair->end[index].link;
}

void tp_memory_link_pair_break(struct tp_memory_link_pair *pair, int error)
{
    assert(error < 0);
    pair->end[0].link.error = error;
    pair->end[1].link.error = error;
}
