"""Read a feed as a strategy sees it: typed events, consistent books, and every trouble told.

    with open_reader("demo") as reader:
        for event in reader:
            if isinstance(event, Event) and event.type == EventType.TOP:
                book = reader.book(event.instrument)

Order in which to join, at start and after Lapped or Restarted: the reader stands at the head of the
ring already, so read the books now and go on; events of an instrument with an index below its
book's ring_index are contained in that book. Called by: strategies, engine/strategy. Calls:
shm/reader.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec
from tickpath.engine.feed_segment import SCHEMA, Instrument, read_instruments
from tickpath.proto.records import BOOK_DEPTH_MAX, BookState, EventType, SyncReason
from tickpath.shm.reader import DEFAULT_STALE_AFTER_NS, SNAPSHOT_HEAD_WORDS, Reader, Result
from tickpath.shm.segment import DIRECTORY, SegmentError, SegmentNotReadyError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

__all__ = [
    "Book",
    "BookState",
    "Event",
    "EventType",
    "FeedReader",
    "Instrument",
    "Lapped",
    "Restarted",
    "SyncReason",
    "WriterAlive",
    "WriterSilent",
    "open_reader",
]

RESTARTED = 6  # beside shm.reader.Result: a newer segment was opened
REOPEN_INTERVAL_NS = 20_000_000
BLOCK_SPIN_NS = 20_000
BLOCK_SLEEP_NS = 50_000
_LOW_32, _LOW_16 = 0xFFFF_FFFF, 0xFFFF
_EMPTY, _EVENT, _LAPPED = int(Result.EMPTY), int(Result.EVENT), int(Result.LAPPED)
_SILENT, _ALIVE, _MOVED = int(Result.SILENT), int(Result.ALIVE), int(Result.MOVED)


class Lapped(msgspec.Struct, frozen=True):
    """Tell that the reader was too slow: `lost` events are gone. Read the books, then go on."""

    lost: int


class WriterSilent(msgspec.Struct, frozen=True):
    """Tell that the writer's heartbeat stopped, or that it ended: every book is STALE now."""


class WriterAlive(msgspec.Struct, frozen=True):
    """Tell that the heartbeat is back: books read as they are again."""


class Restarted(msgspec.Struct, frozen=True):
    """Tell that a new writer took over and its segment was opened: read the books."""

    instruments: tuple[Instrument, ...]


class Event:
    """View the event that was read last; valid until the next one is.

    Numbers are mantissas of the instrument's exponents, times nanoseconds.
    """

    __slots__ = ("_words",)

    def __init__(self, words: memoryview) -> None:
        self._words = words

    @property
    def index(self) -> int:
        """Return its place in the ring, from 0 at the writer's start."""
        return self._words[0]

    @property
    def instrument(self) -> int:
        """Return the index of its instrument."""
        return self._words[1] & _LOW_32

    @property
    def type(self) -> int:
        """Return its EventType."""
        return self._words[1] >> 32 & _LOW_16

    @property
    def is_ask(self) -> bool:
        """Say of a LEVEL on which side it is."""
        return bool(self._words[1] >> 48 & 1)

    @property
    def received_ns(self) -> int:
        """Return when its frame left the NIC queue, of the segment's clock."""
        return self._words[2]

    @property
    def published_ns(self) -> int:
        """Return when it was published, of the segment's clock."""
        return self._words[3]

    @property
    def value(self) -> tuple[int, int, int, int]:
        """Return the four payload words whose meaning depends on the type."""
        words = self._words
        return words[4], words[5], words[6], words[7]

    price = property(lambda self: self._words[4], doc="LEVEL: the level's price.")
    quantity = property(lambda self: self._words[5], doc="LEVEL: its quantity, 0 for removed.")
    exchange_ns = property(lambda self: self._words[6], doc="LEVEL: when the venue stamped it.")
    book_sequence = property(lambda self: self._words[7], doc="LEVEL: the venue's version.")
    bid_price = property(lambda self: self._words[4], doc="TOP: the best bid.")
    bid_quantity = property(lambda self: self._words[5], doc="TOP: 0 for no bid.")
    ask_price = property(lambda self: self._words[6], doc="TOP: the best ask.")
    ask_quantity = property(lambda self: self._words[7], doc="TOP: 0 for no ask.")
    state = property(lambda self: BookState(self._words[4]), doc="STATE: the new state.")
    reason = property(lambda self: SyncReason(self._words[5]), doc="STATE: why it is not LIVE.")

    def __repr__(self) -> str:
        """Show index, instrument, type and payload."""
        return f"Event({self.index}, instrument={self.instrument}, type={self.type}, {self.value})"


# Words of a snapshot: four of the reader, then struct tp_book_record.
_VERSION, _RING_INDEX, _SILENT_NS, _ENDED = 0, 1, 2, 3
_SEQUENCE, _IDENTITY, _COUNTS, _BIDS = (SNAPSHOT_HEAD_WORDS + i for i in (0, 5, 6, 7))
_ASKS = _BIDS + 2 * BOOK_DEPTH_MAX


class Book:
    """View the book that was read last; valid until the next `FeedReader.book`.

    Its state already takes the writer's health into account: where the writer fell silent, ended
    or was replaced, it is STALE whatever the record says, and `why` tells. Trade on `is_live` only.
    """

    __slots__ = ("_words",)

    def __init__(self, words: memoryview) -> None:
        self._words = words

    @property
    def version(self) -> int:
        """Return how many times it was published; 0: never yet."""
        return self._words[_VERSION]

    @property
    def ring_index(self) -> int:
        """Return the index of the first ring event that it does not contain."""
        return self._words[_RING_INDEX]

    @property
    def writer_silent_ns(self) -> int:
        """Return the heartbeat's age where it is too old, else 0."""
        return self._words[_SILENT_NS]

    @property
    def instrument(self) -> int:
        """Return the index of its instrument."""
        return self._words[_IDENTITY] & _LOW_32

    @property
    def published_state(self) -> BookState:
        """Return the state that the writer gave it, whatever became of the writer since."""
        return BookState(self._words[_IDENTITY] >> 32 & _LOW_16)

    @property
    def is_live(self) -> bool:
        """Say whether it may be traded on."""
        words = self._words
        return (
            words[_IDENTITY] >> 32 & _LOW_16 == 1 and words[_SILENT_NS] == 0 and words[_ENDED] == 0
        )

    @property
    def state(self) -> BookState:
        """Return the state to act on."""
        if self._words[_SILENT_NS] or self._words[_ENDED]:
            return BookState.STALE
        return self.published_state

    @property
    def reason(self) -> SyncReason:
        """Return why it is not LIVE."""
        if self._words[_ENDED]:
            return SyncReason.DISCONNECTED
        if self._words[_SILENT_NS]:
            return SyncReason.SILENT
        return SyncReason(self._words[_IDENTITY] >> 48 & _LOW_16)

    @property
    def why(self) -> str:
        """Say in words why it is not LIVE; empty where it is."""
        if self._words[_ENDED]:
            return "its writer ended or was replaced"
        if self._words[_SILENT_NS]:
            return f"its writer is silent for {self._words[_SILENT_NS] / 1e6:.0f} ms"
        return "" if self.is_live else self.reason.name.lower().replace("_", " ")

    book_sequence = property(lambda self: self._words[_SEQUENCE], doc="The venue's version.")
    exchange_ns = property(lambda self: self._words[_SEQUENCE + 1], doc="The venue's stamp.")
    received_ns = property(lambda self: self._words[_SEQUENCE + 2], doc="Frame received.")
    decoded_ns = property(lambda self: self._words[_SEQUENCE + 3], doc="Message decoded.")
    published_ns = property(lambda self: self._words[_SEQUENCE + 4], doc="Published.")

    @property
    def bid_count(self) -> int:
        """Return how many bids are present."""
        return min(self._words[_COUNTS] & _LOW_32, BOOK_DEPTH_MAX)

    @property
    def ask_count(self) -> int:
        """Return how many asks are present."""
        return min(self._words[_COUNTS] >> 32 & _LOW_32, BOOK_DEPTH_MAX)

    @property
    def bid(self) -> tuple[int, int]:
        """Return the best bid as (price, quantity); (0, 0) where there is none."""
        words = self._words
        return (words[_BIDS], words[_BIDS + 1]) if words[_COUNTS] & _LOW_32 else (0, 0)

    @property
    def ask(self) -> tuple[int, int]:
        """Return the best ask as (price, quantity); (0, 0) where there is none."""
        words = self._words
        return (words[_ASKS], words[_ASKS + 1]) if words[_COUNTS] >> 32 & _LOW_32 else (0, 0)

    @property
    def bids(self) -> list[tuple[int, int]]:
        """Return all bids as (price, quantity), best first."""
        words = self._words[_BIDS : _BIDS + 2 * self.bid_count].tolist()
        return list(zip(words[::2], words[1::2], strict=True))

    @property
    def asks(self) -> list[tuple[int, int]]:
        """Return all asks as (price, quantity), best first."""
        words = self._words[_ASKS : _ASKS + 2 * self.ask_count].tolist()
        return list(zip(words[::2], words[1::2], strict=True))

    def copy(self) -> Book:
        """Return a book that stays as it is now."""
        return Book(memoryview(bytes(self._words.cast("B"))).cast("q"))

    def __repr__(self) -> str:
        """Show instrument, state, best bid and ask."""
        return f"Book({self.instrument}, {self.state.name}, bid={self.bid}, ask={self.ask})"


class FeedReader:
    """Follow one instance: its events, its books, and its writers as they come and go."""

    def __init__(self, reader: Reader) -> None:
        """Take over an open shm reader, whose schema was checked."""
        self._reader = reader
        self._snapshot = reader.snapshot
        self._slots = int(reader.segment.header.snapshot_index.count)
        self._read_snapshot = reader.read_snapshot
        self._look = reader.look
        self._is_down = False
        self._retry_ns = 0
        self.trouble = ""  # why the newer segment cannot be read, where there is one
        self.set_wait()
        self.instruments = read_instruments(reader.segment)
        self.event = Event(reader.event)
        self.event_words = reader.event
        self._book = Book(reader.snapshot)

    @property
    def shm(self) -> Reader:
        """Borrow the payload-agnostic reader below: batches, counters, the segment."""
        return self._reader

    @property
    def is_down(self) -> bool:
        """Say whether the writer is silent, ended or gone: all books are STALE then."""
        return self._is_down

    @property
    def lost(self) -> int:
        """Return how many events the last LAPPED skipped."""
        return self._reader.lost

    def set_wait(self, max_ns: int = 1_000_000, *, block: bool = False) -> None:
        """Say how `next` waits: at most `max_ns`, spinning, or `block`ing after 20 us of that.

        Blocking sleeps 50 us between looks: an event is seen 60 to 120 us late at worst, and an
        idle strategy costs a few per cent of a CPU instead of all of it.
        """
        if block:
            self._reader.set_wait(max_ns, spin_ns=BLOCK_SPIN_NS, sleep_ns=BLOCK_SLEEP_NS)
        else:
            self._reader.set_wait(max_ns)

    def next(self) -> int:
        """Wait, with the GIL released, for something to tell; return a Result, or RESTARTED."""
        result = self._look()
        if result == _EVENT or (result <= _LAPPED and not self._is_down):
            return result
        return self.follow_writer(result)

    def follow_writer(self, result: int) -> int:
        """Judge what a look told of the writer; look for a new segment while it is down.

        For loops that call `shm.look` themselves; `next` does both.
        """
        if result == _ALIVE:
            self._is_down = False
            return result
        was_down = self._is_down
        if result in (_SILENT, _MOVED):
            self._is_down = True
        now = time.monotonic_ns()
        if self._is_down and now >= self._retry_ns:
            self._retry_ns = now + REOPEN_INTERVAL_NS
            if self._reopen():
                return RESTARTED
        if result != _MOVED:
            return result
        if not was_down:
            return _SILENT
        time.sleep(0.001)  # it would be told again at once: nothing comes from a writer gone
        return _EMPTY

    def _reopen(self) -> bool:
        try:
            if not self._reader.reopen():
                return False
        except SegmentError as error:
            # Being replaced, damaged or of another layout: tried again, all stays STALE.
            self.trouble = str(error)
            return False
        self.trouble = ""
        self._is_down = False
        self.instruments = read_instruments(self._reader.segment)
        self._slots = int(self._reader.segment.header.snapshot_index.count)
        return True

    def book(self, instrument: int) -> Book:
        """Read the latest consistent book; valid until the next call, `copy` keeps it.

        SYNCING where it was never published. Raises IndexError for an instrument that is not there.
        """
        if not 0 <= instrument < self._slots:
            raise IndexError(f"instrument {instrument}: the segment has 0 to {self._slots - 1}")
        if not self._read_snapshot(instrument):
            words = self._snapshot
            for i in range(_SEQUENCE, _BIDS):
                words[i] = 0
            words[_IDENTITY] = instrument | SyncReason.STARTING << 48
        return self._book

    def __iter__(self) -> Iterator[Event | Lapped | WriterSilent | WriterAlive | Restarted]:
        """Yield events and troubles for ever; spins while there are none."""
        while True:
            result = self.next()
            if result == _EVENT:
                yield self.event
            elif result == _LAPPED:
                yield Lapped(self.lost)
            elif result == _SILENT:
                yield WriterSilent()
            elif result == _ALIVE:
                yield WriterAlive()
            elif result == RESTARTED:
                yield Restarted(self.instruments)

    def now_ns(self) -> int:
        """Read the segment's clock, of which all stamps are."""
        return self._reader.segment.now_ns()

    def close(self) -> None:
        """Unmap the segment."""
        self._reader.close()

    def __enter__(self) -> FeedReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def open_reader(
    instance: str,
    *,
    wait_s: float = 0,
    directory: Path = DIRECTORY,
    stale_after_ns: int = DEFAULT_STALE_AFTER_NS,
) -> FeedReader:
    """Open a feed's segment, waiting up to `wait_s` for it to appear.

    Raises SegmentNotReadyError where it does not, SegmentError where it must not be read (another
    layout or schema, damaged).
    """
    end = time.monotonic() + wait_s
    options: dict[str, Any] = {"directory": directory, "stale_after_ns": stale_after_ns}
    while True:
        try:
            return FeedReader(Reader(instance, schema=SCHEMA, **options))
        except SegmentNotReadyError:
            if time.monotonic() >= end:
                raise
            time.sleep(0.005)
