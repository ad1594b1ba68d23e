/* The table of router.h, and the way of a message in the usual shape through it. */
#include "proto/venues/okx/router.h"

#include <assert.h>
#include <string.h>

#include "proto/encoding/decimal.h"

#define HOT_PART static inline __attribute__((always_inline))

/* Docs read 2026-07: a snapshot has prevSeqId -1; each message's prevSeqId is the seqId before it;
 * "nothing changed" names one number twice, about once a minute; a reset at maintenance has a seqId
 * below its prevSeqId and goes on from there. The venue says which levels leave the 400, as 51
 * captured messages of 2022-05-13 show. */
static const struct tp_sync_rule books_rule = {
    .chain = TP_CHAIN_PREVIOUS,
    .base = TP_BASE_IN_BAND,
    .meeting = TP_MEETING_CHAINS,
    .restart = TP_RESTART_CHAINED,
    .in_band_base = true,
    .unchanged = true,
    .depth = 400,
};
/* Whole books of five levels, the newest wins. */
static const struct tp_sync_rule books5_rule = {
    .chain = TP_CHAIN_NONE,
    .base = TP_BASE_IN_BAND,
    .in_band_base = true,
    .depth = 5,
};

/* What is subscribed to of an instrument; a bit of entry.channels each. */
enum kind_index { BOOKS, BBO, TRADES, BOOKS5, KIND_COUNT };
enum { BOOK_BITS = 1 << BOOKS | 1 << BOOKS5, OTHER_BITS = 1 << BBO | 1 << TRADES };
static const struct kind {
    const char *name;
    size_t size;
    struct tp_channel channel;
} kinds[KIND_COUNT] = {
    [BOOKS] = {"books", 5, {TP_MEANING_DELTA, &books_rule}},
    [BBO] = {"bbo-tbt", 7, {TP_MEANING_TOP, NULL}},
    [TRADES] = {"trades", 6, {TP_MEANING_TRADES, NULL}},
    [BOOKS5] = {"books5", 6, {TP_MEANING_BASE, &books5_rule}},
};

/* A symbol of up to 56 bytes, which all that we know of are, takes one cache line. */
enum { CACHE_LINE = 64, WORD = sizeof(uint64_t) };
struct entry {
    uint32_t instrument;
    uint16_t size;     /* of the symbol; 0: the entry is free */
    uint16_t channels; /* 1 << enum kind_index: those that are ours */
    uint8_t symbol[TP_OKX_SYMBOL_SIZE_MAX];
    uint8_t padding[56];
};
static_assert(sizeof(struct entry) == 2 * (size_t)CACHE_LINE, "two whole cache lines");

struct tp_okx_router {
    uint32_t count, count_max;
    uint32_t mask; /* entries - 1; twice the channels or more, so that a free one ends each probe */
    struct entry *entries;
};

static uint32_t entry_count_for(uint32_t channel_count_max)
{
    assert(channel_count_max > 0 && channel_count_max <= 1u << 20);
    uint32_t count = 2;
    while (count < 2 * channel_count_max)
        count *= 2;
    return count;
}

size_t tp_okx_router_size(uint32_t channel_count_max, uint32_t connection_count)
{
    (void)connection_count; /* nothing is remembered of connections */
    return sizeof(struct tp_okx_router) + CACHE_LINE +
           entry_count_for(channel_count_max) * sizeof(struct entry);
}

void tp_okx_router_init(void *memory, uint32_t channel_count_max, uint32_t connection_count)
{
    memset(memory, 0, tp_okx_router_size(channel_count_max, connection_count));
    struct tp_okx_router *router = memory;
    const uintptr_t behind = (uintptr_t)(router + 1);
    router->entries = (void *)((behind + CACHE_LINE - 1) & ~(uintptr_t)(CACHE_LINE - 1));
    router->count_max = channel_count_max;
    router->mask = entry_count_for(channel_count_max) - 1;
}

/* Both ends of the symbol and its size: "-USDT-SWAP" is the end of many. The multipliers are 2^64
 * over the golden ratio and over its square, made odd. */
HOT_PART uint32_t symbol_hash(struct tp_text symbol)
{
    uint64_t head = 0, tail = 0;
    if (symbol.size >= WORD) {
        head = tp_load_8(symbol.at);
        tail = tp_load_8(symbol.at + symbol.size - WORD);
    } else
        memcpy(&head, symbol.at, symbol.size);
    const uint64_t mixed =
        (head * 0x61c8864680b583eb) ^ ((tail + symbol.size) * 0x9e3779b97f4a7c15);
    return (uint32_t)((mixed ^ (mixed >> 29)) * 0x9e3779b97f4a7c15 >> 32);
}

/* The symbol's entry, or the free one where it would go. Ends: at most half of the entries are in
 * use. */
HOT_PART struct entry *entry_find(const struct tp_okx_router *router, struct tp_text symbol)
{
    uint32_t at = symbol_hash(symbol) & router->mask;
    struct entry *entry = &router->entries[at];
    while (entry->size != 0 &&
           (entry->size != symbol.size || memcmp(entry->symbol, symbol.at, symbol.size) != 0)) {
        at = (at + 1) & router->mask;
        entry = &router->entries[at];
    }
    return entry;
}

/* KIND_COUNT: no channel of ours. */
HOT_PART unsigned kind_find(struct tp_text channel)
{
    unsigned kind = 0;
    while (kind < KIND_COUNT && (channel.size != kinds[kind].size ||
                                 memcmp(channel.at, kinds[kind].name, kinds[kind].size) != 0))
        kind++;
    return kind;
}

/* ---- the table */

static bool is_symbol(struct tp_text text)
{
    if (text.size == 0 || text.size > TP_OKX_SYMBOL_SIZE_MAX)
        return false;
    for (size_t i = 0; i < text.size; i++)
        if (text.at[i] == '"' || text.at[i] == '\\' || text.at[i] == ':' || text.at[i] <= ' ')
            return false;
    return true;
}

/* Parts a channel's name of ours; KIND_COUNT: it is none. */
static unsigned split(const char *channel, struct tp_text *symbol)
{
    const char *const colon = strchr(channel, ':');
    if (colon == NULL)
        return KIND_COUNT;
    *symbol = (struct tp_text){(const uint8_t *)colon + 1, strlen(colon + 1)};
    if (!is_symbol(*symbol))
        return KIND_COUNT;
    return kind_find((struct tp_text){(const uint8_t *)channel, (size_t)(colon - channel)});
}

const struct tp_channel *tp_okx_describe(const char *channel)
{
    struct tp_text symbol;
    const unsigned kind = split(channel, &symbol);
    return kind == KIND_COUNT ? NULL : &kinds[kind].channel;
}

bool tp_okx_router_add(void *memory, const char *channel, uint32_t instrument)
{
    struct tp_okx_router *router = memory;
    struct tp_text symbol;
    const unsigned kind = split(channel, &symbol);
    if (kind == KIND_COUNT)
        return false;
    const unsigned bit = 1u << kind;
    struct entry *entry = entry_find(router, symbol);
    if (entry->size == 0) {
        if (router->count == router->count_max)
            return false;
        memcpy(entry->symbol, symbol.at, symbol.size);
        entry->size = (uint16_t)symbol.size;
        entry->instrument = instrument;
        router->count++;
    } else if (entry->instrument != instrument ||
               ((bit & BOOK_BITS) != 0 && (entry->channels & BOOK_BITS) != 0))
        return false;
    entry->channels |= (uint16_t)((bit & BOOK_BITS) != 0 ? bit | OTHER_BITS : bit);
    return true;
}

bool tp_okx_router_find(const struct tp_okx_router *router, struct tp_text channel,
                        struct tp_text symbol, struct tp_route *out)
{
    const unsigned kind = kind_find(channel);
    if (kind == KIND_COUNT || !is_symbol(symbol))
        return false;
    const struct entry *entry = entry_find(router, symbol);
    out->meaning = kinds[kind].channel.meaning;
    out->instrument = entry->instrument;
    return (entry->channels >> kind & 1) != 0;
}

/* ---- a message: {"arg":{"channel":"NAME","instId":"SYMBOL"},"action":"update","data":BODY without
 * a space; all channels but `books` have no action */

static const char HEAD[] = "{\"arg\":{\"channel\":\"", MIDDLE[] = "\",\"instId\":\"";
static const char UPDATE[] = "\"},\"action\":\"update\",\"data\":";
static const char SNAPSHOT[] = "\"},\"action\":\"snapshot\",\"data\":";
static const char PLAIN[] = "\"},\"data\":";
enum {
    HEAD_SIZE = sizeof HEAD - 1,
    MIDDLE_SIZE = sizeof MIDDLE - 1,
    /* So much of every message that is looked at here may be loaded. */
    SIZE_MIN = HEAD_SIZE + TP_OKX_CHANNEL_SIZE_MAX + MIDDLE_SIZE + TP_OKX_SYMBOL_SIZE_MAX +
               sizeof SNAPSHOT + 2 * WORD,
};

/* How far it is to a quote, no farther than a multiple of words. A borrow can mark a byte above a
 * marked one, never below: the lowest mark is exact. */
HOT_PART size_t distance(const uint8_t *at, size_t size_max)
{
    const uint64_t ones = 0x0101010101010101, highs = 0x8080808080808080;
    for (size_t size = 0; size < size_max; size += WORD) {
        const uint64_t other = tp_load_8(at + size) ^ ones * '"';
        const uint64_t found = (other - ones) & ~other & highs;
        if (found != 0)
            return size + ((size_t)__builtin_ctzll(found) >> 3);
    }
    return size_max;
}

/* Where the data begin behind what is said of them; NULL: it is said otherwise. */
HOT_PART const uint8_t *behind_action(const uint8_t *at, unsigned kind, enum tp_meaning *meaning)
{
    if (kind != BOOKS)
        return memcmp(at, PLAIN, sizeof PLAIN - 1) == 0 ? at + sizeof PLAIN - 1 : NULL;
    if (memcmp(at, UPDATE, sizeof UPDATE - 1) == 0)
        return at + sizeof UPDATE - 1;
    if (memcmp(at, SNAPSHOT, sizeof SNAPSHOT - 1) != 0)
        return NULL;
    *meaning = TP_MEANING_BASE;
    return at + sizeof SNAPSHOT - 1;
}

HOT_PART bool route(const struct tp_okx_router *router, const uint8_t *data, size_t size,
                    struct tp_route *out)
{
    if (size < SIZE_MIN || memcmp(data, HEAD, HEAD_SIZE) != 0)
        return false;
    const struct tp_text channel = {data + HEAD_SIZE,
                                    distance(data + HEAD_SIZE, TP_OKX_CHANNEL_SIZE_MAX)};
    const unsigned kind = kind_find(channel);
    const uint8_t *at = channel.at + channel.size;
    if (kind == KIND_COUNT || memcmp(at, MIDDLE, MIDDLE_SIZE) != 0)
        return false;
    at += MIDDLE_SIZE;
    const struct tp_text symbol = {at, distance(at, TP_OKX_SYMBOL_SIZE_MAX)};
    const struct entry *entry = entry_find(router, symbol);
    enum tp_meaning meaning = kinds[kind].channel.meaning;
    at = behind_action(at + symbol.size, kind, &meaning);
    if ((entry->channels >> kind & 1) == 0 || at == NULL || *at != '[')
        return false;
    out->meaning = meaning;
    out->instrument = entry->instrument;
    out->body_offset = (uint32_t)(at - data);
    out->body_size = (uint32_t)(data + size - at);
    return true;
}

void tp_okx_route(void *memory, const struct tp_venue_message *message, uint32_t from,
                  struct tp_route *out)
{
    (void)from; /* a message has one part */
    out->next_offset = 0;
    if (!route(memory, message->data, message->size, out))
        tp_okx_route_other(memory, message, out);
}
