/* Checkpoints of checkpoint.h. */
#include "engine/feed/checkpoint.h"

#include <assert.h>

#include "engine/feed/publish.h"

void tp_feed_checkpoint(struct tp_feed *feed, uint32_t index, uint64_t now_ns)
{
    assert(index < feed->config.instrument_count);
    struct tp_tap *tap = feed->config.tap;
    const struct feed_instrument *instrument = &feed->instruments[index];
    const bool following = instrument->phase != TP_SYNC_BUFFERING;
    if (!following || instrument->state != TP_BOOK_LIVE ||
        tp_book_level_count(instrument->book, TP_SIDE_BID) > TP_DEPTH_LEVEL_COUNT_MAX ||
        tp_book_level_count(instrument->book, TP_SIDE_ASK) > TP_DEPTH_LEVEL_COUNT_MAX)
        return;
    const struct tp_record_book book = {
        .instrument = index,
        .version = instrument->version,
        .exchange_ns = instrument->exchange_ns,
        .received_ns = instrument->received_ns,
        .bid_count =
            tp_book_top(instrument->book, TP_SIDE_BID, tap->bids, TP_DEPTH_LEVEL_COUNT_MAX),
        .ask_count =
            tp_book_top(instrument->book, TP_SIDE_ASK, tap->asks, TP_DEPTH_LEVEL_COUNT_MAX),
    };
    tp_tap_book(tap, tp_tap_tag(TP_RECORD_CHECKPOINT, 0, instrument->connection), &book,
                (const struct tp_level *const[2]){tap->bids, tap->asks}, now_ns);
}

enum tp_feed_restore tp_feed_restore(struct tp_feed *feed, const struct tp_record_book *book,
                                     const struct tp_level *const sides[2], uint64_t now_ns)
{
    if (book->instrument >= feed->config.instrument_count)
        return TP_FEED_RESTORE_REFUSED;
    struct feed_instrument *instrument = &feed->instruments[book->instrument];
    if ((instrument->flags & FEED_ACTIVE) == 0)
        return TP_FEED_RESTORE_REFUSED;
    if (instrument->phase != TP_SYNC_BUFFERING)
        return instrument->version == book->version ? TP_FEED_RESTORE_KNOWN
                                                    : TP_FEED_RESTORE_DIVERGED;
    if (!tp_book_load(instrument->book, TP_SIDE_BID, sides[TP_SIDE_BID], book->bid_count) ||
        !tp_book_load(instrument->book, TP_SIDE_ASK, sides[TP_SIDE_ASK], book->ask_count)) {
        tp_book_clear(instrument->book);
        return TP_FEED_RESTORE_REFUSED;
    }
    /* All that was kept is older than the checkpoint. */
    tp_backlog_clear(&feed->pool, &feed->backlogs[book->instrument]);
    instrument->phase = TP_SYNC_FOLLOWING;
    instrument->version = book->version;
    instrument->exchange_ns = book->exchange_ns;
    feed_go_live(feed, book->instrument, book->received_ns, now_ns);
    return TP_FEED_RESTORED;
}

bool tp_feed_snapshot_take(struct tp_feed *feed, const struct tp_feed_snapshot *snapshot,
                           uint64_t now_ns)
{
    if (snapshot->instrument >= feed->config.instrument_count)
        return false;
    const struct feed_instrument *instrument = &feed->instruments[snapshot->instrument];
    if ((instrument->flags & FEED_ACTIVE) == 0 || instrument->phase != TP_SYNC_BUFFERING)
        return false;
    feed_want(feed, snapshot->instrument);
    const uint64_t refused = atomic_load_explicit(&feed->mailbox.refused, memory_order_relaxed);
    if (!tp_mailbox_ask(&feed->mailbox, snapshot->instrument) ||
        !tp_mailbox_offer(&feed->mailbox, snapshot))
        return false;
    if (atomic_load_explicit(&feed->mailbox.refused, memory_order_relaxed) != refused)
        return false;
    tp_feed_tick(feed, now_ns);
    return true;
}
