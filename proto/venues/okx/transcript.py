"""OKX's messages as others record them: each names its channel and instrument."""

from __future__ import annotations

from typing import Final

import msgspec
from tickpath.proto.transcript import Request, Transcript, asked_channels, known
from tickpath.proto.venue import UNREADABLE
from tickpath.proto.venues.okx import requests


class _Arg(msgspec.Struct, rename="camel"):
    channel: str = ""
    inst_id: str = ""


class _Message(msgspec.Struct):
    arg: _Arg
    event: str = ""


_decoder = msgspec.json.Decoder(_Message)


class OkxTranscript(Transcript):
    """OKX v5: also an acknowledgement names what it is of."""

    def channels_of(self, payload: bytes) -> tuple[str, ...]:
        """Return the message's channel."""
        try:
            message = _decoder.decode(payload)
        except UNREADABLE:
            return ()
        if message.event not in ("", "subscribe"):
            return ()
        return known(requests.split, f"{message.arg.channel}:{message.arg.inst_id}")

    def symbol_of(self, channel: str) -> str:
        """Return what stands behind the first colon."""
        return channel.partition(":")[2]

    def request(self, text: str) -> Request:
        """Read a subscription."""
        return Request(asked_channels(requests.VENUE, text))


TRANSCRIPT: Final = OkxTranscript()
