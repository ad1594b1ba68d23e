"""From a segment to Redis: what changed since the last answer, in one pipeline per node.

A pipeline goes out as soon as the one before it was answered, so that the batch is as large as
Redis is slow: under load one pipeline carries many events of a book, and only its latest state
(conflated, counted). Events that no longer fit are dropped and counted, and the entry after them
says that there is a gap. It reads the ring like any other reader: where it is too slow it is
lapped; the feed never waits. Called by: command. Calls: wire, nodes, engine/client/reader.
"""

from __future__ import annotations

import random
import secrets
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from redis.exceptions import RedisError, ResponseError
from tickpath._core import ffi, lib
from tickpath.engine.client.reader import RESTARTED
from tickpath.engine.relay.nodes import (
    Address,
    NodeConnection,
    NodeError,
    RedisOptions,
    Slots,
    connect,
    discover,
    first_that_answers,
    is_elsewhere,
    told,
)
from tickpath.engine.relay.wire import (
    BOOK_FIELD,
    EVENT_SIZE,
    EVENTS_FIELD,
    EVENTS_IN_ENTRY_MAX,
    FLAG_GAP,
    FORMAT,
    KIND_CHANGED,
    KIND_HEARTBEAT,
    FeedRecord,
    Keys,
    Wake,
    write_feed,
    write_wake,
)
from tickpath.shm.reader import SNAPSHOT_HEAD_WORDS, Result
from tickpath.shm.segment import SegmentLayout, SegmentWriter

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from tickpath.engine.client.reader import Book, FeedReader

CAP_DEFAULT = 1000  # entries kept of each stream, about
PENDING_EVENTS_MAX = 1 << 16  # 4 MiB
HEARTBEAT_S = 0.1
CHECK_S = 0.05
RETRY_FIRST_S, RETRY_MAX_S = 0.1, 5.0
REFUSED_PAUSE_S = 0.1
FOLLOW_SNAPSHOT_NS = 2_000_000  # the writer publishes the events right behind the snapshot
ANSWER_WAIT_S = 0.0005
ANSWER_TIMEOUT_NS = 5_000_000_000
DRAIN_BATCHES_MAX = 64
TROUBLES_TOLD_EVERY_S = 10.0

COUNTERS = (
    "books",  # put into Redis
    "conflated",  # versions of a book that were replaced by a later one before they were sent
    "events",
    "dropped",  # events that did not fit, or whose fate a lost connection left unknown
    "lost",  # events that the ring had overwritten
    "pipelines",
    "bytes",
    "refused",  # writes that Redis answered with an error
    "reconnects",
    "silences",  # of the source
)
HOPS = ("sent_to_answered",)
_LAYOUT = SegmentLayout(schema="relay statistics 1\n", counters=COUNTERS, histograms=HOPS)


def create_stats(instance: str) -> SegmentWriter:
    """Create the segment `<instance>.relay` that `tickpath stat` shows.

    Raises SegmentLockedError where another relay of this instance runs here.
    """
    segment = SegmentWriter(f"{instance}.relay", _LAYOUT)
    segment.ready()
    return segment


class _Link:
    """One node: its connection, and the one pipeline that is under way."""

    def __init__(self, number: int, address: Address) -> None:
        self.number, self.address = number, address
        self.connection: NodeConnection | None = None
        self.sent: list[int] = []  # instruments under way, two answers each
        self.awaited = 0
        self.sent_ns = 0
        self.wakes = 0
        self.failures = 0
        self.retry_at = 0.0

    @property
    def is_idle(self) -> bool:
        return self.connection is not None and self.awaited == 0


class Publisher:
    """Follow one instance and keep Redis up to date with it."""

    def __init__(
        self,
        reader: FeedReader,
        options: RedisOptions,
        tell: Callable[..., None],
        *,
        cap: int = CAP_DEFAULT,
        stats: SegmentWriter | None = None,
    ) -> None:
        """Publish `reader`; `tell(event, **values)` hears what happens, `cap` bounds a stream."""
        self.reader, self._options, self._tell = reader, options, tell
        self._keys = Keys(reader.shm.instance)
        self._cap = str(cap).encode()
        self.is_spinning = False  # never sleep: for a CPU of its own
        self._stats = stats
        self.counters = dict.fromkeys(COUNTERS, 0)
        self._links: list[_Link] = []
        self._slots = Slots()
        self._next_link = 0
        self._topology_due = False
        self._next_heartbeat = self._next_check = 0.0
        self._told_at: dict[str, float] = {}
        self._begin_epoch()

    # ---- the source ------------------------------------------------------------------------------

    def _begin_epoch(self) -> None:
        """Start anew: at first, and when the source came back with a new segment."""
        self._instruments = instruments = self.reader.instruments
        count = len(instruments)
        self.epoch = secrets.randbits(63) | 1
        self._pending: list[NDArray[np.uint64]] = []
        self._pending_count = 0
        self._drained = 0  # ring index behind the last event taken
        self._dirty = np.ones(count, dtype=bool)
        self._gap = np.ones(count, dtype=bool)
        self._is_refused = np.zeros(count, dtype=bool)  # Redis has an older book
        self._versions = [0] * count
        self._sequences = [0] * count
        self._owner = np.zeros(count, dtype=np.int64)
        self._book_keys = [self._keys.book(one) for one in instruments]
        self._event_keys = [self._keys.events(one) for one in instruments]
        self._head = ffi.new("struct tp_relay_head *", {"format": FORMAT, "epoch": self.epoch})
        self._room = ffi.new("uint8_t[]", lib.TP_RELAY_BOOK_SIZE_MAX)
        self._room_view = ffi.buffer(self._room)
        self._feed = write_feed(FeedRecord(self.epoch, instruments))
        self._needs_feed = True
        for link in self._links:
            link.sent = []  # of instruments that may be others now
        self._measure_clock()
        self._assign()

    def _measure_clock(self) -> None:
        self._head.realtime_offset_ns = time.time_ns() - self.reader.now_ns()

    def _mark_all(self) -> None:
        self._dirty[:] = True
        self._gap[:] = True

    def _drop_pending(self) -> None:
        self.counters["dropped"] += self._pending_count
        self._pending, self._pending_count = [], 0

    def _drain(self) -> bool:
        """Take what the ring has; return whether there was anything."""
        shm = self.reader.shm
        for turn in range(DRAIN_BATCHES_MAX):
            rows = shm.batch()
            if not len(rows):
                if shm.lost:
                    self._lapped()
                return turn > 0
            self._take(rows.copy())
        return True

    def _take(self, rows: NDArray[np.uint64]) -> None:
        self._drained = int(rows[-1, 0]) + 1
        owners = rows[:, 1] & 0xFFFF
        if int(owners.max()) >= len(self._dirty):  # a source that is out of its mind
            rows = rows[owners < len(self._dirty)]
            owners = rows[:, 1] & 0xFFFF
        self._pending.append(rows)
        self._pending_count += len(rows)
        self._dirty[owners] = True
        while self._pending_count > PENDING_EVENTS_MAX:
            oldest = self._pending.pop(0)
            self._pending_count -= len(oldest)
            self.counters["dropped"] += len(oldest)
            self._gap[oldest[:, 1] & 0xFFFF] = True

    def _lapped(self) -> None:
        self.counters["lost"] += self.reader.lost
        self._drained = 0
        self._mark_all()

    def _heard(self, result: int) -> None:
        """Act on what a look told of ring and writer."""
        if result == Result.EVENT:
            self._take(np.array(self.reader.event_words, dtype=np.int64).view(np.uint64)[None, :])
        elif result == Result.LAPPED:
            self._lapped()
        elif result == RESTARTED:
            self._drop_pending()
            self._begin_epoch()
            self._tell("source restarted", instruments=len(self.reader.instruments))
        elif result in (Result.SILENT, Result.ALIVE):
            self.counters["silences"] += result == Result.SILENT
            self._dirty[:] = True  # their state is another one now
            self._tell("source silent" if result == Result.SILENT else "source is back")

    # ---- the nodes -------------------------------------------------------------------------------

    def start(self) -> None:
        """Connect to every node, or try again later; raises NodeError where that cannot help."""
        try:
            self._find_nodes()
            for link in self._links:
                self._open(link)
        except NodeError as error:
            if error.is_lasting:
                raise
            for link in self._links:
                if link.connection is None:
                    self._failed(link, error)
            self._topology_due = True  # nobody said yet whether it is a cluster
            return
        where = ", ".join(f"{host}:{port}" for host, port in sorted(self._addresses()))
        self._tell("connected", nodes=len(self._links), to=where)

    def _addresses(self) -> list[Address]:
        return [link.address for link in self._links]

    def _find_nodes(self) -> None:
        """Learn which node has which instrument; raises NodeError."""
        seeds = [(self._options.host, self._options.port), *self._slots.addresses()]
        connection = first_that_answers(self._options, seeds)
        try:
            self._slots = discover(connection, self._options)
        finally:
            connection.close()
        self._topology_due = False
        self._assign()

    def _assign(self) -> None:
        """Give each instrument its link; one that another node has now is sent anew."""
        single = (self._options.host, self._options.port)
        addresses = [self._slots.owner(key, single) for key in self._book_keys]
        addresses.append(self._slots.owner(self._keys.feed, single))
        links = {link.address: link for link in self._links}
        for address in dict.fromkeys(addresses):
            if address not in links:
                links[address] = _Link(self._next_link, address)
                self._next_link += 1
        for address in set(links) - set(addresses):
            self._lose(links.pop(address))
        self._links = list(links.values())
        places = {link.address: place for place, link in enumerate(self._links)}
        self._owner = np.array([places[one] for one in addresses], dtype=np.int64)[:-1]
        self._feed_link = links[addresses[-1]]

    def _open(self, link: _Link) -> None:
        link.connection = connect(self._options, link.address)
        link.failures = 0
        link.wakes = 0
        link.number, self._next_link = self._next_link, self._next_link + 1
        # What this node had may be gone, and what was under way may not have arrived.
        mine = self._owner == self._links.index(link)
        self._dirty[mine] = self._gap[mine] = True
        if link is self._feed_link:
            self._needs_feed = True

    def _lose(self, link: _Link) -> None:
        """Forget the connection; what was under way is sent anew, as far as it is a book."""
        self._requeue(link.sent)
        if link.connection is not None:
            link.connection.close()
            link.connection = None
        link.sent, link.awaited = [], 0

    def _failed(self, link: _Link, error: NodeError) -> None:
        """Try again later, in growing steps."""
        self._lose(link)
        delay = min(RETRY_MAX_S, RETRY_FIRST_S * 2.0 ** min(link.failures, 16))
        delay *= random.uniform(0.5, 1.0)  # noqa: S311 # spreads reconnections, keeps no secret
        link.failures += 1
        link.retry_at = time.monotonic() + delay
        self._topology_due = self._slots.is_cluster
        self._tell_seldom("lost", why=str(error))

    def _tell_seldom(self, event: str, **values: Any) -> None:
        now = time.monotonic()
        if now - self._told_at.get(event, -TROUBLES_TOLD_EVERY_S) >= TROUBLES_TOLD_EVERY_S:
            self._told_at[event] = now
            self._tell(event, **values)

    def _mend(self, now: float) -> None:
        """Reconnect what is due."""
        for link in list(self._links):
            if link.connection is not None or now < link.retry_at or link not in self._links:
                continue
            try:
                if self._topology_due:
                    self._find_nodes()
                if link in self._links and link.connection is None:
                    self._open(link)
                    self.counters["reconnects"] += 1
                    host, port = link.address
                    self._told_at.pop("lost", None)
                    self._tell("reconnected", to=f"{host}:{port}")
            except NodeError as error:
                self._failed(link, error)

    # ---- pipelines -------------------------------------------------------------------------------

    def _flush(self) -> bool:
        """Send a pipeline to every idle link that has something; return whether one was sent."""
        now = time.monotonic()
        if self.reader.instruments is not self._instruments:
            self._drop_pending()
            self._begin_epoch()
            self._tell("instruments changed", instruments=len(self._instruments))
        idle = np.array([link.is_idle and now >= link.retry_at for link in self._links])
        if not idle.any():
            return False
        if idle.all():
            changed = np.flatnonzero(self._dirty)
        else:
            changed = np.flatnonzero(self._dirty & idle[self._owner])
        if not len(changed) and not self._needs_feed:
            return False
        books, covered = self._read_books(changed)
        events = self._events_of(changed, covered)
        was_sent = False
        for place, link in enumerate(self._links):
            if idle[place]:
                mine = [i for i in changed.tolist() if self._owner[i] == place]
                was_sent |= self._send(link, mine, books, events)
        return was_sent

    def _read_books(
        self, changed: NDArray[np.int64]
    ) -> tuple[dict[int, bytes], NDArray[np.uint64]]:
        """Return the latest book of each, and up to which ring index it contains events."""
        books: dict[int, bytes] = {}
        covered = np.zeros(len(self._dirty), dtype=np.uint64)
        for instrument in changed.tolist():
            book = self.reader.book(instrument)
            self._dirty[instrument] = False
            version = book.version
            state, reason = int(book.state), int(book.reason)
            if state != book.published_state:  # the source is silent or gone
                # Told of before the look that says so: come again.
                self._dirty[instrument] = not self.reader.is_down
            books[instrument] = self._write_book(book, instrument, state, reason)
            covered[instrument] = book.ring_index
            missed = version - self._versions[instrument] - 1
            if self._versions[instrument] and missed > 0:
                self.counters["conflated"] += missed
            self._versions[instrument] = version
        return books, covered

    def _write_book(self, book: Book, instrument: int, state: int, reason: int) -> bytes:
        """Return the entry of a book that was just read."""
        head = self._head
        record = ffi.from_buffer("uint64_t[]", book.words[SNAPSHOT_HEAD_WORDS:])
        head.flags = FLAG_GAP * bool(self._gap[instrument])
        head.instrument, head.version = instrument, book.version
        head.sequence = self._sequences[instrument]
        head.sent_ns = time.time_ns()
        size = lib.tp_relay_entry_write(self._room, head, record, state, reason)
        self._gap[instrument] = False
        self._sequences[instrument] += 1
        return bytes(self._room_view[:size])

    def _events_of(
        self, changed: NDArray[np.int64], covered: NDArray[np.uint64]
    ) -> dict[int, bytes]:
        """Take the events that those books contain; the others stay for the next pipeline."""
        if len(changed):
            self._catch_up(int(covered.max()))
        if not self._pending:
            return {}
        rows = self._pending[0] if len(self._pending) == 1 else np.concatenate(self._pending)
        owners = (rows[:, 1] & 0xFFFF).astype(np.int64)
        is_covered = rows[:, 0] < covered[owners]
        if is_covered.all():
            self._pending, self._pending_count = [], 0
        else:
            self._keep(rows[~is_covered], owners[~is_covered])
            rows, owners = rows[is_covered], owners[is_covered]
        order = np.argsort(owners, kind="stable")
        data, owners = rows[order, 1:].tobytes(), owners[order]
        starts = np.searchsorted(owners, changed, side="left").tolist()
        ends = np.searchsorted(owners, changed, side="right").tolist()
        return {
            instrument: data[start * EVENT_SIZE : end * EVENT_SIZE]
            for instrument, start, end in zip(changed.tolist(), starts, ends, strict=True)
        }

    def _keep(self, rows: NDArray[np.uint64], owners: NDArray[np.int64]) -> None:
        """Leave events for later, except those of nodes that are not there."""
        self._dirty[owners] = True
        is_down = np.array([link.connection is None for link in self._links])[self._owner[owners]]
        if is_down.any():
            self.counters["dropped"] += int(is_down.sum())
            self._gap[owners[is_down]] = True
            rows = rows[~is_down]
        self._pending, self._pending_count = [rows], len(rows)

    def _catch_up(self, index: int) -> None:
        """Take the ring's events below `index`: they are written right behind the snapshot."""
        if index <= self._drained:
            return
        end = time.monotonic_ns() + FOLLOW_SNAPSHOT_NS
        while not self._drain() or self._drained < index:
            if time.monotonic_ns() > end or self.reader.is_down:
                return

    def _send(
        self, link: _Link, instruments: list[int], books: dict[int, bytes], events: dict[int, bytes]
    ) -> bool:
        commands: list[tuple[Any, ...]] = []
        if self._needs_feed and link is self._feed_link:
            self._needs_feed = False
            pairs = [word for pair in self._feed.items() for word in pair]
            commands.append((b"HSET", self._keys.feed, *pairs))
        has_feed = len(commands)
        for instrument in instruments:
            commands += self._entry(instrument, books[instrument], events)
        if not commands:
            return False
        link.wakes += 1
        wake = Wake(
            KIND_CHANGED, link.number, self.epoch, link.wakes, time.time_ns(), tuple(instruments)
        )
        commands.append((b"PUBLISH", self._keys.wake, write_wake(wake)))
        link.sent = [-1] * has_feed + instruments
        self._write(link, commands)
        self.counters["pipelines"] += 1
        return True

    def _entry(
        self, instrument: int, whole: bytes, events: dict[int, bytes]
    ) -> list[tuple[Any, ...]]:
        data = events.get(instrument, b"")
        if len(data) > EVENTS_IN_ENTRY_MAX * EVENT_SIZE:  # sent anew, without them
            self.counters["dropped"] += len(data) // EVENT_SIZE
            data = b""
            self._dirty[instrument] = self._gap[instrument] = True
        self.counters["books"] += 1
        self.counters["events"] += len(data) // EVENT_SIZE
        self.counters["bytes"] += 2 * len(whole) + len(data)
        stream = (b"XADD", self._event_keys[instrument], b"MAXLEN", b"~", self._cap, b"*")
        return [
            (b"HSET", self._book_keys[instrument], BOOK_FIELD, whole),
            (*stream, BOOK_FIELD, whole, EVENTS_FIELD, data),
        ]

    def _write(self, link: _Link, commands: list[tuple[Any, ...]]) -> None:
        if link.connection is None:
            return
        link.awaited, link.sent_ns = len(commands), time.monotonic_ns()
        try:
            link.connection.send(commands)
        except (RedisError, OSError) as error:
            self._broken(link, error)

    def _broken(self, link: _Link, error: Exception) -> None:
        host, port = link.address
        self._failed(link, told(error, f"{host}:{port}", self._options))

    def _requeue(self, instruments: list[int]) -> None:
        """Send these books again, without the events: nobody knows which of them arrived."""
        for instrument in instruments:
            if instrument < 0:
                self._needs_feed = True
            else:
                self._dirty[instrument] = self._gap[instrument] = True

    def _collect(self, link: _Link, timeout_s: float) -> bool:
        """Take the answers that are there; return whether the link is idle now."""
        connection = link.connection
        if connection is None or not link.awaited:
            return False
        try:
            if not connection.can_read(timeout_s):
                if time.monotonic_ns() - link.sent_ns > ANSWER_TIMEOUT_NS:
                    raise TimeoutError(f"no answer for {ANSWER_TIMEOUT_NS / 1e9:g} s")
                return False
            trouble = self._take_answers(link, connection)
        except (RedisError, OSError) as error:
            self._broken(link, error)
            return False
        if self._stats is not None:
            histogram = self._stats.histogram(0)
            lib.tp_histogram_record(histogram, time.monotonic_ns() - link.sent_ns)
        link.sent, link.awaited = [], 0
        if trouble is not None:
            self._refused(link, trouble)
        return True

    def _take_answers(self, link: _Link, connection: NodeConnection) -> Exception | None:
        """Read one answer a command; books whose write was refused are sent again."""
        trouble: Exception | None = None
        bad: set[int] = set()
        # One answer for the feed's record, two for a book, one for the wake-up.
        owners = [one for one in link.sent for _ in range(1 if one < 0 else 2)]
        for place in range(link.awaited):
            try:
                connection.answer()
            except ResponseError as error:
                trouble = error
                if place < len(owners):
                    bad.add(owners[place])
        self.counters["refused"] += len(bad)
        for instrument in link.sent:
            if instrument >= 0:
                self._is_refused[instrument] = instrument in bad
        self._requeue(sorted(bad))
        return trouble

    def _refused(self, link: _Link, error: Exception) -> None:
        """Wait a little before this node gets more; a moved slot is looked up first."""
        host, port = link.address
        if is_elsewhere(error):
            self._tell_seldom("moved", node=f"{host}:{port}", why=str(error))
            try:
                self._find_nodes()
            except NodeError as lost:
                self._tell_seldom("lost", why=str(lost))
        else:
            trouble = told(error, f"{host}:{port}", self._options)
            if trouble.is_lasting and not self.counters["books"]:
                raise trouble
            self._tell_seldom("refused", why=str(trouble))
        link.retry_at = time.monotonic() + REFUSED_PAUSE_S

    # ---- life signs ------------------------------------------------------------------------------

    def _beat(self, now: float) -> None:
        """Say on every link that the relay lives, and which books Redis does not have."""
        self._next_heartbeat = now + HEARTBEAT_S
        self._measure_clock()
        if self._stats is not None:
            self._stats.heartbeat()
            for place, name in enumerate(COUNTERS):
                self._stats.store_counter(place, self.counters[name])
        late = [
            link.connection is None
            or (link.awaited > 0 and time.monotonic_ns() - link.sent_ns > HEARTBEAT_S * 2e9)
            for link in self._links
        ]
        # A book to be sent after a gap: what Redis has of it, if anything, is of before.
        is_behind = np.array(late)[self._owner] | self._is_refused | self._gap
        behind = tuple(np.flatnonzero(is_behind).tolist())
        for link in self._links:
            if link.is_idle:
                link.wakes += 1
                beat = Wake(
                    KIND_HEARTBEAT, link.number, self.epoch, link.wakes, time.time_ns(), behind
                )
                self._write(link, [(b"PUBLISH", self._keys.wake, write_wake(beat))])

    def step(self, wait_ns: int = 1_000_000) -> None:
        """Do what is due, then wait up to about `wait_ns` for an event or an answer."""
        now = time.monotonic()
        was_busy = self._drain()
        busy = [link for link in self._links if link.awaited]
        for link in busy:
            self._collect(link, 0)
        if now >= self._next_check:
            self._next_check = now + CHECK_S
            self._heard(self.reader.follow_writer(self.reader.shm.check()))
            self._mend(now)
        if now >= self._next_heartbeat:
            self._beat(now)
        if self._flush() or was_busy:
            return
        busy = [link for link in self._links if link.awaited]
        if busy:  # an answer wakes at once, an event waits for it anyway
            self._collect(busy[0], 0 if self.is_spinning else min(ANSWER_WAIT_S, wait_ns / 1e9))
            return
        self.reader.set_wait(wait_ns, block=not self.is_spinning)
        self._heard(self.reader.next())
        self._drain()
        self._flush()

    def close(self) -> None:
        """Say that every book is stale from now on, as far as nodes answer; disconnect."""
        for link in self._links:
            if link.is_idle:
                everything = tuple(range(len(self._dirty)))
                link.wakes += 1
                last = Wake(
                    KIND_HEARTBEAT, link.number, self.epoch, link.wakes, time.time_ns(), everything
                )
                self._write(link, [(b"PUBLISH", self._keys.wake, write_wake(last))])
            self._lose(link)
