"""Messages of Bitget's contracts in USDT as others record them."""

from __future__ import annotations

from typing import Final

from tickpath.proto.venues.bitget import requests
from tickpath.proto.venues.bitget.transcript import BitgetTranscript

TRANSCRIPT: Final = BitgetTranscript(requests.USDT)
