"""How much memory does a feed handler keep, and each further connection of it?

The simulator serves full books; what is resident is read a while after all of them are LIVE, with
memory locked: pools count by their size, not by what was used of them. Rss, not Pss: what a page
costs must not depend on who else runs, and the segment and the libraries are shared. A bare
interpreter is subtracted. `--count` is the while in seconds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tickpath.engine.bench.measure import OURS, Report, at_most, progress, progress_end, row
from tickpath.engine.client.reader import open_reader
from tickpath.engine.sim.market import instrument_names
from tickpath.engine.supervisor.child_process import spawn, stop
from tickpath.engine.supervisor.sandbox import EXCHANGE_ADDRESS, VethPair
from tickpath.proto.records import BookState
from tickpath.proto.venues import DEFAULT_NAME, load_venue
from tickpath.shm.errors import SystemSetupError
from tickpath.shm.segment import remove_dead

if TYPE_CHECKING:
    from collections.abc import Iterator

WAIT_S = 60
TIMEOUT_S = 90.0
DEPTH = 5000
RATE = 300
BYTES_PER_KIB, KIB_PER_MB = 1024, 1000 / 1.024
ONE_CONNECTION_MB, FURTHER_CONNECTION_MB = 64, 10
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Case:
    """How the bytes come, and over how many connections, each with all books that it may have."""

    backend: str
    connections: int

    @property
    def name(self) -> str:
        """Name it in a report."""
        return f"{self.backend} {self.connections}"


CASES = tuple(Case(backend, count) for backend in ("kernel", "af_xdp") for count in (1, 3))


def read_rollup(pid: int) -> dict[str, int]:
    """Read /proc/PID/smaps_rollup: Rss, Pss, Locked and others, in KiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]
    return {name: int(rest.split()[0]) for name, _, rest in (one.partition(":") for one in lines)}


def bare_kib() -> int:
    """Return what an interpreter that does nothing has resident."""
    program = "import sys, time; print(flush=True); time.sleep(60)"
    bare = subprocess.Popen([sys.executable, "-P", "-c", program], stdout=subprocess.PIPE)
    try:
        if bare.stdout is not None:
            bare.stdout.readline()
        return read_rollup(bare.pid)["Rss"]
    finally:
        bare.kill()
        bare.communicate()


def _write_config(directory: Path, instance: str, case: Case, url: str) -> tuple[Path, int]:
    host, _, port = url.partition("://")[2].partition("/")[0].rpartition(":")
    books = case.connections * load_venue(DEFAULT_NAME).limits.channels_per_connection
    names = [str(name) for name in instrument_names(books)]
    path = directory / "memory.toml"
    path.write_text(
        f"""\
instance = "{instance}"
[feed_handler]
spin = false
[network]
backend = "{case.backend}"
[[venue]]
name = "{DEFAULT_NAME}"
host = "{host}"
port = {port}
symbols = {json.dumps(names)}
ca_file = "{directory / "ca.pem"}"
""",
        encoding="ascii",
    )
    return path, books


@contextmanager
def _simulator(directory: Path, books: int, pair: VethPair | None) -> Iterator[str]:
    """Serve the books; give the URL."""
    address = LOOPBACK if pair is None else EXCHANGE_ADDRESS
    command = [sys.executable, "-P", "-m", "tickpath.engine.cli", "sim", DEFAULT_NAME, "--json"]
    command += ["--listen", f"{address}:0", "--make-ca", str(directory), "--rate", str(RATE)]
    command += ["--instruments", str(books), "--depth", str(DEPTH)]
    server = spawn(command, None if pair is None else pair.exchange.fd, stdout=subprocess.PIPE)
    try:
        line = server.stdout.readline() if server.stdout else ""
        if not line:
            raise SystemSetupError(f"the simulator of {DEFAULT_NAME} did not start")
        yield json.loads(line)["url"]
    finally:
        stop(server)


def _wait_live(instance: str, child: subprocess.Popen[str], books: int) -> None:
    end = time.monotonic() + TIMEOUT_S
    with open_reader(instance, wait_s=TIMEOUT_S) as reader:
        while not all(
            reader.book(index).published_state is BookState.LIVE for index in range(books)
        ):
            if time.monotonic() > end or child.poll() is not None:
                raise SystemSetupError(f"{books} books are not LIVE after {TIMEOUT_S:g} s")
            time.sleep(0.05)


def resident_kib(case: Case, wait_s: float) -> int:
    """Run a feed handler with all its books LIVE for so long; return its Rss."""
    instance = f"bench-memory-{os.getpid()}"
    pair = VethPair.open() if case.backend == "af_xdp" else None
    with tempfile.TemporaryDirectory(prefix="tickpath-bench-") as name:
        directory = Path(name)
        errors = directory / "errors.txt"
        books = case.connections * load_venue(DEFAULT_NAME).limits.channels_per_connection
        try:
            with _simulator(directory, books, pair) as url, errors.open("w") as log:
                config, _ = _write_config(directory, instance, case, url)
                command = [sys.executable, "-P", "-m", "tickpath.engine.feed_handler.process"]
                child = spawn(
                    [*command, str(config)],
                    None if pair is None else pair.feed_handler.fd,
                    stderr=log,
                )
                try:
                    _wait_live(instance, child, books)
                    time.sleep(wait_s)
                    return _locked_rss(child.pid, errors)
                finally:
                    stop(child)
                    remove_dead(instance)
        except SystemSetupError as error:
            said = errors.read_text()[-800:] if errors.exists() else ""
            raise SystemSetupError(f"memory, {case.name}: {error}; {said}") from error
        finally:
            if pair is not None:
                pair.close()


def _locked_rss(pid: int, errors: Path) -> int:
    rollup = read_rollup(pid)
    if rollup["Locked"] == 0:
        raise SystemSetupError(f"its memory is not locked: {errors.read_text()[-200:]}")
    return rollup["Rss"]


def measure(count: int, rounds: int) -> Report:
    """Return resident KiB above a bare interpreter's."""
    report = Report("memory")
    wait_s = count or WAIT_S
    per = load_venue(DEFAULT_NAME).limits.channels_per_connection
    report.notes = [
        f"{per} books of {DEPTH} levels a side on each connection, {RATE} messages a second",
        f"Rss of the locked feed handler {wait_s} s after all books are LIVE, less a bare "
        "interpreter's, which has no segment and no library of ours",
    ]
    bare = bare_kib()
    cases = CASES if os.geteuid() == 0 else [one for one in CASES if one.backend == "kernel"]
    for case in cases:
        samples = []
        for number in range(min(rounds, 1 if count == 0 else rounds)):
            progress(f"memory: {case.name}, {number + 1}")
            samples.append(resident_kib(case, wait_s) - bare)
        report.rows.append(row("memory", OURS, case.name, np.array(samples), "KiB"))
    progress_end()
    for one, three in zip(cases[::2], cases[1::2], strict=True):
        first, last = (report.find(OURS, case.name).max for case in (one, three))
        further = (last - first) / (three.connections - one.connections)
        report.ratios += [
            at_most("memory", one.name, "max MB", first / KIB_PER_MB, ONE_CONNECTION_MB),
            at_most(
                "memory",
                three.name,
                "MB a further one",
                further / KIB_PER_MB,
                FURTHER_CONNECTION_MB,
            ),
        ]
    return report
