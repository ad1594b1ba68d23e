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

/* Docs read 2026-07-21: keep messages until the REST book is there; drop those with u <= its
 * lastUpdateId; from then on U <= book's number + 1, else one was lost; a message with u below it
 * is ignored. The documents let every message begin before the book's number. */
static const struct tp_sync_rule diff_rule = {
    .chain = TP_CHAIN_RANGE,
    .base = TP_BASE_REST,
    .meeting = TP_MEETING_COVERS,
    .may_overlap = true,
};

static const struct {
    const char *suffix;
    struct tp_channel channel;
} channels[] = {
    {"@depth@100ms", {TP_MEANING_DELTA, &diff_rule}},
    {"@depth", {TP_MEANING_DELTA, &diff_rule}},
    {"@bookTicker", {TP_MEANING_TOP, NULL}},
    {"@trade", {TP_MEANING_TRADES, NULL}},
};

/* A symbol in lower case, then what is streamed of it. */
static const struct tp_channel *describe(const char *channel)
{
    const char *suffix = strchr(channel, '@');
    if (suffix == NULL || suffix == channel || strlen(channel) > TP_BINANCE_STREAM_SIZE_MAX)
        return NULL;
    for (const char *at = channel; at < suffix; at++)
        if ((*at >= 'A' && *at <= 'Z') || *at == '"' || *at == '\\' || (uint8_t)*at <= ' ')
            return NULL;
    for (size_t i = 0; i < sizeof channels / sizeof *channels; i++)
        if (strcmp(suffix, channels[i].suffix) == 0)
            return &channels[i].channel;
    return NULL;
}

static size_t router_size(uint32_t channel_count_max, uint32_t connection_count)
{
    (void)connection_count; /* nothing is remembered of connections */
    return tp_binance_router_size(channel_count_max);
}

static void router_init(void *router, uint32_t channel_count_max, uint32_t connection_count)
{
    (void)connection_count;
    tp_binance_router_init(router, channel_count_max);
}

static bool router_add(void *router, const char *channel, uint32_t instrument)
{
    const struct tp_channel *kind = describe(channel);
    return kind != NULL && tp_binance_router_add(router, channel, kind->meaning, instrument);
}

/* ---- route: what is no data of ours in the usual shape */

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

__attribute__((noinline, cold)) static void route_other(const struct tp_binance_router *router,
                                                        const struct tp_venue_message *message,
                                                        struct tp_route *out)
{
    struct said said = {.stream = NOTHING, .event = NOTHING};
    struct tp_text key;
    struct tp_json in;
    tp_json_init(&in, message->data, message->size);
    (void)tp_json_object(&in);
    while (tp_json_key(&in, &key))
        said_field(&in, key, &said);
    out->meaning = TP_MEANING_BROKEN;
    if (tp_json_finish(&in) != TP_DECODE_OK)
        return;
    if (said.stream.size == 0 || said.data.at == NULL) {
        out->meaning = answer_meaning(&said);
        return;
    }
    if (tp_text_is(said.stream, "!serverShutdown")) {
        out->meaning = TP_MEANING_NOTICE;
        return;
    }
    const struct tp_binance_entry *entry = tp_binance_find(router, said.stream);
    out->meaning = entry->size == 0 ? TP_MEANING_UNKNOWN : (enum tp_meaning)entry->meaning;
    out->instrument = entry->instrument;
    out->body_offset = (uint32_t)(said.data.at - message->data);
    out->body_size = (uint32_t)said.data.size;
}

/* ---- route: {"stream":"NAME","data":BODY} without a space */

static const char HEAD[] = "{\"stream\":\"", MIDDLE[] = "\",\"data\":";
enum { HEAD_SIZE = sizeof HEAD - 1, MIDDLE_SIZE = sizeof MIDDLE - 1 };

/* Where the stream's name ends: the first quote, no farther than a name of ours is long. */
static inline size_t name_size(const uint8_t *name, size_t size_max)
{
    const uint64_t ones = 0x0101010101010101, highs = 0x8080808080808080;
    size_t size = 0;
    for (; size + sizeof(uint64_t) <= size_max; size += sizeof(uint64_t)) {
        const uint64_t quote = tp_load_8(name + size) ^ ones * '"';
        const uint64_t found = (quote - ones) & ~quote & highs;
        if (found != 0)
            return size + ((size_t)__builtin_ctzll(found) >> 3);
    }
    return size_max;
}

static void route(void *memory, const struct tp_venue_message *message, uint32_t from,
                  struct tp_route *out)
{
    (void)from; /* a message has one part */
    const struct tp_binance_router *router = memory;
    const uint8_t *data = message->data;
    const size_t size = message->size;
    out->next_offset = 0;
    if (size > HEAD_SIZE + TP_BINANCE_STREAM_SIZE_MAX + MIDDLE_SIZE &&
        memcmp(data, HEAD, HEAD_SIZE) == 0 && data[size - 1] == '}') {
        const struct tp_text name = {data + HEAD_SIZE,
                                     name_size(data + HEAD_SIZE, TP_BINANCE_STREAM_SIZE_MAX)};
        const uint8_t *behind = name.at + name.size;
        if (memcmp(behind, MIDDLE, MIDDLE_SIZE) == 0) {
            const struct tp_binance_entry *entry = tp_binance_find(router, name);
            if (entry->size != 0) {
                out->meaning = (enum tp_meaning)entry->meaning;
                out->instrument = entry->instrument;
                out->body_offset = (uint32_t)(HEAD_SIZE + name.size + MIDDLE_SIZE);
                out->body_size = (uint32_t)size - 1 - out->body_offset;
                return;
            }
        }
    }
    route_other(router, message, out);
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
    .describe = describe,
    .router_size = router_size,
    .router_init = router_init,
    .router_add = router_add,
    .route = route,
    .decode_depth = tp_binance_decode_depth,
    .decode_trades = tp_binance_decode_trades,
};
