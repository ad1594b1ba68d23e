"""Messages of a venue that somebody else recorded: what they tell without the venue's list.

A venue's `transcript.py` has the object, `TRANSCRIPT`. A line of a foreign recording says neither
which instrument it is of nor how many decimals its numbers have; the messages do, and the venue
knows where. Numbers stay text. Called by: engine/recording/ndjson.py.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol

import msgspec
from tickpath.proto.venues import load_venue

if TYPE_CHECKING:
    from tickpath.proto.instrument import Instrument

Level = tuple[str, str]
"""Price and quantity."""


class BookMessage(msgspec.Struct, frozen=True):
    """What a message of a book's channel shows."""

    levels: list[Level] = []
    versions: list[int] = []
    """Numbers of its place in the chain."""


class BaseMessage(msgspec.Struct, frozen=True):
    """What a base shows; symbol: None where it does not say whose it is."""

    version: int
    bids: list[Level]
    asks: list[Level]
    symbol: str | None = None


class Request(msgspec.Struct, frozen=True):
    """What a message of the client's asked for."""

    channels: tuple[str, ...] = ()
    """Of books, which it subscribed to."""
    symbol: str = ""
    """Whose base it asked for by REST."""


class Transcript(Protocol):
    """One venue's messages, read loosely; ValueError says what cannot be read."""

    base_hint: str
    """What a recording should give as a base, in words."""

    def channel_of(self, payload: bytes, *, is_text: bool) -> str | None:
        """Return the channel of a venue's message; None: no market data, "": of no channel."""

    def is_book(self, channel: str) -> bool:
        """Say whether a channel carries a book that can be replayed."""

    def symbol_of(self, channel: str) -> str:
        """Return the instrument of a channel."""

    def silent_channel(self, symbol: str) -> str:
        """Name a channel for an instrument without a message: one that a book may have."""

    def look(self, payload: bytes) -> BookMessage | None:
        """Look into a message of a book's channel; None: it cannot be read."""

    def request(self, text: str) -> Request:
        """Look into a message of the client's, or a name that a recorder gave a connection."""

    def base(self, payload: bytes) -> BaseMessage | dict[str, Instrument]:
        """Look into a REST body: a base, or an instrument list instead."""


def load_transcript(name: str) -> Transcript:
    """Import a venue's; raises ValueError, which lists the known venues, for a name of none."""
    module = f"tickpath.proto.venues.{load_venue(name).name}.transcript"
    if find_spec(module) is None:
        raise ValueError(f"venue {name!r}: messages that others recorded cannot be read yet")
    transcript: Transcript = import_module(module).TRANSCRIPT
    return transcript
