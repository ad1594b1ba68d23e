"""Bybit's messages as others record them, of any market: each names its topic."""

from __future__ import annotations

from typing import Final

import msgspec
from tickpath.proto.transcript import Request, Transcript
from tickpath.proto.venue import UNREADABLE
from tickpath.proto.venues.bybit import requests


class _Message(msgspec.Struct):
    topic: str = ""


_decoder = msgspec.json.Decoder(_Message)


class BybitTranscript(Transcript):
    """Bybit v5: the topic is the channel."""

    def channels_of(self, payload: bytes) -> tuple[str, ...]:
        """Return the message's topic."""
        try:
            topic = _decoder.decode(payload).topic
        except UNREADABLE:
            return ()
        return (topic,) if "." in topic else ()

    def symbol_of(self, channel: str) -> str:
        """Return what stands behind the last point."""
        return channel.rpartition(".")[2]

    def request(self, text: str) -> Request:
        """Read a subscription."""
        asked = requests.asked(text.encode())
        return Request(asked.channels if asked is not None else ())


TRANSCRIPT: Final = BybitTranscript()
