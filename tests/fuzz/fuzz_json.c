/* sources: proto/encoding/json_plain.c proto/encoding/json.c proto/encoding/json_levels.c proto/encoding/digits.c proto/encoding/decimal.c */
/* Any bytes as JSON.
 *
 * Invariants: skipping a value and walking through it with a stack of our own say the same; every
 * text lies inside the message; bytes behind the message change nothing; levels that were read are
 * not negative, no more than the bytes could hold, and the same one by one by the scanner; a text
 * without its escapes is no longer, read as the text was, and has none that could go. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/encoding/json.h"
#include "proto/encoding/json_levels.h"
#include "proto/encoding/json_plain.h"

enum { SLACK = 64, LEVEL_SIZE_MIN = 6 }; /* [1,1], */

static struct tp_level levels[2][TP_DEPTH_LEVEL_COUNT_MAX];

static void require(int condition)
{
    if (!condition)
        abort();
}

static void require_inside(const struct tp_json *in, const uint8_t *data, struct tp_text text)
{
    require(text.at >= data && text.at <= in->end && text.size <= (size_t)(in->end - text.at));
}

static void walk_simple(struct tp_json *in, const uint8_t *data)
{
    struct tp_text text;
    bool truth;
    switch (tp_json_peek(in)) {
    case TP_JSON_STRING:
    case TP_JSON_NUMBER:
        if (tp_json_scalar(in, &text))
            require_inside(in, data, text);
        break;
    case TP_JSON_TRUE:
    case TP_JSON_FALSE:
        (void)tp_json_bool(in, &truth);
        break;
    default:
        (void)tp_json_skip(in); /* null, or a fault */
    }
}

/* The same value as tp_json_skip takes, by the calls that decoders make. */
static void walk(struct tp_json *in, const uint8_t *data)
{
    bool is_object[TP_JSON_DEPTH_MAX];
    unsigned depth = 0;
    struct tp_text key;
    do {
        const enum tp_json_kind kind = tp_json_peek(in);
        if (kind == TP_JSON_OBJECT || kind == TP_JSON_ARRAY) {
            if (depth == TP_JSON_DEPTH_MAX) {
                (void)tp_json_fail(in, TP_DECODE_TOO_MANY);
                return;
            }
            is_object[depth++] = kind == TP_JSON_OBJECT;
            (void)(kind == TP_JSON_OBJECT ? tp_json_object(in) : tp_json_array(in));
        } else {
            walk_simple(in, data);
        }
        while (depth > 0 && in->status == TP_DECODE_OK) {
            if (is_object[depth - 1] ? tp_json_key(in, &key) : tp_json_item(in)) {
                if (is_object[depth - 1])
                    require_inside(in, data, key);
                break;
            }
            depth -= in->status == TP_DECODE_OK;
        }
    } while (depth > 0 && in->status == TP_DECODE_OK);
}

static enum tp_decode_status check_skip(const uint8_t *data, size_t size)
{
    struct tp_json skipped, walked;
    tp_json_init(&skipped, data, size);
    tp_json_init(&walked, data, size);
    (void)tp_json_skip(&skipped);
    walk(&walked, data);
    require(skipped.at == walked.at);
    const enum tp_decode_status status = tp_json_finish(&skipped);
    require(status == tp_json_finish(&walked));
    require(status <= TP_DECODE_TOO_MANY);
    return status;
}

static void check_plain(const uint8_t *data, size_t size, enum tp_decode_status status)
{
    uint8_t *const plain = malloc(size + 1), *const again = malloc(size + 1);
    require(plain != NULL && again != NULL);
    const size_t plain_size = tp_json_plain(data, size, plain);
    require(plain_size <= size);
    require(tp_json_plain(plain, plain_size, again) == plain_size);
    require(memcmp(plain, again, plain_size) == 0);
    memcpy(again, data, size);
    require(tp_json_plain(again, size, again) == plain_size);
    require(memcmp(plain, again, plain_size) == 0);
    require((check_skip(plain, plain_size) == TP_DECODE_OK) == (status == TP_DECODE_OK));
    free(plain);
    free(again);
}

static struct tp_scale scale_of(size_t size)
{
    return (struct tp_scale){-(int32_t)(size % 19), -(int32_t)(size / 19 % 19)};
}

static enum tp_decode_status read_levels(const uint8_t *data, size_t size, int which,
                                         uint32_t *count)
{
    const struct tp_scale scale = scale_of(size);
    struct tp_json in;
    tp_json_init(&in, data, size);
    *count = 0;
    (void)tp_json_levels(&in, &scale, levels[which], count);
    return tp_json_finish(&in);
}

/* The levels of an array, each by the scanner's numbers alone. */
static enum tp_decode_status walk_levels(const uint8_t *data, size_t size, struct tp_level *out,
                                         uint32_t *count)
{
    const struct tp_scale scale = scale_of(size);
    struct tp_json in;
    tp_json_init(&in, data, size);
    *count = 0;
    (void)tp_json_array(&in);
    while (tp_json_item(&in)) {
        if (*count == TP_DEPTH_LEVEL_COUNT_MAX)
            (void)tp_json_fail(&in, TP_DECODE_TOO_MANY);
        else if (!tp_json_array(&in) || !tp_json_item(&in) ||
                 !tp_json_scaled(&in, &scale, TP_NUMBER_PRICE, &out[*count].price) ||
                 !tp_json_item(&in) ||
                 !tp_json_scaled(&in, &scale, TP_NUMBER_QUANTITY, &out[*count].quantity))
            (void)tp_json_fail(&in, TP_DECODE_MALFORMED);
        while (tp_json_item(&in))
            (void)tp_json_skip(&in);
        *count += in.status == TP_DECODE_OK;
    }
    return tp_json_finish(&in);
}

static const struct tp_level_form object_form =
    TP_LEVEL_FORM("{\"price\":", ",\"qty\":", false, '}');

/* One level as an object, keys in any order, by the scanner. */
static void walk_object(struct tp_json *in, const struct tp_scale *scale, struct tp_level *out)
{
    struct tp_text key;
    bool price = false, quantity = false;
    (void)tp_json_object(in);
    while (tp_json_key(in, &key)) {
        if (tp_text_is(key, "price"))
            price = tp_json_scaled(in, scale, TP_NUMBER_PRICE, &out->price);
        else if (tp_text_is(key, "qty"))
            quantity = tp_json_scaled(in, scale, TP_NUMBER_QUANTITY, &out->quantity);
        else
            (void)tp_json_skip(in);
    }
    if (!price || !quantity)
        (void)tp_json_fail(in, TP_DECODE_MALFORMED);
}

/* An array of such levels; is_quick: by runs, where there are any. */
static enum tp_decode_status read_objects(const uint8_t *data, size_t size, bool is_quick,
                                          uint32_t *count)
{
    const struct tp_scale scale = scale_of(size);
    struct tp_level *const out = levels[!is_quick];
    struct tp_json in;
    tp_json_init(&in, data, size);
    *count = 0;
    if (is_quick && tp_json_levels_whole(&in, &object_form, &scale, out, count))
        return tp_json_finish(&in);
    (void)tp_json_array(&in);
    while (tp_json_item(&in)) {
        uint32_t taken = 0;
        const uint32_t room = TP_DEPTH_LEVEL_COUNT_MAX - *count;
        if (room == 0)
            return TP_DECODE_TOO_MANY;
        if (is_quick)
            taken = tp_json_levels_run(&in, &object_form, &scale, out + *count, room);
        if (taken == 0)
            walk_object(&in, &scale, &out[*count]);
        *count += taken != 0 ? taken : 1;
    }
    return tp_json_finish(&in);
}

static void check_same(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        require(levels[0][i].price >= 0 && levels[0][i].quantity >= 0);
        require(levels[0][i].price == levels[1][i].price);
        require(levels[0][i].quantity == levels[1][i].quantity);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *longer = malloc(size + SLACK);
    require(longer != NULL);
    memcpy(longer, data, size);
    memset(longer + size, '"', SLACK);
    const enum tp_decode_status skipped = check_skip(data, size);
    require(skipped == check_skip(longer, size));
    check_plain(data, size, skipped);
    uint32_t count, again;
    const enum tp_decode_status status = read_levels(data, size, 0, &count);
    require((size_t)count * LEVEL_SIZE_MIN <= size + 1);
    require(status == read_levels(longer, size, 1, &again) && count == again);
    check_same(count);
    require(status == walk_levels(data, size, levels[1], &again));
    if (status == TP_DECODE_OK) {
        require(count == again);
        check_same(count);
    }
    const enum tp_decode_status objects = read_objects(data, size, true, &count);
    require(objects == read_objects(data, size, false, &again));
    if (objects == TP_DECODE_OK) {
        require(count == again);
        check_same(count);
    }
    free(longer);
    return 0;
}
