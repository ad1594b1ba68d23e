/* A hot path's loop that measures the CPU time of each of its turns: what else runs on the machine
 * is not counted, as it would be by the wall clock. Called by engine/bench/handshake.py, in a
 * thread of its own. */
#ifndef TP_ENGINE_BENCH_TURNS_H
#define TP_ENGINE_BENCH_TURNS_H
#include <stdint.h>

#include "engine/feed_handler/hot_path.h"

/* Shorter turns found nothing to do: they are not kept. */
#define TP_BENCH_TURN_NS_MIN 1000

struct tp_bench_turns {
    uint64_t *took_ns; /* [capacity], borrowed; the longest turn is kept also beyond it */
    uint32_t capacity, count;
    _Atomic uint32_t stop;
};

/* Takes turns until tp_bench_turns_stop. The loop goes on in the next call. */
void tp_bench_turns_run(struct tp_bench_turns *turns, struct tp_hot_path *hot);
/* Any thread. */
void tp_bench_turns_stop(struct tp_bench_turns *turns);
#endif
