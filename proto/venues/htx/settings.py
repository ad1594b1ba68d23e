"""HTX's own keys in the configuration's [[venue]] section."""

from __future__ import annotations

from typing import Final, Literal

from tickpath.proto.venue import Settings

REFRESH_DEPTH: Final = 20


class HtxSettings(Settings, frozen=True):
    """What is asked of HTX."""

    depth: Literal[5, 20, 150] = 150
    """Levels a side, by changes: 5 and 20 as they happen, 150 each 100 ms; 20 of few symbols."""
    refresh: bool = False
    """20 levels whole each 100 ms instead of changes."""
    trades: bool = False
    best: bool = False
    """Its own best bid and ask (bbo), beside the book."""

    def check(self) -> None:
        """Hold refresh to the depth that it has."""
        if self.refresh and self.depth != REFRESH_DEPTH:
            raise ValueError(f"depth {self.depth}: expected {REFRESH_DEPTH} with refresh = true")
