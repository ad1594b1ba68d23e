"""The segment that a follower fills: the same layout, order and states as a feed handler's own.

Snapshot first, whose ring index already counts the events that follow; then STATE if the book
stops being LIVE, CLEAR where it was replaced, the events, STATE if it becomes LIVE; a TOP ends what
has no events of its own (engine/feed/publish.h). Called by: follower. Calls: shm/segment.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from tickpath._core import ffi, lib
from tickpath.engine.client.feed_segment import (
    RING_CAPACITY_DEFAULT,
    make_layout,
    write_instruments,
)
from tickpath.engine.feed_handler.consumers import Consumers
from tickpath.proto.records import (
    BIDS_WORD,
    BOOK_HEAD_STRUCT,
    BOOK_WORDS,
    EVENT_STRUCT,
    BookState,
    EventType,
    SyncReason,
)
from tickpath.shm.segment import SegmentWriter, kept_by

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tickpath.proto.instrument import Instrument

COUNTERS = (
    "relay.books",
    "relay.events",
    "relay.gaps",  # entries before which events are missing
    "relay.refused",  # entries, wake-ups or records that were not what they must be
    "relay.strangers",  # entries of another life of the relay
    "relay.silences",
    "relay.reconnects",
)
HOPS = ("sent_to_published", "received_to_published")

Told = tuple[int, int]
"""A book's state and reason."""


class LocalSegment:
    """Write one feed's segment from checked entries; one thread."""

    def __init__(
        self,
        instance: str,
        instruments: Sequence[Instrument],
        ring_capacity: int = RING_CAPACITY_DEFAULT,
    ) -> None:
        """Build it and put it in place; every book is STALE until its first entry.

        Raises SegmentLockedError where another writer has the name, SegmentError otherwise.
        """
        self.instruments = tuple(instruments)
        layout = make_layout(
            instruments,
            spare_rows=0,  # other instruments are another epoch
            ring_capacity=ring_capacity,
            counters=COUNTERS,
            histograms=HOPS,
        )
        self._writer = SegmentWriter(instance, layout)
        try:
            write_instruments(self._writer, instruments)
            self._ring, self._table = self._writer.ring, self._writer.snapshots
            self._record = ffi.new("uint64_t[]", BOOK_WORDS)
            self._event = ffi.new("uint64_t[7]")
            self._put = ffi.new("struct tp_relay_publication *")
            self._made = self._describe()
            # What readers were told last of each book.
            self._told: list[Told] = [(int(BookState.SYNCING), int(SyncReason.STARTING))] * len(
                instruments
            )
            self.counters = dict.fromkeys(COUNTERS, 0)
            self._consumers = Consumers(self._writer)
            try:
                self._writer.ready()
            except BaseException:
                self._consumers.close()
                raise
            self._consumers.start()
        except BaseException:
            self._writer.close()
            raise

    @property
    def instance(self) -> str:
        """Return the segment's name."""
        return self._writer.instance

    def _describe(self) -> Any:
        """Return the C struct tp_relay_segment of this one."""
        pointer = self._writer.pointer
        ages = [lib.tp_segment_histogram(pointer, place) for place in range(len(HOPS))]
        made = ffi.new(
            "struct tp_relay_segment *",
            {
                "ring": self._ring,
                "snapshots": self._table,
                "clock": ffi.addressof(pointer.header, "clock"),
                "realtime_offset_ns": time.time_ns() - self._writer.now_ns(),
                "sent_to_published": ages[0],
                "received_to_published": ages[1],
            },
        )
        return kept_by(made, pointer)

    def put(
        self,
        entry: Any,
        *,
        is_gap: bool = False,
        override: Told | None = None,
        with_events: bool = True,
    ) -> None:
        """Publish a checked struct tp_relay_entry under its own state or a worse one."""
        instrument, put = entry.head.instrument, self._put
        put.state, put.reason = override or (entry.record.state, entry.record.reason)
        put.told_state, put.told_reason = self._told[instrument]
        put.is_gap, put.with_events = is_gap, with_events
        lib.tp_relay_entry_publish(self._made, entry, put)
        self._told[instrument] = put.told_state, put.told_reason
        self.counters["relay.books"] += 1
        self.counters["relay.events"] += entry.event_count * with_events

    def tell_state(self, instrument: int, state: BookState, reason: SyncReason) -> None:
        """Publish a book that never came: its state, and no levels."""
        if self._told[instrument] == (state, reason):
            return
        self._told[instrument] = int(state), int(reason)
        now, record, event = self._writer.now_ns(), self._record, self._event
        scale = self.instruments[instrument]
        exponents = scale.price_exponent, scale.quantity_exponent
        head = (0, 0, 0, 0, 0, now, 0, 0, instrument, 0, state, reason, 0, 0, *exponents, 0, 1)
        ffi.buffer(record)[: BOOK_HEAD_STRUCT.size] = BOOK_HEAD_STRUCT.pack(*head)
        lib.tp_snapshot_publish(self._table, instrument, self._ring.next + 1, record, BIDS_WORD)
        ffi.buffer(event)[:] = EVENT_STRUCT.pack(
            instrument, EventType.STATE, 0, *exponents, 0, now, now, state, reason, 0, 0
        )
        lib.tp_ring_publish(self._ring, event)

    def told(self, instrument: int) -> Told:
        """Return which state and reason readers were told last of a book."""
        return self._told[instrument]

    def beat(self) -> None:
        """Say that the writer runs, and what it counted."""
        self._made.realtime_offset_ns = time.time_ns() - self._writer.now_ns()
        self._writer.heartbeat()
        for place, name in enumerate(COUNTERS):
            self._writer.store_counter(place, self.counters[name])

    def close(self) -> None:
        """End the segment: readers are told."""
        self._consumers.close()
        self._writer.close()
