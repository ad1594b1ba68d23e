"""The first signal asks, a line says what is waited for, the second ends: for every command."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tickpath.engine.cli import COMMANDS
from tickpath.engine.strategy.rehearsal import RehearsalFeed
from tickpath.engine.strategy.stats import running
from tickpath.engine.supervisor.end_signals import PATIENCE_S, SAME_REQUEST_S
from tickpath.proto.instrument import Instrument
from tickpath.shm.segment import DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

INSTANCE = f"end-{os.getpid()}"
INSTRUMENTS = (Instrument(0, "mexc", "BTCUSDT", -2, -6, 1),)
ENDLESS = """
import sys, time
from tickpath.engine.strategy import Strategy

class Endless(Strategy):
    def on_start(self):
        print("started", flush=True)
    def on_idle(self):
        print("in it", file=sys.stderr, flush=True)
        {body}
"""
HANGS = "while True: time.sleep(0.01)"
SLOW = "time.sleep(1.5)"
SWALLOWS = """while True:
            try: time.sleep(10)
            except BaseException: print("swallowed", file=sys.stderr, flush=True)"""
WAITING = """
import sys, time
from tickpath.engine.supervisor.end_signals import EndSignals
from tickpath.engine import cli
class Command:
    def add_parser(self, subparsers): subparsers.add_parser("wait")
    def run(self, args):
        with EndSignals(lambda: print("asked", flush=True), "nothing"):
            print("waiting", flush=True)
            try: time.sleep(60)
            finally: print("unwound", flush=True)
cli.COMMANDS, cli.load = {"wait": ("sys", "")}, lambda name: Command()
sys.exit(cli.main(["wait"]))
"""


@pytest.fixture
def feed() -> Iterator[RehearsalFeed]:
    with RehearsalFeed(INSTANCE, INSTRUMENTS) as feed:
        yield feed
    for path in DIRECTORY.glob(f"tickpath.{INSTANCE}.*"):  # of strategies that had to be killed
        path.unlink()


class Started:
    """A command whose stderr is a file, so that it can be looked at while it runs."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.log = folder / "stderr.txt"
        with self.log.open("w") as file:
            self.child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=file, text=True)

    def await_line(self, text: str) -> float:
        """Wait until stderr has it; return how long that took."""
        began = time.monotonic()
        while text not in self.log.read_text():
            assert self.child.poll() is None, self.log.read_text()
            assert time.monotonic() < began + 30, self.log.read_text()
            time.sleep(0.01)
        return time.monotonic() - began

    def signal(self, number: int) -> None:
        self.child.send_signal(number)

    def end(self) -> tuple[int, str]:
        """Wait for its end; return status and stdout."""
        out = self.child.communicate(timeout=30)[0]
        return self.child.returncode, out


def strategy(folder: Path, body: str, *words: str) -> Started:
    path = folder / "endless.py"
    path.write_text(ENDLESS.format(body=body))
    started = Started(
        folder, "tickpath", "strategy", f"{path}:Endless", "--instance", INSTANCE, *words
    )
    started.await_line("in it")
    return started


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_second_signal_ends_a_strategy_that_hangs_by_it(
    feed: RehearsalFeed, tmp_path: Path, number: int
) -> None:
    started = strategy(tmp_path, HANGS, "--json")
    started.signal(number)
    started.await_line(f"asked to end by {signal.Signals(number).name}: waiting for ")
    said = started.log.read_text()
    assert "Endless.on_idle (" in said
    assert "endless.py line 10)" in said
    started.signal(number)
    status, out = started.end()
    assert status == -number  # what a shell shows as 130 and 143
    assert json.loads(out.splitlines()[-1])["strategy"] == "Endless"  # the statistics are kept
    assert list(running(INSTANCE)) == []


def test_time_that_is_over_says_what_it_waits_for(feed: RehearsalFeed, tmp_path: Path) -> None:
    started = strategy(tmp_path, HANGS, "--seconds", "0.2")
    started.await_line("its time is over: waiting for Endless.on_idle")
    started.signal(signal.SIGTERM)
    assert started.end()[0] == -signal.SIGTERM


def test_signal_and_its_echo_are_one_request(feed: RehearsalFeed, tmp_path: Path) -> None:
    """timeout(1) sends SIGTERM to its child, and then to the child's group."""
    started = strategy(tmp_path, SLOW)
    started.signal(signal.SIGTERM)
    time.sleep(SAME_REQUEST_S / 6)
    started.signal(signal.SIGTERM)
    assert started.end()[0] == 0


def test_request_that_is_met_soon_says_nothing(feed: RehearsalFeed, tmp_path: Path) -> None:
    started = strategy(tmp_path, "pass")
    started.signal(signal.SIGTERM)
    assert started.end()[0] == 0
    assert "waiting" not in started.log.read_text()


def test_third_signal_ends_what_swallows_the_second(feed: RehearsalFeed, tmp_path: Path) -> None:
    started = strategy(tmp_path, SWALLOWS)
    started.signal(signal.SIGINT)
    started.await_line("waiting for")
    started.signal(signal.SIGINT)
    started.await_line("swallowed")
    started.signal(signal.SIGINT)
    assert started.end()[0] == -signal.SIGINT


def test_ignored_signal_stays_ignored() -> None:
    """Of nohup, and of a shell's background jobs."""
    child = subprocess.Popen(
        ["nohup", sys.executable, "-P", "-c", WAITING], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "waiting\n"
    child.send_signal(signal.SIGHUP)
    time.sleep(0.2)
    child.send_signal(signal.SIGTERM)
    assert child.stdout.readline() == "asked\n"
    time.sleep(SAME_REQUEST_S * 2)
    child.send_signal(signal.SIGTERM)
    assert child.communicate(timeout=30)[0] == "unwound\n"
    assert child.returncode == -signal.SIGTERM


@pytest.mark.parametrize(
    "words",
    [
        ["tail", INSTANCE],
        ["relay", INSTANCE, "--to", "redis://127.0.0.1:9/0"],
        ["sim", "mexc", "--plain", "--listen", "127.0.0.1:0"],
    ],
    ids=lambda words: words[0],
)
def test_first_signal_ends_a_command_in_good_order(
    feed: RehearsalFeed, tmp_path: Path, words: list[str]
) -> None:
    started = Started(tmp_path, "tickpath", *words)
    time.sleep(1.5)
    assert started.child.poll() is None, started.log.read_text()
    started.signal(signal.SIGTERM)
    assert started.end()[0] == 0, started.log.read_text()


# Which status a command has after its first Ctrl-C or SIGTERM. What runs until it is told to end
# has done its work: 0. What was on the way to a result is cut short: as a shell shows the signal.
TOLD_TO_END = {
    "book": ["book", "mexc:TENDUSDT", "--json"],
    "relay": ["relay", INSTANCE, "--to", "redis://127.0.0.1:9/0"],
    "run": ["run", "CONFIG"],
    "sim": ["sim", "mexc", "--plain", "--listen", "127.0.0.1:0"],
    "strategy": ["strategy", "tickpath.engine.strategy.spread:Spread", "--instance", INSTANCE],
    "tail": ["tail", INSTANCE],
}
TOLD_ELSEWHERE = {
    "top": "test_top_gives_the_terminal_back",
    "record": "tests/netns/test_end_to_end_recording.py: it needs a tap",
    "replay": "its speed has an end, and a signal ends it in good order",
}
CUT_SHORT = {
    "get": ["get", "http://127.0.0.1:PORT/", "--backend", "kernel", "--timeout", "60"],
    "instruments": ["instruments", "mexc", "--plain", "--host", "127.0.0.1", "--port", "PORT"],
    "ws": ["ws", "ws://127.0.0.1:PORT/", "--backend", "kernel", "--timeout", "60"],
}
CUT_SHORT_ELSEWHERE = {
    "bench": "takes minutes",
    "certificate": "as any program",
    "demo": "tests/netns",
    "export": "as any program",
    "doctor": "as any program",
    "rt": "test_rt_command.py; its journal is undone by revert",
    "subscribe": "as any program: what it asked for is left to the feed handler",
    "unsubscribe": "as any program: what it asked for is left to the feed handler",
}
BRIEF = {"clean", "dump", "stat", "venues"}


def catches(pid: int, number: int) -> bool:
    """Say whether a process has a handler for a signal: of SIGTERM Python itself has none."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = int(status.partition("SigCgt:")[2].split()[0], 16)
    return bool(caught >> (number - 1) & 1)


def test_each_command_has_one_way_to_end() -> None:
    tables = (TOLD_TO_END, TOLD_ELSEWHERE, CUT_SHORT, CUT_SHORT_ELSEWHERE, dict.fromkeys(BRIEF))
    names = [name for table in tables for name in table]
    assert sorted(names) == sorted(COMMANDS)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_has_the_status_of_the_table(tmp_path: Path, number: int) -> None:
    own = Instrument(1, "mexc", "TENDUSDT", -2, -6)
    started: dict[str, subprocess.Popen[bytes]] = {}
    with (
        RehearsalFeed(INSTANCE, (*INSTRUMENTS, own)) as feed,
        socket.create_server(("127.0.0.1", 0)) as silent,
    ):
        port = str(silent.getsockname()[1])
        config = tmp_path / "run.toml"
        config.write_text(
            f'instance = "{INSTANCE}-run"\n[network]\nbackend = "kernel"\n[[venue]]\n'
            f'name = "mexc"\nhost = "127.0.0.1"\nport = {port}\nsymbols = ["BTCUSDT"]\n'
        )
        for name, words in (TOLD_TO_END | CUT_SHORT).items():
            said = [word.replace("CONFIG", str(config)).replace("PORT", port) for word in words]
            with (tmp_path / name).open("w") as log:
                started[name] = subprocess.Popen(
                    ["tickpath", *said], stdin=subprocess.PIPE, stdout=log, stderr=log
                )
        waited = [child for name, child in started.items() if name != "instruments"]
        end = time.monotonic() + 60
        while not all(catches(child.pid, signal.SIGTERM) for child in waited):
            feed.heartbeat()
            time.sleep(0.02)
            assert time.monotonic() < end
        ended = {name: child.poll() for name, child in started.items()}
        assert set(ended.values()) == {None}, ended
        for child in started.values():
            child.send_signal(number)
        found = {name: child.wait(30) for name, child in started.items()}
    cut = (-number, 128 + number)
    logs = {name: (tmp_path / name).read_text()[-300:] for name in found}
    assert {name: found[name] for name in TOLD_TO_END if found.get(name)} == {}, logs
    assert [name for name in CUT_SHORT if found[name] not in cut] == [], (found, logs)


def test_second_signal_ends_a_tail_that_nobody_reads(feed: RehearsalFeed, tmp_path: Path) -> None:
    """A full pipe holds the write, which Python takes up again after each signal."""
    started = Started(tmp_path, "tickpath", "tail", INSTANCE)
    end = time.monotonic() + 3
    while time.monotonic() < end:  # some 100 bytes each, where a pipe holds 64 KiB
        for price in range(1000):
            feed.publish_top((price + 1, 1), (price + 2, 2))
        feed.heartbeat()
        time.sleep(0.02)
    started.signal(signal.SIGTERM)
    started.await_line("waiting for the reader of its output")
    started.signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        started.child.wait(10)
    assert started.child.poll() == -signal.SIGTERM
    started.end()


def test_second_signal_ends_a_supervisor_whose_feed_handler_hangs(tmp_path: Path) -> None:
    config = tmp_path / "hangs.toml"
    with socket.create_server(("127.0.0.1", 0)) as venue:
        config.write_text(
            f'instance = "{INSTANCE}-run"\n[network]\nbackend = "kernel"\n'
            '[[venue]]\nname = "mexc"\nhost = "127.0.0.1"\nsymbols = ["BTCUSDT"]\n'
            f"port = {venue.getsockname()[1]}\n"
        )
        started = Started(tmp_path, "tickpath", "run", str(config))
        connection, _ = venue.accept()  # the feed handler waits for an answer from here
    pid = int(started.log.read_text().partition("pid ")[2].partition(",")[0])
    os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    started.signal(signal.SIGTERM)
    started.await_line("waiting for the feed handler, at most 8 s")
    started.signal(signal.SIGTERM)
    assert started.end()[0] == -signal.SIGTERM
    assert time.monotonic() - began < PATIENCE_S + 5
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    connection.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_top_gives_the_terminal_back(feed: RehearsalFeed, number: int) -> None:
    ours, theirs = pty.openpty()
    child = subprocess.Popen(["tickpath", "top"], stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    assert os.read(ours, 100)
    time.sleep(0.5)
    child.send_signal(number)
    with contextlib.suppress(OSError):  # the other end is closed
        while os.read(ours, 65536):
            pass
    assert child.wait(30) == 0
    os.close(ours)
