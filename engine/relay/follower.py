"""From Redis to a segment: wait for a wake-up, read the streams that it names, publish.

Books are LIVE only while the relay's heartbeats come: when they stop, when Redis is gone, or when
the relay says that Redis lacks a book, readers are told STALE at once. Entries are numbered: one
that is missing makes the next a replacement of the book. Called by: command. Calls: wire, nodes,
local_segment.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

import msgspec
from redis.exceptions import RedisError, ResponseError
from tickpath._core import ffi
from tickpath.engine.client.feed_segment import RING_CAPACITY_DEFAULT
from tickpath.engine.relay.local_segment import LocalSegment, Told
from tickpath.engine.relay.nodes import (
    NodeError,
    RedisOptions,
    Slots,
    call,
    connect,
    discover,
    first_that_answers,
    is_elsewhere,
    told,
)
from tickpath.engine.relay.wire import (
    FLAG_GAP,
    KIND_HEARTBEAT,
    FeedRecord,
    Keys,
    WireError,
    read_entry,
    read_feed,
    read_wake,
)
from tickpath.proto.records import BookState, SyncReason

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tickpath.engine.relay.nodes import Address, NodeConnection

ENTRIES_A_LOOK, READS_MAX = 64, 64
LINKS_MAX = 256
RETRY_FIRST_S, RETRY_MAX_S = 0.1, 5.0
ABSENT_LOOK_S = 0.2
NODE_RETRY_S = 0.5
BEAT_S = 0.02
JOINING = b"-"  # in place of a stream id
WAIT_S = 0.01
ANSWER_TIMEOUT_S = 5.0
WAKES_A_TURN = 256
TROUBLES_TOLD_EVERY_S = 10.0
WAITING_TOLD_EVERY_S = 60.0
STALE_AFTER_MS_DEFAULT = 1000
LIVE = int(BookState.LIVE)
SILENT: Told = (int(BookState.STALE), int(SyncReason.SILENT))
DISCONNECTED: Told = (int(BookState.STALE), int(SyncReason.DISCONNECTED))
BROKEN: Told = (int(BookState.STALE), int(SyncReason.BROKEN_MESSAGE))


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Say what to fill: the segment's name, its ring's slots, when silence makes books STALE."""

    name: str | None = None  # None: that of the relayed instance
    stale_after_ms: int = STALE_AFTER_MS_DEFAULT
    ring_capacity: int = RING_CAPACITY_DEFAULT


DEFAULT_TARGET = Target()


class _Book:
    """What the follower knows of one instrument."""

    __slots__ = ("entry", "events_key", "has_entry", "is_unread", "last_id", "sequence", "trouble")

    def __init__(self, events_key: bytes) -> None:
        self.events_key = events_key
        self.entry = ffi.new("struct tp_relay_entry *")  # the last one that was sound
        self.restart()

    def restart(self) -> None:
        """Know nothing of its stream any more."""
        self.last_id = JOINING
        self.sequence: int | None = None
        self.has_entry = False
        self.is_unread = True  # its node did not answer: later entries may be there
        # Why it is not to be trusted, whatever its entry says; None: it is.
        self.trouble: Told | None = DISCONNECTED


class Follower:
    """Keep one local segment like the relayed instance."""

    def __init__(
        self,
        instance: str,
        options: RedisOptions,
        tell: Callable[..., None],
        *,
        target: Target = DEFAULT_TARGET,
    ) -> None:
        """Follow `instance` into a local segment; `tell(event, **values)` hears what happens."""
        self._keys, self._options, self._tell = Keys(instance), options, tell
        self._instance, self._local = instance, target.name or instance
        self._stale_after_s = target.stale_after_ms / 1e3
        self._ring_capacity = target.ring_capacity
        self.segment: LocalSegment | None = None
        self._epoch = 0
        self._books: list[_Book] = []
        self._waker: NodeConnection | None = None
        self._links: dict[Address, NodeConnection] = {}
        self._slots = Slots()
        self._node_retry_at: dict[Address, float] = {}
        self._link_sequences: dict[int, int] = {}
        self._last_beat = 0.0  # of the relay
        self._is_alive = False
        self._next_own_beat = 0.0
        self._retry_at, self._failures = 0.0, 0
        self._told_at: dict[str, float] = {}
        self._scratch = ffi.new("struct tp_relay_entry *")
        self._joined_once = False
        self.is_spinning = False  # never sleep: for a CPU of its own

    # ---- joining ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Connect, or try again later; raises NodeError where that cannot help."""
        try:
            self._join()
        except NodeError as error:
            if error.is_lasting:
                raise
            self._lost(error)

    def _join(self) -> None:
        """Subscribe, then read what stands there: nothing can fall in between."""
        single = (self._options.host, self._options.port)
        seeds = [single, *self._slots.addresses()]
        self._disconnect()
        self._waker = first_that_answers(self._options, seeds)
        self._slots = discover(self._waker, self._options)
        call(self._waker, self._options, "SUBSCRIBE", self._keys.wake)
        self._link_sequences.clear()
        self._node_retry_at.clear()
        self._failures = 0
        try:
            self._load_feed()
        except NodeError:
            if self.segment is None:
                raise
            self._reread()  # the feed's own node is away: go on with what is known
        self._told_at.pop("lost", None)
        self._tell("connected", to=self._options.url, instruments=len(self._books))

    def _link(self, address: Address) -> NodeConnection:
        if address not in self._links:
            self._links[address] = connect(self._options, address)
        return self._links[address]

    def _load_feed(self) -> None:
        """Read the feed's record and begin its epoch; nothing where there is none yet."""
        home = self._slots.owner(self._keys.feed, (self._options.host, self._options.port))
        answer = call(self._link(home), self._options, "HGETALL", self._keys.feed)
        pairs = dict(zip(answer[::2], answer[1::2], strict=True))
        if not pairs:
            self._tell_seldom("waiting", why=f"nobody relays {self._instance} to this Redis yet")
            return
        try:
            record = read_feed(pairs)
        except WireError as error:
            self._refuse(str(error))
            return
        if record.epoch != self._epoch:
            self._begin(record)
        self._reread()

    def _reread(self) -> None:
        """Take the newest entry of every stream."""
        for book in self._books:
            book.last_id = JOINING
        self._read(range(len(self._books)))

    def _begin(self, record: FeedRecord) -> None:
        """Make the segment, or go on with the one whose instruments are the same."""
        self._epoch = record.epoch
        if self.segment is not None and self.segment.instruments != record.instruments:
            self.segment.close()
            self.segment = None
        if self.segment is None:
            self.segment = LocalSegment(self._local, record.instruments, self._ring_capacity)
            self._books = [_Book(self._keys.events(one)) for one in record.instruments]
        for book in self._books:
            book.restart()
        self._distrust(SILENT if self._joined_once else DISCONNECTED)
        self._joined_once = True
        self._is_alive = False
        self._tell("epoch", instruments=len(record.instruments), segment=self._local)

    # ---- reading ---------------------------------------------------------------------------------

    def _read(self, instruments: Sequence[int]) -> None:
        """Read the streams of these instruments to their ends."""
        left = list(instruments)
        for _ in range(READS_MAX):
            if not left or self.segment is None:
                return
            left = self._read_once(left)
            self._beat()

    def _read_once(self, instruments: list[int]) -> list[int]:
        """Ask every node once; return the instruments of which there is more.

        A node that fails takes its own instruments with it, and is tried again later.
        """
        single = (self._options.host, self._options.port)
        asked: dict[Address, list[int]] = {}
        for instrument in instruments:
            address = self._slots.owner(self._books[instrument].events_key, single)
            if time.monotonic() >= self._node_retry_at.get(address, 0.0):
                asked.setdefault(address, []).append(instrument)
        sent = [node for node, mine in asked.items() if self._try(node, mine, self._ask)]
        more: list[int] = []
        for node in sent:
            self._try(node, asked[node], lambda link, mine: more.extend(self._hear_out(link, mine)))
        return more

    def _try(
        self,
        address: Address,
        instruments: list[int],
        act: Callable[[NodeConnection, list[int]], None],
    ) -> bool:
        """Do something with a node; where it fails, distrust what it has."""
        try:
            act(self._link(address), instruments)
        except NodeError as error:
            trouble = error
        except (RedisError, OSError) as error:
            trouble = told(error, f"{address[0]}:{address[1]}", self._options)
        else:
            return True
        if link := self._links.pop(address, None):
            link.close()
        self._node_retry_at[address] = time.monotonic() + NODE_RETRY_S
        for instrument in instruments:
            self._books[instrument].is_unread = True
            self._distrust_one(instrument, DISCONNECTED)
        self._tell_seldom("node lost", why=str(trouble))
        return False

    def _ask(self, link: NodeConnection, instruments: list[int]) -> None:
        link.send([self._command(self._books[one]) for one in instruments])

    def _hear_out(self, link: NodeConnection, instruments: list[int]) -> list[int]:
        more = []
        for instrument in instruments:
            self._await(link)
            answer, book = self._answer(link), self._books[instrument]
            if answer or book.last_id != JOINING:  # an empty stream says nothing of its book
                book.is_unread = False
            if self._take(instrument, answer):
                more.append(instrument)
        return more

    def _mend(self) -> None:
        """Try again what lies on nodes that failed; their slots may have moved."""
        now = time.monotonic()
        due = [node for node, at in self._node_retry_at.items() if now >= at]
        if not due:
            return
        for node in due:
            del self._node_retry_at[node]
        seeds = [(self._options.host, self._options.port), *self._slots.addresses()]
        connection = first_that_answers(self._options, seeds)
        try:
            self._slots = discover(connection, self._options)
        finally:
            connection.close()
        self._read([i for i, book in enumerate(self._books) if book.is_unread])

    def _command(self, book: _Book) -> tuple[Any, ...]:
        if book.last_id == JOINING:  # joining: the newest entry has the book
            return (b"XREVRANGE", book.events_key, b"+", b"-", b"COUNT", 1)
        return (b"XRANGE", book.events_key, b"(" + book.last_id, b"+", b"COUNT", ENTRIES_A_LOOK)

    def _await(self, link: NodeConnection) -> None:
        """Wait for an answer while our own readers hear from us."""
        end = time.monotonic() + ANSWER_TIMEOUT_S
        while not link.can_read(0 if self.is_spinning else WAIT_S):
            self._beat()
            self._judge_silence()
            if time.monotonic() > end:
                raise TimeoutError(f"redis {link.host}:{link.port}: no answer")

    def _answer(self, link: NodeConnection) -> list[Any]:
        try:
            answer = link.answer()
        except ResponseError as error:
            if is_elsewhere(error):
                raise NodeError(f"the cluster's slots moved: {error}") from error
            raise
        return answer if isinstance(answer, list) else []

    def _take(self, instrument: int, answer: list[Any]) -> bool:
        """Publish the entries of one stream; return whether there may be more."""
        book = self._books[instrument]
        is_joining = book.last_id == JOINING
        for item in answer:
            try:
                identity, words = item
                if not isinstance(identity, bytes):
                    raise WireError(f"stream id {identity!r:.40}: expected text")
                book.last_id = identity
                fields = dict(zip(words[::2], words[1::2], strict=True))
                read_entry(self._scratch, fields, instrument)
            except (WireError, TypeError, ValueError) as error:
                self._refuse(f"{book.events_key.decode()}: {error}")
                self._distrust_one(instrument, BROKEN)
                book.sequence = None
                continue
            self._apply(book, self._scratch)  # whose events lie in `fields`
        return len(answer) == ENTRIES_A_LOOK and not is_joining

    def _apply(self, book: _Book, entry: Any) -> None:
        segment, head = self._segment(), entry.head
        if head.epoch != self._epoch:
            segment.counters["relay.strangers"] += 1
            return
        if head.sequence == book.sequence and book.has_entry:
            return  # joined at it already
        is_gap = bool(head.flags & FLAG_GAP) or (
            book.sequence is None or head.sequence != book.sequence + 1
        )
        segment.counters["relay.gaps"] += is_gap and book.has_entry
        book.trouble = None if self._is_alive else SILENT
        override = book.trouble if entry.record.state == LIVE else None
        segment.put(entry, is_gap=is_gap, override=override)
        book.sequence, book.has_entry = head.sequence, True
        book.entry[0] = entry[0]
        book.entry.event_count = 0  # only the book is of use later

    def _segment(self) -> LocalSegment:
        if self.segment is None:
            raise RuntimeError("nothing is read before there is a segment")
        return self.segment

    # ---- trust -----------------------------------------------------------------------------------

    def _distrust_one(self, instrument: int, trouble: Told) -> None:
        book, segment = self._books[instrument], self._segment()
        book.trouble = trouble
        if not book.has_entry:
            segment.tell_state(instrument, BookState(trouble[0]), SyncReason(trouble[1]))
        elif segment.told(instrument)[0] == LIVE:
            segment.put(book.entry, override=trouble, with_events=False)

    def _distrust(self, trouble: Told) -> None:
        self._is_alive = False
        for instrument in range(len(self._books)):
            self._distrust_one(instrument, trouble)

    def _trust(self, behind: frozenset[int]) -> None:
        """Act on a heartbeat: what Redis has is what the source has, except these."""
        self._last_beat = time.monotonic()
        was_alive, self._is_alive = self._is_alive, True
        if not was_alive:
            self._tell("alive")
        segment = self._segment()
        for instrument, book in enumerate(self._books):
            if instrument in behind:
                if book.trouble is None:
                    self._distrust_one(instrument, DISCONNECTED)
            elif book.trouble in (SILENT, DISCONNECTED) and book.has_entry and not book.is_unread:
                book.trouble = None
                segment.put(book.entry, with_events=False)

    def _judge_silence(self) -> None:
        if self._is_alive and time.monotonic() - self._last_beat > self._stale_after_s:
            self._segment().counters["relay.silences"] += 1
            self._distrust(SILENT)
            self._tell("silent", stale_after_s=self._stale_after_s)

    # ---- turning ---------------------------------------------------------------------------------

    def step(self, wait_s: float = WAIT_S) -> None:
        """Wait up to about `wait_s` for a wake-up and act on it; everything else that is due."""
        self._beat()
        if self._waker is None:
            self._rejoin(wait_s)
            return
        try:
            if self._waker.can_read(0 if self.is_spinning else wait_s):
                self._woken(self._waker)
            elif self._node_retry_at:
                self._mend()
            elif self.segment is None and time.monotonic() >= self._retry_at:
                self._retry_at = time.monotonic() + ABSENT_LOOK_S
                self._load_feed()
        except NodeError as error:
            self._lost(error)
        except (RedisError, OSError) as error:
            self._lost(told(error, self._options.url, self._options))
        self._judge_silence()

    def _woken(self, waker: NodeConnection) -> None:
        changed: set[int] = set()
        beat: frozenset[int] | None = None
        for _ in range(WAKES_A_TURN):
            message = waker.answer()
            if isinstance(message, list) and len(message) == 3 and message[0] == b"message":
                beat = self._hear(message[2], changed, beat)
            if not waker.can_read(0):
                break
        if changed:
            self._read(sorted(changed))
        if beat is not None and self.segment is not None:
            self._trust(beat)

    def _hear(
        self, data: object, changed: set[int], beat: frozenset[int] | None
    ) -> frozenset[int] | None:
        """Sort one wake-up; return the newest heartbeat's list."""
        if self.segment is None:
            self._load_feed()
            return beat
        try:
            wake = read_wake(data, len(self._books))
        except WireError as error:
            self._refuse(str(error))
            return beat
        if wake.epoch != self._epoch:
            self._load_feed()
            return beat
        previous = self._link_sequences.get(wake.link)
        if len(self._link_sequences) >= LINKS_MAX:
            self._link_sequences.clear()
        self._link_sequences[wake.link] = wake.sequence
        if previous is not None and wake.sequence != previous + 1:
            changed.update(range(len(self._books)))  # a wake-up was lost: look everywhere
        if wake.kind == KIND_HEARTBEAT:
            return frozenset(wake.instruments)
        changed.update(wake.instruments)
        return beat

    def _rejoin(self, wait_s: float) -> None:
        now = time.monotonic()
        if now < self._retry_at:
            time.sleep(min(wait_s, self._retry_at - now))
            return
        try:
            self._join()
            if self.segment is not None:
                self.segment.counters["relay.reconnects"] += 1
        except NodeError as error:
            self._lost(error)
        except (RedisError, OSError) as error:
            self._lost(told(error, self._options.url, self._options))

    def _lost(self, error: NodeError) -> None:
        """Tell readers at once, and try again in growing steps."""
        self._disconnect()
        for book in self._books:
            # A Redis that comes back may have forgotten everything.
            book.is_unread, book.last_id = True, JOINING
        if self.segment is not None:
            self._distrust(DISCONNECTED)
        delay = min(RETRY_MAX_S, RETRY_FIRST_S * 2.0 ** min(self._failures, 16))
        delay *= random.uniform(0.5, 1.0)  # noqa: S311 # spreads reconnections, keeps no secret
        self._failures += 1
        self._retry_at = time.monotonic() + delay
        self._tell_seldom("lost", why=str(error))

    def _refuse(self, why: str) -> None:
        if self.segment is not None:
            self.segment.counters["relay.refused"] += 1
        self._tell_seldom("refused", why=why)

    def _tell_seldom(self, event: str, **values: Any) -> None:
        now = time.monotonic()
        pause = WAITING_TOLD_EVERY_S if event == "waiting" else TROUBLES_TOLD_EVERY_S
        if now - self._told_at.get(event, -pause) >= pause:
            self._told_at[event] = now
            self._tell(event, **values)

    def _beat(self) -> None:
        now = time.monotonic()
        if self.segment is not None and now >= self._next_own_beat:
            self._next_own_beat = now + BEAT_S
            self.segment.beat()

    def _disconnect(self) -> None:
        for connection in (*self._links.values(), *([self._waker] if self._waker else [])):
            connection.close()
        self._links, self._waker = {}, None

    def close(self) -> None:
        """Disconnect and end the segment."""
        self._disconnect()
        if self.segment is not None:
            self.segment.close()
            self.segment = None
