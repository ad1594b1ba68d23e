#include "engine/bench/replay_link.h"

#include <time.h>

static uint64_t clock_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static struct tp_replay_link *replay_of(struct tp_link *link)
{
    return (struct tp_replay_link *)link;
}

static uint32_t play_burst(struct tp_replay_link *replay, struct tp_frame *frames, uint32_t count)
{
    const struct tp_replay *what = replay->playing;
    what->stamp[replay->bursts++] = clock_now();
    uint32_t taken = 0;
    for (; taken < count && replay->next < what->frame_count; taken++, replay->next++) {
        const uint64_t start = what->offset[replay->next], end = what->offset[replay->next + 1];
        frames[taken] = (struct tp_frame){what->data + start, (uint32_t)(end - start), 0, 0};
    }
    replay->link.counters.rx_frames += taken;
    if (taken == 0) {
        replay->playing = NULL;
        /* Pairs with the acquire in tp_replay_link_finished. */
        atomic_store_explicit(&replay->offered, NULL, memory_order_release);
    }
    return taken;
}

static uint32_t rx_burst(struct tp_link *link, struct tp_frame *frames, uint32_t count)
{
    struct tp_replay_link *replay = replay_of(link);
    if (replay->playing == NULL) {
        /* Pairs with the release in tp_replay_link_play. */
        replay->playing = atomic_load_explicit(&replay->offered, memory_order_acquire);
        replay->next = replay->bursts = 0;
    }
    replay->from_inner = replay->playing == NULL;
    if (replay->from_inner)
        return tp_link_rx_burst(replay->inner, frames, count);
    return play_burst(replay, frames, count);
}

static void rx_release(struct tp_link *link, const struct tp_frame *frames, uint32_t count)
{
    struct tp_replay_link *replay = replay_of(link);
    if (replay->from_inner)
        tp_link_rx_release(replay->inner, frames, count);
}

static uint8_t *tx_claim(struct tp_link *link)
{
    struct tp_replay_link *replay = replay_of(link);
    return replay->playing != NULL ? replay->sent : tp_link_tx_claim(replay->inner);
}

static void tx_commit(struct tp_link *link, uint32_t size)
{
    struct tp_replay_link *replay = replay_of(link);
    if (replay->playing == NULL) {
        tp_link_tx_commit(replay->inner, size);
        return;
    }
    link->counters.tx_frames++;
    link->counters.tx_bytes += size;
}

static void tx_abort(struct tp_link *link)
{
    struct tp_replay_link *replay = replay_of(link);
    if (replay->playing == NULL)
        tp_link_tx_abort(replay->inner);
}

static int tx_kick(struct tp_link *link)
{
    struct tp_replay_link *replay = replay_of(link);
    link->counters.tx_kicks++;
    return replay->playing != NULL ? 0 : tp_link_tx_kick(replay->inner);
}

static const struct tp_link_ops ops = {rx_burst,  rx_release, tx_claim,
                                       tx_commit, tx_abort,   tx_kick};

void tp_replay_link_init(struct tp_replay_link *replay, struct tp_link *inner)
{
    *replay = (struct tp_replay_link){
        .link = {.ops = &ops, .tx_frame_size = sizeof replay->sent, .fd = -1},
        .inner = inner,
    };
}

void tp_replay_link_play(struct tp_replay_link *replay, const struct tp_replay *what)
{
    /* Pairs with the acquire in rx_burst. */
    atomic_store_explicit(&replay->offered, what, memory_order_release);
}

bool tp_replay_link_finished(const struct tp_replay_link *replay)
{
    /* Pairs with the release in play_burst. */
    return atomic_load_explicit(&replay->offered, memory_order_acquire) == NULL;
}
