"""Run in the readers' environment: an npz through hftbacktest itself, its books as lines of JSON.

    NUMBA_DISABLE_JIT=1 python hftbacktest_books.py FILE TICK_SIZE LOT_SIZE

A line for each time at which its local processor had news: the time, whether the data ended, the
best ticks, all levels of its depth as (side, price, quantity). They are asked for tick by tick, at
every price of the file: a snapshot of all of them needs the compiler, which takes half a minute.
"""

import json
import sys

import numpy as np
from hftbacktest import BacktestAsset, HashMapMarketDepthBacktest
from hftbacktest.data.validation import validate_event_order
from hftbacktest.types import event_dtype

FOREVER = 10**18
END_OF_DATA = 1


def main() -> None:
    """Print what it makes of the file."""
    path, tick_size, lot_size = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
    data = np.load(path)["data"]
    assert data.dtype == event_dtype, data.dtype
    validate_event_order(data)
    prices = data["px"][np.isfinite(data["px"])]
    ticks = np.unique(np.round(prices / tick_size).astype(np.int64)).tolist()
    assert (data["local_ts"] >= data["exch_ts"]).all(), "a latency below zero"
    asset = (
        BacktestAsset()
        .data([path])
        .linear_asset(1.0)
        .constant_order_latency(0, 0)
        .risk_adverse_queue_model()
        .no_partial_fill_exchange()
        .trading_value_fee_model(0, 0)
        .tick_size(tick_size)
        .lot_size(lot_size)
    )
    backtest = HashMapMarketDepthBacktest([asset])
    status = 0
    while status != END_OF_DATA:
        status = backtest.wait_next_feed(False, FOREVER)
        depth = backtest.depth(0)
        levels = [
            [side, tick * tick_size, float(quantity)]
            for side, look in (("bid", depth.bid_qty_at_tick), ("ask", depth.ask_qty_at_tick))
            for tick in ticks
            if (quantity := look(tick)) > 0
        ]
        best = [int(depth.best_bid_tick), int(depth.best_ask_tick)]
        is_end = status == END_OF_DATA
        line = [int(backtest.current_timestamp), is_end, best, levels]
        print(json.dumps(line))
    backtest.close()


main()
