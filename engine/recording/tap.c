/* The writer of tap.h. Hot path. */
#include "engine/recording/tap.h"

#include <string.h>

static void publish(struct tp_tap *tap, const struct tp_message_header *header,
                    const struct tp_message_piece *pieces, size_t piece_count)
{
    struct tp_ring_writer *ring = tp_segment_ring_writer(tap->segment);
    if (tp_message_publish(ring, header, pieces, piece_count))
        return;
    tap->oversized++;
    const uint64_t size = header->size;
    const struct tp_message_header told = {
        sizeof size, (header->tag & ~UINT32_C(0xff)) | TP_RECORD_OVERSIZE, header->time_ns};
    (void)tp_message_publish(ring, &told, &(struct tp_message_piece){&size, sizeof size}, 1);
}

void tp_tap_message(struct tp_tap *tap, uint32_t tag, struct tp_span payload, uint64_t now_ns)
{
    if (tap == NULL)
        return;
    publish(tap, &(struct tp_message_header){(uint32_t)payload.size, tag, now_ns},
            &(struct tp_message_piece){payload.data, payload.size}, 1);
}

void tp_tap_mark(struct tp_tap *tap, uint32_t tag, uint64_t now_ns)
{
    if (tap != NULL)
        publish(tap, &(struct tp_message_header){0, tag, now_ns}, NULL, 0);
}

void tp_tap_answer(struct tp_tap *tap, uint32_t tag, uint32_t instrument, uint64_t now_ns)
{
    const uint64_t word = instrument;
    if (tap != NULL)
        publish(tap, &(struct tp_message_header){sizeof word, tag, now_ns},
                &(struct tp_message_piece){&word, sizeof word}, 1);
}

void tp_tap_scale(struct tp_tap *tap, const struct tp_record_scale *scale, uint64_t now_ns)
{
    const uint32_t tag = tp_tap_tag(TP_RECORD_SCALED, 0, 0);
    if (tap != NULL)
        publish(tap, &(struct tp_message_header){sizeof *scale, tag, now_ns},
                &(struct tp_message_piece){scale, sizeof *scale}, 1);
}

void tp_tap_book(struct tp_tap *tap, uint32_t tag, const struct tp_record_book *book,
                 const struct tp_level *const sides[2], uint64_t now_ns)
{
    if (tap == NULL)
        return;
    const struct tp_message_piece pieces[] = {
        {book, sizeof *book},
        {sides[TP_SIDE_BID], book->bid_count * sizeof(struct tp_level)},
        {sides[TP_SIDE_ASK], book->ask_count * sizeof(struct tp_level)},
    };
    const size_t size = pieces[0].size + pieces[1].size + pieces[2].size;
    publish(tap, &(struct tp_message_header){(uint32_t)size, tag, now_ns}, pieces, 3);
}

bool tp_tap_checkpoint_due(struct tp_tap *tap, uint32_t instrument_count, uint64_t now_ns,
                           uint32_t *instrument)
{
    if (tap == NULL || tap->checkpoint_every_ns == 0 || now_ns < tap->next_checkpoint_ns)
        return false;
    tap->next_checkpoint_ns = now_ns + tap->checkpoint_every_ns / instrument_count;
    *instrument = tap->next_instrument < instrument_count ? tap->next_instrument : 0;
    tap->next_instrument = *instrument + 1;
    return true;
}
