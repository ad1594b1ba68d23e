"""`tickpath run` on three simulated venues: LIVE books are each dialect's truth."""

from __future__ import annotations

import json
import os
import time
import urllib.request
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from tickpath.engine.client.reader import open_reader

from tests.unit.test_run_reconnect import PATIENCE_S, Child

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tickpath.engine.client.reader import Book, FeedReader

VENUES = ("mexc", "binance", "kraken")
NAMES = ("BTC/USDT", "DOGE/USDT")
FEED_HANDLER = """
instance = "{instance}"
[feed_handler]
spin = false
lock_memory = false
[network]
backend = "kernel"
"""
VENUE = """
[[venue]]
name = "{name}"
symbols = ["BTC/USDT", "DOGE/USDT"]
host = "localhost"
port = {port}
tls = false
[venue.resolve]
"localhost:{port}" = "127.0.0.1"
"""


def until(what: str, is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < end, f"never came: {what}"
        time.sleep(0.02)


def ask(port: int, path: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE_S) as answer:
        told: dict[str, Any] = json.loads(answer.read())
    return told


@pytest.fixture
def ports() -> Iterator[dict[str, int]]:
    listen = ("--listen", "127.0.0.1:0", "--plain", "--json")
    exchange = Child("sim", *VENUES, *listen, "--rate", "600", "--instruments", ",".join(NAMES))
    try:
        exchange.wait_for(
            "three ports", lambda lines: sum('"listening"' in one for one in lines) == len(VENUES)
        )
        told = [json.loads(line) for line in exchange.lines if '"listening"' in line]
        yield {one["venue"]: int(one["url"].split("/")[2].rpartition(":")[2]) for one in told}
    finally:
        assert exchange.end() == 0


@pytest.fixture
def reader(ports: dict[str, int], tmp_path: Path) -> Iterator[FeedReader]:
    instance = f"three{os.getpid():07d}"
    sections = [VENUE.format(name=name, port=port) for name, port in ports.items()]
    config = tmp_path / "three.toml"
    config.write_text(FEED_HANDLER.format(instance=instance) + "".join(sections))
    supervisor = Child("run", str(config))
    try:
        reader = open_reader(instance, wait_s=PATIENCE_S, stale_after_ns=60 * 10**9)
        with reader:
            yield reader
    finally:
        assert supervisor.end() == 0, "".join(supervisor.lines)


def levels(book: Book) -> tuple[list[tuple[Decimal, Decimal]], list[tuple[Decimal, Decimal]]]:
    price = Decimal(1).scaleb(book.price_exponent)
    quantity = Decimal(1).scaleb(book.quantity_exponent)
    bids, asks = (
        [(one * price, size * quantity) for one, size in side] for side in (book.bids, book.asks)
    )
    return bids, asks


@pytest.mark.slow
def test_run_live_books_of_three_venues_equal_each_dialects_truth(
    ports: dict[str, int], reader: FeedReader
) -> None:
    def books() -> list[Book]:
        return [reader.book(one.index) for one in reader.instruments]

    until("six LIVE books", lambda: len(books()) == 6 and all(one.is_live for one in books()))
    until("some changes", lambda: all(one.version > 50 for one in books()))
    for port in ports.values():
        assert ask(port, "/fault?kind=pause")["hit"] == 1

    def equal() -> list[str]:
        found = []
        for one in reader.instruments:
            truth = ask(ports[one.venue], f"/truth?symbol={one.symbol}")
            book = reader.book(one.index)
            shown = levels(book)
            true = [
                [(Decimal(price), Decimal(size)) for price, size in truth[side]][: len(own)]
                for side, own in zip(("bids", "asks"), shown, strict=True)
            ]
            if book.is_live and min(map(len, shown)) >= 10 and list(shown) == true:
                found.append(f"{one.venue}:{one.symbol}")
        return found

    until("books that equal the truth", lambda: len(equal()) == 6)
    scales = {reader.book(f"{venue}:{NAMES[0]}").price_exponent for venue in VENUES}
    assert len(scales) > 1, "the same instrument has other digits elsewhere"
