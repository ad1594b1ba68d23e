"""Messages of a venue that somebody else recorded: what they say without the venue's list.

A venue's `transcript.py` has the object, `TRANSCRIPT`. A foreign recording says neither which
channels its messages are of nor which instruments; the messages do, and the venue knows where. What
stands in them otherwise is read by the venue's own decoder. Called by: engine/recording/survey.py.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol

import msgspec
from tickpath.proto.venues import load_venue

if TYPE_CHECKING:
    from collections.abc import Callable


class Request(msgspec.Struct, frozen=True):
    """What a message of the client's asked for."""

    channels: tuple[str, ...] = ()
    """Which it subscribed to; names of no channel of ours may be among them."""
    symbol: str = ""
    """Whose base it asked for by REST."""


class Restored(msgspec.Struct, frozen=True):
    """What a recorder wrote in words of its own, as the venue has it."""

    payload: bytes
    symbol: str = ""
    """Whose base it is; "" for a message of the socket."""
    is_text: bool = True


class Transcript(Protocol):
    """One venue's messages, read loosely: nothing here raises for bytes of any kind."""

    def channels_of(self, payload: bytes) -> tuple[str, ...]:
        """Name the channels that a message is of, as a subscription has them; () for none.

        Asked only of messages that are of no channel yet. Names of no channel of ours may be among
        them.
        """

    def symbol_of(self, channel: str) -> str:
        """Return the instrument of a channel that `channels_of` or `request` named."""

    def request(self, text: str) -> Request:
        """Look into a message of the client's, or a name that a recorder gave a connection."""

    def symbol_in_base(self, payload: bytes) -> str:  # noqa: ARG002 - most do not say
        """Return whose book the body of a REST base is, "" where it does not say."""
        return ""

    def restored(self, payload: bytes) -> Restored | None:  # noqa: ARG002 - most are as sent
        """Read what a recorder put in the place of a message of the venue's; None: it is as sent.

        Tardis writes the answers of REST among the messages, and binary messages as JSON.
        """
        return None


def asked_channels(name: str, text: str) -> tuple[str, ...]:
    """Return what a subscription of a venue's asked for, where the venue can read it back."""
    asked = load_venue(name).asked(text.encode())
    return asked.channels if asked is not None else ()


def known(split: Callable[[str], object], *channels: str) -> tuple[str, ...]:
    """Return those that a venue's `split`, which raises ValueError for others, can part."""

    def is_known(channel: str) -> bool:
        try:
            split(channel)
        except ValueError:
            return False
        return True

    return tuple(channel for channel in channels if is_known(channel))


def load_transcript(name: str) -> Transcript:
    """Import a venue's; raises ValueError, which lists the known venues, for a name of none."""
    module = f"tickpath.proto.venues.{load_venue(name).name}.transcript"
    if find_spec(module) is None:
        raise ValueError(
            f"venue {name!r}: messages that others recorded cannot be read yet: its folder has no "
            "transcript.py"
        )
    transcript: Transcript = import_module(module).TRANSCRIPT
    return transcript
