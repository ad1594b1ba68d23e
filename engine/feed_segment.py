"""What a feed's segment holds: the schema of its events and books, and its instrument table.

The writer (tickpath run) makes the layout and fills the table; readers read it back. Offsets are
those of proto/records.h. Called by: engine/app.py, engine/reader.py, tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tickpath.proto.instrument import ROW_SIZE, pack_row, unpack_rows
from tickpath.shm.segment import Segment, SegmentLayout, SegmentWriter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tickpath.proto.instrument import Instrument

RING_CAPACITY_DEFAULT = 16384  # 1 MiB of slots: stays in the second-level cache
# Counters that only a replay's segment has: its events carry the times of their recording.
REPLAY_COUNTERS = ("replay.records", "replay.messages", "replay.gaps")
BOOK_WORDS = 87  # sizeof(struct tp_book_record) / 8

# "<record> <field> <offset> <type>" a line; a reader of another layout is refused by its hash.
SCHEMA = """\
records 1
event instrument 0 u32
event type 4 u16
event flags 6 u16
event received_ns 8 u64
event published_ns 16 u64
event value 24 i64[4]
event level.price 24 i64
event level.quantity 32 i64
event level.exchange_ns 40 u64
event level.book_sequence 48 u64
event top.bid_price 24 i64
event top.bid_quantity 32 i64
event top.ask_price 40 i64
event top.ask_quantity 48 i64
book book_sequence 0 u64
book exchange_ns 8 u64
book received_ns 16 u64
book decoded_ns 24 u64
book published_ns 32 u64
book instrument 40 u32
book state 44 u16
book reason 46 u16
book bid_count 48 u32
book ask_count 52 u32
book bids 56 level[20]
book asks 376 level[20]
level price 0 i64
level quantity 8 i64
instrument venue 0 char[16]
instrument symbol 16 char[32]
instrument price_exponent 48 i32
instrument quantity_exponent 52 i32
instrument tick_size 56 i64
"""


def make_layout(
    instruments: Sequence[Instrument],
    *,
    ring_capacity: int = RING_CAPACITY_DEFAULT,
    counters: tuple[str, ...] = (),
    histograms: tuple[str, ...] = (),
    **access: Any,
) -> SegmentLayout:
    """Return the layout of a feed's segment; ring_capacity is a power of two of 64-byte slots.

    `access` are SegmentLayout's group and mode.
    """
    return SegmentLayout(
        schema=SCHEMA,
        ring_capacity=ring_capacity,
        snapshot_slots=len(instruments),
        snapshot_words=BOOK_WORDS,
        table_rows=len(instruments),
        table_row_size=ROW_SIZE,
        counters=counters,
        histograms=histograms,
        **access,
    )


def write_instruments(segment: SegmentWriter, instruments: Sequence[Instrument]) -> None:
    """Fill the table, before `ready`; raises ValueError where a name does not fit its field."""
    table = segment.table
    for row, instrument in enumerate(instruments):
        if instrument.index != row:
            raise ValueError(f"instrument {instrument}: expected index {row}")
        table[row * ROW_SIZE : (row + 1) * ROW_SIZE] = pack_row(instrument)


def read_instruments(segment: Segment) -> tuple[Instrument, ...]:
    """Read the table back."""
    return unpack_rows(bytes(segment.table))
