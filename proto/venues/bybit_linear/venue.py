"""Bybit's linear contracts as the engine sees them: `VENUE`. Facts: README.md beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tickpath.proto.instrument import Kind
from tickpath.proto.venues.bybit import requests
from tickpath.proto.venues.bybit.market import BybitMarket


@dataclass(frozen=True, slots=True)
class BybitLinear(BybitMarket):
    """Bybit's linear contracts: perpetual ones, and dated ones by the venue's own names."""

    name = "bybit_linear"
    title = "Bybit linear"
    category = requests.LINEAR
    kind = Kind.LINEAR


VENUE: Final = BybitLinear()
