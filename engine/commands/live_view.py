"""What an instance does right now, as tables: books, spreads over venues, hops, strategies, totals.

Used by `tickpath demo` while it runs and for its closing summary. Reads shared memory only. Counts
go on over restarts of the feed handler: what a dead writer's segment held is added to its
successor's.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from decimal import Decimal
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from rich.console import Group
from rich.table import Table
from rich.text import Text
from tickpath.engine.client.reader import RESTARTED, Book, FeedReader, open_reader
from tickpath.engine.strategy.stats import INLINE_NATIVE, StrategyStats, read_stats, running
from tickpath.proto.records import BookState, format_fixed
from tickpath.shm.histogram import percentiles
from tickpath.shm.segment import DIRECTORY, SegmentError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from rich.console import RenderableType
    from tickpath.proto.instrument import Instrument
    from tickpath.shm.histogram import Percentiles

STATE_COLOURS = {
    BookState.LIVE: "green",
    BookState.SYNCING: "yellow",
    BookState.STALE: "red",
    BookState.CROSSED: "magenta",
}
# Short, for 80 columns, and long.
HOP_NAMES = {
    "received_to_taken": ("frame>poll", "frame received → taken from the queue"),
    "taken_to_decoded": ("poll>decoded", "taken → decoded"),
    "decoded_to_published": ("decoded>ring", "decoded → published in the ring"),
    "after_1ms": ("frame>ring 1ms", "the same, 1 to 10 ms after its last message"),
    "after_10ms": ("frame>ring 10ms", "the same, 10 ms and more after it"),
    "published_to_seen": ("ring>strategy", "published → strategy saw it"),
    "received_to_seen": ("frame>strategy", "frame received → strategy saw it"),
}
UNIT = "ns"
WIDTH_FOR_LONG_NAMES = 110
ROWS_MAX, ROWS_MIN = 20, 1
RATES_EVERY_S = 0.9
LOOKS_MAX = 8
NS_PER_US = 1000
WHOLE_FROM_US = 10_000
NOTHING = "-"
SPREAD_STRATEGY = "spread"
"""The strategy that counts crossings: examples/spread.py."""
SPREAD_COUNTERS = ("compared", "crossed", "crossings", "sum_millibps", "widest_millibps")
HEIGHT_FOR_GAPS = 30  # lines of a terminal with room for empty ones
SPREAD_SHARE = 3  # of the rows for books and spreads one in so many is a spread's, if need be
BPS, MILLI = 10_000, 1_000


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
    unit: str = UNIT
    placement: str = ""
    """Of the strategy that it is of; "" for the feed handler's own."""


def _hop(name: str, where: str, value: Percentiles, placement: str) -> Hop:
    figures = value.n, value.p50, value.p99, value.p999, value.max
    return Hop(name, where, *figures, placement=placement)


def merge_histograms(first: NDArray[np.uint64], second: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Add two histograms of shm/histogram.h: words 2 and 3 are extremes, all others counts."""
    merged = first + second
    merged[2:4] = np.maximum(first[2:4], second[2:4])
    return merged


@dataclass(frozen=True, slots=True)
class Counted:
    """What one writer, or all of them together, counted up to a moment."""

    at: float
    counters: dict[str, int]
    versions: tuple[int, ...]  # how often each book was published
    histograms: dict[str, NDArray[np.uint64]]

    @property
    def messages(self) -> int:
        return self.counters.get("feed.messages", 0)

    def plus(self, later: Counted) -> Counted:
        """Add a successor's counts to these."""
        names = {**self.counters, **later.counters}
        size = max(len(self.versions), len(later.versions))
        padded = [(*one, *(0,) * (size - len(one))) for one in (self.versions, later.versions)]
        histograms = dict(later.histograms)
        for name, words in self.histograms.items():
            histograms[name] = (
                merge_histograms(words, histograms[name]) if name in histograms else words
            )
        return Counted(
            later.at,
            {name: self.counters.get(name, 0) + later.counters.get(name, 0) for name in names},
            tuple(sum(both) for both in zip(*padded, strict=True)),
            histograms,
        )


NOTHING_COUNTED = Counted(0.0, {}, (), {})


@dataclass(frozen=True, slots=True)
class Rates:
    """Messages a second between two moments, in all and of each book."""

    seconds: float = 0.0
    messages: float = 0.0
    books: tuple[float, ...] = ()

    def of_book(self, index: int) -> float:
        """Return a book's; 0 for one that was not there at both moments."""
        return self.books[index] if index < len(self.books) else 0.0


def rates_between(before: Counted, after: Counted) -> Rates:
    """Return the averages; zeros where no time has passed."""
    seconds = after.at - before.at
    if seconds <= 0:
        return Rates(books=(0.0,) * len(after.versions))
    earlier = (*before.versions, *(0,) * (len(after.versions) - len(before.versions)))
    books = zip(after.versions, earlier, strict=False)
    return Rates(
        seconds,
        (after.messages - before.messages) / seconds,
        tuple((new - old) / seconds for new, old in books),
    )


@dataclass(frozen=True, slots=True)
class Seen:
    """A strategy's latest figures, and since when it is there (time.monotonic)."""

    stats: StrategyStats
    since: float


@dataclass(frozen=True, slots=True)
class Top:
    """Best bid and ask of one book as decimal text; None where a side is empty."""

    index: int
    venue: str
    symbol: str
    name: str
    """The canonical one, where it is known."""
    state: BookState
    bid: str | None
    bid_quantity: str | None
    ask: str | None
    ask_quantity: str | None


def _top(row: Instrument, book: Book) -> Top:
    def level(pair: tuple[int, int], count: int) -> tuple[str | None, str | None]:
        if count == 0:
            return None, None
        price, quantity = pair
        return (
            format_fixed(price, book.price_exponent),
            format_fixed(quantity, book.quantity_exponent),
        )

    bid, bid_quantity = level(book.bid, book.bid_count)
    ask, ask_quantity = level(book.ask, book.ask_count)
    names = row.venue, row.symbol, str(row.name or row.symbol)
    state = BookState(int(book.state))
    return Top(row.index, *names, state, bid, bid_quantity, ask, ask_quantity)


@dataclass(frozen=True, slots=True)
class VenueSpread:
    """One instrument over all venues now, and what a CrossVenueSpread has counted of it."""

    name: str
    bid: str | None
    bid_venue: str | None
    ask: str | None
    ask_venue: str | None
    bps: float | None
    """Of the best bid above the best ask, in basis points: below 0 where they do not cross."""
    compared: int = 0
    crossed: int = 0
    """Comparisons with a bid above an ask."""
    crossings: int = 0
    """Times that it came to that."""
    mean_bps: float = 0.0
    """While crossed."""
    widest_bps: float = 0.0


def spread_of(name: str, tops: Sequence[Top], counters: Mapping[str, int]) -> VenueSpread:
    """Compare the LIVE ones of an instrument's tops; exact, of decimal text."""
    live = [top for top in tops if top.state is BookState.LIVE]
    bids = [(Decimal(top.bid), top) for top in live if top.bid is not None]
    asks = [(Decimal(top.ask), top) for top in live if top.ask is not None]
    bid = max(bids, key=itemgetter(0), default=None)
    ask = min(asks, key=itemgetter(0), default=None)
    count = {one: counters.get(f"{name}.{one}", 0) for one in SPREAD_COUNTERS}
    crossed = count["crossed"]
    return VenueSpread(
        name,
        bid[1].bid if bid else None,
        bid[1].venue if bid else None,
        ask[1].ask if ask else None,
        ask[1].venue if ask else None,
        float((bid[0] - ask[0]) / ask[0]) * BPS if bid and ask else None,
        count["compared"],
        crossed,
        count["crossings"],
        count["sum_millibps"] / crossed / MILLI if crossed else 0.0,
        count["widest_millibps"] / MILLI,
    )


def by_name(tops: Iterable[Top]) -> dict[str, list[Top]]:
    """Put the books of one instrument beside each other, in the order of their first one."""
    found: dict[str, list[Top]] = {}
    for top in tops:
        found.setdefault(top.name, []).append(top)
    return found


@dataclass(slots=True)
class LiveView:
    """Look at one instance again and again; survives restarts of its writer."""

    instance: str
    path: str = ""
    beside: str = ""
    """What one message alone takes over this path and the kernel's, where it was timed."""
    restarts: int = 0
    directory: Path = DIRECTORY
    _reader: FeedReader | None = None
    _earlier: Counted = NOTHING_COUNTED  # of writers that are gone
    _now: Counted = NOTHING_COUNTED
    _first: Counted | None = None  # with the first messages: averages are since then
    _before: Counted | None = None
    _rates: Rates = field(default_factory=Rates)
    _strategies: dict[str, Seen] = field(default_factory=dict)
    _tops: list[Top] = field(default_factory=list)

    def look(self) -> bool:
        """Attach, or follow the writer. False while there is nothing to see yet."""
        try:
            if self._reader is None:
                self._reader = open_reader(self.instance, name=None, directory=self.directory)
        except SegmentError:
            return False
        reader = self._reader
        # Before a newer segment is opened: this one holds all that its dead writer counted.
        self._count(reader)
        reader.shm.join()  # only whether the writer lives matters here, not each event
        for _ in range(LOOKS_MAX):
            result = reader.next()
            if result == RESTARTED:
                self.restarts += 1
                self._earlier = self._now
                self._count(reader)
            if result <= 0:
                break
        self._tops = [_top(row, reader.book(row.index)) for row in reader.instruments]
        self._look_at_strategies()
        return True

    def _count(self, reader: FeedReader) -> None:
        segment = reader.shm.segment
        own = Counted(
            time.monotonic(),
            segment.counters(),
            tuple(reader.book(row.index).version for row in reader.instruments),
            {name: words.copy() for name, words in segment.histogram_words().items()},
        )
        self._now = self._earlier.plus(own)
        if self._first is None and self._now.messages:
            self._first = self._now
        if self._before is None or self._now.at - self._before.at >= RATES_EVERY_S:
            self._rates = rates_between(self._before or self._now, self._now)
            self._before = self._now

    def _look_at_strategies(self) -> None:
        names = list(running(self.instance, directory=self.directory))
        for name in names:
            try:
                stats = read_stats(self.instance, name, directory=self.directory)
            except SegmentError:
                continue
            old = self._strategies.get(name)
            self._strategies[name] = Seen(stats, old.since if old else time.monotonic())
        for name in set(self._strategies) - set(names):
            old = self._strategies[name]
            ended = msgspec.structs.replace(old.stats, is_running=False)
            self._strategies[name] = Seen(ended, old.since)

    # ---- what there is to tell ------------------------------------------------------------------

    def tops(self) -> list[Top]:
        """Return state and top of every book at the last look; empty while nothing is to be seen.

        All at one moment, so that tables made of them agree.
        """
        return self._tops

    def venues(self) -> list[str]:
        """Name the venues whose books are read, in the order of their first one."""
        return list(dict.fromkeys(top.venue for top in self.tops()))

    def spreads(self) -> list[VenueSpread]:
        """Return each instrument that several venues have, compared over them."""
        seen = self._strategies.get(SPREAD_STRATEGY)
        counters = seen.stats.counters if seen else {}
        return [
            spread_of(name, tops, counters)
            for name, tops in by_name(self.tops()).items()
            if len({top.venue for top in tops}) > 1
        ]

    def counters(self) -> dict[str, int]:
        """Return the feed handler's counters, all its lives together."""
        return self._now.counters

    def messages(self) -> int:
        """Return how many messages came, over restarts."""
        return self._now.messages

    @property
    def reader(self) -> FeedReader | None:
        """Borrow the reader of the present segment; None while there is none."""
        return self._reader

    def rates(self) -> Rates:
        """Return the rates of the last second or so."""
        return self._rates

    def average(self) -> Rates:
        """Return the rates since the first message."""
        return rates_between(self._first, self._now) if self._first else Rates()

    def strategies(self) -> list[dict[str, Any]]:
        """Return what each strategy saw, what it lost, and since when it is there."""
        return [
            {
                "name": name,
                "is_running": seen.stats.is_running,
                "placement": seen.stats.placement,
                "since_s": round(self._now.at - seen.since, 1),
                "messages": seen.stats.counters["tops"],
                "events": seen.stats.counters["events"],
                "lost": seen.stats.counters["lost"],
                "laps": seen.stats.counters["laps"],
                "restarts": seen.stats.counters["restarts"],
            }
            for name, seen in sorted(self._strategies.items())
        ]

    def hops(self) -> list[Hop]:
        """Return all hops of the feed handler and of every strategy of this instance."""
        own = {name: percentiles(words) for name, words in self._now.histograms.items()}
        owners: list[tuple[str, dict[str, Percentiles], str]] = [("feed handler", own, "")]
        owners += [
            (name, seen.stats.hops, seen.stats.placement)
            for name, seen in sorted(self._strategies.items())
        ]
        return [
            _hop(name, where, value, placement)
            for where, hops, placement in owners
            for name, value in hops.items()
            if value.n
        ]

    # ---- as people read it ----------------------------------------------------------------------

    def books_table(self, rates: Rates, rows_max: int = ROWS_MAX) -> Table:
        """Return top of book per instrument, with states in colour."""
        has_venues = len(self.venues()) > 1
        names = ["instrument", *(["venue"] if has_venues else []), "state"]
        left = len(names)
        names += ["bid qty", "bid", "ask", "ask qty", "msg/s"]
        table = plain_table(names, left=left)
        table.collapse_padding = has_venues  # for 80 columns
        tops = [top for tops in by_name(self.tops()).values() for top in tops]
        for top in tops[:rows_max]:
            prices = (top.bid_quantity, top.bid, top.ask, top.ask_quantity)
            table.add_row(
                Text(top.name),  # not a str: that would be read as markup
                *([Text(top.venue)] if has_venues else []),
                Text(top.state.name, style=STATE_COLOURS[top.state]),
                *(text or NOTHING for text in prices),
                f"{rates.books[top.index]:,.0f}" if top.index < len(rates.books) else NOTHING,
            )
        if len(tops) > rows_max:
            table.add_row(f"+{len(tops) - rows_max} more")
        return table

    def spread_table(self, rows_max: int = ROWS_MAX) -> Table:
        """Return best bid and ask over all venues per instrument, and how often they crossed."""
        names = ("spread", "best bid", "at", "best ask", "at", "bps", "crossed", "times", "max")
        table = plain_table(names, left=1)
        table.collapse_padding = True
        spreads = self.spreads()
        for one in spreads[:rows_max]:
            is_crossed = one.bps is not None and one.bps > 0
            share = f"{one.crossed / one.compared:.1%}" if one.compared else NOTHING
            table.add_row(
                Text(one.name),
                *(text or NOTHING for text in (one.bid, one.bid_venue, one.ask, one.ask_venue)),
                Text(
                    NOTHING if one.bps is None else f"{one.bps:+.2f}",
                    style="bold magenta" if is_crossed else "",
                ),
                share,
                f"{one.crossings:,}",
                f"{one.widest_bps:.2f}",
            )
        if len(spreads) > rows_max:
            table.add_row(f"+{len(spreads) - rows_max} more")
        return table

    def hops_table(self, width: int) -> Table:
        """Return the latency of every hop in microseconds; short names where width is short."""
        is_long = width >= WIDTH_FOR_LONG_NAMES
        table = plain_table(("hop, µs", "where", "n", "p50", "p99", "p99.9", "max"), left=2)
        for hop in self.hops():
            values = (hop.p50, hop.p99, hop.p999, float(hop.maximum))
            table.add_row(
                HOP_NAMES[hop.name][is_long] if hop.name in HOP_NAMES else hop.name,
                f"{hop.where} ({hop.placement})" if is_long and hop.placement else hop.where,
                f"{hop.count:,}",
                *(microseconds(value) for value in values),
            )
        return table

    def headline(self) -> str:
        """Say in a line what reached a strategy, and how long after its frame.

        Of one that runs inline where there is one: nobody's wake-up is in that.
        """
        seen = [hop for hop in self.hops() if hop.name == "received_to_seen"]
        if not seen:
            return "no book has reached a strategy yet"
        inline = [hop for hop in seen if hop.placement == INLINE_NATIVE]
        compares = [hop for hop in seen if hop.where == SPREAD_STRATEGY]
        hop = (*inline, *compares, *seen)[0]
        count = len(self.venues())
        venues = f" of {count} venues" if count > 1 else ""
        p50, p99 = microseconds(hop.p50), microseconds(hop.p99)
        where = hop.where + f" ({INLINE_NATIVE})" * (hop.placement == INLINE_NATIVE)
        return (
            f"{hop.count:,} books{venues} reached strategy {where} {p50} µs after their frame "
            f"(p50; p99 {p99} µs)"
        )

    def beside_lines(self) -> list[str]:
        """Return a line of what one message takes over either path; none where it is not known."""
        return [self.beside] if self.beside else []

    def strategy_lines(self) -> list[str]:
        """Return a line for each strategy, that explains its n."""
        lines: list[str] = []
        for one in self.strategies():
            line = f"{one['name']} ({one['placement']}): {one['messages']:,} messages since it "
            line += f"started {one['since_s']:.1f} s ago, {one['lost']:,} events lost"
            if one["laps"]:
                line += f" in {one['laps']:,} laps"
            lines.append(line + ("" if one["is_running"] else ": ENDED"))
        return lines

    def totals(self, rates: Rates | None = None) -> str:
        """Return a line of messages and their rate, with what went wrong."""
        counters, rate = self._now.counters, rates or self._rates
        names = ("feed.gaps", "feed.resyncs", "feed.broken", "hot.disconnects")
        rest = ", ".join(f"{name.split('.')[1]} {counters.get(name, 0):,}" for name in names)
        return f"{self.messages():,} messages, {rate.messages:,.0f} a second; {rest}"

    def restarted(self) -> list[str]:
        """Say in a line how often the feed handler was started anew; no line where it never was."""
        times = f"{self.restarts} time{'s' * (self.restarts != 1)}"
        return [f"feed handler restarted {times}"] if self.restarts else []

    def render(self, width: int, height: int) -> RenderableType:
        """Return everything for one redraw of a terminal of this size."""
        lines = [*self.strategy_lines(), self.totals(), *self.restarted()]
        hops = self.hops_table(width)
        gap: list[RenderableType] = [Text("")] if height >= HEIGHT_FOR_GAPS else []
        spreads: list[RenderableType] = []
        # Headline, path, two headings, perhaps "+N more", the cursor's own line.
        rows = height - len(lines) - hops.row_count - len(self.beside_lines()) - 6 - 2 * len(gap)
        if count := len(self.spreads()):
            shown = min(count, max(1, (rows - 1 - len(gap)) // SPREAD_SHARE))
            spreads = [*gap, self.spread_table(shown)]
            rows -= shown + (count > shown) + 1 + len(gap)
        rows = max(ROWS_MIN, min(ROWS_MAX, rows))
        return Group(
            *(_line(line) for line in (self.headline(), *self.beside_lines())),
            _line(f"path: {self.path}"),
            self.books_table(self._rates, rows),
            *spreads,
            *gap,
            hops,
            *gap,
            *(_line(line) for line in lines),
        )

    def close(self) -> None:
        """Unmap."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None


def microseconds(ns: float) -> str:
    """Write microseconds in at most 9 characters up to 10 s: nobody reads hundredths of 10 ms."""
    us = ns / NS_PER_US
    return f"{us:,.2f}" if us < WHOLE_FROM_US else f"{us:,.0f}"


def _line(text: str) -> Text:
    return Text(text, no_wrap=True, overflow="ellipsis")


def plain_table(names: Iterable[str], left: int) -> Table:
    """Make a table without lines: heading, then a line a row."""
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold underline")
    for index, name in enumerate(names):
        table.add_column(name, justify="left" if index < left else "right", no_wrap=True)
    return table
