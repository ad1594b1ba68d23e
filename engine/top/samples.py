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
from tickpath.engine.strategy.stats import INLINE_NATIVE
from tickpath.proto.records import BookState, format_fixed
from tickpath.shm.segment import instances

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tickpath.engine.client.reader import Book, FeedReader
    from tickpath.engine.commands.live_view import Hop
    from tickpath.proto.instrument import Instrument


NS_PER_MS, MS_PER_S, MS_SHOWN_MAX = 1e6, 1e3, 10_000
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
    version: int = 0  # how often it was published
    book_sequence: int = 0
    exchange_ns: int = 0
    message_age_ms: float | None = None  # since its own last message; None: there was none
    verified_age_ms: float | None = None  # since it was found equal to the venue's; None: never
    name: str = ""  # the canonical one, where it is known

    @property
    def is_live(self) -> bool:
        return self.state == BookState.LIVE

    def title(self) -> str:
        """Say what must be known before its numbers are believed."""
        words = [f"{self.state.name} ({self.why})" if self.why else self.state.name]
        age, verified = self.message_age_ms, self.verified_age_ms
        words.append("no message yet" if age is None else f"last message {_ago(age)} ago")
        words.append("never verified" if verified is None else f"verified {_ago(verified)} ago")
        return ", ".join(words)


class Sample(msgspec.Struct, frozen=True):
    """Everything at one moment."""

    segments: tuple[SegmentStatus, ...] = ()
    instance: str | None = None  # the one looked into
    books: tuple[BookRow, ...] = ()
    hops: tuple[Hop, ...] = ()


def kind_of(status: SegmentStatus) -> str:
    """Say what sort of segment it is: its name tells, or that it has books."""
    if status.placement == INLINE_NATIVE:
        return "inline"
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


class BudgetRow(msgspec.Struct, frozen=True):
    """One kind of what an address may ask of a venue's host; limit 0: only that it is to wait."""

    venue: str
    host: str
    address: str
    kind: str
    used: int
    limit: int
    window_s: float
    paused_s: float


def budgets_of(status: SegmentStatus) -> tuple[BudgetRow, ...]:
    """Return a row for each limit that something was asked of."""
    rows = []
    for one in status.budgets:
        whose, paused_s = (one.venue, one.host, one.address), one.paused_s
        rows += [
            BudgetRow(*whose, use.kind, use.used, use.limit, use.window_s, paused_s)
            for use in one.uses
        ]
        if not one.uses and paused_s > 0:
            rows.append(BudgetRow(*whose, "", 0, 0, 0.0, paused_s))
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
    rates = view.rates().books
    return tuple(book_row(reader, row, rates) for row in reader.instruments)


def book_row(reader: FeedReader, row: Instrument, rates: Sequence[float]) -> BookRow:
    """Return one book as it is now; rates: of all, by their index."""
    book, now = reader.book(row.index), reader.now_ns()
    return BookRow(
        index=row.index,
        venue=row.venue,
        symbol=row.symbol,
        state=book.state,
        why=book.why,
        bids=_side(book, book.bids),
        asks=_side(book, book.asks),
        rate=rates[row.index] if row.index < len(rates) else 0.0,
        age_ms=_age_ms(now, book.published_ns) or 0.0,
        version=book.version,
        book_sequence=book.book_sequence,
        exchange_ns=book.exchange_ns,
        message_age_ms=_age_ms(now, book.message_ns),
        verified_age_ms=_age_ms(now, book.verified_ns),
        name=str(row.name or ""),
    )


def _age_ms(now_ns: int, then_ns: int) -> float | None:
    """Return how long ago a stamp of the segment's clock is; None for 0, which is no stamp."""
    return max(0, now_ns - then_ns) / NS_PER_MS if then_ns else None


def _ago(age_ms: float) -> str:
    return f"{age_ms:,.0f} ms" if age_ms < MS_SHOWN_MAX else f"{age_ms / MS_PER_S:,.0f} s"


def _side(book: Book, levels: list[tuple[int, int]]) -> tuple[Level, ...]:
    return tuple(
        (
            format_fixed(price, book.price_exponent),
            format_fixed(quantity, book.quantity_exponent),
            quantity,
        )
        for price, quantity in levels
    )
