"""The control segment: who registers, whose slot is free again, what hostile contents cannot."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tickpath._core import ffi, lib
from tickpath.engine.cli import main
from tickpath.engine.client.reader import EventType, FeedReader, Lapped, open_reader
from tickpath.engine.strategy.rehearsal import RehearsalFeed
from tickpath.proto.instrument import Instrument
from tickpath.shm.control_segment import (
    LINE_SIZE,
    SLOT_COUNT,
    TOTAL_SIZE,
    ControlSegment,
    consumers,
)
from tickpath.shm.reader import EvictedError, Reader, Result
from tickpath.shm.segment import Segment, SegmentError, SegmentLayout, SegmentWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

INSTRUMENTS = (Instrument(0, "mexc", "BTCUSDT", -2, -6, 1),)
CAPACITY = 64
MINUTE_NS = 60 * 10**9


def make_feed(directory: Path, deadline_ns: int = 0) -> RehearsalFeed:
    return RehearsalFeed(
        "unit",
        INSTRUMENTS,
        directory=directory,
        ring_capacity=CAPACITY,
        lossless_deadline_ns=deadline_ns,
    )


@pytest.fixture
def feed(tmp_path: Path) -> Iterator[RehearsalFeed]:
    with make_feed(tmp_path) as feed:
        yield feed


def calm_reader(directory: Path, name: str | None = "calm") -> FeedReader:
    return open_reader("unit", name=name, directory=directory, stale_after_ns=MINUTE_NS)


def until(ready: Callable[[], bool], patience_s: float = 20.0) -> None:
    end = time.monotonic() + patience_s
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.002)


def registered(directory: Path) -> list[str]:
    with Segment("unit", directory=directory) as segment:
        return [one.name for one in consumers(segment, directory=directory)]


# ---- registration --------------------------------------------------------------------------------


def test_registered_reader_shows_lag_and_laps_until_it_closes(
    feed: RehearsalFeed, tmp_path: Path
) -> None:
    with calm_reader(tmp_path) as reader, Segment("unit", directory=tmp_path) as segment:
        for i in range(20):
            feed.publish_event(EventType.TOP, (i, 1, i, 1))
        (one,) = consumers(segment, directory=tmp_path)
        assert (one.name, one.pid, one.lag, one.laps) == ("calm", os.getpid(), 20, 0)
        assert one.is_alive
        assert not one.is_lossless
        while reader.next() == Result.EVENT:
            pass
        (one,) = consumers(segment, directory=tmp_path)
        assert one.lag == 0
        for i in range(CAPACITY + 10):
            feed.publish_event(EventType.TOP, (i, 1, i, 1))
        assert reader.next() == Result.LAPPED
        (one,) = consumers(segment, directory=tmp_path)
        assert (one.lag, one.laps, one.lost) == (0, 1, CAPACITY + 10)
        reader.shm.unregister()
        assert consumers(segment, directory=tmp_path) == ()
        assert reader.next() == Result.EMPTY


def test_busy_reader_stores_its_cursor_every_quarter_ring(
    feed: RehearsalFeed, tmp_path: Path
) -> None:
    with calm_reader(tmp_path) as reader, Segment("unit", directory=tmp_path) as segment:
        for i in range(40):
            feed.publish_event(EventType.TOP, (i, 1, i, 1))
        for _ in range(33):
            assert reader.shm.poll() == Result.EVENT
        (one,) = consumers(segment, directory=tmp_path)
        assert one.lag == 40 - 32


def test_claims_of_many_threads_never_share_a_slot(feed: RehearsalFeed, tmp_path: Path) -> None:
    with Reader("unit", directory=tmp_path) as reader:
        out, error = ffi.new("struct tp_control **"), ffi.new("struct tp_segment_error *")
        segment = reader.pointer.segment
        assert lib.tp_control_open(out, segment, error) == lib.TP_SEGMENT_OK
        claim = ffi.new("struct tp_control_claimant *")

        def take(_: int) -> int:
            slot, why = ffi.new("struct tp_control_slot **"), ffi.new("struct tp_segment_error *")
            lib.tp_control_claim(out[0], claim, slot, why)
            return int(ffi.cast("uintptr_t", slot[0]))

        for _ in range(20):
            with ThreadPoolExecutor(8) as pool:
                slots = list(pool.map(take, range(SLOT_COUNT + 6)))
            taken = [slot for slot in slots if slot]
            assert len(taken) == len(set(taken)) == SLOT_COUNT
            for slot in taken:
                lib.tp_control_release(out[0], ffi.cast("struct tp_control_slot *", slot))
        lib.tp_control_close(out[0])


def test_full_table_leaves_a_reader_unregistered_and_it_says_so(
    feed: RehearsalFeed, tmp_path: Path
) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(SLOT_COUNT):
            reader = stack.enter_context(Reader("unit", directory=tmp_path))
            assert reader.register("many")
        late = stack.enter_context(calm_reader(tmp_path))
        assert "all 64 slots for consumers are taken" in late.unregistered_because
        feed.publish_event(EventType.TOP, (1, 1, 1, 1))
        assert late.next() == Result.EVENT
        reader.unregister()
        assert late.register("late")
        assert late.unregistered_because == ""


CONSUMER = """
import os, sys
from pathlib import Path
from tickpath.engine.client.reader import open_reader
reader = open_reader("unit", name=sys.argv[2], directory=Path(sys.argv[1]))
print(reader.unregistered_because or "registered", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def consumer_process(directory: Path, name: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-P", "-c", CONSUMER, str(directory), name]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        try:
            yield child
        finally:
            child.kill()


@pytest.mark.slow
def test_slot_of_a_killed_consumer_is_shown_dead_and_freed(
    feed: RehearsalFeed, tmp_path: Path
) -> None:
    with (
        consumer_process(tmp_path, "victim") as child,
        Segment("unit", directory=tmp_path) as segment,
    ):
        assert child.stdout is not None
        assert child.stdout.readline() == "registered\n"
        (one,) = consumers(segment, directory=tmp_path)
        assert (one.name, one.pid, one.is_alive) == ("victim", child.pid, True)
        child.kill()
        child.wait()
        until(lambda: not registered(tmp_path))  # the waker looks once a second
        assert feed.consumers.counters()["reaped"] == 1


def test_slot_of_a_dead_process_is_claimed_over_where_all_are_taken(
    feed: RehearsalFeed, tmp_path: Path
) -> None:
    path = tmp_path / "tickpath.unit.ctl"
    dead = subprocess.Popen(["true"])
    dead.wait()
    with contextlib.ExitStack() as stack, path.open("r+b") as file:
        for _ in range(SLOT_COUNT - 1):
            stack.enter_context(Reader("unit", directory=tmp_path)).register("many")
        # The pid lives again, in us; whoever wrote it does not hold the slot.
        file.seek(TOTAL_SIZE - LINE_SIZE)
        file.write((os.getpid() << 32 | 1).to_bytes(8, "little"))
        file.flush()
        late = stack.enter_context(Reader("unit", directory=tmp_path))
        assert late.register("late")
        assert registered(tmp_path)[-1] == "late"


@pytest.mark.needs("root")
def test_consumer_without_permission_reads_unregistered_and_says_why() -> None:
    directory = Path(tempfile.mkdtemp(prefix="tickpath-test-"))
    try:
        directory.chmod(0o755)
        layout = SegmentLayout(schema="x", ring_capacity=8, mode=0o644)
        with SegmentWriter("unit", layout, directory=directory) as writer:
            control = ControlSegment(writer)
            writer.ready()
            code = (
                "import sys; from pathlib import Path; from tickpath.shm.reader import Reader\n"
                "r = Reader('unit', directory=Path(sys.argv[1]))\n"
                "print(r.register('x'), r.unregistered_because, r.poll())\n"
            )
            done = subprocess.run(
                [sys.executable, "-P", "-c", code, str(directory)],
                user=65534,
                group=65534,
                extra_groups=[],
                capture_output=True,
                text=True,
                check=True,
            )
            assert done.stdout.startswith("False ")
            whose = "Permission denied: owner root, group root, mode 0660: run as root, or have its"
            assert whose in done.stdout  # and no usermod: root's group may do too much
            assert "usermod" not in done.stdout
            assert done.stdout.endswith(" 0\n")
            control.close()
    finally:
        shutil.rmtree(directory)


def test_reader_registers_again_with_the_next_writer(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        feed = make_feed(tmp_path)
        reader = stack.enter_context(calm_reader(tmp_path))
        feed.close()
        assert not (tmp_path / "tickpath.unit.ctl").exists()
        stack.enter_context(make_feed(tmp_path))
        until(lambda: reader.next() == 6)
        assert registered(tmp_path) == ["calm"]


def test_control_segment_of_another_build_is_not_registered_with(
    feed: RehearsalFeed, tmp_path: Path
) -> None:
    path = tmp_path / "tickpath.unit.ctl"
    data = bytearray(path.read_bytes())
    for offset, word in ((0, "magic"), (8, "byte order"), (16, "layout version"), (32, "building")):
        broken = data.copy()
        broken[offset] ^= 0xFF
        path.write_bytes(broken)
        with calm_reader(tmp_path) as reader:
            assert word in reader.unregistered_because
    path.write_bytes(data[:100])
    with calm_reader(tmp_path) as reader:
        assert "the file has 100 bytes" in reader.unregistered_because
    path.unlink()
    with calm_reader(tmp_path) as reader:
        assert "keeps no control segment" in reader.unregistered_because


@pytest.mark.needs("root")
def test_control_segment_of_a_stranger_is_not_registered_with(
    feed: RehearsalFeed, tmp_path: Path
) -> None:
    os.chown(tmp_path / "tickpath.unit.ctl", 65534, -1)
    with calm_reader(tmp_path) as reader:
        assert "owner of the control segment" in reader.unregistered_because


@pytest.mark.needs("root")
@pytest.mark.parametrize(("mode", "expected"), [(0o640, 0o660), (0o600, 0o600), (0o644, 0o660)])
def test_files_belong_to_the_group_with_the_modes_asked_for(
    tmp_path: Path, mode: int, expected: int
) -> None:
    layout = SegmentLayout(schema="x", group=12345, mode=mode)
    with SegmentWriter("unit", layout, directory=tmp_path) as writer:
        control = ControlSegment(writer)
        writer.ready()
        data, ctl = (tmp_path / name for name in ("tickpath.unit", "tickpath.unit.ctl"))
        assert stat.S_IMODE(data.stat().st_mode) == mode
        assert stat.S_IMODE(ctl.stat().st_mode) == expected
        assert data.stat().st_gid == ctl.stat().st_gid == 12345
        control.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", [".lock", ".new", ".ctl"])
def test_instance_that_ends_as_another_kind_of_file_is_refused(tmp_path: Path, ending: str) -> None:
    with pytest.raises(SegmentError):
        SegmentWriter(f"unit{ending}", SegmentLayout(schema="x"), directory=tmp_path)


def test_stat_shows_consumers_as_text_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    name = f"unit-ctl-{os.getpid():07d}"
    with RehearsalFeed(name, INSTRUMENTS) as feed, open_reader(name, name="mine") as reader:
        feed.publish_top((1, 1), (2, 1))
        assert main(["stat", name, "--interval", "0"]) == 0
        assert (
            f"reader mine (pid {os.getpid()}): lag 1, 0 lost in 0 laps" in capsys.readouterr().out
        )
        assert main(["stat", name, "--interval", "0", "--json"]) == 0
        (one,) = json.loads(capsys.readouterr().out)["consumers"]
        assert (one["name"], one["lag"], one["is_lossless"]) == ("mine", 1, False)
        assert reader.next() == Result.EVENT


# ---- lossless ------------------------------------------------------------------------------------


def test_lossless_is_refused_by_a_writer_that_waits_for_nobody(
    feed: RehearsalFeed, tmp_path: Path
) -> None:
    with (
        calm_reader(tmp_path) as reader,
        pytest.raises(SegmentError, match=r"shm\.lossless_deadline_us") as caught,
    ):
        reader.register("mine", lossless=True)
    assert caught.value.reason == "refused by its writer"


@contextlib.contextmanager
def lossless_reader(feed: RehearsalFeed, directory: Path) -> Iterator[FeedReader]:
    """Open one while the writer beats its heart, as it must to answer."""
    with ThreadPoolExecutor(1) as pool, calm_reader(directory) as reader:
        answer = pool.submit(reader.register, "careful", lossless=True)
        while not answer.done():
            feed.heartbeat()
            time.sleep(0.001)
        assert answer.result()
        yield reader


@pytest.mark.slow
def test_lossless_reader_gets_every_event_of_a_fast_writer(tmp_path: Path) -> None:
    count = 30_000
    with (
        make_feed(tmp_path, MINUTE_NS) as feed,
        lossless_reader(feed, tmp_path) as reader,
        ThreadPoolExecutor(1) as pool,
    ):
        first = feed.ring.next

        def publish() -> None:
            for i in range(count):
                feed.publish_event(EventType.TOP, (i, i, i, i))

        done = pool.submit(publish)
        # Nothing is read before the writer waits: a reader that keeps up would never be waited for.
        while feed.consumers.counters()["gate_waits"] == 0 and not done.done():
            time.sleep(0.001)
        got: list[int] = []
        while len(got) < count:
            told = reader.next()
            assert told in (Result.EVENT, Result.EMPTY)
            if told == Result.EVENT:
                got.append(reader.event.index - first)
        done.result()
        assert got == list(range(count))
        assert feed.consumers.counters()["gate_waits"] > 0
        assert feed.consumers.counters()["evictions"] == 0


def test_lossless_reader_too_slow_is_evicted_told_and_reads_on(tmp_path: Path) -> None:
    with make_feed(tmp_path, 2_000_000) as feed, lossless_reader(feed, tmp_path) as reader:
        for i in range(CAPACITY):
            feed.publish_event(EventType.TOP, (i, 1, i, 1))
        assert feed.consumers.counters()["gate_waits"] == 0  # exactly one ring behind: all is there
        start = time.monotonic_ns()
        feed.publish_event(EventType.TOP, (7, 1, 8, 1))
        assert time.monotonic_ns() - start >= 2_000_000
        counters = feed.consumers.counters()
        assert (counters["gate_waits"], counters["evictions"]) == (1, 1)
        feed.publish_event(EventType.TOP, (8, 1, 9, 1))
        assert feed.consumers.counters()["gate_waits"] == 1  # nobody is waited for any more
        with Segment("unit", directory=tmp_path) as segment:
            (one,) = consumers(segment, directory=tmp_path)
        assert one.is_evicted
        with pytest.raises(EvictedError, match=r"66 events are lost.*lossless_deadline_us"):
            reader.next()
        assert not reader.shm.is_lossless
        feed.publish_event(EventType.TOP, (9, 1, 10, 1))
        assert reader.next() == Result.EVENT
        assert reader.event.bid == 9


def test_lossless_batches_tell_the_eviction_too(tmp_path: Path) -> None:
    with make_feed(tmp_path, 1_000_000) as feed, lossless_reader(feed, tmp_path) as reader:
        for i in range(CAPACITY + 1):
            feed.publish_event(EventType.TOP, (i, 1, i, 1))
        with pytest.raises(EvictedError):
            reader.batch()
        assert len(reader.batch()) == 0


def test_lossless_reader_that_was_killed_holds_the_writer_once(tmp_path: Path) -> None:
    code = CONSUMER.replace("print(", "reader.register('x', lossless=True); print(")
    with (
        make_feed(tmp_path, 3_000_000) as feed,
        subprocess.Popen(
            [sys.executable, "-P", "-c", code, str(tmp_path), "x"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as child,
    ):

        def is_gated() -> bool:
            feed.heartbeat()
            return bool(feed.consumers.gate.member_count == 1)

        until(is_gated)
        child.send_signal(signal.SIGKILL)
        child.wait()
        for i in range(4 * CAPACITY):
            feed.publish_event(EventType.TOP, (i, 1, i, 1))
        counters = feed.consumers.counters()
        assert counters["evictions"] <= 1  # none, where the waker freed its slot before
        assert counters["gate_held_ns"] < 1_000_000_000
        assert feed.consumers.gate.member_count == 0


# ---- hostile contents ----------------------------------------------------------------------------


def scribble(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def slot_offset(number: int) -> int:
    return (2 + number) * LINE_SIZE


def test_name_that_would_play_with_the_terminal_is_shown_harmless(
    feed: RehearsalFeed, tmp_path: Path
) -> None:
    with calm_reader(tmp_path):
        scribble(tmp_path / "tickpath.unit.ctl", slot_offset(0) + 64, b"\x1b[2J\xff\r\n ok\0")
        assert registered(tmp_path) == ["?[2J??? ok"]


def test_cursor_from_the_future_is_no_reason_to_wait(tmp_path: Path) -> None:
    with make_feed(tmp_path, MINUTE_NS) as feed, lossless_reader(feed, tmp_path):
        scribble(tmp_path / "tickpath.unit.ctl", slot_offset(0) + 16, b"\xff" * 8)
        for i in range(CAPACITY + 2):
            feed.publish_event(EventType.TOP, (i, 1, i, 1))
        counters = feed.consumers.counters()
        assert (counters["impossible_cursors"], counters["evictions"]) == (1, 1)
        assert counters["gate_waits"] == 0


@settings(max_examples=40, deadline=None)
@given(data=st.binary(min_size=1, max_size=4 * LINE_SIZE), start=st.integers(0, SLOT_COUNT - 4))
def test_scribbled_slots_never_hurt_the_writer(data: bytes, start: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        with (
            make_feed(directory, 100_000) as feed,
            open_reader("unit", name=None, directory=directory) as reader,
        ):
            path = directory / "tickpath.unit.ctl"
            scribble(path, LINE_SIZE, (data * LINE_SIZE)[:16])  # doorbell and registrations
            scribble(path, slot_offset(start), data)
            feed.heartbeat()
            feed.consumers.gate.limit = 0  # as if the ring were full
            for i in range(3 * CAPACITY):
                feed.publish_event(EventType.TOP, (i, 1, i, 1))
            assert next(iter(reader)) == Lapped(3 * CAPACITY)
            with Segment("unit", directory=directory) as segment:
                assert len(consumers(segment, directory=directory)) <= SLOT_COUNT


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=TOTAL_SIZE + 9))
@pytest.mark.slow
def test_consumers_of_any_bytes_are_shown_or_not_but_never_raise(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        with RehearsalFeed("unit", INSTRUMENTS, directory=directory, ring_capacity=8) as feed:
            path = directory / "tickpath.unit.ctl"
            whole = path.read_bytes()
            path.unlink()  # not the one that the feed has mapped
            path.write_bytes(data)
            assert consumers(feed.segment, directory=directory) == ()
            path.write_bytes(whole[: 2 * LINE_SIZE] + data + whole[2 * LINE_SIZE + len(data) :])
            assert len(consumers(feed.segment, directory=directory)) <= SLOT_COUNT
            path.unlink()


# ---- the layout, as it is written down -----------------------------------------------------------

DOCS = Path(__file__).resolve().parents[2] / "docs"
ROW = re.compile(r"^\| (\d+) \| (u32|u64|char\[32\]) \| (\w+) \|", re.MULTILINE)
SIZES = {"u32": 4, "u64": 8, "char[32]": 32}


def written_fields() -> Iterator[tuple[str, int, int]]:
    """Yield (field, offset, size) of every row that documents the control segment."""
    (text,) = (
        text
        for path in DOCS.glob("shared-memory*.md")
        if "wants_wake" in (text := path.read_text())
    )
    section = text[text.index("The control segment") :]
    for offset, kind, field in ROW.findall(section):
        yield field, int(offset), SIZES[kind]


def test_documented_layout_is_that_of_the_compiled_header() -> None:
    found = {field: (offset, size) for field, offset, size in written_fields()}
    slot = {name for name, _ in ffi.typeof("struct tp_control_slot").fields}
    line = {name for name, _ in ffi.typeof("struct tp_control_line").fields}
    header = {name for name, _ in ffi.typeof("struct tp_control_header").fields}
    assert slot | line | header <= set(found)
    for field, (offset, size) in found.items():
        for kind, start in (("slot", 0), ("line", LINE_SIZE), ("header", 0)):
            fields = dict(ffi.typeof(f"struct tp_control_{kind}").fields)
            if field in fields:
                assert fields[field].offset + start == offset, field
                assert ffi.sizeof(fields[field].type) == size, field
    assert ffi.sizeof("struct tp_control_memory") == TOTAL_SIZE == 8448
