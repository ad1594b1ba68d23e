"""What stands beside a real-time strategy: its guard, which is missed, and who else runs there."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from tickpath.engine.strategy.guarded import RESTARTS_MAX, Guarding
from tickpath.engine.strategy.rehearsal import RehearsalFeed
from tickpath.proto.instrument import Instrument

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

INSTANCE = f"guarded-{os.getpid()}"
INSTRUMENTS = (Instrument(0, "mexc", "BTCUSDT", -2, -6, 1),)
PATIENCE_S = 40
IDLE = """
from tickpath.engine.strategy import Strategy
class Mine(Strategy): pass
"""
STARTS = """
import os, subprocess, threading, time
from tickpath.engine.strategy import Strategy

class Mine(Strategy):
    def on_start(self):
        self.end = threading.Event()
        self.thread = threading.Thread(target=self.end.wait, daemon=True)
        self.thread.start()
        self.child = subprocess.Popen(["sleep", "60"])
        self.until = time.monotonic() + 20
        self.mine = os.sched_getaffinity(0)

    def on_idle(self):
        tids = self.thread.native_id, self.child.pid
        cpus = [os.sched_getaffinity(tid) for tid in tids]
        if self.mine not in cpus or time.monotonic() > self.until:
            policies = [os.sched_getscheduler(tid) for tid in tids]
            print([sorted(one) for one in cpus], policies, flush=True)
            self.child.kill()
            raise SystemExit(0)
"""

pytestmark = pytest.mark.needs("root", "two_cpus")


@pytest.fixture
def feed() -> Iterator[RehearsalFeed]:
    with RehearsalFeed(INSTANCE, INSTRUMENTS) as feed:
        yield feed


def start(folder: Path, source: str, log: Path) -> subprocess.Popen[str]:
    path = folder / "mine.py"
    path.write_text(source)
    words = ["--cpu", str(max(os.sched_getaffinity(0))), "--priority", "5", "--block"]
    with log.open("w") as errors:
        return subprocess.Popen(
            ["tickpath", "strategy", f"{path}:Mine", "--instance", INSTANCE, *words],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )


def children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:  # noqa: PTH123 # of the kernel
        return list(map(int, file.read().split()))


def await_line(log: Path, text: str, count: int = 1) -> None:
    end = time.monotonic() + PATIENCE_S
    while log.read_text().count(text) < count:
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.02)


def test_guard_that_dies_is_replaced_and_at_last_given_up_with_the_class(
    feed: RehearsalFeed, tmp_path: Path
) -> None:
    log = tmp_path / "log.txt"
    strategy = start(tmp_path, IDLE, log)
    try:
        end = time.monotonic() + PATIENCE_S
        while os.sched_getscheduler(strategy.pid) & ~os.SCHED_RESET_ON_FORK != os.SCHED_FIFO:
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.02)
        for number in range(RESTARTS_MAX):
            (guard,) = children(strategy.pid)
            os.kill(guard, signal.SIGKILL)
            await_line(log, f"(process {guard}) was killed by signal 9: started another")
            assert log.read_text().count("started another") == number + 1
        (guard,) = children(strategy.pid)
        os.kill(guard, signal.SIGKILL)
        await_line(log, "this strategy is an ordinary one now")
        policy = os.sched_getscheduler(strategy.pid) & ~os.SCHED_RESET_ON_FORK
        assert policy == os.SCHED_OTHER
        assert children(strategy.pid) == []
    finally:
        strategy.terminate()
        strategy.communicate(timeout=PATIENCE_S)
    assert strategy.returncode == 0


def test_what_a_strategy_starts_runs_on_other_cpus(feed: RehearsalFeed, tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    strategy = start(tmp_path, STARTS, log)
    out = strategy.communicate(timeout=PATIENCE_S)[0]
    cpus = sorted(os.sched_getaffinity(0))
    ordinary = [os.SCHED_OTHER, os.SCHED_OTHER]
    assert out.splitlines()[0] == f"{[cpus[:-1]] * 2} {ordinary}", log.read_text()
    assert "was started on CPU" in log.read_text()


def test_guard_that_cannot_be_started_again_does_not_end_the_strategy(
    capfd: pytest.CaptureFixture[str],
) -> None:
    ended = subprocess.Popen(["false"])
    ended.wait()
    guarding = object.__new__(Guarding)  # only what look reads: no strategy, no guard
    guarding._guard, guarding._restarts, guarding._cpu = ended, 0, None
    guarding._command = ["/nonexistent/guard"]
    guarding.look()
    assert guarding._guard is None
    said = capfd.readouterr().err
    assert "ended with status 1, and another cannot be started" in said
    assert "restart the strategy" in said
