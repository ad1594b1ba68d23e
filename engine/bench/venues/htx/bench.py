"""HTX's book messages for the benchmarks, and zlib with msgspec as a contender.

Written as HTX does: keys in its order, numbers as Java writes them; decode.py packs each as a gzip
member. The contender inflates by zlib, then msgspec straight to floats: a Struct for the whole
message, tuples for levels. A member has codes of its own, whose tables take longer than a text of
140 bytes: there both sides do mostly the same. Called by: ../../decode.py.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Final

import msgspec
from tickpath.engine.bench.venues import DecodeCase, DecodedVenue
from tickpath.proto.records import format_fixed
from tickpath.proto.venues.htx.settings import HtxSettings
from tickpath.proto.venues.htx.venue import VENUE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tickpath.engine.bench.messages import Level, Market

PRICE_EXPONENT, QUANTITY_EXPONENT = -2, -6
TIME_MS: Final = 1_795_000_000_000
GZIP: Final = 16 + zlib.MAX_WBITS


class _Tick(msgspec.Struct, gc=False):
    last: int = msgspec.field(name="seqNum")
    previous: int = msgspec.field(name="prevSeqNum")
    bids: list[tuple[float, float]] = []
    asks: list[tuple[float, float]] = []


class _Message(msgspec.Struct, gc=False):
    ch: str
    tick: _Tick


def side(levels: Sequence[Level]) -> str:
    """Write a side."""
    written = (
        f"[{number(price, PRICE_EXPONENT)},{number(quantity, QUANTITY_EXPONENT)}]"
        for price, quantity in levels
    )
    return f"[{','.join(written)}]"


def number(mantissa: int, exponent: int) -> str:
    """Write a number with a digit behind the point, as the venue does."""
    whole, _, rest = format_fixed(mantissa, exponent).partition(".")
    return f"{whole}.{rest.rstrip('0') or '0'}"


class HtxBench(DecodedVenue):
    """HTX spot, JSON in gzip members."""

    venue = VENUE
    settings = HtxSettings()
    price_exponent, quantity_exponent = PRICE_EXPONENT, QUANTITY_EXPONENT
    opcode = 2  # binary
    cases = (DecodeCase("htx 2", 1, 1.5), DecodeCase("htx 20", 10, 2))
    implementation = "zlib, msgspec"

    def message(self, market: Market, bids: Sequence[Level], asks: Sequence[Level]) -> bytes:
        """Write a change of 150 levels."""
        tick = f'"seqNum":{market.version},"prevSeqNum":{market.version - 1}'
        sides = f'"bids":{side(bids)},"asks":{side(asks)}'
        head = f'"ch":"{market.channel}","ts":{TIME_MS + market.version % 10**9}'
        return f'{{{head},"tick":{{{tick},{sides}}}}}'.encode()

    def contender(self, books: dict[str, int]) -> Callable[[bytes], tuple[Any, ...]]:
        """Inflate, then parse with msgspec, all numbers to int and float."""
        decode = msgspec.json.Decoder(_Message).decode

        def read(data: bytes) -> tuple[Any, ...]:
            message = decode(zlib.decompress(data, GZIP))
            tick = message.tick
            return books[message.ch], tick.previous + 1, tick.last, tick.bids, tick.asks

        return read


BENCH: Final = HtxBench()
