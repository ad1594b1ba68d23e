"""`tickpath book VENUE:SYMBOL`: one book, live, whether or not an instance has it.

Reads the instance that has it, as any reader; where none runs, a feed handler of its own serves it
meanwhile (private_feed.py). Called by: engine/cli.py. Calls: live_view.py, engine/top for the
ladder.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.live import Live
from rich.text import Text
from tickpath.engine.cli import printable
from tickpath.engine.client.reader import open_reader
from tickpath.engine.commands.connect_arguments import positive_seconds
from tickpath.engine.commands.live_view import LiveView
from tickpath.engine.commands.private_feed import PrivateFeed
from tickpath.engine.commands.text_table import aligned
from tickpath.engine.commands.venue_arguments import (
    add_venue_arguments,
    find_venue,
    has_place,
    venue_section,
)
from tickpath.engine.console import Console
from tickpath.engine.supervisor.end_signals import EndSignals
from tickpath.engine.supervisor.stop_flag import StopFlag
from tickpath.engine.top.samples import book_row
from tickpath.engine.top.screens import book_body
from tickpath.proto.instrument import Status
from tickpath.proto.records import BOOK_DEPTH_MAX
from tickpath.proto.venues import DEFAULT_NAME, find_symbol, load_venue, resolve_symbol
from tickpath.shm.errors import LocalError, RemoteError
from tickpath.shm.segment import SegmentError, instances

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from tickpath.engine.top.samples import BookRow

INTERVAL_S, TIMEOUT_S = 0.5, 20.0
LOOK_S = 0.05
NS_PER_S = 1e9


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the options of `tickpath book`."""
    parser = subparsers.add_parser(
        "book",
        description="Show one book live, until Ctrl-C: from the instance that has it, or, where "
        "none runs, by a feed handler of its own over kernel sockets, which is gone afterwards.",
        epilog=f"example: tickpath book {DEFAULT_NAME}:{load_venue(DEFAULT_NAME).example_symbol} "
        "--depth 5. Trade on LIVE only: the state, its reason, the age of the last message and of "
        "the last verification stand above the ladder. Options that say where the venue is ask "
        "for a feed handler of its own.",
    )
    parser.add_argument(
        "book", metavar="VENUE:SYMBOL", help="by the venue's own name or as in BTC/USDT"
    )
    parser.add_argument(
        "--depth",
        type=int,
        default=10,
        metavar="N",
        help=f"levels a side, 1 to {BOOK_DEPTH_MAX} (default: %(default)s)",
    )
    parser.add_argument(
        "--once",
        action="store_true",
        help="print it once it is LIVE, and end; status 1 where it is not in time",
    )
    parser.add_argument(
        "--timeout",
        type=positive_seconds,
        default=TIMEOUT_S,
        metavar="S",
        help="how long --once waits (default: %(default)g)",
    )
    parser.add_argument(
        "--interval",
        type=positive_seconds,
        default=INTERVAL_S,
        metavar="S",
        help="show it anew after so many seconds (default: %(default)g)",
    )
    parser.add_argument(
        "--json", action="store_true", help="one JSON object a line, whenever it changed"
    )
    add_venue_arguments(parser)


@dataclass(frozen=True, slots=True)
class Asked:
    """Which book; `symbol` is the venue's own name, as far as that is known without its list."""

    venue: str
    symbol: str


def parse_book(text: str) -> Asked:
    """Read VENUE:SYMBOL; raises LocalError."""
    venue, colon, symbol = text.partition(":")
    if not colon or not venue or not symbol:
        raise LocalError(
            f"{text!r}: expected VENUE:SYMBOL, as in "
            f"{DEFAULT_NAME}:{load_venue(DEFAULT_NAME).example_symbol}"
        )
    own = find_venue(venue)
    try:
        return Asked(venue, resolve_symbol(own, symbol))
    except ValueError as error:
        raise LocalError(f"{text!r}: {error}") from error


def run(args: argparse.Namespace) -> int:
    """Show it; 0 after a signal or --once, an error where there is nothing to show."""
    if not 1 <= args.depth <= BOOK_DEPTH_MAX:
        raise LocalError(f"--depth {args.depth}: expected 1 to {BOOK_DEPTH_MAX} levels a side")
    asked, stop = parse_book(args.book), StopFlag()
    instance = None if has_place(args) else find_instance(asked)
    with EndSignals(stop.set, "its feed handler to end"), ExitStack() as stack:
        feed = None
        if instance is None:
            section = venue_section(args, asked.venue, [asked.symbol])
            feed = stack.enter_context(PrivateFeed(section))
            instance = feed.instance
        view = LiveView(instance)
        stack.callback(view.close)
        watched = Watched(asked, view, feed)
        return _once(watched, args, stop) if args.once else _live(watched, args, stop)


def find_instance(asked: Asked) -> str | None:
    """Return a running instance that has the book, a LIVE one first; None: there is none."""
    found: dict[bool, str] = {}
    for name in instances():
        try:
            with open_reader(name, name=None) as reader:
                rows = [row for row in reader.instruments if row.venue == asked.venue]
                row = find_symbol(rows, asked.symbol)
                book = reader.book(row.index)
                if row.status is Status.REMOVED:
                    continue  # it was here: nothing comes of it any more
                if reader.shm.segment.writer_lives():
                    found.setdefault(book.is_live, name)
        except (SegmentError, ValueError, LookupError):
            continue  # no feed's, not for us, or without this book
    return found.get(True, found.get(False))


class Watched:
    """One book of one instance."""

    def __init__(self, asked: Asked, view: LiveView, feed: PrivateFeed | None) -> None:
        self.asked, self._view, self._feed = asked, view, feed

    @property
    def instance(self) -> str:
        return self._view.instance

    def look(self) -> BookRow | None:
        """Return it as it is now; None: not there yet. Raises what ended its feed handler."""
        if self._feed is not None:
            self._feed.check()
        if not self._view.look() or self._view.reader is None:
            return None
        reader = self._view.reader
        rows = [row for row in reader.instruments if row.venue == self.asked.venue]
        try:
            row = find_symbol(rows, self.asked.symbol)
        except ValueError as error:  # it was taken out meanwhile
            raise RemoteError(f"instance {self.instance}: {error}") from error
        if row.status is Status.REMOVED:
            raise RemoteError(
                f"instance {self.instance}: {row.symbol} was removed from it: add it to the "
                "configuration and reload, or ask again: a feed handler of its own serves it then"
            )
        return book_row(reader, row, self._view.rates().books)

    def words(self) -> str:
        """Return what its own feed handler said last, for a book that is not LIVE."""
        return self._feed.last_words() if self._feed is not None else ""


def _once(watched: Watched, args: argparse.Namespace, stop: StopFlag) -> int:
    end = time.monotonic() + args.timeout
    row = watched.look()
    while (row is None or not row.is_live) and time.monotonic() < end:
        if stop.wait(LOOK_S):
            return 0
        row = watched.look()
    if row is not None:
        _print(watched, row, args)
    if row is not None and row.is_live:
        return 0
    state = "not there yet" if row is None else f"{row.state.name} ({row.why})"
    said = f"; its feed handler said: {watched.words()}" if watched.words() else ""
    raise RemoteError(
        f"book {watched.asked.venue}:{watched.asked.symbol} is {state} after "
        f"{args.timeout:g} s, expected LIVE{said}"
    )


def _live(watched: Watched, args: argparse.Namespace, stop: StopFlag) -> int:
    console = Console()
    if args.json or not console.is_terminal:
        _follow(watched, stop, args.interval, lambda row: _print(watched, row, args))
        return 0
    with Live(console=console, auto_refresh=False) as live:
        while not stop.wait(args.interval if watched.look() else LOOK_S):
            live.update(_frame(watched, args.depth, console.size.width), refresh=True)
    return 0


def _follow(
    watched: Watched, stop: StopFlag, interval_s: float, show: Callable[[BookRow], None]
) -> None:
    """Show it whenever it changed, at most once an interval."""
    shown = None
    while not stop.is_set():
        row = watched.look()
        key = row and (row.version, row.state, row.why)
        if row is not None and key != shown:
            shown = key
            show(row)
            sys.stdout.flush()
        stop.wait(interval_s if row is not None else LOOK_S)


def _frame(watched: Watched, depth: int, width: int) -> Group | Text:
    row = watched.look()
    words = watched.words()
    if row is None:
        return Text(printable(words) or "starting a feed handler")
    lines = [book_body(row, width, depth + 1), Text(f"instance {watched.instance}", style="dim")]
    if not row.is_live and words:
        lines.append(Text(printable(words), style="yellow"))
    return Group(*lines)


def _print(watched: Watched, row: BookRow, args: argparse.Namespace) -> None:
    if args.json:
        print(json.dumps(facts(watched.instance, row, args.depth), ensure_ascii=False))
        return
    print(printable(f"{row.venue} {row.symbol} {row.title()}, instance {watched.instance}"))
    cells = []
    for place in range(min(args.depth, max(len(row.bids), len(row.asks)))):
        bid = row.bids[place][1::-1] if place < len(row.bids) else ("", "")
        ask = row.asks[place][:2] if place < len(row.asks) else ("", "")
        cells.append((*bid, *ask))
    print("\n".join(aligned(("bid qty", "bid", "ask", "ask qty"), cells, left=0)))


def facts(instance: str, row: BookRow, depth: int) -> dict[str, Any]:
    """Return a book for programs: prices and quantities as decimal text, best first."""
    return {
        "instance": instance,
        "venue": row.venue,
        "symbol": row.symbol,
        "state": row.state.name,
        "why": row.why,
        "version": row.version,
        "book_sequence": row.book_sequence,
        "exchange_ns": row.exchange_ns,
        "message_age_ms": row.message_age_ms,
        "verified_age_ms": row.verified_age_ms,
        "bids": [list(level[:2]) for level in row.bids[:depth]],
        "asks": [list(level[:2]) for level in row.asks[:depth]],
    }
