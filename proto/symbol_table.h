/* Which instrument a symbol on the wire is, and what is subscribed of it: one hash, one compare.
 *
 * A small open-addressing table of fixed capacity for routers of venues that name symbol and
 * channel apart; the caller's bits say which of its channels are ours. Trades and best prices of a
 * symbol whose book was added are known as well (router_add of proto/venue.h).
 * Called by routers of venues. Any thread; the memory belongs to the caller. */
#ifndef TP_PROTO_SYMBOL_TABLE_H
#define TP_PROTO_SYMBOL_TABLE_H
#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "proto/encoding/decimal.h"
#include "proto/encoding/text.h"
#include "proto/records.h"

enum { TP_SYMBOL_CACHE_LINE = 64 };

/* A symbol of up to 56 bytes, which all that we know of are, takes one cache line. */
struct tp_symbol_entry {
    uint32_t instrument;
    uint16_t size;     /* of the symbol; 0: the entry is free */
    uint16_t channels; /* a bit each: those that are ours */
    uint8_t symbol[TP_SYMBOL_SIZE_MAX];
    uint8_t padding[56];
};
static_assert(sizeof(struct tp_symbol_entry) == 2 * (size_t)TP_SYMBOL_CACHE_LINE,
              "two whole cache lines");

struct tp_symbol_table {
    uint32_t count, count_max;
    uint32_t mask; /* entries - 1; twice the symbols or more, so that a free one ends each probe */
    struct tp_symbol_entry *entries;
};

/* A venue's channels: the bits of those that a book is made of, and of the rest. */
struct tp_symbol_channels {
    uint16_t books, others;
};

/* router_size and router_init of proto/venue.h, for a router that is this table alone; nothing is
 * remembered of connections. channel_count_max: 1 to 2^20. */
size_t tp_symbol_table_size(uint32_t channel_count_max, uint32_t connection_count);
void tp_symbol_table_init(void *memory, uint32_t channel_count_max, uint32_t connection_count);
/* channel: its bit. False: full, a symbol of another instrument, or a book that is there already: a
 * message of either channel would be a change of the one book. symbol.size: 1 to
 * TP_SYMBOL_SIZE_MAX. */
bool tp_symbol_table_add(struct tp_symbol_table *table, struct tp_text symbol, uint16_t channel,
                         struct tp_symbol_channels all, uint32_t instrument);

/* Both ends of the symbol and its size: "USDT" is the end of many. The multipliers are 2^64 over
 * the golden ratio and over its square, made odd. */
static inline uint32_t tp_symbol_hash(struct tp_text symbol)
{
    uint64_t head = 0, tail = 0;
    if (symbol.size >= sizeof head) {
        head = tp_load_8(symbol.at);
        tail = tp_load_8(symbol.at + symbol.size - sizeof tail);
    } else
        memcpy(&head, symbol.at, symbol.size);
    const uint64_t mixed =
        (head * 0x61c8864680b583eb) ^ ((tail + symbol.size) * 0x9e3779b97f4a7c15);
    return (uint32_t)((mixed ^ (mixed >> 29)) * 0x9e3779b97f4a7c15 >> 32);
}

/* The symbol's entry, or the free one where it would go; of any size, so that what is none of ours
 * is not found. Ends: at most half of the entries are in use. */
static inline __attribute__((always_inline)) struct tp_symbol_entry *
tp_symbol_table_find(const struct tp_symbol_table *table, struct tp_text symbol)
{
    uint32_t at = tp_symbol_hash(symbol) & table->mask;
    struct tp_symbol_entry *entry = &table->entries[at];
    while (entry->size != 0 &&
           (entry->size != symbol.size || memcmp(entry->symbol, symbol.at, symbol.size) != 0)) {
        at = (at + 1) & table->mask;
        entry = &table->entries[at];
    }
    return entry;
}

/* How far it is to a character, no farther than size_max, a multiple of eight: all of that may be
 * loaded. A borrow can mark a byte above a marked one, never below: the lowest mark is exact. */
static inline __attribute__((always_inline)) size_t tp_symbol_size(const uint8_t *at, uint8_t stop,
                                                                   size_t size_max)
{
    const uint64_t ones = 0x0101010101010101, highs = 0x8080808080808080;
    for (size_t size = 0; size < size_max; size += sizeof ones) {
        const uint64_t other = tp_load_8(at + size) ^ ones * stop;
        const uint64_t found = (other - ones) & ~other & highs;
        if (found != 0)
            return size + ((size_t)__builtin_ctzll(found) >> 3);
    }
    return size_max;
}
#endif
