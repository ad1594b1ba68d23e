/* The latest value of each of n slots, four versions each: a reader never blocks the writer, never
 * sees a torn or older value, and hardly ever retries.
 *
 * Version i of a slot stands in cell i & 3 as {u64 seq; u64 ring_index; u64 word[]}: seq is 2i - 1
 * while it is written and 2i once whole; index[slot] = i is stored last. A reader takes i and
 * requires seq == 2i exactly, before and after its copy (anything looser goes back in time).
 * ring_index: the first ring event that is NOT contained in this version: join by reading on from
 * it. */
#ifndef TP_SHM_SNAPSHOT_TABLE_H
#define TP_SHM_SNAPSHOT_TABLE_H
#include "shm/atomic.h"
#include <stdbool.h>
#include <stdint.h>

enum { TP_SNAPSHOT_VERSIONS = 4 };

struct tp_snapshot_cell {
    _Atomic uint64_t sequence;
    _Atomic uint64_t ring_index;
    _Atomic uint64_t word[];
};

struct tp_snapshot_writer {
    uint8_t *cells;          /* slot-major, cell_size apart */
    _Atomic uint64_t *index; /* version per slot; 0: never written */
    uint32_t slot_count;
    uint32_t cell_size;  /* bytes, a multiple of 64 */
    uint32_t word_count; /* payload words */
};

/* Publishes words[0, used) as the slot's next version; the rest of the payload keeps old bytes,
 * which the payload's own counts must make unreachable. */
void tp_snapshot_publish(struct tp_snapshot_writer *table, uint32_t slot, uint64_t ring_index,
                         const uint64_t *words, uint32_t used);

/* The same in two steps, for a payload that is made in its place: store words of the cell that
 * begin returns, relaxed, then end. One writer: nothing else is published to the table between. */
_Atomic uint64_t *tp_snapshot_begin(struct tp_snapshot_writer *table, uint32_t slot,
                                    uint64_t ring_index);
void tp_snapshot_end(struct tp_snapshot_writer *table, uint32_t slot);
/* The writer's own look: the slot's newest version in its place, whole until the next begin but
 * three. NULL: never written. */
const struct tp_snapshot_cell *tp_snapshot_last(const struct tp_snapshot_writer *table,
                                                uint32_t slot);

struct tp_snapshot_reader {
    const uint8_t *cells;
    const _Atomic uint64_t *index;
    uint32_t slot_count, cell_size, word_count;
    uint64_t retries;
};

/* Copies a consistent version into words[0, word_count) and its ring_index. Returns the version, 0
 * when the slot was never written. Bounded: gives up (returns 0, retries counted) after 1,000
 * tries. */
uint64_t tp_snapshot_read(struct tp_snapshot_reader *table, uint32_t slot, uint64_t *words,
                          uint64_t *ring_index);
#endif
