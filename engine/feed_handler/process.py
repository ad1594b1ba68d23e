"""The feed handler: one hot thread in C, and around it the cold work in Python.

Started by `tickpath run` (engine/supervisor/command.py) as
`python -P -m tickpath.engine.feed_handler.process CONFIG [--json]`. In order: instruments from the
venue, the segment, the transport, the feed, the hot thread; then a loop that keeps connections
alive, answers base requests and copies counters, until SIGTERM.
"""

from __future__ import annotations

import gc
import grp
import json
import os
import signal
import sys
import threading
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec
from tickpath._core import ffi, lib
from tickpath.engine.client.feed_segment import (
    INSTRUMENTS_MAX,
    make_layout,
    write_instruments,
)
from tickpath.engine.config.check import load_config
from tickpath.engine.feed_handler import memory, verification
from tickpath.engine.feed_handler.canary import COUNTERS as CANARY_COUNTERS
from tickpath.engine.feed_handler.canary import Canaries
from tickpath.engine.feed_handler.changes import Changes
from tickpath.engine.feed_handler.consumers import COUNTERS as CONSUMER_COUNTERS
from tickpath.engine.feed_handler.consumers import Consumers
from tickpath.engine.feed_handler.faults import describe
from tickpath.engine.feed_handler.feed_notes import FeedNotes
from tickpath.engine.feed_handler.hot_path import CONNECTIONS_USUAL, HotPath
from tickpath.engine.feed_handler.inline import InlineStrategies
from tickpath.engine.feed_handler.list_reader import start_thread
from tickpath.engine.feed_handler.plan import CONNECTIONS_MAX
from tickpath.engine.feed_handler.race_score import RaceScore
from tickpath.engine.feed_handler.rehearsal import AFTER_SILENCE, Rehearsals
from tickpath.engine.feed_handler.rehearsal import COUNTERS as REHEARSAL_COUNTERS
from tickpath.engine.feed_handler.replan import are_same_venues, differences
from tickpath.engine.feed_handler.rescaling import take_misfits
from tickpath.engine.feed_handler.rest_client import RestClient
from tickpath.engine.feed_handler.state_log import StateLog
from tickpath.engine.feed_handler.venue_feed import NEXT_TURN, Shared, VenueFeed
from tickpath.engine.loop.connections import Connections, Reconnect
from tickpath.engine.loop.handshakes import Handshakes
from tickpath.engine.loop.pauses import Pauses
from tickpath.engine.recording.tap import TapOptions, TapWriter
from tickpath.engine.supervisor.end_signals import EndedBySignal, EndSignals
from tickpath.engine.supervisor.feed_handler_watch import HOT_THREAD_NAME
from tickpath.engine.supervisor.stop_flag import StopFlag
from tickpath.engine.supervisor.wall_time import wall_time
from tickpath.netstack.link_watch import LinkWatch, leaves_by
from tickpath.netstack.transport import (
    Placement,
    UserTransport,
    open_transport,
    resolve,
)
from tickpath.proto.instrument import ROW_STATUSES
from tickpath.rt import limits, process
from tickpath.rt.standard_files import hold_standard_files
from tickpath.shm.clock import NS_PER_S, SYSTEM, Clock
from tickpath.shm.errors import LocalError, RemoteError, SystemSetupError
from tickpath.shm.segment import DIRECTORY, SegmentWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tickpath.engine.config.schema import Config, VenueConfig
    from tickpath.engine.feed_handler.rest_client import Rest
    from tickpath.engine.feed_handler.subscriptions import Answer
    from tickpath.netstack.transport import Transport
    from tickpath.proto.instrument import Instrument

NS_PER_MS, NS_PER_US = 1_000_000, 1_000
# Of the cold loop, which shares a housekeeping CPU. What the hot thread has for it ends the pause;
# a signal mostly does, and is heard after it where it came between two looks.
PAUSE_S = 0.1
COUNTERS_EVERY_S = 0.2
LOOK_S = 0.02  # for instrument lists, at the start
OTHERS_WITHIN_S = 2.0  # another list may come so much later and be of the start
PATH_EVERY_S = 0.5
SAMPLE_EVERY_S = 1.0  # of each connection, an accepted message for the canary
IDLE_SPIN_NS, IDLE_SLEEP_NS = 20_000, 50_000
YIELD_EVERY_NS, YIELD_FOR_NS = 1_000_000, 60_000
COUNTER_GROUPS = ("hot", "feed", "netif", "link")
SYMBOL_COUNTERS = ("subscribed", "left_out")
FAULT_COUNTER = "venues.faults"
HOP_ZERO_ERROR = "hop_zero.error_ns"
NOT_READ = "this message is left out"
HOPS = ("received_to_taken", "taken_to_decoded", "decoded_to_published")
HISTOGRAMS = (*HOPS, *AFTER_SILENCE)
COLDEST = len(HISTOGRAMS) - 1
# As the command line has them, and one more: it ran well until the interface went away.
EXIT_REMOTE, EXIT_LOCAL, EXIT_SYSTEM, EXIT_LINK_GONE = 1, 2, 3, 5  # 4: a strategy raised
AEAD_LIBRARY = "libIPSec_MB"  # 12 MiB of code, of which a CPU runs its own variant


def log(message: str) -> None:
    """Write one line of what happened to stderr; the supervisor passes it on."""
    print(f"{wall_time(SYSTEM.unix_ns() / NS_PER_S)} {message}", file=sys.stderr, flush=True)


def log_json(message: str) -> None:
    """Write what happened as one JSON object, a line of stdout, in one write: threads share it."""
    told = {"t": SYSTEM.unix_ns() / NS_PER_S, "event": "log", "pid": os.getpid(), "text": message}
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


def _fields(struct: str) -> list[str]:
    return [name for name, _ in ffi.typeof(f"struct {struct}").fields]


class LinkGoneError(SystemSetupError):
    """Say that the interface went down or away under a feed handler that ran."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """What a feed handler reaches beyond itself; tests/sim has one in virtual time."""

    clock: Clock = SYSTEM
    open_transport: Callable[[str, str, Placement], Transport] = open_transport
    open_rest: Callable[[VenueConfig], Rest] = RestClient
    leaves_by: Callable[[str], str | None] = leaves_by
    """The interface to an address, whose link is watched; None: none is."""
    watch_link: Callable[[str], LinkWatch] = LinkWatch
    directory: Path = DIRECTORY
    """Of the shared memory."""
    pauses: Pauses = field(default_factory=Pauses)
    aside: Callable[[Callable[[], None]], None] = start_thread
    """Does some work beside the cold thread."""
    segment_clock: Any = None
    """The segment's own, a `struct tp_clock *`; None: calibrated."""


class FeedHandler:
    """Everything that one feed handler owns, made in `open`, ended in `close`.

    `run` is the process; who owns time instead calls `step` after each turn of the hot path.
    """

    def __init__(
        self, config: Config, tell: Callable[[str], None] = log, outside: Outside | None = None
    ) -> None:
        self.config, self._log = config, tell
        self._outside = outside or Outside()
        self._clock = self._outside.clock
        self._reload_path: str | None = None
        self._is_reload_due = False
        self._stop = StopFlag()
        self.shared = Shared(
            log=tell,
            open_rest=self._outside.open_rest,
            aside=self._outside.aside,
            health=config.health,
            clock=self._clock,
            pauses=self._outside.pauses,
        )
        self.instruments = self.shared.rows
        self.venues = self.shared.venues = [
            VenueFeed(venue, number, self.shared, is_named=len(config.venues) > 1)
            for number, venue in enumerate(config.venues)
        ]
        self.inline = InlineStrategies(config, tell)
        self.tap: TapWriter | None = None
        self.changes: Changes | None = None
        """What commands ask for while it runs; None: nothing."""
        self._hot_result = 0
        self._kept: list[Any] = []
        self._next_counters = self._next_path = 0.0
        self._answers: deque[tuple[Callable[[int], bool], int]] = deque()
        self.link: LinkWatch | None = None
        self._runs_hot = False

    def open(self) -> bool:
        """Build all parts in order; False where `stop` came meanwhile.

        Raises the three errors of shm/errors.py with a remedy.
        """
        self.inline.load()  # before anybody is asked for anything: it may be refused
        if not self._await_lists():
            return False
        self._place_venues()
        steps = (
            self._open_segment,  # before the link: it reports another one of this instance
            self._open_transport,
            self._open_tap,
            self._open_feed,
            self._open_hot_path,
            self._open_inline,
        )
        for step in steps:
            if self._stop.is_set():
                return False
            step()
        if self.tap is not None:  # first: who finds the segment finds its raw messages
            self.tap.ready()
        self.segment.ready()
        return True

    def _await_lists(self) -> bool:
        """Have all venues' lists read at once; False: stopped meanwhile.

        A venue whose list is not there soon after another one's starts without instruments and gets
        them later, by itself; so does one whose list cannot be had. Where that is so of all, it is
        an error, unless one of them wants no requests now: to end and be restarted would be to ask
        on, and lengthen a ban.
        """
        ends_s = float("inf")
        while not self._stop.is_set():
            for venue in self.venues:
                venue.look()
            if all(venue.has_list for venue in self.venues):
                return True
            now_s, awaited = self._clock.now_s(), [one for one in self.venues if one.awaits_list]
            if any(venue.has_list for venue in self.venues):
                ends_s = min(ends_s, now_s + OTHERS_WITHIN_S)
            is_limited = any(venue.list_reader.is_limited for venue in self.venues)
            is_over = ends_s < float("inf") and (not awaited or now_s >= ends_s)
            if not awaited and not is_over and not is_limited:
                self._raise_failure()
            for venue in self.venues:
                if is_over or (is_limited and venue.failure is not None):
                    venue.say_failure()
            if is_over:
                return True
            due_s = min(venue.list_reader.again_s for venue in self.venues)
            pause_s = LOOK_S if self._is_reading_lists else max(LOOK_S, due_s - now_s)
            self._stop.wait(pause_s)
        return False

    @property
    def _is_reading_lists(self) -> bool:
        return any(venue.list_reader.is_reading for venue in self.venues)

    def _raise_failure(self) -> NoReturn:
        failure = next(venue.failure for venue in self.venues)
        if isinstance(failure, LocalError | RemoteError):
            raise failure
        raise RemoteError(f"instrument list: {failure and describe(failure)}") from failure

    def _place_venues(self) -> None:
        """Give the venues' instruments and connections the feed's numbers, each after another."""
        for venue in self.venues:
            venue.make_plan()
        count, spare = sum(venue.books for venue in self.venues), self.config.shm.instrument_spare
        self.shared.places = min(count + spare, INSTRUMENTS_MAX)
        plans = [venue.expected for venue in self.venues]
        needed = sum(len(plan.connections) for plan in plans)
        if count > INSTRUMENTS_MAX or needed > CONNECTIONS_MAX:
            raise LocalError(
                f"{count} instruments over {needed} connections: expected at most "
                f"{INSTRUMENTS_MAX} over {CONNECTIONS_MAX}: run a second instance for the rest"
            )
        self._owners: list[VenueFeed] = []  # of each connection
        room = memory.connections_of(plans, self.shared.places - count)
        for venue, most in zip(self.venues, room, strict=True):
            venue.place(range(len(self._owners), len(self._owners) + most))
            self._owners += [venue] * most

    def _open_transport(self) -> None:
        network = self.config.network
        address = self._first_address()
        placement = Placement(
            interface=network.interface,
            mode=network.mode,
            queue=network.queue,
            ports=network.port_range,
            huge_pages=self.config.feed_handler.huge_pages,
            receive_window=memory.RECEIVE_WINDOW,
            send_buffer=memory.SEND_BUFFER,
        )
        self.transport = self._outside.open_transport(address, network.backend, placement)
        self._log(f"path: {self.transport.description}")
        self._address = address
        interface = network.interface or self._outside.leaves_by(address)
        if interface is not None:
            self.link = self._outside.watch_link(interface)

    def _first_address(self) -> str:
        """Return an address of the first venue that has one now: it tells which link is ours."""
        failures: list[RemoteError] = []
        for venue in sorted(self.venues, key=lambda one: not one.has_list):
            for goes in venue.plan.connections:
                if goes is None:
                    continue
                to = goes.endpoint
                if venue.config.addresses:
                    return venue.config.addresses[0]
                try:
                    return resolve(to.host, venue.config.resolve, to.port)
                except RemoteError as error:
                    failures.append(error)
                    break
        raise failures[0]

    def _open_segment(self) -> None:
        rows = self.instruments
        self._counter_sources = {
            "hot": ("tp_loop_counters", _fields("tp_loop_counters")),
            "feed": ("tp_feed_counters", _fields("tp_feed_counters")),
            "netif": ("tp_netif_counters", _fields("tp_netif_counters")),
            "link": ("tp_link_counters", _fields("tp_link_counters")),
        }
        names = tuple(
            f"{group}.{name}"
            for group in COUNTER_GROUPS
            for name in self._counter_sources[group][1]
        )
        names += tuple(f"memory.{name}" for name in memory.COUNTERS)
        names += tuple(f"consumers.{name}" for name in CONSUMER_COUNTERS)
        names += tuple(f"canary.{name}" for name in CANARY_COUNTERS)
        names += tuple(f"rehearsal.{name}" for name in REHEARSAL_COUNTERS)
        names += (*(f"symbols.{name}" for name in SYMBOL_COUNTERS), FAULT_COUNTER, HOP_ZERO_ERROR)
        self.race = RaceScore.of_venues(self.venues)
        names += self.race.counters()
        shm = self.config.shm
        layout = make_layout(
            rows,
            spare_rows=self.shared.places - len(rows),
            ring_capacity=shm.ring_capacity,
            counters=names,
            histograms=HISTOGRAMS + self.race.histograms(),
            group=None if shm.group is None else grp.getgrnam(shm.group).gr_gid,
            mode=int(shm.mode, 8),
        )
        self.segment = self.shared.segment = SegmentWriter(
            self.config.instance,
            layout,
            directory=self._outside.directory,
            clock=self._outside.segment_clock,
        )
        write_instruments(self.segment, rows)
        self.consumers = Consumers(
            self.segment,
            lossless_deadline_ns=shm.lossless_deadline_us * NS_PER_US,
            poll_ns=shm.waker_poll_us * NS_PER_US,
        )

    def _open_tap(self) -> None:
        record = self.config.record
        if not record.tap:
            return
        rows = [row for venue in self.venues for row in venue.tap_rows()]
        feed = memory.feed_config(self.config, self.shared.places, len(self._owners))
        self.tap = self.shared.tap = TapWriter(
            self.config.instance,
            rows,
            TapOptions(
                ring_capacity=record.ring_capacity,
                checkpoint_every_s=record.checkpoint_s,
                silent_after_ns=self.config.health.silent_after_ms * NS_PER_MS,
                keep_ns=int(feed.keep_ns),
                keep_bytes=int(lib.tp_feed_pool_bytes(feed)),
                spare_rows=self.shared.places - len(rows),
                connections_max=len(self._owners),
            ),
        )

    def _open_feed(self) -> None:
        pointer = self.segment.pointer
        places = self.shared.places
        config = memory.feed_config(self.config, places, len(self._owners))
        config.silent_after_ns = self.config.health.silent_after_ms * NS_PER_MS
        config.ring = lib.tp_segment_ring_writer(pointer)
        config.snapshots = lib.tp_segment_snapshot_writer(pointer)
        config.clock = ffi.addressof(pointer.header, "clock")
        for place, hop in enumerate(HOPS):
            setattr(config, hop, lib.tp_segment_histogram(pointer, place))
        for place in range(len(AFTER_SILENCE)):
            config.after_silence[place] = lib.tp_segment_histogram(pointer, len(HOPS) + place)
        config.gate = self.consumers.gate
        config.needs_confirmation = config.moves_scale = True
        for one in self.venues:
            of = config.venues[one.number]
            verification.configure(of, one.config, self.config.health, one.books)
        config.tap = self.tap.pointer if self.tap is not None else ffi.NULL
        size = lib.tp_feed_memory_size(config)
        if size == 0:
            raise LocalError(f"{places} instruments: more than one feed can hold")
        books, are_huge = process.map_memory(size, huge_pages=self.config.feed_handler.huge_pages)
        self.feed = self.shared.feed = lib.tp_feed_init(ffi.from_buffer(books), config)
        self.race.measure(self.feed, pointer, len(HISTOGRAMS))
        self._statuses = ffi.new("uint8_t[]", places)
        self._kept += [books, config]
        self._tell_pages(size, books_are_huge=are_huge)

    def _tell_pages(self, books_bytes: int, *, books_are_huge: bool) -> None:
        """Say where huge pages were wanted and not to be had; nothing where all are."""
        if not self.config.feed_handler.huge_pages:
            return
        missing = 0 if books_are_huge or books_bytes * 2 < process.HUGE_PAGE_BYTES else books_bytes
        if isinstance(self.transport, UserTransport) and not self.transport.link.has_huge_pages:
            missing += memory.UMEM_BYTES
        if missing:
            pool = process.read_huge_pages()
            self._log(f"memory: {process.describe_huge_pages(missing, pool)}")

    def _open_inline(self) -> None:
        self.inline.attach(self.hot, self.segment, self.instruments, self._outside.directory)
        self.shared.on_row = self.inline.take_row

    def _open_hot_path(self) -> None:
        self.hot = self.shared.hot = HotPath(
            self.feed, self.segment.pointer, max(CONNECTIONS_USUAL, len(self._owners))
        )
        planned = sum(len(venue.plan.connections) for venue in self.venues)
        self.hot.sample(SAMPLE_EVERY_S / planned)
        self.canaries = Canaries(self._log)
        self.states = StateLog(self.segment, self.instruments, self._log)
        self.notes = FeedNotes(
            self.feed, self.instruments, self.config.health, self._log, self._clock
        )
        if self.link is not None:
            self.hot.watch(self.link.fileno())
        handle, loop = self.hot.handle, self.hot.loop
        loop.netif, handle.gate = self.transport.netif, self.consumers.gate
        for venue in self.venues:
            venue.join(self.canaries)
        handle.needs_confirmation = True
        handle.tap = self.tap.pointer if self.tap is not None else ffi.NULL
        feed_handler, reconnect = self.config.feed_handler, self.config.reconnect
        if not feed_handler.spin:
            loop.idle_spin_ns, loop.idle_sleep_ns = IDLE_SPIN_NS, IDLE_SLEEP_NS
        if feed_handler.yield_to_others:
            loop.yield_every_ns, loop.yield_for_ns = YIELD_EVERY_NS, YIELD_FOR_NS
        loop.connection_count = len(self._owners)  # those to come have no session yet
        self.sessions = memory.SessionMemory(self.config, len(self._owners))
        self.handshakes = Handshakes()
        loop.handshake_worker = self.handshakes.worker
        self.connections = self.shared.connections = Connections(
            loop,
            self.transport,
            Reconnect(**msgspec.structs.asdict(reconnect)),
            self._log,
            handshake_worker=self.handshakes.worker,
            memory=self.sessions.pointer,
            clock=self._clock,
            pauses=self._outside.pauses,
        )
        self.rehearsals = Rehearsals(self.config.feed_handler, self._log, self._clock)
        self.rehearsals.open(self.hot, has_frames=isinstance(self.transport, UserTransport))
        for venue in self.venues:
            venue.connect()

    def reload(self, path: str) -> None:
        """Have the configuration read anew soon; from a signal handler too."""
        self._reload_path, self._is_reload_due = path, True

    def _reload(self) -> None:
        """Read the configuration anew, where that was asked for, and see what is new in it."""
        if not self._is_reload_due or self._reload_path is None:
            return
        self._is_reload_due = False
        try:
            config = load_config(self._reload_path, self._log)
            self.take_config(config if self.changes is None else self.changes.over(config))
        except LocalError as error:
            self._log(f"reload: {error}: all goes on as it was")

    def take_config(self, config: Config) -> None:
        """Follow the symbols of a configuration that was read anew; say what else is new in it."""
        for line in differences(self.config, config):
            self._log(f"reload: {line}")
        if not are_same_venues(self.config, config):
            self._log("reload: its sections are of other venues: nothing was changed, restart it")
            return
        for venue, section in zip(self.venues, config.venues, strict=True):
            venue.reload(section.symbols)
        sections = tuple(venue.config for venue in self.venues)
        self.config = msgspec.structs.replace(self.config, venues=sections)

    def run(self) -> int:
        """Run until `stop` is called or the link fails. Returns the exit status."""
        self._prepare_process()
        hot = threading.Thread(target=self._run_hot, name="hot", daemon=True)
        self._runs_hot = True
        hot.start()
        gone: SystemSetupError | None = None
        try:
            gone = self._run_cold(hot)
        finally:
            # Whatever ends the cold loop, the hot thread ends before its memory is unmapped.
            self.hot.stop()
            hot.join()
            self.handshakes.stop()
        self._copy_counters(force=True)
        self.states.step(self._clock.now_s())  # what the end of all connections did
        self.states.flush()
        if gone is not None:
            raise LinkGoneError(str(gone))
        if self._hot_result != 0:
            raise LinkGoneError(
                f"{self.transport.description}: {os.strerror(-self._hot_result)}: "
                "set the interface up again"
            )
        return 0

    def _run_cold(self, hot: threading.Thread) -> SystemSetupError | None:
        """Serve the hot thread until told to stop or it ends; return why the path is gone."""
        self.consumers.start(self.config.feed_handler.cpu)
        self.handshakes.start(self.config.feed_handler.cpu)
        for venue in self.venues:
            venue.bases.start()
        gone: SystemSetupError | None = None
        try:
            while not self._stop.is_set() and hot.is_alive() and gone is None:
                self.hot.await_note(self.connections.wait_s(PAUSE_S))
                self.step()
                gone = self._check_path()
        finally:
            self._stop_bases()
        return gone

    def _stop_bases(self) -> None:
        for venue in self.venues:  # all, before any is waited for
            venue.bases.end()
        for venue in self.venues:
            venue.bases.stop()

    def step(self) -> None:
        """Answer the hot thread and do what has become due on the cold side; never waits."""
        for venue in self.venues:
            venue.ask_for_bases()
        self._take_notes()
        if not self._answers:  # what shared memory says is as new as what was answered
            for venue in self.venues:
                with venue.faults.kept("subscriptions", NEXT_TURN):
                    self._follow(venue.step_subscriptions(self.states.reason))
        self._pass_answers()
        self._reload()
        if self.changes is not None:
            with self.venues[0].faults.kept("changes of symbols", NEXT_TURN):
                self.changes.step(self._clock.now_s(), self.venues)
        take_misfits(self.feed, self._take_misfit)
        for venue in self.venues:
            self._publish_rows(venue, venue.step())
        self._follow_statuses()
        self._look_at_link()
        if not self._answers:  # they are of sessions before: what connects anew comes after them
            self.connections.step()
        self._copy_counters()
        self.states.step(self._clock.now_s())

    def _follow_statuses(self) -> None:
        """Write what the venues' streams say of trading into the rows, which readers see."""
        told, index = [], -1
        while (index := lib.tp_feed_status_next(self.feed, self._statuses, index + 1)) < len(
            self.instruments
        ):
            told.append((index, int(self._statuses[index])))
        for venue in self.venues if told else ():
            with venue.faults.kept("what is traded", "the rows stay as they are"):
                ours = [one for one in told if venue.owns(one[0])]
                self._publish_rows(venue, venue.told(ours))

    def _publish_rows(self, venue: VenueFeed, changed: Sequence[Instrument]) -> None:
        """Publish rows whose status changed; the hot thread stops or begins books by the list's."""
        for row in changed:
            with venue.faults.kept(row.symbol, "its row stays as it was"):
                generation = self.shared.write(row)
                status = ROW_STATUSES.index(venue.trading.listed(row.index))
                self._answers.append((partial(self.hot.list_status, row.index, status), generation))

    def _look_at_link(self) -> None:
        """End all connections as soon as their link is lost: their books go STALE with them."""
        if self.link is None:
            return
        trouble = self.link.look()
        if trouble is None:
            return
        self._next_path = 0.0
        if trouble:
            self._log(f"{trouble}: all connections end, books are STALE until it is back")
            self.connections.hold(trouble)
        elif self.connections.is_held:
            self._log("the link is back: connecting")
            self.connections.resume()

    def _check_path(self) -> SystemSetupError | None:
        """Look after the interface: the hot thread, when it sleeps, would not notice for long."""
        now = self._clock.now_s()
        if now < self._next_path:
            return None
        self._next_path = now + PATH_EVERY_S
        if not isinstance(self.transport, UserTransport):
            self._follow_route()
            return None
        try:
            self.transport.check_path()
        except SystemSetupError as error:
            return error
        return None

    def _follow_route(self) -> None:
        """Go on by another link where the kernel has a way by one, while ours is lost."""
        if self.link is None or not self.connections.is_held or self.config.network.interface:
            return
        interface = self._outside.leaves_by(self._address)
        if interface not in (None, self.link.interface):
            self.link.interface = interface

    @property
    def has_threads(self) -> bool:
        """Say whether a thread runs that uses what `close` frees: a signal cut its end short.

        Not by Thread.is_alive: a join that was cut short calls a thread ended that runs (CPython
        3.11, threading.py, _wait_for_tstate_lock).
        """
        parts = [getattr(venue, "bases", None) for venue in self.venues]
        parts.append(getattr(self, "handshakes", None))
        return self._runs_hot or any(part.is_alive for part in parts if part is not None)

    def close(self) -> None:
        """End sessions, detach the XDP program, remove the segment."""
        for part in (
            "connections",
            "handshakes",
            "link",
            "transport",
            "consumers",
            "inline",
            "tap",
            "segment",
        ):
            if getattr(self, part, None) is not None:
                getattr(self, part).close()

    def stop(self) -> None:
        """Let `run` end soon; from a signal handler too."""
        self._stop.set()

    def _prepare_process(self) -> None:
        feed_handler = self.config.feed_handler
        process.trim_heap()
        gc.freeze()
        if feed_handler.lock_memory:
            try:
                process.lock_memory()
                process.lock_as_used(AEAD_LIBRARY)
            except OSError as error:
                self._log(f"memory is not locked: {error.strerror or error}")
        if feed_handler.priority > 0:
            sentence = limits.describe_throttling(limits.read_throttling([feed_handler.cpu or 0]))
            if sentence and not feed_handler.yield_to_others:
                self._log(sentence)

    def _run_hot(self) -> None:
        try:
            self._prepare_hot()
            self._hot_result = self.hot.run()
        finally:
            self._runs_hot = False

    def _prepare_hot(self) -> None:
        feed_handler = self.config.feed_handler
        process.name_thread(HOT_THREAD_NAME)
        try:
            if feed_handler.cpu is not None:
                process.pin(feed_handler.cpu)
            if feed_handler.priority > 0:
                process.set_fifo(feed_handler.priority)
        except OSError as error:
            why = error.strerror or error
            self._log(f"hot thread runs unpinned or without SCHED_FIFO: {why}")

    def _take_notes(self) -> None:
        """Take what the hot thread noted, no more than its queue holds: the rest has its turn."""
        for _ in range(self.hot.loop.handover.note_count):
            note = self.hot.take_note()
            if note is None:
                return
            owner = self._owners[note.connection]
            if note.kind == lib.TP_NOTE_OPENED:
                self.connections.opened(note.connection)
                with owner.faults.kept("an open connection", "its books wait for the next one"):
                    owner.opened(note.connection)
            elif note.kind == lib.TP_NOTE_ENDED:
                self.connections.ended(note.connection)
                owner.ended(note.connection)
            else:
                if note.kind == lib.TP_NOTE_TEXT:  # the others are only shown
                    with owner.faults.kept("what the venue said", NOT_READ):
                        self._follow(owner.take(note.connection, note.text))
                with owner.faults.kept("canary", NOT_READ):
                    self.canaries.take(note, self._clock.now_s())

    def _take_misfit(self, misfit: Any) -> None:
        next(one for one in self.venues if one.owns(int(misfit.instrument))).take_misfit(misfit)

    def _follow(self, answer: Answer) -> None:
        on = answer.connection
        self._answers += [(partial(self.hot.confirm, connection=on), i) for i in answer.confirmed]
        self._answers += [(partial(self.hot.refuse, connection=on), i) for i in answer.refused]
        overdue = zip(answer.overdue, answer.overdue_on, strict=True)
        self._answers += [(partial(self.hot.overdue, connection=at), i) for i, at in overdue]

    def _pass_answers(self) -> None:
        """Give the hot thread what its queue has room for; the rest has its turn."""
        while self._answers and self._answers[0][0](self._answers[0][1]):
            self._answers.popleft()

    def _copy_counters(self, *, force: bool = False) -> None:
        now = self._clock.now_s()
        if now < self._next_counters and not force:
            return
        self._next_counters = now + COUNTERS_EVERY_S
        self.notes.step()
        self.inline.step()
        loop = self.hot.loop
        lib.tp_hop_zero_follow(ffi.addressof(loop, "hop_zero"), loop.clock)
        netif = self.transport.netif
        sources = {"hot": self.hot.loop.counters, "feed": lib.tp_feed_counters(self.feed)}
        if isinstance(self.transport, UserTransport):
            sources |= {"netif": netif.counters, "link": self.transport.link.link.counters}
        position = 0
        for group in COUNTER_GROUPS:
            for name in self._counter_sources[group][1]:
                if group in sources:
                    value = int(getattr(sources[group], name))
                    lib.tp_segment_counter_store(self.segment.pointer, position, value)
                position += 1
        replans = [venue.replan for venue in self.venues]
        symbols = sum(one.symbols for one in replans), sum(len(one.left_out) for one in replans)
        self.rehearsals.step(lib.tp_segment_histogram(self.segment.pointer, COLDEST))
        owners = (self.sessions, self.consumers, self.canaries, self.rehearsals)
        own = [value for owner in owners for value in owner.counters().values()]
        faults = sum(venue.faults.count for venue in self.venues)
        error_ns = int(loop.hop_zero.error_ns)
        for value in (*own, *symbols, faults, error_ns, *self.race.values(self.feed)):
            lib.tp_segment_counter_store(self.segment.pointer, position, value)
            position += 1


def exit_status(failure: LocalError | SystemSetupError | RemoteError) -> int:
    """Return what tells the supervisor whether another try can help."""
    if isinstance(failure, LinkGoneError):
        return EXIT_LINK_GONE
    if isinstance(failure, LocalError):
        return EXIT_LOCAL
    return EXIT_SYSTEM if isinstance(failure, SystemSetupError) else EXIT_REMOTE


def main(path: str, tell: Callable[[str], None] = log) -> int:
    """Run a feed handler from a configuration file, in the process that the supervisor made."""
    process.keep_small()
    config = load_config(path)
    changes = Changes(config)
    feed_handler = FeedHandler(changes.over(config), tell)
    feed_handler.changes = changes
    changes.open()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: the supervisor's, who tells us
    signal.signal(signal.SIGHUP, lambda *_: feed_handler.reload(path))
    waits_for = "the venue's answer and the hot thread"
    with EndSignals(
        feed_handler.stop, waits_for, (signal.SIGTERM,)
    ):  # before what `close` must undo
        try:
            return feed_handler.run() if feed_handler.open() else 0
        except EndedBySignal as ended:
            if feed_handler.has_threads:
                ended.die_of_it()  # the supervisor removes what it leaves, as after any death
            raise
        finally:
            feed_handler.close()


if __name__ == "__main__":
    hold_standard_files()
    log_to = log_json if "--json" in sys.argv[2:] else log
    try:
        sys.exit(main(sys.argv[1], log_to))
    except (LocalError, SystemSetupError, RemoteError) as failure:
        log_to(str(failure))
        sys.exit(exit_status(failure))
    except EndedBySignal as ended:
        ended.die_of_it()
