"""A venue's depth messages for the benchmarks: books that walk at random, near the touch.

The bytes are the venue's (venues/). Called by decode.py, burst.py, replay.py and wire.py.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from tickpath.engine.bench.venues import bench_venue
from tickpath.proto.instrument import Symbol
from tickpath.proto.venues import pair_symbol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tickpath.engine.bench.venues import DecodedVenue

PRICE_START = 6_712_345  # in ticks of 0.01
BOOK_LEVELS = 200  # a side in the base that a walk starts from
NEAR = 20  # ticks from the touch within which levels change
FIRST_VERSION = 36_913_565_460

Level = tuple[int, int]  # price in ticks, quantity mantissa


class Market:
    """One instrument's walk: its whole book, and messages that change it."""

    def __init__(self, symbol: str, seed: int, own: DecodedVenue | None = None) -> None:
        """Start around PRICE_START; equal seeds give equal walks. own: the default venue's."""
        self.symbol = symbol
        self._own = own = own or bench_venue()
        self.channel = own.venue.channels(symbol, own.settings)[0]
        self.version = FIRST_VERSION
        self._random = random.Random(seed)  # noqa: S311 # prices, not secrets
        self.bids = {PRICE_START - 1 - i: self._quantity() for i in range(BOOK_LEVELS)}
        self.asks = {PRICE_START + 1 + i: self._quantity() for i in range(BOOK_LEVELS)}

    def _quantity(self) -> int:
        return self._random.randrange(1_000, 500_000_000)

    def update(self, bid_count: int, ask_count: int) -> tuple[list[Level], list[Level]]:
        """Return changed bids and asks, absolute quantities; the book stays uncrossed."""
        best_ask = min(self.asks)
        reach = range(best_ask - NEAR - bid_count, best_ask)
        prices = self._random.sample(reach, bid_count)
        bids = [(price, self._change(self.bids, price)) for price in prices]
        lowest = max(self.bids) + 1
        reach = range(lowest, lowest + NEAR + ask_count)
        prices = self._random.sample(reach, ask_count)
        asks = [(price, self._change(self.asks, price)) for price in prices]
        self.version += 1
        return bids, asks

    def _change(self, side: dict[int, int], price: int) -> int:
        """Remove a level one time in four where the side stays deep, else set it anew."""
        if price in side and len(side) > BOOK_LEVELS // 2 and self._random.random() < 0.25:
            del side[price]
            return 0
        side[price] = self._quantity()
        return side[price]

    def message(self, bid_count: int, ask_count: int) -> bytes:
        """Return the next message, serialized."""
        bids, asks = self.update(bid_count, ask_count)
        return self._own.message(self, bids, asks)


def symbols(count: int, own: DecodedVenue | None = None) -> list[str]:
    """Name instruments."""
    venue = (own or bench_venue()).venue
    return [pair_symbol(venue, Symbol(f"C{index:04d}", "USDT")) for index in range(count)]


def markets(count: int, own: DecodedVenue | None = None) -> list[Market]:
    """Return one market an instrument."""
    return [Market(symbol, seed, own) for seed, symbol in enumerate(symbols(count, own))]


def round_robin(all_markets: list[Market], count: int, levels: int) -> Iterator[bytes]:
    """Yield messages of `levels` bids and asks, one instrument after another."""
    for index in range(count):
        yield all_markets[index % len(all_markets)].message(levels, levels)
