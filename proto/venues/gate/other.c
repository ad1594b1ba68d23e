/* What messages mean that are no book's in the usual shape (router.h): answers, notices, trades.
 *
 * A message is parted by its keys first, whatever their order. Source: README.md here. */
#include <string.h>

#include "proto/encoding/json.h"
#include "proto/venues/gate/router.h"

static const struct tp_text NOTHING = {(const uint8_t *)"", 0};

/* What a message says of itself. */
struct said {
    struct tp_text channel, event;
    struct tp_text status; /* of the result */
    struct tp_text words;  /* of the error */
    bool has_error, is_doubtful;
    enum tp_json_kind result; /* NONE: no such key */
    struct tp_text body;      /* the result as it stands on the wire */
};

static void take_string(struct tp_json *in, struct tp_text *out, struct said *said)
{
    const bool is_string = tp_json_peek(in) == TP_JSON_STRING;
    said->is_doubtful |= out->size != 0 || !is_string; /* which of two would hold? */
    if (is_string)
        (void)tp_json_string(in, out);
    else
        (void)tp_json_skip(in);
}

/* The string that an object has under a name. */
static void take_field(struct tp_json *in, const char *name, struct tp_text *out)
{
    struct tp_text key;
    (void)tp_json_object(in);
    while (tp_json_key(in, &key))
        if (tp_text_is(key, name) && tp_json_peek(in) == TP_JSON_STRING)
            (void)tp_json_string(in, out);
        else
            (void)tp_json_skip(in);
}

static void take_result(struct tp_json *in, struct said *said)
{
    said->is_doubtful |= said->result != TP_JSON_NONE;
    said->result = tp_json_peek(in);
    const uint8_t *const begin = in->at;
    if (said->result == TP_JSON_OBJECT)
        take_field(in, "status", &said->status);
    else
        (void)tp_json_skip(in);
    said->body = (struct tp_text){begin, (size_t)(in->at - begin)};
}

static void take_error(struct tp_json *in, struct said *said)
{
    const enum tp_json_kind kind = tp_json_peek(in);
    said->has_error = kind != TP_JSON_NULL;
    if (kind == TP_JSON_OBJECT)
        take_field(in, "message", &said->words);
    else
        (void)tp_json_skip(in);
}

static void said_field(struct tp_json *in, struct tp_text key, struct said *said)
{
    if (tp_text_is(key, "channel"))
        take_string(in, &said->channel, said);
    else if (tp_text_is(key, "event"))
        take_string(in, &said->event, said);
    else if (tp_text_is(key, "result"))
        take_result(in, said);
    else if (tp_text_is(key, "error"))
        take_error(in, said);
    else
        (void)tp_json_skip(in);
}

static bool ends_with(struct tp_text text, const char *end)
{
    const size_t size = strlen(end);
    return text.size > size && memcmp(text.at + text.size - size, end, size) == 0;
}

/* "Alert sub ob.BTC_USDT.50": it is subscribed to already. */
static bool is_already(struct tp_text words)
{
    static const char already[] = "Alert sub ";
    return words.size >= sizeof already - 1 && memcmp(words.at, already, sizeof already - 1) == 0;
}

/* UNKNOWN: no answer. */
static enum tp_meaning answer_meaning(const struct said *said)
{
    const bool is_end = tp_text_is(said->event, "unsubscribe");
    const bool is_asked = tp_text_is(said->event, "subscribe") || said->event.size == 0;
    if (ends_with(said->channel, ".pong"))
        return TP_MEANING_HEARTBEAT;
    if (ends_with(said->channel, ".system"))
        return TP_MEANING_NOTICE;
    const bool failed = said->has_error || tp_text_is(said->status, "fail");
    if (failed && is_already(said->words))
        return TP_MEANING_ACKNOWLEDGEMENT;
    if (failed)
        return is_asked && !ends_with(said->channel, ".ping") ? TP_MEANING_REFUSAL
                                                              : TP_MEANING_NOTICE;
    const bool is_answer = is_end || tp_text_is(said->event, "subscribe");
    return is_answer && tp_text_is(said->status, "success") ? TP_MEANING_ACKNOWLEDGEMENT
                                                            : TP_MEANING_UNKNOWN;
}

/* Whether data come with this event: documents leave it out. */
static bool is_data(struct tp_text event)
{
    return event.size == 0 || tp_text_is(event, "update");
}

static struct tp_text name_of(struct tp_text body, const char *key)
{
    struct tp_json in;
    struct tp_text found, name = NOTHING;
    tp_json_init(&in, body.at, body.size);
    (void)tp_json_object(&in);
    while (name.size == 0 && tp_json_key(&in, &found))
        if (tp_text_is(found, key) && tp_json_peek(&in) == TP_JSON_STRING)
            (void)tp_json_string(&in, &name);
        else
            (void)tp_json_skip(&in);
    return name;
}

static void route_object(const struct tp_symbol_table *router,
                         const struct tp_venue_message *message, const struct said *said,
                         struct tp_route *out)
{
    const char *const key = ends_with(said->channel, ".trades") ? "currency_pair" : "s";
    if (!tp_gate_router_find(router, said->channel, name_of(said->body, key), out)) {
        out->meaning = TP_MEANING_UNKNOWN;
        return;
    }
    out->body_offset = (uint32_t)(said->body.at - message->data);
    out->body_size = (uint32_t)said->body.size;
}

void tp_gate_route_other(const struct tp_symbol_table *router,
                         const struct tp_venue_message *message, struct tp_route *out)
{
    struct said said = {.channel = NOTHING, .event = NOTHING, .status = NOTHING, .words = NOTHING};
    struct tp_text key;
    struct tp_json in;
    tp_json_init(&in, message->data, message->size);
    (void)tp_json_object(&in);
    while (tp_json_key(&in, &key))
        said_field(&in, key, &said);
    out->meaning = TP_MEANING_BROKEN;
    if (tp_json_finish(&in) != TP_DECODE_OK || said.is_doubtful)
        return;
    out->meaning = answer_meaning(&said);
    if (out->meaning != TP_MEANING_UNKNOWN || !is_data(said.event))
        return;
    if (said.result == TP_JSON_OBJECT)
        route_object(router, message, &said, out);
    else if (said.result == TP_JSON_ARRAY && tp_text_is(said.channel, "futures.trades"))
        tp_gate_route_trade(router, message, (uint32_t)(said.body.at - message->data) + 1, out);
}

void tp_gate_route_trade(const struct tp_symbol_table *router,
                         const struct tp_venue_message *message, uint32_t from,
                         struct tp_route *out)
{
    static const struct tp_text channel = {(const uint8_t *)"futures.trades", 14};
    struct tp_json in;
    tp_json_init(&in, message->data, message->size);
    in.at = message->data + from;
    out->meaning = TP_MEANING_UNKNOWN;
    if (tp_json_peek(&in) != TP_JSON_OBJECT)
        return; /* none is left */
    const uint8_t *const begin = in.at;
    if (!tp_json_skip(&in)) {
        out->meaning = TP_MEANING_BROKEN;
        return;
    }
    const struct tp_text body = {begin, (size_t)(in.at - begin)};
    if (tp_gate_router_find(router, channel, name_of(body, "contract"), out)) {
        out->body_offset = (uint32_t)(begin - message->data);
        out->body_size = (uint32_t)body.size;
    } else
        out->meaning = TP_MEANING_UNKNOWN;
    if (tp_json_peek(&in) == TP_JSON_NONE && in.at != in.end && *in.at == ',')
        out->next_offset = (uint32_t)(in.at - message->data) + 1;
}
