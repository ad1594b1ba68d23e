"""MEXC depth messages for the benchmarks, made and read by Google's protobuf classes.

Sizes as MEXC sends them: prices with 2 decimals, quantities with 8, both versions, symbol and
sendTime, the channel in front. Called by: ../../messages.py and the benchmarks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from google.protobuf.internal import api_implementation
from tickpath.engine.bench.venues import BenchVenue, DecodeCase
from tickpath.proto.records import format_fixed
from tickpath.proto.venues.mexc.mexc_pb2 import PushDataV3ApiWrapper
from tickpath.proto.venues.mexc.settings import MexcSettings
from tickpath.proto.venues.mexc.venue import VENUE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tickpath.engine.bench.messages import Level, Market

PRICE_EXPONENT, QUANTITY_EXPONENT = -2, -8
SEND_TIME_MS = 1_770_000_000_000


class MexcBench(BenchVenue):
    """MEXC spot v3."""

    venue = VENUE
    settings = MexcSettings(speed="10ms", bases_per_second=45)
    settings_toml = 'speed = "10ms"\nbases_per_second = 45'
    price_exponent, quantity_exponent = PRICE_EXPONENT, QUANTITY_EXPONENT
    opcode = 2  # binary
    cases = (
        DecodeCase("1+1", 1, 50),
        DecodeCase("10+10", 10, 40),
        DecodeCase("20+20", 20, 45),
    )
    implementation = api_implementation.Type()

    def message(self, market: Market, bids: Sequence[Level], asks: Sequence[Level]) -> bytes:
        """Write a depth push."""
        wrapper = PushDataV3ApiWrapper(
            channel=market.channel, symbol=market.symbol, sendTime=SEND_TIME_MS + market.version
        )
        depths = wrapper.publicAggreDepths
        depths.eventType = market.channel.rpartition("@")[0]
        depths.fromVersion = depths.toVersion = str(market.version)
        for side, levels in ((depths.asks, asks), (depths.bids, bids)):
            for price, quantity in levels:
                side.add(
                    price=format_fixed(price, PRICE_EXPONENT),
                    quantity=format_fixed(quantity, QUANTITY_EXPONENT),
                )
        return bytes(wrapper.SerializeToString())

    def instrument_list(self, symbols: Sequence[str]) -> bytes:
        """Write exchangeInfo."""
        rows = [
            {
                "symbol": symbol,
                "status": "1",
                "baseAsset": symbol.removesuffix("USDT"),
                "baseAssetPrecision": -QUANTITY_EXPONENT,
                "quoteAsset": "USDT",
                "quotePrecision": -PRICE_EXPONENT,
                "baseSizePrecision": "0.00000001",
            }
            for symbol in symbols
        ]
        return msgspec.json.encode({"symbols": rows})

    def base(self, market: Market) -> bytes:
        """Write the depth that REST gives."""
        sides = {
            name: [
                [format_fixed(price, PRICE_EXPONENT), format_fixed(quantity, QUANTITY_EXPONENT)]
                for price, quantity in levels
            ]
            for name, levels in (
                ("bids", sorted(market.bids.items(), reverse=True)),
                ("asks", sorted(market.asks.items())),
            )
        }
        return msgspec.json.encode({"lastUpdateId": market.version, **sides})

    def contender(self, books: dict[str, int]) -> Callable[[bytes], tuple[Any, ...]]:
        """Parse with protobuf, all numbers to int and float."""

        def read(data: bytes) -> tuple[Any, ...]:
            wrapper = PushDataV3ApiWrapper()
            wrapper.ParseFromString(data)
            depths = wrapper.publicAggreDepths
            return (
                books[wrapper.channel],
                int(depths.fromVersion),
                int(depths.toVersion),
                [(float(item.price), float(item.quantity)) for item in depths.bids],
                [(float(item.price), float(item.quantity)) for item in depths.asks],
            )

        return read


BENCH: Final = MexcBench()
