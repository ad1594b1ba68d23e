/* A strategy that the feed handler calls inline: it bids where the spread is wide enough.
 *
 *     cc -std=c11 -O2 -shared -fPIC examples/crossing.c -o crossing.so \
 *         $(python3 -P -m tickpath.engine.strategy.c_reader)
 *
 * and in the instance's file:
 *
 *     [[strategy]]
 *     name = "crossing"
 *     source = "crossing.so:crossing"
 *     placement = "inline-native"
 *     trust_strategy = true
 *     parameters = { spread_min = 2, quantity = 1000 }
 *
 * Intents are counted, never sent: there is no gateway yet. */
#include <stddef.h>

#include "tickpath-strategy.h"

struct state {
    int64_t spread_min, quantity; /* parameters: price and quantity mantissas */
    uint64_t orders;
    /* by instrument: a strategy has one state for all of them */
    int64_t bid[UINT16_MAX + 1];    /* the price of the one that stands; 0: none */
    uint64_t order[UINT16_MAX + 1]; /* and its number */
};

static int32_t on_event(const struct tp_event *event, const struct tp_book_record *book,
                        void *memory, struct tp_order_buffer *orders)
{
    struct state *state = (struct state *)memory;
    if (event->type != TP_EVENT_TOP || book->state != TP_BOOK_LIVE || book->bid_count == 0 ||
        book->ask_count == 0)
        return 0; /* never trade on a book that is not LIVE */
    const uint16_t which = book->instrument;
    const struct tp_level bid = {book->bids[0].price, state->quantity};
    if (book->asks[0].price - bid.price < state->spread_min || bid.price == state->bid[which])
        return 0;
    if (state->bid[which] != 0)
        (void)tp_order_cancel(orders, book, state->order[which]);
    state->bid[which] = bid.price;
    state->order[which] = ++state->orders;
    (void)tp_order_place(orders, book, state->orders, TP_SIDE_BID, bid);
    return 0;
}

static int32_t init(void *memory)
{
    const struct state *state = (const struct state *)memory;
    return state->quantity > 0 ? 0 : 1; /* not 0: the feed handler refuses to start */
}

static const struct tp_strategy_field fields[] = {
    {"spread_min", TP_STRATEGY_INT64, offsetof(struct state, spread_min)},
    {"quantity", TP_STRATEGY_INT64, offsetof(struct state, quantity)},
};

extern const struct tp_strategy crossing; /* C++: a const without it is not exported */
const struct tp_strategy crossing = {
    TP_STRATEGY_MAGIC,
    TP_STRATEGY_ABI,
    TP_RECORDS_VERSION,
    TP_STRATEGY_ON_USUAL,
    sizeof(struct state),
    on_event,
    init,
    fields,
    sizeof fields / sizeof fields[0],
    0,
};
