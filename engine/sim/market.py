"""Order books that walk at random: never crossed unless asked, the same for the same seed.

No I/O and no clock. Prices and quantities are integer mantissas of the instrument's exponents.
Called by: dialect.py, exchange.py and tests.
"""

from __future__ import annotations

import random
from bisect import bisect_left, insort
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgspec
from tickpath.proto.instrument import Instrument, Symbol

if TYPE_CHECKING:
    from collections.abc import Callable

LEVELS_MAX: Final = 20
"""Changes in one message, as the venue's own deltas have."""
SPREAD_MAX: Final = 8
DIGITS_MAX: Final = 8
HUGE: Final = 10**16
"""A quantity that 64 bits hold with two digits behind the point at most."""
_FINE_MAX: Final = 2**58
"""Ten times as much is no quantity that 64 bits hold."""
_COARSE_MIN: Final = 1000
"""Prices below so many times the depth are not written coarser: there must be room for a walk."""
_FIRST_VERSION: Final = 10_589_632_359
# Base: price of the start, price exponent, quantity exponent. All are quoted in USDT.
_KNOWN: Final = {
    "BTC": ("93000.00", -2, -6),
    "ETH": ("3300.00", -2, -5),
    "SOL": ("190.00", -2, -3),
    "XRP": ("2.3000", -4, -2),
    "DOGE": ("0.33000", -5, -2),
}
QUOTE: Final = "USDT"


@dataclass(frozen=True, slots=True)
class Delta:
    """One message: absolute quantities by price, zero removes; versions first..last."""

    first_version: int
    last_version: int
    bids: list[tuple[int, int]]
    asks: list[tuple[int, int]]


@dataclass(slots=True)
class Side:
    """One side of a book: prices in order of the number line, and their quantities."""

    is_bid: bool
    prices: list[int] = field(default_factory=list)
    quantities: dict[int, int] = field(default_factory=dict)

    def best(self) -> int:
        """Return the best price; a simulated side is never empty."""
        return self.prices[-1] if self.is_bid else self.prices[0]

    def worst(self) -> int:
        """Return the price farthest from the other side."""
        return self.prices[0] if self.is_bid else self.prices[-1]

    def from_best(self, index: int) -> int:
        """Return the index-th price counted from the best, which is number 0."""
        return self.prices[-1 - index] if self.is_bid else self.prices[index]

    def better(self, price: int, ticks: int = 1) -> int:
        """Return the price so many ticks nearer to the other side."""
        return price + ticks if self.is_bid else price - ticks

    def put(self, price: int, quantity: int) -> None:
        """Set a level; quantity 0 removes it."""
        if quantity == 0:
            if self.quantities.pop(price, None) is not None:
                del self.prices[bisect_left(self.prices, price)]
        else:
            if price not in self.quantities:
                insort(self.prices, price)
            self.quantities[price] = quantity

    def levels(self, count: int) -> list[tuple[int, int]]:
        """Return the best levels, best first."""
        prices = self.prices[: -count - 1 : -1] if self.is_bid else self.prices[:count]
        return [(price, self.quantities[price]) for price in prices]


class Book:
    """One instrument's book and its walk. `depth`: levels a side that it hovers at."""

    _grain = 1
    """How far apart levels are, in ticks, on average."""

    def __init__(
        self, instrument: Instrument, name: Symbol, middle: int, *, depth: int, seed: str
    ) -> None:
        self.instrument, self.name = instrument, name
        self.depth = depth
        self.version = _FIRST_VERSION
        self.counts_messages = False
        """One more each time, as some venues number them, rather than by what they hold."""
        self._random = random.Random(seed)
        self._quantity_max = 10 ** (1 - instrument.quantity_exponent)
        self.bids, self.asks = Side(is_bid=True), Side(is_bid=False)
        self._crossing: int | None = None
        self._is_huge_next = False
        self._next_scale: tuple[int, int] | None = None
        self.witness: Callable[[Book], None] = lambda _: None
        """Called after every change, for who keeps the history."""
        bid = ask = middle
        for _ in range(depth):
            bid, ask = bid - self._gap(), ask + self._gap()
            self.bids.put(bid, self._quantity())
            self.asks.put(ask, self._quantity())

    def _gap(self) -> int:
        """Return how many ticks the next new level is away from its neighbour."""
        return 1

    def _quantity(self) -> int:
        return 1 + int(self._random.random() * self._quantity_max)

    def spread(self) -> int:
        """Return best ask minus best bid in ticks; below 1 only while crossed on purpose."""
        return self.asks.best() - self.bids.best()

    def step(self, level_count: int) -> Delta:
        """Change that many levels (sometimes fewer, where one price changed twice)."""
        changes: dict[tuple[bool, int], int] = {}
        if self._crossing is not None:
            changes[True, self._crossing] = 0
            self.bids.put(self._crossing, 0)
            self._crossing = None
        if self._is_huge_next:
            self._is_huge_next = False
            changes[True, self.bids.best()] = HUGE
            self.bids.put(self.bids.best(), HUGE)
        for _ in range(4 * level_count):
            if len(changes) >= level_count:
                break
            side, price, quantity = self._change()
            side.put(price, quantity)
            changes[side.is_bid, price] = quantity
        return self._delta(changes)

    def _change(self) -> tuple[Side, int, int]:
        side = self.bids if self._random.random() < 0.5 else self.asks
        return side, *self._walk(side)

    def _walk(self, side: Side) -> tuple[int, int]:
        if len(side.prices) > self.depth:
            return side.worst(), 0
        if (
            len(side.prices) < self.depth * 3 // 4
            and (below := side.better(side.worst(), -self._gap())) > 0
        ):
            return below, self._quantity()
        choice = self._random.random()
        spread = self.spread()
        if choice < 0.10 and spread < SPREAD_MAX * self._grain and len(side.prices) > 1:
            return side.best(), 0
        if choice < 0.25 and spread > self._grain:
            nearer = side.better(side.best(), min(self._gap(), spread - self._grain))
            return nearer, self._quantity()
        index = min(int(self._random.expovariate(0.3)), len(side.prices) - 1)
        price = side.from_best(index)
        if choice < 0.35 and index > 0:
            return price, 0
        return price, self._quantity()

    def _delta(self, changes: dict[tuple[bool, int], int]) -> Delta:
        first = self.version + 1
        more = int(self._random.random() * len(changes))
        self.version += 1 if self.counts_messages else 1 + more
        self.witness(self)
        return Delta(
            first,
            self.version,
            [(price, quantity) for (is_bid, price), quantity in changes.items() if is_bid],
            [(price, quantity) for (is_bid, price), quantity in changes.items() if not is_bid],
        )

    def renumber(self) -> None:
        """Let the versions begin anew, as a venue does whose matching engine was restarted."""
        self.version = 0
        self.witness(self)

    def rescale(self) -> Delta | None:
        """Have prices or quantities written with a digit more or fewer, or a huge one with none.

        Returns what is to be said with the digits of before; then comes `take_scale`.
        """
        instrument = self.instrument
        price, quantity = instrument.price_exponent, instrument.quantity_exponent
        choice = self._random.choice(("finer price", "finer quantity", "price", "quantity", "huge"))
        if choice == "finer price" and -price < DIGITS_MAX:
            self._next_scale = price - 1, quantity
        elif choice == "finer quantity" and -quantity < DIGITS_MAX and self._largest() < _FINE_MAX:
            self._next_scale = price, quantity - 1
        elif choice == "price" and price < 0 and self.bids.worst() > _COARSE_MIN * self.depth:
            return self._coarsen(10, 1)
        elif choice == "quantity" and quantity < 0:
            return self._coarsen(1, 10)
        elif choice == "huge":
            self._is_huge_next = True
            return self._coarsen(1, 10**-quantity)
        return None

    def _largest(self) -> int:
        return max(max(side.quantities.values()) for side in (self.bids, self.asks))

    def set_scale(self, price: int, quantity: int) -> None:
        """Write the same numbers with other digits; where they are fewer, the rest are zeros."""
        prices = 10.0 ** (self.instrument.price_exponent - price)
        quantities = 10.0 ** (self.instrument.quantity_exponent - quantity)
        self.instrument = msgspec.structs.replace(
            self.instrument, price_exponent=price, quantity_exponent=quantity
        )
        for side in (self.bids, self.asks):
            side.quantities = {
                _times(one, prices): _times(size, quantities)
                for one, size in side.quantities.items()
            }
            side.prices = sorted(side.quantities)
        self._quantity_max = 10 ** (1 - quantity)

    def _coarsen(self, price: int, quantity: int) -> Delta:
        """Leave only numbers that are such multiples, so that fewer digits write them."""
        changes: dict[tuple[bool, int], int] = {}
        for side in (self.bids, self.asks):
            merged: dict[int, int] = {}
            for one, size in side.quantities.items():
                down = one // price * price
                to = down if side.is_bid or down == one else down + price
                merged[to] = merged.get(to, 0) + max(quantity, size // quantity * quantity)
            for one in [one for one in side.prices if one not in merged]:
                changes[side.is_bid, one] = 0
                side.put(one, 0)
            for one, size in merged.items():
                changes[side.is_bid, one] = size
                side.put(one, size)
        self._next_scale = (
            self.instrument.price_exponent + len(str(price)) - 1,
            self.instrument.quantity_exponent + len(str(quantity)) - 1,
        )
        return self._delta(changes)

    def take_scale(self) -> None:
        """Write all from now on as the last `rescale` has it."""
        if self._next_scale is not None:
            self.set_scale(*self._next_scale)
            self._next_scale = None

    def cross(self) -> Delta:
        """Put a bid at the best ask; the next step takes it away."""
        self._crossing = self.asks.best()
        self.bids.put(self._crossing, 1)
        return self._delta({(True, self._crossing): 1})


def _times(number: int, factor: float) -> int:
    return number * round(factor) if factor >= 1 else number // round(1 / factor)


def instrument_names(count: int) -> list[Symbol]:
    """Name so many spot instruments: well-known ones first, then SYM0001/USDT and so on."""
    bases = list(_KNOWN)[:count]
    bases += [f"SYM{index:04}" for index in range(1, count - len(bases) + 1)]
    return [Symbol(base, QUOTE) for base in bases]


def describe(symbol: str, name: Symbol) -> tuple[str, Instrument]:
    """Return the price of the start, and the instrument in the market's own scale."""
    start, price_exponent, quantity_exponent = _KNOWN.get(name.base, ("12.5000", -4, -2))
    return start, Instrument(0, "", symbol, price_exponent, quantity_exponent, name=name)


def make_book(symbol: str, name: Symbol, depth: int, seed: int) -> Book:
    """Make the book of one instrument; the same arguments give the same walk."""
    start, instrument = describe(symbol, name)
    middle = int(start.replace(".", ""))
    return Book(instrument, name, middle, depth=depth, seed=f"{seed}:{symbol}")
