"""OKX's own keys in the configuration's [[venue]] section."""

from __future__ import annotations

from typing import Final, Literal

from tickpath.proto.venue import Settings

UNCHANGED_S: Final = (1.0, 240.0)


class OkxSettings(Settings, frozen=True):
    """What is asked of OKX."""

    depth: Literal[5, 400] = 400
    """Levels a side: 400 with changes of them, or 5 whole each time."""
    trades: bool = False
    best: bool = False
    """Its own best bid and ask (bbo-tbt), beside the book."""
    unchanged_s: float = 60.0
    """How often a channel of a book that stands still says so; the documents: around 60 s."""

    def check(self) -> None:
        """Hold unchanged_s to what can be waited for."""
        least, most = UNCHANGED_S
        if not least <= self.unchanged_s <= most:
            raise ValueError(f"unchanged_s {self.unchanged_s:g}: expected {least:g} to {most:g} s")
