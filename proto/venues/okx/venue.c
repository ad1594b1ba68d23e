/* OKX (WebSocket v5, public data) as the engine sees it: the struct tp_venue of proto/venue.h.
 *
 * All is JSON but "ping" and "pong". Data come as {"arg":{"channel":…,"instId":…},"data":[…]}, a
 * book's with an "action" between; answers and notices have an "event". Facts and their sources:
 * README.md here. Called through proto/venue.h. Any thread. */
#include "proto/venue.h"

#include <string.h>

#include "proto/encoding/json.h"
#include "proto/venues/okx/decode.h"
#include "proto/venues/okx/router.h"

static const struct tp_text NOTHING = {(const uint8_t *)"", 0};

/* What a message says of itself, key by key. */
struct said {
    struct tp_text channel, symbol, action, event;
    size_t data; /* where its array begins; 0: there is none */
};

static void take_string(struct tp_json *in, struct tp_text *out)
{
    if (tp_json_peek(in) == TP_JSON_STRING)
        (void)tp_json_string(in, out);
    else
        (void)tp_json_skip(in);
}

static void take_arg(struct tp_json *in, struct said *said)
{
    struct tp_text key;
    if (tp_json_peek(in) != TP_JSON_OBJECT) {
        (void)tp_json_skip(in);
        return;
    }
    (void)tp_json_object(in);
    while (tp_json_key(in, &key))
        if (tp_text_is(key, "channel"))
            take_string(in, &said->channel);
        else if (tp_text_is(key, "instId"))
            take_string(in, &said->symbol);
        else
            (void)tp_json_skip(in);
}

static void said_field(struct tp_json *in, struct tp_text key, const uint8_t *begin,
                       struct said *said)
{
    if (tp_text_is(key, "arg"))
        take_arg(in, said);
    else if (tp_text_is(key, "action"))
        take_string(in, &said->action);
    else if (tp_text_is(key, "event"))
        take_string(in, &said->event);
    else {
        if (tp_text_is(key, "data") && tp_json_peek(in) == TP_JSON_ARRAY)
            said->data = (size_t)(in->at - begin);
        (void)tp_json_skip(in);
    }
}

static enum tp_meaning event_meaning(struct tp_text event)
{
    if (tp_text_is(event, "subscribe") || tp_text_is(event, "unsubscribe"))
        return TP_MEANING_ACKNOWLEDGEMENT;
    return tp_text_is(event, "error") ? TP_MEANING_REFUSAL : TP_MEANING_NOTICE;
}

/* The only two that are no JSON. */
static bool is_beat(const struct tp_venue_message *message)
{
    const struct tp_text text = {message->data, message->size};
    return tp_text_is(text, "pong") || tp_text_is(text, "ping");
}

void tp_okx_route_other(const struct tp_symbol_table *router,
                        const struct tp_venue_message *message, struct tp_route *out)
{
    struct said said = {NOTHING, NOTHING, NOTHING, NOTHING, 0};
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
        out->meaning = event_meaning(said.event);
        return;
    }
    if (said.data == 0 || !tp_okx_router_find(router, said.channel, said.symbol, out)) {
        out->meaning = TP_MEANING_UNKNOWN;
        return;
    }
    if (out->meaning == TP_MEANING_DELTA && tp_text_is(said.action, "snapshot"))
        out->meaning = TP_MEANING_BASE;
    out->body_offset = (uint32_t)said.data;
    out->body_size = (uint32_t)(message->size - said.data);
}

extern const struct tp_venue tp_venue_okx; /* the registry's table declares it by this name */

const struct tp_venue tp_venue_okx = {
    .layout = TP_VENUE_LAYOUT,
    .name = "okx",
    .facts =
        {
            .channels_per_connection = 29, /* "less than 30" of those with 400 levels */
            .messages_per_second = 10,
            .idle_without_channel_s = 30,
            .idle_without_data_s = 30,
            .base_levels_max = 400,
            /* 400 levels a side of 80 bytes: two numbers of 30 digits, and a count. */
            .message_size_max = 128 << 10,
            .compression = TP_COMPRESSION_NONE,
            .pinger = TP_PINGER_CLIENT,
            .ping_interval_s = 25, /* each 30 s without a message must have one */
        },
    .describe = tp_okx_describe,
    .router_size = tp_symbol_table_size,
    .router_init = tp_symbol_table_init,
    .router_add = tp_okx_router_add,
    .route = tp_okx_route,
    .decode_depth = tp_okx_decode_depth,
    .decode_trades = tp_okx_decode_trades,
};
