"""Binance depth messages for the benchmarks, and msgspec as a contender.

Written as Binance does: a combined stream, keys in its order, every number with eight decimals.
The contender is msgspec straight to floats: of a Struct for the whole message, tuples for levels
and Decoder(strict=False), the fastest of four ways that were tried (levels as Structs took 7 %
longer, as lists the same, strings turned into floats in Python 2.2 times as long).
Called by: ../../decode.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from tickpath.engine.bench.venues import DecodeCase, DecodedVenue
from tickpath.proto.records import format_fixed
from tickpath.proto.venues.binance.settings import BinanceSettings
from tickpath.proto.venues.binance.venue import VENUE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tickpath.engine.bench.messages import Level, Market

PRICE_EXPONENT, QUANTITY_EXPONENT = -2, -8
WIRE_EXPONENT: Final = -8
TIME_MS: Final = 1_795_000_000_000


class _Body(msgspec.Struct, gc=False):
    first: int = msgspec.field(name="U")
    last: int = msgspec.field(name="u")
    bids: list[tuple[float, float]] = msgspec.field(name="b")
    asks: list[tuple[float, float]] = msgspec.field(name="a")


class _Message(msgspec.Struct, gc=False):
    stream: str
    data: _Body


class BinanceBench(DecodedVenue):
    """Binance spot, JSON over combined streams."""

    venue = VENUE
    settings = BinanceSettings(depth=100)
    settings_toml = "depth = 100"  # the cheapest base: ten a second are within the venue's budget
    price_exponent, quantity_exponent = PRICE_EXPONENT, QUANTITY_EXPONENT
    opcode = 1  # text
    cases = (DecodeCase("binance-json 2", 1, 6), DecodeCase("binance-json 20", 10, 5))
    implementation = "msgspec"

    def message(self, market: Market, bids: Sequence[Level], asks: Sequence[Level]) -> bytes:
        """Write a diff. depth message."""
        sides = [
            [
                [
                    format_fixed(price * 10 ** (PRICE_EXPONENT - WIRE_EXPONENT), WIRE_EXPONENT),
                    format_fixed(quantity, WIRE_EXPONENT),
                ]
                for price, quantity in levels
            ]
            for levels in (bids, asks)
        ]
        body = {
            "e": "depthUpdate",
            "E": TIME_MS + market.version % 10**9,
            "s": market.symbol.upper(),
            "U": market.version,
            "u": market.version,
            "b": sides[0],
            "a": sides[1],
        }
        return msgspec.json.encode({"stream": market.channel, "data": body})

    def contender(self, books: dict[str, int]) -> Callable[[bytes], tuple[Any, ...]]:
        """Parse with msgspec, all numbers to int and float."""
        decode = msgspec.json.Decoder(_Message, strict=False).decode

        def read(data: bytes) -> tuple[Any, ...]:
            message = decode(data)
            body = message.data
            return books[message.stream], body.first, body.last, body.bids, body.asks

        return read


BENCH: Final = BinanceBench()
