"""`tickpath demo`: the whole path on one machine, against a simulated exchange.

As root with AF_XDP: two network namespaces and a veth pair; else kernel sockets over loopback, and
it says why. Starts the simulator, `tickpath run` on a configuration that it writes, and two
strategies; shows them live, then a summary. Everything it made dies with it, `kill -9` included:
namespaces have no names, children get a parent-death signal, and a janitor removes the files.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.live import Live
from tickpath.engine.cli import EXIT_SYSTEM
from tickpath.engine.live_view import LiveView
from tickpath.engine.sandbox import (
    EXCHANGE_ADDRESS,
    VethPair,
    spawn,
    stop,
)
from tickpath.engine.sim.certificates import make_ca
from tickpath.engine.strategy.stats import running
from tickpath.netstack.link.af_xdp import missing_capabilities
from tickpath.proto.records import BookState
from tickpath.rt import limits
from tickpath.shm.errors import LocalError, SystemSetupError
from tickpath.shm.segment import DIRECTORY

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

PORT = 8443
LOOPBACK = "127.0.0.1"
SERVER_NAME = "exchange.test"
READY_TIMEOUT_S = 60.0  # a machine that is busy elsewhere loads Python slowly
REDRAW_S = 0.25
LIVE_PATIENCE_S = 2.0
READER_PRIORITY, STRATEGY_PRIORITY = 20, 15
STRATEGIES = {
    "spread": "tickpath.engine.strategy.spread:Spread",
    "imbalance": "tickpath.engine.strategy.spread:Imbalance",
}

# Waits for the demo's end (its stdin closes, however the demo dies), then removes what it left.
JANITOR = """
import contextlib, glob, os, shutil, sys, time
sys.stdin.buffer.read()
for _ in range(2):  # a child that dies with the demo may be about to make one more file
    for path in glob.glob(sys.argv[1]):
        with contextlib.suppress(OSError):  # its owner was faster
            os.unlink(path)
    shutil.rmtree(sys.argv[2], ignore_errors=True)
    time.sleep(0.2)
"""


@dataclass(frozen=True, slots=True)
class Placed:
    """Which CPU each process runs on, and in words why."""

    reader: int | None
    strategies: tuple[int | None, ...]
    others: int
    strategies_spin: bool
    text: str


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `tickpath demo`."""
    parser = subparsers.add_parser(
        "demo",
        description="Run exchange simulator, reader and two strategies, and show what they do.",
        epilog="example: tickpath demo --seconds 20 --instruments 5 --rate 5000",
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="how long (default 20)")
    parser.add_argument("--instruments", type=int, default=4, help="1 to 100 (default 4)")
    parser.add_argument("--rate", type=int, default=2000, help="messages a second (default 2000)")
    parser.add_argument(
        "--backend", choices=("auto", "kernel"), default="auto", help="kernel: no AF_XDP"
    )
    parser.add_argument("--json", action="store_true", help="only the summary, as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Run the demo; 0 when every book was LIVE and both strategies saw events."""
    if not 1 <= args.instruments <= 100 or not 1 <= args.rate <= 20_000 or args.seconds <= 0:
        raise LocalError(
            f"--instruments {args.instruments} --rate {args.rate} --seconds {args.seconds}: "
            "expected 1 to 100, 1 to 20000 and above 0"
        )
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    with ExitStack() as stack:
        demo = Demo(args, stack)
        demo.start()
        return demo.show()


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def place_processes(cpus: tuple[int, ...]) -> Placed:
    """Give the reader a CPU of its own if there are two; strategies spin on their own or sleep."""
    if len(cpus) == 1:
        text = f"one CPU ({cpus[0]}): all share it, nobody spins; latencies are the scheduler's"
        return Placed(None, (None, None), cpus[0], strategies_spin=False, text=text)
    reader, *free, others = cpus  # the worthiest first
    if len(free) >= len(STRATEGIES):
        chosen = tuple(free[: len(STRATEGIES)])
        text = f"reader spins on CPU {reader}, strategies spin on {chosen}, the rest on {others}"
        return Placed(reader, chosen, others, strategies_spin=True, text=text)
    text = (
        f"{len(cpus)} CPUs for three spinning processes: the reader spins on CPU {reader}; both "
        f"strategies share CPU {others} with the exchange and this view, so they sleep 50 µs "
        "between looks: their hop is the kernel's wake-up, not the path (see `tickpath bench wire`)"
    )
    return Placed(reader, (others,) * len(STRATEGIES), others, strategies_spin=False, text=text)


class Demo:
    """All processes of one demo; the stack ends them."""

    def __init__(self, args: argparse.Namespace, stack: ExitStack) -> None:
        self._args, self._stack = args, stack
        self._console = Console(stderr=args.json)
        self._instance = f"demo-{os.getpid()}"
        self._placed = place_processes(limits.order_cpus(limits.available_cpus()))
        # Not the user id: root in a container often lacks the privilege.
        self._may_use_fifo = limits.read_privileges().may_use_fifo
        self._pair: VethPair | None = None
        self._children: dict[str, subprocess.Popen[str]] = {}
        self._ended: set[str] = set()
        self._view = LiveView(self._instance)

    def start(self) -> None:
        """Start everything; raises SystemSetupError with the log of what did not start."""
        self._directory = Path(tempfile.mkdtemp(prefix="tickpath-demo-"))
        self._start_janitor()
        self._choose_path()
        self._port = self._choose_port()
        make_ca(self._directory, [SERVER_NAME], [EXCHANGE_ADDRESS, LOOPBACK])
        self._start_simulator()
        self._start_reader()
        for name, cpu in zip(STRATEGIES, self._placed.strategies, strict=True):
            self._start_strategy(name, cpu)
        for name in STRATEGIES:
            self._wait(f"strategy-{name}", lambda name=name: self._runs(name))  # type: ignore[misc] # a loop's value
        self._say(f"placement: {self._placed.text}")

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False, soft_wrap=True)

    def _start_janitor(self) -> None:
        pattern = str(DIRECTORY / f"tickpath.{self._instance}*")
        command = [sys.executable, "-c", JANITOR, pattern, str(self._directory)]
        # Its own session: neither Ctrl-C nor our death ends it; the end of its stdin does.
        janitor = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)

        def dismiss() -> None:
            if janitor.stdin is not None:
                janitor.stdin.close()
            janitor.wait()

        self._stack.callback(dismiss)

    def _choose_path(self) -> None:
        try:
            if self._args.backend == "kernel":
                raise SystemSetupError("asked for by --backend kernel")
            missing = missing_capabilities()
            if missing:
                raise SystemSetupError(f"AF_XDP needs {', '.join(missing)}: run as root")
            self._pair = self._stack.enter_context(VethPair.open())
        except SystemSetupError as error:
            self._say(f"path: kernel sockets over loopback, because: {error}")
        else:
            self._say("path: AF_XDP on a veth pair between two network namespaces")

    def _choose_port(self) -> int:
        """Any free one on loopback, which others use too; the namespace is ours alone."""
        if self._pair is not None:
            return PORT
        with socket.create_server((LOOPBACK, 0)) as listener:
            return int(listener.getsockname()[1])

    @property
    def _address(self) -> str:
        return EXCHANGE_ADDRESS if self._pair else LOOPBACK

    def _spawn(self, name: str, where: str, command: list[str]) -> subprocess.Popen[str]:
        log = (self._directory / f"{name}.log").open("w", encoding="utf-8")
        self._stack.callback(log.close)
        options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
        # Ctrl-C is for the demo alone: it ends the others itself, after its summary.
        options["start_new_session"] = True
        if self._pair is None:
            child = spawn(command, **options)
        else:
            namespace = self._pair.exchange if where == "exchange" else self._pair.reader
            child = self._pair.spawn(namespace, command, **options)
        self._stack.callback(stop, child)
        self._children[name] = child
        return child

    def _tickpath(self, *words: str, cpu: int | None = None) -> list[str]:
        pinned = ["taskset", "--cpu-list", str(cpu)] if cpu is not None else []
        return [*pinned, sys.executable, "-m", "tickpath.engine.cli", *words]

    def _wait(self, name: str, ready: Callable[[], bool]) -> None:
        child = self._children[name]
        end = time.monotonic() + READY_TIMEOUT_S
        while not ready():
            if child.poll() is not None or time.monotonic() > end:
                text = (self._directory / f"{name}.log").read_text(encoding="utf-8").strip()
                state = "ended" if child.poll() is not None else "is not ready"
                raise SystemSetupError(f"{name} {state} (status {child.poll()}): {text[-800:]}")
            time.sleep(0.02)

    def _start_simulator(self) -> None:
        args, keys = self._args, self._directory
        words = ["sim", "mexc", "--listen", f"{self._address}:{self._port}"]
        words += ["--cert", str(keys / "server.pem"), "--key", str(keys / "server.key")]
        words += ["--instruments", str(args.instruments), "--rate", str(args.rate), "--json"]
        self._spawn("exchange", "exchange", self._tickpath(*words, cpu=self._placed.others))
        log = self._directory / "exchange.log"
        self._wait("exchange", lambda: "listening" in log.read_text(encoding="utf-8"))

    def _symbols(self) -> list[str]:
        from tickpath.engine.sim.market import instrument_names  # noqa: PLC0415 # slow to load

        return list(instrument_names(self._args.instruments))

    def _write_config(self, backend: str) -> Path:
        placed, directory = self._placed, self._directory
        throttled = limits.describe_throttling(limits.read_throttling([placed.reader or 0]))
        fifo = placed.reader is not None and self._may_use_fifo
        if fifo and throttled and "reader" not in self._children:
            self._say(f"real-time limit: {throttled}; the reader yields in time")
        text = f"""\
instance = "{self._instance}"

[reader]
{f"cpu = {placed.reader}" if placed.reader is not None else "# one CPU: not pinned"}
priority = {READER_PRIORITY if fifo else 0}
spin = {str(placed.reader is not None).lower()}
yield_to_others = {str(bool(fifo and throttled)).lower()}

[network]
backend = "{backend}"

[[venue]]
name = "mexc"
host = "{SERVER_NAME}"
port = {self._port}
symbols = {json.dumps(self._symbols())}
ca_file = "{directory / "ca.pem"}"
speed = "10ms"
snapshots_per_second = 45

[venue.resolve]
"{SERVER_NAME}:{self._port}" = "{self._address}"
"""
        path = directory / "demo.toml"
        path.write_text(text, encoding="utf-8")
        return path

    def _start_reader(self) -> None:
        backend = "af_xdp" if self._pair else "kernel"
        try:
            self._run_reader(backend)
        except SystemSetupError as error:
            if backend == "kernel" or self._children["reader"].poll() != EXIT_SYSTEM:
                raise
            reason = str(error).splitlines()[-1]
            self._say(f"path: kernel sockets over the veth pair instead, because: {reason}")
            self._run_reader("kernel")
        log = (self._directory / "reader.log").read_text(encoding="utf-8")
        self._view.path = next((line for line in log.splitlines() if "path:" in line), "")[9:]

    def _run_reader(self, backend: str) -> None:
        command = self._tickpath("run", str(self._write_config(backend)))
        self._spawn("reader", "reader", command)
        self._wait("reader", self._view.look)

    def _start_strategy(self, name: str, cpu: int | None) -> None:
        words = [
            "strategy",
            STRATEGIES[name],
            "--instance",
            self._instance,
            "--name",
            name,
            "--json",
        ]
        words += [] if cpu is None else ["--cpu", str(cpu)]
        words += ["--priority", str(STRATEGY_PRIORITY)] if self._may_use_fifo else []
        words += [] if self._placed.strategies_spin else ["--block"]
        self._spawn(f"strategy-{name}", "reader", self._tickpath(*words))

    def _runs(self, name: str) -> bool:
        return name in running(self._instance)

    def show(self) -> int:
        """Redraw until time is up, then print the summary. Returns the exit status."""
        end = time.monotonic() + self._args.seconds
        interactive = self._console.is_terminal and not self._args.json
        with suppress(KeyboardInterrupt):
            if interactive:
                with Live(console=self._console, auto_refresh=False) as live:
                    while time.monotonic() < end:
                        self._look()
                        live.update(self._view.render(), refresh=True)
                        time.sleep(REDRAW_S)
            else:
                while time.monotonic() < end:
                    self._look()
                    self._say(self._view.totals())
                    time.sleep(1.0)
        return self._summary()

    def _look(self) -> None:
        self._view.look()
        for name, child in self._children.items():
            if child.poll() is not None and name not in self._ended:
                self._ended.add(name)
                status = child.returncode
                how = f"signal {-status}" if status < 0 else f"status {status}"
                self._say(f"{name} (process {child.pid}) ended by {how}; the others go on")

    def _all_live(self) -> bool:
        """Say whether every book is LIVE; a writer that was held up gets a moment."""
        end = time.monotonic() + LIVE_PATIENCE_S
        while True:
            self._look()
            states = self._view.states()
            if states and all(state is BookState.LIVE for state in states):
                return True
            if self._ended or time.monotonic() > end:
                return False
            time.sleep(0.01)

    def _summary(self) -> int:
        live = self._all_live()
        hops, counters = self._view.hops(), self._view.counters()
        seen = {hop.where for hop in hops if hop.count > 0}
        well = live and all(name in seen for name in STRATEGIES) and not self._ended
        if self._args.json:
            summary = {
                "path": self._view.path,
                "placement": self._placed.text,
                "counters": counters,
                "hops": [asdict(hop) for hop in hops],
            }
            print(json.dumps(summary))
        else:
            self._console.print(self._view.books_table())
            self._console.print(self._view.hops_table("latency of each hop"))
            self._say(self._view.totals())
        self._view.close()
        if not well:
            self._say("tickpath: the demo did not run well; the end of each log:")
            for log in sorted(self._directory.glob("*.log")):
                self._say(f"{log.name}: {log.read_text(encoding='utf-8').strip()[-600:]}")
        return 0 if well else 1
