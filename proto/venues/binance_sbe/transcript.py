"""Binance's SBE messages as others record them: each has its symbol and is of one stream."""

from __future__ import annotations

from typing import Final

from tickpath.proto.venues.binance.transcript import BinanceTranscript
from tickpath.proto.venues.binance_sbe.messages import unpack


class BinanceSbeTranscript(BinanceTranscript):
    """Requests and bases are spot's; what the streams bring is binary."""

    def channels_of(self, payload: bytes) -> tuple[str, ...]:
        """Return the stream that a message is of."""
        event = unpack(payload)
        return (event.channel,) if event is not None and event.symbol else ()


TRANSCRIPT: Final = BinanceSbeTranscript(is_spot=True)
