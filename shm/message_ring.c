/* The two ends of message_ring.h. */
#include "shm/message_ring.h"

#include <string.h>

enum { WORD = sizeof(uint64_t), HEADER_WORDS = sizeof(struct tp_message_header) / WORD };

static uint64_t word_count(size_t payload_size)
{
    return HEADER_WORDS + (payload_size + WORD - 1) / WORD;
}

static uint64_t slot_count(size_t payload_size)
{
    return (word_count(payload_size) + TP_RING_EVENT_WORDS - 1) / TP_RING_EVENT_WORDS;
}

size_t tp_message_size_max(uint64_t ring_slot_count)
{
    const uint64_t words = ring_slot_count / 4 * TP_RING_EVENT_WORDS;
    return words > HEADER_WORDS ? (size_t)(words - HEADER_WORDS) * WORD : 0;
}

/* Where the next payload word comes from. */
struct gather {
    const struct tp_message_piece *piece;
    size_t pieces_left, offset;
};

static inline uint64_t next_word(struct gather *from)
{
    uint64_t word = 0;
    while (from->pieces_left > 0 && from->offset >= from->piece->size) {
        from->piece++;
        from->pieces_left--;
        from->offset = 0;
    }
    if (from->pieces_left == 0)
        return 0;
    const uint8_t *at = (const uint8_t *)from->piece->data + from->offset;
    const size_t left = from->piece->size - from->offset;
    if (left >= WORD)
        memcpy(&word, at, WORD);
    else
        memcpy(&word, at, left);
    from->offset += left >= WORD ? WORD : left;
    return word;
}

/* One slot's payload words from `filled` on. */
static inline void fill_words(struct gather *from, uint64_t words[TP_RING_EVENT_WORDS], int filled)
{
    const size_t size = (size_t)(TP_RING_EVENT_WORDS - filled) * WORD;
    if (from->pieces_left > 0 && from->piece->size - from->offset >= size) {
        memcpy(words + filled, (const uint8_t *)from->piece->data + from->offset, size);
        from->offset += size;
        return;
    }
    for (; filled < TP_RING_EVENT_WORDS; filled++)
        words[filled] = next_word(from);
}

bool tp_message_publish(struct tp_ring_writer *ring, const struct tp_message_header *header,
                        const struct tp_message_piece *pieces, size_t piece_count)
{
    if (header->size > tp_message_size_max(ring->mask + 1))
        return false;
    uint64_t words[TP_RING_EVENT_WORDS];
    struct gather from = {pieces, piece_count, 0};
    const uint64_t end = ring->next + slot_count(header->size);
    int filled = HEADER_WORDS;
    memcpy(words, header, sizeof *header);
    for (uint64_t index = ring->next; index != end; index++) {
        fill_words(&from, words, filled);
        filled = 0;
        struct tp_ring_slot *slot = &ring->slots[index & ring->mask];
        atomic_store_explicit(&slot->sequence, 2 * index + 1, memory_order_relaxed);
        /* The odd mark must be seen before any new payload word: pairs with the acquire fence in
         * tp_ring_read. */
        atomic_thread_fence(memory_order_release);
        for (int i = 0; i < TP_RING_EVENT_WORDS; i++)
            atomic_store_explicit(&slot->word[i], words[i], memory_order_relaxed);
        /* Pairs with the acquire load of sequence in tp_ring_read. */
        atomic_store_explicit(&slot->sequence, 2 * index + 2, memory_order_release);
    }
    ring->next = end;
    /* Only now, at a boundary: pairs with the acquire load in tp_ring_resume. */
    atomic_store_explicit(ring->head, end, memory_order_release);
    return true;
}

enum take { TAKEN, WAIT, NO_ROOM, GONE };

/* Takes the message at ring->next; the position moves only where TAKEN is returned. */
static enum take take_message(struct tp_ring_reader *ring, struct tp_message_drain *into)
{
    const uint64_t start = ring->next;
    uint64_t words[TP_RING_EVENT_WORDS];
    struct tp_message_header header = {0};
    uint64_t left = 0;
    uint8_t *out = into->data + into->size;
    enum take result = TAKEN;
    for (uint64_t slot = 0, slots = 1; slot < slots; slot++) { /* slots: a quarter of the ring */
        const enum tp_ring_result read = tp_ring_read(ring, words);
        if (read != TP_RING_EVENT) {
            result = read == TP_RING_EMPTY ? WAIT : GONE;
            break;
        }
        if (slot == 0) {
            memcpy(&header, words, sizeof header);
            if (header.size > tp_message_size_max(ring->mask + 1)) {
                result = GONE; /* no writer of ours: resynchronise at the head */
                break;
            }
            slots = slot_count(header.size);
            left = word_count(header.size);
            if (left * WORD > into->capacity - into->size) {
                result = NO_ROOM;
                break;
            }
        }
        const uint64_t count = left < TP_RING_EVENT_WORDS ? left : TP_RING_EVENT_WORDS;
        memcpy(out, words, count * WORD);
        out += count * WORD;
        left -= count;
    }
    if (result != TAKEN) {
        ring->next = start;
        return result;
    }
    into->size = (size_t)(out - into->data);
    if (into->count++ == 0)
        into->first_ns = header.time_ns;
    into->last_ns = header.time_ns;
    return TAKEN;
}

enum tp_message_result tp_message_drain(struct tp_ring_reader *ring, struct tp_message_drain *into)
{
    into->lost = 0;
    for (;;) { /* each turn fills the buffer further */
        switch (take_message(ring, into)) {
        case TAKEN:
            continue;
        case WAIT:
            return TP_MESSAGE_EMPTY;
        case NO_ROOM:
            return TP_MESSAGE_FULL;
        case GONE:
            into->lost = tp_ring_resume(ring);
            /* 0: head is not visible yet though the slot is; the next look will see it. */
            return into->lost != 0 ? TP_MESSAGE_LAPPED : TP_MESSAGE_EMPTY;
        }
    }
}
