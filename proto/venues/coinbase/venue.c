/* Coinbase Advanced Trade as the engine sees it: the struct tp_venue of proto/venue.h.
 *
 * Every message is {"channel":…,"timestamp":…,"sequence_num":…,"events":[…]}, but an error, which
 * has a type and a message. Facts and their sources: README.md here. Called through proto/venue.h.
 * Any thread. */
#include "proto/venue.h"

#include <string.h>

#include "proto/encoding/json.h"
#include "proto/venues/coinbase/decode.h"
#include "proto/venues/coinbase/router.h"

static const struct tp_text NOTHING = {(const uint8_t *)"", 0};

static void take_string(struct tp_json *in, struct tp_text *out)
{
    if (tp_json_peek(in) == TP_JSON_STRING)
        (void)tp_json_string(in, out);
    else
        (void)tp_json_skip(in);
}

/* Where the first event begins, the array itself is skipped. */
static void take_events(struct tp_json *in, const uint8_t *begin, struct tp_coinbase_head *head)
{
    struct tp_json look = *in;
    if (tp_json_peek(&look) == TP_JSON_ARRAY && tp_json_array(&look) && tp_json_item(&look)) {
        (void)tp_json_peek(&look);
        head->events = (size_t)(look.at - begin);
        head->is_ordered = head->channel.size != 0 && head->sequence != TP_SEQUENCE_NONE;
    }
    (void)tp_json_skip(in);
}

static struct tp_coinbase_head read_head(const struct tp_venue_message *message)
{
    struct tp_coinbase_head head = {
        .channel = NOTHING, .type = NOTHING, .sequence = TP_SEQUENCE_NONE};
    struct tp_text key;
    struct tp_json in;
    bool is_doubtful = false; /* it says one of them twice: which would hold? */
    tp_json_init(&in, message->data, message->size);
    (void)tp_json_object(&in);
    while (tp_json_key(&in, &key)) {
        if (tp_text_is(key, "channel")) {
            is_doubtful |= head.channel.size != 0;
            take_string(&in, &head.channel);
        } else if (tp_text_is(key, "type"))
            take_string(&in, &head.type);
        else if (tp_text_is(key, "sequence_num")) {
            is_doubtful |= head.sequence != TP_SEQUENCE_NONE;
            (void)tp_json_unsigned(&in, &head.sequence);
        } else if (tp_text_is(key, "events")) {
            is_doubtful |= head.events != 0;
            take_events(&in, message->data, &head);
        } else
            (void)tp_json_skip(&in);
    }
    head.is_sound = tp_json_finish(&in) == TP_DECODE_OK && !is_doubtful;
    return head;
}

/* The head alone, which was read to its end with the message's first part. */
static struct tp_text channel_of(const struct tp_venue_message *message)
{
    struct tp_text key, channel = NOTHING;
    struct tp_json in;
    tp_json_init(&in, message->data, message->size);
    (void)tp_json_object(&in);
    while (channel.size == 0 && tp_json_key(&in, &key))
        if (tp_text_is(key, "channel"))
            take_string(&in, &channel);
        else
            (void)tp_json_skip(&in);
    return channel;
}

static bool has_data_of_ours(struct tp_text channel)
{
    return tp_text_is(channel, "l2_data") || tp_text_is(channel, "market_trades") ||
           tp_text_is(channel, "ticker");
}

/* Of a message without data of ours. */
static enum tp_meaning meaning_of_head(const struct tp_coinbase_head *head)
{
    if (tp_text_is(head->channel, "heartbeats"))
        return TP_MEANING_HEARTBEAT;
    if (tp_text_is(head->channel, "subscriptions"))
        return TP_MEANING_ACKNOWLEDGEMENT;
    if (tp_text_is(head->channel, "user"))
        return TP_MEANING_OWN;
    return tp_text_is(head->type, "error") ? TP_MEANING_REFUSAL : TP_MEANING_UNKNOWN;
}

static void route_first(const struct tp_symbol_table *router,
                        const struct tp_venue_message *message, struct tp_route *out)
{
    const struct tp_coinbase_head head = read_head(message);
    out->meaning = TP_MEANING_BROKEN;
    if (!head.is_sound)
        return;
    out->sequence = head.sequence;
    const bool is_data = has_data_of_ours(head.channel);
    /* Data without a number would be counted by nobody. */
    if (is_data && head.sequence == TP_SEQUENCE_NONE)
        return;
    if (!is_data || head.events == 0) {
        out->meaning = meaning_of_head(&head);
        return;
    }
    const bool is_read =
        tp_coinbase_route_event(router, message, head.channel, message->data + head.events, out);
    /* The channel would be looked for anew, behind all events, for each of them. */
    if (is_read && (head.is_ordered || out->next_offset == 0))
        return;
    out->meaning = TP_MEANING_BROKEN;
    out->next_offset = 0;
}

void tp_coinbase_route_other(const struct tp_symbol_table *router,
                             const struct tp_venue_message *message, uint32_t from,
                             struct tp_route *out)
{
    if (from == 0) {
        route_first(router, message, out);
        return;
    }
    out->sequence = TP_SEQUENCE_NONE;
    if (!tp_coinbase_route_event(router, message, channel_of(message), message->data + from, out)) {
        out->meaning = TP_MEANING_BROKEN;
        out->next_offset = 0;
    }
}

extern const struct tp_venue tp_venue_coinbase; /* the registry's table declares it by this name */

const struct tp_venue tp_venue_coinbase = {
    .layout = TP_VENUE_LAYOUT,
    .name = "coinbase",
    .facts =
        {
            .channels_per_connection = 30,
            .messages_per_second = 8, /* of an address, without a login */
            .idle_without_channel_s = 5,
            .idle_without_data_s = 60,
            .base_levels_max = TP_DEPTH_LEVEL_COUNT_MAX,
            /* A snapshot of BTC-USD has some 45,000 levels of 130 bytes; three times as many. */
            .message_size_max = 16 << 20,
            .compression = TP_COMPRESSION_NONE,
            .pinger = TP_PINGER_NOBODY, /* heartbeats are subscribed to */
        },
    .describe = tp_coinbase_describe,
    .router_size = tp_symbol_table_size,
    .router_init = tp_symbol_table_init,
    .router_add = tp_coinbase_router_add,
    .route = tp_coinbase_route,
    .decode_depth = tp_coinbase_decode_depth,
    .decode_trades = tp_coinbase_decode_trades,
};
