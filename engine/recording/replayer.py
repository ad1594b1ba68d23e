"""A feed in virtual time: records in, events and changed books out, through the live feed's C code.

`Replayer` builds the feed of one recording; `play` takes a block of records, as fast as it can or
up to a stamp. Called by: replay.py, export.py, engine/bench/replay.py. Calls: replayer.h.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
from tickpath._core import ffi, lib
from tickpath.engine.client.feed_segment import (
    INSTRUMENTS_MAX,
    REPLAY_COUNTERS,
    make_layout,
    write_instrument,
    write_instruments,
)
from tickpath.engine.feed_handler.consumers import Consumers
from tickpath.engine.recording.format import RECORD, pack_record
from tickpath.engine.recording.tap import fill_record
from tickpath.engine.strategy.compiled import INTENTS_MAX
from tickpath.proto.instrument import Instrument, Status
from tickpath.proto.records import event_dtype, layout_of
from tickpath.proto.venues import load_venue, venue_names
from tickpath.proto.venues.decoder import find_decoder
from tickpath.shm.errors import LocalError
from tickpath.shm.segment import SegmentWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from tickpath.engine.recording.format import Meta
    from tickpath.engine.recording.tap import Subscription
    from tickpath.engine.strategy.native import NativeSet

END_OF_TIME: Final = (1 << 64) - 1
ALIGNMENT: Final = 4096
CONNECTIONS_MAX: Final = 1 << 10  # engine/feed: TP_FEED_CONNECTION_COUNT_MAX
VENUES_MAX: Final = int(lib.TP_FEED_VENUE_COUNT_MAX)
LOSSLESS_DEADLINE_NS: Final = 50_000_000  # the most that a gate may have; pacing never needs it
_WAIT_FOR_ROOM: Final = (lib.TP_REPLAY_FULL, lib.TP_REPLAY_BASE_TEXT, lib.TP_REPLAY_SCALED)
ROOMS: Final = 4  # results are handed on after so many of the largest records

TOP_DTYPE: Final = np.dtype(
    {
        "names": [
            *("t_ns", "instrument", "state", "price_exponent", "quantity_exponent"),
            *("bid", "bid_quantity", "ask", "ask_quantity"),
        ],
        "formats": ["u8", "u4", "u1", "i1", "i1", "i8", "i8", "i8", "i8"],
        "offsets": [0, 8, 12, 14, 15, 16, 24, 32, 40],
        "itemsize": 48,
    }
)


def replay_event_dtype() -> np.dtype[Any]:
    """Return the layout of one published event: its ring index, then struct tp_event."""
    inner = event_dtype()
    fields: Any = {"index": ("u8", 0)}
    for name, (kind, offset, *_) in (inner.fields or {}).items():
        fields[name] = (kind, 8 + offset)
    layout: np.dtype[Any] = np.dtype(fields)
    return layout


class BrokenRecordError(LocalError):
    """Say that a record within a sound block cannot be: its writer made it so."""


def _zeroed(size: int) -> tuple[Any, Any]:
    """Return zeroed memory and an aligned pointer into it."""
    memory = np.zeros(size + ALIGNMENT, dtype=np.uint8)
    return memory, ffi.cast("void *", memory.ctypes.data + ALIGNMENT - 1 & -ALIGNMENT)


def _instruments(meta: Meta) -> list[Instrument]:
    return [
        Instrument(
            index,
            row.venue,
            row.symbol,
            row.price_exponent,
            row.quantity_exponent,
            row.tick_size,
            status=Status.REMOVED if row.is_removed else Status.TRADING,
        )
        for index, row in enumerate(meta.instruments)
    ]


def _venues(rows: Sequence[Subscription], connections: Sequence[str]) -> dict[int, str]:
    """Return the venue of each connection; raises LocalError where there is none, or two."""
    if len(connections) > CONNECTIONS_MAX or not set(connections) <= set(venue_names()):
        raise LocalError(
            f"recording of {len(connections)} connections, of {', '.join(sorted(set(connections)))}"
            f": expected at most {CONNECTIONS_MAX}, of {', '.join(venue_names())}"
        )
    goes_to: dict[int, str] = dict(enumerate(connections))
    for row in rows:
        try:
            load_venue(row.venue)
        except ValueError as error:
            raise LocalError(f"recording: {row.symbol!r}: {error}") from error
        for number in range(row.connection, row.connection + row.race):
            if goes_to.setdefault(number, row.venue) != row.venue:
                raise LocalError(
                    f"venue {row.venue!r} of {row.symbol!r}: expected {goes_to[number]!r}, as "
                    f"other instruments of its connection {number}"
                )
            if not 0 <= number < CONNECTIONS_MAX:
                raise LocalError(
                    f"connection {number} of {row.symbol!r}: expected 0 to {CONNECTIONS_MAX - 1}"
                )
    return goes_to


class Replayer:
    """One recording's feed. `on_tops` and `on_events` get views that die when they return."""

    def __init__(
        self,
        meta: Meta,
        *,
        instance: str | None = None,
        ring_capacity_min: int = 0,
        on_tops: Callable[[NDArray[Any]], None] | None = None,
        on_events: Callable[[NDArray[Any]], None] | None = None,
    ) -> None:
        """Build the feed; `instance` names a segment that it publishes into.

        Raises LocalError where the header's instruments cannot be, SegmentError for the segment.
        """
        self.meta, self.on_tops, self.on_events = meta, on_tops, on_events
        self.on_meta: list[Callable[[Meta], None]] = []
        """Called with the header of a file that goes on, before its records: rows may have come."""
        self.on_intents: Callable[[NDArray[Any]], None] | None = None
        self.await_room: Callable[[], bool] = lambda: True
        """Called where the ring's limit is reached; raises the limit, or returns False to stop."""
        self.segment: SegmentWriter | None = None
        self.consumers: Consumers | None = None
        self.left_out: list[tuple[str, str]] = []
        """What was left out, besides what is counted: kind and example."""
        self._kept: list[Any] = []
        self._is_closed = False
        self._check()
        self._instruments = _instruments(meta)
        self._count = count = max(len(meta.instruments), meta.instruments_max)
        self.room = room = int(lib.tp_replayer_room(count))
        """How many events one record can publish at most."""
        try:
            capacity = 1 << (max(room, ring_capacity_min) - 1).bit_length()
            self.ring_capacity = capacity
            self._open_publisher(instance, capacity)
            self._open_feed()
            self._open_replayer(room)
        except BaseException:
            self.close()
            raise
        self._offset = ffi.new("size_t *")
        self._span = ffi.new("struct tp_span *")
        self._event_dtype = replay_event_dtype()

    def go_on_with(self, meta: Meta) -> None:
        """Take the header of a file that continues: its ROW records may bring instruments."""
        if meta.instruments != self.meta.instruments:
            self._instruments = _instruments(meta)
            self._assign(_venues(meta.instruments, meta.connections) | self._goes_to)
            for call in self.on_meta:
                call(meta)
        self.meta = meta

    def _check(self) -> None:
        rows = self.meta.instruments
        maxima = self.meta.instruments_max, self.meta.connections_max
        if not (0 <= maxima[0] <= INSTRUMENTS_MAX and 0 <= maxima[1] <= CONNECTIONS_MAX):
            raise LocalError(
                f"recording of up to {maxima[0]} instruments and {maxima[1]} connections: expected "
                f"at most {INSTRUMENTS_MAX} and {CONNECTIONS_MAX}"
            )
        if not rows:
            raise LocalError("recording without instruments: nothing to replay")
        self._goes_to = _venues(rows, self.meta.connections)
        self._venues = list(dict.fromkeys(self._goes_to.values()))
        if len(self._venues) > VENUES_MAX:
            raise LocalError(f"{len(self._venues)} venues: expected at most {VENUES_MAX}")
        if maxima[1] > len(self._goes_to):  # connections may come, of any venue
            built = (name for name in venue_names() if lib.tp_venue_find(name.encode()) != ffi.NULL)
            others = [name for name in built if name not in self._venues]
            self._venues += others[: VENUES_MAX - len(self._venues)]

    def _open_publisher(self, instance: str | None, capacity: int) -> None:
        if instance is None:
            memory, start = _zeroed(lib.tp_replay_store_size(capacity, self._count))
            store = lib.tp_replay_store_init(start, capacity, self._count)
            self._ring = ffi.addressof(store, "ring")
            self._snapshots = ffi.addressof(store, "snapshots")
            self._kept.append(memory)
            return
        table = self._instruments
        layout = make_layout(
            table,
            spare_rows=self._count - len(table),
            ring_capacity=capacity,
            counters=REPLAY_COUNTERS,
        )
        self.segment = SegmentWriter(instance, layout)
        write_instruments(self.segment, table)
        self._ring, self._snapshots = self.segment.ring, self.segment.snapshots
        self.consumers = Consumers(self.segment, lossless_deadline_ns=LOSSLESS_DEADLINE_NS)
        self.segment.ready()
        self.consumers.start()

    def _open_feed(self) -> None:
        rows = self.meta.instruments
        self._clock = ffi.new("struct tp_clock *")
        self._clock.tsc_base = lib.TP_CLOCK_VIRTUAL
        self._connections = max(self.meta.connections_max, 1 + max(self._goes_to))
        config = ffi.new("struct tp_feed_config *")
        for place, name in enumerate(self._venues):
            config.venues[place].venue = find_decoder(name)
        config.instrument_count, config.connection_count = self._count, self._connections
        config.silent_after_ns = self.meta.silent_after_ns
        config.moves_scale, config.races = self.meta.scales, True  # rows in a race may come
        config.keep_ns, config.buffer_pool_bytes = self.meta.keep_ns, self.meta.keep_bytes
        config.ring, config.snapshots, config.clock = self._ring, self._snapshots, self._clock
        if self.consumers is not None:
            config.gate = self.consumers.gate
            self._kept.append(self.consumers.gate)
        size = lib.tp_feed_memory_size(config)
        if size == 0:
            raise LocalError(f"{self._count} instruments: more than one feed can hold")
        memory, start = _zeroed(size)
        self.feed = lib.tp_feed_init(start, config)
        self._kept += [memory, config]
        self._assign(self._goes_to)
        self._rows = ffi.new("struct tp_feed_row[]", self._count)
        for index, row in enumerate(rows):
            self._add_row(index, row)

    def _assign(self, goes_to: dict[int, str]) -> None:
        """Let connections be their venues'; one that is known keeps its own."""
        for number, name in goes_to.items():
            if name not in self._venues or number >= self._connections:
                raise LocalError(
                    f"connection {number} of venue {name!r}, which came later: expected a number "
                    f"below {self._connections}, and one of {', '.join(self._venues)}"
                )
            lib.tp_feed_connection_assign(self.feed, number, self._venues.index(name))
        self._goes_to = goes_to

    def _add_row(self, index: int, row: Subscription) -> None:
        """Add an instrument of the header, unless its ROW record does."""
        target = self._rows[index]
        try:
            fill_record(target.record, row)
            target.channel = row.channel.encode()
        except (IndexError, OverflowError, UnicodeError) as error:
            raise LocalError(f"instrument {row.venue}:{row.symbol}: {error}") from error
        target.generation, target.instrument = 1, index
        target.connection, target.race = row.connection, row.race
        if row.is_awaited:
            return
        if row.race > 1 and not lib.tp_feed_race(self.feed, row.connection, row.race):
            raise LocalError(
                f"race of {row.race} connections of {row.symbol!r}: expected 1 to "
                f"{lib.TP_RACE_COUNT_MAX}"
            )
        record, channel = ffi.addressof(target, "record"), row.channel.encode()
        if not lib.tp_feed_instrument_add(self.feed, index, record, channel, row.connection):
            raise LocalError(
                f"instrument {row.venue}:{row.symbol}, channel {row.channel!r}, exponents "
                f"{row.price_exponent} and {row.quantity_exponent}, tick size {row.tick_size}: "
                "expected a depth channel of its own, exponents from -18 to 0 and a tick size of 1 "
                "or more"
            )
        if row.is_removed:
            lib.tp_feed_row_take(self.feed, ffi.addressof(target), 0)

    def _open_replayer(self, room: int) -> None:
        rows = self.meta.instruments
        more = self._count - len(rows)
        count, capacity = self._count, ROOMS * room
        self._arrays = {
            "owner": ffi.new("uint32_t[]", [one.connection for one in self._rows]),
            "is_awaited": ffi.new("bool[]", [row.is_awaited for row in rows] + [False] * more),
            "rows": self._rows,
            "is_up": ffi.new("bool[]", self._connections),
            "marked": ffi.new("uint8_t[]", count),
            "was_live": ffi.new("uint8_t[]", count),
            "last": ffi.new("struct tp_replay_top[]", count),
        }
        self.c = ffi.new("struct tp_replayer *")
        for name, array in self._arrays.items():
            setattr(self.c, name, array)
        self.c.feed, self.c.clock, self.c.ring = self.feed, self._clock, self._ring
        self.c.instrument_count, self.c.connection_count = count, self._connections
        self.c.has_ticks = self.meta.ticks
        if self.segment is not None:
            self.c.segment = self.segment.pointer
        if self.on_tops is not None:
            self._tops = np.zeros(capacity, dtype=TOP_DTYPE)
            self.c.tops = ffi.cast("struct tp_replay_top *", self._tops.ctypes.data)
            self.c.top_capacity = capacity
        if self.on_events is not None:
            self._events = np.zeros(capacity, dtype=replay_event_dtype())
            self.c.events = ffi.cast("struct tp_replay_event *", self._events.ctypes.data)
            self.c.event_capacity = capacity
        lib.tp_replayer_init(self.c)

    def run_inline(self, called: NativeSet, on_intents: Callable[[NDArray[Any]], None]) -> None:
        """Call native strategies with all that is published from now on.

        on_intents gets rows of `struct tp_native_intent`, a view that dies when it returns.
        """
        capacity = ROOMS * self.room * INTENTS_MAX * max(called.count, 1)
        self._intents = np.zeros(capacity, dtype=layout_of("tp_native_intent"))
        rows = ffi.cast("struct tp_native_intent *", self._intents.ctypes.data)
        called.inline(self._ring, self._snapshots, self._clock)
        self._log = called.keep_intents(rows, capacity)
        called.begin()
        self.on_intents, self.c.strategies = on_intents, called.handle
        self._kept.append(called)

    @property
    def instrument_count(self) -> int:
        """Return how many instruments there can be."""
        return self._count

    # ---- playing ---------------------------------------------------------------------------------

    def play(self, records: bytes, *, start: int = 0, until_ns: int = END_OF_TIME) -> int:
        """Take the records from `start` up to a stamp; return where the next one stands.

        `next_ns` is its stamp. Also returns where `await_room` says so. Raises BrokenRecordError
        for a record that cannot be, after all before it, ValueError after `close`.
        """
        self._refuse_if_closed()
        self._offset[0] = start
        self._span.data, self._span.size = ffi.from_buffer("uint8_t[]", records), len(records)
        span, run = self._span[0], lib.tp_replayer_run
        while True:
            status = run(self.c, span, self._offset, until_ns)
            self._refuse_if_closed()
            self.hand_on()
            may_go_on = status not in _WAIT_FOR_ROOM
            if not may_go_on and self._is_at_limit and not self.await_room():
                return int(self._offset[0])
            if status == lib.TP_REPLAY_BASE_TEXT:
                self._offset[0] += self._base(records, int(self._offset[0]))
            elif status == lib.TP_REPLAY_SCALED:
                self._rescale()
            elif status == lib.TP_REPLAY_BROKEN:
                raise BrokenRecordError(
                    f"record at byte {self._offset[0]} of its block: kind, connection or size "
                    "cannot be: it was written by another version or by mistake"
                )
            elif status != lib.TP_REPLAY_FULL:
                return int(self._offset[0])

    @property
    def _is_at_limit(self) -> bool:
        limit = int(self.c.ring_limit)
        return limit != 0 and self.event_count + self.room > limit

    @property
    def next_ns(self) -> int:
        """Return the stamp of the record that was too late."""
        return int(self.c.next_ns)

    def hand_on(self) -> None:
        """Give what was published to the callbacks."""
        if self.on_events is not None and self.c.event_count:
            self.on_events(self._events[: self.c.event_count])
            self.c.event_count = 0
        if self.on_intents is not None and self._log.count:
            self.on_intents(self._intents[: self._log.count])
            self._log.count = 0
        if self.on_tops is not None and self.c.top_count:
            self.on_tops(self._tops[: self.c.top_count])
            self.c.top_count = 0

    def _base(self, records: bytes, offset: int) -> int:
        """Take the REST body of a record; return the record's size."""
        header = ffi.from_buffer("struct tp_message_header *", records[offset : offset + 16])
        payload = records[offset + 16 : offset + 16 + header.size]
        symbol, _, body = payload.partition(b"\n")
        name = symbol.decode("utf-8", "replace")
        index = self._index_of(name, int(RECORD.unpack_from(records, offset)[3]))
        if index is None:
            known = ", ".join(row.symbol for row in self.meta.instruments[:8])
            self.left_out.append(("base of another book", f"{name!r}: expected one of {known}"))
        else:
            try:
                self.take_base(index, body, int(header.time_ns))
            except BrokenRecordError as error:  # this book's alone
                self.left_out.append(("base that cannot be read", str(error)))
        return 16 + len(payload) + -len(payload) % 8

    def _index_of(self, name: str, connection: int) -> int | None:
        """Find a base's instrument: of the connection's venue, or the only one of the name."""
        rows = self.meta.instruments
        named = [index for index, row in enumerate(rows) if row.symbol == name]
        venue = self._goes_to.get(connection)
        own = [index for index in named if rows[index].venue == venue]
        return (own or named)[0] if len(own or named) == 1 else None

    def _rescale(self) -> None:
        """Move the scale that a record names: the row first, then all that depends on it."""
        to = self.c.scale
        row = self._instruments[to.instrument].in_scale(to.price_exponent, to.quantity_exponent)
        if to.tick_size:
            row = msgspec.structs.replace(row, tick_size=int(to.tick_size))
        self._instruments[to.instrument] = row
        generation = int(to.generation)
        if self.segment is not None:
            generation = write_instrument(self.segment, row)
        lib.tp_replayer_rescale(self.c, row.tick_size, generation)
        self.hand_on()

    def take_base(self, index: int, body: bytes, t_ns: int) -> None:
        """Give the feed a REST body. Raises BrokenRecordError where it is none."""
        row = self.meta.instruments[index]
        try:
            base = load_venue(row.venue).parse_base(body, self._instruments[index])
        except ValueError as error:
            raise BrokenRecordError(f"base of {row.symbol}: {error}") from error
        given = ffi.new("struct tp_feed_base *")
        given.instrument, given.version = index, base.version
        given.bids, given.bid_count = base.bids, len(base.bids)
        given.asks, given.ask_count = base.asks, len(base.asks)
        lib.tp_replayer_base(self.c, given, t_ns)
        self.hand_on()

    def was_live(self, instrument: int) -> bool:
        """Say whether a book was LIVE at any time."""
        return bool(self._arrays["was_live"][instrument])

    @property
    def counters(self) -> Any:
        """Borrow the feed's own counters."""
        return lib.tp_feed_counters(self.feed)

    @property
    def event_count(self) -> int:
        """Return how many events were published so far."""
        return int(self._ring.next)

    def heartbeat(self) -> None:
        """Say to readers of the segment that this lives."""
        segment, consumers = self.segment, self.consumers  # another thread may close
        if segment is not None and consumers is not None:
            segment.heartbeat()
            lib.tp_ring_gate_tick(consumers.gate, segment.now_ns())
            for place, value in enumerate((self.c.records, self.c.messages, self.c.gaps)):
                segment.store_counter(place, int(value))

    def end_run(self) -> None:
        """Turn every book STALE, at the last record's time: what comes next is of another run.

        Raises nothing; the callbacks get what changed.
        """
        now_ns, are_up = int(self.c.now_ns), self._arrays["is_up"]
        downs = [
            pack_record(lib.TP_RECORD_DOWN, 0, number, now_ns, b"")
            for number in range(self._connections)
            if are_up[number]
        ]
        self.play(b"".join(downs))
        self.c.records -= len(downs)  # nobody recorded them

    def _refuse_if_closed(self) -> None:
        if self._is_closed:
            raise ValueError("replayer is closed: make a new one")

    def close(self) -> None:
        """Remove the segment. From any thread: who plays gets ValueError."""
        self._is_closed = True
        if self.consumers is not None:
            self.consumers.close()
            self.consumers = None
        if self.segment is not None:
            self.segment.close()
            self.segment = None
