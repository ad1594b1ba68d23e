"""A venue's decoder as its tests ask it: one message, at the very end of its memory.

What several venues' tests share, with the side of the oracle that no venue has for itself: exact
mantissas by decimal. Used by: test_NAME_decode.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tickpath._core import ffi, lib

if TYPE_CHECKING:
    from decimal import Decimal

SCALE = (-2, -8)
INSTRUMENT = 7
DIGITS_MAX = 40  # far beyond what a mantissa can have: such a number is not written out
Levels = list[tuple[int, int]]

depth = ffi.new("struct tp_depth_update *")
trades = ffi.new("struct tp_trade_update *")


def make_router(venue: Any, *channels: str, size: int = 8) -> Any:
    """Return a router of a venue's C side that knows these channels, all of one instrument."""
    memory = ffi.new("uint64_t[]", venue.router_size(size, 1) // 8 + 1)
    venue.router_init(memory, size, 1)
    for name in channels:
        assert venue.router_add(memory, name.encode(), INSTRUMENT), name
    return memory


class RoutedPart:
    """A message, and what is decoded of it into `depth` and `trades`."""

    def __init__(self, data: bytes, venue: Any, router: Any, opcode: int = 1) -> None:
        self._venue = venue
        self._data = ffi.new("uint8_t[]", data) if data else ffi.new("uint8_t[1]")
        message = ffi.new(
            "struct tp_venue_message *", {"data": self._data, "size": len(data), "opcode": opcode}
        )
        route = ffi.new("struct tp_route *")
        venue.route(router, message, 0, route)
        self.meaning, self.instrument = int(route.meaning), int(route.instrument)
        self.body = data[route.body_offset : route.body_offset + route.body_size]

    def what(self, scale: tuple[int, int] = SCALE) -> Any:
        """Return the body alone, as decoders take it."""
        self._body = ffi.new("uint8_t[]", self.body)
        fields = {"data": self._body, "size": len(self.body), "meaning": self.meaning}
        return ffi.new("struct tp_body *", {**fields, "scale": scale})

    def decode(self, scale: tuple[int, int] = SCALE) -> int:
        """Decode it by its meaning."""
        if self.meaning == lib.TP_MEANING_TRADES:
            return int(self._venue.decode_trades(self.what(scale), trades))
        return int(self._venue.decode_depth(self.what(scale), depth))


def decoded_levels() -> tuple[Levels, Levels]:
    """Return bids and asks of the last depth."""
    bids, asks = (
        [(levels[i].price, levels[i].quantity) for i in range(count)]
        for levels, count in ((depth.bids, depth.bid_count), (depth.asks, depth.ask_count))
    )
    return bids, asks


def numbers() -> tuple[int, int, int]:
    """Return first, last and previous version of the last depth."""
    return depth.first_version, depth.last_version, depth.previous_version


def mantissa(value: Decimal, exponent: int) -> int | None:
    """Return the exact mantissa; None: it has none that fits 64 bits."""
    if value == 0:
        return 0
    if abs(value.adjusted()) >= DIGITS_MAX:
        return None
    scaled = value.scaleb(-exponent, context=None)
    return int(scaled) if scaled == scaled.to_integral_value() and 0 <= scaled < 2**63 else None


def expected_side(side: list[list[Decimal]], scale: tuple[int, int]) -> Levels | None:
    """Return a side as it must come out; None: a number of it does not fit the scale."""
    rows = [(mantissa(one[0], scale[0]), mantissa(one[1], scale[1])) for one in side]
    whole = [(price, size) for price, size in rows if price is not None and size is not None]
    return whole if len(whole) == len(rows) else None
