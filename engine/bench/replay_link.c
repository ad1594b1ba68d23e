#include "engine/bench/replay_link.h"

static uint32_t rx_burst(struct tp_link *link, struct tp_frame *frames, uint32_t count)
{
    struct tp_replay_link *replay = (struct tp_replay_link *)link;
    uint32_t taken = 0;
    for (; taken < count && replay->next < replay->frame_count; taken++, replay->next++) {
        const uint64_t start = replay->offset[replay->next], end = replay->offset[replay->next + 1];
        frames[taken] = (struct tp_frame){replay->data + start, (uint32_t)(end - start), 0};
    }
    link->counters.rx_frames += taken;
    return taken;
}

static void rx_release(struct tp_link *link, const struct tp_frame *frames, uint32_t count)
{
    (void)link, (void)frames, (void)count;
}

static uint8_t *tx_claim(struct tp_link *link)
{
    return ((struct tp_replay_link *)link)->sent;
}

static void tx_commit(struct tp_link *link, uint32_t size)
{
    link->counters.tx_frames++;
    link->counters.tx_bytes += size;
}

static void tx_abort(struct tp_link *link)
{
    (void)link;
}

static int tx_kick(struct tp_link *link)
{
    link->counters.tx_kicks++;
    return 0;
}

static const struct tp_link_ops ops = {rx_burst,  rx_release, tx_claim,
                                       tx_commit, tx_abort,   tx_kick};

void tp_replay_link_init(struct tp_replay_link *replay, uint8_t *data, const uint64_t *offset,
                         uint64_t frame_count)
{
    *replay = (struct tp_replay_link){
        .link = {.ops = &ops, .tx_frame_size = sizeof replay->sent, .fd = -1},
        .data = data,
        .offset = offset,
        .frame_count = frame_count,
    };
}
