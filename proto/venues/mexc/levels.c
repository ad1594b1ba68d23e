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
    REACH = 38,         /* what the loads of one level may touch: 6 bytes and two texts */
    FIXED_SIZE_MIN = 2, /* of the fixed shape: a whole digit and the point */
    FIXED_NONE = 1 << 16,
    LEVEL_HEAD = 2,     /* its own tag and length */
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

/* Where MEXC puts the point: as many digits behind it as the instrument's exponent says, always.
 * Then a digit's place follows from the text's size alone, and one shuffle drops the point. */
struct fixed_shape {
    __m256i index;            /* + the text's size: which byte goes to each place */
    uint32_t price, quantity; /* digits behind the point; FIXED_NONE: never of this shape */
    uint32_t price_excess, quantity_excess; /* whole digits beyond the first that still fit */
};

/* Without fraction digits there is no point; with more than 14 no text of this shape fits. */
static inline uint32_t fixed_digits(uint32_t digits)
{
    return digits >= 1 && digits <= HALF - FIXED_SIZE_MIN ? digits : FIXED_NONE;
}

static inline uint32_t fixed_excess(uint32_t digits)
{
    return fixed_digits(digits) == FIXED_NONE ? 0 : HALF - FIXED_SIZE_MIN - digits;
}

TARGET_AVX512 static inline struct fixed_shape fixed_shape(const struct tp_mexc_levels *levels)
{
    const __m256i places = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
    const uint32_t price = levels->price.digits, quantity = levels->quantity.digits;
    const __m256i last_whole =
        _mm256_inserti128_si256(_mm256_set1_epi8((char)(HALF - 1 - (int)price)),
                                _mm_set1_epi8((char)(HALF - 1 - (int)quantity)), 1);
    /* The comparison gives -1 where a fraction digit goes: one byte less to skip, the point. */
    const __m256i fraction = _mm256_cmpgt_epi8(places, last_whole);
    return (struct fixed_shape){
        .index = _mm256_sub_epi8(_mm256_sub_epi8(places, _mm256_set1_epi8(HALF + 1)), fraction),
        .price = fixed_digits(price),
        .quantity = fixed_digits(quantity),
        .price_excess = fixed_excess(price),
        .quantity_excess = fixed_excess(quantity),
    };
}

/* A level of the fixed shape; REACH bytes from at on are readable. Returns its size, 0: not one. */
TARGET_AVX512 static inline uint32_t fixed_decode(const struct fixed_shape *shape, uint8_t tag,
                                                  const uint8_t *at, struct tp_level *out)
{
    const uint32_t price_size = at[3];
    if (((at[0] ^ tag) | (at[2] ^ TAG_FIELD_1)) != 0 ||
        price_size - shape->price - FIXED_SIZE_MIN > shape->price_excess)
        return 0;
    const uint8_t *price = at + 4, *quantity = price + price_size + 2;
    const uint32_t quantity_size = quantity[-1];
    if (quantity_size - shape->quantity - FIXED_SIZE_MIN > shape->quantity_excess ||
        at[1] != price_size + quantity_size + ITEM_OVERHEAD ||
        ((quantity[-2] ^ TAG_FIELD_2) | (price[price_size - 1 - shape->price] ^ '.') |
         (quantity[quantity_size - 1 - shape->quantity] ^ '.')) != 0)
        return 0;
    const __m256i text =
        _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)price)),
                                _mm_loadu_si128((const __m128i *)quantity), 1);
    const __m256i sizes =
        _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_set1_epi8((char)price_size)),
                                _mm_set1_epi8((char)quantity_size), 1);
    /* Places before the text have a negative index: the shuffle leaves zero there. */
    const __m256i digits = _mm256_shuffle_epi8(_mm256_sub_epi8(text, _mm256_set1_epi8('0')),
                                               _mm256_add_epi8(shape->index, sizes));
    if (_mm256_cmpgt_epu8_mask(digits, _mm256_set1_epi8(9)) != 0)
        return 0;
    _mm_storeu_si128((__m128i *)out, digits_join(digits));
    return LEVEL_HEAD + at[1];
}

/* A level of any shape that item_split takes. Returns its size, 0: stop here. */
TARGET_AVX512 static uint32_t any_decode(const struct tp_mexc_levels *levels, uint8_t tag,
                                         const uint8_t *at, const uint8_t *end,
                                         struct tp_level *out)
{
    struct level_text text;
    if (end - at < LEVEL_HEAD || at[0] != tag || at[1] > end - at - LEVEL_HEAD ||
        !item_split(levels, at + LEVEL_HEAD, at[1], &text) || !numbers_parse(levels, &text, out))
        return 0;
    return LEVEL_HEAD + (uint32_t)at[1];
}

TARGET_AVX512 static inline const uint8_t *side_decode(const struct tp_mexc_levels *levels,
                                                       const struct fixed_shape *shape, bool ask,
                                                       const uint8_t *at, const uint8_t *end)
{
    const uint8_t tag = ask ? TAG_FIELD_1 : TAG_FIELD_2;
    struct tp_level *side = ask ? levels->out->asks : levels->out->bids;
    uint32_t count = ask ? levels->out->ask_count : levels->out->bid_count;
    for (; count < TP_DEPTH_LEVEL_COUNT_MAX && at < end && at[0] == tag; count++) {
        uint32_t size = 0;
        if (end - at >= REACH)
            size = fixed_decode(shape, tag, at, &side[count]);
        if (size == 0)
            size = any_decode(levels, tag, at, end, &side[count]);
        if (size == 0)
            break;
        at += size;
    }
    *(ask ? &levels->out->ask_count : &levels->out->bid_count) = count;
    return at;
}

bool tp_mexc_levels_supported(void)
{
    return __builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("bmi2");
}

TARGET_AVX512 static const uint8_t *sides_decode(const struct tp_mexc_levels *levels,
                                                 const uint8_t *at, const uint8_t *end)
{
    const struct fixed_shape shape = fixed_shape(levels);
    at = side_decode(levels, &shape, true, at, end);
    return side_decode(levels, &shape, false, at, end);
}

const uint8_t *tp_mexc_levels_decode(const struct tp_mexc_levels *levels, const uint8_t *at,
                                     const uint8_t *end)
{
    return tp_mexc_levels_supported() ? sides_decode(levels, at, end) : at;
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
