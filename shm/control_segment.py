"""Look at the consumers that registered with a segment, and own what serves them.

`consumers` reads the control segment as bytes, without mapping it: nobody notices, and whatever
consumers wrote there is shown as it stands. `ControlSegment` is the writer's: the control segment,
the gate for lossless consumers, the waker. Layout: docs/shared-memory.md. Called by:
engine/commands/stat.py, engine/feed_handler/consumers.py.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec
from tickpath._core import ffi, lib
from tickpath.shm.ownership import own
from tickpath.shm.segment import DIRECTORY, SegmentWriter, kept_by, raise_status

if TYPE_CHECKING:
    from tickpath.shm.segment import Segment

LINE_SIZE = 128
SLOT_COUNT = 64
TOTAL_SIZE = (2 + SLOT_COUNT) * LINE_SIZE
MAGIC = 0x4C5254434B434954  # "TICKCTRL"
ACTIVE, LOSSLESS = 1, 2
_HEADER = struct.Struct("<QQIIQQQ")
_SLOT = struct.Struct("<QIIQQQQQII32sQ")
_NS_PER_MS = 1e6


class Consumer(msgspec.Struct, frozen=True, kw_only=True):
    """Tell of one registered consumer; `lag` in events, as of its last cursor."""

    name: str
    pid: int  # as its own PID namespace counts
    lag: int
    laps: int
    lost: int
    last_seen_ms: float
    is_lossless: bool = False
    is_evicted: bool = False
    is_asleep: bool = False
    is_alive: bool = True
    is_pid_foreign: bool = False  # the pid is of another PID namespace: here it means another one


def consumers(
    segment: Segment | SegmentWriter, *, directory: Path = DIRECTORY
) -> tuple[Consumer, ...]:
    """Return who is registered with a segment; none where its control segment cannot be read."""
    path = directory / f"tickpath.{segment.instance}.ctl"
    try:
        with path.open("rb") as file:
            return _consumers(segment, file)
    except OSError:
        return ()


def _consumers(segment: Segment | SegmentWriter, file: BinaryIO) -> tuple[Consumer, ...]:
    data = file.read(TOTAL_SIZE)
    if len(data) < TOTAL_SIZE:
        return ()
    magic, _, _, count, _, instance_id, _ = _HEADER.unpack_from(data)
    if magic != MAGIC or count != SLOT_COUNT or instance_id != segment.instance_id:
        return ()
    head, now = int(segment.live.head), segment.now_ns()
    found = []
    for number in range(SLOT_COUNT):
        slot = _SLOT.unpack_from(data, (2 + number) * LINE_SIZE)
        if slot[0]:
            is_alive = bool(lib.tp_control_slot_is_held(file.fileno(), number))
            found.append(_consumer(slot, head, now, is_alive=is_alive))
    return tuple(found)


def _pid_namespace() -> int:
    """Return the inode of our PID namespace; 0 where /proc does not show it."""
    try:
        return Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return 0


def _consumer(slot: tuple[Any, ...], head: int, now: int, *, is_alive: bool) -> Consumer:
    owner, flags, _, cursor, laps, lost, seen, _, wants_wake, is_evicted, name, namespace = slot
    return Consumer(
        name=_printable(name.split(b"\0", 1)[0]),
        pid=owner >> 32,
        lag=max(0, head - cursor),
        laps=laps,
        lost=lost,
        last_seen_ms=round(max(0, now - seen) / _NS_PER_MS, 3),
        is_lossless=bool(flags & LOSSLESS),
        is_evicted=bool(is_evicted),
        is_asleep=bool(wants_wake),
        is_alive=is_alive,
        is_pid_foreign=namespace != _pid_namespace(),
    )


def _printable(name: bytes) -> str:
    """Return a name that does nothing to a terminal: any consumer may have written any bytes."""
    return "".join(chr(c) if 0x20 <= c < 0x7F else "?" for c in name)


class ControlSegment:
    """Own a writer's control segment, gate and waker; make it before `SegmentWriter.ready`."""

    def __init__(
        self,
        segment: SegmentWriter,
        *,
        lossless_deadline_ns: int = 0,
        poll_ns: int = lib.TP_WAKER_POLL_NS_DEFAULT,
    ) -> None:
        """Build it beside the data segment; raises SegmentError with the reason."""
        data = segment.pointer
        out, error = ffi.new("struct tp_control **"), ffi.new("struct tp_segment_error *")
        status = lib.tp_control_create(out, data, lossless_deadline_ns, error)
        raise_status(status, error, f"{os.fspath(segment.path)}.ctl")
        lib.tp_control_hold(out[0])
        self.pointer = pointer = ffi.gc(out[0], lib.tp_control_release_hold)
        # Whoever is in a call with one of them keeps the memory that it uses.
        self.gate = kept_by(ffi.new("struct tp_ring_gate *"), (data, pointer))
        ring = lib.tp_segment_ring_writer(data)
        lib.tp_ring_gate_init(self.gate, ring, pointer, lossless_deadline_ns)
        self._waker = kept_by(ffi.new("struct tp_waker *"), (data, pointer))
        lib.tp_waker_init(self._waker, data, pointer, poll_ns)
        own(self)

    def slowest(self, next_index: int, *, only_lossless: bool) -> tuple[int, int]:
        """Return the slowest consumer's cursor, `next_index` without one, and how many there are.

        Where `only_lossless`, of those that asked to be waited for.
        """
        count = ffi.new("uint32_t *")
        cursor = lib.tp_control_slowest(self.pointer, next_index, only_lossless, count)
        return int(cursor), int(count[0])

    def run_waker(self) -> None:
        """Wake consumers that sleep, until `stop_waker`; for a thread of its own."""
        lib.tp_waker_run(self._waker)

    def stop_waker(self) -> None:
        """Let `run_waker` return, after it woke all; from any thread."""
        lib.tp_waker_stop(self._waker)

    def counters(self) -> dict[str, int]:
        """Read what waker and gate counted, in a fixed order."""
        gate = self.gate.counters
        return {
            "wakes": int(lib.tp_waker_wakes(self._waker)),
            "reaped": int(lib.tp_waker_reaped(self._waker)),
            "gate_waits": int(gate.waits),
            "gate_held_ns": int(gate.held_ns),
            "evictions": int(gate.evictions),
            "impossible_cursors": int(gate.impossible_cursors),
        }

    def disown(self) -> None:
        """Leave the file to the parent; consumers are not this child's to wake."""
        if self.pointer is not None:
            lib.tp_control_disown(self.pointer)

    def close(self) -> None:
        """Remove the file, let the waker return, and unmap once nobody is in it."""
        pointer, self.pointer = self.pointer, None
        if pointer is not None:
            lib.tp_waker_stop(self._waker)
            lib.tp_control_close(pointer)


COUNTERS = ("wakes", "reaped", "gate_waits", "gate_held_ns", "evictions", "impossible_cursors")
