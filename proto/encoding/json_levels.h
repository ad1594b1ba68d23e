/* Levels in arrays of JSON, as many at a time as stand there in the venue's usual form.
 *
 * A venue writes all its levels alike: ["16.5","2"], [16.5,2], {"price":16.5,"qty":2}. Its form
 * says what stands in front of the price, between the numbers and behind them, which may be a count
 * that nobody reads: {"px":"16.5","sz":"2","n":7}. Levels without a space, an escape or an exponent
 * are read straight through: one look at 64 characters finds where both numbers end, and digits.h
 * turns them into mantissas side by side, at the instrument's scale.
 *
 * An accelerator and nothing more: it takes the levels that it understands and stops in front of
 * anything else, which the scanner then reads the long way and judges; both give the same numbers.
 * Wants AVX2; elsewhere the scanner does all the work, more slowly. Of arrays of pairs a decoder
 * asks tp_json_levels alone. Another form:
 *   if (!tp_json_levels_whole(&in, &form, &scale, levels, &count) && tp_json_array(&in))
 *       while (tp_json_item(&in))
 *           … tp_json_levels_run, and where it takes none one level by the scanner
 * Called by json.c and the decoders of venues. Any thread. */
#ifndef TP_PROTO_JSON_LEVELS_H
#define TP_PROTO_JSON_LEVELS_H
#include <stdbool.h>
#include <stdint.h>

#include "proto/encoding/json.h"

enum { TP_LEVEL_LITERAL_MAX = 16, TP_LEVEL_TAIL_MAX = 8 };

/* How a venue writes a level. */
struct tp_level_form {
    uint8_t head[TP_LEVEL_LITERAL_MAX]; /* from the level's bracket to the price */
    uint8_t middle[TP_LEVEL_LITERAL_MAX];
    uint32_t head_size, middle_size;
    bool is_quoted; /* the numbers are strings */
    uint8_t closing;
    /* Of an object: what stands between the quantity and a count. tail_size 0: there is none. */
    uint8_t tail[TP_LEVEL_TAIL_MAX];
    uint32_t tail_size;
};

/* head, middle: literals without what closes the quantity. */
#define TP_LEVEL_FORM(head_, middle_, is_quoted_, closing_)                                        \
    {                                                                                              \
        .head = head_, .middle = middle_, .head_size = sizeof(head_) - 1,                          \
        .middle_size = sizeof(middle_) - 1, .is_quoted = is_quoted_, .closing = closing_           \
    }

/* The same of levels that end with a count, a bare number of up to seven digits behind `tail`. */
#define TP_LEVEL_FORM_COUNTED(head_, middle_, tail_, is_quoted_, closing_)                         \
    {                                                                                              \
        .head = head_, .middle = middle_, .head_size = sizeof(head_) - 1,                          \
        .middle_size = sizeof(middle_) - 1, .is_quoted = is_quoted_, .closing = closing_,          \
        .tail = tail_, .tail_size = sizeof(tail_) - 1                                              \
    }

/* To be called where a level begins. Takes levels and the commas between them, at most room;
 * returns how many. 0: the level in hand is in another form. Behind the quantity of a pair whatever
 * follows is skipped; an object has the keys of its form and no other. */
uint32_t tp_json_levels_run(struct tp_json *in, const struct tp_level_form *form,
                            const struct tp_scale *scale, struct tp_level *levels, uint32_t room);
/* To be called where an array begins. Takes all of it or nothing: appends to
 * levels[*count, TP_DEPTH_LEVEL_COUNT_MAX) and returns what is behind the closing bracket; NULL: it
 * has something in another form. */
const uint8_t *tp_json_levels_take(const struct tp_json_place *place,
                                   const struct tp_level_form *form, const struct tp_scale *scale,
                                   struct tp_level *levels, uint32_t *count);

/* The same, of the scanner's place. */
static inline bool tp_json_levels_whole(struct tp_json *in, const struct tp_level_form *form,
                                        const struct tp_scale *scale, struct tp_level *levels,
                                        uint32_t *count)
{
    const struct tp_json_place place = {in->begin, in->at, in->end};
    const uint8_t *const behind = tp_json_levels_take(&place, form, scale, levels, count);
    if (behind == NULL)
        return false;
    in->at = behind;
    in->is_first = false;
    return true;
}
#endif
