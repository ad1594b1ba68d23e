/* The reader of timestamp.h: fixed places, then days since 1970 by the civil calendar's arithmetic
 * (years that begin in March, so that a leap day is the last of its year). */
#include "proto/encoding/timestamp.h"

#include "proto/encoding/decimal.h"

enum {
    SECONDS_SIZE = 19, /* "2026-08-16T23:37:05" */
    FRACTION_MAX = 9,
    YEAR_MIN = 1970,
    YEAR_MAX = 2553,
    LEAP_SECOND = 60,
};
static const uint64_t NS_PER_S = 1000000000;

/* Two digits; *bad collects what is none. */
static inline uint32_t two(const uint8_t *at, uint32_t *bad)
{
    const uint32_t tens = at[0] - (uint32_t)'0', ones = at[1] - (uint32_t)'0';
    *bad |= (tens > 9) | (ones > 9);
    return tens * 10 + ones;
}

static uint32_t days_of_month(uint32_t year, uint32_t month)
{
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    const bool is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (uint32_t)(month == 2 && is_leap);
}

static uint64_t days_since_1970(uint32_t year, uint32_t month, uint32_t day)
{
    const uint32_t from_march = (month + 9) % 12, years = year - (month <= 2);
    const uint32_t day_of_year = (153 * from_march + 2) / 5 + day - 1;
    return 365 * (uint64_t)years + years / 4 - years / 100 + years / 400 + day_of_year - 719468;
}

/* "" or ".376419", to nanoseconds. */
static bool fraction_parse(const uint8_t *text, size_t size, uint64_t *out)
{
    uint64_t digits = 0;
    *out = 0;
    if (size == 0)
        return true;
    if (text[0] != '.' || size > 1 + FRACTION_MAX ||
        !tp_version_parse_any(text + 1, size - 1, &digits))
        return false;
    for (size_t i = size - 1; i < FRACTION_MAX; i++)
        digits *= 10;
    *out = digits;
    return true;
}

bool tp_timestamp_parse(const uint8_t *text, size_t size, uint64_t *out_ns)
{
    if (size < SECONDS_SIZE + 1 || text[size - 1] != 'Z' || text[4] != '-' || text[7] != '-' ||
        text[10] != 'T' || text[13] != ':' || text[16] != ':')
        return false;
    uint32_t bad = 0;
    uint64_t fraction;
    const uint32_t year = two(text, &bad) * 100 + two(text + 2, &bad), month = two(text + 5, &bad),
                   day = two(text + 8, &bad), hour = two(text + 11, &bad),
                   minute = two(text + 14, &bad), second = two(text + 17, &bad);
    if (bad != 0 || year < YEAR_MIN || year > YEAR_MAX || month < 1 || month > 12 || day < 1 ||
        day > days_of_month(year, month) || hour > 23 || minute > 59 || second > LEAP_SECOND ||
        !fraction_parse(text + SECONDS_SIZE, size - SECONDS_SIZE - 1, &fraction))
        return false;
    const uint64_t seconds =
        ((days_since_1970(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    *out_ns = seconds * NS_PER_S + fraction;
    return true;
}
