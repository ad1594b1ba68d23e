/* Decimal text to fixed point, eight digits at a time in one 64-bit register.
 *
 * A venue writes "67123.45" and means 67123.45 exactly: no floating point comes near it. The common
 * shape, at most eight digits on either side of the point, takes about forty branch-free
 * instructions; every other shape goes through a loop (decimal.c) with the same answers.
 * Called by every venue's decoder. Any thread. */
#ifndef TP_PROTO_DECIMAL_H
#define TP_PROTO_DECIMAL_H
#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "proto/encoding/status.h"

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the first character is the lowest byte");

enum {
    TP_DECIMAL_EXPONENT_MIN = -18,
    TP_DECIMAL_TEXT_MAX = 44,  /* a longer text is no number that another scale would help */
    TP_DECIMAL_HALF = 8,       /* digits that one register takes */
    TP_DECIMAL_SPACE = 32,     /* a sign, a mantissa, an e and an exponent */
    TP_DECIMAL_LOAD_SIZE = 17, /* eight digits, the point, eight digits: readable from text on */
};

struct tp_decimal_scale {
    uint32_t digits;     /* after the point that the mantissa keeps: -exponent */
    int64_t unit;        /* 10^digits: the mantissa of 1 */
    uint64_t excess;     /* bytes of an eight-digit fraction that must be '0'; see tail_shift */
    uint32_t tail_shift; /* moves the first `digits` fraction digits to the number's end */
};

static inline uint32_t tp_decimal_digits(int32_t exponent)
{
    assert(exponent <= 0 && exponent >= TP_DECIMAL_EXPONENT_MIN);
    return (uint32_t)-exponent;
}

/* "123.4500" at exponent -2 -> 12345; trailing zeros beyond the exponent are allowed, other digits
 * are not, nor signs, exponents, spaces or an empty string. */
bool tp_decimal_parse(const uint8_t *text, size_t size, int32_t exponent, int64_t *out);
/* The same, and a power of ten behind it, as JSON numbers may have: "1.5E-7", "2.2e3". */
bool tp_decimal_parse_scientific(const uint8_t *text, size_t size, int32_t exponent, int64_t *out);
/* Why a parser refused a text: TOO_FINE or TOO_LARGE where another exponent would hold it, else
 * BAD_NUMBER. has_power: the parser reads a power of ten behind the digits. */
enum tp_decode_status tp_decimal_refusal(struct tp_text text, int32_t exponent, bool has_power);
/* "12345e-2", at the end of the space. */
struct tp_text tp_decimal_write(int64_t mantissa, int32_t exponent,
                                uint8_t space[TP_DECIMAL_SPACE]);
/* What did not fit as a decimal: as it stands in what was decoded, or written to the space. */
struct tp_text tp_misfit_text(const struct tp_misfit *misfit, uint8_t space[TP_DECIMAL_SPACE]);
struct tp_decimal_scale tp_decimal_scale(int32_t exponent);
bool tp_decimal_parse_any(const uint8_t *text, size_t size, const struct tp_decimal_scale *scale,
                          int64_t *out);
bool tp_version_parse_any(const uint8_t *text, size_t size, uint64_t *out);

/* The n lowest bytes, n <= 8 (a shift by 64 is undefined). */
static inline uint64_t tp_bytes_low(size_t n)
{
    static const uint64_t mask[] = {0,          0xff,         0xffff,         0xffffff,
                                    0xffffffff, 0xffffffffff, 0xffffffffffff, 0xffffffffffffff,
                                    UINT64_MAX};
    return mask[n];
}

/* The digit values of the n first characters, zero elsewhere; *bad collects a high bit for each
 * character above 9. An addition may carry out of a bad byte only, so good ones stay exact. */
static inline uint64_t tp_digits_of(uint64_t characters, size_t n, uint64_t *bad)
{
    const uint64_t digits = (characters ^ 0x3030303030303030) & tp_bytes_low(n);
    *bad |= ((digits + 0x7676767676767676) | digits) & 0x8080808080808080;
    return digits;
}

/* Eight digit values, the most significant in the lowest byte, to a number: pairs, fours, eight. */
static inline uint64_t tp_digits_join(uint64_t digits)
{
    const uint64_t pairs = digits * 10 + (digits >> 8);
    const uint64_t even = pairs & 0x000000ff000000ff;
    const uint64_t odd = (pairs >> 16) & 0x000000ff000000ff;
    return (even * 0x000f424000000064 + odd * 0x0000271000000001) >> 32;
}

static inline uint64_t tp_load_8(const uint8_t *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof(word));
    return word;
}

/* text[0, TP_DECIMAL_LOAD_SIZE) must be readable, whatever size is. */
static inline bool tp_decimal_parse_loadable(const uint8_t *text, size_t size,
                                             const struct tp_decimal_scale *scale, int64_t *out)
{
    const uint64_t head = tp_load_8(text);
    const uint64_t points = head ^ 0x2e2e2e2e2e2e2e2e;
    /* The lowest set bit is exact; the sentinel gives 8 where there is no point. */
    const uint64_t zero = (points - 0x0101010101010101) & ~points & 0x8080808080808080;
    const size_t point = zero != 0 ? (size_t)__builtin_ctzll(zero) >> 3 : TP_DECIMAL_HALF;
    const size_t whole = point < size ? point : size;
    const size_t fraction = whole < size ? size - whole - 1 : 0;
    const bool ends_in_point = (whole < size) & (fraction == 0);
    if (whole == 0 || ends_in_point || fraction > TP_DECIMAL_HALF ||
        scale->digits > TP_DECIMAL_HALF ||
        (whole == TP_DECIMAL_HALF && size > whole && text[TP_DECIMAL_HALF] != '.'))
        return tp_decimal_parse_any(text, size, scale, out);
    uint64_t bad = 0;
    const uint64_t high = tp_digits_of(head, whole, &bad);
    const uint64_t low = tp_digits_of(tp_load_8(text + whole + 1), fraction, &bad);
    if ((bad | (low & scale->excess)) != 0)
        return false;
    const uint64_t units = tp_digits_join(high << (8 * (TP_DECIMAL_HALF - whole)));
    /* With digits == 0 the shift would be 64: it is 0 instead, and low is known to be 0. */
    const uint64_t parts = tp_digits_join(low << scale->tail_shift);
    *out = (int64_t)units * scale->unit + (int64_t)parts; /* below 10^16 */
    return true;
}

/* Digits only; no sign, no point; at most UINT64_MAX. */
static inline bool tp_version_parse(const uint8_t *text, size_t size, uint64_t *out)
{
    if (size < TP_DECIMAL_HALF || size > (size_t)2 * TP_DECIMAL_HALF)
        return tp_version_parse_any(text, size, out);
    /* The last eight digits, and those before them: two loads that both lie inside the text. */
    uint64_t bad = 0;
    const size_t before = size - TP_DECIMAL_HALF;
    const uint64_t low = tp_digits_of(tp_load_8(text + before), TP_DECIMAL_HALF, &bad);
    const uint64_t high = tp_digits_of(tp_load_8(text), before, &bad);
    /* With nothing before them the shift is 0 instead of 64, and high is 0. */
    const uint64_t high_value = tp_digits_join(high << ((8 * (TP_DECIMAL_HALF - before)) & 63));
    *out = high_value * 100000000 + tp_digits_join(low);
    return bad == 0;
}

/* A message's first and last version. They seldom differ before their last digits, so that what
 * they begin with is read once. */
static inline bool tp_version_pair_parse(struct tp_text first, struct tp_text last,
                                         uint64_t *out_first, uint64_t *out_last)
{
    const size_t before = last.size - TP_DECIMAL_HALF;
    if (first.size != last.size || before > TP_DECIMAL_HALF ||
        tp_load_8(first.at) != tp_load_8(last.at))
        return tp_version_parse(first.at, first.size, out_first) &&
               tp_version_parse(last.at, last.size, out_last);
    uint64_t bad = 0;
    const uint64_t high = tp_digits_of(tp_load_8(last.at), before, &bad);
    const uint64_t low_first = tp_digits_of(tp_load_8(first.at + before), TP_DECIMAL_HALF, &bad);
    const uint64_t low_last = tp_digits_of(tp_load_8(last.at + before), TP_DECIMAL_HALF, &bad);
    const uint64_t high_value =
        tp_digits_join(high << ((8 * (TP_DECIMAL_HALF - before)) & 63)) * 100000000;
    *out_first = high_value + tp_digits_join(low_first);
    *out_last = high_value + tp_digits_join(low_last);
    return bad == 0;
}
#endif
