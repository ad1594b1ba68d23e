/* The text of checksum.h, and its CRC. Hot path, only where a rule says so. */
#include "engine/feed/checksum.h"

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

enum { BLOCK = 16, HALF = 8 };
static const uint64_t EIGHT_DIGITS = 100000000;

/* ---- digits */

/* A number below 10^8 as eight digit values, the first in the lowest byte: halves, quarters and
 * single digits, side by side, each division a multiplication that is exact in its range. */
static inline uint64_t digits_of(uint64_t number)
{
    const uint64_t halves = number / 10000 | (number % 10000) << 32;
    const uint64_t high = (halves * 10486 >> 20) & 0x0000007f0000007f; /* below 10000: / 100 */
    const uint64_t pairs = high | (halves - high * 100) << 16;
    const uint64_t tens = (pairs * 103 >> 10) & 0x000f000f000f000f; /* below 100: / 10 */
    return tens | (pairs - tens * 10) << 8;
}

/* Eight bytes are written whatever the number needs. */
static inline uint8_t *put_eight(uint8_t *at, uint64_t digits, uint32_t skipped)
{
    const uint64_t text = (digits | 0x3030303030303030) >> (8 * skipped);
    memcpy(at, &text, HALF);
    return at + HALF - skipped;
}

/* The first digits of a number, below 10^8 and above 0: without the zeros in front. */
static inline uint8_t *put_first(uint8_t *at, uint64_t number)
{
    const uint64_t digits = digits_of(number);
    return put_eight(at, digits, (uint32_t)__builtin_ctzll(digits) / 8);
}

/* 0 has no digit but zeros in front. */
static inline uint8_t *put_number(uint8_t *at, int64_t mantissa)
{
    const uint64_t number = (uint64_t)mantissa;
    if (number == 0)
        return at;
    if (number < EIGHT_DIGITS)
        return put_first(at, number);
    const uint64_t front = number / EIGHT_DIGITS;
    if (front < EIGHT_DIGITS)
        at = put_first(at, front);
    else {
        at = put_first(at, front / EIGHT_DIGITS);
        at = put_eight(at, digits_of(front % EIGHT_DIGITS), 0);
    }
    return put_eight(at, digits_of(number % EIGHT_DIGITS), 0);
}

static inline uint8_t *put_levels(uint8_t *at, const struct tp_level *levels, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        at = put_number(at, levels[i].price);
        at = put_number(at, levels[i].quantity);
    }
    return at;
}

/* ---- the CRC */

uint32_t tp_crc32_by_table(const uint8_t *data, uint32_t size)
{
    static const uint32_t table[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac,
                                       0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
                                       0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
                                       0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
    uint32_t crc = UINT32_MAX;
    for (uint32_t i = 0; i < size; i++) {
        crc ^= data[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}

#if defined(__x86_64__)
#include <immintrin.h>

#define TARGET __attribute__((target("pclmul,sse4.1")))

/* Bit-reflected remainders of powers of x by the polynomial, one bit up, as the instruction wants
 * them; tests/unit/feed/test_checksum_ten.py computes each from the polynomial. */
static const uint64_t FOLD_LOW = 0x1751997d0, FOLD_HIGH = 0x0ccaa009e;  /* x^(128+32), x^(128-32) */
static const uint64_t FOLD_64 = 0x163cd6124;                            /* x^64 */
static const uint64_t POLYNOMIAL = 0x1db710641, QUOTIENT = 0x1f7011641; /* and x^64 over it */

TARGET static inline __m128i load(const uint8_t *at)
{
    return _mm_loadu_si128((const __m128i *)at);
}

/* Of blocks[0, BLOCK * count), whose register begins at 0: zeros in front change nothing, and a
 * register that begins elsewhere is the same as that in the first four bytes. */
TARGET static uint32_t crc_of_blocks(const uint8_t *blocks, size_t count)
{
    const __m128i fold = _mm_set_epi64x((int64_t)FOLD_HIGH, (int64_t)FOLD_LOW);
    const __m128i low_words = _mm_set_epi32(0, -1, 0, -1);
    __m128i x = load(blocks);
    for (size_t i = 1; i < count; i++)
        x = _mm_xor_si128(
            _mm_xor_si128(_mm_clmulepi64_si128(x, fold, 0x00), _mm_clmulepi64_si128(x, fold, 0x11)),
            load(blocks + BLOCK * i));
    /* 128 bits to 96, to 64, then the remainder by Barrett's two multiplications. */
    x = _mm_xor_si128(_mm_srli_si128(x, 8), _mm_clmulepi64_si128(x, fold, 0x10));
    x = _mm_xor_si128(_mm_srli_si128(x, 4),
                      _mm_clmulepi64_si128(_mm_and_si128(x, low_words),
                                           _mm_set_epi64x(0, (int64_t)FOLD_64), 0x00));
    const __m128i barrett = _mm_set_epi64x((int64_t)QUOTIENT, (int64_t)POLYNOMIAL);
    __m128i quotient = _mm_clmulepi64_si128(_mm_and_si128(x, low_words), barrett, 0x10);
    quotient = _mm_clmulepi64_si128(_mm_and_si128(quotient, low_words), barrett, 0x00);
    return (uint32_t)_mm_extract_epi32(_mm_xor_si128(x, quotient), 1);
}

static bool has_fast_way(void)
{
    return __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1");
}
#else
static uint32_t crc_of_blocks(const uint8_t *blocks, size_t count)
{
    (void)blocks;
    (void)count;
    return 0;
}

static bool has_fast_way(void)
{
    return false;
}
#endif

/* at[-BLOCK, 0) is zero: the text is folded from its end's last block backwards to its first, which
 * begins there. */
static uint32_t crc_of_text(uint8_t *at, size_t size)
{
    if (size < sizeof(uint32_t) || !has_fast_way())
        return tp_crc32_by_table(at, (uint32_t)size);
    const size_t count = (size + BLOCK - 1) / BLOCK;
    for (size_t i = 0; i < sizeof(uint32_t); i++)
        at[i] ^= UINT8_MAX;
    return ~crc_of_blocks(at + size - BLOCK * count, count);
}

uint32_t tp_checksum_ten(const struct tp_level *asks, uint32_t ask_count,
                         const struct tp_level *bids, uint32_t bid_count)
{
    uint8_t buffer[BLOCK + TP_CHECKSUM_TEXT_MAX + HALF];
    uint8_t *const text = buffer + BLOCK;
    assert(ask_count <= TP_CHECKSUM_LEVELS && bid_count <= TP_CHECKSUM_LEVELS);
    memset(buffer, 0, BLOCK);
    uint8_t *end = put_levels(text, asks, ask_count);
    end = put_levels(end, bids, bid_count);
    return crc_of_text(text, (size_t)(end - text));
}
