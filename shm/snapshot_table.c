/* Four versions per slot: see snapshot_table.h for the protocol.
 *
 * Called by: engine/feed (writer, hot path), shm/segment_reader.c (readers). One writer thread. */
#include "shm/snapshot_table.h"

#include <assert.h>
#include <stddef.h>

enum { TP_SNAPSHOT_TRIES_MAX = 1000 };

static size_t cell_offset(uint32_t slot, uint64_t version, uint32_t cell_size)
{
    return ((size_t)slot * TP_SNAPSHOT_VERSIONS + (version & (TP_SNAPSHOT_VERSIONS - 1))) *
           cell_size;
}

static struct tp_snapshot_cell *cell_of(const struct tp_snapshot_writer *table, uint32_t slot,
                                        uint64_t version)
{
    /* Cells start on a 64-byte boundary of the segment and cell_size is a multiple of 64. */
    return (struct tp_snapshot_cell *)(void *)(table->cells +
                                               cell_offset(slot, version, table->cell_size));
}

static uint64_t version_last(const struct tp_snapshot_writer *table, uint32_t slot)
{
    return atomic_load_explicit(&table->index[slot], memory_order_relaxed);
}

_Atomic uint64_t *tp_snapshot_begin(struct tp_snapshot_writer *table, uint32_t slot,
                                    uint64_t ring_index)
{
    assert(slot < table->slot_count);
    const uint64_t version = version_last(table, slot) + 1;
    struct tp_snapshot_cell *cell = cell_of(table, slot, version);
    atomic_store_explicit(&cell->sequence, 2 * version - 1, memory_order_relaxed);
    /* The odd mark must be seen before any new word: pairs with the acquire fence in
     * tp_snapshot_read. */
    atomic_thread_fence(memory_order_release);
    atomic_store_explicit(&cell->ring_index, ring_index, memory_order_relaxed);
    return cell->word;
}

void tp_snapshot_end(struct tp_snapshot_writer *table, uint32_t slot)
{
    const uint64_t version = version_last(table, slot) + 1;
    /* Pairs with the acquire load of sequence in tp_snapshot_read. */
    atomic_store_explicit(&cell_of(table, slot, version)->sequence, 2 * version,
                          memory_order_release);
    /* Pairs with the acquire load of index: who sees the version finds its cell whole. */
    atomic_store_explicit(&table->index[slot], version, memory_order_release);
}

const struct tp_snapshot_cell *tp_snapshot_last(const struct tp_snapshot_writer *table,
                                                uint32_t slot)
{
    assert(slot < table->slot_count);
    const uint64_t version = version_last(table, slot);
    return version == 0 ? NULL : cell_of(table, slot, version);
}

void tp_snapshot_publish(struct tp_snapshot_writer *table, uint32_t slot, uint64_t ring_index,
                         const uint64_t *words, uint32_t used)
{
    assert(used <= table->word_count);
    _Atomic uint64_t *word = tp_snapshot_begin(table, slot, ring_index);
    for (uint32_t i = 0; i < used; i++)
        atomic_store_explicit(&word[i], words[i], memory_order_relaxed);
    tp_snapshot_end(table, slot);
}

uint64_t tp_snapshot_read(struct tp_snapshot_reader *table, uint32_t slot, uint64_t *words,
                          uint64_t *ring_index)
{
    if (slot >= table->slot_count)
        return 0;
    for (int tries = 0; tries < TP_SNAPSHOT_TRIES_MAX; tries++) {
        /* Pairs with the release store of index in tp_snapshot_end. */
        const uint64_t version = atomic_load_explicit(&table->index[slot], memory_order_acquire);
        if (version == 0)
            return 0;
        const struct tp_snapshot_cell *cell =
            (const struct tp_snapshot_cell *)(const void *)(table->cells +
                                                            cell_offset(slot, version,
                                                                        table->cell_size));
        /* Pairs with the release store of sequence in tp_snapshot_end. Equality, not "even":
         * a cell that is four versions on would let the next read go back in time. */
        if (atomic_load_explicit(&cell->sequence, memory_order_acquire) == 2 * version) {
            *ring_index = atomic_load_explicit(&cell->ring_index, memory_order_relaxed);
            for (uint32_t i = 0; i < table->word_count; i++)
                words[i] = atomic_load_explicit(&cell->word[i], memory_order_relaxed);
            /* Pairs with the release fence in tp_snapshot_begin: had a word been a newer one,
             * the re-check sees the odd mark. */
            atomic_thread_fence(memory_order_acquire);
            if (atomic_load_explicit(&cell->sequence, memory_order_relaxed) == 2 * version)
                return version;
        }
        table->retries++;
    }
    return 0;
}
