/* sources: engine/book/book.c engine/feed/checksum.c engine/feed/depth.c engine/feed/feed.c engine/feed/checkpoint.c engine/feed/feed_state.c engine/feed/kept.c engine/feed/lost.c engine/feed/cold_side.c engine/feed/asked.c engine/feed/backlog.c engine/feed/mailbox.c engine/feed/publish.c engine/feed/race.c engine/feed/race_state.c engine/feed/rescale.c engine/feed/rows.c engine/feed/states.c engine/feed/sync.c engine/feed/trading.c engine/feed/verify.c engine/recording/replayer.c engine/recording/tap.c engine/strategy/native.c proto/encoding/decimal.c proto/encoding/json.c proto/encoding/json_levels.c proto/encoding/digits.c proto/encoding/protobuf.c proto/venues/mexc/decode.c proto/venues/mexc/levels.c proto/venues/mexc/router.c proto/venues/mexc/venue.c shm/message_ring.c shm/ring_gate.c shm/segment_rows.c shm/snapshot_table.c shm/clock.c engine/feed/market.c engine/feed/plain.c proto/encoding/json_plain.c proto/venues/mexc/deals.c */
/* Any bytes as the records of a recording, on a feed with tiny limits.
 *
 * Input: one byte of options, then records. Invariants: the books' own; what is told of a book is
 * the feed's; a second replay of the same records gives the same bytes. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "engine/book/book.h"
#include "engine/recording/replayer.h"

enum {
    INSTRUMENTS = 3,
    ADDED = 2,
    CONNECTIONS = 2,
    RING_CAPACITY = 1 << 14,
    ROOM = 10100,
    CALLS_MAX = 10000
};

extern const struct tp_venue tp_venue_mexc;

static const char *const CHANNELS[ADDED] = {"spot@public.aggre.depth.v3.api.pb@10ms@AB",
                                            "spot@public.aggre.depth.v3.api.pb@10ms@CD"};
static const uint32_t OWNER[ADDED] = {0, 1}; /* the third may come by a ROW record */

enum { INTENTS = ROOM * TP_ORDER_INTENTS_MAX };

struct rig {
    struct tp_clock clock;
    struct tp_native_set strategies; /* one that leaves anything */
    struct tp_native_log log;
    uint8_t wants[INSTRUMENTS];
    uint64_t calls;
    struct tp_replayer replayer;
    bool is_up[CONNECTIONS], is_awaited[INSTRUMENTS];
    uint32_t owner[INSTRUMENTS];
    struct tp_feed_row rows[INSTRUMENTS];
    uint8_t marked[INSTRUMENTS], was_live[INSTRUMENTS];
    struct tp_replay_top last[INSTRUMENTS];
    uint64_t digest;
};

static uint64_t digest(uint64_t from, const void *data, size_t size)
{
    const uint8_t *bytes = data;
    for (size_t i = 0; i < size; i++) /* FNV-1a */
        from = (from ^ bytes[i]) * UINT64_C(0x100000001b3);
    return from;
}

/* Buffers that are too large to make anew for every input. */
static struct tp_replay_top tops[ROOM];
static struct tp_replay_event events[ROOM];
static void *store_memory, *feed_memory;
static struct tp_native_intent intents[INTENTS];

/* Writes the whole buffer, its count too, with what stands in the book; now and then properly. */
static int32_t leave_anything(const struct tp_event *event, const struct tp_book_record *book,
                              void *state, struct tp_order_buffer *orders)
{
    uint64_t *calls = state;
    const size_t room = sizeof *book - sizeof *orders;
    if (++*calls % 3 != 0)
        memcpy(orders, (const uint8_t *)book + *calls * 8 % room, sizeof *orders);
    else if (book->bid_count > 0)
        (void)tp_order_place(orders, book, *calls, TP_SIDE_BID, book->bids[0]);
    return event->type == TP_EVENT_TOP && *calls % 97 == 96;
}

static void add_strategy(struct rig *rig, struct tp_replay_store *store)
{
    struct tp_native_set *set = &rig->strategies;
    rig->wants[0] = 1;
    rig->log = (struct tp_native_log){.rows = intents, .capacity = INTENTS};
    set->ring = &store->ring;
    set->snapshots = &store->snapshots;
    set->clock = &rig->clock;
    set->instrument_count = INSTRUMENTS;
    set->log = &rig->log;
    set->count = 1;
    set->strategies[0] = (struct tp_native){.on_event = leave_anything,
                                            .state = &rig->calls,
                                            .events = UINT64_MAX,
                                            .wants = rig->wants};
    tp_native_begin(set);
    rig->replayer.strategies = set;
}

/* What counts was meant for an instrument of its own, on numbers of its scale. */
static void take_intents(struct rig *rig)
{
    for (uint32_t i = 0; i < rig->log.count; i++) {
        const struct tp_native_intent *row = &intents[i];
        const struct tp_order_intent *intent = &row->intent;
        assert(row->is_refused || rig->wants[intent->instrument] == 1);
        assert(row->is_refused || intent->verb == TP_ORDER_CANCEL ||
               (intent->verb == TP_ORDER_PLACE && intent->price > 0 && intent->quantity > 0));
    }
    rig->digest = digest(rig->digest, intents, rig->log.count * sizeof intents[0]);
    rig->log.count = 0;
}

static void open_rig(struct rig *rig, uint8_t options)
{
    struct tp_feed_config config = {.venues = {{.venue = &tp_venue_mexc}},
                                    .instrument_count = INSTRUMENTS,
                                    .connection_count = CONNECTIONS,
                                    .buffered_bytes_max = 1024,
                                    .buffer_pool_bytes = 4096,
                                    .silent_after_ns = (options & 1) != 0 ? 1000000000 : 0,
                                    .window_ticks = 256,
                                    .overflow_levels = 30};
    const size_t store_size = tp_replay_store_size(RING_CAPACITY, INSTRUMENTS);
    if (store_memory == NULL) {
        store_memory = aligned_alloc(64, (store_size + 63) / 64 * 64);
        feed_memory = malloc(tp_feed_memory_size(&config));
    }
    memset(rig, 0, sizeof *rig);
    memset(store_memory, 0, store_size);
    struct tp_replay_store *store = tp_replay_store_init(store_memory, RING_CAPACITY, INSTRUMENTS);
    rig->clock.tsc_base = TP_CLOCK_VIRTUAL;
    config.ring = &store->ring;
    config.snapshots = &store->snapshots;
    config.clock = &rig->clock;
    struct tp_feed *feed = tp_feed_init(feed_memory, &config);
    memcpy(rig->owner, OWNER, sizeof OWNER);
    for (uint32_t i = 0; i < ADDED; i++) {
        const struct tp_instrument_record record = {
            .price_exponent = -2, .quantity_exponent = -3, .tick_size = 1};
        const bool added = tp_feed_instrument_add(feed, i, &record, CHANNELS[i], OWNER[i]);
        assert(added);
    }
    rig->replayer = (struct tp_replayer){.feed = feed,
                                         .clock = &rig->clock,
                                         .ring = &store->ring,
                                         .instrument_count = INSTRUMENTS,
                                         .connection_count = CONNECTIONS,
                                         .has_ticks = (options & 2) != 0,
                                         .owner = rig->owner,
                                         .rows = rig->rows,
                                         .is_awaited = rig->is_awaited,
                                         .is_up = rig->is_up,
                                         .marked = rig->marked,
                                         .was_live = rig->was_live,
                                         .last = rig->last,
                                         .tops = tops,
                                         .events = events,
                                         .top_capacity = ROOM,
                                         .event_capacity = ROOM};
    tp_replayer_init(&rig->replayer);
    add_strategy(rig, store);
}

static void check(struct rig *rig)
{
    struct tp_replayer *r = &rig->replayer;
    for (uint32_t i = 0; i < INSTRUMENTS; i++) {
        const struct tp_book *book = tp_feed_book(r->feed, i);
        if (book == NULL)
            continue;
        assert(tp_book_check(book));
        assert(rig->marked[i] == 0);
        if (tp_feed_state(r->feed, i) == TP_BOOK_LIVE)
            assert(!tp_book_crossed(book));
        assert(rig->last[i].state == tp_feed_state(r->feed, i) || rig->last[i].t_ns == 0);
    }
    rig->digest = digest(rig->digest, tops, r->top_count * sizeof *tops);
    rig->digest = digest(rig->digest, events, r->event_count * sizeof *events);
    r->top_count = r->event_count = 0;
    take_intents(rig);
}

static uint64_t play(uint8_t options, struct tp_span records)
{
    struct rig rig;
    size_t offset = 0;
    uint64_t generation = 1;
    open_rig(&rig, options);
    for (int call = 0; call < CALLS_MAX; call++) {
        const size_t before = offset;
        const enum tp_replay_status status =
            tp_replayer_run(&rig.replayer, records, &offset, UINT64_MAX);
        assert(offset >= before && offset <= records.size);
        check(&rig);
        if (status == TP_REPLAY_SCALED)
            tp_replayer_rescale(&rig.replayer, rig.replayer.scale.tick_size, ++generation);
        else if (status != TP_REPLAY_FULL)
            return digest(rig.digest, &status, sizeof status);
    }
    assert(!"a full buffer that is emptied stays full");
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    /* An exact, aligned copy: the sanitizer sees every byte read beyond it. */
    uint8_t *exact = malloc(size);
    memcpy(exact, data + 1, size - 1);
    const struct tp_span records = {exact, size - 1};
    const uint64_t once = play(data[0], records), again = play(data[0], records);
    assert(once == again);
    free(exact);
    return 0;
}
