/* The two sources of trading.h, and what follows for the book. */
#include "engine/feed/trading.h"

#include <assert.h>

#include "engine/feed/publish.h"

static_assert((int)TP_INSTRUMENT_TRADING == (int)TP_TRADING_OPEN &&
                  (int)TP_INSTRUMENT_CANCEL_ONLY == (int)TP_TRADING_CANCEL_ONLY &&
                  (int)TP_INSTRUMENT_HALTED == (int)TP_TRADING_HALTED &&
                  (int)TP_INSTRUMENT_DELISTED == (int)TP_TRADING_DELISTED,
              "a decoder's status is a record's");

/* The gravest word counts: their numbers rise with it. */
static enum tp_instrument_status status_of(const struct feed_history *history)
{
    return (enum tp_instrument_status)(history->listed > history->streamed ? history->listed
                                                                           : history->streamed);
}

bool feed_is_halted(const struct feed_history *history)
{
    return status_of(history) > TP_INSTRUMENT_TRADING;
}

/* Says what an instrument's status is now: to readers by an event, and to the cold thread, which
 * writes the row that they see. A status is a number by itself, so relaxed. */
static void tell(struct tp_feed *feed, uint32_t index, uint64_t exchange_ns, uint64_t now_ns)
{
    const enum tp_instrument_status status = status_of(&feed->histories[index]);
    atomic_store_explicit(&feed->histories[index].told, (uint8_t)status, memory_order_relaxed);
    feed_publish_status(feed, index, status, exchange_ns, now_ns);
}

void feed_forget_stream(struct tp_feed *feed, uint32_t index, uint64_t now_ns)
{
    struct feed_history *history = &feed->histories[index];
    const enum tp_instrument_status before = status_of(history);
    history->streamed = TP_INSTRUMENT_UNKNOWN;
    if (status_of(history) != before)
        tell(feed, index, 0, now_ns);
}

uint32_t tp_feed_status_next(const struct tp_feed *feed, uint8_t *known, uint32_t from)
{
    const uint32_t count = feed->config.instrument_count;
    for (uint32_t i = from; i < count; i++) {
        const uint8_t told = atomic_load_explicit(&feed->histories[i].told, memory_order_relaxed);
        if (told == known[i])
            continue;
        known[i] = told;
        return i;
    }
    return count;
}

/* The status was `before`. */
static void follow(struct tp_feed *feed, uint32_t index, enum tp_instrument_status before,
                   uint64_t exchange_ns, uint64_t now_ns)
{
    const struct feed_history *history = &feed->histories[index];
    if (status_of(history) == before)
        return;
    tell(feed, index, exchange_ns, now_ns);
    const bool was_halted = before > TP_INSTRUMENT_TRADING;
    if (feed_is_halted(history) == was_halted)
        return;
    feed->counters.halts += !was_halted;
    const struct feed_instrument *instrument = &feed->instruments[index];
    if ((instrument->flags & FEED_ADDED) == 0 || !feed->connections[instrument->connection].up)
        return; /* connection_up looks */
    if (was_halted)
        feed_reopen(feed, index, now_ns);
    else
        feed_halt(feed, index, now_ns);
}

bool tp_feed_list_status(struct tp_feed *feed, const struct tp_feed_listing *listing,
                         uint64_t now_ns)
{
    const uint32_t index = listing->instrument;
    if (index >= feed->config.instrument_count || listing->status > TP_INSTRUMENT_DELISTED ||
        feed->instruments[index].book == NULL) /* a place that nobody was given yet */
        return false;
    struct feed_history *history = &feed->histories[index];
    const enum tp_instrument_status before = status_of(history);
    history->listed = (uint8_t)listing->status;
    feed->instruments[index].generation = (uint32_t)listing->generation;
    feed_publish(feed, &(struct feed_change){.instrument = index,
                                             .row_change = TP_ROW_CHANGED,
                                             .received_ns = now_ns,
                                             .decoded_ns = now_ns});
    follow(feed, index, before, 0, now_ns);
    return true;
}

/* The streams of a race say it each by itself, one later than another: each member's last word
 * stands while it is open, and the gravest counts. */
static uint8_t merge(struct tp_feed *feed, uint32_t index, uint32_t connection,
                     enum tp_trading trading)
{
    if (!feed_race_has(feed, index, connection))
        return (uint8_t)trading;
    feed_member(feed, index, connection)->said = (uint8_t)trading;
    return feed_race_said(feed, index);
}

void feed_forget_member(struct tp_feed *feed, uint32_t index, uint64_t now_ns)
{
    struct feed_history *history = &feed->histories[index];
    const enum tp_instrument_status before = status_of(history);
    history->streamed = feed_race_said(feed, index);
    follow(feed, index, before, 0, now_ns);
}

enum tp_feed_result feed_take_status(struct tp_feed *feed, uint32_t index,
                                     const struct feed_arrival *arrival)
{
    const struct feed_instrument *instrument = &feed->instruments[index];
    const struct tp_body what = {.data = arrival->body.data,
                                 .size = arrival->body.size,
                                 .meaning = TP_MEANING_STATUS,
                                 .scale = {.price_exponent = instrument->price_exponent,
                                           .quantity_exponent = instrument->quantity_exponent}};
    struct tp_status_update update;
    const struct tp_venue *venue = feed->connections[instrument->connection].venue;
    if (venue->decode_status == NULL) {
        feed->counters.unpublished++;
        return TP_FEED_IGNORED;
    }
    if (venue->decode_status(&what, &update) != TP_DECODE_OK ||
        update.trading > TP_TRADING_DELISTED) {
        feed->counters.broken++; /* the book's own messages are whole: it stays as it is */
        return TP_FEED_BROKEN;
    }
    struct feed_history *history = &feed->histories[index];
    const uint8_t word = merge(feed, index, arrival->connection, (enum tp_trading)update.trading);
    if (word == history->streamed && feed_race_has(feed, index, arrival->connection))
        return TP_FEED_IGNORED; /* of another member, or not yet of all */
    const enum tp_instrument_status before = status_of(history);
    history->streamed = word;
    follow(feed, index, before, update.exchange_ns, arrival->received_ns);
    return TP_FEED_APPLIED;
}
