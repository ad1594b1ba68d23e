/* What a recorder adds to shm/segment_reader.h: see tap.h. Cold. */
#include <string.h>

#include "engine/recording/tap.h"

struct tp_ring_reader *tp_tap_ring(struct tp_reader *reader)
{
    return &reader->ring;
}

bool tp_tap_rewind(struct tp_reader *reader)
{
    if (reader->ring.next > reader->ring.mask / 2)
        return false;
    reader->ring.next = 0;
    return true;
}

uint32_t tp_tap_events(struct tp_reader *reader, uint64_t *rows, uint32_t row_count_max,
                       uint64_t *lost)
{
    uint32_t count = 0;
    *lost = 0;
    while (row_count_max - count >= TP_READER_BATCH_COUNT_MAX) {
        const uint32_t taken = tp_reader_batch(reader);
        memcpy(rows + (size_t)count * TP_READER_EVENT_WORDS, reader->batch,
               taken * sizeof reader->batch[0]);
        count += taken;
        *lost = reader->lost;
        if (taken < TP_READER_BATCH_COUNT_MAX)
            break;
    }
    return count;
}
