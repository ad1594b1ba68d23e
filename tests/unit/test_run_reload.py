"""`tickpath run` and SIGHUP, on kernel sockets: symbols come and go under a reader's eyes."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tickpath.engine.client.reader import BookState, FeedReader, SyncReason, open_reader
from tickpath.engine.recording.format import EVENTS, RecordingFile, recording_paths
from tickpath.engine.recording.recorded import continues, recorded_runs
from tickpath.engine.recording.recorder import Recorder
from tickpath.engine.recording.replayer import Replayer, replay_event_dtype
from tickpath.engine.supervisor.hangup import Hangup
from tickpath.proto.instrument import Status
from tickpath.proto.records import EventType

from tests.unit.test_run_reconnect import CONFIG, PATIENCE_S, Child, count, free_port, start

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["start"]  # a fixture
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")


def follow(
    reader: FeedReader, until: Callable[[], bool], recorder: Recorder | None = None
) -> list[tuple[int, int, list[int]]]:
    """Read on until something holds; return each event's instrument, type and values."""
    seen = []
    end = time.monotonic() + PATIENCE_S
    while not until():
        assert time.monotonic() < end
        if recorder is not None:
            recorder.step()
        if reader.next() == 1:
            event = reader.event
            seen.append((event.instrument, int(event.type), list(reader.event_words[4:6])))
    return seen


def check_recording(path: Path) -> None:
    """Hold a replay's events to those that were published, which the recording has beside it."""
    live: list[bytes] = []
    for one in recording_paths(path):
        with RecordingFile(one) as file:
            live += [block.payload() for block in file.blocks() if block.kind == EVENTS]
            last = file.meta
    assert [row.symbol for row in last.instruments] == list(SYMBOLS)
    played: list[Any] = []
    replayer: Replayer | None = None
    for meta, batches in recorded_runs(path):
        if replayer is None:
            replayer = Replayer(meta, on_events=lambda events: played.append(events.copy()))
        else:
            assert continues(replayer.meta, meta)
            replayer.go_on_with(meta)
        for batch in batches:
            replayer.play(batch)
    assert replayer is not None
    replayer.close()
    was = np.frombuffer(b"".join(live), dtype=replay_event_dtype())
    now = np.concatenate(played)[: len(was)]
    for name in ("index", "instrument", "type", "flags", "received_ns", "u"):
        assert (was[name] == now[name]).all(), name


def is_live(reader: FeedReader, symbol: str) -> bool:
    return any(row.symbol == symbol for row in reader.instruments) and (
        reader.book(symbol).state is BookState.LIVE
    )


def test_run_reloads_symbols_on_sighup_and_says_what_it_did(
    tmp_path: Path, start: Callable[..., Child]
) -> None:
    port, instance = free_port(), f"reload{os.getpid():07d}"
    path = tmp_path / "run.toml"
    text = CONFIG.format(instance=instance, port=port, tls="false", ca="")

    def write(symbols: str, spin: str = "false") -> None:
        edited = text.replace('["BTCUSDT"]', symbols).replace("spin = false", f"spin = {spin}")
        path.write_text(edited, encoding="utf-8")

    text = text.replace("[[venue]]", "[record]\ntap = true\n[[venue]]")
    write('["BTCUSDT", "ETHUSDT"]')
    listen = f"127.0.0.1:{port}"
    words = ["sim", "mexc", "--plain", "--listen", listen, "--instruments", ",".join(SYMBOLS)]
    exchange = start(*words)
    exchange.wait_for("listening", lambda lines: count("listening")(lines) == 1)
    program = start("run", str(path))
    program.wait_for("open", lambda lines: count(": open to")(lines) == 1)
    with open_reader(instance) as reader:
        follow(reader, lambda: is_live(reader, "BTCUSDT") and is_live(reader, "ETHUSDT"))

        recorder = Recorder(instance=instance, directory=tmp_path / "recording")
        recorder.open()
        reader.join()  # what comes from here on is of the reload
        write('["BTCUSDT", "SOLUSDT"]', spin="true")
        program.process.send_signal(signal.SIGHUP)
        seen = follow(reader, lambda: is_live(reader, "SOLUSDT"), recorder)
        program.wait_for("reload", lambda lines: count("added SOLUSDT; removed ETH")(lines) == 1)
        rows = reader.instruments
        assert [row.symbol for row in rows] == ["BTCUSDT", "ETHUSDT", "SOLUSDT"]
        assert [row.status for row in rows] == [Status.TRADING, Status.REMOVED, Status.TRADING]
        gone = reader.book("ETHUSDT")
        assert (gone.state, gone.reason) == (BookState.STALE, SyncReason.REMOVED)
        told = {(one, value[0]) for one, kind, value in seen if kind == EventType.INSTRUMENT}
        assert told == {(1, 2), (2, 1)}  # with their rows' generations
        assert not [one for one, kind, _ in seen if one == 0 and kind == EventType.STATE]
        assert count("feed_handler.spin is true, runs with false: only symbols")(program.lines) == 1

        write('["BTCUSDT", "ETHUSDT", "SOLUSDT"]')
        program.process.send_signal(signal.SIGHUP)
        follow(reader, lambda: is_live(reader, "ETHUSDT"), recorder)
        assert [row.symbol for row in reader.instruments] == ["BTCUSDT", "ETHUSDT", "SOLUSDT"]
        recorder.close()
        check_recording(tmp_path / "recording")

        write('["BTCUSDT"', spin="false")  # no TOML
        program.process.send_signal(signal.SIGHUP)
        program.wait_for("no reload", lambda lines: count("all goes on as it was")(lines) == 1)
        assert is_live(reader, "BTCUSDT")
    assert count(": open to")(program.lines) == 1
    assert program.end() == 0


@pytest.mark.parametrize(
    ("had", "has", "ends"), [(True, True, False), (True, False, True), (False, False, False)]
)
def test_hangup_ends_only_where_the_terminal_went_away(*, had: bool, has: bool, ends: bool) -> None:
    ended: list[bool] = []
    is_there = [had]
    with Hangup(lambda: ended.append(True), lambda: is_there[0]) as hangup:
        is_there[0] = has
        os.kill(os.getpid(), signal.SIGHUP)
        assert bool(ended) == ends
        assert hangup.take() != ends
        assert not hangup.take()


def test_hangup_that_was_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Hangup(lambda: None) as hangup:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not hangup.take()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
