"""A file system with room for one segment: a dead writer's is given back, a living one's is not."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tickpath.shm.segment import (
    Segment,
    SegmentError,
    SegmentLayout,
    SegmentLockedError,
    SegmentWriter,
    segment_size,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.needs("root")
LAYOUT = SegmentLayout(schema="event x 0 u64\n", ring_capacity=1 << 15)  # 2 MiB of slots
ROOM_MIB = 3
NAME = "room"
WRITER = """
import os, signal, sys
from pathlib import Path
from tickpath.shm.segment import SegmentLayout, SegmentWriter
layout = SegmentLayout(schema="event x 0 u64\\n", ring_capacity=1 << 15)
SegmentWriter(sys.argv[2], layout, directory=Path(sys.argv[1])).ready()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MiB."""
    size = f"size={ROOM_MIB}m"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tickpath-test", tmp_path], check=True)
    yield tmp_path
    subprocess.run(["umount", tmp_path], check=True)


def leave_dead_segment(directory: Path) -> None:
    done = subprocess.run([sys.executable, "-P", "-c", WRITER, directory, NAME], check=False)
    assert done.returncode == -9
    assert (directory / f"tickpath.{NAME}").stat().st_size == segment_size(LAYOUT)


def test_writer_after_one_that_was_killed_has_its_room(small: Path) -> None:
    for _ in range(3):
        leave_dead_segment(small)
    with SegmentWriter(NAME, LAYOUT, directory=small) as writer:
        writer.ready()
        with Segment(NAME, directory=small) as found:
            assert found.header.instance_id == writer.header.instance_id


def test_writer_beside_a_living_one_takes_nothing_from_it(small: Path) -> None:
    with SegmentWriter(NAME, LAYOUT, directory=small) as living:
        living.ready()
        with pytest.raises(SegmentLockedError):
            SegmentWriter(NAME, LAYOUT, directory=small)
        with pytest.raises(SegmentError, match="no room for"):
            SegmentWriter("another", LAYOUT, directory=small)
        with Segment(NAME, directory=small) as found:
            assert not found.is_superseded


def test_reader_of_the_dead_is_told_to_let_go_and_then_there_is_room(small: Path) -> None:
    leave_dead_segment(small)
    with Segment(NAME, directory=small) as old:
        assert not old.is_superseded
        with pytest.raises(SegmentError, match="no room for"):
            SegmentWriter(NAME, LAYOUT, directory=small)  # its memory is read
        assert old.is_superseded
    SegmentWriter(NAME, LAYOUT, directory=small).close()


def test_segment_size_is_what_a_segment_takes(tmp_path: Path) -> None:
    layout = SegmentLayout(
        schema="event x 0 u64\n", snapshot_slots=7, snapshot_words=5, counters=("a", "b")
    )
    with SegmentWriter(NAME, layout, directory=tmp_path) as writer:
        writer.ready()
        assert (tmp_path / f"tickpath.{NAME}").stat().st_size == segment_size(layout)
    assert segment_size(SegmentLayout(schema="x", ring_capacity=3)) == 0
