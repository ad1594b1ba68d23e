"""Bybit's own keys in the configuration's [[venue]] section."""

from __future__ import annotations

from typing import Literal

from tickpath.proto.venue import Settings


class BybitSettings(Settings, frozen=True):
    """What is asked of Bybit."""

    depth: Literal[50, 200, 1000] = 50
    """Levels a side that the venue sends, at most every 20, 100 and 200 ms."""
    trades: bool = False
    best: bool = False
    """Its own best bid and ask (the book of one level, every 10 ms), beside the book."""
