"""One native source in all placements: over a recording inline and split, and by the commands."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from tickpath._core import ffi, lib
from tickpath.engine.client.feed_segment import INSTRUMENTS_MAX
from tickpath.engine.recording.ndjson import NdjsonRecording
from tickpath.engine.recording.replayer import Replayer
from tickpath.engine.strategy.native import (
    NativeSet,
    figures,
    load_native,
    make_state,
    parse_parameters,
)
from tickpath.engine.strategy.rehearsal import RehearsalFeed
from tickpath.proto.instrument import Instrument
from tickpath.proto.records import EventType
from tickpath.shm.errors import LocalError
from tickpath.shm.reader import Reader, Result

from tests.unit.feed.conftest import Venue
from tests.unit.native_library import CROSSING, DOES, compile_library, compile_probe
from tests.unit.recording.test_replay import line, push, replay, rest_body, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ROOM = 1 << 12
FIRST, GAP, LAST = 1000, 1060, 1120


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("placements")
    compile_probe(folder)
    compile_library(CROSSING, folder / "crossing.so")
    return folder


@pytest.fixture(scope="module")
def recording(folder: Path) -> Path:
    """Write a book that moves, has a gap, and is LIVE again: one message a nanosecond."""
    venue, lines = Venue(seed=3), []
    for t_ns in range(FIRST, LAST):
        data = venue.step(versions=1)
        if t_ns != GAP:  # that one is lost
            lines.append(push(t_ns, data))
        if t_ns in (FIRST + 2, GAP + 5):
            lines.append(line(t_ns, "base", "rest", text=rest_body(venue, venue.version)))
    return write(folder / "moves.ndjson", lines)


def set_of(source: str, parameters: dict[str, int | float], count: int) -> tuple[NativeSet, Any]:
    loaded = load_native(source)
    called = NativeSet(count)
    return called, called.add(loaded, make_state(loaded, parameters), None)


def run_inline(path: Path, source: str, parameters: dict[str, int | float]) -> tuple[bytes, Any]:
    found: list[bytes] = []
    recording = NdjsonRecording(path)
    replayer = Replayer(recording.meta)
    called, row = set_of(source, parameters, replayer.instrument_count)
    replayer.run_inline(called, lambda rows: found.append(rows.tobytes()))
    for batch in recording.batches():
        replayer.play(batch)
    told = figures(called.handle, row)
    replayer.close()
    return b"".join(found), told


def run_split(path: Path, source: str, parameters: dict[str, int | float]) -> tuple[bytes, Any]:
    """Let a reader follow each record, as a strategy that never falls behind does."""
    recording, instance = NdjsonRecording(path), f"split{os.getpid():07d}"
    replayer = Replayer(recording.meta, instance=instance)
    try:
        with Reader(instance, stale_after_ns=1 << 62) as reader:
            reader.set_wait(1, spin_ns=1)
            called, row = set_of(source, parameters, INSTRUMENTS_MAX)
            rows = ffi.new("struct tp_native_intent[]", ROOM)
            log = called.keep_intents(rows, ROOM)
            called.begin()
            came = ffi.new("uint64_t *")

            def drain() -> None:
                while lib.tp_native_spin(called.handle, reader.pointer, 1000, came) == Result.EVENT:
                    pass

            for batch in recording.batches():
                offset = 0
                for until_ns in range(FIRST, LAST):
                    offset = replayer.play(batch, start=offset, until_ns=until_ns)
                    drain()
                assert offset == len(batch)
            assert came[0] == replayer.event_count
            assert log.lost == 0
            size = int(log.count) * ffi.sizeof("struct tp_native_intent")
            return bytes(ffi.buffer(rows)[0:size]), figures(called.handle, row)
    finally:
        replayer.close()


@pytest.mark.parametrize(
    ("source", "parameters"),
    [
        ("crossing.so:crossing", {"spread_min": 2, "quantity": 1000}),
        ("probe.so:probe", {"does": DOES["places"]}),  # also where the book is not LIVE
    ],
)
def test_replay_inline_and_split_leave_the_same_intents_byte_for_byte(
    folder: Path, recording: Path, source: str, parameters: dict[str, int | float]
) -> None:
    whole = f"{folder}/{source}"
    inline = run_inline(recording, whole, parameters)
    split = run_split(recording, whole, parameters)
    assert len(inline[0]) >= 20 * ffi.sizeof("struct tp_native_intent")
    assert inline[0] == split[0]
    assert inline[1] == split[1]
    assert inline[1]["places"] > 10


def test_replay_command_prints_intents_as_numbers_that_people_read(
    folder: Path, recording: Path
) -> None:
    source = f"{folder}/crossing.so:crossing"
    words = ["--ndjson", "--strategy", source, "--parameter", "quantity=1000"]
    lines, done = replay(recording, *words, "--parameter", "spread_min=2", "--print", "intents")
    assert done.returncode == 0, done.stderr
    assert {one["verb"] for one in lines} == {"place", "cancel"}
    first = lines[0]
    assert (first["symbol"], first["side"], first["quantity"]) == ("COIN0USDT", "bid", "0.00001000")
    told = run_inline(recording, source, {"quantity": 1000, "spread_min": 2})[1]
    assert len(lines) == told["places"] + told["cancels"]
    assert f"{told['places']:,} places, {told['cancels']:,} cancels, 0 refused" in done.stderr


def test_replay_command_ends_with_4_where_the_strategy_stopped(
    folder: Path, recording: Path
) -> None:
    source = f"{folder}/probe.so:probe"
    words = ["--ndjson", "--strategy", source, "--parameter", f"does={DOES['stops']}", "--json"]
    _, done = replay(recording, *words)
    assert done.returncode == 4
    assert "is stopped: its on_event returned 7, expected 0" in done.stderr


@pytest.mark.parametrize("words", [["--print", "intents"], ["--parameter", "a=1"]])
def test_replay_command_without_a_strategy_has_no_intents(
    recording: Path, words: list[str]
) -> None:
    _, done = replay(recording, "--ndjson", *words)
    assert done.returncode == 2
    assert "without --strategy SOURCE" in done.stderr


def test_parameters_are_numbers() -> None:
    assert parse_parameters(["a=5", "b=0.5", "c=-1e3"]) == {"a": 5, "b": 0.5, "c": -1000.0}
    for word in ("a", "a=", "a=x"):
        with pytest.raises(LocalError, match="expected NAME=VALUE with a number"):
            parse_parameters([word])


# ---- tickpath strategy ---------------------------------------------------------------------------


class Split:
    """`tickpath strategy` on a made-up feed."""

    def __init__(self, folder: Path, does: str, *words: str) -> None:
        self.instance = f"nat{os.getpid():08d}"
        self.feed = RehearsalFeed(self.instance, (Instrument(0, "mexc", "BTCUSDT", -2, -6, 1),))
        command = [sys.executable, "-P", "-m", "tickpath.engine.cli", "strategy"]
        command += [f"{folder}/probe.so:probe", "--instance", self.instance, "--json"]
        command += ["--parameter", f"does={DOES[does]}", *words]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def publish_until(self, is_over: Callable[[], bool]) -> None:
        while not is_over() and self.process.poll() is None:
            self.feed.publish_book([(100, 5)], [(101, 5)], events_to_come=1)
            self.feed.publish_event(EventType.TOP, (100, 5, 101, 5))
            self.feed.segment.heartbeat()

    def end(self) -> tuple[str, str, int]:
        try:
            out, err = self.process.communicate(timeout=60)
            return out, err, self.process.returncode
        finally:
            self.feed.close()


def test_strategy_command_runs_a_library_in_a_process_of_its_own(folder: Path) -> None:
    import msgspec  # noqa: PLC0415 - for this test alone

    split = Split(folder, "places", "--seconds", "2")
    split.publish_until(lambda: False)
    out, err, status = split.end()
    assert status == 0, err
    told = msgspec.json.decode(out)
    counters = told["counters"]
    assert (told["strategy"], told["placement"]) == ("probe", "split")
    assert counters["places"] == counters["tops"] > 10
    assert (counters["refused"], counters["stopped"]) == (0, 0)
    assert told["hops"]["published_to_seen"]["n"] == counters["tops"]


def test_strategy_command_ends_with_4_where_a_library_stopped(folder: Path) -> None:
    split = Split(folder, "stops")
    split.publish_until(lambda: False)
    _, err, status = split.end()
    assert status == 4
    assert "is stopped: its on_event returned 7, expected 0" in err
    assert "Traceback" not in err


def test_strategy_command_refuses_parameters_of_a_class() -> None:
    words = ["strategy", "examples/top_of_book.py:TopOfBook", "--instance", "x"]
    command = [sys.executable, "-P", "-m", "tickpath.engine.cli", *words, "--parameter", "a=1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, "this is a class" in done.stderr) == (2, True)
