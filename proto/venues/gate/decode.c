/* The readers of decode.h: key by key, in any order. Source: README.md here. */
#include "proto/venues/gate/decode.h"

#include <string.h>

#include "proto/encoding/decimal.h"
#include "proto/encoding/json_levels.h"

#define HOT_PART static inline __attribute__((always_inline))

static const uint64_t NS_PER_MS = 1000000, NS_PER_S = 1000000000;
enum { MS_EXPONENT = -6, MS_DIGITS = 6 }; /* nanoseconds of a time in milliseconds */

/* What a body must have; one of each kind has each once. */
enum field {
    FIELD_FIRST = 0x1,
    FIELD_LAST = 0x2,
    FIELD_BIDS = 0x4,
    FIELD_ASKS = 0x8,
    FIELD_NAME = 0x10,
    FIELD_WINDOW = 0x20, /* of obu, whose levels that leave it are said to be gone */
    FIELD_DELTA = FIELD_FIRST | FIELD_LAST,
    FIELD_BID_PRICE = 0x40,
    FIELD_BID_QUANTITY = 0x80,
    FIELD_ASK_PRICE = 0x100,
    FIELD_ASK_QUANTITY = 0x200,
    FIELD_TOP =
        FIELD_LAST | FIELD_BID_PRICE | FIELD_BID_QUANTITY | FIELD_ASK_PRICE | FIELD_ASK_QUANTITY,
    FIELD_PRICE = 0x400,
    FIELD_QUANTITY = 0x800,
    FIELD_SIDE = 0x1000,
    FIELD_TRADE = FIELD_PRICE | FIELD_QUANTITY | FIELD_SIDE,
};

HOT_PART bool take_time(struct tp_json *in, uint64_t unit_ns, uint64_t *out_ns)
{
    uint64_t time;
    if (!tp_json_unsigned(in, &time))
        return false;
    if (time > UINT64_MAX / unit_ns)
        return tp_json_fail(in, TP_DECODE_BAD_NUMBER);
    *out_ns = time * unit_ns;
    return true;
}

/* Of thirteen digits: first in its body, where the scanner has no room to look back for its own
 * quick way. */
HOT_PART bool take_ms(struct tp_json *in, uint64_t *out_ns)
{
    enum { USUAL = 13 };
    const uint8_t *const at = in->at;
    uint64_t time_ms;
    if (in->end - at < TP_JSON_LOAD_SIZE || *at == '0' || tp_json_digits_size(at) != USUAL ||
        at[USUAL] != ',' || !tp_version_parse(at, USUAL, &time_ms))
        return take_time(in, NS_PER_MS, out_ns);
    in->at = at + USUAL;
    *out_ns = time_ms * NS_PER_MS;
    return true;
}

/* A key that is read by nobody here. One with an escape could be any of those that are: no venue
 * writes it, and whoever did would be read otherwise by others than by us. */
static unsigned skip_field(struct tp_json *in, struct tp_text key)
{
    if (memchr(key.at, '\\', key.size) != NULL)
        (void)tp_json_fail(in, TP_DECODE_MALFORMED);
    else
        (void)tp_json_skip(in);
    return 0;
}

/* Behind the object: what else the message has, but for its last brace. */
static void leave(struct tp_json *in)
{
    struct tp_text key;
    while (tp_json_peek(in) != TP_JSON_NONE || in->at != in->end) /* takes a key and its value */
        if (!tp_json_key(in, &key))
            (void)tp_json_fail(in, TP_DECODE_MALFORMED);
        else if (tp_text_is(key, "result") || tp_text_is(key, "channel") ||
                 tp_text_is(key, "event"))
            (void)tp_json_fail(in, TP_DECODE_MALFORMED); /* which of the two would hold? */
        else
            (void)skip_field(in, key);
}

/* seen, wanted: enum field. */
static enum tp_decode_status finish(struct tp_json *in, const struct tp_body *body, unsigned seen,
                                    unsigned wanted)
{
    if (in->at != in->end)
        leave(in);
    const enum tp_decode_status status = tp_json_finish(in);
    if (status == TP_DECODE_OK)
        return (seen & wanted) == wanted ? TP_DECODE_OK : TP_DECODE_UNKNOWN;
    tp_body_misfit(body, in->misfit);
    return status;
}

/* ---- levels */

/* With the header that asks for fractions, sizes of contracts are strings too. */
static const struct tp_level_form object_form =
    TP_LEVEL_FORM("{\"p\":\"", "\",\"s\":\"", true, '}');

static bool take_object(struct tp_json *in, const struct tp_scale *scale, struct tp_level *out)
{
    struct tp_text key;
    bool price = false, quantity = false;
    (void)tp_json_object(in);
    while (tp_json_key(in, &key))
        if (tp_text_is(key, "p"))
            price = tp_json_scaled(in, scale, TP_NUMBER_PRICE, &out->price);
        else if (tp_text_is(key, "s"))
            quantity = tp_json_scaled(in, scale, TP_NUMBER_QUANTITY, &out->quantity);
        else
            (void)skip_field(in, key);
    return in->status == TP_DECODE_OK &&
           ((price && quantity) || tp_json_fail(in, TP_DECODE_MALFORMED));
}

static bool take_objects(struct tp_json *in, const struct tp_scale *scale, struct tp_level *levels,
                         uint32_t *count)
{
    if (tp_json_levels_whole(in, &object_form, scale, levels, count))
        return true;
    if (!tp_json_array(in))
        return false;
    while (tp_json_item(in)) {
        if (*count >= TP_DEPTH_LEVEL_COUNT_MAX)
            return tp_json_fail(in, TP_DECODE_TOO_MANY);
        const uint32_t taken = tp_json_levels_run(in, &object_form, scale, levels + *count,
                                                  TP_DEPTH_LEVEL_COUNT_MAX - *count);
        if (taken == 0 && !take_object(in, scale, &levels[*count]))
            return false;
        *count += taken != 0 ? taken : 1;
    }
    return in->status == TP_DECODE_OK;
}

/* Whether the first level of the array that begins here is an object. */
static bool are_objects(const struct tp_json *in)
{
    struct tp_json copy = *in;
    return tp_json_array(&copy) && tp_json_item(&copy) && tp_json_peek(&copy) == TP_JSON_OBJECT;
}

/* Of a key that stands twice the last counts, as with other readers. */
HOT_PART bool take_side(struct tp_json *in, const struct tp_scale *scale, struct tp_level *levels,
                        uint32_t *count)
{
    *count = 0;
    const bool are_pairs = in->end - in->at > 1 && in->at[0] == '[' && in->at[1] == '[';
    return are_pairs || !are_objects(in) ? tp_json_levels(in, scale, levels, count)
                                         : take_objects(in, scale, levels, count);
}

/* ---- books */

HOT_PART unsigned take_name(struct tp_json *in, unsigned seen)
{
    struct tp_text name;
    if ((seen & FIELD_NAME) != 0) /* it was routed by the first one */
        (void)tp_json_fail(in, TP_DECODE_MALFORMED);
    if (!tp_gate_string(in, &name))
        return 0;
    const bool is_window = name.size > 3 && memcmp(name.at, "ob.", 3) == 0;
    return FIELD_NAME | (is_window ? FIELD_WINDOW : 0);
}

static void take_full(struct tp_json *in, struct tp_depth_update *out)
{
    bool is_full;
    (void)tp_json_peek(in);
    if (tp_json_bool(in, &is_full))
        out->flags = is_full ? TP_DEPTH_BASE : 0;
}

HOT_PART unsigned depth_field(struct tp_json *in, struct tp_text key, const struct tp_scale *scale,
                              struct tp_depth_update *out, unsigned seen)
{
    switch (key.size == 1 ? key.at[0] : 0) {
    case 't':
        (void)take_ms(in, &out->exchange_ns);
        return 0;
    case 's':
        return take_name(in, seen);
    case 'U':
        return tp_json_unsigned(in, &out->first_version) ? FIELD_FIRST : 0;
    case 'u':
        return tp_json_unsigned(in, &out->last_version) ? FIELD_LAST : 0;
    case 'b':
        return take_side(in, scale, out->bids, &out->bid_count) ? FIELD_BIDS : 0;
    case 'a':
        return take_side(in, scale, out->asks, &out->ask_count) ? FIELD_ASKS : 0;
    default:
        if (!tp_text_is(key, "full"))
            return skip_field(in, key);
        take_full(in, out);
        return 0;
    }
}

/* A message without levels moves the number alone; a whole book has a side at least. */
static enum tp_decode_status complete(struct tp_depth_update *out, unsigned seen)
{
    if (out->flags == 0) {
        if ((seen & FIELD_DELTA) != FIELD_DELTA)
            return TP_DECODE_UNKNOWN;
        return out->first_version <= out->last_version ? TP_DECODE_OK : TP_DECODE_BAD_NUMBER;
    }
    if ((seen & FIELD_LAST) == 0 || (seen & (FIELD_BIDS | FIELD_ASKS)) == 0)
        return TP_DECODE_UNKNOWN;
    out->first_version = out->last_version;
    out->flags |= (seen & FIELD_WINDOW) != 0 ? 0 : TP_DEPTH_TRUNCATED;
    return TP_DECODE_OK;
}

/* ---- best prices */

/* An empty side has no price: "". */
static unsigned take_best_price(struct tp_json *in, const struct tp_scale *scale, unsigned field,
                                int64_t *out)
{
    (void)tp_json_peek(in);
    if (tp_json_is(in, "\"\"")) {
        *out = 0;
        return field;
    }
    return tp_json_scaled(in, scale, TP_NUMBER_PRICE, out) ? field : 0;
}

static unsigned take_best_quantity(struct tp_json *in, const struct tp_scale *scale, unsigned field,
                                   int64_t *out)
{
    return tp_json_scaled(in, scale, TP_NUMBER_QUANTITY, out) ? field : 0;
}

static unsigned top_field(struct tp_json *in, struct tp_text key, const struct tp_scale *scale,
                          struct tp_depth_update *out)
{
    switch (key.size == 1 ? key.at[0] : 0) {
    case 't':
        (void)take_ms(in, &out->exchange_ns);
        return 0;
    case 'u':
        return tp_json_unsigned(in, &out->last_version) ? FIELD_LAST : 0;
    case 'b':
        return take_best_price(in, scale, FIELD_BID_PRICE, &out->bids[0].price);
    case 'B':
        return take_best_quantity(in, scale, FIELD_BID_QUANTITY, &out->bids[0].quantity);
    case 'a':
        return take_best_price(in, scale, FIELD_ASK_PRICE, &out->asks[0].price);
    case 'A':
        return take_best_quantity(in, scale, FIELD_ASK_QUANTITY, &out->asks[0].quantity);
    default:
        return skip_field(in, key);
    }
}

static enum tp_decode_status decode_top(const struct tp_body *body, struct tp_depth_update *out)
{
    struct tp_json in;
    struct tp_text key;
    unsigned seen = 0;
    tp_json_init(&in, body->data, body->size);
    (void)tp_json_object(&in);
    while (tp_json_key(&in, &key))
        seen |= top_field(&in, key, &body->scale, out);
    const enum tp_decode_status status = finish(&in, body, seen, FIELD_TOP);
    if (status != TP_DECODE_OK)
        return status;
    out->flags = TP_DEPTH_TOP;
    out->first_version = out->last_version;
    out->bid_count = out->bids[0].price != 0 && out->bids[0].quantity != 0;
    out->ask_count = out->asks[0].price != 0 && out->asks[0].quantity != 0;
    return TP_DECODE_OK;
}

enum tp_decode_status tp_gate_decode_depth(const struct tp_body *body, struct tp_depth_update *out)
{
    struct tp_json in;
    struct tp_text key;
    unsigned seen = 0;
    memset(out, 0, offsetof(struct tp_depth_update, bids));
    if (body->meaning == TP_MEANING_TOP)
        return decode_top(body, out);
    tp_json_init(&in, body->data, body->size);
    (void)tp_json_object(&in);
    while (tp_json_key(&in, &key))
        seen |= depth_field(&in, key, &body->scale, out, seen);
    const enum tp_decode_status status = finish(&in, body, seen, 0);
    return status == TP_DECODE_OK ? complete(out, seen) : status;
}

/* ---- the numbers of a book's message whose levels were refused */

static unsigned version_field(struct tp_json *in, struct tp_text key, struct tp_depth_update *out)
{
    if (tp_text_is(key, "U"))
        return tp_json_unsigned(in, &out->first_version) ? FIELD_FIRST : 0;
    if (tp_text_is(key, "u"))
        return tp_json_unsigned(in, &out->last_version) ? FIELD_LAST : 0;
    if (!tp_text_is(key, "full"))
        return skip_field(in, key);
    take_full(in, out);
    return 0;
}

bool tp_gate_read_versions(const struct tp_body *body, struct tp_depth_update *out)
{
    struct tp_json in;
    struct tp_text key;
    unsigned seen = 0, sure = 0;
    tp_json_init(&in, body->data, body->size);
    (void)tp_json_object(&in);
    out->previous_version = 0;
    out->flags = 0;
    while (tp_json_key(&in, &key)) {
        sure = seen; /* a number that ends where the message was cut could go on */
        seen |= version_field(&in, key, out);
    }
    if (in.status == TP_DECODE_OK)
        sure = seen;
    if (out->flags != 0 && (sure & FIELD_LAST) != 0) {
        out->first_version = out->last_version;
        return true;
    }
    return (sure & FIELD_DELTA) == FIELD_DELTA && out->first_version <= out->last_version;
}

/* ---- trades */

/* Milliseconds, on spot with a fraction; finer than a nanosecond is left out. */
static void take_fine_time(struct tp_json *in, uint64_t *out_ns)
{
    struct tp_text text;
    int64_t time_ns;
    if (!tp_json_scalar(in, &text))
        return;
    const uint8_t *const point = memchr(text.at, '.', text.size);
    const size_t most = point == NULL ? text.size : (size_t)(point - text.at) + 1 + MS_DIGITS;
    if (tp_decimal_parse(text.at, text.size < most ? text.size : most, MS_EXPONENT, &time_ns))
        *out_ns = (uint64_t)time_ns;
    else
        (void)tp_json_fail(in, TP_DECODE_BAD_NUMBER);
}

static unsigned take_taker(struct tp_json *in, struct tp_trade *trade)
{
    struct tp_text side;
    if (!tp_json_string(in, &side))
        return 0;
    const bool sold = tp_text_is(side, "sell");
    trade->flags = sold ? TP_TRADE_SELL : 0;
    return sold || tp_text_is(side, "buy") ? FIELD_SIDE : 0;
}

/* Contracts: below 0 where who took sold. */
static unsigned take_size(struct tp_json *in, const struct tp_scale *scale, struct tp_trade *trade)
{
    struct tp_text text;
    if (!tp_json_scalar(in, &text))
        return 0;
    trade->flags = text.size > 1 && text.at[0] == '-' ? TP_TRADE_SELL : 0;
    if (trade->flags != 0)
        text = (struct tp_text){text.at + 1, text.size - 1};
    if (tp_decimal_parse_scientific(text.at, text.size, scale->quantity_exponent, &trade->quantity))
        return FIELD_QUANTITY | FIELD_SIDE;
    in->misfit = (struct tp_misfit){.text = text, .kind = TP_NUMBER_QUANTITY};
    (void)tp_json_fail(in, tp_decimal_refusal(text, scale->quantity_exponent, true));
    return 0;
}

/* second_ns: of create_time, which counts where nothing finer is there. */
static unsigned trade_field(struct tp_json *in, struct tp_text key, const struct tp_scale *scale,
                            struct tp_trade *trade, uint64_t *second_ns)
{
    if (tp_text_is(key, "price"))
        return tp_json_scaled(in, scale, TP_NUMBER_PRICE, &trade->price) ? FIELD_PRICE : 0;
    if (tp_text_is(key, "amount"))
        return tp_json_scaled(in, scale, TP_NUMBER_QUANTITY, &trade->quantity) ? FIELD_QUANTITY : 0;
    if (tp_text_is(key, "side"))
        return take_taker(in, trade);
    if (tp_text_is(key, "size"))
        return take_size(in, scale, trade);
    if (tp_text_is(key, "create_time_ms"))
        take_fine_time(in, &trade->exchange_ns);
    else if (tp_text_is(key, "create_time"))
        (void)take_time(in, NS_PER_S, second_ns);
    else if (tp_text_is(key, "id"))
        (void)tp_json_unsigned(in, &trade->id);
    else
        (void)skip_field(in, key);
    return 0;
}

enum tp_decode_status tp_gate_decode_trades(const struct tp_body *body, struct tp_trade_update *out)
{
    struct tp_json in;
    struct tp_text key;
    unsigned seen = 0;
    uint64_t second_ns = 0;
    struct tp_trade *const trade = &out->trades[0];
    memset(out, 0, offsetof(struct tp_trade_update, trades) + sizeof *trade);
    tp_json_init(&in, body->data, body->size);
    (void)tp_json_object(&in);
    while (tp_json_key(&in, &key))
        seen |= trade_field(&in, key, &body->scale, trade, &second_ns);
    if (trade->exchange_ns == 0)
        trade->exchange_ns = second_ns;
    out->exchange_ns = trade->exchange_ns;
    out->count = 1;
    return finish(&in, body, seen, FIELD_TRADE);
}
