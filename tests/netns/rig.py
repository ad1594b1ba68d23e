"""The whole path as tests drive it: simulator and feed handler as processes, and what they said.

An `Exchange` is `tickpath sim mexc` in one namespace with its fault and truth endpoints; a
`Supervised` is `tickpath run` in the other; a `Watcher` reads shared memory as a strategy does, and
keeps every change of state. All waits are bounded by PATIENCE_S: nothing is timed by it.
"""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tickpath.engine.client.reader import Event, FeedReader, open_reader
from tickpath.engine.supervisor.child_process import stop
from tickpath.engine.supervisor.sandbox import EXCHANGE_ADDRESS, INTERFACE, VethPair
from tickpath.proto.records import BOOK_DEPTH_MAX, BookState, EventType, SyncReason
from tickpath.shm.segment import DIRECTORY, Segment, SegmentError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tickpath.engine.supervisor.sandbox import Namespace

CLONE_NEWNET = 0x40000000  # linux/sched.h
PORT = 8443
SERVER_NAME = "exchange.test"
PATIENCE_S = 30.0
State = tuple[BookState, SyncReason]
LIVE: State = (BookState.LIVE, SyncReason.NONE)
TICKPATH = [sys.executable, "-P", "-m", "tickpath.engine.cli"]
_libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def entered(namespace: Namespace) -> Iterator[None]:
    """Move the calling thread into a namespace and back; sockets stay where they were made."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(namespace.fd, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
        try:
            yield
        finally:
            if _libc.setns(home, CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
    finally:
        os.close(home)


def until(what: str, ready: Callable[[], Any], patience_s: float = PATIENCE_S) -> Any:
    """Return the first true answer; fails, naming what was waited for, when patience ends."""
    end = time.monotonic() + patience_s
    while not (answer := ready()):
        assert time.monotonic() < end, f"waited {patience_s:g} s for {what}"
        time.sleep(0.005)
    return answer


def children(pid: int) -> list[int]:
    """List the direct children of a process."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    return [int(word) for word in text.split()]


def is_gone(pid: int) -> bool:
    """Say whether a process ended (a zombie that nobody waits for has)."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return True
    return status.rpartition(")")[2].split()[0] == "Z"


@dataclass(slots=True)
class Program:
    """A child and what it wrote, stdout and stderr in one file."""

    process: subprocess.Popen[str]
    path: Path

    @property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    def wait_for(self, text: str, after: int = 0) -> str:
        """Wait until it wrote this behind the character number `after`; returns the line."""

        def found() -> str:
            said = self.text[after:]
            assert text in said or self.process.poll() is None, f"ended without {text!r}:\n{said}"
            position = said.find(text)
            start = said.rfind("\n", 0, position) + 1
            line, newline, _ = said[start:].partition("\n")
            return line if position >= 0 and newline else ""

        return str(until(f"{text!r} of {self.process.args!r}, said {self.text[after:]!r}", found))

    def end(self) -> int:
        """Ask it to end; returns its exit status."""
        return stop(self.process, PATIENCE_S)


def start(pair: VethPair, where: Namespace, log: Path, command: Sequence[str]) -> Program:
    """Start a program inside a namespace; `pair.close` ends it."""
    with log.open("w", encoding="utf-8") as file:
        process = pair.spawn(where, command, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    return Program(process, log)


class Exchange:
    """A running simulator and its control endpoint."""

    def __init__(self, pair: VethPair, directory: Path, *words: str) -> None:
        self._pair, self._directory = pair, directory
        self._connection: http.client.HTTPConnection | None = None
        self.plain = "--plain" in words
        keys = ["--make-ca", str(directory), "--name", SERVER_NAME]
        keys = [] if self.plain or "--cert" in words else keys
        listen = ["--listen", f"{EXCHANGE_ADDRESS}:{PORT}", "--json"]
        command = [*TICKPATH, "sim", "mexc", *listen, *keys, *words]
        self.program = start(pair, pair.exchange, directory / "exchange.log", command)
        self.program.wait_for('"listening"')

    def ask(self, target: str) -> dict[str, Any]:
        """Ask the simulator; fails on anything but 200. Not verified: only its words count here."""
        if self._connection is None:
            self._connection = self._connect()
        self._connection.request("GET", target)
        response = self._connection.getresponse()
        body = response.read()
        assert response.status == 200, f"{target}: {response.status} {body!r}"
        return dict(json.loads(body))

    def _connect(self) -> http.client.HTTPConnection:
        with entered(self._pair.exchange):
            raw = socket.create_connection((EXCHANGE_ADDRESS, PORT), timeout=PATIENCE_S)
        connection = http.client.HTTPConnection(EXCHANGE_ADDRESS, PORT)
        if not self.plain:
            import ssl  # noqa: PLC0415 - only here

            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            raw = context.wrap_socket(raw)
        connection.sock = raw
        return connection

    def fault(self, kind: str) -> dict[str, Any]:
        """Do something wrong."""
        return self.ask(f"/fault?kind={kind}")

    def truth(self, symbol: str) -> dict[str, Any]:
        """Return version, bids and asks as they are."""
        return self.ask(f"/truth?symbol={symbol}")

    def end(self) -> None:
        """Stop it."""
        if self._connection is not None:
            self._connection.close()
        self.program.end()


@dataclass(slots=True)
class Change:
    """One STATE event; `at` is our clock when it was read."""

    instrument: int
    state: State
    at: float


@dataclass(slots=True)
class Watcher:
    """A strategy's view: follow the ring, keep the changes of state, read books."""

    reader: FeedReader
    changes: list[Change] = field(default_factory=list)
    events: int = 0

    def drain(self) -> None:
        """Read what is there."""
        for _ in range(1 << 16):
            result = self.reader.next()
            if result <= 0:
                return
            if result == 1:
                self.events += 1
                event = self.reader.event
                if event.type == EventType.STATE:
                    state = (event.state, event.reason)
                    self.changes.append(Change(event.instrument, state, time.monotonic()))

    def state(self, instrument: int) -> State:
        """Return the state to act on."""
        book = self.reader.book(instrument)
        return book.state, book.reason

    def states(self) -> list[State]:
        """Return the states of all instruments."""
        self.drain()
        return [self.state(row.index) for row in self.reader.instruments]

    def wait_state(self, wanted: State, instruments: Sequence[int] | None = None) -> None:
        """Wait until all, or some, of the instruments have a state."""
        seen: list[State] = []

        def ready() -> bool:
            nonlocal seen
            seen = self.states()
            chosen = seen if instruments is None else [seen[i] for i in instruments]
            return all(state == wanted for state in chosen)

        until(f"{wanted}", ready)

    def wait_change(self, instrument: int, wanted: State) -> Change:
        """Wait for a change that is or was told; drops what its instrument did before."""

        def found() -> Change | None:
            self.drain()
            for position, change in enumerate(self.changes):
                if (change.instrument, change.state) == (instrument, wanted):
                    self.changes = [
                        one
                        for other, one in enumerate(self.changes)
                        if other > position or one.instrument != instrument
                    ]
                    return change
            return None

        change: Change = until(f"{wanted} of {instrument} in {self.changes}", found)
        return change


CONFIG = """\
instance = "{instance}"
[feed_handler]
{feed_handler}
lock_memory = false
[network]
backend = "af_xdp"
interface = "{interface}"
{network}
[[venue]]
name = "mexc"
host = "{host}"
port = {port}
symbols = {symbols}
speed = "10ms"
{venue}
[venue.resolve]
"{host}:{port}" = "{address}"
[health]
silent_after_ms = {silent_after_ms}
[reconnect]
max_s = {max_s}
"""


@dataclass(slots=True, kw_only=True)
class Settings:
    """What differs from test to test."""

    symbols: Sequence[str]
    feed_handler: str = "spin = false"
    network: str = ""
    venue: str = ""
    host: str = SERVER_NAME
    silent_after_ms: int = 20_000
    max_s: float = 1.0
    prefix: Sequence[str] = ()  # of the command line: who and what confines the feed handler


class Supervised:
    """`tickpath run` on a configuration written here."""

    def __init__(self, pair: VethPair, directory: Path, settings: Settings) -> None:
        self.instance = f"e2e-{os.getpid()}-{directory.name}"[:60]
        self.config = directory / "config.toml"
        venue = settings.venue or f'ca_file = "{directory / "ca.pem"}"'
        text = CONFIG.format(
            instance=self.instance,
            interface=INTERFACE,
            feed_handler=settings.feed_handler,
            network=settings.network,
            host=settings.host,
            port=PORT,
            symbols=json.dumps(list(settings.symbols)),
            venue=venue,
            address=EXCHANGE_ADDRESS,
            silent_after_ms=settings.silent_after_ms,
            max_s=settings.max_s,
        )
        self.config.write_text(text, encoding="utf-8")
        command = [*settings.prefix, *TICKPATH, "run", str(self.config)]
        self.program = start(pair, pair.feed_handler, directory / "feed-handler.log", command)

    def watch(self, **options: Any) -> Watcher:
        """Open the segment as soon as it is there."""

        def opened() -> FeedReader | None:
            assert self.program.process.poll() is None, self.program.text
            with contextlib.suppress(SegmentError):
                return open_reader(self.instance, **options)
            return None

        return Watcher(until(f"the segment; the log says {self.program.text}", opened))

    @property
    def feed_handler_pid(self) -> int:
        """Return the process id of the feed handler now."""
        pids: list[int] = until("the feed handler", lambda: children(self.program.process.pid))
        return pids[0]

    def counters(self) -> dict[str, int]:
        """Return the feed handler's counters, at most a tenth of a second old."""
        with Segment(self.instance) as segment:
            return dict(segment.counters())

    def wait_counter(self, name: str, least: int) -> int:
        """Wait until a counter has reached a value; returns it."""
        until(f"{name} >= {least}", lambda: self.counters().get(name, 0) >= least)
        return self.counters()[name]

    def files(self) -> list[str]:
        """List what the instance has in shared memory."""
        return sorted(path.name for path in DIRECTORY.glob(f"tickpath.{self.instance}*"))

    def end(self) -> int:
        """Stop it, and sweep what a killed one left."""
        status = self.program.end()
        for path in DIRECTORY.glob(f"tickpath.{self.instance}*"):
            path.unlink()
        return status


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Send a signal to a process of the test's own."""
    os.kill(pid, number)


def mantissas(levels: list[list[str]], price_exponent: int, quantity_exponent: int) -> list[Any]:
    """Turn the truth's decimal texts into the book's integers, best first, the book's depth."""

    def scaled(text: str, exponent: int) -> int:
        whole, _, part = text.partition(".")
        digits = (part + "0" * -exponent)[:-exponent] if exponent else ""
        assert not part[len(digits) :].strip("0"), f"{text} has more than {-exponent} decimals"
        return int(whole + digits)

    return [
        (scaled(price, price_exponent), scaled(quantity, quantity_exponent))
        for price, quantity in levels[:BOOK_DEPTH_MAX]
    ]


def assert_truth(exchange: Exchange, watcher: Watcher) -> None:
    """Hold every book against the simulator's at the same version; the simulator must be paused."""
    watcher.wait_state(LIVE)
    for row in watcher.reader.instruments:
        truth = exchange.truth(row.symbol)

        def caught_up(index: int = row.index, version: int = int(truth["version"])) -> bool:
            watcher.drain()
            return bool(watcher.reader.book(index).book_sequence >= version)

        until(f"version {truth['version']} of {row.symbol}", caught_up)
        book = watcher.reader.book(row.index)
        exponents = (row.price_exponent, row.quantity_exponent)
        assert book.book_sequence == truth["version"], row.symbol
        assert book.bids == mantissas(truth["bids"], *exponents)[: len(book.bids)], row.symbol
        assert book.asks == mantissas(truth["asks"], *exponents)[: len(book.asks)], row.symbol
        assert min(len(book.bids), len(book.asks)) >= 10, row.symbol


__all__ = [
    "LIVE",
    "PATIENCE_S",
    "PORT",
    "SERVER_NAME",
    "TICKPATH",
    "Change",
    "Event",
    "Exchange",
    "Program",
    "Settings",
    "State",
    "Supervised",
    "VethPair",
    "Watcher",
    "assert_truth",
    "children",
    "entered",
    "is_gone",
    "kill",
    "start",
    "until",
]
