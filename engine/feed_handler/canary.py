"""The contract canary: says when a venue's messages are not what they were.

A new field, another type, a key that is missing, a kind that no sample shows, a message that the
decoder refused: counted, and said in one line with a piece of the message, at most one in a while
of each kind. What is expected is learned from the venue's samples.ndjson. It looks at what reaches
the cold thread: notes, what was refused, and an accepted message now and then. The hot thread
compares nothing.
Called by: engine/feed_handler/process.py (the cold thread). Calls: message_shape.py, the venue's C
router (one of its own, to know what a message means).
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import msgspec
from tickpath._core import ffi, lib
from tickpath.engine.cli import printable
from tickpath.engine.feed_handler.message_shape import learn, no_schema, shape_of
from tickpath.proto.venue import Meaning
from tickpath.proto.venues import load_venue, venue_folder
from tickpath.proto.venues.decoder import find_decoder, meaning_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from tickpath.engine.feed_handler.hot_path import Note
    from tickpath.engine.feed_handler.message_shape import Contract, Shape, Unpack
    from tickpath.engine.feed_handler.plan import Plan

SAMPLES: Final = "samples.ndjson"
COUNTERS: Final = ("looked_at", "unexpected")
SAID_EVERY_S: Final = 60.0
"""A line of each kind of message, at most; the same news again only after twice as long."""
SAID_EVERY_MAX_S: Final = 3600.0
SAMPLE_SHOWN_MAX: Final = 200
DIFFERENCES_SHOWN_MAX: Final = 4
_TEXT, _BINARY = 1, 2  # RFC 6455 5.2


class _Sample(msgspec.Struct):
    meaning: str
    text: str = ""
    base64: str = ""
    odd: bool = False
    """A message that the decoder must bear, and that the venue does not send."""


def read_contracts(path: Path, unpack: Unpack = no_schema) -> dict[Meaning, Contract]:
    """Learn what messages of each kind look like; {} where the venue has no samples."""
    if not path.is_file():
        return {}
    messages: dict[Meaning, list[bytes]] = {}
    decoder = msgspec.json.Decoder(_Sample)
    for line in path.read_bytes().splitlines():
        sample = decoder.decode(line)
        if not sample.odd:
            data = sample.text.encode() or base64.b64decode(sample.base64)
            messages.setdefault(Meaning[sample.meaning], []).append(data)
    messages.pop(Meaning.BROKEN, None)
    learned = {kind: learn(some, unpack) for kind, some in messages.items()}
    return {kind: one for kind, one in learned.items() if one is not None}


class Router:
    """What messages of a venue mean, by its own C router; the hot thread has another one."""

    def __init__(self, venue: str, channels: Iterable[str], connections: int) -> None:
        """Subscribe to all of a plan's channels; those that it does not know are nobody's."""
        names = list(dict.fromkeys(channels))
        self._venue, count = find_decoder(venue), max(1, len(names))
        size = self._venue.router_size(count, connections)
        self._memory = ffi.new("uint64_t[]", size // 8 + 1)
        self._router = ffi.cast("void *", self._memory)
        self._venue.router_init(self._router, count, connections)
        for place, name in enumerate(names):
            self._venue.router_add(self._router, name.encode(), place)
        self._route = ffi.new("struct tp_route *")
        self._connections = connections

    def meaning(self, data: bytes, connection: int) -> Meaning:
        """Return what a message means: its first part that means something."""
        opcode = _TEXT if data[:1] in (b"{", b"[") else _BINARY
        message = ffi.new("struct tp_venue_message *")
        kept = ffi.from_buffer("uint8_t[]", data)
        message.data, message.size, message.opcode = kept, len(data), opcode
        message.connection = connection
        if connection >= self._connections or not data:
            return Meaning.UNKNOWN
        start = 0
        while True:
            self._venue.route(self._router, message, start, self._route)
            if self._route.meaning != lib.TP_MEANING_UNKNOWN or self._route.next_offset <= start:
                return meaning_of(self._route.meaning)
            start = self._route.next_offset


@dataclass(slots=True)
class _Told:
    """What was said last of one kind of message."""

    words: str = ""
    next_s: float = float("-inf")
    pause_s: float = SAID_EVERY_S
    untold: int = 0


class Canary:
    """One venue's; `take` looks at a message. Memory is bounded by the kinds that there are."""

    def __init__(
        self,
        venue: str,
        channels: Iterable[str],
        connections: int,
        say: Callable[[str], None],
    ) -> None:
        """Learn nothing yet: the first message has the samples read."""
        self._venue, self._say = venue, say
        self._unpack = load_venue(venue).unpacked
        self._channels, self._connections = tuple(channels), connections
        self._told: dict[Meaning, _Told] = {}
        self.looked_at = 0
        self.unexpected = 0

    @cached_property
    def _router(self) -> Router:
        return Router(self._venue, self._channels, self._connections)

    @cached_property
    def _contracts(self) -> dict[Meaning, Contract]:
        return read_contracts(venue_folder(self._venue) / SAMPLES, self._unpack)

    def subscribe(self, channels: Iterable[str], connections: int) -> None:
        """Know another plan's channels from now on."""
        self._channels, self._connections = tuple(channels), connections
        self.__dict__.pop("_router", None)

    def counters(self) -> dict[str, int]:
        """Return the counts by the names of COUNTERS."""
        return {name: getattr(self, name) for name in COUNTERS}

    def take(
        self, data: bytes, connection: int, now_s: float, *, size: int = 0, refused: bool = False
    ) -> None:
        """Look at one message; size: of the whole, where `data` is only its beginning."""
        self.looked_at += 1
        is_cut = size > len(data)
        kind = Meaning.UNKNOWN if is_cut else self._router.meaning(data, connection)
        words = [] if is_cut else self._differences(kind, data)
        if refused and not words:
            what = "too long to be looked into" if is_cut else "its fields are as expected"
            words = [f"the decoder refuses it, {what}"]
        if words:
            self.unexpected += 1
            self._tell(kind, words, data, max(size, len(data)), now_s)

    def _differences(self, kind: Meaning, data: bytes) -> list[str]:
        shape = shape_of(data, self._unpack)
        if kind is Meaning.HEARTBEAT and shape is None:
            return []  # a word of text, all of which the decoder compared
        if kind is Meaning.BROKEN or shape is None:
            return ["not what the venue sends"]
        if not self._contracts:
            return []
        if kind is Meaning.UNKNOWN:
            return self._of_no_kind(shape)
        contract = self._contracts.get(kind)
        return contract.differences(shape) if contract is not None else []

    def _of_no_kind(self, shape: Shape) -> list[str]:
        """Judge a message of a channel that nobody asked for: one asked for until now is known."""
        if any(not one.differences(shape) for one in self._contracts.values()):
            return []
        return ["of a kind that no sample shows"]

    def _tell(self, kind: Meaning, words: list[str], data: bytes, size: int, now_s: float) -> None:
        told = self._told.setdefault(kind, _Told())
        text = "; ".join(words[:DIFFERENCES_SHOWN_MAX])
        more = len(words) - DIFFERENCES_SHOWN_MAX
        text += f" and {more} more differences" if more > 0 else ""
        if now_s < told.next_s:
            told.untold += 1
            return
        is_old = text == told.words
        told.pause_s = min(2 * told.pause_s, SAID_EVERY_MAX_S) if is_old else SAID_EVERY_S
        since = f"; {told.untold:,} more since the last such line" if told.untold else ""
        told.words, told.next_s, told.untold = text, now_s + told.pause_s, 0
        name = "message" if kind is Meaning.UNKNOWN else f"{kind.value} message"
        line = f"{self._venue}: unexpected {name}: {text}{since}: {_shown(data, size)}"
        self._say(printable(line))


class Canaries:
    """Those of a feed handler's venues, by connection."""

    def __init__(self, say: Callable[[str], None]) -> None:
        """Have none yet; `say` takes one line."""
        self._say = say
        self._of: dict[int, tuple[Canary, int]] = {}
        self._all: list[Canary] = []

    def add(self, plan: Plan, numbers: range) -> Canary:
        """Look at a venue's messages; numbers: of its connections in the feed."""
        channels = [channel.name for channel in plan.channels]
        canary = Canary(plan.venue.name, channels, len(numbers), self._say)
        self._all.append(canary)
        self._of |= {number: (canary, place) for place, number in enumerate(numbers)}
        return canary

    def take(self, note: Note, now_s: float) -> None:
        """Look at a message that the hot thread passed on or showed."""
        if note.connection not in self._of:  # of a plan that is newer than ours
            return
        canary, connection = self._of[note.connection]
        refused = note.kind == lib.TP_NOTE_REFUSED
        canary.take(note.text, connection, now_s, size=note.size, refused=refused)

    def counters(self) -> dict[str, int]:
        """Return the counts of all by the names of COUNTERS."""
        return {name: sum(getattr(one, name) for one in self._all) for name in COUNTERS}


def _shown(data: bytes, size: int) -> str:
    """Write the beginning of a message, as samples.ndjson would."""
    try:
        text = data.decode()
        is_text = text.isprintable()
    except UnicodeDecodeError:
        is_text = False
    if is_text:
        piece, is_cut = text[:SAMPLE_SHOWN_MAX], size > SAMPLE_SHOWN_MAX
    else:
        count = SAMPLE_SHOWN_MAX // 4 * 3
        piece, is_cut = f"base64 {base64.b64encode(data[:count]).decode()}", size > count
    return piece + (f"... ({size:,} bytes)" if is_cut else "")
