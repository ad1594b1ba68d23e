/* Which of our subscriptions a push message belongs to, from its first field.
 *
 * MEXC's wrapper starts 0a <length> <channel>, and the channel is the string that we subscribed
 * with: one hash, one compare of the whole channel, never a search through the message.
 * Called by venue.c. Any thread; the memory belongs to the caller. */
#include <assert.h>
#include <string.h>

#include "proto/venues/mexc/decode.h"

enum {
    CHANNEL_SIZE_MAX = 96,
    CHANNEL_TAG = 0x0a,
    HASHED_SIZE = 16, /* the channel's end: the symbol, perhaps with "@20" behind it */
    CACHE_LINE = 64,
};

/* One message, one function: each prologue costs as much as the hash. */
#define HOT_PART static inline __attribute__((always_inline))

/* A channel of up to 56 bytes, which those of the aggregated streams are, takes one cache line. */
struct router_entry {
    uint32_t instrument;
    uint16_t size;    /* of the channel; 0: the entry is free */
    uint16_t meaning; /* enum tp_meaning: of the channel's messages */
    uint8_t channel[CHANNEL_SIZE_MAX];
    uint8_t padding[24];
};
static_assert(sizeof(struct router_entry) == 2 * (size_t)CACHE_LINE, "two whole cache lines");

struct tp_mexc_router {
    uint32_t count, count_max;
    uint32_t forms; /* a bit for each of `forms` that a book's channel has */
    uint32_t mask; /* entries - 1; twice the channels or more, so that a free one ends each probe */
    struct router_entry *entries;
};

static uint32_t entry_count_for(uint32_t channel_count_max)
{
    assert(channel_count_max > 0 && channel_count_max <= 1u << 20);
    uint32_t count = 2;
    while (count < 2 * channel_count_max)
        count *= 2;
    return count;
}

size_t tp_mexc_router_memory_size(uint32_t channel_count_max)
{
    return sizeof(struct tp_mexc_router) + CACHE_LINE +
           entry_count_for(channel_count_max) * sizeof(struct router_entry);
}

struct tp_mexc_router *tp_mexc_router_init(void *memory, uint32_t channel_count_max)
{
    memset(memory, 0, tp_mexc_router_memory_size(channel_count_max));
    struct tp_mexc_router *router = memory;
    const uintptr_t behind = (uintptr_t)(router + 1);
    router->entries =
        (struct router_entry *)((behind + CACHE_LINE - 1) & ~(uintptr_t)(CACHE_LINE - 1));
    router->count_max = channel_count_max;
    router->mask = entry_count_for(channel_count_max) - 1;
    return router;
}

/* Multiplicative hashing of the last 16 bytes; a shorter channel is hashed with leading zeros. The
 * multipliers are 2^64 over the golden ratio and over its square, made odd. */
HOT_PART uint32_t channel_hash(const uint8_t *channel, size_t size)
{
    uint64_t word[2] = {0, 0};
    if (size >= HASHED_SIZE)
        memcpy(word, channel + size - HASHED_SIZE, HASHED_SIZE);
    else
        memcpy((uint8_t *)word + HASHED_SIZE - size, channel, size);
    const uint64_t mixed = (word[0] * 0x61c8864680b583eb) ^ (word[1] * 0x9e3779b97f4a7c15);
    return (uint32_t)((mixed ^ (mixed >> 29)) * 0x9e3779b97f4a7c15 >> 32);
}

/* The entry that holds the channel, or the free one where it would go. Ends: at most half of the
 * entries are in use. */
HOT_PART struct router_entry *entry_find(const struct tp_mexc_router *router,
                                         const uint8_t *channel, size_t size)
{
    uint32_t at = channel_hash(channel, size) & router->mask;
    struct router_entry *entry = &router->entries[at];
    while (entry->size != 0 &&
           (entry->size != size || memcmp(entry->channel, channel, size) != 0)) {
        at = (at + 1) & router->mask;
        entry = &router->entries[at];
    }
    return entry;
}

/* What else is streamed of a book's instrument: trades and best prices of its symbol, which a
 * channel of theirs ends with. */
#define PREFIX(text) (text), sizeof(text) - 1
static const struct {
    const char *prefix;
    size_t size;
    enum tp_meaning meaning;
} siblings[] = {
    {PREFIX("spot@public.aggre.deals.v3.api.pb@100ms@"), TP_MEANING_TRADES},
    {PREFIX("spot@public.aggre.deals.v3.api.pb@10ms@"), TP_MEANING_TRADES},
    {PREFIX("spot@public.aggre.bookTicker.v3.api.pb@100ms@"), TP_MEANING_TOP},
    {PREFIX("spot@public.aggre.bookTicker.v3.api.pb@10ms@"), TP_MEANING_TOP},
    {PREFIX("spot@public.bookTicker.batch.v3.api.pb@"), TP_MEANING_TOP},
    {PREFIX("spot@public.bookTicker.v3.api.pb@"), TP_MEANING_TOP},
    {PREFIX("spot@public.deals.v3.api.pb@"), TP_MEANING_TRADES},
};

/* A book's channel: its symbol stands between these. */
static const struct {
    const char *before;
    size_t size;
    const char *behind;
    size_t behind_size;
} forms[] = {
    {PREFIX("spot@public.aggre.depth.v3.api.pb@100ms@"), PREFIX("")},
    {PREFIX("spot@public.aggre.depth.v3.api.pb@10ms@"), PREFIX("")},
    {PREFIX("spot@public.increase.depth.batch.v3.api.pb@"), PREFIX("")},
    {PREFIX("spot@public.increase.depth.v3.api.pb@"), PREFIX("")},
    {PREFIX("spot@public.limit.depth.v3.api.pb@"), PREFIX("@5")},
    {PREFIX("spot@public.limit.depth.v3.api.pb@"), PREFIX("@10")},
    {PREFIX("spot@public.limit.depth.v3.api.pb@"), PREFIX("@20")},
};
enum { FORM_COUNT = sizeof forms / sizeof *forms, FORM_SIZE_MAX = 48 };

/* Which forms are in use: nearly always one. */
static void note_form(struct tp_mexc_router *router, const char *channel, size_t size)
{
    for (size_t i = 0; i < FORM_COUNT; i++)
        if (size > forms[i].size + forms[i].behind_size &&
            memcmp(channel, forms[i].before, forms[i].size) == 0 &&
            memcmp(channel + size - forms[i].behind_size, forms[i].behind, forms[i].behind_size) ==
                0)
            router->forms |= 1u << i;
}

/* NULL: the symbol has no book here. */
static const struct router_entry *book_of(const struct tp_mexc_router *router,
                                          struct tp_text symbol)
{
    uint8_t name[FORM_SIZE_MAX + CHANNEL_SIZE_MAX];
    for (uint32_t left = router->forms; left != 0; left &= left - 1) {
        const uint32_t i = (uint32_t)__builtin_ctz(left);
        memcpy(name, forms[i].before, forms[i].size);
        memcpy(name + forms[i].size, symbol.at, symbol.size);
        memcpy(name + forms[i].size + symbol.size, forms[i].behind, forms[i].behind_size);
        const struct router_entry *book =
            entry_find(router, name, forms[i].size + symbol.size + forms[i].behind_size);
        if (book->size != 0)
            return book;
    }
    return NULL;
}

bool tp_mexc_router_add(struct tp_mexc_router *router, const char *channel, uint32_t instrument)
{
    const size_t size = strlen(channel);
    const struct tp_channel *kind = tp_mexc_describe(channel);
    if (kind == NULL || size > CHANNEL_SIZE_MAX || router->count == router->count_max)
        return false;
    struct router_entry *entry = entry_find(router, (const uint8_t *)channel, size);
    if (entry->size != 0)
        return false;
    memcpy(entry->channel, channel, size);
    entry->size = (uint16_t)size;
    entry->meaning = (uint16_t)kind->meaning;
    entry->instrument = instrument;
    router->count++;
    note_form(router, channel, size);
    return true;
}

HOT_PART bool route(const struct tp_mexc_router *router, const uint8_t *data, size_t size,
                    struct tp_route *out)
{
    /* A channel of ours has a one-byte length. */
    if (size < 2 || data[0] != CHANNEL_TAG || data[1] == 0 || data[1] > CHANNEL_SIZE_MAX ||
        data[1] > size - 2)
        return false;
    const struct router_entry *entry = entry_find(router, data + 2, data[1]);
    if (entry->size == 0)
        return false;
    out->meaning = (enum tp_meaning)entry->meaning;
    out->instrument = entry->instrument;
    out->body_offset = 2u + data[1];
    out->body_size = (uint32_t)size - out->body_offset;
    return true;
}

bool tp_mexc_route(const struct tp_mexc_router *router, const uint8_t *data, size_t size,
                   struct tp_route *out)
{
    return route(router, data, size, out);
}

/* Out of line: routing a book's message must not save registers for what this needs. */
__attribute__((noinline)) static bool route_sibling(const struct tp_mexc_router *router,
                                                    const uint8_t *data, size_t size,
                                                    struct tp_route *out)
{
    if (size < 2 || data[0] != CHANNEL_TAG || data[1] > CHANNEL_SIZE_MAX || data[1] > size - 2)
        return false;
    for (size_t i = 0; i < sizeof siblings / sizeof *siblings; i++) {
        const size_t prefix = siblings[i].size;
        if (data[1] <= prefix || memcmp(data + 2, siblings[i].prefix, prefix) != 0)
            continue;
        const struct router_entry *book =
            book_of(router, (struct tp_text){data + 2 + prefix, data[1] - prefix});
        if (book == NULL)
            return false;
        out->meaning = siblings[i].meaning;
        out->instrument = book->instrument;
        out->body_offset = 2u + data[1];
        out->body_size = (uint32_t)size - out->body_offset;
        return true;
    }
    return false;
}

void tp_mexc_route_message(void *router, const struct tp_venue_message *message, uint32_t from,
                           struct tp_route *out)
{
    (void)from; /* a message has one part */
    out->next_offset = 0;
    if (!route(router, message->data, message->size, out) &&
        !route_sibling(router, message->data, message->size, out))
        out->meaning = tp_mexc_other_meaning(message);
}
