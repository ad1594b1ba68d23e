/* Out-of-order reassembly: see reassembly.h. Called by tcp_in.c, on the connection's thread. */
#include "netstack/tcp/reassembly.h"

#include <assert.h>
#include <string.h>

#include "netstack/tcp/sequence.h"

void tp_tcp_reassembly_init(struct tp_tcp_reassembly *reassembly, uint8_t *ring, uint32_t size)
{
    assert(size > 0 && (size & (size - 1)) == 0);
    reassembly->ring = ring;
    reassembly->mask = size - 1;
    reassembly->count = 0;
    reassembly->recency = 0;
}

static void ring_write(struct tp_tcp_reassembly *reassembly, uint32_t sequence, const uint8_t *data,
                       uint32_t size)
{
    uint32_t size_max = reassembly->mask + 1;
    uint32_t offset = sequence & reassembly->mask;
    assert(size <= size_max);
    uint32_t until_wrap = size_max - offset;
    uint32_t head = size < until_wrap ? size : until_wrap;
    memcpy(reassembly->ring + offset, data, head);
    memcpy(reassembly->ring, data + head, size - head);
}

/* Copies the parts of [sequence, end) that no range in [first, last) covers. */
static void gaps_fill(struct tp_tcp_reassembly *reassembly, uint32_t sequence, struct tp_span data,
                      uint32_t first, uint32_t last)
{
    uint32_t end = sequence + (uint32_t)data.size;
    uint32_t at = sequence;
    for (uint32_t index = first; index < last; index++) {
        const struct tp_tcp_range *range = &reassembly->range[index];
        if (tp_sequence_before(at, range->left)) {
            uint32_t gap_end = tp_sequence_min(range->left, end);
            ring_write(reassembly, at, data.data + (at - sequence), gap_end - at);
        }
        at = tp_sequence_max(at, range->right);
    }
    if (tp_sequence_before(at, end)) {
        ring_write(reassembly, at, data.data + (at - sequence), end - at);
    }
}

bool tp_tcp_reassembly_insert(struct tp_tcp_reassembly *reassembly, uint32_t sequence,
                              struct tp_span data)
{
    struct tp_tcp_range *range = reassembly->range;
    uint32_t left = sequence, right = sequence + (uint32_t)data.size;
    uint32_t first = 0;
    if (data.size == 0) {
        return true;
    }
    while (first < reassembly->count && tp_sequence_before(range[first].right, left)) {
        first++;
    }
    uint32_t last = first; /* [first, last): the ranges that the new bytes overlap or touch */
    while (last < reassembly->count && !tp_sequence_after(range[last].left, right)) {
        last++;
    }
    if (first == last && reassembly->count == TP_TCP_RANGE_COUNT_MAX) {
        return false;
    }
    gaps_fill(reassembly, sequence, data, first, last);
    if (first < last) {
        left = tp_sequence_min(left, range[first].left);
        right = tp_sequence_max(right, range[last - 1].right);
    }
    memmove(&range[first + 1], &range[last], (reassembly->count - last) * sizeof *range);
    reassembly->count = reassembly->count - (last - first) + 1;
    range[first] = (struct tp_tcp_range){left, right, ++reassembly->recency};
    return true;
}

bool tp_tcp_reassembly_overlap(const struct tp_tcp_reassembly *reassembly, uint32_t left,
                               uint32_t right, struct tp_tcp_range *out)
{
    for (uint32_t index = 0; index < reassembly->count; index++) {
        const struct tp_tcp_range *range = &reassembly->range[index];
        if (tp_sequence_before(range->left, right) && tp_sequence_before(left, range->right)) {
            out->left = tp_sequence_max(left, range->left);
            out->right = tp_sequence_min(right, range->right);
            return true;
        }
    }
    return false;
}

bool tp_tcp_reassembly_holds(const struct tp_tcp_reassembly *reassembly, uint32_t left,
                             uint32_t right)
{
    for (uint32_t index = 0; index < reassembly->count; index++) {
        const struct tp_tcp_range *range = &reassembly->range[index];
        if (!tp_sequence_before(left, range->left) && !tp_sequence_after(right, range->right)) {
            return true;
        }
    }
    return false;
}

void tp_tcp_reassembly_touch(struct tp_tcp_reassembly *reassembly, uint32_t sequence)
{
    for (uint32_t index = 0; index < reassembly->count; index++) {
        struct tp_tcp_range *range = &reassembly->range[index];
        if (!tp_sequence_before(sequence, range->left) &&
            tp_sequence_before(sequence, range->right)) {
            range->recency = ++reassembly->recency;
        }
    }
}

uint32_t tp_tcp_reassembly_take(struct tp_tcp_reassembly *reassembly, uint32_t sequence,
                                struct tp_span out[2])
{
    if (reassembly->count == 0 || reassembly->range[0].left != sequence) {
        return 0;
    }
    uint32_t size = reassembly->range[0].right - sequence;
    uint32_t offset = sequence & reassembly->mask;
    uint32_t until_wrap = reassembly->mask + 1 - offset;
    reassembly->count--;
    memmove(&reassembly->range[0], &reassembly->range[1],
            reassembly->count * sizeof reassembly->range[0]);
    out[0] = (struct tp_span){reassembly->ring + offset, size < until_wrap ? size : until_wrap};
    if (size <= until_wrap) {
        return 1;
    }
    out[1] = (struct tp_span){reassembly->ring, size - until_wrap};
    return 2;
}

void tp_tcp_reassembly_truncate(struct tp_tcp_reassembly *reassembly, uint32_t sequence)
{
    struct tp_tcp_range *range = reassembly->range;
    while (reassembly->count > 0 &&
           !tp_sequence_before(range[reassembly->count - 1].left, sequence)) {
        reassembly->count--;
    }
    if (reassembly->count > 0) {
        struct tp_tcp_range *last = &range[reassembly->count - 1];
        last->right = tp_sequence_min(last->right, sequence);
    }
}
