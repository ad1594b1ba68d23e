"""Bitget's messages as others record them, of any market: each names channel and instrument."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec
from tickpath.proto.transcript import Request, Transcript, known
from tickpath.proto.venue import UNREADABLE
from tickpath.proto.venues.bitget import requests


class _Message(msgspec.Struct):
    arg: requests.Arg
    event: str = ""


class _Request(msgspec.Struct):
    op: str
    args: tuple[requests.Arg, ...] = ()


_decoder = msgspec.json.Decoder(_Message)
_request_decoder = msgspec.json.Decoder(_Request)


@dataclass(frozen=True, slots=True)
class BitgetTranscript(Transcript):
    """Both WebSockets, of one market: also an acknowledgement names what it is of."""

    market: str

    def channels_of(self, payload: bytes) -> tuple[str, ...]:
        """Return the message's channel."""
        try:
            message = _decoder.decode(payload)
        except UNREADABLE:
            return ()
        if message.event not in ("", "subscribe"):
            return ()
        return known(requests.split, *message.arg.names(self.market))

    def symbol_of(self, channel: str) -> str:
        """Return what stands behind the first colon."""
        return channel.partition(":")[2]

    def request(self, text: str) -> Request:
        """Read a subscription."""
        try:
            said = _request_decoder.decode(text)
        except UNREADABLE:
            return Request()
        args = said.args if said.op == "subscribe" else ()
        return Request(tuple(name for one in args for name in one.names(self.market)))


TRANSCRIPT: Final = BitgetTranscript(requests.SPOT)
