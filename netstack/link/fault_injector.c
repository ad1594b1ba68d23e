/* Faults for tests, driven by one seed and an injected clock.
 *
 * Each direction holds frames in a pool, ordered by (due, arrival). RX: inner link -> hold ->
 * rx_burst. TX: tx_commit -> hold -> inner link, at tx_kick or advance. Frames are copied at both
 * ends: this is a tool, not a path. */
#include "netstack/link/fault_injector.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { FRAME_COUNT_MAX = 1 << 16, ETHERNET_HEADER_SIZE = 14 };

struct held_frame {
    uint64_t due_ns;
    uint32_t slot, size;
};

/* held[0, count) by due time; free_slot[0, free_count) is a stack of unused slots. */
struct hold {
    struct held_frame *held;
    uint32_t *free_slot;
    uint8_t *data; /* frame_count * frame_size */
    uint32_t count, free_count;
    struct tp_fault_profile profile;
};

struct tp_fault_injector {
    struct tp_link link; /* first: the ops cast back */
    struct tp_link *inner;
    uint64_t now_ns, random_state;
    uint32_t frame_count, frame_size;
    struct hold rx, tx;
    uint32_t burst; /* the first so many of rx.held are with the caller */
    uint32_t claimed_slot;
    bool claimed;
    struct tp_fault_counters counters;
};

static struct tp_fault_injector *injector_of(struct tp_link *link)
{
    return (struct tp_fault_injector *)link;
}

/* splitmix64 (Steele, Lea, Flood 2014): one word of state, any seed is good. */
static uint64_t random_next(struct tp_fault_injector *injector)
{
    uint64_t z = injector->random_state += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint64_t random_below(struct tp_fault_injector *injector, uint64_t bound)
{
    return bound == 0 ? 0 : random_next(injector) % bound;
}

/* Always draws, so that changing one probability does not shift the other faults' dice. */
static bool random_hit(struct tp_fault_injector *injector, uint32_t probability)
{
    return random_below(injector, TP_FAULT_CERTAIN) < probability;
}

static uint8_t *hold_data(const struct tp_fault_injector *injector, const struct hold *hold,
                          uint32_t slot)
{
    return hold->data + (size_t)slot * injector->frame_size;
}

/* Behind all that are due no later: equal times keep their order. from: the first index that may
 * move (frames before it are with the caller). */
static void hold_insert(struct hold *hold, uint32_t from, struct held_frame frame)
{
    uint32_t index = hold->count;

    while (index > from && hold->held[index - 1].due_ns > frame.due_ns)
        index--;
    memmove(&hold->held[index + 1], &hold->held[index],
            (hold->count - index) * sizeof hold->held[0]);
    hold->held[index] = frame;
    hold->count++;
}

static void hold_remove_first(struct hold *hold, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        hold->free_slot[hold->free_count++] = hold->held[i].slot;
    hold->count -= count;
    memmove(hold->held, &hold->held[count], hold->count * sizeof hold->held[0]);
}

static uint64_t due_time(struct tp_fault_injector *injector, const struct tp_fault_profile *profile)
{
    uint64_t due_ns = injector->now_ns + profile->delay_ns;

    due_ns += random_below(injector, profile->delay_jitter_ns + 1);
    if (random_hit(injector, profile->reorder)) {
        due_ns += profile->reorder_delay_ns;
        injector->counters.reordered++;
    }
    return due_ns;
}

/* One bit behind the Ethernet header: every such flip is a checksum's business to find. */
static void corrupt(struct tp_fault_injector *injector, uint8_t *data, uint32_t size)
{
    if (size <= ETHERNET_HEADER_SIZE)
        return;
    const uint64_t bit = random_below(injector, (uint64_t)(size - ETHERNET_HEADER_SIZE) * 8);
    data[ETHERNET_HEADER_SIZE + bit / 8] ^= (uint8_t)(1u << (bit % 8));
    injector->counters.corrupted++;
}

static void hold_duplicate(struct tp_fault_injector *injector, struct hold *hold, uint32_t from,
                           struct held_frame original)
{
    if (hold->free_count == 0) {
        injector->counters.overflowed++;
        return;
    }
    struct held_frame copy = {.size = original.size, .slot = hold->free_slot[--hold->free_count]};
    memcpy(hold_data(injector, hold, copy.slot), hold_data(injector, hold, original.slot),
           copy.size);
    copy.due_ns = due_time(injector, &hold->profile);
    hold_insert(hold, from, copy);
    injector->counters.duplicated++;
}

/* Throws the dice for one frame that lies in slot, and holds it, twice or not at all. */
static void hold_frame(struct tp_fault_injector *injector, struct hold *hold, uint32_t slot,
                       uint32_t size)
{
    const struct tp_fault_profile *profile = &hold->profile;
    const uint32_t from = hold == &injector->rx ? injector->burst : 0;
    const bool lost = random_hit(injector, profile->loss);
    const bool twice = random_hit(injector, profile->duplicate);
    const bool corrupted = random_hit(injector, profile->corrupt);
    const struct held_frame frame = {
        .due_ns = due_time(injector, profile), .slot = slot, .size = size};

    if (lost) {
        injector->counters.lost++;
        hold->free_slot[hold->free_count++] = slot;
        return;
    }
    hold_insert(hold, from, frame);
    if (twice)
        hold_duplicate(injector, hold, from, frame);
    if (corrupted)
        corrupt(injector, hold_data(injector, hold, slot), size);
}

/* Takes what the inner link has, as far as there is room to hold it. */
static void rx_pull(struct tp_fault_injector *injector)
{
    struct tp_frame frames[TP_LINK_BURST_MAX];
    uint32_t room = injector->rx.free_count;

    if (room > TP_LINK_BURST_MAX)
        room = TP_LINK_BURST_MAX;
    const uint32_t count = tp_link_rx_burst(injector->inner, frames, room);
    for (uint32_t i = 0; i < count; i++) {
        /* A duplicate may have taken the last slot meanwhile. */
        if (injector->rx.free_count == 0 || frames[i].size > injector->frame_size) {
            injector->counters.overflowed++;
            continue;
        }
        const uint32_t slot = injector->rx.free_slot[--injector->rx.free_count];
        memcpy(hold_data(injector, &injector->rx, slot), frames[i].data, frames[i].size);
        hold_frame(injector, &injector->rx, slot, frames[i].size);
    }
    tp_link_rx_release(injector->inner, frames, count);
}

/* Hands due frames to the inner link; a full inner link loses them, as a wire would. */
static int tx_push(struct tp_fault_injector *injector)
{
    struct hold *hold = &injector->tx;
    uint32_t due = 0;

    while (due < hold->count && hold->held[due].due_ns <= injector->now_ns) {
        const struct held_frame *frame = &hold->held[due++];
        uint8_t *room = tp_link_tx_claim(injector->inner);
        if (room == NULL) {
            injector->counters.overflowed++;
            continue;
        }
        memcpy(room, hold_data(injector, hold, frame->slot), frame->size);
        tp_link_tx_commit(injector->inner, frame->size);
    }
    hold_remove_first(hold, due);
    const int result = due > 0 ? tp_link_tx_kick(injector->inner) : 0;
    injector->link.error = injector->inner->error;
    return result != 0 ? result : injector->link.error;
}

static uint32_t rx_burst(struct tp_link *link, struct tp_frame *frames, uint32_t count)
{
    struct tp_fault_injector *injector = injector_of(link);
    const struct hold *hold = &injector->rx;
    uint32_t got = 0;

    assert(injector->burst == 0 && count <= TP_LINK_BURST_MAX);
    rx_pull(injector);
    while (got < count && got < hold->count && hold->held[got].due_ns <= injector->now_ns) {
        frames[got].data = hold_data(injector, hold, hold->held[got].slot);
        frames[got].size = hold->held[got].size;
        frames[got].id = hold->held[got].slot;
        frames[got].stamp_ns = 0; /* it was held since */
        link->counters.rx_bytes += frames[got].size;
        got++;
    }
    link->counters.rx_frames += got;
    link->error = injector->inner->error;
    injector->burst = got;
    return got;
}

static void rx_release(struct tp_link *link, const struct tp_frame *frames, uint32_t count)
{
    struct tp_fault_injector *injector = injector_of(link);

    assert(count == injector->burst && (count == 0 || frames[0].id == injector->rx.held[0].slot));
    injector->burst = 0;
    hold_remove_first(&injector->rx, count);
}

static uint8_t *tx_claim(struct tp_link *link)
{
    struct tp_fault_injector *injector = injector_of(link);
    struct hold *hold = &injector->tx;

    assert(!injector->claimed);
    if (hold->free_count == 0) {
        link->counters.tx_full++;
        return NULL;
    }
    injector->claimed_slot = hold->free_slot[--hold->free_count];
    injector->claimed = true;
    return hold_data(injector, hold, injector->claimed_slot);
}

static void tx_commit(struct tp_link *link, uint32_t size)
{
    struct tp_fault_injector *injector = injector_of(link);

    assert(injector->claimed && size <= link->tx_frame_size);
    injector->claimed = false;
    link->counters.tx_frames++;
    link->counters.tx_bytes += size;
    hold_frame(injector, &injector->tx, injector->claimed_slot, size);
}

static void tx_abort(struct tp_link *link)
{
    struct tp_fault_injector *injector = injector_of(link);

    assert(injector->claimed);
    injector->claimed = false;
    injector->tx.free_slot[injector->tx.free_count++] = injector->claimed_slot;
}

static int tx_kick(struct tp_link *link)
{
    link->counters.tx_kicks++;
    return tx_push(injector_of(link));
}

static const struct tp_link_ops fault_ops = {
    .rx_burst = rx_burst,
    .rx_release = rx_release,
    .tx_claim = tx_claim,
    .tx_commit = tx_commit,
    .tx_abort = tx_abort,
    .tx_kick = tx_kick,
};

static bool profile_is_valid(const struct tp_fault_profile *profile)
{
    return profile->loss <= TP_FAULT_CERTAIN && profile->duplicate <= TP_FAULT_CERTAIN &&
           profile->corrupt <= TP_FAULT_CERTAIN && profile->reorder <= TP_FAULT_CERTAIN;
}

static bool hold_init(struct tp_fault_injector *injector, struct hold *hold,
                      const struct tp_fault_profile *profile)
{
    hold->held = calloc(injector->frame_count, sizeof *hold->held);
    hold->free_slot = calloc(injector->frame_count, sizeof *hold->free_slot);
    hold->data = calloc(injector->frame_count, injector->frame_size);
    hold->profile = *profile;
    if (hold->held == NULL || hold->free_slot == NULL || hold->data == NULL)
        return false;
    for (uint32_t i = 0; i < injector->frame_count; i++)
        hold->free_slot[hold->free_count++] = i;
    return true;
}

static void hold_free(struct hold *hold)
{
    free(hold->held);
    free(hold->free_slot);
    free(hold->data);
}

struct tp_fault_injector *tp_fault_injector_create(struct tp_link *inner,
                                                   const struct tp_fault_config *config)
{
    if (config->frame_count == 0 || config->frame_count > FRAME_COUNT_MAX ||
        (config->frame_size != 0 && config->frame_size < inner->tx_frame_size) ||
        config->frame_size > TP_LINK_FRAME_SIZE_MAX || !profile_is_valid(&config->rx) ||
        !profile_is_valid(&config->tx))
        return NULL;

    struct tp_fault_injector *injector = calloc(1, sizeof *injector);
    if (injector == NULL)
        return NULL;
    injector->link = (struct tp_link){.ops = &fault_ops,
                                      .tx_frame_size = inner->tx_frame_size,
                                      .partial_checksums = inner->partial_checksums,
                                      .fd = inner->fd};
    injector->inner = inner;
    injector->random_state = config->seed;
    injector->frame_count = config->frame_count;
    injector->frame_size = config->frame_size != 0 ? config->frame_size : inner->tx_frame_size;
    if (!hold_init(injector, &injector->rx, &config->rx) ||
        !hold_init(injector, &injector->tx, &config->tx)) {
        tp_fault_injector_destroy(injector);
        return NULL;
    }
    return injector;
}

void tp_fault_injector_destroy(struct tp_fault_injector *injector)
{
    if (injector == NULL)
        return;
    hold_free(&injector->rx);
    hold_free(&injector->tx);
    free(injector);
}

struct tp_link *tp_fault_injector_link(struct tp_fault_injector *injector)
{
    return &injector->link;
}

void tp_fault_injector_advance(struct tp_fault_injector *injector, uint64_t now_ns)
{
    assert(now_ns >= injector->now_ns);
    injector->now_ns = now_ns;
    (void)tx_push(injector); /* a broken inner link shows in link.error */
}

uint64_t tp_fault_injector_deadline(const struct tp_fault_injector *injector)
{
    uint64_t deadline = UINT64_MAX;

    if (injector->rx.count > injector->burst)
        deadline = injector->rx.held[injector->burst].due_ns;
    if (injector->tx.count > 0 && injector->tx.held[0].due_ns < deadline)
        deadline = injector->tx.held[0].due_ns;
    return deadline;
}

void tp_fault_injector_set_profiles(struct tp_fault_injector *injector,
                                    const struct tp_fault_profile *rx,
                                    const struct tp_fault_profile *tx)
{
    assert(profile_is_valid(rx) && profile_is_valid(tx));
    injector->rx.profile = *rx;
    injector->tx.profile = *tx;
}

const struct tp_fault_counters *tp_fault_injector_counters(const struct tp_fault_injector *injector)
{
    return &injector->counters;
}
