/* Price and quantity of one level in sixteen bytes each, without a branch on what they say.
 *
 * A venue writes all prices of an instrument with the same number of fraction digits, and all
 * quantities too: so the point's place follows from the text's size, and is checked rather than
 * searched for. With it known, windows into small constant tables turn the characters into digit
 * values (point and all behind the text become zero), tell whether each is a digit that may stand
 * there, and shuffle the digits so that the mantissa's last one is byte 15. That drops the point,
 * pads missing fraction digits, and spares a multiplication by a power of ten. Three multiply-adds
 * join sixteen digits, price and quantity side by side.
 *
 * Wants AVX2; elsewhere nothing is consumed here, and decode.c does all the work, more slowly.
 * Called by decode.c. Any thread. */
#include "proto/venues/mexc/levels.h"

#if defined(__x86_64__)
#include <immintrin.h>

enum {
    TEXT_SIZE_MAX = 16, /* and as many digits, less the point */
    TAG_FIELD_1 = 0x0a, /* asks; in an item: the price */
    TAG_FIELD_2 = 0x12, /* bids; in an item: the quantity */
    ITEM_OVERHEAD = 4,  /* two tags and two lengths */
};

#define TARGET_AVX2 __attribute__((target("avx2")))
#define SIXTEEN_TIMES(x) x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x

/* Sixteen bytes of a window from index 16 - n on: n of the one kind, then the other. */
static const uint8_t inside_window[32] = {SIXTEEN_TIMES(0xff)};
static const uint8_t digit_max_window[32] = {SIXTEEN_TIMES(9)};
static const uint8_t zeros_with_point[32] = {SIXTEEN_TIMES('0'),
                                             '.',
                                             '0',
                                             '0',
                                             '0',
                                             '0',
                                             '0',
                                             '0',
                                             '0',
                                             '0',
                                             '0',
                                             '0',
                                             '0',
                                             '0',
                                             '0',
                                             '0',
                                             '0'};
/* From index n on: the bytes 0.. behind 16 - n lanes that a shuffle turns to zero. */
static const uint8_t sources_window[32] = {
    SIXTEEN_TIMES(0x80), 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
/* From index n on: 1 in the last n lanes, which lie behind the point and skip it. */
static const uint8_t ones_window[32] = {[16] = 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

/* How the numbers of one column are written, and what is wanted of them. */
struct column {
    uint32_t digits;  /* of the fraction that the mantissa keeps */
    int32_t fraction; /* digits behind the point in the text; -1: no point */
    __m128i skip_point;
};

struct text {
    const uint8_t *at;
    uint32_t size; /* 1..TEXT_SIZE_MAX, with TEXT_SIZE_MAX bytes readable */
};

TARGET_AVX2 static inline __m128i load(const uint8_t *at)
{
    return _mm_loadu_si128((const __m128i *)at);
}

TARGET_AVX2 static inline struct column column_of(uint32_t digits)
{
    return (struct column){
        .digits = digits,
        .fraction = digits == 0 ? -1 : (int32_t)digits,
        .skip_point = load(ones_window + digits),
    };
}

/* Learns where the point is. False: it is the last character. */
static bool column_learn(struct column *column, struct text text)
{
    uint32_t point = 0;
    while (point < text.size && text.at[point] != '.')
        point++;
    column->fraction = (int32_t)(text.size - point) - 1;
    return column->fraction != 0;
}

/* The text's digit values in the mantissa's places. False: the places do not suffice; *bad is not
 * zero: some character is not what should stand there. */
TARGET_AVX2 static inline bool digits_place(const struct column *column, struct text text,
                                            __m128i *bad, __m128i *out)
{
    /* A text too short for the column's fraction is a whole number, such as the "0" that removes:
     * the fraction becomes -1, all bits set. Levels go when they like, so no branch is taken. */
    const int32_t fraction =
        column->fraction | -(int32_t)((int32_t)text.size <= column->fraction + 1);
    const uint32_t whole = text.size - 1 - (uint32_t)fraction;
    if (whole - 1 >= TEXT_SIZE_MAX - 1 - column->digits)
        return false;
    const __m128i zeros = load(zeros_with_point + TEXT_SIZE_MAX - whole);
    const __m128i inside = load(inside_window + TEXT_SIZE_MAX - text.size);
    const __m128i digits = _mm_and_si128(_mm_xor_si128(load(text.at), zeros), inside);
    /* Behind the last kept digit only zeros may stand, and at the point only the point, which has
     * become zero: 9 less what tells '.' from '0' is 0 there. */
    const __m128i point = _mm_xor_si128(zeros, _mm_set1_epi8('0'));
    const __m128i max =
        _mm_subs_epu8(load(digit_max_window + TEXT_SIZE_MAX - 1 - whole - column->digits), point);
    *bad = _mm_subs_epu8(digits, max);
    const __m128i sources =
        _mm_add_epi8(load(sources_window + column->digits + whole), column->skip_point);
    *out = _mm_shuffle_epi8(digits, sources);
    return true;
}

/* Sixteen digit values a half, most significant first, to two 64-bit numbers. */
TARGET_AVX2 static inline __m128i digits_join(__m256i digits)
{
    const __m256i pairs = _mm256_maddubs_epi16(digits, _mm256_set1_epi16(0x010a));
    const __m256i fours = _mm256_madd_epi16(pairs, _mm256_set1_epi32(0x00010064));
    const __m256i packed = _mm256_packus_epi32(fours, fours);
    const __m256i eights = _mm256_madd_epi16(packed, _mm256_set1_epi32(0x00012710));
    const __m256i high = _mm256_mul_epu32(eights, _mm256_set1_epi64x(100000000));
    const __m256i joined = _mm256_add_epi64(high, _mm256_srli_epi64(eights, 32));
    return _mm256_castsi256_si128(_mm256_permute4x64_epi64(joined, 0x08));
}

TARGET_AVX2 static inline bool level_parse(const struct column column[2], const struct text text[2],
                                           struct tp_level *out)
{
    __m128i bad[2], digits[2];
    if (!digits_place(&column[0], text[0], &bad[0], &digits[0]) ||
        !digits_place(&column[1], text[1], &bad[1], &digits[1]))
        return false;
    const __m128i any_bad = _mm_or_si128(bad[0], bad[1]);
    if (!_mm_testz_si128(any_bad, any_bad))
        return false;
    const __m256i both = _mm256_inserti128_si256(_mm256_castsi128_si256(digits[0]), digits[1], 1);
    _mm_storeu_si128((__m128i *)out, digits_join(both));
    return true;
}

/* One item `0a <size> price 12 <size> quantity`. */
static inline bool item_split(const struct tp_mexc_levels *levels, const uint8_t *item,
                              uint32_t size, struct text out[2])
{
    if (size < ITEM_OVERHEAD || item[0] != TAG_FIELD_1)
        return false;
    out[0] = (struct text){item + 2, item[1]};
    if (out[0].size + ITEM_OVERHEAD > size || item[2 + out[0].size] != TAG_FIELD_2)
        return false;
    out[1] = (struct text){item + ITEM_OVERHEAD + out[0].size, size - ITEM_OVERHEAD - out[0].size};
    return item[3 + out[0].size] == out[1].size && out[0].size - 1 < TEXT_SIZE_MAX &&
           out[1].size - 1 < TEXT_SIZE_MAX && levels->message_end - out[1].at >= TEXT_SIZE_MAX;
}

TARGET_AVX2 static const uint8_t *levels_decode_avx2(const struct tp_mexc_levels *levels,
                                                     const uint8_t *at, const uint8_t *end)
{
    struct column column[2] = {column_of(levels->price_digits), column_of(levels->quantity_digits)};
    struct tp_depth_update *out = levels->out;
    while (end - at >= 2) {
        const bool ask = at[0] == TAG_FIELD_1;
        uint32_t *count = ask ? &out->ask_count : &out->bid_count;
        struct tp_level *level = ask ? &out->asks[*count] : &out->bids[*count];
        struct text text[2];
        if ((!ask && at[0] != TAG_FIELD_2) || at[1] > end - at - 2 ||
            *count == TP_DEPTH_LEVEL_COUNT_MAX || !item_split(levels, at + 2, at[1], text))
            break;
        if (!level_parse(column, text, level) &&
            (!column_learn(&column[0], text[0]) || !column_learn(&column[1], text[1]) ||
             !level_parse(column, text, level)))
            break;
        ++*count;
        at += 2 + at[1];
    }
    return at;
}

bool tp_mexc_levels_supported(void)
{
    return __builtin_cpu_supports("avx2");
}

const uint8_t *tp_mexc_levels_decode(const struct tp_mexc_levels *levels, const uint8_t *at,
                                     const uint8_t *end)
{
    if (!tp_mexc_levels_supported() || levels->price_digits >= TEXT_SIZE_MAX ||
        levels->quantity_digits >= TEXT_SIZE_MAX)
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
