"""Create and open the self-describing segments of shm/segment.h.

A `SegmentWriter` builds one and hands its C pointer to the hot path; a `Segment` maps one
read-only and shows header, counters and histograms. Payloads are the caller's.
"""

from __future__ import annotations

import errno
import fcntl
import grp
import os
import pwd
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import posix_ipc
from tickpath._core import ffi, lib
from tickpath.shm.errors import LocalError, SystemSetupError
from tickpath.shm.histogram import WORD_COUNT, Percentiles, percentiles
from tickpath.shm.ownership import own, taking

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray

DIRECTORY = Path("/dev/shm")  # noqa: S108  # the kernel's own shared-memory file system
_PREFIX = "tickpath."
_NOT_SEGMENTS = (".lock", ".new", ".ctl", ".raw")  # .ctl: consumers; .raw: for recorders
_NAME_LENGTH_MAX = 95  # TP_SEGMENT_INSTANCE_LENGTH_MAX of shm/segment.h
_NAMES_TOLD_MAX = 8
_DENIED = (errno.EACCES, errno.EPERM)
_OTHER_SCHEMAS = {
    ".raw": "this is the tap of a feed's raw messages (for recorders)",
    ".strategy.": "these are the statistics of a strategy",
}
_NOT_READY = (
    lib.TP_SEGMENT_ABSENT,
    lib.TP_SEGMENT_BUILDING,
    lib.TP_SEGMENT_ENDED,
    lib.TP_SEGMENT_DEAD,
)


class SegmentError(SystemSetupError):
    """Say why a segment cannot be created or read; `reason` is the short name of it."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class SegmentNameError(SegmentError, LocalError):
    """Say that no segment can have this name: the caller's mistake, not the machine's."""


class SegmentNotReadyError(SegmentError):
    """Say that there is no segment yet, or no longer: absent, being built, or closed."""


class SegmentDeniedError(SegmentError):
    """Say that this user may not open it, whose it is, and who may."""


class SegmentLockedError(SegmentError):
    """Say that another live writer holds this instance name."""


class SegmentLayout(msgspec.Struct, frozen=True, kw_only=True):
    """Say what a new segment holds; sizes in entries, words of 8 bytes, bytes for rows.

    `schema` has one "<record> <field> <offset> <type>" a line; its hash is what readers compare.
    """

    schema: str
    ring_capacity: int = 0
    snapshot_slots: int = 0
    snapshot_words: int = 0
    table_rows: int = 0  # how many there may be
    table_row_size: int = 0
    counters: tuple[str, ...] = ()
    histograms: tuple[str, ...] = ()
    group: int | None = None  # whose members may read; None: the process's own
    mode: int = 0o640  # of the file: 0o600, 0o640 or 0o644


def schema_hash(schema: str) -> int:
    """Return the 64-bit hash that a segment's header carries for this schema text."""
    return int(lib.tp_segment_schema_hash(schema.encode()))


def _message(status: int, error: Any, subject: str) -> str:
    """Name the value, what was expected, and the remedy."""
    found, expected = int(error.found), int(error.expected)
    field = ffi.string(error.field).decode() if error.field else ""
    remedies = {
        lib.TP_SEGMENT_BAD_CONFIG: f"{field} is {found}, expected at most {expected}",
        lib.TP_SEGMENT_ABSENT: f"no such segment: {_what_there_is(subject)}",
        lib.TP_SEGMENT_BUILDING: "its writer is building it: try again",
        lib.TP_SEGMENT_ENDED: "its writer closed it: start the writer again",
        lib.TP_SEGMENT_WRONG_MAGIC: f"not a tickpath segment: magic {found:#x}, "
        f"expected {expected:#x}",
        lib.TP_SEGMENT_WRONG_BYTE_ORDER: f"byte order {found:#x}, expected {expected:#x}: "
        "it was written on a machine of the other byte order",
        lib.TP_SEGMENT_WRONG_VERSION: f"layout version {found}, expected {expected}: "
        + _other_version(found, expected),
        lib.TP_SEGMENT_WRONG_SCHEMA: f"schema {found:#018x}, expected {expected:#018x}: "
        + _other_schema(subject),
        lib.TP_SEGMENT_TRUNCATED: f"the file has {found} bytes, its header needs {expected}: "
        "restart its writer",
        lib.TP_SEGMENT_BAD_LAYOUT: f"{field} cannot be (found {found}, bound {expected}): "
        "restart its writer",
        lib.TP_SEGMENT_CORRUPTED: f"header CRC-32 {found:#010x}, expected {expected:#010x}: "
        "restart its writer",
        lib.TP_SEGMENT_LOCKED: f"another writer holds it (pid {found or 'unknown'}): "
        "stop that one or choose another instance name",
        lib.TP_SEGMENT_NO_SPACE: f"no room for {expected} bytes: remove old segments or enlarge "
        "it (mount -o remount,size=...)",
        lib.TP_SEGMENT_FULL: f"all {found} slots for consumers are taken: end one of them "
        "(tickpath stat shows them)",
        lib.TP_SEGMENT_DEAD: f"its writer (pid {found}) died and left it: start the writer again",
        lib.TP_SEGMENT_REFUSED: f"{field}: its writer waits for nobody: set "
        "shm.lossless_deadline_us in its configuration, or read without it",
        lib.TP_SEGMENT_SYSTEM: f"{field}: {os.strerror(min(found, 4095))}"
        + (f": {who_may(Path(subject))}" if found in _DENIED else ""),
    }
    return f"segment {subject}: {remedies[status]}"


def who_may(path: Path) -> str:
    """Say whose a file is, and who can open it."""
    try:
        found = path.stat()
    except OSError as error:
        return f"nor can it be looked at ({error.strerror}): run as its owner"
    try:
        owner = pwd.getpwuid(found.st_uid).pw_name
    except KeyError:
        owner = str(found.st_uid)
    try:
        group = grp.getgrgid(found.st_gid).gr_name
    except KeyError:
        group = str(found.st_gid)
    text = f"owner {owner}, group {group}, mode {found.st_mode & 0o777:04o}: run as {owner}"
    if found.st_mode & 0o040 and found.st_gid != 0:
        text += f", or in that group (sudo usermod -aG {group} $USER, then log in again)"
    elif found.st_gid == 0:  # who may read books need not be able to do all that root's group may
        text += ", or have its writer give it to a group of yours (shm.group)"
    return text


def _what_there_is(subject: str) -> str:
    """Say what to do where a segment is absent; name those that are there."""
    path = Path(subject)
    there = [name for name in instances(path.parent) if ".strategy." not in name]
    remedy = "start its writer (tickpath run)"
    if not there:
        return f"{remedy}; no other is there"
    more = " and more" if len(there) > _NAMES_TOLD_MAX else ""
    return f"{remedy}, or take one that is there: {', '.join(there[:_NAMES_TOLD_MAX])}{more}"


def _other_version(found: int, expected: int) -> str:
    if found < expected:
        return "it is of an older tickpath: restart its writer with this one"
    return "it is of a newer tickpath: install that one here and start this program again"


def _other_schema(subject: str) -> str:
    for ending, what in _OTHER_SCHEMAS.items():
        if ending in Path(subject).name:
            return f"{what}, not a feed"
    return "use the same tickpath version for writer and readers"


def check_name(instance: str) -> None:
    """Raise SegmentNameError where no segment can have this name; C refuses it as well."""
    if (
        not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", instance)
        or len(instance) > _NAME_LENGTH_MAX
        or instance.endswith((".lock", ".new", ".ctl"))
    ):
        raise SegmentNameError(
            f"instance name {instance!r}: expected 1 to {_NAME_LENGTH_MAX} of "
            "the characters a-z A-Z 0-9 . _ -, no . at its start, and not .lock, .new or .ctl at "
            "its end",
            "bad config",
        )


def raise_status(status: int, error: Any, subject: str) -> None:
    """Raise what a C status and its `struct tp_segment_error *` say; nothing where all is well."""
    if status == lib.TP_SEGMENT_OK:
        return
    reason = ffi.string(lib.tp_segment_status_name(status)).decode()
    message = _message(status, error, subject)
    if status == lib.TP_SEGMENT_SYSTEM:
        reason += f": {message.partition(': ')[2]}"  # alone it says nothing
    if status in _NOT_READY:
        raise SegmentNotReadyError(message, reason)
    if status == lib.TP_SEGMENT_SYSTEM and int(error.found) in _DENIED:
        raise SegmentDeniedError(message, reason)
    if status == lib.TP_SEGMENT_LOCKED:
        raise SegmentLockedError(message, reason)
    raise SegmentError(message, reason)


def kept_by(part: Any, owner: Any) -> Any:
    """Return a pointer into memory of C that keeps its owner, another pointer, as long as it lives.

    So what is shown, or given to a call that another thread overtakes with a close, stays.
    """
    return ffi.gc(part, lambda _: owner)


class _Mapped:
    """Share what a writer and a reader show: names, tables, counters, histograms.

    The memory goes with the last of: close, views of it, calls that are under way with `pointer`.
    """

    _is_borrowed = False

    def __init__(self, held_pointer: Any, instance: str, directory: Path) -> None:
        self.pointer = ffi.gc(held_pointer, lib.tp_segment_release)
        self.instance = instance
        self.path = directory / f"{_PREFIX}{instance}"
        self._histograms: NDArray[np.uint64] | None = None

    def _section(self, section: Any) -> Any:
        size = section.count * section.entry_size
        pointer = self._open
        return ffi.buffer(kept_by(pointer.base + section.offset, pointer), size)

    @property
    def _open(self) -> Any:
        if self.pointer is None:
            raise ValueError(f"segment {self.instance} is closed")
        return self.pointer

    def _names(self, section: Any) -> list[str]:
        raw = bytes(self._section(section))
        size = lib.TP_SEGMENT_NAME_SIZE
        pieces = (raw[i : i + size] for i in range(0, len(raw), size))
        return [piece.split(b"\0", 1)[0].decode("ascii", "replace") for piece in pieces]

    @property
    def header(self) -> Any:
        """Borrow the private copy of the C header."""
        pointer = self._open
        return kept_by(ffi.addressof(pointer, "header"), pointer)

    @property
    def live(self) -> Any:
        """Borrow the live lines: state, superseded_by, heartbeat_ns, loop_count, head."""
        pointer = self._open
        return kept_by(pointer.live, pointer)

    @property
    def instance_id(self) -> int:
        """Return the random id of this build of the segment."""
        return int(self.header.instance_id)

    @property
    def schema(self) -> str:
        """Return the embedded field table."""
        raw = bytes(self._section(self.header.schema))
        return raw.split(b"\0", 1)[0].decode()

    @property
    def row_count(self) -> int:
        """Return how many rows of the table were written."""
        return int(lib.tp_segment_row_count(self._open))

    @property
    def row_changes(self) -> int:
        """Return how often a row was written: look here before the rows, and again for news."""
        return int(lib.tp_segment_row_changes(self._open))

    def row(self, index: int) -> tuple[int, bytes]:
        """Copy a row: its generation, from 1, and its bytes, whole; rows may change meanwhile.

        (0, b"") where there is no such row, or where its writer was killed while it wrote it.
        """
        words = ffi.new("uint64_t[]", int(lib.tp_segment_row_word_count(self._open)))
        generation = int(lib.tp_segment_row_read(self._open, index, words))
        return generation, bytes(ffi.buffer(words)) if generation else b""

    def rows(self) -> list[tuple[int, bytes]]:
        """Copy all rows as `row` does."""
        return [self.row(index) for index in range(self.row_count)]

    @property
    def is_locked_in_memory(self) -> bool:
        """Say whether mlock succeeded; without it a page may fault under memory pressure."""
        return bool(self._open.is_locked_in_memory)

    def now_ns(self) -> int:
        """Read the segment's clock."""
        return int(lib.tp_clock_now_ns(ffi.addressof(self.header, "clock")))

    def heartbeat_age_ns(self) -> int:
        """Return how long ago the writer last said that it runs; or how far ahead its stamp is."""
        return abs(self.now_ns() - int(self.live.heartbeat_ns))

    def writer_lives(self) -> bool:
        """Say whether the very process that wrote the segment still has it open: by its lock."""
        return bool(lib.tp_segment_writer_lives(self._open))

    def writer_is_in_sight(self) -> bool:
        """Say whether the writer's pid means it here: no other PID namespace, not hidden."""
        return bool(lib.tp_segment_writer_is_in_sight(self._open))

    def counters(self) -> dict[str, int]:
        """Read all named counters."""
        values = memoryview(self._section(self.header.counters)).cast("Q").tolist()
        return dict(zip(self._names(self.header.counter_names), values, strict=True))

    def histogram_words(self) -> dict[str, NDArray[np.uint64]]:
        """Borrow the live words of all named histograms."""
        import numpy as np  # noqa: PLC0415 - readers of events and books do without it

        if self._histograms is None:
            section = self.header.histograms
            words = np.frombuffer(self._section(section), dtype=np.uint64)
            self._histograms = words.reshape(section.count, WORD_COUNT)
        names = self._names(self.header.histogram_names)
        return dict(zip(names, self._histograms, strict=True))

    def histograms(self) -> dict[str, Percentiles]:
        """Summarise all named histograms."""
        return {name: percentiles(words) for name, words in self.histogram_words().items()}

    def close(self) -> None:
        """Unmap; a writer also ends the segment and removes its file. From any thread.

        What was borrowed keeps the memory until it goes itself.
        """
        with taking:  # a writer's lock is no longer owned, and not given back yet
            pointer, self.pointer = self.pointer, None
            self._histograms = None
            if pointer is not None and not self._is_borrowed:
                lib.tp_segment_close(pointer)

    def __enter__(self) -> Any:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _segment_config(
    instance: str, layout: SegmentLayout, directory: Path, clock: Any
) -> tuple[Any, list[Any]]:
    """Return a `struct tp_segment_config *`, and the texts that it points to."""
    keep: list[Any] = []

    def text(value: str) -> Any:
        keep.append(ffi.new("char[]", value.encode()))
        return keep[-1]

    def names(values: tuple[str, ...]) -> Any:
        keep.append(ffi.new("char *[]", [text(value) for value in values]))
        return keep[-1]

    config = ffi.new(
        "struct tp_segment_config *",
        {
            "directory": text(os.fspath(directory)),
            "instance": text(instance),
            "schema": text(layout.schema),
            "ring_capacity": layout.ring_capacity,
            "snapshot_slot_count": layout.snapshot_slots,
            "snapshot_word_count": layout.snapshot_words,
            "table_row_count": layout.table_rows,
            "table_row_size": layout.table_row_size,
            "counter_count": len(layout.counters),
            "histogram_count": len(layout.histograms),
            "counter_names": names(layout.counters),
            "histogram_names": names(layout.histograms),
            "clock": clock or ffi.NULL,
            "mode": layout.mode,
            "has_group": layout.group is not None,
            "group": layout.group or 0,
        },
    )
    return config, keep


def segment_size(layout: SegmentLayout) -> int:
    """Return how many bytes of shared memory a segment takes; 0: there is none of this layout."""
    config, _texts = _segment_config("x", layout, DIRECTORY, None)
    return int(lib.tp_segment_size(config))


class SegmentWriter(_Mapped):
    """Own a segment: write rows, call `ready`, give `pointer` to the hot path, close.

    A child that was forked without exec owns nothing of it (shm/ownership).
    """

    def __init__(
        self,
        instance: str,
        layout: SegmentLayout,
        *,
        directory: Path = DIRECTORY,
        clock: Any = None,
    ) -> None:
        """Build the segment beside; `clock` is a C `struct tp_clock *` or None to calibrate.

        Raises SegmentLockedError where another live writer has the name, SegmentError with the
        reason otherwise.
        """
        check_name(instance)
        config, _texts = _segment_config(instance, layout, directory, clock)
        out, error = ffi.new("struct tp_segment **"), ffi.new("struct tp_segment_error *")
        with taking:  # its lock; until it is owned
            status = lib.tp_segment_create(out, config, error)
            raise_status(status, error, os.fspath(directory / f"{_PREFIX}{instance}"))
            lib.tp_segment_hold(out[0])
            super().__init__(out[0], instance, directory)
            own(self)

    def disown(self) -> None:
        """Leave file and lock to the parent; the memory is this child's own from here."""
        if self.pointer is not None:
            lib.tp_segment_disown(self.pointer)

    @property
    def ring(self) -> Any:
        """Borrow the C struct tp_ring_writer."""
        pointer = self._open
        return kept_by(lib.tp_segment_ring_writer(pointer), pointer)

    @property
    def snapshots(self) -> Any:
        """Borrow the C struct tp_snapshot_writer."""
        pointer = self._open
        return kept_by(lib.tp_segment_snapshot_writer(pointer), pointer)

    def histogram(self, index: int) -> Any:
        """Borrow one C struct tp_histogram, by its place in the layout."""
        pointer = self._open
        return kept_by(lib.tp_segment_histogram(pointer, index), pointer)

    def ready(self) -> None:
        """Checksum, put in place of the segment of this name, and tell its readers."""
        error = ffi.new("struct tp_segment_error *")
        raise_status(lib.tp_segment_ready(self._open, error), error, os.fspath(self.path))

    def write_row(self, index: int, data: bytes) -> int:
        """Add or change a row of the table, before `ready` or while readers read.

        One thread. index: an existing row, or the next one. Returns its generation, from 1. Raises
        IndexError beyond the table's size or leaving a row out, ValueError where it does not fit.
        """
        count, capacity = self.row_count, int(self.header.table.count)
        if not 0 <= index <= count or index >= capacity:
            raise IndexError(f"row {index}: expected up to {count}, of {capacity} at most")
        words = ffi.new("uint64_t[]", int(lib.tp_segment_row_word_count(self._open)))
        if len(data) > ffi.sizeof(words):
            raise ValueError(f"a row of {len(data)} bytes: expected at most {ffi.sizeof(words)}")
        ffi.buffer(words)[: len(data)] = data
        return int(lib.tp_segment_row_write(self._open, index, words))

    def store_counter(self, index: int, value: int) -> None:
        """Set one counter, by its place in the layout."""
        if not 0 <= index < self.header.counters.count:
            raise IndexError(f"counter {index}: expected below {self.header.counters.count}")
        lib.tp_segment_counter_store(self._open, index, value)

    def heartbeat(self) -> None:
        """Say that the writer runs; for writers without a C loop."""
        lib.tp_segment_heartbeat(self._open, self.now_ns())


class Segment(_Mapped):
    """Map a segment read-only."""

    def __init__(
        self, instance: str, *, schema: str | None = None, directory: Path = DIRECTORY
    ) -> None:
        """Open and check it; `schema` None accepts any.

        Raises SegmentNotReadyError where there is none (yet), SegmentError with the reason where
        it must not be read.
        """
        out, error = ffi.new("struct tp_segment **"), ffi.new("struct tp_segment_error *")
        expected = 0 if schema is None else schema_hash(schema)
        check_name(instance)
        status = lib.tp_segment_open(
            out, os.fspath(directory).encode(), instance.encode(), expected, error
        )
        raise_status(status, error, os.fspath(directory / f"{_PREFIX}{instance}"))
        lib.tp_segment_hold(out[0])
        super().__init__(out[0], instance, directory)

    @classmethod
    def borrow(cls, held_pointer: Any, instance: str, directory: Path) -> Segment:
        """Show a segment that a C reader opened; it outlives that reader, and its reopen."""
        segment = cls.__new__(cls)
        _Mapped.__init__(segment, held_pointer, instance, directory)
        segment._is_borrowed = True
        return segment

    def snapshot(self, slot: int) -> bytes:
        """Return version, ring index and payload of a slot whose writer is gone, zeroes if none.

        Of a living writer's slot take shm/reader: this neither retries nor orders its loads.
        """
        index, cells = self.header.snapshot_index, self.header.snapshot_cells
        if slot >= index.count:
            raise IndexError(f"snapshot {slot}: expected below {index.count}")
        size = 16 + 8 * int(self.header.snapshot_word_count)
        version = int(memoryview(self._section(index)).cast("Q")[slot])
        per_slot = cells.count // index.count
        start = (slot * per_slot + version % per_slot) * cells.entry_size
        cell = bytes(self._section(cells)[start : start + size])
        if version == 0 or int.from_bytes(cell[:8], "little") != 2 * version:
            return bytes(size)
        return version.to_bytes(8, "little") + cell[8:]

    @property
    def is_superseded(self) -> bool:
        """Say whether a newer segment of this name stands in its place, or its writer closed it."""
        live = self.live
        return bool(live.superseded_by != 0 or live.state != lib.TP_SEGMENT_READY)


def instances(directory: Path = DIRECTORY) -> Iterator[str]:
    """Yield the instance names that have a segment file, sorted."""
    for path in sorted(directory.glob(f"{_PREFIX}*")):
        if path.suffix not in _NOT_SEGMENTS:
            yield path.name.removeprefix(_PREFIX)


def remove_dead(instance: str) -> bool:
    """Remove what a writer that died left; return whether there was a segment to remove.

    Raises SegmentLockedError where the writer lives. Holds the writer's lock meanwhile, so that a
    new writer of this name cannot lose its segment.
    """
    check_name(instance)
    with taking:
        return _remove_dead(instance)


def _remove_dead(instance: str) -> bool:
    lock_name = f"{_PREFIX}{instance}.lock"
    lock = _open_lock(DIRECTORY / lock_name)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not _is_current(lock, DIRECTORY / lock_name):
            raise BlockingIOError  # its writer left, and the next one has a lock file of its own
        was_there = _unlink(f"{_PREFIX}{instance}")
        for ending in (".new", ".ctl", ".ctl.new"):
            _unlink(f"{_PREFIX}{instance}{ending}")
        _unlink(lock_name)
    except BlockingIOError as error:
        raise SegmentLockedError(
            f"segment {instance}: its writer lives: stop it first", "in use by another writer"
        ) from error
    finally:
        os.close(lock)
    return was_there


def _open_lock(path: Path) -> int:
    """Open it as `tp_segment_create` does: made only where there is none.

    In a sticky directory O_CREAT is denied even to root where the file is somebody else's
    (proc_sys_fs(5), protected_regular).
    """
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, flags)
    except FileNotFoundError:
        return os.open(path, flags | os.O_CREAT, 0o640)


def _is_current(lock: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(lock), path.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False


def _unlink(name: str) -> bool:
    try:
        posix_ipc.unlink_shared_memory(f"/{name}")
    except posix_ipc.ExistentialError:
        return False
    return True
