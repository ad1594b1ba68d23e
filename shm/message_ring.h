/* Messages of any length over the slots of a broadcast ring: one producer, any number of readers
 * that it never waits for.
 *
 * A message is a run of consecutive 64-byte slots, each with its own sequence word exactly as in
 * broadcast_ring.h; its bytes (header, then payload padded with zeros to 8) fill the payload words
 * of the run. `head` moves once, behind the whole run, so that it always stands where a message
 * begins: that is where a reader that was lapped goes on, and it needs no other mark.
 *
 * Called by: engine/recording/tap.c (writer, hot path), engine/recording/recorder.py (reader).
 * Proved by tests/unit/test_message_ring_model.py; docs/adr/0007 has the alternatives. */
#ifndef TP_SHM_MESSAGE_RING_H
#define TP_SHM_MESSAGE_RING_H
#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shm/broadcast_ring.h"

struct tp_message_header {
    uint32_t size; /* payload bytes that follow, without their padding */
    uint32_t tag;  /* the caller's */
    uint64_t time_ns;
};
static_assert(sizeof(struct tp_message_header) == 16, "two words of the first slot");

struct tp_message_piece {
    const void *data;
    size_t size; /* a multiple of 8 for all but the last piece of a message */
};

/* The largest payload that a ring of so many slots takes: a quarter of it, so that a reader has
 * time. */
size_t tp_message_size_max(uint64_t slot_count);

/* Copies the pieces, in order, as one message. False: too large, nothing was published. */
bool tp_message_publish(struct tp_ring_writer *ring, const struct tp_message_header *header,
                        const struct tp_message_piece *pieces, size_t piece_count);

enum tp_message_result {
    TP_MESSAGE_EMPTY,  /* nothing more now */
    TP_MESSAGE_FULL,   /* the next message does not fit behind the ones taken */
    TP_MESSAGE_LAPPED, /* `lost` slots are gone; the reader stands at the head */
};

/* Whole messages end to end, each as header, payload and padding. */
struct tp_message_drain {
    uint8_t *data;   /* aligned to 8 */
    size_t capacity; /* at least one message of the largest size */
    size_t size;
    uint64_t count;
    uint64_t first_ns, last_ns; /* of the messages taken since count was 0 */
    uint64_t lost;
};

/* Appends every whole message there is. Bounded by the buffer's capacity. */
enum tp_message_result tp_message_drain(struct tp_ring_reader *ring, struct tp_message_drain *into);
#endif
