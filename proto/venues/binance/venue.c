/* Binance spot as the engine sees it: the struct tp_venue of proto/venue.h.
 *
 * All is JSON. Data come as {"stream":"btcusdt@depth@100ms","data":{…}}: a combined connection, so
 * that the name that was subscribed to stands in front of each message. Facts and their sources:
 * README.md here. Called through proto/venue.h. Any thread. */
#include "proto/venue.h"

#include <string.h>

#include "proto/encoding/json.h"
#include "proto/venues/binance/decode.h"
#include "proto/venues/binance/router.h"

/* What a message says of itself, key by key. */
struct said {
    struct tp_text stream, data, event;
    enum tp_json_kind result; /* NONE: no such key */
    bool refused;
};

/* A value as it stands on the wire. */
static struct tp_text take_any(struct tp_json *in)
{
    (void)tp_json_peek(in);
    const uint8_t *begin = in->at;
    return tp_json_skip(in) ? (struct tp_text){begin, (size_t)(in->at - begin)}
                            : (struct tp_text){NULL, 0};
}

static void said_field(struct tp_json *in, struct tp_text key, struct said *said)
{
    const enum tp_json_kind kind = tp_json_peek(in);
    if (tp_text_is(key, "stream") && kind == TP_JSON_STRING)
        (void)tp_json_string(in, &said->stream);
    else if (tp_text_is(key, "e") && kind == TP_JSON_STRING)
        (void)tp_json_string(in, &said->event);
    else if (tp_text_is(key, "data"))
        said->data = take_any(in);
    else {
        if (tp_text_is(key, "result"))
            said->result = kind;
        else if (tp_text_is(key, "error") || tp_text_is(key, "code"))
            said->refused = true;
        (void)tp_json_skip(in);
    }
}

static enum tp_meaning answer_meaning(const struct said *said)
{
    if (said->refused)
        return TP_MEANING_REFUSAL;
    switch (said->result) {
    case TP_JSON_NULL:
    case TP_JSON_ARRAY: /* of LIST_SUBSCRIPTIONS: the streams that stand */
        return TP_MEANING_ACKNOWLEDGEMENT;
    case TP_JSON_TRUE:
    case TP_JSON_FALSE: /* of GET_PROPERTY, which is our ping */
        return TP_MEANING_HEARTBEAT;
    case TP_JSON_NONE:
    case TP_JSON_OBJECT:
    case TP_JSON_STRING:
    case TP_JSON_NUMBER:
        break;
    }
    return tp_text_is(said->event, "serverShutdown") ? TP_MEANING_NOTICE : TP_MEANING_UNKNOWN;
}

static const struct tp_text NOTHING = {(const uint8_t *)"", 0};

/* False: no JSON object. */
static bool read_said(const struct tp_venue_message *message, struct said *out)
{
    struct tp_text key;
    struct tp_json in;
    *out = (struct said){.stream = NOTHING, .event = NOTHING};
    tp_json_init(&in, message->data, message->size);
    (void)tp_json_object(&in);
    while (tp_json_key(&in, &key))
        said_field(&in, key, out);
    return tp_json_finish(&in) == TP_DECODE_OK;
}

static bool is_data(const struct said *said)
{
    return said->stream.size != 0 && said->data.at != NULL;
}

/* Of what is no data of ours. */
static enum tp_meaning meaning_of(const struct said *said)
{
    if (!is_data(said))
        return answer_meaning(said);
    return tp_text_is(said->stream, "!serverShutdown") ? TP_MEANING_NOTICE : TP_MEANING_UNKNOWN;
}

enum tp_meaning tp_binance_text_meaning(const struct tp_venue_message *message)
{
    struct said said;
    return read_said(message, &said) ? meaning_of(&said) : TP_MEANING_BROKEN;
}

void tp_binance_route_other(const struct tp_symbol_table *router, enum tp_binance_market market,
                            const struct tp_venue_message *message, struct tp_route *out)
{
    struct said said;
    out->meaning = TP_MEANING_BROKEN;
    if (!read_said(message, &said))
        return;
    if (is_data(&said) && tp_binance_router_find(router, market, said.stream, out)) {
        out->body_offset = (uint32_t)(said.data.at - message->data);
        out->body_size = (uint32_t)said.data.size + 1; /* an object was read: it ended behind it */
        return;
    }
    out->meaning = meaning_of(&said);
}

extern const struct tp_venue tp_venue_binance; /* the registry's table declares it by this name */

const struct tp_venue tp_venue_binance = {
    .layout = TP_VENUE_LAYOUT,
    .name = "binance",
    .facts =
        {
            .channels_per_connection = 1024,
            .messages_per_second = 4, /* of 5: a PONG counts, and comes when it must */
            .connection_age_max_s = 24 * 3600,
            .base_levels_max = 5000,
            /* 5,000 levels a side of 45 bytes. */
            .message_size_max = 512 << 10,
            .compression = TP_COMPRESSION_NONE,
            .pinger = TP_PINGER_NOBODY,
        },
    .describe = tp_binance_describe,
    .router_size = tp_symbol_table_size,
    .router_init = tp_symbol_table_init,
    .router_add = tp_binance_router_add,
    .route = tp_binance_route,
    .decode_depth = tp_binance_decode_depth,
    .read_versions = tp_binance_read_versions,
    .decode_trades = tp_binance_decode_trades,
};
