/* The channels of router.h, and the way of a message in the usual shape through it. */
#include "proto/venues/hyperliquid/router.h"

#include <string.h>

#include "proto/encoding/json.h"

#define HOT_PART static inline __attribute__((always_inline))

/* Docs read 2026-09: each message is the whole book to the channel's levels, nothing is numbered,
 * the newest wins. What is lost is made good by the next one. */
#define BOOK_RULE(levels)                                                                          \
    {                                                                                              \
        .chain = TP_CHAIN_NONE, .base = TP_BASE_IN_BAND, .in_band_base = true, .depth = (levels)   \
    }
static const struct tp_sync_rule whole_rule = BOOK_RULE(20), fast_rule = BOOK_RULE(5);

/* What is subscribed to of a coin; a bit of entry.channels each. */
enum kind_index { BOOK, FAST, BBO, TRADES, KIND_COUNT };
enum {
    BOOK_BITS = 1 << BOOK | 1 << FAST,
    OTHER_BITS = 1 << BBO | 1 << TRADES,
    HISTORY_BIT = 1 << KIND_COUNT, /* of entry.channels: old trades are on their way */
};
static const struct kind {
    const char *name; /* ours */
    size_t size;
    struct tp_channel channel;
} kinds[KIND_COUNT] = {
    [BOOK] = {"l2Book", 6, {TP_MEANING_BASE, &whole_rule}},
    [FAST] = {"l2Book-fast", 11, {TP_MEANING_BASE, &fast_rule}},
    [BBO] = {"bbo", 3, {TP_MEANING_TOP, NULL}},
    [TRADES] = {"trades", 6, {TP_MEANING_TRADES, NULL}},
};

/* ---- the table */

static bool is_coin(struct tp_text text)
{
    if (text.size == 0 || text.size > TP_SYMBOL_SIZE_MAX)
        return false;
    for (size_t i = 0; i < text.size; i++)
        if (text.at[i] == '"' || text.at[i] == '\\' || text.at[i] <= ' ')
            return false;
    return true;
}

/* Parts a channel's name of ours; KIND_COUNT: it is none. A coin may have a colon of its own. */
static unsigned split(const char *channel, struct tp_text *coin)
{
    const char *const colon = strchr(channel, ':');
    if (colon == NULL)
        return KIND_COUNT;
    *coin = (struct tp_text){(const uint8_t *)colon + 1, strlen(colon + 1)};
    const size_t size = (size_t)(colon - channel);
    unsigned kind = 0;
    while (kind < KIND_COUNT &&
           (size != kinds[kind].size || memcmp(channel, kinds[kind].name, size) != 0))
        kind++;
    return is_coin(*coin) ? kind : (unsigned)KIND_COUNT;
}

const struct tp_channel *tp_hyperliquid_describe(const char *channel)
{
    struct tp_text coin;
    const unsigned kind = split(channel, &coin);
    return kind == KIND_COUNT ? NULL : &kinds[kind].channel;
}

bool tp_hyperliquid_router_add(void *memory, const char *channel, uint32_t instrument)
{
    struct tp_text coin;
    const unsigned kind = split(channel, &coin);
    if (kind == KIND_COUNT)
        return false;
    return tp_symbol_table_add(memory, coin, (uint16_t)(1u << kind),
                               (struct tp_symbol_channels){BOOK_BITS, OTHER_BITS}, instrument);
}

/* The first trades of a subscription are those of before it: they were news when they happened. */
HOT_PART bool take_history(struct tp_symbol_entry *entry)
{
    const bool is_history = (entry->channels & HISTORY_BIT) != 0;
    entry->channels &= (uint16_t)~HISTORY_BIT;
    return is_history;
}

void tp_hyperliquid_router_await_history(struct tp_symbol_table *router, struct tp_text coin)
{
    struct tp_symbol_entry *const entry = tp_symbol_table_find(router, coin);
    if ((entry->channels & 1 << TRADES) != 0)
        entry->channels |= HISTORY_BIT;
}

/* wanted: bits of the channels that the message may be of. */
HOT_PART bool find(struct tp_symbol_table *router, struct tp_text coin, unsigned wanted,
                   enum tp_meaning meaning, struct tp_route *out)
{
    struct tp_symbol_entry *const entry = tp_symbol_table_find(router, coin);
    if ((entry->channels & wanted) == 0 || (wanted == 1 << TRADES && take_history(entry)))
        return false;
    out->meaning = meaning;
    out->instrument = entry->instrument;
    return true;
}

bool tp_hyperliquid_router_find(struct tp_symbol_table *router, struct tp_text channel,
                                struct tp_text coin, struct tp_route *out)
{
    if (!is_coin(coin))
        return false;
    if (tp_text_is(channel, "l2Book"))
        return find(router, coin, BOOK_BITS, TP_MEANING_BASE, out);
    if (tp_text_is(channel, "bbo"))
        return find(router, coin, 1 << BBO, TP_MEANING_TOP, out);
    return tp_text_is(channel, "trades") && find(router, coin, 1 << TRADES, TP_MEANING_TRADES, out);
}

/* ---- a book or a best price: {"channel":"l2Book","data":{"coin":"BTC",… without a space */

static const char BOOK_HEAD[] = "{\"channel\":\"l2Book\",\"data\":{\"coin\":\"";
static const char BBO_HEAD[] = "{\"channel\":\"bbo\",\"data\":{\"coin\":\"";
static const char COIN_HEAD[] = "{\"coin\":\"";
enum {
    BOOK_HEAD_SIZE = sizeof BOOK_HEAD - 1,
    BBO_HEAD_SIZE = sizeof BBO_HEAD - 1,
    COIN_HEAD_SIZE = sizeof COIN_HEAD - 1,
    /* So much of every message that is looked at here may be loaded. */
    SIZE_MIN = BOOK_HEAD_SIZE + TP_SYMBOL_SIZE_MAX + 1,
};

HOT_PART bool route(struct tp_symbol_table *router, const uint8_t *data, size_t size,
                    struct tp_route *out)
{
    if (size < SIZE_MIN)
        return false;
    const bool is_book = memcmp(data, BOOK_HEAD, BOOK_HEAD_SIZE) == 0;
    if (!is_book && memcmp(data, BBO_HEAD, BBO_HEAD_SIZE) != 0)
        return false;
    const uint8_t *const at = data + (is_book ? BOOK_HEAD_SIZE : BBO_HEAD_SIZE);
    const struct tp_text coin = {at, tp_symbol_size(at, '"', TP_SYMBOL_SIZE_MAX)};
    if (at[coin.size] != '"' || !find(router, coin, is_book ? BOOK_BITS : 1 << BBO,
                                      is_book ? TP_MEANING_BASE : TP_MEANING_TOP, out))
        return false;
    out->body_offset = (uint32_t)(at - COIN_HEAD_SIZE - data);
    out->body_size = (uint32_t)size - out->body_offset;
    return true;
}

void tp_hyperliquid_route(void *memory, const struct tp_venue_message *message, uint32_t from,
                          struct tp_route *out)
{
    (void)from; /* a message has one part */
    out->next_offset = 0;
    if (!route(memory, message->data, message->size, out))
        tp_hyperliquid_route_other(memory, message, out);
}
