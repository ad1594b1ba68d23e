/* The rewriter of json_plain.h. RFC 8259 7 (escapes), RFC 3629 3 (UTF-8). */
#include "proto/encoding/json_plain.h"

#include <stdbool.h>
#include <string.h>

enum {
    UNIT_SIZE = 6, /* \u and four hexadecimal digits */
    CONTROL_END = 0x20,
    SURROGATES = 0xd800,
    LOW_SURROGATES = 0xdc00,
    SURROGATES_END = 0xe000,
    SURROGATE_BITS = 10,
    SURROGATE_MASK = (1 << SURROGATE_BITS) - 1,
    BEYOND_UNITS = 0x10000,
};

static int hex_value(uint8_t character)
{
    if (character >= '0' && character <= '9')
        return character - '0';
    const uint8_t lower = character | 0x20;
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* \uXXXX; false: something else, or cut. */
static bool take_unit(const uint8_t *at, const uint8_t *end, uint32_t *out)
{
    if (end - at < UNIT_SIZE || at[0] != '\\' || at[1] != 'u')
        return false;
    uint32_t value = 0;
    for (int i = 2; i < UNIT_SIZE; i++) {
        const int digit = hex_value(at[i]);
        if (digit < 0)
            return false;
        value = value << 4 | (uint32_t)digit;
    }
    *out = value;
    return true;
}

/* The character that begins here and how much of the text it is; 0: it stays as it stands. */
static size_t take_character(const uint8_t *at, const uint8_t *end, uint32_t *out)
{
    uint32_t low;
    if (end - at >= 2 && at[1] == '/') {
        *out = '/';
        return 2;
    }
    if (!take_unit(at, end, out) || *out < CONTROL_END || *out == '"' || *out == '\\')
        return 0;
    if (*out < SURROGATES || *out >= SURROGATES_END)
        return UNIT_SIZE;
    if (*out >= LOW_SURROGATES || !take_unit(at + UNIT_SIZE, end, &low) || low < LOW_SURROGATES ||
        low >= SURROGATES_END)
        return 0;
    *out = BEYOND_UNITS + ((*out & SURROGATE_MASK) << SURROGATE_BITS | (low & SURROGATE_MASK));
    return 2 * UNIT_SIZE;
}

static size_t write_utf8(uint32_t character, uint8_t *out)
{
    enum { TWO = 0x80, THREE = 0x800, FOUR = BEYOND_UNITS, TAIL = 0x80, TAIL_MASK = 0x3f };
    if (character < TWO) {
        out[0] = (uint8_t)character;
        return 1;
    }
    const size_t size = character < THREE ? 2 : character < FOUR ? 3 : 4;
    for (size_t i = size - 1; i > 0; i--, character >>= 6)
        out[i] = (uint8_t)(TAIL | (character & TAIL_MASK));
    static const uint8_t heads[] = {0, 0, 0xc0, 0xe0, 0xf0};
    out[0] = (uint8_t)(heads[size] | character);
    return size;
}

/* How much of an escape that stays is copied; 0: it is none, and nothing behind it is looked at:
 * what is broken must not become sound. */
static size_t kept_size(const uint8_t *at, const uint8_t *end)
{
    uint32_t unit;
    if (end - at < 2)
        return 0;
    if (at[1] == 'u')
        return take_unit(at, end, &unit) ? UNIT_SIZE : 0;
    return memchr("\"\\bfnrt", at[1], 7) != NULL ? 2 : 0;
}

size_t tp_json_plain(const uint8_t *data, size_t size, uint8_t *out)
{
    const uint8_t *at = data, *const end = data + size;
    uint8_t *to = out;
    while (at < end) { /* each turn moves on */
        const uint8_t *stop = memchr(at, '\\', (size_t)(end - at));
        const size_t before = (size_t)((stop != NULL ? stop : end) - at);
        memmove(to, at, before);
        to += before;
        at += before;
        if (at == end)
            break;
        uint32_t character;
        const size_t taken = take_character(at, end, &character);
        if (taken > 0) {
            to += write_utf8(character, to);
            at += taken;
            continue;
        }
        size_t kept = kept_size(at, end);
        if (kept == 0)
            kept = (size_t)(end - at);
        memmove(to, at, kept);
        to += kept;
        at += kept;
    }
    return (size_t)(to - out);
}
