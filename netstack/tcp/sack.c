/* Selective acknowledgment: RFC 2018 4 (blocks we send), RFC 2883 4 (duplicates we report),
 * RFC 6675 2 (what counts as a duplicate ACK). Called by tcp_in.c and tcp_out.c. */
#include "netstack/tcp/state.h"

enum { BLOCK_COUNT_WITH_TIMESTAMPS = 3 }; /* 40 option bytes - 12 - 4 leave three blocks of 8 */

/* The ranges in order of recency, most recent first. At most 4 passes over at most 64 ranges, and
 * only while something is out of order. */
static void recent_ranges_write(const struct tp_tcp_reassembly *reassembly,
                                struct tp_tcp_segment *segment, uint8_t count_max)
{
    uint32_t below = UINT32_MAX;
    while (segment->sack_count < count_max) {
        const struct tp_tcp_range *best = NULL;
        for (uint32_t index = 0; index < reassembly->count; index++) {
            const struct tp_tcp_range *range = &reassembly->range[index];
            if (range->recency < below && (best == NULL || range->recency > best->recency)) {
                best = range;
            }
        }
        if (best == NULL) {
            return;
        }
        segment->sack[segment->sack_count++] = (struct tp_tcp_sack_block){best->left, best->right};
        below = best->recency;
    }
}

static uint8_t block_count_max(const struct tp_tcp *tcp)
{
    return tcp->timestamps ? BLOCK_COUNT_WITH_TIMESTAMPS : TP_TCP_SACK_BLOCK_COUNT_MAX;
}

uint32_t tp_tcp_sack_size(const struct tp_tcp *tcp)
{
    if (!tcp->sack) {
        return 0;
    }
    uint32_t count = tcp->reassembly.count + (tcp->dsack_pending ? 1 : 0);
    if (count > block_count_max(tcp)) {
        count = block_count_max(tcp);
    }
    return count == 0 ? 0 : 4 + 8 * count;
}

void tp_tcp_sack_write(struct tp_tcp *tcp, struct tp_tcp_segment *segment)
{
    segment->sack_count = 0;
    if (!tcp->sack) {
        return;
    }
    if (tcp->dsack_pending) { /* RFC 2883 4: first, and in one ACK only */
        segment->sack[segment->sack_count++] = tcp->dsack;
        tcp->dsack_pending = false;
    }
    recent_ranges_write(&tcp->reassembly, segment, block_count_max(tcp));
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
