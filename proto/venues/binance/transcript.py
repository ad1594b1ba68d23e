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


class _Body(msgspec.Struct):
    pu: int | None = None
    e: str = ""
    M: bool | None = None


_decoder = msgspec.json.Decoder(_Message)
_body_decoder = msgspec.json.Decoder(_Body)


class BinanceTranscript(Transcript):
    """Binance, one of its markets, whose streams have the same names and other messages."""

    def __init__(self, *, is_spot: bool) -> None:
        """Read no other market's messages."""
        self._is_spot = is_spot

    def channels_of(self, payload: bytes) -> tuple[str, ...]:
        """Return the message's stream."""
        message = _read(payload)
        is_own = "@" in message.stream and _is_spot(message) in (None, self._is_spot)
        return (message.stream,) if is_own else ()

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


def _is_spot(message: _Message) -> bool | None:
    """Say whether a message is of spot or of contracts; None: both write it alike."""
    try:
        body = _body_decoder.decode(message.data)
    except UNREADABLE:
        return None
    what = message.stream.partition("@")[2]
    if what.startswith("depth"):
        return body.pu is None
    if what == "bookTicker":
        return not body.e
    return body.M is not None if what == "trade" else None


TRANSCRIPT: Final = BinanceTranscript(is_spot=True)
