"""How many book updates a second go through a local Redis, and how old are they at the far end?

A writer publishes books (a snapshot, a LEVEL and a TOP event an update) into a segment; `tickpath
relay` carries them to a private redis-server and a second one into another segment, where this
process reads every event. Age: from just before the update was published to just after its event
was read here, one clock. `flat out` keeps a fixed number of updates on the way; the other cases
publish so many a second, in bursts of up to 1 ms. The contender does what a script would: redis-py,
one HSET, XADD and PUBLISH an update in a pipeline, the other side listening and reading the stream.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from tickpath._core import ffi, lib
from tickpath.engine.bench.measure import (
    OURS,
    Ratio,
    Report,
    Row,
    at_least,
    at_most,
    interleave,
    progress,
    progress_end,
    row,
)
from tickpath.engine.client.reader import open_reader
from tickpath.engine.strategy.rehearsal import RehearsalFeed
from tickpath.engine.supervisor.child_process import spawn, stop
from tickpath.proto.instrument import Instrument
from tickpath.proto.records import ASKS_WORD, BIDS_WORD, BOOK_WORDS, BookState, EventType
from tickpath.shm.errors import SystemSetupError
from tickpath.shm.reader import Result
from tickpath.shm.segment import SegmentError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tickpath.engine.client.reader import FeedReader

INSTRUMENTS = 4
RING = 1 << 16
RATES = {"1,000 a second": 1_000, "10,000 a second": 10_000, "100,000 a second": 100_000}
FLAT_OUT, WINDOW = "flat out", 4096
CASES = {**RATES, FLAT_OUT: 0}
COUNT = 50_000  # updates a case
RATE_GOAL, P50_GOAL_NS = 100_000.0, 300_000.0
READY_S, DRAIN_S = 15.0, 5.0
BURST_NS = 1_000_000
SPIN_FROM_CPUS = 4
LEVELS = 5
OTHER = "redis-py, one by one"
OTHER_COUNT, OTHER_RATE = 2_000, 1_000
OTHER_CASE = "1,000 a second"
LISTENER = """
import json, sys, time
from redis import Redis
client, count, ages, last = Redis(port=int(sys.argv[1])), int(sys.argv[2]), [], "0"
pubsub = client.pubsub(ignore_subscribe_messages=True)
pubsub.subscribe("contender:wake")
pubsub.get_message(timeout=1)
print("ready", flush=True)
while len(ages) < count and pubsub.get_message(timeout=5):
    for _, items in client.xread({"contender:events": last}):
        now = time.monotonic_ns()
        for last, fields in items:
            ages.append(now - int(fields[b"t"]))
print(json.dumps(ages), flush=True)
"""
_SCALE_WORD = 0xFE << 32 | 0xFA << 40  # exponents -2 and -6
_LEVEL_WORD, _TOP_WORD = (
    int(kind) << 16 | _SCALE_WORD for kind in (EventType.LEVEL, EventType.TOP)
)


def spins() -> bool:
    """Say whether there is a CPU for each of source, relays and Redis."""
    return len(os.sched_getaffinity(0)) >= SPIN_FROM_CPUS


class _Redis:
    """A private redis-server on loopback that dies with this process."""

    def __init__(self, stack: ExitStack) -> None:
        program = shutil.which("redis-server")
        if program is None:
            raise SystemSetupError("no redis-server on PATH: apt-get install redis-server")
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = int(listener.getsockname()[1])
        self.folder = Path(tempfile.mkdtemp(prefix="tickpath-bench-relay-"))
        stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        words = [
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--dir",
            str(self.folder),
        ]
        server = spawn([program, *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        stack.callback(stop, server)
        self.url = f"redis://127.0.0.1:{self.port}/0"
        end = time.monotonic() + READY_S
        while not self._answers():
            if time.monotonic() > end or server.poll() is not None:
                raise SystemSetupError(f"redis-server does not answer on port {self.port}")
            time.sleep(0.02)

    def client(self) -> Redis:
        return Redis(host="127.0.0.1", port=self.port)

    def _answers(self) -> bool:
        try:
            return bool(self.client().ping())
        except RedisConnectionError:
            return False


class _Path:
    """Source segment, two relays, target segment."""

    def __init__(self, stack: ExitStack, server: _Redis) -> None:
        self.source = f"bench-relay-{os.getpid()}"
        names = [Instrument(i, "bench", f"SYMBOL{i}", -2, -6) for i in range(INSTRUMENTS)]
        self.feed = stack.enter_context(RehearsalFeed(self.source, names, ring_capacity=RING))
        for instrument in range(INSTRUMENTS):
            self.feed.publish_top((1, 1), (2, 1), instrument)
        self.feed.heartbeat()
        target = f"{self.source}.target"  # `clean` of the one finds the other
        self._folder = server.folder
        self._logs: list[Path] = []
        self.publisher = self._relay(stack, self.source, "--to", server.url)
        self.follower = self._relay(
            stack, self.source, "--from", server.url, "--as", target, "--ring", str(RING)
        )
        self.reader: FeedReader = stack.enter_context(self._open(target))
        self._wait(self._is_live, "its books did not become LIVE")

    def _relay(self, stack: ExitStack, *words: str) -> subprocess.Popen[str]:
        log = stack.enter_context((self._folder / f"{len(self._logs)}.log").open("w"))
        self._logs.append(Path(log.name))
        command = [sys.executable, "-P", "-m", "tickpath.engine.cli", "relay", *words, "--json"]
        command += ["--spin"] * spins()
        child = spawn(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        stack.callback(stop, child)
        return child

    def _open(self, target: str) -> FeedReader:
        def opened() -> FeedReader | None:
            try:
                return open_reader(target, name="bench")
            except SegmentError:
                return None

        reader: FeedReader = self._wait(opened, "its segment did not appear")
        return reader

    def _wait(self, ready: Any, what: str) -> Any:
        end = time.monotonic() + READY_S
        while not (found := ready()):
            self.feed.heartbeat()
            if time.monotonic() > end:
                logs = " ".join(log.read_text(encoding="utf-8")[-400:] for log in self._logs)
                raise SystemSetupError(f"relay: {what}: {logs}")
            time.sleep(0.005)
        return found

    def _is_live(self) -> bool:
        return all(self.reader.book(i).is_live for i in range(INSTRUMENTS))


class _Source:
    """Publish updates of 2 x LEVELS levels as fast as Python can: words in place, three C calls."""

    def __init__(self, path: _Path) -> None:
        self._feed = path.feed
        self._record = ffi.new("uint64_t[]", BOOK_WORDS)
        self._level, self._top = ffi.new("uint64_t[7]"), ffi.new("uint64_t[7]")
        self._record[9] = LEVELS | LEVELS << 16 | _SCALE_WORD
        self._record[10] = 1  # the row's generation
        for place in range(LEVELS):
            bid, ask = BIDS_WORD + 2 * place, ASKS_WORD + 2 * place
            self._record[bid], self._record[bid + 1] = 1000 - place, 5
            self._record[ask], self._record[ask + 1] = 1001 + place, 5
        self._top[3], self._top[5] = 1000, 1001
        self._used = ASKS_WORD + 2 * LEVELS
        self._count = 0

    def publish(self) -> None:
        """Publish one update, stamped with CLOCK_MONOTONIC in its LEVEL's exchange_ns."""
        self._count += 1
        instrument, quantity = self._count % INSTRUMENTS, self._count
        record, level, top, ring = self._record, self._level, self._top, self._feed.ring
        record[0], record[BIDS_WORD + 1] = self._count, quantity
        record[8] = instrument | int(BookState.LIVE) << 32
        level[0], top[0] = instrument | _LEVEL_WORD, instrument | _TOP_WORD
        level[3], level[4], level[6] = 1000, quantity, self._count
        top[4] = top[6] = quantity
        now = time.monotonic_ns()
        record[2] = record[3] = record[4] = record[5] = level[1] = level[2] = top[1] = top[
            2
        ] = level[5] = now
        lib.tp_snapshot_publish(self._feed.snapshots, instrument, ring.next + 2, record, self._used)
        lib.tp_ring_publish(ring, level)
        lib.tp_ring_publish(ring, top)

    def heartbeat(self) -> None:
        self._feed.heartbeat()


class _Turn:
    """One case: publish and read in turn until everything came or nothing comes any more."""

    def __init__(self, path: _Path, source: _Source) -> None:
        self._reader, self._source = path.reader, source
        self._ages: list[NDArray[np.uint64]] = []
        self.received = self.lost = 0

    def run(self, count: int, rate: int) -> tuple[NDArray[np.uint64], float]:
        """Return ages in nanoseconds, and the updates received a second; rate 0: flat out."""
        self._reader.shm.join()
        start = last = time.monotonic_ns()
        sent, step = 0, max(1, BURST_NS * rate // 10**9)
        while self.received < count and time.monotonic_ns() - last < DRAIN_S * 1e9:
            now = time.monotonic_ns()
            due = min(count, self.received + WINDOW if not rate else (now - start) * rate // 10**9)
            for _ in range(min(due - sent, WINDOW // 8 if not rate else 4 * step)):
                self._source.publish()
                sent += 1
            self._source.heartbeat()
            if self._take():
                last = time.monotonic_ns()
            else:
                next_due = start + (sent + 1) * 10**9 // rate if rate else now + BURST_NS
                self._sleep(next_due - time.monotonic_ns())
        ages = np.concatenate(self._ages) if self._ages else np.zeros(1, dtype=np.uint64)
        return ages, self.received * 1e9 / max(1, last - start)

    def _sleep(self, wait_ns: int) -> None:
        """Wait for an event until the next update is due, as a strategy that blocks does."""
        if wait_ns <= 0:
            return
        self._reader.set_wait(min(wait_ns, BURST_NS), block=not spins())
        if self._reader.next() == Result.EVENT:
            now, words = time.monotonic_ns(), self._reader.event_words
            if words[1] >> 16 & 0xFF == EventType.LEVEL:
                self._ages.append(np.array([now - words[6]], dtype=np.uint64))
                self.received += 1

    def _take(self) -> bool:
        rows = self._reader.shm.batch()
        if not len(rows):
            self.lost += self._reader.lost if self._reader.lost else 0
            return False
        now = time.monotonic_ns()
        stamps = rows[(rows[:, 1] >> 16) & 0xFF == EventType.LEVEL, 6]
        self._ages.append(now - stamps)
        self.received += len(stamps)
        return True


def _ours(path: _Path, each: int, rounds: int, report: Report) -> None:
    """Fill in the rows of every case, and what to make of them."""
    source = _Source(path)
    ages: dict[str, list[NDArray[np.uint64]]] = {case: [] for case in CASES}
    rates: dict[str, list[float]] = {case: [] for case in CASES}
    lost = 0
    for turn in range(rounds):
        for case, rate in CASES.items():
            progress(f"relay {case}: round {turn + 1} of {rounds}")
            one = _Turn(path, source)
            took, through = one.run(each, rate)
            if one.received < each and not one.lost:
                report.notes.append(f"{case}: {each - one.received} of {each} did not arrive")
            lost += one.lost
            ages[case].append(took)
            rates[case].append(through)
    report.notes.append(f"events that this reader lost to the ring's end: {lost}")
    for case in CASES:
        report.rows.append(row("relay", OURS, case, interleave(ages[case])))
    for case in CASES:
        received = round(float(np.median(rates[case])), 1)
        what = "updates a second received"
        is_goal = case == FLAT_OUT
        report.ratios.append(
            at_least("relay", case, what, received, RATE_GOAL)
            if is_goal
            else Ratio("relay", case, what, received)
        )
    for case in RATES:
        p50 = report.find(OURS, case).p50
        report.ratios.append(at_most("relay", case, "p50 age, ns", p50, P50_GOAL_NS))


def measure(count: int, rounds: int) -> Report:
    """Return ages in nanoseconds a case, and rates; `count` updates a case in all rounds."""
    report = Report("relay")
    report.notes = [
        f"nanoseconds from publish to read; {INSTRUMENTS} instruments, an update is a book of "
        f"{LEVELS}+{LEVELS} levels and two events; flat out: {WINDOW} updates on the way",
        "source and far reader, two relays and redis-server share the CPUs, none pinned "
        f"(`taskset` the whole for that); all {'spin' if spins() else 'sleep'} between looks",
    ]
    each = max(1, (count or COUNT) // rounds)
    with ExitStack() as stack:
        server = _Redis(stack)
        with ExitStack() as own:
            _ours(_Path(own, server), each, rounds, report)
        report.rows.append(_other(server, min(OTHER_COUNT, each * rounds)))
    ratio = report.find(OTHER, OTHER_CASE).p50 / report.find(OURS, OTHER_CASE).p50
    report.ratios.append(at_least("relay", OTHER_CASE, f"p50 {OTHER} / ours", ratio, 1.0))
    progress_end()
    return report


def _other(server: _Redis, count: int) -> Row:
    """Time a script's way: every update a pipeline of its own, the other side listening."""
    progress(f"relay: {OTHER}")
    command = [sys.executable, "-P", "-c", LISTENER, str(server.port), str(count)]
    listener = spawn(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    try:
        if listener.stdout is None or listener.stdout.readline() != "ready\n":
            raise SystemSetupError(f"{OTHER}: its listener did not start")
        client, value = server.client(), b"0" * 216
        due = time.monotonic_ns()
        for _ in range(count):
            while time.monotonic_ns() < due:
                time.sleep(0)
            due += 10**9 // OTHER_RATE
            pipe = client.pipeline(transaction=False)
            pipe.hset("contender:book", "b", value)
            pipe.xadd("contender:events", {"t": time.monotonic_ns(), "b": value}, maxlen=1000)
            pipe.publish("contender:wake", b"")
            pipe.execute()
        ages = np.array(json.loads(listener.stdout.readline()), dtype=np.int64)
    finally:
        stop(listener)
    return row("relay", OTHER, OTHER_CASE, ages)
