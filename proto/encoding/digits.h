/* Decimal text to fixed point, sixteen characters at a time, without a branch on what they say.
 *
 * With the point's place known, windows into small constant tables turn the characters into digit
 * values (point and all behind the text become zero), tell whether each is a digit that may stand
 * there, and shuffle the digits so that the mantissa's last one is byte 15. That drops the point,
 * pads missing fraction digits, and spares a multiplication by a power of ten. Three multiply-adds
 * join sixteen digits, price and quantity side by side.
 *
 * An accelerator and nothing more: it wants AVX2, and what it does not take decimal.h does, with
 * the same answers. Called by proto/encoding/levels.c and decoders, where tp_digits_supported. Any
 * thread. */
#ifndef TP_PROTO_DIGITS_H
#define TP_PROTO_DIGITS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/update.h"

enum { TP_DIGITS_TEXT_MAX = 16 }; /* and as many digits, less the point */

/* Whether this processor has what it takes. */
bool tp_digits_supported(void);

#if defined(__x86_64__)
#include <immintrin.h>

#define TP_TARGET_WIDE __attribute__((target("avx2,bmi,bmi2")))

/* Sixteen bytes of a window from index 16 - n on: n of the one kind, then the other. */
struct tp_digits_windows {
    uint8_t inside[32];           /* 0xff, 0 */
    uint8_t digit_max[32];        /* 9, 0 */
    uint8_t zeros_with_point[32]; /* '0', then '.', then '0' */
    /* From index n on: the bytes 0.. behind 16 - n lanes that a shuffle turns to zero. */
    uint8_t sources[32];
    uint8_t ones[32];  /* from index n on: 1 in the last n lanes, which lie behind the point */
    uint8_t later[32]; /* from index n on: the bytes n.. and then lanes that become zero */
};
extern const struct tp_digits_windows tp_digits_windows;

/* What is wanted of the numbers of two columns, prices and quantities: the digits of the fraction
 * that each mantissa keeps. Prices are in the lower half of each register. */
struct tp_digits_columns {
    uint64_t whole_max[2]; /* characters in front of the point that leave room for the fraction */
    const uint8_t *max[2], *sources[2]; /* windows, where nothing is in front of the point */
    __m256i skip_point;
};

TP_TARGET_WIDE static inline __m128i tp_digits_load(const uint8_t *at)
{
    return _mm_loadu_si128((const __m128i *)at);
}

/* The same of a text less than sixteen bytes in front of the end: zeros stand behind it. at < end,
 * of which the sixteen bytes before must be readable. */
TP_TARGET_WIDE static inline __m128i tp_digits_load_within(const uint8_t *at, const uint8_t *end)
{
    const ptrdiff_t missing = TP_DIGITS_TEXT_MAX - (end - at);
    if (missing <= 0)
        return tp_digits_load(at);
    return _mm_shuffle_epi8(tp_digits_load(end - TP_DIGITS_TEXT_MAX),
                            tp_digits_load(tp_digits_windows.later + missing));
}

TP_TARGET_WIDE static inline __m256i tp_digits_join_halves(__m128i price, __m128i quantity)
{
    return _mm256_inserti128_si256(_mm256_castsi128_si256(price), quantity, 1);
}

/* A window for each half. */
TP_TARGET_WIDE static inline __m256i tp_digits_load_both(const uint8_t *price,
                                                         const uint8_t *quantity)
{
    return tp_digits_join_halves(tp_digits_load(price), tp_digits_load(quantity));
}

/* digits: of the fraction, below TP_DIGITS_TEXT_MAX. */
TP_TARGET_WIDE static inline struct tp_digits_columns tp_digits_columns(uint32_t price_digits,
                                                                        uint32_t quantity_digits)
{
    enum { LAST = TP_DIGITS_TEXT_MAX - 1 };
    const struct tp_digits_windows *const windows = &tp_digits_windows;
    return (struct tp_digits_columns){
        {LAST - price_digits, LAST - quantity_digits},
        {windows->digit_max + LAST - price_digits, windows->digit_max + LAST - quantity_digits},
        {windows->sources + price_digits, windows->sources + quantity_digits},
        tp_digits_load_both(windows->ones + price_digits, windows->ones + quantity_digits)};
}

/* Sixteen digit values a half, most significant first, to two 64-bit numbers. */
TP_TARGET_WIDE static inline __m128i tp_digits_value(__m256i digits)
{
    const __m256i pairs = _mm256_maddubs_epi16(digits, _mm256_set1_epi16(0x010a));
    const __m256i fours = _mm256_madd_epi16(pairs, _mm256_set1_epi32(0x00010064));
    const __m256i packed = _mm256_packus_epi32(fours, fours);
    const __m256i eights = _mm256_madd_epi16(packed, _mm256_set1_epi32(0x00012710));
    const __m256i high = _mm256_mul_epu32(eights, _mm256_set1_epi64x(100000000));
    const __m256i joined = _mm256_add_epi64(high, _mm256_srli_epi64(eights, 32));
    return _mm256_castsi256_si128(_mm256_permute4x64_epi64(joined, 0x08));
}

/* Price and quantity of one level, whose texts begin the halves of `characters` and are so long,
 * the price less than TP_DIGITS_TEXT_MAX, the quantity at most so. False: not to be read so, out is
 * undefined. */
TP_TARGET_WIDE static inline bool tp_digits_level(const struct tp_digits_columns *columns,
                                                  __m256i characters, const uint32_t size[2],
                                                  struct tp_level *out)
{
    enum { MAX = TP_DIGITS_TEXT_MAX };
    const struct tp_digits_windows *const windows = &tp_digits_windows;
    const uint64_t points =
        (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(characters, _mm256_set1_epi8('.')));
    const uint64_t ends = UINT64_C(1) << size[0] | UINT64_C(1) << MAX << size[1];
    /* In front of the point; a text without one ends there. */
    const uint64_t whole[2] = {_tzcnt_u64(points | ends), _tzcnt_u64((points | ends) >> MAX)};
    /* Something stands in front of the point, and not too much; and something behind it. */
    if (whole[0] - 1 >= columns->whole_max[0] || whole[1] - 1 >= columns->whole_max[1] ||
        (points << 1 & ends) != 0)
        return false;
    const __m256i zeros = tp_digits_load_both(windows->zeros_with_point + MAX - whole[0],
                                              windows->zeros_with_point + MAX - whole[1]);
    const __m256i inside =
        tp_digits_load_both(windows->inside + MAX - size[0], windows->inside + MAX - size[1]);
    const __m256i digits = _mm256_and_si256(_mm256_xor_si256(characters, zeros), inside);
    /* Behind the last kept digit only zeros may stand, and at the point only the point, which has
     * become zero: 9 less what tells '.' from '0' is 0 there. */
    const __m256i point = _mm256_xor_si256(zeros, _mm256_set1_epi8('0'));
    const __m256i max = _mm256_subs_epu8(
        tp_digits_load_both(columns->max[0] - whole[0], columns->max[1] - whole[1]), point);
    const __m256i bad = _mm256_subs_epu8(digits, max);
    if (!_mm256_testz_si256(bad, bad))
        return false;
    const __m256i sources = _mm256_add_epi8(
        tp_digits_load_both(columns->sources[0] + whole[0], columns->sources[1] + whole[1]),
        columns->skip_point);
    _mm_storeu_si128((__m128i *)out, tp_digits_value(_mm256_shuffle_epi8(digits, sources)));
    return true;
}
#endif
#endif
