"""Coinbase's messages as others record them: a message has parts, each of a product."""

from __future__ import annotations

from itertools import chain
from typing import Final

import msgspec
from tickpath.proto.transcript import Request, Transcript, known
from tickpath.proto.venue import UNREADABLE
from tickpath.proto.venues.coinbase import requests


class _Named(msgspec.Struct):
    product_id: str = ""


class _Part(msgspec.Struct):
    product_id: str = ""
    trades: list[_Named] = []
    tickers: list[_Named] = []
    subscriptions: dict[str, list[str]] = {}


class _Message(msgspec.Struct):
    channel: str = ""
    events: list[_Part] = []


class _Request(msgspec.Struct):
    channel: str
    product_ids: list[str]
    type: str = ""


_decoder = msgspec.json.Decoder(_Message)
_request_decoder = msgspec.json.Decoder(_Request)
_NAMES: Final = {"l2_data": requests.BOOK}
"""Of channels whose messages have another name than their subscription."""


class CoinbaseTranscript(Transcript):
    """Coinbase Advanced Trade."""

    def channels_of(self, payload: bytes) -> tuple[str, ...]:
        """Return the channels of an acknowledgement, or of a message's parts."""
        try:
            message = _decoder.decode(payload)
        except UNREADABLE:
            return ()
        kind = _NAMES.get(message.channel, message.channel)
        names = []
        for part in message.events:
            named = (part.product_id, *(one.product_id for one in chain(part.trades, part.tickers)))
            names += [f"{kind}:{product}" for product in named if product]
            for what, products in part.subscriptions.items():
                names += [f"{what}:{product}" for product in products]
        return known(requests.split, *dict.fromkeys(names))

    def symbol_of(self, channel: str) -> str:
        """Return what stands behind the first colon."""
        return channel.partition(":")[2]

    def request(self, text: str) -> Request:
        """Read a subscription."""
        try:
            asked = _request_decoder.decode(text)
        except UNREADABLE:
            return Request()
        names = (f"{asked.channel}:{product}" for product in asked.product_ids)
        return Request(known(requests.split, *names) if asked.type == "subscribe" else ())


TRANSCRIPT: Final = CoinbaseTranscript()
