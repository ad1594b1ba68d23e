/* The channels of router.h, and the way of a message in the usual shape through it. */
#include "proto/venues/bitget/router.h"

#include <string.h>

#include "proto/symbol_table.h"

#define HOT_PART static inline __attribute__((always_inline))

/* Docs read 2026-09-15: an update's pseq is the seq of the one before it; a snapshot begins each
 * subscription; pseq 0 of an update is a restart, behind which a new snapshot is needed. Captures:
 * the first update names the snapshot's seq; the unified generation's documents let it begin before
 * it. Books are cut by the venue to a depth of the instrument's own, at most this many levels, and
 * what leaves them is taken to be said (README.md). */
#define BOOKS_RULE(how, levels)                                                                    \
    {                                                                                              \
        .chain = TP_CHAIN_PREVIOUS, .base = TP_BASE_IN_BAND, .meeting = (how),                     \
        .restart = TP_RESTART_ZERO, .in_band_base = true, .copies = TP_COPIES_BY_NUMBER,           \
        .depth = (levels)                                                                          \
    }
/* Whole books of few levels, the newest wins. */
#define WHOLE_RULE(levels)                                                                         \
    {                                                                                              \
        .chain = TP_CHAIN_NONE, .base = TP_BASE_IN_BAND, .in_band_base = true, .depth = (levels)   \
    }
static const struct tp_sync_rule books_rule = BOOKS_RULE(TP_MEETING_CHAINS, 500),
                                 uta_books_rule = BOOKS_RULE(TP_MEETING_COVERS, 1000),
                                 books5_rule = WHOLE_RULE(5), books15_rule = WHOLE_RULE(15),
                                 books50_rule = WHOLE_RULE(50);

/* What is subscribed to of an instrument; a bit of entry.channels each. */
enum kind_index { BOOKS, BOOKS1, TRADE, UTA_BOOKS, UTA_BOOKS1, UTA_TRADE, BOOKS5, BOOKS15 };
enum { UTA_BOOKS50 = BOOKS15 + 1, KIND_COUNT };
enum {
    BOOK_BITS = 1 << BOOKS | 1 << BOOKS5 | 1 << BOOKS15 | 1 << UTA_BOOKS | 1 << UTA_BOOKS50,
    OTHER_BITS = ((1 << KIND_COUNT) - 1) & ~BOOK_BITS,
    UTA_BITS = 1 << UTA_BOOKS | 1 << UTA_BOOKS1 | 1 << UTA_TRADE | 1 << UTA_BOOKS50,
};
/* snapshot, update: what messages of these actions mean. The trades of a snapshot are history: they
 * were published when they happened. */
static const struct kind {
    const char *name; /* the venue's */
    size_t size;
    enum tp_meaning snapshot, update;
    struct tp_channel channel;
} kinds[KIND_COUNT] = {
    [BOOKS] = {"books", 5, TP_MEANING_BASE, TP_MEANING_DELTA, {TP_MEANING_DELTA, &books_rule}},
    [BOOKS1] = {"books1", 6, TP_MEANING_TOP, TP_MEANING_UNKNOWN, {TP_MEANING_TOP, NULL}},
    [TRADE] = {"trade", 5, TP_MEANING_UNKNOWN, TP_MEANING_TRADES, {TP_MEANING_TRADES, NULL}},
    [UTA_BOOKS] =
        {"books", 5, TP_MEANING_BASE, TP_MEANING_DELTA, {TP_MEANING_DELTA, &uta_books_rule}},
    [UTA_BOOKS1] = {"books1", 6, TP_MEANING_TOP, TP_MEANING_UNKNOWN, {TP_MEANING_TOP, NULL}},
    [UTA_TRADE] =
        {"publicTrade", 11, TP_MEANING_UNKNOWN, TP_MEANING_TRADES, {TP_MEANING_TRADES, NULL}},
    [BOOKS5] = {"books5", 6, TP_MEANING_BASE, TP_MEANING_UNKNOWN, {TP_MEANING_BASE, &books5_rule}},
    [BOOKS15] =
        {"books15", 7, TP_MEANING_BASE, TP_MEANING_UNKNOWN, {TP_MEANING_BASE, &books15_rule}},
    [UTA_BOOKS50] =
        {"books50", 7, TP_MEANING_BASE, TP_MEANING_UNKNOWN, {TP_MEANING_BASE, &books50_rule}},
};

enum { WORD = sizeof(uint64_t) };

/* KIND_COUNT: no channel of ours. */
HOT_PART unsigned kind_find(enum tp_bitget_api api, struct tp_text channel)
{
    const unsigned wanted = api == TP_BITGET_UTA ? UTA_BITS : ~(unsigned)UTA_BITS;
    unsigned kind = 0;
    while (kind < KIND_COUNT && ((wanted >> kind & 1) == 0 || channel.size != kinds[kind].size ||
                                 memcmp(channel.at, kinds[kind].name, kinds[kind].size) != 0))
        kind++;
    return kind;
}

/* ---- the table */

static bool is_symbol(struct tp_text text)
{
    if (text.size == 0 || text.size > TP_SYMBOL_SIZE_MAX)
        return false;
    for (size_t i = 0; i < text.size; i++)
        if (text.at[i] == '"' || text.at[i] == '\\' || text.at[i] == ':' || text.at[i] <= ' ')
            return false;
    return true;
}

/* Parts a channel's name of ours; KIND_COUNT: it is none. */
static unsigned split(const char *channel, struct tp_text *symbol)
{
    static const char UTA[] = "uta.";
    const char *const colon = strchr(channel, ':');
    if (colon == NULL)
        return KIND_COUNT;
    *symbol = (struct tp_text){(const uint8_t *)colon + 1, strlen(colon + 1)};
    if (!is_symbol(*symbol))
        return KIND_COUNT;
    const bool is_uta = strncmp(channel, UTA, sizeof UTA - 1) == 0;
    const char *const name = channel + (is_uta ? sizeof UTA - 1 : 0);
    return kind_find(is_uta ? TP_BITGET_UTA : TP_BITGET_CLASSIC,
                     (struct tp_text){(const uint8_t *)name, (size_t)(colon - name)});
}

const struct tp_channel *tp_bitget_describe(const char *channel)
{
    struct tp_text symbol;
    const unsigned kind = split(channel, &symbol);
    return kind == KIND_COUNT ? NULL : &kinds[kind].channel;
}

bool tp_bitget_router_add(void *memory, const char *channel, uint32_t instrument)
{
    struct tp_text symbol;
    const unsigned kind = split(channel, &symbol);
    if (kind == KIND_COUNT)
        return false;
    return tp_symbol_table_add(memory, symbol, (uint16_t)(1u << kind),
                               (struct tp_symbol_channels){BOOK_BITS, OTHER_BITS}, instrument);
}

HOT_PART bool find(const struct tp_symbol_table *router, unsigned kind, struct tp_text symbol,
                   enum tp_meaning meaning, struct tp_route *out)
{
    const struct tp_symbol_entry *entry = tp_symbol_table_find(router, symbol);
    out->meaning = meaning;
    out->instrument = entry->instrument;
    return (entry->channels >> kind & 1) != 0 && meaning != TP_MEANING_UNKNOWN;
}

static const char *const inst_types[TP_BITGET_MARKET_COUNT][TP_BITGET_API_COUNT] = {
    [TP_BITGET_SPOT] = {"SPOT", "spot"},
    [TP_BITGET_USDT] = {"USDT-FUTURES", "usdt-futures"},
};

bool tp_bitget_router_find(const struct tp_symbol_table *router,
                           const struct tp_bitget_source *source, struct tp_route *out)
{
    const unsigned kind = kind_find(source->api, source->channel);
    const size_t size = strlen(inst_types[source->market][source->api]);
    if (kind == KIND_COUNT || !is_symbol(source->symbol) || source->inst_type.size != size ||
        memcmp(source->inst_type.at, inst_types[source->market][source->api], size) != 0)
        return false;
    static const char SNAPSHOT[] = "snapshot", UPDATE[] = "update";
    enum tp_meaning meaning = TP_MEANING_UNKNOWN;
    if (source->action.size == sizeof SNAPSHOT - 1 &&
        memcmp(source->action.at, SNAPSHOT, sizeof SNAPSHOT - 1) == 0)
        meaning = kinds[kind].snapshot;
    else if (source->action.size == sizeof UPDATE - 1 &&
             memcmp(source->action.at, UPDATE, sizeof UPDATE - 1) == 0)
        meaning = kinds[kind].update;
    return find(router, kind, source->symbol, meaning, out);
}

/* ---- a message: {"action":"update","arg":{"instType":"SPOT","channel":"NAME","instId":"SYMBOL"},
 * "data":BODY without a space; of the unified generation "topic" and "symbol" */

#define OPENING(inst_type, channel) "\"arg\":{\"instType\":\"" inst_type "\",\"" channel "\":\""
static const struct opening {
    const char *text;
    size_t size;
} openings[TP_BITGET_MARKET_COUNT][TP_BITGET_API_COUNT] = {
    [TP_BITGET_SPOT] = {{OPENING("SPOT", "channel"), sizeof OPENING("SPOT", "channel") - 1},
                        {OPENING("spot", "topic"), sizeof OPENING("spot", "topic") - 1}},
    [TP_BITGET_USDT] = {{OPENING("USDT-FUTURES", "channel"),
                         sizeof OPENING("USDT-FUTURES", "channel") - 1},
                        {OPENING("usdt-futures", "topic"),
                         sizeof OPENING("usdt-futures", "topic") - 1}},
};
static const char UPDATE_HEAD[] = "{\"action\":\"update\",";
static const char SNAPSHOT_HEAD[] = "{\"action\":\"snapshot\",";
static const char *const middles[TP_BITGET_API_COUNT] = {"\",\"instId\":\"", "\",\"symbol\":\""};
static const char DATA[] = "\"},\"data\":";
enum {
    MIDDLE_SIZE = 12,
    CHANNEL_SIZE_MAX = 16, /* a longer one is none of ours */
    /* So much of every message that is looked at here may be loaded. */
    SIZE_MIN = sizeof SNAPSHOT_HEAD + sizeof OPENING("USDT-FUTURES", "channel") + CHANNEL_SIZE_MAX +
               MIDDLE_SIZE + TP_SYMBOL_SIZE_MAX + sizeof DATA + 2 * WORD,
};

/* TP_BITGET_API_COUNT: it begins otherwise. */
HOT_PART unsigned api_of(const uint8_t *at, enum tp_bitget_market market)
{
    unsigned api = 0;
    while (api < TP_BITGET_API_COUNT &&
           memcmp(at, openings[market][api].text, openings[market][api].size) != 0)
        api++;
    return api;
}

HOT_PART bool route(const struct tp_symbol_table *router, enum tp_bitget_market market,
                    const struct tp_venue_message *message, struct tp_route *out)
{
    const uint8_t *const data = message->data;
    if (message->size < SIZE_MIN)
        return false;
    const bool is_update = memcmp(data, UPDATE_HEAD, sizeof UPDATE_HEAD - 1) == 0;
    if (!is_update && memcmp(data, SNAPSHOT_HEAD, sizeof SNAPSHOT_HEAD - 1) != 0)
        return false;
    const uint8_t *at = data + (is_update ? sizeof UPDATE_HEAD - 1 : sizeof SNAPSHOT_HEAD - 1);
    const unsigned api = api_of(at, market);
    if (api == TP_BITGET_API_COUNT)
        return false;
    at += openings[market][api].size;
    const struct tp_text channel = {at, tp_symbol_size(at, '"', CHANNEL_SIZE_MAX)};
    const unsigned kind = kind_find((enum tp_bitget_api)api, channel);
    at += channel.size;
    if (kind == KIND_COUNT || memcmp(at, middles[api], MIDDLE_SIZE) != 0)
        return false;
    at += MIDDLE_SIZE;
    const struct tp_text symbol = {at, tp_symbol_size(at, '"', TP_SYMBOL_SIZE_MAX)};
    at += symbol.size;
    if (memcmp(at, DATA, sizeof DATA - 1) != 0 || at[sizeof DATA - 1] != '[')
        return false;
    at += sizeof DATA - 1;
    out->body_offset = (uint32_t)(at - data);
    out->body_size = (uint32_t)(data + message->size - at);
    return find(router, kind, symbol, is_update ? kinds[kind].update : kinds[kind].snapshot, out);
}

/* A message has one part. */
HOT_PART void route_all(void *memory, enum tp_bitget_market market,
                        const struct tp_venue_message *message, struct tp_route *out)
{
    out->next_offset = 0;
    if (!route(memory, market, message, out))
        tp_bitget_route_other(memory, market, message, out);
}

void tp_bitget_route_spot(void *memory, const struct tp_venue_message *message, uint32_t from,
                          struct tp_route *out)
{
    (void)from;
    route_all(memory, TP_BITGET_SPOT, message, out);
}

void tp_bitget_route_usdt(void *memory, const struct tp_venue_message *message, uint32_t from,
                          struct tp_route *out)
{
    (void)from;
    route_all(memory, TP_BITGET_USDT, message, out);
}
