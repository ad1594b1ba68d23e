"""Hyperliquid's messages as others record them: each names its channel and coin."""

from __future__ import annotations

from typing import Final

import msgspec
from tickpath.proto.transcript import Request, Restored, Transcript, known
from tickpath.proto.venue import UNREADABLE
from tickpath.proto.venues.hyperliquid import requests

FAST_BOOK: Final = b'"channel":"fastBook"'
"""What Tardis calls the channel of fast books; the venue calls both kinds alike."""


class _Data(msgspec.Struct):
    coin: str = ""
    fast: bool = False


class _Message(msgspec.Struct):
    channel: str = ""
    data: msgspec.Raw = msgspec.Raw(b"")


class _Subscription(msgspec.Struct):
    type: str
    coin: str = ""
    fast: bool = False


class _Request(msgspec.Struct):
    method: str
    subscription: _Subscription


_decoder = msgspec.json.Decoder(_Message)
_one_decoder = msgspec.json.Decoder(_Data)
_all_decoder = msgspec.json.Decoder(list[_Data])
_answer_decoder = msgspec.json.Decoder(_Request)


def _channel(kind: str, data: _Data | _Subscription) -> str:
    return f"{requests.FAST if kind == requests.BOOK and data.fast else kind}:{data.coin}"


class HyperliquidTranscript(Transcript):
    """Hyperliquid: perpetuals and spot."""

    def channels_of(self, payload: bytes) -> tuple[str, ...]:
        """Return the channels of an acknowledgement, or of a message."""
        try:
            message = _decoder.decode(payload)
            if message.channel == "subscriptionResponse":
                return self._answered(bytes(message.data))
            data = bytes(message.data)
            items = _all_decoder.decode(data) if data[:1] == b"[" else [_one_decoder.decode(data)]
        except UNREADABLE:
            return ()
        names = (_channel(message.channel, one) for one in items)
        return known(requests.split, *dict.fromkeys(names))

    def _answered(self, data: bytes) -> tuple[str, ...]:
        said = _answer_decoder.decode(data)
        if said.method != "subscribe":
            return ()
        return known(requests.split, _channel(said.subscription.type, said.subscription))

    def symbol_of(self, channel: str) -> str:
        """Return what stands behind the first colon."""
        return channel.partition(":")[2]

    def request(self, text: str) -> Request:
        """Read a subscription, which is written as its answer is."""
        try:
            return Request(self._answered(text.encode()))
        except UNREADABLE:
            return Request()

    def restored(self, payload: bytes) -> Restored | None:
        """Give a fast book the venue's own name of its channel."""
        if FAST_BOOK not in payload:
            return None
        return Restored(payload.replace(FAST_BOOK, b'"channel":"l2Book"', 1))


TRANSCRIPT: Final = HyperliquidTranscript()
