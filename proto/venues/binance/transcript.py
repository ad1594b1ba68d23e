"""Binance's messages as others record them: combined streams, and depth by REST."""

from __future__ import annotations

import re
from typing import Final

import msgspec
from tickpath.proto.transcript import Request, Restored, Transcript, asked_channels
from tickpath.proto.venue import UNREADABLE
from tickpath.proto.venues.binance import requests

_SYMBOL_IN_TARGET = re.compile(r"[?&]symbol=([^&\s\"]+)")
SNAPSHOT: Final = "@depthSnapshot"
"""The stream under which Tardis writes the answers of REST."""


class _Message(msgspec.Struct):
    stream: str = ""
    data: msgspec.Raw = msgspec.Raw(b"")


_decoder = msgspec.json.Decoder(_Message)


class BinanceTranscript(Transcript):
    """Binance, of any market: a message of a combined stream names it."""

    def channels_of(self, payload: bytes) -> tuple[str, ...]:
        """Return the message's stream."""
        stream = _read(payload).stream
        return (stream,) if "@" in stream else ()

    def symbol_of(self, channel: str) -> str:
        """Return what stands before the first "@", in upper case."""
        return channel.partition("@")[0].upper()

    def request(self, text: str) -> Request:
        """Read a subscription, or the target of a depth request."""
        target = _SYMBOL_IN_TARGET.search(text)
        return Request(asked_channels(requests.VENUE, text), target[1] if target else "")

    def restored(self, payload: bytes) -> Restored | None:
        """Read an answer of REST that Tardis wrote as a stream."""
        if SNAPSHOT.encode() not in payload[:256]:
            return None
        message = _read(payload)
        if not message.stream.endswith(SNAPSHOT):
            return None
        return Restored(bytes(message.data), self.symbol_of(message.stream))


def _read(payload: bytes) -> _Message:
    try:
        return _decoder.decode(payload)
    except UNREADABLE:
        return _Message()


TRANSCRIPT: Final = BinanceTranscript()
