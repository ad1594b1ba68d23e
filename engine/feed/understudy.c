#include "engine/feed/understudy.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "engine/feed/feed_parts.h"
#include "netstack/ws/ws.h"

enum {
    LINE = 64,
    RING_CAPACITY = 64, /* as few lines as a message's events need: nobody reads it */
    WINDOW_TICKS = TP_BOOK_WINDOW_TICKS_MIN,
    OVERFLOW_LEVELS = 256,
    KEPT_BYTES = 4096, /* it keeps no message */
    RECORD_WORDS = sizeof(struct tp_book_record) / sizeof(uint64_t),
    CELL_SIZE =
        (sizeof(struct tp_snapshot_cell) + sizeof(struct tp_book_record) + LINE - 1) / LINE * LINE,
    SLOTS_TOUCHED = 4, /* events of a usual message */
};

struct tp_feed_understudy {
    struct tp_ring_slot slots[RING_CAPACITY];
    _Alignas(LINE) uint8_t cell[CELL_SIZE];
    struct tp_ring_writer ring;
    struct tp_snapshot_writer snapshots;
    _Atomic uint64_t head;
    struct tp_sync_rule rule; /* of the instrument in hand */
    struct tp_feed *feed;
    void *memory;  /* the feed's */
    uint8_t *rows; /* what it has of each instrument */
    void *book;
};

static struct tp_feed_config smaller(const struct tp_feed_config *full)
{
    struct tp_feed_config config = {
        .venues = {full->venues[0]}, /* its mailbox, in which nothing is ever read */
        .instrument_count = 1,       /* of which the memory is for: the rest is below */
        .connection_count = full->connection_count,
        .clock = full->clock,
        .buffer_pool_bytes = KEPT_BYTES,
        .buffered_bytes_max = KEPT_BYTES,
        .snapshot_depth = full->snapshot_depth,
        .window_ticks = WINDOW_TICKS,
        .overflow_levels = OVERFLOW_LEVELS,
    };
    config.venues[0].channel_count = 1;
    config.venues[0].verify_after_ns = config.venues[0].verify_limit_ns = 0;
    return config;
}

static size_t row_size(void)
{
    return sizeof(struct feed_instrument) + sizeof(struct feed_misfit_slot) +
           sizeof(struct feed_history) + sizeof(struct tp_backlog) + sizeof(uint64_t) +
           sizeof(uint32_t);
}

/* Lets one set of rows be there for each instrument, in memory of its own. */
static void give_rows(struct tp_feed_understudy *understudy, uint32_t count)
{
    struct tp_feed *feed = understudy->feed;
    uint8_t *next = understudy->rows;
    feed->instruments = (void *)next;
    next += count * sizeof *feed->instruments;
    feed->misfits = (void *)next;
    next += count * sizeof *feed->misfits;
    feed->histories = (void *)next;
    next += count * sizeof *feed->histories;
    feed->backlogs = (void *)next;
    next += count * sizeof *feed->backlogs;
    understudy->snapshots.index = (void *)next;
    next += count * sizeof *understudy->snapshots.index;
    struct tp_mailbox *mailbox = &feed->venues[0].mailbox;
    tp_mailbox_init(mailbox, (void *)next, count, mailbox->cells);
    understudy->snapshots.slot_count = feed->config.instrument_count = count;
    for (uint32_t i = 0; i < count; i++)
        tp_backlog_init(&feed->backlogs[i]);
}

static void *lines_of(size_t size)
{
    void *memory = aligned_alloc(LINE, (size + LINE - 1) / LINE * LINE);
    if (memory != NULL)
        memset(memory, 0, (size + LINE - 1) / LINE * LINE);
    return memory;
}

struct tp_feed_understudy *tp_feed_understudy_new(const struct tp_feed *feed)
{
    const uint32_t count = feed->config.instrument_count;
    struct tp_feed_understudy *understudy = lines_of(sizeof *understudy);
    if (understudy == NULL)
        return NULL;
    struct tp_feed_config config = smaller(&feed->config);
    config.ring = &understudy->ring;
    config.snapshots = &understudy->snapshots;
    understudy->ring = (struct tp_ring_writer){
        .slots = understudy->slots, .mask = RING_CAPACITY - 1, .head = &understudy->head};
    understudy->memory = lines_of(tp_feed_memory_size(&config));
    understudy->rows = lines_of(count * row_size());
    if (understudy->memory == NULL || understudy->rows == NULL) {
        tp_feed_understudy_free(understudy);
        return NULL;
    }
    /* Every version of every slot is the one cell. */
    understudy->snapshots = (struct tp_snapshot_writer){
        .cells = understudy->cell, .slot_count = count, .cell_size = 0, .word_count = RECORD_WORDS};
    understudy->feed = tp_feed_init(understudy->memory, &config);
    understudy->book = understudy->feed->books;
    give_rows(understudy, count);
    return understudy;
}

void tp_feed_understudy_free(struct tp_feed_understudy *understudy)
{
    if (understudy == NULL)
        return;
    free(understudy->memory);
    free(understudy->rows);
    free(understudy);
}

struct tp_feed *tp_feed_understudy_feed(struct tp_feed_understudy *understudy)
{
    return understudy->feed;
}

size_t tp_feed_understudy_size(const struct tp_feed_config *config)
{
    const struct tp_feed_config own = smaller(config);
    return sizeof(struct tp_feed_understudy) + tp_feed_memory_size(&own) +
           config->instrument_count * row_size();
}

uint64_t tp_feed_understudy_published(const struct tp_feed_understudy *understudy)
{
    return understudy->ring.next;
}

/* ---- one message ----------------------------------------------------------------------------- */

/* The number of the book that this update follows. */
static uint64_t version_before(const struct tp_sync_rule *rule,
                               const struct tp_depth_update *update)
{
    return rule->chain == TP_CHAIN_PREVIOUS ? update->previous_version : update->first_version - 1;
}

bool tp_feed_understudy_note(const struct tp_feed *feed, uint32_t connection, uint8_t opcode,
                             struct tp_span text, struct tp_feed_part *out)
{
    const struct feed_connection *of = &feed->connections[connection];
    const struct tp_venue_message message = {
        .data = text.data, .size = text.size, .connection = connection, .opcode = opcode};
    struct tp_route route;
    if (opcode > TP_WS_BINARY)
        return false;
    of->venue->route(of->router, &message, 0, &route);
    if ((route.meaning != TP_MEANING_DELTA && route.meaning != TP_MEANING_BASE) ||
        route.next_offset != 0)
        return false;
    const struct tp_sync_rule *rule = feed->instruments[route.instrument].rule;
    const bool is_base =
        route.meaning == TP_MEANING_BASE || (feed->update->flags & TP_DEPTH_BASE) != 0;
    /* Bases are usual messages only where there are no others. */
    if (is_base && (rule->base != TP_BASE_IN_BAND || rule->chain != TP_CHAIN_NONE))
        return false;
    *out = (struct tp_feed_part){.connection = connection,
                                 .instrument = route.instrument,
                                 .version = version_before(rule, feed->update)};
    return true;
}

static void copy_best(struct tp_book *to, const struct tp_book *from, enum tp_side side)
{
    const struct tp_level best = tp_book_best(from, side);
    if (best.quantity > 0)
        (void)tp_book_set_level(to, side, best.price, best.quantity);
}

bool tp_feed_understudy_dress(struct tp_feed_understudy *understudy, const struct tp_feed *feed,
                              const struct tp_feed_part *part)
{
    const struct feed_instrument *from = &feed->instruments[part->instrument];
    struct tp_feed *own = understudy->feed;
    if ((from->flags & (FEED_ACTIVE | FEED_KEEPING)) != FEED_ACTIVE ||
        from->phase == TP_SYNC_BUFFERING || from->state != TP_BOOK_LIVE)
        return false;
    const struct feed_connection *of = &feed->connections[part->connection];
    own->connections[part->connection] =
        (struct feed_connection){.venue = of->venue, .router = of->router, .up = true};
    /* What needs all of a book, which is not there. */
    understudy->rule = *from->rule;
    understudy->rule.checksum = TP_CHECKSUM_NONE;
    understudy->rule.must_truncate = false;
    struct feed_instrument *to = &own->instruments[part->instrument];
    *to = *from;
    to->connection = (uint16_t)part->connection;
    to->rule = &understudy->rule;
    to->version = part->version;
    to->depth_least = to->depth_low = 0;
    to->crossed_messages = 0;
    to->exchange_ns = 0; /* no message is older */
    memset(&own->histories[part->instrument], 0, sizeof *own->histories);
    to->book = tp_book_init(understudy->book,
                            &(struct tp_book_config){.tick_size = tp_book_step(from->book),
                                                     .window_ticks = WINDOW_TICKS,
                                                     .overflow_levels = OVERFLOW_LEVELS});
    copy_best(to->book, from->book, TP_SIDE_BID);
    copy_best(to->book, from->book, TP_SIDE_ASK);
    return true;
}

/* ---- the real one ---------------------------------------------------------------------------- */

/* To read: a line that readers spin on stays theirs. */
static inline void touch(const void *from, size_t size)
{
    for (size_t at = 0; at < size; at += LINE)
        __builtin_prefetch((const uint8_t *)from + at);
}

void tp_feed_touch(const struct tp_feed *feed, const struct tp_feed_part *part)
{
    const uint32_t slot = part->instrument;
    const struct feed_instrument *instrument = &feed->instruments[slot];
    const struct tp_snapshot_writer *table = feed->config.snapshots;
    const struct tp_ring_writer *ring = feed->config.ring;
    touch(feed, sizeof *feed);
    touch(&feed->connections[part->connection], sizeof *feed->connections);
    touch(&feed->histories[slot], sizeof *feed->histories);
    tp_book_prefetch(instrument->book);
    tp_book_prefetch_touch(instrument->book);
    touch(feed->update, 2 * LINE);
    touch(feed->update->bids, LINE);
    touch(feed->update->asks, LINE);
    const uint64_t version = atomic_load_explicit(&table->index[slot], memory_order_relaxed) + 1;
    touch(table->cells +
              ((size_t)slot * TP_SNAPSHOT_VERSIONS + (version & (TP_SNAPSHOT_VERSIONS - 1))) *
                  table->cell_size,
          CELL_SIZE);
    touch(ring->head, sizeof *ring->head);
    for (uint64_t i = 0; i < SLOTS_TOUCHED; i++)
        touch(&ring->slots[(ring->next + i) & ring->mask], sizeof *ring->slots);
    touch(feed->config.taken_to_decoded, LINE); /* a prefetch of NULL does nothing */
    touch(feed->config.decoded_to_published, LINE);
}
