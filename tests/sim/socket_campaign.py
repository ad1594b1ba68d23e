"""Runs of faults over real sockets: `tickpath run` on loopback, and what a reader sees of it.

    python -m tests.sim.socket_campaign --venue kraken --runs 100 --seed 1

The exchange is engine/sim's, in a thread here, on the kernel's sockets, so that its truth is known
at every version; `tickpath run` is a process of its own, which some runs kill with SIGKILL or tell
to read its symbols anew. The reader is a strategy's own (`open_reader`): each book that it may
trade on is compared with the venue's at that version. A seed decides the faults, not the times at
which processes run. Used by: test_socket_campaign.py (a short form), `make campaign-sockets`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tickpath._core import lib
from tickpath.engine.client.reader import open_reader
from tickpath.engine.sim.exchange import Exchange, Options
from tickpath.engine.sim.faults import parse_fault
from tickpath.engine.sim.venues import dialect_names, load_dialect
from tickpath.proto.instrument import parse_symbol
from tickpath.proto.venues import pair_symbol
from tickpath.shm.segment import SegmentError

from tests.sim.campaign import (
    INSTRUMENT,
    MIXED,
    MIXED_COUNT,
    NAMES,
    REQUEST,
    REST,
    draw_race,
    possible,
)
from tests.sim.deployment import DEPTH_SHOWN, Setup, Truth, book_rule
from tests.sim.members import harm_any
from tests.venues.outside import install

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tickpath.engine.client.reader import FeedReader
    from tickpath.engine.client.views import Book
    from tickpath.engine.sim import market

SYMBOLS = 2
RATE = 150.0
FAULTS_S = 2.0
PATIENCE_S = 90.0  # of a busy host; the longest way back by the rules is shorter
KINDS = (
    *INSTRUMENT,
    *(kind for kind in (*REST, *REQUEST) if kind not in ("rest-late:8", "answer-late:12")),
    *("disconnect", "half-frame", "ping-flood", "close", "close:1013", "drip:1", "silent"),
    *("kill", "kill", "reload"),
)
ALONE = " of one connection"
MEMBER = tuple(kind + ALONE for kind in ("disconnect", "half-frame", "drip:1", "silent", "close"))
CONFIG = """instance = "{instance}"
[feed_handler]
spin = false
lock_memory = false
huge_pages = false
[network]
backend = "kernel"
[reconnect]
first_s = 0.05
max_s = 0.3
"""
SECTION = """[[venue]]
name = "{name}"
symbols = [{symbols}]
host = "localhost"
port = {port}
tls = false
race = {race}
[venue.resolve]
"localhost:{port}" = "127.0.0.1"
"""


class SocketError(AssertionError):
    """Raised when a promise does not hold; the text has the run's venue, seed and story."""


@dataclass(slots=True)
class History:
    """One instrument's books, by version; kept before anybody is told."""

    rule: Any
    depth: int
    books: dict[int, Truth] = field(default_factory=dict)
    shown: dict[tuple[tuple[int, int], ...], int] = field(default_factory=dict)

    def witness(self, book: market.Book) -> None:
        """Keep a book as it has just become."""
        row = book.instrument
        bids, asks = book.bids.levels(self.depth), book.asks.levels(self.depth)
        true = Truth(bids, asks, row.price_exponent, row.quantity_exponent)
        self.books[book.version] = true
        if self.rule.chain == lib.TP_CHAIN_NONE:
            self.shown[true.values] = book.version

    def trouble(self, book: Book) -> str:
        """Return what is wrong with a LIVE book; "" where it was the venue's once."""
        seen = Truth(book.bids, book.asks, book.price_exponent, book.quantity_exponent)
        if self.rule.chain == lib.TP_CHAIN_NONE:
            return "" if seen.values in self.shown else f"it never was the venue's: {seen}"
        true = self.books.get(book.book_sequence)
        if true is None:
            return f"version {book.book_sequence} never was"
        counts = len(seen.bids), len(seen.asks)
        sides = true.packed(book.price_exponent, book.quantity_exponent)
        own = seen.packed(book.price_exponent, book.quantity_exponent)
        same = all(side[: 16 * n] == one for side, n, one in zip(sides, counts, own, strict=True))
        return "" if same and min(counts) > 0 else f"{seen}, the venue had {true}"


class Run:
    """One run: exchanges in a thread, a supervisor in a process, a reader here."""

    def __init__(self, venue: str, seed: int, directory: Path) -> None:
        self.random = random.Random(f"sockets {venue} {seed}")
        self.instance = f"sockets{os.getpid()}x{seed}"
        self.name, self.path = f"--venue {venue} --seed {seed}", directory / "run.toml"
        names = self.random.sample(dialect_names(), MIXED_COUNT) if venue == MIXED else [venue]
        self.setups = [self._setup(name, seed, directory) for name in names]
        self.exchanges: list[Exchange] = []
        self.histories: dict[tuple[str, str], History] = {}
        self.compared = 0
        self.story: list[str] = []
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.process: subprocess.Popen[str] | None = None

    @staticmethod
    def _setup(name: str, seed: int, directory: Path) -> Setup:
        dialect = load_dialect(name)
        listed = tuple(
            pair_symbol(dialect.venue, parse_symbol(one)) for one in NAMES[: SYMBOLS + 1]
        )
        symbols = listed[:SYMBOLS]
        setup = Setup(
            seed=seed, directory=directory, dialect=dialect, symbols=symbols, listed=listed
        )
        return replace(setup, race=draw_race(setup))

    def tell(self, text: str) -> None:
        """Add a line to the story."""
        self.story.append(text)

    def failure(self, what: str) -> SocketError:
        """Describe what does not hold."""
        return SocketError(f"{self.name}: {what}\n" + "\n".join(self.story[-80:]))

    # The parts.

    def open(self) -> None:
        """Start exchanges and the supervisor."""
        for setup in self.setups:
            listed = setup.listed or setup.symbols
            options = Options(instruments=listed, rate=RATE, depth=60, seed=setup.seed)
            exchange = Exchange(setup.dialect, options)
            rule = book_rule(setup)
            for symbol, listing in exchange._floor.listings.items():
                history = History(rule, min(DEPTH_SHOWN, rule.depth or DEPTH_SHOWN))
                history.witness(listing.book)
                listing.book.witness = history.witness
                self.histories[setup.dialect.venue.name, symbol] = history
            serve = exchange.serve("127.0.0.1", 0, None)
            asyncio.run_coroutine_threadsafe(serve, self.loop).result(10)
            self.exchanges.append(exchange)
        self.write([setup.symbols for setup in self.setups])
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tickpath.engine.cli", "run", str(self.path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        threading.Thread(target=self._collect, args=(self.process,), daemon=True).start()

    def _collect(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.tell(line.rstrip())

    def write(self, symbols: Sequence[tuple[str, ...]]) -> None:
        """Write the configuration; the symbols are what is wanted from then on."""
        self.wanted = list(symbols)
        text = CONFIG.format(instance=self.instance)
        for setup, exchange, some in zip(self.setups, self.exchanges, symbols, strict=True):
            quoted = ", ".join(f'"{one}"' for one in some)
            name = setup.dialect.venue.name
            words = {"name": name, "symbols": quoted, "port": exchange.port, "race": setup.race}
            text += SECTION.format(**words)
        self.path.write_text(text, encoding="utf-8")

    def close(self) -> None:
        """End all of it, whatever state it is in."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(20)
            self.process.kill()
        for exchange in self.exchanges:
            asyncio.run_coroutine_threadsafe(exchange.close(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)

    # What goes wrong.

    def draw(self) -> list[tuple[float, int, str]]:
        """Choose faults and their seconds."""
        drawn = []
        for _ in range(self.random.randrange(2, 6)):
            venue = self.random.randrange(len(self.setups))
            setup, at_s = self.setups[venue], self.random.uniform(0, FAULTS_S)
            alone = MEMBER if setup.race > 1 else ()
            kind = self.random.choice((*KINDS, *possible(setup), *alone, *alone))
            drawn.append((at_s, venue, kind))
            if kind in (*REST, *REQUEST):
                drawn.append((at_s + 0.01, venue, self.random.choice(("gap", "disconnect"))))
        return sorted(drawn)

    def do(self, venue: int, text: str) -> None:
        """Let one of them happen."""
        self.tell(f"fault {text} at venue {venue}")
        if text == "kill":
            for pid in children(self.process.pid if self.process is not None else 0):
                os.kill(pid, signal.SIGKILL)
        elif text == "reload" and self.process is not None:
            some = list(self.wanted)
            listed = self.setups[venue].listed or ()
            some[venue] = tuple(self.random.sample(listed, self.random.randrange(1, len(listed))))
            self.write(some)
            self.process.send_signal(signal.SIGHUP)
        elif text in MEMBER:
            kind = text.removesuffix(ALONE)
            act = partial(harm_any, self.exchanges[venue], kind, self.random)
            self.loop.call_soon_threadsafe(act)
        else:
            self.loop.call_soon_threadsafe(partial(self.exchanges[venue].do, parse_fault(text)))

    # What a reader sees.

    def look(self, reader: FeedReader) -> bool:
        """Compare all books that may be traded on; say whether those are all that are wanted."""
        live = set()
        for row in reader.instruments:
            if (row.venue, row.symbol) not in self.histories:
                continue  # a row that is just being written
            book = reader.book(row.index)
            if not book.is_live:
                continue
            history = self.histories[row.venue, row.symbol]
            trouble = history.trouble(book)
            if trouble:
                raise self.failure(f"{row.venue} {row.symbol} is LIVE and {trouble}")
            self.compared += 1
            live.add((row.venue, row.symbol))
        wanted = {
            (setup.dialect.venue.name, symbol)
            for setup, some in zip(self.setups, self.wanted, strict=True)
            for symbol in some
        }
        return wanted <= live

    def follow(self, reader: FeedReader, seconds: float, *, until_whole: bool) -> bool:
        """Look again and again, for so long or until all that is wanted is LIVE."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            reader.judge_writer(reader._look())
            if self.look(reader) and until_whole:
                return True
            time.sleep(0.0005)
        return False

    def suffer(self) -> None:
        """Go LIVE, have it go wrong, come back; raises SocketError."""
        with self._reader() as reader:
            reader.set_wait(0)
            if not self.follow(reader, PATIENCE_S, until_whole=True):
                raise self.failure("never became LIVE")
            began = time.monotonic()
            for at_s, venue, text in self.draw():
                self.follow(reader, began + at_s - time.monotonic(), until_whole=False)
                self.do(venue, text)
            self.follow(reader, 0.5, until_whole=False)
            if not self.follow(reader, PATIENCE_S, until_whole=True):
                raise self.failure(f"not LIVE {PATIENCE_S:g} s after all was over")
            self.follow(reader, 0.5, until_whole=False)

    def _reader(self) -> FeedReader:
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                return open_reader(self.instance)
            except SegmentError as error:
                if time.monotonic() > end:
                    raise self.failure(f"no segment: {error}") from error
                time.sleep(0.02)


def children(pid: int) -> list[int]:
    """Return the processes that one has started."""
    try:
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def run_one(venue: str, seed: int) -> int:
    """Make one run; returns how many LIVE books were compared."""
    with tempfile.TemporaryDirectory(prefix="tickpath-sockets-") as name:
        run = Run(venue, seed, Path(name))
        try:
            run.open()
            run.suffer()
        finally:
            run.close()
        return run.compared


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the command line names."""
    install()
    parser = argparse.ArgumentParser(prog="python -m tests.sim.socket_campaign")
    kinds = (*dialect_names(), MIXED)
    parser.add_argument("--venue", choices=(*kinds, "all"), default="all")
    parser.add_argument("--runs", type=int, default=20, help="of each (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="the first (default %(default)s)")
    args = parser.parse_args(argv)
    failed = count = compared = 0
    for seed in range(args.seed, args.seed + args.runs):
        for venue in kinds if args.venue == "all" else (args.venue,):
            count += 1
            try:
                compared += run_one(venue, seed)
            except Exception as error:
                failed += 1
                print(f"FAILED --venue {venue} --seed {seed}: {error}", flush=True)
        print(f"{count} runs, {compared} LIVE books compared, {failed} failed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
