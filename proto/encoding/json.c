/* The scanner of json.h. Bounds: every loop ends at in->end. */
#include "proto/encoding/json.h"

#include "proto/encoding/decimal.h"
#include "proto/encoding/json_levels.h"

#define HOT_PART static inline __attribute__((always_inline))

enum { CONTROL_END = 0x20, WORD = 8 }; /* RFC 8259 7: control characters must be escaped */

static bool malformed(struct tp_json *in)
{
    return tp_json_fail(in, TP_DECODE_MALFORMED);
}

static inline bool is_digit(uint8_t character)
{
    return character >= '0' && character <= '9';
}

/* The character at hand; 0, which JSON has nowhere outside strings, at the end. */
static inline uint8_t here(const struct tp_json *in)
{
    return in->at < in->end ? *in->at : 0;
}

static inline bool is_space(uint8_t character)
{
    return character == ' ' || character == '\n' || character == '\r' || character == '\t';
}

static inline uint8_t skip_space(struct tp_json *in)
{
    while (in->at < in->end && is_space(*in->at))
        in->at++;
    return here(in);
}

static inline bool take(struct tp_json *in, uint8_t character)
{
    if (skip_space(in) != character)
        return malformed(in);
    in->at++;
    return true;
}

enum tp_json_kind tp_json_peek(struct tp_json *in)
{
    const uint8_t character = skip_space(in);
    switch (character) {
    case '{':
        return TP_JSON_OBJECT;
    case '[':
        return TP_JSON_ARRAY;
    case '"':
        return TP_JSON_STRING;
    case 't':
        return TP_JSON_TRUE;
    case 'f':
        return TP_JSON_FALSE;
    case 'n':
        return TP_JSON_NULL;
    default:
        return character == '-' || is_digit(character) ? TP_JSON_NUMBER : TP_JSON_NONE;
    }
}

bool tp_json_enter_any(struct tp_json *in, uint8_t opening)
{
    if (!take(in, opening))
        return false;
    in->is_first = true;
    return true;
}

/* The comma before another value of the container, or its end. That there is a value, and not the
 * message's end, is found out by whoever takes it. */
static bool another(struct tp_json *in, uint8_t closing)
{
    const uint8_t character = skip_space(in);
    if (character == closing) {
        in->at++;
        in->is_first = false; /* of the container around it, a value was taken */
        return false;
    }
    const bool is_first = in->is_first;
    in->is_first = false;
    return is_first || take(in, ',');
}

bool tp_json_key_any(struct tp_json *in, struct tp_text *key)
{
    return another(in, '}') && tp_json_string(in, key) && take(in, ':');
}

bool tp_json_item_any(struct tp_json *in)
{
    return another(in, ']');
}

/* Skips to the next byte that is no plain character of a string: '"', '\' or a control character.
 * A borrow can mark a byte above a marked one, never below: the lowest mark is exact. */
static void skip_plain(struct tp_json *in)
{
    const uint64_t ones = 0x0101010101010101, highs = 0x8080808080808080;
    while (in->end - in->at >= WORD) {
        const uint64_t word = tp_load_8(in->at);
        const uint64_t quote = word ^ ones * '"', backslash = word ^ ones * '\\';
        const uint64_t found = (((word - ones * CONTROL_END) & ~word) | ((quote - ones) & ~quote) |
                                ((backslash - ones) & ~backslash)) &
                               highs;
        if (found != 0) {
            in->at += __builtin_ctzll(found) >> 3;
            return;
        }
        in->at += WORD;
    }
    while (in->at < in->end && *in->at != '"' && *in->at != '\\' && *in->at >= CONTROL_END)
        in->at++;
}

static bool is_hex(uint8_t character)
{
    const uint8_t lower = character | 0x20;
    return is_digit(character) || (lower >= 'a' && lower <= 'f');
}

static inline bool is_short_escape(uint8_t character)
{
    switch (character) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't':
        return true;
    default:
        return false;
    }
}

/* RFC 8259 7: behind a backslash one of eight characters, or u and four hexadecimal digits. Takes
 * as many as follow each other. */
static bool skip_escapes(struct tp_json *in)
{
    enum { HEX_DIGITS = 4, UNICODE_SIZE = 2 + HEX_DIGITS };
    const uint8_t *at = in->at;
    while (in->end - at >= 2 && at[0] == '\\' && is_short_escape(at[1]))
        at += 2;
    in->at = at;
    if (at == in->end || *at != '\\')
        return true;
    if (in->end - at < UNICODE_SIZE || at[1] != 'u')
        return malformed(in);
    for (int i = 2; i < UNICODE_SIZE; i++)
        if (!is_hex(at[i]))
            return malformed(in);
    in->at += UNICODE_SIZE;
    return true;
}

bool tp_json_string_any(struct tp_json *in, struct tp_text *out)
{
    if (!take(in, '"'))
        return false;
    const uint8_t *begin = in->at;
    for (;;) { /* each turn moves on or returns */
        skip_plain(in);
        if (here(in) == '"')
            break;
        if (here(in) != '\\')
            return malformed(in);
        if (!skip_escapes(in))
            return false;
    }
    *out = (struct tp_text){begin, (size_t)(in->at - begin)};
    in->at++;
    return true;
}

static bool skip_digits(struct tp_json *in)
{
    const uint8_t *begin = in->at;
    while (in->at < in->end && is_digit(*in->at))
        in->at++;
    return in->at > begin || malformed(in);
}

/* RFC 8259 6: [-] int [frac] [exp]; int has no leading zero. */
bool tp_json_number(struct tp_json *in, struct tp_text *out)
{
    (void)skip_space(in);
    const uint8_t *begin = in->at;
    if (here(in) == '-')
        in->at++;
    const bool zero = here(in) == '0';
    if (zero)
        in->at++;
    else if (!skip_digits(in))
        return false;
    if (here(in) == '.') {
        in->at++;
        if (!skip_digits(in))
            return false;
    }
    if ((here(in) | 0x20) == 'e') {
        in->at++;
        if (here(in) == '+' || here(in) == '-')
            in->at++;
        if (!skip_digits(in))
            return false;
    }
    if (is_digit(here(in)))
        return malformed(in); /* 01 */
    *out = (struct tp_text){begin, (size_t)(in->at - begin)};
    return true;
}

bool tp_json_scalar(struct tp_json *in, struct tp_text *out)
{
    return skip_space(in) == '"' ? tp_json_string(in, out) : tp_json_number(in, out);
}

static bool take_literal(struct tp_json *in, const char *name)
{
    const size_t size = strlen(name);
    if ((size_t)(in->end - in->at) < size || memcmp(in->at, name, size) != 0)
        return malformed(in);
    in->at += size;
    return true;
}

bool tp_json_bool(struct tp_json *in, bool *out)
{
    *out = skip_space(in) == 't';
    return take_literal(in, *out ? "true" : "false");
}

bool tp_json_unsigned_any(struct tp_json *in, uint64_t *out)
{
    struct tp_text text;
    return tp_json_scalar(in, &text) &&
           (tp_version_parse(text.at, text.size, out) || tp_json_fail(in, TP_DECODE_BAD_NUMBER));
}

/* end: of the message, up to which loads may reach. */
static bool parse_decimal(struct tp_text text, const uint8_t *end,
                          const struct tp_decimal_scale *scale, int64_t *out)
{
    if (text.size > 0 && end - text.at >= TP_DECIMAL_LOAD_SIZE &&
        tp_decimal_parse_loadable(text.at, text.size, scale, out))
        return true;
    return tp_decimal_parse_scientific(text.at, text.size, -(int32_t)scale->digits, out);
}

static bool misfit(struct tp_json *in, struct tp_text text, int32_t exponent, enum tp_number kind)
{
    in->misfit = (struct tp_misfit){.text = text, .kind = kind};
    return tp_json_fail(in, tp_decimal_refusal(text, exponent, true));
}

static bool take_decimal(struct tp_json *in, int32_t exponent, enum tp_number kind, int64_t *out)
{
    struct tp_text text;
    const struct tp_decimal_scale scale = tp_decimal_scale(exponent);
    return tp_json_scalar(in, &text) &&
           (parse_decimal(text, in->end, &scale, out) || misfit(in, text, exponent, kind));
}

bool tp_json_decimal(struct tp_json *in, int32_t exponent, int64_t *out)
{
    return take_decimal(in, exponent, TP_NUMBER_UNKNOWN, out);
}

bool tp_json_scaled(struct tp_json *in, const struct tp_scale *scale, enum tp_number kind,
                    int64_t *out)
{
    const bool is_price = kind == TP_NUMBER_PRICE;
    return take_decimal(in, is_price ? scale->price_exponent : scale->quantity_exponent, kind, out);
}

/* One value that holds no others, and no string. */
static bool skip_simple(struct tp_json *in)
{
    struct tp_text text;
    switch (tp_json_peek(in)) {
    case TP_JSON_NUMBER:
        return tp_json_number(in, &text);
    case TP_JSON_TRUE:
        return take_literal(in, "true");
    case TP_JSON_FALSE:
        return take_literal(in, "false");
    case TP_JSON_NULL:
        return take_literal(in, "null");
    case TP_JSON_STRING:
    case TP_JSON_OBJECT:
    case TP_JSON_ARRAY:
    case TP_JSON_NONE:
        break;
    }
    return malformed(in);
}

/* A whole number without a sign in front of a comma or a bracket; false: something else, and
 * nothing was taken. */
HOT_PART bool skip_digits_only(struct tp_json *in)
{
    const uint8_t *at = in->at;
    while (at < in->end && is_digit(*at))
        at++;
    const bool is_sound = at > in->at && (*in->at != '0' || at == in->at + 1) && at < in->end &&
                          (*at == ',' || *at == ']' || *at == '}');
    if (is_sound)
        in->at = at;
    return is_sound;
}

/* Enters a container or takes a value that holds no others. objects: a bit a level, the innermost
 * lowest. */
HOT_PART bool skip_or_enter(struct tp_json *in, uint64_t *objects, unsigned *depth)
{
    struct tp_text text;
    while (in->at < in->end && *in->at <= ' ' && is_space(*in->at))
        in->at++;
    const uint8_t character = here(in);
    if (character == '"')
        return tp_json_string(in, &text);
    if (character != '{' && character != '[') {
        if (skip_digits_only(in))
            return true;
        struct tp_json copy = *in;
        const bool is_skipped = skip_simple(&copy);
        *in = copy;
        return is_skipped;
    }
    if (*depth == TP_JSON_DEPTH_MAX)
        return tp_json_fail(in, TP_DECODE_TOO_MANY);
    ++*depth;
    *objects = *objects << 1 | (character == '{');
    return tp_json_enter(in, character);
}

bool tp_json_skip_any(struct tp_json *in)
{
    struct tp_json local = *in; /* its address stays here: what a scanner knows is in registers */
    uint64_t objects = 0;
    unsigned depth = 0;
    struct tp_text key;
    bool is_sound = skip_or_enter(&local, &objects, &depth);
    while (is_sound && depth > 0) { /* each turn takes a value or closes a container, or fails */
        if ((objects & 1) != 0 ? tp_json_key(&local, &key) : tp_json_item(&local)) {
            is_sound = skip_or_enter(&local, &objects, &depth);
            continue;
        }
        is_sound = local.status == TP_DECODE_OK;
        objects >>= 1;
        depth--;
    }
    *in = local;
    return is_sound;
}

static const struct tp_level_form texts = TP_LEVEL_FORM("[\"", "\",\"", true, ']');
static const struct tp_level_form numbers = TP_LEVEL_FORM("[", ",", false, ']');

/* A pair in any form, and whatever it has behind its quantity: order counts, times. */
static bool take_pair(struct tp_json *in, const struct tp_scale *scale, struct tp_level *out)
{
    if (!tp_json_array(in) || !tp_json_item(in) ||
        !tp_json_scaled(in, scale, TP_NUMBER_PRICE, &out->price) || !tp_json_item(in) ||
        !tp_json_scaled(in, scale, TP_NUMBER_QUANTITY, &out->quantity))
        return malformed(in);
    while (tp_json_item(in))
        if (!tp_json_skip(in))
            return false;
    return in->status == TP_DECODE_OK;
}

static bool are_texts(const uint8_t *at, const uint8_t *end)
{
    return end - at > 1 && at[1] == '"';
}

const uint8_t *tp_json_levels_usual(const struct tp_json_place *place, const struct tp_scale *scale,
                                    struct tp_level *levels, uint32_t *count)
{
    const struct tp_level_form *form = are_texts(place->at + 1, place->end) ? &texts : &numbers;
    return tp_json_levels_take(place, form, scale, levels, count);
}

bool tp_json_levels_any(struct tp_json *in, const struct tp_scale *scale, struct tp_level *levels,
                        uint32_t *count)
{
    if (!tp_json_array(in))
        return false;
    const struct tp_level_form *form = are_texts(in->at, in->end) ? &texts : &numbers;
    while (tp_json_item(in)) {
        if (*count >= TP_DEPTH_LEVEL_COUNT_MAX)
            return tp_json_fail(in, TP_DECODE_TOO_MANY);
        const uint32_t taken =
            tp_json_levels_run(in, form, scale, levels + *count, TP_DEPTH_LEVEL_COUNT_MAX - *count);
        if (taken == 0 && !take_pair(in, scale, &levels[*count]))
            return false;
        *count += taken != 0 ? taken : 1;
    }
    return in->status == TP_DECODE_OK;
}

enum tp_decode_status tp_json_finish_any(struct tp_json *in)
{
    (void)skip_space(in);
    if (in->status == TP_DECODE_OK && in->at != in->end)
        (void)malformed(in);
    return in->status;
}
