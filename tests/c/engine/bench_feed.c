/* Nanoseconds of one 2-level MEXC message through the feed (route, decode, sync, apply, publish)
 * from memory, with 1 to 1,000 instruments in turn. The same number of different messages in each
 * case, so that reading them costs the same. Best of several repeats; a line per case, and the
 * ratio to one instrument.
 *
 * Not a test. Run it alone on a pinned core: taskset -c 1 build/cp311/tests/c/engine/bench_feed */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/feed/feed.h"
#include "netstack/ws/ws.h"

enum {
    MESSAGES = 1 << 16,
    MESSAGE_SIZE = 192,
    INSTRUMENTS_MAX = 1000,
    REPEATS = 9,
    LEVELS = 500,
    HUGE_PAGE = 2 << 20,
};

extern const struct tp_venue tp_venue_mexc;

struct message {
    uint32_t size;
    uint8_t data[MESSAGE_SIZE];
};

static uint32_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (uint32_t)(*state >> 32);
}

static void *map(size_t size)
{
    size = (size + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    uint8_t *memory =
        mmap(NULL, size + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert(memory != MAP_FAILED);
    memory += (HUGE_PAGE - (uintptr_t)memory % HUGE_PAGE) % HUGE_PAGE;
    if (getenv("NO_HUGE_PAGES") == NULL)
        (void)madvise(memory, size, MADV_HUGEPAGE);
    memset(memory, 0, size);
    return memory;
}

static size_t put(uint8_t *out, uint8_t tag, const char *text)
{
    const size_t size = strlen(text);
    out[0] = tag;
    out[1] = (uint8_t)size;
    memcpy(out + 2, text, size);
    return size + 2;
}

static size_t put_level(uint8_t *out, uint8_t tag, int64_t price, uint32_t quantity)
{
    char text[32];
    uint8_t item[64];
    snprintf(text, sizeof text, "%lld.%02lld", (long long)(price / 100), (long long)(price % 100));
    size_t size = put(item, 0x0a, text);
    snprintf(text, sizeof text, "%u.%06u", quantity % 9, quantity == 0 ? 0 : quantity % 900000 + 1);
    size += put(item + size, 0x12, quantity == 0 ? "0" : text);
    out[0] = tag;
    out[1] = (uint8_t)size;
    memcpy(out + 2, item, size);
    return size + 2;
}

static void name_channel(char *out, size_t capacity, uint32_t instrument)
{
    snprintf(out, capacity, "spot@public.aggre.depth.v3.api.pb@10ms@COIN%03uUSDT", instrument);
}

static void make_message(struct message *message, uint32_t instrument, uint64_t version,
                         uint64_t *seed)
{
    char text[96];
    uint8_t body[MESSAGE_SIZE];
    const int64_t middle = 5000000;
    const uint32_t distance = 1 + next_random(seed) % 20;
    const uint32_t quantity = next_random(seed) % 10 < 3 ? 0 : next_random(seed) | 1;
    size_t size = put_level(body, 0x0a, middle + distance, quantity);
    size += put_level(body + size, 0x12, middle - 1 - next_random(seed) % 20, quantity ^ 77);
    snprintf(text, sizeof text, "%llu", (unsigned long long)version);
    size += put(body + size, 0x22, text);
    size += put(body + size, 0x2a, text);
    name_channel(text, sizeof text, instrument);
    message->size = (uint32_t)put(message->data, 0x0a, text);
    memcpy(message->data + message->size, "\x30\x80\x80\x80\x80\x80\x32\xca\x13", 9);
    message->size += 9;
    assert(size < 128 && message->size + 1 + size <= MESSAGE_SIZE);
    message->data[message->size++] = (uint8_t)size;
    memcpy(message->data + message->size, body, size);
    message->size += (uint32_t)size;
}

struct bench {
    struct tp_clock clock;
    struct tp_ring_writer ring;
    struct tp_snapshot_writer snapshots;
    struct tp_feed *feed;
    struct message *messages;
    uint32_t instruments;
    _Atomic uint64_t head;
};

static void open_feed(struct bench *bench, void *memory, size_t memory_size)
{
    const struct tp_feed_config config = {.venues = {{.venue = &tp_venue_mexc}},
                                          .instrument_count = bench->instruments,
                                          .connection_count = 1,
                                          .buffered_bytes_max = 1 << 16,
                                          .buffer_pool_bytes = 1 << 20,
                                          .settle_ns = 1,
                                          .ring = &bench->ring,
                                          .snapshots = &bench->snapshots,
                                          .clock = &bench->clock};
    assert(tp_feed_memory_size(&config) <= memory_size);
    bench->feed = tp_feed_init(memory, &config);
    for (uint32_t i = 0; i < bench->instruments; i++) {
        char channel[96];
        name_channel(channel, sizeof channel, i);
        const struct tp_instrument_record record = {
            .price_exponent = -2, .quantity_exponent = -6, .tick_size = 1};
        const bool added = tp_feed_instrument_add(bench->feed, i, &record, channel, 0);
        assert(added);
    }
}

static void make_live(struct bench *bench)
{
    static struct tp_level bids[LEVELS], asks[LEVELS];
    for (int i = 0; i < LEVELS; i++) {
        bids[i] = (struct tp_level){4999999 - i, 1000000};
        asks[i] = (struct tp_level){5000001 + i, 1000000};
    }
    tp_feed_connection_up(bench->feed, 0, 1);
    tp_feed_tick(bench->feed, 3);
    uint32_t wanted[INSTRUMENTS_MAX];
    const uint32_t count = tp_feed_base_wanted(bench->feed, 0, wanted, INSTRUMENTS_MAX);
    assert(count == bench->instruments);
    for (uint32_t i = 0; i < count; i++) {
        const struct tp_feed_base base = {.instrument = i,
                                          .version = 1000000,
                                          .bids = bids,
                                          .bid_count = LEVELS,
                                          .asks = asks,
                                          .ask_count = LEVELS};
        const bool offered = tp_feed_base_offer(bench->feed, 0, &base);
        assert(offered);
        tp_feed_tick(bench->feed, 4);
    }
}

static double run(struct bench *bench)
{
    double best = 1e9;
    for (int repeat = 0; repeat < REPEATS; repeat++) {
        make_live(bench);
        const uint64_t applied_before = tp_feed_counters(bench->feed)->levels;
        const uint64_t before = tp_clock_now_ns(&bench->clock);
        for (uint32_t i = 0; i < MESSAGES; i++)
            (void)tp_feed_message(
                bench->feed, 0, TP_WS_BINARY,
                (struct tp_span){bench->messages[i].data, bench->messages[i].size}, before);
        const double took = (double)(tp_clock_now_ns(&bench->clock) - before) / MESSAGES;
        assert(tp_feed_counters(bench->feed)->levels - applied_before == 2 * MESSAGES);
        best = took < best ? took : best;
    }
    return best;
}

int main(void)
{
    enum { CELL_SIZE = 768, RING_CAPACITY = 1 << 14 };
    static struct bench bench;
    const size_t memory_size = (size_t)200 << 20;
    tp_clock_calibrate(&bench.clock);
    void *memory = map(memory_size);
    bench.messages = map(MESSAGES * sizeof(struct message));
    bench.ring = (struct tp_ring_writer){.slots = map(RING_CAPACITY * TP_RING_SLOT_SIZE),
                                         .mask = RING_CAPACITY - 1,
                                         .head = &bench.head};
    bench.snapshots = (struct tp_snapshot_writer){
        .cells = map((size_t)INSTRUMENTS_MAX * TP_SNAPSHOT_VERSIONS * CELL_SIZE),
        .index = map(INSTRUMENTS_MAX * sizeof(uint64_t)),
        .slot_count = INSTRUMENTS_MAX,
        .cell_size = CELL_SIZE,
        .word_count = sizeof(struct tp_book_record) / sizeof(uint64_t)};
    double one = 0;
    for (uint32_t instruments = 1; instruments <= INSTRUMENTS_MAX; instruments *= 10) {
        uint64_t seed = 88172645463325252u;
        bench.instruments = instruments;
        for (uint32_t i = 0; i < MESSAGES; i++)
            make_message(&bench.messages[i], i % instruments, 1000001 + i / instruments, &seed);
        open_feed(&bench, memory, memory_size);
        const double took = run(&bench);
        one = instruments == 1 ? took : one;
        printf("%4u instruments: %6.1f ns a message, %.2f million a second, ratio %.2f\n",
               instruments, took, 1e3 / took, took / one);
    }
    return 0;
}
