"""A strategy that Numba compiles: it bids where the spread is wide enough. crossing.c is its twin.

    [[strategy]]
    name = "crossing"
    source = "examples/crossing.py:crossing"
    placement = "inline-native"
    trust_strategy = true
    parameters = { spread_min = 2, quantity = 1000 }

Intents are counted, never sent: there is no gateway yet.
"""

import numpy as np
import tickpath
from tickpath import BookState, EventType, Side

EACH = np.zeros(1 << 16, dtype="i8")  # by instrument: a strategy has one state for all of them


@tickpath.native(state={"spread_min": 2, "quantity": 1000, "orders": 0, "bid": EACH, "order": EACH})
def crossing(event, book, state, orders):
    """Bid at the best bid once the spread reaches `spread_min`, and follow it."""
    if event.type != EventType.TOP or book.state != BookState.LIVE:
        return  # never trade on a book that is not LIVE
    if book.bid_count == 0 or book.ask_count == 0:
        return
    bid = book.bids[0].price
    which = book.instrument
    if book.asks[0].price - bid < state.spread_min or bid == state.bid[which]:
        return
    if state.bid[which] != 0:
        tickpath.cancel(orders, book, state.order[which])
    state.bid[which] = bid
    state.orders += 1
    state.order[which] = state.orders
    tickpath.place(orders, book, state.orders, Side.BID, (bid, state.quantity))
