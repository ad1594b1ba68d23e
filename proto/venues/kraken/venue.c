/* Kraken spot (WebSocket v2) as the engine sees it: the struct tp_venue of proto/venue.h.
 *
 * Facts and their sources: README.md here. Called through proto/venue.h. Any thread. */
#include "proto/venue.h"

#include <string.h>

#include "proto/encoding/json.h"
#include "proto/venues/kraken/decode.h"

/* Documents read 2026-10: nothing is numbered; a subscription begins with the whole book to its
 * depth; each message has the CRC-32 of ten levels a side of the book that it makes; what falls out
 * of the depth is not said. Another whole book is had by subscribing anew. */
#define BOOK_RULE(levels)                                                                          \
    {                                                                                              \
        .chain = TP_CHAIN_NONE, .base = TP_BASE_IN_BAND, .in_band_base = true,                     \
        .checksum = TP_CHECKSUM_TEN, .must_truncate = true, .depth = (levels)                      \
    }
static const struct tp_sync_rule rules[] = {BOOK_RULE(10), BOOK_RULE(25), BOOK_RULE(100),
                                            BOOK_RULE(500), BOOK_RULE(1000)};

static const struct {
    const char *prefix;
    enum tp_kraken_kind kind;
    struct tp_channel channel;
} channels[] = {
    {"book-10:", TP_KRAKEN_BOOK, {TP_MEANING_DELTA, &rules[0]}},
    {"book-25:", TP_KRAKEN_BOOK, {TP_MEANING_DELTA, &rules[1]}},
    {"book-100:", TP_KRAKEN_BOOK, {TP_MEANING_DELTA, &rules[2]}},
    {"book-500:", TP_KRAKEN_BOOK, {TP_MEANING_DELTA, &rules[3]}},
    {"book-1000:", TP_KRAKEN_BOOK, {TP_MEANING_DELTA, &rules[4]}},
    {"ticker:", TP_KRAKEN_TICKER, {TP_MEANING_TOP, NULL}},
    {"trade:", TP_KRAKEN_TRADE, {TP_MEANING_TRADES, NULL}},
};

const struct tp_channel *tp_kraken_describe(const char *channel, enum tp_kraken_kind *kind,
                                            struct tp_text *symbol)
{
    for (size_t i = 0; i < sizeof channels / sizeof *channels; i++) {
        const size_t prefix = strlen(channels[i].prefix);
        if (strncmp(channel, channels[i].prefix, prefix) != 0)
            continue;
        const size_t size = strlen(channel + prefix);
        if (size == 0 || size > TP_KRAKEN_SYMBOL_SIZE_MAX)
            return NULL;
        if (kind != NULL)
            *kind = channels[i].kind;
        if (symbol != NULL)
            *symbol = (struct tp_text){(const uint8_t *)channel + prefix, size};
        return &channels[i].channel;
    }
    return NULL;
}

/* ---- struct tp_venue */

static const struct tp_channel *describe(const char *channel)
{
    return tp_kraken_describe(channel, NULL, NULL);
}

static size_t router_size(uint32_t channel_count_max, uint32_t connection_count)
{
    (void)connection_count; /* nothing is remembered of connections */
    return tp_kraken_router_size(channel_count_max);
}

static void router_init(void *router, uint32_t channel_count_max, uint32_t connection_count)
{
    (void)connection_count;
    tp_kraken_router_init(router, channel_count_max);
}

extern const struct tp_venue tp_venue_kraken; /* the registry's table declares it by this name */

const struct tp_venue tp_venue_kraken = {
    .layout = TP_VENUE_LAYOUT,
    .name = "kraken",
    .facts =
        {
            .channels_per_connection = 200,
            .messages_per_second = 10,
            .idle_without_data_s = 60,
            .base_levels_max = 1000,
            /* 1,000 levels a side of 64 bytes: two numbers of 20 digits, and their keys. */
            .message_size_max = 256 << 10,
            .compression = TP_COMPRESSION_NONE,
            .pinger = TP_PINGER_CLIENT,
            .ping_interval_s = 30,
            /* Each message makes the book of one moment, on both sides, and its checksum says so:
             * it is not crossed, and two in a row are no accident. */
            .crossed_messages_max = 2,
        },
    .describe = describe,
    .router_size = router_size,
    .router_init = router_init,
    .router_add = tp_kraken_router_add,
    .route = tp_kraken_route,
    .decode_depth = tp_kraken_decode_depth,
    .decode_trades = tp_kraken_decode_trades,
};
