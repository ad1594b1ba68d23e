"""The toy's messages as others record them."""

from __future__ import annotations

from typing import Final

import msgspec
from tickpath.proto.transcript import Request, Transcript
from tickpath.proto.venue import UNREADABLE
from tickpath.proto.venues.toy import requests


class _Message(msgspec.Struct):
    channel: str = ""


class _Request(msgspec.Struct):
    op: str = ""
    channels: tuple[str, ...] = ()


_decoder = msgspec.json.Decoder(_Message)
_request_decoder = msgspec.json.Decoder(_Request)


class ToyTranscript(Transcript):
    """A message names its channel."""

    def channels_of(self, payload: bytes) -> tuple[str, ...]:
        """Return the message's channel."""
        try:
            channel = _decoder.decode(payload).channel
        except UNREADABLE:
            return ()
        return (channel,) if channel else ()

    def symbol_of(self, channel: str) -> str:
        """Return what stands behind the prefix."""
        return channel.removeprefix(requests.PREFIX)

    def request(self, text: str) -> Request:
        """Read a subscription."""
        try:
            said = _request_decoder.decode(text)
        except UNREADABLE:
            return Request()
        return Request(said.channels if said.op == "subscribe" else ())


TRANSCRIPT: Final = ToyTranscript()
