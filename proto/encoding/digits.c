/* The tables of digits.h. */
#include "proto/encoding/digits.h"

#if defined(__x86_64__)

#define EIGHT_TIMES(x) x, x, x, x, x, x, x, x
#define SIXTEEN_TIMES(x) EIGHT_TIMES(x), EIGHT_TIMES(x)

const struct tp_digits_windows tp_digits_windows = {
    .inside = {SIXTEEN_TIMES(0xff)},
    .digit_max = {SIXTEEN_TIMES(9)},
    .zeros_with_point = {SIXTEEN_TIMES('0'), '.', '0', '0', '0', '0', '0', '0', '0',
                         EIGHT_TIMES('0')},
    .sources = {SIXTEEN_TIMES(0x80), 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
    .ones = {[16] = SIXTEEN_TIMES(1)},
    .later = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, SIXTEEN_TIMES(0x80)},
};

bool tp_digits_supported(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2");
}

#else

bool tp_digits_supported(void)
{
    return false;
}

#endif
