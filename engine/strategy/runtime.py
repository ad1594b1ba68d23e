"""The loop that tells a strategy what happens, and the process around it.

One thread: look at the ring (in C, without the GIL), hand on what came, once in a while do the
housekeeping. Called by: engine/strategy/command.py, tests. Calls: engine/client/reader, rt/process,
engine/strategy/stats.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import time
from typing import TYPE_CHECKING, Any

import msgspec
from tickpath._core import ffi, lib
from tickpath.engine.client.feed_segment import REPLAY_COUNTERS
from tickpath.engine.client.reader import RESTARTED, FeedReader
from tickpath.engine.strategy import Strategy
from tickpath.engine.strategy.stats import COUNTERS, own_counters
from tickpath.proto.records import EventType
from tickpath.rt import limits, process
from tickpath.shm.ownership import own
from tickpath.shm.reader import Result
from tickpath.shm.segment import kept_by

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tickpath.engine.client.reader import Book
    from tickpath.proto.instrument import Instrument
    from tickpath.shm.segment import SegmentWriter

EXIT_STRATEGY_FAILED = 4  # beside the command line's own: the user's code raised
HOUSEKEEPING_EVENTS = 512  # at least so often between looks at the time, however busy
# With a blocking wait of 25 ms behind it, shorter than what a guard waits between two looks.
STATS_INTERVAL_NS = 20_000_000
COLLECT_INTERVAL_NS = 1_000_000_000
LOOK_INTERVAL_NS = 1_000_000_000
COLLECT_BUSY_NS = 10_000_000_000  # of one that blocks, on a feed that never pauses
HEAP_RESERVE_BYTES = 16 << 20
# Of the share of time that the kernel would take, a little more is given, so that it never does.
YIELD_MARGIN = 1.2
NS_PER_MS, NS_PER_S = 1_000_000, 1_000_000_000
COUNTER_MAX = (1 << 64) - 1
_EMPTY, _EVENT, _LAPPED = int(Result.EMPTY), int(Result.EVENT), int(Result.LAPPED)
_SILENT, _ALIVE = int(Result.SILENT), int(Result.ALIVE)
_TOP, _STATE = int(EventType.TOP), int(EventType.STATE)
_TRADE, _BEST = int(EventType.TRADE), int(EventType.BEST)
_INSTRUMENT = int(EventType.INSTRUMENT)


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """Say where and how the strategy's thread runs; None leaves it as it is."""

    cpu: int | None = None
    priority: int | None = None  # SCHED_FIFO
    block: bool = False
    yield_ms: float | None = None


class Counts(msgspec.Struct):
    """Count what the loop did, in the order of stats.COUNTERS."""

    events: int = 0
    tops: int = 0
    laps: int = 0
    lost: int = 0
    restarts: int = 0
    silences: int = 0
    turns_idle: int = 0
    yields: int = 0


def yield_ns(yield_ms: float, throttling: limits.Throttling) -> int:
    """Return how long to sleep after each `yield_ms` of running so as never to be throttled."""
    lost = max([throttling.rt_lost_us_per_s * 1000, *throttling.fair_server_ns.values()], default=0)
    lost = lost or NS_PER_S // 20
    return int(yield_ms * NS_PER_MS * YIELD_MARGIN * lost / (NS_PER_S - lost))


@contextlib.contextmanager
def prepared(placement: Placement, warn: Callable[[str], None]) -> Iterator[None]:
    """Make this process fit for the loop, and ordinary again at the end.

    Raises ValueError or PermissionError where what was asked for is not to be had; memory that
    cannot be locked is only warned of.
    """
    pinned = _Pinned(placement.cpu)
    own(pinned)
    process.prefault_stack()
    try:
        process.lock_memory(HEAP_RESERVE_BYTES)
    except PermissionError as error:
        warn(f"{error.strerror}; a page fault may cost microseconds now and then")
    with process.garbage_collector_off():
        if placement.priority is not None:
            process.set_fifo(placement.priority)
            cpus = (placement.cpu,) if placement.cpu is not None else limits.available_cpus()
            told = limits.describe_throttling(limits.read_throttling(cpus))
            if told is not None and not placement.block and placement.yield_ms is None:
                warn(f"{told} Or run with --yield-ms 5, or --block.")
        try:
            yield
        finally:
            if placement.priority is not None:
                process.set_ordinary()
            process.unlock_memory()


class _Pinned:
    """Hold this process to one CPU, and not the children that it forks."""

    def __init__(self, cpu: int | None) -> None:
        self._before = os.sched_getaffinity(0)
        if cpu is not None:
            process.pin(cpu)

    def disown(self) -> None:
        """Run a forked child where this process could run before: a spinning parent starves it."""
        os.sched_setaffinity(0, self._before)


class Runtime:
    """Run one strategy on one feed until `stop`, an exception, or the time is over."""

    def __init__(
        self,
        strategy: Strategy,
        reader: FeedReader,
        stats: SegmentWriter,
        placement: Placement | None = None,
    ) -> None:
        """Borrow all of them; the caller closes `reader` and `stats`."""
        self.strategy, self.reader, self.stats = strategy, reader, stats
        self.counts = Counts()
        self.is_stopping = False
        self.is_forked = False
        """This is a forked child's copy: it ends at its next turn, and tells nobody anything."""
        self.join: Callable[[], object] = reader.shm.join
        """Stands at the head of the ring, once the strategy has started."""
        self.look_after: Callable[[], None] | None = None
        """Called once a second between events."""
        self._next_look_ns = 0
        self._placement = placement or Placement()
        self._next_stats_ns = self._next_yield_ns = 0
        self._next_collect_ns = time.monotonic_ns()
        self._yield_every_ns = self._yield_for_ns = 0
        self._generations: list[int] = []  # of the strategy's instruments
        strategy.counters = dict.fromkeys(own_counters(stats.counters()), 0)
        self._own = tuple(strategy.counters)
        reader.set_wait(block=self._placement.block)
        if self._placement.yield_ms is not None:
            self._yield_every_ns = int(self._placement.yield_ms * NS_PER_MS)
            throttling = limits.read_throttling(limits.available_cpus())
            self._yield_for_ns = yield_ns(self._placement.yield_ms, throttling)
        seen, published, read = stats.histogram(0), stats.histogram(1), reader.shm.pointer
        # The last argument's pointers stay as long as somebody records.
        self._hops = kept_by(ffi.new("struct tp_strategy_hops *"), (seen, published, read))
        self._hops.reader = read
        self._hops.received_to_seen, self._hops.published_to_seen = seen, published

    def stop(self) -> None:
        """End the loop at its next turn; for signal handlers and the strategy itself."""
        self.is_stopping = True

    def disown(self) -> None:
        """End the loop in a forked child: there is one strategy, and the parent runs it."""
        self.is_stopping = self.is_forked = True
        self.look_after = None

    def run(self, seconds: float | None = None) -> None:
        """Tell the strategy what happens; returns after `seconds`, or when stopped.

        What the strategy raises passes through, after the statistics were brought up to date.
        """
        strategy = self.strategy
        own(self)
        strategy.reader = self.reader
        self._follow_instruments()
        end_ns = time.monotonic_ns() + int(seconds * NS_PER_S) if seconds is not None else 0
        try:
            strategy.on_start()
            # What came while this process prepared itself is in the books already.
            self.join()
            self._tell_states()
            self._loop(end_ns)
            if self.is_forked:
                warn_to_stderr(
                    f"a child that the strategy forked (process {os.getpid()}) came back into its "
                    "loop: it ends, the strategy goes on; end a child by os._exit"
                )
                raise SystemExit(EXIT_STRATEGY_FAILED)
            strategy.on_stop()
        finally:
            self._write_stats(time.monotonic_ns())

    def _loop(self, end_ns: int) -> None:
        look, words = self.reader.shm.look, self.reader.event_words
        counts, on_event = self.counts, self._event_handler()
        enough = 1 if self._is_clocked else HOUSEKEEPING_EVENTS
        busy = 0
        while not self.is_stopping:
            result = look()
            if result == _EVENT:
                counts.events += 1
                busy += 1
                on_event(words[1])
                if busy < enough:
                    continue
            else:
                self._handle_rare(self.reader.follow_writer(result))
            self._keep_house(is_idle=busy == 0)
            busy = 0
            if end_ns and time.monotonic_ns() >= end_ns:
                return

    @property
    def _is_clocked(self) -> bool:
        """Say whether the clock is looked at after each event, for a fifth of a microsecond.

        One that blocks may see no pause and few events for long; one that yields must do so in
        time.
        """
        return self._placement.block or self._yield_every_ns != 0

    def _event_handler(self) -> Callable[[int], None]:
        """Bind all that a hot event needs; methods that are not overridden are left out."""
        strategy, reader, event, counts = self.strategy, self.reader, self.reader.event, self.counts
        kind = type(strategy)
        has_book, has_event = kind.on_book != Strategy.on_book, kind.on_event != Strategy.on_event
        on_book, on_event, book = strategy.on_book, strategy.on_event, reader.book
        tell = self._tell_event
        record, hops, generations = self._hop_recorder(), self._hops, self._generations

        def handle(word: int) -> None:
            event_type = word >> 16 & 0xFF
            if event_type == _TOP:
                counts.tops += 1
                if has_book:
                    index = word & 0xFFFF
                    latest = book(index)
                    record(hops)
                    if index < len(generations) and latest.generation == generations[index]:
                        on_book(strategy.instruments[index], latest)
                    else:
                        on_book(self._instrument_of(latest), latest)
                else:
                    record(hops)
            elif event_type > _TOP:  # not one of the many levels
                tell(event_type, word & 0xFFFF)
            if has_event:
                on_event(event)

        return handle

    def _follow_instruments(self) -> None:
        """Take the instruments as they are now, and how often each was written."""
        self.strategy.instruments = self.reader.instruments
        self._generations[:] = [
            self.reader.generation(one.index) for one in self.reader.instruments
        ]

    def _instrument_of(self, book: Book) -> Instrument:
        """Return the instrument in the book's own scale, whichever of the two is newer."""
        self._follow_instruments()
        instrument = self.strategy.instruments[book.instrument]
        return instrument.in_scale(book.price_exponent, book.quantity_exponent)

    def _tell_event(self, event_type: int, index: int) -> None:
        """Tell of an event that is neither a level nor a top."""
        strategy, event = self.strategy, self.reader.event
        if event_type == _TRADE:
            strategy.on_trade(self._instrument_of_event(index), event)
        elif event_type == _BEST:
            strategy.on_best(self._instrument_of_event(index), event)
        elif event_type == _STATE:
            strategy.on_state(strategy.instruments[index], event.state, event.reason)
        elif event_type == _INSTRUMENT:
            self._follow_instruments()

    def _instrument_of_event(self, index: int) -> Instrument:
        """Return the instrument in the scale of the event in hand."""
        if index >= len(self.strategy.instruments):
            self._follow_instruments()
        event = self.reader.event
        instrument = self.strategy.instruments[index]
        return instrument.in_scale(event.price_exponent, event.quantity_exponent)

    def _hop_recorder(self) -> Callable[[Any], None]:
        """Return what measures; nothing on a replay, whose stamps are of its recording's day."""
        record: Callable[[Any], None] = lib.tp_strategy_hops_record
        return (lambda _: None) if self._is_replay() else record

    def _is_replay(self) -> bool:
        return REPLAY_COUNTERS[0] in self.reader.shm.segment.counters()

    def _handle_rare(self, result: int) -> None:
        counts, strategy = self.counts, self.strategy
        if result == _EMPTY:
            counts.turns_idle += 1
            strategy.on_idle()
        elif result == _LAPPED:
            counts.laps += 1
            counts.lost += self.reader.lost
            self._follow_instruments()
            strategy.on_lapped(self.reader.lost)
        elif result == RESTARTED:
            counts.restarts += 1
            self._follow_instruments()
            strategy.on_restart()
            self._tell_states()
        elif result in (_SILENT, _ALIVE):
            counts.silences += result == _SILENT
            self._tell_states()

    def _tell_states(self) -> None:
        self._follow_instruments()  # one may have been added before the ring was joined
        for instrument in self.strategy.instruments:
            book = self.reader.book(instrument.index)
            self.strategy.on_state(instrument, book.state, book.reason)

    def _keep_house(self, *, is_idle: bool) -> None:
        now = time.monotonic_ns()
        if now >= self._next_stats_ns:
            self._write_stats(now)
        late_ns = 0 if is_idle else COLLECT_BUSY_NS
        if (is_idle or self._placement.block) and now >= self._next_collect_ns + late_ns:
            self._next_collect_ns = now + COLLECT_INTERVAL_NS
            gc.collect(0)
        if self.look_after is not None and now >= self._next_look_ns:
            self._next_look_ns = now + LOOK_INTERVAL_NS
            self.look_after()
        if self._yield_every_ns and now >= self._next_yield_ns:
            time.sleep(self._yield_for_ns / NS_PER_S)
            self.counts.yields += 1
            self._next_yield_ns = time.monotonic_ns() + self._yield_every_ns

    def _write_stats(self, now: int) -> None:
        self._next_stats_ns = now + STATS_INTERVAL_NS
        for index, name in enumerate(COUNTERS):
            self.stats.store_counter(index, getattr(self.counts, name))
        for index, name in enumerate(self._own, len(COUNTERS)):
            self.stats.store_counter(index, min(max(self.strategy.counters[name], 0), COUNTER_MAX))
        self.stats.heartbeat()


def warn_to_stderr(message: str) -> None:
    """Print one line of advice."""
    print(f"tickpath: {message}", file=sys.stderr)
