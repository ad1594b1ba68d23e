/* The scales of sbe.h, levels at once, and why a mantissa has no place at a scale.
 *
 * Of levels nothing is compared number by number: what came, and what came of it, is joined bit by
 * bit. Where all of it together has no bit beyond a limit that is nothing but ones, each is within
 * it; and where no bit below n is set, each is divisible by 2^n, so that one shift leaves the 5^n
 * to divide by. */
#include "proto/encoding/sbe.h"

#include "proto/encoding/digits.h"

/* The bits beyond the largest number of nothing but ones that is no larger. */
#define BEYOND(most) (~((UINT64_C(1) << (63 - __builtin_clzll((most) + UINT64_C(1)))) - 1))
#define UP(power)                                                                                  \
    {                                                                                              \
        .multiplier = UINT64_C(power), .whole_max = INT64_MAX / UINT64_C(power),                   \
        .scaled_max = INT64_MAX, .whole_never = BEYOND(INT64_MAX / UINT64_C(power)),               \
        .scaled_never = BEYOND(INT64_MAX)                                                          \
    }
/* inverse: of 5^n, modulo 2^64 */
#define DOWN(n, power, inverse)                                                                    \
    {                                                                                              \
        .multiplier = UINT64_C(inverse), .whole_max = INT64_MAX,                                   \
        .scaled_max = UINT64_MAX / UINT64_C(power), .rotation = (n),                               \
        .whole_never = BEYOND(INT64_MAX) | ((UINT64_C(1) << (n)) - 1),                             \
        .scaled_never = BEYOND(UINT64_MAX / UINT64_C(power))                                       \
    }

const struct tp_sbe_scale tp_sbe_scales[TP_SBE_SCALE_COUNT] = {
    DOWN(18, 1000000000000000000, 0xc1773b91fac10669),
    DOWN(17, 100000000000000000, 0xc75429d9e5c5200d),
    DOWN(16, 10000000000000000, 0xe4a4d1417cd9a041),
    DOWN(15, 1000000000000000, 0x7738164770402145),
    DOWN(14, 100000000000000, 0x54186f653140a659),
    DOWN(13, 10000000000000, 0xa47a2cf9f6433fbd),
    DOWN(12, 1000000000000, 0x3662e0e1cf503eb1),
    DOWN(11, 100000000000, 0xfee64690c913975),
    DOWN(10, 10000000000, 0x4fa7f60d3ed61f49),
    DOWN(9, 1000000000, 0x8e47ce423a2e9c6d),
    DOWN(8, 100000000, 0xc767074b22e90e21),
    DOWN(7, 10000000, 0xe5032477ae8d46a5),
    DOWN(6, 1000000, 0x790fb65668c26139),
    DOWN(5, 100000, 0x5d4e8fb00bcbe61d),
    DOWN(4, 10000, 0xd288ce703afb7e91),
    DOWN(3, 1000, 0x1cac083126e978d5),
    DOWN(2, 100, 0x8f5c28f5c28f5c29),
    DOWN(1, 10, 0xcccccccccccccccd),
    UP(1),
    UP(10),
    UP(100),
    UP(1000),
    UP(10000),
    UP(100000),
    UP(1000000),
    UP(10000000),
    UP(100000000),
    UP(1000000000),
    UP(10000000000),
    UP(100000000000),
    UP(1000000000000),
    UP(10000000000000),
    UP(100000000000000),
    UP(1000000000000000),
    UP(10000000000000000),
    UP(100000000000000000),
    UP(1000000000000000000),
    {.whole_never = UINT64_MAX}, /* only 0 is as much at both */
};

enum tp_decode_status tp_sbe_refusal(int64_t mantissa, int32_t from, int32_t to)
{
    uint8_t space[TP_DECIMAL_SPACE];
    return tp_decimal_refusal(tp_decimal_write(mantissa, from, space), to, true);
}

#if defined(__x86_64__)

#define HOT_PART TP_TARGET_WIDE static inline __attribute__((always_inline))

/* Prices in the first and the third lane of 64 bits, quantities in the others. */
struct lanes {
    __m256i multiplier, multiplier_high, shift, wholes, results;
};

HOT_PART __m256i lanes_of(const uint64_t *price, const uint64_t *quantity)
{
    const __m128i both = _mm_unpacklo_epi64(_mm_loadl_epi64((const void *)price),
                                            _mm_loadl_epi64((const void *)quantity));
    return _mm256_broadcastsi128_si256(both);
}

/* The lower halves of products of 64 bits. */
HOT_PART __m256i multiply(__m256i a, const struct lanes *lanes)
{
    const __m256i crossed =
        _mm256_add_epi64(_mm256_mul_epu32(_mm256_srli_epi64(a, 32), lanes->multiplier),
                         _mm256_mul_epu32(a, lanes->multiplier_high));
    return _mm256_add_epi64(_mm256_mul_epu32(a, lanes->multiplier), _mm256_slli_epi64(crossed, 32));
}

HOT_PART __m256i scaled(__m256i whole, struct lanes *lanes)
{
    const __m256i result = multiply(_mm256_srlv_epi64(whole, lanes->shift), lanes);
    lanes->wholes = _mm256_or_si256(lanes->wholes, whole);
    lanes->results = _mm256_or_si256(lanes->results, result);
    return result;
}

/* Two entries at once. */
HOT_PART void take_group(const struct tp_sbe_group *group, struct lanes *lanes,
                         struct tp_level *levels)
{
    const uint8_t *at = group->entries;
    const size_t stride = group->stride;
    struct tp_level *const end = levels + group->count;
    for (; end - levels >= 2; levels += 2, at += 2 * stride) {
        const __m128i first = _mm_loadu_si128((const void *)at);
        const __m128i second = _mm_loadu_si128((const void *)(at + stride));
        const __m256i both = _mm256_inserti128_si256(_mm256_castsi128_si256(first), second, 1);
        _mm256_storeu_si256((void *)levels, scaled(both, lanes));
    }
    if (levels == end)
        return;
    const __m256i last = _mm256_zextsi128_si256(_mm_loadu_si128((const void *)at));
    _mm_storeu_si128((void *)levels, _mm256_castsi256_si128(scaled(last, lanes)));
}

TP_TARGET_WIDE static bool levels_wide(const struct tp_sbe_scale *price,
                                       const struct tp_sbe_scale *quantity,
                                       const struct tp_sbe_group groups[2], struct tp_level *bids,
                                       struct tp_level *asks)
{
    struct lanes lanes = {
        .multiplier = lanes_of(&price->multiplier, &quantity->multiplier),
        .shift = lanes_of(&price->rotation, &quantity->rotation),
        .wholes = _mm256_setzero_si256(),
        .results = _mm256_setzero_si256(),
    };
    lanes.multiplier_high = _mm256_srli_epi64(lanes.multiplier, 32);
    take_group(&groups[0], &lanes, bids);
    take_group(&groups[1], &lanes, asks);
    return _mm256_testz_si256(lanes.wholes, lanes_of(&price->whole_never, &quantity->whole_never)) &
           _mm256_testz_si256(lanes.results,
                              lanes_of(&price->scaled_never, &quantity->scaled_never));
}

bool tp_sbe_levels(const struct tp_sbe_scale *price, const struct tp_sbe_scale *quantity,
                   const struct tp_sbe_group groups[2], struct tp_level *bids,
                   struct tp_level *asks)
{
    return tp_digits_supported() && levels_wide(price, quantity, groups, bids, asks);
}

#else

bool tp_sbe_levels(const struct tp_sbe_scale *price, const struct tp_sbe_scale *quantity,
                   const struct tp_sbe_group groups[2], struct tp_level *bids,
                   struct tp_level *asks)
{
    (void)price;
    (void)quantity;
    (void)groups;
    (void)bids;
    (void)asks;
    return false;
}

#endif
