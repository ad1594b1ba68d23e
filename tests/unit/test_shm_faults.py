"""What must not kill a reader: files cut under it, a full /dev/shm, writers that stop."""

from __future__ import annotations

import mmap
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tickpath.engine.client.reader import (
    RESTARTED,
    BookState,
    EventType,
    FeedReader,
    WriterSilent,
    open_reader,
)
from tickpath.engine.strategy.rehearsal import RehearsalFeed
from tickpath.proto.instrument import Instrument
from tickpath.shm.reader import Reader, Result
from tickpath.shm.segment import Segment, SegmentNotReadyError

if TYPE_CHECKING:
    from collections.abc import Iterator

INSTRUMENTS = (Instrument(0, "mexc", "BTCUSDT", -2, -6, 1),)
MINUTE_NS = 60 * 10**9


def make_feed(directory: Path) -> RehearsalFeed:
    return RehearsalFeed("unit", INSTRUMENTS, directory=directory, ring_capacity=1024)


@pytest.fixture
def feed(tmp_path: Path) -> Iterator[RehearsalFeed]:
    with make_feed(tmp_path) as feed:
        yield feed


def calm_reader(directory: Path) -> FeedReader:
    return open_reader("unit", directory=directory, stale_after_ns=MINUTE_NS)


# ---- files cut short under their mappings --------------------------------------------------------


@pytest.mark.parametrize("size", [0, 4096, 8192])
def test_segment_truncated_under_a_reader_reads_as_an_ended_writer(
    tmp_path: Path, size: int
) -> None:
    feed = make_feed(tmp_path)  # writes nothing any more: its own mapping is not guarded
    feed.publish_book([(100, 10)], [(101, 20)])
    with calm_reader(tmp_path) as reader:
        feed.publish_event(EventType.TOP, (1, 2, 3, 4))
        assert reader.book(0).is_live
        path = tmp_path / "tickpath.unit"
        os.truncate(path, size)
        assert next(iter(reader)) == WriterSilent()
        book = reader.book(0)
        assert (book.state, book.bids) == (BookState.STALE, [])
        assert reader.is_down
        assert "truncated" in reader.trouble
        assert reader.batch().tolist() == []
        assert reader.shm.segment.counters() == {}
        assert reader.next() == Result.EMPTY
        feed.consumers.close()
        path.unlink()
        (tmp_path / "tickpath.unit.lock").unlink()  # it has its own; another may begin
        with make_feed(tmp_path) as second:
            end = time.monotonic() + 20
            while reader.next() != RESTARTED:
                assert time.monotonic() < end
            assert reader.trouble == ""
            second.publish_event(EventType.TOP, (9, 9, 9, 9))
            assert reader.next() == Result.EVENT


def test_reader_in_full_flight_survives_truncation(tmp_path: Path) -> None:
    feed = make_feed(tmp_path)
    for i in range(1000):
        feed.publish_event(EventType.TOP, (i, 2, 3, 4))
    with Reader("unit", directory=tmp_path, stale_after_ns=MINUTE_NS) as reader:
        for i in range(1000):
            feed.publish_event(EventType.TOP, (i, 2, 3, 4))
        results = []
        for i in range(1000):
            if i == 500:
                os.truncate(tmp_path / "tickpath.unit", 0)
            results.append(reader.poll())
        assert results == [Result.EVENT] * 500 + [Result.EMPTY] * 500
        assert reader.look() == Result.MOVED
        assert reader.read_snapshot(0) == 0
        feed.consumers.close()


STRANGER = """
import mmap, os, sys
from pathlib import Path
from tickpath.shm.reader import Reader
if sys.argv[2] == "before":
    import faulthandler; faulthandler.enable()
reader = Reader("unit", directory=Path(sys.argv[1]))
if sys.argv[2] == "after":
    # It keeps our handler for later, and is kept for later by the next open.
    import faulthandler; faulthandler.enable()
    another = Reader("unit", directory=Path(sys.argv[1]))
with open(sys.argv[1] + "/other", "w+b") as file:
    file.truncate(4096)
    memory = mmap.mmap(file.fileno(), 4096)
    file.truncate(0)
    os.truncate(sys.argv[1] + "/tickpath.unit", 0)
    assert reader.poll() == 0
    print("alive", flush=True)
    memory[0]
    print("not reached")
"""


@pytest.mark.parametrize("handler", ["none", "before", "after"])
def test_bus_error_of_anybody_else_ends_the_process_as_ever(tmp_path: Path, handler: str) -> None:
    feed = make_feed(tmp_path)
    done = subprocess.run(
        [sys.executable, "-P", "-c", STRANGER, str(tmp_path), handler],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (-signal.SIGBUS, "alive\n"), done.stderr
    assert ("Fatal Python error: Bus error" in done.stderr) == (handler != "none")
    feed.consumers.close()


LATE_HANDLER = """
import faulthandler, os, sys
from pathlib import Path
from tickpath.shm.reader import Reader
readers = [Reader("unit", directory=Path(sys.argv[1])) for _ in range(2)]
faulthandler.enable()
os.truncate(sys.argv[1] + "/tickpath.unit", int(sys.argv[2]))
print([reader.poll() for reader in readers], [reader.is_broken for reader in readers], flush=True)
"""


@pytest.mark.parametrize("size", [0, 4096])
def test_reader_survives_truncation_though_another_handler_came_later(
    tmp_path: Path, size: int
) -> None:
    feed = make_feed(tmp_path)
    done = subprocess.run(
        [sys.executable, "-P", "-c", LATE_HANDLER, str(tmp_path), str(size)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "[0, 0] [True, True]\n"), done.stderr
    feed.consumers.close()


@pytest.mark.parametrize("size", [0, 100])
def test_control_segment_truncated_by_a_consumer_hurts_nobody(
    feed: RehearsalFeed, tmp_path: Path, size: int
) -> None:
    with calm_reader(tmp_path) as reader:
        reader.set_wait(block=True)
        os.truncate(tmp_path / "tickpath.unit.ctl", size)
        feed.heartbeat()
        for i in range(300):
            feed.publish_event(EventType.TOP, (i, 2, 3, 4))
            assert reader.next() == Result.EVENT
        assert reader.next() == Result.EMPTY
        turns = feed.consumers.counters()
        assert turns["evictions"] == 0


def test_file_grown_or_scribbled_over_never_crashes_a_reader(
    feed: RehearsalFeed, tmp_path: Path
) -> None:
    path = tmp_path / "tickpath.unit"
    size = path.stat().st_size
    with calm_reader(tmp_path) as reader, path.open("r+b") as file:
        file.truncate(size + 4096)
        for fill in (b"\xff", b"\x7f", b"\x01"):
            file.seek(0)
            file.write(fill * size)
            file.flush()
            for _ in range(50):
                reader.shm.poll()
                reader.shm.check()
                reader.book(0)
                reader.batch()
            assert reader.book(0).state != BookState.LIVE


# ---- no room -------------------------------------------------------------------------------------

NO_ROOM = """
import os, sys
from pathlib import Path
from tickpath.proto.instrument import Instrument
from tickpath.engine.strategy.rehearsal import RehearsalFeed
from tickpath.shm.segment import SegmentError
row = [Instrument(0, "mexc", "BTCUSDT", -2, -6, 1)]
with RehearsalFeed("small", row, ring_capacity=1024) as small:
    try:
        RehearsalFeed("large", row, ring_capacity=1 << 16)
    except SegmentError as error:
        print(error.reason, "|", error)
    print(sorted(os.listdir("/dev/shm")))
    with open("/dev/shm/ballast", "wb") as ballast:
        try:
            while True:
                os.write(ballast.fileno(), bytes(4096))
        except OSError as error:
            print(error.strerror)
    from tickpath.engine.client.reader import open_reader
    with open_reader("small") as reader:
        for i in range(3000):
            small.publish_event(2, (i, 1, 2, 3))
            assert reader.next() == 1
        print(repr(reader.unregistered_because))
    os.unlink("/dev/shm/ballast")
print(os.listdir("/dev/shm"))
"""


@pytest.mark.needs("root")
def test_full_dev_shm_is_refused_with_the_remedy_and_leaves_nothing() -> None:
    mount = "mount -t tmpfs -o size=1m tmpfs /dev/shm"
    done = subprocess.run(
        [
            "unshare",
            "--mount",
            "sh",
            "-ec",
            f'{mount}; exec "$0" -P -c "$1"',
            sys.executable,
            NO_ROOM,
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    refused, files, full, registered, left = done.stdout.splitlines()
    assert refused.startswith("no space | segment /dev/shm/tickpath.large: no room for ")
    assert "remount,size=" in refused
    assert files == str(["tickpath.small", "tickpath.small.ctl", "tickpath.small.lock"])
    assert full == "No space left on device"
    assert registered == "''"
    assert left == "[]"


# ---- a writer that stands still ------------------------------------------------------------------

WRITER = """
import sys, time
from pathlib import Path
from tickpath.proto.instrument import Instrument
from tickpath.engine.strategy.rehearsal import RehearsalFeed
row = [Instrument(0, "mexc", "BTCUSDT", -2, -6, 1)]
feed = RehearsalFeed("unit", row, directory=Path(sys.argv[1]), ring_capacity=1024)
print("up", flush=True)
while True:
    feed.publish_top((1, 1), (2, 1))
    feed.heartbeat()
    time.sleep(0.001)
"""


@pytest.mark.parametrize("is_asleep", [True, False])
def test_writer_stopped_is_noticed_not_before_the_configured_time(
    tmp_path: Path, is_asleep: bool
) -> None:
    stale_after_ns = 300_000_000
    with subprocess.Popen(
        [sys.executable, "-P", "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE
    ) as child:
        try:
            assert child.stdout is not None
            child.stdout.readline()
            with open_reader("unit", directory=tmp_path, stale_after_ns=stale_after_ns) as reader:
                reader.set_wait(block=is_asleep)
                while reader.next() != Result.EVENT:
                    pass
                child.send_signal(signal.SIGSTOP)
                while (result := reader.next()) in (Result.EVENT, Result.EMPTY):
                    pass
                assert result == Result.SILENT
                book = reader.book(0)
                assert (book.state, book.published_state) == (BookState.STALE, BookState.LIVE)
                assert book.writer_silent_ns >= stale_after_ns
                child.send_signal(signal.SIGCONT)
                while not reader.book(0).is_live:
                    reader.next()
        finally:
            child.kill()


def test_segment_of_a_dead_writer_is_refused_until_the_next_writer(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-P", "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        child.kill()
    time.sleep(0.11)  # longer than a heartbeat may be away
    with pytest.raises(SegmentNotReadyError, match=rf"its writer \(pid {child.pid}\) died") as told:
        open_reader("unit", directory=tmp_path)
    assert told.value.reason == "left by a dead writer"
    with Segment("unit", directory=tmp_path) as segment:  # to look at it is fine
        assert not segment.writer_lives()
    (tmp_path / "tickpath.unit.lock").unlink()
    with make_feed(tmp_path), calm_reader(tmp_path) as reader:
        assert reader.next() == Result.EMPTY


# ---- memory --------------------------------------------------------------------------------------


def mappings(path: Path) -> list[tuple[int, bool]]:
    """Return of every mapping of a file in this process: KiB present, and whether it is locked."""
    found, present = [], -1
    for line in Path("/proc/self/smaps").read_text(encoding="utf-8").splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            present = 0 if line.endswith(f" {path}") else -1
        elif present >= 0 and line.startswith("Rss:"):
            present = int(line.split()[1])
        elif present >= 0 and line.startswith("VmFlags:"):
            found.append((present, "lo" in line.split()))
    return found


@pytest.mark.needs("root")
@pytest.mark.parametrize("ending", ["", ".ctl"])
def test_segments_are_populated_and_locked_on_both_sides(
    feed: RehearsalFeed, tmp_path: Path, ending: str
) -> None:
    with calm_reader(tmp_path):
        path = tmp_path / f"tickpath.unit{ending}"
        size = -(-path.stat().st_size // mmap.PAGESIZE) * mmap.PAGESIZE // 1024
        assert mappings(path) == [(size, True), (size, True)]
