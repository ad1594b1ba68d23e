"""Kraken's messages as others record them: version 2, whose messages do not say a book's depth."""

from __future__ import annotations

from typing import Final

import msgspec
from tickpath.proto.transcript import Request, Transcript, asked_channels, known
from tickpath.proto.venue import UNREADABLE, Meaning
from tickpath.proto.venues.kraken import requests


class _Item(msgspec.Struct):
    symbol: str = ""
    bids: list[msgspec.Raw] = []
    asks: list[msgspec.Raw] = []

    @property
    def depth(self) -> int:
        """Return the smallest depth that has so many levels."""
        levels = max(len(self.bids), len(self.asks))
        return next((one for one in requests.DEPTHS if one >= levels), requests.DEPTHS[-1])


class _Message(msgspec.Struct):
    channel: str = ""
    type: str = ""
    data: list[_Item] = []


_decoder = msgspec.json.Decoder(_Message)


class KrakenTranscript(Transcript):
    """Kraken spot: a book's depth is what was acknowledged, else what its whole book shows."""

    def channels_of(self, payload: bytes) -> tuple[str, ...]:
        """Return the channels of an acknowledgement, or of a message's items."""
        try:
            message = _decoder.decode(payload)
        except UNREADABLE:
            message = _Message()
        if message.channel == "book":
            names = [
                # A change alone says nothing of the depth: another channel of the instrument.
                f"book-{one.depth}:{one.symbol}"
                if message.type == "snapshot"
                else f"ticker:{one.symbol}"
                for one in message.data
            ]
            return known(requests.split, *names)
        if message.channel:
            return known(
                requests.split, *(f"{message.channel}:{one.symbol}" for one in message.data)
            )
        return tuple(
            name
            for note in requests.parse_notes(payload)
            if note.meaning is Meaning.ACKNOWLEDGEMENT
            for name in note.channels
        )

    def symbol_of(self, channel: str) -> str:
        """Return what stands behind the first colon."""
        return channel.partition(":")[2]

    def request(self, text: str) -> Request:
        """Read a subscription of ours."""
        return Request(asked_channels(requests.VENUE, text))


TRANSCRIPT: Final = KrakenTranscript()
