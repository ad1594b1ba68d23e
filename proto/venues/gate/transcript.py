"""Gate's messages as others record them, of any market: each names its channel and instrument."""

from __future__ import annotations

import re
from typing import Final

import msgspec
from tickpath.proto.transcript import Request, Restored, Transcript, known
from tickpath.proto.venue import UNREADABLE, Meaning
from tickpath.proto.venues.gate import requests

_SYMBOL_IN_TARGET = re.compile(r"[?&](?:currency_pair|contract)=([^&\s\"]+)")
UPDATE_DEPTH: Final = 100
"""Levels of a message of order_book_update that does not say: the default of the venue."""


class _Result(msgspec.Struct):
    s: str = ""
    l: str = ""  # noqa: E741 - the venue's name: levels
    currency_pair: str = ""
    contract: str = ""


class _Message(msgspec.Struct):
    channel: str = ""
    event: str = ""
    symbol: str = ""
    result: msgspec.Raw = msgspec.Raw(b"")


_decoder = msgspec.json.Decoder(_Message)
_one_decoder = msgspec.json.Decoder(_Result)
_all_decoder = msgspec.json.Decoder(list[_Result])


def _channel(wire: str, result: _Result) -> str:
    kind = wire.partition(".")[2]
    if kind == requests.OBU:
        symbol, _, depth = result.s.removeprefix("ob.").rpartition(".")
        return f"{wire}.{depth}:{symbol}"
    symbol = result.s or result.currency_pair or result.contract
    if kind == requests.UPDATE:
        return f"{wire}.{result.l or UPDATE_DEPTH}:{symbol}"
    return f"{wire}:{symbol}"


class GateTranscript(Transcript):
    """Gate v4, one of its markets; an acknowledgement names what it is of."""

    def __init__(self, market: str) -> None:
        """Read no other market's channels."""
        self._market = f"{market}."

    def channels_of(self, payload: bytes) -> tuple[str, ...]:
        """Return the channels of an acknowledgement, or of a message."""
        try:
            message = _decoder.decode(payload)
            if not message.channel.startswith(self._market):
                return ()
            if message.event == "subscribe":
                return _acknowledged(payload)
            data = bytes(message.result)
            items = _all_decoder.decode(data) if data[:1] == b"[" else [_one_decoder.decode(data)]
        except UNREADABLE:
            return ()
        return known(requests.split, *dict.fromkeys(_channel(message.channel, x) for x in items))

    def symbol_of(self, channel: str) -> str:
        """Return what stands behind the first colon."""
        return channel.partition(":")[2]

    def request(self, text: str) -> Request:
        """Read a subscription, or the target of a request of REST."""
        target = _SYMBOL_IN_TARGET.search(text)
        asked = requests.asked(text.encode())
        return Request(asked.channels if asked is not None else (), target[1] if target else "")

    def restored(self, payload: bytes) -> Restored | None:
        """Read an answer of REST that Tardis wrote as a message."""
        if b'"generated"' not in payload[:256]:
            return None
        try:
            message = _decoder.decode(payload)
        except UNREADABLE:
            return None
        is_own = message.channel.startswith(self._market)
        if not is_own or message.event != "snapshot" or not message.symbol:
            return None
        return Restored(bytes(message.result), message.symbol)


def _acknowledged(payload: bytes) -> tuple[str, ...]:
    return tuple(
        name
        for note in requests.parse_notes(payload)
        if note.meaning is Meaning.ACKNOWLEDGEMENT
        for name in note.channels
    )


TRANSCRIPT: Final = GateTranscript(requests.SPOT)
