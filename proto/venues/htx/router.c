/* The channels of router.h, and the way of a message in the usual shape through it. */
#include "proto/venues/htx/router.h"

#include <string.h>

#define HOT_PART static inline __attribute__((always_inline))

/* Documents read 2025-11: "request refresh message (with same number of levels), and base on its
 * seqNum to align it with the cached incremental message which has the same prevSeqNum", then
 * prevSeqNum is the seqNum before it. A message of 150 levels is what differs between two looks, so
 * a base between them cannot be met by it (CHAINS). Nothing says that levels that fall out of the
 * depth are named: they are removed here. */
#define MBP_RULE(levels)                                                                           \
    {                                                                                              \
        .chain = TP_CHAIN_PREVIOUS, .base = TP_BASE_REQUEST, .meeting = TP_MEETING_CHAINS,         \
        .restart = TP_RESTART_NEVER, .in_band_base = true, .unchanged = true,                      \
        .must_truncate = true, .depth = (levels)                                                   \
    }
static const struct tp_sync_rule mbp_5_rule = MBP_RULE(5);
static const struct tp_sync_rule mbp_20_rule = MBP_RULE(20);
static const struct tp_sync_rule mbp_150_rule = MBP_RULE(150);
/* Whole books of twenty levels, the newest wins. */
static const struct tp_sync_rule refresh_rule = {
    .chain = TP_CHAIN_NONE,
    .base = TP_BASE_IN_BAND,
    .in_band_base = true,
    .depth = 20,
};

/* What is subscribed to of an instrument; a bit of entry.channels each. */
enum kind_index { MBP_150, MBP_20, MBP_5, REFRESH, BBO, TRADES, KIND_COUNT };
enum {
    BOOK_BITS = 1 << MBP_150 | 1 << MBP_20 | 1 << MBP_5 | 1 << REFRESH,
    OTHER_BITS = 1 << BBO | 1 << TRADES,
};
static const struct kind {
    const char *name;
    size_t size;
    struct tp_channel channel;
} kinds[KIND_COUNT] = {
    [MBP_150] = {"mbp.150", 7, {TP_MEANING_DELTA, &mbp_150_rule}},
    [MBP_20] = {"mbp.20", 6, {TP_MEANING_DELTA, &mbp_20_rule}},
    [MBP_5] = {"mbp.5", 5, {TP_MEANING_DELTA, &mbp_5_rule}},
    [REFRESH] = {"mbp.refresh.20", 14, {TP_MEANING_BASE, &refresh_rule}},
    [BBO] = {"bbo", 3, {TP_MEANING_TOP, NULL}},
    [TRADES] = {"trade.detail", 12, {TP_MEANING_TRADES, NULL}},
};

static const char MARKET[] = "market.";
enum { MARKET_SIZE = sizeof MARKET - 1 };

/* KIND_COUNT: no channel of ours. */
HOT_PART unsigned kind_find(struct tp_text name)
{
    unsigned kind = 0;
    while (kind < KIND_COUNT && (name.size != kinds[kind].size ||
                                 memcmp(name.at, kinds[kind].name, kinds[kind].size) != 0))
        kind++;
    return kind;
}

/* ---- the table */

static bool is_symbol(struct tp_text text)
{
    if (text.size == 0 || text.size > TP_SYMBOL_SIZE_MAX)
        return false;
    for (size_t i = 0; i < text.size; i++)
        if (!((text.at[i] >= 'a' && text.at[i] <= 'z') || (text.at[i] >= '0' && text.at[i] <= '9')))
            return false;
    return true;
}

/* Parts a topic; KIND_COUNT: it is none of ours. */
static unsigned split(struct tp_text topic, struct tp_text *symbol)
{
    if (topic.size < MARKET_SIZE || memcmp(topic.at, MARKET, MARKET_SIZE) != 0)
        return KIND_COUNT;
    const uint8_t *const begin = topic.at + MARKET_SIZE;
    const size_t left = topic.size - MARKET_SIZE;
    const uint8_t *const dot = left == 0 ? NULL : memchr(begin, '.', left);
    if (dot == NULL)
        return KIND_COUNT;
    *symbol = (struct tp_text){begin, (size_t)(dot - begin)};
    if (!is_symbol(*symbol))
        return KIND_COUNT;
    return kind_find((struct tp_text){dot + 1, left - symbol->size - 1});
}

const struct tp_channel *tp_htx_describe(const char *channel)
{
    struct tp_text symbol;
    const unsigned kind =
        split((struct tp_text){(const uint8_t *)channel, strlen(channel)}, &symbol);
    return kind == KIND_COUNT ? NULL : &kinds[kind].channel;
}

bool tp_htx_router_add(void *memory, const char *channel, uint32_t instrument)
{
    struct tp_text symbol;
    const unsigned kind =
        split((struct tp_text){(const uint8_t *)channel, strlen(channel)}, &symbol);
    if (kind == KIND_COUNT)
        return false;
    return tp_symbol_table_add(memory, symbol, (uint16_t)(1u << kind),
                               (struct tp_symbol_channels){BOOK_BITS, OTHER_BITS}, instrument);
}

bool tp_htx_router_find(const struct tp_symbol_table *router, struct tp_text topic,
                        struct tp_route *out)
{
    struct tp_text symbol;
    const unsigned kind = split(topic, &symbol);
    if (kind == KIND_COUNT)
        return false;
    const struct tp_symbol_entry *entry = tp_symbol_table_find(router, symbol);
    out->meaning = kinds[kind].channel.meaning;
    out->instrument = entry->instrument;
    return (entry->channels >> kind & 1) != 0;
}

/* ---- a message: {"ch":"market.SYMBOL.KIND","ts":TIME,"tick":{… without a space */

static const char HEAD[] = "{\"ch\":\"market.", BEHIND[] = "\",\"ts\":";
static const char TICK[] = ",\"tick\":{";
enum {
    HEAD_SIZE = sizeof HEAD - 1,
    BEHIND_SIZE = sizeof BEHIND - 1,
    TICK_SIZE = sizeof TICK - 1,
    TIME_SIZE = 13,   /* milliseconds, from 2001 to 2286 */
    SYMBOL_SIZE = 24, /* a longer one goes the long way: less than a message may be loaded here */
    SIZE_MIN =
        HEAD_SIZE + SYMBOL_SIZE + 1 + TP_HTX_KIND_SIZE_MAX + BEHIND_SIZE + TIME_SIZE + TICK_SIZE,
};

HOT_PART bool route(const struct tp_symbol_table *router, const uint8_t *data, size_t size,
                    struct tp_route *out)
{
    if (size < SIZE_MIN || memcmp(data, HEAD, HEAD_SIZE) != 0)
        return false;
    const struct tp_text symbol = {data + HEAD_SIZE,
                                   tp_symbol_size(data + HEAD_SIZE, '.', SYMBOL_SIZE)};
    const uint8_t *const name = symbol.at + symbol.size + 1;
    const struct tp_text kind_name = {name, tp_symbol_size(name, '"', TP_HTX_KIND_SIZE_MAX)};
    const unsigned kind = kind_find(kind_name);
    const uint8_t *const at = name + kind_name.size;
    if (symbol.at[symbol.size] != '.' || kind == KIND_COUNT ||
        memcmp(at, BEHIND, BEHIND_SIZE) != 0 ||
        memcmp(at + BEHIND_SIZE + TIME_SIZE, TICK, TICK_SIZE) != 0)
        return false;
    const struct tp_symbol_entry *entry = tp_symbol_table_find(router, symbol);
    if ((entry->channels >> kind & 1) == 0)
        return false;
    out->meaning = kinds[kind].channel.meaning;
    out->instrument = entry->instrument;
    out->body_offset = 0;
    out->body_size = (uint32_t)size;
    return true;
}

void tp_htx_route(void *memory, const struct tp_venue_message *message, uint32_t from,
                  struct tp_route *out)
{
    (void)from; /* a message has one part */
    out->next_offset = 0;
    if (!route(memory, message->data, message->size, out))
        tp_htx_route_other(memory, message, out);
}
