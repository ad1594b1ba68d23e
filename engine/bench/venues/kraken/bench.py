"""Kraken's books for the benchmarks: messages with checksums, and msgspec with zlib as a contender.

Messages are the simulated venue's, at depth 10. The contender is what a good Python program does:
msgspec straight to floats, each level's digits written once, ten levels a side kept, joined and
checked by zlib. Called by: ../../checked.py.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Final

import msgspec
from tickpath.engine.bench.venues import CheckedVenue
from tickpath.engine.sim.dialect import Client, Floor, Message
from tickpath.engine.sim.venues.kraken import KrakenDialect
from tickpath.proto.venues.kraken.settings import KrakenSettings
from tickpath.proto.venues.kraken.venue import VENUE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tickpath.proto.instrument import Instrument

DEPTH: Final = 10
NOW_NS: Final = 1_795_000_000_000_000_000


class _Level(msgspec.Struct):
    price: float
    qty: float


class _Item(msgspec.Struct):
    symbol: str
    bids: list[_Level]
    asks: list[_Level]
    checksum: int


class _Update(msgspec.Struct):
    type: str
    data: tuple[_Item, ...]


class _Side:
    """Quantities and the digits of each level, by price."""

    __slots__ = ("digits", "levels")

    def __init__(self) -> None:
        self.levels: dict[float, float] = {}
        self.digits: dict[float, str] = {}


class _Book:
    """One instrument's ten levels a side."""

    def __init__(self, row: Instrument) -> None:
        self._formats = f".{-row.price_exponent}f", f".{-row.quantity_exponent}f"
        self.bids, self.asks = _Side(), _Side()

    def _take(self, side: _Side, levels: list[_Level], *, is_bid: bool) -> list[float]:
        """Change a side; return its prices, best first."""
        price_format, quantity_format = self._formats
        held, digits = side.levels, side.digits
        for level in levels:
            if level.qty == 0:
                held.pop(level.price, None)
                continue
            held[level.price] = level.qty
            words = format(level.price, price_format), format(level.qty, quantity_format)
            digits[level.price] = "".join(word.replace(".", "").lstrip("0") for word in words)
        prices = sorted(held, reverse=is_bid)
        for price in prices[DEPTH:]:
            del held[price]
        return prices[:DEPTH]

    def take(self, item: _Item, *, is_base: bool) -> tuple[list[float], list[float]]:
        """Change the book and check it; return the prices of bids and asks."""
        if is_base:
            self.bids, self.asks = _Side(), _Side()
        bids = self._take(self.bids, item.bids, is_bid=True)
        asks = self._take(self.asks, item.asks, is_bid=False)
        words = [self.asks.digits[price] for price in asks]
        words += [self.bids.digits[price] for price in bids]
        if zlib.crc32("".join(words).encode()) != item.checksum:
            raise ValueError(f"{item.symbol}: the checksum does not hold")
        return bids, asks


class KrakenBench(CheckedVenue):
    """Kraken spot, WebSocket v2."""

    venue = VENUE
    settings = KrakenSettings(depth=DEPTH)
    settings_toml = f"depth = {DEPTH}"
    case = f"kraken {DEPTH}"
    implementation = "msgspec"
    goal = 5

    def messages(self, symbols: Sequence[str], count: int) -> tuple[list[Instrument], list[bytes]]:
        """Return the instruments, and so many messages of each in turn, first its base."""
        floor = Floor(VENUE, symbols, depth=60, seed=1)
        dialect, said = KrakenDialect(floor), []
        for request, symbol in enumerate(symbols):
            channels = VENUE.channels(symbol, self.settings)
            for data in VENUE.subscribe(channels, request=request, time_s=0):
                _, base = dialect.received(Client(), Message(data, is_text=True), NOW_NS)
                said.append(base.data)
        for index in range(count - 1):
            for symbol in symbols:
                said.append(self._next(floor, dialect, symbol, NOW_NS + index * 1_000_000))
        rows = [
            msgspec.structs.replace(
                floor.listings[one].book.instrument, index=index, venue="kraken"
            )
            for index, one in enumerate(symbols)
        ]
        return rows, said

    def _next(self, floor: Floor, dialect: KrakenDialect, symbol: str, now_ns: int) -> bytes:
        """Return the next change that the channel shows: levels deeper than it do not."""
        while True:
            delta = floor.listings[symbol].book.step(2)
            for _, message in dialect.pushes(symbol, delta, now_ns):
                return message.data

    def contender(self, rows: Sequence[Instrument]) -> Callable[[bytes], Any]:
        """Return what a good Python program takes a message with."""
        books = {row.symbol: _Book(row) for row in rows}
        decoder = msgspec.json.Decoder(_Update)

        def take(data: bytes) -> tuple[list[float], list[float]]:
            update = decoder.decode(data)
            (item,) = update.data
            return books[item.symbol].take(item, is_base=update.type == "snapshot")

        return take


BENCH: Final = KrakenBench()
