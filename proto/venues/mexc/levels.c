/* Price and quantity of one level in one register, a bit mask for each question about a character.
 *
 * The two texts are loaded into the lower and the upper sixteen bytes. Masks tell which bytes lie
 * inside a text, which are points, which are no digits, which digits the mantissa keeps. The kept
 * digits are compressed to a run and expanded again so that each mantissa's last digit ends its
 * half: that drops the point, pads missing fraction digits with zeros, and needs no multiplication
 * by a power of ten. Three multiply-adds then join sixteen digits.
 *
 * Wants AVX-512 VBMI2 (Ice Lake and Zen 4 on). Elsewhere nothing is consumed here, and decode.c
 * does all the work at about half the speed. Called by decode.c. Any thread. */
#include "proto/venues/mexc/levels.h"

#if defined(__x86_64__)
#include <immintrin.h>

enum {
    HALF = 16,          /* bytes a text may have */
    TAG_FIELD_1 = 0x0a, /* asks; in an item: the price */
    TAG_FIELD_2 = 0x12, /* bids; in an item: the quantity */
    ITEM_OVERHEAD = 4,  /* two tags and two lengths */
};

#define TARGET_AVX512 __attribute__((target("avx512bw,avx512vl,avx512vbmi2,bmi,bmi2,popcnt")))

struct level_text {
    const uint8_t *price, *quantity;
    uint32_t price_size, quantity_size; /* 1..HALF */
};

static inline uint64_t bits_below(uint32_t count)
{
    return ((uint64_t)1 << count) - 1;
}

static inline uint64_t halves(uint64_t price, uint64_t quantity)
{
    return price | quantity << HALF;
}

/* Sixteen digit values a half, most significant first, to two 64-bit numbers. */
TARGET_AVX512 static inline __m128i digits_join(__m256i digits)
{
    const __m256i pairs = _mm256_maddubs_epi16(digits, _mm256_set1_epi16(0x010a));
    const __m256i fours = _mm256_madd_epi16(pairs, _mm256_set1_epi32(0x00010064));
    const __m256i packed = _mm256_packus_epi32(fours, fours);
    const __m256i eights = _mm256_madd_epi16(packed, _mm256_set1_epi32(0x00012710));
    const __m256i high = _mm256_mul_epu32(eights, _mm256_set1_epi64x(100000000));
    const __m256i joined = _mm256_add_epi64(high, _mm256_srli_epi64(eights, 32));
    return _mm256_castsi256_si128(_mm256_permute4x64_epi64(joined, 0x08));
}

/* The digits after which the text must hold zeros only: whole ones, the point, `digits` more. */
TARGET_AVX512 static inline bool numbers_parse(const struct tp_mexc_levels *levels,
                                               const struct level_text *text, struct tp_level *out)
{
    const uint32_t price_digits = levels->price.digits, quantity_digits = levels->quantity.digits;
    const __m128i price = _mm_loadu_si128((const __m128i *)text->price);
    const __m128i quantity = _mm_loadu_si128((const __m128i *)text->quantity);
    const __m256i values = _mm256_sub_epi8(
        _mm256_inserti128_si256(_mm256_castsi128_si256(price), quantity, 1), _mm256_set1_epi8('0'));
    const uint64_t inside = halves(bits_below(text->price_size), bits_below(text->quantity_size));
    const uint64_t no_digit = inside & _mm256_cmpgt_epu8_mask(values, _mm256_set1_epi8(9));
    const uint64_t points = inside & _mm256_cmpeq_epi8_mask(values, _mm256_set1_epi8('.' - '0'));
    /* Digits before the point; without a point, up to the text's end. */
    const uint64_t price_end = (uint64_t)1 << text->price_size;
    const uint64_t quantity_end = (uint64_t)1 << text->quantity_size;
    const uint32_t price_whole = (uint32_t)_tzcnt_u64(points | price_end);
    const uint32_t quantity_whole = (uint32_t)_tzcnt_u64(points >> HALF | quantity_end);
    const uint64_t first_points = halves((uint64_t)1 << price_whole, (uint64_t)1 << quantity_whole);
    const uint64_t edges = halves(1 | price_end >> 1, 1 | quantity_end >> 1);
    const uint64_t kept = inside & halves(bits_below(price_whole + 1 + price_digits) & UINT16_MAX,
                                          bits_below(quantity_whole + 1 + quantity_digits));
    const uint64_t not_zero = _mm256_test_epi8_mask(values, values);
    const uint64_t bad = (no_digit ^ points) | (points & ~first_points) | (points & edges) |
                         (inside & ~kept & not_zero & ~points);
    if (bad != 0 || price_whole + price_digits > HALF || quantity_whole + quantity_digits > HALF)
        return false;
    const uint64_t taken = kept & ~points;
    const uint32_t price_count = (uint32_t)_mm_popcnt_u64(taken & UINT16_MAX);
    const uint32_t quantity_count = (uint32_t)_mm_popcnt_u64(taken >> HALF);
    const uint64_t places =
        halves(bits_below(price_count) << (HALF - price_digits - price_whole),
               bits_below(quantity_count) << (HALF - quantity_digits - quantity_whole));
    const __m256i run = _mm256_maskz_compress_epi8((__mmask32)taken, values);
    const __m256i placed = _mm256_maskz_expand_epi8((__mmask32)places, run);
    _mm_storeu_si128((__m128i *)out, digits_join(placed));
    return true;
}

/* One item `0a <size> price 12 <size> quantity`, texts of 1 to 16 characters. */
static inline bool item_split(const struct tp_mexc_levels *levels, const uint8_t *item,
                              uint32_t size, struct level_text *out)
{
    if (size < ITEM_OVERHEAD || item[0] != TAG_FIELD_1)
        return false;
    out->price_size = item[1];
    if (out->price_size + ITEM_OVERHEAD > size || item[2 + out->price_size] != TAG_FIELD_2)
        return false;
    out->quantity_size = item[3 + out->price_size];
    out->price = item + 2;
    out->quantity = item + ITEM_OVERHEAD + out->price_size;
    return (out->price_size + out->quantity_size + ITEM_OVERHEAD == size) &
           (out->price_size - 1 < HALF) & (out->quantity_size - 1 < HALF) &
           (levels->message_end - out->quantity >= HALF);
}

TARGET_AVX512 static const uint8_t *side_decode(const struct tp_mexc_levels *levels, bool ask,
                                                const uint8_t *at, const uint8_t *end)
{
    const uint8_t tag = ask ? TAG_FIELD_1 : TAG_FIELD_2;
    struct tp_level *side = ask ? levels->out->asks : levels->out->bids;
    uint32_t count = ask ? levels->out->ask_count : levels->out->bid_count;
    while (end - at >= 2 && at[0] == tag && at[1] <= end - at - 2 &&
           count < TP_DEPTH_LEVEL_COUNT_MAX) {
        struct level_text text;
        if (!item_split(levels, at + 2, at[1], &text) ||
            !numbers_parse(levels, &text, &side[count]))
            break;
        count++;
        at += 2 + at[1];
    }
    *(ask ? &levels->out->ask_count : &levels->out->bid_count) = count;
    return at;
}

bool tp_mexc_levels_supported(void)
{
    return __builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("bmi2");
}

const uint8_t *tp_mexc_levels_decode(const struct tp_mexc_levels *levels, const uint8_t *at,
                                     const uint8_t *end)
{
    if (!tp_mexc_levels_supported())
        return at;
    at = side_decode(levels, true, at, end);
    return side_decode(levels, false, at, end);
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
