"""A feed over a real segment, and the venue's truth: what the tests of this folder stand on.

A `Rig` is the feed; a `Venue` holds one book for every version and makes the messages between them,
its bytes written by hand from the wire format.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
from tickpath._core import ffi, lib
from tickpath.shm.reader import Reader, Result
from tickpath.shm.segment import SegmentLayout, SegmentWriter

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

SYNCING, LIVE, STALE, CROSSED = 0, 1, 2, 3
NONE, STARTING, GAP, DISCONNECTED, SILENT, CROSSED_REASON, REFUSED, BROKEN, OVERFLOW = range(9)
RESET, SHALLOW = 10, 11
LEVEL, TOP, STATE, CLEAR = 1, 2, 3, 4
BID, ASK = 0, 1
MS = 1_000_000
SECOND = 1000 * MS
SETTLE = 500 * MS
PRICE_EXPONENT, QUANTITY_EXPONENT = -2, -8
RECORD_WORDS = 94  # sizeof(struct tp_book_record) / 8
EVENT_LINE_WORDS = 8
VERIFY = ("verify_after_ns", "verify_limit_ns")  # of struct tp_feed_venue
WS_TEXT, WS_BINARY, WS_PONG = 1, 2, 10  # RFC 6455 5.2

Levels = dict[int, int]
Update = list[tuple[int, int, int]]  # side, price, quantity


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def decimal(mantissa: int, exponent: int) -> bytes:
    if mantissa == 0:
        return b"0.00000000"
    whole, part = divmod(mantissa, 10**-exponent)
    return f"{whole}.{part:0{-exponent}d}".encode()


def channel(instrument: int) -> bytes:
    return f"spot@public.aggre.depth.v3.api.pb@100ms@COIN{instrument}USDT".encode()


def depth_body(first: int, last: int, update: Update) -> bytes:
    def items(side: int, number: int) -> bytes:
        return b"".join(
            field(
                number,
                field(1, decimal(price, PRICE_EXPONENT))
                + field(2, decimal(quantity, QUANTITY_EXPONENT)),
            )
            for of, price, quantity in update
            if of == side
        )

    return (
        items(ASK, 1)
        + items(BID, 2)
        + field(3, b"spot@public.aggre.depth.v3.api.pb@100ms")
        + field(4, str(first).encode())
        + field(5, str(last).encode())
    )


def message(first: int, last: int, update: Update, instrument: int = 0, body: int = 313) -> bytes:
    return (
        field(1, channel(instrument))
        + field(3, f"COIN{instrument}USDT".encode())
        + b"\x30"
        + varint(1_700_000_000_000 + last)
        + field(body, depth_body(first, last, update))
    )


class Rig:
    """A feed, its shared memory, and a reader of it. Time is the test's.

    added: how many of the instruments are added already; all but for a test that adds its own.
    venues: in place of venue, one for each connection, or the fields of its struct.
    """

    def __init__(self, directory: Path, instruments: int = 1, **config: Any) -> None:
        added = config.pop("added", instruments)
        venues = config.pop("venues", [config.pop("venue", lib.tp_venue_find(b"mexc"))])
        verify = {key: config.pop(key) for key in VERIFY if key in config}
        layout = SegmentLayout(
            schema="test words 0 u64",
            ring_capacity=1 << 14,
            snapshot_slots=instruments,
            snapshot_words=RECORD_WORDS,
        )
        self.segment = SegmentWriter("feed", layout, directory=directory)
        self.segment.ready()
        self.reader = Reader("feed", directory=directory, stale_after_ns=1 << 62)
        self._clock = ffi.new("struct tp_clock *")
        self.config = ffi.new(
            "struct tp_feed_config *",
            {
                "venues": [
                    {**verify, **(one if isinstance(one, dict) else {"venue": one})}
                    for one in venues
                ],
                "instrument_count": instruments,
                "connection_count": 2,
                "silent_after_ns": 2 * SECOND,
                "ring": lib.tp_segment_ring_writer(self.segment.pointer),
                "snapshots": lib.tp_segment_snapshot_writer(self.segment.pointer),
                "clock": self._clock,
                "buffer_pool_bytes": 1 << 20,
                **config,
            },
        )
        self._memory = ffi.new("uint8_t[]", lib.tp_feed_memory_size(self.config))
        self.feed = lib.tp_feed_init(self._memory, self.config)
        self.now = SECOND
        self.venue = 0  # the one for which bases are wanted and offered
        for number in range(1, len(venues)):
            lib.tp_feed_connection_assign(self.feed, number, number)
        for i in range(added):
            assert self.add(i, channel(i))

    def add(self, instrument: int, name: bytes, connection: int = 0, **row: int) -> bool:
        record = ffi.new(
            "struct tp_instrument_record *",
            {
                "price_exponent": PRICE_EXPONENT,
                "quantity_exponent": QUANTITY_EXPONENT,
                "tick_size": 1,
                **row,
            },
        )
        return bool(lib.tp_feed_instrument_add(self.feed, instrument, record, name, connection))

    def close(self) -> None:
        self.reader.close()
        self.segment.close()

    def up(self, connection: int = 0) -> None:
        lib.tp_feed_connection_up(self.feed, connection, self.now)

    def down(self, connection: int = 0) -> None:
        lib.tp_feed_connection_down(self.feed, connection, self.now)

    def message(self, data: bytes, connection: int = 0, opcode: int = WS_BINARY) -> int:
        # An exact copy on the heap, so that a sanitizer sees every byte read beyond it.
        payload = ffi.new("uint8_t[]", data) if data else ffi.new("uint8_t[1]")
        span = ffi.new("struct tp_span *", {"data": payload, "size": len(data)})
        return int(lib.tp_feed_message(self.feed, connection, opcode, span[0], self.now))

    def tick(self, after_ns: int = 0) -> None:
        self.now += after_ns
        lib.tp_feed_tick(self.feed, self.now)

    def wanted(self, count_max: int = 64) -> list[int]:
        out = ffi.new("uint32_t[]", count_max)
        return list(out[0 : lib.tp_feed_base_wanted(self.feed, self.venue, out, count_max)])

    def offer(
        self,
        version: int,
        bids: Levels | Sequence[tuple[int, int]],
        asks: Levels,
        instrument: int = 0,
        truncated: int = 0,
    ) -> bool:
        def array(levels: Levels | Sequence[tuple[int, int]]) -> Any:
            # A dict in no order: the feed sorts. Rows in theirs.
            rows = (
                sorted(levels.items(), key=lambda row: row[0] * 7919 % 1009)
                if isinstance(levels, dict)
                else levels
            )
            return ffi.new("struct tp_level[]", [{"price": p, "quantity": q} for p, q in rows] or 1)

        # Named: a C struct in a dict initialiser would not keep them alive.
        bid_rows, ask_rows = array(bids), array(asks)
        base = ffi.new(
            "struct tp_feed_base *",
            {
                "instrument": instrument,
                "version": version,
                "bids": bid_rows,
                "bid_count": len(bids),
                "asks": ask_rows,
                "ask_count": len(asks),
                "truncated": truncated,
            },
        )
        return bool(lib.tp_feed_base_offer(self.feed, self.venue, base))

    def state(self, instrument: int = 0) -> tuple[int, int]:
        state = int(lib.tp_feed_state(self.feed, instrument))
        assert self.record(instrument)["state"] == state, "the published state is the feed's"
        return state, int(lib.tp_feed_reason(self.feed, instrument))

    @property
    def counters(self) -> Any:
        return lib.tp_feed_counters(self.feed)[0]

    def events(self) -> list[tuple[int, int, list[int]]]:
        """Drain the ring: (type, flags, values)."""
        out = []
        while self.reader.poll() == Result.EVENT:
            words = self.reader.event
            kind = words[1] >> 16 & 0xFFFF
            out.append((kind & 0xFF, kind >> 8, list(words[4:8])))
        return out

    def record(self, instrument: int = 0) -> dict[str, Any]:
        assert self.reader.read_snapshot(instrument)
        raw = bytes(memoryview(self.reader.snapshot).cast("B"))[32 : 32 + RECORD_WORDS * 8]
        record = ffi.cast("struct tp_book_record *", ffi.from_buffer(raw))
        assert record.instrument == instrument
        return {
            "state": record.state,
            "reason": record.reason,
            "version": record.book_sequence,
            "ring_index": self.reader.snapshot[1],
            "received_ns": record.received_ns,
            "taken_ns": record.taken_ns,
            "flags": record.flags,
            "message_ns": record.message_ns,
            "verified_ns": record.verified_ns,
            "times": (record.decoded_ns, record.published_ns),
            "bids": [
                (record.bids[i].price, record.bids[i].quantity) for i in range(record.bid_count)
            ],
            "asks": [
                (record.asks[i].price, record.asks[i].quantity) for i in range(record.ask_count)
            ],
        }

    def levels(self, instrument: int = 0) -> tuple[Levels, Levels]:
        book = lib.tp_feed_book(self.feed, instrument)
        assert lib.tp_book_check(book)
        out = ffi.new("struct tp_level[]", 10_000)
        sides = []
        for side in (BID, ASK):
            count = lib.tp_book_top(book, side, out, 10_000)
            sides.append({out[i].price: out[i].quantity for i in range(count)})
        return sides[0], sides[1]


class Venue:
    """What the exchange holds: its book at every version, and the message that led there."""

    def __init__(self, seed: int = 1, version: int = 1000, instrument: int = 0) -> None:
        self.random = random.Random(seed)  # not a secret
        self.instrument = instrument
        self.version = version
        self.middle = 50_000
        self.book: tuple[Levels, Levels] = (
            {self.middle - i: 5 for i in range(1, 31)},
            {self.middle + i: 5 for i in range(1, 31)},
        )
        self.history: dict[int, tuple[Levels, Levels]] = {}
        self.remember()

    def remember(self) -> None:
        self.history[self.version] = (dict(self.book[0]), dict(self.book[1]))

    def crossing(self) -> Update:
        """Return a bid beyond the best ask."""
        return [(BID, min(self.book[ASK], default=self.middle) + 1, 9)]

    def step(self, update: Update | None = None, versions: int | None = None) -> bytes:
        if update is None:
            update = []
            self.middle += self.random.choice((0, 0, 0, 1, -1, 40, -40))
            for _ in range(self.random.randrange(4)):
                side = self.random.randrange(2)
                distance = self.random.randrange(1, 40)
                price = self.middle + distance if side == ASK else self.middle - distance
                update.append((side, price, self.random.choice((0, 3, 10**9))))
            update += [(BID, p, 0) for p in self.book[BID] if p >= self.middle]
            update += [(ASK, p, 0) for p in self.book[ASK] if p <= self.middle]
        first = self.version + 1
        self.version += versions or self.random.choice((1, 1, 5))
        for side, price, quantity in update:
            if quantity:
                self.book[side][price] = quantity
            else:
                self.book[side].pop(price, None)
        self.remember()
        return message(first, self.version, update, self.instrument)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    rig.close()


def go_live(rig: Rig, venue: Venue) -> None:
    rig.up()
    assert rig.message(venue.step()) == lib.TP_FEED_BUFFERED
    assert rig.wanted() == [venue.instrument]
    snapshot = venue.history[venue.version]
    assert rig.offer(venue.version, *snapshot, instrument=venue.instrument)
    rig.tick()
    assert rig.state(venue.instrument) == (LIVE, NONE)
    rig.events()


def shown(book: tuple[Levels, Levels], depth: int) -> tuple[Levels, Levels, int]:
    """Return the best levels of a book, and which sides have as many as were asked for."""
    bids = dict(sorted(book[BID].items(), reverse=True)[:depth])
    asks = dict(sorted(book[ASK].items())[:depth])
    return bids, asks, (len(bids) == depth) << BID | (len(asks) == depth) << ASK


def assert_known(rig: Rig, venue: Venue, version: int | None = None) -> None:
    """Assert that what is published is the venue's from the touch on, without a hole."""
    expected = venue.history[venue.version if version is None else version]
    record = rig.record(venue.instrument)
    assert record["version"] == (venue.version if version is None else version)
    for name, side in (("bids", BID), ("asks", ASK)):
        best_first = sorted(expected[side].items(), reverse=side == BID)
        assert record[name] == best_first[: len(record[name])]
        assert rig.levels(venue.instrument)[side] == dict(
            best_first[: len(rig.levels(venue.instrument)[side])]
        )
        assert record[name] or not best_first, "the touch is known"


def assert_book(rig: Rig, venue: Venue, version: int | None = None) -> None:
    expected = venue.history[venue.version if version is None else version]
    assert rig.levels(venue.instrument) == expected
    record = rig.record(venue.instrument)
    assert record["version"] == (venue.version if version is None else version)
    assert record["bids"] == sorted(expected[BID].items(), reverse=True)[:20]
    assert record["asks"] == sorted(expected[ASK].items())[:20]
