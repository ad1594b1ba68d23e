"""Kraken's own keys in the configuration's [[venue]] section."""

from __future__ import annotations

from typing import Literal

from tickpath.proto.venue import Settings


class KrakenSettings(Settings, frozen=True):
    """What is asked of Kraken."""

    depth: Literal[10, 25, 100, 500, 1000] = 10
    """Levels a side that the venue keeps for us; its checksum covers ten of them."""
    trades: bool = False
    best: bool = False
    """Its own best bid and ask (ticker), beside the book."""
