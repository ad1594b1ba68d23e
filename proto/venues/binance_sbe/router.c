/* The channels of router.h, and the way of a message through it. */
#include "proto/venues/binance_sbe/router.h"

#include <string.h>

#include "proto/symbol_table.h"
#include "proto/venues/binance/router.h"
#include "proto/venues/binance_sbe/decode.h"

enum { OPCODE_TEXT = 1 }; /* RFC 6455 5.2 */

/* Docs read 2026-07-21: books are kept as those of JSON are, and have the same numbers. */
static const struct tp_sync_rule diff_rule = {
    .chain = TP_CHAIN_RANGE,
    .base = TP_BASE_REST,
    .meeting = TP_MEETING_COVERS,
    .may_overlap = true,
    .copies = TP_COPIES_BY_NUMBER,
};
/* Whole books of 20 levels, the newest wins. */
static const struct tp_sync_rule whole_rule = {
    .chain = TP_CHAIN_NONE,
    .base = TP_BASE_IN_BAND,
    .in_band_base = true,
    .depth = 20,
};

enum {
    BOOKS = 1 << TP_BINANCE_SBE_DEPTH | 1 << TP_BINANCE_SBE_DEPTH20,
    OTHERS = 1 << TP_BINANCE_SBE_TRADE | 1 << TP_BINANCE_SBE_BEST,
};
static const struct {
    const char *suffix;
    struct tp_channel channel;
} kinds[TP_BINANCE_SBE_KIND_COUNT] = {
    [TP_BINANCE_SBE_DEPTH] = {"@depth", {TP_MEANING_DELTA, &diff_rule}},
    [TP_BINANCE_SBE_DEPTH20] = {"@depth20", {TP_MEANING_BASE, &whole_rule}},
    [TP_BINANCE_SBE_TRADE] = {"@trade", {TP_MEANING_TRADES, NULL}},
    [TP_BINANCE_SBE_BEST] = {"@bestBidAsk", {TP_MEANING_TOP, NULL}},
};

/* A symbol as messages have it. Letters beyond ASCII are the same in both: others are refused with
 * their row (check_symbol of venue.py). False: no stream's symbol. */
static bool write_symbol(const char *stream, size_t size, uint8_t symbol[TP_SYMBOL_SIZE_MAX])
{
    if (size == 0 || size > TP_SYMBOL_SIZE_MAX)
        return false;
    for (size_t i = 0; i < size; i++) {
        const uint8_t character = (uint8_t)stream[i];
        if (character <= ' ' || character == '"' || character == '\\' ||
            (character >= 'A' && character <= 'Z'))
            return false;
        const bool is_letter = character >= 'a' && character <= 'z';
        symbol[i] = is_letter ? (uint8_t)(character - 'a' + 'A') : character;
    }
    return true;
}

/* TP_BINANCE_SBE_KIND_COUNT: no stream of ours. */
static enum tp_binance_sbe_kind split(const char *stream, uint8_t symbol[TP_SYMBOL_SIZE_MAX],
                                      size_t *size)
{
    *size = strcspn(stream, "@");
    enum tp_binance_sbe_kind kind = 0;
    while (kind < TP_BINANCE_SBE_KIND_COUNT && strcmp(stream + *size, kinds[kind].suffix) != 0)
        kind++;
    return write_symbol(stream, *size, symbol) ? kind : TP_BINANCE_SBE_KIND_COUNT;
}

const struct tp_channel *tp_binance_sbe_describe(const char *channel)
{
    uint8_t symbol[TP_SYMBOL_SIZE_MAX];
    size_t size;
    const enum tp_binance_sbe_kind kind = split(channel, symbol, &size);
    return kind == TP_BINANCE_SBE_KIND_COUNT ? NULL : &kinds[kind].channel;
}

bool tp_binance_sbe_router_add(void *router, const char *channel, uint32_t instrument)
{
    uint8_t symbol[TP_SYMBOL_SIZE_MAX];
    size_t size;
    const enum tp_binance_sbe_kind kind = split(channel, symbol, &size);
    if (kind == TP_BINANCE_SBE_KIND_COUNT)
        return false;
    return tp_symbol_table_add(router, (struct tp_text){symbol, size}, (uint16_t)(1u << kind),
                               (struct tp_symbol_channels){BOOKS, OTHERS}, instrument);
}

/* What is no message of our schema: answers and notices are JSON, which has no character of which
 * a schema's number is made. Another schema's is nobody's. */
static enum tp_meaning other_meaning(const struct tp_venue_message *message)
{
    if (message->size > 0 && message->data[0] == '{')
        return tp_binance_text_meaning(message);
    if (message->opcode == OPCODE_TEXT || message->size < TP_SBE_HEADER_SIZE)
        return TP_MEANING_BROKEN;
    return TP_MEANING_UNKNOWN;
}

void tp_binance_sbe_route(void *router, const struct tp_venue_message *message, uint32_t from,
                          struct tp_route *out)
{
    (void)from; /* a message has one part */
    out->next_offset = 0;
    struct tp_sbe in = {message->data, message->data + message->size};
    struct tp_sbe_header header = {.schema_id = 0};
    if (message->size >= TP_SBE_HEADER_SIZE)
        header = tp_sbe_header(in);
    if (header.schema_id != TP_BINANCE_SBE_SCHEMA_ID) {
        out->meaning = other_meaning(message);
        return;
    }
    in.at += TP_SBE_HEADER_SIZE;
    struct tp_binance_sbe_parts parts;
    const enum tp_binance_sbe_kind kind = tp_binance_sbe_kind(header.template_id);
    out->meaning = TP_MEANING_UNKNOWN;
    if (kind == TP_BINANCE_SBE_KIND_COUNT)
        return;
    out->meaning = TP_MEANING_BROKEN;
    if (!tp_binance_sbe_part(in, &header, kind, &parts))
        return;
    const struct tp_symbol_entry *const entry = tp_symbol_table_find(router, parts.symbol);
    const bool is_ours = (entry->channels >> kind & 1) != 0;
    out->meaning = is_ours ? kinds[kind].channel.meaning : TP_MEANING_UNKNOWN;
    out->instrument = entry->instrument;
    out->body_offset = 0;
    out->body_size = (uint32_t)message->size;
}
