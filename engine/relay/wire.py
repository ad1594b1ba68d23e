"""What stands in Redis: key names, and the binary forms of entries, wake-ups and the feed's record.

Numbers are little-endian; books and events are the records of proto/records.h, so that both ends
copy them instead of converting number by number. What arrives is foreign: every `read_` checks all
that a reader of the local segment will rely on, and raises WireError with the reason. Called by:
publisher, follower. Pure: no I/O. docs/relay.md has the tables.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

import msgspec
from tickpath._core import lib
from tickpath.engine.client.feed_segment import SCHEMA, unreadable
from tickpath.proto.instrument import ROW_SIZE, Instrument, pack_row, unpack_row
from tickpath.proto.records import BOOK_DEPTH_MAX
from tickpath.shm.errors import RemoteError
from tickpath.shm.segment import schema_hash

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT: Final = int(lib.TP_RELAY_FORMAT)
BOOK_FIELD, EVENTS_FIELD = b"b", b"e"
EVENT_SIZE = 56
EVENTS_IN_ENTRY_MAX: Final = int(lib.TP_RELAY_EVENT_COUNT_MAX)
INSTRUMENT_COUNT_MAX = 1 << 16
FLAG_GAP: Final = int(lib.TP_RELAY_FLAG_GAP)  # events are missing: the book replaces
KIND_CHANGED, KIND_HEARTBEAT = 1, 2

# format, kind, count, link, reserved, epoch, sequence, sent_ns
_WAKE = struct.Struct("<HHIIIQQq")


class WireError(RemoteError):
    """Say why something that came from Redis was refused."""


class Keys:
    """Name the keys of one instance; the part in braces decides the cluster slot.

    Book and events of one instrument share a slot, different instruments spread over the nodes.
    """

    def __init__(self, instance: str) -> None:
        self.feed = f"tickpath:{{{instance}}}:feed".encode()
        self.wake = f"tickpath:{{{instance}}}:wake".encode()
        self._instance = instance

    def book(self, instrument: Instrument) -> bytes:
        """Name the hash with the latest book."""
        return f"{self._stem(instrument)}:book".encode()

    def events(self, instrument: Instrument) -> bytes:
        """Name the stream of events."""
        return f"{self._stem(instrument)}:events".encode()

    def _stem(self, one: Instrument) -> str:
        return f"tickpath:{{{self._instance}:{one.venue}:{one.symbol}}}"


class Wake(msgspec.Struct, frozen=True):
    """What a wake-up says: which instruments changed, or, in a heartbeat, which are behind."""

    kind: int
    link: int  # which connection of the publisher
    epoch: int
    sequence: int  # wake-ups of this link so far
    sent_ns: int
    instruments: tuple[int, ...]


class FeedRecord(msgspec.Struct, frozen=True):
    """What the feed's own hash holds."""

    epoch: int
    instruments: tuple[Instrument, ...]


# ---- written by the publisher --------------------------------------------------------------------


def write_wake(wake: Wake) -> bytes:
    """Return a wake-up's bytes."""
    count = len(wake.instruments)
    head = _WAKE.pack(
        FORMAT, wake.kind, count, wake.link, 0, wake.epoch, wake.sequence, wake.sent_ns
    )
    return head + struct.pack(f"<{count}I", *wake.instruments)


def write_feed(record: FeedRecord) -> dict[bytes, bytes]:
    """Return the fields of the feed's hash; raises ValueError where a name does not fit."""
    rows = [
        pack_row(one) if one.venue else bytes(ROW_SIZE)  # one that the source cannot read
        for one in record.instruments
    ]
    return {
        b"format": str(FORMAT).encode(),
        b"schema": f"{schema_hash(SCHEMA):016x}".encode(),
        b"epoch": str(record.epoch).encode(),
        b"instruments": b"".join(rows),
    }


# ---- checked by the follower ---------------------------------------------------------------------


def _expect(found: object, expected: object, what: str) -> None:
    if found != expected:
        raise WireError(f"{what} is {found!r}, expected {expected!r}")


FAULTS: Final = {
    int(lib.TP_RELAY_TRUNCATED): "its size is not what its counts say",
    int(lib.TP_RELAY_WRONG_FORMAT): f"its format is not {FORMAT}: use the same tickpath everywhere",
    int(lib.TP_RELAY_UNKNOWN_FLAGS): "unknown flags",
    int(lib.TP_RELAY_OTHER_ONE): "it is of another instrument",
    int(lib.TP_RELAY_STAMP_TOO_FAR): "a stamp is too far away",
    int(lib.TP_RELAY_UNKNOWN_STATE): "an unknown state or reason",
    int(lib.TP_RELAY_TOO_DEEP): f"more than {BOOK_DEPTH_MAX} levels a side",
    int(lib.TP_RELAY_EMPTY_LEVEL): "a quantity that cannot be",
    int(lib.TP_RELAY_DISORDER): "its levels are not in order, best first",
    int(lib.TP_RELAY_CROSSED_LIVE): "LIVE with the best bid at or above the best ask",
    int(lib.TP_RELAY_TOO_MANY_EVENTS): "too many events, or part of one",
    int(lib.TP_RELAY_UNKNOWN_EVENT): "an event of unknown type",
    int(lib.TP_RELAY_WRONG_SCALE): "an exponent that cannot be",
}


def read_entry(entry: Any, fields: Mapping[bytes, bytes], instrument: int) -> None:
    """Check an entry of an instrument's stream, or its book's hash, into a C struct tp_relay_entry.

    Its events borrow the bytes in `fields`. Raises WireError; there is no entry then.
    """
    book, events = fields.get(BOOK_FIELD, b""), fields.get(EVENTS_FIELD, b"")
    fault = lib.tp_relay_entry_read(entry, book, len(book), events, len(events), instrument)
    if fault:
        raise WireError(f"an entry of {len(book)} + {len(events)} bytes: {FAULTS[fault]}")


def read_wake(data: object, instrument_count: int) -> Wake:
    """Check a wake-up; indices must be below instrument_count."""
    if not isinstance(data, bytes) or len(data) < _WAKE.size:
        raise WireError(f"wake-up {data!r:.40}: expected at least {_WAKE.size} bytes")
    form, kind, count, link, _, epoch, sequence, sent_ns = _WAKE.unpack_from(data)
    _expect(form, FORMAT, "wake-up format (use the same tickpath on both hosts)")
    if kind not in (KIND_CHANGED, KIND_HEARTBEAT):
        raise WireError(f"wake-up kind {kind}: unknown")
    _expect(len(data), _WAKE.size + 4 * count, "wake-up size")
    instruments = struct.unpack_from(f"<{count}I", data, _WAKE.size)
    if instruments and max(instruments) >= instrument_count:
        raise WireError(
            f"wake-up names instrument {max(instruments)}, expected below {instrument_count}"
        )
    return Wake(kind, link, epoch, sequence, sent_ns, instruments)


def read_feed(fields: Mapping[bytes, bytes]) -> FeedRecord:
    """Check the feed's hash."""
    _expect(fields.get(b"format"), str(FORMAT).encode(), "feed format")
    _expect(fields.get(b"schema"), f"{schema_hash(SCHEMA):016x}".encode(), "schema")
    epoch = fields.get(b"epoch", b"")
    if not (epoch.isdigit() and len(epoch) <= 20 and 0 < int(epoch) < 1 << 64):
        raise WireError(f"epoch {epoch!r:.40}: expected a number above 0 of 64 bits")
    rows = fields.get(b"instruments", b"")
    if not rows or len(rows) % ROW_SIZE or len(rows) > INSTRUMENT_COUNT_MAX * ROW_SIZE:
        raise WireError(f"instruments of {len(rows)} bytes, expected rows of {ROW_SIZE}")
    return FeedRecord(int(epoch), _read_rows(rows))


def _read_rows(rows: bytes) -> tuple[Instrument, ...]:
    instruments = []
    for index in range(len(rows) // ROW_SIZE):
        row = rows[index * ROW_SIZE : (index + 1) * ROW_SIZE]
        try:
            one = unpack_row(index, row) if any(row) else unreadable(index)
        except ValueError as error:
            raise WireError(f"instrument {error}") from error
        if any(letter.isspace() for letter in one.venue + one.symbol):
            raise WireError(f"instrument row {index}: {one.symbol!r}: expected no spaces")
        instruments.append(one)
    if len({(one.venue, one.symbol) for one in instruments}) != len(instruments):
        raise WireError("an instrument is listed twice in the feed's table")
    return tuple(instruments)
