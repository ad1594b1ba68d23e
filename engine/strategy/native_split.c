/* The loop of native_split.h. */
#include "engine/strategy/native_split.h"

#include "engine/strategy/tickpath-reader.h"

static const struct tp_book_record *read_book(struct tp_native_set *set, uint32_t instrument)
{
    (void)tp_feed_book(set->reader, instrument, &set->book, NULL);
    return &set->book;
}

enum tp_reader_result tp_native_spin(struct tp_native_set *set, struct tp_reader *reader,
                                     uint32_t event_max, uint64_t *event_count)
{
    set->reader = reader;
    set->read_book = read_book;
    set->clock = &reader->clock;
    for (uint32_t i = 0; i < event_max; i++) {
        const enum tp_reader_result result = tp_reader_spin(reader);
        if (result != TP_READER_EVENT)
            return result;
        ++*event_count;
        const struct tp_event event = tp_feed_event(reader);
        struct tp_native_happening now_is = {.event = &event,
                                             .ring_index = reader->event[0],
                                             .received_ns = event.received_ns,
                                             .published_ns = event.published_ns,
                                             .instrument = event.instrument,
                                             .type = event.type};
        tp_native_give(set, &now_is);
    }
    return TP_READER_EVENT;
}
