"""A feed handler recorded through faults and kills, then replayed: the same events, byte for byte.

What must be equal: all but published_ns, which live is a reading of the clock and in a replay the
recorded time, and hop zero, which live is a frame's stamp: a recording has messages, no frames.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tickpath.engine.recording.format import EVENTS, RAW, RecordingFile, recording_paths
from tickpath.engine.recording.recorded import recorded_runs
from tickpath.engine.recording.replayer import Replayer, replay_event_dtype
from tickpath.proto.records import EVENT_HOP_ZERO, BookState, EventType
from tickpath.shm.clock import NS_PER_S
from tickpath.shm.control_segment import consumers
from tickpath.shm.segment import Segment

from tests.netns.rig import (
    LIVE,
    PATIENCE_S,
    TICKPATH,
    Exchange,
    Program,
    Settings,
    Supervised,
    VethPair,
    Watcher,
    children,
    kill,
    start,
    until,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

pytestmark = pytest.mark.needs("root", "netns", "af_xdp")

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
TAP = "[record]\ntap = true\ncheckpoint_s = 0.3\n"


@dataclass(slots=True)
class System:
    """Simulator, feed handler with a tap, and whatever records it."""

    pair: VethPair
    directory: Path
    exchange: Exchange = field(init=False)
    run: Supervised = field(init=False)
    recorders: list[Program] = field(default_factory=list)

    def __post_init__(self) -> None:
        words = ("--instruments", ",".join(SYMBOLS), "--rate", "1000")
        self.exchange = Exchange(self.pair, self.directory, *words)

    def record(self, instance: str, *words: str) -> Program:
        """Start a recorder into out/, before or while there is a feed handler."""
        log = self.directory / f"recorder{len(self.recorders)}.log"
        out = str(self.directory / "out")
        command = [*TICKPATH, "record", instance, "--out", out, "--json", *words]
        recorder = start(self.pair, self.pair.feed_handler, log, command)
        self.recorders.append(recorder)
        return recorder

    def read(self, network: str = TAP) -> Watcher:
        """Start the feed handler and wait until its books are LIVE."""
        settings = Settings(symbols=SYMBOLS, network=network)
        self.run = Supervised(self.pair, self.directory, settings)
        watcher = self.run.watch()
        watcher.wait_state(LIVE)
        return watcher

    @property
    def instance(self) -> str:
        return f"e2e-{os.getpid()}-{self.directory.name}"[:60]

    def recorded(self, program: Program, key: str) -> int:
        """Return a figure of the latest JSON line."""
        lines = program.text.splitlines()
        return int(json.loads(lines[-1])[key]) if lines and lines[-1].endswith("}") else 0


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    with VethPair.open() as pair:
        yield System(pair, tmp_path)


def live_events(path: Path) -> NDArray[Any]:
    """Return the recorded events of all files, in order."""
    parts = []
    for one in recording_paths(path):
        with RecordingFile(one) as file:
            parts += [block.payload() for block in file.blocks() if block.kind == EVENTS]
    return np.frombuffer(b"".join(parts), dtype=replay_event_dtype())


def replayed_events(path: Path) -> NDArray[Any]:
    """Return what a replay of all files publishes; they must be of one feed handler."""
    parts: list[bytes] = []  # numpy would repack the joined rows
    replayer: Replayer | None = None
    for meta, batches in recorded_runs(path):
        replayer = replayer or Replayer(meta, on_events=lambda rows: parts.append(rows.tobytes()))
        assert meta.instance_id == replayer.meta.instance_id
        for batch in batches:
            replayer.play(batch)
    assert replayer is not None
    assert replayer.c.diverged == replayer.c.bases_refused == 0
    assert replayer.c.checkpoints > 0
    return np.frombuffer(b"".join(parts), dtype=replay_event_dtype())


def without_clock(events: NDArray[Any]) -> NDArray[Any]:
    copied = np.frombuffer(bytearray(events.tobytes()), dtype=events.dtype)
    copied["published_ns"] = 0
    return copied


def without_hop_zero(live: NDArray[Any], again: NDArray[Any]) -> NDArray[Any]:
    """Return live events with the replay's received_ns where a frame's stamp was known live."""
    copied = without_clock(live)
    stamped = copied["flags"] & EVENT_HOP_ZERO != 0
    assert stamped.any()
    assert not (again["flags"] & EVENT_HOP_ZERO).any()
    waited_ns = again["received_ns"][stamped].astype(np.int64) - copied["received_ns"][stamped]
    assert (waited_ns >= 0).all()
    assert (waited_ns < NS_PER_S).all()
    copied["received_ns"][stamped] = again["received_ns"][stamped]
    copied["flags"][stamped] &= 0xFF ^ EVENT_HOP_ZERO
    return copied


def test_recording_of_a_faulty_session_replays_to_the_live_events(system: System) -> None:
    out = system.directory / "out"
    recorder = system.record(system.instance, "--wait", "30", "--flush", "0.1")
    watcher = system.read()
    for kind in (
        "gap:BTCUSDT",
        "garbage:ETHUSDT",
        "crossed:SOLUSDT",
        "duplicate",
        "ping-flood:500",
        "disconnect",
        "refuse:ETHUSDT",
        "disconnect",
        "accept:ETHUSDT",
        "close:1001",
    ):
        system.exchange.fault(kind)
        time.sleep(0.4)
    watcher.wait_state(LIVE)
    counters = system.run.counters()
    assert counters["feed.gaps"] >= 1
    assert counters["feed.broken"] + counters["feed.unknown_body"] >= 1
    assert counters["hot.disconnects"] >= 3
    watcher.reader.close()
    assert system.run.end() == 0, system.run.program.text
    recorder.wait_for('"waiting"')
    assert recorder.end() == 0, recorder.text
    live, again = live_events(out), replayed_events(out)
    assert live["index"][0] == 0
    assert np.array_equal(live["index"], np.arange(len(live)))  # nothing was lost
    assert len(live) > 3000
    assert without_hop_zero(live, again).tobytes() == without_clock(again).tobytes()
    states = set(live["u"]["value"][live["type"] == EventType.STATE][:, 0].tolist())
    assert states >= {BookState.SYNCING, BookState.LIVE, BookState.STALE}
    assert (again["published_ns"] >= again["received_ns"]).all()
    assert replayed_events(out).tobytes() == again.tobytes()
    assert system.run.files() == []


def test_recording_begun_in_the_midst_reaches_the_live_books(system: System) -> None:
    watcher = system.read()
    out = system.directory / "out"
    recorder = system.record(system.instance, "--max-bytes", "65536")
    until("several files", lambda: system.recorded(recorder, "files") >= 3)
    assert recorder.end() == 0, recorder.text
    live, again = live_events(out), replayed_events(out)
    watcher.reader.close()
    system.run.end()
    tops = {}
    for instrument in range(len(SYMBOLS)):
        is_ours = again["instrument"] == instrument
        joined = again["received_ns"][is_ours & (again["type"] == EventType.CLEAR)]
        assert len(joined) == 1  # a checkpoint, and never again
        for name, events in (("live", live), ("again", again)):
            chosen = events["instrument"] == instrument
            chosen &= (events["type"] == EventType.TOP) & (events["received_ns"] > joined[0])
            tops[name] = events["u"]["value"][chosen]
        # The two streams end at slightly different moments.
        count = min(map(len, tops.values()))
        assert count > 100
        assert np.array_equal(tops["live"][:count], tops["again"][:count])


def test_recorder_killed_leaves_all_but_the_last_second(system: System) -> None:
    watcher = system.read()
    recorder = system.record(system.instance, "--flush", "0.05")
    until("records", lambda: system.recorded(recorder, "records") > 1000)
    known = system.recorded(recorder, "records")
    with Segment(system.instance) as segment:
        assert "recorder" in [one.name for one in consumers(segment)]
    kill(recorder.process.pid)
    recorder.process.wait(PATIENCE_S)
    (path,) = recording_paths(system.directory / "out")
    with RecordingFile(path) as file:
        assert not file.is_closed
        assert sum(block.count for block in file.blocks() if block.kind == RAW) >= known * 0.9
    done = subprocess.run(
        [*TICKPATH, "replay", str(path), "--json"], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["messages"] > 500
    assert watcher.states() == [LIVE] * len(SYMBOLS)  # the feed handler did not notice
    watcher.reader.close()
    assert system.run.end() == 0


def test_recorder_follows_a_killed_feed_handler_into_a_new_file(system: System) -> None:
    watcher = system.read()
    out = system.directory / "out"
    recorder = system.record(system.instance, "--flush", "0.1")
    until("records", lambda: system.recorded(recorder, "records") > 300)
    kill(system.run.feed_handler_pid)
    until("a restart", lambda: system.recorded(recorder, "restarts") == 1)
    until("records", lambda: system.recorded(recorder, "files") == 2)
    time.sleep(1.0)
    assert recorder.end() == 0, recorder.text
    watcher.reader.close()
    system.run.end()
    first, second = recording_paths(out)
    with RecordingFile(first) as one, RecordingFile(second) as two:
        assert one.is_closed
        assert two.is_closed
        assert one.meta.instance_id != two.meta.instance_id
        assert two.meta.part == 0
    done = subprocess.run(
        [*TICKPATH, "replay", str(out), "--print", "books"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert {line["symbol"] for line in lines} == set(SYMBOLS)
    for (
        symbol
    ) in SYMBOLS:  # nothing is known of a book from the kill to the next feed handler's base
        states = [line["state"] for line in lines if line["symbol"] == symbol]
        place = states.index("STALE")
        assert states[place - 1] == "LIVE"
        assert "LIVE" in states[place:]


def test_recorder_on_a_full_disk_ends_with_a_whole_file_and_the_feed_handler_goes_on(
    system: System,
) -> None:
    watcher = system.read()
    out, kept = system.directory / "out", system.directory / "kept"
    out.mkdir()
    kept.mkdir()
    script = (
        f"mount --make-rprivate / && mount -t tmpfs -o size=200k none {out} && "
        f'"$@"; status=$?; cp {out}/* {kept}/; exit $status'
    )
    command = [*TICKPATH, "record", system.instance, "--out", str(out), "--flush", "0.05"]
    words = ["unshare", "--mount", "sh", "-c", script, "sh", *command]
    recorder = start(system.pair, system.pair.feed_handler, system.directory / "full.log", words)
    assert recorder.process.wait(2 * PATIENCE_S) == 3, recorder.text
    assert "No space left on device" in recorder.text
    watcher.drain()
    before = watcher.events
    (path,) = recording_paths(kept)
    assert str(out / path.name) in recorder.text
    with RecordingFile(path) as file:
        assert sum(block.count for block in file.blocks() if block.kind == RAW) > 100

    def went_on() -> bool:
        watcher.drain()
        return watcher.events > before

    until("events", went_on)
    assert watcher.states() == [LIVE] * len(SYMBOLS)
    watcher.reader.close()
    assert system.run.end() == 0


def test_recorder_of_an_instance_without_a_tap_says_what_to_write(system: System) -> None:
    watcher = system.read(network="")
    recorder = system.record(system.instance)
    assert recorder.process.wait(PATIENCE_S) == 2
    assert "write tap = true under [record]" in recorder.text
    watcher.reader.close()
    assert system.run.end() == 0


def test_recorder_stopped_for_long_tells_the_gap_and_the_feed_handler_goes_on(
    system: System,
) -> None:
    """A tap of the smallest size, so that a stopped recorder is lapped soon."""
    watcher = system.read(network=TAP + "ring_capacity = 16384\n")
    recorder = system.record(system.instance, "--flush", "0.1")
    until("records", lambda: system.recorded(recorder, "records") > 100)
    for _ in range(2):
        system.exchange.fault("ping-flood:2000")
    kill(recorder.process.pid, signal.SIGSTOP)
    pid = children(system.run.program.process.pid)[0]
    system.exchange.fault("ping-flood:20000")
    before = int(system.run.counters()["feed.messages"])
    until("a lap", lambda: system.run.counters()["feed.messages"] > before + 4500)
    kill(recorder.process.pid, signal.SIGCONT)
    until("a gap", lambda: system.recorded(recorder, "raw_gaps") >= 1)
    assert children(system.run.program.process.pid)[0] == pid
    time.sleep(1.0)  # until every book had a checkpoint
    assert recorder.end() == 6, recorder.text  # something had to be left out
    watcher.reader.close()
    assert system.run.end() == 0
    done = subprocess.run(
        [*TICKPATH, "replay", str(system.directory / "out"), "--json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 6, done.stderr
    told = json.loads(done.stdout)
    assert told["gaps"] == 1
    assert told["diverged"] == 0
