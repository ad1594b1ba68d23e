/* Nanoseconds of one level update with the best of both sides read after it, near-touch flow, and
 * of copying the 20 best levels a side. Best of several repeats; prints a line per case.
 *
 * Not a test: tests/unit/test_book_differential.py proves the book right. Run it alone on a pinned
 * core: taskset -c 1 build/cp311/tests/c/engine/bench_book */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "engine/book/book.h"

enum { FLOW_COUNT = 1 << 16, REPEATS = 15, COPY_DEPTH = 20 };

struct update {
    enum tp_side side;
    struct tp_level level;
};

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint32_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (uint32_t)(*state >> 32);
}

/* The touch walks; updates stand at a geometric distance of about `mean` ticks, 30 % removals. */
static void make_flow(struct update *flow, uint32_t mean, int64_t middle, int64_t *end)
{
    uint64_t seed = 0x9e3779b97f4a7c15u + mean;
    for (uint32_t i = 0; i < FLOW_COUNT; i++) {
        if (next_random(&seed) % 64 == 0)
            middle += next_random(&seed) % 2 != 0 ? 1 : -1;
        const enum tp_side side = next_random(&seed) % 2 != 0 ? TP_SIDE_ASK : TP_SIDE_BID;
        uint32_t distance = 1;
        while (next_random(&seed) % (mean + 1) != 0 && distance < 50 * mean)
            distance++;
        const int64_t price = side == TP_SIDE_ASK ? middle + distance : middle - distance;
        const int64_t quantity = next_random(&seed) % 10 < 3 ? 0 : 1 + next_random(&seed) % 1000;
        flow[i] = (struct update){side, {price, quantity}};
    }
    *end = middle;
}

static void fill(struct tp_book *book, uint32_t level_count, int64_t middle)
{
    tp_book_clear(book);
    for (int64_t i = 1; i <= (int64_t)level_count; i++) {
        (void)tp_book_set_level(book, TP_SIDE_BID, middle - i, 5);
        (void)tp_book_set_level(book, TP_SIDE_ASK, middle + i, 5);
    }
}

static double update_ns(struct tp_book *book, const struct update *flow, int64_t *sum)
{
    const uint64_t before = now_ns();
    for (uint32_t i = 0; i < FLOW_COUNT; i++) {
        (void)tp_book_set_level(book, flow[i].side, flow[i].level.price, flow[i].level.quantity);
        *sum += tp_book_best(book, TP_SIDE_BID).price + tp_book_best(book, TP_SIDE_ASK).price;
    }
    return (double)(now_ns() - before) / FLOW_COUNT;
}

static double copy_ns(const struct tp_book *book, int64_t *sum)
{
    struct tp_level levels[COPY_DEPTH];
    const uint64_t before = now_ns();
    for (uint32_t i = 0; i < FLOW_COUNT; i++) {
        *sum += tp_book_top(book, TP_SIDE_BID, levels, COPY_DEPTH) + levels[0].quantity;
        *sum += tp_book_top(book, TP_SIDE_ASK, levels, COPY_DEPTH) + levels[1].quantity;
    }
    return (double)(now_ns() - before) / FLOW_COUNT;
}

int main(void)
{
    const struct tp_book_config config = {.tick_size = 1};
    static struct update flow[FLOW_COUNT];
    struct tp_book *book = tp_book_init(aligned_alloc(64, tp_book_memory_size(&config)), &config);
    int64_t sum = 0;
    printf("book of %zu bytes, window %d ticks\n", tp_book_memory_size(&config),
           TP_BOOK_WINDOW_TICKS_DEFAULT);
    for (uint32_t mean = 3; mean <= 300; mean *= 10)
        for (uint32_t levels = 50; levels <= 1000; levels *= 20) {
            int64_t end;
            make_flow(flow, mean, 10000000, &end);
            double update = 1e9, copy = 1e9;
            for (int i = 0; i < REPEATS; i++) {
                fill(book, levels, 10000000);
                double took = update_ns(book, flow, &sum);
                update = took < update ? took : update;
                took = copy_ns(book, &sum);
                copy = took < copy ? took : copy;
            }
            printf(
                "mean distance %3u, %4u levels a side: update+best %5.1f ns, 2x%d copied %5.1f ns,"
                " recentred %llu\n",
                mean, levels, update, COPY_DEPTH, copy,
                (unsigned long long)tp_book_counters(book)->recentred);
        }
    free(book);
    return sum == 42;
}
