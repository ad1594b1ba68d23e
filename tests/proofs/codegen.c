/* The ring's inline functions as functions of their own, for test_codegen.py to read. */
#include "shm/broadcast_ring.h"

uint64_t publish(struct tp_ring_writer *ring, const uint64_t *event);
uint64_t publish(struct tp_ring_writer *ring, const uint64_t *event)
{
    return tp_ring_publish(ring, event);
}

enum tp_ring_result take(struct tp_ring_reader *ring, uint64_t *event);
enum tp_ring_result take(struct tp_ring_reader *ring, uint64_t *event)
{
    return tp_ring_read(ring, event);
}
