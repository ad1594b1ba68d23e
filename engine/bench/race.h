/* Messages of several connections into a feed, each timed: what a copy costs beside what was
 * applied, and when the first copy of each change came.
 *
 * Called by: engine/bench/race.py. Calls: engine/feed. One thread. */
#ifndef TP_ENGINE_BENCH_RACE_H
#define TP_ENGINE_BENCH_RACE_H
#include <stdint.h>

#include "engine/feed/feed.h"

struct tp_bench_arrival {
    uint64_t now_ns; /* when it comes, by the feed's time */
    uint64_t offset; /* of its bytes in data */
    uint32_t size, connection;
};

struct tp_bench_race {
    const uint8_t *data;
    const struct tp_bench_arrival *arrivals;
    uint32_t count;
    uint8_t opcode;
    uint8_t *results;  /* enum tp_feed_result of each */
    uint32_t *took_ns; /* of each, the clock's 10 included */
};

/* Gives all of them in their order; ticks once a millisecond of the feed's time. */
void tp_bench_race_play(struct tp_feed *feed, const struct tp_clock *clock,
                        const struct tp_bench_race *race);
#endif
