/* The writer of publish.h. Hot path. */
#include "engine/feed/publish.h"

#include <string.h>

#include "shm/ring_gate.h"

/* Places in struct tp_book_record, in words. */
enum {
    HEAD_WORDS = offsetof(struct tp_book_record, reserved_words) / sizeof(uint64_t),
    BID_WORD = offsetof(struct tp_book_record, bids) / sizeof(uint64_t),
    ASK_WORD = offsetof(struct tp_book_record, asks) / sizeof(uint64_t),
};

static void publish_levels(struct tp_ring_writer *ring, union feed_event *out,
                           const struct tp_depth_update *update)
{
    out->event.type = TP_EVENT_LEVEL;
    out->event.u.level.exchange_ns = update->exchange_ns;
    out->event.u.level.book_sequence = update->last_version;
    for (uint32_t i = 0; i < update->bid_count; i++) {
        out->event.u.level.price = update->bids[i].price;
        out->event.u.level.quantity = update->bids[i].quantity;
        (void)tp_ring_publish(ring, out->words);
    }
    out->event.flags |= TP_EVENT_ASK;
    for (uint32_t i = 0; i < update->ask_count; i++) {
        out->event.u.level.price = update->asks[i].price;
        out->event.u.level.quantity = update->asks[i].quantity;
        (void)tp_ring_publish(ring, out->words);
    }
    out->event.flags &= (uint8_t)~TP_EVENT_ASK;
}

static void publish_state(struct tp_ring_writer *ring, union feed_event *out,
                          const struct feed_instrument *instrument)
{
    out->event.type = TP_EVENT_STATE;
    memset(&out->event.u, 0, sizeof out->event.u);
    out->event.u.state.state = instrument->state;
    out->event.u.state.reason = instrument->reason;
    (void)tp_ring_publish(ring, out->words);
}

static void publish_row(struct tp_ring_writer *ring, union feed_event *out,
                        const struct feed_instrument *instrument, enum tp_row_change change)
{
    out->event.type = TP_EVENT_INSTRUMENT;
    memset(&out->event.u, 0, sizeof out->event.u);
    out->event.u.row.generation = instrument->generation;
    out->event.u.row.change = change;
    (void)tp_ring_publish(ring, out->words);
}

static void publish_clear(struct tp_ring_writer *ring, union feed_event *out)
{
    out->event.type = TP_EVENT_CLEAR;
    memset(&out->event.u, 0, sizeof out->event.u);
    (void)tp_ring_publish(ring, out->words);
}

static void publish_top(struct tp_ring_writer *ring, union feed_event *out,
                        const struct tp_book *book)
{
    const struct tp_level bid = tp_book_best(book, TP_SIDE_BID);
    const struct tp_level ask = tp_book_best(book, TP_SIDE_ASK);
    out->event.type = TP_EVENT_TOP;
    out->event.u.top.bid = bid.price;
    out->event.u.top.bid_quantity = bid.quantity;
    out->event.u.top.ask = ask.price;
    out->event.u.top.ask_quantity = ask.quantity;
    (void)tp_ring_publish(ring, out->words);
}

static void publish_verified(struct tp_ring_writer *ring, union feed_event *out,
                             const struct feed_instrument *instrument, bool equal)
{
    out->event.type = TP_EVENT_VERIFIED;
    memset(&out->event.u, 0, sizeof out->event.u);
    out->event.u.verified.verified_ns = equal ? instrument->verified_ns : out->event.received_ns;
    out->event.u.verified.is_equal = equal;
    out->event.u.verified.book_sequence = instrument->version;
    (void)tp_ring_publish(ring, out->words);
}

void feed_record_share(const struct tp_book *book, uint32_t depth, union feed_record *head,
                       _Atomic uint64_t *word)
{
    head->record.bid_count = (uint16_t)tp_book_top_share(book, TP_SIDE_BID, word + BID_WORD, depth);
    head->record.ask_count = (uint16_t)tp_book_top_share(book, TP_SIDE_ASK, word + ASK_WORD, depth);
#pragma GCC unroll 16 /* no loop left: half of its instructions were the counting */
    for (int i = 0; i < HEAD_WORDS; i++)
        atomic_store_explicit(&word[i], head->words[i], memory_order_relaxed);
}

void tp_feed_arrived(struct tp_feed *feed, uint64_t arrived_ns)
{
    feed->arrived_ns = arrived_ns;
}

static void publish_record(struct tp_feed *feed, const struct feed_change *change,
                           uint64_t ring_index, uint64_t published_ns)
{
    const struct feed_instrument *instrument = &feed->instruments[change->instrument];
    struct tp_book_record *head = &feed->out.record;
    _Atomic uint64_t *word =
        tp_snapshot_begin(feed->config.snapshots, change->instrument, ring_index);
    head->book_sequence = instrument->version;
    head->exchange_ns = instrument->exchange_ns;
    const struct feed_arrived arrived = feed_arrived(feed, change->received_ns);
    head->received_ns = arrived.received_ns;
    head->flags = arrived.flags;
    head->taken_ns = change->received_ns;
    head->decoded_ns = change->decoded_ns;
    head->published_ns = published_ns;
    head->message_ns = instrument->received_ns;
    head->verified_ns = instrument->verified_ns;
    head->instrument = (uint16_t)change->instrument;
    head->connection = instrument->connection;
    head->state = instrument->state;
    head->reason = instrument->reason;
    head->price_exponent = instrument->price_exponent;
    head->quantity_exponent = instrument->quantity_exponent;
    head->generation = instrument->generation;
    feed_record_share(instrument->book, feed->config.snapshot_depth, &feed->out, word);
    tp_snapshot_end(feed->config.snapshots, change->instrument);
}

/* Out of line, since it is slow anyway. */
static __attribute__((noinline, cold)) void
record_silence(struct tp_feed *feed, const struct feed_change *change, uint64_t published_ns)
{
    if (change->before_ns == 0)
        return;
    const bool is_cold = change->received_ns >= change->before_ns + TP_FEED_COLD_NS;
    struct tp_histogram *to = feed->config.after_silence[is_cold ? TP_FEED_COLD : TP_FEED_WARM];
    if (to != NULL)
        tp_histogram_record(to, published_ns - change->received_ns);
}

static void measure_hops(struct tp_feed *feed, const struct feed_change *change,
                         uint64_t published_ns)
{
    if (feed->arrived_ns != 0)
        tp_histogram_record(feed->config.received_to_taken, change->received_ns - feed->arrived_ns);
    tp_histogram_record(feed->config.taken_to_decoded, change->decoded_ns - change->received_ns);
    tp_histogram_record(feed->config.decoded_to_published, published_ns - change->decoded_ns);
    if (change->received_ns >= change->before_ns + TP_FEED_WARM_NS)
        record_silence(feed, change, published_ns);
}

void feed_publish(struct tp_feed *feed, const struct feed_change *change)
{
    struct tp_ring_writer *ring = feed->config.ring;
    const struct feed_instrument *instrument = &feed->instruments[change->instrument];
    const uint64_t level_count =
        change->update == NULL ? 0
                               : (uint64_t)change->update->bid_count + change->update->ask_count;
    const uint64_t event_count = level_count + (change->row_change != 0) + change->state_changed +
                                 change->cleared + change->compared + change->top;
    tp_ring_gate_pass(feed->config.gate, event_count);
    const uint64_t published_ns = tp_clock_now_ns(feed->config.clock);
    if (change->update != NULL && feed->config.taken_to_decoded != NULL)
        measure_hops(feed, change, published_ns);
    publish_record(feed, change, ring->next + event_count, published_ns);
    const struct feed_arrived arrived = feed_arrived(feed, change->received_ns);
    union feed_event out = {.event = {.instrument = (uint16_t)change->instrument,
                                      .price_exponent = instrument->price_exponent,
                                      .quantity_exponent = instrument->quantity_exponent,
                                      .connection = instrument->connection,
                                      .flags = arrived.flags,
                                      .received_ns = arrived.received_ns,
                                      .published_ns = published_ns}};
    const bool live = instrument->state == TP_BOOK_LIVE;
    if (change->row_change != 0)
        publish_row(ring, &out, instrument, change->row_change);
    if (change->state_changed && !live)
        publish_state(ring, &out, instrument);
    if (change->cleared)
        publish_clear(ring, &out);
    if (change->update != NULL)
        publish_levels(ring, &out, change->update);
    if (change->state_changed && live)
        publish_state(ring, &out, instrument);
    if (change->compared)
        publish_verified(ring, &out, instrument, change->equal);
    if (change->top)
        publish_top(ring, &out, instrument->book);
}

void feed_publish_status(struct tp_feed *feed, uint32_t instrument,
                         enum tp_instrument_status status, uint64_t exchange_ns, uint64_t now_ns)
{
    const struct feed_instrument *of = &feed->instruments[instrument];
    tp_ring_gate_pass(feed->config.gate, 1);
    union feed_event out = {.event = {.instrument = (uint16_t)instrument,
                                      .type = TP_EVENT_STATUS,
                                      .price_exponent = of->price_exponent,
                                      .quantity_exponent = of->quantity_exponent,
                                      .connection = of->connection,
                                      .received_ns = now_ns,
                                      .published_ns = tp_clock_now_ns(feed->config.clock)}};
    out.event.u.status.status = status;
    out.event.u.status.exchange_ns = exchange_ns;
    (void)tp_ring_publish(feed->config.ring, out.words);
}
