#include "engine/bench/turns.h"

#include <time.h>

static uint64_t cpu_time_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void keep(struct tp_bench_turns *turns, uint64_t took_ns)
{
    if (took_ns < TP_BENCH_TURN_NS_MIN)
        return;
    if (turns->count < turns->capacity)
        turns->took_ns[turns->count++] = took_ns;
    else if (took_ns > turns->took_ns[turns->capacity - 1])
        turns->took_ns[turns->capacity - 1] = took_ns;
}

void tp_bench_turns_run(struct tp_bench_turns *turns, struct tp_hot_path *hot)
{
    while (atomic_load_explicit(&turns->stop, memory_order_relaxed) == 0) {
        const uint64_t now_ns = tp_clock_now_ns(hot->loop->clock), start_ns = cpu_time_ns();
        if (!tp_hot_path_turn(hot, now_ns))
            return;
        keep(turns, cpu_time_ns() - start_ns);
    }
}

void tp_bench_turns_stop(struct tp_bench_turns *turns)
{
    atomic_store_explicit(&turns->stop, 1, memory_order_relaxed);
}
