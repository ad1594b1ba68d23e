/* Numbers of order_text.h. */
#include "proto/signing/order_text.h"

#include <assert.h>

enum { DIGITS_MAX = 20, EXPONENT_MIN = -18 };

/* The digits of a number at the end of digits[]; returns how many. */
static uint32_t digits_of(uint64_t number, char digits[DIGITS_MAX])
{
    uint32_t count = 0;
    do {
        digits[DIGITS_MAX - ++count] = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    return count;
}

void tp_text_add_unsigned(struct tp_order_text *text, uint64_t number)
{
    char digits[DIGITS_MAX];
    const uint32_t count = digits_of(number, digits);
    tp_text_add(text, digits + DIGITS_MAX - count, count);
}

void tp_text_add_decimal(struct tp_order_text *text, int64_t mantissa, int exponent)
{
    char digits[DIGITS_MAX];
    assert(mantissa >= 0 && exponent >= EXPONENT_MIN && exponent <= 0);
    memset(digits, '0', sizeof digits);
    const uint32_t count = digits_of((uint64_t)mantissa, digits);
    const uint32_t behind = (uint32_t)-exponent;
    const uint32_t whole = count > behind ? count - behind : 1;
    uint32_t end = DIGITS_MAX;
    while (end > DIGITS_MAX - behind && digits[end - 1] == '0')
        end--;
    const uint32_t point = DIGITS_MAX - behind;
    tp_text_add(text, digits + point - whole, whole);
    if (end > point) {
        tp_text_add(text, ".", 1);
        tp_text_add(text, digits + point, end - point);
    }
}

void tp_text_add_number(struct tp_order_text *text, uint32_t number)
{
    char digits[TP_ORDER_NUMBER_SIZE];
    for (int i = TP_ORDER_NUMBER_SIZE; i-- > 0; number >>= 4)
        digits[i] = "0123456789abcdef"[number & 15];
    tp_text_add(text, digits, sizeof digits);
}

bool tp_text_is_plain(const char *name, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++) {
        const uint8_t c = (uint8_t)name[i];
        if (c <= ' ' || c == 0x7f || c == '"' || c == '\\' || c == '&')
            return false;
    }
    return true;
}
