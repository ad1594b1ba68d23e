"""A recorder beside a writer that stops, and dies: what the end-to-end tests cannot time."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from tickpath.engine.recording.format import RecordingFile
from tickpath.engine.recording.recorder import Recorder
from tickpath.shm.errors import SystemSetupError
from tickpath.shm.segment import remove_dead

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

INSTANCE = f"unit-recorder-{os.getpid():07d}"
WRITER = """
import sys, time
from tickpath._core import ffi, lib
from tickpath.proto.instrument import Instrument
from tickpath.engine.recording.tap import Subscription, TapOptions, TapWriter
from tickpath.engine.strategy.rehearsal import RehearsalFeed
row = Subscription(venue="mexc", symbol="AB", price_exponent=-2, quantity_exponent=-3, channel="c")
feed = RehearsalFeed(sys.argv[1], [Instrument(0, "mexc", "AB", -2, -3, 1)], ring_capacity=64)
options = TapOptions(ring_capacity=64, checkpoint_every_s=1, silent_after_ns=10**9)
tap = TapWriter(sys.argv[1], [row], options)
tap.ready()
for _ in range(int(sys.argv[2])):
    feed.publish_event(2, (1, 2, 3, 4))
for _ in range(int(sys.argv[3])):
    up = ffi.new("struct tp_message_header *", (0, lib.TP_RECORD_UP, tap.segment.now_ns()))
    assert lib.tp_message_publish(lib.tp_segment_ring_writer(tap.segment.pointer), up, ffi.NULL, 0)
print("up", flush=True)
while True:
    feed.heartbeat()
    tap.segment.heartbeat()
    time.sleep(0.001)
"""


@contextlib.contextmanager
def written(events: int, records: int) -> Iterator[subprocess.Popen[str]]:
    """Run a writer that published so many events and records."""
    command = [sys.executable, "-P", "-c", WRITER, INSTANCE, str(events), str(records)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "up\n"
            yield child
        finally:
            child.kill()
            child.wait()
            for name in (INSTANCE, f"{INSTANCE}.raw"):
                remove_dead(name)


@pytest.fixture
def writer() -> Iterator[subprocess.Popen[str]]:
    with written(0, 0) as child:
        yield child


def test_recorder_of_a_writer_killed_after_it_was_stopped_ends_its_file(
    writer: subprocess.Popen[str], tmp_path: Path
) -> None:
    recorder = Recorder(instance=INSTANCE, directory=tmp_path)
    recorder.open()
    try:
        writer.send_signal(signal.SIGSTOP)
        end = time.monotonic() + 0.3  # silent for longer than readers bear
        while time.monotonic() < end:
            recorder.step()
        assert not recorder.is_waiting  # it may go on
        writer.kill()
        writer.wait()
        end = time.monotonic() + 20
        while not recorder.is_waiting:
            assert time.monotonic() < end
            recorder.step()
    finally:
        recorder.close()
    (path,) = tmp_path.iterdir()
    with RecordingFile(path) as file:
        assert file.is_closed


@pytest.mark.parametrize(("events", "is_whole"), [(10, True), (60, False)])
def test_recorder_tells_where_its_recording_began(
    tmp_path: Path, events: int, *, is_whole: bool
) -> None:
    """The tap still holds all; of the events' ring (64) the recorder trusts the first half."""
    with written(events, 5):
        recorder = Recorder(instance=INSTANCE, directory=tmp_path / "out")
        recorder.open()
        while recorder.step():
            pass
        recorder.close()
    (path,) = (tmp_path / "out").iterdir()
    assert recorder.totals.records == 5
    assert recorder.totals.events == (events if is_whole else 0)
    with RecordingFile(path) as file:
        if is_whole:
            assert file.meta.begin_ns == 0
        else:
            (block,) = file.blocks()
            assert file.meta.begin_ns > block.last_ns


def test_recorder_whose_disk_is_full_counts_what_is_in_the_file(tmp_path: Path) -> None:
    with written(10, 5):
        recorder = Recorder(instance=INSTANCE, directory=tmp_path)
        recorder.open()
        while recorder.step():
            pass
        (path,) = tmp_path.iterdir()
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size, limits[1]))
        try:
            with pytest.raises(SystemSetupError, match="File too large"):
                recorder.close()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            recorder.abandon()
    assert (recorder.totals.records, recorder.totals.events) == (0, 0)
    with RecordingFile(path) as file:
        assert list(file.blocks()) == []


def test_record_of_no_instance_leaves_no_folder(tmp_path: Path) -> None:
    words = ["record", f"{INSTANCE}-nope", "--out", str(tmp_path / "out")]
    command = [sys.executable, "-P", "-m", "tickpath.engine.cli", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert list(tmp_path.iterdir()) == []
