"""Read a feed as a strategy sees it: typed events, consistent books, and every trouble reported.

    with open_reader("demo") as reader:
        for event in reader:
            if isinstance(event, Event) and event.type == EventType.TOP:
                book = reader.book(event.instrument)

`for` waits in C without the GIL and ends at `stop`; `async for` waits without a thread of yours;
`batches` hands out up to 256 events at a time. engine/client/feeds.py reads several instances at
once.

Order in which to join, at start and after Lapped or Restarted: the reader stands at the head of the
ring already, so read the books now and go on; events of an instrument with an index below its
book's ring_index are contained in that book. Called by: strategies, engine/strategy. Calls:
engine/client/views.py, shm/reader.
"""

from __future__ import annotations

import operator
import struct
import sys
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec
from tickpath.engine.client.feed_segment import SCHEMA, Rows
from tickpath.engine.client.views import BIDS, IDENTITY, SEQUENCE, Book, Event
from tickpath.proto.instrument import Instrument
from tickpath.proto.records import BOOK_WORDS, BookState, EventType, SyncReason, event_dtype
from tickpath.shm.reader import (
    DEFAULT_STALE_AFTER_NS,
    EVENT_WORDS,
    EvictedError,
    Reader,
    Result,
)
from tickpath.shm.segment import DIRECTORY, SegmentError, SegmentNotReadyError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
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
_EMPTY, _EVENT, _LAPPED = int(Result.EMPTY), int(Result.EVENT), int(Result.LAPPED)
_SILENT, _ALIVE, _MOVED = int(Result.SILENT), int(Result.ALIVE), int(Result.MOVED)
_EVICTED = int(Result.EVICTED)
_EVENT_STRUCT = struct.Struct("<QHBBbbHQQ4q")


class Lapped(msgspec.Struct, frozen=True):
    """Report that the reader was too slow: `lost` events are gone. Read the books, then go on."""

    lost: int


class WriterSilent(msgspec.Struct, frozen=True):
    """Report that the writer's heartbeat stopped, or that it ended: every book is STALE now."""


class WriterAlive(msgspec.Struct, frozen=True):
    """Report that the heartbeat is back: books read as they are again."""


class Restarted(msgspec.Struct, frozen=True):
    """Report that a new writer took over and its segment was opened: read the books."""

    instruments: tuple[Instrument, ...]


Trouble = Lapped | WriterSilent | WriterAlive | Restarted


@cache
def batch_dtype() -> np.dtype[Any]:
    """Return the columns of a batch: index, those of every event, and those of each type over them.

    Columns of another type than the row's own `type` say nothing. Prices and quantities are of the
    row's own price_exponent and quantity_exponent.
    """
    import numpy as np  # noqa: PLC0415 - only who asks for batches of numpy needs it

    columns: dict[str, tuple[Any, int]] = {"index": (np.dtype("u8"), 0)}

    def add(record: np.dtype[Any], start: int) -> None:
        for name, (kind, offset, *_) in (record.fields or {}).items():
            if kind.fields:
                add(kind, start + offset)
            elif name != "reserved":  # a name that several types have stands in one place
                columns[name] = (kind, start + offset)

    add(event_dtype(), 8)
    return np.dtype(
        {
            "names": list(columns),
            "formats": [kind for kind, _ in columns.values()],
            "offsets": [offset for _, offset in columns.values()],
            "itemsize": 8 * EVENT_WORDS,
        }
    )


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
        self._read_rows()
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
        """Wait, with the GIL released, for something to report; return a Result, or RESTARTED."""
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
        self._read_rows()
        self._books = {}  # an index may be another instrument's now; views that are held stay
        return True

    def _read_rows(self) -> None:
        """Read the rows of a segment that was just opened."""
        self._rows, self._row_changes = Rows(), -1
        self._follow_rows()

    def _follow_rows(self) -> None:
        changes = self._reader.row_changes()
        if changes in (0, self._row_changes):  # 0: closed; what was read last stays
            return
        self._row_changes = changes  # looked at before the rows: a later change is found again
        self._rows.read(self._reader.segment)

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """Return the instruments as they are now; one is added or changed with an INSTRUMENT event.

        A row that cannot be read has no venue; `row_troubles` says why.
        """
        self._follow_rows()
        return self._rows.instruments

    def generation(self, instrument: int) -> int:
        """Return how often an instrument's row was written; a book's own says what it was made of.

        Raises IndexError.
        """
        self._follow_rows()
        return self._rows.generations[instrument]

    @property
    def row_troubles(self) -> dict[int, str]:
        """Say why rows could not be read, by their index."""
        return self._rows.troubles

    def instrument(self, name: str) -> Instrument:
        """Return the instrument of a name, as it is now: BTCUSDT and BTC/USDT are the same.

        Where several venues have it, write "venue:name". Raises LookupError where none or several
        have it, which names those, or the nearest.
        """
        from tickpath.proto.venues import find_symbol  # noqa: PLC0415 - few readers need it

        try:
            return find_symbol(self.instruments, name)
        except ValueError as error:
            raise LookupError(str(error)) from error

    def book(self, instrument: int | str) -> Book:
        """Read an instrument's latest consistent book into its view, which is returned.

        One view an instrument: the next call for it overwrites it, one for another does not, and
        `copy` keeps it. After Restarted there are new views. instrument: its index in
        `instruments`, or a name as `instrument` takes it. SYNCING where it was never published.
        Raises LookupError for an instrument that is not there.
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
        _ = self._reader.pointer  # raises where the reader is closed
        try:
            index = operator.index(instrument)
        except TypeError:
            index = self._index_of(instrument)
        count = len(self.instruments)  # also those that were added since they were read
        if not 0 <= index < count:
            raise IndexError(f"instrument {instrument}: the segment has 0 to {count - 1}")
        if index not in self._books:
            view = self._reader.view(index)
            view.words[IDENTITY] = index | SyncReason.STARTING << 48
            self._books[index] = Book(view.words, view.read)
        self._books[instrument] = book = self._books[index]
        return book

    def _clear(self, book: Book, instrument: Any) -> None:
        """Make a book that was never published, or cannot be read, an empty one."""
        _ = self._reader.pointer  # raises where the reader is closed
        index = self._index_of(instrument) if isinstance(instrument, str) else int(instrument)
        words = book.words
        for i in range(SEQUENCE, BIDS):
            words[i] = 0
        words[IDENTITY] = index | SyncReason.STARTING << 48

    def _index_of(self, symbol: object) -> int:
        if isinstance(symbol, str):
            return self.instrument(symbol).index
        raise TypeError(
            f"book({symbol!r}): expected an instrument's index or symbol, as in reader.instruments"
        )

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
        from tickpath.engine.client.event_loop import EventStream  # noqa: PLC0415 # asyncio is slow to load

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

        (index, instrument, type, flags, price_exponent, quantity_exponent, connection, received_ns,
        published_ns, four words of `value`).
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

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled, with what works: memory that is mapped is this process's."""
        name = self._reader.instance
        raise TypeError(
            f"a reader belongs to the process that opened it: give open_reader({name!r}) to the "
            "other process, or keep what is read by copy()"
        )

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
