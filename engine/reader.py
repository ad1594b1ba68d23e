"""Read a feed as a strategy sees it: typed events, consistent books, and every trouble told.

    with open_reader("demo") as reader:
        for event in reader:
            if isinstance(event, Event) and event.type == EventType.TOP:
                book = reader.book(event.instrument)

`for` waits in C without the GIL and ends at `stop`; `async for` waits without a thread of yours;
`batches` hands out up to 256 events at a time. engine/feeds.py reads several instances at once.

Order in which to join, at start and after Lapped or Restarted: the reader stands at the head of the
ring already, so read the books now and go on; events of an instrument with an index below its
book's ring_index are contained in that book. Called by: strategies, engine/strategy. Calls:
shm/reader.
"""

from __future__ import annotations

import contextlib
import operator
import struct
import sys
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import msgspec
from tickpath.engine.feed_segment import BOOK_WORDS, SCHEMA, read_instruments
from tickpath.proto.instrument import Instrument, is_canonical
from tickpath.proto.records import (
    BOOK_DEPTH_MAX,
    BookState,
    EventType,
    SyncReason,
    event_dtype,
)
from tickpath.shm.reader import (
    DEFAULT_STALE_AFTER_NS,
    EVENT_WORDS,
    SNAPSHOT_HEAD_WORDS,
    EvictedError,
    Reader,
    Result,
)
from tickpath.shm.segment import DIRECTORY, SegmentError, SegmentNotReadyError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "Book",
    "BookState",
    "Event",
    "EventType",
    "EvictedError",
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
WAIT_NS, BLOCK_WAIT_NS = 1_000_000, 25_000_000
BLOCK_SPIN_NS = 20_000
BLOCK_SLEEP_NS = 50_000
GONE_WAIT_S = 0.001
SYMBOLS_TOLD_MAX = 8
_LOW_32, _LOW_16 = 0xFFFF_FFFF, 0xFFFF
_EMPTY, _EVENT, _LAPPED = int(Result.EMPTY), int(Result.EVENT), int(Result.LAPPED)
_SILENT, _ALIVE, _MOVED = int(Result.SILENT), int(Result.ALIVE), int(Result.MOVED)
_EVICTED = int(Result.EVICTED)
_EVENT_STRUCT = struct.Struct("<QIHHQQ4q")
# Members by value: a fifth of the cost of a look by the enum's own call.
_TYPES: tuple[Any, ...] = (0, *EventType)
_STATES, _REASONS = tuple(BookState), tuple(SyncReason)


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


Trouble = Lapped | WriterSilent | WriterAlive | Restarted


@cache
def batch_dtype() -> np.dtype[Any]:
    """Return the columns of a batch: index, those of every event, and of LEVEL and TOP over them.

    Columns of another type than the row's own `type` say nothing.
    """
    import numpy as np  # noqa: PLC0415 - only who asks for batches of numpy needs it

    columns: list[tuple[str, Any, int]] = [("index", np.dtype("u8"), 0)]

    def add(record: np.dtype[Any], start: int) -> None:
        for name, (kind, offset, *_) in (record.fields or {}).items():
            if kind.fields:
                add(kind, start + offset)
            else:
                columns.append((name, kind, start + offset))

    add(event_dtype(), 8)
    names, formats, offsets = zip(*columns, strict=True)
    return np.dtype(
        {"names": names, "formats": formats, "offsets": offsets, "itemsize": 8 * EVENT_WORDS}
    )


class _View:
    """Show words of 64 bits that a reader overwrites; copies and pickles stay as they are."""

    __slots__ = ("_words",)

    def __init__(self, words: memoryview) -> None:
        self._words = words

    def copy(self) -> Self:
        """Return one that stays as it is now."""
        return type(self)(memoryview(self._words.tobytes()).cast("q"))

    def __copy__(self) -> Self:
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self.copy()

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickle, (type(self), self._words.tobytes())


def _unpickle(kind: type[_View], words: bytes) -> _View:
    return kind(memoryview(words).cast("q"))


def _state(value: int) -> BookState:
    return _STATES[value] if 0 <= value < len(_STATES) else BookState(value)


def _reason(value: int) -> SyncReason:
    return _REASONS[value] if 0 <= value < len(_REASONS) else SyncReason(value)


class Event(_View):
    """View the event that was read last; valid until the next one is, `copy` keeps it.

    Numbers are mantissas of the instrument's exponents, times nanoseconds.
    """

    __slots__ = ()

    @property
    def index(self) -> int:
        """Return its place in the ring, from 0 at the writer's start."""
        return self._words[0]

    @property
    def instrument(self) -> int:
        """Return the index of its instrument."""
        return self._words[1] & _LOW_32

    @property
    def type(self) -> EventType:
        """Return its EventType; a bare int for one that a newer writer added."""
        value = self._words[1] >> 32 & _LOW_16
        return _TYPES[value] if value < len(_TYPES) else cast("EventType", value)

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
    state = property(lambda self: _state(self._words[4]), doc="STATE: the new state.")
    reason = property(lambda self: _reason(self._words[5]), doc="STATE: why it is not LIVE.")

    def __repr__(self) -> str:
        """Show index, instrument, type and payload."""
        return f"Event(index={self.index}, instrument={self.instrument}, {self.type}, {self.value})"


# Words of a snapshot: four of the reader, then struct tp_book_record.
_VERSION, _RING_INDEX, _SILENT_NS, _ENDED = 0, 1, 2, 3
_SEQUENCE, _IDENTITY, _COUNTS, _BIDS = (SNAPSHOT_HEAD_WORDS + i for i in (0, 5, 6, 7))
_ASKS = _BIDS + 2 * BOOK_DEPTH_MAX


class Book(_View):
    """View one instrument's book as it was read last, until the next `FeedReader.book` of it.

    Reading another instrument leaves it alone; `copy` keeps it for good.

    Its state already takes the writer's health into account: where the writer fell silent, ended
    or was replaced, it is STALE whatever the record says, and `why` tells. Trade on `is_live` only.
    """

    __slots__ = ("_read",)

    def __init__(self, words: memoryview, read: Callable[[], int] | None = None) -> None:
        """Show these words; `read`, which reads them anew, is the reader's."""
        self._words = words
        self._read = read

    @property
    def words(self) -> memoryview:
        """Borrow the words: SNAPSHOT_HEAD_WORDS of the reader, then struct tp_book_record."""
        return self._words

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
        return _state(self._words[_IDENTITY] >> 32 & _LOW_16)

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
        return _reason(self._words[_IDENTITY] >> 48 & _LOW_16)

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

    def __repr__(self) -> str:
        """Show instrument, state, best bid and ask."""
        state = self.state if self.is_live else f"{self.state} ({self.why})"
        return f"Book(instrument={self.instrument}, {state}, bid={self.bid}, ask={self.ask})"


class FeedReader:
    """Follow one instance: its events, its books, and its writers as they come and go."""

    def __init__(self, reader: Reader) -> None:
        """Take over an open shm reader, whose schema was checked."""
        self._reader = reader
        self._books: dict[Any, Book] = {}  # by index and by symbol, as they were asked for
        self._look = reader.look
        self.is_down = False
        """Whether the writer is silent, ended or gone: all books are STALE then."""
        self.is_stopped = False
        """Whether `stop` was called and no loop has ended by it yet."""
        self._retry_ns = 0
        self.trouble = ""  # why the newer segment cannot be read, where there is one
        self.set_wait()
        self.instruments = read_instruments(reader.segment)
        self.event = Event(reader.event)
        self.event_words = reader.event

    @property
    def shm(self) -> Reader:
        """Borrow the payload-agnostic reader below: batches, counters, the segment."""
        return self._reader

    @property
    def lost(self) -> int:
        """Return how many events the last LAPPED skipped."""
        return self._reader.lost

    def register(self, name: str = "", *, lossless: bool = False) -> bool:
        """Show lag and laps in `tickpath stat`, and be woken when blocking; stands at the head.

        name: "" for the program's. Returns whether there was room; if not, reading goes on and
        `unregistered_because` says why. `lossless`: the feed waits for this reader, up to its
        shm.lossless_deadline_us; raises SegmentError where it does not do that.
        """
        return self._reader.register(name or Path(sys.argv[0]).stem or "python", lossless=lossless)

    @property
    def unregistered_because(self) -> str:
        """Say why it is not registered; empty where it is, or never was to be."""
        return self._reader.unregistered_because

    def set_wait(self, max_ns: int | None = None, *, block: bool = False) -> None:
        """Say how `next` waits: spinning, at most 1 ms, or `block`ing after 20 us, at most 25 ms.

        Blocking, a registered reader sleeps until the feed's waker wakes it: some 30 us late, and
        an idle strategy costs next to nothing. Otherwise it sleeps 50 us between looks: 60 to 120
        us late at worst, for a few per cent of a CPU.
        """
        if block:
            self._reader.set_wait(
                max_ns or BLOCK_WAIT_NS, spin_ns=BLOCK_SPIN_NS, sleep_ns=BLOCK_SLEEP_NS
            )
        else:
            self._reader.set_wait(max_ns or WAIT_NS)

    def stop(self) -> None:
        """End the `for`, `async for` or `batches` that runs, or, where none does, the next one.

        From any thread or signal handler. A loop after that one reads on where it ended.
        """
        self.is_stopped = True
        self._reader.interrupt()

    def take_stop(self) -> bool:
        """Say whether to stop, once; for loops of one's own."""
        if not self.is_stopped:
            return False
        self.is_stopped = False
        return True

    def join(self) -> None:
        """Stand at the head of the ring, counting nothing as lost; read the books next."""
        self._reader.join()

    def next(self) -> int:
        """Wait, with the GIL released, for something to tell; return a Result, or RESTARTED."""
        result = self._look()
        if result == _EVENT or (result <= _LAPPED and not self.is_down):
            return result
        return self.follow_writer(result)

    def follow_writer(self, result: int) -> int:
        """Judge what a look told of the writer; look for a new segment while it is down.

        For loops that call `shm.look` themselves; `next` does both. Raises EvictedError.
        """
        result = self.judge_writer(result)
        if result != _MOVED:
            return result
        time.sleep(GONE_WAIT_S)  # it would be told again at once: nothing comes from a writer gone
        return _EMPTY

    def judge_writer(self, result: int) -> int:
        """Do what `follow_writer` does, without a wait; MOVED where nothing is new."""
        if result == _EVICTED:
            raise self._reader.evicted()
        if result == _ALIVE:
            self.is_down = False
            return result
        was_down = self.is_down
        if result in (_SILENT, _MOVED):
            self.is_down = True
        if self.reopen_if_down():
            return RESTARTED
        return _SILENT if result == _MOVED and not was_down else result

    def reopen_if_down(self) -> bool:
        """Look for a new segment, where the writer is down and it is time; return whether there is.

        Part of `follow_writer`; for loops over several readers, which must not wait for one.
        """
        now = time.monotonic_ns()
        if not self.is_down or now < self._retry_ns:
            return False
        self._retry_ns = now + REOPEN_INTERVAL_NS
        return self._reopen()

    def _reopen(self) -> bool:
        try:
            if not self._reader.reopen():
                if self._reader.is_broken:
                    self.trouble = (
                        f"segment {self._reader.instance}: its file was truncated under its "
                        "readers: restart its writer"
                    )
                return False
        except SegmentError as error:
            # Being replaced, damaged or of another layout: tried again, all stays STALE.
            self.trouble = str(error)
            return False
        self.trouble = ""
        self.is_down = False
        self.instruments = read_instruments(self._reader.segment)
        self._books = {}  # an index may be another instrument's now; views that are held stay
        return True

    def book(self, instrument: int | str) -> Book:
        """Read an instrument's latest consistent book into its view, which is returned.

        One view an instrument: the next call for it overwrites it, one for another does not, and
        `copy` keeps it. After Restarted there are new views. instrument: its index in
        `instruments`, or its symbol (the venue's or the canonical one). SYNCING where it was never
        published. Raises LookupError for an instrument that is not there.
        """
        try:
            book = self._books[instrument]
        except (KeyError, TypeError):
            book = self._make_book(instrument)
        if not book._read():  # type: ignore[misc]  # what stands in _books has one
            self._clear(book, instrument)
        return book

    def _make_book(self, instrument: Any) -> Book:
        """Make the view of an instrument that was not asked for before."""
        segment = self._reader.segment  # raises where the reader is closed
        try:
            index = operator.index(instrument)
        except TypeError:
            index = self._index_of(instrument)
        count = int(segment.header.snapshot_index.count)
        if not 0 <= index < count:
            raise IndexError(f"instrument {instrument}: the segment has 0 to {count - 1}")
        if index not in self._books:
            view = self._reader.view(index)
            view.words[_IDENTITY] = index | SyncReason.STARTING << 48
            self._books[index] = Book(view.words, view.read)
        self._books[instrument] = book = self._books[index]
        return book

    def _clear(self, book: Book, instrument: Any) -> None:
        """Make a book that was never published, or cannot be read, an empty one."""
        _ = self._reader.pointer  # raises where the reader is closed
        index = self._index_of(instrument) if isinstance(instrument, str) else int(instrument)
        words = book.words
        for i in range(_SEQUENCE, _BIDS):
            words[i] = 0
        words[_IDENTITY] = index | SyncReason.STARTING << 48

    def _index_of(self, symbol: object) -> int:
        for one in self.instruments:
            if one.symbol == symbol:
                return one.index
        if not isinstance(symbol, str):
            raise TypeError(
                f"book({symbol!r}): expected an instrument's index or symbol, "
                "as in reader.instruments"
            )
        if is_canonical(symbol):
            from tickpath.proto.venues import find_symbol  # noqa: PLC0415 - few readers need it

            with contextlib.suppress(ValueError):
                return find_symbol(self.instruments, symbol).index
        known = ", ".join(one.symbol for one in self.instruments[:SYMBOLS_TOLD_MAX])
        more = " and more" * (len(self.instruments) > SYMBOLS_TOLD_MAX)
        raise LookupError(f"symbol {symbol!r}: the segment has {known}{more}")

    def trouble_of(self, result: int) -> Trouble | None:
        """Say in words what `next` or `follow_writer` returned; None for EVENT and EMPTY."""
        if result == _LAPPED:
            return Lapped(self.lost)
        if result == _SILENT:
            return WriterSilent()
        if result == _ALIVE:
            return WriterAlive()
        return Restarted(self.instruments) if result == RESTARTED else None

    def __iter__(self) -> Iterator[Event | Trouble]:
        """Yield events and troubles until `stop`; waits as `set_wait` says while there are none.

        Raises EvictedError.
        """
        while not self.take_stop():
            result = self.next()
            if result == _EVENT:
                yield self.event
            elif (told := self.trouble_of(result)) is not None:
                yield told

    def __aiter__(self) -> AsyncIterator[Event | Trouble]:
        """Yield as `for` does, without holding up the event loop while there is nothing.

        Registers, where that was not done, so as to be woken; a thread of this reader sleeps until
        then. A step that is cancelled, by a time-out or else, loses nothing: the next one of the
        same iterator goes on. One such loop at a time, and no `next` meanwhile; `book` is fine.
        Raises EvictedError, and ValueError once the reader is closed.
        """
        from tickpath.engine.event_loop import EventStream  # noqa: PLC0415 # asyncio is slow to load

        return EventStream(self)

    def batch(self) -> NDArray[Any]:
        """Take up to 256 events as rows of `batch_dtype`; does not wait.

        A view without a copy, valid until the next `batch` or `tuples`: those overwrite it;
        `rows.copy()` keeps it. Empty: nothing there, or, with `lost` above 0, lapped. Raises
        EvictedError.
        """
        return self._reader.batch(batch_dtype())

    def tuples(self) -> list[tuple[int, ...]]:
        """Take up to 256 events as `batch` does, as tuples that stay.

        (index, instrument, type, flags, received_ns, published_ns, four words of `value`).
        """
        count = self._reader.take_batch()
        return list(_EVENT_STRUCT.iter_unpack(self._reader.batch_bytes[: 64 * count]))

    def batches(self) -> Iterator[NDArray[Any] | Trouble]:
        """Yield batches and troubles until `stop`; waits as `next` does while there are none."""
        wait = self._reader.await_news
        while not self.take_stop():
            rows = self.batch()
            if len(rows):
                yield rows
            elif self.lost:
                yield Lapped(self.lost)
            else:
                result = wait()
                if result != _EVENT and not (result == _EMPTY and not self.is_down):
                    told = self.trouble_of(self.follow_writer(result))
                    if told is not None:
                        yield told

    def now_ns(self) -> int:
        """Read the segment's clock, of which all stamps are."""
        return self._reader.segment.now_ns()

    def close(self) -> None:
        """Unmap the segment; whatever reads it, or waits in it, raises ValueError.

        From any thread. Books and events that were read keep their last words.
        """
        self._books, self.is_down, self._retry_ns = {}, True, 0
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
    name: str | None = "",
    wait_s: float = 0,
    directory: Path = DIRECTORY,
    stale_after_ns: int = DEFAULT_STALE_AFTER_NS,
) -> FeedReader:
    """Open a feed's segment, waiting up to `wait_s` for it to appear.

    Registered as a consumer under the program's name, or `name`; not at all where that is None.
    Raises SegmentNotReadyError where it does not appear, SegmentError where it must not be read
    (another layout or schema, damaged), TypeError where the instance's name is no text.
    """
    if not isinstance(instance, str):
        raise TypeError(
            f"open_reader({instance!r}): expected an instance's name, as tickpath stat lists them"
        )
    end = time.monotonic() + wait_s
    options: dict[str, Any] = {"directory": directory, "stale_after_ns": stale_after_ns}
    options |= {"schema": SCHEMA, "snapshot_words": BOOK_WORDS}
    while True:
        try:
            reader = FeedReader(Reader(instance, **options))
            if name is not None:
                reader.register(name)
            return reader
        except SegmentNotReadyError:
            if time.monotonic() >= end:
                raise
            time.sleep(0.005)
