"""Binance's own keys in the configuration's [[venue]] section."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta
from tickpath.proto.venue import Settings
from tickpath.proto.venues.binance.requests import BASE_LEVELS_DEFAULT, BASE_LEVELS_MAX, WEIGHT_MAX


class BinanceSettings(Settings, frozen=True):
    """What is asked of Binance, and how fast."""

    speed: Literal["100ms", "1000ms"] = "100ms"
    depth: Annotated[int, Meta(ge=1, le=BASE_LEVELS_MAX)] = BASE_LEVELS_DEFAULT
    """Levels a side of a base, which is fetched over REST."""
    weight_per_minute: Annotated[
        int,
        Meta(
            ge=250,
            le=WEIGHT_MAX,
            extra={
                "remedy": f"Binance limits an address to {WEIGHT_MAX}, one base costs up to 250"
            },
        ),
    ] = WEIGHT_MAX // 2
    """How much of the address's request weight bases may use."""
    trades: bool = False
    best: bool = False
    """Its own best bid and ask (bookTicker), beside the book."""
