"""What the supervisor takes for a hang: a loop that beat and stopped, not one that is starting."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from tickpath.engine.supervisor import feed_handler_watch
from tickpath.engine.supervisor.feed_handler_watch import FeedHandlerWatch
from tickpath.shm.segment import SegmentLayout, SegmentWriter

if TYPE_CHECKING:
    from collections.abc import Iterator

INSTANCE = f"unit-watch-{os.getpid():07d}"
LAYOUT = SegmentLayout(schema="event instrument 0 u32\n", ring_capacity=64)
HANG_S, START_S = 0.2, 30.0
BEAT_S = 0.01  # longer than TP_SEGMENT_HEARTBEAT_INTERVAL_NS: a beat so soon after another is none


@pytest.fixture
def segment() -> Iterator[SegmentWriter]:
    with SegmentWriter(INSTANCE, LAYOUT) as made:
        made.ready()
        yield made


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Iterator[FeedHandlerWatch]:
    monkeypatch.setattr(feed_handler_watch, "HANG_AFTER_S", HANG_S)
    monkeypatch.setattr(feed_handler_watch, "START_WITHIN_S", START_S)
    one = FeedHandlerWatch(INSTANCE, os.getpid(), has_priority=False, tell=lambda _: None)
    yield one
    one.close()


def test_reader_that_has_not_beaten_yet_is_starting(
    segment: SegmentWriter, watch: FeedHandlerWatch
) -> None:
    watch.look()
    assert watch.is_up
    time.sleep(2 * HANG_S)
    watch.look()
    assert watch.hangs_since_s() is None


def test_reader_that_never_beats_hangs_in_the_end(
    segment: SegmentWriter, watch: FeedHandlerWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_handler_watch, "START_WITHIN_S", HANG_S)
    watch.look()
    time.sleep(2 * HANG_S)
    age_s = watch.hangs_since_s()
    assert age_s is not None
    assert age_s > HANG_S


def test_reader_that_beat_and_stopped_hangs(
    segment: SegmentWriter, watch: FeedHandlerWatch
) -> None:
    watch.look()
    time.sleep(BEAT_S)
    segment.heartbeat()
    watch.look()
    assert watch.is_beating
    time.sleep(2 * HANG_S)
    assert watch.hangs_since_s() is not None
    segment.heartbeat()
    assert watch.hangs_since_s() is None


def test_supervisor_starts_without_numpy_and_netlink() -> None:
    """They are two thirds of what it would import, and seconds on a slow machine."""
    heavy = ("numpy", "pyroute2", "rich")
    program = "import sys, tickpath.engine.supervisor.command; "
    program += f"print([n for n in {heavy} if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
