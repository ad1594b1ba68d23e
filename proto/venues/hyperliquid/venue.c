/* Hyperliquid as the engine sees it: the struct tp_venue of proto/venue.h.
 *
 * Every message is {"channel":…,"data":…}; of a pong there are no data. Facts and their sources:
 * README.md here. Called through proto/venue.h. Any thread. */
#include "proto/venue.h"

#include <string.h>

#include "proto/encoding/json.h"
#include "proto/venues/hyperliquid/decode.h"
#include "proto/venues/hyperliquid/router.h"

static const struct tp_text NOTHING = {(const uint8_t *)"", 0};

/* What a message says of itself, key by key. */
struct said {
    struct tp_text channel;
    enum tp_json_kind kind; /* of the data; NONE: there are none */
    size_t data;            /* where they begin */
};

static void take_string(struct tp_json *in, struct tp_text *out)
{
    if (tp_json_peek(in) == TP_JSON_STRING)
        (void)tp_json_string(in, out);
    else
        (void)tp_json_skip(in);
}

static struct tp_json reader_at(const struct tp_venue_message *message, size_t offset)
{
    struct tp_json in;
    tp_json_init(&in, message->data, message->size);
    in.at = message->data + offset;
    return in;
}

/* The value of one key of an object; NOTHING: it has none that is a string. */
static struct tp_text string_of(struct tp_json *in, const char *name)
{
    struct tp_text key, found = NOTHING;
    if (tp_json_peek(in) != TP_JSON_OBJECT)
        return NOTHING;
    (void)tp_json_object(in);
    while (tp_json_key(in, &key))
        if (tp_text_is(key, name))
            take_string(in, &found);
        else
            (void)tp_json_skip(in);
    return found;
}

/* Of a list, its first item's: trades are of one coin. */
static struct tp_text coin_of(const struct tp_venue_message *message, const struct said *said)
{
    struct tp_json in = reader_at(message, said->data);
    if (said->kind == TP_JSON_ARRAY && (!tp_json_array(&in) || !tp_json_item(&in)))
        return NOTHING;
    return string_of(&in, "coin");
}

/* ---- answers: {"method":"subscribe","subscription":{"type":"trades","coin":"BTC"}} */

struct answer {
    struct tp_text method, type, coin;
};

static void take_subscription(struct tp_json *in, struct answer *answer)
{
    struct tp_text key;
    if (tp_json_peek(in) != TP_JSON_OBJECT) {
        (void)tp_json_skip(in);
        return;
    }
    (void)tp_json_object(in);
    while (tp_json_key(in, &key))
        if (tp_text_is(key, "type"))
            take_string(in, &answer->type);
        else if (tp_text_is(key, "coin"))
            take_string(in, &answer->coin);
        else
            (void)tp_json_skip(in);
}

static void heed_answer(struct tp_symbol_table *router, const struct tp_venue_message *message,
                        const struct said *said)
{
    struct answer answer = {NOTHING, NOTHING, NOTHING};
    struct tp_text key;
    if (said->kind != TP_JSON_OBJECT)
        return;
    struct tp_json in = reader_at(message, said->data);
    (void)tp_json_object(&in);
    while (tp_json_key(&in, &key))
        if (tp_text_is(key, "method"))
            take_string(&in, &answer.method);
        else if (tp_text_is(key, "subscription"))
            take_subscription(&in, &answer);
        else
            (void)tp_json_skip(&in);
    if (tp_text_is(answer.method, "subscribe") && tp_text_is(answer.type, "trades"))
        tp_hyperliquid_router_await_history(router, answer.coin);
}

static bool begins(struct tp_text text, const char *words)
{
    const size_t size = strlen(words);
    return text.size >= size && memcmp(text.at, words, size) == 0;
}

/* An error is a text; what stands already is as good as an answer. */
static enum tp_meaning error_meaning(const struct tp_venue_message *message,
                                     const struct said *said)
{
    struct tp_text text = NOTHING;
    struct tp_json in = reader_at(message, said->data);
    if (said->kind == TP_JSON_STRING)
        (void)tp_json_string(&in, &text);
    if (begins(text, "Already subscribed"))
        return TP_MEANING_ACKNOWLEDGEMENT;
    return begins(text, "Already unsubscribed") ? TP_MEANING_NOTICE : TP_MEANING_REFUSAL;
}

/* ---- all other messages */

static void read_said(struct tp_json *in, const uint8_t *begin, struct said *said)
{
    struct tp_text key;
    (void)tp_json_object(in);
    while (tp_json_key(in, &key)) {
        if (tp_text_is(key, "channel")) {
            take_string(in, &said->channel);
            continue;
        }
        if (tp_text_is(key, "data")) {
            said->kind = tp_json_peek(in);
            said->data = (size_t)(in->at - begin);
        }
        (void)tp_json_skip(in);
    }
}

/* Of a channel that has no data of ours. */
static enum tp_meaning other_meaning(struct tp_symbol_table *router,
                                     const struct tp_venue_message *message,
                                     const struct said *said)
{
    if (tp_text_is(said->channel, "pong"))
        return TP_MEANING_HEARTBEAT;
    if (tp_text_is(said->channel, "error"))
        return error_meaning(message, said);
    if (!tp_text_is(said->channel, "subscriptionResponse"))
        return TP_MEANING_UNKNOWN;
    heed_answer(router, message, said);
    return TP_MEANING_ACKNOWLEDGEMENT;
}

void tp_hyperliquid_route_other(struct tp_symbol_table *router,
                                const struct tp_venue_message *message, struct tp_route *out)
{
    struct said said = {NOTHING, TP_JSON_NONE, 0};
    struct tp_json in;
    tp_json_init(&in, message->data, message->size);
    read_said(&in, message->data, &said);
    out->meaning = TP_MEANING_BROKEN;
    if (tp_json_finish(&in) != TP_DECODE_OK)
        return;
    const bool has_items = said.kind == TP_JSON_OBJECT || said.kind == TP_JSON_ARRAY;
    if (!has_items ||
        !tp_hyperliquid_router_find(router, said.channel, coin_of(message, &said), out)) {
        out->meaning = other_meaning(router, message, &said);
        return;
    }
    /* A book and a best price are objects, trades a list: else it is not what we know. */
    if ((out->meaning == TP_MEANING_TRADES) != (said.kind == TP_JSON_ARRAY)) {
        out->meaning = TP_MEANING_BROKEN;
        return;
    }
    out->body_offset = (uint32_t)said.data;
    out->body_size = (uint32_t)(message->size - said.data);
}

extern const struct tp_venue tp_venue_hyperliquid; /* the registry's table declares it so */

const struct tp_venue tp_venue_hyperliquid = {
    .layout = TP_VENUE_LAYOUT,
    .name = "hyperliquid",
    .facts =
        {
            /* 1,000 subscriptions of an address, shared out over its ten connections. */
            .channels_per_connection = 100,
            .messages_per_second = 30, /* 2,000 a minute of an address */
            .connections = 10,
            .idle_without_data_s = 60,
            .base_levels_max = 20,
            /* 20 levels a side of 100 bytes; the history of trades, 30 of 400 bytes. */
            .message_size_max = 256 << 10,
            .compression = TP_COMPRESSION_NONE,
            .pinger = TP_PINGER_CLIENT,
            .ping_interval_s = 50,
            /* Each message is the book of one block, which matched all that crossed. */
            .crossed_messages_max = 2,
        },
    .describe = tp_hyperliquid_describe,
    .router_size = tp_symbol_table_size,
    .router_init = tp_symbol_table_init,
    .router_add = tp_hyperliquid_router_add,
    .route = tp_hyperliquid_route,
    .decode_depth = tp_hyperliquid_decode_depth,
    .decode_trades = tp_hyperliquid_decode_trades,
};
