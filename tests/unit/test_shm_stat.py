"""`tickpath stat`: what it says of segments that run, that died, and that are not there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

from tickpath.engine.cli import main
from tickpath.engine.commands.stat import SegmentStatus, format_status
from tickpath.engine.loop.pauses import Pauses, Whose
from tickpath.engine.strategy.rehearsal import RehearsalFeed
from tickpath.engine.strategy.stats import create_stats
from tickpath.proto.instrument import Instrument
from tickpath.proto.venue import Rate
from tickpath.shm.budget import FILE_NAME, Kind, read_entries
from tickpath.shm.segment import DIRECTORY

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

INSTANCE = f"unit-stat-{os.getpid():07d}"


def test_stat_tells_of_an_instance_and_its_strategies(capsys: pytest.CaptureFixture[str]) -> None:
    with (
        RehearsalFeed(INSTANCE, [Instrument(0, "mexc", "BTCUSDT", -2, -6)]) as feed,
        create_stats(INSTANCE, "mine") as stats,
    ):
        stats.store_counter(0, 7)
        feed.publish_top((1, 1), (2, 1))
        feed.heartbeat()
        assert main(["stat", INSTANCE, "--interval", "0", "--json"]) == 0
        told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["instance"] for one in told] == [INSTANCE, f"{INSTANCE}.strategy.mine"]
    assert told[0]["state"] in {"running", "silent"}  # as busy as this machine is
    assert (told[0]["writer_pid"], told[0]["events"]) == (os.getpid(), 1)
    assert told[1]["counters"]["events"] == 7
    (book,) = told[0]["books"]
    assert book["symbol"] == "BTCUSDT"
    assert (book["bid"], book["ask"]) == (0.01, 0.02)
    assert book["state"] == "LIVE" or "silent" in book["why"]
    assert told[1]["books"] == []


WRITER = """
import signal, sys
from tickpath.engine.strategy.stats import create_stats
stats = create_stats(sys.argv[1], "killed")
print("up", flush=True)
signal.pause()
"""


def test_stat_of_a_killed_writer_names_its_pid_and_no_other_namespace(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with subprocess.Popen(
        [sys.executable, "-P", "-c", WRITER, INSTANCE], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "up\n"
        child.kill()
    try:
        assert main(["stat", "--interval", "0"]) == 0
        assert f"killed: dead, writer pid {child.pid}, heartbeat" in capsys.readouterr().out
    finally:
        for path in DIRECTORY.glob(f"tickpath.{INSTANCE}.strategy.killed*"):
            path.unlink()


def test_stat_interval_that_cannot_be_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for interval in ("-1", "nan", "inf"):
        assert main(["stat", f"--interval={interval}"]) == 2
        assert "expected 0 to 3600 seconds" in capsys.readouterr().err


def test_stat_without_interval_shows_no_rates() -> None:
    status = SegmentStatus(instance="x", state="running", size_bytes=1, events=5)
    assert "a second" not in format_status(status)


def test_stat_of_an_absent_instance_is_one_line_and_status_3(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["stat", "unit-no-such"]) == 3
    assert "start its writer" in capsys.readouterr().err


def test_stat_text_leaves_out_what_is_zero() -> None:
    status = SegmentStatus(
        instance="demo",
        state="running",
        writer_pid=7,
        size_bytes=1 << 20,
        is_locked_in_memory=True,
        events=1000,
        event_rate=10,
        counters={"feed.messages": 5, "feed.gaps": 0},
        rates={"feed.messages": 2.0},
    )
    text = format_status(status)
    assert "feed.messages" in text
    assert "2 a second" in text
    assert "gaps" not in text
    assert format_status(SegmentStatus(instance="x", state="truncated")) == "x: truncated"


def test_stat_shows_what_addresses_asked_of_the_instances_venues(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TICKPATH_RUN_DIRECTORY", str(tmp_path))
    ours, other = (Whose(f"{name}.test:443", "10.0.0.1", name) for name in ("mexc", "okx"))
    pauses = Pauses()
    for whose in (ours, other):
        pauses.take(whose, Kind.REST, Rate(500, 3600.0, 50), 7)
    pauses.note(ours.host, ours.address, 60.0, "status 429", ours.venue)
    with RehearsalFeed(INSTANCE, [Instrument(0, "mexc", "BTCUSDT", -2, -6)]) as feed:
        feed.publish_top((1, 1), (2, 1))
        assert main(["stat", INSTANCE, "--interval", "0"]) == 0
        text = capsys.readouterr().out
        assert main(["stat", INSTANCE, "--interval", "0", "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
    assert re.search(
        r"budget of 10\.0\.0\.1 at mexc\.test:443: 7 of 500 requests in 3600 s; "
        r"nothing for (60|59) s: status 429",
        text,
    )
    assert "okx.test" not in text
    (budget,) = told["budgets"]
    assert budget["uses"] == [{"kind": "rest", "used": 7, "limit": 500, "window_s": 3600.0}]
    assert (budget["host"], budget["address"]) == (ours.host, ours.address)


def test_stat_is_not_misled_by_a_file_that_is_no_budget(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TICKPATH_RUN_DIRECTORY", str(tmp_path))
    for data in (b"", b"x" * 131_200, b"x" * 10):
        (tmp_path / FILE_NAME).write_bytes(data)
        assert read_entries(tmp_path) == ()
        assert (tmp_path / FILE_NAME).read_bytes() == data  # who looks changes nothing
