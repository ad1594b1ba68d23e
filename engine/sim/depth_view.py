"""What a depth shows of a simulated book, and what of that changed; for dialects.

Called by: venues/.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tickpath.proto.records import format_fixed

if TYPE_CHECKING:
    from tickpath.engine.sim.market import Book

Levels = list[tuple[int, int]]
Scale = tuple[int, int]


def decimal(mantissa: int, exponent: int) -> str:
    """Write a number as most venues do: without zeros at its end."""
    written = format_fixed(mantissa, exponent)
    return written.rstrip("0").rstrip(".") if "." in written else written


def scale_of(book: Book) -> Scale:
    """Return the exponents of a book's numbers."""
    return book.instrument.price_exponent, book.instrument.quantity_exponent


@dataclass(frozen=True, slots=True)
class View:
    """What a depth shows of a book: both sides, best first, with the digits of then."""

    bids: Levels
    asks: Levels
    scale: Scale

    def in_scale(self, scale: Scale) -> View:
        """Return the same numbers with other digits; where they are fewer, the rest are zeros."""
        if scale == self.scale:
            return self
        price, quantity = (old - new for old, new in zip(self.scale, scale, strict=True))
        bids, asks = (
            [(_times(one, price), _times(size, quantity)) for one, size in side]
            for side in (self.bids, self.asks)
        )
        return View(bids, asks, scale)


def _times(number: int, power: int) -> int:
    factor: int = 10 ** abs(power)
    return number * factor if power >= 0 else number // factor


def view_of(book: Book, depth: int) -> View:
    """Return a book to a depth."""
    return View(book.bids.levels(depth), book.asks.levels(depth), scale_of(book))


def changes(before: Levels, after: Levels) -> Levels:
    """Return what is to be said of a side: what left the depth is said to be gone as well."""
    old, new = dict(before), dict(after)
    gone = [(price, 0) for price in old if price not in new]
    return gone + [level for level in after if old.get(level[0]) != level[1]]
