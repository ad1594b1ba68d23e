"""Bybit spot as the engine sees it: `VENUE`. Facts and their dates: README.md beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tickpath.proto.instrument import Kind
from tickpath.proto.venues.bybit import requests
from tickpath.proto.venues.bybit.market import BybitMarket


@dataclass(frozen=True, slots=True)
class Bybit(BybitMarket):
    """Bybit spot."""

    name = "bybit"
    title = "Bybit spot"
    category = requests.SPOT
    kind = Kind.SPOT


VENUE: Final = Bybit()
