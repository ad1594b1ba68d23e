"""What `tickpath top` looks at: every segment of this machine, and the books of one instance.

Reads shared memory only: nobody notices. Called by: engine/top/command.py. Calls:
engine/commands/stat, engine/commands/live_view.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec
from tickpath.engine.commands.live_view import LiveView
from tickpath.engine.commands.stat import SegmentStatus, rated, sample
from tickpath.proto.records import format_fixed
from tickpath.shm.segment import instances

if TYPE_CHECKING:
    from tickpath.engine.client.reader import Book, BookState
    from tickpath.engine.commands.live_view import Hop


Level = tuple[str, str, int]
"""Price, quantity, and the quantity's mantissa."""


class ReaderRow(msgspec.Struct, frozen=True):
    """One registered consumer of an instance."""

    name: str
    pid: int
    lag: int
    laps: int
    lost: int
    seen_ms: float
    notes: str  # lossless, evicted, asleep, dead


class BookRow(msgspec.Struct, frozen=True):
    """One book: its state, its levels best first as (price, quantity), and its rate."""

    index: int
    venue: str
    symbol: str
    state: BookState
    why: str
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    rate: float
    age_ms: float  # since it was published


class Sample(msgspec.Struct, frozen=True):
    """Everything at one moment."""

    segments: tuple[SegmentStatus, ...] = ()
    instance: str | None = None  # the one looked into
    books: tuple[BookRow, ...] = ()
    hops: tuple[Hop, ...] = ()


def kind_of(status: SegmentStatus) -> str:
    """Say what sort of segment it is: its name tells, or that it has books."""
    for infix, kind in ((".strategy.", "strategy"), (".relay", "relay")):
        if infix in status.instance:
            return kind
    return "feed" if status.books else "segment"


def readers_of(status: SegmentStatus) -> tuple[ReaderRow, ...]:
    """Return who registered as a reader, as `tickpath stat` knows them."""
    rows = []
    for one in status.consumers:
        flags = {
            "lossless": one.is_lossless,
            "evicted": one.is_evicted,
            "asleep": one.is_asleep,
            "dead": not one.is_alive,
        }
        notes = " ".join(name for name, is_so in flags.items() if is_so)
        rows.append(
            ReaderRow(one.name, one.pid, one.lag, one.laps, one.lost, one.last_seen_ms, notes)
        )
    return tuple(rows)


class Watch:
    """Look again and again; keeps what rates are made of."""

    def __init__(self) -> None:
        self._before: dict[str, tuple[float, SegmentStatus]] = {}
        self._view: LiveView | None = None

    def look(self, instance: str | None) -> Sample:
        """Look at all segments, and into the books of one."""
        now = time.monotonic()
        seen = {}
        segments = []
        for name in instances():
            status = sample(name)
            at, before = self._before.get(name, (now, status))
            seen[name] = (now, status)
            segments.append(rated(before, status, now - at) if now > at else _unrated(status))
        self._before = seen
        books, hops = self._into(instance)
        return Sample(tuple(segments), instance, books, hops)

    def _into(self, instance: str | None) -> tuple[tuple[BookRow, ...], tuple[Hop, ...]]:
        if self._view is not None and self._view.instance != instance:
            self._view.close()
            self._view = None
        if instance is None:
            return (), ()
        if self._view is None:
            self._view = LiveView(instance)
        if not self._view.look():
            return (), ()
        return books_of(self._view), tuple(self._view.hops())

    def close(self) -> None:
        """Unmap."""
        if self._view is not None:
            self._view.close()
            self._view = None


def _unrated(status: SegmentStatus) -> SegmentStatus:
    return msgspec.structs.replace(status, loop_rate=0.0)


def books_of(view: LiveView) -> tuple[BookRow, ...]:
    """Return every book of an instance that is looked at."""
    reader = view.reader
    if reader is None:
        return ()
    rates, now, rows = view.rates().books, reader.now_ns(), []
    for row in reader.instruments:
        book = reader.book(row.index)
        rate = rates[row.index] if row.index < len(rates) else 0.0
        age_ms = max(0, now - book.published_ns) / 1e6 if book.version else 0.0
        rows.append(
            BookRow(
                index=row.index,
                venue=row.venue,
                symbol=row.symbol,
                state=book.state,
                why=book.why,
                bids=_side(book, book.bids),
                asks=_side(book, book.asks),
                rate=rate,
                age_ms=age_ms,
            )
        )
    return tuple(rows)


def _side(book: Book, levels: list[tuple[int, int]]) -> tuple[Level, ...]:
    return tuple(
        (
            format_fixed(price, book.price_exponent),
            format_fixed(quantity, book.quantity_exponent),
            quantity,
        )
        for price, quantity in levels
    )
