"""The own keys of Binance's USD-M contracts in the configuration's [[venue]] section."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta
from tickpath.proto.venue import Settings
from tickpath.proto.venues.binance_usdm.requests import WEIGHT_MAX


class BinanceUsdmSettings(Settings, frozen=True):
    """What is asked of Binance's contracts, and how fast."""

    speed: Literal["0ms", "100ms", "250ms", "500ms"] = "100ms"
    """How often changes come; 0ms, with each change, is served and in no document."""
    depth: Literal[5, 10, 20, 50, 100, 500, 1000] = 1000
    """Levels a side of a base, which is fetched over REST."""
    weight_per_minute: Annotated[
        int,
        Meta(
            ge=100,
            le=WEIGHT_MAX,
            extra={"remedy": f"Binance limits an address to {WEIGHT_MAX}, one base costs up to 20"},
        ),
    ] = WEIGHT_MAX // 2
    """How much of the address's request weight bases may use."""
    trades: bool = False
    best: bool = False
    """Its own best bid and ask (bookTicker), beside the book."""
