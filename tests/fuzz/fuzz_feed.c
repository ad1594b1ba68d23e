/* sources: engine/book/book.c engine/feed/checksum.c engine/feed/depth.c engine/feed/feed.c engine/feed/feed_state.c engine/feed/kept.c engine/feed/lost.c engine/feed/cold_side.c engine/feed/asked.c engine/feed/backlog.c engine/feed/mailbox.c engine/feed/publish.c engine/feed/race.c engine/feed/race_state.c engine/feed/rescale.c engine/feed/rows.c engine/feed/states.c engine/feed/sync.c engine/feed/trading.c engine/feed/verify.c engine/recording/tap.c shm/message_ring.c proto/encoding/decimal.c proto/encoding/json.c proto/encoding/json_levels.c proto/encoding/digits.c proto/encoding/protobuf.c proto/venues/mexc/decode.c proto/venues/mexc/levels.c proto/venues/mexc/router.c proto/venues/mexc/venue.c shm/ring_gate.c shm/snapshot_table.c shm/clock.c engine/feed/market.c engine/feed/plain.c proto/encoding/json_plain.c proto/venues/mexc/deals.c */
/* Any order of messages, snapshots, connections and time, on a feed with tiny limits.
 *
 * Input: a program of one-byte operations; see step(). Every other size has both books in a race of
 * two connections, and bit 3 of a message's operation says which one it comes by. Invariants after
 * each: the books' own, a LIVE book is not crossed, what is published is the feed's state, and the
 * snapshot's ring index is where the ring stands. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "engine/book/book.h"
#include "engine/feed/feed.h"
#include "engine/feed/rescale.h"

extern const struct tp_venue tp_venue_mexc;

enum {
    INSTRUMENTS = 2,
    RING_CAPACITY = 64,
    WORDS = sizeof(struct tp_book_record) / sizeof(uint64_t),
    CELL_SIZE = 768,
    STEPS_MAX = 200,
    LEVELS_MAX = 64,
};

static const char *const CHANNELS[INSTRUMENTS] = {"spot@public.aggre.depth.v3.api.pb@10ms@AB",
                                                  "spot@public.aggre.depth.v3.api.pb@10ms@CD"};

struct input {
    const uint8_t *data;
    size_t size;
};

struct rig {
    struct tp_clock clock;
    struct tp_ring_slot slots[RING_CAPACITY];
    _Atomic uint64_t head, index[INSTRUMENTS];
    _Alignas(64) uint8_t cells[INSTRUMENTS * TP_SNAPSHOT_VERSIONS * CELL_SIZE];
    struct tp_ring_writer ring;
    struct tp_snapshot_writer snapshots;
    struct tp_feed *feed;
    uint64_t now_ns;
    bool races;
};

static uint8_t take(struct input *in)
{
    if (in->size == 0)
        return 0;
    in->size--;
    return *in->data++;
}

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
    config.races = rig->races;
    rig->feed = tp_feed_init(memory, &config);
    assert(tp_feed_race(rig->feed, 0, INSTRUMENTS) == rig->races);
    for (uint32_t i = 0; i < INSTRUMENTS; i++) {
        const struct tp_instrument_record record = {
            .price_exponent = -2, .quantity_exponent = -3, .tick_size = i == 0 ? 1 : 50};
        const bool added =
            tp_feed_instrument_add(rig->feed, i, &record, CHANNELS[i], rig->races ? 0 : i);
        assert(added);
    }
}

/* A message on a real channel with a real body tag, whatever stands in it; or no frame at all. */
static void message(struct rig *rig, struct input *in, uint8_t operation)
{
    uint8_t *data = malloc(512);
    size_t size = 0;
    const uint32_t instrument = operation >> 6 & 1;
    if ((operation & 0x80) == 0) {
        size = strlen(CHANNELS[instrument]);
        data[0] = 0x0a;
        data[1] = (uint8_t)size;
        memcpy(data + 2, CHANNELS[instrument], size);
        size += 2;
        memcpy(data + size, "\xca\x13", 2);
        size += 2;
    }
    size_t length = take(in);
    length = length < in->size ? length : in->size;
    if ((operation & 0x80) == 0)
        data[size++] = (uint8_t)(length < 128 ? length : 127);
    if (length > 0)
        memcpy(data + size, in->data, length);
    in->data += length;
    in->size -= length;
    /* An exact copy, so that the sanitizer sees every byte read beyond it. */
    uint8_t *exact = malloc(size + length + 1);
    memcpy(exact, data, size + length);
    const uint32_t connection = rig->races ? operation >> 3 & 1 : instrument;
    (void)tp_feed_message(rig->feed, connection, 1 + (operation >> 5 & 1),
                          (struct tp_span){exact, size + length}, rig->now_ns);
    free(exact);
    free(data);
}

static void offer(struct rig *rig, struct input *in, uint32_t instrument)
{
    struct tp_level bids[LEVELS_MAX], asks[LEVELS_MAX];
    const uint8_t shape = take(in);
    const uint32_t count = shape % LEVELS_MAX;
    const int64_t step = 1 + take(in) * (shape & 1 ? 1000 : 1), from = 20000 + take(in);
    for (uint32_t i = 0; i < count; i++) {
        bids[i] = (struct tp_level){from - i * step, 1 + i};
        asks[i] = (struct tp_level){from + 1 + i * step - (shape == 77 ? 500 : 0), shape & 2};
    }
    const struct tp_feed_base base = {.instrument = instrument,
                                      .version = take(in),
                                      .bids = bids,
                                      .bid_count = count,
                                      .asks = asks,
                                      .ask_count = count,
                                      .truncated = shape >> 4 & 3};
    uint32_t wanted[INSTRUMENTS];
    (void)tp_feed_base_wanted(rig->feed, 0, wanted, INSTRUMENTS);
    (void)tp_feed_base_offer(rig->feed, 0, &base);
}

/* As the cold thread would, or any scale at all. */
static void rescale(struct rig *rig, struct input *in, uint32_t instrument)
{
    struct tp_feed_misfit misfit;
    while (tp_feed_misfit_take(rig->feed, &misfit)) /* ends: at most one an instrument */
        assert(misfit.instrument < INSTRUMENTS && misfit.status >= TP_DECODE_BAD_NUMBER);
    const struct tp_feed_scale scale = {.tick_size = 1 + take(in),
                                        .generation = 2,
                                        .price_exponent = (int8_t)(1 - take(in) % 21),
                                        .quantity_exponent = (int8_t)(1 - take(in) % 21)};
    const bool moved = tp_feed_rescale(rig->feed, instrument, &scale, rig->now_ns);
    assert(!moved || tp_feed_state(rig->feed, instrument) != TP_BOOK_LIVE);
    assert(!moved || tp_feed_scale(rig->feed, instrument).price_exponent == scale.price_exponent);
}

static void step(struct rig *rig, struct input *in)
{
    const uint8_t operation = take(in);
    const uint32_t one = operation >> 6 & 1;
    rig->now_ns += 1 + (uint64_t)(operation >> 4 & 3) * 300000000u;
    switch (operation & 7) {
    case 0:
    case 1:
    case 2:
        message(rig, in, operation);
        break;
    case 3:
        offer(rig, in, one);
        tp_feed_tick(rig->feed, rig->now_ns);
        break;
    case 4:
        tp_feed_tick(rig->feed, rig->now_ns);
        break;
    case 5:
        tp_feed_connection_up(rig->feed, one, rig->now_ns);
        break;
    case 6:
        if ((operation & 8) != 0 && (operation & 16) != 0)
            tp_feed_confirmed_on(rig->feed, one, one, rig->now_ns);
        else if ((operation & 8) != 0)
            tp_feed_refused_on(rig->feed, one, one, rig->now_ns);
        else
            tp_feed_connection_down(rig->feed, one, rig->now_ns);
        break;
    default:
        if ((operation & 8) != 0)
            rescale(rig, in, one);
        else
            tp_feed_base_failed(rig->feed, 0, one);
    }
}

static void check(struct rig *rig)
{
    for (uint32_t i = 0; i < INSTRUMENTS; i++) {
        const struct tp_book *book = tp_feed_book(rig->feed, i);
        const enum tp_book_state state = tp_feed_state(rig->feed, i);
        assert(tp_book_check(book));
        assert(state <= TP_BOOK_CROSSED);
        if (state == TP_BOOK_LIVE)
            assert(!tp_book_crossed(book) && tp_feed_reason(rig->feed, i) == TP_SYNC_REASON_NONE);
        struct tp_snapshot_reader reader = {.cells = rig->cells,
                                            .index = rig->index,
                                            .slot_count = INSTRUMENTS,
                                            .cell_size = CELL_SIZE,
                                            .word_count = WORDS};
        union {
            struct tp_book_record record;
            uint64_t words[WORDS];
        } seen;
        uint64_t ring_index;
        const uint64_t version = tp_snapshot_read(&reader, i, seen.words, &ring_index);
        assert(version > 0 && seen.record.state == state && seen.record.instrument == i);
        assert(seen.record.bid_count <= TP_BOOK_DEPTH_MAX && ring_index <= rig->ring.next);
        if (state == TP_BOOK_LIVE && seen.record.bid_count > 0)
            assert(seen.record.bids[0].price == tp_book_best(book, TP_SIDE_BID).price);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct tp_feed_config limits = {.venues = {{.venue = &tp_venue_mexc}},
                                                 .instrument_count = INSTRUMENTS,
                                                 .connection_count = INSTRUMENTS,
                                                 .buffered_bytes_max = 1024,
                                                 .buffer_pool_bytes = 4096,
                                                 .silent_after_ns = 1000000000,
                                                 .settle_ns = 300000000,
                                                 .races = true,
                                                 .moves_scale = true,
                                                 .window_ticks = 256,
                                                 .overflow_levels = 30};
    static struct rig rig;
    static void *memory;
    if (memory == NULL)
        memory = malloc(tp_feed_memory_size(&limits));
    memset(&rig, 0, sizeof rig);
    rig.now_ns = 1;
    rig.races = (size & 1) != 0;
    open_rig(&rig, memory, &limits);
    struct input in = {data, size};
    for (int i = 0; i < STEPS_MAX && in.size > 0; i++) {
        step(&rig, &in);
        check(&rig);
    }
    return 0;
}
