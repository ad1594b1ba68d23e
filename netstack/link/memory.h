/* A pair of links joined back to back in memory: what one end sends the other receives, in order.
 *
 * Lets the stack run without a network: scripted tests, virtual time, benchmarks. Each end may be
 * owned by a thread of its own. Implements link.h; called by tests and netstack/netif.c. Nothing is
 * allocated after create. */
#ifndef TP_NETSTACK_MEMORY_LINK_H
#define TP_NETSTACK_MEMORY_LINK_H
#include <stdint.h>

#include "netstack/link/link.h"

struct tp_memory_link_pair;

/* ring_count: frames in flight per direction, a power of two. frame_size: 14 to
 * TP_LINK_FRAME_SIZE_MAX. NULL when a value is out of range or memory is short. */
struct tp_memory_link_pair *tp_memory_link_pair_create(uint32_t ring_count, uint32_t frame_size);
void tp_memory_link_pair_destroy(struct tp_memory_link_pair *pair);

/* index 0 or 1. Lives as long as the pair. */
struct tp_link *tp_memory_link_end(struct tp_memory_link_pair *pair, uint32_t index);

/* From now on rx_burst gives nothing and tx_kick answers error (a negative errno) at both ends, as
 * a device that went away would. Call it when neither end is in use. */
void tp_memory_link_pair_break(struct tp_memory_link_pair *pair, int error);
#endif
