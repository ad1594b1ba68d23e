"""`tickpath dump` shows all of a segment; `tickpath clean` removes only what is certainly dead."""

from __future__ import annotations

import fcntl
import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tickpath.engine.cli import main
from tickpath.engine.client.feed_segment import SCHEMA
from tickpath.engine.commands.clean import left_names
from tickpath.engine.strategy.rehearsal import RehearsalFeed
from tickpath.engine.strategy.stats import create_stats
from tickpath.proto.instrument import Instrument
from tickpath.shm.segment import DIRECTORY, schema_hash

if TYPE_CHECKING:
    from collections.abc import Iterator

INSTANCE = f"unit-clean-{os.getpid():07d}"
DIE = """
import os, sys
from tickpath.shm.segment import SegmentLayout, SegmentWriter
for name in sys.argv[1:]:
    SegmentWriter(name, SegmentLayout(schema="x", counters=("a",))).ready()
os._exit(0)
"""


@pytest.fixture(autouse=True)
def tidy() -> Iterator[None]:
    yield
    for path in DIRECTORY.glob(f"tickpath.{INSTANCE}*"):
        path.unlink()


def leave_dead(*names: str) -> list[Path]:
    """Leave what writers leave that die without a word."""
    subprocess.run([sys.executable, "-P", "-c", DIE, *names], check=True)
    return [DIRECTORY / f"tickpath.{name}" for name in names]


def told(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, dict[str, object]]:
    assert main(["clean", INSTANCE, "--json", *words]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return {line["instance"]: line for line in lines}


# ---- dump ----------------------------------------------------------------------------------------


def test_dump_json_has_header_books_and_schema(capsys: pytest.CaptureFixture[str]) -> None:
    instruments = [Instrument(0, "mexc", "BTCUSDT", -2, -6), Instrument(1, "mexc", "ETH", -1, -3)]
    with RehearsalFeed(INSTANCE, instruments, ring_capacity=1024) as feed:
        feed.publish_book([(12345, 7), (12340, 8)], [(12350, 9)])
        feed.heartbeat()
        size = (DIRECTORY / f"tickpath.{INSTANCE}").stat().st_size
        assert main(["dump", INSTANCE, "--json"]) == 0
        dumped = json.loads(capsys.readouterr().out)
    assert dumped["header"]["writer_pid"] == os.getpid()
    assert dumped["header"]["total_size"] == size
    assert dumped["header"]["schema_hash"] == f"{schema_hash(SCHEMA):#018x}"
    assert dumped["sections"]["ring"]["count"] == 1024
    assert dumped["schema"] == SCHEMA.splitlines()
    assert [one["symbol"] for one in dumped["instruments"]] == ["BTCUSDT", "ETH"]
    book, never = dumped["books"]
    assert book["bids"] == [["123.45", "0.000007"], ["123.40", "0.000008"]]
    assert book["asks"] == [["123.50", "0.000009"]]
    assert (never["version"], never["bids"]) == (0, [])


DIE_WITH_BOOK = """
import os, sys
from tickpath.proto.instrument import Instrument
from tickpath.engine.strategy.rehearsal import RehearsalFeed
rows = [Instrument(0, "mexc", "BTCUSDT", -2, -6), Instrument(1, "mexc", "ETH", -1, -3)]
feed = RehearsalFeed(sys.argv[1], rows, ring_capacity=1024)
for quantity in range(1, 8):
    feed.publish_book([(12345, quantity)], [(12350, 9)])
os._exit(0)
"""


def test_dump_shows_the_books_that_a_dead_writer_left(capsys: pytest.CaptureFixture[str]) -> None:
    subprocess.run([sys.executable, "-P", "-c", DIE_WITH_BOOK, INSTANCE], check=True)
    assert main(["dump", INSTANCE, "--json"]) == 0
    book, never = json.loads(capsys.readouterr().out)["books"]
    assert (book["symbol"], book["state"], book["version"]) == ("BTCUSDT", "STALE", 7)
    assert book["bids"] == [["123.45", "0.000007"]]
    assert book["asks"] == [["123.50", "0.000009"]]
    assert (never["symbol"], never["version"], never["bids"]) == ("ETH", 0, [])


def test_clean_of_a_name_that_is_not_there_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["clean", INSTANCE]) == 0
    assert f"nothing of {INSTANCE}" in capsys.readouterr().out


def test_dump_text_of_statistics_has_no_books(capsys: pytest.CaptureFixture[str]) -> None:
    with create_stats(INSTANCE, "mine") as stats:
        stats.store_counter(0, 41)
        assert main(["dump", f"{INSTANCE}.strategy.mine"]) == 0
    said = capsys.readouterr().out
    assert "events                     41" in said
    assert "book " not in said


def test_dump_absent_segment_is_status_3(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dump", "unit-no-such"]) == 3
    assert "start its writer" in capsys.readouterr().err


# ---- clean ---------------------------------------------------------------------------------------


def test_clean_removes_all_of_a_dead_writer_and_nothing_of_a_living(
    capsys: pytest.CaptureFixture[str],
) -> None:
    dead, raw = leave_dead(INSTANCE, f"{INSTANCE}.raw")
    control = dead.with_name(f"{dead.name}.ctl")
    control.write_bytes(b"\0" * 8448)
    with create_stats(INSTANCE, "alive") as alive:
        found = told(capsys)
        assert found[f"{INSTANCE}.strategy.alive"]["action"] == "kept"
        assert alive.path.exists()
    assert [found[name]["action"] for name in (INSTANCE, f"{INSTANCE}.raw")] == ["removed"] * 2
    assert not dead.exists()
    assert not raw.exists()
    assert not control.exists()
    assert not list(DIRECTORY.glob(f"tickpath.{INSTANCE}*"))


def test_clean_dry_run_removes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    (dead,) = leave_dead(INSTANCE)
    before = sorted(DIRECTORY.glob(f"tickpath.{INSTANCE}*"))
    assert told(capsys, "--dry-run")[INSTANCE]["action"] == "would remove"
    assert sorted(DIRECTORY.glob(f"tickpath.{INSTANCE}*")) == before
    assert dead.exists()


def test_clean_half_built_segment_goes_with_its_dead_writer(
    capsys: pytest.CaptureFixture[str],
) -> None:
    building = DIRECTORY / f"tickpath.{INSTANCE}.new"
    building.write_bytes(b"\0" * 4096)
    assert told(capsys)[INSTANCE]["action"] == "removed"
    assert not building.exists()


def test_clean_keeps_what_a_lock_says_is_in_use(capsys: pytest.CaptureFixture[str]) -> None:
    (dead,) = leave_dead(INSTANCE)
    with (DIRECTORY / f"tickpath.{INSTANCE}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "lock" in str(told(capsys)[INSTANCE]["why"])
    assert dead.exists()


def test_clean_keeps_a_segment_whose_process_lives_without_its_lock(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with RehearsalFeed(INSTANCE, [Instrument(0, "mexc", "BTC", 0, 0)]) as feed:
        (DIRECTORY / f"tickpath.{INSTANCE}.lock").unlink()  # as a careless script does
        found = told(capsys)[INSTANCE]
        assert found["action"] == "kept"
        assert f"pid {os.getpid()}" in str(found["why"])
        assert feed.segment.path.exists()


def test_clean_removes_what_nobody_holds_whatever_pid_stands_in_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    (path,) = leave_dead(INSTANCE)
    data = bytearray(path.read_bytes())
    # docs/shared-memory.md: writer_start_time at 56, writer_pid at 64. Both are ours.
    words = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    struct.pack_into("<QI", data, 56, int(words[19]), os.getpid())
    path.write_bytes(data)
    assert told(capsys)[INSTANCE]["action"] == "removed"


@pytest.mark.parametrize("data", [b"notes of somebody", b"x" * 4096])
def test_clean_keeps_files_that_are_no_segments(
    capsys: pytest.CaptureFixture[str], data: bytes
) -> None:
    path = DIRECTORY / f"tickpath.{INSTANCE}"
    path.write_bytes(data)
    assert "by hand" in str(told(capsys)[INSTANCE]["why"])
    assert path.read_bytes() == data


def test_clean_names_are_found_by_any_of_their_files() -> None:
    for ending in (".lock", ".ctl", ".ctl.new", ".raw"):
        (DIRECTORY / f"tickpath.{INSTANCE}-x{ending}").write_bytes(b"")
    assert left_names(f"{INSTANCE}-x") == [f"{INSTANCE}-x", f"{INSTANCE}-x.raw"]
    assert f"{INSTANCE}-x" in left_names(None)


def test_clean_text_says_what_it_did(capsys: pytest.CaptureFixture[str]) -> None:
    leave_dead(INSTANCE)
    assert main(["clean", INSTANCE]) == 0
    assert capsys.readouterr().out.startswith(f"removed {INSTANCE} (")
