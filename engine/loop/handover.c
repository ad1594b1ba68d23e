#include "engine/loop/handover.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* ---- one ring's positions ------------------------------------------------------------------- */

/* Producer: is there a slot to fill, with `kept` more left free? */
static bool may_claim(const struct tp_handover_positions *ring, uint64_t count, uint64_t kept)
{
    const uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    /* Pairs with the release in release_oldest: the slot was read before it is filled anew. */
    return head - atomic_load_explicit(&ring->tail, memory_order_acquire) + kept < count;
}

static uint64_t next_position(const struct tp_handover_positions *ring)
{
    return atomic_load_explicit(&ring->head, memory_order_relaxed);
}

static void commit(struct tp_handover_positions *ring)
{
    /* Pairs with the acquire in is_any: the record is whole before it is seen. */
    atomic_store_explicit(&ring->head, next_position(ring) + 1, memory_order_release);
}

static uint64_t oldest_position(const struct tp_handover_positions *ring)
{
    return atomic_load_explicit(&ring->tail, memory_order_relaxed);
}

static bool is_any(const struct tp_handover_positions *ring)
{
    /* Pairs with the release in commit. */
    return atomic_load_explicit(&ring->head, memory_order_acquire) != oldest_position(ring);
}

static void release_oldest(struct tp_handover_positions *ring)
{
    /* Pairs with the acquire in may_claim. */
    atomic_store_explicit(&ring->tail, oldest_position(ring) + 1, memory_order_release);
}

/* ---- the cold side -------------------------------------------------------------------------- */

int tp_handover_init(struct tp_handover *handover, uint32_t note_count)
{
    handover->watched_fd = -1;
    handover->note_count = TP_HANDOVER_NOTE_COUNT;
    while (handover->note_count < note_count)
        handover->note_count *= 2;
    handover->note = calloc(handover->note_count, sizeof *handover->note);
    if (handover->note == NULL)
        return -ENOMEM;
    handover->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (handover->wake_fd >= 0)
        return 0;
    const int reason = -errno;
    free(handover->note);
    return reason;
}

void tp_handover_deinit(struct tp_handover *handover)
{
    close(handover->wake_fd);
    free(handover->note);
}

bool tp_handover_command(struct tp_handover *handover, const struct tp_command *command)
{
    const uint64_t kept = command->kind == TP_COMMAND_STOP ? 0 : 1;
    if (!may_claim(&handover->commands, TP_HANDOVER_COMMAND_COUNT, kept))
        return false;
    const uint64_t position = next_position(&handover->commands);
    handover->command[position & (TP_HANDOVER_COMMAND_COUNT - 1)] = *command;
    commit(&handover->commands);
    return true;
}

void tp_handover_await(struct tp_handover *handover, uint64_t max_ns)
{
    if (is_any(&handover->notes))
        return;
    struct pollfd wake[] = {
        {.fd = handover->wake_fd, .events = POLLIN},
        {.fd = handover->watched_fd, .events = POLLIN}, /* poll(2) passes over a negative one */
    };
    const struct timespec limit = {(time_t)(max_ns / 1000000000u), (long)(max_ns % 1000000000u)};
    if (ppoll(wake, 2, &limit, NULL) <= 0 || wake[0].revents == 0)
        return;
    /* Before the look that follows: a wake-up that comes after it is for a note that the look may
     * have missed, and must stand. */
    uint64_t count;
    (void)!read(handover->wake_fd, &count, sizeof count);
}

const struct tp_note *tp_handover_note(struct tp_handover *handover)
{
    if (!is_any(&handover->notes))
        return NULL;
    return &handover->note[oldest_position(&handover->notes) & (handover->note_count - 1)];
}

void tp_handover_note_release(struct tp_handover *handover)
{
    release_oldest(&handover->notes);
}

/* ---- the hot side --------------------------------------------------------------------------- */

const struct tp_command *tp_handover_command_peek(struct tp_handover *handover)
{
    if (!is_any(&handover->commands))
        return NULL;
    return &handover
                ->command[oldest_position(&handover->commands) & (TP_HANDOVER_COMMAND_COUNT - 1)];
}

void tp_handover_command_release(struct tp_handover *handover)
{
    release_oldest(&handover->commands);
}

struct tp_note *tp_handover_note_claim(struct tp_handover *handover, uint32_t kept)
{
    if (!may_claim(&handover->notes, handover->note_count, kept))
        return NULL;
    return &handover->note[next_position(&handover->notes) & (handover->note_count - 1)];
}

void tp_handover_note_commit(struct tp_handover *handover)
{
    commit(&handover->notes);
    handover->wakes_next = true;
}

void tp_handover_call(struct tp_handover *handover)
{
    handover->wakes_next = true;
}

void tp_handover_leave(struct tp_handover *handover)
{
    const uint64_t one = 1;
    handover->wakes_next = false;
    (void)!write(handover->wake_fd, &one, sizeof one); /* fails only where 2^64 - 2 stand there */
}

void tp_handover_wake(struct tp_handover *handover)
{
    if (handover->wakes_next)
        tp_handover_leave(handover);
}
