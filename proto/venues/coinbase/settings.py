"""Coinbase Advanced Trade's own keys in the configuration's [[venue]] section."""

from __future__ import annotations

from tickpath.proto.venue import Settings


class CoinbaseSettings(Settings, frozen=True):
    """What is asked of Coinbase Advanced Trade."""

    trades: bool = False
    best: bool = False
    """Its own best bid and ask at each trade (ticker), beside the book."""
