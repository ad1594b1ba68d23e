"""What a recorder writes where it was overtaken, and what it does not mix."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tickpath._core import ffi, lib
from tickpath.engine.recording.format import RAW, RecordingFile
from tickpath.engine.recording.recorder import Recorder
from tickpath.engine.recording.tap import Subscription, TapOptions, TapWriter
from tickpath.engine.strategy.rehearsal import RehearsalFeed
from tickpath.proto.instrument import Instrument
from tickpath.shm.segment import SegmentNotReadyError, remove_dead

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

INSTANCE = f"unit-gaps-{os.getpid():07d}"
ROW = Subscription(venue="mexc", symbol="AB", price_exponent=-2, quantity_exponent=-3, channel="c")
RING = 64
HEADER = struct.Struct("<IIQ")


def new_feed() -> RehearsalFeed:
    return RehearsalFeed(INSTANCE, [Instrument(0, "mexc", "AB", -2, -3, 1)], ring_capacity=RING)


def new_tap() -> TapWriter:
    options = TapOptions(ring_capacity=RING, checkpoint_every_s=1, silent_after_ns=1)
    return TapWriter(INSTANCE, [ROW], options)


@pytest.fixture
def tap() -> Iterator[TapWriter]:
    """Both segments of a feed handler, in this process."""
    with new_feed() as feed:
        feed.heartbeat()
        tap = new_tap()
        tap.ready()
        yield tap
        tap.close()


def publish(tap: TapWriter, stamps: range) -> None:
    """Write records without a payload, one slot each."""
    ring = lib.tp_segment_ring_writer(tap.segment.pointer)
    for stamp in stamps:
        header = ffi.new("struct tp_message_header *", (0, lib.TP_RECORD_UP, stamp))
        assert lib.tp_message_publish(ring, header, ffi.NULL, 0)


def recorded(path: Path) -> list[tuple[int, int, bytes]]:
    """Return kind, time and payload of the raw records of a file."""
    rows: list[tuple[int, int, bytes]] = []
    with RecordingFile(path) as file:
        for block in file.blocks():
            data, at = block.payload(), 0
            while block.kind == RAW and at < len(data):
                size, tag, t_ns = HEADER.unpack_from(data, at)
                at += HEADER.size
                rows.append((tag & 0xFF, t_ns, data[at : at + size]))
                at += (size + 7) // 8 * 8
    return rows


def test_recorder_that_was_overtaken_writes_what_is_missing_in_its_place(
    tap: TapWriter, tmp_path: Path
) -> None:
    recorder = Recorder(instance=INSTANCE, directory=tmp_path)
    recorder.open()
    publish(tap, range(1, 4))
    recorder.step()
    publish(tap, range(100, 300))  # three times the ring
    recorder.step()
    publish(tap, range(1000, 1005))
    while recorder.step():
        pass
    recorder.close()
    (path,) = tmp_path.iterdir()
    rows = recorded(path)
    kinds = [kind for kind, _, _ in rows]
    assert kinds[:4] == [lib.TP_RECORD_UP] * 3 + [lib.TP_RECORD_GAP]
    assert [t_ns for _, t_ns, _ in rows[:4]] == [1, 2, 3, 3]  # as late as what came before it
    stream, lost = struct.unpack("<QQ", rows[3][2])
    assert (stream, lost) == (0, recorder.totals.lost_slots)
    assert lost == 200
    assert [t_ns for _, t_ns, _ in rows[4:]] == list(range(1000, 1005))
    assert kinds.count(lib.TP_RECORD_GAP) == recorder.totals.raw_gaps == 1
    assert recorder.totals.bytes_out == path.stat().st_size


def test_recorder_of_two_feed_handlers_at_once_refuses(tmp_path: Path) -> None:
    """Between two runs the one segment may be the old one's, the other the new one's."""
    code = (
        "import sys; sys.argv[1:] or sys.exit(2)\n"
        "from tickpath.engine.recording.tap import Subscription, TapOptions, TapWriter\n"
        "row = Subscription(venue='mexc', symbol='AB', price_exponent=-2, quantity_exponent=-3,"
        " channel='c')\n"
        "options = TapOptions(ring_capacity=64, checkpoint_every_s=1, silent_after_ns=1)\n"
        "tap = TapWriter(sys.argv[1], [row], options)\n"
        "tap.ready()\nprint('up', flush=True)\nsys.stdin.read()\n"
    )
    words = [sys.executable, "-P", "-c", code, INSTANCE]
    with (
        new_feed() as feed,
        subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child,
    ):
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "up\n"
            feed.heartbeat()
            with pytest.raises(SegmentNotReadyError, match="of two feed handlers"):
                Recorder(instance=INSTANCE, directory=tmp_path).open()
        finally:
            child.kill()
            child.wait()
            remove_dead(f"{INSTANCE}.raw")
    assert list(tmp_path.iterdir()) == []
