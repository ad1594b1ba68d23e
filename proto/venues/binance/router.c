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

enum { WORD = sizeof(uint64_t) };

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
    if (text.size == 0 || text.size > TP_SYMBOL_SIZE_MAX)
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
    struct tp_text symbol;
    const unsigned kind =
        split((struct tp_text){(const uint8_t *)channel, strlen(channel)}, &symbol);
    if (kind == KIND_COUNT)
        return false;
    return tp_symbol_table_add(memory, symbol, (uint16_t)(1u << kind),
                               (struct tp_symbol_channels){BOOKS, ALL & ~BOOKS}, instrument);
}

bool tp_binance_router_find(const struct tp_symbol_table *router, struct tp_text stream,
                            struct tp_route *out)
{
    struct tp_text symbol;
    const unsigned kind = split(stream, &symbol);
    if (kind == KIND_COUNT)
        return false;
    const struct tp_symbol_entry *entry = tp_symbol_table_find(router, symbol);
    out->meaning = kinds[kind].channel.meaning;
    out->instrument = entry->instrument;
    return (entry->channels >> kind & 1) != 0;
}

/* ---- a message: {"stream":"NAME","data":BODY} without a space */

static const char HEAD[] = "{\"stream\":\"", MIDDLE[] = "\",\"data\":";
enum { HEAD_SIZE = sizeof HEAD - 1, MIDDLE_SIZE = sizeof MIDDLE - 1 };
/* So much of every message that is looked at here may be loaded. */
enum { SIZE_MIN = HEAD_SIZE + TP_BINANCE_STREAM_SIZE_MAX + MIDDLE_SIZE + 2 * WORD };

HOT_PART bool route(const struct tp_symbol_table *router, const uint8_t *data, size_t size,
                    struct tp_route *out)
{
    if (size < SIZE_MIN || memcmp(data, HEAD, HEAD_SIZE) != 0 || data[size - 1] != '}')
        return false;
    const struct tp_text symbol = {data + HEAD_SIZE,
                                   tp_symbol_size(data + HEAD_SIZE, '@', TP_SYMBOL_SIZE_MAX)};
    const struct tp_symbol_entry *entry = tp_symbol_table_find(router, symbol);
    const uint8_t *const behind = symbol.at + symbol.size;
    const struct tp_text suffix = {behind, tp_symbol_size(behind, '"', 2 * WORD)};
    const unsigned kind = kind_find(suffix);
    if (kind == KIND_COUNT || (entry->channels >> kind & 1) == 0 ||
        memcmp(suffix.at + suffix.size, MIDDLE, MIDDLE_SIZE) != 0)
        return false;
    out->meaning = kinds[kind].channel.meaning;
    out->instrument = entry->instrument;
    out->body_offset = (uint32_t)(suffix.at + suffix.size + MIDDLE_SIZE - data);
    out->body_size = (uint32_t)size - out->body_offset;
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
