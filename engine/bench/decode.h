/* Our contender of `tickpath bench decode`: a batch of messages, routed and decoded, timed in C so
 * that Python's share is not inside. Called by engine/bench/decode.py. */
#ifndef TP_ENGINE_BENCH_DECODE_H
#define TP_ENGINE_BENCH_DECODE_H
#include <stdint.h>

#include "proto/venue.h"

struct tp_feed;
struct tp_inflate;

/* Messages behind each other: i is data[offset[i], offset[i + 1]). */
struct tp_bench_messages {
    const uint8_t *data;
    const uint64_t *offset; /* [count + 1] */
    uint32_t count;
    uint8_t opcode;             /* of the WebSocket, RFC 6455 5.2 */
    struct tp_inflate *inflate; /* of messages that are gzip members; NULL: none is */
};

/* Routes and decodes every message once into *out. Returns the nanoseconds of the whole batch, 0
 * when a message was refused. */
uint64_t tp_bench_decode(const struct tp_venue *venue, void *router,
                         const struct tp_bench_messages *messages, const struct tp_scale *scale,
                         struct tp_depth_update *out);
/* Gives every message to the feed, whatever it makes of it. Returns the nanoseconds of CPU that
 * this thread needed for the whole batch. */
uint64_t tp_bench_garbage(struct tp_feed *feed, const struct tp_bench_messages *messages);
/* Gives every message to the feed, on connection 0. Returns the nanoseconds of the whole batch, 0
 * when one was not applied. */
uint64_t tp_bench_feed(struct tp_feed *feed, const struct tp_bench_messages *messages);
#endif
