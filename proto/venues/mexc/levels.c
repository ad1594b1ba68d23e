/* Price and quantity of each level by proto/encoding/digits.h: sixteen characters at a time.
 *
 * Wants AVX2; elsewhere nothing is consumed here, and decode.c does all the work, more slowly.
 * Called by decode.c. Any thread. */
#include "proto/venues/mexc/levels.h"

#include "proto/encoding/digits.h"

#if defined(__x86_64__)

enum {
    TAG_FIELD_1 = 0x0a, /* asks; in an item: the price */
    TAG_FIELD_2 = 0x12, /* bids; in an item: the quantity */
    ITEM_OVERHEAD = 4,  /* two tags and two lengths */
};

/* The texts of a level, with TP_DIGITS_TEXT_MAX bytes readable from each. */
struct texts {
    const uint8_t *price, *quantity;
    uint32_t size[2]; /* as tp_digits_level takes them */
};

/* One item `0a <size> price 12 <size> quantity`. */
static inline bool item_split(const struct tp_mexc_levels *levels, const uint8_t *item,
                              uint32_t size, struct texts *out)
{
    if (size < ITEM_OVERHEAD || item[0] != TAG_FIELD_1)
        return false;
    const uint32_t price_size = item[1];
    if (price_size + ITEM_OVERHEAD > size || item[2 + price_size] != TAG_FIELD_2)
        return false;
    *out = (struct texts){item + 2,
                          item + ITEM_OVERHEAD + price_size,
                          {price_size, size - ITEM_OVERHEAD - price_size}};
    return item[3 + price_size] == out->size[1] && out->size[0] - 1 < TP_DIGITS_TEXT_MAX - 1 &&
           out->size[1] - 1 < TP_DIGITS_TEXT_MAX &&
           levels->message_end - out->quantity >= TP_DIGITS_TEXT_MAX;
}

TP_TARGET_WIDE static const uint8_t *levels_decode_avx2(const struct tp_mexc_levels *levels,
                                                        const uint8_t *at, const uint8_t *end)
{
    const struct tp_digits_columns columns =
        tp_digits_columns(levels->price_digits, levels->quantity_digits);
    struct tp_depth_update *out = levels->out;
    while (end - at >= 2) {
        const bool ask = at[0] == TAG_FIELD_1;
        uint32_t *count = ask ? &out->ask_count : &out->bid_count;
        struct tp_level *level = ask ? &out->asks[*count] : &out->bids[*count];
        struct texts texts;
        if ((!ask && at[0] != TAG_FIELD_2) || at[1] > end - at - 2 ||
            *count == TP_DEPTH_LEVEL_COUNT_MAX || !item_split(levels, at + 2, at[1], &texts) ||
            !tp_digits_level(&columns, tp_digits_load_both(texts.price, texts.quantity), texts.size,
                             level))
            break;
        ++*count;
        at += 2 + at[1];
    }
    return at;
}

bool tp_mexc_levels_supported(void)
{
    return tp_digits_supported();
}

const uint8_t *tp_mexc_levels_decode(const struct tp_mexc_levels *levels, const uint8_t *at,
                                     const uint8_t *end)
{
    if (!tp_mexc_levels_supported() || levels->price_digits >= TP_DIGITS_TEXT_MAX ||
        levels->quantity_digits >= TP_DIGITS_TEXT_MAX)
        return at;
    return levels_decode_avx2(levels, at, end);
}

#else

bool tp_mexc_levels_supported(void)
{
    return false;
}

const uint8_t *tp_mexc_levels_decode(const struct tp_mexc_levels *levels, const uint8_t *at,
                                     const uint8_t *end)
{
    (void)levels;
    (void)end;
    return at;
}

#endif
