/* Which of our subscriptions a combined stream is: its name to an instrument and a meaning.
 *
 * Called by venue.c. Any thread; the memory belongs to the caller. */
#ifndef TP_PROTO_BINANCE_ROUTER_H
#define TP_PROTO_BINANCE_ROUTER_H
#include <assert.h>

#include "proto/encoding/decimal.h"
#include "proto/encoding/text.h"
#include "proto/venue.h"

/* A symbol of up to 64 bytes and the longest suffix. */
enum { TP_BINANCE_STREAM_SIZE_MAX = 84 };

struct tp_binance_entry {
    uint32_t instrument;
    uint16_t size;    /* of the stream's name; 0: the entry is free */
    uint16_t meaning; /* enum tp_meaning */
    uint8_t stream[TP_BINANCE_STREAM_SIZE_MAX];
    uint8_t padding[36];
};
static_assert(sizeof(struct tp_binance_entry) == 128, "two whole cache lines, the usual name one");

struct tp_binance_router {
    uint32_t count, count_max;
    uint32_t mask; /* entries - 1; twice the channels or more, so that a free one ends each probe */
    struct tp_binance_entry *entries;
};

size_t tp_binance_router_size(uint32_t channel_count_max);
void tp_binance_router_init(void *memory, uint32_t channel_count_max);
/* False: full, or there already. */
bool tp_binance_router_add(struct tp_binance_router *router, const char *stream,
                           enum tp_meaning meaning, uint32_t instrument);

/* Names differ at their begin (the symbol) and at their end (what is streamed): both ends and the
 * size are hashed. The multipliers are 2^64 over the golden ratio and over its square, made odd. */
static inline uint32_t tp_binance_hash(struct tp_text stream)
{
    uint64_t head = 0, tail = 0;
    if (stream.size >= sizeof head) {
        head = tp_load_8(stream.at);
        tail = tp_load_8(stream.at + stream.size - sizeof tail);
    } else
        memcpy(&head, stream.at, stream.size);
    const uint64_t mixed =
        (head * 0x61c8864680b583eb) ^ ((tail + stream.size) * 0x9e3779b97f4a7c15);
    return (uint32_t)((mixed ^ (mixed >> 29)) * 0x9e3779b97f4a7c15 >> 32);
}

/* The entry of the stream, or the free one where it would go. Ends: at most half of the entries
 * are in use. */
static inline struct tp_binance_entry *tp_binance_find(const struct tp_binance_router *router,
                                                       struct tp_text stream)
{
    uint32_t at = tp_binance_hash(stream) & router->mask;
    struct tp_binance_entry *entry = &router->entries[at];
    while (entry->size != 0 &&
           (entry->size != stream.size || memcmp(entry->stream, stream.at, stream.size) != 0)) {
        at = (at + 1) & router->mask;
        entry = &router->entries[at];
    }
    return entry;
}
#endif
