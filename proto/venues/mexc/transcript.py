"""MEXC's messages as others record them: protobuf pushes, JSON requests, depth by REST."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec
from google.protobuf import json_format
from tickpath.proto.transcript import Request, Restored, Transcript
from tickpath.proto.venue import UNREADABLE
from tickpath.proto.venues.mexc.mexc_pb2 import PushDataV3ApiWrapper

_SYMBOL_IN_TARGET = re.compile(r"[?&]symbol=([^&\s\"]+)")
_TAG_OF_CHANNEL: Final = 0x0A


class _Subscribe(msgspec.Struct):
    params: list[str] = []


class _Base(msgspec.Struct):
    symbol: str = ""


class _Written(msgspec.Struct, rename="camel"):
    """A push as Tardis writes it, or an answer of REST that it put among them."""

    channel: str
    symbol: str = ""
    public_aggre_depths_snapshot: msgspec.Raw = msgspec.Raw(b"")


_subscribe_decoder = msgspec.json.Decoder(_Subscribe)
_base_decoder = msgspec.json.Decoder(_Base)
_written_decoder = msgspec.json.Decoder(_Written)


class MexcTranscript(Transcript):
    """MEXC spot v3."""

    def channels_of(self, payload: bytes) -> tuple[str, ...]:
        """Return the channel that a push begins with; texts are replies."""
        if len(payload) < 2 or payload[0] != _TAG_OF_CHANNEL or payload[1] > 0x7F:
            return ()
        name = payload[2 : 2 + payload[1]].decode("utf-8", "replace")
        return (name,) if "@" in name else ()

    def symbol_of(self, channel: str) -> str:
        """Return the last part that is no number of levels."""
        return next((word for word in reversed(channel.split("@")) if not word.isdigit()), "")

    def request(self, text: str) -> Request:
        """Read a subscription, or the target of a depth request."""
        asked = _SYMBOL_IN_TARGET.search(text)
        try:
            names = _subscribe_decoder.decode(text).params
        except UNREADABLE:
            names = []
        return Request(tuple(names), asked[1] if asked else "")

    def symbol_in_base(self, payload: bytes) -> str:
        """Return the symbol that some bodies have."""
        try:
            return _base_decoder.decode(payload).symbol
        except UNREADABLE:
            return ""

    def restored(self, payload: bytes) -> Restored | None:
        """Write protobuf again what Tardis wrote as JSON, and take its answers of REST out."""
        if payload[:1] != b"{":
            return None
        try:
            written = _written_decoder.decode(payload)
        except UNREADABLE:
            return None
        if bytes(written.public_aggre_depths_snapshot):
            return Restored(bytes(written.public_aggre_depths_snapshot), written.symbol)
        wrapper: Any = PushDataV3ApiWrapper()
        try:
            json_format.Parse(payload, wrapper, ignore_unknown_fields=True)
        except (json_format.ParseError, *UNREADABLE):  # protobuf reads what msgspec skips
            return None
        return Restored(wrapper.SerializeToString(), is_text=False)


TRANSCRIPT: Final = MexcTranscript()
