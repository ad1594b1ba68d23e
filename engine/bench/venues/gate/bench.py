"""Gate's book messages for the benchmarks, and msgspec as a contender.

Written as Gate spot writes obu: keys in its order, numbers without zeros at their end. The
contender is msgspec straight to floats: of Structs for the message, tuples for levels and
Decoder(strict=False), the fastest way for such messages (../binance). Called by: ../../decode.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from tickpath.engine.bench.venues import DecodeCase, DecodedVenue
from tickpath.engine.bench.venues.okx.bench import decimal
from tickpath.proto.venues.gate import requests
from tickpath.proto.venues.gate.settings import GateSettings
from tickpath.proto.venues.gate.venue import VENUE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tickpath.engine.bench.messages import Level, Market

PRICE_EXPONENT, QUANTITY_EXPONENT = -2, -8
TIME_MS: Final = 1_795_000_000_000


class _Book(msgspec.Struct, gc=False):
    name: str = msgspec.field(name="s")
    first: int = msgspec.field(name="U")
    last: int = msgspec.field(name="u")
    bids: list[tuple[float, float]] = msgspec.field(name="b", default_factory=list)
    asks: list[tuple[float, float]] = msgspec.field(name="a", default_factory=list)


class _Message(msgspec.Struct, gc=False):
    channel: str
    event: str
    result: _Book


class GateBench(DecodedVenue):
    """Gate spot, obu."""

    venue = VENUE
    settings = GateSettings()
    price_exponent, quantity_exponent = PRICE_EXPONENT, QUANTITY_EXPONENT
    opcode = 1  # text
    cases = (DecodeCase("gate 2", 1, 5), DecodeCase("gate 20", 10, 5))
    implementation = "msgspec"

    def message(self, market: Market, bids: Sequence[Level], asks: Sequence[Level]) -> bytes:
        """Write a change of a book, of three numbers."""
        sides = [
            [
                [decimal(price, PRICE_EXPONENT), decimal(size, QUANTITY_EXPONENT)]
                for price, size in side
            ]
            for side in (bids, asks)
        ]
        time_ms, channel = TIME_MS + market.version % 10**9, requests.split(market.channel)
        last = 3 * market.version
        result = {
            **{"t": time_ms - 20, "s": requests.payload_of([channel])[0]},
            **{"U": last - 2, "u": last, "b": sides[0], "a": sides[1]},
        }
        head = {"time": time_ms // 1000, "time_ms": time_ms, "channel": channel.wire}
        return msgspec.json.encode({**head, "event": "update", "result": result})

    def contender(self, books: dict[str, int]) -> Callable[[bytes], tuple[Any, ...]]:
        """Parse with msgspec, all numbers to int and float; book found by its name on the wire."""
        decode = msgspec.json.Decoder(_Message, strict=False).decode
        by_name = {requests.payload_of([requests.split(name)])[0]: books[name] for name in books}

        def read(data: bytes) -> tuple[Any, ...]:
            book = decode(data).result
            return by_name[book.name], book.first, book.last, book.bids, book.asks

        return read


BENCH: Final = GateBench()
