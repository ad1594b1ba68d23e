"""What does one update of a book cost, with best bid and ask after it, and its publication?

Ours in C: level set, best of both sides, record of 20 levels a side and a TOP event into shared
memory. The others in Python, as their users write it: level set, best of both sides, nothing
published. A thousand levels a side, near-touch flow: distances from the touch with a mean of three
ticks, three removals in ten.
"""

from __future__ import annotations

import importlib.util
import time
from typing import Any

import numpy as np
from tickpath._bench import ffi, lib
from tickpath.engine.bench import lanes
from tickpath.engine.bench.measure import (
    OURS,
    Ratio,
    Report,
    at_most,
    progress,
    progress_end,
    row,
)
from tickpath.shm.errors import SystemSetupError

LEVELS, DEPTH = 1000, 20
MIDDLE = 1_000_000
DISTANCE_MEAN = 3
REMOVED = 0.3
BATCH = 4096  # updates a sample
COUNT = 200  # samples a contender
OTHERS = ("order_book", "sortedcontainers")
BID, ASK = 0, 1


def flow(count: int, seed: int = 1) -> list[tuple[int, int, int]]:
    """Return (side, price, quantity) triples; quantity 0 removes. The touch stays at MIDDLE."""
    draw = np.random.default_rng(seed)
    sides = draw.integers(0, 2, count)
    distance = draw.geometric(1 / (DISTANCE_MEAN + 1), count)
    prices = np.where(sides == BID, MIDDLE - distance, MIDDLE + distance)
    quantities = np.where(draw.random(count) < REMOVED, 0, draw.integers(1, 1000, count))
    triples = zip(sides, prices, quantities, strict=True)
    return [(int(side), int(price), int(quantity)) for side, price, quantity in triples]


class _Ours:
    def __init__(self, segment: Any, updates: list[tuple[int, int, int]]) -> None:
        self._segment = segment
        config = ffi.new("struct tp_book_config *", {"tick_size": 1})
        size = lib.tp_book_memory_size(config)
        self._memory = ffi.new("uint8_t[]", size + 64)  # the book's alignment
        start = int(ffi.cast("uintptr_t", self._memory))
        self._book = lib.tp_book_init(self._memory + (-start % 64), config)
        for distance in range(1, LEVELS + 1):
            lib.tp_book_set_level(self._book, BID, MIDDLE - distance, 7)
            lib.tp_book_set_level(self._book, ASK, MIDDLE + distance, 7)
        rows = [(price, quantity, side) for side, price, quantity in updates]
        self._updates, self._count = ffi.new("struct tp_bench_update[]", rows), len(rows)

    def __call__(self) -> int:
        return int(
            lib.tp_bench_book(self._book, self._segment.pointer, self._updates, self._count, DEPTH)
        )

    def best(self) -> tuple[tuple[int, int], tuple[int, int]]:
        bid, ask = (lib.tp_book_best(self._book, side) for side in (BID, ASK))
        return (bid.price, bid.quantity), (ask.price, ask.quantity)


class _OrderBook:
    """bmoscon's order_book, a C extension."""

    def __init__(self, updates: list[tuple[int, int, int]]) -> None:
        module: Any = importlib.import_module("order_book")
        self._book = module.OrderBook()
        for distance in range(1, LEVELS + 1):
            self._book.bids[MIDDLE - distance] = 7
            self._book.asks[MIDDLE + distance] = 7
        self._updates = updates
        self._best: tuple[Any, Any] = (None, None)

    def __call__(self) -> int:
        bids, asks = self._book.bids, self._book.asks
        start = time.perf_counter_ns()
        for side, price, quantity in self._updates:
            levels = asks if side else bids
            if quantity:
                levels[price] = quantity
            elif price in levels:
                del levels[price]
            self._best = bids.index(0), asks.index(0)
        return time.perf_counter_ns() - start

    def best(self) -> tuple[tuple[int, int], tuple[int, int]]:
        (bid, bid_quantity), (ask, ask_quantity) = self._best
        return (int(bid), int(bid_quantity)), (int(ask), int(ask_quantity))


class _SortedDict:
    """sortedcontainers.SortedDict a side, pure Python."""

    def __init__(self, updates: list[tuple[int, int, int]]) -> None:
        module: Any = importlib.import_module("sortedcontainers")
        self._bids = module.SortedDict({MIDDLE - d: 7 for d in range(1, LEVELS + 1)})
        self._asks = module.SortedDict({MIDDLE + d: 7 for d in range(1, LEVELS + 1)})
        self._updates = updates
        self._best: tuple[Any, Any] = (None, None)

    def __call__(self) -> int:
        bids, asks = self._bids, self._asks
        start = time.perf_counter_ns()
        for side, price, quantity in self._updates:
            levels = asks if side else bids
            if quantity:
                levels[price] = quantity
            else:
                levels.pop(price, None)
            self._best = bids.peekitem(-1), asks.peekitem(0)
        return time.perf_counter_ns() - start

    def best(self) -> tuple[tuple[int, int], tuple[int, int]]:
        return self._best


def measure(count: int, rounds: int) -> Report:
    """Return nanoseconds an update, each sample the mean of a batch."""
    report = Report("book")
    report.notes = [
        f"{LEVELS} levels a side, mean distance {DISTANCE_MEAN} ticks, {REMOVED:.0%} removals; "
        f"nanoseconds an update, each sample the mean of {BATCH}",
        f"ours in C with {DEPTH} levels a side and a TOP event published; the others in Python, "
        "without publication",
    ]
    updates = flow(BATCH)
    with lanes.segment() as (segment, _):
        contenders: dict[str, Any] = {OURS: _Ours(segment, updates)}
        makers = {"order_book": _OrderBook, "sortedcontainers": _SortedDict}
        for name in OTHERS:
            if importlib.util.find_spec(name) is None:
                report.notes.append(
                    f"{name} is not installed: left out (pip install tickpath[bench])"
                )
            else:
                contenders[name] = makers[name](updates)
        taken: dict[str, list[float]] = {name: [] for name in contenders}
        with lanes.on_readers_cpu(fifo=False):
            for turn in range(rounds):
                for name, update in contenders.items():
                    progress(f"book: round {turn + 1} of {rounds}: {name}")
                    update()  # warm-up, left out
                    samples = max(1, (count or COUNT) // rounds)
                    taken[name] += [update() / BATCH for _ in range(samples)]
        best = {name: update.best() for name, update in contenders.items()}
    progress_end()
    if len(set(best.values())) != 1:
        raise SystemSetupError(f"book: the contenders end with different bests: {best}")
    report.rows = [row("book", name, "update", np.array(all_)) for name, all_ in taken.items()]
    ours = report.find(OURS, "update").p50
    report.ratios.append(at_most("book", "update", "p50 ns", ours, 50))
    for name in taken:
        if name != OURS:
            ratio = round(report.find(name, "update").p50 / ours, 1)
            report.ratios.append(Ratio("book", "update", f"p50 {name} / ours", ratio))
    return report
