/* The runs of json_levels.h. */
#include "proto/encoding/json_levels.h"

#include <assert.h>

#include "proto/encoding/decimal.h"
#include "proto/encoding/digits.h"

#if defined(__x86_64__)

#define HOT_PART static inline __attribute__((always_inline))

enum {
    HALF = 32,
    WINDOW = 2 * HALF, /* in which both numbers of a level must end */
    LOAD_SIZE = WINDOW + TP_DIGITS_TEXT_MAX,
    TEXT_MAX = TP_DIGITS_TEXT_MAX + TP_DECIMAL_HALF,
};
static_assert(2 * TP_LEVEL_LITERAL_MAX + TP_DIGITS_TEXT_MAX < WINDOW,
              "a quantity begins in the window");

struct reader {
    const struct tp_level_form *form;
    const uint8_t *end; /* of the message */
    __m128i head, middle;
    uint32_t head_mask, middle_mask; /* a bit a character */
    uint64_t tail, tail_mask;
    struct tp_digits_columns columns;
};

TP_TARGET_WIDE static inline struct reader
reader_of(const uint8_t *end, const struct tp_level_form *form, const struct tp_scale *scale)
{
    return (struct reader){
        .form = form,
        .end = end,
        .head = tp_digits_load(form->head),
        .middle = tp_digits_load(form->middle),
        .head_mask = (1u << form->head_size) - 1,
        .middle_mask = (1u << form->middle_size) - 1,
        .tail = tp_load_8(form->tail),
        .tail_mask = tp_bytes_low(form->tail_size),
        .columns = tp_digits_columns(tp_decimal_digits(scale->price_exponent),
                                     tp_decimal_digits(scale->quantity_exponent)),
    };
}

/* A bit for each of 32 characters that is a digit or a point (or '/', which is found out later). */
TP_TARGET_WIDE static inline uint32_t numbers_in(const uint8_t *at)
{
    const __m256i from_point =
        _mm256_sub_epi8(_mm256_loadu_si256((const __m256i *)at), _mm256_set1_epi8('.'));
    const __m256i least = _mm256_min_epu8(from_point, _mm256_set1_epi8('9' - '.'));
    return (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(least, from_point));
}

/* Where a level is looked for. Near the message's end no load may go beyond it, and behind it are
 * zeros; so all of `near` is known where it is compiled. */
struct view {
    const uint8_t *at, *end;
    bool is_near;
};

TP_TARGET_WIDE HOT_PART __m128i view_load(struct view view, const uint8_t *at)
{
    return view.is_near ? tp_digits_load_within(at, view.end) : tp_digits_load(at);
}

/* A bit for each character from `at` on that ends a number, behind the message all of them. */
TP_TARGET_WIDE HOT_PART uint64_t view_stops(struct view view)
{
    const uint8_t *const window =
        view.is_near && view.end - view.at < WINDOW ? view.end - WINDOW : view.at;
    const uint64_t numbers = numbers_in(window) | (uint64_t)numbers_in(window + HALF) << HALF;
    return ~(numbers >> (view.at - window));
}

TP_TARGET_WIDE static inline bool is_literal(__m128i characters, __m128i literal, uint32_t mask)
{
    return ((uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(characters, literal)) & mask) == mask;
}

/* Whether a text of more characters than digits.h takes has nothing but zeros there. */
static bool is_zeros_behind(const uint8_t *text, size_t size, const uint8_t *end)
{
    if (size > TEXT_MAX || end - text < TEXT_MAX)
        return false;
    const uint64_t behind = tp_load_8(text + TP_DIGITS_TEXT_MAX) ^ 0x3030303030303030;
    return (behind & tp_bytes_low(size - TP_DIGITS_TEXT_MAX)) == 0;
}

/* RFC 8259 6: a bare number has no zero in front of another digit. */
static inline bool is_bare_number(const uint8_t *at)
{
    return at[0] != '0' || at[1] < '0' || at[1] > '9';
}

/* Whether a bare number ends here, and does not go on as 1e-8 does. */
static inline bool is_bare_end(uint8_t character, uint8_t closing)
{
    return character == closing || character == ',';
}

/* Returns what is behind the quantity, at most the message's end; NULL: this is no level in the
 * form. The head lies in the message. */
TP_TARGET_WIDE HOT_PART const uint8_t *pair_take(const struct reader *reader, struct view view,
                                                 struct tp_level *out)
{
    const struct tp_level_form *const form = reader->form;
    const uint64_t stops = view_stops(view);
    const uint8_t *const price = view.at + form->head_size;
    const uint64_t price_size = _tzcnt_u64(stops >> form->head_size);
    const uint8_t *const quantity = price + price_size + form->middle_size;
    if (!is_literal(view_load(view, view.at), reader->head, reader->head_mask) ||
        price_size >= TP_DIGITS_TEXT_MAX || (view.is_near && quantity >= view.end) ||
        !is_literal(view_load(view, price + price_size), reader->middle, reader->middle_mask))
        return NULL;
    const uint64_t quantity_size = _tzcnt_u64(stops >> (quantity - view.at));
    const uint8_t *const behind = quantity + quantity_size;
    const uint32_t size[2] = {(uint32_t)price_size, quantity_size < TP_DIGITS_TEXT_MAX
                                                        ? (uint32_t)quantity_size
                                                        : TP_DIGITS_TEXT_MAX};
    if (quantity_size > TP_DIGITS_TEXT_MAX && !is_zeros_behind(quantity, quantity_size, view.end))
        return NULL;
    const __m256i characters =
        tp_digits_join_halves(view_load(view, price), view_load(view, quantity));
    if (!tp_digits_level(&reader->columns, characters, size, out) ||
        (view.is_near && behind >= view.end))
        return NULL;
    if (form->is_quoted)
        return *behind == '"' ? behind + 1 : NULL;
    return is_bare_number(price) && is_bare_number(quantity) && is_bare_end(*behind, form->closing)
               ? behind
               : NULL;
}

/* Where the count behind a level's quantity ends; NULL: something else stands there, or the message
 * ends soon. */
static inline const uint8_t *count_leave(const struct reader *reader, const uint8_t *at)
{
    const uint8_t *const digits = at + reader->form->tail_size;
    if (reader->end - at < 2 * TP_LEVEL_TAIL_MAX ||
        (tp_load_8(at) & reader->tail_mask) != reader->tail)
        return NULL;
    /* The lowest mark is exact (decimal.h); seven digits at most, so that one is there. */
    uint64_t others = 0;
    (void)tp_digits_of(tp_load_8(digits), TP_LEVEL_TAIL_MAX, &others);
    const uint32_t size = others != 0 ? (uint32_t)__builtin_ctzll(others) >> 3 : 0;
    return size != 0 && is_bare_number(digits) ? digits + size : NULL;
}

/* A run: where it ended, and whether its last level goes on there. */
struct run {
    uint32_t count;
    const uint8_t *behind;
    bool is_open;
};

/* is_counted: the form's levels end with a count; known where this is compiled. */
TP_TARGET_WIDE HOT_PART struct run run_of(const struct reader *reader, const uint8_t *at,
                                          struct tp_level *levels, uint32_t room, bool is_counted)
{
    const uint8_t closing = reader->form->closing, *const end = reader->end;
    struct run run = {.count = 0, .behind = at};
    ptrdiff_t usual = 0;
    while (run.count < room && end - at > reader->form->head_size) { /* takes a level, or ends */
        const bool is_near = end - at < LOAD_SIZE;
        const uint8_t *behind =
            is_near ? pair_take(reader, (struct view){at, end, true}, &levels[run.count])
                    : pair_take(reader, (struct view){at, end, false}, &levels[run.count]);
        if (is_counted && behind != NULL)
            behind = count_leave(reader, behind);
        if (behind == NULL || behind == end || (*behind != closing && closing != ']'))
            break; /* another key of an object could be one of the two */
        if (behind - at == usual) {
            /* By a branch, which is foreseen: the next level need not wait for this one's end. */
            ptrdiff_t foreseen = usual;
            __asm__ volatile("" : "+r"(foreseen));
            behind = at + foreseen;
        } else {
            usual = behind - at;
        }
        run.is_open = *behind != closing;
        run.behind = behind + !run.is_open;
        run.count++;
        if (run.is_open || run.behind == end || *run.behind != ',')
            break;
        at = run.behind + 1;
    }
    return run;
}

TP_TARGET_WIDE static inline struct run run_take(const struct reader *reader, const uint8_t *at,
                                                 struct tp_level *levels, uint32_t room)
{
    return reader->form->tail_size == 0 ? run_of(reader, at, levels, room, false)
                                        : run_of(reader, at, levels, room, true);
}

/* What a pair has behind its quantity: order counts, times. */
static bool pair_leave(struct tp_json *in)
{
    while (tp_json_item(in))
        if (!tp_json_skip(in))
            return false;
    return in->status == TP_DECODE_OK;
}

TP_TARGET_WIDE static uint32_t levels_run(struct tp_json *in, const struct tp_level_form *form,
                                          const struct tp_scale *scale, struct tp_level *levels,
                                          uint32_t room)
{
    const struct reader reader = reader_of(in->end, form, scale);
    const struct run run = run_take(&reader, in->at, levels, room);
    if (run.count == 0)
        return 0;
    in->at = run.behind;
    in->is_first = false;
    return run.is_open && !pair_leave(in) ? 0 : run.count;
}

/* Whether levels of such a scale can be read here. */
static bool is_supported(const struct tp_json_place *place, const struct tp_scale *scale)
{
    enum { EXPONENT_MIN = 1 - TP_DIGITS_TEXT_MAX };
    return tp_digits_supported() && place->end - place->begin >= WINDOW &&
           scale->price_exponent >= EXPONENT_MIN && scale->quantity_exponent >= EXPONENT_MIN;
}

uint32_t tp_json_levels_run(struct tp_json *in, const struct tp_level_form *form,
                            const struct tp_scale *scale, struct tp_level *levels, uint32_t room)
{
    const struct tp_json_place place = {in->begin, in->at, in->end};
    return is_supported(&place, scale) ? levels_run(in, form, scale, levels, room) : 0;
}

TP_TARGET_WIDE static const uint8_t *levels_take(const struct tp_json_place *place,
                                                 const struct tp_level_form *form,
                                                 const struct tp_scale *scale,
                                                 struct tp_level *levels, uint32_t *count)
{
    const struct reader reader = reader_of(place->end, form, scale);
    const struct run run =
        run_take(&reader, place->at + 1, levels + *count, TP_DEPTH_LEVEL_COUNT_MAX - *count);
    if (run.count == 0 || run.is_open || run.behind == place->end || *run.behind != ']')
        return NULL;
    *count += run.count;
    return run.behind + 1;
}

const uint8_t *tp_json_levels_take(const struct tp_json_place *place,
                                   const struct tp_level_form *form, const struct tp_scale *scale,
                                   struct tp_level *levels, uint32_t *count)
{
    if (place->end - place->at < 2 || place->at[0] != '[')
        return NULL;
    if (place->at[1] == ']')
        return place->at + 2;
    return is_supported(place, scale) ? levels_take(place, form, scale, levels, count) : NULL;
}

#else

uint32_t tp_json_levels_run(struct tp_json *in, const struct tp_level_form *form,
                            const struct tp_scale *scale, struct tp_level *levels, uint32_t room)
{
    (void)in;
    (void)form;
    (void)scale;
    (void)levels;
    (void)room;
    return 0;
}

const uint8_t *tp_json_levels_take(const struct tp_json_place *place,
                                   const struct tp_level_form *form, const struct tp_scale *scale,
                                   struct tp_level *levels, uint32_t *count)
{
    (void)place;
    (void)form;
    (void)scale;
    (void)levels;
    (void)count;
    return NULL;
}

#endif
