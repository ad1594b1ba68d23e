"""Start the benchmark's processes: pinned, at SCHED_FIFO where allowed, in the right namespace."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tickpath.engine.sim.certificates import make_ca
from tickpath.engine.supervisor.child_process import stop
from tickpath.engine.supervisor.sandbox import EXCHANGE_ADDRESS, VethPair
from tickpath.shm.errors import SystemSetupError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

PRIORITY = 10
TIMEOUT_S = 120.0
CPUS_NEEDED = 2


def executable(name: str) -> str:
    """Return the path of one of the C peers that are installed beside this module."""
    return str(resources.files("tickpath.engine.bench").joinpath(name))


def cpus() -> tuple[int, int]:
    """Return the far end's CPU and the contender's. Raises SystemSetupError below two."""
    available = sorted(os.sched_getaffinity(0))
    if len(available) < CPUS_NEEDED:
        raise SystemSetupError(
            f"{len(available)} CPU available, expected 2 or more: both ends spin, each on its own"
        )
    return available[0], available[1]


def pinned(cpu: int, command: Sequence[str], *, fifo: bool = True) -> list[str]:
    """Return the command, pinned to a CPU and, unless told otherwise, at SCHED_FIFO."""
    scheduled = ["chrt", "--fifo", str(PRIORITY)] if fifo else []
    return [*scheduled, "taskset", "--cpu-list", str(cpu), *command]


@dataclass(slots=True)
class Bench:
    """A veth pair, certificates and a place for results; gone at `close`."""

    pair: VethPair
    directory: tempfile.TemporaryDirectory[str]

    @classmethod
    def open(cls, within: Path | None = None) -> Bench:
        """Make all, with a folder `within` another. Raises SystemSetupError without root."""
        pair = VethPair.open()
        directory = tempfile.TemporaryDirectory(prefix="tickpath-bench-", dir=within)
        make_ca(Path(directory.name), ["exchange.test"], [EXCHANGE_ADDRESS])
        return cls(pair, directory)

    @property
    def path(self) -> Path:
        """Where files of this run lie."""
        return Path(self.directory.name)

    def start_server(
        self, command: Sequence[str], *, fifo: bool = True, stdin: int | None = None
    ) -> subprocess.Popen[str]:
        """Start the far end on its CPU and wait until it says that it is ready."""
        server = self.pair.spawn(
            self.pair.exchange,
            pinned(cpus()[0], command, fifo=fifo),
            stdin=stdin,
            stdout=subprocess.PIPE,
        )
        line = server.stdout.readline() if server.stdout else ""
        if "ready" not in line:
            raise SystemSetupError(f"{command[0]} did not start: {line!r}")
        return server

    def run_contender(self, command: Sequence[str], output: Path) -> NDArray[np.uint64]:
        """Run one turn of a contender on its CPU; return the nanoseconds that it wrote."""
        child = self.pair.spawn(
            self.pair.feed_handler, pinned(cpus()[1], command), stderr=subprocess.PIPE
        )
        try:
            _, errors = child.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            stop(child)
            raise SystemSetupError(f"{' '.join(command)}: no result in {TIMEOUT_S} s") from error
        if child.returncode != 0:
            raise SystemSetupError(f"{' '.join(command)}: {(errors or '').strip()[-400:]}")
        return np.fromfile(output, dtype=np.uint64)

    def close(self) -> None:
        """End all processes and remove the files."""
        self.pair.close()
        self.directory.cleanup()


def module(name: str, *arguments: str) -> list[str]:
    """Return the command that runs a contender written in Python."""
    return [sys.executable, "-P", "-m", f"tickpath.engine.bench.{name}", *arguments]
