"""Hyperliquid's book messages for the benchmarks, and msgspec as a contender.

Written as the venue does: keys in its order, numbers with a digit behind the point. Its messages
are whole books without a number. The contender is msgspec straight to floats: a Struct for the
whole message and one for levels, whose order count is kept, and Decoder(strict=False).
Called by: ../../decode.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from tickpath.engine.bench.venues import DecodeCase, DecodedVenue
from tickpath.proto.records import format_fixed
from tickpath.proto.venues.hyperliquid.requests import BOOK
from tickpath.proto.venues.hyperliquid.settings import HyperliquidSettings
from tickpath.proto.venues.hyperliquid.venue import VENUE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tickpath.engine.bench.messages import Level, Market

PRICE_EXPONENT, QUANTITY_EXPONENT = -2, -5
TIME_MS: Final = 1_795_000_000_000


class _Level(msgspec.Struct, gc=False):
    px: float
    sz: float
    n: int


class _Book(msgspec.Struct, gc=False):
    coin: str
    time: int
    levels: tuple[list[_Level], list[_Level]]


class _Message(msgspec.Struct, gc=False):
    channel: str
    data: _Book


def decimal(mantissa: int, exponent: int) -> str:
    """Write a number as the venue does: with a digit behind the point, and no zeros behind it."""
    whole, _, fraction = format_fixed(mantissa, exponent).partition(".")
    return f"{whole}.{fraction.rstrip('0') or '0'}"


class HyperliquidBench(DecodedVenue):
    """Hyperliquid, JSON over WebSocket."""

    venue = VENUE
    settings = HyperliquidSettings()
    price_exponent, quantity_exponent = PRICE_EXPONENT, QUANTITY_EXPONENT
    opcode = 1  # text
    cases = (DecodeCase("hyperliquid 20+20", 20, 5),)
    implementation = "msgspec"

    def message(self, market: Market, bids: Sequence[Level], asks: Sequence[Level]) -> bytes:
        """Write a book."""
        sides = [
            [
                {
                    "px": decimal(price, PRICE_EXPONENT),
                    "sz": decimal(quantity, QUANTITY_EXPONENT),
                    "n": 1 + quantity % 40,
                }
                for price, quantity in levels
            ]
            for levels in (bids, asks)
        ]
        data = {
            "coin": market.symbol,
            "time": TIME_MS + market.version % 10**9,
            "levels": sides,
        }
        return msgspec.json.encode({"channel": BOOK, "data": data})

    def contender(self, books: dict[str, int]) -> Callable[[bytes], tuple[Any, ...]]:
        """Parse with msgspec, all numbers to float."""
        decode = msgspec.json.Decoder(_Message, strict=False).decode

        def read(data: bytes) -> tuple[Any, ...]:
            message = decode(data)
            book = message.data
            number = books[f"{message.channel}:{book.coin}"]
            bids, asks = ([(one.px, one.sz) for one in side] for side in book.levels)
            return number, 0, 0, bids, asks

        return read


BENCH: Final = HyperliquidBench()
