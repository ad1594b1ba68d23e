/* HTX spot's market data as the engine sees it: the struct tp_venue of proto/venue.h.
 *
 * All is JSON in gzip members, inflated before it comes here. Data come as
 * {"ch":TOPIC,"ts":…,"tick":{…}}, a base that was asked for as {"id":…,"rep":TOPIC,"status":"ok",
 * "data":{…}}; answers have a "status", the venue's pings nothing else. Facts and their sources:
 * README.md here. Called through proto/venue.h. Any thread. */
#include "proto/venue.h"

#include "proto/encoding/json.h"
#include "proto/venues/htx/decode.h"
#include "proto/venues/htx/router.h"

static const struct tp_text NOTHING = {(const uint8_t *)"", 0};

/* What a message says of itself, key by key. */
struct said {
    struct tp_text topic, rep, status;
    bool is_answer; /* to a subscription, or its end */
    bool is_ping;
    bool has_tick, has_data; /* objects */
};

static void take_string(struct tp_json *in, struct tp_text *out)
{
    if (tp_json_peek(in) == TP_JSON_STRING)
        (void)tp_json_string(in, out);
    else
        (void)tp_json_skip(in);
}

static void said_field(struct tp_json *in, struct tp_text key, struct said *said)
{
    if (tp_text_is(key, "ch") && said->topic.size == 0) /* as the usual shape's: the first */
        take_string(in, &said->topic);
    else if (tp_text_is(key, "rep"))
        take_string(in, &said->rep);
    else if (tp_text_is(key, "status"))
        take_string(in, &said->status);
    else {
        said->is_answer |= tp_text_is(key, "subbed") || tp_text_is(key, "unsubbed");
        said->is_ping |= tp_text_is(key, "ping") || tp_text_is(key, "pong");
        if (tp_text_is(key, "tick"))
            said->has_tick = tp_json_peek(in) == TP_JSON_OBJECT;
        else if (tp_text_is(key, "data"))
            said->has_data = tp_json_peek(in) == TP_JSON_OBJECT;
        (void)tp_json_skip(in);
    }
}

/* Of what is no data. */
static enum tp_meaning meaning_of(const struct said *said)
{
    if (tp_text_is(said->status, "error"))
        return TP_MEANING_REFUSAL;
    if (said->is_answer)
        return TP_MEANING_ACKNOWLEDGEMENT;
    return said->is_ping ? TP_MEANING_HEARTBEAT : TP_MEANING_UNKNOWN;
}

void tp_htx_route_other(const struct tp_symbol_table *router,
                        const struct tp_venue_message *message, struct tp_route *out)
{
    struct said said = {.topic = NOTHING, .rep = NOTHING, .status = NOTHING};
    struct tp_text key;
    struct tp_json in;
    tp_json_init(&in, message->data, message->size);
    (void)tp_json_object(&in);
    while (tp_json_key(&in, &key))
        said_field(&in, key, &said);
    out->meaning = TP_MEANING_BROKEN;
    if (tp_json_finish(&in) != TP_DECODE_OK)
        return;
    out->body_offset = 0;
    out->body_size = (uint32_t)message->size;
    if (said.has_tick && tp_htx_router_find(router, said.topic, out))
        return;
    if (said.has_data && tp_text_is(said.status, "ok") &&
        tp_htx_router_find(router, said.rep, out) && out->meaning == TP_MEANING_DELTA) {
        out->meaning = TP_MEANING_BASE;
        return;
    }
    out->meaning = meaning_of(&said);
}

extern const struct tp_venue tp_venue_htx; /* the registry's table declares it by this name */

const struct tp_venue tp_venue_htx = {
    .layout = TP_VENUE_LAYOUT,
    .name = "htx",
    .facts =
        {
            .channels_per_connection = 10, /* one a message, and as many as those in a second */
            .messages_per_second = 10,     /* "the limitation of single connection is 100 ms" */
            .base_levels_max = 150,
            /* 150 levels a side of 80 bytes: two numbers of 30 digits; inflated. */
            .message_size_max = 128 << 10,
            .compression = TP_COMPRESSION_GZIP,
            .pinger = TP_PINGER_SERVER,
            .ping_interval_s = 5,
        },
    .describe = tp_htx_describe,
    .router_size = tp_symbol_table_size,
    .router_init = tp_symbol_table_init,
    .router_add = tp_htx_router_add,
    .route = tp_htx_route,
    .decode_depth = tp_htx_decode_depth,
    .read_versions = tp_htx_read_versions,
    .decode_trades = tp_htx_decode_trades,
};
