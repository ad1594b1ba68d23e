"""How long from a message to a book whose checksum holds?

Ours: through the feed, decoded, judged, applied, cut to its depth, checked and published to shared
memory, timed in C. The contender decodes, applies, cuts and checks, and publishes nothing, timed
in Python, which is where its user is. The same messages, a batch a sample. Called by: decode.py.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from tickpath._bench import ffi, lib
from tickpath.engine.bench.measure import OURS, Report, at_least, progress, row
from tickpath.engine.bench.venues import checked_venues
from tickpath.engine.client.feed_segment import make_layout, write_instruments
from tickpath.proto.venues import resolve_symbol
from tickpath.shm.errors import SystemSetupError
from tickpath.shm.segment import SegmentWriter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tickpath.engine.bench.venues import CheckedVenue, GapVenue
    from tickpath.proto.instrument import Instrument

NAMES = ("BTC/USDT", "ETH/USDT", "SOL/USDT", "XRP/USDT", "DOGE/USDT")
MESSAGES = 52  # of each instrument in a batch, the first one a base
TEXT = 1  # RFC 6455 section 5.2
NEVER_NS = 1 << 60


class Feed:
    """A feed of one venue over a segment of its own."""

    def __init__(self, own: CheckedVenue | GapVenue, rows: Sequence[Instrument]) -> None:
        """Raises SystemSetupError where the feed refuses an instrument."""
        self.segment = SegmentWriter(f"bench-checked-{os.getpid()}", make_layout(rows))
        try:
            self._open(own, rows)
        except BaseException:
            self.segment.close()
            raise

    def _open(self, own: CheckedVenue | GapVenue, rows: Sequence[Instrument]) -> None:
        write_instruments(self.segment, rows)
        pointer = self.segment.pointer
        config = ffi.new("struct tp_feed_config *")
        config.venues[0].venue = lib.tp_venue_find(own.venue.name.encode())
        config.instrument_count, config.connection_count = len(rows), 1
        config.silent_after_ns = NEVER_NS
        config.ring = lib.tp_segment_ring_writer(pointer)
        config.snapshots = lib.tp_segment_snapshot_writer(pointer)
        config.clock = ffi.addressof(pointer.header, "clock")
        self._memory = np.zeros(lib.tp_feed_memory_size(config) + 64, dtype=np.uint8)
        self.feed = lib.tp_feed_init(ffi.cast("void *", self._memory.ctypes.data), config)
        self._config = config
        record = ffi.new("struct tp_instrument_record *", {"tick_size": 1})
        for index, one in enumerate(rows):
            record.price_exponent, record.quantity_exponent = (
                one.price_exponent,
                one.quantity_exponent,
            )
            channel = own.venue.channels(one.symbol, own.settings)[0].encode()
            if not lib.tp_feed_instrument_add(self.feed, index, record, channel, 0):
                raise SystemSetupError(f"the feed refused {one.symbol}")
        lib.tp_feed_connection_up(self.feed, 0, 1)

    def top(self, instrument: int, side: int, count: int) -> list[int]:
        """Return the best prices of a side."""
        levels = ffi.new("struct tp_level[]", count)
        book = lib.tp_feed_book(self.feed, instrument)
        return [levels[i].price for i in range(lib.tp_book_top(book, side, levels, count))]


class _Ours:
    def __init__(self, feed: Feed, batch: list[bytes]) -> None:
        self._feed = feed
        self._data = ffi.from_buffer("uint8_t[]", b"".join(batch) + bytes(64))
        offsets = np.cumsum([0, *map(len, batch)], dtype=np.uint64)
        self._offset = ffi.from_buffer("uint64_t[]", offsets)
        fields = {"data": self._data, "offset": self._offset, "count": len(batch), "opcode": TEXT}
        self._messages = ffi.new("struct tp_bench_messages *", fields)

    def __call__(self) -> int:
        took = lib.tp_bench_feed(self._feed.feed, self._messages)
        if took == 0:
            raise SystemSetupError("our feed refused a message of the benchmark")
        return int(took)


class _Theirs:
    def __init__(self, own: CheckedVenue, rows: Sequence[Instrument], batch: list[bytes]) -> None:
        self._read, self._batch = own.contender(rows), batch
        self.last: Any = None

    def __call__(self) -> int:
        read = self._read
        start = time.perf_counter_ns()
        for data in self._batch:
            self.last = read(data)
        return time.perf_counter_ns() - start


def measure_checked(report: Report, per_round: int, rounds: int) -> None:
    """Add a row a contender and a ratio for each venue whose messages have checksums."""
    for own in checked_venues():
        symbols = [resolve_symbol(own.venue, name) for name in NAMES]
        rows, batch = own.messages(symbols, MESSAGES)
        feed = Feed(own, rows)
        try:
            _measure(report, own, (feed, rows, batch), per_round, rounds)
        finally:
            feed.segment.close()


def _measure(
    report: Report,
    own: CheckedVenue,
    what: tuple[Feed, list[Instrument], list[bytes]],
    per_round: int,
    rounds: int,
) -> None:
    feed, rows, batch = what
    theirs = _Theirs(own, rows, batch)
    contenders: tuple[tuple[str, Any], ...] = (
        (OURS, _Ours(feed, batch)),
        (own.implementation, theirs),
    )
    report.notes.append(
        f"{own.case}: {sum(map(len, batch)) / len(batch):.0f} bytes a message, one in {MESSAGES} a "
        "base; to a book whose checksum holds, ours published too"
    )
    took: dict[str, list[float]] = {name: [] for name, _ in contenders}
    for turn in range(rounds):
        for name, take in contenders:
            progress(f"decode {own.case}: round {turn + 1} of {rounds}: {name}")
            take()  # warm-up, left out
            took[name] += [take() / len(batch) for _ in range(per_round)]
    bids, asks = theirs.last
    scale = 10.0 ** rows[-1].price_exponent
    for side, prices in enumerate((bids, asks)):
        mine = [price * scale for price in feed.top(len(rows) - 1, side, len(prices))]
        if not np.allclose(mine, prices, rtol=1e-12):
            raise SystemSetupError(f"the books differ: ours {mine}, theirs {prices}")
    report.rows += [row("decode", name, own.case, np.array(took[name])) for name, _ in contenders]
    ratio = report.find(own.implementation, own.case).p50 / report.find(OURS, own.case).p50
    name = f"p50 {own.implementation} / ours"
    report.ratios.append(at_least("decode", own.case, name, ratio, own.goal))
