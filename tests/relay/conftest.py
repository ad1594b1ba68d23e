"""Real redis-servers on loopback, and a feed relayed through them: what this folder stands on.

Ports and folders are private; every server dies with this process (parent-death signal), `kill -9`
included. A `Rig` drives source, publisher and follower in turn from one thread, so that a test
decides when each of them acts.
"""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis
from tickpath.engine.client.reader import BookState, Event, open_reader
from tickpath.engine.relay.follower import Follower, Target
from tickpath.engine.relay.nodes import RedisOptions
from tickpath.engine.relay.publisher import Publisher
from tickpath.engine.strategy.rehearsal import RehearsalFeed
from tickpath.engine.supervisor.child_process import spawn, stop
from tickpath.proto.instrument import Instrument

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tickpath.engine.client.reader import FeedReader

WAIT_S = 20.0
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "ADAUSDT", "DOGEUSDT")
INSTRUMENTS = [Instrument(i, "mexc", name, -2, -6, 1) for i, name in enumerate(SYMBOLS)]
_serial = itertools.count()


def until(ready: Callable[[], Any], what: str, turn: Callable[[], None] | None = None) -> Any:
    """Wait for something to become true, turning meanwhile; fail where it does not."""
    end = time.monotonic() + WAIT_S
    while not (found := ready()):
        assert time.monotonic() < end, f"waited {WAIT_S:g} s for {what}"
        if turn:
            turn()
        else:
            time.sleep(0.01)
    return found


class Server:
    """One redis-server with a folder and a port of its own."""

    def __init__(self, folder: Path, *words: str, tls: bool = False) -> None:
        self._words, self._tls = words, tls
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        # Below the range that the kernel gives to others, and far enough for the cluster's bus.
        while True:
            port = 20000 + (os.getpid() * 7 + next(_serial)) % 9000
            with socket.socket() as one, socket.socket() as bus:
                try:
                    one.bind(("127.0.0.1", port))
                    bus.bind(("127.0.0.1", port + 10000))
                except OSError:
                    continue
            break
        self.port = port
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> Server:
        """Start it, or start it again."""
        port = ["--port", "0", "--tls-port"] if self._tls else ["--port"]
        listen = [*port, str(self.port), "--bind", "127.0.0.1", "--save", ""]
        command = ["redis-server", *listen, "--dir", str(self.folder), *self._words]
        with (self.folder / "log").open("a") as log:
            self.process = spawn(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until(self._listens, f"redis-server on port {self.port}")
        return self

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def client(self, **options: Any) -> Redis:
        return Redis(host="127.0.0.1", port=self.port, **options)

    def command(self, *words: str) -> Any:
        """Run one command as the administrator."""
        client: Any = self.client()
        return client.execute_command(*words)

    def kill(self) -> None:
        """End it as a crash does."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def options(self, login: str = "", **changes: Any) -> RedisOptions:
        """Return how to reach it; login is "user:password", ":password" or nothing."""
        user, _, password = login.partition(":")
        names = {"username": user or None, "password": password or None}
        fields: dict[str, Any] = {"host": "127.0.0.1", "port": self.port} | names | changes
        return RedisOptions(**fields)

    def close(self) -> None:
        if self.process is not None:
            stop(self.process)


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start redis-servers; all are gone afterwards."""
    started: list[Server] = []

    def start(*words: str, tls: bool = False) -> Server:
        started.append(Server(tmp_path / f"redis{len(started)}", *words, tls=tls))
        return started[-1].start()

    yield start
    for server in started:
        server.close()


class Rig:
    """A source, a publisher, a follower and a reader of what it fills."""

    def __init__(
        self, options: RedisOptions, *, cap: int = 1000, stale_after_ms: int = 500
    ) -> None:
        self.name = f"relay-{os.getpid():07d}-{next(_serial):03d}"
        self.options, self.cap = options, cap
        self.target = Target(name=f"{self.name}-far", stale_after_ms=stale_after_ms)
        self.said: list[tuple[str, dict[str, Any]]] = []
        self._stack = ExitStack()
        self.feed = self._stack.enter_context(RehearsalFeed(self.name, INSTRUMENTS))
        for one in INSTRUMENTS:
            self.feed.publish_top((100, 5), (101, 6), one.index)
        self.feed.heartbeat()
        self.publisher = self.publish()
        self.follower: Follower | None = None
        self.far: FeedReader | None = None

    def _tell(self, event: str, **values: Any) -> None:
        self.said.append((event, values))

    def heard(self, event: str) -> list[dict[str, Any]]:
        return [values for name, values in self.said if name == event]

    def publish(self) -> Publisher:
        """Begin a publisher, the first or another life of it."""
        reader = self._stack.enter_context(open_reader(self.name))
        self.publisher = Publisher(reader, self.options, self._tell, cap=self.cap)
        self.publisher.start()
        return self.publisher

    def follow(self) -> FeedReader:
        """Begin a follower; return a reader of its segment once all its books are LIVE."""
        self.follower = Follower(self.name, self.options, self._tell, target=self.target)
        self.follower.start()
        until(lambda: self.follower and self.follower.segment, "a segment", self.turn)
        name = self.target.name or self.name
        self.far = self._stack.enter_context(open_reader(name, stale_after_ns=10**9))
        until(lambda: all(self.states(BookState.LIVE)), "LIVE books", self.turn)
        return self.far

    def turn(self, *, beats: bool = True, publishes: bool = True) -> None:
        """Let each of them act once."""
        if beats:
            self.feed.heartbeat()
        if publishes:
            self.publisher.step(100_000)
        if self.follower is not None:
            self.follower.step(0.001)

    def turn_for(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.turn()

    def states(self, wanted: BookState) -> list[bool]:
        """Say of each book at the far end whether the follower gives it this state."""
        assert self.far is not None
        return [self.far.book(one.index).published_state == wanted for one in INSTRUMENTS]

    def has_book(self, instrument: int, bid: tuple[int, int]) -> bool:
        assert self.far is not None
        return self.far.book(instrument).bid == bid

    def far_events(self) -> list[tuple[int, int, tuple[int, int, int, int]]]:
        """Take all events at the far end: instrument, type, values."""
        assert self.far is not None
        found: list[tuple[int, int, tuple[int, int, int, int]]] = []
        self.far.set_wait(0)
        while (result := self.far.next()) > 0:
            if result == 1:
                event: Event = self.far.event
                found.append((event.instrument, event.type, event.value))
        return found

    def close(self) -> None:
        self.publisher.close()
        if self.follower is not None:
            self.follower.close()
        self._stack.close()


@pytest.fixture
def rigs() -> Iterator[Callable[..., Rig]]:
    """Make rigs; their segments are gone afterwards."""
    made: list[Rig] = []

    def make(options: RedisOptions, **changes: Any) -> Rig:
        made.append(Rig(options, **changes))
        return made[-1]

    yield make
    for rig in made:
        rig.close()
