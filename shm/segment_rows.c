/* Rows of a segment's table, added and changed while readers read.
 *
 * A row is {u64 sequence; u64 word[]}: sequence is 2g - 1 while generation g is written and 2g once
 * it is whole; 0: never written. A reader requires the same even sequence before and after its
 * copy. Rows change a few times a day, so that one version is enough; a reader that finds a row in
 * writing keeps what it had. tests/unit/test_shm_model.py explores the orderings.
 *
 * Called by: the writer's cold thread or its hot one, one of them; readers. */
#include <assert.h>

#include "shm/segment.h"

enum { TP_SEGMENT_ROW_TRIES_MAX = 1000 };

static struct tp_segment_row *row_at(const struct tp_segment *segment, uint32_t row)
{
    const struct tp_segment_section *table = &segment->header.table;
    return (struct tp_segment_row *)(void *)(segment->base + table->offset +
                                             (size_t)row * table->entry_size);
}

uint64_t tp_segment_row_write(struct tp_segment *segment, uint32_t row, const uint64_t *words)
{
    struct tp_segment_live *live = segment->live;
    const uint32_t count = atomic_load_explicit(&live->row_count, memory_order_relaxed);
    assert(row <= count && row < segment->header.table.count);
    struct tp_segment_row *target = row_at(segment, row);
    const uint64_t generation =
        atomic_load_explicit(&target->sequence, memory_order_relaxed) / 2 + 1;
    atomic_store_explicit(&target->sequence, 2 * generation - 1, memory_order_relaxed);
    /* The odd mark must be seen before any new word: pairs with the acquire fence in
     * tp_segment_row_read. */
    atomic_thread_fence(memory_order_release);
    for (uint32_t i = 0; i < tp_segment_row_word_count(segment); i++)
        atomic_store_explicit(&target->word[i], words[i], memory_order_relaxed);
    /* Pairs with the acquire load of sequence in tp_segment_row_read. */
    atomic_store_explicit(&target->sequence, 2 * generation, memory_order_release);
    if (row == count)
        /* Pairs with the acquire load in tp_segment_row_count: who counts it finds it whole. */
        atomic_store_explicit(&live->row_count, count + 1, memory_order_release);
    /* Pairs with the acquire load in tp_segment_row_changes: who sees the change finds the row. */
    atomic_store_explicit(&live->row_changes,
                          atomic_load_explicit(&live->row_changes, memory_order_relaxed) + 1,
                          memory_order_release);
    return generation;
}

uint64_t tp_segment_row_read(const struct tp_segment *segment, uint32_t row, uint64_t *words)
{
    if (row >= tp_segment_row_count(segment))
        return 0;
    const struct tp_segment_row *source = row_at(segment, row);
    for (int tries = 0; tries < TP_SEGMENT_ROW_TRIES_MAX; tries++) {
        /* Pairs with the release store of sequence in tp_segment_row_write. */
        const uint64_t before = atomic_load_explicit(&source->sequence, memory_order_acquire);
        if (before == 0 || before % 2 != 0)
            continue;
        for (uint32_t i = 0; i < tp_segment_row_word_count(segment); i++)
            words[i] = atomic_load_explicit(&source->word[i], memory_order_relaxed);
        /* Pairs with the release fence in tp_segment_row_write: had a word been a newer one, the
         * re-check sees the odd mark. */
        atomic_thread_fence(memory_order_acquire);
        if (atomic_load_explicit(&source->sequence, memory_order_relaxed) == before)
            return before / 2;
    }
    return 0;
}

uint32_t tp_segment_row_count(const struct tp_segment *segment)
{
    /* Pairs with the release store in tp_segment_row_write. */
    const uint32_t count = atomic_load_explicit(&segment->live->row_count, memory_order_acquire);
    return count < segment->header.table.count ? count : segment->header.table.count;
}

uint64_t tp_segment_row_changes(const struct tp_segment *segment)
{
    /* Pairs with the release store in tp_segment_row_write. */
    return atomic_load_explicit(&segment->live->row_changes, memory_order_acquire);
}
