/* The far end of `tickpath bench burst`: TCP segments of one connection in whole, valid frames.
 * Called by engine/bench/burst_exchange.py before anything is timed. */
#ifndef TP_ENGINE_BENCH_BURST_H
#define TP_ENGINE_BENCH_BURST_H
#include <stdint.h>

#include "netstack/span.h"

/* What the far end knows of one connection; it sends from source to destination. */
struct tp_bench_flow {
    uint32_t source_address, destination_address; /* host byte order */
    uint16_t source_port, destination_port;
    uint32_t sequence, acknowledgment;
    uint32_t timestamp_value, timestamp_echo;
};

/* Writes Ethernet, IPv4 and TCP headers, timestamps, payload and checksums. With SYN the options
 * that Linux sends too. Returns the frame's size and moves flow->sequence on. */
uint32_t tp_bench_frame_write(struct tp_bench_flow *flow, uint8_t flags, struct tp_span payload,
                              uint8_t *out);
#endif
