"""`tickpath subscribe` beside `tickpath run`: it is so for readers, and after a crash too."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

from tickpath.engine.cli import main
from tickpath.engine.client.reader import BookState, open_reader
from tickpath.shm.segment import Segment, SegmentError

from tests.unit.test_run_reconnect import CONFIG, PATIENCE_S, Child, count, free_port, start

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

__all__ = ["start"]  # a fixture


def live(instance: str) -> list[str]:
    """Return the symbols whose books are LIVE now."""
    try:
        with open_reader(instance) as reader:
            rows = reader.instruments
            return [row.symbol for row in rows if reader.book(row.index).state is BookState.LIVE]
    except SegmentError:
        return []


def until(instance: str, symbols: list[str]) -> None:
    ends = time.monotonic() + PATIENCE_S
    while (now := live(instance)) != symbols:
        assert time.monotonic() < ends, now
        time.sleep(0.05)


def test_run_reads_what_is_subscribed_until_it_is_started_anew(
    tmp_path: Path,
    start: Callable[..., Child],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TICKPATH_RUN_DIRECTORY", str(tmp_path / "run"))
    port, instance = free_port(), f"subscribe{os.getpid():07d}"
    path = tmp_path / "run.toml"
    path.write_text(CONFIG.format(instance=instance, port=port, tls="false", ca=""))
    words = ("--plain", "--listen", f"127.0.0.1:{port}", "--instruments", "BTCUSDT,ETHUSDT,SOLUSDT")
    start("sim", "mexc", *words).wait_for(
        "listening", lambda lines: bool(count("listening")(lines))
    )
    program = start("run", str(path))
    until(instance, ["BTCUSDT"])
    assert main(["subscribe", instance, "mexc:ETH/USDT", "mexc:NOPEUSDT"]) == 2
    said = capsys.readouterr()
    assert said.out == "mexc:ETH/USDT: subscribed\n"
    assert "NOPEUSDT" in said.err
    until(instance, ["BTCUSDT", "ETHUSDT"])
    assert main(["unsubscribe", instance, "mexc:BTCUSDT"]) == 0
    until(instance, ["ETHUSDT"])
    assert main(["unsubscribe", instance, "mexc:ETHUSDT"]) == 2
    assert "the last one of mexc" in capsys.readouterr().err

    with Segment(instance) as segment:
        os.kill(int(segment.header.writer_pid), signal.SIGKILL)
    program.wait_for("the next one", lambda lines: count("started")(lines) == 2)
    until(instance, ["ETHUSDT"])
    assert program.end() == 0
    assert main(["subscribe", instance, "mexc:SOLUSDT"]) == 3

    start("run", str(path))
    until(instance, ["BTCUSDT"])  # as its configuration says
