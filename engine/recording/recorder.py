"""Append what an instance's hot thread hands out, and what it publishes, to recording files.

A reader like any other: it maps two segments read-only, and can be killed, lapped or stuck on a
full disk without the hot thread noticing. `Recorder.step` moves what is there; record.py calls it
in a loop. Calls: tap.h, shm/reader.py, format.py.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec
from tickpath._core import ffi, lib
from tickpath.engine.client.feed_segment import SCHEMA as FEED_SCHEMA
from tickpath.engine.recording.format import (
    EVENT_SIZE,
    EVENTS,
    LEVEL_DEFAULT,
    RAW,
    SUFFIX,
    FileWriter,
    Meta,
    pack_record,
    unwritable,
)
from tickpath.engine.recording.tap import SCHEMA as TAP_SCHEMA
from tickpath.engine.recording.tap import SUFFIX as TAP_SUFFIX
from tickpath.engine.recording.tap import Subscription, TapTable, read_table
from tickpath.shm.errors import LocalError, SystemSetupError
from tickpath.shm.reader import Reader
from tickpath.shm.segment import Segment, SegmentError, SegmentNotReadyError

if TYPE_CHECKING:
    from pathlib import Path

BLOCK_SIZE: Final = 1 << 18  # of records, before compression: small enough not to be lapped by
BUFFER_SIZE: Final = 1 << 21  # holds the largest message, 160 KB, behind a full block
EVENT_ROWS: Final = BLOCK_SIZE // EVENT_SIZE
EVENT_ROWS_TAKEN: Final = 1024
RAW_STREAM, EVENT_STREAM = 0, 1
CONSUMER_NAME: Final = "recorder"


class RecordOptions(msgspec.Struct, frozen=True, kw_only=True):
    """When files, blocks and disk are changed or flushed."""

    file_bytes_max: int = 256 << 20
    file_seconds_max: float = 3600.0
    flush_s: float = 1.0
    """A block is written at least so often: what a crash of the recorder can lose."""
    sync_s: float = 1.0
    """The disk is told to keep it at least so often; 0: never. What a crash of the host can lose.
    """
    level: int = LEVEL_DEFAULT


class Totals(msgspec.Struct):
    """What was recorded so far."""

    records: int = 0
    events: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    blocks: int = 0
    files: int = 0
    raw_gaps: int = 0
    event_gaps: int = 0
    lost_slots: int = 0
    lost_events: int = 0
    restarts: int = 0


@dataclass(slots=True)
class _Stream:
    """Bytes of one kind that wait for their block."""

    kind: int
    memory: Any
    size: int = 0
    count: int = 0
    first_ns: int = 0
    last_ns: int = 0
    since: float = 0.0  # when the first of them came


@dataclass(slots=True, kw_only=True)
class Recorder:
    """Record one instance into a directory, over restarts of its feed handler."""

    instance: str
    directory: Path
    options: RecordOptions = field(default_factory=RecordOptions)
    totals: Totals = field(default_factory=Totals)
    is_waiting: bool = False
    """The feed handler ended; its next one is awaited."""
    _raw: Reader | None = None
    _feed: Reader | None = None
    _file: FileWriter | None = None
    _file_since: float = 0.0
    _part: int = 0
    _begin_ns: int = 0
    _synced: float = 0.0
    _syncs: list[Future[None]] = field(default_factory=list)
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "sync"))
    _row_changes: int = 0
    _rows: tuple[Subscription, ...] = ()
    """Of the table, as it was read last."""
    _drain: Any = field(default_factory=lambda: ffi.new("struct tp_message_drain *"))
    _lost: Any = field(default_factory=lambda: ffi.new("uint64_t *"))
    _streams: dict[int, _Stream] = field(init=False)

    def __post_init__(self) -> None:
        """Make the buffers; `open` starts."""
        raw, events = (ffi.new("uint64_t[]", BUFFER_SIZE // 8) for _ in range(2))
        self._streams = {RAW: _Stream(RAW, raw), EVENTS: _Stream(EVENTS, events)}
        self._drain.data, self._drain.capacity = ffi.cast("uint8_t *", raw), BUFFER_SIZE

    # ---- segments --------------------------------------------------------------------------------

    def open(self) -> None:
        """Map the segments and start a file.

        Raises SegmentNotReadyError where there is no such instance, LocalError where it hands out
        no raw messages.
        """
        try:
            self._feed = Reader(self.instance, schema=FEED_SCHEMA)
            self._raw = self._open_raw()
            if not self._raw.segment.writer_lives():
                raise SegmentNotReadyError(
                    f"instance {self.instance}: its feed handler died: start it again", "ended"
                )
        except BaseException:
            self._close_readers()
            raise
        self._make_directory()
        self._feed.register(CONSUMER_NAME)  # its lag is seen in `tickpath stat`; no need
        # What the tap still holds goes first, so that books are LIVE when the recording begins.
        self._begin_ns = self._raw.segment.now_ns()
        is_first = lib.tp_tap_rewind(self._raw.pointer) and lib.tp_tap_rewind(self._feed.pointer)
        if is_first:
            self._begin_ns = 0  # both from their beginning on
        self._part = 0
        table = self._read_table()
        self._rows = table.subscriptions
        if is_first:  # those that came later come later in what is read now as well
            self._rows = tuple(
                msgspec.structs.replace(row, is_removed=False)
                for row in self._rows[: table.start_count]
            )
        self._start_file(table)

    def _make_directory(self) -> None:
        """Make it once there is something to record, so that a mistyped name leaves nothing."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self._close_readers()
            raise unwritable(self.directory, error, "nothing is recorded") from error

    def _open_raw(self) -> Reader:
        try:
            raw = Reader(self.instance + TAP_SUFFIX, schema=TAP_SCHEMA)
        except SegmentNotReadyError as error:
            raise LocalError(
                f"instance {self.instance}: no raw messages to record: write tap = true under "
                "[record] in its configuration and start it again"
            ) from error
        assert self._feed is not None  # noqa: S101 # opened by the caller; mypy cannot see it
        raw_by, feed_by = (one.segment.header for one in (raw, self._feed))
        if (raw_by.writer_pid, raw_by.writer_start_time) != (
            feed_by.writer_pid,
            feed_by.writer_start_time,
        ):
            raw.close()
            raise SegmentNotReadyError(
                f"instance {self.instance}: its segments are of two feed handlers: restarting",
                "being built",
            )
        return raw

    def _close_readers(self) -> None:
        for reader in (self._raw, self._feed):
            if reader is not None:
                reader.close()
        self._raw = self._feed = None

    def _segment(self) -> Segment:
        assert self._raw is not None  # noqa: S101 # only called while it is open
        return self._raw.segment

    def _read_table(self) -> TapTable:
        segment = self._segment()
        self._row_changes = segment.row_changes  # first: a later change is seen at the next block
        return read_table(segment)

    def _meta(self, table: TapTable) -> Meta:
        """Return a file's header: rows as they were, those that come with it marked."""
        segment, known = self._segment(), self._rows
        self._rows = table.subscriptions
        comes = [msgspec.structs.replace(row, is_awaited=True) for row in self._rows[len(known) :]]
        return Meta(
            instruments=(*known, *comes),
            instruments_max=int(segment.header.table.count),
            connections_max=table.connections_max,
            changes_rows=known != self._rows,
            instance=self.instance,
            instance_id=f"{segment.instance_id:016x}",
            part=self._part,
            begin_ns=self._begin_ns if self._part == 0 else 0,
            realtime_offset_ns=int(segment.header.clock.realtime_offset_ns),
            silent_after_ns=table.silent_after_ns,
            checkpoint_every_ns=table.checkpoint_every_ns,
            keep_ns=table.keep_ns,
            keep_bytes=table.keep_bytes,
            ticks=True,
            scales=True,
            host=socket.gethostname(),
            created_ns=time.time_ns(),
        )

    # ---- files -----------------------------------------------------------------------------------

    def _start_file(self, table: TapTable) -> None:
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        number = self.totals.files + 1
        name = f"{self.instance}-{stamp}Z-{os.getpid()}-{number:06d}{SUFFIX}"
        meta = self._meta(table)
        self._file = FileWriter(self.directory / name, meta, self.options.level)
        self._file_since = time.monotonic()
        self._part += 1
        self.totals.files += 1
        self.totals.bytes_out += self._file.size

    def _end_file(self) -> None:
        """Write the index; the disk is waited for in a thread, since nobody drains meanwhile."""
        file, self._file = self._file, None
        if file is None:
            return
        before = file.size
        try:
            file.finish()
        except SystemSetupError:
            file.abandon()
            raise
        self.totals.bytes_out += file.size - before
        self._syncs.append(self._pool.submit(file.sync_and_close))
        self._check_syncs()

    def _write(self, kind: int, payload: bytes, count: int, span: tuple[int, int]) -> None:
        if self._segment().row_changes != self._row_changes:
            # A row is written before any record speaks of it: what is in hand may be the first.
            self._next_file()
        file = self._file
        assert file is not None  # noqa: S101 # open as long as the readers are
        before = file.size
        try:
            file.append(kind, payload, count, span)
        except SystemSetupError:
            self._file = None  # whole as it is; an index would not fit either
            file.abandon()
            raise
        self.totals.blocks += 1
        if kind == RAW:  # what is in the file: a full disk keeps the rest out
            self.totals.records += count
        else:
            self.totals.events += count
        self.totals.bytes_in += len(payload)
        self.totals.bytes_out += file.size - before
        self._sync_soon()
        now = time.monotonic()
        too_old = now - self._file_since >= self.options.file_seconds_max
        if file.size >= self.options.file_bytes_max or too_old:
            self._next_file()

    def _next_file(self) -> None:
        self._end_file()
        self._start_file(self._read_table())

    def _sync_soon(self) -> None:
        """Have the disk keep what was written, in a thread: it may take long."""
        now = time.monotonic()
        if self.options.sync_s == 0 or now - self._synced < self.options.sync_s:
            return
        self._check_syncs()
        if self._syncs:  # the disk is still busy with the last one
            return
        assert self._file is not None  # noqa: S101 # _write has it
        self._synced = now
        self._syncs.append(self._pool.submit(os.fdatasync, self._file.descriptor))

    def _check_syncs(self) -> None:
        """Look at those that ended; raises SystemSetupError where the disk failed."""
        while self._syncs and self._syncs[0].done():
            try:
                self._syncs.pop(0).result()
            except OSError as error:
                raise SystemSetupError(
                    f"recording in {self.directory}: {error.strerror}: what was written last may "
                    "be lost; replace the disk"
                ) from error

    # ---- moving ----------------------------------------------------------------------------------

    def step(self) -> bool:
        """Take what is there, write blocks that are full or old; return whether anything came.

        Raises SystemSetupError when the disk takes no more: what is written is whole.
        """
        if self.is_waiting:
            self._try_again()
            return False
        came = self._take_raw()
        came = self._take_events() or came
        now = time.monotonic()
        for stream in self._streams.values():
            if stream.size and now - stream.since >= self.options.flush_s:
                self._flush(stream)
        if not came:
            self._check_writer()
        return came

    def _take_raw(self) -> bool:
        assert self._raw is not None  # noqa: S101 # not waiting
        stream, drain = self._streams[RAW], self._drain
        drain.size, drain.count = stream.size, stream.count
        drain.first_ns, drain.last_ns = stream.first_ns, stream.last_ns
        held = self._raw.segment  # so that the ring stays, though another thread closes the reader
        result = lib.tp_message_drain(lib.tp_tap_ring(self._raw.pointer), drain)
        del held
        taken = drain.count - stream.count
        if stream.count == 0:
            stream.since = time.monotonic()
        stream.size, stream.count = drain.size, drain.count
        stream.first_ns, stream.last_ns = drain.first_ns, drain.last_ns
        if result == lib.TP_MESSAGE_LAPPED:
            self.totals.raw_gaps += 1
            self.totals.lost_slots += drain.lost
            self._note_gap(RAW_STREAM, int(drain.lost))
        elif stream.size >= BLOCK_SIZE or result == lib.TP_MESSAGE_FULL:
            self._flush(stream)
        return bool(taken or result != lib.TP_MESSAGE_EMPTY)

    def _note_gap(self, stream: int, lost: int) -> None:
        """Write a GAP record behind what was taken before it."""
        raw = self._streams[RAW]
        t_ns = raw.last_ns
        self._flush(raw)
        payload = struct.pack("<QQ", stream, lost)
        record = pack_record(lib.TP_RECORD_GAP, 0, 0, t_ns, payload)
        self._write(RAW, record, 1, (t_ns, t_ns))

    def _take_events(self) -> bool:
        assert self._feed is not None  # noqa: S101 # not waiting
        stream = self._streams[EVENTS]
        words = ffi.cast("uint64_t *", stream.memory) + stream.size // 8
        room = min(EVENT_ROWS_TAKEN, BUFFER_SIZE // EVENT_SIZE - stream.count)
        count = int(lib.tp_tap_events(self._feed.pointer, words, room, self._lost))
        if count:
            self._keep_events(stream, count)
        if self._lost[0]:
            self.totals.event_gaps += 1
            self.totals.lost_events += int(self._lost[0])
            self._note_gap(EVENT_STREAM, int(self._lost[0]))
        return bool(count)

    def _keep_events(self, stream: _Stream, count: int) -> None:
        """Count rows that were put behind those of the stream."""
        words = ffi.cast("uint64_t *", stream.memory) + stream.size // 8
        if stream.count == 0:
            stream.since, stream.first_ns = time.monotonic(), int(words[2])
        stream.count += count
        stream.size += count * EVENT_SIZE
        stream.last_ns = int(words[(count - 1) * 8 + 2])
        if stream.count >= EVENT_ROWS:
            self._flush(stream)

    def _flush(self, stream: _Stream) -> None:
        if stream.size == 0:
            return
        payload = bytes(ffi.buffer(stream.memory, stream.size))
        count, span = stream.count, (stream.first_ns, stream.last_ns)
        stream.size = stream.count = 0
        self._write(stream.kind, payload, count, span)

    # ---- restarts --------------------------------------------------------------------------------

    def _check_writer(self) -> None:
        """Look whether the feed handler ended; what it published last was taken by then."""
        assert self._raw is not None  # noqa: S101 # not waiting
        if self._segment_ended(self._raw) and not self._take_raw() and not self._take_events():
            self._leave()
            self.is_waiting = True

    @staticmethod
    def _segment_ended(reader: Reader) -> bool:
        """Say whether the writer closed, was replaced, or is certainly gone."""
        segment = reader.segment
        if segment.is_superseded:
            return True
        # Not `reader.check`: that tells silence once, and takes a slot of a writer that just ended.
        is_silent = segment.heartbeat_age_ns() > reader.stale_after_ns
        return is_silent and not segment.writer_lives()

    def _leave(self) -> None:
        for stream in self._streams.values():
            self._flush(stream)
        self._end_file()
        self._close_readers()

    def _try_again(self) -> None:
        """Open the next feed handler's segments, if they are there."""
        try:
            self.open()
        except (SegmentError, LocalError):
            return  # not there, or not whole yet
        self.is_waiting = False
        self.totals.restarts += 1

    def close(self) -> None:
        """Write what is left and end the file; raises SystemSetupError as `step` does."""
        if self._raw is not None:
            self._leave()
        self.abandon()
        self._check_syncs()

    def abandon(self) -> None:
        """Let go of everything and write nothing more."""
        self._close_readers()
        self._pool.shutdown()
        if self._file is not None:
            self._file.abandon()
            self._file = None
