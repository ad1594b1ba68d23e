/* What messages mean that are no data of ours in the usual shape: answers, errors, "ping" and
 * "pong", and data with their keys in another order.
 *
 * Answers have an "event" and, but for errors of the unified generation, the "arg" that they are
 * of. Facts and their sources: README.md here. Called by router.c. Any thread. */
#include <string.h>

#include "proto/encoding/json.h"
#include "proto/venues/bitget/router.h"

static const struct tp_text NOTHING = {(const uint8_t *)"", 0};

/* What a message says of itself, key by key. */
struct said {
    struct tp_bitget_source source;
    struct tp_text event, op;
    size_t data; /* where its array begins; 0: there is none */
};

static void take_string(struct tp_json *in, struct tp_text *out)
{
    if (tp_json_peek(in) == TP_JSON_STRING)
        (void)tp_json_string(in, out);
    else
        (void)tp_json_skip(in);
}

static void take_arg(struct tp_json *in, struct tp_bitget_source *source)
{
    struct tp_text key;
    if (tp_json_peek(in) != TP_JSON_OBJECT) {
        (void)tp_json_skip(in);
        return;
    }
    (void)tp_json_object(in);
    while (tp_json_key(in, &key))
        if (tp_text_is(key, "instType"))
            take_string(in, &source->inst_type);
        else if (tp_text_is(key, "channel") || tp_text_is(key, "topic")) {
            source->api = tp_text_is(key, "topic") ? TP_BITGET_UTA : TP_BITGET_CLASSIC;
            take_string(in, &source->channel);
        } else if (tp_text_is(key, "instId") || tp_text_is(key, "symbol"))
            take_string(in, &source->symbol);
        else
            (void)tp_json_skip(in);
}

static void said_field(struct tp_json *in, struct tp_text key, const uint8_t *begin,
                       struct said *said)
{
    if (tp_text_is(key, "arg"))
        take_arg(in, &said->source);
    else if (tp_text_is(key, "action"))
        take_string(in, &said->source.action);
    else if (tp_text_is(key, "event"))
        take_string(in, &said->event);
    else if (tp_text_is(key, "op"))
        take_string(in, &said->op);
    else {
        if (tp_text_is(key, "data") && tp_json_peek(in) == TP_JSON_ARRAY)
            said->data = (size_t)(in->at - begin);
        (void)tp_json_skip(in);
    }
}

/* An error says which request it is of where that was understood. */
static enum tp_meaning event_meaning(const struct said *said)
{
    if (tp_text_is(said->event, "subscribe") || tp_text_is(said->event, "unsubscribe"))
        return TP_MEANING_ACKNOWLEDGEMENT;
    const bool is_refusal =
        tp_text_is(said->event, "error") && !tp_text_is(said->op, "unsubscribe");
    return is_refusal ? TP_MEANING_REFUSAL : TP_MEANING_NOTICE;
}

/* The only two that are no JSON. */
static bool is_beat(const struct tp_venue_message *message)
{
    const struct tp_text text = {message->data, message->size};
    return tp_text_is(text, "pong") || tp_text_is(text, "ping");
}

void tp_bitget_route_other(const struct tp_symbol_table *router, enum tp_bitget_market market,
                           const struct tp_venue_message *message, struct tp_route *out)
{
    struct said said = {
        {market, NOTHING, NOTHING, NOTHING, NOTHING, TP_BITGET_CLASSIC}, NOTHING, NOTHING, 0};
    struct tp_text key;
    struct tp_json in;
    out->meaning = TP_MEANING_HEARTBEAT;
    if (is_beat(message))
        return;
    tp_json_init(&in, message->data, message->size);
    (void)tp_json_object(&in);
    while (tp_json_key(&in, &key))
        said_field(&in, key, message->data, &said);
    out->meaning = TP_MEANING_BROKEN;
    if (tp_json_finish(&in) != TP_DECODE_OK)
        return;
    if (said.event.size != 0) {
        out->meaning = event_meaning(&said);
        return;
    }
    if (said.data == 0 || !tp_bitget_router_find(router, &said.source, out)) {
        out->meaning = TP_MEANING_UNKNOWN;
        return;
    }
    out->body_offset = (uint32_t)said.data;
    out->body_size = (uint32_t)(message->size - said.data);
}
