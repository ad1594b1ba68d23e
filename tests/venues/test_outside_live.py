"""The venue of the tests: a simulator on sockets, the feed handler, a reader's book.

JSON, a chain of previous numbers, bases in-band alone: nothing of its like is built in.
"""

from __future__ import annotations

import json
import os
import time
import urllib.request
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from tickpath.engine.client.reader import open_reader
from tickpath.proto.records import format_fixed
from tickpath.shm.errors import LocalError, RemoteError, SystemSetupError

from tests.unit.test_run_reconnect import Child, start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["start"]  # a fixture
PATIENCE_S = 30.0
SYMBOLS = ("BTC-USDT", "ETH-USDT")
CONFIG = """
instance = "{instance}"
[feed_handler]
spin = false
lock_memory = false
[network]
backend = "kernel"
[[venue]]
name = "toy"
symbols = ["BTC/USDT", "ETH-USDT"]
host = "localhost"
port = {port}
tls = false
[venue.resolve]
"localhost:{port}" = "127.0.0.1"
"""


class World:
    """A simulator and a feed handler, as two commands, and a reader in this process."""

    def __init__(self, start: Callable[..., Child], place: Path) -> None:
        words = ("--listen", "127.0.0.1:0", "--instruments", ",".join(SYMBOLS), "--rate", "200")
        self.exchange = start("sim", "toy", "--plain", *words, "--json")
        self.exchange.wait_for("its port", lambda lines: any("listening" in one for one in lines))
        first = json.loads(next(one for one in self.exchange.lines if "listening" in one))
        self.port = int(urlsplit(first["url"]).port or 0)
        self.instance = f"unit-toy-{os.getpid():07d}"
        path = place / "run.toml"
        path.write_text(CONFIG.format(instance=self.instance, port=self.port))
        self.handler = start("run", str(path))
        self.reader: Any = None
        self.wait_for("its memory", self._open)

    def _open(self) -> bool:
        with suppress(LocalError, RemoteError, SystemSetupError):
            self.reader = open_reader(self.instance)
        return self.reader is not None

    def wait_for(self, what: str, holds: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE_S
        while not holds():
            assert time.monotonic() < end, f"{what} never came:\n" + "".join(self.handler.lines)
            time.sleep(0.02)

    def ask(self, method: str, target: str) -> Any:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{target}", method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - loopback
            return json.loads(answer.read())

    def resyncs(self) -> int:
        """Return how often a book lost its place since the start."""
        return int(self.reader.shm.segment.counters()["feed.resyncs"])

    def has_lost(self, resyncs: int) -> bool:
        return self.resyncs() > resyncs

    def is_live(self) -> bool:
        return all(self.reader.book(symbol).is_live for symbol in SYMBOLS)

    def is_true(self, symbol: str) -> bool:
        """Compare with the exchange's own book; both stand still meanwhile."""
        truth, book = self.ask("GET", f"/truth?symbol={symbol}"), self.reader.book(symbol)
        row = next(one for one in self.reader.instruments if one.symbol == symbol)
        exponents = (row.price_exponent, row.quantity_exponent)
        for got, want in ((book.bids, truth["bids"]), (book.asks, truth["asks"])):
            written = [
                [format_fixed(n, e) for n, e in zip(level, exponents, strict=True)] for level in got
            ]
            if not got or written != want[: len(got)]:
                return False
        return bool(book.is_live)


@pytest.fixture
def world(start: Callable[..., Child], tmp_path: Path) -> Iterator[World]:
    made = World(start, tmp_path)
    yield made
    made.reader.close()


def test_outside_venue_books_are_live_and_the_exchanges_own(world: World) -> None:
    world.wait_for("books", world.is_live)
    world.ask("POST", "/fault?kind=pause")
    for symbol in SYMBOLS:
        world.wait_for(f"the true {symbol}", partial(world.is_true, symbol))


@pytest.mark.parametrize("fault", ["gap", "garbage"])
def test_outside_venue_lost_message_brings_a_base_by_a_new_subscription(
    world: World, fault: str
) -> None:
    """Where no base comes by REST, only a new subscription brings one: nothing else would."""
    world.wait_for("books", world.is_live)
    for _ in range(2):
        before = world.resyncs()
        world.ask("POST", f"/fault?kind={fault}:BTC-USDT")
        world.wait_for("the loss", partial(world.has_lost, before))
        world.wait_for("books", world.is_live)
    assert world.reader.book("ETH-USDT").is_live
    world.ask("POST", "/fault?kind=pause")
    world.wait_for("the true book", lambda: world.is_true("BTC-USDT"))
