/* Out-of-order bytes of one connection: a ring addressed by sequence number and a sorted list of
 * the ranges it holds. The first copy of a byte wins: what a later segment says differently about
 * it is ignored, so nobody can rewrite bytes that the stack already acknowledged by SACK.
 *
 * Cost is bounded by the range limit (64), whatever is sent: see CVE-2018-5390. The caller keeps
 * all bytes within [rcv_nxt, rcv_nxt + ring size). */
#ifndef TP_NETSTACK_TCP_REASSEMBLY_H
#define TP_NETSTACK_TCP_REASSEMBLY_H
#include <stdbool.h>
#include <stdint.h>

#include "netstack/span.h"

enum { TP_TCP_RANGE_COUNT_MAX = 64 };

struct tp_tcp_range {
    uint32_t left, right; /* [left, right) */
    uint32_t recency;     /* higher: touched later; orders SACK blocks (RFC 2018 4) */
};

struct tp_tcp_reassembly {
    uint8_t *ring;
    uint32_t mask; /* ring size - 1 */
    uint32_t count;
    uint32_t recency;
    struct tp_tcp_range range[TP_TCP_RANGE_COUNT_MAX]; /* ascending, disjoint, never adjacent */
};

void tp_tcp_reassembly_init(struct tp_tcp_reassembly *reassembly, uint8_t *ring, uint32_t size);
/* Stores the bytes of data, which starts at sequence, that are not held yet. Returns false, and
 * stores nothing, when that would need more ranges than the limit. */
bool tp_tcp_reassembly_insert(struct tp_tcp_reassembly *reassembly, uint32_t sequence,
                              struct tp_span data);
/* The first part of [left, right) that is held; out's recency stays. False: none is. */
bool tp_tcp_reassembly_overlap(const struct tp_tcp_reassembly *reassembly, uint32_t left,
                               uint32_t right, struct tp_tcp_range *out);
/* True when every byte of [left, right) is held. */
bool tp_tcp_reassembly_holds(const struct tp_tcp_reassembly *reassembly, uint32_t left,
                             uint32_t right);
/* Marks the range that contains sequence as the one heard of last. */
void tp_tcp_reassembly_touch(struct tp_tcp_reassembly *reassembly, uint32_t sequence);
/* Takes the first range off the list when it starts at sequence: one span, two where the ring
 * wraps, in out; none when there is a gap. Returns how many spans. */
uint32_t tp_tcp_reassembly_take(struct tp_tcp_reassembly *reassembly, uint32_t sequence,
                                struct tp_span out[2]);
/* Forgets everything at or after sequence. */
void tp_tcp_reassembly_truncate(struct tp_tcp_reassembly *reassembly, uint32_t sequence);
#endif
