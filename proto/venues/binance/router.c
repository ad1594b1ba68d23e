/* The table of router.h. */
#include "proto/venues/binance/router.h"

#include <string.h>

enum { CACHE_LINE = 64 };

static uint32_t entry_count_for(uint32_t channel_count_max)
{
    assert(channel_count_max > 0 && channel_count_max <= 1u << 20);
    uint32_t count = 2;
    while (count < 2 * channel_count_max)
        count *= 2;
    return count;
}

size_t tp_binance_router_size(uint32_t channel_count_max)
{
    return sizeof(struct tp_binance_router) + CACHE_LINE +
           entry_count_for(channel_count_max) * sizeof(struct tp_binance_entry);
}

void tp_binance_router_init(void *memory, uint32_t channel_count_max)
{
    memset(memory, 0, tp_binance_router_size(channel_count_max));
    struct tp_binance_router *router = memory;
    const uintptr_t behind = (uintptr_t)(router + 1);
    router->entries = (void *)((behind + CACHE_LINE - 1) & ~(uintptr_t)(CACHE_LINE - 1));
    router->count_max = channel_count_max;
    router->mask = entry_count_for(channel_count_max) - 1;
}

bool tp_binance_router_add(struct tp_binance_router *router, const char *stream,
                           enum tp_meaning meaning, uint32_t instrument)
{
    const struct tp_text name = {(const uint8_t *)stream, strlen(stream)};
    if (name.size > TP_BINANCE_STREAM_SIZE_MAX || router->count == router->count_max)
        return false;
    struct tp_binance_entry *entry = tp_binance_find(router, name);
    if (entry->size != 0)
        return false;
    memcpy(entry->stream, name.at, name.size);
    entry->size = (uint16_t)name.size;
    entry->meaning = (uint16_t)meaning;
    entry->instrument = instrument;
    router->count++;
    return true;
}
