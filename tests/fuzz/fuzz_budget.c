/* sources: shm/budget.c shm/budget_file.c shm/segment.c shm/mapping_guard.c ; libs: */
/* A budget's file as anybody may have written it: its header is refused or its entries are used,
 * and whatever stands in them, an entry lies in the table, a name finds the same entry again, a
 * wait is bounded by the caller's own rate and passes, what is taken makes the next wait no
 * shorter, and a text ends. Reads the header, then a script over entries of any words: u8
 * operation, u8 name, u16 place of a word, u64 value. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "shm/budget.h"

enum { STEP_SIZE = 12, STEP_COUNT_MAX = 200, NAME_COUNT = 8 };
static const char NAMES[NAME_COUNT][4] = {"a", "b", "c", "d", "e", "f", "g", "h"};
static const struct tp_budget_rate RATE = {.count = 20, .burst = 5, .window_ns = 1000000};

static void require(int condition)
{
    if (!condition)
        abort();
}

static uint64_t wait_max(void)
{
    const uint64_t interval = (RATE.window_ns + 14) / 15;
    return RATE.burst * interval * 2 + RATE.window_ns;
}

static void entry_use(struct tp_budget_entry *entry, const char *name, uint64_t now_ns,
                      uint64_t value)
{
    const uint64_t now[2] = {now_ns, value}, at[2] = {now_ns, value % 3000000};
    const struct tp_budget_rate rate = {
        .kind = (enum tp_budget_kind)(value % TP_BUDGET_KIND_COUNT),
        .count = RATE.count,
        .burst = RATE.burst,
        .window_ns = RATE.window_ns,
    };
    const uint32_t weight = (uint32_t)(value >> 8);
    char text[TP_BUDGET_REASON_SIZE];
    const uint64_t before = tp_budget_wait_ns(entry, &rate, weight, now_ns);
    require(before <= wait_max());
    const uint64_t wait = tp_budget_take(entry, tp_budget_key(name), &rate, weight, now_ns);
    require(wait == before);
    require(tp_budget_wait_ns(entry, &rate, weight, now_ns) >= before);
    if (value >> 60 == 1)
        tp_budget_spend(entry, &rate, weight, now_ns);
    if (value >> 60 == 2)
        tp_budget_correct(entry, &rate, weight, at);
    const uint64_t later = tp_budget_wait_ns(entry, &rate, weight, now_ns);
    require(later <= wait_max());
    require(tp_budget_wait_ns(entry, &rate, weight, now_ns + later) == 0);
    if (value >> 60 == 3) {
        const uint64_t left = tp_budget_pause_left_ns(entry, now_ns);
        require(tp_budget_pause(entry, tp_budget_key(name), value, "reason", now));
        require(tp_budget_pause_left_ns(entry, now_ns) >= left);
    }
    require(tp_budget_pause_left_ns(entry, now_ns) <= TP_BUDGET_PAUSE_MAX_NS);
    tp_budget_text(entry, TP_BUDGET_TEXT_REASON, text, sizeof text);
    require(strlen(text) < sizeof text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tp_budget_header header;
    struct tp_segment_error error;
    if (size < sizeof header + 1)
        return 0;
    memcpy(&header, data, sizeof header);
    const bool is_sound =
        tp_budget_header_check(&header, sizeof(struct tp_budget_memory), &error) == TP_SEGMENT_OK;
    require(!is_sound ||
            (header.magic == TP_BUDGET_MAGIC && header.entry_count == TP_BUDGET_ENTRY_COUNT));
    require(tp_budget_header_check(&header, sizeof(struct tp_budget_memory) - 1, &error) !=
            TP_SEGMENT_OK);
    struct tp_budget_memory *memory = calloc(1, sizeof *memory);
    struct tp_budget budget = {.memory = memory};
    require(memory != NULL);
    uint64_t now_ns = 1000000000;
    if (data[sizeof header] & 1) /* a full table */
        for (uint64_t i = 0; i < TP_BUDGET_ENTRY_COUNT; i++)
            memory->entry[i].key = 2 * i + 2;
    data += sizeof header + 1;
    size -= sizeof header + 1;
    for (int step = 0; step < STEP_COUNT_MAX && size >= STEP_SIZE; step++) {
        uint16_t place;
        uint64_t value;
        const char *name = NAMES[data[1] % NAME_COUNT];
        memcpy(&place, data + 2, sizeof place);
        memcpy(&value, data + 4, sizeof value);
        if (data[0] % 2 == 0) {
            const size_t words = sizeof memory->entry / 8;
            memcpy((uint8_t *)memory->entry + place % words * 8, &value, sizeof value);
        } else {
            struct tp_budget_entry *entry = tp_budget_make_room(&budget, name, "venue", now_ns);
            if (entry != NULL) {
                require(entry >= memory->entry && entry < memory->entry + TP_BUDGET_ENTRY_COUNT);
                require(entry->key == tp_budget_key(name));
                require(tp_budget_look(&budget, name) == entry);
                entry_use(entry, name, now_ns, value);
            }
            now_ns += data[1] * UINT64_C(1000);
        }
        data += STEP_SIZE;
        size -= STEP_SIZE;
    }
    free(memory);
    return 0;
}
