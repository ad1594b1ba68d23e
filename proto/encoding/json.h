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

#include "proto/encoding/status.h"
#include "proto/encoding/text.h"
#include "proto/update.h"

enum { TP_JSON_DEPTH_MAX = 64 }; /* nesting of what tp_json_skip skips */

struct tp_json {
    const uint8_t *at, *end;
    bool is_first; /* no value of the container in hand was taken yet: no comma is due */
    enum tp_decode_status status;
    struct tp_misfit misfit; /* the number that is the fault, where one is */
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

void tp_json_init(struct tp_json *in, const uint8_t *data, size_t size);
/* What begins here; takes nothing but white space. */
enum tp_json_kind tp_json_peek(struct tp_json *in);
/* Enters an object. */
bool tp_json_object(struct tp_json *in);
/* The next key of the object in hand, its value to be taken next; false: the object ended, or a
 * fault. */
bool tp_json_key(struct tp_json *in, struct tp_text *key);
/* Enters an array. */
bool tp_json_array(struct tp_json *in);
/* Whether the array in hand has another item, to be taken next; false: it ended, or a fault. */
bool tp_json_item(struct tp_json *in);
bool tp_json_string(struct tp_json *in, struct tp_text *out);
bool tp_json_number(struct tp_json *in, struct tp_text *out);
/* A string or a number, whichever the venue writes: "0.5" and 0.5 alike. */
bool tp_json_scalar(struct tp_json *in, struct tp_text *out);
bool tp_json_bool(struct tp_json *in, bool *out);
/* Digits only, as a number or a string; a fault otherwise. */
bool tp_json_unsigned(struct tp_json *in, uint64_t *out);
/* A decimal as a number or a string, exponents as in 1.5E-7 included; where the mantissa cannot
 * hold it exactly the status says why, and misfit which it is. */
bool tp_json_decimal(struct tp_json *in, int32_t exponent, int64_t *out);
/* The same of a price or a quantity. */
bool tp_json_scaled(struct tp_json *in, const struct tp_scale *scale, enum tp_number kind,
                    int64_t *out);
/* Any value, whatever is in it. */
bool tp_json_skip(struct tp_json *in);
/* An array of levels [price, quantity, …]; what follows the quantity is skipped. Appends to
 * levels[*count, TP_DEPTH_LEVEL_COUNT_MAX). */
bool tp_json_levels(struct tp_json *in, const struct tp_scale *scale, struct tp_level *levels,
                    uint32_t *count);
/* Says that the decoder itself found a fault; the first one stays. Returns false. */
bool tp_json_fail(struct tp_json *in, enum tp_decode_status status);
/* The status; malformed where anything but white space follows the value. */
enum tp_decode_status tp_json_finish(struct tp_json *in);

/* name: a literal of the caller's, at most as long as a key. */
static inline bool tp_text_is(struct tp_text text, const char *name)
{
    const size_t size = strlen(name);
    return text.size == size && memcmp(text.at, name, size) == 0;
}
#endif
