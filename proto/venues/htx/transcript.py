"""HTX's messages as others record them, inflated: each names its topic."""

from __future__ import annotations

from typing import Final

import msgspec
from tickpath.proto.transcript import Request, Transcript, asked_channels, known
from tickpath.proto.venue import UNREADABLE
from tickpath.proto.venues.htx import requests


class _Message(msgspec.Struct):
    ch: str = ""
    rep: str = ""
    subbed: str = ""


_decoder = msgspec.json.Decoder(_Message)


class HtxTranscript(Transcript):
    """HTX spot: also an answer names what it is of."""

    def channels_of(self, payload: bytes) -> tuple[str, ...]:
        """Return the message's topic."""
        try:
            message = _decoder.decode(payload)
        except UNREADABLE:
            return ()
        return known(requests.split, message.ch or message.rep or message.subbed)

    def symbol_of(self, channel: str) -> str:
        """Return what stands between the first two points."""
        return channel.split(".")[1]

    def request(self, text: str) -> Request:
        """Read a subscription."""
        return Request(known(requests.split, *asked_channels(requests.VENUE, text)))


TRANSCRIPT: Final = HtxTranscript()
