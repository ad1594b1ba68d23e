/* One message from the venue's bytes to a published book, and the feed's memory. Hot path. */
#include <assert.h>
#include <string.h>

#include "engine/feed/publish.h"
#include "engine/feed/rows.h"
#include "engine/feed/verify.h"
#include "netstack/ws/ws.h"

enum { LINE = 64 };
static const uint64_t NS_PER_MS = 1000000;

/* What few messages meet stays out of line, so that all that most of them meet is one function:
 * each prologue costs a message as much as the sync rule does. */
#define RARE __attribute__((noinline, cold))
#define HOT_PART static inline __attribute__((always_inline))

static size_t lines(size_t size)
{
    return (size + LINE - 1) / LINE * LINE;
}

static struct tp_feed_config completed(const struct tp_feed_config *config)
{
    struct tp_feed_config full = *config;
    if (full.buffer_pool_bytes == 0) {
        const uint64_t each =
            full.buffered_bytes_max != 0 ? full.buffered_bytes_max : TP_FEED_POOL_BYTES_BUSY;
        const uint64_t all = full.instrument_count * each;
        const uint64_t shares = (uint64_t)full.instrument_count * TP_FEED_POOL_BYTES_EACH;
        const uint64_t pool = shares > TP_FEED_POOL_BYTES_LEAST ? shares : TP_FEED_POOL_BYTES_LEAST;
        full.buffer_pool_bytes = all < pool ? all : pool;
    }
    if (full.buffered_bytes_max == 0)
        full.buffered_bytes_max =
            full.buffer_pool_bytes < INT32_MAX ? (uint32_t)full.buffer_pool_bytes : INT32_MAX;
    if (full.keep_ns == 0)
        full.keep_ns = TP_FEED_KEEP_NS_DEFAULT;
    if (full.settle_ns == 0)
        full.settle_ns = TP_FEED_SETTLE_NS_DEFAULT;
    if (full.base_timeout_ns == 0)
        full.base_timeout_ns = TP_FEED_BASE_TIMEOUT_NS_DEFAULT;
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

static uint32_t venue_count(const struct tp_feed_config *config)
{
    uint32_t count = 0;
    while (count < TP_FEED_VENUE_COUNT_MAX && config->venues[count].venue != NULL)
        count++;
    return count;
}

static bool venues_in_range(const struct tp_feed_config *full)
{
    const uint32_t count = venue_count(full);
    for (uint32_t i = 0; i < count; i++)
        if (full->venues[i].channel_count > TP_FEED_INSTRUMENT_COUNT_MAX)
            return false;
    return count > 0;
}

static bool in_range(const struct tp_feed_config *full)
{
    const struct tp_book_config book = book_config(full, 1);
    return venues_in_range(full) && full->instrument_count >= 1 &&
           full->instrument_count <= TP_FEED_INSTRUMENT_COUNT_MAX && full->connection_count >= 1 &&
           full->connection_count <= TP_FEED_CONNECTION_COUNT_MAX &&
           full->snapshot_depth <= TP_BOOK_DEPTH_MAX &&
           full->buffer_pool_bytes <= TP_FEED_BUFFER_POOL_BYTES_MAX &&
           tp_book_memory_size(&book) != 0;
}

/* Where each part stands in the feed's memory; all offsets are multiples of a cache line. */
struct layout {
    size_t instruments, histories, connections, races, venues, routers, backlogs, update, trades,
        cells, requests, chunks, misfits, staging, plain, own_levels, books, end;
    size_t book_size;
    uint32_t chunk_count;
};

/* Of the one kept message in hand. */
static size_t staging_size(const struct tp_feed_config *full)
{
    return full->buffered_bytes_max < TP_FEED_MESSAGE_BYTES_KEPT_MAX
               ? full->buffered_bytes_max
               : TP_FEED_MESSAGE_BYTES_KEPT_MAX;
}

static size_t router_size(const struct tp_feed_config *full, uint32_t number)
{
    const struct tp_feed_venue *of = &full->venues[number];
    const uint32_t channels = of->channel_count != 0 ? of->channel_count : full->instrument_count;
    return lines(of->venue->router_size(channels, full->connection_count));
}

static size_t cells_size(void)
{
    return TP_MAILBOX_CELL_COUNT * lines(sizeof(struct tp_mailbox_cell));
}

static size_t requests_size(const struct tp_feed_config *full)
{
    return lines(full->instrument_count * sizeof(uint32_t));
}

static struct layout layout_of(const struct tp_feed_config *full)
{
    const struct tp_book_config book = book_config(full, 1);
    const size_t count = full->instrument_count;
    const uint32_t venues = venue_count(full);
    struct layout at = {.book_size = tp_book_memory_size(&book),
                        .chunk_count =
                            (uint32_t)((full->buffer_pool_bytes + TP_BACKLOG_CHUNK_SIZE - 1) /
                                       TP_BACKLOG_CHUNK_SIZE)};
    at.instruments = lines(sizeof(struct tp_feed));
    at.histories = at.instruments + count * sizeof(struct feed_instrument);
    at.connections = at.histories + lines(count * sizeof(struct feed_history));
    at.races = at.connections + lines(full->connection_count * sizeof(struct feed_connection));
    at.venues = at.races + (full->races ? lines(count * sizeof(struct feed_race)) : 0);
    at.routers = at.venues + venues * lines(sizeof(struct feed_venue));
    at.backlogs = at.routers;
    for (uint32_t i = 0; i < venues; i++)
        at.backlogs += router_size(full, i);
    at.update = at.backlogs + lines(count * sizeof(struct tp_backlog));
    at.trades = at.update + lines(sizeof(struct tp_depth_update));
    at.cells = at.trades + lines(sizeof(struct tp_trade_update));
    at.requests = at.cells + venues * cells_size();
    at.chunks = at.requests + venues * requests_size(full);
    at.misfits = at.chunks + at.chunk_count * sizeof(struct tp_backlog_chunk);
    at.staging = at.misfits + count * sizeof(struct feed_misfit_slot);
    at.plain = at.staging + lines(staging_size(full));
    at.own_levels = at.plain + FEED_PLAIN_SIZE_MAX;
    at.books = at.own_levels + lines(TP_DEPTH_LEVEL_COUNT_MAX * sizeof(struct tp_level));
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

uint64_t tp_feed_pool_bytes(const struct tp_feed_config *config)
{
    return completed(config).buffer_pool_bytes;
}

/* Each venue has its own router and mailbox: they share nothing. */
static void init_venues(struct tp_feed *feed, uint8_t *base, const struct layout *at)
{
    const struct tp_feed_config *full = &feed->config;
    uint8_t *router = base + at->routers;
    feed->venues = (void *)(base + at->venues);
    feed->venue_count = venue_count(full);
    for (uint32_t i = 0; i < feed->venue_count; i++) {
        const struct tp_feed_venue *from = &full->venues[i];
        struct feed_venue *to = &feed->venues[i];
        to->venue = from->venue;
        to->router = router;
        const struct tp_venue_facts *facts = &from->venue->facts;
        to->crossed_messages_max = facts->crossed_messages_max != 0 ? facts->crossed_messages_max
                                                                    : TP_CROSSED_MESSAGES_DEFAULT;
        to->crossed_ns_max = NS_PER_MS * (facts->crossed_ms_max != 0 ? facts->crossed_ms_max
                                                                     : TP_CROSSED_MS_DEFAULT);
        to->verify_after_ns = from->verify_after_ns;
        tp_feed_verify_within(feed, i, from->verify_limit_ns);
        feed->verifies = feed->verifies || from->verify_limit_ns != 0;
        const uint32_t channels =
            from->channel_count != 0 ? from->channel_count : full->instrument_count;
        from->venue->router_init(router, channels, full->connection_count);
        tp_mailbox_init(&to->mailbox, (void *)(base + at->requests + i * requests_size(full)),
                        full->instrument_count, (void *)(base + at->cells + i * cells_size()));
        router += router_size(full, i);
    }
    for (uint32_t i = 0; i < full->connection_count; i++)
        tp_feed_connection_assign(feed, i, 0);
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
    feed->histories = (void *)(base + at.histories);
    feed->connections = (void *)(base + at.connections);
    feed->races = full.races ? (void *)(base + at.races) : NULL;
    init_venues(feed, base, &at);
    feed->backlogs = (void *)(base + at.backlogs);
    feed->update = (void *)(base + at.update);
    feed->trades = (void *)(base + at.trades);
    feed->staging = (struct tp_buffer){.data = base + at.staging, .capacity = staging_size(&full)};
    feed->plain = base + at.plain;
    feed->own_levels = (void *)(base + at.own_levels);
    feed->books = base + at.books;
    feed->book_size = at.book_size;
    feed->misfits = (void *)(base + at.misfits);
    memset(feed->misfits, 0, full.instrument_count * sizeof *feed->misfits);
    tp_backlog_pool_init(&feed->pool, (void *)(base + at.chunks), at.chunk_count);
    for (uint32_t i = 0; i < full.instrument_count; i++)
        tp_backlog_init(&feed->backlogs[i]);
    for (uint32_t i = 0; full.races && i < full.instrument_count; i++)
        tp_backlog_init(&feed->races[i].held);
    return feed;
}

void tp_feed_connection_assign(struct tp_feed *feed, uint32_t connection, uint32_t venue)
{
    assert(connection < feed->config.connection_count && venue < feed->venue_count);
    struct feed_connection *of = &feed->connections[connection];
    of->venue = feed->venues[venue].venue;
    of->router = feed->venues[venue].router;
    of->venue_number = (uint8_t)venue;
}

const struct tp_sync_rule *feed_rule_of(const struct tp_venue *venue, const char *channel)
{
    const struct tp_channel *kind = venue->describe(channel);
    if (kind == NULL || kind->rule == NULL || kind->rule->checksum == TP_CHECKSUM_TWENTY_FIVE)
        return NULL;
    return kind->rule;
}

void feed_renew_book(struct tp_feed *feed, uint32_t index, int64_t tick_size)
{
    const struct tp_book_config config = book_config(&feed->config, tick_size);
    feed->instruments[index].book = tp_book_init(feed->books + index * feed->book_size, &config);
}

bool tp_feed_instrument_add(struct tp_feed *feed, uint32_t instrument,
                            const struct tp_instrument_record *record, const char *channel,
                            uint32_t connection)
{
    if (instrument >= feed->config.instrument_count || connection >= feed->config.connection_count)
        return false;
    struct feed_instrument *of = &feed->instruments[instrument];
    struct feed_connection *by = &feed->connections[connection];
    if ((of->flags & FEED_ADDED) != 0 || !tp_feed_row_is_sound(by->venue, record, channel))
        return false;
    const struct tp_sync_rule *rule = feed_rule_of(by->venue, channel);
    if (by->race_count > 1 && (rule->copies == TP_COPIES_UNKNOWN || rule->base == TP_BASE_REQUEST))
        return false;
    /* One that was removed comes back: its channel is still there. */
    const bool is_routed = of->rule != NULL;
    if (!is_routed && !by->venue->router_add(by->router, channel, instrument))
        return false;
    of->rule = rule;
    by->unusual |= rule->counts_connection ? FEED_COUNTS : 0;
    feed_renew_book(feed, instrument, record->tick_size);
    of->connection = (uint16_t)connection;
    if (feed->races != NULL)
        feed_race_carry(feed, instrument, connection);
    of->price_exponent = record->price_exponent;
    of->quantity_exponent = record->quantity_exponent;
    feed->histories[instrument].listed = record->status;
    feed->histories[instrument].streamed = TP_INSTRUMENT_UNKNOWN;
    atomic_store_explicit(&feed->histories[instrument].told, record->status, memory_order_relaxed);
    of->generation = of->generation == 0 ? 1 : of->generation;
    of->state = TP_BOOK_SYNCING;
    of->reason = TP_SYNC_REASON_STARTING;
    of->phase = TP_SYNC_BUFFERING;
    of->flags = FEED_ADDED;
    of->depth_least = of->depth_low = TP_BOOK_DEPTH_MAX;
    feed_publish(feed, &(struct feed_change){.instrument = instrument});
    return true;
}

HOT_PART enum tp_decode_status decode(struct tp_feed *feed,
                                      const struct feed_instrument *instrument, struct tp_span body,
                                      enum tp_meaning meaning)
{
    const struct tp_body what = {.data = body.data,
                                 .size = body.size,
                                 .meaning = meaning,
                                 .scale = {.price_exponent = instrument->price_exponent,
                                           .quantity_exponent = instrument->quantity_exponent},
                                 .misfit = &feed->misfit};
    feed->misfit.text.at = NULL; /* what it was of is gone */
    const struct tp_venue *venue = feed->connections[instrument->connection].venue;
    enum tp_decode_status status = venue->decode_depth(&what, feed->update);
    if (status != TP_DECODE_OK)
        status = feed_decode_plain(feed, venue, &what, status);
    if (status != TP_DECODE_OK)
        return status;
    /* A whole book where the rule knows of none, or no book at all. */
    if ((feed->update->flags & (TP_DEPTH_BASE | TP_DEPTH_TOP)) != 0 &&
        (!instrument->rule->in_band_base || (feed->update->flags & TP_DEPTH_TOP) != 0))
        return TP_DECODE_UNKNOWN;
    return TP_DECODE_OK;
}

enum tp_decode_status feed_decode(struct tp_feed *feed, const struct feed_instrument *instrument,
                                  struct tp_span body, enum tp_meaning meaning)
{
    return decode(feed, instrument, body, meaning);
}

/* The levels are in the book: what else the rule demands. */
HOT_PART enum feed_apply complete(struct tp_feed *feed, uint32_t index,
                                  struct tp_depth_update *update)
{
    const struct feed_instrument *instrument = &feed->instruments[index];
    if (instrument->rule->must_truncate && !feed_truncate(instrument, update))
        return FEED_APPLY_OVERFLOW;
    if (!feed_checksum_holds(instrument, update))
        return FEED_APPLY_CHECKSUM;
    if (tp_book_shallow(instrument->book, instrument->depth_low))
        return feed_run_low(feed, index);
    return FEED_APPLY_DONE;
}

HOT_PART enum feed_apply apply(struct tp_feed *feed, uint32_t index, struct tp_depth_update *update)
{
    struct feed_instrument *instrument = &feed->instruments[index];
    switch (tp_sync_judge(instrument->rule, (enum tp_sync_phase)instrument->phase,
                          instrument->version, update)) {
    case TP_SYNC_DROP:
        return FEED_APPLY_OLD;
    case TP_SYNC_UNCHANGED:
        return FEED_APPLY_SAME;
    case TP_SYNC_BUFFER:
        assert(false); /* a buffering instrument's messages do not come here */
        return FEED_APPLY_GAP;
    case TP_SYNC_GAP:
        return FEED_APPLY_GAP;
    case TP_SYNC_RESTART:
        return FEED_APPLY_RESET;
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
    return complete(feed, index, update);
}

enum feed_apply feed_apply(struct tp_feed *feed, uint32_t index, struct tp_depth_update *update)
{
    return apply(feed, index, update);
}

/* The lines of the snapshot cell that the message will be published into: init saw that a record
 * fits. */
static void prefetch_snapshot(const struct tp_snapshot_writer *table, uint32_t slot)
{
    const uint64_t version = atomic_load_explicit(&table->index[slot], memory_order_relaxed) + 1;
    const uint8_t *cell = table->cells + ((size_t)slot * TP_SNAPSHOT_VERSIONS +
                                          (version & (TP_SNAPSHOT_VERSIONS - 1))) *
                                             table->cell_size;
#pragma GCC unroll 16 /* no loop left */
    for (size_t at = 0; at < sizeof(struct tp_book_record); at += LINE)
        __builtin_prefetch(cell + at, 1);
}

/* Publishes an applied message; a book that stays crossed is given up. */
HOT_PART enum tp_feed_result finish(struct tp_feed *feed, uint32_t index, uint64_t received_ns,
                                    uint64_t decoded_ns)
{
    struct feed_instrument *instrument = &feed->instruments[index];
    const enum tp_book_state state = feed_book_state(instrument);
    const uint64_t before_ns = instrument->received_ns;
    instrument->received_ns = received_ns;
    const bool changed = feed_enter(feed, index, state, feed_book_reason(state), received_ns);
    feed->counters.levels += (uint64_t)feed->update->bid_count + feed->update->ask_count;
    feed_publish(feed, &(struct feed_change){.instrument = index,
                                             .state_changed = changed,
                                             .top = true,
                                             .update = feed->update,
                                             .received_ns = received_ns,
                                             .decoded_ns = decoded_ns,
                                             .before_ns = before_ns});
    if (state == TP_BOOK_CROSSED &&
        ++instrument->crossed_messages > feed_venue(feed, index)->crossed_messages_max)
        feed_resync(feed, index, TP_SYNC_REASON_CROSSED, received_ns);
    return TP_FEED_APPLIED;
}

/* The decoder does not read a message of our own channel: the venue changed its format, or sends
 * another one than was asked for, and levels that we do not see are moving. */
RARE static enum tp_feed_result give_up(struct tp_feed *feed, uint32_t index, struct tp_span body,
                                        enum tp_decode_status status, uint64_t received_ns)
{
    if (feed_is_misfit(feed, status)) {
        feed_misfit(feed, index, status, received_ns);
        feed_keep_unread(feed, index, body, received_ns);
        return TP_FEED_BROKEN;
    }
    if (status == TP_DECODE_BAD_NUMBER)
        feed_tell_garbage(feed, index);
    if (status == TP_DECODE_UNKNOWN)
        feed->counters.unknown_body++;
    else
        feed->counters.broken++;
    feed_lose(feed, index, body);
    feed_resync(feed, index, TP_SYNC_REASON_BROKEN_MESSAGE, received_ns);
    return TP_FEED_BROKEN;
}

/* A message that did not become part of the book. */
RARE static enum tp_feed_result turn_away(struct tp_feed *feed, uint32_t index, enum feed_apply why,
                                          uint64_t received_ns)
{
    switch (why) {
    case FEED_APPLY_DONE:
        break;
    case FEED_APPLY_RESET:
        feed_reset(feed, index, received_ns);
        return TP_FEED_BUFFERED;
    case FEED_APPLY_OLD:
        if (!feed_is_duplicate(feed, index, received_ns)) {
            feed_reset(feed, index, received_ns);
            return TP_FEED_BUFFERED;
        }
        feed->counters.duplicates += feed->instruments[index].phase == TP_SYNC_FOLLOWING;
        return TP_FEED_IGNORED;
    case FEED_APPLY_SAME:
        feed->counters.unchanged++;
        feed_prove(feed, index, received_ns, received_ns);
        return TP_FEED_IGNORED;
    case FEED_APPLY_GAP:
        feed->counters.gaps++;
        feed_resync(feed, index, TP_SYNC_REASON_GAP, received_ns);
        return TP_FEED_BUFFERED;
    case FEED_APPLY_CHECKSUM:
        feed->counters.checksums++;
        feed_resync(feed, index, TP_SYNC_REASON_GAP, received_ns);
        return TP_FEED_BUFFERED;
    case FEED_APPLY_OVERFLOW:
        feed->counters.overflows++;
        feed_resync(feed, index, TP_SYNC_REASON_OVERFLOW, received_ns);
        return TP_FEED_BUFFERED;
    case FEED_APPLY_SHALLOW:
        feed->counters.shallow++;
        feed_resync(feed, index, TP_SYNC_REASON_SHALLOW, received_ns);
        return TP_FEED_BUFFERED;
    case FEED_APPLY_MISFIT: /* of kept messages only: a decoder's */
        break;
    case FEED_APPLY_BROKEN:
        feed_lose_version(feed, index, feed->update->last_version);
        if (!feed_finds_misfit(feed, &feed->instruments[index]))
            break;
        feed_misfit(feed, index, TP_DECODE_TOO_LARGE, received_ns);
        return TP_FEED_BROKEN;
    }
    feed->counters.broken++;
    feed_resync(feed, index, TP_SYNC_REASON_BROKEN_MESSAGE, received_ns);
    return TP_FEED_BROKEN;
}

enum tp_feed_result feed_finish(struct tp_feed *feed, uint32_t index, uint64_t received_ns,
                                uint64_t decoded_ns)
{
    return finish(feed, index, received_ns, decoded_ns);
}

enum tp_feed_result feed_give_up(struct tp_feed *feed, uint32_t index, struct tp_span body,
                                 enum tp_decode_status status, uint64_t received_ns)
{
    return give_up(feed, index, body, status, received_ns);
}

enum tp_feed_result feed_turn_away(struct tp_feed *feed, uint32_t index, enum feed_apply why,
                                   uint64_t received_ns)
{
    return turn_away(feed, index, why, received_ns);
}

HOT_PART enum tp_feed_result follow(struct tp_feed *feed, uint32_t index, struct tp_span body,
                                    enum tp_meaning meaning, uint64_t received_ns)
{
    const struct feed_instrument *instrument = &feed->instruments[index];
    const enum tp_decode_status status = decode(feed, instrument, body, meaning);
    if (status != TP_DECODE_OK)
        return feed_is_answer(instrument, meaning)
                   ? feed_refuse_answer(feed, index, status, received_ns)
                   : give_up(feed, index, body, status, received_ns);
    tp_book_prefetch_touch(instrument->book);
    const uint64_t decoded_ns = tp_clock_now_ns(feed->config.clock);
    if ((feed->update->flags & TP_DEPTH_BASE) != 0)
        return feed_take_base(feed, index, received_ns, decoded_ns);
    const enum feed_apply applied = apply(feed, index, feed->update);
    if (applied == FEED_APPLY_DONE)
        return finish(feed, index, received_ns, decoded_ns);
    const enum tp_feed_result result = turn_away(feed, index, applied, received_ns);
    if ((applied == FEED_APPLY_GAP || instrument->reason == TP_SYNC_REASON_RESET ||
         instrument->reason == TP_SYNC_REASON_SCALE) &&
        instrument->rule->base != TP_BASE_IN_BAND)
        feed_keep(feed, index, body, received_ns);
    return result;
}

/* A message of an instrument that has no base: it may be one, else it waits for one, unless that
 * comes in-band: what is in front of it is in it, or it is not believed. */
RARE static enum tp_feed_result await_base(struct tp_feed *feed, uint32_t index,
                                           struct tp_span body, enum tp_meaning meaning,
                                           uint64_t received_ns)
{
    const struct feed_instrument *instrument = &feed->instruments[index];
    const bool is_answer = feed_is_answer(instrument, meaning); /* no message of the channel */
    if (!is_answer) {
        feed->histories[index].deaf = false;
        tp_feed_confirmed(feed, index, received_ns); /* before the book: nothing LIVE is shown */
    }
    if (feed->histories[index].is_misscaled && !is_answer) {
        feed->counters.unscaled++;
        feed_keep_unread(feed, index, body, received_ns);
        return instrument->rule->in_band_base ? TP_FEED_IGNORED : TP_FEED_BUFFERED;
    }
    if (instrument->rule->in_band_base) {
        const enum tp_decode_status status = feed_decode(feed, instrument, body, meaning);
        if (status != TP_DECODE_OK)
            return is_answer ? feed_refuse_answer(feed, index, status, received_ns)
                             : give_up(feed, index, body, status, received_ns);
        if ((feed->update->flags & TP_DEPTH_BASE) != 0)
            return feed_take_base(feed, index, received_ns, tp_clock_now_ns(feed->config.clock));
        if (instrument->rule->base == TP_BASE_IN_BAND) {
            feed->counters.baseless++;
            feed_skip(feed, index);
            return TP_FEED_IGNORED;
        }
    }
    if ((instrument->flags & FEED_DOUBTED) != 0 && feed_is_reset(feed, index, body))
        feed_reset(feed, index, received_ns);
    feed_keep(feed, index, body, received_ns);
    return TP_FEED_BUFFERED;
}

/* A message that does not count, or that is to be kept besides. */
RARE static enum tp_feed_result take_unusual(struct tp_feed *feed, uint32_t index,
                                             struct tp_span body, enum tp_meaning meaning,
                                             uint64_t received_ns)
{
    const struct feed_instrument *instrument = &feed->instruments[index];
    if ((instrument->flags & FEED_ACTIVE) == 0 && !feed_is_refused(feed, instrument)) {
        if (feed_is_answer(instrument, meaning)) {
            feed->counters.bases_unasked++;
            return TP_FEED_IGNORED;
        }
        feed->histories[index].deaf = false;
        tp_feed_confirmed(feed, index, received_ns); /* one that is halted has the channel still */
        feed->counters.inactive++;
        if (instrument->reason == TP_SYNC_REASON_HALTED)
            feed_lose(feed, index, body); /* the base that it begins with must show it */
        return TP_FEED_IGNORED;
    }
    if (instrument->phase == TP_SYNC_BUFFERING)
        return await_base(feed, index, body, meaning, received_ns);
    const enum tp_feed_result result = follow(feed, index, body, meaning, received_ns);
    if (result == TP_FEED_APPLIED && (instrument->flags & FEED_KEEPING) != 0)
        feed_keep_behind(feed, index, body, received_ns);
    return result;
}

enum tp_feed_result feed_take_waiting(struct tp_feed *feed, uint32_t index,
                                      const struct feed_arrival *arrival)
{
    const uint64_t received_ns = arrival->received_ns;
    if ((feed->instruments[index].flags & FEED_ACTIVE) == 0)
        return take_unusual(feed, index, arrival->body, arrival->meaning, received_ns);
    return await_base(feed, index, arrival->body, arrival->meaning, received_ns);
}

HOT_PART enum tp_feed_result take_depth(struct tp_feed *feed,
                                        const struct tp_venue_message *message,
                                        const struct tp_route *route, uint64_t received_ns)
{
    const uint32_t index = route->instrument;
    const struct feed_instrument *instrument = &feed->instruments[index];
    if (instrument->connection != message->connection) {
        feed->counters.unknown_channel++;
        return TP_FEED_UNKNOWN;
    }
    const struct tp_span body = {message->data + route->body_offset, route->body_size};
    if ((instrument->flags & (FEED_ACTIVE | FEED_KEEPING)) != FEED_ACTIVE)
        return take_unusual(feed, index, body, route->meaning, received_ns);
    if (instrument->phase == TP_SYNC_BUFFERING)
        return await_base(feed, index, body, route->meaning, received_ns);
    tp_book_prefetch(instrument->book);
    prefetch_snapshot(feed->config.snapshots, index);
    return follow(feed, index, body, route->meaning, received_ns);
}

/* Where the venue numbers all messages of a connection, a hole may have been any book's. False: the
 * number was passed already, so that what the message has may be older than a book. */
static bool follow_connection(struct tp_feed *feed, uint32_t connection, uint64_t sequence,
                              uint64_t received_ns)
{
    struct feed_connection *of = &feed->connections[connection];
    const bool hole = of->is_counted && sequence != of->next_sequence;
    const bool is_behind = of->is_counted && sequence < of->next_sequence;
    of->is_counted = true;
    of->next_sequence = sequence + 1;
    if (!hole)
        return true;
    feed->counters.gaps++;
    for (uint32_t i = 0; i < feed->config.instrument_count; i++)
        if (feed->instruments[i].connection == connection &&
            (feed->instruments[i].flags & FEED_ACTIVE) != 0)
            feed_resync(feed, i, TP_SYNC_REASON_GAP, received_ns);
    return !is_behind;
}

/* A message that cannot be read may have been any book's change. Where messages are numbered the
 * next one shows it; where they are not, nothing would: a checksum covers the nearest levels only.
 */
RARE static void lose_unnumbered(struct tp_feed *feed, uint32_t connection, uint64_t received_ns)
{
    for (uint32_t i = 0; i < feed->config.instrument_count; i++) {
        const struct feed_instrument *instrument = &feed->instruments[i];
        if ((instrument->flags & FEED_ACTIVE) != 0 && instrument->connection == connection &&
            instrument->rule->chain == TP_CHAIN_NONE && !instrument->rule->counts_connection)
            feed_resync(feed, i, TP_SYNC_REASON_BROKEN_MESSAGE, received_ns);
    }
}

static struct feed_arrival arrival_of(const struct tp_venue_message *message,
                                      const struct tp_route *route, uint64_t received_ns)
{
    return (struct feed_arrival){.body = {message->data + route->body_offset, route->body_size},
                                 .meaning = route->meaning,
                                 .connection = message->connection,
                                 .received_ns = received_ns};
}

/* One part of a message, whatever it means. */
static enum tp_feed_result take(struct tp_feed *feed, const struct tp_venue_message *message,
                                const struct tp_route *route, uint64_t received_ns)
{
    const bool races = (feed->connections[message->connection].unusual & FEED_RACES) != 0;
    const struct feed_arrival arrival = arrival_of(message, route, received_ns);
    switch (route->meaning) {
    case TP_MEANING_BASE:
    case TP_MEANING_DELTA:
        return races ? feed_race_take(feed, route->instrument, &arrival)
                     : take_depth(feed, message, route, received_ns);
    case TP_MEANING_STATUS:
        return feed_take_status(feed, route->instrument, &arrival);
    case TP_MEANING_TOP:
    case TP_MEANING_TRADES:
        if (races && feed->instruments[route->instrument].connection != message->connection)
            return TP_FEED_IGNORED;
        return feed_take_market(feed, message, route, received_ns);
    case TP_MEANING_OWN:
        feed->counters.unpublished++;
        return TP_FEED_IGNORED;
    case TP_MEANING_ACKNOWLEDGEMENT:
    case TP_MEANING_REFUSAL:
    case TP_MEANING_HEARTBEAT:
    case TP_MEANING_NOTICE:
        feed->counters.control++;
        return TP_FEED_NOTE;
    case TP_MEANING_BROKEN: /* of nobody knows which instrument: the cold side is told */
        feed->counters.unreadable++;
        feed->connections[message->connection].strange_ns = received_ns;
        lose_unnumbered(feed, message->connection, received_ns);
        return TP_FEED_NOTE;
    case TP_MEANING_UNKNOWN:
        break;
    }
    feed->connections[message->connection].strange_ns = received_ns;
    feed->counters.unknown_channel++;
    return TP_FEED_UNKNOWN;
}

/* A message that is not one book's change and no more, or whose connection is counted. Ends: each
 * part begins after the one before. */
RARE static enum tp_feed_result take_parts(struct tp_feed *feed,
                                           const struct tp_venue_message *message,
                                           struct tp_route *route, uint64_t received_ns)
{
    struct tp_span text = {message->data, message->size};
    struct tp_venue_message plain = *message;
    if (feed_make_plain(feed, &text)) {
        plain.data = text.data;
        plain.size = text.size;
        message = &plain;
        feed->connections[message->connection].venue->route(
            feed->connections[message->connection].router, message, 0, route);
    }
    if (!tp_meaning_is_for_cold_side(route->meaning)) {
        feed->counters.messages++;
        feed->counters.bytes += message->size;
    }
    /* A broken message may have no number: the next one's shows that it is missing. */
    const struct feed_connection *of = &feed->connections[message->connection];
    if ((of->unusual & FEED_COUNTS) != 0 && route->meaning != TP_MEANING_BROKEN &&
        route->sequence != TP_SEQUENCE_NONE &&
        !follow_connection(feed, message->connection, route->sequence, received_ns) &&
        !tp_meaning_is_for_cold_side(route->meaning))
        return TP_FEED_IGNORED;
    enum tp_feed_result result = take(feed, message, route, received_ns);
    while (route->next_offset != 0) {
        const uint32_t from = route->next_offset;
        of->venue->route(of->router, message, from, route);
        assert(route->next_offset == 0 || route->next_offset > from);
        const enum tp_feed_result part = take(feed, message, route, received_ns);
        result = part > result ? part : result;
        if (route->meaning ==
            TP_MEANING_BROKEN) /* as if all of it were: the next number shows it */
            feed->connections[message->connection].next_sequence--;
    }
    return result;
}

/* What is not one book's change and no more, on a connection as most are. */
RARE static enum tp_feed_result take_other(struct tp_feed *feed,
                                           const struct tp_venue_message *message,
                                           struct tp_route *route, uint64_t received_ns)
{
    if (route->meaning != TP_MEANING_DELTA || route->next_offset != 0 ||
        feed->connections[message->connection].unusual != FEED_RACES)
        return take_parts(feed, message, route, received_ns);
    feed->counters.messages++;
    feed->counters.bytes += message->size;
    const struct feed_arrival arrival = arrival_of(message, route, received_ns);
    return feed_race_take(feed, route->instrument, &arrival);
}

enum tp_feed_result tp_feed_message(struct tp_feed *feed, uint32_t connection, uint8_t opcode,
                                    struct tp_span payload, uint64_t received_ns)
{
    assert(connection < feed->config.connection_count);
    struct feed_connection *of = &feed->connections[connection];
    of->last_ns = received_ns;
    if (opcode > TP_WS_BINARY)
        return TP_FEED_IGNORED; /* ping, pong, close: of the connection, not of the venue */
    const struct tp_venue_message message = {
        .data = payload.data, .size = payload.size, .connection = connection, .opcode = opcode};
    struct tp_route route;
    of->venue->route(of->router, &message, 0, &route);
    if (route.meaning != TP_MEANING_DELTA || (route.next_offset | of->unusual) != 0)
        return take_other(feed, &message, &route, received_ns);
    feed->counters.messages++;
    feed->counters.bytes += payload.size;
    return take_depth(feed, &message, &route, received_ns);
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
