"""Depth messages of Binance's SBE streams for the benchmarks, and `struct` as a contender.

Eight digits behind the point on the wire, so that prices are divided on their way to the
instrument's scale: the dearest of the three ways that a mantissa can take. The contender reads by
compiled formats, levels by `iter_unpack`, to floats by one multiplication each.
Called by: ../../decode.py.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

from tickpath.engine.bench.venues import DecodeCase, DecodedVenue
from tickpath.proto.venues.binance_sbe.messages import DIFF, pack
from tickpath.proto.venues.binance_sbe.settings import BinanceSbeSettings
from tickpath.proto.venues.binance_sbe.venue import VENUE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tickpath.engine.bench.messages import Level, Market

PRICE_EXPONENT, QUANTITY_EXPONENT = -2, -8
WIRE_EXPONENT: Final = -8
TIME_US: Final = 1_795_000_000_000_000


class BinanceSbeBench(DecodedVenue):
    """Binance spot, binary."""

    venue = VENUE
    settings = BinanceSbeSettings()
    price_exponent, quantity_exponent = PRICE_EXPONENT, QUANTITY_EXPONENT
    opcode = 2  # binary
    cases = (DecodeCase("sbe 10+10", 10, 80),)
    implementation = "struct"

    def message(self, market: Market, bids: Sequence[Level], asks: Sequence[Level]) -> bytes:
        """Write a change of a book."""
        up = 10 ** (PRICE_EXPONENT - WIRE_EXPONENT)
        sides = {
            name: [{"price": price * up, "qty": quantity} for price, quantity in levels]
            for name, levels in (("bids", bids), ("asks", asks))
        }
        fields = {
            **{"eventTime": TIME_US + market.version % 10**9},
            **{"firstBookUpdateId": market.version, "lastBookUpdateId": market.version},
            **{"priceExponent": WIRE_EXPONENT, "qtyExponent": WIRE_EXPONENT},
        }
        return pack(DIFF, fields, sides, market.symbol.upper())

    def contender(self, books: dict[str, int]) -> Callable[[bytes], tuple[Any, ...]]:
        """Read with struct, all numbers to int and float."""
        header = struct.Struct("<HHHH").unpack_from
        root = struct.Struct("<qqqbb").unpack_from
        dimensions = struct.Struct("<HH").unpack_from
        entries = struct.Struct("<qq").iter_unpack
        powers = {exponent: 10.0**exponent for exponent in range(-18, 1)}
        own = {name.partition("@")[0].upper().encode(): index for name, index in books.items()}

        def read(data: bytes) -> tuple[Any, ...]:
            block_length, template, schema, _ = header(data)
            if template != DIFF.number or schema != 1:
                raise ValueError("another message")
            _, first, last, price_exponent, quantity_exponent = root(data, 8)
            price, quantity = powers[price_exponent], powers[quantity_exponent]
            at = 8 + block_length
            sides = []
            for _ in (0, 1):
                stride, count = dimensions(data, at)
                end = at + 4 + stride * count
                sides.append([(p * price, q * quantity) for p, q in entries(data[at + 4 : end])])
                at = end
            return own[data[at + 1 : at + 1 + data[at]]], first, last, sides[0], sides[1]

        return read


BENCH: Final = BinanceSbeBench()
