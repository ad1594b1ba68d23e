/* The channels of router.h, and the way of a message in the usual shape through it. */
#include "proto/venues/okx/router.h"

#include <string.h>

#include "proto/symbol_table.h"

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
    .copies = TP_COPIES_BY_NUMBER,
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

enum { WORD = sizeof(uint64_t) };

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
    struct tp_text symbol;
    const unsigned kind = split(channel, &symbol);
    if (kind == KIND_COUNT)
        return false;
    return tp_symbol_table_add(memory, symbol, (uint16_t)(1u << kind),
                               (struct tp_symbol_channels){BOOK_BITS, OTHER_BITS}, instrument);
}

bool tp_okx_router_find(const struct tp_symbol_table *router, struct tp_text channel,
                        struct tp_text symbol, struct tp_route *out)
{
    const unsigned kind = kind_find(channel);
    if (kind == KIND_COUNT || !is_symbol(symbol))
        return false;
    const struct tp_symbol_entry *entry = tp_symbol_table_find(router, symbol);
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
    SIZE_MIN = HEAD_SIZE + TP_OKX_CHANNEL_SIZE_MAX + MIDDLE_SIZE + TP_SYMBOL_SIZE_MAX +
               sizeof SNAPSHOT + 2 * WORD,
};

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

HOT_PART bool route(const struct tp_symbol_table *router, const uint8_t *data, size_t size,
                    struct tp_route *out)
{
    if (size < SIZE_MIN || memcmp(data, HEAD, HEAD_SIZE) != 0)
        return false;
    const struct tp_text channel = {data + HEAD_SIZE,
                                    tp_symbol_size(data + HEAD_SIZE, '"', TP_OKX_CHANNEL_SIZE_MAX)};
    const unsigned kind = kind_find(channel);
    const uint8_t *at = channel.at + channel.size;
    if (kind == KIND_COUNT || memcmp(at, MIDDLE, MIDDLE_SIZE) != 0)
        return false;
    at += MIDDLE_SIZE;
    const struct tp_text symbol = {at, tp_symbol_size(at, '"', TP_SYMBOL_SIZE_MAX)};
    const struct tp_symbol_entry *entry = tp_symbol_table_find(router, symbol);
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
