/* sources: proto/encoding/decimal.c */
/* Any bytes as a decimal, at each scale.
 *
 * Invariants: a number that a scale refuses as too fine is held by a finer one, as too large by a
 * coarser one, and what is no number of any scale by none; bytes behind the text change nothing. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/encoding/decimal.h"

static void require(int condition)
{
    if (!condition)
        abort();
}

static bool parse(struct tp_text text, int32_t exponent, bool has_power, int64_t *out)
{
    return has_power ? tp_decimal_parse_scientific(text.at, text.size, exponent, out)
                     : tp_decimal_parse(text.at, text.size, exponent, out);
}

/* Whether a scale from..to, its coarsest first, holds the number. */
static bool is_held(struct tp_text text, int32_t from, int32_t to, bool has_power)
{
    int64_t value;
    for (int32_t exponent = from; exponent >= to; exponent--)
        if (parse(text, exponent, has_power, &value))
            return true;
    return false;
}

static void check(struct tp_text text, int32_t exponent, bool has_power)
{
    int64_t value;
    if (parse(text, exponent, has_power, &value)) {
        require(value >= 0);
        return;
    }
    switch (tp_decimal_refusal(text, exponent, has_power)) {
    case TP_DECODE_TOO_FINE:
        require(is_held(text, exponent - 1, TP_DECIMAL_EXPONENT_MIN, has_power));
        break;
    case TP_DECODE_TOO_LARGE:
        require(is_held(text, 0, exponent + 1, has_power));
        break;
    case TP_DECODE_BAD_NUMBER:
        require(text.size > TP_DECIMAL_TEXT_MAX ||
                !is_held(text, 0, TP_DECIMAL_EXPONENT_MIN, has_power));
        break;
    default:
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    for (int32_t exponent = 0; exponent >= TP_DECIMAL_EXPONENT_MIN; exponent--) {
        check((struct tp_text){data, size}, exponent, false);
        check((struct tp_text){data, size}, exponent, true);
    }
    return 0;
}
