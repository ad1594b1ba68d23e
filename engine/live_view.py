"""What an instance does right now, as tables: books, rates, hops, strategies.

Used by `tickpath demo` while it runs and for its closing summary. Reads shared memory only.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text
from tickpath.engine.reader import FeedReader, open_reader
from tickpath.proto.records import BookState, format_fixed
from tickpath.shm.segment import Segment, SegmentError, instances

if TYPE_CHECKING:
    from rich.console import RenderableType
    from tickpath.shm.histogram import Percentiles

STATE_COLOURS = {
    BookState.LIVE: "green",
    BookState.SYNCING: "yellow",
    BookState.STALE: "red",
    BookState.CROSSED: "magenta",
}
HOP_NAMES = {
    "received_to_decoded": "frame received → decoded",
    "decoded_to_published": "decoded → published",
    "published_to_seen": "published → strategy saw it",
    "received_to_seen": "frame received → strategy saw it",
}
ROWS_MAX = 20
RATES_EVERY_S = 0.9
NS_PER_US = 1000


@dataclass(frozen=True, slots=True)
class Hop:
    """Latency of one step, nanoseconds."""

    name: str
    where: str
    count: int
    p50: float
    p99: float
    p999: float
    maximum: int


def _hop(name: str, where: str, value: Percentiles) -> Hop:
    return Hop(name, where, value.n, value.p50, value.p99, value.p999, value.max)


@dataclass(slots=True)
class LiveView:
    """Look at one instance again and again; survives restarts of its writer."""

    instance: str
    path: str = ""
    _reader: FeedReader | None = None
    _counts: dict[int, tuple[int, float]] = field(default_factory=dict)
    _rates: dict[int, float] = field(default_factory=dict)
    _next_rates: float = 0.0
    _messages: tuple[int, float] = (0, 0.0)
    rate: float = 0.0

    def look(self) -> bool:
        """Attach, or follow the writer. False while there is nothing to see yet."""
        try:
            if self._reader is None:
                self._reader = open_reader(self.instance)
            for _ in range(4096):  # follow the ring, so that restarts and silence are noticed
                if self._reader.next() <= 0:
                    break
        except SegmentError:
            return False
        self._measure_rates(self._reader, time.monotonic())
        return True

    def _measure_rates(self, reader: FeedReader, now: float) -> None:
        if now < self._next_rates:
            return
        self._next_rates = now + RATES_EVERY_S
        for row in reader.instruments:
            version = reader.book(row.index).version
            before, then = self._counts.get(row.index, (version, now))
            # A restarted writer counts from 0 again.
            self._rates[row.index] = max(0, version - before) / (now - then) if now > then else 0.0
            self._counts[row.index] = (version, now)

    def states(self) -> list[BookState]:
        """Return the state of every book; empty while there is nothing to see."""
        if self._reader is None:
            return []
        return [self._reader.book(row.index).state for row in self._reader.instruments]

    def counters(self) -> dict[str, int]:
        """Return the reader's counters; empty while there is no segment."""
        try:
            with Segment(self.instance) as segment:
                return dict(segment.counters())
        except SegmentError:
            return {}

    def hops(self) -> list[Hop]:
        """Return all hops of the reader and of every strategy of this instance."""
        hops: list[Hop] = []
        prefix = f"{self.instance}.strategy."
        for name in [self.instance, *(one for one in instances() if one.startswith(prefix))]:
            where = "reader" if name == self.instance else name.removeprefix(prefix)
            try:
                with Segment(name) as segment:
                    histograms = segment.histograms()
            except SegmentError:
                continue
            hops += [_hop(hop, where, value) for hop, value in histograms.items() if value.n]
        return hops

    def books_table(self) -> Table:
        """Return top of book per instrument, with states in colour."""
        table = Table(title=self.path, title_justify="left", expand=False)
        for name, justify in (
            ("instrument", "left"),
            ("state", "left"),
            ("bid qty", "right"),
            ("bid", "right"),
            ("ask", "right"),
            ("ask qty", "right"),
            ("msg/s", "right"),
        ):
            table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type] # literals
        if self._reader is None:
            return table
        for row in self._reader.instruments[:ROWS_MAX]:
            book = self._reader.book(row.index)
            state = BookState(int(book.state))
            (bid, bid_quantity), (ask, ask_quantity) = book.bid, book.ask
            table.add_row(
                row.symbol,
                Text(state.name, style=STATE_COLOURS[state]),
                format_fixed(bid_quantity, row.quantity_exponent),
                format_fixed(bid, row.price_exponent),
                format_fixed(ask, row.price_exponent),
                format_fixed(ask_quantity, row.quantity_exponent),
                f"{self._rates.get(row.index, 0.0):,.0f}",
            )
        return table

    def hops_table(self, title: str = "") -> Table:
        """Return the latency of every hop in microseconds."""
        table = Table(title=title or None, title_justify="left")
        table.add_column("hop")
        table.add_column("where")
        for name in ("n", "p50 µs", "p99 µs", "p99.9 µs", "max µs"):
            table.add_column(name, justify="right")
        for hop in self.hops():
            values = (hop.p50, hop.p99, hop.p999, float(hop.maximum))
            table.add_row(
                HOP_NAMES.get(hop.name, hop.name),
                hop.where,
                f"{hop.count:,}",
                *(f"{value / NS_PER_US:,.2f}" for value in values),
            )
        return table

    def totals(self) -> str:
        """Return one line of counters: messages, rate, gaps, reconnects."""
        counters = self.counters()
        now, messages = time.monotonic(), counters.get("feed.messages", 0)
        before, then = self._messages
        if now > then and messages >= before:
            self.rate = (messages - before) / (now - then) if then else 0.0
        self._messages = (messages, now)
        names = ("feed.gaps", "feed.resyncs", "feed.broken", "hot.connects", "hot.disconnects")
        rest = ", ".join(f"{name.split('.')[1]} {counters.get(name, 0):,}" for name in names)
        return f"{messages:,} messages, {self.rate:,.0f} a second; {rest}"

    def render(self) -> RenderableType:
        """Return everything for one redraw."""
        return Group(self.books_table(), self.hops_table(), Text(self.totals()))

    def close(self) -> None:
        """Unmap."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
