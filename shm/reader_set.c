/* Many rings: see reader_set.h. */
#include "shm/reader_set.h"

#include <assert.h>
#include <string.h>
#include <time.h>

enum { CHECK_TURNS = 64 };
static_assert((int)TP_READER_SET_COUNT_MAX <= (int)TP_CONTROL_SLOT_COUNT,
              "tp_control_sleep_on_many takes them all");

void tp_reader_set_init(struct tp_reader_set *set, enum tp_reader_set_order order,
                        uint32_t stamp_word)
{
    assert(stamp_word >= 1 && stamp_word < TP_READER_EVENT_WORDS);
    memset(set, 0, sizeof *set);
    set->order = order;
    set->stamp_word = stamp_word;
    set->spin_ns = set->wait_ns = 1000 * 1000;
}

bool tp_reader_set_add(struct tp_reader_set *set, struct tp_reader *reader)
{
    if (set->count == TP_READER_SET_COUNT_MAX)
        return false;
    set->reader[set->count++] = reader;
    return true;
}

static enum tp_reader_result tell(struct tp_reader_set *set, uint32_t number,
                                  enum tp_reader_result result)
{
    set->found = number;
    set->next = number + 1 < set->count ? number + 1 : 0;
    return result;
}

static enum tp_reader_result poll_in_turn(struct tp_reader_set *set)
{
    uint32_t number = set->next;
    for (uint32_t i = 0; i < set->count; i++) {
        const enum tp_reader_result result = tp_reader_poll(set->reader[number]);
        if (result != TP_READER_EMPTY)
            return tell(set, number, result);
        number = number + 1 < set->count ? number + 1 : 0;
    }
    return TP_READER_EMPTY;
}

static enum tp_reader_result poll_by_arrival(struct tp_reader_set *set)
{
    uint32_t earliest = TP_READER_SET_COUNT_MAX;
    uint64_t earliest_stamp = UINT64_MAX;
    for (uint32_t i = 0; i < set->count; i++) {
        if (!set->is_taken[i]) {
            const enum tp_reader_result result = tp_reader_poll(set->reader[i]);
            if (result == TP_READER_EMPTY)
                continue;
            if (result != TP_READER_EVENT)
                return tell(set, i, result);
            set->is_taken[i] = true;
        }
        const uint64_t stamp = set->reader[i]->event[set->stamp_word];
        if (earliest == TP_READER_SET_COUNT_MAX || stamp < earliest_stamp) {
            earliest = i;
            earliest_stamp = stamp;
        }
    }
    if (earliest == TP_READER_SET_COUNT_MAX)
        return TP_READER_EMPTY;
    set->is_taken[earliest] = false;
    return tell(set, earliest, TP_READER_EVENT);
}

enum tp_reader_result tp_reader_set_poll(struct tp_reader_set *set)
{
    switch (set->order) {
    case TP_READER_SET_ROUND_ROBIN:
        return poll_in_turn(set);
    case TP_READER_SET_ARRIVAL:
        return poll_by_arrival(set);
    }
    return TP_READER_EMPTY;
}

static enum tp_reader_result check_each(struct tp_reader_set *set)
{
    uint32_t number = set->next;
    for (uint32_t i = 0; i < set->count; i++) {
        /* tp_reader_check of an ended writer's ring would overwrite an event read ahead. */
        const enum tp_reader_result result = set->is_taken[number] || set->is_parked[number]
                                                 ? TP_READER_EMPTY
                                                 : tp_reader_check(set->reader[number]);
        set->is_parked[number] |= result == TP_READER_MOVED;
        if (result == TP_READER_EVENT && set->order == TP_READER_SET_ARRIVAL)
            set->is_taken[number] = true;
        else if (result != TP_READER_EMPTY)
            return tell(set, number, result);
        number = number + 1 < set->count ? number + 1 : 0;
    }
    return TP_READER_EMPTY;
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static bool was_interrupted(struct tp_reader_set *set)
{
    bool any = false;
    for (uint32_t i = 0; i < set->count; i++)
        any |=
            atomic_exchange_explicit(&set->reader[i]->is_interrupted, 0, memory_order_relaxed) != 0;
    return any;
}

/* A wait of the set uses the memory of all its readers, but those that are closed. */
static void leave_each(struct tp_reader_set *set)
{
    for (uint32_t i = 0; i < set->count; i++)
        if (set->is_entered[i])
            tp_lease_leave(&set->reader[i]->lease);
}

/* False: one of them is closed. */
static bool enter_each(struct tp_reader_set *set)
{
    bool all = true;
    for (uint32_t i = 0; i < set->count; i++)
        all &= set->is_entered[i] = tp_lease_enter(&set->reader[i]->lease);
    return all;
}

static bool all_have_wakers(const struct tp_reader_set *set)
{
    for (uint32_t i = 0; i < set->count; i++)
        if (set->reader[i]->slot == NULL || !tp_control_waker_lives(set->reader[i]->control))
            return false;
    return true;
}

/* Asleep on all readers, whose leases are held; false: a signal came. As rest in
 * shm/segment_reader.c. */
static bool sleep_on_all(struct tp_reader_set *set, uint64_t nap_ns)
{
    struct tp_control_slot *slots[TP_READER_SET_COUNT_MAX];
    for (uint32_t i = 0; i < set->count; i++) {
        struct tp_reader *reader = set->reader[i];
        slots[i] = reader->slot;
        if (nap_ns > reader->stale_after_ns / 2)
            nap_ns = reader->stale_after_ns / 2;
        reader->sleep_total++;
        tp_control_announce_sleep(reader->control, reader->slot, reader->ring.next);
    }
    /* Sequentially consistent, as in tp_reader_interrupt: one of the two sees the other. */
    atomic_thread_fence(memory_order_seq_cst);
    for (uint32_t i = 0; i < set->count; i++)
        if (tp_reader_has_news(set->reader[i]) || tp_lease_is_wanted(&set->reader[i]->lease) ||
            atomic_load_explicit(&set->reader[i]->is_interrupted, memory_order_relaxed) != 0)
            nap_ns = 0;
    return tp_control_sleep_on_many(slots, set->count, nap_ns);
}

/* Sleeps once; false: a signal came, or somebody wants the memory of one. */
static bool rest(struct tp_reader_set *set, uint64_t left_ns)
{
    const uint64_t nap_ns = left_ns < TP_READER_NAP_NS_MAX ? left_ns : TP_READER_NAP_NS_MAX;
    const bool may_sleep_on_all = enter_each(set) && all_have_wakers(set);
    const bool is_on = may_sleep_on_all && sleep_on_all(set, nap_ns);
    leave_each(set);
    if (may_sleep_on_all)
        return is_on;
    return tp_clock_sleep(set->sleep_ns < nap_ns ? set->sleep_ns : nap_ns);
}

enum tp_reader_result tp_reader_set_spin(struct tp_reader_set *set)
{
    const uint64_t start = now_ns();
    uint64_t waited = 0;
    enum tp_reader_result result;
    do { /* ends after wait_ns */
        const bool may_sleep = set->sleep_ns != 0 && waited >= set->spin_ns;
        for (int turn = 0; turn < (may_sleep ? 1 : CHECK_TURNS); turn++) {
            result = tp_reader_set_poll(set);
            if (result != TP_READER_EMPTY)
                return result;
        }
        result = check_each(set);
        if (result != TP_READER_EMPTY)
            return result;
        if (was_interrupted(set) || (may_sleep && !rest(set, set->wait_ns - waited)))
            return tp_reader_set_poll(set);
        waited = now_ns() - start;
    } while (waited < set->wait_ns);
    return TP_READER_EMPTY;
}

void tp_reader_set_renew(struct tp_reader_set *set, uint32_t number)
{
    assert(number < set->count);
    set->is_taken[number] = set->is_parked[number] = false;
}
