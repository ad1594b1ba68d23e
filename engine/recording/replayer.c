/* The replay of replayer.h. */
#include "engine/recording/replayer.h"

#include <assert.h>
#include <string.h>

#include "engine/book/book.h"
#include "engine/feed/checkpoint.h"
#include "engine/feed/race.h"
#include "engine/feed/rescale.h"
#include "engine/feed/trading.h"
#include "engine/feed/verify.h"
#include "proto/encoding/decimal.h"

enum { KIND_MASK = 0xff, OPCODE_SHIFT = 8, CONNECTION_SHIFT = 16, WORD = 8 };
/* Recordings of others have no TICK records: books that stay crossed are looked for so often. */
static const uint64_t TICK_NS = 1000000;

struct record {
    enum tp_record_kind kind;
    uint8_t opcode;
    uint32_t connection;
    uint64_t t_ns;
    struct tp_span payload;
};

uint32_t tp_replayer_room(uint32_t instrument_count)
{
    return TP_REPLAY_EVENTS_PER_RECORD + TP_REPLAY_EVENTS_PER_INSTRUMENT * instrument_count;
}

void tp_replayer_init(struct tp_replayer *r)
{
    const uint32_t room = tp_replayer_room(r->instrument_count);
    assert(r->clock->tsc_base == TP_CLOCK_VIRTUAL && r->clock->mult == 0);
    assert(r->ring->mask + 1 >= room);
    assert(r->tops == NULL || r->top_capacity >= room);
    assert(r->events == NULL || r->event_capacity >= room);
    memset(r->is_up, 0, r->connection_count * sizeof *r->is_up);
    memset(r->marked, 0, r->instrument_count);
    memset(r->was_live, 0, r->instrument_count);
    memset(r->last, 0, r->instrument_count * sizeof *r->last);
}

/* ---- where a feed publishes when nobody watches
 * -------------------------------------------------- */

enum { LINE = 64, WORDS = sizeof(struct tp_book_record) / WORD };

static size_t lines(size_t size)
{
    return (size + LINE - 1) / LINE * LINE;
}

static size_t cell_size(void)
{
    return lines(sizeof(struct tp_snapshot_cell) + WORDS * WORD);
}

size_t tp_replay_store_size(uint32_t ring_capacity, uint32_t instrument_count)
{
    return lines(sizeof(struct tp_replay_store)) + (size_t)ring_capacity * TP_RING_SLOT_SIZE +
           lines(instrument_count * sizeof(uint64_t)) +
           (size_t)instrument_count * TP_SNAPSHOT_VERSIONS * cell_size();
}

struct tp_replay_store *tp_replay_store_init(void *memory, uint32_t ring_capacity,
                                             uint32_t instrument_count)
{
    assert((uintptr_t)memory % LINE == 0 && (ring_capacity & (ring_capacity - 1)) == 0);
    uint8_t *at = memory;
    struct tp_replay_store *store = memory;
    at += lines(sizeof *store);
    store->ring = (struct tp_ring_writer){(struct tp_ring_slot *)(void *)at, ring_capacity - 1, 0,
                                          &store->head};
    at += (size_t)ring_capacity * TP_RING_SLOT_SIZE;
    store->snapshots = (struct tp_snapshot_writer){.index = (_Atomic uint64_t *)(void *)at,
                                                   .slot_count = instrument_count,
                                                   .cell_size = (uint32_t)cell_size(),
                                                   .word_count = WORDS};
    store->snapshots.cells = at + lines(instrument_count * sizeof(uint64_t));
    return store;
}

/* ---- results
 * ------------------------------------------------------------------------------------- */

static const struct tp_ring_slot *slot_at(const struct tp_replayer *r, uint64_t index)
{
    return &r->ring->slots[index & r->ring->mask];
}

static void keep_events(struct tp_replayer *r, uint64_t from)
{
    for (uint64_t index = from; index != r->ring->next; index++) {
        uint64_t words[1 + TP_RING_EVENT_WORDS] = {index};
        for (int i = 0; i < TP_RING_EVENT_WORDS; i++)
            words[1 + i] = atomic_load_explicit(&slot_at(r, index)->word[i], memory_order_relaxed);
        memcpy(&r->events[r->event_count++], words, sizeof words);
    }
}

static bool same_top(const struct tp_replay_top *a, const struct tp_replay_top *b)
{
    return a->state == b->state && a->price_exponent == b->price_exponent &&
           a->quantity_exponent == b->quantity_exponent && a->bid == b->bid &&
           a->bid_quantity == b->bid_quantity && a->ask == b->ask &&
           a->ask_quantity == b->ask_quantity;
}

static void keep_top(struct tp_replayer *r, uint32_t instrument)
{
    const struct tp_book *book = tp_feed_book(r->feed, instrument);
    const struct tp_level bid = tp_book_best(book, TP_SIDE_BID);
    const struct tp_level ask = tp_book_best(book, TP_SIDE_ASK);
    const struct tp_scale scale = tp_feed_scale(r->feed, instrument);
    const struct tp_replay_top top = {.t_ns = r->now_ns,
                                      .instrument = instrument,
                                      .state = (uint8_t)tp_feed_state(r->feed, instrument),
                                      .price_exponent = (int8_t)scale.price_exponent,
                                      .quantity_exponent = (int8_t)scale.quantity_exponent,
                                      .bid = bid.price,
                                      .bid_quantity = bid.quantity,
                                      .ask = ask.price,
                                      .ask_quantity = ask.quantity};
    if (same_top(&top, &r->last[instrument]))
        return;
    r->last[instrument] = top;
    r->tops[r->top_count++] = top;
}

/* The instrument of an event: the low 16 bits of its first word, little-endian. */
static uint32_t instrument_at(const struct tp_replayer *r, uint64_t index)
{
    static_assert(offsetof(struct tp_event, instrument) == 0, "in the first word");
    const uint64_t word = atomic_load_explicit(&slot_at(r, index)->word[0], memory_order_relaxed);
    return (uint16_t)word;
}

/* One line an instrument that this record touched, however many events it gave. */
static void keep_tops(struct tp_replayer *r, uint64_t from)
{
    const uint64_t end = r->ring->next;
    for (uint64_t index = from; index != end; index++) {
        const uint32_t instrument = instrument_at(r, index);
        assert(instrument < r->instrument_count);
        if (r->marked[instrument] == 0)
            keep_top(r, instrument);
        r->marked[instrument] = 1;
    }
    for (uint64_t index = from; index != end; index++)
        r->marked[instrument_at(r, index)] = 0;
}

/* Word 3 of an event is the first of what it says: of a STATE the state. */
static void keep_live(struct tp_replayer *r, uint64_t from)
{
    static_assert(offsetof(struct tp_event, u) == 3 * WORD, "in the fourth word");
    for (uint64_t index = from; index != r->ring->next; index++) {
        const struct tp_ring_slot *slot = slot_at(r, index);
        const uint64_t head = atomic_load_explicit(&slot->word[0], memory_order_relaxed);
        if ((head >> 16 & 0xff) == TP_EVENT_STATE &&
            atomic_load_explicit(&slot->word[3], memory_order_relaxed) == TP_BOOK_LIVE)
            r->was_live[(uint16_t)head] = 1;
    }
}

/* False: one record published more than there is room for, so that its events are lost. */
static bool keep_results(struct tp_replayer *r, uint64_t from)
{
    const uint64_t count = r->ring->next - from;
    if (count > r->ring->mask + 1 ||
        (r->events != NULL && count > r->event_capacity - r->event_count))
        return false;
    keep_live(r, from);
    tp_native_follow(r->strategies);
    if (r->events != NULL)
        keep_events(r, from);
    if (r->tops != NULL)
        keep_tops(r, from);
    return true;
}

static bool has_room(const struct tp_replayer *r)
{
    const uint32_t room = tp_replayer_room(r->instrument_count);
    return (r->tops == NULL || r->top_capacity - r->top_count >= room) &&
           (r->events == NULL || r->event_capacity - r->event_count >= room) &&
           (r->ring_limit == 0 || r->ring->next + room <= r->ring_limit) &&
           (r->strategies == NULL || r->strategies->log == NULL ||
            tp_native_log_has_room(r->strategies, room));
}

/* ---- records
 * ------------------------------------------------------------------------------------- */

/* A recording that begins in the midst has no UP: the connection's first record says as much. */
static void imply_up(struct tp_replayer *r, uint32_t connection)
{
    if (r->is_up[connection])
        return;
    r->is_up[connection] = true;
    tp_feed_need_confirmation(r->feed, false); /* it came before what was recorded */
    tp_feed_connection_up(r->feed, connection, r->now_ns);
}

/* The row's place in the table that readers see; the rows before it, whose records are missing,
 * stay empty there. */
static void show_row(struct tp_replayer *r, const struct tp_feed_row *row)
{
    uint64_t words[(sizeof row->record + WORD - 1) / WORD];
    const struct tp_instrument_record none = {0};
    if (r->segment == NULL)
        return;
    memcpy(words, &none, sizeof none);
    for (uint32_t i = tp_segment_row_count(r->segment); i < row->instrument; i++)
        (void)tp_segment_row_write(r->segment, i, words);
    memcpy(words, &row->record, sizeof row->record);
    (void)tp_segment_row_write(r->segment, row->instrument, words);
}

static bool apply_row(struct tp_replayer *r, const struct record *record)
{
    struct tp_feed_row row;
    if (record->payload.size != sizeof row)
        return false;
    memcpy(&row, record->payload.data, sizeof row);
    if (row.instrument >= r->instrument_count || row.connection >= r->connection_count ||
        row.generation == 0 || memchr(row.channel, 0, sizeof row.channel) == NULL)
        return false;
    r->is_awaited[row.instrument] = false;
    r->row_changes++;
    r->rows[row.instrument] = row;
    r->owner[row.instrument] = row.connection;
    show_row(r, &row); /* first: INSTRUMENT says that it stands there */
    r->rows_refused += !tp_feed_row_take(r->feed, &row, record->t_ns); /* as the feed did */
    return true;
}

/* Records are missing: nothing is known of any book until its next base or checkpoint, and rows may
 * have come. */
static void lose(struct tp_replayer *r)
{
    r->gaps++;
    for (uint32_t i = 0; i < r->instrument_count; i++) {
        if (r->is_awaited[i])
            (void)tp_feed_row_take(r->feed, &r->rows[i], r->now_ns);
        r->is_awaited[i] = false;
    }
    for (uint32_t i = 0; i < r->connection_count; i++) {
        if (r->is_up[i])
            tp_feed_connection_down(r->feed, i, r->now_ns);
        r->is_up[i] = false;
    }
}

static bool read_book(const struct tp_replayer *r, struct tp_span payload,
                      struct tp_record_book *book, const struct tp_level *sides[2])
{
    if (payload.size < sizeof *book)
        return false;
    memcpy(book, payload.data, sizeof *book);
    const uint64_t levels = (uint64_t)book->bid_count + book->ask_count;
    if (book->instrument >= r->instrument_count || book->bid_count > TP_DEPTH_LEVEL_COUNT_MAX ||
        book->ask_count > TP_DEPTH_LEVEL_COUNT_MAX ||
        payload.size != sizeof *book + levels * sizeof(struct tp_level))
        return false;
    /* Aligned: the payload is, and the book's size is a multiple of 8. */
    sides[TP_SIDE_BID] = (const struct tp_level *)(const void *)(payload.data + sizeof *book);
    sides[TP_SIDE_ASK] = sides[TP_SIDE_BID] + book->bid_count;
    return true;
}

static bool apply_book(struct tp_replayer *r, const struct record *record)
{
    struct tp_record_book book;
    const struct tp_level *sides[2];
    if (!read_book(r, record->payload, &book, sides))
        return false;
    imply_up(r, record->connection); /* in a race any of its members */
    if (record->kind == TP_RECORD_BASE) {
        const struct tp_feed_base base = {.instrument = book.instrument,
                                          .bid_count = book.bid_count,
                                          .ask_count = book.ask_count,
                                          .version = book.version,
                                          .bids = sides[TP_SIDE_BID],
                                          .asks = sides[TP_SIDE_ASK],
                                          .truncated = book.flags & 3};
        r->bases_refused += !tp_feed_base_take(r->feed, &base, record->t_ns);
        return true;
    }
    r->checkpoints++;
    switch (tp_feed_restore(r->feed, &book, sides, record->t_ns)) {
    case TP_FEED_RESTORED:
    case TP_FEED_RESTORE_KNOWN:
        return true;
    case TP_FEED_RESTORE_DIVERGED:
        r->diverged++;
        return true;
    case TP_FEED_RESTORE_REFUSED:
        r->bases_refused++;
        return true;
    }
    return false;
}

static void apply_message(struct tp_replayer *r, const struct record *record)
{
    imply_up(r, record->connection);
    r->messages++;
    (void)tp_feed_message(r->feed, record->connection, record->opcode, record->payload,
                          record->t_ns); /* what is for the cold side has none here */
}

static bool apply_answer(struct tp_replayer *r, const struct record *record)
{
    uint64_t instrument;
    if (record->payload.size != sizeof instrument)
        return false;
    memcpy(&instrument, record->payload.data, sizeof instrument);
    if (instrument >= r->instrument_count)
        return false;
    if (record->kind == TP_RECORD_REFUSED)
        tp_feed_refused_on(r->feed, record->connection, (uint32_t)instrument, record->t_ns);
    else
        tp_feed_confirmed_on(r->feed, record->connection, (uint32_t)instrument, record->t_ns);
    return true;
}

static bool apply_verdict(struct tp_replayer *r, const struct record *record)
{
    uint64_t words[2]; /* instrument, proved_ns */
    if (record->payload.size != sizeof words)
        return false;
    memcpy(words, record->payload.data, sizeof words);
    if (words[0] >= r->instrument_count || record->opcode < TP_VERDICT_EQUAL ||
        record->opcode > TP_VERDICT_UNANSWERED)
        return false;
    tp_feed_conclude(r->feed, (uint32_t)words[0], (enum tp_verdict)record->opcode, words[1],
                     record->t_ns);
    return true;
}

static bool apply_listing(struct tp_replayer *r, const struct record *record)
{
    struct tp_feed_listing listing;
    if (record->payload.size != sizeof listing)
        return false;
    memcpy(&listing, record->payload.data, sizeof listing);
    if (listing.instrument >= r->instrument_count || listing.status > TP_INSTRUMENT_DELISTED)
        return false;
    (void)tp_feed_list_status(r->feed, &listing, record->t_ns); /* its row may have been refused */
    return true;
}

/* ---- scales */

static bool is_of_scale(const struct tp_replayer *r, uint32_t instrument, struct tp_scale scale)
{
    const struct tp_scale now = tp_feed_scale(r->feed, instrument);
    return now.price_exponent == scale.price_exponent &&
           now.quantity_exponent == scale.quantity_exponent;
}

/* A recording that is read from its midst on: a book of another scale than the row's. */
static bool is_book_scaled(struct tp_replayer *r, const struct record *record)
{
    struct tp_record_book book;
    const struct tp_level *sides[2];
    if (!read_book(r, record->payload, &book, sides))
        return false;
    const struct tp_scale scale = tp_record_scale_of(book.flags);
    if (scale.price_exponent > 0 || scale.quantity_exponent > 0 ||
        scale.price_exponent < TP_DECIMAL_EXPONENT_MIN ||
        scale.quantity_exponent < TP_DECIMAL_EXPONENT_MIN || is_of_scale(r, book.instrument, scale))
        return false;
    r->scale = (struct tp_record_scale){.instrument = book.instrument,
                                        .price_exponent = (int8_t)scale.price_exponent,
                                        .quantity_exponent = (int8_t)scale.quantity_exponent};
    return true;
}

/* Whether a scale is to be moved before the record, which r->scale then tells. */
static bool is_scaled(struct tp_replayer *r, const struct record *record)
{
    if (r->is_rescaled)
        return false;
    if (record->kind == TP_RECORD_BASE || record->kind == TP_RECORD_CHECKPOINT)
        return is_book_scaled(r, record);
    if (record->kind != TP_RECORD_SCALED || record->payload.size != sizeof r->scale)
        return false;
    memcpy(&r->scale, record->payload.data, sizeof r->scale);
    const struct tp_record_scale *scale = &r->scale;
    return scale->instrument < r->instrument_count && scale->tick_size >= 1 &&
           scale->tick_size <= TP_BOOK_PRICE_MAX && scale->price_exponent <= 0 &&
           scale->price_exponent >= TP_DECIMAL_EXPONENT_MIN && scale->quantity_exponent <= 0 &&
           scale->quantity_exponent >= TP_DECIMAL_EXPONENT_MIN;
}

static bool apply_gap(struct tp_replayer *r, const struct record *record)
{
    uint64_t words[2]; /* stream, slots lost */
    if (record->payload.size != sizeof words)
        return false;
    memcpy(words, record->payload.data, sizeof words);
    if (words[0] == 0) /* lost events are no loss here: they are made anew */
        lose(r);
    return true;
}

static bool apply(struct tp_replayer *r, const struct record *record)
{
    switch (record->kind) {
    case TP_RECORD_IN:
        apply_message(r, record);
        return true;
    case TP_RECORD_OUT:
    case TP_RECORD_BASE_TEXT: /* the caller's */
        return true;
    case TP_RECORD_BASE:
    case TP_RECORD_CHECKPOINT:
        return apply_book(r, record);
    case TP_RECORD_ROW:
        return apply_row(r, record);
    case TP_RECORD_UP:
        r->is_up[record->connection] = true;
        tp_feed_need_confirmation(r->feed, record->opcode != 0);
        tp_feed_connection_up(r->feed, record->connection, record->t_ns);
        return true;
    case TP_RECORD_DOWN:
        r->is_up[record->connection] = true; /* known from here on: nothing implies an up */
        tp_feed_connection_down(r->feed, record->connection, record->t_ns);
        return true;
    case TP_RECORD_TICK:
        (void)tp_feed_tick(r->feed, record->t_ns);
        return true;
    case TP_RECORD_REFUSED:
    case TP_RECORD_CONFIRMED:
        return apply_answer(r, record);
    case TP_RECORD_VERDICT:
        return apply_verdict(r, record);
    case TP_RECORD_LISTED:
        return apply_listing(r, record);
    case TP_RECORD_SCALED:
        return r->is_rescaled; /* else it is broken */
    case TP_RECORD_GAP:
        return apply_gap(r, record);
    case TP_RECORD_OVERSIZE:
        lose(r);
        return true;
    }
    return false; /* a kind of a later version */
}

/* False: it cannot be a record. *size: with its padding. */
static bool read_record(const struct tp_replayer *r, struct tp_span left, struct record *record,
                        size_t *size)
{
    struct tp_message_header header;
    if (left.size < sizeof header)
        return false;
    memcpy(&header, left.data, sizeof header);
    *size = sizeof header + ((size_t)header.size + WORD - 1) / WORD * WORD;
    if (*size > left.size)
        return false;
    record->kind = (enum tp_record_kind)(header.tag & KIND_MASK);
    record->opcode = (uint8_t)(header.tag >> OPCODE_SHIFT);
    record->connection = header.tag >> CONNECTION_SHIFT;
    record->t_ns = header.time_ns;
    record->payload = (struct tp_span){left.data + sizeof header, header.size};
    return record->connection < r->connection_count;
}

static void begin(struct tp_replayer *r, uint64_t now_ns)
{
    r->now_ns = r->clock->ns_base = now_ns;
    if (r->has_ticks || now_ns < r->next_tick_ns)
        return;
    r->next_tick_ns = now_ns + TICK_NS;
    (void)tp_feed_tick(r->feed, now_ns);
}

enum tp_replay_status tp_replayer_run(struct tp_replayer *r, struct tp_span records, size_t *offset,
                                      uint64_t until_ns)
{
    while (*offset < records.size) { /* each turn moves on or returns */
        struct record record;
        size_t size;
        const struct tp_span left = {records.data + *offset, records.size - *offset};
        if (!read_record(r, left, &record, &size))
            return TP_REPLAY_BROKEN;
        if (record.t_ns > until_ns) {
            r->next_ns = record.t_ns;
            return TP_REPLAY_LATER;
        }
        r->next_ns = record.t_ns;
        if (record.kind == TP_RECORD_BASE_TEXT)
            return TP_REPLAY_BASE_TEXT;
        if (is_scaled(r, &record))
            return TP_REPLAY_SCALED;
        if (!has_room(r))
            return TP_REPLAY_FULL;
        const uint64_t from = r->ring->next;
        if (record.t_ns < r->now_ns) { /* time goes on only: a clock that was set, lines mixed up */
            r->backwards++;
            record.t_ns = r->now_ns;
        }
        begin(r, record.t_ns);
        bool is_sound = apply(r, &record);
        if (r->ring->next != from) /* time may have done something, whatever the record is */
            is_sound = keep_results(r, from) && is_sound;
        r->is_rescaled = false;
        if (!is_sound)
            return TP_REPLAY_BROKEN;
        r->records++;
        *offset += size;
    }
    return TP_REPLAY_DONE;
}

void tp_replayer_rescale(struct tp_replayer *r, int64_t tick_size, uint64_t generation)
{
    assert(has_room(r) && !r->is_rescaled);
    const struct tp_feed_scale scale = {.tick_size = tick_size,
                                        .generation = generation,
                                        .price_exponent = r->scale.price_exponent,
                                        .quantity_exponent = r->scale.quantity_exponent};
    const uint64_t from = r->ring->next;
    const uint64_t now_ns = r->next_ns < r->now_ns ? r->now_ns : r->next_ns;
    begin(r, now_ns);
    (void)tp_feed_rescale(r->feed, r->scale.instrument, &scale, now_ns); /* it may have left */
    r->is_rescaled = true;
    (void)keep_results(r, from); /* one book's, for which there is room */
}

void tp_replayer_base(struct tp_replayer *r, const struct tp_feed_base *base, uint64_t now_ns)
{
    assert(base->instrument < r->instrument_count && has_room(r));
    const uint64_t from = r->ring->next;
    r->backwards += now_ns < r->now_ns;
    now_ns = now_ns < r->now_ns ? r->now_ns : now_ns;
    begin(r, now_ns);
    imply_up(r, r->owner[base->instrument]);
    r->bases_refused += !tp_feed_base_take(r->feed, base, now_ns);
    r->records++;
    (void)keep_results(r, from); /* one book's, for which there is room */
}
