/* The cold half of ring_gate.h: nothing here runs while no lossless consumer is registered. */
#include "shm/ring_gate.h"

#include <string.h>

static const uint64_t REFUSE_AFTER_EVICTION_NS = 1000000000;
static const uint64_t HOLD_PERIOD_NS = 1000000000; /* held for one deadline in it at most */
/* However often a consumer changes its registration, the slots are looked at so often at most. */
static const uint64_t LOOK_EVERY_NS = 2000000;

void tp_ring_gate_init(struct tp_ring_gate *gate, const struct tp_ring_writer *ring,
                       struct tp_control *control, uint64_t deadline_ns)
{
    memset(gate, 0, sizeof *gate);
    gate->limit = UINT64_MAX;
    gate->ring = ring;
    gate->control = control;
    gate->clock = control->clock;
    gate->deadline_ns = deadline_ns;
}

static void evict(struct tp_ring_gate *gate, uint32_t number, uint64_t now_ns)
{
    gate->member[number] = (struct tp_ring_gate_member){0, now_ns + REFUSE_AFTER_EVICTION_NS};
    gate->member_count--;
    gate->counters.evictions++;
    atomic_store_explicit(&gate->control->memory->slot[number].is_evicted, 1, memory_order_relaxed);
    /* Before the odd mark of the next event: who finds itself lapped by that finds this too. Pairs
     * with the acquire fence in resume of shm/segment_reader.c. */
    atomic_thread_fence(memory_order_release);
}

/* Reads all cursors and moves the limit. Members whose cursor is behind evict_below are evicted: 0
 * for none. */
static void cursors_read(struct tp_ring_gate *gate, uint64_t evict_below, uint64_t now_ns)
{
    const uint64_t next = gate->ring->next;
    uint64_t lag_max = 0;
    for (uint32_t i = 0; i < TP_CONTROL_SLOT_COUNT; i++) {
        const struct tp_control_slot *slot = &gate->control->memory->slot[i];
        if (gate->member[i].owner == 0)
            continue;
        if (atomic_load_explicit(&slot->owner, memory_order_relaxed) != gate->member[i].owner) {
            gate->member[i].owner = 0;
            gate->member_count--;
            continue;
        }
        /* Pairs with the release store in the reader: it has copied all before its cursor. */
        const uint64_t cursor = atomic_load_explicit(&slot->cursor, memory_order_acquire);
        if (cursor > next) {
            gate->counters.impossible_cursors++;
            evict(gate, i, now_ns);
        } else if (cursor < evict_below) {
            evict(gate, i, now_ns);
        } else if (next - cursor > lag_max) {
            lag_max = next - cursor;
        }
    }
    gate->limit = gate->member_count == 0 ? UINT64_MAX : next - lag_max + gate->ring->mask + 1;
}

static void member_judge(struct tp_ring_gate *gate, uint32_t number, uint64_t now_ns)
{
    struct tp_ring_gate_member *member = &gate->member[number];
    struct tp_control_slot *slot = &gate->control->memory->slot[number];
    const uint64_t owner = atomic_load_explicit(&slot->owner, memory_order_relaxed);
    /* Pairs with the release store in slot_fill. */
    const uint32_t flags = atomic_load_explicit(&slot->flags, memory_order_acquire);
    const uint32_t wanted = TP_CONTROL_ACTIVE | TP_CONTROL_LOSSLESS;
    const bool wants = owner != 0 && (flags & wanted) == wanted &&
                       atomic_load_explicit(&slot->is_evicted, memory_order_relaxed) == 0;
    if (wants && now_ns < member->refused_until_ns) {
        gate->is_refusing = true;
        return;
    }
    if (member->owner != 0 && (!wants || owner != member->owner)) {
        member->owner = 0;
        gate->member_count--;
    }
    if (!wants)
        return;
    if (member->owner == 0)
        gate->member_count++;
    member->owner = owner;
    /* Of a member too: a process that comes back between two looks has the same owner word. Pairs
     * with the acquire load in tp_reader_register: from here on its cursor is waited for. */
    atomic_store_explicit(&slot->is_gated, 1, memory_order_release);
}

void tp_ring_gate_tick(struct tp_ring_gate *gate, uint64_t now_ns)
{
    if (gate->deadline_ns == 0 || now_ns < gate->next_look_ns)
        return;
    gate->next_look_ns = now_ns + LOOK_EVERY_NS;
    /* Pairs with the release in registrations_move. */
    const uint32_t seen =
        atomic_load_explicit(&gate->control->memory->line.registrations, memory_order_acquire);
    if (seen == gate->registrations_seen && !gate->is_refusing)
        return;
    gate->registrations_seen = seen;
    gate->is_refusing = false;
    for (uint32_t i = 0; i < TP_CONTROL_SLOT_COUNT; i++)
        member_judge(gate, i, now_ns);
    cursors_read(gate, 0, now_ns);
}

static void cpu_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

void tp_ring_gate_wait(struct tp_ring_gate *gate, uint64_t count)
{
    const uint64_t capacity = gate->ring->mask + 1;
    const uint64_t wanted = count < capacity ? count : capacity;
    const uint64_t start = tp_clock_now_ns(&gate->clock);
    uint64_t now = start;
    cursors_read(gate, 0, now);
    if (gate->ring->next + wanted <= gate->limit)
        return; /* the limit was only old */
    if (start - gate->held_since_ns >= HOLD_PERIOD_NS) {
        gate->held_since_ns = start;
        gate->held_ns = 0;
    }
    const uint64_t left = gate->deadline_ns > gate->held_ns ? gate->deadline_ns - gate->held_ns : 0;
    gate->counters.waits++;
    do { /* ends after the deadline */
        cpu_relax();
        now = tp_clock_now_ns(&gate->clock);
        cursors_read(gate, 0, now);
    } while (gate->ring->next + wanted > gate->limit && now - start < left);
    gate->counters.held_ns += now - start;
    gate->held_ns += now - start;
    if (gate->ring->next + wanted > gate->limit)
        cursors_read(gate, gate->ring->next + wanted - capacity, now);
}
