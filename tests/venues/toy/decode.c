/* The toy's messages (README.md) to fixed point: one JSON object each, keys in any order.
 *
 * Called through proto/venue.h. Any thread; the router has one owner. */
#include <string.h>

#include "proto/encoding/json.h"
#include "proto/venue.h"

enum { CHANNEL_SIZE_MAX = 31 };
static const uint64_t NS_PER_MS = 1000000;
static const char PREFIX[] = "book.";

/* Each message names the one before it; the subscription begins with the whole book, and a new
 * subscription is how another is had. */
static const struct tp_sync_rule book_rule = {
    .chain = TP_CHAIN_PREVIOUS,
    .base = TP_BASE_IN_BAND,
    .meeting = TP_MEETING_CHAINS,
    .in_band_base = true,
};
static const struct tp_channel book_channel = {TP_MEANING_DELTA, &book_rule};

static const struct tp_channel *describe(const char *channel)
{
    const size_t size = strlen(channel);
    return size > sizeof PREFIX - 1 && size <= CHANNEL_SIZE_MAX &&
                   memcmp(channel, PREFIX, sizeof PREFIX - 1) == 0
               ? &book_channel
               : NULL;
}

/* ---- router: a list, searched from its start; a venue of the product would hash */

struct entry {
    uint32_t instrument;
    char channel[CHANNEL_SIZE_MAX + 1];
};
struct router {
    uint32_t count, count_max;
    struct entry entries[];
};

static size_t router_size(uint32_t channel_count_max, uint32_t connection_count)
{
    (void)connection_count; /* nothing is remembered of connections */
    return sizeof(struct router) + channel_count_max * sizeof(struct entry);
}

static void router_init(void *memory, uint32_t channel_count_max, uint32_t connection_count)
{
    (void)connection_count;
    struct router *router = memory;
    *router = (struct router){.count_max = channel_count_max};
}

static const struct entry *find(const struct router *router, struct tp_text channel)
{
    for (uint32_t i = 0; i < router->count; i++)
        if (tp_text_is(channel, router->entries[i].channel))
            return &router->entries[i];
    return NULL;
}

static bool router_add(void *memory, const char *channel, uint32_t instrument)
{
    struct router *router = memory;
    const struct tp_text text = {(const uint8_t *)channel, strlen(channel)};
    if (describe(channel) == NULL || find(router, text) != NULL ||
        router->count == router->count_max)
        return false;
    struct entry *entry = &router->entries[router->count++];
    entry->instrument = instrument;
    memcpy(entry->channel, channel, text.size + 1);
    return true;
}

/* ---- route */

static enum tp_meaning answer_meaning(struct tp_text op)
{
    if (tp_text_is(op, "subscribed") || tp_text_is(op, "unsubscribed"))
        return TP_MEANING_ACKNOWLEDGEMENT;
    if (tp_text_is(op, "refused"))
        return TP_MEANING_REFUSAL;
    if (tp_text_is(op, "ping") || tp_text_is(op, "pong"))
        return TP_MEANING_HEARTBEAT;
    return tp_text_is(op, "notice") ? TP_MEANING_NOTICE : TP_MEANING_UNKNOWN;
}

static void route(void *memory, const struct tp_venue_message *message, uint32_t from,
                  struct tp_route *out)
{
    (void)from; /* a message has one part */
    struct tp_text key, op = {NULL, 0}, channel = {NULL, 0}, kind = {NULL, 0};
    struct tp_json in;
    *out = (struct tp_route){.meaning = TP_MEANING_BROKEN};
    tp_json_init(&in, message->data, message->size);
    (void)tp_json_object(&in);
    while ((channel.at == NULL || kind.at == NULL) && tp_json_key(&in, &key)) {
        if (tp_text_is(key, "op"))
            (void)tp_json_string(&in, &op);
        else if (tp_text_is(key, "channel"))
            (void)tp_json_string(&in, &channel);
        else if (tp_text_is(key, "kind"))
            (void)tp_json_string(&in, &kind);
        else
            (void)tp_json_skip(&in);
    }
    if (channel.at == NULL || kind.at == NULL) { /* then all of it was read */
        if (tp_json_finish(&in) == TP_DECODE_OK)
            out->meaning = op.at != NULL ? answer_meaning(op) : TP_MEANING_UNKNOWN;
        return;
    }
    const struct entry *entry = find(memory, channel);
    out->meaning = TP_MEANING_UNKNOWN;
    if (entry == NULL || !(tp_text_is(kind, "base") || tp_text_is(kind, "delta")))
        return;
    out->meaning = tp_text_is(kind, "base") ? TP_MEANING_BASE : TP_MEANING_DELTA;
    out->instrument = entry->instrument;
    out->body_size = (uint32_t)message->size;
}

/* ---- decode */

struct seen {
    bool id, previous;
};

static void decode_field(struct tp_json *in, struct tp_text key, const struct tp_scale *scale,
                         struct seen *seen, struct tp_depth_update *out)
{
    uint64_t time_ms = 0;
    if (tp_text_is(key, "id"))
        seen->id = tp_json_unsigned(in, &out->last_version);
    else if (tp_text_is(key, "previous"))
        seen->previous = tp_json_unsigned(in, &out->previous_version);
    else if (tp_text_is(key, "bids"))
        (void)tp_json_levels(in, scale, out->bids, &out->bid_count);
    else if (tp_text_is(key, "asks"))
        (void)tp_json_levels(in, scale, out->asks, &out->ask_count);
    else if (!tp_text_is(key, "time"))
        (void)tp_json_skip(in);
    else if (tp_json_unsigned(in, &time_ms)) {
        if (time_ms > UINT64_MAX / NS_PER_MS)
            (void)tp_json_fail(in, TP_DECODE_BAD_NUMBER);
        else
            out->exchange_ns = time_ms * NS_PER_MS;
    }
}

static enum tp_decode_status decode_depth(const struct tp_body *body, struct tp_depth_update *out)
{
    struct tp_json in;
    struct tp_text key;
    struct seen seen = {false, false};
    memset(out, 0, offsetof(struct tp_depth_update, bids));
    tp_json_init(&in, body->data, body->size);
    (void)tp_json_object(&in);
    while (tp_json_key(&in, &key))
        decode_field(&in, key, &body->scale, &seen, out);
    const enum tp_decode_status status = tp_json_finish(&in);
    if (status != TP_DECODE_OK) {
        tp_body_misfit(body, in.misfit);
        return status;
    }
    const bool is_base = body->meaning == TP_MEANING_BASE;
    if (!seen.id || seen.previous == is_base)
        return TP_DECODE_UNKNOWN;
    if (is_base) {
        out->flags = TP_DEPTH_BASE;
        out->first_version = out->last_version;
    } else if (out->previous_version < out->last_version)
        out->first_version = out->previous_version + 1;
    else
        return TP_DECODE_MALFORMED;
    return TP_DECODE_OK;
}

extern const struct tp_venue tp_venue_toy;

const struct tp_venue tp_venue_toy = {
    .layout = TP_VENUE_LAYOUT,
    .name = "toy",
    .facts =
        {
            .channels_per_connection = 50,
            .messages_per_second = 20,
            .idle_without_data_s = 60,
            .compression = TP_COMPRESSION_NONE,
            .pinger = TP_PINGER_CLIENT,
            .ping_interval_s = 30,
            .message_size_max = 1 << 20,
            .crossed_messages_max = 3, /* each message leaves a book that is not crossed */
            .crossed_ms_max = 500,
        },
    .describe = describe,
    .router_size = router_size,
    .router_init = router_init,
    .router_add = router_add,
    .route = route,
    .decode_depth = decode_depth,
};
