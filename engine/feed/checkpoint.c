/* Checkpoints of checkpoint.h. */
#include "engine/feed/checkpoint.h"

#include <assert.h>

#include "engine/feed/publish.h"

/* In a checkpoint's flags, above the two bits of the sides. */
enum { LEAST_SHIFT = 8, LOW_SHIFT = 16, BYTE_MASK = 0xff };

/* A side that is not whole ends with the price up to which it is known, at quantity 0. */
static uint32_t add_extent(const struct feed_instrument *instrument, enum tp_side side,
                           struct tp_level *levels, uint32_t *count)
{
    const int64_t extent = tp_book_extent(instrument->book, side);
    if (extent == 0)
        return 0;
    levels[(*count)++] = (struct tp_level){extent, 0};
    return 1u << side;
}

/* Loads a side of a checkpoint. False: it is broken. */
static bool load_side(struct tp_book *book, const struct tp_record_book *record, enum tp_side side,
                      const struct tp_level *levels, uint32_t count)
{
    if ((record->flags >> side & 1) == 0)
        return tp_book_load(book, side, levels, count);
    if (count == 0)
        return false;
    const int64_t extent = levels[count - 1].price;
    const int64_t last = count > 1 ? levels[count - 2].price : extent;
    if (extent < 1 || extent > TP_BOOK_PRICE_MAX || levels[count - 1].quantity != 0 ||
        (side == TP_SIDE_ASK ? last > extent : last < extent) ||
        !tp_book_load(book, side, levels, count - 1))
        return false;
    tp_book_limit(book, side, extent);
    return true;
}

static void restore_depths(struct feed_instrument *instrument, uint32_t flags)
{
    const uint32_t least = flags >> LEAST_SHIFT & BYTE_MASK, low = flags >> LOW_SHIFT & BYTE_MASK;
    const bool limited = (flags & 3) != 0;
    instrument->flags &= (uint8_t)~FEED_LIMITED;
    instrument->flags |= limited ? FEED_LIMITED : 0;
    instrument->depth_least = (uint8_t)(limited ? least : TP_BOOK_DEPTH_MAX);
    instrument->depth_low = (uint8_t)(limited ? low : TP_BOOK_DEPTH_MAX);
}

void tp_feed_checkpoint(struct tp_feed *feed, uint32_t index, uint64_t now_ns)
{
    assert(index < feed->config.instrument_count);
    struct tp_tap *tap = feed->config.tap;
    const struct feed_instrument *instrument = &feed->instruments[index];
    const bool following = instrument->phase != TP_SYNC_BUFFERING;
    if (!following || instrument->state != TP_BOOK_LIVE ||
        tp_book_level_count(instrument->book, TP_SIDE_BID) >= TP_DEPTH_LEVEL_COUNT_MAX ||
        tp_book_level_count(instrument->book, TP_SIDE_ASK) >= TP_DEPTH_LEVEL_COUNT_MAX)
        return;
    struct tp_record_book book = {
        .instrument = index,
        .flags = feed_scale_flags(feed, index),
        .version = instrument->version,
        .exchange_ns = instrument->exchange_ns,
        .received_ns = instrument->received_ns,
        .bid_count =
            tp_book_top(instrument->book, TP_SIDE_BID, tap->bids, TP_DEPTH_LEVEL_COUNT_MAX),
        .ask_count =
            tp_book_top(instrument->book, TP_SIDE_ASK, tap->asks, TP_DEPTH_LEVEL_COUNT_MAX),
    };
    if ((instrument->flags & FEED_LIMITED) != 0) {
        book.flags |= (uint32_t)instrument->depth_least << LEAST_SHIFT |
                      (uint32_t)instrument->depth_low << LOW_SHIFT;
        book.flags |= add_extent(instrument, TP_SIDE_BID, tap->bids, &book.bid_count);
        book.flags |= add_extent(instrument, TP_SIDE_ASK, tap->asks, &book.ask_count);
    }
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
    if (!load_side(instrument->book, book, TP_SIDE_BID, sides[TP_SIDE_BID], book->bid_count) ||
        !load_side(instrument->book, book, TP_SIDE_ASK, sides[TP_SIDE_ASK], book->ask_count)) {
        tp_book_clear(instrument->book);
        return TP_FEED_RESTORE_REFUSED;
    }
    restore_depths(instrument, book->flags);
    /* All that was kept is older than the checkpoint. */
    tp_backlog_clear(&feed->pool, &feed->backlogs[book->instrument]);
    instrument->phase = TP_SYNC_FOLLOWING;
    instrument->flags &= (uint8_t) ~(FEED_DOUBTED | FEED_UNCONFIRMED); /* it was LIVE */
    feed->histories[book->instrument].deaf = false;
    feed->histories[book->instrument].lowest = 0; /* what came before it is not known */
    instrument->version = book->version;
    instrument->exchange_ns = book->exchange_ns;
    feed_go_live(feed, book->instrument, book->received_ns, now_ns);
    return TP_FEED_RESTORED;
}

bool tp_feed_base_take(struct tp_feed *feed, const struct tp_feed_base *base, uint64_t now_ns)
{
    if (base->instrument >= feed->config.instrument_count)
        return false;
    const struct feed_instrument *instrument = &feed->instruments[base->instrument];
    if ((instrument->flags & FEED_ACTIVE) == 0 || !feed_takes_base(instrument))
        return false;
    feed_want(feed, base->instrument);
    struct tp_mailbox *mailbox = feed_mailbox(feed, base->instrument);
    const uint64_t refused = atomic_load_explicit(&mailbox->refused, memory_order_relaxed);
    if (!tp_mailbox_ask(mailbox, base->instrument) || !tp_mailbox_offer(mailbox, base))
        return false;
    if (atomic_load_explicit(&mailbox->refused, memory_order_relaxed) != refused)
        return false;
    tp_feed_tick(feed, now_ns);
    return true;
}
