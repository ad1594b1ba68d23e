/* How long does one in-order segment take, from TCP header bytes to delivered span?
 *
 *   bench_in_order     prints the least of several runs, in nanoseconds a segment
 *
 * In memory, one thread, nothing else of the stack: parse and tp_tcp_input for each segment, and
 * one tp_tcp_output drain after each burst of eight, as the reader does. The segments come from
 * bytes prepared beforehand, so they are in cache. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "netstack/tcp/connection.h"
#include "netstack/wire/tcp_header.h"

enum { BURST = 8, SEGMENT_COUNT = 1 << 20, RUN_COUNT = 7, FRAME_SIZE = 1600 };

struct bench {
    struct tp_tcp *tcp;
    uint32_t sequence, acknowledgment;
    uint64_t now_ns, bytes;
    uint8_t frame[BURST][FRAME_SIZE];
    uint8_t out[FRAME_SIZE];
};

static uint64_t clock_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000ull + (uint64_t)time.tv_nsec;
}

static struct tp_tcp_segment peer_segment(const struct bench *bench, uint8_t flags)
{
    return (struct tp_tcp_segment){.source_port = 443,
                                   .destination_port = 40000,
                                   .sequence = bench->sequence,
                                   .acknowledgment = bench->acknowledgment,
                                   .flags = flags,
                                   .window = 500,
                                   .has_timestamps = true,
                                   .timestamp_value = 1000};
}

static uint32_t drain(struct bench *bench)
{
    uint32_t count = 0;
    while (tp_tcp_output(bench->tcp, bench->now_ns, bench->out, FRAME_SIZE) > 0) {
        count++;
    }
    return count;
}

static void handshake(struct bench *bench)
{
    struct tp_tcp_segment segment;
    struct tp_tcp_delivery delivery;
    tp_tcp_connect(bench->tcp, bench->now_ns);
    uint32_t size = tp_tcp_output(bench->tcp, bench->now_ns, bench->out, FRAME_SIZE);
    tp_tcp_segment_parse((struct tp_span){bench->out, size}, &segment);
    bench->acknowledgment = segment.sequence + 1;
    struct tp_tcp_segment answer = peer_segment(bench, TP_TCP_SYN | TP_TCP_ACK);
    answer.has_mss = answer.sack_permitted = answer.has_window_scale = true;
    answer.mss = 1460;
    answer.window_scale = 7;
    tp_tcp_input(bench->tcp, &answer, bench->now_ns, &delivery);
    drain(bench);
    bench->sequence++;
}

static void burst_write(struct bench *bench, uint32_t payload)
{
    for (uint32_t index = 0; index < BURST; index++) {
        struct tp_tcp_segment segment = peer_segment(bench, TP_TCP_ACK | TP_TCP_PSH);
        tp_tcp_segment_write_header(&segment, bench->frame[index]);
        bench->sequence += payload;
    }
}

static void burst_input(struct bench *bench, uint32_t payload)
{
    struct tp_tcp_segment segment;
    struct tp_tcp_delivery delivery;
    for (uint32_t index = 0; index < BURST; index++) {
        if (tp_tcp_segment_parse((struct tp_span){bench->frame[index], 32 + payload}, &segment) &&
            tp_tcp_input(bench->tcp, &segment, bench->now_ns, &delivery) == TP_OK) {
            bench->bytes += delivery.span[0].size;
        }
    }
}

static double run(struct bench *bench, uint32_t payload)
{
    uint64_t input_ns = 0, output_ns = 0, acks = 0;
    for (uint32_t count = 0; count < SEGMENT_COUNT; count += BURST) {
        burst_write(bench, payload);
        bench->now_ns += 8000;
        uint64_t start = clock_ns();
        burst_input(bench, payload);
        uint64_t between = clock_ns();
        acks += drain(bench);
        input_ns += between - start;
        output_ns += clock_ns() - between;
    }
    printf("payload %4u: input %5.1f ns, output %5.1f ns a segment, %.2f ACKs a burst of %d\n",
           payload, (double)input_ns / SEGMENT_COUNT, (double)output_ns / SEGMENT_COUNT,
           (double)acks * BURST / SEGMENT_COUNT, BURST);
    return (double)(input_ns + output_ns) / SEGMENT_COUNT;
}

int main(void)
{
    const uint32_t payloads[] = {256, 1448};
    struct tp_tcp_config config;
    tp_tcp_config_init(&config);
    config.local_port = 40000;
    config.remote_port = 443;
    size_t size = (tp_tcp_memory_size(&config) + 63) / 64 * 64;
    static struct bench bench;
    void *memory = aligned_alloc(64, size);
    if (memory == NULL) {
        return EXIT_FAILURE;
    }
    bench.tcp = tp_tcp_init(memory, &config);
    bench.now_ns = 1000000000ull;
    handshake(&bench);
    for (size_t which = 0; which < sizeof payloads / sizeof payloads[0]; which++) {
        double least = 1e9;
        for (uint32_t count = 0; count < RUN_COUNT; count++) {
            double took = run(&bench, payloads[which]);
            least = took < least ? took : least;
        }
        printf("payload %4u: least %.1f ns a segment, input and output\n", payloads[which], least);
    }
    printf("%llu bytes delivered\n", (unsigned long long)bench.bytes);
    free(memory);
    return EXIT_SUCCESS;
}
