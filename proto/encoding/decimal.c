/* Decimal text to fixed point: the shapes that decimal.h does not take in one go.
 *
 * Called by decimal.h, by every venue's decoder and, through cffi, by its requests.py. Any thread.
 */
#include "proto/encoding/decimal.h"

struct tp_decimal_scale tp_decimal_scale(int32_t exponent)
{
    static const int64_t unit[-TP_DECIMAL_EXPONENT_MIN + 1] = {1,
                                                               10,
                                                               100,
                                                               1000,
                                                               10000,
                                                               100000,
                                                               1000000,
                                                               10000000,
                                                               100000000,
                                                               1000000000,
                                                               10000000000,
                                                               100000000000,
                                                               1000000000000,
                                                               10000000000000,
                                                               100000000000000,
                                                               1000000000000000,
                                                               10000000000000000,
                                                               100000000000000000,
                                                               1000000000000000000};
    const uint32_t digits = tp_decimal_digits(exponent);
    const uint32_t half = digits < TP_DECIMAL_HALF ? digits : TP_DECIMAL_HALF;
    return (struct tp_decimal_scale){.digits = digits,
                                     .unit = unit[digits],
                                     .excess = ~tp_bytes_low(half),
                                     .tail_shift = (8 * (TP_DECIMAL_HALF - half)) & 63};
}

static bool digit_append(int64_t *value, uint8_t character)
{
    return !__builtin_mul_overflow(*value, 10, value) &&
           !__builtin_add_overflow(*value, character - '0', value);
}

static bool is_digit(uint8_t character)
{
    return character >= '0' && character <= '9';
}

bool tp_decimal_parse_any(const uint8_t *text, size_t size, const struct tp_decimal_scale *scale,
                          int64_t *out)
{
    int64_t value = 0;
    size_t at = 0;
    for (; at < size && text[at] != '.'; at++)
        if (!is_digit(text[at]) || !digit_append(&value, text[at]))
            return false;
    if (at == 0 || at + 1 == size)
        return false; /* nothing before the point, or nothing behind it */
    uint32_t kept = 0;
    for (at++; at < size; at++) {
        if (!is_digit(text[at]))
            return false;
        if (kept == scale->digits) {
            if (text[at] != '0')
                return false;
            continue;
        }
        if (!digit_append(&value, text[at]))
            return false;
        kept++;
    }
    for (; kept < scale->digits; kept++)
        if (!digit_append(&value, '0'))
            return false;
    *out = value;
    return true;
}

bool tp_decimal_parse(const uint8_t *text, size_t size, int32_t exponent, int64_t *out)
{
    const struct tp_decimal_scale scale = tp_decimal_scale(exponent);
    if (size == 0)
        return false;
    if (size > TP_DECIMAL_LOAD_SIZE)
        return tp_decimal_parse_any(text, size, &scale, out);
    uint8_t copy[TP_DECIMAL_LOAD_SIZE] = {0};
    memcpy(copy, text, size);
    return tp_decimal_parse_loadable(copy, size, &scale, out);
}

/* The digits of the mantissa as one number without its trailing zeros, and the power of ten that it
 * is to be multiplied by. False: not a decimal, or more digits than int64 holds. */
static bool mantissa_parse(const uint8_t *text, size_t size, int64_t *value, int64_t *power)
{
    int64_t zeros = 0; /* seen, not yet part of the value */
    size_t point = size;
    *value = 0;
    for (size_t at = 0; at < size; at++) {
        if (text[at] == '.' && point == size && at > 0 && at + 1 < size) {
            point = at;
            continue;
        }
        if (!is_digit(text[at]))
            return false;
        zeros++;
        if (text[at] == '0')
            continue;
        for (; zeros > 0; zeros--)
            if (*value != 0 && __builtin_mul_overflow(*value, 10, value))
                return false;
        if (__builtin_add_overflow(*value, text[at] - '0', value))
            return false;
    }
    *power = zeros - (int64_t)(point < size ? size - point - 1 : 0);
    return size > 0;
}

/* The signed number behind an e. Saturates far beyond what any mantissa can use. */
static bool power_parse(const uint8_t *text, size_t size, int64_t *power)
{
    enum { POWER_MAX = 1000000000 };
    const bool is_signed = size > 0 && (text[0] == '+' || text[0] == '-');
    *power = 0;
    for (size_t at = is_signed; at < size; at++) {
        if (!is_digit(text[at]))
            return false;
        if (*power < POWER_MAX)
            *power = *power * 10 + text[at] - '0';
    }
    if (is_signed && text[0] == '-')
        *power = -*power;
    return size > is_signed;
}

/* The value of a text: digits without trailing zeros, and the power of ten that they are to be
 * multiplied by. False: not a decimal, or more digits than int64 holds. */
static bool value_parse(const uint8_t *text, size_t size, bool has_power, int64_t *value,
                        int64_t *power)
{
    int64_t behind = 0;
    size_t digits = 0;
    while (digits < size && !(has_power && (text[digits] | 0x20) == 'e'))
        digits++;
    if (!mantissa_parse(text, digits, value, power) ||
        (digits < size && !power_parse(text + digits + 1, size - digits - 1, &behind)))
        return false;
    *power = *value == 0 ? 0 : *power + behind;
    return true;
}

/* False: beyond int64. */
static bool value_raise(int64_t *value, int64_t power)
{
    for (; power > 0; power--) /* overflows within 19 turns, unless the value is 0 */
        if (*value == 0 || __builtin_mul_overflow(*value, 10, value))
            return *value == 0;
    return true;
}

bool tp_decimal_parse_scientific(const uint8_t *text, size_t size, int32_t exponent, int64_t *out)
{
    int64_t value, power;
    if (!value_parse(text, size, true, &value, &power))
        return false;
    /* The value has no trailing zero: a negative power leaves a digit that does not fit. */
    if ((value != 0 && power < exponent) || !value_raise(&value, power - exponent))
        return false;
    *out = value;
    return true;
}

enum tp_decode_status tp_decimal_refusal(struct tp_text text, int32_t exponent, bool has_power)
{
    int64_t value, power;
    if (text.size > TP_DECIMAL_TEXT_MAX ||
        !value_parse(text.at, text.size, has_power, &value, &power) || value == 0)
        return TP_DECODE_BAD_NUMBER;
    int64_t whole = value; /* at the coarsest exponent that holds each of its digits */
    if (power < TP_DECIMAL_EXPONENT_MIN || !value_raise(&whole, power))
        return TP_DECODE_BAD_NUMBER;
    if (power < exponent)
        return TP_DECODE_TOO_FINE;
    return value_raise(&value, power - exponent) ? TP_DECODE_BAD_NUMBER : TP_DECODE_TOO_LARGE;
}

/* Writes digits that end before `end`; returns where they begin. */
static uint8_t *write_digits(uint8_t *end, uint64_t number)
{
    do {
        *--end = (uint8_t)('0' + number % 10);
        number /= 10;
    } while (number > 0); /* 20 turns at most */
    return end;
}

static uint64_t magnitude(int64_t number)
{
    return number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
}

struct tp_text tp_decimal_write(int64_t mantissa, int32_t exponent, uint8_t space[TP_DECIMAL_SPACE])
{
    uint8_t *at = write_digits(space + TP_DECIMAL_SPACE, magnitude(exponent));
    if (exponent < 0)
        *--at = '-';
    *--at = 'e';
    at = write_digits(at, magnitude(mantissa));
    if (mantissa < 0)
        *--at = '-';
    return (struct tp_text){at, (size_t)(space + TP_DECIMAL_SPACE - at)};
}

struct tp_text tp_misfit_text(const struct tp_misfit *misfit, uint8_t space[TP_DECIMAL_SPACE])
{
    if (!misfit->is_mantissa)
        return misfit->text;
    return tp_decimal_write((int64_t)tp_load_8(misfit->text.at), misfit->exponent, space);
}

bool tp_version_parse_any(const uint8_t *text, size_t size, uint64_t *out)
{
    uint64_t value = 0;
    for (size_t at = 0; at < size; at++)
        if (!is_digit(text[at]) || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(text[at] - '0'), &value))
            return false;
    *out = value;
    return size > 0;
}
