"""A feed of made-up books, to rehearse a strategy or a reader without an exchange.

It writes a segment as engine/feed does: of each change first the book, then the events. Called by:
tests, and strategy authors in theirs.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from tickpath._core import ffi, lib
from tickpath.engine.client.feed_segment import (
    RING_CAPACITY_DEFAULT,
    make_layout,
    write_instrument,
    write_instruments,
)
from tickpath.engine.feed_handler.consumers import Consumers
from tickpath.proto.records import (
    BOOK_DEPTH_MAX,
    BOOK_HEAD_STRUCT,
    BOOK_WORDS,
    EVENT_STRUCT,
    BookState,
    EventType,
    RowChange,
    SyncReason,
)
from tickpath.shm.segment import DIRECTORY, SegmentWriter

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

    from tickpath.proto.instrument import Instrument

_SIDE_SIZE = BOOK_DEPTH_MAX * 16


class RehearsalFeed:
    """Own a segment and publish what a test or a rehearsal makes up."""

    def __init__(
        self,
        instance: str,
        instruments: Sequence[Instrument],
        *,
        directory: Path = DIRECTORY,
        ring_capacity: int = RING_CAPACITY_DEFAULT,
        lossless_deadline_ns: int = 0,
    ) -> None:
        """Create the segment, ready, and its waker; raises SegmentError as SegmentWriter does."""
        layout = make_layout(instruments, ring_capacity=ring_capacity)
        self.segment = SegmentWriter(instance, layout, directory=directory)
        try:
            write_instruments(self.segment, instruments)
            self.consumers = Consumers(self.segment, lossless_deadline_ns=lossless_deadline_ns)
            self.segment.ready()
        except BaseException:
            self.segment.close()
            raise
        self.scales = [(one.price_exponent, one.quantity_exponent) for one in instruments]
        self.generations = [1] * len(instruments)
        self.consumers.start()
        self.ring, self.snapshots = self.segment.ring, self.segment.snapshots
        self._event = ffi.new("uint64_t[7]")
        self._record = ffi.new("uint64_t[]", BOOK_WORDS)

    def publish_event(
        self,
        kind: int,
        value: tuple[int, ...],
        instrument: int = 0,
        flags: int = 0,
        age_ns: int = 500,
    ) -> int:
        """Publish one event, received `age_ns` ago; return its ring index.

        Waits for lossless consumers as a feed does.
        """
        lib.tp_ring_gate_pass(self.consumers.gate, 1)
        now = self.segment.now_ns()
        scale = self.scales[instrument]
        head = instrument, kind, flags, *scale, 0, now - age_ns, now
        ffi.buffer(self._event)[:] = EVENT_STRUCT.pack(*head, *value)
        return int(lib.tp_ring_publish(self.ring, self._event))

    def publish_book(
        self,
        bids: Sequence[tuple[int, int]],
        asks: Sequence[tuple[int, int]],
        instrument: int = 0,
        *,
        events_to_come: int = 0,
    ) -> None:
        """Publish a LIVE book that already contains the next `events_to_come` events."""
        now = self.segment.now_ns()
        record = self._head(instrument, (BookState.LIVE, 0), (len(bids), len(asks)), now)
        for side in (bids, asks):
            words = [word for level in side for word in level]
            record += struct.pack(f"<{len(words)}q", *words).ljust(_SIDE_SIZE, b"\0")
        self._publish_record(instrument, record, events_to_come)

    def _head(
        self, instrument: int, state: tuple[int, int], counts: tuple[int, int], now: int
    ) -> bytes:
        stamps = 1, now - 500, now - 500, now - 100, now, now - 500, 0
        generation = self.generations[instrument]
        scale = self.scales[instrument]
        return BOOK_HEAD_STRUCT.pack(
            7, *stamps, instrument, 0, *state, *counts, *scale, 0, generation
        )

    def _publish_record(self, instrument: int, record: bytes, events_to_come: int) -> None:
        ffi.buffer(self._record)[:] = record.ljust(BOOK_WORDS * 8, b"\0")
        ring_index = self.ring.next + events_to_come
        lib.tp_snapshot_publish(self.snapshots, instrument, ring_index, self._record, BOOK_WORDS)

    def publish_top(self, bid: tuple[int, int], ask: tuple[int, int], instrument: int = 0) -> int:
        """Publish a LIVE book of one level a side, and its TOP event; return the event's index."""
        self.publish_book([bid], [ask], instrument, events_to_come=1)
        return self.publish_event(EventType.TOP, (*bid, *ask), instrument)

    def publish_state(self, state: BookState, reason: SyncReason, instrument: int = 0) -> int:
        """Publish an empty book in this state, and its STATE event; return the event's index."""
        now = self.segment.now_ns()
        record = self._head(instrument, (state, reason), (0, 0), now)
        self._publish_record(instrument, record, 1)
        return self.publish_event(EventType.STATE, (state, reason, 0, 0), instrument)

    def change_instrument(self, instrument: Instrument) -> int:
        """Add an instrument or change its row, and publish that; return the event's index.

        Where the scale moves, all that is published from here on is of the new one: the book, empty
        and SYNCING, comes before the event.
        """
        index = instrument.index
        scale = instrument.price_exponent, instrument.quantity_exponent
        change = RowChange.ADDED if index == len(self.scales) else RowChange.CHANGED
        generation = write_instrument(self.segment, instrument)
        if change == RowChange.ADDED:
            self.scales.append(scale)
            self.generations.append(generation)
        elif scale != self.scales[index]:
            change = RowChange.SCALED
        self.scales[index], self.generations[index] = scale, generation
        if change == RowChange.SCALED:
            now = self.segment.now_ns()
            reason = int(SyncReason.SCALE)
            record = self._head(index, (int(BookState.SYNCING), reason), (0, 0), now)
            self._publish_record(index, record, 2)
            told = self.publish_event(EventType.INSTRUMENT, (generation, change, 0, 0), index)
            self.publish_event(EventType.STATE, (BookState.SYNCING, reason, 0, 0), index)
            return told
        return self.publish_event(EventType.INSTRUMENT, (generation, change, 0, 0), index)

    def heartbeat(self) -> None:
        """Say that the writer runs, and see who registered; at least every 50 ms."""
        self.segment.heartbeat()
        lib.tp_ring_gate_tick(self.consumers.gate, self.segment.now_ns())

    def close(self) -> None:
        """End the segment as a writer does that stops in good order."""
        self.consumers.close()
        self.segment.close()

    def __enter__(self) -> RehearsalFeed:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
