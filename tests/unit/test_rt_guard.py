"""The starvation guard: against real threads that hang, sleep, and come back."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from tickpath.rt.guard import ORDINARY_POLL_S, Guard, MappedBeat, Patience, Verdict, read_times

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATIENCE_S = 20.0
# A process that beats while the first byte of its second file is "b", hangs on "h", sleeps on "s".
BEATING = """
import mmap, os, struct, sys, time
from tickpath.rt import process
beat = mmap.mmap(os.open(sys.argv[1], os.O_RDWR), 0)
order = mmap.mmap(os.open(sys.argv[2], os.O_RDWR), 0)
os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
if len(sys.argv) > 3:
    process.set_fifo(int(sys.argv[3]))
count = 0
print("up", flush=True)
while True:
    what = order[0:1]
    if what == b"s":
        time.sleep(0.02)
    if what == b"b":
        count += 1
        struct.pack_into("=Q", beat, 0, count)
        time.sleep(0.0005)
"""


class Beating:
    """One such process."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.beat, self.order = folder / "beat", folder / "order"
        self.beat.write_bytes(bytes(8))
        self.say("b")
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", BEATING, str(self.beat), str(self.order), *arguments],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "up\n"

    def say(self, what: str) -> None:
        if not self.order.exists():
            self.order.write_bytes(bytes(1))
        with self.order.open("r+b") as file:
            file.write(what.encode())

    @property
    def policy(self) -> int:
        return os.sched_getscheduler(self.process.pid) & ~os.SCHED_RESET_ON_FORK


@pytest.fixture
def beating(tmp_path: Path) -> Iterator[Callable[..., Beating]]:
    made: list[Beating] = []

    def make(*arguments: str) -> Beating:
        made.append(Beating(tmp_path, *arguments))
        return made[-1]

    yield make
    for one in made:
        one.process.kill()
        one.process.wait()


def watched(one: Beating, told: list[str], **patience: float) -> Guard:
    settings = {"misses_max": 5, "beats_to_restore": 5, "poll_s": 0.02} | patience
    return Guard(
        one.process.pid,
        MappedBeat(one.beat, 0),
        told.append,
        Patience(**settings),  # type: ignore[arg-type] # whole numbers where they are to be
    )


def look_until(guard: Guard, wanted: Verdict) -> list[Verdict]:
    """Look at the guard's own pace until it says so."""
    seen = [guard.look()]
    end = time.monotonic() + PATIENCE_S
    while seen[-1] is not wanted:
        assert time.monotonic() < end, f"{wanted} never came: {seen[-10:]}"
        time.sleep(guard.patience.poll_s)
        seen.append(guard.look())
    return seen


@pytest.mark.needs("root", "two_cpus")
def test_guard_fifo_that_stops_beating_becomes_ordinary_and_comes_back(
    beating: Callable[..., Beating],
) -> None:
    one = beating("7")
    told: list[str] = []
    guard = watched(one, told)
    look_until(guard, Verdict.WELL)
    assert one.policy == os.SCHED_FIFO
    one.say("h")
    look_until(guard, Verdict.DEMOTED)
    assert one.policy == os.SCHED_OTHER
    assert "ran without a heartbeat" in told[-1]
    one.say("b")
    assert Verdict.ORDINARY in look_until(guard, Verdict.RESTORED)
    assert one.policy == os.SCHED_FIFO
    assert os.sched_getparam(one.process.pid).sched_priority == 7
    assert "priority 7 is back" in told[-1]


@pytest.mark.needs("root", "two_cpus")
def test_guard_after_the_last_restore_it_stays_ordinary(beating: Callable[..., Beating]) -> None:
    one = beating("7")
    told: list[str] = []
    guard = watched(one, told, restores_max=1)
    for wanted in (Verdict.RESTORED, Verdict.ORDINARY):
        one.say("h")
        look_until(guard, Verdict.DEMOTED)
        one.say("b")
        look_until(guard, wanted)
    for _ in range(20):
        time.sleep(guard.patience.poll_s)
        assert guard.look() is Verdict.ORDINARY
    assert one.policy == os.SCHED_OTHER
    assert "stays one after 2 times" in told[-1]


@pytest.mark.needs("root")
def test_guard_fifo_that_sleeps_without_beating_is_left_alone(
    beating: Callable[..., Beating],
) -> None:
    one = beating("7")
    told: list[str] = []
    guard = watched(one, told)
    look_until(guard, Verdict.WELL)
    one.say("s")
    look_until(guard, Verdict.MISSED)
    for _ in range(20):
        time.sleep(guard.patience.poll_s)
        assert guard.look() is Verdict.MISSED
    assert one.policy == os.SCHED_FIFO
    assert not told


def test_guard_ordinary_thread_that_hangs_is_left_alone(beating: Callable[..., Beating]) -> None:
    one = beating()
    told: list[str] = []
    guard = watched(one, told)
    look_until(guard, Verdict.WELL)
    one.say("h")
    look_until(guard, Verdict.MISSED)
    for _ in range(20):
        time.sleep(guard.patience.poll_s)
        assert guard.look() is Verdict.MISSED
    assert not told
    assert guard.pause_s == ORDINARY_POLL_S


@pytest.mark.needs("root", "two_cpus")
@pytest.mark.slow
def test_guard_what_it_ran_as_an_ordinary_thread_is_not_held_against_it(
    beating: Callable[..., Beating],
) -> None:
    one = beating()
    told: list[str] = []
    guard = watched(one, told)
    one.say("h")
    for _ in range(20):
        time.sleep(guard.patience.poll_s)
        guard.look()
    os.sched_setscheduler(one.process.pid, os.SCHED_FIFO, os.sched_param(7))
    assert guard.look() is Verdict.MISSED
    assert guard.pause_s == guard.patience.poll_s
    assert not told
    look_until(guard, Verdict.DEMOTED)


def test_guard_dead_thread_is_gone_even_unreaped(beating: Callable[..., Beating]) -> None:
    one = beating()
    told: list[str] = []
    guard = watched(one, told)
    look_until(guard, Verdict.WELL)
    one.process.send_signal(signal.SIGKILL)
    look_until(guard, Verdict.GONE)
    one.process.wait()
    assert guard.look() is Verdict.GONE


def test_read_times_name_with_a_parenthesis_is_read_past(tmp_path: Path) -> None:
    tick = os.sysconf("SC_CLK_TCK")
    fields = " ".join(["S", *map(str, range(1, 11)), str(2 * tick), str(tick), *map(str, range(6))])
    folder = tmp_path / "proc/5/task/5"
    folder.mkdir(parents=True)
    (folder / "stat").write_text(f"5 (a) R 9 9) {fields} 777 0\n")
    times = read_times(5, tmp_path)
    assert times is not None
    assert (times.used_s, times.started) == (3.0, 777)


@pytest.mark.parametrize("text", ["", "5 (x) S 1", "5 (x) Z " + "1 " * 40])
def test_read_times_broken_or_ended_is_none(tmp_path: Path, text: str) -> None:
    folder = tmp_path / "proc/5/task/5"
    folder.mkdir(parents=True)
    (folder / "stat").write_text(text)
    assert read_times(5, tmp_path) is None


@pytest.mark.parametrize("offset", [-1, 1, 8])
def test_mapped_beat_offset_beyond_the_file_is_refused(tmp_path: Path, offset: int) -> None:
    path = tmp_path / "beat"
    path.write_bytes(struct.pack("=Q", 5))
    with MappedBeat(path, 0) as beat:
        assert beat() == 5
    with pytest.raises(ValueError, match="expected 0 to 0"):
        MappedBeat(path, offset)


@contextlib.contextmanager
def guarding(one: Beating, *options: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-P", "-m", "tickpath.rt.guard", "--tid", str(one.process.pid)]
    child = subprocess.Popen(
        [*command, "--beat", f"{one.beat}:0", "--name", "mine", *options],
        env=os.environ | environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


@pytest.mark.needs("root", "two_cpus")
@pytest.mark.slow
def test_guard_command_demotes_feeds_the_manager_and_ends_with_its_ward(
    beating: Callable[..., Beating], tmp_path: Path
) -> None:
    path = str(tmp_path / "notify")
    one = beating("7")
    avoid = max(os.sched_getaffinity(0))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(PATIENCE_S)
        options = ("--watchdog", "0.2", "--avoid", str(avoid))
        with guarding(one, *options, NOTIFY_SOCKET=path) as child:
            assert manager.recv(4096).decode() == "READY=1\nSTATUS=mine: running"
            assert manager.recv(4096) == b"WATCHDOG=1"
            assert avoid not in os.sched_getaffinity(child.pid)
            one.say("h")
            while not (said := manager.recv(4096).decode()).startswith("STATUS="):
                assert said == "WATCHDOG=1"
            assert said == "STATUS=mine: demoted: it ran without a heartbeat"
            assert one.policy == os.SCHED_OTHER
            manager.settimeout(1.0)
            with pytest.raises(TimeoutError):  # not fed while the heartbeat stands
                manager.recv(4096)
            one.process.kill()
            assert child.wait(PATIENCE_S) == 0
            assert child.stderr is not None
            assert "ran without a heartbeat" in child.stderr.read()
