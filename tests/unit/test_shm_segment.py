"""The segment: built, opened, refused, replaced and removed."""

from __future__ import annotations

import fcntl
import os
import random
import signal
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tickpath._core import ffi, lib
from tickpath.shm.errors import LocalError
from tickpath.shm.histogram import BUCKET_COUNT, Percentiles, bucket_middle
from tickpath.shm.segment import (
    Segment,
    SegmentError,
    SegmentLayout,
    SegmentLockedError,
    SegmentNotReadyError,
    SegmentWriter,
    instances,
    remove_dead,
    schema_hash,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LAYOUT = SegmentLayout(
    schema="event instrument 0 u32\nevent type 4 u16\n",
    ring_capacity=64,
    snapshot_slots=3,
    snapshot_words=94,
    table_rows=3,
    table_row_size=64,
    counters=("messages", "gaps"),
    histograms=("decoded",),
)
# Offsets of layout 2.0 in the file, as shm/segment.h draws it.
MAGIC, BYTE_ORDER, MAJOR, HEADER_SIZE, STATIC_SIZE, TOTAL_SIZE = 0, 8, 16, 20, 24, 32
CLOCK = 184
SECTIONS = range(216, 376, 16)
CELLS = SECTIONS[-2]


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[SegmentWriter]:
    with SegmentWriter("unit", LAYOUT, directory=tmp_path) as segment:
        segment.write_row(0, b"MEXC")
        segment.ready()
        yield segment


def damage(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def refused(directory: Path, schema: str | None = None) -> str:
    with pytest.raises(SegmentError) as caught:
        Segment("unit", schema=schema, directory=directory)
    return caught.value.reason


def test_segment_opened_shows_what_the_writer_put_in(writer: SegmentWriter, tmp_path: Path) -> None:
    with Segment("unit", schema=LAYOUT.schema, directory=tmp_path) as segment:
        assert segment.schema == LAYOUT.schema
        assert segment.rows() == [(1, b"MEXC" + bytes(52 + 64))]
        assert segment.counters() == {"messages": 0, "gaps": 0}
        assert segment.histograms() == {"decoded": Percentiles()}
        assert segment.instance_id == writer.instance_id != 0
        assert segment.header.writer_pid == os.getpid()
        assert segment.writer_lives()
        assert not segment.is_superseded


def test_segment_file_mode_is_0640(writer: SegmentWriter) -> None:
    assert writer.path.stat().st_mode & 0o777 == 0o640


def test_segment_reader_mapping_is_read_only(writer: SegmentWriter, tmp_path: Path) -> None:
    # A store through a reader's pointer must fault: try it where it may.
    code = (
        "import sys; from pathlib import Path; from tickpath.shm.segment import Segment; "
        "s = Segment('unit', directory=Path(sys.argv[1])); s.live.crc32 = 1"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGSEGV
    assert writer.live.crc32 != 1


def test_crc32_agrees_with_zlib() -> None:
    data = random.Random(1).randbytes(1000)  # a test wants the same numbers each time
    for size in (0, 1, 9, 1000):
        assert lib.tp_segment_crc32(data, size) == zlib.crc32(data[:size])


def test_schema_hash_is_fnv1a_64() -> None:
    # Vectors of the FNV reference (draft-eastlake-fnv): "", "a", "foobar".
    assert schema_hash("") == 0xCBF29CE484222325
    assert schema_hash("a") == 0xAF63DC4C8601EC8C
    assert schema_hash("foobar") == 0x85944171F73967E8


def test_segment_absent_is_refused_as_not_ready(tmp_path: Path) -> None:
    with pytest.raises(SegmentNotReadyError, match="start its writer"):
        Segment("unit", directory=tmp_path)
    assert refused(tmp_path / "nowhere") == "absent"


def test_segment_being_built_is_refused_as_not_ready(tmp_path: Path) -> None:
    with SegmentWriter("unit", LAYOUT, directory=tmp_path) as segment:
        assert refused(tmp_path) == "being built"
        segment.ready()
        Segment("unit", directory=tmp_path).close()


def test_segment_in_state_init_is_refused_as_not_ready(
    writer: SegmentWriter, tmp_path: Path
) -> None:
    damage(writer.path, int(writer.header.live.offset), struct.pack("<I", 0))
    assert refused(tmp_path) == "being built"


@pytest.mark.parametrize(
    ("offset", "data", "reason"),
    [
        (MAGIC, b"ELEPHANT", "wrong magic"),
        (BYTE_ORDER, bytes(range(1, 9)), "wrong byte order"),
        (MAJOR, struct.pack("<H", 1), "wrong layout version"),
        (HEADER_SIZE, struct.pack("<I", 8), "impossible layout"),
        (TOTAL_SIZE, struct.pack("<Q", 1 << 40), "truncated"),
        (TOTAL_SIZE, struct.pack("<Q", 4096), "impossible layout"),
        (CLOCK, struct.pack("<QQQ", 0, 0, 1), "impossible layout"),  # a day takes 11,000 years
        (CLOCK, struct.pack("<QQQ", (1 << 64) - 1, 0, 0), "impossible layout"),  # it stands
        (40, struct.pack("<Q", 7), "wrong schema"),
        (88, b"damaged", "corrupted header"),
    ],
)
def test_segment_with_a_damaged_header_is_refused_with_its_reason(
    writer: SegmentWriter, tmp_path: Path, offset: int, data: bytes, reason: str
) -> None:
    damage(writer.path, offset, data)
    assert refused(tmp_path, LAYOUT.schema) == reason


def test_segment_with_a_static_part_beyond_all_limits_is_not_checksummed(
    writer: SegmentWriter, tmp_path: Path
) -> None:
    size = 1 << 30
    os.truncate(writer.path, size + 8192)  # sparse
    damage(writer.path, STATIC_SIZE, struct.pack("<QQ", size, size + 8192))
    damage(writer.path, SECTIONS[4], struct.pack("<Q", size))  # the live lines behind it
    assert refused(tmp_path) == "impossible layout"


def test_segment_of_other_version_names_both_values(writer: SegmentWriter, tmp_path: Path) -> None:
    damage(writer.path, MAJOR, struct.pack("<H", 9))
    with pytest.raises(SegmentError, match="layout version 9, expected 2: it is of a newer"):
        Segment("unit", directory=tmp_path)


def test_segment_of_an_older_layout_names_both_values_and_the_remedy(
    writer: SegmentWriter, tmp_path: Path
) -> None:
    damage(writer.path, MAJOR, struct.pack("<H", 1))
    with pytest.raises(
        SegmentError, match=r"layout version 1, expected 2: .* restart its writer with this one"
    ):
        Segment("unit", directory=tmp_path)


def test_segment_of_an_older_layout_is_told_that_it_was_replaced(tmp_path: Path) -> None:
    # Its readers refuse the new one by its version; until then they must know that theirs ended.
    with SegmentWriter("unit", LAYOUT, directory=tmp_path) as before:
        before.ready()
        old, live = before.path.read_bytes(), int(before.header.live.offset)
    path = tmp_path / "tickpath.unit"
    path.write_bytes(old[:MAJOR] + struct.pack("<H", 1) + old[MAJOR + 2 :])
    with path.open("rb") as left, SegmentWriter("unit", LAYOUT, directory=tmp_path) as after:
        after.ready()
        left.seek(live + 8)
        assert struct.unpack("<Q", left.read(8)) == (after.instance_id,)


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize(
    "data",
    [
        struct.pack("<QII", (1 << 64) - 64, 64, 64),  # offset + size overflows to a small value
        struct.pack("<QII", 0, 64, 64),  # on the header itself
        struct.pack("<QII", 4096, (1 << 32) - 1, (1 << 32) - 1),
        struct.pack("<QII", 1 << 62, 1, 64),
        struct.pack("<QII", 4097, 1, 64),  # unaligned, or off the sizes that others name
    ],
)
def test_segment_with_hostile_section_is_refused(
    writer: SegmentWriter, tmp_path: Path, section: int, data: bytes
) -> None:
    damage(writer.path, section, data)
    # The schema and the table may lie anywhere inside the static part: then the CRC tells.
    assert refused(tmp_path) in {"impossible layout", "corrupted header"}


@pytest.mark.parametrize("size", [0, 1, 375, 376, 4096, 20000, -4096, -1])
def test_segment_truncated_is_refused(writer: SegmentWriter, tmp_path: Path, size: int) -> None:
    os.truncate(writer.path, size if size >= 0 else writer.header.total_size + size)
    assert refused(tmp_path) == "truncated"
    # The writer's own mapping ends here too: it must not touch the pages that are gone.
    os.truncate(writer.path, writer.header.total_size)


def test_segment_with_random_damage_never_crashes(writer: SegmentWriter, tmp_path: Path) -> None:
    whole = writer.path.read_bytes()
    choose = random.Random(20)  # a test wants the same numbers each time
    opened = 0
    for _ in range(2000):
        data = bytearray(whole)
        for _ in range(choose.randrange(1, 5)):
            data[choose.randrange(376)] = choose.randrange(256)
        (tmp_path / "tickpath.fuzz").write_bytes(data)
        try:
            Segment("fuzz", directory=tmp_path).close()
            opened += 1
        except SegmentError:
            pass
    assert opened < 20  # only where every byte was replaced by itself


def test_segment_name_outside_the_alphabet_is_refused(tmp_path: Path) -> None:
    for name in ("", ".hidden", "../escape", "a/b", "x" * 96, "a b", "a\0b"):
        with pytest.raises(SegmentError):
            SegmentWriter(name, LAYOUT, directory=tmp_path)


def test_segment_with_ring_not_a_power_of_two_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SegmentError, match="power of two"):
        SegmentWriter("unit", SegmentLayout(schema="", ring_capacity=48), directory=tmp_path)


def test_second_writer_is_refused_while_the_first_lives(
    writer: SegmentWriter, tmp_path: Path
) -> None:
    with pytest.raises(SegmentLockedError, match=f"pid {os.getpid()}"):
        SegmentWriter("unit", LAYOUT, directory=tmp_path)
    assert not writer.live.superseded_by


def test_writer_that_was_killed_is_replaced_and_its_segment_marked(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from tickpath.shm.segment import SegmentLayout, SegmentWriter\n"
        "w = SegmentWriter('unit', SegmentLayout(schema='x', ring_capacity=8),"
        " directory=Path(sys.argv[1]))\n"
        "w.ready(); print('up', flush=True); signal.pause()"
    )
    child = subprocess.Popen(
        [sys.executable, "-P", "-c", code, str(tmp_path)], stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"up\n"
    with Segment("unit", directory=tmp_path) as old:
        assert old.writer_lives()
        child.kill()
        child.wait()
        child.stdout.close()
        assert not old.writer_lives()
        assert not old.is_superseded
        with SegmentWriter("unit", LAYOUT, directory=tmp_path) as new:
            new.ready()
            assert old.is_superseded
            assert old.live.superseded_by == new.instance_id
            with Segment("unit", directory=tmp_path) as reopened:
                assert reopened.instance_id == new.instance_id


def test_writer_closed_removes_its_files_and_tells_readers(tmp_path: Path) -> None:
    writer = SegmentWriter("unit", LAYOUT, directory=tmp_path)
    writer.ready()
    with Segment("unit", directory=tmp_path) as reader:
        writer.close()
        assert reader.is_superseded
    assert list(tmp_path.iterdir()) == []


def test_writer_closed_leaves_a_file_that_is_not_its_own(tmp_path: Path) -> None:
    writer = SegmentWriter("unit", LAYOUT, directory=tmp_path)
    writer.ready()
    writer.path.unlink()
    writer.path.write_bytes(b"another's")
    writer.close()
    assert writer.path.read_bytes() == b"another's"


def test_full_file_system_is_a_clear_error_and_leaves_nothing(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("missing capability: mounting a tmpfs needs root")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path],
        check=False,
        capture_output=True,
    )
    if mounted.returncode != 0:
        pytest.skip("missing capability: mounting a tmpfs")
    try:
        layout = SegmentLayout(schema="x", ring_capacity=16384)
        with pytest.raises(SegmentError, match="no room for 10") as caught:
            SegmentWriter("unit", layout, directory=tmp_path)
        assert caught.value.reason == "no space"
        assert list(tmp_path.iterdir()) == []
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_remove_dead_spares_the_living_and_removes_the_dead() -> None:
    name = f"unit-dead-{os.getpid():07d}"
    code = (
        "import os, sys; from tickpath.shm.segment import SegmentLayout, SegmentWriter\n"
        "w = SegmentWriter(sys.argv[1], SegmentLayout(schema='x')); w.ready(); os._exit(0)"
    )
    subprocess.run([sys.executable, "-P", "-c", code, name], check=True)
    assert name in list(instances())
    assert remove_dead(name)
    assert not remove_dead(name)
    assert not list(Path("/dev/shm").glob(f"tickpath.{name}*"))  # noqa: S108  # the real one is meant
    with SegmentWriter(name, LAYOUT) as writer:
        writer.ready()
        with pytest.raises(SegmentLockedError):
            remove_dead(name)


def test_remove_dead_spares_a_writer_that_came_while_it_took_the_lock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = f"unit-race-{os.getpid():07d}"
    writers = [SegmentWriter(name, LAYOUT)]
    flock = fcntl.flock

    def change_writers_first(lock: int, operation: int) -> None:
        writers.pop().close()  # removes the lock file that remove_dead has just opened
        writers.append(SegmentWriter(name, LAYOUT))
        writers[0].ready()
        flock(lock, operation)

    monkeypatch.setattr(fcntl, "flock", change_writers_first)
    with pytest.raises(SegmentLockedError):
        remove_dead(name)
    Segment(name).close()
    writers.pop().close()
    assert not list(Path("/dev/shm").glob(f"tickpath.{name}*"))  # noqa: S108  # the real one is meant


@pytest.mark.needs("strace")
def test_lock_file_of_somebody_else_is_opened_without_creating_it(tmp_path: Path) -> None:
    # With O_CREAT the kernel denies it even to root (fs.protected_regular, on by default).
    name = f"unit-lock-{os.getpid():07d}"
    code = (
        "import os, sys\nfrom tickpath.shm.segment import SegmentLayout as Layout\n"
        "from tickpath.shm.segment import SegmentWriter, remove_dead\n"
        "for _ in range(2):\n    if (child := os.fork()) == 0:\n"
        "        SegmentWriter(sys.argv[1], Layout(schema='x')).ready(); os._exit(0)\n"
        "    os.waitpid(child, 0)\nremove_dead(sys.argv[1])"
    )
    trace = tmp_path / "trace"
    strace = ("strace", "-f", "-qq", "-e", "trace=openat", "-o", trace)
    subprocess.run([*strace, sys.executable, "-P", "-c", code, name], check=True)
    opens = [line for line in trace.read_text().splitlines() if f"tickpath.{name}.lock" in line]
    assert ["O_CREAT" in line for line in opens] == [False, True, False, False]
    assert "ENOENT" in opens[0]


def test_heartbeat_stores_at_most_once_a_millisecond(writer: SegmentWriter) -> None:
    first = writer.live.heartbeat_ns
    for step in range(10):
        lib.tp_segment_heartbeat(writer.pointer, first + step * 100_000)
    assert writer.live.heartbeat_ns == first
    lib.tp_segment_heartbeat(writer.pointer, first + 1_000_000)
    assert writer.live.heartbeat_ns == first + 1_000_000
    assert writer.live.loop_count == 11


def test_clock_runs_with_the_monotonic_clock(writer: SegmentWriter) -> None:
    time.sleep(0.05)  # a wrong rate shows in time
    before = time.monotonic_ns()
    now = writer.now_ns()
    after = time.monotonic_ns()
    # A calibration over 20 ms is good for some ppm; seconds have passed at most.
    assert before - 1_000_000 <= now <= after + 1_000_000


def test_histogram_bucket_middle_is_within_its_width() -> None:
    for ns in (0, 1, 63, 64, 65, 127, 128, 1000, 123_456, 10**9, (1 << 36) - 1):
        index = lib.tp_histogram_bucket(ns)
        assert 0 <= index < BUCKET_COUNT
        assert abs(bucket_middle(index) - ns) <= max(0, ns / 64 + 0.5)
    assert lib.tp_histogram_bucket((1 << 64) - 1) == BUCKET_COUNT - 1


def test_histogram_percentiles_agree_with_numpy(writer: SegmentWriter) -> None:
    values = np.random.default_rng(3).lognormal(7, 1, 20_000).astype(np.uint64)
    histogram = lib.tp_segment_histogram(writer.pointer, 0)
    for value in values:
        lib.tp_histogram_record(histogram, int(value))
    told = writer.histograms()["decoded"]
    assert (told.n, told.min, told.max) == (len(values), values.min(), values.max())
    for fraction, value in ((0.5, told.p50), (0.9, told.p90), (0.99, told.p99), (0.999, told.p999)):
        assert value == pytest.approx(np.quantile(values, fraction), rel=0.03)
    assert told.mean == pytest.approx(values.mean(), abs=1)


def test_ring_publish_stores_the_slot_that_the_header_describes(writer: SegmentWriter) -> None:
    ring = lib.tp_segment_ring_writer(writer.pointer)
    event = ffi.new("uint64_t[7]", [1, 2, 3, 4, 5, 6, 7])
    for index in range(65):
        assert lib.tp_ring_publish(ring, event) == index
    raw = writer.path.read_bytes()
    offset = int(writer.header.ring.offset)
    assert struct.unpack_from("<8Q", raw, offset) == (2 * 64 + 2, 1, 2, 3, 4, 5, 6, 7)
    assert struct.unpack_from("<Q", raw, offset + 64) == (2 * 1 + 2,)
    assert writer.live.head == 65


@pytest.mark.parametrize(
    ("offset", "data", "said"),
    [
        # docs/shared-memory.md has these places.
        (20, struct.pack("<I", 10), "header size cannot be (found 10, bound 376)"),
        (SECTIONS[-1] + 8, struct.pack("<I", 3), "(a power of two) cannot be (found 3, "),
        (SECTIONS[-1] + 12, struct.pack("<I", 0), "ring, entry size cannot be (found 0, bound 64)"),
        # 94 words and two more make 768 bytes a cell, four cells a slot.
        (CELLS + 12, struct.pack("<I", 704), "cells, entry size cannot be (found 704, bound 768)"),
        (CELLS + 8, struct.pack("<I", 11), "cells, count cannot be (found 11, bound 12)"),
        (CELLS + 8, struct.pack("<I", 8), "cells, count cannot be (found 8, bound 12)"),
    ],
)
def test_segment_with_impossible_layout_names_the_wrong_number(
    writer: SegmentWriter, tmp_path: Path, offset: int, data: bytes, said: str
) -> None:
    damage(writer.path, offset, data)
    with pytest.raises(SegmentError) as caught:
        Segment("unit", directory=tmp_path)
    assert said in str(caught.value)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_segment_that_is_no_regular_file_is_told_so(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "tickpath.unit")
    with pytest.raises(SegmentError, match="not a regular file: Invalid argument"):
        Segment("unit", directory=tmp_path)


def test_segment_absent_names_those_that_are_there(writer: SegmentWriter, tmp_path: Path) -> None:
    with pytest.raises(SegmentError, match="take one that is there: unit"):
        Segment("other", directory=tmp_path)


@pytest.mark.parametrize("name", ["", "a b", "../etc", "x" * 96, "a.lock"])
def test_segment_name_that_cannot_be_is_the_callers_mistake(name: str) -> None:
    with pytest.raises(LocalError, match=r"characters a-z A-Z 0-9 \. _ -"):
        Segment(name)
