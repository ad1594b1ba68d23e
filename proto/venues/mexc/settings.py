"""MEXC's own keys in the configuration's [[venue]] section."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta
from tickpath.proto.venue import Settings
from tickpath.proto.venues.mexc.requests import BASE_LEVELS_DEFAULT, BASE_LEVELS_MAX


class MexcSettings(Settings, frozen=True):
    """What is asked of MEXC, and how fast."""

    renamed: ClassVar[dict[str, str]] = {"snapshots_per_second": "bases_per_second"}

    book: Literal["aggregated", "increase", "increase_batch", "limit"] = "aggregated"
    """The channel that books are kept by: changes of 10 or 100 ms together; each change by itself;
    batches of those; or whole books of `levels` a side."""
    speed: Literal["10ms", "100ms"] = "100ms"
    """Of aggregated channels."""
    levels: Literal[5, 10, 20] = 20
    """Of whole books."""
    depth: Annotated[int, Meta(ge=1, le=BASE_LEVELS_MAX)] = BASE_LEVELS_DEFAULT
    """Levels a side of a base, which is fetched over REST."""
    bases_per_second: Annotated[
        int,
        Meta(ge=1, le=45, extra={"remedy": "MEXC bans an address that asks 500 times in 10 s"}),
    ] = 10
    """How many bases are fetched in a second at most, after a burst of 10."""
    trades: bool = False
    best: bool = False
    """Its own best bid and ask (bookTicker), beside the book; at the same speed, as trades are."""
    best_batch: bool = False
    """`best` comes in batches, of which the last is taken."""

    def check(self) -> None:
        """Refuse batches of what is not asked for."""
        if self.best_batch and not self.best:
            raise ValueError("best_batch = true: it says how best prices come; add best = true")
