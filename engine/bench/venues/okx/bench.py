"""OKX's book messages for the benchmarks, and msgspec as a contender.

Written as OKX does: keys in its order, numbers without zeros at their end, four strings a level.
The contender is msgspec straight to floats, as for Binance: a Struct for the whole message, tuples
for levels, of which the last two strings are kept as they are, and Decoder(strict=False).
Called by: ../../decode.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from tickpath.engine.bench.venues import DecodeCase, DecodedVenue
from tickpath.proto.records import format_fixed
from tickpath.proto.venues.okx.requests import BOOKS
from tickpath.proto.venues.okx.settings import OkxSettings
from tickpath.proto.venues.okx.venue import VENUE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tickpath.engine.bench.messages import Level, Market

PRICE_EXPONENT, QUANTITY_EXPONENT = -2, -8
TIME_MS: Final = 1_795_000_000_000


class _Arg(msgspec.Struct, gc=False):
    channel: str
    symbol: str = msgspec.field(name="instId")


class _Book(msgspec.Struct, gc=False):
    asks: list[tuple[float, float, str, str]]
    bids: list[tuple[float, float, str, str]]
    last: int = msgspec.field(name="seqId")
    previous: int = msgspec.field(name="prevSeqId")


class _Message(msgspec.Struct, gc=False):
    arg: _Arg
    action: str
    data: tuple[_Book]


def decimal(mantissa: int, exponent: int) -> str:
    """Write a number as the venue does: without zeros at its end."""
    written = format_fixed(mantissa, exponent)
    return written.rstrip("0").rstrip(".") if "." in written else written


class OkxBench(DecodedVenue):
    """OKX, JSON over WebSocket v5."""

    venue = VENUE
    settings = OkxSettings()
    price_exponent, quantity_exponent = PRICE_EXPONENT, QUANTITY_EXPONENT
    opcode = 1  # text
    cases = (DecodeCase("okx 2", 1, 3), DecodeCase("okx 20", 10, 3))
    implementation = "msgspec"

    def message(self, market: Market, bids: Sequence[Level], asks: Sequence[Level]) -> bytes:
        """Write an update of the channel books."""
        sides = [
            [
                [
                    decimal(price, PRICE_EXPONENT),
                    decimal(quantity, QUANTITY_EXPONENT),
                    "0",
                    str(quantity and 1 + quantity % 9),
                ]
                for price, quantity in levels
            ]
            for levels in (bids, asks)
        ]
        item = {
            "asks": sides[1],
            "bids": sides[0],
            "ts": str(TIME_MS + market.version % 10**9),
            "checksum": 0,
            "seqId": market.version,
            "prevSeqId": market.version - 1,
        }
        arg = {"channel": BOOKS[self.settings.depth], "instId": market.symbol}
        return msgspec.json.encode({"arg": arg, "action": "update", "data": [item]})

    def contender(self, books: dict[str, int]) -> Callable[[bytes], tuple[Any, ...]]:
        """Parse with msgspec, all numbers to int and float."""
        decode = msgspec.json.Decoder(_Message, strict=False).decode

        def read(data: bytes) -> tuple[Any, ...]:
            message = decode(data)
            (book,) = message.data
            number = books[f"{message.arg.channel}:{message.arg.symbol}"]
            sides = ([level[:2] for level in side] for side in (book.bids, book.asks))
            return number, book.previous + 1, book.last, *sides

        return read


BENCH: Final = OkxBench()
