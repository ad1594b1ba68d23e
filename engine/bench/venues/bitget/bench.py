"""Bitget's book messages for the benchmarks, and msgspec as a contender.

Written as Bitget's classic WebSocket does: keys in its order, numbers without zeros at their end,
two strings a level. The contender is msgspec straight to floats, as for Binance: a Struct for the
whole message, tuples for levels, and Decoder(strict=False). Called by: ../../decode.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from tickpath.engine.bench.venues import DecodeCase, DecodedVenue
from tickpath.engine.sim.depth_view import decimal
from tickpath.proto.venues.bitget.requests import BOOKS, SPOT, argument
from tickpath.proto.venues.bitget.settings import BitgetSettings
from tickpath.proto.venues.bitget.venue import VENUE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tickpath.engine.bench.messages import Level, Market

PRICE_EXPONENT, QUANTITY_EXPONENT = -2, -6
TIME_MS: Final = 1_795_000_000_000


class _Arg(msgspec.Struct, gc=False):
    channel: str
    symbol: str = msgspec.field(name="instId")


class _Book(msgspec.Struct, gc=False):
    asks: list[tuple[float, float]]
    bids: list[tuple[float, float]]
    last: int = msgspec.field(name="seq")
    previous: int = msgspec.field(name="pseq")


class _Message(msgspec.Struct, gc=False):
    action: str
    arg: _Arg
    data: tuple[_Book]


class BitgetBench(DecodedVenue):
    """Bitget spot, JSON over the classic WebSocket."""

    venue = VENUE
    settings = BitgetSettings()
    price_exponent, quantity_exponent = PRICE_EXPONENT, QUANTITY_EXPONENT
    opcode = 1  # text
    cases = (DecodeCase("bitget 2", 1, 5), DecodeCase("bitget 20", 10, 5))
    implementation = "msgspec"

    def message(self, market: Market, bids: Sequence[Level], asks: Sequence[Level]) -> bytes:
        """Write an update of the channel books."""
        bid_rows, ask_rows = (
            [
                [decimal(price, PRICE_EXPONENT), decimal(quantity, QUANTITY_EXPONENT)]
                for price, quantity in levels
            ]
            for levels in (bids, asks)
        )
        time_ms = TIME_MS + market.version % 10**9
        item = {
            **{"asks": ask_rows, "bids": bid_rows, "ts": str(time_ms)},
            **{"seq": market.version, "pseq": market.version - 1},
        }
        arg = argument(SPOT, BOOKS[self.settings.depth], market.symbol)
        frame = {"action": "update", "arg": arg, "data": [item], "ts": time_ms + 1}
        return msgspec.json.encode(frame)

    def contender(self, books: dict[str, int]) -> Callable[[bytes], tuple[Any, ...]]:
        """Parse with msgspec, all numbers to int and float."""
        decode = msgspec.json.Decoder(_Message, strict=False).decode

        def read(data: bytes) -> tuple[Any, ...]:
            message = decode(data)
            (book,) = message.data
            number = books[f"{message.arg.channel}:{message.arg.symbol}"]
            return number, book.previous + 1, book.last, book.bids, book.asks

        return read


BENCH: Final = BitgetBench()
