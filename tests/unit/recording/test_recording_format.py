"""Recording files: what is written comes back, and any damage is told after all before it."""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tickpath.engine.recording.format import (
    BLOCK,
    CRC,
    END,
    EVENTS,
    HEADER,
    INDEX_ROW,
    RAW,
    FileWriter,
    Meta,
    RecordingFault,
    RecordingFile,
    pack_record,
)
from tickpath.engine.recording.tap import Subscription
from tickpath.shm.errors import LocalError, SystemSetupError

if TYPE_CHECKING:
    from pathlib import Path

META = Meta(
    instruments=(
        Subscription(
            venue="mexc", symbol="AB", price_exponent=-2, quantity_exponent=-3, channel="c@AB"
        ),
    ),
    instance="x",
)
# Payloads that shrink and payloads that do not.
PAYLOADS = [bytes(range(256)) * 20, b"abc" * 1000, os.urandom(700), b"", b"z" * 9]


def write(path: Path, *, closed: bool = True) -> None:
    writer = FileWriter(path, META)
    for number, payload in enumerate(PAYLOADS):
        kind = RAW if number % 2 == 0 else EVENTS
        writer.append(kind, payload, number, (100 * number, 100 * number + 99))
    if closed:
        writer.close()
    else:
        writer.abandon()


def read(path: Path, from_ns: int = 0) -> tuple[list[bytes], LocalError | None]:
    """Return the payloads up to the fault, and the fault."""
    got: list[bytes] = []
    try:
        with RecordingFile(path) as file:
            for block in file.blocks(from_ns):
                try:
                    got.append(block.payload())
                except ValueError as error:
                    raise RecordingFault(path, block.offset, str(error)) from error
    except LocalError as error:
        return got, error
    return got, None


@pytest.mark.parametrize("closed", [True, False])
def test_recording_reads_back_what_was_written(tmp_path: Path, closed: bool) -> None:
    path = tmp_path / "a.tpr"
    write(path, closed=closed)
    assert read(path) == (PAYLOADS, None)
    with RecordingFile(path) as file:
        assert file.meta == META
        assert file.is_closed is closed
        spans = [(one.kind, one.count, one.first_ns, one.last_ns) for one in file.blocks()]
    assert spans[3] == (EVENTS, 3, 300, 399)


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize(
    ("from_ns", "first"), [(0, 0), (99, 0), (100, 1), (250, 2), (499, 4), (10**9, 4)]
)
def test_recording_seek_starts_at_the_block_that_holds_the_time(
    tmp_path: Path, closed: bool, from_ns: int, first: int
) -> None:
    path = tmp_path / "a.tpr"
    write(path, closed=closed)
    assert read(path, from_ns) == (PAYLOADS[first:], None)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_recording_cut_anywhere_is_read_up_to_the_cut(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("cut") / "a.tpr"
    write(path)
    whole = path.read_bytes()
    size = data.draw(st.integers(0, len(whole) - 1))
    path.write_bytes(whole[:size])
    got, fault = read(path)
    assert got == PAYLOADS[: len(got)]
    ends = block_ends(whole)
    assert len(got) == sum(end <= size for end in ends[: len(PAYLOADS)])
    # Between blocks a cut cannot be told from a recorder that was killed; elsewhere it is told.
    assert (fault is None) == (size in (header_end(whole), *ends[: len(PAYLOADS)]))
    if fault is not None:
        assert str(path) in str(fault)


def header_end(whole: bytes) -> int:
    return HEADER.size + int(HEADER.unpack_from(whole)[2]) + CRC.size


def block_ends(whole: bytes) -> list[int]:
    ends, at = [], header_end(whole)
    for _ in range(len(PAYLOADS) + 1):  # and the index
        at += BLOCK.size + CRC.size + int(BLOCK.unpack_from(whole, at)[4])
        ends.append(at)
    return ends


@settings(max_examples=300, deadline=None)
@given(data=st.data())
@pytest.mark.slow
def test_recording_flipped_anywhere_is_read_up_to_the_flip(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("flip") / "a.tpr"
    write(path)
    whole = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(whole) - 1))
    whole[position] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(whole)
    got, fault = read(path)
    assert fault is not None, f"byte {position}"
    write(path.with_name("b.tpr"))
    ends = block_ends(path.with_name("b.tpr").read_bytes())
    begins = header_end(path.with_name("b.tpr").read_bytes())
    intact = sum(end <= position for end in ends[: len(PAYLOADS)]) if position >= begins else 0
    assert got == PAYLOADS[:intact]


@given(st.binary(max_size=400))
def test_recording_of_random_bytes_is_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.mktemp("random") / "a.tpr"
    path.write_bytes(data)
    got, fault = read(path)
    assert got == []
    assert fault is not None


@given(st.binary(max_size=300), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_recording_with_hostile_block_headers_under_a_good_crc_is_refused_or_read(
    tmp_path_factory: pytest.TempPathFactory, stored: bytes, claimed: int, size: int
) -> None:
    path = tmp_path_factory.mktemp("hostile") / "a.tpr"
    FileWriter(path, META).abandon()
    for codec in (0, 1, 2):
        head = BLOCK.pack(b"BLK1", 1, codec, 0, claimed, size, 1, 0, 0, 0)
        crc = CRC.pack(zlib.crc32(stored, zlib.crc32(head)))
        path.write_bytes(path.read_bytes()[: header_end(path.read_bytes())] + head + crc + stored)
        got, fault = read(path)
        assert fault is not None or got == [stored]


def test_block_whose_frame_claims_another_size_than_its_header_is_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "a.tpr"
    FileWriter(path, META).abandon()
    # RFC 8878, 3.1.1.1: a frame of one segment, its content size in 8 bytes: 1 PiB.
    frame = b"\x28\xb5\x2f\xfd\xe0" + (1 << 50).to_bytes(8, "little") + b"\x01\x00\x00"
    head = BLOCK.pack(b"BLK1", RAW, 1, 0, len(frame), 10, 1, 0, 0, 0)
    with path.open("ab") as file:
        file.write(head + CRC.pack(zlib.crc32(frame, zlib.crc32(head))) + frame)
    got, fault = read(path)
    assert got == []
    assert "a frame of 1125899906842624 bytes, expected 10" in str(fault)


@pytest.mark.parametrize("offset", [0, 2**63, 2**64 - 1])
def test_index_that_points_astray_is_not_believed(tmp_path: Path, offset: int) -> None:
    path = tmp_path / "a.tpr"
    writer = FileWriter(path, META)
    for number, payload in enumerate(PAYLOADS):
        writer.append(RAW, payload, number, (100 * number, 100 * number + 99))
    writer._index[2] = INDEX_ROW.pack(offset, 200, 299, 2, RAW)
    writer.close()
    assert read(path, 250) == (PAYLOADS[2:], None)


def test_index_that_is_damaged_hides_no_block(tmp_path: Path) -> None:
    path = tmp_path / "a.tpr"
    write(path)
    data = bytearray(path.read_bytes())
    data[-END.size - 3] ^= 1
    path.write_bytes(data)
    got, fault = read(path, 250)
    assert got == PAYLOADS[2:]
    assert "CRC-32" in str(fault)


@pytest.mark.parametrize("missing", [0, 1, 3])
def test_recording_without_one_of_its_blocks_is_a_fault(tmp_path: Path, missing: int) -> None:
    path = tmp_path / "a.tpr"
    write(path, closed=False)
    with RecordingFile(path) as file:
        places = [block.offset for block in file.blocks()]
    data = path.read_bytes()
    path.write_bytes(data[: places[missing]] + data[places[missing + 1] :])
    got, fault = read(path)
    assert got == PAYLOADS[:missing]
    assert f"block {missing + 1}, expected {missing}: some are missing" in str(fault)


def test_recording_of_another_version_names_both(tmp_path: Path) -> None:
    path = tmp_path / "a.tpr"
    path.write_bytes(HEADER.pack(b"TICKPREC", 3, 0))
    _, fault = read(path)
    assert "version 3, expected 1 to 2" in str(fault)


FULL_DISK = """
import os, subprocess, sys
from pathlib import Path
from tickpath.engine.recording.format import RAW, FileWriter, Meta
from tickpath.shm.errors import SystemSetupError
subprocess.run(["mount", "--make-rprivate", "/"], check=True)
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", sys.argv[1]], check=True)
writer = FileWriter(Path(sys.argv[1]) / "a.tpr", Meta(instruments=()))
written = 0
try:
    for number in range(100):
        writer.append(RAW, os.urandom(20_000), 1, (number, number))
        written += 1
except SystemSetupError as error:
    print(written, writer.size, error)
    writer.abandon()
    from tickpath.engine.recording.format import RecordingFile
    with RecordingFile(writer.path) as file:
        print(sum(1 for _ in file.blocks()), writer.path.stat().st_size)
"""


@pytest.mark.needs("root", "netns")
def test_recording_on_a_full_disk_stays_whole_and_names_the_file(tmp_path: Path) -> None:
    done = subprocess.run(
        ["unshare", "--mount", sys.executable, "-P", "-c", FULL_DISK, str(tmp_path)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    first, second = done.stdout.splitlines()
    written, size = first.split()[:2]
    assert int(written) >= 5
    assert "No space left on device" in first
    assert f"{tmp_path}/a.tpr" in first
    assert second.split() == [written, size]


def test_recording_that_exists_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a.tpr").write_bytes(b"precious")
    with pytest.raises(SystemSetupError, match=r"a\.tpr: File exists"):
        FileWriter(tmp_path / "a.tpr", META)


def test_record_is_padded_to_eight_bytes() -> None:
    assert len(pack_record(1, 2, 3, 4, b"12345")) == 16 + 8
    assert len(pack_record(1, 2, 3, 4, b"12345678")) == 16 + 8
