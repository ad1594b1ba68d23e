/* A link that plays prepared frames as fast as they are taken, for `tickpath bench burst`: the
 * whole path without a wire. Between plays it is the inner link; while it plays, what is sent
 * vanishes. Called through netstack/link/link.h by the hot thread; play and finished by another. */
#ifndef TP_ENGINE_BENCH_REPLAY_LINK_H
#define TP_ENGINE_BENCH_REPLAY_LINK_H
#include <stdatomic.h>

#include "netstack/link/link.h"

/* What to play; borrowed until finished. */
struct tp_replay {
    uint8_t *data;          /* all frames */
    const uint64_t *offset; /* [frame_count + 1]: frame i is data[offset[i], offset[i + 1]) */
    uint64_t frame_count;
    uint64_t *stamp; /* [bursts + 1], CLOCK_MONOTONIC: burst i lasted from stamp[i] to [i + 1] */
};

struct tp_replay_link {
    struct tp_link link; /* first: ops cast back from it */
    struct tp_link *inner;
    _Atomic(const struct tp_replay *) offered; /* play hands over, the last rx_burst gives back */
    const struct tp_replay *playing;           /* hot thread only, as all below */
    uint64_t next, bursts;
    bool from_inner; /* the burst that is not yet released */
    uint8_t sent[2048];
};

void tp_replay_link_init(struct tp_replay_link *replay, struct tp_link *inner);
/* Not before the play before has finished. */
void tp_replay_link_play(struct tp_replay_link *replay, const struct tp_replay *what);
/* All frames were taken, and what they led to was done. */
bool tp_replay_link_finished(const struct tp_replay_link *replay);
#endif
