/* MEXC spot v3 as the engine sees it: the struct tp_venue of proto/venue.h.
 *
 * Pushes are protobuf and begin with 0x0a, the tag of their channel; answers to requests are JSON
 * objects. Facts and their sources: README.md here. Called through proto/venue.h. Any thread. */
#include "proto/venue.h"

#include <string.h>
#include <strings.h>

#include "proto/encoding/json.h"
#include "proto/venues/mexc/decode.h"

enum { OPCODE_TEXT = 1 }; /* RFC 6455 5.2 */

/* Docs read 2026-06-17: keep messages until the REST book of version v is there; drop those that
 * end at v or before; the first that is used must reach back to v + 1 or before; from then on each
 * first version is the last one before it, plus one. The documents' rule 6, read literally (first
 * version > v: start again), would refuse the contiguous case v + 1. */
static const struct tp_sync_rule aggregated_rule = {
    .chain = TP_CHAIN_RANGE,
    .base = TP_BASE_REST,
    .meeting = TP_MEETING_COVERS,
    .copies = TP_COPIES_BY_NUMBER,
};
/* Each change with a number of its own, one more than the one before; "version" of a REST book is
 * the same number. */
static const struct tp_sync_rule increase_rule = {
    .chain = TP_CHAIN_PLUS_ONE,
    .base = TP_BASE_REST,
    .meeting = TP_MEETING_COVERS,
    .copies = TP_COPIES_BY_NUMBER,
};
/* Those changes, several in a message. Nobody says whether two connections are sent the same
 * batches: levels are absolute, so that one that begins before the book's number does no harm. */
static const struct tp_sync_rule batch_rule = {
    .chain = TP_CHAIN_RANGE,
    .base = TP_BASE_REST,
    .meeting = TP_MEETING_COVERS,
    .may_overlap = true,
    .copies = TP_COPIES_BY_NUMBER,
};
/* Whole books of so many levels, the newest wins. */
#define LIMITED_RULE(levels)                                                                       \
    {                                                                                              \
        .chain = TP_CHAIN_NONE, .base = TP_BASE_IN_BAND, .in_band_base = true, .depth = (levels)   \
    }
static const struct tp_sync_rule limited_rules[] = {LIMITED_RULE(5), LIMITED_RULE(10),
                                                    LIMITED_RULE(20)};

/* Klines and mini tickers are not here: no event has their place (README.md). */
static const struct {
    const char *prefix, *suffix;
    struct tp_channel channel;
} channels[] = {
    {"spot@public.aggre.depth.v3.api.pb@", "", {TP_MEANING_DELTA, &aggregated_rule}},
    {"spot@public.increase.depth.v3.api.pb@", "", {TP_MEANING_DELTA, &increase_rule}},
    {"spot@public.increase.depth.batch.v3.api.pb@", "", {TP_MEANING_DELTA, &batch_rule}},
    {"spot@public.limit.depth.v3.api.pb@", "@5", {TP_MEANING_BASE, &limited_rules[0]}},
    {"spot@public.limit.depth.v3.api.pb@", "@10", {TP_MEANING_BASE, &limited_rules[1]}},
    {"spot@public.limit.depth.v3.api.pb@", "@20", {TP_MEANING_BASE, &limited_rules[2]}},
    {"spot@public.aggre.deals.v3.api.pb@", "", {TP_MEANING_TRADES, NULL}},
    {"spot@public.deals.v3.api.pb@", "", {TP_MEANING_TRADES, NULL}},
    {"spot@public.aggre.bookTicker.v3.api.pb@", "", {TP_MEANING_TOP, NULL}},
    {"spot@public.bookTicker.v3.api.pb@", "", {TP_MEANING_TOP, NULL}},
    {"spot@public.bookTicker.batch.v3.api.pb@", "", {TP_MEANING_TOP, NULL}},
    {"spot@private.", "", {TP_MEANING_OWN, NULL}},
};

static bool ends_with(const char *text, const char *suffix)
{
    const size_t size = strlen(text), suffix_size = strlen(suffix);
    return size >= suffix_size && memcmp(text + size - suffix_size, suffix, suffix_size) == 0;
}

const struct tp_channel *tp_mexc_describe(const char *channel)
{
    for (size_t i = 0; i < sizeof channels / sizeof *channels; i++)
        if (strncmp(channel, channels[i].prefix, strlen(channels[i].prefix)) == 0 &&
            ends_with(channel, channels[i].suffix))
            return &channels[i].channel;
    return NULL;
}

/* Whether the text, with no regard to case, stands anywhere in it: MEXC says refusals in words. */
static bool text_has(struct tp_text text, const char *words)
{
    const size_t size = strlen(words);
    for (size_t at = 0; at + size <= text.size; at++)
        if (strncasecmp((const char *)text.at + at, words, size) == 0)
            return true;
    return false;
}

static enum tp_meaning reply_meaning(struct tp_text msg, struct tp_text code)
{
    static const char channel[] = "spot@";
    if (text_has(msg, "Not Subscribed") || text_has(msg, "Not Unsubscribed") ||
        !tp_text_is(code, "0"))
        return TP_MEANING_REFUSAL;
    if (tp_text_is(msg, "PONG"))
        return TP_MEANING_HEARTBEAT;
    /* Either the channels alone, or in words behind which they stand in brackets. */
    if ((msg.size >= sizeof channel - 1 && memcmp(msg.at, channel, sizeof channel - 1) == 0) ||
        text_has(msg, "Subscribed success"))
        return TP_MEANING_ACKNOWLEDGEMENT;
    return TP_MEANING_NOTICE;
}

enum tp_meaning tp_mexc_text_meaning(const uint8_t *data, size_t size)
{
    static const uint8_t zero[] = "0";
    struct tp_text key, msg = {zero, 0}, code = {zero, 1};
    struct tp_json in;
    tp_json_init(&in, data, size);
    (void)tp_json_object(&in);
    while (tp_json_key(&in, &key)) {
        if (tp_text_is(key, "msg") && tp_json_peek(&in) == TP_JSON_STRING)
            (void)tp_json_string(&in, &msg);
        else if (tp_text_is(key, "code") && tp_json_peek(&in) == TP_JSON_NUMBER)
            (void)tp_json_number(&in, &code);
        else
            (void)tp_json_skip(&in);
    }
    return tp_json_finish(&in) == TP_DECODE_OK ? reply_meaning(msg, code) : TP_MEANING_BROKEN;
}

/* ---- struct tp_venue */

static size_t router_size(uint32_t channel_count_max, uint32_t connection_count)
{
    (void)connection_count; /* nothing is remembered of connections */
    return tp_mexc_router_memory_size(channel_count_max);
}

static void router_init(void *router, uint32_t channel_count_max, uint32_t connection_count)
{
    (void)connection_count;
    (void)tp_mexc_router_init(router, channel_count_max);
}

static bool router_add(void *router, const char *channel, uint32_t instrument)
{
    return tp_mexc_router_add(router, channel, instrument);
}

enum tp_meaning tp_mexc_other_meaning(const struct tp_venue_message *message)
{
    if (message->size > 0 && message->data[0] == '{')
        return tp_mexc_text_meaning(message->data, message->size);
    /* Text of theirs is JSON; a push of an unknown channel is none of ours. */
    return message->opcode == OPCODE_TEXT ? TP_MEANING_BROKEN : TP_MEANING_UNKNOWN;
}

extern const struct tp_venue tp_venue_mexc; /* the registry's table declares it by this name */

const struct tp_venue tp_venue_mexc = {
    .layout = TP_VENUE_LAYOUT,
    .name = "mexc",
    .facts =
        {
            .channels_per_connection = 30,
            .messages_per_second = 100,
            .connection_age_max_s = 24 * 3600,
            .idle_without_channel_s = 30,
            .idle_without_data_s = 60,
            .base_levels_max = 5000,
            /* 5,000 levels a side, the most that are decoded, of 46 bytes at most: two decimals of
             * 20 digits and their tags. */
            .message_size_max = 512 << 10,
            .compression = TP_COMPRESSION_NONE,
            .pinger = TP_PINGER_CLIENT,
            .ping_interval_s = 30,
            /* Aggregated over 100 ms: a book whose sides move apart in two messages is crossed for
             * one. No document says more; the engine's own numbers, spelled out. */
            .crossed_messages_max = TP_CROSSED_MESSAGES_DEFAULT,
            .crossed_ms_max = TP_CROSSED_MS_DEFAULT,
        },
    .describe = tp_mexc_describe,
    .router_size = router_size,
    .router_init = router_init,
    .router_add = router_add,
    .route = tp_mexc_route_message,
    .decode_depth = tp_mexc_decode_body,
    .read_versions = tp_mexc_read_versions,
    .decode_trades = tp_mexc_decode_trades,
};
