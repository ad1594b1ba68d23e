/* What is demanded of a book after each message: its depth, its checksum, and how far it is known.
 * Hot path, only where the rule says so or little is left. */
#include <string.h>

#include "engine/feed/checksum.h"
#include "engine/feed/feed_parts.h"

enum { LOW_FACTOR = 4 }; /* a new base is wanted while so many times the least depth is left */

/* ---- truncation */

static bool truncate_side(const struct feed_instrument *instrument, enum tp_side side,
                          struct tp_level *levels, uint32_t *update_count)
{
    const uint32_t depth = instrument->rule->depth;
    const uint32_t count = tp_book_level_count(instrument->book, side);
    if (count <= depth)
        return true;
    struct tp_level *const behind = levels + *update_count; /* room for all levels, for a while */
    if (count > TP_DEPTH_LEVEL_COUNT_MAX - *update_count)
        return false;
    (void)tp_book_top(instrument->book, side, behind, count);
    for (uint32_t i = depth; i < count; i++) {
        behind[i - depth] = (struct tp_level){.price = behind[i].price, .quantity = 0};
        (void)tp_book_set_level(instrument->book, side, behind[i].price, 0);
    }
    *update_count += count - depth;
    return true;
}

bool feed_truncate(const struct feed_instrument *instrument, struct tp_depth_update *update)
{
    return truncate_side(instrument, TP_SIDE_BID, update->bids, &update->bid_count) &&
           truncate_side(instrument, TP_SIDE_ASK, update->asks, &update->ask_count);
}

/* ---- extent */

/* The farthest price of levels in any order. */
static int64_t farthest(enum tp_side side, const struct tp_level *levels, uint32_t count)
{
    int64_t price = levels[0].price;
    for (uint32_t i = 1; i < count; i++)
        if (side == TP_SIDE_ASK ? levels[i].price > price : levels[i].price < price)
            price = levels[i].price;
    return price;
}

void feed_limit(struct feed_instrument *instrument, uint32_t truncated,
                const struct tp_level *const sides[2], const uint32_t counts[2])
{
    uint32_t shown = UINT32_MAX; /* levels of the side that shows fewer */
    for (uint32_t side = 0; side < 2; side++) {
        if ((truncated >> side & 1) == 0 || counts[side] == 0)
            continue;
        tp_book_limit(instrument->book, (enum tp_side)side,
                      farthest((enum tp_side)side, sides[side], counts[side]));
        shown = counts[side] < shown ? counts[side] : shown;
    }
    instrument->flags &= (uint8_t)~FEED_LIMITED;
    instrument->depth_least = instrument->depth_low = TP_BOOK_DEPTH_MAX;
    if (shown == UINT32_MAX)
        return;
    /* Of a base that shows little, half: with all of it no level could ever be removed. */
    const uint32_t half = shown > 1 ? shown / 2 : 1;
    const uint32_t least = half < TP_BOOK_DEPTH_MAX ? half : TP_BOOK_DEPTH_MAX;
    const uint32_t low = (least + shown) / 2;
    instrument->flags |= FEED_LIMITED;
    instrument->depth_least = (uint8_t)least;
    instrument->depth_low = (uint8_t)(low < LOW_FACTOR * least ? low : LOW_FACTOR * least);
}

enum feed_apply feed_run_low(struct tp_feed *feed, uint32_t index)
{
    struct feed_instrument *instrument = &feed->instruments[index];
    if (tp_book_shallow(instrument->book, instrument->depth_least))
        return (instrument->flags & FEED_LIMITED) != 0 ? FEED_APPLY_SHALLOW : FEED_APPLY_OVERFLOW;
    if (instrument->rule->base == TP_BASE_IN_BAND || (instrument->flags & FEED_KEEPING) != 0)
        return FEED_APPLY_DONE;
    feed->counters.shallow++;
    instrument->flags |= FEED_KEEPING;
    feed->histories[index].kept_from = instrument->version;
    feed_want(feed, index);
    return FEED_APPLY_DONE;
}

void feed_keep_behind(struct tp_feed *feed, uint32_t index, struct tp_span body,
                      uint64_t received_ns)
{
    struct tp_backlog *backlog = &feed->backlogs[index];
    if (body.size <= feed->staging.capacity &&
        tp_backlog_append(&feed->pool, backlog, body, received_ns, feed->config.buffered_bytes_max))
        return;
    feed->counters.overflows++;
    tp_backlog_clear(&feed->pool, backlog);
    feed->histories[index].kept_from = feed->instruments[index].version;
}

/* ---- checksum */

bool feed_checksum_holds(const struct feed_instrument *instrument,
                         const struct tp_depth_update *update)
{
    if (instrument->rule->checksum == TP_CHECKSUM_NONE || (update->flags & TP_DEPTH_CHECKSUM) == 0)
        return true;
    struct tp_level asks[TP_CHECKSUM_LEVELS], bids[TP_CHECKSUM_LEVELS];
    const uint32_t ask_count = tp_book_top(instrument->book, TP_SIDE_ASK, asks, TP_CHECKSUM_LEVELS);
    const uint32_t bid_count = tp_book_top(instrument->book, TP_SIDE_BID, bids, TP_CHECKSUM_LEVELS);
    return tp_checksum_ten(asks, ask_count, bids, bid_count) == update->checksum;
}
