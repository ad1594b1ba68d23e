#include "engine/bench/race.h"

enum { TICK_NS = 1000000 };

void tp_bench_race_play(struct tp_feed *feed, const struct tp_clock *clock,
                        const struct tp_bench_race *race)
{
    uint64_t next_tick_ns = 0;
    for (uint32_t i = 0; i < race->count; i++) {
        const struct tp_bench_arrival *one = &race->arrivals[i];
        if (one->now_ns >= next_tick_ns) {
            (void)tp_feed_tick(feed, one->now_ns);
            next_tick_ns = one->now_ns + TICK_NS;
        }
        const struct tp_span payload = {race->data + one->offset, one->size};
        const uint64_t start_ns = tp_clock_now_ns(clock);
        race->results[i] =
            (uint8_t)tp_feed_message(feed, one->connection, race->opcode, payload, one->now_ns);
        race->took_ns[i] = (uint32_t)(tp_clock_now_ns(clock) - start_ns);
    }
}
