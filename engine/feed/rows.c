/* The rows of rows.h. */
#include "engine/feed/rows.h"

#include <string.h>

#include "engine/feed/publish.h"
#include "engine/feed/states.h"

bool tp_feed_row_is_sound(const struct tp_venue *venue, const struct tp_instrument_record *record,
                          const char *channel)
{
    return record->tick_size >= 1 && record->tick_size <= TP_BOOK_PRICE_MAX &&
           record->price_exponent <= 0 && record->price_exponent >= -18 &&
           record->quantity_exponent <= 0 && record->quantity_exponent >= -18 &&
           feed_rule_of(venue, channel) != NULL;
}

static void publish_row(struct tp_feed *feed, uint32_t index, enum tp_row_change change,
                        bool state_changed, uint64_t now_ns)
{
    feed_publish(feed, &(struct feed_change){.instrument = index,
                                             .row_change = change,
                                             .state_changed = state_changed,
                                             .received_ns = now_ns,
                                             .decoded_ns = now_ns});
}

static bool join(struct tp_feed *feed, const struct tp_feed_row *row, uint64_t now_ns)
{
    struct feed_instrument *of = &feed->instruments[row->instrument];
    const uint32_t before = of->generation;
    if (row->race > 1 && !tp_feed_race(feed, row->connection, row->race))
        return false;
    of->generation = (uint32_t)row->generation;
    if (!tp_feed_instrument_add(feed, row->instrument, &row->record, row->channel,
                                row->connection)) {
        of->generation = before;
        return false;
    }
    of->exchange_ns = of->received_ns = of->verified_ns = 0;
    feed_forget_misfit(feed, row->instrument);
    /* SYNCING STARTING, whatever it was before. */
    publish_row(feed, row->instrument, TP_ROW_ADDED, true, now_ns);
    if (feed_race_enter(feed, row->instrument))
        feed_start(feed, row->instrument, now_ns);
    return true;
}

static void leave(struct tp_feed *feed, const struct tp_feed_row *row, uint64_t now_ns)
{
    struct feed_instrument *of = &feed->instruments[row->instrument];
    of->generation = (uint32_t)row->generation;
    publish_row(feed, row->instrument, TP_ROW_CHANGED, false, now_ns);
    feed_retire(feed, row->instrument, TP_FEED_EVENT_DOWN, TP_SYNC_REASON_REMOVED, now_ns);
    of->flags = 0;
}

bool tp_feed_row_take(struct tp_feed *feed, const struct tp_feed_row *row, uint64_t now_ns)
{
    if (row->instrument >= feed->config.instrument_count ||
        row->connection >= feed->config.connection_count ||
        memchr(row->channel, 0, sizeof row->channel) == NULL)
        return false;
    struct feed_instrument *of = &feed->instruments[row->instrument];
    const bool is_here = (of->flags & FEED_ADDED) != 0;
    if (row->record.status == TP_INSTRUMENT_REMOVED) {
        if (is_here)
            leave(feed, row, now_ns);
        return true;
    }
    if (!is_here)
        return join(feed, row, now_ns);
    of->generation = (uint32_t)row->generation;
    publish_row(feed, row->instrument, TP_ROW_CHANGED, false, now_ns);
    return true;
}
