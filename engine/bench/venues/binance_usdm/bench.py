"""Depth messages of Binance's USD-M contracts for the benchmarks, and msgspec as a contender.

Written as the venue does: a combined stream, keys in its order, numbers with the digits of their
steps. The contender is spot's (../binance). Called by: ../../decode.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from tickpath.engine.bench.venues import DecodeCase, DecodedVenue
from tickpath.proto.records import format_fixed
from tickpath.proto.venues.binance_usdm.settings import BinanceUsdmSettings
from tickpath.proto.venues.binance_usdm.venue import VENUE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tickpath.engine.bench.messages import Level, Market

PRICE_EXPONENT, QUANTITY_EXPONENT = -2, -3
TIME_MS: Final = 1_795_000_000_000


class _Body(msgspec.Struct, gc=False):
    first: int = msgspec.field(name="U")
    last: int = msgspec.field(name="u")
    previous: int = msgspec.field(name="pu")
    bids: list[tuple[float, float]] = msgspec.field(name="b")
    asks: list[tuple[float, float]] = msgspec.field(name="a")


class _Message(msgspec.Struct, gc=False):
    stream: str
    data: _Body


class BinanceUsdmBench(DecodedVenue):
    """Binance's USD-M contracts, JSON over combined streams."""

    venue = VENUE
    settings = BinanceUsdmSettings()
    price_exponent, quantity_exponent = PRICE_EXPONENT, QUANTITY_EXPONENT
    opcode = 1  # text
    cases = (DecodeCase("binance-usdm 2", 1, 5), DecodeCase("binance-usdm 20", 10, 5))
    implementation = "msgspec"

    def message(self, market: Market, bids: Sequence[Level], asks: Sequence[Level]) -> bytes:
        """Write a diff. depth message."""
        sides = [
            [
                [format_fixed(price, PRICE_EXPONENT), format_fixed(quantity, QUANTITY_EXPONENT)]
                for price, quantity in levels
            ]
            for levels in (bids, asks)
        ]
        time_ms = TIME_MS + market.version % 10**9
        body = {
            **{"e": "depthUpdate", "E": time_ms, "T": time_ms - 1, "s": market.symbol.upper()},
            **{"U": market.version, "u": market.version, "pu": market.version - 1},
            **{"b": sides[0], "a": sides[1]},
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


BENCH: Final = BinanceUsdmBench()
