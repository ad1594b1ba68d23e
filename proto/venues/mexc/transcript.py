"""MEXC's messages as others record them: protobuf pushes, JSON requests, depth, exchangeInfo."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec
from google.protobuf.message import DecodeError
from tickpath.proto.transcript import BaseMessage, BookMessage, Request, Transcript
from tickpath.proto.venue import UNREADABLE
from tickpath.proto.venues.mexc import requests
from tickpath.proto.venues.mexc.mexc_pb2 import PushDataV3ApiWrapper

if TYPE_CHECKING:
    from tickpath.proto.instrument import Instrument

_DEPTH_CHANNEL = re.compile(r"spot@public\.(aggre\.|increase\.|limit\.)?depth\.v3\.api\.pb@")
_DELTAS: Final = "spot@public.aggre.depth.v3.api.pb@100ms@"
_SYMBOL_IN_TARGET = re.compile(r"[?&]symbol=([^&\s\"]+)")


class _Subscribe(msgspec.Struct):
    params: list[str] = []


class _Depth(msgspec.Struct, rename="camel"):
    last_update_id: int | None = None
    bids: list[list[str]] = []
    asks: list[list[str]] = []
    symbol: str | None = None
    symbols: msgspec.Raw = msgspec.Raw(b"")  # an instrument list instead


_depth_decoder = msgspec.json.Decoder(_Depth)
_subscribe_decoder = msgspec.json.Decoder(_Subscribe)


class MexcTranscript(Transcript):
    """MEXC spot v3."""

    base_hint = f"{requests.DEPTH_PATH}'s body"

    def channel_of(self, payload: bytes, *, is_text: bool) -> str | None:
        """Return the channel that a push begins with; texts are replies."""
        if is_text:
            return None
        if len(payload) < 2 or payload[0] != 0x0A or payload[1] > 0x7F:
            return ""
        return payload[2 : 2 + payload[1]].decode("utf-8", "replace")

    def is_book(self, channel: str) -> bool:
        """Know depth, aggregated or not."""
        return _DEPTH_CHANNEL.match(channel) is not None

    def symbol_of(self, channel: str) -> str:
        """Return the last part that is no number of levels."""
        return next((word for word in reversed(channel.split("@")) if not word.isdigit()), "")

    def silent_channel(self, symbol: str) -> str:
        """Name one that the feed's router takes: another would end the replay of all."""
        return f"{_DELTAS}{symbol}"

    def look(self, payload: bytes) -> BookMessage | None:
        """Parse with protobuf."""
        wrapper = PushDataV3ApiWrapper()
        try:
            wrapper.ParseFromString(payload)
        except DecodeError:
            return None
        name = wrapper.WhichOneof("body")
        body: Any = getattr(wrapper, name) if name else None
        levels = (*getattr(body, "bids", ()), *getattr(body, "asks", ()))
        ends = (getattr(body, "fromVersion", ""), getattr(body, "toVersion", ""))
        return BookMessage(
            [(level.price, level.quantity) for level in levels],
            [int(text) for text in ends if text.isdecimal()],
        )

    def request(self, text: str) -> Request:
        """Read a subscription, or the target of a depth request."""
        asked = _SYMBOL_IN_TARGET.search(text)
        symbol = asked[1] if asked else ""
        try:
            names = _subscribe_decoder.decode(text).params
        except UNREADABLE:
            names = []
        return Request(tuple(name for name in names if self.is_book(name)), symbol)

    def base(self, payload: bytes) -> BaseMessage | dict[str, Instrument]:
        """Read depth, or exchangeInfo."""
        try:
            body = _depth_decoder.decode(payload)
        except UNREADABLE as error:
            raise ValueError(f"base: {error}: give the body of {requests.DEPTH_PATH}") from error
        if body.last_update_id is None:
            if not bytes(body.symbols):
                raise ValueError(f"base without lastUpdateId: give {self.base_hint}")
            return requests.parse_instruments(payload).instruments
        if any(len(row) < 2 for row in (*body.bids, *body.asks)):
            raise ValueError("base with a level of less than two numbers")
        bids, asks = ([(row[0], row[1]) for row in side] for side in (body.bids, body.asks))
        return BaseMessage(body.last_update_id, bids, asks, body.symbol)


TRANSCRIPT: Final = MexcTranscript()
