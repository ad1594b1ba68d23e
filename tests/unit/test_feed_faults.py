"""The feed under every fault a venue can show it: what it publishes, and when a book is LIVE.

A `Rig` is a feed over a real segment; a `Venue` is the truth, one book for every version.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tickpath._core import ffi, lib
from tickpath.shm.reader import Reader, Result
from tickpath.shm.segment import SegmentLayout, SegmentWriter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SYNCING, LIVE, STALE, CROSSED = 0, 1, 2, 3
NONE, STARTING, GAP, DISCONNECTED, SILENT, CROSSED_REASON, REFUSED, BROKEN, OVERFLOW = range(9)
LEVEL, TOP, STATE, CLEAR = 1, 2, 3, 4
BID, ASK = 0, 1
MS = 1_000_000
SECOND = 1000 * MS
SETTLE = 500 * MS
PRICE_EXPONENT, QUANTITY_EXPONENT = -2, -8
RECORD_WORDS = 87
EVENT_LINE_WORDS = 8

Levels = dict[int, int]
Update = list[tuple[int, int, int]]  # side, price, quantity


# ---- the venue's bytes, by hand ------------------------------------------------------------------


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


# ---- the feed and its segment --------------------------------------------------------------------


class Rig:
    """A feed, its shared memory, and a reader of it. Time is the test's."""

    def __init__(self, directory: Path, instruments: int = 1, **config: int) -> None:
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
        for i in range(instruments):
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

    def message(self, data: bytes, connection: int = 0) -> int:
        # An exact copy on the heap, so that a sanitizer sees every byte read beyond it.
        payload = ffi.new("uint8_t[]", data)
        span = ffi.new("struct tp_span *", {"data": payload, "size": len(data)})
        return int(lib.tp_feed_message(self.feed, connection, span[0], self.now))

    def tick(self, after_ns: int = 0) -> None:
        self.now += after_ns
        lib.tp_feed_tick(self.feed, self.now)

    def wanted(self, count_max: int = 64) -> list[int]:
        out = ffi.new("uint32_t[]", count_max)
        return list(out[0 : lib.tp_feed_snapshot_wanted(self.feed, out, count_max)])

    def offer(self, version: int, bids: Levels, asks: Levels, instrument: int = 0) -> bool:
        def array(levels: Levels) -> Any:
            # In no order: the feed sorts.
            rows = sorted(levels.items(), key=lambda row: row[0] * 7919 % 1009)
            return ffi.new("struct tp_level[]", [{"price": p, "quantity": q} for p, q in rows] or 1)

        return bool(
            lib.tp_feed_snapshot_offer(
                self.feed, instrument, version, array(bids), len(bids), array(asks), len(asks)
            )
        )

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
            kind = words[1] >> 32
            out.append((kind & 0xFFFF, kind >> 16, list(words[4:8])))
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
            "times": (record.decoded_ns, record.published_ns),
            "bids": [(record.bids[i].price, record.bids[i].quantity) for i in range(record.bid_count)],
            "asks": [(record.asks[i].price, record.asks[i].quantity) for i in range(record.ask_count)],
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
        self.random = random.Random(seed)  # noqa: S311  # not a secret
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


def assert_book(rig: Rig, venue: Venue, version: int | None = None) -> None:
    expected = venue.history[venue.version if version is None else version]
    assert rig.levels(venue.instrument) == expected
    record = rig.record(venue.instrument)
    assert record["version"] == (venue.version if version is None else version)
    assert record["bids"] == sorted(expected[BID].items(), reverse=True)[:20]
    assert record["asks"] == sorted(expected[ASK].items())[:20]


# ---- start -----------------------------------------------------------------------------------


def test_feed_new_instrument_is_published_as_syncing(rig: Rig) -> None:
    assert rig.state() == (SYNCING, STARTING)
    record = rig.record()
    assert (record["bids"], record["asks"]) == ([], [])
    assert rig.wanted() == []


def test_feed_message_before_up_is_ignored(rig: Rig) -> None:
    assert rig.message(Venue().step()) == lib.TP_FEED_IGNORED
    assert rig.counters.inactive == 1
    assert rig.wanted() == []


def test_feed_first_message_wants_a_snapshot_once(rig: Rig) -> None:
    venue = Venue()
    rig.up()
    assert rig.wanted() == []
    rig.message(venue.step())
    rig.message(venue.step())
    assert rig.wanted() == [0]
    assert rig.wanted() == []
    assert rig.counters.buffered == 2


def test_feed_quiet_instrument_wants_a_snapshot_after_settling(rig: Rig) -> None:
    venue = Venue()
    rig.up()
    rig.tick(SETTLE - 1)
    assert rig.wanted() == []
    rig.tick(1)
    assert rig.wanted() == [0]
    rig.offer(venue.version, *venue.book)
    rig.tick()
    assert rig.state() == (LIVE, NONE)
    assert_book(rig, venue)
    assert rig.message(venue.step()) == lib.TP_FEED_APPLIED
    assert_book(rig, venue)


@pytest.mark.parametrize("back", [0, 1, 3, 5])
def test_feed_snapshot_inside_the_buffer_replays_the_rest(rig: Rig, back: int) -> None:
    venue = Venue()
    rig.up()
    versions = [venue.version]
    for _ in range(6):
        rig.message(venue.step())
        versions.append(venue.version)
    assert rig.wanted() == [0]
    version = versions[-1 - back]
    rig.offer(version, *venue.history[version])
    rig.tick()
    assert rig.state() == (LIVE, NONE)
    assert_book(rig, venue)


def test_feed_snapshot_in_the_middle_of_a_range_applies_the_whole_range(rig: Rig) -> None:
    venue = Venue()
    rig.up()
    before = venue.version
    rig.message(venue.step([(BID, 49_900, 7)], versions=5))
    rig.wanted()
    rig.offer(before + 2, *venue.history[before])
    rig.tick()
    assert rig.state() == (LIVE, NONE)
    assert_book(rig, venue)


def test_feed_snapshot_newer_than_the_buffer_drops_it(rig: Rig) -> None:
    venue = Venue()
    rig.up()
    rig.message(venue.step())
    rig.wanted()
    late = [venue.step() for _ in range(3)]
    rig.offer(venue.version, *venue.book)
    rig.tick()
    assert_book(rig, venue)
    assert [rig.message(data) for data in late] == [lib.TP_FEED_IGNORED] * 3
    assert rig.state() == (LIVE, NONE)
    assert rig.counters.duplicates == 0
    assert rig.message(venue.step()) == lib.TP_FEED_APPLIED
    assert_book(rig, venue)


def test_feed_snapshot_older_than_the_buffer_is_refused_and_wanted_anew(rig: Rig) -> None:
    venue = Venue()
    rig.up()
    old = venue.version
    venue.step()
    rig.message(venue.step())
    assert rig.wanted() == [0]
    rig.offer(old, *venue.history[old])
    rig.tick()
    assert rig.state() == (SYNCING, STARTING)
    assert rig.counters.snapshots_too_old == 1
    assert rig.wanted() == [0]
    rig.offer(venue.version, *venue.book)
    rig.tick()
    assert rig.state() == (LIVE, NONE)
    assert_book(rig, venue)


def test_feed_first_live_message_just_contiguous_is_applied(rig: Rig) -> None:
    """Rule 6 of the venue's documents, read literally, would refuse first == version + 1."""
    venue = Venue()
    rig.up()
    rig.tick(SETTLE)
    rig.wanted()
    rig.offer(venue.version, *venue.book)
    rig.tick()
    assert rig.message(venue.step()) == lib.TP_FEED_APPLIED


def test_feed_first_live_message_beyond_the_snapshot_is_a_gap(rig: Rig) -> None:
    venue = Venue()
    rig.up()
    rig.tick(SETTLE)
    rig.wanted()
    rig.offer(venue.version, *venue.book)
    rig.tick()
    venue.step()
    assert rig.message(venue.step()) == lib.TP_FEED_BUFFERED
    assert rig.state() == (SYNCING, GAP)


def test_feed_empty_sides_are_live(rig: Rig) -> None:
    venue = Venue()
    venue.book = ({}, {})
    venue.remember()
    rig.up()
    rig.tick(SETTLE)
    rig.wanted()
    rig.offer(venue.version, {}, {})
    rig.tick()
    assert rig.state() == (LIVE, NONE)
    assert rig.events()[-1] == (TOP, 0, [0, 0, 0, 0])
    rig.message(venue.step([(ASK, 50_001, 3)], versions=1))
    assert rig.events()[-1] == (TOP, 0, [0, 0, 50_001, 3])
    assert_book(rig, venue)


# ---- what is published, in which order -----------------------------------------------------------


def test_feed_message_publishes_snapshot_levels_and_top(rig: Rig) -> None:
    venue = Venue()
    go_live(rig, venue)
    before = rig.record()["ring_index"]
    rig.now += 5
    best_ask = min(venue.book[ASK])
    update = [(ASK, best_ask, 0), (BID, 49_000, 2 * 10**8), (ASK, 50_500, 1)]
    rig.message(venue.step(update, versions=1))
    events = rig.events()
    exchange_ns = (1_700_000_000_000 + venue.version) * MS
    assert events == [
        (LEVEL, 0, [49_000, 2 * 10**8, exchange_ns, venue.version]),
        (LEVEL, 1, [best_ask, 0, exchange_ns, venue.version]),
        (LEVEL, 1, [50_500, 1, exchange_ns, venue.version]),
        (TOP, 0, [max(venue.book[BID]), 5, min(venue.book[ASK]), 5]),
    ]
    record = rig.record()
    assert record["ring_index"] == before + len(events), "the first event that it does not contain"
    assert record["received_ns"] == rig.now
    assert 0 < record["times"][0] <= record["times"][1]
    assert_book(rig, venue)


def test_feed_snapshot_publishes_clear_then_live_then_top(rig: Rig) -> None:
    venue = Venue()
    rig.up()
    rig.message(venue.step())
    rig.wanted()
    rig.offer(venue.version, *venue.book)
    assert rig.events() == []
    rig.tick()
    assert [(kind, values[:2]) for kind, _, values in rig.events()] == [
        (CLEAR, [0, 0]),
        (STATE, [LIVE, NONE]),
        (TOP, [max(venue.book[BID]), venue.book[BID][max(venue.book[BID])]]),
    ]


def test_feed_message_without_levels_still_ends_in_top(rig: Rig) -> None:
    venue = Venue()
    go_live(rig, venue)
    rig.message(venue.step([], versions=1))
    assert [kind for kind, _, _ in rig.events()] == [TOP]
    assert rig.record()["version"] == venue.version


def test_feed_snapshot_depth_limits_the_record(tmp_path: Path) -> None:
    rig, venue = Rig(tmp_path, snapshot_depth=3), Venue()
    go_live(rig, venue)
    record = rig.record()
    assert len(record["bids"]) == len(record["asks"]) == 3
    rig.close()


# ---- broken chains -------------------------------------------------------------------------------


def test_feed_gap_is_syncing_at_once_and_heals(rig: Rig) -> None:
    venue = Venue()
    go_live(rig, venue)
    venue.step()
    assert rig.message(venue.step()) == lib.TP_FEED_BUFFERED
    assert rig.state() == (SYNCING, GAP)
    assert [(kind, values[:2]) for kind, _, values in rig.events()] == [(STATE, [SYNCING, GAP])]
    assert (rig.counters.gaps, rig.counters.resyncs) == (1, 1)
    rig.message(venue.step())
    assert rig.wanted() == [0]
    version = sorted(venue.history)[-2]
    rig.offer(version, *venue.history[version])
    rig.tick()
    assert rig.state() == (LIVE, NONE)
    assert_book(rig, venue)


def test_feed_duplicate_is_ignored_and_counted(rig: Rig) -> None:
    venue = Venue()
    go_live(rig, venue)
    data = venue.step()
    assert rig.message(data) == lib.TP_FEED_APPLIED
    rig.events()
    assert rig.message(data) == lib.TP_FEED_IGNORED
    assert rig.counters.duplicates == 1
    assert rig.events() == []
    assert rig.state() == (LIVE, NONE)


def test_feed_reordered_messages_are_a_gap_then_healed(rig: Rig) -> None:
    venue = Venue()
    go_live(rig, venue)
    first, second = venue.step(), venue.step()
    assert rig.message(second) == lib.TP_FEED_BUFFERED
    assert rig.message(first) == lib.TP_FEED_BUFFERED
    rig.wanted()
    rig.offer(venue.version, *venue.book)
    rig.tick()
    assert rig.state() == (LIVE, NONE)
    assert_book(rig, venue)


def test_feed_overlapping_range_is_a_gap(rig: Rig) -> None:
    venue = Venue()
    go_live(rig, venue)
    rig.message(venue.step())
    overlap = message(venue.version, venue.version + 1, [])
    assert rig.message(overlap) == lib.TP_FEED_BUFFERED
    assert rig.state() == (SYNCING, GAP)


def test_feed_gap_inside_the_buffer_wants_a_newer_snapshot(rig: Rig) -> None:
    venue = Venue()
    rig.up()
    old = venue.version
    rig.message(venue.step())
    venue.step()
    rig.message(venue.step())
    rig.wanted()
    rig.offer(old, *venue.history[old])
    rig.tick()
    assert rig.state() == (SYNCING, GAP)
    assert rig.wanted() == [0]
    rig.offer(venue.version, *venue.book)
    rig.tick()
    assert rig.state() == (LIVE, NONE)
    assert_book(rig, venue)


def test_feed_snapshot_below_what_was_seen_is_refused(rig: Rig) -> None:
    """After a broken message nothing is kept, but the venue was further than this already."""
    venue = Venue()
    go_live(rig, venue)
    old = venue.version
    rig.message(venue.step())
    rig.message(venue.step()[:-3])
    assert rig.state() == (SYNCING, BROKEN)
    assert rig.wanted() == [0]
    rig.offer(old, *venue.history[old])
    rig.tick()
    assert rig.state() == (SYNCING, BROKEN)
    assert rig.wanted() == [0]


# ---- broken messages -----------------------------------------------------------------------------


def broken_messages() -> dict[str, bytes]:
    good = message(2000, 2001, [(BID, 10, 1)])
    head = field(1, channel(0))

    def item(price: bytes, quantity: bytes) -> bytes:
        body = field(2, field(1, price) + field(2, quantity))
        return head + field(313, body + field(4, b"1") + field(5, b"9"))

    return {
        "cut": good[:-1],
        "wrapper_only": head,
        "word_for_a_price": item(b"abc", b"1"),
        "negative_price": item(b"-1.00", b"1"),
        "digits_beyond_the_exponent": item(b"1.001", b"1"),
        "length_beyond_the_end": head + b"\xca\x13\x7f",
        "wire_type_7": head + field(313, b"\x0f"),
        "versions_backwards": message(9, 8, []),
        "no_versions": head + field(313, field(3, b"x")),
    }


@pytest.mark.parametrize("name", sorted(broken_messages()))
def test_feed_broken_message_is_syncing_and_heals(rig: Rig, name: str) -> None:
    venue = Venue()
    go_live(rig, venue)
    assert rig.message(broken_messages()[name]) == lib.TP_FEED_BROKEN
    assert rig.state() == (SYNCING, BROKEN)
    assert rig.counters.broken + rig.counters.unknown_body == 1
    assert rig.wanted() == [0]
    rig.message(venue.step())
    rig.offer(venue.version, *venue.book)
    rig.tick()
    assert rig.state() == (LIVE, NONE)
    assert_book(rig, venue)


def test_feed_price_zero_is_broken(rig: Rig) -> None:
    venue = Venue()
    go_live(rig, venue)
    data = message(venue.version + 1, venue.version + 1, [(BID, 0, 5)])
    assert rig.message(data) == lib.TP_FEED_BROKEN
    assert rig.state() == (SYNCING, BROKEN)


def test_feed_broken_message_in_the_buffer_wants_a_newer_snapshot(rig: Rig) -> None:
    venue = Venue()
    rig.up()
    old = venue.version
    rig.message(venue.step())
    rig.message(venue.step()[:-2])
    rig.message(venue.step())
    rig.wanted()
    rig.offer(old, *venue.history[old])
    rig.tick()
    assert rig.state() == (SYNCING, BROKEN)
    assert rig.wanted() == [0]
    rig.offer(venue.version, *venue.book)
    rig.tick()
    assert rig.state() == (LIVE, NONE)
    assert_book(rig, venue)


def test_feed_unknown_body_on_our_channel_is_not_trusted(rig: Rig) -> None:
    """The venue changed its format: levels that are not seen here are moving."""
    venue = Venue()
    go_live(rig, venue)
    data = message(venue.version + 1, venue.version + 1, [], body=399)
    assert rig.message(data) == lib.TP_FEED_BROKEN
    assert rig.counters.unknown_body == 1
    assert rig.state() == (SYNCING, BROKEN)


@pytest.mark.parametrize(
    "data",
    [b"", b"\x00", b"\x0a\xff", field(1, b"spot@public.deals@X"), message(1, 2, [], instrument=7)],
)
def test_feed_unknown_channel_changes_nothing(rig: Rig, data: bytes) -> None:
    venue = Venue()
    go_live(rig, venue)
    assert rig.message(data) == lib.TP_FEED_UNKNOWN
    assert rig.counters.unknown_channel == 1
    assert rig.state() == (LIVE, NONE)
    assert rig.events() == []


def test_feed_message_on_another_connection_is_not_taken(rig: Rig) -> None:
    venue = Venue()
    go_live(rig, venue)
    assert rig.message(venue.step(), connection=1) == lib.TP_FEED_UNKNOWN
    assert rig.state() == (LIVE, NONE)


def test_feed_control_text_is_counted_apart(rig: Rig) -> None:
    assert rig.message(b'{"id":0,"code":0,"msg":"PONG"}') == lib.TP_FEED_UNKNOWN
    assert (rig.counters.control, rig.counters.unknown_channel) == (1, 0)


def test_feed_zero_quantity_text_removes_the_level(rig: Rig) -> None:
    venue = Venue()
    go_live(rig, venue)
    price = max(venue.book[BID])
    rig.message(venue.step([(BID, price, 0)], versions=1))
    assert price not in rig.levels()[BID]
    assert_book(rig, venue)


# ---- limits --------------------------------------------------------------------------------------


def test_feed_backlog_overflow_starts_again_and_heals(tmp_path: Path) -> None:
    rig, venue = Rig(tmp_path, buffered_bytes_max=4096, buffer_pool_bytes=1 << 16), Venue()
    rig.up()
    while rig.counters.overflows == 0:
        rig.message(venue.step())
        assert rig.counters.messages < 200
    assert rig.state() == (SYNCING, OVERFLOW)
    assert rig.wanted() == [0]
    rig.message(venue.step())
    rig.offer(venue.version, *venue.book)
    rig.tick()
    assert rig.state() == (LIVE, NONE)
    assert_book(rig, venue)
    rig.close()


def test_feed_backlog_pool_exhausted_hurts_only_who_asks(tmp_path: Path) -> None:
    rig = Rig(tmp_path, instruments=3, buffered_bytes_max=1 << 16, buffer_pool_bytes=3 * 2048)
    venues = [Venue(seed=i, instrument=i) for i in range(3)]
    rig.up()
    for _ in range(40):
        for venue in venues:
            rig.message(venue.step())
    assert rig.counters.overflows > 0
    for venue in venues:
        rig.message(venue.step())
    assert sorted(rig.wanted()) == [0, 1, 2]
    for venue in venues:
        rig.offer(venue.version, *venue.book, instrument=venue.instrument)
        rig.tick()
        assert rig.state(venue.instrument) == (LIVE, NONE)
        assert_book(rig, venue)
    rig.close()


def test_feed_book_overflow_near_the_touch_resyncs(tmp_path: Path) -> None:
    rig, venue = Rig(tmp_path, window_ticks=256, overflow_levels=4), Venue()
    bids = {1000 * i: 5 for i in range(1, 26)}
    venue.book = (bids, dict(venue.book[ASK]))
    venue.remember()
    rig.up()
    rig.tick(SETTLE)
    rig.wanted()
    rig.offer(venue.version, *venue.book)
    rig.tick()
    rig.message(venue.step([], versions=1))
    assert rig.state() == (SYNCING, OVERFLOW)
    assert rig.counters.overflows == 1
    rig.close()


# ---- crossed -------------------------------------------------------------------------------------


def crossing(venue: Venue) -> Update:
    return [(BID, min(venue.book[ASK]) + 1, 9)]


def test_feed_crossed_book_is_marked_before_its_levels(rig: Rig) -> None:
    venue = Venue()
    go_live(rig, venue)
    update = crossing(venue)
    rig.message(venue.step(update, versions=1))
    assert rig.state() == (CROSSED, CROSSED_REASON)
    assert [kind for kind, _, _ in rig.events()] == [STATE, LEVEL, TOP]
    assert rig.counters.crossed == 1
    rig.message(venue.step([(BID, update[0][1], 0)], versions=1))
    assert rig.state() == (LIVE, NONE)
    assert [kind for kind, _, _ in rig.events()] == [LEVEL, STATE, TOP]
    assert_book(rig, venue)


def test_feed_locked_book_is_crossed(rig: Rig) -> None:
    venue = Venue()
    go_live(rig, venue)
    rig.message(venue.step([(BID, min(venue.book[ASK]), 9)], versions=1))
    assert rig.state() == (CROSSED, CROSSED_REASON)


def test_feed_crossed_for_a_second_resyncs(rig: Rig) -> None:
    venue = Venue()
    go_live(rig, venue)
    rig.message(venue.step(crossing(venue), versions=1))
    rig.tick(SECOND)
    assert rig.state() == (CROSSED, CROSSED_REASON)
    rig.tick(100 * MS + 1)
    assert rig.state() == (SYNCING, CROSSED_REASON)
    assert rig.wanted() == [0]


def test_feed_crossed_for_many_messages_resyncs(rig: Rig) -> None:
    venue = Venue()
    go_live(rig, venue)
    rig.message(venue.step(crossing(venue), versions=1))
    for _ in range(20):
        rig.message(venue.step([], versions=1))
    assert rig.state() == (SYNCING, CROSSED_REASON)


def test_feed_crossed_snapshot_is_never_live(rig: Rig) -> None:
    rig.up()
    rig.tick(SETTLE)
    rig.wanted()
    rig.offer(5, {100: 1}, {90: 1})
    rig.tick()
    assert rig.state() == (CROSSED, CROSSED_REASON)
    assert [kind for kind, _, _ in rig.events()] == [STATE, CLEAR, TOP]


# ---- connections ---------------------------------------------------------------------------------


def test_feed_disconnect_makes_books_stale_and_keeps_their_levels(rig: Rig) -> None:
    venue = Venue()
    go_live(rig, venue)
    rig.down()
    assert rig.state() == (STALE, DISCONNECTED)
    assert [(kind, values[:2]) for kind, _, values in rig.events()] == [
        (STATE, [STALE, DISCONNECTED])
    ]
    assert_book(rig, venue)
    assert rig.message(venue.step()) == lib.TP_FEED_IGNORED
    assert rig.wanted() == []


def test_feed_reconnect_replaces_the_book(rig: Rig) -> None:
    venue = Venue()
    go_live(rig, venue)
    rig.down()
    other = Venue(seed=9, version=10)  # the venue numbers anew, and has other levels
    other.book = ({40: 1}, {60: 1})
    other.remember()
    rig.up()
    assert rig.state() == (SYNCING, STARTING)
    rig.message(other.step([(BID, 41, 2)], versions=1))
    rig.wanted()
    rig.offer(other.version, *other.book)
    rig.tick()
    assert rig.state() == (LIVE, NONE)
    assert rig.levels() == ({40: 1, 41: 2}, {60: 1})


def test_feed_disconnect_amid_sync_discards_the_offer(rig: Rig) -> None:
    """A snapshot of before the reconnect could hide what changed in between."""
    venue = Venue()
    rig.up()
    rig.message(venue.step())
    assert rig.wanted() == [0]
    rig.offer(venue.version, *venue.book)
    rig.down()
    rig.up()
    rig.tick()
    assert rig.state() == (SYNCING, STARTING)
    assert rig.counters.snapshots_unasked == 1
    assert rig.offer(venue.version, *venue.book), "nobody waits for it: taken and forgotten"
    rig.tick()
    assert rig.state() == (SYNCING, STARTING)
    rig.message(venue.step())
    assert rig.wanted() == [0]


def test_feed_disconnect_touches_only_its_own_instruments(tmp_path: Path) -> None:
    rig, venue = Rig(tmp_path, instruments=1), Venue()
    go_live(rig, venue)
    rig.down(connection=1)
    assert rig.state() == (LIVE, NONE)
    rig.close()


def test_feed_refused_is_stale_until_the_next_up(rig: Rig) -> None:
    venue = Venue()
    rig.up()
    rig.message(venue.step())
    lib.tp_feed_refused(rig.feed, 0, rig.now)
    assert rig.state() == (STALE, REFUSED)
    assert rig.wanted() == []
    assert rig.message(venue.step()) == lib.TP_FEED_IGNORED
    rig.up()
    assert rig.state() == (SYNCING, STARTING)


# ---- silence -------------------------------------------------------------------------------------


def test_feed_silence_is_stale_and_the_next_message_revives(rig: Rig) -> None:
    venue = Venue()
    go_live(rig, venue)
    rig.tick(2 * SECOND)
    assert rig.state() == (LIVE, NONE)
    rig.tick(1)
    assert rig.state() == (STALE, SILENT)
    assert rig.counters.silences == 1
    assert rig.message(venue.step()) == lib.TP_FEED_APPLIED
    assert rig.state() == (LIVE, NONE)
    assert_book(rig, venue)


def test_feed_silence_then_gap_is_syncing(rig: Rig) -> None:
    venue = Venue()
    go_live(rig, venue)
    rig.tick(3 * SECOND)
    venue.step()
    rig.message(venue.step())
    assert rig.state() == (SYNCING, GAP)


@pytest.mark.parametrize("sign", ["pong", "other_instrument"])
def test_feed_any_sign_of_life_ends_the_silence_of_all(tmp_path: Path, sign: str) -> None:
    rig, venue = Rig(tmp_path, instruments=2), Venue()
    go_live(rig, venue)
    rig.tick(3 * SECOND)
    assert rig.state() == (STALE, SILENT)
    if sign == "pong":
        lib.tp_feed_connection_alive(rig.feed, 0, rig.now)
    else:
        rig.message(Venue(instrument=1).step())
    rig.tick()
    assert rig.state() == (LIVE, NONE)
    rig.close()


def test_feed_syncing_book_is_not_called_silent(rig: Rig) -> None:
    rig.up()
    rig.tick(3 * SECOND)
    assert rig.state() == (SYNCING, STARTING)


# ---- the mailbox ---------------------------------------------------------------------------------


def test_feed_failed_fetch_is_wanted_again(rig: Rig) -> None:
    rig.up()
    rig.message(Venue().step())
    assert rig.wanted() == [0]
    lib.tp_feed_snapshot_failed(rig.feed, 0)
    assert rig.wanted() == [0]


def test_feed_wanted_count_max_starves_nobody(tmp_path: Path) -> None:
    rig = Rig(tmp_path, instruments=5)
    rig.up()
    rig.tick(SETTLE)
    assert [rig.wanted(2), rig.wanted(2), rig.wanted(2)] == [[0, 1], [2, 3], [4]]
    for i in range(5):
        lib.tp_feed_snapshot_failed(rig.feed, i)
    assert sorted(rig.wanted(2) + rig.wanted(2) + rig.wanted(2)) == list(range(5))
    rig.close()


@pytest.mark.parametrize("levels", [{0: 1}, {-1: 1}, {5: -1}, {1 << 62: 1}])
def test_feed_offer_out_of_range_is_refused_and_wanted_again(rig: Rig, levels: Levels) -> None:
    rig.up()
    rig.message(Venue().step())
    rig.wanted()
    assert rig.offer(5, levels, {})
    rig.tick()
    assert rig.counters.snapshots_refused == 1
    assert rig.state() == (SYNCING, STARTING)
    assert rig.wanted() == [0]


def test_feed_mailbox_full_says_so(tmp_path: Path) -> None:
    rig = Rig(tmp_path, instruments=6)
    rig.up()
    rig.tick(SETTLE)
    assert rig.wanted() == list(range(6))
    assert [rig.offer(5, {1: 1}, {2: 1}, instrument=i) for i in range(5)] == [True] * 4 + [False]
    rig.tick()
    assert rig.offer(5, {1: 1}, {2: 1}, instrument=4)
    for _ in range(5):
        rig.tick()
    assert [rig.state(i)[0] for i in range(6)] == [LIVE] * 5 + [SYNCING]
    rig.close()


def test_feed_offer_without_order_or_with_zeros_is_sorted(rig: Rig) -> None:
    rig.up()
    rig.message(Venue(version=4).step([], versions=1))
    rig.wanted()
    rig.offer(5, {10: 1, 30: 2, 20: 3, 25: 0}, {70: 1, 50: 2, 60: 0})
    rig.tick()
    record = rig.record()
    assert record["bids"] == [(30, 2), (20, 3), (10, 1)]
    assert record["asks"] == [(50, 2), (70, 1)]


# ---- configuration -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"instrument_count": 0},
        {"instrument_count": (1 << 16) + 1},
        {"connection_count": 0},
        {"snapshot_depth": 21},
        {"window_ticks": 100},
    ],
)
def test_feed_memory_size_bad_config_is_zero(rig: Rig, change: dict[str, int]) -> None:
    for name, value in change.items():
        setattr(rig.config, name, value)
    assert lib.tp_feed_memory_size(rig.config) == 0


@pytest.mark.parametrize(
    "row",
    [
        {"tick_size": 0},
        {"price_exponent": 1},
        {"price_exponent": -19},
        {"quantity_exponent": 1},
    ],
)
def test_feed_instrument_add_bad_record_is_refused(tmp_path: Path, row: dict[str, int]) -> None:
    rig = Rig(tmp_path)
    rig.config.instrument_count = 2
    assert not rig.add(1, b"other", **row)
    assert not rig.add(0, b"other"), "added before"
    assert not rig.add(0, b"other", connection=2)
    rig.close()


# ---- everything at once --------------------------------------------------------------------------

ACTIONS = (
    ("deliver",) * 12
    + ("lose", "repeat", "swap", "cut", "snapshot", "snapshot", "late_snapshot", "fail", "tick")
    + ("quiet", "reconnect", "down", "refuse", "cross", "tick")
)


class Chaos:
    """Drive rig and venue through random actions and compare whenever the book is LIVE."""

    def __init__(self, rig: Rig, seed: int) -> None:
        self.rig, self.venue = rig, Venue(seed)
        self.random = random.Random(seed)  # noqa: S311  # not a secret
        self.last = b""
        self.asked: list[int] = []  # the venue's version when the snapshot was asked for

    def act(self, action: str) -> None:
        rig, venue = self.rig, self.venue
        rig.now += self.random.choice((1, 50 * MS))
        if action == "deliver":
            self.last = venue.step()
            rig.message(self.last)
        elif action == "lose":
            venue.step()
        elif action == "repeat" and self.last:
            rig.message(self.last)
        elif action == "swap":
            first, second = venue.step(), venue.step()
            rig.message(second)
            rig.message(first)
        elif action == "cut":
            rig.message(venue.step()[: -self.random.randrange(1, 40)])
        elif action == "cross":
            rig.message(venue.step(crossing(venue)) if venue.book[ASK] else venue.step())
        elif action == "tick":
            rig.tick(SETTLE)
        elif action == "quiet":
            rig.tick(3 * SECOND)
        elif action == "reconnect":
            rig.down()
            self.asked.clear()
            for _ in range(self.random.randrange(3)):
                venue.step()
            rig.up()
        elif action == "down":
            rig.down()
        elif action == "refuse":
            lib.tp_feed_refused(rig.feed, 0, rig.now)
        else:
            self.answer(action)

    def answer(self, action: str) -> None:
        if self.rig.wanted():
            self.asked = [self.venue.version]
        if not self.asked:
            return
        if action == "fail":
            lib.tp_feed_snapshot_failed(self.rig.feed, 0)
            self.asked.clear()
            return
        if action == "late_snapshot":  # anything between the request and now
            candidates = [v for v in self.venue.history if v >= self.asked[0]]
            version = self.random.choice(candidates)
        else:
            version = self.venue.version
        self.asked.clear()
        self.rig.offer(version, *self.venue.history[version])
        self.rig.tick()

    def check(self) -> None:
        state, _ = self.rig.state()
        if state in (LIVE, CROSSED):
            version = self.rig.record()["version"]
            expected = self.venue.history[version]
            assert_book(self.rig, self.venue, version)
            crossed = bool(expected[0] and expected[1] and max(expected[0]) >= min(expected[1]))
            assert crossed == (state == CROSSED)


class Mirror:
    """What a strategy does with the ring: it must hold the same book without looking at the C one."""

    def __init__(self) -> None:
        self.book: tuple[Levels, Levels] = ({}, {})
        self.state = SYNCING
        self.whole = False

    def follow(self, rig: Rig) -> None:
        record = None
        for kind, flags, values in rig.events():
            if kind == STATE:
                self.state = values[0]
            elif kind == CLEAR:
                record = rig.record()  # the latest: it holds all the events that follow too
                self.book = (dict(record["bids"]), dict(record["asks"]))
                self.whole = True
            elif kind == LEVEL:
                side = self.book[flags & 1]
                side[values[0]] = values[1]
                if not values[1]:
                    del side[values[0]]
            elif kind == TOP and self.whole and self.state == LIVE and record is None:
                assert values[0] == max(self.book[0], default=0)
                assert values[2] == min(self.book[1], default=0)


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 1 << 32), actions=st.lists(st.sampled_from(ACTIONS), max_size=80))
def test_feed_whatever_happens_a_live_book_is_the_venues(
    tmp_path_factory: pytest.TempPathFactory, seed: int, actions: list[str]
) -> None:
    rig = Rig(tmp_path_factory.mktemp("feed"))
    try:
        chaos, mirror = Chaos(rig, seed), Mirror()
        rig.up()
        for action in actions:
            chaos.act(action)
            chaos.check()
            mirror.follow(rig)
            assert mirror.state == rig.state()[0]
        # And it heals: a reconnection, a message, a snapshot.
        chaos.act("reconnect")
        chaos.act("deliver")
        chaos.act("snapshot")
        assert rig.state()[0] in (LIVE, CROSSED)
        chaos.check()
    finally:
        rig.close()
