"""What a feed's segment holds: the schema of its events and books, and its instrument table.

The writer (tickpath run) makes the layout and fills the table; readers read it back. Offsets are
those of proto/records.h. Called by: engine/supervisor/command.py, engine/client/reader.py, tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tickpath.proto.instrument import ROW_SIZE, Instrument, Status, pack_row, unpack_row
from tickpath.proto.records import BOOK_WORDS
from tickpath.shm.segment import Segment, SegmentLayout, SegmentWriter

if TYPE_CHECKING:
    from collections.abc import Sequence

RING_CAPACITY_DEFAULT = 16384  # 1 MiB of slots: stays in the second-level cache
# Counters that only a replay's segment has: its events carry the times of their recording.
REPLAY_COUNTERS = ("replay.records", "replay.messages", "replay.gaps")
INSTRUMENTS_MAX = 1 << 16  # an event names one by 16 bits
SPARE_ROWS_DEFAULT = 16  # instruments that may be added while the feed runs

# "<record> <field> <offset> <type>" a line; a reader of another layout is refused by its hash.
# Bytes that no line names are 0.
SCHEMA = """\
records 2
event instrument 0 u16
event type 2 u8
event flags 3 u8
event price_exponent 4 i8
event quantity_exponent 5 i8
event connection 6 u16
event received_ns 8 u64
event published_ns 16 u64
event value 24 i64[4]
event level.price 24 i64
event level.quantity 32 i64
event level.exchange_ns 40 u64
event level.book_sequence 48 u64
event top.bid 24 i64
event top.bid_quantity 32 i64
event top.ask 40 i64
event top.ask_quantity 48 i64
event trade.price 24 i64
event trade.quantity 32 i64
event trade.exchange_ns 40 u64
event trade.trade_id 48 u64
event message.taken_ns 24 u64
event message.decoded_ns 32 u64
event message.exchange_ns 40 u64
event message.book_sequence 48 u64
event state.state 24 i64
event state.reason 32 i64
event row.generation 24 u64
event row.change 32 u64
event status.status 24 u64
event status.exchange_ns 40 u64
event verified.verified_ns 24 u64
event verified.is_equal 32 u64
event verified.book_sequence 48 u64
book book_sequence 0 u64
book exchange_ns 8 u64
book received_ns 16 u64
book taken_ns 24 u64
book decoded_ns 32 u64
book published_ns 40 u64
book message_ns 48 u64
book verified_ns 56 u64
book instrument 64 u16
book connection 66 u16
book state 68 u16
book reason 70 u16
book bid_count 72 u16
book ask_count 74 u16
book price_exponent 76 i8
book quantity_exponent 77 i8
book flags 78 u16
book generation 80 u64
book bids 112 level[20]
book asks 432 level[20]
level price 0 i64
level quantity 8 i64
instrument venue 0 char[16]
instrument symbol 16 char[72]
instrument base 88 char[32]
instrument quote 120 char[16]
instrument settle 136 char[16]
instrument kind 152 u8
instrument status 153 u8
instrument price_exponent 154 i8
instrument quantity_exponent 155 i8
instrument multiplier_exponent 156 i8
instrument notional_exponent 157 i8
instrument connection 158 u16
instrument tick_size 160 i64
instrument lot_size 168 i64
instrument quantity_min 176 i64
instrument notional_min 184 i64
instrument multiplier 192 i64
instrument listed_ns 200 u64
instrument expiry_ns 208 u64
instrument strike 216 char[16]
instrument right 232 char[8]
"""


def make_layout(
    instruments: Sequence[Instrument],
    *,
    spare_rows: int = SPARE_ROWS_DEFAULT,
    ring_capacity: int = RING_CAPACITY_DEFAULT,
    counters: tuple[str, ...] = (),
    histograms: tuple[str, ...] = (),
    **access: Any,
) -> SegmentLayout:
    """Return the layout of a feed's segment; ring_capacity is a power of two of 64-byte slots.

    spare_rows: how many instruments may be added while readers read. `access` are SegmentLayout's
    group and mode.
    """
    rows = min(len(instruments) + spare_rows, INSTRUMENTS_MAX)
    return SegmentLayout(
        schema=SCHEMA,
        ring_capacity=ring_capacity,
        snapshot_slots=rows,
        snapshot_words=BOOK_WORDS,
        table_rows=rows,
        table_row_size=ROW_SIZE,
        counters=counters,
        histograms=histograms,
        **access,
    )


def write_instrument(segment: SegmentWriter, instrument: Instrument) -> int:
    """Add or change a row, also while readers read; return its generation, from 1.

    The one thread that writes rows. Publish its INSTRUMENT event after it. Raises ValueError where
    something does not fit its field, IndexError beyond the table.
    """
    return segment.write_row(instrument.index, pack_row(instrument))


def write_instruments(segment: SegmentWriter, instruments: Sequence[Instrument]) -> None:
    """Fill the table, before `ready`; raises ValueError where something does not fit its field."""
    for row, instrument in enumerate(instruments):
        if instrument.index != row:
            raise ValueError(f"instrument {instrument}: expected index {row}")
        write_instrument(segment, instrument)


def read_instruments(segment: Segment) -> tuple[Instrument, ...]:
    """Read the table as it is now; a bad row is as `Rows` makes it."""
    rows = Rows()
    rows.read(segment)
    return rows.instruments


class Rows:
    """The instruments of a segment as they were read last; rows may be added and changed.

    A row that cannot be (a broken writer, or one that was killed while it wrote) is taken out
    alone: in its place stands an instrument without a venue, HALTED, or the one that stood there
    before; `troubles` says why. All others are as they are.
    """

    def __init__(self) -> None:
        """Know nothing yet."""
        self.instruments: tuple[Instrument, ...] = ()
        self.generations: tuple[int, ...] = ()
        """How often each row was written, as struct tp_book_record names it."""
        self.troubles: dict[int, str] = {}
        """Why rows could not be read, by index."""

    def read(self, segment: Segment) -> None:
        """Read all rows anew."""
        self.take(segment.rows())

    def take(self, rows: Sequence[tuple[int, bytes]]) -> None:
        """Take rows as `Segment.rows` gives them; those of a known generation are kept."""
        instruments, generations = list(self.instruments), list(self.generations)
        for index, (generation, data) in enumerate(rows):
            is_known = index < len(instruments)
            if is_known and generation == generations[index]:
                continue
            instrument = self._checked(index, generation, data)
            if not is_known:
                instruments.append(instrument or unreadable(index))
                generations.append(generation)
            elif instrument is not None:
                instruments[index], generations[index] = instrument, generation
        self.instruments, self.generations = tuple(instruments), tuple(generations)

    def _checked(self, index: int, generation: int, data: bytes) -> Instrument | None:
        try:
            if generation == 0:
                raise ValueError(f"row {index}: its writer did not finish it")
            instrument = unpack_row(index, data)
        except ValueError as error:
            self.troubles[index] = f"{error}: restart its writer"
            return None
        self.troubles.pop(index, None)
        return instrument


def unreadable(index: int) -> Instrument:
    """Return what stands in the place of a row that cannot be read."""
    return Instrument(index, "", f"?{index}", 0, 0, status=Status.HALTED)
