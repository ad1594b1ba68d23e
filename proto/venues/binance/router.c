/* The channels of router.h, and the way of a message in the usual shape through it. */
#include "proto/venues/binance/router.h"

#include <string.h>

#include "proto/symbol_table.h"

#define HOT_PART static inline __attribute__((always_inline))

/* Docs read 2026-07-21: keep messages until the REST book is there; drop those with u <= its
 * lastUpdateId; from then on U <= book's number + 1, else one was lost; a message with u below it
 * is ignored. The documents let every message begin before the book's number. */
static const struct tp_sync_rule diff_rule = {
    .chain = TP_CHAIN_RANGE,
    .base = TP_BASE_REST,
    .meeting = TP_MEETING_COVERS,
    .may_overlap = true,
    .copies = TP_COPIES_BY_NUMBER,
};

/* Of contracts, docs read 2026-07: the first message holds the base's number, U <= lastUpdateId <=
 * u; from then on its pu is the u before it. Numbers are of all contracts together: U is not one
 * more than the u before. */
static const struct tp_sync_rule contract_rule = {
    .chain = TP_CHAIN_PREVIOUS,
    .base = TP_BASE_REST,
    .meeting = TP_MEETING_COVERS,
};

/* What is streamed of a symbol; a bit of entry.streams each. The usual one first. */
enum { KIND_COUNT = 6, BOOKS = 0xf, ALL = (1 << KIND_COUNT) - 1 };
static const struct kind {
    const char *suffix; /* NULL: there is no such stream */
    size_t size;
    struct tp_channel channel;
} kinds[TP_BINANCE_MARKET_COUNT][KIND_COUNT] = {
    [TP_BINANCE_SPOT] =
        {
            {"@depth@100ms", 12, {TP_MEANING_DELTA, &diff_rule}},
            {"@depth", 6, {TP_MEANING_DELTA, &diff_rule}},
            {NULL, 0, {TP_MEANING_UNKNOWN, NULL}},
            {NULL, 0, {TP_MEANING_UNKNOWN, NULL}},
            {"@trade", 6, {TP_MEANING_TRADES, NULL}},
            {"@bookTicker", 11, {TP_MEANING_TOP, NULL}},
        },
    [TP_BINANCE_USDM] =
        {
            {"@depth@0ms", 10, {TP_MEANING_DELTA, &contract_rule}},
            {"@depth@100ms", 12, {TP_MEANING_DELTA, &contract_rule}},
            {"@depth", 6, {TP_MEANING_DELTA, &contract_rule}},
            {"@depth@500ms", 12, {TP_MEANING_DELTA, &contract_rule}},
            {"@trade", 6, {TP_MEANING_TRADES, NULL}},
            {"@bookTicker", 11, {TP_MEANING_TOP, NULL}},
        },
};

enum { WORD = sizeof(uint64_t) };

/* The index of what is streamed; KIND_COUNT: nothing of ours. */
HOT_PART unsigned kind_find(enum tp_binance_market market, struct tp_text suffix)
{
    const struct kind *const of = kinds[market];
    unsigned kind = 0;
    while (kind < KIND_COUNT && (of[kind].suffix == NULL || suffix.size != of[kind].size ||
                                 memcmp(suffix.at, of[kind].suffix, of[kind].size) != 0))
        kind++;
    return kind;
}

/* ---- the table */

/* Where the symbol ends: at the first '@', or behind its largest size. */
static size_t symbol_size(struct tp_text stream)
{
    const uint8_t *end = memchr(stream.at, '@', stream.size);
    return end == NULL ? stream.size : (size_t)(end - stream.at);
}

static bool is_symbol(struct tp_text text)
{
    if (text.size == 0 || text.size > TP_SYMBOL_SIZE_MAX)
        return false;
    for (size_t i = 0; i < text.size; i++)
        if ((text.at[i] >= 'A' && text.at[i] <= 'Z') || text.at[i] == '"' || text.at[i] == '\\' ||
            text.at[i] <= ' ')
            return false;
    return true;
}

/* Parts a stream's name; the kind is KIND_COUNT where it is none of ours. */
static unsigned split(enum tp_binance_market market, struct tp_text stream, struct tp_text *symbol)
{
    *symbol = (struct tp_text){stream.at, symbol_size(stream)};
    if (!is_symbol(*symbol))
        return KIND_COUNT;
    return kind_find(market,
                     (struct tp_text){stream.at + symbol->size, stream.size - symbol->size});
}

static unsigned split_name(enum tp_binance_market market, const char *channel,
                           struct tp_text *symbol)
{
    return split(market, (struct tp_text){(const uint8_t *)channel, strlen(channel)}, symbol);
}

static const struct tp_channel *describe(enum tp_binance_market market, const char *channel)
{
    struct tp_text symbol;
    const unsigned kind = split_name(market, channel, &symbol);
    return kind == KIND_COUNT ? NULL : &kinds[market][kind].channel;
}

static bool router_add(void *memory, enum tp_binance_market market, const char *channel,
                       uint32_t instrument)
{
    struct tp_text symbol;
    const unsigned kind = split_name(market, channel, &symbol);
    if (kind == KIND_COUNT)
        return false;
    return tp_symbol_table_add(memory, symbol, (uint16_t)(1u << kind),
                               (struct tp_symbol_channels){BOOKS, ALL & ~BOOKS}, instrument);
}

bool tp_binance_router_find(const struct tp_symbol_table *router, enum tp_binance_market market,
                            struct tp_text stream, struct tp_route *out)
{
    struct tp_text symbol;
    const unsigned kind = split(market, stream, &symbol);
    if (kind == KIND_COUNT)
        return false;
    const struct tp_symbol_entry *entry = tp_symbol_table_find(router, symbol);
    out->meaning = kinds[market][kind].channel.meaning;
    out->instrument = entry->instrument;
    return (entry->channels >> kind & 1) != 0;
}

/* ---- a message: {"stream":"NAME","data":BODY} without a space */

static const char HEAD[] = "{\"stream\":\"", MIDDLE[] = "\",\"data\":";
enum { HEAD_SIZE = sizeof HEAD - 1, MIDDLE_SIZE = sizeof MIDDLE - 1 };
/* So much of every message that is looked at here may be loaded. */
enum { SIZE_MIN = HEAD_SIZE + TP_BINANCE_STREAM_SIZE_MAX + MIDDLE_SIZE + 2 * WORD };

HOT_PART bool route(const struct tp_symbol_table *router, enum tp_binance_market market,
                    const struct tp_venue_message *message, struct tp_route *out)
{
    const uint8_t *const data = message->data;
    const size_t size = message->size;
    if (size < SIZE_MIN || memcmp(data, HEAD, HEAD_SIZE) != 0 || data[size - 1] != '}')
        return false;
    const struct tp_text symbol = {data + HEAD_SIZE,
                                   tp_symbol_size(data + HEAD_SIZE, '@', TP_SYMBOL_SIZE_MAX)};
    const struct tp_symbol_entry *entry = tp_symbol_table_find(router, symbol);
    const uint8_t *const behind = symbol.at + symbol.size;
    const struct tp_text suffix = {behind, tp_symbol_size(behind, '"', 2 * WORD)};
    const unsigned kind = kind_find(market, suffix);
    if (kind == KIND_COUNT || (entry->channels >> kind & 1) == 0 ||
        memcmp(suffix.at + suffix.size, MIDDLE, MIDDLE_SIZE) != 0)
        return false;
    out->meaning = kinds[market][kind].channel.meaning;
    out->instrument = entry->instrument;
    out->body_offset = (uint32_t)(suffix.at + suffix.size + MIDDLE_SIZE - data);
    out->body_size = (uint32_t)size - out->body_offset;
    return true;
}

/* A message has one part. */
HOT_PART void route_all(void *memory, enum tp_binance_market market,
                        const struct tp_venue_message *message, struct tp_route *out)
{
    out->next_offset = 0;
    if (!route(memory, market, message, out))
        tp_binance_route_other(memory, market, message, out);
}

/* ---- of each market */

const struct tp_channel *tp_binance_describe(const char *channel)
{
    return describe(TP_BINANCE_SPOT, channel);
}

bool tp_binance_router_add(void *router, const char *channel, uint32_t instrument)
{
    return router_add(router, TP_BINANCE_SPOT, channel, instrument);
}

void tp_binance_route(void *router, const struct tp_venue_message *message, uint32_t from,
                      struct tp_route *out)
{
    (void)from;
    route_all(router, TP_BINANCE_SPOT, message, out);
}

const struct tp_channel *tp_binance_usdm_describe(const char *channel)
{
    return describe(TP_BINANCE_USDM, channel);
}

bool tp_binance_usdm_router_add(void *router, const char *channel, uint32_t instrument)
{
    return router_add(router, TP_BINANCE_USDM, channel, instrument);
}

void tp_binance_usdm_route(void *router, const struct tp_venue_message *message, uint32_t from,
                           struct tp_route *out)
{
    (void)from;
    route_all(router, TP_BINANCE_USDM, message, out);
}
