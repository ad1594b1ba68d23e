/* A reader's place in the control segment: see segment_reader.h and control_segment.h. Cold. */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "shm/segment_file.h"
#include "shm/segment_reader.h"

static const uint64_t GATE_TIMEOUT_NS =
    3000000000; /* it looks every few ms, or 1 s after an eviction */

/* Waits for the writer to say that it waits for us. */
static bool gate_await(struct tp_reader *reader)
{
    const struct timespec pause = {0, 200000};
    const uint64_t start = tp_clock_now_ns(&reader->control->clock);
    do { /* ends after GATE_TIMEOUT_NS */
        /* Pairs with the release store in member_judge of shm/ring_gate.c. */
        if (atomic_load_explicit(&reader->slot->is_gated, memory_order_acquire) != 0)
            return true;
        (void)nanosleep(&pause, NULL);
        tp_reader_to_head(reader);
    } while (!tp_lease_is_closing(&reader->lease) &&
             tp_clock_now_ns(&reader->control->clock) - start < GATE_TIMEOUT_NS);
    return false;
}

static uint64_t cursor_mask(const struct tp_reader *reader)
{
    const uint64_t quarter = (uint64_t)reader->segment->header.ring.count / 4;
    const uint64_t every =
        quarter < TP_READER_CURSOR_EVERY ? quarter : (uint64_t)TP_READER_CURSOR_EVERY;
    return every == 0 ? 0 : every - 1; /* both are powers of two */
}

static enum tp_segment_status slot_take(struct tp_reader *reader, bool is_lossless,
                                        struct tp_segment_error *error)
{
    if (is_lossless && reader->control->header.lossless_deadline_ns == 0)
        return tp_segment_fail(error, TP_SEGMENT_REFUSED, "lossless reading", 0, 0);
    tp_reader_to_head(reader);
    const struct tp_control_claimant claim = {reader->name, reader->ring.next, is_lossless};
    const enum tp_segment_status status =
        tp_control_claim(reader->control, &claim, &reader->slot, error);
    if (status != TP_SEGMENT_OK)
        return status;
    reader->cursor_mask = cursor_mask(reader);
    reader->owner = reader->control->owner;
    atomic_store_explicit(&reader->wakeable, reader->slot, memory_order_relaxed);
    if (is_lossless && !gate_await(reader))
        return tp_segment_fail(error, TP_SEGMENT_REFUSED, "lossless reading: no answer in 3 s", 0,
                               0);
    tp_reader_to_head(reader);
    return TP_SEGMENT_OK;
}

enum tp_segment_status tp_reader_slot_claim(struct tp_reader *reader, bool is_lossless)
{
    struct tp_segment_error *error = &reader->registration_error;
    *error = (struct tp_segment_error){0, 0, "reader"};
    tp_reader_slot_release(reader);
    reader->is_lossless = false;
    reader->registration = tp_control_open(&reader->control, reader->segment, error);
    if (reader->registration == TP_SEGMENT_OK)
        reader->registration = slot_take(reader, is_lossless, error);
    if (reader->registration != TP_SEGMENT_OK)
        tp_reader_slot_release(reader);
    else
        reader->is_lossless = is_lossless;
    reader->wants_registration = true; /* where there is none: another writer may have room */
    return reader->registration;
}

enum tp_segment_status tp_reader_register(struct tp_reader *reader, const char *name,
                                          bool is_lossless)
{
    if (!tp_lease_change(&reader->lease, tp_reader_wake, reader))
        return TP_SEGMENT_ENDED;
    memset(reader->name, 0, sizeof reader->name);
    memcpy(reader->name, name, strnlen(name, sizeof reader->name - 1));
    const enum tp_segment_status status = tp_reader_slot_claim(reader, is_lossless);
    tp_lease_changed(&reader->lease);
    return status;
}

void tp_reader_slot_release(struct tp_reader *reader)
{
    atomic_store_explicit(&reader->wakeable, NULL, memory_order_relaxed);
    if (reader->control != NULL)
        tp_control_release(reader->control, reader->slot);
    tp_control_close(reader->control);
    reader->control = NULL;
    reader->slot = NULL;
    reader->wants_registration = false;
}

void tp_reader_unregister(struct tp_reader *reader)
{
    if (!tp_lease_change(&reader->lease, tp_reader_wake, reader))
        return;
    tp_reader_slot_release(reader);
    tp_lease_changed(&reader->lease);
}

void tp_reader_wake(void *context)
{
    struct tp_reader *reader = context;
    struct tp_control_slot *slot = atomic_load_explicit(&reader->wakeable, memory_order_relaxed);
    if (slot != NULL)
        (void)tp_control_wake(slot);
}

void tp_reader_interrupt(struct tp_reader *reader)
{
    atomic_store_explicit(&reader->is_interrupted, 1, memory_order_relaxed);
    /* Sequentially consistent, as in rest of shm/segment_reader.c: one of the two sees the other.
     */
    atomic_thread_fence(memory_order_seq_cst);
    if (!tp_lease_try(&reader->lease))
        return; /* who changes it wakes all */
    tp_reader_wake(reader);
    tp_lease_untry(&reader->lease);
}
