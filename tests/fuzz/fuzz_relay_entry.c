/* sources: engine/relay/entry.c shm/snapshot_table.c */
/* Foreign bytes as a relayed entry: refused, or such that a reader may rely on all of it; what is
 * published then stands in ring and snapshot, and the ring index says so.
 *
 * Input: one byte of switches, two of the book's size, the book's bytes, the rest are events. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "engine/relay/entry.h"

enum {
    INSTRUMENT = 7,
    SLOTS = INSTRUMENT + 1,
    RING_CAPACITY = 64,
    WORDS = sizeof(struct tp_book_record) / sizeof(uint64_t),
    CELL_SIZE = 768,
};

struct rig {
    struct tp_clock clock;
    struct tp_ring_slot slots[RING_CAPACITY];
    _Atomic uint64_t head, index[SLOTS];
    _Alignas(64) uint8_t cells[SLOTS * TP_SNAPSHOT_VERSIONS * CELL_SIZE];
    struct tp_ring_writer ring;
    struct tp_snapshot_writer snapshots;
    struct tp_histogram ages[2];
};

static void check_levels(const struct tp_book_record *book)
{
    assert(book->bid_count <= TP_BOOK_DEPTH_MAX && book->ask_count <= TP_BOOK_DEPTH_MAX);
    for (uint32_t i = 0; i < book->bid_count; i++)
        assert(book->bids[i].quantity > 0 &&
               (i == 0 || book->bids[i].price < book->bids[i - 1].price));
    for (uint32_t i = 0; i < book->ask_count; i++)
        assert(book->asks[i].quantity > 0 &&
               (i == 0 || book->asks[i].price > book->asks[i - 1].price));
    if (book->state == TP_BOOK_LIVE && book->bid_count > 0 && book->ask_count > 0)
        assert(book->bids[0].price < book->asks[0].price);
}

static void publish(struct rig *rig, const struct tp_relay_entry *entry, uint8_t switches)
{
    const struct tp_relay_segment segment = {.ring = &rig->ring,
                                             .snapshots = &rig->snapshots,
                                             .clock = &rig->clock,
                                             .realtime_offset_ns = INT64_C(1700000000000000000),
                                             .sent_to_published = &rig->ages[0],
                                             .received_to_published = &rig->ages[1]};
    struct tp_relay_publication how = {.state = entry->record.state,
                                       .reason = entry->record.reason,
                                       .told_state = switches & 3,
                                       .is_gap = (switches & 4) != 0,
                                       .with_events = (switches & 8) != 0};
    if ((switches & 16) != 0)
        how.state = TP_BOOK_STALE;
    tp_relay_entry_publish(&segment, entry, &how);
    struct tp_snapshot_reader reader = {.cells = rig->cells,
                                        .index = rig->index,
                                        .slot_count = SLOTS,
                                        .cell_size = CELL_SIZE,
                                        .word_count = WORDS};
    union {
        struct tp_book_record record;
        uint64_t words[WORDS];
    } out;
    uint64_t ring_index = 0;
    assert(tp_snapshot_read(&reader, INSTRUMENT, out.words, &ring_index) == 1);
    assert(ring_index == rig->ring.next && ring_index == atomic_load(&rig->head));
    assert(out.record.state == how.state && out.record.received_ns <= out.record.published_ns);
    assert(out.record.price_exponent <= 0 && out.record.price_exponent >= -18);
    assert(out.record.quantity_exponent <= 0 && out.record.quantity_exponent >= -18);
    assert(out.record.message_ns <= out.record.published_ns && out.record.generation == 1);
    check_levels(&out.record);
}

/* What was read is written as it came. */
static void write_back(const struct tp_relay_entry *entry, const uint8_t *book, size_t size)
{
    union {
        struct tp_book_record record;
        uint64_t words[WORDS];
    } from = {.record = entry->record};
    uint8_t out[TP_RELAY_BOOK_SIZE_MAX];
    const uint32_t written = tp_relay_entry_write(out, &entry->head, from.words,
                                                  entry->record.state, entry->record.reason);
    assert(written == size && memcmp(out, book, size) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3)
        return 0;
    const uint8_t switches = data[0];
    size_t book_size = (size_t)data[1] | (size_t)data[2] << 8;
    data += 3;
    size -= 3;
    if (book_size > size)
        book_size = size;
    struct tp_relay_entry entry;
    if (tp_relay_entry_read(&entry, data, book_size, data + book_size, size - book_size,
                            INSTRUMENT) != TP_RELAY_SOUND)
        return 0;
    check_levels(&entry.record);
    write_back(&entry, data, book_size);
    struct rig *rig = calloc(1, sizeof *rig);
    assert(rig != NULL);
    rig->ring =
        (struct tp_ring_writer){.slots = rig->slots, .mask = RING_CAPACITY - 1, .head = &rig->head};
    rig->snapshots = (struct tp_snapshot_writer){.cells = rig->cells,
                                                 .index = rig->index,
                                                 .slot_count = SLOTS,
                                                 .cell_size = CELL_SIZE,
                                                 .word_count = WORDS};
    publish(rig, &entry, switches);
    free(rig);
    return 0;
}
