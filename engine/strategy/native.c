/* The calls of native.h. Hot path.
 *
 * An event and a book stand in memory as words that are written atomically; strategies see them as
 * the records of proto/records.h. That is sound inline, since the thread that wrote them makes the
 * call, and the callee is beyond what the compiler sees. */
#include "engine/strategy/native.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { TYPE_SHIFT = 16, TYPE_MASK = 0xff, TYPE_COUNT = 64 };
static_assert(offsetof(struct tp_event, instrument) == 0 && offsetof(struct tp_event, type) == 2,
              "in the first word, little-endian");
static_assert((int)TP_EVENT_VERIFIED < TYPE_COUNT, "a bit each");

/* A type of a later version has no bit. */
static inline bool is_among(uint64_t events, uint32_t type)
{
    return type < TYPE_COUNT && (events >> type & 1) != 0;
}

struct tp_native_set *tp_native_new(void)
{
    return calloc(1, sizeof(struct tp_native_set));
}

void tp_native_free(struct tp_native_set *set)
{
    free(set);
}

void tp_native_begin(struct tp_native_set *set)
{
    assert(set->count <= TP_NATIVE_COUNT_MAX);
    set->events = 0;
    for (uint32_t i = 0; i < set->count; i++)
        set->events |= set->strategies[i].events;
    if (set->ring != NULL)
        set->next = set->ring->next;
}

/* ---- books ----------------------------------------------------------------------------------- */

static const struct tp_book_record *no_book(struct tp_native_set *set, uint32_t instrument)
{
    memset(&set->book, 0, sizeof set->book);
    set->book.instrument = (uint16_t)instrument;
    set->book.reason = TP_SYNC_REASON_STARTING;
    return &set->book;
}

/* The newest version, in its cell: none is written while a strategy looks at it. */
static const struct tp_book_record *book_of(struct tp_native_set *set, uint32_t instrument)
{
    if (set->read_book != NULL)
        return set->read_book(set, instrument);
    const struct tp_snapshot_cell *cell = tp_snapshot_last(set->snapshots, instrument);
    return cell == NULL ? no_book(set, instrument)
                        : (const struct tp_book_record *)(const void *)cell->word;
}

/* ---- intents --------------------------------------------------------------------------------- */

/* One that is refused would trade on a book that must not be traded on, or be of numbers that mean
 * another price than the strategy thought. */
static bool is_sound(struct tp_native_set *set, const struct tp_native *strategy,
                     const struct tp_order_intent *intent)
{
    if (intent->instrument >= set->instrument_count || strategy->wants[intent->instrument] == 0)
        return false;
    if (intent->verb == TP_ORDER_CANCEL)
        return true;
    if (intent->verb != TP_ORDER_PLACE || intent->side > TP_SIDE_ASK || intent->quantity <= 0 ||
        intent->price <= 0)
        return false;
    const struct tp_book_record *book = book_of(set, intent->instrument);
    return book->state == TP_BOOK_LIVE && book->price_exponent == intent->price_exponent &&
           book->quantity_exponent == intent->quantity_exponent;
}

static void keep(struct tp_native_log *log, const struct tp_native_intent *row)
{
    if (log->count == log->capacity)
        log->lost++;
    else
        log->rows[log->count++] = *row;
}

static void take_intents(struct tp_native_set *set, struct tp_native *strategy, uint64_t ring_index,
                         uint64_t received_ns)
{
    /* The buffer is the strategy's to write: its count is not believed. */
    uint32_t count = set->orders.count;
    if (count > TP_ORDER_INTENTS_MAX) {
        strategy->refused += count - TP_ORDER_INTENTS_MAX;
        count = TP_ORDER_INTENTS_MAX;
    }
    strategy->refused += set->orders.overfull;
    for (uint32_t i = 0; i < count; i++) {
        const struct tp_order_intent *intent = &set->orders.intents[i];
        const bool sound = is_sound(set, strategy, intent);
        strategy->refused += !sound;
        strategy->places += sound && intent->verb == TP_ORDER_PLACE;
        strategy->cancels += sound && intent->verb == TP_ORDER_CANCEL;
        if (set->log == NULL)
            continue;
        const struct tp_native_intent row = {.ring_index = ring_index,
                                             .received_ns = received_ns,
                                             .strategy = (uint32_t)(strategy - set->strategies),
                                             .is_refused = !sound,
                                             .intent = *intent};
        keep(set->log, &row);
    }
}

/* ---- calls ----------------------------------------------------------------------------------- */

/* Words of an event: its first, and the two stamps. */
enum { FIRST = 0, RECEIVED = 1, PUBLISHED = 2 };
static_assert(offsetof(struct tp_event, received_ns) == 8 * RECEIVED &&
                  offsetof(struct tp_event, published_ns) == 8 * PUBLISHED,
              "as they are read below");

static void measure(const struct tp_native *strategy, const struct tp_native_happening *now_is,
                    const struct tp_clock *clock)
{
    const uint64_t now = tp_clock_now_ns(clock);
    const uint64_t received = now_is->received_ns, published = now_is->published_ns;
    if (received != 0)
        tp_histogram_record(strategy->received_to_seen, now > received ? now - received : 0);
    if (published != 0)
        tp_histogram_record(strategy->published_to_seen, now > published ? now - published : 0);
}

static void call(struct tp_native_set *set, struct tp_native *strategy,
                 const struct tp_native_happening *now_is)
{
    strategy->calls++;
    if (now_is->type == TP_EVENT_TOP) {
        strategy->tops++;
        if (strategy->received_to_seen != NULL)
            measure(strategy, now_is, set->clock);
    }
    set->orders.count = set->orders.overfull = 0;
    if (strategy->stats != NULL)
        tp_segment_counter_store(strategy->stats, strategy->in_call_counter, 1);
    const int32_t status =
        strategy->on_event(now_is->event, now_is->book, strategy->state, &set->orders);
    if (strategy->stats != NULL)
        tp_segment_counter_store(strategy->stats, strategy->in_call_counter, 0);
    if (status != 0) {
        strategy->stopped_by = status; /* what it left in the buffer is of a call that failed */
        strategy->refused += set->orders.count;
        return;
    }
    if ((set->orders.count | set->orders.overfull) != 0)
        take_intents(set, strategy, now_is->ring_index, now_is->received_ns);
}

/* The book is looked for once, and only where somebody wants it. */
void tp_native_give(struct tp_native_set *set, struct tp_native_happening *now_is)
{
    for (uint32_t i = 0; i < set->count; i++) {
        struct tp_native *strategy = &set->strategies[i];
        if (!is_among(strategy->events, now_is->type) || strategy->stopped_by != 0 ||
            now_is->instrument >= set->instrument_count || strategy->wants[now_is->instrument] == 0)
            continue;
        /* Split, a strategy before this one may have had another book read for its intents. */
        if (now_is->book == NULL || set->read_book != NULL)
            now_is->book = book_of(set, now_is->instrument);
        call(set, strategy, now_is);
    }
}

void tp_native_run(struct tp_native_set *set)
{
    const struct tp_ring_writer *ring = set->ring;
    const uint64_t end = ring->next, capacity = ring->mask + 1;
    if (end - set->next > capacity) { /* its TOP stands last, and so is never lost */
        set->lapped += end - set->next - capacity;
        set->next = end - capacity;
    }
    for (; set->next != end; set->next++) {
        const struct tp_ring_slot *slot = &ring->slots[set->next & ring->mask];
        const uint64_t first = atomic_load_explicit(&slot->word[FIRST], memory_order_relaxed);
        const uint32_t type = first >> TYPE_SHIFT & TYPE_MASK;
        if (!is_among(set->events, type))
            continue;
        struct tp_native_happening now_is = {
            .event = (const struct tp_event *)(const void *)slot->word,
            .ring_index = set->next,
            .received_ns = atomic_load_explicit(&slot->word[RECEIVED], memory_order_relaxed),
            .published_ns = atomic_load_explicit(&slot->word[PUBLISHED], memory_order_relaxed),
            .instrument = (uint16_t)first,
            .type = type,
        };
        tp_native_give(set, &now_is);
    }
}
