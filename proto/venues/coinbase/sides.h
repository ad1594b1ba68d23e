/* The two sides of a book as they are read, whose best levels are kept where there are more than
 * fit: a snapshot of Coinbase has tens of thousands on a side.
 *
 * Levels that come best first, as the venue sends them, stay in that order, so that a book takes
 * them in one pass; whatever else comes once a side is full goes through a heap with the worst
 * level on top. Called by decoders of Coinbase's feeds. Any thread. */
#ifndef TP_PROTO_COINBASE_SIDES_H
#define TP_PROTO_COINBASE_SIDES_H
#include <stdbool.h>
#include <stdint.h>

#include "proto/update.h"

struct tp_coinbase_side {
    struct tp_level *levels;
    uint32_t count;
    bool is_bid;
    bool is_sorted; /* best first, as far as it came */
    bool is_heap;   /* full, the worst on top */
    bool is_cut;    /* a level was left out */
};

struct tp_coinbase_sides {
    struct tp_coinbase_side bids, asks;
    bool may_cut; /* else a level too many is refused */
};

void tp_coinbase_sides_init(struct tp_coinbase_sides *sides, struct tp_depth_update *out,
                            bool may_cut);
/* Where no room is left. False: it may not be cut. */
bool tp_coinbase_side_full(struct tp_coinbase_side *side, const struct tp_level *level,
                           bool may_cut);
/* Counts, and which sides are known to their last level alone. */
void tp_coinbase_sides_finish(const struct tp_coinbase_sides *sides, struct tp_depth_update *out);

/* Whether a price is farther from the other side. */
static inline bool tp_coinbase_is_worse(const struct tp_coinbase_side *side, int64_t price,
                                        int64_t than)
{
    return side->is_bid ? price < than : price > than;
}

static inline bool tp_coinbase_side_take(struct tp_coinbase_side *side,
                                         const struct tp_level *level, bool may_cut)
{
    if (side->count == TP_DEPTH_LEVEL_COUNT_MAX)
        return tp_coinbase_side_full(side, level, may_cut);
    if (side->count > 0)
        side->is_sorted &=
            tp_coinbase_is_worse(side, level->price, side->levels[side->count - 1].price);
    side->levels[side->count++] = *level;
    return true;
}
#endif
