/* A scanner of JSON (RFC 8259) over a whole message: the caller pulls what it expects, value by
 * value; nothing is allocated, nothing is copied, nothing recurses.
 *
 * A decoder walks the message by its shape:
 *   tp_json_object(&in);
 *   while (tp_json_key(&in, &key))
 *       if (tp_text_is(key, "u")) tp_json_unsigned(&in, &last);
 *       else tp_json_skip(&in);
 *   return tp_json_finish(&in);
 * Each call takes exactly one value; keys may come in any order; of a key that stands twice the
 * decoder's own assignment decides, so the last wins, as in most readers. The first fault sticks:
 * from then on every call returns false, loops end, and tp_json_finish says what it was.
 *
 * Values as venues write them, without a space or an escape, are taken inline, below; all others by
 * json.c, with the same answers. So keys cost little in any order, and the processor's own branch
 * prediction learns the one that a venue writes.
 *
 * Strings come as they stand on the wire, escapes and all: names and numbers of venues have none,
 * and a comparison with one that has fails, as it should. That strings are UTF-8 is not checked
 * here: a WebSocket text message was (RFC 6455 8.1).
 * Called by the decoders of venues that speak JSON. Any thread. */
#ifndef TP_PROTO_JSON_H
#define TP_PROTO_JSON_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "proto/encoding/decimal.h"
#include "proto/encoding/status.h"
#include "proto/encoding/text.h"
#include "proto/update.h"

#if defined(__x86_64__)
#include <emmintrin.h>
#endif

enum { TP_JSON_DEPTH_MAX = 64 }; /* nesting of what tp_json_skip skips */

struct tp_json {
    const uint8_t *at, *end;
    const uint8_t *begin; /* of the message */
    bool is_first;        /* no value of the container in hand was taken yet: no comma is due */
    enum tp_decode_status status;
    struct tp_misfit misfit; /* the number that is the fault, where one is */
};

/* A place in a message. */
struct tp_json_place {
    const uint8_t *begin, *at, *end;
};

enum tp_json_kind {
    TP_JSON_NONE, /* the end, or a character that begins no value */
    TP_JSON_OBJECT,
    TP_JSON_ARRAY,
    TP_JSON_STRING,
    TP_JSON_NUMBER,
    TP_JSON_TRUE,
    TP_JSON_FALSE,
    TP_JSON_NULL,
};

static inline void tp_json_init(struct tp_json *in, const uint8_t *data, size_t size);
/* What begins here; takes nothing but white space. */
enum tp_json_kind tp_json_peek(struct tp_json *in);
/* Enters an object. */
static inline bool tp_json_object(struct tp_json *in);
/* The next key of the object in hand, its value to be taken next; false: the object ended, or a
 * fault. */
static inline bool tp_json_key(struct tp_json *in, struct tp_text *key);
/* Enters an array. */
static inline bool tp_json_array(struct tp_json *in);
/* Whether the array in hand has another item, to be taken next; false: it ended, or a fault. */
static inline bool tp_json_item(struct tp_json *in);
static inline bool tp_json_string(struct tp_json *in, struct tp_text *out);
bool tp_json_number(struct tp_json *in, struct tp_text *out);
/* A string or a number, whichever the venue writes: "0.5" and 0.5 alike. */
bool tp_json_scalar(struct tp_json *in, struct tp_text *out);
bool tp_json_bool(struct tp_json *in, bool *out);
/* Digits only, as a number or a string; a fault otherwise. */
static inline bool tp_json_unsigned(struct tp_json *in, uint64_t *out);
/* A decimal as a number or a string, exponents as in 1.5E-7 included; where the mantissa cannot
 * hold it exactly the status says why, and misfit which it is. */
bool tp_json_decimal(struct tp_json *in, int32_t exponent, int64_t *out);
/* The same of a price or a quantity. */
bool tp_json_scaled(struct tp_json *in, const struct tp_scale *scale, enum tp_number kind,
                    int64_t *out);
/* A string that is this literal of the caller's, given with its quotes; false: it is not, and
 * nothing was taken. */
#define tp_json_is(in, literal)                                                                    \
    ((size_t)((in)->end - (in)->at) >= sizeof(literal) - 1 &&                                      \
     memcmp((in)->at, literal, sizeof(literal) - 1) == 0 &&                                        \
     ((in)->at += sizeof(literal) - 1, true))
/* Any value, whatever is in it. */
static inline bool tp_json_skip(struct tp_json *in);
/* An array of levels [price, quantity, …]; what follows the quantity is skipped. Appends to
 * levels[*count, TP_DEPTH_LEVEL_COUNT_MAX). */
static inline bool tp_json_levels(struct tp_json *in, const struct tp_scale *scale,
                                  struct tp_level *levels, uint32_t *count);
/* Says that the decoder itself found a fault; the first one stays. Returns false. */
static inline bool tp_json_fail(struct tp_json *in, enum tp_decode_status status);
/* The status; malformed where anything but white space follows the value. */
static inline enum tp_decode_status tp_json_finish(struct tp_json *in);

/* name: a literal of the caller's, at most as long as a key. */
static inline bool tp_text_is(struct tp_text text, const char *name)
{
    const size_t size = strlen(name);
    return text.size == size && memcmp(text.at, name, size) == 0;
}

/* ---- what json.c does where the inline parts below leave it */

bool tp_json_enter_any(struct tp_json *in, uint8_t opening);
bool tp_json_key_any(struct tp_json *in, struct tp_text *key);
bool tp_json_item_any(struct tp_json *in);
bool tp_json_string_any(struct tp_json *in, struct tp_text *out);
bool tp_json_unsigned_any(struct tp_json *in, uint64_t *out);
bool tp_json_skip_any(struct tp_json *in);
bool tp_json_levels_any(struct tp_json *in, const struct tp_scale *scale, struct tp_level *levels,
                        uint32_t *count);
const uint8_t *tp_json_levels_usual(const struct tp_json_place *place, const struct tp_scale *scale,
                                    struct tp_level *levels, uint32_t *count);
enum tp_decode_status tp_json_finish_any(struct tp_json *in);

/* ---- the usual shapes
 *
 * A function of another file gets a copy of the scanner: with its address known elsewhere, its
 * place would live in memory instead of a register. */

enum { TP_JSON_BLOCK = 16, TP_JSON_LOAD_SIZE = TP_JSON_BLOCK + 2, TP_JSON_LETTER_KEY_SIZE = 4 };

static inline void tp_json_init(struct tp_json *in, const uint8_t *data, size_t size)
{
    *in = (struct tp_json){.at = data, .end = data + size, .begin = data, .status = TP_DECODE_OK};
}

static inline bool tp_json_fail(struct tp_json *in, enum tp_decode_status status)
{
    if (in->status == TP_DECODE_OK)
        in->status = status;
    in->at = in->end; /* nothing is left to take: all that follows fails as well */
    return false;
}

static inline enum tp_decode_status tp_json_finish(struct tp_json *in)
{
    if (in->at == in->end)
        return in->status;
    struct tp_json copy = *in;
    const enum tp_decode_status status = tp_json_finish_any(&copy);
    *in = copy;
    return status;
}

/* How many plain characters of a string are at hand: up to a quote, a backslash or a control
 * character, at most TP_JSON_BLOCK, which must be readable. */
static inline size_t tp_json_plain_size(const uint8_t *at)
{
#if defined(__x86_64__)
    const __m128i block = _mm_loadu_si128((const __m128i *)at);
    const __m128i quote = _mm_cmpeq_epi8(block, _mm_set1_epi8('"'));
    const __m128i backslash = _mm_cmpeq_epi8(block, _mm_set1_epi8('\\'));
    const __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(block, _mm_set1_epi8(0x1f)), block);
    const __m128i found = _mm_or_si128(_mm_or_si128(quote, backslash), control);
    return (size_t)__builtin_ctz((unsigned)_mm_movemask_epi8(found) | 1u << TP_JSON_BLOCK);
#else
    size_t size = 0;
    while (size < TP_JSON_BLOCK && at[size] != '"' && at[size] != '\\' && at[size] > 0x1f)
        size++;
    return size;
#endif
}

/* The same number, counted: by branches, which are foreseen where a venue's numbers have their
 * usual length, so that nobody waits for it. */
static inline size_t tp_json_counted(size_t size)
{
    size_t counted = 0;
    if (size >= TP_JSON_BLOCK / 2) {
        counted = TP_JSON_BLOCK / 2;
        __asm__ volatile("" : "+r"(counted));
    }
    while (counted < size) {
        counted++;
        __asm__ volatile("" : "+r"(counted));
    }
    return counted;
}

/* How many digits are at hand, at most TP_JSON_BLOCK, which must be readable. */
static inline size_t tp_json_digits_size(const uint8_t *at)
{
#if defined(__x86_64__)
    const __m128i block = _mm_loadu_si128((const __m128i *)at);
    const __m128i values = _mm_sub_epi8(block, _mm_set1_epi8('0'));
    const __m128i digits = _mm_cmpeq_epi8(_mm_min_epu8(values, _mm_set1_epi8(9)), values);
    return (size_t)__builtin_ctz(~(unsigned)_mm_movemask_epi8(digits));
#else
    size_t size = 0;
    while (size < TP_JSON_BLOCK && at[size] >= '0' && at[size] <= '9')
        size++;
    return size;
#endif
}

/* The value of that many digits, 1..TP_JSON_BLOCK; what is loaded ends with them. */
static inline uint64_t tp_json_digits_value(const uint8_t *at, size_t size)
{
#if defined(__x86_64__)
    static const uint8_t window[2 * TP_JSON_BLOCK] = {[TP_JSON_BLOCK] = 0xf,
                                                      0xf,
                                                      0xf,
                                                      0xf,
                                                      0xf,
                                                      0xf,
                                                      0xf,
                                                      0xf,
                                                      0xf,
                                                      0xf,
                                                      0xf,
                                                      0xf,
                                                      0xf,
                                                      0xf,
                                                      0xf,
                                                      0xf};
    const __m128i digits =
        _mm_and_si128(_mm_loadu_si128((const __m128i *)(at + size - TP_JSON_BLOCK)),
                      _mm_loadu_si128((const __m128i *)(window + size)));
    const __m128i zero = _mm_setzero_si128(), tens = _mm_set1_epi32(0x0001000a);
    const __m128i pairs = _mm_packs_epi32(_mm_madd_epi16(_mm_unpacklo_epi8(digits, zero), tens),
                                          _mm_madd_epi16(_mm_unpackhi_epi8(digits, zero), tens));
    const __m128i fours = _mm_madd_epi16(pairs, _mm_set1_epi32(0x00010064));
    const __m128i eights = _mm_madd_epi16(_mm_packs_epi32(fours, zero), _mm_set1_epi32(0x00012710));
    const uint64_t both = (uint64_t)_mm_cvtsi128_si64(eights);
    return (both & UINT32_MAX) * 100000000 + (both >> 32);
#else
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++)
        value = value * 10 + (uint64_t)(at[i] - '0');
    return value;
#endif
}

static inline bool tp_json_enter(struct tp_json *in, uint8_t opening)
{
    if (in->at < in->end && *in->at == opening) {
        in->at++;
        in->is_first = true;
        return true;
    }
    struct tp_json copy = *in;
    const bool is_entered = tp_json_enter_any(&copy, opening);
    *in = copy;
    return is_entered;
}

static inline bool tp_json_object(struct tp_json *in)
{
    return tp_json_enter(in, '{');
}

static inline bool tp_json_array(struct tp_json *in)
{
    return tp_json_enter(in, '[');
}

/* A string at `at` that ends within a block; false: there is none, or another kind of one. */
static inline bool tp_json_short_string(const struct tp_json *in, const uint8_t *at,
                                        struct tp_text *out)
{
    if (in->end - at < TP_JSON_LOAD_SIZE || *at != '"')
        return false;
    *out = (struct tp_text){at + 1, tp_json_plain_size(at + 1)};
    return out->size < TP_JSON_BLOCK && out->at[out->size] == '"';
}

/* A key of one letter: "u": */
static inline bool tp_json_letter_key(const struct tp_json *in, const uint8_t *at)
{
    return in->end - at >= TP_JSON_LETTER_KEY_SIZE && at[0] == '"' && (at[1] | 0x20) >= 'a' &&
           (at[1] | 0x20) <= 'z' && at[2] == '"' && at[3] == ':';
}

static inline bool tp_json_key(struct tp_json *in, struct tp_text *key)
{
    const uint8_t *const at = in->at + !in->is_first;
    const bool is_due = in->is_first || (in->at < in->end && *in->at == ',');
    if (is_due && tp_json_letter_key(in, at)) {
        *key = (struct tp_text){at + 1, 1};
        in->at = at + TP_JSON_LETTER_KEY_SIZE;
        in->is_first = false;
        return true;
    }
    if (is_due && tp_json_short_string(in, at, key) && key->at[key->size + 1] == ':') {
        in->at = key->at + key->size + 2;
        in->is_first = false;
        return true;
    }
    if (in->at < in->end && *in->at == '}') {
        in->at++;
        in->is_first = false; /* of the container around it, a value was taken */
        return false;
    }
    struct tp_json copy = *in;
    const bool is_key = tp_json_key_any(&copy, key);
    *in = copy;
    return is_key;
}

static inline bool tp_json_item(struct tp_json *in)
{
    const uint8_t character = in->at < in->end ? *in->at : 0;
    if (character == ']' || (character == ',' && !in->is_first)) {
        in->at++;
        in->is_first = false;
        return character == ',';
    }
    if (in->is_first && character > ' ') {
        in->is_first = false;
        return true;
    }
    struct tp_json copy = *in;
    const bool is_item = tp_json_item_any(&copy);
    *in = copy;
    return is_item;
}

static inline bool tp_json_string(struct tp_json *in, struct tp_text *out)
{
    if (tp_json_short_string(in, in->at, out)) {
        in->at = out->at + out->size + 1;
        return true;
    }
    struct tp_json copy = *in;
    const bool is_string = tp_json_string_any(&copy, out);
    *in = copy;
    return is_string;
}

/* How many digits are at hand where less than a block is left, behind a block and more. */
static inline size_t tp_json_last_digits_size(const uint8_t *at, const uint8_t *end)
{
#if defined(__x86_64__)
    const __m128i block = _mm_loadu_si128((const __m128i *)(end - TP_JSON_BLOCK));
    const __m128i values = _mm_sub_epi8(block, _mm_set1_epi8('0'));
    const __m128i digits = _mm_cmpeq_epi8(_mm_min_epu8(values, _mm_set1_epi8(9)), values);
    const unsigned found = (unsigned)_mm_movemask_epi8(digits) >> (TP_JSON_BLOCK - (end - at));
    return (size_t)__builtin_ctz(~found);
#else
    size_t size = 0;
    while (at + size < end && at[size] >= '0' && at[size] <= '9')
        size++;
    return size;
#endif
}

static inline bool tp_json_unsigned(struct tp_json *in, uint64_t *out)
{
    const uint8_t *const at = in->at;
    const ptrdiff_t left = in->end - at;
    if (at - in->begin >= TP_JSON_BLOCK && left > 0) {
        const size_t size = tp_json_counted(
            left > TP_JSON_BLOCK ? tp_json_digits_size(at) : tp_json_last_digits_size(at, in->end));
        const bool is_whole = (ptrdiff_t)size < left && (at[size] == ',' || at[size] == '}');
        if (is_whole && size != 0 && (at[0] != '0' || size == 1)) {
            *out = tp_json_digits_value(at, size);
            in->at = at + size;
            return true;
        }
    }
    struct tp_json copy = *in;
    const bool is_unsigned = tp_json_unsigned_any(&copy, out);
    *in = copy;
    return is_unsigned;
}

/* What is behind a string of at most two blocks or a plain number of less than one at `at`; NULL:
 * there is something else. */
static inline const uint8_t *tp_json_behind_scalar(const struct tp_json *in, const uint8_t *at)
{
    if (in->end - at < TP_JSON_BLOCK + TP_JSON_LOAD_SIZE)
        return NULL;
    if (*at == '"') {
        at++;
        size_t size = tp_json_plain_size(at);
        if (size == TP_JSON_BLOCK)
            size += tp_json_plain_size(at + TP_JSON_BLOCK);
        return at[size] == '"' ? at + size + 1 : NULL;
    }
    const size_t size = tp_json_digits_size(at);
    const bool is_plain = size != 0 && (at[0] != '0' || size == 1);
    return is_plain && (at[size] == ',' || at[size] == '}') ? at + size : NULL;
}

static inline bool tp_json_skip(struct tp_json *in)
{
    const uint8_t *const behind = tp_json_behind_scalar(in, in->at);
    if (behind != NULL) {
        in->at = behind;
        return true;
    }
    struct tp_json copy = *in;
    const bool is_skipped = tp_json_skip_any(&copy);
    *in = copy;
    return is_skipped;
}

static inline bool tp_json_levels(struct tp_json *in, const struct tp_scale *scale,
                                  struct tp_level *levels, uint32_t *count)
{
    const struct tp_json_place place = {in->begin, in->at, in->end};
    const uint8_t *const behind = tp_json_levels_usual(&place, scale, levels, count);
    if (behind != NULL) {
        in->at = behind;
        in->is_first = false;
        return true;
    }
    struct tp_json copy = *in;
    const bool are_levels = tp_json_levels_any(&copy, scale, levels, count);
    *in = copy;
    return are_levels;
}
#endif
