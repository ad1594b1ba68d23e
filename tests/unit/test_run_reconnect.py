"""`tickpath run` on kernel sockets: an exchange that goes away for some time, and comes back."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
from tickpath.shm.segment import DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATIENCE_S = 30.0
CONFIG = """
instance = "{instance}"
[feed_handler]
spin = false
lock_memory = false
[network]
backend = "kernel"
[[venue]]
symbols = ["BTCUSDT"]
host = "localhost"
port = {port}
tls = {tls}
{ca}
[venue.resolve]
"localhost:{port}" = "127.0.0.1"
[reconnect]
first_s = 0.1
max_s = 0.3
"""


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Child:
    """One `tickpath` command and the lines that it wrote, of both streams."""

    def __init__(self, *words: str) -> None:
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tickpath.engine.cli", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._thread = threading.Thread(target=self._collect, daemon=True)
        self._thread.start()

    def _collect(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(self.process.stdout)

    def wait_for(self, what: str, tell: Callable[[list[str]], bool]) -> None:
        """Wait until the lines show it; fails with all of them where they never do."""
        end = time.monotonic() + PATIENCE_S
        while not tell(self.lines):
            if time.monotonic() > end or (self.process.poll() is not None and tell(self.lines)):
                break
            time.sleep(0.02)
        assert tell(self.lines), f"{what} never came:\n" + "".join(self.lines)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Signal it, and return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(PATIENCE_S)
        self._thread.join(PATIENCE_S)
        return status


@pytest.fixture
def start() -> Iterator[Callable[..., Child]]:
    """Start commands that end with the test."""
    children: list[Child] = []

    def start_one(*words: str) -> Child:
        children.append(Child(*words))
        return children[-1]

    yield start_one
    for child in reversed(children):
        child.end()


def count(text: str) -> Callable[[list[str]], int]:
    """Return what counts the lines that hold the text."""
    return lambda lines: sum(text in line for line in list(lines))


def test_check_json_is_one_object_naming_the_file(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    text = CONFIG.format(instance="x", port=1, tls="false", ca="")
    for cpu, well in ((0, True), (8191, False)):
        path.write_text(text.replace("spin = false", f"cpu = {cpu}"), encoding="utf-8")
        words = [
            sys.executable,
            "-P",
            "-m",
            "tickpath.engine.cli",
            "run",
            "--check",
            "--json",
            str(path),
        ]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
        told = json.loads(done.stdout)
        assert (told["config"], told["ok"], told["well"]) == (str(path), well, well)
        assert done.returncode == (0 if well else 2)
        assert well or f"tickpath: {path}: feed_handler.cpu is 8191" in done.stderr


def test_run_json_is_json_only_and_leaves_no_segment_of_a_killed_feed_handler(
    tmp_path: Path, start: Callable[..., Child]
) -> None:
    port, instance = free_port(), f"json{os.getpid():07d}"
    path = tmp_path / "run.toml"
    text = CONFIG.format(instance=instance, port=port, tls="false", ca="")
    path.write_text(text, encoding="utf-8")
    exchange = start("sim", "mexc", "--plain", "--listen", f"127.0.0.1:{port}")
    exchange.wait_for("listening", lambda lines: count("listening")(lines) == 1)
    supervisor = start("run", "--json", str(path))
    supervisor.wait_for("open", lambda lines: count(": open to")(lines) == 1)
    assert list(DIRECTORY.glob(f"tickpath.{instance}*"))
    pid = json.loads(supervisor.lines[0])["pid"]
    os.kill(pid, signal.SIGKILL)
    supervisor.wait_for("a second start", lambda lines: count('"started"')(lines) == 2)
    assert supervisor.end() == 0
    assert not list(DIRECTORY.glob(f"tickpath.{instance}*"))
    events = [json.loads(line)["event"] for line in supervisor.lines]
    assert events[0] == "started"
    assert {"log", "ended", "stopped"} <= set(events)


@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "tls"])
@pytest.mark.slow
def test_feed_handler_exchange_killed_for_seconds_is_open_again(
    is_tls: bool, tmp_path: Path, start: Callable[..., Child]
) -> None:
    port, instance = free_port(), f"reconnect{os.getpid():07d}"
    sim = ["sim", "mexc", "--listen", f"127.0.0.1:{port}", "--instruments", "BTCUSDT"]
    sim += ["--make-ca", str(tmp_path / "ca")] if is_tls else ["--plain"]
    ca = f'ca_file = "{tmp_path}/ca/ca.pem"' if is_tls else ""
    path = tmp_path / "run.toml"
    path.write_text(
        CONFIG.format(instance=instance, port=port, tls=str(is_tls).lower(), ca=ca),
        encoding="utf-8",
    )
    exchange = start(*sim)
    exchange.wait_for("listening", lambda lines: count("listening")(lines) == 1)
    # The same authority again: the feed handler read its file once.
    again = sim
    if is_tls:
        pair = ["--cert", str(tmp_path / "ca/server.pem"), "--key", str(tmp_path / "ca/server.key")]
        again = [*sim[:-2], *pair]
    program = start("run", str(path))
    program.wait_for("open", lambda lines: count(": open to")(lines) == 1)

    exchange.end(signal.SIGKILL)
    program.wait_for("three refusals", lambda lines: count("Connection refused")(lines) >= 3)
    start(*again)
    program.wait_for("open again", lambda lines: count(": open to")(lines) == 2)
    assert program.end() == 0
