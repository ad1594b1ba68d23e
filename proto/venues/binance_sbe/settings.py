"""The own keys of Binance's SBE streams in the configuration's [[venue]] section."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta
from tickpath.proto.credential import check_place
from tickpath.proto.venue import Settings
from tickpath.proto.venues.binance.requests import BASE_LEVELS_DEFAULT, BASE_LEVELS_MAX, WEIGHT_MAX


class BinanceSbeSettings(Settings, frozen=True):
    """What is asked of Binance's SBE streams, and who asks."""

    book: Literal["depth", "depth20"] = "depth"
    """Changes every 20 ms, with a base by REST; or whole books of 20 levels every 50 ms."""
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
    """Its own best bid and ask (bestBidAsk), beside the book."""
    api_key: str = ""
    """Where the Ed25519 API key is that the streams want: "file:", "env:" or "credential:"."""

    def check(self) -> None:
        """Refuse what names no place: least of all a key itself may stand here."""
        if self.api_key:
            check_place("api_key", self.api_key)
