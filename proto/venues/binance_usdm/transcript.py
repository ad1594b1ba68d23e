"""Messages of Binance's contracts as others record them: streams named as spot's."""

from __future__ import annotations

from typing import Final

from tickpath.proto.venues.binance.transcript import BinanceTranscript

TRANSCRIPT: Final = BinanceTranscript(is_spot=False)
