/* What some venues' rules demand of a book after each message: its depth, its checksum. Hot path,
 * only where the rule says so. */
#include <string.h>

#include "engine/feed/feed_parts.h"

enum { DIGITS_MAX = 19, CHECKSUM_LEVELS = 10 };

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
