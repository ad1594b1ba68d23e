/* The table of router.h, and the way of a message in the usual shape through it. */
#include "proto/venues/binance/router.h"

#include <assert.h>
#include <string.h>

#include "proto/encoding/decimal.h"

#define HOT_PART static inline __attribute__((always_inline))

/* Docs read 2026-07-21: keep messages until the REST book is there; drop those with u <= its
 * lastUpdateId; from then on U <= book's number + 1, else one was lost; a message with u below it
 * is ignored. The documents let every message begin before the book's number. */
static const struct tp_sync_rule diff_rule = {
    .chain = TP_CHAIN_RANGE,
    .base = TP_BASE_REST,
    .meeting = TP_MEETING_COVERS,
    .may_overlap = true,
};

/* What is streamed of a symbol; a bit of entry.streams each. The usual one first. */
static const struct kind {
    const char *suffix;
    size_t size;
    struct tp_channel channel;
} kinds[] = {
    {"@depth@100ms", 12, {TP_MEANING_DELTA, &diff_rule}},
    {"@depth", 6, {TP_MEANING_DELTA, &diff_rule}},
    {"@trade", 6, {TP_MEANING_TRADES, NULL}},
    {"@bookTicker", 11, {TP_MEANING_TOP, NULL}},
};
enum { KIND_COUNT = sizeof kinds / sizeof *kinds, BOOKS = 0x3, ALL = (1 << KIND_COUNT) - 1 };

/* A symbol of up to 56 bytes, which all that we know of are, takes one cache line. */
enum { CACHE_LINE = 64, WORD = sizeof(uint64_t) };
struct entry {
    uint32_t instrument;
    uint16_t size;    /* of the symbol; 0: the entry is free */
    uint16_t streams; /* 1 << index of kinds: those that are ours */
    uint8_t symbol[TP_BINANCE_SYMBOL_SIZE_MAX];
    uint8_t padding[56];
};
static_assert(sizeof(struct entry) == 2 * (size_t)CACHE_LINE, "two whole cache lines");

struct tp_binance_router {
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

size_t tp_binance_router_size(uint32_t channel_count_max, uint32_t connection_count)
{
    (void)connection_count; /* nothing is remembered of connections */
    return sizeof(struct tp_binance_router) + CACHE_LINE +
           entry_count_for(channel_count_max) * sizeof(struct entry);
}

void tp_binance_router_init(void *memory, uint32_t channel_count_max, uint32_t connection_count)
{
    memset(memory, 0, tp_binance_router_size(channel_count_max, connection_count));
    struct tp_binance_router *router = memory;
    const uintptr_t behind = (uintptr_t)(router + 1);
    router->entries = (void *)((behind + CACHE_LINE - 1) & ~(uintptr_t)(CACHE_LINE - 1));
    router->count_max = channel_count_max;
    router->mask = entry_count_for(channel_count_max) - 1;
}

/* Both ends of the symbol and its size. The multipliers are 2^64 over the golden ratio and over its
 * square, made odd. */
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
HOT_PART struct entry *entry_find(const struct tp_binance_router *router, struct tp_text symbol)
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

/* The index of what is streamed; KIND_COUNT: nothing of ours. */
HOT_PART unsigned kind_find(struct tp_text suffix)
{
    unsigned kind = 0;
    while (kind < KIND_COUNT && (suffix.size != kinds[kind].size ||
                                 memcmp(suffix.at, kinds[kind].suffix, kinds[kind].size) != 0))
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
    if (text.size == 0 || text.size > TP_BINANCE_SYMBOL_SIZE_MAX)
        return false;
    for (size_t i = 0; i < text.size; i++)
        if ((text.at[i] >= 'A' && text.at[i] <= 'Z') || text.at[i] == '"' || text.at[i] == '\\' ||
            text.at[i] <= ' ')
            return false;
    return true;
}

/* Parts a stream's name; the kind is KIND_COUNT where it is none of ours. */
static unsigned split(struct tp_text stream, struct tp_text *symbol)
{
    *symbol = (struct tp_text){stream.at, symbol_size(stream)};
    if (!is_symbol(*symbol))
        return KIND_COUNT;
    return kind_find((struct tp_text){stream.at + symbol->size, stream.size - symbol->size});
}

const struct tp_channel *tp_binance_describe(const char *channel)
{
    struct tp_text symbol;
    const unsigned kind =
        split((struct tp_text){(const uint8_t *)channel, strlen(channel)}, &symbol);
    return kind == KIND_COUNT ? NULL : &kinds[kind].channel;
}

bool tp_binance_router_add(void *memory, const char *channel, uint32_t instrument)
{
    struct tp_binance_router *router = memory;
    struct tp_text symbol;
    const unsigned kind =
        split((struct tp_text){(const uint8_t *)channel, strlen(channel)}, &symbol);
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
    } else if (entry->instrument != instrument || (entry->streams & bit & BOOKS) != 0)
        return false;
    entry->streams |= (uint16_t)((bit & BOOKS) != 0 ? bit | (ALL & ~BOOKS) : bit);
    return true;
}

bool tp_binance_router_find(const struct tp_binance_router *router, struct tp_text stream,
                            struct tp_route *out)
{
    struct tp_text symbol;
    const unsigned kind = split(stream, &symbol);
    if (kind == KIND_COUNT)
        return false;
    const struct entry *entry = entry_find(router, symbol);
    out->meaning = kinds[kind].channel.meaning;
    out->instrument = entry->instrument;
    return (entry->streams >> kind & 1) != 0;
}

/* ---- a message: {"stream":"NAME","data":BODY} without a space */

static const char HEAD[] = "{\"stream\":\"", MIDDLE[] = "\",\"data\":";
enum { HEAD_SIZE = sizeof HEAD - 1, MIDDLE_SIZE = sizeof MIDDLE - 1 };
/* So much of every message that is looked at here may be loaded. */
enum { SIZE_MIN = HEAD_SIZE + TP_BINANCE_STREAM_SIZE_MAX + MIDDLE_SIZE + 2 * WORD };

/* How far it is to a character, no farther than a multiple of words. A borrow can mark a byte above
 * a marked one, never below: the lowest mark is exact. */
HOT_PART size_t distance(const uint8_t *at, uint8_t character, size_t size_max)
{
    const uint64_t ones = 0x0101010101010101, highs = 0x8080808080808080;
    for (size_t size = 0; size < size_max; size += WORD) {
        const uint64_t other = tp_load_8(at + size) ^ ones * character;
        const uint64_t found = (other - ones) & ~other & highs;
        if (found != 0)
            return size + ((size_t)__builtin_ctzll(found) >> 3);
    }
    return size_max;
}

HOT_PART bool route(const struct tp_binance_router *router, const uint8_t *data, size_t size,
                    struct tp_route *out)
{
    if (size < SIZE_MIN || memcmp(data, HEAD, HEAD_SIZE) != 0 || data[size - 1] != '}')
        return false;
    const struct tp_text symbol = {data + HEAD_SIZE,
                                   distance(data + HEAD_SIZE, '@', TP_BINANCE_SYMBOL_SIZE_MAX)};
    const struct entry *entry = entry_find(router, symbol);
    const uint8_t *const behind = symbol.at + symbol.size;
    const struct tp_text suffix = {behind, distance(behind, '"', 2 * WORD)};
    const unsigned kind = kind_find(suffix);
    if (kind == KIND_COUNT || (entry->streams >> kind & 1) == 0 ||
        memcmp(suffix.at + suffix.size, MIDDLE, MIDDLE_SIZE) != 0)
        return false;
    out->meaning = kinds[kind].channel.meaning;
    out->instrument = entry->instrument;
    out->body_offset = (uint32_t)(suffix.at + suffix.size + MIDDLE_SIZE - data);
    out->body_size = (uint32_t)size - 1 - out->body_offset;
    return true;
}

void tp_binance_route(void *memory, const struct tp_venue_message *message, uint32_t from,
                      struct tp_route *out)
{
    (void)from; /* a message has one part */
    out->next_offset = 0;
    if (!route(memory, message->data, message->size, out))
        tp_binance_route_other(memory, message, out);
}
