#include "engine/bench/decode.h"

#include <time.h>

#include "engine/feed/feed.h"
#include "engine/feed_handler/inflate.h"

static uint64_t clock_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t tp_bench_decode(const struct tp_venue *venue, void *router,
                         const struct tp_bench_messages *messages, const struct tp_scale *scale,
                         struct tp_depth_update *out)
{
    const uint64_t start_ns = clock_now();
    for (uint32_t i = 0; i < messages->count; i++) {
        struct tp_span text = {messages->data + messages->offset[i],
                               messages->offset[i + 1] - messages->offset[i]};
        if (messages->inflate != NULL)
            (void)tp_inflate_message(messages->inflate, &text);
        const struct tp_venue_message message = {
            .data = text.data, .size = text.size, .opcode = messages->opcode};
        struct tp_route route;
        venue->route(router, &message, 0, &route);
        const struct tp_body body = {.data = message.data + route.body_offset,
                                     .size = route.body_size,
                                     .meaning = route.meaning,
                                     .scale = *scale};
        const bool is_book = route.meaning == TP_MEANING_DELTA || route.meaning == TP_MEANING_BASE;
        if (!is_book || venue->decode_depth(&body, out) != TP_DECODE_OK)
            return 0;
    }
    return clock_now() - start_ns;
}

uint64_t tp_bench_garbage(struct tp_feed *feed, const struct tp_bench_messages *messages)
{
    struct timespec start, end;
    const uint64_t now_ns = clock_now();
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start);
    for (uint32_t i = 0; i < messages->count; i++) {
        const struct tp_span payload = {messages->data + messages->offset[i],
                                        messages->offset[i + 1] - messages->offset[i]};
        (void)tp_feed_message(feed, 0, messages->opcode, payload, now_ns);
    }
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
    return (uint64_t)(end.tv_sec - start.tv_sec) * 1000000000u +
           (uint64_t)(end.tv_nsec - start.tv_nsec);
}

uint64_t tp_bench_feed(struct tp_feed *feed, const struct tp_bench_messages *messages)
{
    const uint64_t start_ns = clock_now();
    for (uint32_t i = 0; i < messages->count; i++) {
        const struct tp_span payload = {messages->data + messages->offset[i],
                                        messages->offset[i + 1] - messages->offset[i]};
        if (tp_feed_message(feed, 0, messages->opcode, payload, start_ns) != TP_FEED_APPLIED)
            return 0;
    }
    return clock_now() - start_ns;
}
