/* The table of symbol_table.h: its memory, and what may be added to it. */
#include "proto/symbol_table.h"

static uint32_t entry_count_for(uint32_t count_max)
{
    assert(count_max > 0 && count_max <= 1u << 20);
    uint32_t count = 2;
    while (count < 2 * count_max)
        count *= 2;
    return count;
}

size_t tp_symbol_table_size(uint32_t channel_count_max, uint32_t connection_count)
{
    (void)connection_count;
    return sizeof(struct tp_symbol_table) + TP_SYMBOL_CACHE_LINE +
           entry_count_for(channel_count_max) * sizeof(struct tp_symbol_entry);
}

void tp_symbol_table_init(void *memory, uint32_t channel_count_max, uint32_t connection_count)
{
    memset(memory, 0, tp_symbol_table_size(channel_count_max, connection_count));
    struct tp_symbol_table *table = memory;
    const uintptr_t line = TP_SYMBOL_CACHE_LINE, behind = (uintptr_t)(table + 1);
    table->entries = (void *)((behind + line - 1) & ~(line - 1));
    table->count_max = channel_count_max;
    table->mask = entry_count_for(channel_count_max) - 1;
}

bool tp_symbol_table_add(struct tp_symbol_table *table, struct tp_text symbol, uint16_t channel,
                         struct tp_symbol_channels all, uint32_t instrument)
{
    assert(symbol.size > 0 && symbol.size <= TP_SYMBOL_SIZE_MAX);
    const bool is_book = (channel & all.books) != 0;
    struct tp_symbol_entry *entry = tp_symbol_table_find(table, symbol);
    if (entry->size == 0) {
        if (table->count == table->count_max)
            return false;
        memcpy(entry->symbol, symbol.at, symbol.size);
        entry->size = (uint16_t)symbol.size;
        entry->instrument = instrument;
        table->count++;
    } else if (entry->instrument != instrument || (is_book && (entry->channels & all.books) != 0))
        return false;
    entry->channels |= is_book ? (uint16_t)(channel | all.others) : channel;
    return true;
}
