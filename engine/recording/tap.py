"""The raw segment, `<instance>.raw`: what the hot thread did, for recorders.

`TapWriter` makes it for engine/feed_handler/process.py, which hands `pointer` to the hot path and
the feed; `read_table` tells a recorder of which instruments the records speak. C side: tap.h.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from tickpath._core import ffi, lib
from tickpath.shm.segment import SegmentLayout, SegmentWriter, kept_by

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tickpath.proto.instrument import Instrument
    from tickpath.shm.segment import Segment

SUFFIX = ".raw"
RING_CAPACITY_DEFAULT = 1 << 18  # 16 MiB of slots: 60 ms of a million messages a second
SCHEMA = """\
raw 3
message size 0 u32
message kind 4 u8
message opcode 5 u8
message connection 6 u16
message t_ns 8 u64
message payload 16 bytes
row venue 0 char[16]
row symbol 16 char[72]
row price_exponent 154 i8
row quantity_exponent 155 i8
row tick_size 160 i64
row silent_after_ns 248 u64
row checkpoint_every_ns 256 u64
row connection 264 u16
row race 266 u16
row channel 268 char[108]
row since_start 376 u32
row connection_count 380 u32
row keep_ns 384 u64
row keep_bytes 392 u64
"""


class Subscription(msgspec.Struct, frozen=True, kw_only=True):
    """One instrument as the feed knows it: what a replay needs to build the same feed."""

    venue: str
    symbol: str
    price_exponent: int
    quantity_exponent: int
    channel: str
    """The venue's subscription string, which every message of it begins with."""
    tick_size: int = 1
    connection: int = 0
    race: Annotated[int, msgspec.Meta(ge=1, le=255)] = 1
    """Over so many connections, of which that is the first."""
    is_removed: bool = False
    """It was taken out of the feed: nothing of it comes any more."""
    is_awaited: bool = False
    """Of a file's header: it comes with a ROW record of this file, not before."""


def _text(field: Any) -> str:
    return bytes(ffi.buffer(field)).split(b"\0", 1)[0].decode("utf-8", "replace")


def fill_record(record: Any, row: Subscription) -> None:
    """Fill a C struct tp_instrument_record."""
    record.venue, record.symbol = row.venue.encode(), row.symbol.encode()
    record.price_exponent, record.quantity_exponent = row.price_exponent, row.quantity_exponent
    record.tick_size = row.tick_size
    if row.is_removed:
        record.status = lib.TP_INSTRUMENT_REMOVED


def make_tap_layout(rows: int, ring_capacity: int) -> SegmentLayout:
    """Return the layout of the raw segment."""
    size = ffi.sizeof("struct tp_tap_row")
    return SegmentLayout(
        schema=SCHEMA, ring_capacity=ring_capacity, table_rows=rows, table_row_size=size
    )


class TapOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a raw segment is made for, and what its table says of the feed."""

    ring_capacity: int = RING_CAPACITY_DEFAULT
    checkpoint_every_s: float
    silent_after_ns: int
    keep_ns: int = 0
    keep_bytes: int = 0
    spare_rows: int = 0
    """How many instruments may come later."""
    connections_max: int = 0


class TapWriter:
    """Own the raw segment of an instance; made before the hot path runs, closed after it."""

    def __init__(self, instance: str, rows: Sequence[Subscription], options: TapOptions) -> None:
        """Build the segment; `ready` shows it. Raises SegmentError as SegmentWriter does."""
        layout = make_tap_layout(len(rows) + options.spare_rows, options.ring_capacity)
        self.segment = SegmentWriter(instance + SUFFIX, layout)
        self._options, self._count = options, len(rows)
        self._rows: dict[int, Subscription] = {}
        try:
            for index, row in enumerate(rows):
                self.write(index, row)
        except BaseException:
            self.segment.close()
            raise
        segment = self.segment.pointer
        self.pointer = kept_by(ffi.new("struct tp_tap *"), segment)
        self.pointer.segment = segment
        self.pointer.checkpoint_every_ns = int(options.checkpoint_every_s * 1e9)

    def write(self, index: int, row: Subscription) -> None:
        """Add or change a row, before the hot thread is told of it; raises ValueError."""
        self._rows[index] = row
        target = ffi.new("struct tp_tap_row *")
        fill_record(target.instrument, row)
        target.silent_after_ns = self._options.silent_after_ns
        target.checkpoint_every_ns = int(self._options.checkpoint_every_s * 1e9)
        target.connection_count = self._options.connections_max
        target.keep_ns, target.keep_bytes = self._options.keep_ns, self._options.keep_bytes
        target.connection, target.since_start = row.connection, index < self._count
        target.race = row.race
        target.channel = row.channel.encode()
        self.segment.write_row(index, bytes(ffi.buffer(target)))

    def rescale(self, row: Instrument) -> None:
        """Let an instrument's scale be another one: files that begin from now on say so."""
        before = self._rows[row.index]
        self.write(
            row.index,
            msgspec.structs.replace(
                before,
                price_exponent=row.price_exponent,
                quantity_exponent=row.quantity_exponent,
                tick_size=row.tick_size,
            ),
        )

    def ready(self) -> None:
        """Show the segment to recorders."""
        self.segment.ready()

    def close(self) -> None:
        """End the segment; the hot path must have stopped."""
        self.segment.close()


class TapTable(msgspec.Struct, frozen=True):
    """What the raw segment says of the feed behind it."""

    subscriptions: tuple[Subscription, ...]
    silent_after_ns: int
    """Without a message for so long a book is STALE."""
    checkpoint_every_ns: int
    connections_max: int = 0
    keep_ns: int = 0
    """For how long messages of a book that waits for a base are kept, and how many bytes of all."""
    keep_bytes: int = 0
    start_count: int = 0
    """How many rows there were when the hot thread began."""


def read_table(segment: Segment) -> TapTable:
    """Read the raw segment's table back."""
    size = ffi.sizeof("struct tp_tap_row")  # a row of the segment ends on a line
    data = b"".join(row[:size] for _, row in segment.rows())
    rows = ffi.from_buffer("struct tp_tap_row[]", data)
    found = tuple(
        Subscription(
            venue=_text(row.instrument.venue),
            symbol=_text(row.instrument.symbol),
            price_exponent=row.instrument.price_exponent,
            quantity_exponent=row.instrument.quantity_exponent,
            channel=_text(row.channel),
            tick_size=row.instrument.tick_size,
            connection=row.connection,
            race=max(1, row.race),
            is_removed=row.instrument.status == lib.TP_INSTRUMENT_REMOVED,
        )
        for row in rows
    )
    if not found:
        return TapTable((), 0, 0)
    first = rows[0]
    return TapTable(
        found,
        int(first.silent_after_ns),
        int(first.checkpoint_every_ns),
        int(first.connection_count),
        int(first.keep_ns),
        int(first.keep_bytes),
        sum(int(row.since_start) for row in rows),
    )
