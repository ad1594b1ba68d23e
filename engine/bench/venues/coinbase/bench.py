"""Coinbase Advanced Trade's book messages for the benchmarks, and msgspec as a contender.

Written as the venue does: keys in its order, numbers without zeros at their end. The contender is
msgspec straight to floats: Structs for message, event and update, whose time is kept as it is, and
Decoder(strict=False). Called by: ../../decode.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from tickpath.engine.bench.venues import DecodeCase, DecodedVenue
from tickpath.proto.records import format_fixed
from tickpath.proto.venues.coinbase.requests import BOOK
from tickpath.proto.venues.coinbase.settings import CoinbaseSettings
from tickpath.proto.venues.coinbase.venue import VENUE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tickpath.engine.bench.messages import Level, Market

PRICE_EXPONENT, QUANTITY_EXPONENT = -2, -8
TIME: Final = "2026-11-18T12:26:40"


class _Update(msgspec.Struct, gc=False):
    side: str
    event_time: str
    price: float = msgspec.field(name="price_level")
    quantity: float = msgspec.field(name="new_quantity")


class _Event(msgspec.Struct, gc=False):
    type: str
    product_id: str
    updates: list[_Update]


class _Message(msgspec.Struct, gc=False):
    channel: str
    timestamp: str
    sequence_num: int
    events: tuple[_Event]


def decimal(mantissa: int, exponent: int) -> str:
    """Write a number as the venue does: without zeros at its end."""
    written = format_fixed(mantissa, exponent)
    return written.rstrip("0").rstrip(".") if "." in written else written


class CoinbaseBench(DecodedVenue):
    """Coinbase Advanced Trade, JSON over WebSocket."""

    venue = VENUE
    settings = CoinbaseSettings()
    price_exponent, quantity_exponent = PRICE_EXPONENT, QUANTITY_EXPONENT
    opcode = 1  # text
    cases = (DecodeCase("coinbase 2", 1, 5), DecodeCase("coinbase 20", 10, 5))
    implementation = "msgspec"

    def message(self, market: Market, bids: Sequence[Level], asks: Sequence[Level]) -> bytes:
        """Write an update of the channel level2."""
        updates = [
            {
                "side": side,
                "event_time": f"{TIME}.{market.version % 10**6:06}Z",
                "price_level": decimal(price, PRICE_EXPONENT),
                "new_quantity": decimal(quantity, QUANTITY_EXPONENT),
            }
            for side, levels in (("bid", bids), ("offer", asks))
            for price, quantity in levels
        ]
        event = {"type": "update", "product_id": market.symbol, "updates": updates}
        return msgspec.json.encode(
            {
                "channel": "l2_data",
                "timestamp": f"{TIME}.{market.version % 10**9:09}Z",
                "sequence_num": market.version % 10**6,
                "events": [event],
            }
        )

    def contender(self, books: dict[str, int]) -> Callable[[bytes], tuple[Any, ...]]:
        """Parse with msgspec, all numbers to float; updates by their side."""
        decode = msgspec.json.Decoder(_Message, strict=False).decode

        def read(data: bytes) -> tuple[Any, ...]:
            (event,) = decode(data).events
            number = books[f"{BOOK}:{event.product_id}"]
            bids, asks = (
                [(one.price, one.quantity) for one in event.updates if one.side == side]
                for side in ("bid", "offer")
            )
            return number, 0, 0, bids, asks

        return read


BENCH: Final = CoinbaseBench()
