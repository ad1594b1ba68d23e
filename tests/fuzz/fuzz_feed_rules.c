/* sources: engine/book/book.c engine/feed/checksum.c engine/feed/depth.c engine/feed/feed.c engine/feed/feed_state.c engine/feed/kept.c engine/feed/lost.c engine/feed/cold_side.c engine/feed/asked.c engine/feed/backlog.c engine/feed/mailbox.c engine/feed/publish.c engine/feed/race.c engine/feed/race_state.c engine/feed/rescale.c engine/feed/rows.c engine/feed/states.c engine/feed/sync.c engine/feed/trading.c engine/feed/verify.c engine/recording/tap.c shm/message_ring.c shm/ring_gate.c shm/snapshot_table.c shm/clock.c engine/feed/market.c engine/feed/plain.c proto/encoding/decimal.c proto/encoding/json_plain.c */
/* A feed under any rule of proto/sync_rule.h, fed by any messages of a venue that exists only here.
 *
 * Input: a rule (7 bytes), then a program of operations; see step(). A message of the venue is
 * {part count} and for each part {instrument and meaning, first, last, previous, flags, checksum,
 * bids, asks}. Invariants after each operation: the books' own; a LIVE book is not crossed, has its
 * reason and, where the rule truncates, no more levels than the venue keeps; a LIVE book of a
 * message with a checksum gave it. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "engine/book/book.h"
#include "engine/feed/feed.h"

enum {
    INSTRUMENTS = 2,
    RING_CAPACITY = 64,
    WORDS = sizeof(struct tp_book_record) / sizeof(uint64_t),
    CELL_SIZE = 768,
    STEPS_MAX = 200,
    LEVELS_MAX = 15,
    PART_SIZE_MIN = 7,
    RULE_SIZE = 7,
};

struct input {
    const uint8_t *data;
    size_t size;
};

static uint8_t take(struct input *in)
{
    if (in->size == 0)
        return 0;
    in->size--;
    return *in->data++;
}

/* ---- the venue */

static struct tp_sync_rule rule;
static const struct tp_channel channel = {TP_MEANING_DELTA, &rule};

static const struct tp_channel *describe(const char *name)
{
    (void)name;
    return &channel;
}

static size_t router_size(uint32_t channel_count_max, uint32_t connection_count)
{
    return (size_t)channel_count_max + connection_count;
}

static void router_init(void *router, uint32_t channel_count_max, uint32_t connection_count)
{
    memset(router, 0, router_size(channel_count_max, connection_count));
}

static bool router_add(void *router, const char *name, uint32_t instrument)
{
    (void)name;
    ((uint8_t *)router)[instrument] = 1;
    return true;
}

/* The size of a part: PART_SIZE_MIN and two bytes a level. 0: it does not fit. */
static size_t part_size(const uint8_t *data, size_t size)
{
    if (size < PART_SIZE_MIN)
        return 0;
    const size_t whole = PART_SIZE_MIN + 2 * (size_t)(data[6] % (2 * LEVELS_MAX));
    return whole <= size ? whole : 0;
}

static void route(void *router, const struct tp_venue_message *message, uint32_t from,
                  struct tp_route *out)
{
    (void)router;
    const uint8_t *data = message->data + from;
    const size_t size = part_size(data, message->size - from);
    out->next_offset = 0;
    out->sequence = 0;
    out->meaning = TP_MEANING_UNKNOWN;
    if (size == 0)
        return;
    out->instrument = data[0] & 1;
    out->meaning = (enum tp_meaning)((data[0] >> 1) % (TP_MEANING_NOTICE + 1));
    if ((data[0] & 0x80) == 0)
        out->meaning = TP_MEANING_DELTA;
    out->body_offset = from;
    out->body_size = (uint32_t)size;
    out->sequence = data[1];
    if (from + size < message->size)
        out->next_offset = from + (uint32_t)size;
}

static enum tp_decode_status decode_depth(const struct tp_body *body, struct tp_depth_update *out)
{
    const uint8_t *data = body->data;
    assert(part_size(data, body->size) == body->size);
    out->last_version = data[2];
    out->first_version = data[1] <= data[2] ? data[1] : data[2];
    out->previous_version = data[3];
    out->flags = data[4] & (TP_DEPTH_BASE | TP_DEPTH_TRUNCATED | TP_DEPTH_CHECKSUM | TP_DEPTH_TOP);
    out->checksum = data[5] < 4 ? 0 : data[5];
    out->exchange_ns = 0;
    out->bid_count = out->ask_count = 0;
    for (size_t at = PART_SIZE_MIN; at < body->size; at += 2) {
        const int64_t price = data[at] & 0x7f, quantity = data[at + 1] % 5;
        if (data[at] < 0x80)
            out->bids[out->bid_count++] = (struct tp_level){price, quantity};
        else
            out->asks[out->ask_count++] = (struct tp_level){price, quantity};
    }
    return data[4] >= 0xf0 ? TP_DECODE_MALFORMED : TP_DECODE_OK;
}

static const struct tp_venue venue = {.name = "fuzz",
                                      .describe = describe,
                                      .router_size = router_size,
                                      .router_init = router_init,
                                      .router_add = router_add,
                                      .route = route,
                                      .decode_depth = decode_depth};

static void read_rule(struct input *in)
{
    uint8_t bytes[RULE_SIZE];
    for (int i = 0; i < RULE_SIZE; i++)
        bytes[i] = take(in);
    rule = (struct tp_sync_rule){.chain = bytes[1] % 4,
                                 .base = bytes[2] % 3,
                                 .meeting = bytes[3] % 2,
                                 .restart = bytes[4] % 3,
                                 .checksum = bytes[5] % 2,
                                 .may_overlap = (bytes[0] & 1) != 0,
                                 .in_band_base = (bytes[0] & 2) != 0,
                                 .unchanged = (bytes[0] & 4) != 0,
                                 .counts_connection = (bytes[0] & 8) != 0,
                                 .must_truncate = (bytes[0] & 16) != 0,
                                 .depth = 1 + bytes[6] % 20};
}

/* ---- the feed */

struct rig {
    struct tp_clock clock;
    struct tp_ring_slot slots[RING_CAPACITY];
    _Atomic uint64_t head, index[INSTRUMENTS];
    _Alignas(64) uint8_t cells[INSTRUMENTS * TP_SNAPSHOT_VERSIONS * CELL_SIZE];
    struct tp_ring_writer ring;
    struct tp_snapshot_writer snapshots;
    struct tp_feed *feed;
    uint64_t now_ns;
};

static void open_rig(struct rig *rig, void *memory, const struct tp_feed_config *limits)
{
    struct tp_feed_config config = *limits;
    rig->ring =
        (struct tp_ring_writer){.slots = rig->slots, .mask = RING_CAPACITY - 1, .head = &rig->head};
    rig->snapshots = (struct tp_snapshot_writer){.cells = rig->cells,
                                                 .index = rig->index,
                                                 .slot_count = INSTRUMENTS,
                                                 .cell_size = CELL_SIZE,
                                                 .word_count = WORDS};
    config.ring = &rig->ring;
    config.snapshots = &rig->snapshots;
    config.clock = &rig->clock;
    rig->feed = tp_feed_init(memory, &config);
    for (uint32_t i = 0; i < INSTRUMENTS; i++) {
        const struct tp_instrument_record record = {.tick_size = 1};
        const bool added = tp_feed_instrument_add(rig->feed, i, &record, "x", i);
        assert(added);
    }
}

static void message(struct rig *rig, struct input *in, uint8_t operation)
{
    size_t size = take(in);
    size = size < in->size ? size : in->size;
    /* An exact copy, so that the sanitizer sees every byte read beyond it. */
    uint8_t *exact = malloc(size + 1);
    if (size > 0)
        memcpy(exact, in->data, size);
    in->data += size;
    in->size -= size;
    (void)tp_feed_message(rig->feed, operation >> 6 & 1, 1 + (operation >> 5 & 1),
                          (struct tp_span){exact, size}, rig->now_ns);
    free(exact);
}

static void offer(struct rig *rig, struct input *in, uint32_t instrument)
{
    struct tp_level bids[LEVELS_MAX], asks[LEVELS_MAX];
    const uint32_t count = take(in) % LEVELS_MAX;
    const uint8_t version = take(in);
    for (uint32_t i = 0; i < count; i++) {
        bids[i] = (struct tp_level){60 - i, 1 + i};
        asks[i] = (struct tp_level){61 + i, 1};
    }
    const struct tp_feed_base base = {.instrument = instrument,
                                      .version = version,
                                      .bids = bids,
                                      .bid_count = count,
                                      .asks = asks,
                                      .ask_count = count,
                                      .truncated = version >> 3 & 3};
    uint32_t wanted[INSTRUMENTS];
    (void)tp_feed_base_wanted(rig->feed, 0, wanted, INSTRUMENTS);
    (void)tp_feed_base_offer(rig->feed, 0, &base);
    tp_feed_tick(rig->feed, rig->now_ns);
}

static void step(struct rig *rig, struct input *in)
{
    const uint8_t operation = take(in);
    const uint32_t one = operation >> 6 & 1;
    rig->now_ns += 1 + (uint64_t)(operation >> 4 & 3) * 300000000u;
    switch (operation & 7) {
    case 4:
        tp_feed_tick(rig->feed, rig->now_ns);
        break;
    case 5:
        tp_feed_connection_up(rig->feed, one, rig->now_ns);
        break;
    case 6:
        tp_feed_connection_down(rig->feed, one, rig->now_ns);
        break;
    case 7:
        offer(rig, in, one);
        break;
    default:
        message(rig, in, operation);
    }
}

static void check(const struct rig *rig)
{
    for (uint32_t i = 0; i < INSTRUMENTS; i++) {
        const struct tp_book *book = tp_feed_book(rig->feed, i);
        assert(tp_book_check(book));
        if (tp_feed_state(rig->feed, i) != TP_BOOK_LIVE)
            continue;
        assert(!tp_book_crossed(book) && tp_feed_reason(rig->feed, i) == TP_SYNC_REASON_NONE);
        for (int side = TP_SIDE_BID; side <= TP_SIDE_ASK; side++)
            assert(!rule.must_truncate || tp_book_level_count(book, side) <= rule.depth);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct tp_feed_config limits = {.venues = {{.venue = &venue}},
                                                 .instrument_count = INSTRUMENTS,
                                                 .connection_count = INSTRUMENTS,
                                                 .buffered_bytes_max = 1024,
                                                 .buffer_pool_bytes = 4096,
                                                 .silent_after_ns = 1000000000,
                                                 .settle_ns = 300000000,
                                                 .base_timeout_ns = 600000000,
                                                 .window_ticks = 256,
                                                 .overflow_levels = 30};
    static struct rig rig;
    static void *memory;
    if (memory == NULL)
        memory = malloc(tp_feed_memory_size(&limits));
    memset(&rig, 0, sizeof rig);
    rig.now_ns = 1;
    struct input in = {data, size};
    read_rule(&in);
    open_rig(&rig, memory, &limits);
    for (int i = 0; i < STEPS_MAX && in.size > 0; i++) {
        step(&rig, &in);
        check(&rig);
    }
    return 0;
}
