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
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from tickpath._core import ffi, lib
from tickpath.engine.client.feed_segment import (
    INSTRUMENTS_MAX,
    make_layout,
    write_instrument,
    write_instruments,
)
from tickpath.engine.config.check import load_config
from tickpath.engine.feed_handler import memory, verification
from tickpath.engine.feed_handler.bases import (
    BaseSchedule,
    BaseWorker,
    Budget,
    RateLimitError,
    RestClient,
)
from tickpath.engine.feed_handler.canary import COUNTERS as CANARY_COUNTERS
from tickpath.engine.feed_handler.canary import Canaries
from tickpath.engine.feed_handler.consumers import COUNTERS as CONSUMER_COUNTERS
from tickpath.engine.feed_handler.consumers import Consumers
from tickpath.engine.feed_handler.feed_notes import FeedNotes
from tickpath.engine.feed_handler.hot_path import HotPath, Note
from tickpath.engine.feed_handler.instrument_list import fetch_instruments
from tickpath.engine.feed_handler.list_reader import ListReader
from tickpath.engine.feed_handler.plan import make_plan
from tickpath.engine.feed_handler.replan import Replan, start_thread, tap_row
from tickpath.engine.feed_handler.rescaling import Rescaling
from tickpath.engine.feed_handler.speaker import Speaker
from tickpath.engine.feed_handler.state_log import StateLog
from tickpath.engine.feed_handler.subscriptions import Answer, Subscriptions
from tickpath.engine.feed_handler.trading import Trading
from tickpath.engine.loop.connections import Connections, Endpoint, Reconnect
from tickpath.engine.loop.handshakes import Handshakes
from tickpath.engine.loop.pauses import Pauses
from tickpath.engine.recording.tap import TapOptions, TapWriter
from tickpath.engine.supervisor.end_signals import EndedBySignal, EndSignals
from tickpath.engine.supervisor.feed_handler_watch import HOT_THREAD_NAME
from tickpath.engine.supervisor.stop_flag import StopFlag
from tickpath.engine.supervisor.wall_time import wall_time
from tickpath.netstack.link_watch import LinkWatch, leaves_by
from tickpath.netstack.session import Target, new_tls_context
from tickpath.netstack.transport import (
    Placement,
    UserTransport,
    open_transport,
    resolve,
)
from tickpath.proto.instrument import ROW_STATUSES, pack_row
from tickpath.rt import limits, process
from tickpath.shm.clock import NS_PER_S, SYSTEM, Clock
from tickpath.shm.errors import LocalError, RemoteError, SystemSetupError
from tickpath.shm.segment import DIRECTORY, SegmentWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tickpath.engine.config.schema import Config, VenueConfig
    from tickpath.engine.feed_handler.bases import Rest
    from tickpath.engine.feed_handler.instrument_list import Chosen
    from tickpath.engine.feed_handler.plan import ConnectionChange, Plan
    from tickpath.netstack.transport import Transport
    from tickpath.proto.instrument import Instrument
    from tickpath.proto.venue import InstrumentList

NS_PER_MS, NS_PER_US = 1_000_000, 1_000
# Of the cold loop, which shares a housekeeping CPU. What the hot thread has for it ends the pause;
# a signal mostly does, and is heard after it where it came between two looks.
PAUSE_S = 0.1
COUNTERS_EVERY_S = 0.2
PATH_EVERY_S = 0.5
SAMPLE_EVERY_S = 1.0  # of each connection, an accepted message for the canary
IDLE_SPIN_NS, IDLE_SLEEP_NS = 20_000, 50_000
YIELD_EVERY_NS, YIELD_FOR_NS = 1_000_000, 60_000
COUNTER_GROUPS = ("hot", "feed", "netif", "link")
SYMBOL_COUNTERS = ("subscribed", "left_out")
HISTOGRAMS = ("received_to_decoded", "decoded_to_published")
# As the command line has them, and one more: it ran well until the interface went away.
EXIT_BROKEN = 1  # as of an exception that nobody foresaw: another try may help
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
        self.log, self.outside, self.clock = self._log, self._outside, self._clock
        self._reload_path: str | None = None
        self._is_reload_due = False
        self.venue: VenueConfig = config.venues[0]
        self._stop = StopFlag()
        self.tap: TapWriter | None = None
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
        chosen = self._fetch_instruments()
        if chosen is None:
            return False
        self.instruments = chosen.rows
        try:
            self.plan = make_plan(self.venue, [row.symbol for row in self.instruments])
        except ValueError as error:
            raise LocalError(f"venue[0].symbols: {error}") from error
        self.subscriptions = Subscriptions(self.plan)
        spare = self.config.shm.instrument_spare
        self.places = min(len(self.instruments) + spare, INSTRUMENTS_MAX)
        self.connections_max = memory.connections_max(self.plan, self.places)
        self.replan = Replan(self, chosen)
        steps = (
            self._open_segment,  # before the link: it reports another one of this instance
            self._open_transport,
            self._open_tap,
            self._open_feed,
            self._open_hot_path,
        )
        for step in steps:
            if self._stop.is_set():
                return False
            step()
        if self.tap is not None:  # first: who finds the segment finds its raw messages
            self.tap.ready()
        self.segment.ready()
        return True

    def _fetch_instruments(self) -> Chosen | None:
        """Fetch the list, and wait as long as the venue says where it wants no requests now.

        None: stopped meanwhile. To end and be restarted would be to ask on, and lengthen a ban.
        """
        schedule = BaseSchedule(Budget.of_venue(self.venue.venue.rest_budget(self.venue.settings)))
        while True:
            try:
                rest = self._outside.open_rest(self.venue)
                return fetch_instruments(self.venue, rest, self._log)
            except RateLimitError as error:
                pause = schedule.limited(error, self._clock.now_s())
                at = wall_time(self._clock.unix_ns() / NS_PER_S + pause)
                self._log(f"instrument list: {error}: asking again in {pause:.0f} s, at {at}")
            if self._stop.wait(pause):
                return None

    def _open_transport(self) -> None:
        network, venue = self.config.network, self.venue
        first = next(one.endpoint for one in self.plan.connections if one is not None)
        address = resolve(first.host, venue.resolve, first.port)
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
        names += tuple(f"symbols.{name}" for name in SYMBOL_COUNTERS)
        shm = self.config.shm
        layout = make_layout(
            rows,
            spare_rows=self.places - len(rows),
            ring_capacity=shm.ring_capacity,
            counters=names,
            histograms=HISTOGRAMS,
            group=None if shm.group is None else grp.getgrnam(shm.group).gr_gid,
            mode=int(shm.mode, 8),
        )
        self.segment = SegmentWriter(
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
        pairs = zip(self.instruments, self.plan.book_channels(), strict=True)
        rows = [tap_row(row, channel) for row, channel in pairs]
        self.tap = TapWriter(
            self.config.instance,
            rows,
            TapOptions(
                ring_capacity=record.ring_capacity,
                checkpoint_every_s=record.checkpoint_s,
                silent_after_ns=self.config.health.silent_after_ms * NS_PER_MS,
                spare_rows=self.places - len(rows),
                connections_max=self.connections_max,
            ),
        )

    def _open_feed(self) -> None:
        pointer = self.segment.pointer
        config = memory.feed_config(self.config, self.places, self.connections_max)
        config.silent_after_ns = self.config.health.silent_after_ms * NS_PER_MS
        config.ring = lib.tp_segment_ring_writer(pointer)
        config.snapshots = lib.tp_segment_snapshot_writer(pointer)
        config.clock = ffi.addressof(pointer.header, "clock")
        config.received_to_decoded = lib.tp_segment_histogram(pointer, 0)
        config.decoded_to_published = lib.tp_segment_histogram(pointer, 1)
        config.gate = self.consumers.gate
        config.needs_confirmation = config.moves_scale = True
        verification.configure(config, self.venue, self.config.health, len(self.instruments))
        config.tap = self.tap.pointer if self.tap is not None else ffi.NULL
        size = lib.tp_feed_memory_size(config)
        if size == 0:
            raise LocalError(f"{self.places} instruments: more than one feed can hold")
        books, are_huge = process.map_memory(size, huge_pages=self.config.feed_handler.huge_pages)
        self.feed = lib.tp_feed_init(ffi.from_buffer(books), config)
        self._kept += [books, config]
        self._tell_pages(size, books_are_huge=are_huge)
        stretched = verification.describe(self.venue, self.config.health, len(self.instruments))
        if stretched:
            self._log(stretched)
        for row, channel in zip(self.instruments, self.plan.book_channels(), strict=True):
            record = ffi.from_buffer("struct tp_instrument_record *", pack_row(row))
            if not lib.tp_feed_instrument_add(
                self.feed, row.index, record, channel.name.encode(), channel.connection
            ):
                raise LocalError(
                    f"venue[0].symbols[{row.index}] {row.symbol!r}: the feed refused its channel "
                    f"{channel.name} or its scale: leave it out"
                )

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

    def _open_hot_path(self) -> None:
        venue = self.venue
        self.hot = HotPath(self.feed, self.segment.pointer)
        self.hot.sample(SAMPLE_EVERY_S / len(self.plan.connections))
        self.canaries = Canaries(self._log)
        self.canary = self.canaries.add(self.plan, range(self.connections_max))
        self.states = StateLog(self.segment, self.instruments, self._log)
        self.notes = FeedNotes(
            self.feed, self.instruments, self.config.health, self._log, self._clock
        )
        if self.link is not None:
            self.hot.watch(self.link.fileno())
        handle, loop = self.hot.handle, self.hot.loop
        loop.netif, handle.gate = self.transport.netif, self.consumers.gate
        self.bases = BaseWorker(self.feed, venue, self.instruments, self._log, self._clock)
        self.speaker = Speaker(self.plan, self._say)
        self.trading = Trading(self.instruments)
        self.list_reader = ListReader(
            venue,
            self._outside.open_rest,
            self._log,
            self.config.health.list_every_s,
            self._outside.aside,
            self._clock,
        )
        self.bases.timeout_s = self.config.health.keep_s
        self.bases.ask_in_band = self.speaker.request_base
        self.rescaling = Rescaling(
            self.hot, self.bases, self.instruments, self._write_row, self._log
        )
        handle.needs_confirmation = True
        handle.tap = self.tap.pointer if self.tap is not None else ffi.NULL
        feed_handler, reconnect = self.config.feed_handler, self.config.reconnect
        if not feed_handler.spin:
            loop.idle_spin_ns, loop.idle_sleep_ns = IDLE_SPIN_NS, IDLE_SLEEP_NS
        if feed_handler.yield_to_others:
            loop.yield_every_ns, loop.yield_for_ns = YIELD_EVERY_NS, YIELD_FOR_NS
        loop.connection_count = self.connections_max  # those to come have no session yet
        ca_file = Path(venue.ca_file) if venue.ca_file else None
        tls = new_tls_context(ca_file, insecure=venue.insecure) if venue.tls else ffi.NULL
        self.sessions = memory.SessionMemory(self.config, self.connections_max)
        self.handshakes = Handshakes()
        loop.handshake_worker = self.handshakes.worker
        self.connections = Connections(
            loop,
            self.transport,
            tls,
            Reconnect(**msgspec.structs.asdict(reconnect)),
            self._log,
            handshake_worker=self.handshakes.worker,
            memory=self.sessions.pointer,
            clock=self._clock,
            pauses=self._outside.pauses,
        )
        for number in range(len(self.plan.connections)):
            self.connections.add(self.endpoint(number))

    def endpoint(self, number: int) -> Endpoint:
        """Return where a connection of the plan goes."""
        venue, planned = self.venue, self.plan.connections[number]
        if planned is None:
            raise AssertionError(f"connection {number} of the plan goes nowhere")
        to, silent_ns = planned.endpoint, self.config.health.silent_after_ms * NS_PER_MS
        return Endpoint(
            target=Target("wss" if venue.tls else "ws", to.host, to.port, to.path),
            server_name=venue.server_name or to.host,
            addresses=venue.resolve,
            headers=to.headers,
            silent_drop_ns=silent_ns + silent_ns // 4,  # the books go STALE first
            age_max_s=venue.venue.limits.connection_age_max_s,
            prepare=partial(self._speak, number),
        )

    def take_plan(self, plan: Plan, changes: Sequence[ConnectionChange]) -> None:
        """Go on by another plan; `changes` are done once the hot thread knows the rows."""
        self.plan = self.speaker.plan = plan
        self.subscriptions.changed(plan, changes, self._clock.now_s())
        self.canary.subscribe([one.name for one in plan.channels], self.connections_max)

    def reload(self, path: str) -> None:
        """Have the configuration read anew soon; from a signal handler too."""
        self._reload_path, self._is_reload_due = path, True

    def _reload(self) -> None:
        """Read the configuration anew, where that was asked for, and see what is new in it."""
        if not self._is_reload_due or self._reload_path is None:
            return
        self._is_reload_due = False
        try:
            self.replan.ask(load_config(self._reload_path, self._log))
        except LocalError as error:
            self._log(f"reload: {error}: all goes on as it was")

    def _write_row(self, row: Instrument) -> int:
        if self.tap is not None:
            self.tap.rescale(row)
        return write_instrument(self.segment, row)

    def _speak(self, number: int) -> None:
        """Set what a connection will say: some venues want the time in it."""
        time_s, own = self._clock.unix_ns() // NS_PER_S, self.plan.venue
        messages = self.plan.open_messages(number, request=1, time_s=time_s)
        ping = own.ping(request=0, time_s=time_s)
        self.hot.speak(number, messages, ping, own.ping_interval_s)
        for message in messages:
            self.subscriptions.said(number, message)

    def _say(self, number: int, text: bytes) -> bool:
        if not self.hot.say(number, text):
            return False
        self.subscriptions.said(number, text)
        return True

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
        if self.bases.has_died:
            self._log("the thread that fetches bases ended by an error: ending, to be restarted")
            return EXIT_BROKEN
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
        self.bases.start()
        gone: SystemSetupError | None = None
        try:
            while not self._stop.is_set() and hot.is_alive() and gone is None:
                if self.bases.has_died:  # no book would ever be synced again
                    break
                self.hot.await_note(self.connections.wait_s(PAUSE_S))
                self.step()
                gone = self._check_path()
        finally:
            self.bases.stop()
        return gone

    def step(self) -> None:
        """Answer the hot thread and do what has become due on the cold side; never waits."""
        self._take_notes()
        if not self._answers:  # what shared memory says is as new as what was answered
            self._follow(self.subscriptions.step(self._clock.now_s(), self.states.reason))
        self._pass_answers()
        self._reload()
        self.replan.step()
        self.rescaling.step(self._clock.now_s())
        self.speaker.step(self._clock.now_s(), self._clock.unix_ns() // NS_PER_S)
        listed = self.list_reader.step()
        if listed is not None:
            self._take_list(listed)
        self._look_at_link()
        if not self._answers:  # they are of sessions before: what connects anew comes after them
            self.connections.step()
        self._copy_counters()
        self.states.step(self._clock.now_s())

    def _take_list(self, listed: InstrumentList) -> None:
        """Publish the rows whose status changed; the hot thread stops or begins their books."""
        changed, line = self.trading.take(listed)
        if line:
            self._log(line)
        for row in changed:
            generation = write_instrument(self.segment, row)
            status = ROW_STATUSES.index(row.status)
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
        parts = [getattr(self, name, None) for name in ("bases", "handshakes")]
        return self._runs_hot or any(part.is_alive for part in parts if part is not None)

    def close(self) -> None:
        """End sessions, detach the XDP program, remove the segment."""
        for part in (
            "connections",
            "handshakes",
            "link",
            "transport",
            "consumers",
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
                self._log(f"memory is not locked: {error}")
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
            self._log(f"hot thread runs unpinned or without SCHED_FIFO: {error}")

    def _take_notes(self) -> None:
        """Take what the hot thread noted, no more than its queue holds: the rest has its turn."""
        for _ in range(lib.TP_HANDOVER_NOTE_COUNT):
            note = self.hot.take_note()
            if note is None:
                return
            if note.kind == lib.TP_NOTE_OPENED:
                number, now = note.connection, self._clock.now_s()
                self.connections.opened(number)
                self.subscriptions.opened(number, now)
                self.speaker.opened(number, now, self.hot.open_message_count(number))
            elif note.kind == lib.TP_NOTE_ENDED:
                self.connections.ended(note.connection)
                self.subscriptions.ended(note.connection)
            else:
                if note.kind == lib.TP_NOTE_TEXT:  # the others are only shown
                    self._take_text(note)
                self.canaries.take(note, self._clock.now_s())

    def _take_text(self, note: Note) -> None:
        self._follow(self.subscriptions.take(note.connection, note.text, self._clock.now_s()))

    def _follow(self, answer: Answer) -> None:
        for line in answer.lines:
            self._log(line)
        self._answers += [(self.hot.confirm, one) for one in answer.confirmed]
        self._answers += [(self.hot.refuse, one) for one in answer.refused]
        self._answers += [(self.hot.overdue, one) for one in answer.overdue]
        for connection, text in answer.said_back:
            self.speaker.answer(connection, text)
        for change in answer.changes:
            self.speaker.change(change, self._clock.unix_ns() // NS_PER_S)

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
        symbols = self.replan.symbols, len(self.replan.left_out)
        owners = (self.sessions, self.consumers, self.canaries)
        own = [value for owner in owners for value in owner.counters().values()]
        for value in (*own, *symbols):
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
    feed_handler = FeedHandler(load_config(path), tell)
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
    log_to = log_json if "--json" in sys.argv[2:] else log
    try:
        sys.exit(main(sys.argv[1], log_to))
    except (LocalError, SystemSetupError, RemoteError) as failure:
        log_to(str(failure))
        sys.exit(exit_status(failure))
    except EndedBySignal as ended:
        ended.die_of_it()
