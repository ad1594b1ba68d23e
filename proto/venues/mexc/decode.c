/* MEXC push messages to fixed point: one pass over the bytes, nothing allocated.
 *
 * Bottom first: the depth bodies (body_decode, level_decode), then the wrapper
 * (tp_mexc_decode_body). Called by venue.c; calls proto/encoding. Any thread.
 * Source: README.md here for MEXC's fields and for the ways in which this reader is deliberately
 * stricter or looser than Google's. */
#include "proto/venues/mexc/decode.h"

#include <string.h>

#include "proto/encoding/decimal.h"
#include "proto/encoding/protobuf.h"
#include "proto/venues/mexc/levels.h"

/* Whole tags, number << TP_PROTOBUF_FIELD_SHIFT | wire type: a known number with another type is an
 * unknown field, as protobuf has it. */
enum {
    WRAPPER_CREATE_TIME = 5 << TP_PROTOBUF_FIELD_SHIFT | TP_PROTOBUF_VARINT,
    WRAPPER_SEND_TIME = 6 << TP_PROTOBUF_FIELD_SHIFT | TP_PROTOBUF_VARINT,
    BODY_FIRST = 301 << TP_PROTOBUF_FIELD_SHIFT | TP_PROTOBUF_BYTES,
    BODY_INCREASE_DEPTHS = 302 << TP_PROTOBUF_FIELD_SHIFT | TP_PROTOBUF_BYTES,
    BODY_LIMIT_DEPTHS = 303 << TP_PROTOBUF_FIELD_SHIFT | TP_PROTOBUF_BYTES,
    BODY_BOOK_TICKER = 305 << TP_PROTOBUF_FIELD_SHIFT | TP_PROTOBUF_BYTES,
    BODY_TICKER_BATCH = 311 << TP_PROTOBUF_FIELD_SHIFT | TP_PROTOBUF_BYTES,
    BODY_DEPTHS_BATCH = 312 << TP_PROTOBUF_FIELD_SHIFT | TP_PROTOBUF_BYTES,
    BODY_AGGRE_DEPTHS = 313 << TP_PROTOBUF_FIELD_SHIFT | TP_PROTOBUF_BYTES,
    BODY_AGGRE_BOOK_TICKER = 315 << TP_PROTOBUF_FIELD_SHIFT | TP_PROTOBUF_BYTES,
    BODY_LAST = BODY_AGGRE_BOOK_TICKER,
};
enum {
    DEPTH_ASKS = 1 << TP_PROTOBUF_FIELD_SHIFT | TP_PROTOBUF_BYTES,
    DEPTH_BIDS = 2 << TP_PROTOBUF_FIELD_SHIFT | TP_PROTOBUF_BYTES,
    DEPTH_VERSION = 4 << TP_PROTOBUF_FIELD_SHIFT | TP_PROTOBUF_BYTES,
    DEPTH_TO_VERSION = 5 << TP_PROTOBUF_FIELD_SHIFT | TP_PROTOBUF_BYTES,
};
enum {
    ITEM_PRICE = 1 << TP_PROTOBUF_FIELD_SHIFT | TP_PROTOBUF_BYTES,
    ITEM_QUANTITY = 2 << TP_PROTOBUF_FIELD_SHIFT | TP_PROTOBUF_BYTES,
};
enum {
    TICKER_BID_PRICE = 1 << TP_PROTOBUF_FIELD_SHIFT | TP_PROTOBUF_BYTES,
    TICKER_BID_QUANTITY = 2 << TP_PROTOBUF_FIELD_SHIFT | TP_PROTOBUF_BYTES,
    TICKER_ASK_PRICE = 3 << TP_PROTOBUF_FIELD_SHIFT | TP_PROTOBUF_BYTES,
    TICKER_ASK_QUANTITY = 4 << TP_PROTOBUF_FIELD_SHIFT | TP_PROTOBUF_BYTES,
    TICKER_VERSION = 5 << TP_PROTOBUF_FIELD_SHIFT | TP_PROTOBUF_BYTES,
};
enum {
    BATCH_ITEM = 1 << TP_PROTOBUF_FIELD_SHIFT | TP_PROTOBUF_BYTES,
    TICKER_BATCH_VERSION = 2 << TP_PROTOBUF_FIELD_SHIFT | TP_PROTOBUF_BYTES,
};

static const uint64_t NANOSECONDS_PER_MS = 1000000;

enum body_kind { BODY_OTHER, BODY_DEPTH, BODY_TICKER, BODY_EMPTY_BATCH };

/* The numbers of a batch's items so far: a whole range where each is one more than the one before.
 */
struct chain {
    uint64_t first, last;
    bool is_begun, is_ascending, has_hole;
};

/* What a body says besides its levels. Parsed when the message has ended, since the last occurrence
 * of a field is the one that counts. */
struct body {
    uint32_t tag; /* the oneof's member; 0: none yet */
    enum body_kind kind;
    uint32_t flags; /* of the update */
    struct tp_text first_version, last_version;
    struct chain chain;                                              /* of batches of depths only */
    struct tp_text bid_price, bid_quantity, ask_price, ask_quantity; /* tickers only */
};

static bool number_parse(const struct tp_mexc_levels *d, struct tp_text text, uint32_t digits,
                         int64_t *out)
{
    const struct tp_decimal_scale scale = tp_decimal_scale(-(int32_t)digits);
    if (d->message_end - text.at >= TP_DECIMAL_LOAD_SIZE)
        return tp_decimal_parse_loadable(text.at, text.size, &scale, out);
    return tp_decimal_parse(text.at, text.size, -(int32_t)digits, out);
}

static enum tp_decode_status number_refuse(const struct tp_mexc_levels *d, struct tp_text text,
                                           uint32_t digits, enum tp_number kind)
{
    tp_body_misfit(d->body, (struct tp_misfit){.text = text, .kind = kind});
    return tp_decimal_refusal(text, -(int32_t)digits, false);
}

static enum tp_decode_status level_store(const struct tp_mexc_levels *d, struct tp_text price,
                                         struct tp_text quantity, struct tp_level *out)
{
    if (price.at == NULL || quantity.at == NULL)
        return TP_DECODE_BAD_NUMBER;
    if (!number_parse(d, price, d->price_digits, &out->price))
        return number_refuse(d, price, d->price_digits, TP_NUMBER_PRICE);
    if (!number_parse(d, quantity, d->quantity_digits, &out->quantity))
        return number_refuse(d, quantity, d->quantity_digits, TP_NUMBER_QUANTITY);
    return TP_DECODE_OK;
}

static enum tp_decode_status level_decode(const struct tp_mexc_levels *d, struct tp_text item,
                                          struct tp_level *out)
{
    struct tp_protobuf in = tp_protobuf_inside(item);
    struct tp_text price = {NULL, 0}, quantity = {NULL, 0};
    while (in.at < in.end) {
        struct tp_protobuf_field field;
        const enum tp_decode_status status = tp_protobuf_nested_next(&in, &field);
        if (status != TP_DECODE_OK)
            return status;
        if (field.tag == ITEM_PRICE)
            price = field.bytes;
        else if (field.tag == ITEM_QUANTITY)
            quantity = field.bytes;
    }
    return level_store(d, price, quantity, out);
}

static enum tp_decode_status level_append(const struct tp_mexc_levels *d, bool ask,
                                          struct tp_text item)
{
    uint32_t *count = ask ? &d->out->ask_count : &d->out->bid_count;
    struct tp_level *levels = ask ? d->out->asks : d->out->bids;
    if (*count == TP_DEPTH_LEVEL_COUNT_MAX)
        return TP_DECODE_TOO_MANY;
    const enum tp_decode_status status = level_decode(d, item, &levels[*count]);
    *count += status == TP_DECODE_OK;
    return status;
}

static inline void depth_field(struct body *body, const struct tp_protobuf_field *field)
{
    if (field->tag == DEPTH_VERSION) {
        body->first_version = field->bytes;
        if (body->tag != BODY_AGGRE_DEPTHS)
            body->last_version = field->bytes;
    } else if (field->tag == DEPTH_TO_VERSION && body->tag == BODY_AGGRE_DEPTHS) {
        body->last_version = field->bytes;
    }
}

static enum tp_decode_status depth_decode(const struct tp_mexc_levels *d, struct body *body,
                                          struct tp_protobuf in)
{
    while (in.at < in.end) {
        if (*in.at == DEPTH_ASKS || *in.at == DEPTH_BIDS) {
            in.at = tp_mexc_levels_decode(d, in.at, in.end);
            if (in.at == in.end)
                break;
        }
        struct tp_protobuf_field field;
        enum tp_decode_status status = tp_protobuf_nested_next(&in, &field);
        if (status == TP_DECODE_OK && (field.tag == DEPTH_ASKS || field.tag == DEPTH_BIDS))
            status = level_append(d, field.tag == DEPTH_ASKS, field.bytes);
        if (status != TP_DECODE_OK)
            return status;
        depth_field(body, &field);
    }
    return TP_DECODE_OK;
}

static void ticker_field(struct body *body, const struct tp_protobuf_field *field)
{
    switch (field->tag) {
    case TICKER_BID_PRICE:
        body->bid_price = field->bytes;
        break;
    case TICKER_BID_QUANTITY:
        body->bid_quantity = field->bytes;
        break;
    case TICKER_ASK_PRICE:
        body->ask_price = field->bytes;
        break;
    case TICKER_ASK_QUANTITY:
        body->ask_quantity = field->bytes;
        break;
    case TICKER_VERSION:
        if (body->tag == BODY_AGGRE_BOOK_TICKER)
            body->first_version = body->last_version = field->bytes;
        break;
    default:
        break; /* unknown: skipped */
    }
}

static enum tp_decode_status ticker_decode(struct body *body, struct tp_protobuf in)
{
    while (in.at < in.end) {
        struct tp_protobuf_field field;
        const enum tp_decode_status status = tp_protobuf_nested_next(&in, &field);
        if (status != TP_DECODE_OK)
            return status;
        ticker_field(body, &field);
    }
    return TP_DECODE_OK;
}

static void ticker_begin(struct body *body)
{
    body->bid_price = body->bid_quantity = (struct tp_text){NULL, 0};
    body->ask_price = body->ask_quantity = (struct tp_text){NULL, 0};
}

/* The last item's number joins those of the items before it; one without a number has that of the
 * item before, which does not ascend. */
static bool chain_add(struct body *body)
{
    struct chain *const chain = &body->chain;
    uint64_t version;
    if (!tp_version_parse(body->last_version.at, body->last_version.size, &version))
        return false;
    if (!chain->is_begun)
        *chain = (struct chain){.first = version, .is_begun = true, .is_ascending = true};
    else {
        chain->is_ascending &= version > chain->last;
        chain->has_hole |= version - chain->last != 1;
    }
    chain->last = version;
    return true;
}

/* Each item is a change with a number of its own; they hold in their order, so that together they
 * are one change over the range of their numbers. */
static enum tp_decode_status depth_item(const struct tp_mexc_levels *d, struct body *body,
                                        struct tp_protobuf in)
{
    body->kind = BODY_DEPTH;
    const enum tp_decode_status status = depth_decode(d, body, in);
    if (status != TP_DECODE_OK)
        return status;
    return chain_add(body) ? TP_DECODE_OK : TP_DECODE_BAD_NUMBER;
}

/* Of best prices the last item is the newest: those before it were true for less than the time that
 * the batch took. */
static enum tp_decode_status ticker_item(struct body *body, struct tp_protobuf in)
{
    body->kind = BODY_TICKER;
    ticker_begin(body);
    return ticker_decode(body, in);
}

static enum tp_decode_status batch_decode(const struct tp_mexc_levels *d, struct body *body,
                                          struct tp_protobuf in)
{
    while (in.at < in.end) {
        struct tp_protobuf_field field;
        enum tp_decode_status status = tp_protobuf_nested_next(&in, &field);
        if (status != TP_DECODE_OK)
            return status;
        if (field.tag == BATCH_ITEM)
            status = body->tag == BODY_DEPTHS_BATCH
                         ? depth_item(d, body, tp_protobuf_inside(field.bytes))
                         : ticker_item(body, tp_protobuf_inside(field.bytes));
        else if (field.tag == TICKER_BATCH_VERSION && body->tag == BODY_TICKER_BATCH)
            body->first_version = body->last_version = field.bytes;
        if (status != TP_DECODE_OK)
            return status;
    }
    return TP_DECODE_OK;
}

static void body_begin(struct body *body, uint32_t tag)
{
    body->tag = tag;
    body->kind = BODY_OTHER;
    body->flags = 0;
    body->first_version = body->last_version = (struct tp_text){NULL, 0};
    switch (tag) {
    case BODY_LIMIT_DEPTHS:
        body->flags = TP_DEPTH_BASE;
        body->kind = BODY_DEPTH;
        break;
    case BODY_AGGRE_DEPTHS:
    case BODY_INCREASE_DEPTHS:
        body->kind = BODY_DEPTH;
        break;
    case BODY_DEPTHS_BATCH:
        body->kind = BODY_EMPTY_BATCH;
        body->chain = (struct chain){.is_begun = false};
        break;
    case BODY_TICKER_BATCH:
        body->flags = TP_DEPTH_TOP;
        body->kind = BODY_EMPTY_BATCH;
        break;
    case BODY_BOOK_TICKER:
    case BODY_AGGRE_BOOK_TICKER:
        body->flags = TP_DEPTH_TOP;
        body->kind = BODY_TICKER;
        ticker_begin(body);
        break;
    default:
        break;
    }
}

static inline bool is_batch(uint32_t tag)
{
    return tag == BODY_DEPTHS_BATCH || tag == BODY_TICKER_BATCH;
}

/* A body of another kind replaces the one before; the same kind again is merged into it: levels are
 * appended, single fields overwritten (proto3, "Last One Wins" and oneof). */
static enum tp_decode_status body_decode(const struct tp_mexc_levels *d, struct body *body,
                                         const struct tp_protobuf_field *field)
{
    if (body->tag != field->tag) {
        body_begin(body, field->tag);
        d->out->bid_count = d->out->ask_count = 0;
    }
    const struct tp_protobuf in = tp_protobuf_inside(field->bytes);
    if (is_batch(body->tag))
        return batch_decode(d, body, in);
    if (body->kind == BODY_DEPTH)
        return depth_decode(d, body, in);
    if (body->kind == BODY_TICKER)
        return ticker_decode(body, in);
    return TP_DECODE_OK; /* not ours to look into */
}

/* A ticker side without price and quantity is an empty side. */
static enum tp_decode_status ticker_side(const struct tp_mexc_levels *d, struct tp_text price,
                                         struct tp_text quantity, uint32_t *count,
                                         struct tp_level *out)
{
    *count = 0;
    if (price.size == 0 && quantity.size == 0)
        return TP_DECODE_OK;
    const enum tp_decode_status status = level_store(d, price, quantity, out);
    *count = status == TP_DECODE_OK;
    return status;
}

static enum tp_decode_status ticker_finish(const struct tp_mexc_levels *d, const struct body *body)
{
    struct tp_depth_update *out = d->out;
    const enum tp_decode_status status =
        ticker_side(d, body->bid_price, body->bid_quantity, &out->bid_count, out->bids);
    if (status != TP_DECODE_OK)
        return status;
    return ticker_side(d, body->ask_price, body->ask_quantity, &out->ask_count, out->asks);
}

/* Inlined into both callers: a body whose address goes elsewhere lives in memory, and its texts are
 * read sooner than they are written there. */
static inline __attribute__((always_inline)) enum tp_decode_status
versions_finish(const struct tp_mexc_levels *d, const struct body *body)
{
    struct tp_depth_update *out = d->out;
    if (body->tag == BODY_DEPTHS_BATCH) {
        out->first_version = body->chain.first;
        out->last_version = body->chain.last;
        return body->chain.is_ascending ? TP_DECODE_OK : TP_DECODE_BAD_NUMBER;
    }
    if (body->kind == BODY_TICKER && body->first_version.size == 0) {
        out->first_version = out->last_version = 0; /* the field is newer than the message */
        return TP_DECODE_OK;
    }
    if (!tp_version_pair_parse(body->first_version, body->last_version, &out->first_version,
                               &out->last_version))
        return TP_DECODE_BAD_NUMBER;
    return out->first_version <= out->last_version ? TP_DECODE_OK : TP_DECODE_BAD_NUMBER;
}

static enum tp_decode_status body_finish(const struct tp_mexc_levels *d, const struct body *body)
{
    if (body->kind == BODY_OTHER || body->kind == BODY_EMPTY_BATCH)
        return TP_DECODE_UNKNOWN;
    if (body->tag == BODY_DEPTHS_BATCH && body->chain.has_hole)
        return TP_DECODE_BAD_NUMBER; /* what is between is missing */
    if (body->kind == BODY_TICKER) {
        const enum tp_decode_status status = ticker_finish(d, body);
        if (status != TP_DECODE_OK)
            return status;
    }
    return versions_finish(d, body);
}

struct times {
    uint64_t create_ms, send_ms; /* 0: absent */
};

static enum tp_decode_status wrapper_decode(const struct tp_mexc_levels *d, struct tp_protobuf in,
                                            struct body *body, struct times *times)
{
    while (in.at < in.end) {
        struct tp_protobuf_field field;
        enum tp_decode_status status = tp_protobuf_next(&in, &field);
        if (status != TP_DECODE_OK)
            return status;
        if (field.tag == WRAPPER_CREATE_TIME)
            times->create_ms = field.varint;
        else if (field.tag == WRAPPER_SEND_TIME)
            times->send_ms = field.varint;
        else if (field.tag >= BODY_FIRST && field.tag <= BODY_LAST &&
                 (field.tag & TP_PROTOBUF_TYPE_MASK) == TP_PROTOBUF_BYTES)
            status = body_decode(d, body, &field);
        if (status != TP_DECODE_OK)
            return status;
    }
    return TP_DECODE_OK;
}

enum tp_decode_status tp_mexc_decode_body(const struct tp_body *what, struct tp_depth_update *out)
{
    const uint8_t *end = what->data + what->size;
    const struct tp_mexc_levels d = {
        .price_digits = tp_decimal_digits(what->scale.price_exponent),
        .quantity_digits = tp_decimal_digits(what->scale.quantity_exponent),
        .message_end = end,
        .out = out,
        .body = what,
    };
    struct body body = {.kind = BODY_OTHER}; /* whole: compilers cannot see that no body is no OK */
    struct times times = {0, 0};
    out->bid_count = out->ask_count = 0;
    enum tp_decode_status status =
        wrapper_decode(&d, (struct tp_protobuf){what->data, end}, &body, &times);
    if (status == TP_DECODE_OK)
        status = body_finish(&d, &body);
    if (status != TP_DECODE_OK)
        return status;
    /* A ticker's body on a depth channel, or the other way: not what the channel promised. */
    if ((body.kind == BODY_TICKER) != (what->meaning == TP_MEANING_TOP) &&
        what->meaning != TP_MEANING_UNKNOWN)
        return TP_DECODE_UNKNOWN;
    const uint64_t time_ms = times.send_ms != 0 ? times.send_ms : times.create_ms;
    if (time_ms > UINT64_MAX / NANOSECONDS_PER_MS)
        return TP_DECODE_BAD_NUMBER; /* negative, or far beyond any clock */
    out->exchange_ns = time_ms * NANOSECONDS_PER_MS;
    out->flags = body.flags;
    return TP_DECODE_OK;
}

/* The fields of a depth body but its levels, each of which is skipped whole. */
static enum tp_decode_status depth_versions(struct body *body, struct tp_protobuf in)
{
    while (in.at < in.end) {
        struct tp_protobuf_field field;
        const enum tp_decode_status status = tp_protobuf_nested_next(&in, &field);
        if (status != TP_DECODE_OK)
            return status;
        depth_field(body, &field);
    }
    return TP_DECODE_OK;
}

static enum tp_decode_status batch_versions(struct body *body, struct tp_protobuf in)
{
    while (in.at < in.end) {
        struct tp_protobuf_field field;
        enum tp_decode_status status = tp_protobuf_nested_next(&in, &field);
        if (status == TP_DECODE_OK && field.tag == BATCH_ITEM) {
            body->kind = BODY_DEPTH;
            status = depth_versions(body, tp_protobuf_inside(field.bytes));
            if (status == TP_DECODE_OK && !chain_add(body))
                status = TP_DECODE_BAD_NUMBER;
        }
        if (status != TP_DECODE_OK)
            return status;
    }
    return TP_DECODE_OK;
}

static enum tp_decode_status versions_decode(struct body *body, struct tp_protobuf in)
{
    if (body->tag == BODY_DEPTHS_BATCH)
        return batch_versions(body, in);
    return body->kind == BODY_DEPTH ? depth_versions(body, in) : TP_DECODE_OK;
}

bool tp_mexc_read_versions(const struct tp_body *what, struct tp_depth_update *out)
{
    const struct tp_mexc_levels d = {.out = out, .body = what};
    struct tp_protobuf in = {what->data, what->data + what->size};
    struct body body = {.kind = BODY_OTHER};
    out->previous_version = 0;
    while (in.at < in.end) {
        struct tp_protobuf_field field;
        if (tp_protobuf_next(&in, &field) != TP_DECODE_OK)
            return false;
        if (field.tag < BODY_FIRST || field.tag > BODY_LAST ||
            (field.tag & TP_PROTOBUF_TYPE_MASK) != TP_PROTOBUF_BYTES)
            continue;
        if (body.tag != field.tag)
            body_begin(&body, field.tag);
        const struct tp_protobuf inner = tp_protobuf_inside(field.bytes);
        if (versions_decode(&body, inner) != TP_DECODE_OK)
            return false;
    }
    return body.kind == BODY_DEPTH && versions_finish(&d, &body) == TP_DECODE_OK;
}

enum tp_decode_status tp_mexc_decode_depth(const uint8_t *data, size_t size,
                                           const struct tp_scale *scale,
                                           struct tp_depth_update *out)
{
    return tp_mexc_decode_body(
        &(struct tp_body){
            .data = data, .size = size, .meaning = TP_MEANING_UNKNOWN, .scale = *scale},
        out);
}
