"""Bybit's depth messages for the benchmarks, and msgspec as a contender.

Written as Bybit spot does: keys in its order, quantities without zeros at their end. The contender
is msgspec straight to floats: of Structs for the message, tuples for levels and
Decoder(strict=False), the fastest way for such messages (../binance). Called by: ../../decode.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from tickpath.engine.bench.venues import DecodeCase, DecodedVenue
from tickpath.proto.records import format_fixed
from tickpath.proto.venues.bybit.settings import BybitSettings
from tickpath.proto.venues.bybit.venue import VENUE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tickpath.engine.bench.messages import Level, Market

PRICE_EXPONENT, QUANTITY_EXPONENT = -2, -8
TIME_MS: Final = 1_795_000_000_000


class _Body(msgspec.Struct, gc=False):
    update: int = msgspec.field(name="u")
    bids: list[tuple[float, float]] = msgspec.field(name="b")
    asks: list[tuple[float, float]] = msgspec.field(name="a")


class _Message(msgspec.Struct, gc=False):
    topic: str
    type: str
    data: _Body


class BybitBench(DecodedVenue):
    """Bybit spot, orderbook.50."""

    venue = VENUE
    settings = BybitSettings()
    price_exponent, quantity_exponent = PRICE_EXPONENT, QUANTITY_EXPONENT
    opcode = 1  # text
    # Binance's goals: the messages are as large.
    cases = (DecodeCase("bybit 2", 1, 6), DecodeCase("bybit 20", 10, 5))
    implementation = "msgspec"

    def message(self, market: Market, bids: Sequence[Level], asks: Sequence[Level]) -> bytes:
        """Write a change of a book."""
        sides = [
            [
                [
                    format_fixed(price, PRICE_EXPONENT),
                    format_fixed(quantity, QUANTITY_EXPONENT).rstrip("0").rstrip(".") or "0",
                ]
                for price, quantity in levels
            ]
            for levels in (bids, asks)
        ]
        time_ms = TIME_MS + market.version % 10**9
        data = {
            **{"s": market.symbol, "b": sides[0], "a": sides[1]},
            **{"u": market.version, "seq": 10 * market.version},
        }
        frame = {"topic": market.channel, "ts": time_ms, "type": "delta", "data": data}
        return msgspec.json.encode({**frame, "cts": time_ms - 2})

    def contender(self, books: dict[str, int]) -> Callable[[bytes], tuple[Any, ...]]:
        """Parse with msgspec, all numbers to int and float."""
        decode = msgspec.json.Decoder(_Message, strict=False).decode

        def read(data: bytes) -> tuple[Any, ...]:
            message = decode(data)
            body = message.data
            return books[message.topic], body.update, body.update, body.bids, body.asks

        return read


BENCH: Final = BybitBench()
