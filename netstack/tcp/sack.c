/* Selective acknowledgment: RFC 2018 4 (blocks we send), RFC 2883 4 (duplicates we report, whole
 * and partial),
 * RFC 6675 2 (what counts as a duplicate ACK). Called by tcp_in.c and tcp_out.c. */
#include <string.h>

#include "netstack/tcp/state.h"

enum { BLOCK_COUNT_WITH_TIMESTAMPS = 3 }; /* 40 option bytes - 12 - 4 leave three blocks of 8 */

/* Ranges whose recency lies in (above, below); the one that is the newest, or the oldest, of them.
 */
static const struct tp_tcp_range *range_between(const struct tp_tcp_reassembly *reassembly,
                                                uint32_t above, uint32_t below, bool newest)
{
    const struct tp_tcp_range *best = NULL;
    for (uint32_t index = 0; index < reassembly->count; index++) {
        const struct tp_tcp_range *range = &reassembly->range[index];
        if (range->recency > above && range->recency < below &&
            (best == NULL || (range->recency > best->recency) == newest)) {
            best = range;
        }
    }
    return best;
}

static uint8_t block_count_max(const struct tp_tcp *tcp)
{
    return tcp->timestamps ? BLOCK_COUNT_WITH_TIMESTAMPS : TP_TCP_SACK_BLOCK_COUNT_MAX;
}

static uint32_t untold_count(const struct tp_tcp *tcp)
{
    uint32_t count = 0;
    for (uint32_t index = 0; index < tcp->reassembly.count; index++) {
        count += tcp->reassembly.range[index].recency > tcp->sack_told ? 1 : 0;
    }
    return count;
}

bool tp_tcp_sack_is_untold(const struct tp_tcp *tcp)
{
    return tcp->sack && (tcp->dsack_count > 0 || untold_count(tcp) > 0);
}

uint32_t tp_tcp_sack_size(const struct tp_tcp *tcp)
{
    if (!tcp->sack) {
        return 0;
    }
    uint32_t count = tcp->reassembly.count + (tcp->dsack_count > 0 ? 1 : 0);
    if (count > block_count_max(tcp)) {
        count = block_count_max(tcp);
    }
    return count == 0 ? 0 : 4 + 8 * count;
}

/* The recency of the newest range that the next ACK tells of. A burst left several untold: they are
 * shared out over the ACKs that go anyway, or over as many as have room for them, the oldest first,
 * as if every segment had had its own (RFC 2018 4). At most 4 passes over at most 64 ranges, and
 * only while something is out of order. */
static uint32_t told_with_next(const struct tp_tcp *tcp, uint32_t acks, uint32_t room)
{
    const uint32_t untold = untold_count(tcp);
    uint32_t take = acks > 1 ? (untold + acks - 1) / acks : untold;
    take = take < room ? take : room;
    if (take == untold) {
        return tcp->reassembly.recency;
    }
    uint32_t told = tcp->sack_told;
    for (uint32_t taken = 0; taken < take; taken++) {
        told = range_between(&tcp->reassembly, told, UINT32_MAX, false)->recency;
    }
    return told;
}

void tp_tcp_sack_write(struct tp_tcp *tcp, struct tp_tcp_segment *segment)
{
    segment->sack_count = 0;
    if (!tcp->sack) {
        return;
    }
    uint32_t acks = tcp->duplicate_acks_due;
    if (tcp->dsack_count > 0) { /* RFC 2883 4: first, and each in one ACK only */
        acks = acks > tcp->dsack_count ? acks : tcp->dsack_count;
        segment->sack[segment->sack_count++] = tcp->dsack[0];
        tcp->dsack_count--;
        memmove(&tcp->dsack[0], &tcp->dsack[1], tcp->dsack_count * sizeof tcp->dsack[0]);
    }
    const uint8_t count_max = block_count_max(tcp);
    tcp->sack_told = told_with_next(tcp, acks, (uint32_t)count_max - segment->sack_count);
    uint32_t below = tcp->sack_told + 1; /* the newest first, then the others by recency */
    while (segment->sack_count < count_max) {
        const struct tp_tcp_range *range = range_between(&tcp->reassembly, 0, below, true);
        if (range == NULL) {
            return;
        }
        segment->sack[segment->sack_count++] =
            (struct tp_tcp_sack_block){range->left, range->right};
        below = range->recency;
    }
}

/* A copy of what follows the last one is reported with it; what is beyond DSACK_COUNT_MAX is not.
 */
void tp_tcp_sack_duplicate(struct tp_tcp *tcp, uint32_t left, uint32_t right)
{
    struct tp_tcp_sack_block *last =
        tcp->dsack_count > 0 ? &tcp->dsack[tcp->dsack_count - 1] : NULL;
    if (!tcp->sack) {
        return;
    }
    if (last != NULL && last->right == left) {
        last->right = right;
    } else if (tcp->dsack_count < TP_TCP_DSACK_COUNT_MAX) {
        tcp->dsack[tcp->dsack_count++] = (struct tp_tcp_sack_block){left, right};
    }
}

/* RFC 6675 2: with SACK a duplicate is an ACK that tells of bytes above snd_una it had not told
 * before. Blocks outside what is in flight, or turned around, tell nothing (CVE-2019-11477). */
bool tp_tcp_sack_is_duplicate(struct tp_tcp *tcp, const struct tp_tcp_segment *segment)
{
    for (uint8_t index = 0; index < segment->sack_count; index++) {
        struct tp_tcp_sack_block block = segment->sack[index];
        if (!tp_sequence_after(block.left, tcp->snd_una) ||
            !tp_sequence_before(block.left, block.right) ||
            tp_sequence_after(block.right, tcp->snd_max)) {
            continue;
        }
        bool known = block.left == tcp->last_sack_left && block.right == tcp->last_sack_right;
        tcp->last_sack_left = block.left;
        tcp->last_sack_right = block.right;
        return !known;
    }
    return false;
}
