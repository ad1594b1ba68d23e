"""Hyperliquid's own keys in the configuration's [[venue]] section."""

from __future__ import annotations

from tickpath.proto.venue import Settings


class HyperliquidSettings(Settings, frozen=True):
    """What is asked of Hyperliquid."""

    fast: bool = False
    """Five levels a side twice a second, rather than twenty every five seconds."""
    trades: bool = False
    best: bool = False
    """Its own best bid and ask of each block (bbo), beside the book."""
