"""A recorder beside a writer that stops, and dies: what the end-to-end tests cannot time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from tickpath.engine.recording.format import RecordingFile
from tickpath.engine.recording.recorder import Recorder
from tickpath.shm.segment import remove_dead

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

INSTANCE = f"unit-recorder-{os.getpid()}"
WRITER = """
import sys, time
from tickpath.engine.feed_segment import Instrument
from tickpath.engine.recording.tap import Subscription, TapWriter
from tickpath.engine.strategy.rehearsal import RehearsalFeed
row = Subscription(venue="mexc", symbol="AB", price_exponent=-2, quantity_exponent=-3, channel="c")
feed = RehearsalFeed(sys.argv[1], [Instrument(0, "mexc", "AB", -2, -3, 1)], ring_capacity=64)
tap = TapWriter(sys.argv[1], [row], ring_capacity=64, checkpoint_every_s=1, silent_after_ns=10**9)
tap.ready()
print("up", flush=True)
while True:
    feed.heartbeat()
    tap.segment.heartbeat()
    time.sleep(0.001)
"""


@pytest.fixture
def writer() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, INSTANCE], stdout=subprocess.PIPE, text=True
    ) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "up\n"
            yield child
        finally:
            child.kill()
            child.wait()
            for name in (INSTANCE, f"{INSTANCE}.raw"):
                remove_dead(name)


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
