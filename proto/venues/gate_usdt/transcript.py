"""Gate's messages of contracts as others record them: read as those of ../gate."""

from __future__ import annotations

from typing import Final

from tickpath.proto.venues.gate import requests
from tickpath.proto.venues.gate.transcript import GateTranscript

TRANSCRIPT: Final = GateTranscript(requests.FUTURES)
