"""Read a segment from Python: events, batches, snapshots, and what became of the writer.

One C call with one pointer argument per look; fields are read from persistent memoryviews of
64-bit words, so that nothing is allocated. `tickpath.engine.client.reader` gives the words their
types.
"""

from __future__ import annotations

import enum
import os
from functools import partial
from typing import TYPE_CHECKING, Any

from tickpath._core import ffi, lib
from tickpath.shm.errors import LocalError
from tickpath.shm.ownership import own, taking
from tickpath.shm.segment import (
    DIRECTORY,
    Segment,
    SegmentError,
    SegmentNotReadyError,
    check_name,
    raise_status,
    schema_hash,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray

EVENT_WORDS = 8
SNAPSHOT_HEAD_WORDS = 4
DEFAULT_STALE_AFTER_NS = 100_000_000


class Result(enum.IntEnum):
    """Say what a look at the segment found."""

    EMPTY = lib.TP_READER_EMPTY
    EVENT = lib.TP_READER_EVENT
    LAPPED = lib.TP_READER_LAPPED
    SILENT = lib.TP_READER_SILENT
    ALIVE = lib.TP_READER_ALIVE
    MOVED = lib.TP_READER_MOVED
    EVICTED = lib.TP_READER_EVICTED


class EvictedError(LocalError):
    """Say that a lossless reader was too slow and that its writer no longer waits for it.

    The reader itself goes on at the ring's head, as one that is not lossless.
    """


class Reader:
    """Stand at the head of a segment's ring and read on from there.

    `event` is a memoryview of 8 signed words: the ring index, then the payload of the last EVENT.
    `snapshot` is a memoryview of signed words: version, ring index, silent nanoseconds (0: the
    writer lives), ended (1: the writer ended or was replaced), then the payload of the last
    `read_snapshot`. Both views stay valid over `reopen`, and show the next event or snapshot after
    the next call.
    """

    def __init__(
        self,
        instance: str,
        *,
        schema: str | None = None,
        snapshot_words: int = 0,
        directory: Path = DIRECTORY,
        stale_after_ns: int = DEFAULT_STALE_AFTER_NS,
    ) -> None:
        """Open; `snapshot_words` 0 accepts any number of words.

        Raises SegmentNotReadyError or SegmentError with the reason.
        """
        self.instance = instance
        self.directory = directory
        # The destructor is the net for a reader that nobody closed; after a close it does nothing.
        self._reader = ffi.gc(ffi.new("struct tp_reader *"), lib.tp_reader_deinit)
        self._error = ffi.new("struct tp_segment_error *")
        check_name(instance)
        status = lib.tp_reader_init(
            self._reader,
            os.fspath(directory).encode(),
            instance.encode(),
            0 if schema is None else schema_hash(schema),
            self._error,
        )
        raise_status(status, self._error, self._path())
        status = lib.tp_reader_require_words(self._reader, snapshot_words, self._error)
        if status != lib.TP_SEGMENT_OK:
            lib.tp_reader_deinit(self._reader)
        raise_status(status, self._error, self._path())
        self._reader.stale_after_ns = stale_after_ns
        self._snapshot_words = snapshot_words or lib.TP_SEGMENT_SNAPSHOT_WORD_COUNT_MAX
        self._is_open = True
        own(self)
        self.event = _words(self._reader, "event").cast("B").cast("q")
        self.snapshot = _words(self._reader, "snapshot").cast("B").cast("q")
        self.batch_bytes = _words(self._reader, "batch").cast("B")
        """The memory of `take_batch`: events of 64 bytes, ring index and payload."""
        # Bound beforehand: a hot call costs one C call and nothing else. They are safe after close.
        self.poll: Callable[[], int] = partial(lib.tp_reader_poll, self._reader)
        """Look at the ring once; return EVENT, LAPPED or EMPTY."""
        self.look: Callable[[], int] = partial(lib.tp_reader_spin, self._reader)
        """Wait as `set_wait` says, with the GIL released; return a Result."""
        self.await_news: Callable[[], int] = partial(lib.tp_reader_await, self._reader)
        """Wait as `look` does, but take nothing: EVENT where a look would find something."""
        self.row_changes: Callable[[], int] = partial(lib.tp_reader_row_changes, self._reader)
        """Return how often a row of the table was written: news where it differs; 0: closed."""
        self.read_snapshot: Callable[[int], int] = partial(lib.tp_reader_snapshot, self._reader)
        """Read a slot's snapshot into `snapshot`; return its version, 0 for none yet."""

    def view(self, slot: int) -> SnapshotView:
        """Make a view of one slot's snapshot, in memory of its own."""
        return SnapshotView(self._opened(), slot, self._snapshot_words)

    def _opened(self) -> Any:
        if not self._is_open:
            raise ValueError(f"reader of segment {self.instance} is closed: open a new one")
        return self._reader

    @property
    def pointer(self) -> Any:
        """Borrow the C `struct tp_reader *`; valid until close."""
        return self._opened()

    @property
    def segment(self) -> Segment:
        """Borrow the segment that is read now: header, counters; another one after `reopen`."""
        held = lib.tp_reader_hold_segment(self._opened())
        if not held:
            self._opened()  # it was closed meanwhile
        return Segment.borrow(held, self.instance, self.directory)

    @property
    def lost(self) -> int:
        """Return how many events the last LAPPED skipped."""
        return int(self._reader.lost)

    @property
    def lost_total(self) -> int:
        """Return how many events were skipped since the reader was opened."""
        return int(self._reader.lost_total)

    @property
    def stale_after_ns(self) -> int:
        """Return how old the heartbeat may be before everything is stale."""
        return int(self._reader.stale_after_ns)

    def register(self, name: str, *, lossless: bool = False) -> bool:
        """Take a slot in the control segment and stand at the head; return whether there was one.

        Where there is none, `unregistered_because` says why, and reading goes on without: lag is
        not shown, and sleeping is done in short naps. Kept over `reopen`. Not that lenient where
        `lossless`: raises SegmentError, since then the writer would not wait.
        """
        reader = self._opened()
        with taking:  # a child forked in the midst of it would keep the slot's lock
            status = lib.tp_reader_register(reader, name.encode("ascii", "replace"), lossless)
        self._opened()  # it may have been closed meanwhile
        if lossless and status != lib.TP_SEGMENT_OK:
            raise_status(status, ffi.addressof(reader, "registration_error"), self._path("ctl"))
        return bool(status == lib.TP_SEGMENT_OK)

    def disown(self) -> None:
        """Leave the slot to the parent; this child may read on, and register for itself."""
        if self._is_open:
            lib.tp_reader_disown(self._reader)

    def unregister(self) -> None:
        """Give the slot back."""
        with taking:
            lib.tp_reader_unregister(self._opened())

    @property
    def is_registered(self) -> bool:
        """Say whether it has a slot in the control segment."""
        return bool(self._reader.slot != ffi.NULL)

    @property
    def is_lossless(self) -> bool:
        """Say whether the writer waits for this reader."""
        return bool(self._reader.is_lossless and self._reader.slot != ffi.NULL)

    @property
    def unregistered_because(self) -> str:
        """Say why it has no slot; empty where it has one or never asked for one."""
        reader = self._reader
        if self.is_registered or reader.registration == lib.TP_SEGMENT_OK:
            return ""
        if reader.registration == lib.TP_SEGMENT_ABSENT:
            return f"segment {self._path()}: its writer keeps no control segment"
        try:
            error = ffi.addressof(reader, "registration_error")
            raise_status(reader.registration, error, self._path("ctl"))
        except SegmentError as problem:
            return str(problem)
        return ""

    def evicted(self) -> EvictedError:
        """Describe what EVICTED told."""
        if self.unregistered_because:  # it held nobody: its writer does not see it any more
            return EvictedError(
                f"reader of segment {self.instance}: no longer lossless, {self.lost} events are "
                f"lost: {self.unregistered_because}; join, read the books and register again"
            )
        return EvictedError(
            f"reader of segment {self.instance}: evicted, {self.lost} events are lost: it held the "
            "feed for longer than shm.lossless_deadline_us; join and read the books, then read "
            "faster, or raise that or shm.ring_capacity before you register as lossless again"
        )

    @property
    def is_broken(self) -> bool:
        """Say whether the segment's file was truncated: all reads as zeroes then."""
        return bool(lib.tp_segment_is_broken(self.segment.pointer))

    def interrupt(self) -> None:
        """End the wait that is under way, or the next one; from any thread or signal handler."""
        lib.tp_reader_interrupt(self._reader)

    @property
    def sleeps(self) -> int:
        """Return how often it slept until the waker, a signal or a timeout."""
        return int(self._reader.sleep_total)

    def _path(self, ending: str = "") -> str:
        return os.fspath(self.directory / f"tickpath.{self.instance}") + (ending and f".{ending}")

    def join(self) -> None:
        """Move to the head, counting nothing as lost; read the snapshots next."""
        lib.tp_reader_join(self._opened())

    def check(self) -> int:
        """Look at the writer once; return EMPTY, SILENT, ALIVE, MOVED, or a last EVENT."""
        return int(lib.tp_reader_check(self._opened()))

    def set_wait(self, max_ns: int, *, spin_ns: int | None = None, sleep_ns: int = 0) -> None:
        """Say how `look` waits: at most `max_ns`, the first `spin_ns` of it spinning.

        After that, where `sleep_ns` is not 0, a registered reader sleeps until the writer's waker
        wakes it. One that is not, or whose waker is gone, sleeps `sleep_ns` between looks: an event
        that comes in a sleep is seen at its end, up to `sleep_ns` plus the kernel's timer slack
        (50 us for ordinary tasks, none under SCHED_FIFO) plus the wake-up later.
        """
        reader = self._reader
        reader.wait_ns, reader.sleep_ns = max_ns, sleep_ns
        reader.spin_ns = max_ns if spin_ns is None else spin_ns

    def spin(self, max_ns: int = 1_000_000) -> int:
        """Wait with the GIL released until there is something to tell; return a Result."""
        self.set_wait(max_ns)
        return self.look()

    def take_batch(self) -> int:
        """Take up to 256 events into `batch_bytes`; return how many.

        0 with `lost` above 0: lapped, as with LAPPED. Raises EvictedError as `evicted` says.
        """
        was_lossless = self._opened().is_lossless
        count = int(lib.tp_reader_batch(self._reader))
        if count == 0 and was_lossless and not self._reader.is_lossless:
            raise self.evicted()
        return count

    def batch(self, dtype: np.dtype[Any] | None = None) -> NDArray[Any]:
        """Take up to 256 events at once; a view of `batch_bytes`, without a copy of its own.

        The next `batch` or `take_batch` overwrites it (a ring's slots themselves cannot be lent:
        their writer waits for nobody); `rows.copy()` keeps it. Rows of 8 uint64 (ring index,
        payload), or a structured view where `dtype` (64 bytes) is given. Empty with `lost` above 0:
        lapped, as with LAPPED.
        """
        import numpy as np  # noqa: PLC0415 - only who asks for batches of numpy needs it

        count = self.take_batch()
        words = np.dtype(np.uint64) if dtype is None else dtype
        rows = np.frombuffer(self.batch_bytes[: count * EVENT_WORDS * 8], dtype=words)
        return rows.reshape(-1, EVENT_WORDS) if dtype is None else rows

    def reopen(self) -> bool:
        """Take the newer segment of this name; return whether there was one.

        Raises SegmentError where there is one that must not be read.
        """
        with taking:  # it may register with the newer one
            status = lib.tp_reader_reopen(self._opened(), self._error)
        self._opened()  # it may have been closed meanwhile
        try:
            raise_status(status, self._error, self._path())
        except SegmentNotReadyError:
            return False
        return True

    def close(self) -> None:
        """Unmap, once who waits in it was interrupted and is gone; from any thread.

        `event`, `snapshot` and `batch_bytes` keep their last words; looks return MOVED.
        """
        if self._is_open:
            self._is_open = False
            lib.tp_reader_deinit(self._reader)

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class SnapshotView:
    """Hold the latest snapshot of one slot that was read; made by `Reader.view`."""

    def __init__(self, reader: Any, slot: int, word_count: int) -> None:
        count = SNAPSHOT_HEAD_WORDS + word_count
        new = ffi.new("struct tp_reader_view *", {"slot": slot, "words": count})
        new.reader = reader
        view = ffi.gc(new, lambda _: reader)  # whoever holds the view holds its reader
        start, size = ffi.offsetof("struct tp_reader_view", "words"), 8 * count
        self.words = memoryview(ffi.buffer(view, start + size))[start:].cast("q")
        """As `Reader.snapshot`."""
        self.read: Callable[[], int] = partial(lib.tp_reader_view_read, view)
        """Read it anew into `words`; return its version, 0 for none yet or a closed reader."""


def _words(reader: Any, field: str) -> memoryview:
    """Return a view of an array of the reader, which keeps the reader's memory alive."""
    whole = memoryview(ffi.buffer(reader))
    start = ffi.offsetof("struct tp_reader", field)
    return whole[start : start + ffi.sizeof(getattr(reader, field))]
