"""How long is a book not LIVE after a message was lost?

The simulated venue leaves out one message of one instrument at a time. The time is that between two
events in shared memory, both stamped by the feed handler: the book's SYNCING, and its next LIVE.
All is in it: who notices, the request, the venue's pace for requests, the way to the simulator and
back, the base, and the message behind it, which some venues' rules want to see; it is said as soon
as the base is out. The simulator's own time for a base by REST, from the request that it read to
the answer that it has, is a row of its own. Over loopback and kernel sockets without TLS; the hot
thread sleeps between messages. Each instrument has one gap a round, long after its first base: one
that comes back soon is made to wait on purpose. Venues in turn; `--count` is gaps, in all rounds
together.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import uvloop
from tickpath.engine.bench.measure import OURS, Ratio, Report, at_most, progress, progress_end, row
from tickpath.engine.bench.venues import gap_venues
from tickpath.engine.client.reader import open_reader
from tickpath.engine.sim.exchange import Exchange, Options
from tickpath.engine.sim.faults import Fault, Order
from tickpath.engine.sim.market import instrument_names
from tickpath.engine.sim.venues import load_dialect
from tickpath.engine.supervisor.child_process import spawn, stop
from tickpath.proto.records import BookState, EventType
from tickpath.proto.venue import BaseSource
from tickpath.proto.venues import resolve_symbol
from tickpath.shm.errors import SystemSetupError
from tickpath.shm.segment import remove_dead

if TYPE_CHECKING:
    from tickpath.engine.bench.venues import GapVenue
    from tickpath.engine.client.reader import FeedReader
    from tickpath.engine.sim.dialect import HttpRequest, HttpResponse

COUNT = 200
EACH_S = 1.0
"""Messages a second of each instrument, beside those that a gap takes."""
SETTLED_S = 31.0
"""Who had a base longer ago has no patience left to show: base_schedule.py, Budget."""
SPACE_S = 0.25
"""Between gaps: every venue's budget is whole again by then."""
LOOK_S = 0.005
TIMEOUT_S = 90.0
GAP_TIMEOUT_S = 10.0
UNSEEN_S = 0.5
GOAL_NS = 2_000_000
SERVER = "simulator"


class _Timed(Exchange):
    """A simulated venue that counts how long its answers take, and speaks when it is told to."""

    last_ns = 0
    watched = ""
    """The instrument whose next message comes right behind a base."""

    def http(self, request: HttpRequest) -> HttpResponse:
        """Answer as ever, and count."""
        start = time.perf_counter_ns()
        answer = super().http(request)
        self.last_ns = time.perf_counter_ns() - start
        if self.watched:
            self.later(0.0, self.say)
        return answer

    def say(self) -> None:
        """Push one change of the watched instrument."""
        self._next = self._floor.active.index(self.watched) - 1
        self.push(1)


@dataclass(slots=True)
class _Found:
    """Nanoseconds of each gap: until it was LIVE again, and the simulator's own of them."""

    took: list[int] = field(default_factory=list)
    own: list[int] = field(default_factory=list)


@dataclass(slots=True)
class _States:
    """Follows the states of all books, as events tell them."""

    reader: FeedReader
    since: dict[int, int] = field(default_factory=dict)
    took: dict[int, int] = field(default_factory=dict)

    def look(self) -> None:
        """Take the events that are there."""
        while events := self.reader.tuples():
            for event in events:
                if event[2] == EventType.STATE:
                    self._state(event[1], BookState(event[9]), event[8])

    def _state(self, instrument: int, state: BookState, now_ns: int) -> None:
        if state is not BookState.LIVE:
            self.since.setdefault(instrument, now_ns)
        elif instrument in self.since:
            self.took[instrument] = now_ns - self.since.pop(instrument)


def _write_config(directory: Path, instance: str, own: GapVenue, symbols: list[str]) -> Path:
    path = directory / "gap.toml"
    path.write_text(
        f"""\
instance = "{instance}"
[feed_handler]
spin = false
[network]
backend = "kernel"
[[venue]]
name = "{own.venue.name}"
host = "127.0.0.1"
port = PORT
tls = false
symbols = {json.dumps(symbols)}
{own.settings_toml}
""",
        encoding="ascii",
    )
    return path


async def _until(done: Any, timeout_s: float, what: str) -> None:
    end = time.monotonic() + timeout_s
    while not done():
        if time.monotonic() > end:
            raise SystemSetupError(f"gap: {what} after {timeout_s:g} s")
        await asyncio.sleep(LOOK_S)


async def _lose(exchange: _Timed, states: _States, symbol: str, instrument: int) -> None:
    """Lose a message that is missed, and wait until the book is LIVE again."""
    states.took.clear()
    exchange.watched = symbol

    def has_begun() -> bool:
        states.look()
        return instrument in states.since or instrument in states.took

    def has_ended() -> bool:
        states.look()
        return instrument in states.took

    end = time.monotonic() + GAP_TIMEOUT_S
    while not has_begun() and time.monotonic() < end:
        exchange.do(Order(Fault.GAP, symbol))
        exchange.say()
        exchange.say()
        # Without numbers what was lost may be said anew by the next message: nothing is missed.
        with contextlib.suppress(SystemSetupError):
            await _until(has_begun, UNSEEN_S, "nothing is missed")
    await _until(has_ended, GAP_TIMEOUT_S, f"{symbol} is not LIVE again")


async def _gaps(exchange: _Timed, states: _States, symbols: list[str], case: str) -> _Found:
    """Let each instrument miss a message."""
    found = _Found()
    by_symbol = {row.symbol: row.index for row in states.reader.instruments}
    for number, symbol in enumerate(symbols):
        progress(f"gap {case}: {number + 1} of {len(symbols)}")
        instrument = by_symbol[symbol]
        await _lose(exchange, states, symbol, instrument)
        found.took.append(states.took[instrument])
        found.own.append(exchange.last_ns)
        await asyncio.sleep(SPACE_S)
    return found


async def _run(own: GapVenue, names: list[str], case: str) -> _Found:
    symbols = [resolve_symbol(own.venue, name) for name in names]
    instance = f"bench-gap-{os.getpid()}"
    options = Options(instruments=symbols, rate=EACH_S * len(symbols))
    exchange = _Timed(load_dialect(own.venue.name), options)
    await exchange.serve("127.0.0.1", 0, None)
    with tempfile.TemporaryDirectory(prefix="tickpath-bench-") as name:
        path = _write_config(Path(name), instance, own, symbols)
        path.write_text(path.read_text().replace("PORT", str(exchange.port)))
        command = [sys.executable, "-P", "-m", "tickpath.engine.feed_handler.process", str(path)]
        errors = Path(name) / "errors.txt"
        with errors.open("w") as log:
            child = spawn(command, None, stderr=log)
        try:
            loop = asyncio.get_running_loop()
            reader = await loop.run_in_executor(
                None, lambda: open_reader(instance, wait_s=TIMEOUT_S)
            )
            with reader:
                count = len(symbols)

                def are_live() -> bool:
                    books = (reader.book(index) for index in range(count))
                    return all(book.published_state is BookState.LIVE for book in books)

                await _until(are_live, TIMEOUT_S, "not all books are LIVE")
                progress(f"gap {case}: waiting {SETTLED_S:g} s until all have settled")
                await asyncio.sleep(SETTLED_S)
                reader.join()
                return await _gaps(exchange, _States(reader), symbols, case)
        except SystemSetupError as error:
            raise SystemSetupError(f"{case}: {error}; {errors.read_text()[-800:]}") from error
        finally:
            stop(child)
            remove_dead(instance)
            await exchange.close()


def measure(count: int, rounds: int) -> Report:
    """Return nanoseconds from SYNCING to LIVE of `count` gaps a venue."""
    report = Report("gap")
    report.notes = [
        "from a book's SYNCING to its LIVE, both stamped by the feed handler; the venue's pace and "
        "the way there and back included",
        "loopback, kernel sockets without TLS; the hot thread sleeps, nobody is pinned; a message "
        "comes right behind each base",
        f"{SERVER}: its own time for the base, which the goal leaves out",
    ]
    each = max(1, (count or COUNT) // rounds)
    found: dict[str, _Found] = {}
    for _ in range(rounds):
        for own in gap_venues():
            by_rest = own.venue.base_source is BaseSource.REST
            case = f"{own.venue.name} {'rest' if by_rest else 'in-band'}"
            names = [str(name) for name in instrument_names(each)]
            part = uvloop.run(_run(own, names, case))
            whole = found.setdefault(case, _Found())
            whole.took += part.took
            whole.own += part.own if by_rest else []
    progress_end()
    for case, part in found.items():
        report.rows.append(row("gap", OURS, case, np.array(part.took)))
        if part.own:
            report.rows.append(row("gap", SERVER, case, np.array(part.own)))
        beyond = np.array(part.took) - (np.array(part.own) if part.own else 0)
        p50 = float(np.median(beyond))
        report.ratios += [
            at_most("gap", case, "p50 ms beyond the simulator", p50 / 1e6, GOAL_NS / 1e6),
            Ratio(
                "gap",
                case,
                "p99 ms beyond the simulator",
                round(float(np.percentile(beyond, 99)) / 1e6, 3),
            ),
        ]
    return report
