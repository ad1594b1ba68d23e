/* One message from the venue's bytes to a published book, and the feed's memory. Hot path. */
#include <assert.h>
#include <string.h>

#include "engine/feed/publish.h"

enum { LINE = 64, PREFETCH_LINES_MAX = 12 };

/* A crossed book that does not uncross within so many messages is not one that we understand. */
enum { CROSSED_MESSAGES_MAX = 20 };

static size_t lines(size_t size)
{
    return (size + LINE - 1) / LINE * LINE;
}

static struct tp_feed_config completed(const struct tp_feed_config *config)
{
    struct tp_feed_config full = *config;
    if (full.buffered_bytes_max == 0)
        full.buffered_bytes_max = TP_FEED_BUFFERED_BYTES_DEFAULT;
    if (full.buffer_pool_bytes == 0) {
        const uint64_t all = (uint64_t)full.instrument_count * full.buffered_bytes_max;
        full.buffer_pool_bytes =
            all < TP_FEED_BUFFER_POOL_BYTES_DEFAULT ? all : TP_FEED_BUFFER_POOL_BYTES_DEFAULT;
    }
    if (full.settle_ns == 0)
        full.settle_ns = TP_FEED_SETTLE_NS_DEFAULT;
    if (full.snapshot_depth == 0)
        full.snapshot_depth = TP_BOOK_DEPTH_MAX;
    return full;
}

static struct tp_book_config book_config(const struct tp_feed_config *full, int64_t tick_size)
{
    return (struct tp_book_config){.tick_size = tick_size,
                                   .window_ticks = full->window_ticks,
                                   .overflow_levels = full->overflow_levels};
}

static bool in_range(const struct tp_feed_config *full)
{
    const struct tp_book_config book = book_config(full, 1);
    return full->instrument_count >= 1 && full->instrument_count <= TP_FEED_INSTRUMENT_COUNT_MAX &&
           full->connection_count >= 1 && full->connection_count <= TP_FEED_CONNECTION_COUNT_MAX &&
           full->snapshot_depth <= TP_BOOK_DEPTH_MAX &&
           full->buffer_pool_bytes <= TP_FEED_BUFFER_POOL_BYTES_MAX &&
           tp_book_memory_size(&book) != 0;
}

/* Where each part stands in the feed's memory; all offsets are multiples of a cache line. */
struct layout {
    size_t instruments, connections, router, backlogs, update, cells, requests, chunks, staging,
        books, end;
    size_t book_size;
    uint32_t chunk_count;
};

static struct layout layout_of(const struct tp_feed_config *full)
{
    const struct tp_book_config book = book_config(full, 1);
    const size_t count = full->instrument_count;
    struct layout at = {.book_size = tp_book_memory_size(&book),
                        .chunk_count =
                            (uint32_t)((full->buffer_pool_bytes + TP_BACKLOG_CHUNK_SIZE - 1) /
                                       TP_BACKLOG_CHUNK_SIZE)};
    at.instruments = lines(sizeof(struct tp_feed));
    at.connections = at.instruments + count * sizeof(struct feed_instrument);
    at.router = at.connections + lines(full->connection_count * sizeof(struct feed_connection));
    at.backlogs = at.router + lines(tp_mexc_router_memory_size(full->instrument_count));
    at.update = at.backlogs + lines(count * sizeof(struct tp_backlog));
    at.cells = at.update + lines(sizeof(struct tp_depth_update));
    at.requests = at.cells + TP_MAILBOX_CELL_COUNT * lines(sizeof(struct tp_mailbox_cell));
    at.chunks = at.requests + lines(count * sizeof(uint32_t));
    at.staging = at.chunks + at.chunk_count * sizeof(struct tp_backlog_chunk);
    at.books = at.staging + lines(full->buffered_bytes_max);
    at.end = at.books + count * at.book_size;
    return at;
}

size_t tp_feed_memory_size(const struct tp_feed_config *config)
{
    const struct tp_feed_config full = completed(config);
    if (!in_range(&full))
        return 0;
    return layout_of(&full).end + LINE - 1; /* init aligns */
}

struct tp_feed *tp_feed_init(void *memory, const struct tp_feed_config *config)
{
    const struct tp_feed_config full = completed(config);
    assert(in_range(&full));
    assert(full.ring != NULL && full.snapshots != NULL && full.clock != NULL);
    assert(full.snapshots->slot_count >= full.instrument_count &&
           full.snapshots->word_count >= sizeof(struct tp_book_record) / sizeof(uint64_t));
    const struct layout at = layout_of(&full);
    uint8_t *base = (uint8_t *)memory + (LINE - (uintptr_t)memory % LINE) % LINE;
    memset(base, 0, at.backlogs);
    struct tp_feed *feed = (void *)base;
    feed->config = full;
    feed->instruments = (void *)(base + at.instruments);
    feed->connections = (void *)(base + at.connections);
    feed->router = tp_mexc_router_init(base + at.router, full.instrument_count);
    feed->backlogs = (void *)(base + at.backlogs);
    feed->update = (void *)(base + at.update);
    feed->staging =
        (struct tp_buffer){.data = base + at.staging, .capacity = full.buffered_bytes_max};
    feed->books = base + at.books;
    feed->book_size = at.book_size;
    tp_backlog_pool_init(&feed->pool, (void *)(base + at.chunks), at.chunk_count);
    tp_mailbox_init(&feed->mailbox, (void *)(base + at.requests), full.instrument_count,
                    (void *)(base + at.cells));
    for (uint32_t i = 0; i < full.instrument_count; i++)
        tp_backlog_init(&feed->backlogs[i]);
    return feed;
}

bool tp_feed_instrument_add(struct tp_feed *feed, uint32_t instrument,
                            const struct tp_instrument_record *record, const char *channel,
                            uint32_t connection)
{
    if (instrument >= feed->config.instrument_count || connection >= feed->config.connection_count)
        return false;
    struct feed_instrument *of = &feed->instruments[instrument];
    if ((of->flags & FEED_ADDED) != 0 || record->tick_size < 1 ||
        record->tick_size > TP_BOOK_PRICE_MAX || record->price_exponent > 0 ||
        record->price_exponent < -18 || record->quantity_exponent > 0 ||
        record->quantity_exponent < -18)
        return false;
    if (!tp_mexc_router_add(feed->router, channel, instrument))
        return false;
    const struct tp_book_config config = book_config(&feed->config, record->tick_size);
    of->book = tp_book_init(feed->books + instrument * feed->book_size, &config);
    of->connection = (uint16_t)connection;
    of->price_exponent = (int8_t)record->price_exponent;
    of->quantity_exponent = (int8_t)record->quantity_exponent;
    of->state = TP_BOOK_SYNCING;
    of->reason = TP_SYNC_REASON_STARTING;
    of->phase = TP_SYNC_BUFFERING;
    of->flags = FEED_ADDED;
    feed_publish(feed, &(struct feed_change){.instrument = instrument});
    return true;
}

enum tp_decode_status feed_decode(struct tp_feed *feed, const struct feed_instrument *instrument,
                                  struct tp_span body)
{
    const struct tp_scale scale = {.price_exponent = instrument->price_exponent,
                                   .quantity_exponent = instrument->quantity_exponent};
    const enum tp_decode_status status =
        tp_mexc_decode_depth(body.data, body.size, &scale, feed->update);
    if (status == TP_DECODE_OK && feed->update->first_version > feed->update->last_version)
        return TP_DECODE_MALFORMED;
    return status;
}

enum feed_apply feed_apply(struct feed_instrument *instrument, const struct tp_depth_update *update)
{
    switch (tp_sync_judge((enum tp_sync_phase)instrument->phase, instrument->version,
                          update->first_version, update->last_version)) {
    case TP_SYNC_DROP:
        return FEED_APPLY_OLD;
    case TP_SYNC_BUFFER:
        assert(false); /* a buffering instrument's messages do not come here */
        return FEED_APPLY_GAP;
    case TP_SYNC_GAP:
        return FEED_APPLY_GAP;
    case TP_SYNC_APPLY:
        break;
    }
    const bool bids = tp_book_apply(instrument->book, TP_SIDE_BID, update->bids, update->bid_count);
    const bool asks = tp_book_apply(instrument->book, TP_SIDE_ASK, update->asks, update->ask_count);
    if (!bids || !asks)
        return FEED_APPLY_BROKEN;
    instrument->phase = TP_SYNC_FOLLOWING;
    instrument->version = update->last_version;
    instrument->exchange_ns = update->exchange_ns;
    if (tp_book_shallow(instrument->book, TP_BOOK_DEPTH_MAX))
        return FEED_APPLY_OVERFLOW;
    return FEED_APPLY_DONE;
}

/* The lines of the snapshot cell that the message will be published into. */
static void prefetch_snapshot(const struct tp_snapshot_writer *table, uint32_t slot)
{
    const uint64_t version = atomic_load_explicit(&table->index[slot], memory_order_relaxed) + 1;
    const uint8_t *cell = table->cells + ((size_t)slot * TP_SNAPSHOT_VERSIONS +
                                          (version & (TP_SNAPSHOT_VERSIONS - 1))) *
                                             table->cell_size;
    for (uint32_t i = 0; i < PREFETCH_LINES_MAX && i * LINE < table->cell_size; i++)
        __builtin_prefetch(cell + (size_t)i * LINE, 1);
}

/* Publishes an applied message; a book that stays crossed is given up. */
static enum tp_feed_result finish(struct tp_feed *feed, uint32_t index, uint64_t received_ns,
                                  uint64_t decoded_ns)
{
    struct feed_instrument *instrument = &feed->instruments[index];
    const enum tp_book_state state = feed_book_state(instrument);
    instrument->received_ns = received_ns;
    const bool changed = feed_enter(feed, index, state, feed_book_reason(state), received_ns);
    feed->counters.levels += (uint64_t)feed->update->bid_count + feed->update->ask_count;
    feed_publish(feed, &(struct feed_change){.instrument = index,
                                             .state_changed = changed,
                                             .top = true,
                                             .update = feed->update,
                                             .received_ns = received_ns,
                                             .decoded_ns = decoded_ns});
    if (state == TP_BOOK_CROSSED && ++instrument->crossed_messages > CROSSED_MESSAGES_MAX)
        feed_resync(feed, index, TP_SYNC_REASON_CROSSED, received_ns);
    return TP_FEED_APPLIED;
}

static enum tp_feed_result follow(struct tp_feed *feed, uint32_t index, struct tp_span body,
                                  uint64_t received_ns)
{
    struct feed_instrument *instrument = &feed->instruments[index];
    const enum tp_decode_status status = feed_decode(feed, instrument, body);
    if (status != TP_DECODE_OK) {
        /* An unknown body on our own channel: the venue changed its format, and levels that we do
         * not see are moving. */
        if (status == TP_DECODE_UNKNOWN)
            feed->counters.unknown_body++;
        else
            feed->counters.broken++;
        feed_resync(feed, index, TP_SYNC_REASON_BROKEN_MESSAGE, received_ns);
        return TP_FEED_BROKEN;
    }
    tp_book_prefetch_touch(instrument->book);
    const uint64_t decoded_ns = tp_clock_now_ns(feed->config.clock);
    switch (feed_apply(instrument, feed->update)) {
    case FEED_APPLY_DONE:
        return finish(feed, index, received_ns, decoded_ns);
    case FEED_APPLY_OLD:
        feed->counters.duplicates += instrument->phase == TP_SYNC_FOLLOWING;
        return TP_FEED_IGNORED;
    case FEED_APPLY_GAP:
        feed->counters.gaps++;
        feed_resync(feed, index, TP_SYNC_REASON_GAP, received_ns);
        feed_keep(feed, index, body, received_ns);
        return TP_FEED_BUFFERED;
    case FEED_APPLY_OVERFLOW:
        feed->counters.overflows++;
        feed_resync(feed, index, TP_SYNC_REASON_OVERFLOW, received_ns);
        return TP_FEED_BUFFERED;
    case FEED_APPLY_BROKEN:
        break;
    }
    feed->counters.broken++;
    feed_resync(feed, index, TP_SYNC_REASON_BROKEN_MESSAGE, received_ns);
    return TP_FEED_BROKEN;
}

enum tp_feed_result tp_feed_message(struct tp_feed *feed, uint32_t connection,
                                    struct tp_span payload, uint64_t received_ns)
{
    assert(connection < feed->config.connection_count);
    feed->counters.messages++;
    feed->counters.bytes += payload.size;
    feed->connections[connection].last_ns = received_ns;
    if (payload.size > 0 && payload.data[0] == '{') {
        feed->counters.control++;
        return TP_FEED_UNKNOWN;
    }
    uint32_t body_offset;
    const int64_t routed = tp_mexc_route(feed->router, payload.data, payload.size, &body_offset);
    if (routed < 0 || feed->instruments[routed].connection != connection) {
        feed->counters.unknown_channel++;
        return TP_FEED_UNKNOWN;
    }
    const uint32_t index = (uint32_t)routed;
    const struct feed_instrument *instrument = &feed->instruments[index];
    if ((instrument->flags & FEED_ACTIVE) == 0) {
        feed->counters.inactive++;
        return TP_FEED_IGNORED;
    }
    const struct tp_span body = {payload.data + body_offset, payload.size - body_offset};
    if (instrument->phase == TP_SYNC_BUFFERING) {
        feed_keep(feed, index, body, received_ns);
        return TP_FEED_BUFFERED;
    }
    tp_book_prefetch(instrument->book);
    prefetch_snapshot(feed->config.snapshots, index);
    return follow(feed, index, body, received_ns);
}

uint32_t tp_feed_instrument_count(const struct tp_feed *feed)
{
    return feed->config.instrument_count;
}

const struct tp_feed_counters *tp_feed_counters(const struct tp_feed *feed)
{
    return &feed->counters;
}

enum tp_book_state tp_feed_state(const struct tp_feed *feed, uint32_t instrument)
{
    assert(instrument < feed->config.instrument_count);
    return (enum tp_book_state)feed->instruments[instrument].state;
}

enum tp_sync_reason tp_feed_reason(const struct tp_feed *feed, uint32_t instrument)
{
    assert(instrument < feed->config.instrument_count);
    return (enum tp_sync_reason)feed->instruments[instrument].reason;
}

const struct tp_book *tp_feed_book(const struct tp_feed *feed, uint32_t instrument)
{
    assert(instrument < feed->config.instrument_count);
    return feed->instruments[instrument].book;
}
