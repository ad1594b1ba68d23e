/* The heap of sides.h. */
#include "proto/venues/coinbase/sides.h"

void tp_coinbase_sides_init(struct tp_coinbase_sides *sides, struct tp_depth_update *out,
                            bool may_cut)
{
    *sides = (struct tp_coinbase_sides){
        .bids = {.levels = out->bids, .is_bid = true, .is_sorted = true},
        .asks = {.levels = out->asks, .is_sorted = true},
        .may_cut = may_cut,
    };
}

/* Lets a level sink until no worse one is below it. Ends: each turn goes one row down. */
static void sink(struct tp_coinbase_side *side, uint32_t at)
{
    const struct tp_level level = side->levels[at];
    for (uint32_t below = 2 * at + 1; below < side->count; below = 2 * at + 1) {
        if (below + 1 < side->count &&
            tp_coinbase_is_worse(side, side->levels[below + 1].price, side->levels[below].price))
            below++;
        if (!tp_coinbase_is_worse(side, side->levels[below].price, level.price))
            break;
        side->levels[at] = side->levels[below];
        at = below;
    }
    side->levels[at] = level;
}

static void make_heap(struct tp_coinbase_side *side)
{
    for (uint32_t at = side->count / 2; at-- > 0;)
        sink(side, at);
    side->is_heap = true;
    side->is_sorted = false;
}

bool tp_coinbase_side_full(struct tp_coinbase_side *side, const struct tp_level *level,
                           bool may_cut)
{
    if (!may_cut)
        return false;
    side->is_cut = true;
    if (side->is_sorted &&
        tp_coinbase_is_worse(side, level->price, side->levels[side->count - 1].price))
        return true;
    if (!side->is_heap)
        make_heap(side);
    if (tp_coinbase_is_worse(side, side->levels[0].price, level->price)) {
        side->levels[0] = *level;
        sink(side, 0);
    }
    return true;
}

void tp_coinbase_sides_finish(const struct tp_coinbase_sides *sides, struct tp_depth_update *out)
{
    out->bid_count = sides->bids.count;
    out->ask_count = sides->asks.count;
    out->flags |= (sides->bids.is_cut ? (uint32_t)TP_DEPTH_BIDS_CUT : 0) |
                  (sides->asks.is_cut ? (uint32_t)TP_DEPTH_ASKS_CUT : 0);
}
