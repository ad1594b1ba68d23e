/* A link that plays prepared frames as fast as they are taken, for `tickpath bench burst`: the
 * whole path without a wire. What is sent into it vanishes. Called through netstack/link/link.h. */
#ifndef TP_ENGINE_BENCH_REPLAY_LINK_H
#define TP_ENGINE_BENCH_REPLAY_LINK_H
#include "netstack/link/link.h"

struct tp_replay_link {
    struct tp_link link;    /* first: ops cast back from it */
    uint8_t *data;          /* all frames; borrowed */
    const uint64_t *offset; /* [frame_count + 1]: frame i is data[offset[i], offset[i + 1]) */
    uint64_t next, frame_count;
    uint8_t sent[2048];
};

void tp_replay_link_init(struct tp_replay_link *replay, uint8_t *data, const uint64_t *offset,
                         uint64_t frame_count);
#endif
