/* What is demanded of a book after each message: its depth, its checksum, and how far it is known.
 * Hot path, only where the rule says so or little is left. */
#include <string.h>

#include "engine/feed/feed_parts.h"

enum {
    DIGITS_MAX = 19,
    CHECKSUM_LEVELS = 10,
    LOW_FACTOR = 4, /* a new base is wanted while so many times the least depth is left */
};

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

/* CRC-32 of ISO 3309, reflected, four bits at a time. */
static uint32_t crc_add(uint32_t crc, uint8_t byte)
{
    static const uint32_t table[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac,
                                       0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
                                       0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
                                       0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
    crc ^= byte;
    crc = crc >> 4 ^ table[crc & 15];
    return crc >> 4 ^ table[crc & 15];
}

/* The digits of a mantissa, which are those of the venue's text without its point and the zeros in
 * front: an instrument's exponents are the digits that the venue writes. */
static uint32_t crc_add_number(uint32_t crc, int64_t number)
{
    uint8_t digits[DIGITS_MAX];
    uint32_t count = 0;
    for (uint64_t left = (uint64_t)number; left > 0; left /= 10)
        digits[count++] = (uint8_t)('0' + left % 10);
    while (count > 0)
        crc = crc_add(crc, digits[--count]);
    return crc;
}

static uint32_t crc_add_side(uint32_t crc, const struct tp_book *book, enum tp_side side)
{
    struct tp_level levels[CHECKSUM_LEVELS];
    const uint32_t count = tp_book_top(book, side, levels, CHECKSUM_LEVELS);
    for (uint32_t i = 0; i < count; i++) {
        crc = crc_add_number(crc, levels[i].price);
        crc = crc_add_number(crc, levels[i].quantity);
    }
    return crc;
}

bool feed_checksum_holds(const struct feed_instrument *instrument,
                         const struct tp_depth_update *update)
{
    if (instrument->rule->checksum == TP_CHECKSUM_NONE || (update->flags & TP_DEPTH_CHECKSUM) == 0)
        return true;
    uint32_t crc = crc_add_side(UINT32_MAX, instrument->book, TP_SIDE_ASK);
    crc = crc_add_side(crc, instrument->book, TP_SIDE_BID);
    return ~crc == update->checksum;
}
