/* sources: shm/ring_gate.c ; libs: */
/* A control segment as hostile consumers write it: whatever stands in its slots, and however it
 * changes between two messages, the writer is never held beyond its deadline, never publishes over
 * a consumer that it was told of and that kept to the protocol, and counts its members right. Reads
 * a script: u8 operation, u16 word of the control segment (or event count), u64 value. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "shm/ring_gate.h"

enum { CAPACITY = 16, STEP_SIZE = 11, STEP_COUNT_MAX = 400, COUNT_MAX = 40 };

static void require(int condition)
{
    if (!condition)
        abort();
}

static void members_require(const struct tp_ring_gate *gate)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < TP_CONTROL_SLOT_COUNT; i++)
        count += gate->member[i].owner != 0;
    require(count == gate->member_count);
    require(count != 0 || gate->limit == UINT64_MAX);
}

/* is_liar: a slot with words that no consumer writes, a cursor that went back among them: it is not
 * owed anything. Nor is one that was not answered yet. */
static void publish(struct tp_ring_gate *gate, struct tp_ring_writer *ring, uint64_t count,
                    const bool is_liar[TP_CONTROL_SLOT_COUNT])
{
    const uint64_t evictions = gate->counters.evictions;
    tp_ring_gate_pass(gate, count);
    require(gate->counters.evictions - evictions <= TP_CONTROL_SLOT_COUNT);
    const uint64_t kept = count < CAPACITY ? count : CAPACITY;
    require(gate->limit == UINT64_MAX || ring->next + kept <= gate->limit);
    for (uint32_t i = 0; i < TP_CONTROL_SLOT_COUNT; i++) {
        const struct tp_control_slot *slot = &gate->control->memory->slot[i];
        require(is_liar[i] || slot->is_gated == 0 || gate->member[i].owner == 0 ||
                gate->member[i].owner != slot->owner || gate->limit == UINT64_MAX ||
                gate->limit <= slot->cursor + CAPACITY);
    }
    ring->next += count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tp_control_memory *memory = calloc(1, sizeof *memory);
    struct tp_ring_writer ring = {.mask = CAPACITY - 1};
    struct tp_control control = {.memory = memory};
    struct tp_ring_gate gate;
    bool is_liar[TP_CONTROL_SLOT_COUNT] = {false};
    uint64_t now_ns = 1;
    require(memory != NULL);
    tp_ring_gate_init(&gate, &ring, &control, 1000);
    for (int step = 0; step < STEP_COUNT_MAX && size >= STEP_SIZE; step++) {
        uint16_t place;
        uint64_t value;
        memcpy(&place, data + 1, sizeof place);
        memcpy(&value, data + 3, sizeof value);
        switch (data[0] % 4) {
        case 0: { /* any word at all */
            const size_t offset = place % (sizeof *memory / 8) * 8;
            memcpy((uint8_t *)memory + offset, &value, sizeof value);
            if (offset >= offsetof(struct tp_control_memory, slot))
                is_liar[(offset - offsetof(struct tp_control_memory, slot)) /
                        sizeof memory->slot[0]] = true;
            break;
        }
        case 1: { /* what a consumer would write */
            struct tp_control_slot *slot = &memory->slot[place % TP_CONTROL_SLOT_COUNT];
            is_liar[place % TP_CONTROL_SLOT_COUNT] = false;
            slot->is_gated = 0; /* nothing is owed until the gate says so */
            slot->owner = value | 1;
            slot->flags = TP_CONTROL_ACTIVE | TP_CONTROL_LOSSLESS;
            slot->is_evicted = 0;
            slot->cursor = ring.next - value % CAPACITY;
            memory->line.registrations++;
            break;
        }
        case 2:
            now_ns += value % 3000000000u;
            tp_ring_gate_tick(&gate, now_ns);
            break;
        default:
            publish(&gate, &ring, place % COUNT_MAX, is_liar);
            break;
        }
        members_require(&gate);
        data += STEP_SIZE;
        size -= STEP_SIZE;
    }
    free(memory);
    return 0;
}
