"""Writer and consumers in other PID and user namespaces on one /dev/shm, as containers have it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
from tickpath.engine.client.reader import EventType
from tickpath.engine.commands import stat
from tickpath.engine.commands.clean import writer_of
from tickpath.engine.strategy.rehearsal import RehearsalFeed
from tickpath.proto.instrument import Instrument
from tickpath.shm.control_segment import Consumer, consumers
from tickpath.shm.segment import Segment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

INSTRUMENTS = (Instrument(0, "mexc", "BTCUSDT", -2, -6, 1),)
REAP_TWICE_S = 2.5  # the waker looks once a second
PID = ("--pid", "--fork", "--kill-child")
CONTAINERS = {
    "pid": (*PID, "--mount-proc"),
    "pid, without its /proc": PID,
    "pid and user": ("--user", "--map-root-user", *PID, "--mount-proc"),
}

# Reads one event a line of its stdin, and says what became of it.
CONSUMER = """
import json, os, sys
from pathlib import Path
from tickpath.shm.reader import Reader, Result
reader = Reader("unit", directory=Path(sys.argv[1]), stale_after_ns=60 * 10**9)
lossless = sys.argv[2] == "lossless"
print(json.dumps([os.getpid(), reader.register("contained", lossless=lossless)]), flush=True)
reader.set_wait(10**9, spin_ns=0, sleep_ns=1000)
for _ in sys.stdin:
    result = reader.look()
    print(json.dumps([Result(result).name, reader.is_registered, reader.is_lossless]), flush=True)
"""

WRITER = """
import sys, time
from pathlib import Path
from tickpath.engine.strategy.rehearsal import RehearsalFeed
from tickpath.proto.instrument import Instrument
with RehearsalFeed("unit", (Instrument(0, "mexc", "BTCUSDT", -2, -6, 1),),
                   directory=Path(sys.argv[1])) as feed:
    print("up", flush=True)
    for _ in sys.stdin:
        time.sleep(0)
"""


@contextlib.contextmanager
def beating(feed: RehearsalFeed) -> Iterator[None]:
    is_over = threading.Event()

    def beat() -> None:
        while not is_over.wait(0.002):
            feed.heartbeat()

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


@contextlib.contextmanager
def contained(options: tuple[str, ...], *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = ["unshare", *options, sys.executable, "-P", "-c", *arguments]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def say(child: subprocess.Popen[str]) -> object:
    assert child.stdin is not None
    child.stdin.write("\n")
    child.stdin.flush()
    return heard(child)


def heard(child: subprocess.Popen[str]) -> object:
    assert child.stdout is not None
    return json.loads(child.stdout.readline())


def registered(directory: Path) -> tuple[Consumer, ...]:
    with Segment("unit", directory=directory) as segment:
        return consumers(segment, directory=directory)


@pytest.mark.needs("root", "netns")
@pytest.mark.parametrize("how", ["blocking", "lossless"])
@pytest.mark.parametrize("options", CONTAINERS.values(), ids=CONTAINERS.keys())
def test_consumer_of_another_pid_namespace_is_served_as_any_other(
    tmp_path: Path, options: tuple[str, ...], how: str
) -> None:
    deadline_ns = 10**8 if how == "lossless" else 0
    with (
        RehearsalFeed(
            "unit",
            INSTRUMENTS,
            directory=tmp_path,
            ring_capacity=8,
            lossless_deadline_ns=deadline_ns,
        ) as feed,
        contained(options, CONSUMER, str(tmp_path), how) as child,
    ):
        with beating(feed):  # as the hot loop does: its gate answers
            assert heard(child) == [1, True]
            time.sleep(REAP_TWICE_S)
        (one,) = registered(tmp_path)
        assert (one.pid, one.is_alive, one.is_pid_foreign) == (1, True, True)
        assert "(pid 1 of another PID namespace)" in stat._format_consumer(one)
        feed.publish_event(EventType.TOP, (1, 1, 1, 1))
        assert say(child) == ["EVENT", True, how == "lossless"]
        assert feed.consumers.counters()["reaped"] == 0
        child.kill()  # its namespace ends with it
        end = time.monotonic() + 20
        while registered(tmp_path):
            assert time.monotonic() < end
            time.sleep(0.05)
        assert feed.consumers.counters()["reaped"] == 1


@pytest.mark.needs("root", "netns")
@pytest.mark.parametrize("options", CONTAINERS.values(), ids=CONTAINERS.keys())
def test_writer_of_another_pid_namespace_is_alive_for_stat_and_clean(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    with contained(options, WRITER, str(tmp_path)) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "up\n"
        with Segment("unit", directory=tmp_path) as segment:
            assert segment.writer_lives()
            assert not segment.writer_is_in_sight()
            assert writer_of(segment.path) == "its writer has it open (pid 1)"
            status = stat._read(segment)
            assert status.state in ("running", "silent")
            assert "another PID namespace" in stat.format_status(status)
            child.kill()
            child.wait()
            end = time.monotonic() + 20
            while segment.writer_lives():
                assert time.monotonic() < end
                time.sleep(0.01)
            status = stat._read(segment)
            assert status.state == "dead"
            assert "another PID namespace" not in stat.format_status(status)  # it is nowhere
        assert writer_of(tmp_path / "tickpath.unit") == ""


def test_pid_that_lives_here_makes_no_dead_writer_alive(tmp_path: Path) -> None:
    with RehearsalFeed("unit", INSTRUMENTS, directory=tmp_path) as feed:
        data = feed.segment.path.read_bytes()
    (tmp_path / "tickpath.unit").write_bytes(data)  # pid and start time in it are ours
    with Segment("unit", directory=tmp_path) as segment:
        assert int(segment.header.writer_pid) == os.getpid()
        assert segment.writer_is_in_sight()
        assert not segment.writer_lives()
