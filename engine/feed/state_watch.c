#include "engine/feed/state_watch.h"

#include <assert.h>
#include <string.h>

#include "proto/records.h"

void tp_state_watch_init(struct tp_state_watch *watch, const struct tp_segment *segment)
{
    watch->ring = (struct tp_ring_reader){
        .slots = tp_segment_at(segment, &segment->header.ring),
        .mask = (uint64_t)segment->header.ring.count - 1,
        .head = &segment->live->head,
    };
    (void)tp_ring_resume(&watch->ring);
    watch->ring.lapped = 0;
}

uint32_t tp_state_watch_take(struct tp_state_watch *watch, struct tp_state_change *changes,
                             uint32_t count_max)
{
    uint64_t words[TP_RING_EVENT_WORDS];
    struct tp_event event;
    uint32_t count = 0;
    static_assert(sizeof words == sizeof event, "a ring's slot is an event");
    for (uint64_t i = 0; i <= watch->ring.mask && count < count_max; i++) {
        switch (tp_ring_read(&watch->ring, words)) {
        case TP_RING_EMPTY:
            return count;
        case TP_RING_LAPPED:
            (void)tp_ring_resume(&watch->ring);
            continue;
        case TP_RING_EVENT:
            break;
        }
        memcpy(&event, words, sizeof event);
        if (event.type == TP_EVENT_STATE)
            changes[count++] = (struct tp_state_change){
                .instrument = event.instrument,
                .state = (uint32_t)event.u.state.state,
                .reason = (uint32_t)event.u.state.reason,
                .published_ns = event.published_ns,
            };
    }
    return count;
}

bool tp_state_watch_now(const struct tp_segment *segment, uint32_t instrument,
                        struct tp_state_change *out)
{
    const struct tp_segment_header *header = &segment->header;
    struct tp_snapshot_reader table = {
        .cells = tp_segment_at(segment, &header->snapshot_cells),
        .index = tp_segment_at(segment, &header->snapshot_index),
        .slot_count = header->snapshot_index.count,
        .cell_size = header->snapshot_cells.entry_size,
        .word_count = header->snapshot_word_count,
    };
    uint64_t words[sizeof(struct tp_book_record) / sizeof(uint64_t)], ring_index;
    struct tp_book_record record;
    assert(table.word_count <= sizeof words / sizeof words[0]);
    if (tp_snapshot_read(&table, instrument, words, &ring_index) == 0)
        return false;
    memcpy(&record, words, sizeof record);
    *out = (struct tp_state_change){.instrument = instrument,
                                    .state = record.state,
                                    .reason = record.reason,
                                    .published_ns = record.published_ns};
    return true;
}
