"""`tickpath stat`: what the segments of this machine say of their writers.

Without a name it lists them; with one it shows header, counters with rates, hops and strategies.
Reads shared memory only: nobody notices. Called by: engine/cli.py. Calls: shm/segment, rt/process.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec
from tickpath.engine.client.reader import Book, open_reader
from tickpath.engine.loop.pauses import pause_text, run_directory
from tickpath.engine.strategy.stats import SCHEMA as STRATEGY_SCHEMA
from tickpath.engine.strategy.stats import placement
from tickpath.rt.process import huge_page_bytes
from tickpath.shm.budget import Entry, read_entries
from tickpath.shm.control_segment import Consumer, consumers
from tickpath.shm.errors import LocalError
from tickpath.shm.histogram import Percentiles  # noqa: TC002  # msgspec resolves it at run time
from tickpath.shm.segment import (
    Segment,
    SegmentDeniedError,
    SegmentError,
    instances,
)

if TYPE_CHECKING:
    import argparse

    from tickpath.proto.instrument import Instrument

INTERVAL_S_DEFAULT, INTERVAL_S_MAX = 1.0, 3600.0
BOOKS_SHOWN_MAX = 20  # as text; JSON has them all
NS_PER_MS, NS_PER_US = 1e6, 1e3
SILENT_AFTER_MS = 100.0
KINDS = {"rest": "requests", "connects": "new connections", "messages": "messages"}
EXIT_DENIED = 3  # as where this machine lacks something


class BookStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Tell of one book; prices as floats, for display."""

    venue: str
    symbol: str
    state: str
    why: str = ""  # it is not LIVE
    bid: float | None = None
    ask: float | None = None


class SegmentStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Tell of one segment; rates in events or counts a second."""

    instance: str
    state: str  # running, silent, dead, or why it cannot be read
    is_denied: bool = False  # this user may not open it
    writer_pid: int = 0  # as its own PID namespace counts
    is_pid_foreign: bool = False  # here that pid means another process, or none
    heartbeat_age_ms: float = 0
    size_bytes: int = 0
    is_locked_in_memory: bool = False
    huge_page_bytes: int = 0  # of the writer's process
    events: int = 0
    event_rate: float = 0
    loop_rate: float = 0
    counters: dict[str, int] = {}
    rates: dict[str, float] = {}
    hops: dict[str, Percentiles] = {}
    placement: str = ""  # of a strategy: "split" or "inline native"
    path: str = ""  # what carries the bytes of a feed handler, once some came
    books: list[BookStatus] = []
    consumers: list[Consumer] = []  # who registered; others may read unseen
    budgets: list[Entry] = []  # of its venues: what this host's addresses asked of them


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the options of `tickpath stat`."""
    parser = subparsers.add_parser(
        "stat",
        help="show the counters of a running feed handler",
        description="Show what a running feed handler and its strategies say of themselves.",
        epilog="example: tickpath stat demo --interval 2",
    )
    parser.add_argument("instance", nargs="?", help="instance name (default: list all)")
    parser.add_argument(
        "--interval",
        type=float,
        default=INTERVAL_S_DEFAULT,
        metavar="S",
        help="measure rates over so many seconds; 0 leaves them out (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a segment")


def run(args: argparse.Namespace) -> int:
    """Print; 0, or 3 where the named instance is not there, or one must not be opened."""
    if not 0 <= args.interval <= INTERVAL_S_MAX:
        raise LocalError(
            f"--interval {args.interval:g}: expected 0 to {INTERVAL_S_MAX:g} seconds, "
            "0 for no rates"
        )
    names = list(instances())
    if args.instance is not None:
        prefix = f"{args.instance}.strategy."
        names = [args.instance, *(name for name in names if name.startswith(prefix))]
        Segment(args.instance).close()  # raises, saying why, where it cannot be read
    before = [sample(name) for name in names]
    if args.interval > 0 and names:
        time.sleep(args.interval)
        before = [rated(one, sample(one.instance), args.interval) for one in before]
    for status in before:
        print(msgspec.json.encode(status).decode() if args.json else format_status(status))
    if not names and not args.json:
        print("no segments: nothing runs here")
    return EXIT_DENIED if any(status.is_denied for status in before) else 0


def sample(name: str) -> SegmentStatus:
    """Look at one segment now; rates are 0 until `rated`."""
    try:
        with Segment(name) as segment:
            return _read(segment)
    except SegmentDeniedError as error:
        return SegmentStatus(instance=name, state=error.reason, is_denied=True)
    except SegmentError as error:
        return SegmentStatus(instance=name, state=error.reason)


def _read(segment: Segment) -> SegmentStatus:
    age_ms = segment.heartbeat_age_ns() / NS_PER_MS
    state = "running" if age_ms < SILENT_AFTER_MS else "silent"
    is_in_sight, lives = segment.writer_is_in_sight(), segment.writer_lives()
    header, live = segment.header, segment.live
    counters, books = segment.counters(), _books(segment.instance)
    return SegmentStatus(
        instance=segment.instance,
        state=state if lives else "dead",
        writer_pid=int(header.writer_pid),
        heartbeat_age_ms=round(age_ms, 3),
        size_bytes=int(header.total_size),
        is_locked_in_memory=segment.is_locked_in_memory,
        is_pid_foreign=lives and not is_in_sight,  # a dead one is nowhere
        huge_page_bytes=huge_page_bytes(int(header.writer_pid)) if is_in_sight else 0,
        events=int(live.head),
        loop_rate=float(live.loop_count),  # a count until it is rated
        counters=counters,
        hops=segment.histograms(),
        placement=placement(counters) if segment.schema == STRATEGY_SCHEMA else "",
        path=_path(counters),
        books=books,
        consumers=list(consumers(segment)),
        budgets=_budgets(books),
    )


def _budgets(books: list[BookStatus]) -> list[Entry]:
    """Return the budgets of the venues whose books these are: all processes of the host share."""
    venues = {book.venue for book in books}
    if not venues:
        return []
    return [
        one
        for one in read_entries(run_directory())
        if one.venue in venues and (one.uses or one.paused_s > 0)
    ]


def _path(counters: dict[str, int]) -> str:
    """Judge by what was counted: only our own stack has frames."""
    if counters.get("hot.frames"):
        return "AF_XDP"
    return "kernel sockets" if counters.get("hot.messages") else ""


def _books(instance: str) -> list[BookStatus]:
    """Read the books where it is a feed's segment that still can be read."""
    try:
        reader = open_reader(instance, name=None)
    except SegmentError:
        return []
    with reader:
        return [_book(one, reader.book(one.index)) for one in reader.instruments]


def _book(instrument: Instrument, book: Book) -> BookStatus:
    instrument = instrument.in_scale(book.price_exponent, book.quantity_exponent)
    return BookStatus(
        venue=instrument.venue,
        symbol=instrument.symbol,
        state=book.state.name,
        why=book.why,
        bid=instrument.price(book.bid[0]) if book.bid_count else None,
        ask=instrument.price(book.ask[0]) if book.ask_count else None,
    )


def rated(before: SegmentStatus, after: SegmentStatus, seconds: float) -> SegmentStatus:
    """Return the later sample with rates; a writer that restarted in between has none."""

    def rate(new: float, old: float) -> float:
        return round(max(0.0, new - old) / seconds, 1)

    is_same = before.writer_pid == after.writer_pid
    changes: dict[str, Any] = {
        "event_rate": rate(after.events, before.events) if is_same else 0.0,
        "loop_rate": rate(after.loop_rate, before.loop_rate) if is_same else 0.0,
        "rates": {
            name: rate(value, before.counters.get(name, 0))
            for name, value in after.counters.items()
            if is_same
        },
    }
    return msgspec.structs.replace(after, **changes)


def _format_consumer(one: Consumer) -> str:
    words = [f"lag {one.lag:,}", f"{one.lost:,} lost in {one.laps:,} laps"]
    words += [f"seen {one.last_seen_ms:,.1f} ms ago"]
    flags = {
        "lossless": one.is_lossless,
        "evicted": one.is_evicted,
        "asleep": one.is_asleep,
        "dead": not one.is_alive,
    }
    words += [name for name, is_so in flags.items() if is_so]
    pid = f"{one.pid} of another PID namespace" if one.is_pid_foreign else f"{one.pid}"
    return f"  reader {one.name} (pid {pid}): {', '.join(words)}"


def budget_words(one: Entry) -> tuple[str, str]:
    """Say what is used of each limit in the present window, and whether nothing is to be asked."""
    uses = [
        f"{use.used:,} of {use.limit:,} {KINDS.get(use.kind, use.kind)} in {use.window_s:g} s"
        for use in one.uses
    ]
    paused = f"nothing for {pause_text(one.paused_s)}: {one.reason}" if one.paused_s > 0 else ""
    return ", ".join(uses), paused


def _format_budget(one: Entry) -> str:
    words = [text for text in budget_words(one) if text]
    return f"  budget of {one.address} at {one.host}: {'; '.join(words) or 'nothing was asked'}"


def format_status(status: SegmentStatus) -> str:
    """Write one segment as people read it; counters that are 0 are left out."""
    if not status.size_bytes:
        return f"{status.instance}: {status.state}"
    lines = [
        f"{status.instance}: {status.state}, writer pid {status.writer_pid}"
        + (" (hidden, or of another PID namespace)" if status.is_pid_foreign else "")
        + ", heartbeat "
        f"{status.heartbeat_age_ms:.1f} ms ago, {status.size_bytes / 2**20:.1f} MiB"
        + ("" if status.is_locked_in_memory else " (not locked in memory)")
        + (f", {status.huge_page_bytes >> 20} MiB in huge pages" if status.huge_page_bytes else ""),
    ]
    if status.placement:
        lines.append(f"  placement: {status.placement}")
    if status.path:
        lines.append(f"  path: {status.path}")
    has_several = len({book.venue for book in status.books}) > 1
    for book in status.books[:BOOKS_SHOWN_MAX]:
        name = f"{book.venue}:{book.symbol}" if has_several else book.symbol
        why = f" ({book.why})" if book.why else ""
        sides = [f"{price:,.10g}" if price is not None else "-" for price in (book.bid, book.ask)]
        lines.append(f"  book {name:<14} {book.state}{why}, {sides[0]} / {sides[1]}")
    if len(status.books) > BOOKS_SHOWN_MAX:
        lines.append(f"  and {len(status.books) - BOOKS_SHOWN_MAX} more: --json shows them all")
    if status.events:
        rate = f"  {status.event_rate:>14,.0f} a second" if status.rates else ""
        lines.append(f"  events {status.events:>24,}{rate}")
    lines += [_format_consumer(one) for one in status.consumers]
    lines += [_format_budget(one) for one in status.budgets]
    for name, value in status.counters.items():
        if value:
            each = status.rates.get(name, 0.0)
            lines.append(
                f"  {name:<24} {value:>6,}" + (f"  {each:>14,.0f} a second" if each else "")
            )
    for name, hop in status.hops.items():
        if hop.n:
            us = [value / NS_PER_US for value in (hop.p50, hop.p99, hop.p999, hop.max)]
            lines.append(
                f"  {name:<24} n {hop.n:,}: p50 {us[0]:.2f}, p99 {us[1]:.2f}, "
                f"p99.9 {us[2]:.2f}, max {us[3]:.2f} us"
            )
    return "\n".join(lines)
