"""One fair price an instrument, which several simulated venues quote around.

A price is a function of the seed and of Unix time, without state: simulators that run with the
same seed agree on it at every moment, in one process or in several, and in virtual time. Each venue
adds an offset of its own, and its book follows with a lag and with the noise of its walk: now and
then one venue's best bid is above another's best ask, while every book is right. The price is in
floating point, since it only says where to go; levels are whole ticks. Called by: exchange.py.
Calls: market.py.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgspec
from tickpath.engine.sim.market import Book, describe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tickpath.engine.sim.market import Side
    from tickpath.proto.instrument import Instrument, Symbol

BPS: Final = 1e-4
NS_PER_S: Final = 1e9
# Amplitude in basis points, period in seconds: the price that all venues share, and one's own part.
SHARED_WAVES: Final = ((12.0, 97.0), (5.0, 31.0), (2.0, 11.0), (0.5, 3.7))
OFFSET_WAVES: Final = ((0.08, 13.0), (0.06, 5.3), (0.06, 1.9))
GRAIN_BPS: Final = 0.5
"""How far apart levels are, on average; a tick where that is more."""
HURRY: Final = 0.8
"""The share of changes that moves a book which is farther from its price than a level."""


class Waves:
    """A sum of sines whose phases are the seed's: smooth, bounded, the same for the same time."""

    def __init__(self, shapes: Sequence[tuple[float, float]], seed: str) -> None:
        phases = random.Random(seed)
        self._waves = [
            (bps * BPS, 2 * math.pi / period_s, 2 * math.pi * phases.random())
            for bps, period_s in shapes
        ]

    def at(self, seconds: float) -> float:
        """Return the share of the price that this adds at a time."""
        return sum(size * math.sin(speed * seconds + phase) for size, speed, phase in self._waves)


@dataclass(frozen=True, slots=True)
class Fair:
    """Make one venue's books around the fair prices of a seed, by a clock."""

    venue: str
    unix_ns: Callable[[], int]
    exponents: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Of price and quantity, by base asset, where the venue's differ from the market's."""

    def price(self, name: Symbol, start: float, seed: int) -> Callable[[], float]:
        """Return what says the price of an instrument here and now, which is `start` on average."""
        shared = Waves(SHARED_WAVES, f"{seed}:{name}")
        offset = Waves(OFFSET_WAVES, f"{seed}:{name}:{self.venue}")

        def now() -> float:
            seconds = self.unix_ns() / NS_PER_S
            return start * (1 + shared.at(seconds) + offset.at(seconds))

        return now

    def make_book(self, symbol: str, name: Symbol, depth: int, seed: int) -> FollowingBook:
        """Make the book of one instrument, around its price of now (market.make_book)."""
        start, instrument = describe(symbol, name)
        scale = instrument.price_exponent, instrument.quantity_exponent
        price, quantity = self.exponents.get(name.base, scale)
        instrument = msgspec.structs.replace(
            instrument, price_exponent=price, quantity_exponent=quantity
        )
        follow = self.price(name, float(start), seed)
        return FollowingBook(
            instrument, name, follow, depth=depth, seed=f"{seed}:{self.venue}:{symbol}"
        )


class FollowingBook(Book):
    """A book that walks as all do, and goes where its price goes."""

    def __init__(
        self,
        instrument: Instrument,
        name: Symbol,
        price: Callable[[], float],
        *,
        depth: int,
        seed: str,
    ) -> None:
        self._price = price
        middle = self._wanted(instrument)
        self._grain = grain_of(middle)
        super().__init__(instrument, name, round(middle), depth=depth, seed=seed)

    def _wanted(self, instrument: Instrument) -> float:
        """Return where the middle of the book should be now, in ticks."""
        return self._price() * 10.0**-instrument.price_exponent

    def set_scale(self, price: int, quantity: int) -> None:
        """Keep the distance of levels, too."""
        super().set_scale(price, quantity)
        self._grain = grain_of(self._wanted(self.instrument))

    def _gap(self) -> int:
        return self._random.randint(1, 2 * self._grain - 1)

    def _change(self) -> tuple[Side, int, int]:
        """Go after the price where it is farther away than a level, mostly; else walk."""
        off = self._wanted(self.instrument) - (self.bids.best() + self.asks.best()) / 2
        if abs(off) < self._grain or self._random.random() > HURRY:
            return super()._change()
        behind, ahead = (self.bids, self.asks) if off > 0 else (self.asks, self.bids)
        if len(behind.prices) > self.depth:
            return behind, behind.worst(), 0
        if len(ahead.prices) < self.depth * 3 // 4:  # it gets levels at its end
            return ahead, *self._walk(ahead)
        spread = self.spread()
        if spread > 2 * self._grain:
            nearer = behind.better(behind.best(), min(self._gap(), spread - self._grain))
            return behind, nearer, self._quantity()
        return ahead, *self._take_best(ahead)

    def _walk(self, side: Side) -> tuple[int, int]:
        price, quantity = super()._walk(side)
        is_best = quantity == 0 and price == side.best()
        return self._take_best(side) if is_best else (price, quantity)

    def _take_best(self, side: Side) -> tuple[int, int]:
        """Take the best level away, or, where that would be a leap, put one behind it first."""
        best = side.best()
        if abs(side.from_best(1) - best) > 2 * self._grain:
            return side.better(best, -self._gap()), self._quantity()
        return best, 0


def grain_of(ticks: float) -> int:
    """Return how far apart levels are, on average, at a price in ticks."""
    return max(1, round(ticks * GRAIN_BPS * BPS))
