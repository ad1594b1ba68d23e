"""Gate's own keys in the configuration's [[venue]] section."""

from __future__ import annotations

from typing import Literal

from tickpath.proto.venue import Settings


class GateSettings(Settings, frozen=True):
    """What is asked of Gate."""

    depth: Literal[20, 50, 100, 400] = 50
    """Levels a side, which choose the channel: 50 (every 20 ms) and 400 (100 ms) are obu, whose
    bases come in-band; 20 (20 ms) and 100 (100 ms) are order_book_update, with bases by REST."""
    trades: bool = False
    best: bool = False
    """Its own best bid and ask (book_ticker, every 10 ms), beside the book."""
