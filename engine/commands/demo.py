"""`tickpath demo`: the whole path on one machine, against simulated exchanges.

As root with AF_XDP: two network namespaces and a veth pair; else kernel sockets over loopback, and
it says why. Starts the simulator of all venues, `tickpath run` on a configuration that it writes,
and two strategies, one of which compares the venues (where: demo_placement.py); shows them live,
then a summary, taken before anything is stopped. Everything it made dies with it, `kill -9`
included: namespaces have no names, children get a parent-death signal. Two remove the files: the
demo at its end, and a janitor process where the demo was killed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from rich.live import Live
from tickpath.engine.cli import EXIT_SYSTEM
from tickpath.engine.commands.demo_placement import (
    STRATEGIES,
    native_source,
    place_processes,
    section_of,
    words_of,
)
from tickpath.engine.commands.host_load import HostLoad
from tickpath.engine.commands.live_view import LiveView, microseconds
from tickpath.engine.console import Console
from tickpath.engine.sim.certificates import make_ca
from tickpath.engine.sim.venues import dialect_names
from tickpath.engine.strategy.stats import running
from tickpath.engine.supervisor.child_process import spawn, stop
from tickpath.engine.supervisor.end_signals import EndSignals
from tickpath.engine.supervisor.janitor import segments_of, start_janitor
from tickpath.engine.supervisor.sandbox import EXCHANGE_ADDRESS, VethPair
from tickpath.netstack.link.af_xdp import missing_capabilities
from tickpath.proto.records import BookState
from tickpath.proto.venues import DEFAULT_NAME
from tickpath.rt import limits
from tickpath.shm.errors import LocalError, SystemSetupError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from tickpath.engine.bench.measure import Row

PORT = 8443
LOOPBACK = "127.0.0.1"
SERVER_NAME = "exchange.test"
READY_TIMEOUT_S = 60.0  # a second on a quiet machine; a busy one loads Python slowly
REDRAW_S = 0.25
SETTLE_S = 10.0  # a restart takes 2 s on a quiet machine
HELD_UP_S = 1.0  # after a signal: a busy machine holds a writer up, its books look STALE
SCENARIO = Path(__file__).with_name("demo.toml")  # examples/demo.toml of the project
LINE_EVERY_S = 1.0  # where stdout is no terminal
SECONDS_MAX, INSTRUMENTS_MAX, RATE_MAX = 86_400, 100, 20_000
EXIT_DEMO_FAILED = 1
EXIT_SIGNAL = 128  # plus its number, as shells report it
LOG_END, LOG_LINES = 600, 3  # characters, lines
STALE_SHOWN = 8
NO_FIRST_HOP = (
    "exchange>frame: left out, most venues' clocks have 1 ms resolution: `tickpath bench wire`"
)
NEXT = (
    "next: `tickpath venues` (what can be read), `tickpath book VENUE:SYMBOL` (a real book), "
    "`tickpath doctor` (what this host lacks), docs/operations.md (run it)"
)
FEED_HANDLER_PRIORITY, STRATEGY_PRIORITY = 20, 15


class Interrupted(KeyboardInterrupt):
    """Say which signal ends the demo."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@dataclass(frozen=True, slots=True)
class Death:
    """A process of the demo that ended before it."""

    name: str
    pid: int
    status: int
    after_s: float

    @property
    def how(self) -> str:
        status = self.status
        return f"signal {-status}" if status < 0 else f"status {status}"

    def __str__(self) -> str:
        return f"{self.name} (process {self.pid}) ended by {self.how} after {self.after_s:.1f} s"


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is run: how many instruments of which venues, and how fast."""

    instruments: int
    rate: int
    venue: list[dict[str, Any]] | dict[str, Any]
    """Keys of each [[venue]] section, its name among them; a [venue] is one."""

    @property
    def venues(self) -> dict[str, dict[str, Any]]:
        """Return each venue's keys, by its name."""
        return {name_of(one): one for one in self.sections}

    @property
    def sections(self) -> list[dict[str, Any]]:
        """Return the sections as they are written."""
        return self.venue if isinstance(self.venue, list) else [self.venue]


def name_of(section: dict[str, Any]) -> str:
    """Return which venue a section is of."""
    return str(section.get("name", DEFAULT_NAME))


def read_scenario(path: Path = SCENARIO) -> Scenario:
    """Read a scenario; raises LocalError where it is none."""
    try:
        return msgspec.toml.decode(path.read_bytes(), type=Scenario)
    except OSError as error:
        raise LocalError(f"scenario {path}: {error.strerror}: expected a TOML file") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise LocalError(
            f"scenario {path}: {error}: expected instruments, rate and a [[venue]]"
        ) from error


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `tickpath demo`."""
    parser = subparsers.add_parser(
        "demo",
        description="Run simulated exchanges, a feed handler and two strategies; show what they "
        "do.",
        epilog="example: tickpath demo --seconds 20 --instruments 5 --rate 5000",
    )
    parser.add_argument(
        "--seconds", type=float, default=20.0, help=f"how long, up to {SECONDS_MAX} (default 20)"
    )
    parser.add_argument(
        "--instruments", type=int, help=f"1 to {INSTRUMENTS_MAX} (default: the scenario's)"
    )
    parser.add_argument(
        "--rate",
        type=int,
        help=f"messages a second, 1 to {RATE_MAX} (default: the scenario's)",
    )
    parser.add_argument(
        "--scenario",
        type=Path,
        default=SCENARIO,
        metavar="TOML",
        help="which venues, instruments and rate (default: examples/demo.toml of the project)",
    )
    parser.add_argument(
        "--backend",
        choices=("auto", "kernel"),
        default="auto",
        help="kernel: no AF_XDP (default auto: AF_XDP where this host can)",
    )
    parser.add_argument(
        "--no-paths",
        action="store_true",
        help="leave out the few seconds before it that time one message alone over AF_XDP and over "
        "kernel sockets",
    )
    parser.add_argument("--json", action="store_true", help="only the summary, as one JSON object")


def check(args: argparse.Namespace) -> Scenario:
    """Read the scenario and refuse values that cannot be; raises LocalError.

    Before anything is started.
    """
    scenario = read_scenario(args.scenario)
    given = {name: getattr(args, name) for name in ("instruments", "rate")}
    scenario = replace(scenario, **{name: one for name, one in given.items() if one is not None})
    rate, count, seconds = scenario.rate, scenario.instruments, args.seconds
    limits_of = (
        ("instruments", count, 1 <= count <= INSTRUMENTS_MAX, f"1 to {INSTRUMENTS_MAX}"),
        ("rate", rate, 1 <= rate <= RATE_MAX, f"1 to {RATE_MAX} messages a second"),
        ("seconds", seconds, 0 < seconds <= SECONDS_MAX, f"more than 0, up to {SECONDS_MAX}"),
    )
    for name, value, is_well, expected in limits_of:  # nan is below nothing
        if not is_well:
            raise LocalError(f"--{name} {value}: expected {expected}")
    check_venues(scenario, args.scenario)
    return scenario


def check_venues(scenario: Scenario, path: Path) -> None:
    """Refuse venues that cannot be simulated, or not beside each other; raises LocalError."""
    known = dialect_names()
    names = [name_of(one) for one in scenario.sections]
    if not names:
        raise LocalError(f"{path}: no venue: expected a [[venue]] with a name: {', '.join(known)}")
    for name in names:
        if name not in known:
            raise LocalError(f"{path}: venue.name {name!r}: expected one of {', '.join(known)}")
        if names.count(name) > 1:
            raise LocalError(f"{path}: two [[venue]] are {name!r}: expected each venue once")


def run(args: argparse.Namespace) -> int:
    """Run the demo.

    0 when every book is LIVE at its end, both strategies saw events and nothing died but a feed
    handler, which is restarted; 128 + its number after a signal; else 1.
    """
    scenario = check(args)

    def interrupt() -> None:
        raise Interrupted(signals.number)

    # A second signal cuts summary and tidying short: the janitor tidies then.
    signals = EndSignals(interrupt, "its processes to end")
    with signals, ExitStack() as stack:
        demo = Demo(args, scenario, stack)
        demo.start()
        return demo.show()


class Demo:
    """All processes of one demo; the stack ends them."""

    def __init__(self, args: argparse.Namespace, scenario: Scenario, stack: ExitStack) -> None:
        self._args, self._scenario, self._stack = args, scenario, stack
        self._console = Console(quiet=args.json)
        self._instance = f"demo-{os.getpid()}"
        self._cpus = limits.available_cpus()
        self._placed = place_processes(limits.order_cpus(self._cpus))
        self._load = HostLoad()
        # Not the user id: root in a container often lacks the privilege.
        self._may_use_fifo = limits.read_privileges().may_use_fifo
        self._pair: VethPair | None = None
        self._children: dict[str, subprocess.Popen[str]] = {}
        self._deaths: list[Death] = []
        self._notes: list[str] = []
        self._signal = 0
        self._ports: dict[str, int] = {}  # of each venue
        self._paths: list[Row] = []  # one message alone over each path
        self._began = time.monotonic()
        self._view = LiveView(self._instance)

    def start(self) -> None:
        """Start everything; raises SystemSetupError with the log of what did not start."""
        self._load = HostLoad.before()
        self._directory = Path(tempfile.mkdtemp(prefix="tickpath-demo-"))
        self._stack.callback(self._tidy)
        self._stack.callback(start_janitor(self._directory, self._instance))
        self._choose_path()
        if self._pair is not None and not self._args.no_paths:
            self._compare_paths()
        make_ca(self._directory, [SERVER_NAME], [EXCHANGE_ADDRESS, LOOPBACK])
        self._start_simulator()
        self._start_feed_handler()
        for name, cpu in self._placed.strategies.items():
            self._start_strategy(name, cpu)
        for name in STRATEGIES:
            runner = f"strategy-{name}" if name in self._placed.strategies else "feed-handler"
            self._wait(runner, lambda name=name: self._runs(name))  # type: ignore[misc] # a loop's value
        self._say(f"placement: {self._placed.text}")
        self._say(f"instance: {self._instance} (while it runs: tickpath stat {self._instance})")

    def _say(self, text: str) -> None:
        wrap = not self._console.is_terminal  # there between words
        self._console.print(text, highlight=False, soft_wrap=wrap, markup=False)

    def _note(self, text: str) -> None:
        """Say what the summary for programs tells too."""
        self._notes.append(text)
        self._say(text)

    def _tidy(self) -> None:
        """Remove what is left after the last process: the janitor may be dead."""
        for pattern in segments_of(self._instance):
            for path in pattern.parent.glob(pattern.name):
                path.unlink(missing_ok=True)
        shutil.rmtree(self._directory, ignore_errors=True)

    def _choose_path(self) -> None:
        try:
            if self._args.backend == "kernel":
                raise SystemSetupError("asked for by --backend kernel")
            missing = missing_capabilities()
            if missing:
                raise SystemSetupError(f"AF_XDP needs {', '.join(missing)}: run as root")
            self._pair = self._stack.enter_context(VethPair.open())
        except SystemSetupError as error:
            self._note(f"path: kernel sockets over loopback, because: {error}")
        else:
            self._say("path: AF_XDP on a veth pair between two network namespaces")

    def _compare_paths(self) -> None:
        """Time one message over either path, while nothing else of ours runs."""
        from tickpath.engine.bench.wire import compare_paths  # noqa: PLC0415 # slow to load

        self._say("timing one message alone over AF_XDP and over kernel sockets, a few seconds")
        try:
            self._paths = compare_paths(self._directory, f"{self._instance}.wire")
        except (SystemSetupError, OSError) as error:
            why = str(error).splitlines()[-1]
            self._note(f"the kernel's path beside ours: not timed, because: {why}")
        else:
            self._view.beside = describe_paths(self._paths)

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
            namespace = self._pair.exchange if where == "exchange" else self._pair.feed_handler
            child = self._pair.spawn(namespace, command, **options)
        self._stack.callback(stop, child)
        self._children[name] = child
        return child

    def _tickpath(self, *words: str, cpu: int | None = None) -> list[str]:
        pinned = ["taskset", "--cpu-list", str(cpu)] if cpu is not None else []
        return [*pinned, sys.executable, "-P", "-m", "tickpath.engine.cli", *words]

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
        """Start one process for all venues: a port each, which it names."""
        scenario, keys = self._scenario, self._directory
        # The namespace is ours alone; on loopback any free ones.
        port = PORT if self._pair else 0
        words = ["sim", *scenario.venues, "--listen", f"{self._address}:{port}"]
        words += ["--cert", str(keys / "server.pem"), "--key", str(keys / "server.key")]
        words += ["--instruments", str(scenario.instruments)]
        words += ["--rate", str(scenario.rate), "--json"]
        self._spawn("exchange", "exchange", self._tickpath(*words, cpu=self._placed.others))
        log = self._directory / "exchange.log"

        def listens() -> bool:
            self._ports = ports_told(log.read_text(encoding="utf-8"))
            return len(self._ports) == len(scenario.venues)

        self._wait("exchange", listens)

    def _symbols(self) -> list[str]:
        from tickpath.engine.sim.market import instrument_names  # noqa: PLC0415 # slow to load

        return [str(name) for name in instrument_names(self._scenario.instruments)]

    def _venue_section(self, name: str) -> str:
        """Write a venue's [[venue]] for the exchange that runs here."""
        port = self._ports[name]
        keys = self._scenario.venues[name] | {
            "name": name,
            "host": SERVER_NAME,
            "port": port,
            "symbols": self._symbols(),
            "ca_file": str(self._directory / "ca.pem"),
        }
        lines = [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
        resolve = f'[venue.resolve]\n"{SERVER_NAME}:{port}" = "{self._address}"\n'
        return "\n".join(["[[venue]]", *lines, "", resolve])

    def _write_config(self, backend: str) -> Path:
        placed, directory = self._placed, self._directory
        throttled = limits.describe_throttling(limits.read_throttling([placed.feed_handler or 0]))
        fifo = placed.feed_handler is not None and self._may_use_fifo
        if fifo and throttled and "feed-handler" not in self._children:
            self._note(
                "real-time limit: the feed handler yields now and then, so that the kernel never "
                "stops "
                f"it. {throttled.rstrip('.')}"
            )
        sections = "\n".join(map(self._venue_section, self._scenario.venues))
        source = native_source(directory)
        inline = "\n".join(section_of(name, source) for name in placed.inline)
        text = f"""\
instance = "{self._instance}"

[feed_handler]
{f"cpu = {placed.feed_handler}" if placed.feed_handler is not None else "# one CPU: not pinned"}
priority = {FEED_HANDLER_PRIORITY if fifo else 0}
spin = {str(placed.feed_handler is not None).lower()}
yield_to_others = {str(bool(fifo and throttled)).lower()}

[network]
backend = "{backend}"

{sections}
{inline}"""
        path = directory / "demo.toml"
        path.write_text(text, encoding="utf-8")
        return path

    def _start_feed_handler(self) -> None:
        backend = "af_xdp" if self._pair else "kernel"
        try:
            self._run_feed_handler(backend)
        except SystemSetupError as error:
            if backend == "kernel" or self._children["feed-handler"].poll() != EXIT_SYSTEM:
                raise
            reason = str(error).splitlines()[-1]
            self._note(f"path: kernel sockets over the veth pair instead, because: {reason}")
            self._view.close()
            self._view = LiveView(self._instance, beside=self._view.beside)
            self._run_feed_handler("kernel")
        log = (self._directory / "feed-handler.log").read_text(encoding="utf-8")
        self._view.path = path_told(log)

    def _run_feed_handler(self, backend: str) -> None:
        command = self._tickpath("run", str(self._write_config(backend)))
        self._spawn("feed-handler", "feed-handler", command)
        self._wait("feed-handler", self._view.look)

    def _start_strategy(self, name: str, cpu: int | None) -> None:
        words = [
            "strategy",
            *words_of(name, native_source(self._directory)),
            "--instance",
            self._instance,
            "--name",
            name,
            "--json",
        ]
        words += [] if cpu is None else ["--cpu", str(cpu)]
        words += ["--priority", str(STRATEGY_PRIORITY)] if self._may_use_fifo else []
        words += [] if self._placed.strategies_spin else ["--block"]
        self._spawn(f"strategy-{name}", "feed-handler", self._tickpath(*words))

    def _runs(self, name: str) -> bool:
        self._view.look()
        return name in running(self._instance)

    def show(self) -> int:
        """Redraw until time is up, then print the summary. Returns the exit status."""
        self._began = time.monotonic()
        end = self._began + self._args.seconds
        try:
            if self._console.is_terminal:
                self._show_tables(end)
            else:
                self._show_lines(end)
            self._settle(SETTLE_S)
        except Interrupted as interrupt:
            self._signal = interrupt.number
            self._settle(HELD_UP_S)
        self._look()
        status = self._summary()
        self._view.close()
        return status

    def _show_tables(self, end: float) -> None:
        # The last frame vanishes: the summary takes its place.
        with Live(console=self._console, auto_refresh=False, transient=True) as live:
            while time.monotonic() < end:
                self._look()
                size = self._console.size
                live.update(self._view.render(size.width, size.height), refresh=True)
                time.sleep(min(REDRAW_S, max(0.0, end - time.monotonic())))

    def _show_lines(self, end: float) -> None:
        next_line = time.monotonic()
        while (now := time.monotonic()) < end:
            self._look()
            if now >= next_line:
                next_line = now + LINE_EVERY_S
                self._say(self._view.totals())
            time.sleep(min(REDRAW_S, max(0.0, end - time.monotonic())))

    def _settle(self, seconds: float) -> None:
        """Give a feed handler that is being restarted, or was held up, the time to come back."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self._deaths and not self._is_live():
            time.sleep(REDRAW_S)
            self._look()

    def _is_live(self) -> bool:
        tops = self._view.tops()
        return bool(tops) and all(top.state is BookState.LIVE for top in tops)

    def _look(self) -> None:
        known = {death.name for death in self._deaths}
        for name, child in self._children.items():
            if child.poll() is not None and name not in known:
                after_s = time.monotonic() - self._began
                self._deaths.append(Death(name, child.pid, child.returncode, after_s))
                self._say(f"{self._deaths[-1]}; the others go on")
        restarts = self._view.restarts
        self._view.look()
        if self._view.restarts > restarts:
            self._say(self._view.restarted()[0])

    def _troubles(self) -> list[str]:
        """Say in a line each what went wrong; empty where all went well."""
        lines = [self._describe(death) for death in self._deaths]
        tops = self._view.tops()
        stale = [
            f"{top.venue}:{top.symbol} {top.state.name}"
            for top in tops
            if top.state != BookState.LIVE
        ]
        if stale or not tops:
            shown = ", ".join(stale[:STALE_SHOWN]) or "all"
            more = f" and {len(stale) - STALE_SHOWN} more" if len(stale) > STALE_SHOWN else ""
            lines.append(f"books that are not LIVE at the end: {shown}{more}")
        seen = {one["name"] for one in self._view.strategies() if one["messages"] > 0}
        lines += [f"strategy {name} saw no message" for name in STRATEGIES if name not in seen]
        return lines

    def _describe(self, death: Death) -> str:
        if death.status < 0:  # a signal from outside: its log knows nothing of it
            return str(death)
        log = (self._directory / f"{death.name}.log").read_text(encoding="utf-8").strip()
        return f"{death}; its log ends: {log[-LOG_END:].splitlines()[-1] if log else '(empty)'}"

    def _summary(self) -> int:
        troubles = self._troubles()
        status = EXIT_DEMO_FAILED if troubles else 0
        status = EXIT_SIGNAL + self._signal if self._signal else status
        if self._args.json:
            print(json.dumps(self._facts(status, troubles)), flush=True)
        else:
            self._print_tables()
        for line in troubles:
            print(f"tickpath: {line}", file=sys.stderr)
        if troubles and not self._deaths and not self._signal:
            self._print_logs()
        return status

    def _print_logs(self) -> None:
        """Where nobody died, only the logs know why."""
        for log in sorted(self._directory.glob("*.log")):
            for line in log.read_text(encoding="utf-8")[-LOG_END:].splitlines()[-LOG_LINES:]:
                print(f"{log.stem}: {line}", file=sys.stderr)

    def _print_tables(self) -> None:
        view, average = self._view, self._view.average()
        for line in (view.headline(), *view.beside_lines()):
            self._say(line)
        self._say(f"path: {view.path}")
        self._console.print(view.books_table(average))
        if view.spreads():
            self._say("")
            self._console.print(view.spread_table())
        self._say("")
        self._console.print(view.hops_table(self._console.size.width))
        self._say("")
        for line in (*view.strategy_lines(), view.totals(average), *view.restarted()):
            self._say(line)
        self._say(f"all rates are averages over {average.seconds:.1f} s")
        self._say(NO_FIRST_HOP)
        for line in self._load.remarks(self._cpus):
            self._say(f"warning: {line}")
        self._say(f"you saw {self._saw()}; {NEXT}")

    def _saw(self) -> str:
        """Say in a line what this run has shown, good or bad."""
        tops, spreads = self._view.tops(), self._view.spreads()
        live = sum(top.state is BookState.LIVE for top in tops)
        books = f"{live} of {len(tops)} books" if live < len(tops) else f"{live} books"
        said = f"{books} LIVE, kept by one feed handler from {self._view.messages():,} messages"
        if not spreads:
            return said
        crossings = sum(one.crossings for one in spreads)
        widest = max(spreads, key=lambda one: one.widest_bps)
        return (
            f"{said} of {len(self._view.venues())} venues, and {crossings:,} times a bid above "
            f"another venue's ask (at most {widest.widest_bps:.2f} bps, before fees)"
        )

    def _facts(self, status: int, troubles: list[str]) -> dict[str, Any]:
        """Return the summary for programs: prices as decimal text, latencies in ns."""
        view, average = self._view, self._view.average()
        return {
            "status": status,
            "headline": view.headline(),
            "paths": [asdict(one) for one in self._paths],
            "troubles": troubles,
            "ended": [asdict(death) for death in self._deaths],
            "path": view.path,
            "placement": self._placed.text,
            "notes": self._notes,
            "warnings": self._load.remarks(self._cpus),
            "seconds": round(average.seconds, 3),
            "messages": view.messages(),
            "messages_per_second": round(average.messages, 1),
            "feed_handler_restarts": view.restarts,
            "books": [
                {
                    **asdict(top),
                    "state": top.state.name,
                    "messages_per_second": round(average.of_book(top.index), 1),
                }
                for top in view.tops()
            ],
            "spreads": [asdict(one) for one in view.spreads()],
            "hops": [asdict(hop) for hop in view.hops()],
            "strategies": view.strategies(),
            "counters": view.counters(),
        }


def describe_paths(rows: Sequence[Row]) -> str:
    """Say in a line how long one message took over each path."""
    ours, kernel = ((microseconds(one.p50), microseconds(one.p99)) for one in rows)
    return (
        "one message alone, send call to a strategy that spins: "
        f"{ours[0]} µs over AF_XDP, {kernel[0]} over kernel sockets (p50; p99 {ours[1]}, "
        f"{kernel[1]})"
    )


def ports_told(log: str) -> dict[str, int]:
    """Return the port of each venue that the simulator says it listens on."""
    found: dict[str, int] = {}
    for line in log.splitlines():
        with suppress(msgspec.DecodeError, ValueError):  # half a line, or a complaint
            told = msgspec.json.decode(line, type=dict[str, Any])
            if told.get("event") == "listening":
                found[told["venue"]] = int(told["url"].split("/")[2].rpartition(":")[2])
    return found


def path_told(log: str) -> str:
    """Return what the feed handler's log says of its path."""
    told = (line.partition("path: ")[2] for line in log.splitlines())
    return next((text for text in told if text), "not known")
