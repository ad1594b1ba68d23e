"""Nothing that lies in the current directory is run in place of a library, whatever is started.

Python puts the current directory first on its path for `-m` and `-c`; the commands below start
children, and a configuration's folder may be writable by others.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tickpath.engine.strategy.rehearsal import RehearsalFeed
from tickpath.proto.instrument import Instrument

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
INSTRUMENTS = (Instrument(0, "mexc", "BTCUSDT", -2, -6, 1),)
PLANTED = ("msgspec", "json", "tickpath", "socket", "numpy", "argparse")
TRAP = """
import os
os.write(os.open({marker!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND), b"{name} ran\\n")
raise SystemExit("a planted {name}.py ran")
"""
CONFIG = """
instance = "{instance}"
[network]
backend = "kernel"
[[venue]]
name = "mexc"
host = "127.0.0.1"
port = 9
symbols = ["BTCUSDT"]
"""


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """Make a folder with files named as libraries; return where they would tell that they ran."""
    marker = tmp_path / "ran.txt"
    for name in PLANTED:
        path = tmp_path / "here" / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(TRAP.format(marker=str(marker), name=name))
    return marker


def here(marker: Path) -> Path:
    return marker.parent / "here"


def run(marker: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, cwd=here(marker), capture_output=True, text=True, check=False, timeout=120
    )


def assert_untouched(marker: Path) -> None:
    assert not marker.exists(), marker.read_text()


def test_safe_path_trap_springs_without_the_option(trap: Path) -> None:
    """The trap is a trap: this is how Python does it unasked."""
    unsafe = "-" + "m"  # the rule against it is held by test_tidy
    run(trap, sys.executable, unsafe, "tickpath.engine.cli", "--version")
    assert trap.exists()


@pytest.mark.parametrize(
    "words", [["tickpath", "doctor"], ["tickpath", "stat"], ["tickpath", "rt", "check"]]
)
def test_safe_path_command_runs_nothing_from_here(trap: Path, words: list[str]) -> None:
    run(trap, *words)
    assert_untouched(trap)


PROGRAMS = ("ip", "ethtool", "openssl", "dmesg", "systemctl", "sysctl", "bash", "unshare", "lsmod")


@pytest.mark.parametrize("first", [".", "", "bin/.."])
@pytest.mark.parametrize("line", ["doctor", "rt check"])
def test_safe_path_program_of_the_current_folder_is_not_run(
    trap: Path, first: str, line: str
) -> None:
    (here(trap) / "bin").mkdir()
    for name in PROGRAMS:
        program = here(trap) / name
        program.write_text(f"#!/bin/sh\necho {name} >>{trap}\n")
        program.chmod(0o755)
    command = [sys.executable, "-P", "-m", "tickpath.engine.cli", *line.split()]
    environment = os.environ | {"PATH": f"{first}:{os.environ['PATH']}"}
    subprocess.run(
        command, cwd=here(trap), env=environment, capture_output=True, check=False, timeout=120
    )
    assert_untouched(trap)


def test_safe_path_module_runs_nothing_from_here(trap: Path) -> None:
    """`python -m tickpath`, but for a tickpath.py: Python looks for that itself."""
    (here(trap) / "tickpath.py").unlink()
    done = run(trap, sys.executable, *["-m", "tickpath", "--version"])
    assert_untouched(trap)
    assert done.stdout.startswith("tickpath ")


def test_safe_path_demo_runs_nothing_from_here(trap: Path) -> None:
    words = ["demo", "--seconds", "0.5", "--instruments", "1", "--backend", "kernel", "--json"]
    done = run(trap, "tickpath", *words)
    assert_untouched(trap)
    assert '"strategies"' in done.stdout, done.stderr


def ended_after(child: subprocess.Popen[str], is_time: Callable[[], bool]) -> str:
    """Wait for what shows that its children run, then end it; return what it said."""
    end = time.monotonic() + 60
    while not is_time() and child.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    child.send_signal(signal.SIGTERM)
    return child.communicate(timeout=60)[1]


def test_safe_path_feed_handler_runs_nothing_from_here(trap: Path) -> None:
    config = here(trap) / "mexc.toml"
    config.write_text(CONFIG.format(instance=f"safe-path-{os.getpid()}"))
    log = trap.with_name("log.txt")
    with log.open("w") as file:
        child = subprocess.Popen(
            ["tickpath", "run", config.name], cwd=here(trap), stderr=file, text=True
        )
        ended_after(child, lambda: "127.0.0.1:9" in log.read_text())
    assert "127.0.0.1:9" in log.read_text()  # the feed handler was there, and tried
    assert_untouched(trap)


def test_safe_path_strategys_guard_runs_nothing_from_here(trap: Path) -> None:
    """Its guard runs wherever a service manager listens."""
    address = trap.with_name("notify")
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
        RehearsalFeed(f"safe-path-{os.getpid()}", INSTRUMENTS) as feed,
    ):
        manager.bind(str(address))
        manager.settimeout(20)
        words = [str(ROOT / "examples/top_of_book.py") + ":TopOfBook", "--block"]
        child = subprocess.Popen(
            ["tickpath", "strategy", *words, "--instance", feed.segment.instance],
            cwd=here(trap),
            env={**os.environ, "NOTIFY_SOCKET": str(address)},
            stdout=subprocess.DEVNULL,
            text=True,
        )
        try:
            assert b"READY=1" in manager.recv(4096)  # only the guard says so
        finally:
            child.terminate()
            child.wait(60)
    assert_untouched(trap)
