#include "engine/bench/decode.h"

#include <time.h>

static uint64_t clock_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t tp_bench_decode(const struct tp_mexc_router *router,
                         const struct tp_bench_messages *messages, const struct tp_scale *scale,
                         struct tp_depth_update *out)
{
    const uint64_t start_ns = clock_now();
    for (uint32_t i = 0; i < messages->count; i++) {
        const uint8_t *data = messages->data + messages->offset[i];
        const size_t size = messages->offset[i + 1] - messages->offset[i];
        struct tp_route route;
        if (!tp_mexc_route(router, data, size, &route) ||
            tp_mexc_decode_depth(data + route.body_offset, route.body_size, scale, out) !=
                TP_DECODE_OK)
            return 0;
    }
    return clock_now() - start_ns;
}
