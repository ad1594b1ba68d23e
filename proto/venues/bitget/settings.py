"""Bitget's own keys in the configuration's [[venue]] section."""

from __future__ import annotations

from typing import Literal

from tickpath.proto.venue import Settings


class BitgetSettings(Settings, frozen=True):
    """What is asked of Bitget."""

    depth: Literal[5, 15, 50, 500, 1000] = 500
    """Levels a side: 500 or 1000 with changes of them, 5, 15 or 50 whole each time.

    50 and 1000 are channels of the unified WebSocket (v3), the others of the classic one (v2).
    """
    trades: bool = False
    best: bool = False
    """Its own best bid and ask (books1), beside the book."""
