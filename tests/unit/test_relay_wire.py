"""What the relay takes from Redis: entries built by hand from docs/relay.md, and any bytes."""

from __future__ import annotations

import os
import struct
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tickpath._core import ffi, lib
from tickpath.engine.client.feed_segment import SCHEMA, unreadable
from tickpath.engine.client.reader import open_reader
from tickpath.engine.relay.local_segment import LocalSegment
from tickpath.engine.relay.wire import (
    FAULTS,
    KIND_HEARTBEAT,
    FeedRecord,
    Keys,
    Wake,
    WireError,
    read_entry,
    read_feed,
    read_wake,
    write_feed,
    write_wake,
)
from tickpath.proto.instrument import Instrument
from tickpath.shm.segment import schema_hash

LIVE, STALE = 1, 2
INSTRUMENTS = (Instrument(0, "mexc", "BTCUSDT", -2, -6, 1), Instrument(1, "mexc", "A}B", 0, -18, 5))


def head(**changes: int) -> bytes:
    """Build the 48 bytes of docs/relay.md."""
    values = {"format": 2, "flags": 0, "instrument": 7, "epoch": 5, "sequence": 3, "version": 9}
    values |= {"offset": 10**18, "sent": 10**18} | changes
    return struct.pack("<HHIQQQqq", *values.values())


def book(bids: list[tuple[int, int]], asks: list[tuple[int, int]], **changes: int) -> bytes:
    values = {"sequence": 1, "exchange": 2, "received": 3, "taken": 3, "decoded": 4}
    values |= {"published": 5, "message": 3, "verified": 0}
    values |= {"instrument": 7, "connection": 1, "state": LIVE, "reason": 0}
    values |= {"bid_count": len(bids), "ask_count": len(asks), "price": -2, "quantity": -6}
    values |= {"flags": 0, "generation": 1} | changes
    levels = b"".join(struct.pack("<qq", *level) for level in [*bids, *asks])
    return struct.pack("<8Q6HbbHQ24x", *values.values()) + levels


def event(kind: int, *values: int, instrument: int = 7, flags: int = 0, **changes: int) -> bytes:
    at, price, quantity = (changes.get(name, 0) for name in ("at", "price", "quantity"))
    head = instrument, kind, flags, price, quantity, 1, at or 5, at or 5
    return struct.pack("<HBBbbHQQ4q", *head, *values)


SOUND = book([(10, 1), (9, 2)], [(11, 3)])
LEVEL = event(1, 10, 0, 2, 1, flags=1)
TOP = event(2, 10, 1, 11, 3)
STATE = event(3, STALE, 4, 0, 0)


def read(data: bytes, events: bytes = b"") -> Any:
    entry = ffi.new("struct tp_relay_entry *")
    read_entry(entry, {b"b": data, b"e": events}, 7)
    return entry


def test_relay_entry_built_by_hand_is_read() -> None:
    entry = read(head(flags=1) + SOUND, LEVEL + STATE + TOP)
    record = entry.record
    assert (record.bid_count, record.ask_count, record.state) == (2, 1, LIVE)
    assert (record.bids[1].price, record.bids[1].quantity) == (9, 2)
    assert (record.asks[0].price, record.asks[0].quantity) == (11, 3)
    assert (entry.head.epoch, entry.head.sequence, entry.head.flags) == (5, 3, 1)
    assert (entry.event_count, entry.tells_state, entry.state, entry.reason) == (3, True, STALE, 4)


FAR = 1 << 62
BROKEN = [
    (b"", b"", lib.TP_RELAY_TRUNCATED),
    (head() + SOUND[:-1], b"", lib.TP_RELAY_TRUNCATED),
    (head() + SOUND + b"\0", b"", lib.TP_RELAY_TRUNCATED),
    (head()[:-1], b"", lib.TP_RELAY_TRUNCATED),
    (head() + SOUND[:111], b"", lib.TP_RELAY_TRUNCATED),
    (head(format=1) + SOUND, b"", lib.TP_RELAY_WRONG_FORMAT),
    (head(flags=2) + SOUND, b"", lib.TP_RELAY_UNKNOWN_FLAGS),
    (head(instrument=8) + SOUND, b"", lib.TP_RELAY_OTHER_ONE),
    (head(sent=-1) + SOUND, b"", lib.TP_RELAY_STAMP_TOO_FAR),
    (head(offset=-FAR) + SOUND, b"", lib.TP_RELAY_STAMP_TOO_FAR),
    (head() + book([], [], instrument=6), b"", lib.TP_RELAY_OTHER_ONE),
    (head() + book([], [], state=4), b"", lib.TP_RELAY_UNKNOWN_STATE),
    (head() + book([], [], reason=16), b"", lib.TP_RELAY_UNKNOWN_STATE),
    (head() + book([], [], price=1), b"", lib.TP_RELAY_WRONG_SCALE),
    (head() + book([], [], quantity=-19), b"", lib.TP_RELAY_WRONG_SCALE),
    (head() + book([], [], flags=1), b"", lib.TP_RELAY_UNKNOWN_FLAGS),
    (head() + book([], [], verified=FAR), b"", lib.TP_RELAY_STAMP_TOO_FAR),
    (head() + book([], [], received=FAR), b"", lib.TP_RELAY_STAMP_TOO_FAR),
    (head() + book([], [], bid_count=21), b"", lib.TP_RELAY_TOO_DEEP),
    (head() + book([], [], ask_count=0xFFFF), b"", lib.TP_RELAY_TOO_DEEP),
    (head() + book([(10, 0)], []), b"", lib.TP_RELAY_EMPTY_LEVEL),
    (head() + book([], [(10, -1)]), b"", lib.TP_RELAY_EMPTY_LEVEL),
    (head() + book([(9, 1), (9, 1)], []), b"", lib.TP_RELAY_DISORDER),
    (head() + book([], [(9, 1), (8, 1)]), b"", lib.TP_RELAY_DISORDER),
    (head() + book([(10, 1)], [(10, 1)]), b"", lib.TP_RELAY_CROSSED_LIVE),
    (head() + SOUND, LEVEL[:-1], lib.TP_RELAY_TOO_MANY_EVENTS),
    (head() + SOUND, LEVEL * ((1 << 16) + 1), lib.TP_RELAY_TOO_MANY_EVENTS),
    (head() + SOUND, event(2, 1, 1, 2, 1, instrument=8), lib.TP_RELAY_OTHER_ONE),
    (head() + SOUND, event(0, 0, 0, 0, 0), lib.TP_RELAY_UNKNOWN_EVENT),
    (head() + SOUND, event(11, 0, 0, 0, 0), lib.TP_RELAY_UNKNOWN_EVENT),
    (head() + SOUND, event(5, 1, -1, 0, 0), lib.TP_RELAY_EMPTY_LEVEL),
    (head() + SOUND, event(5, 1, 1, 0, 0, flags=1), lib.TP_RELAY_UNKNOWN_FLAGS),
    (head() + SOUND, event(6, 1, -1, 0, 0), lib.TP_RELAY_EMPTY_LEVEL),
    (head() + SOUND, event(7, FAR, 0, 0, 0), lib.TP_RELAY_STAMP_TOO_FAR),
    (head() + SOUND, event(9, 5, 0, 0, 0), lib.TP_RELAY_UNKNOWN_STATE),
    (head() + SOUND, event(10, FAR, 0, 0, 0), lib.TP_RELAY_STAMP_TOO_FAR),
    (head() + SOUND, event(2, 1, 1, 2, 1, price=1), lib.TP_RELAY_WRONG_SCALE),
    (head() + SOUND, event(2, 1, 1, 2, 1, quantity=-19), lib.TP_RELAY_WRONG_SCALE),
    (head() + SOUND, event(1, 1, 1, 0, 0, flags=2), lib.TP_RELAY_UNKNOWN_FLAGS),
    (head() + SOUND, event(2, 1, 1, 2, 1, flags=1), lib.TP_RELAY_UNKNOWN_FLAGS),
    (head() + SOUND, event(1, 1, -1, 0, 0), lib.TP_RELAY_EMPTY_LEVEL),
    (head() + SOUND, event(2, 1, 1, 2, -1), lib.TP_RELAY_EMPTY_LEVEL),
    (head() + SOUND, event(3, 4, 0, 0, 0), lib.TP_RELAY_UNKNOWN_STATE),
    (head() + SOUND, event(3, 1, -1, 0, 0), lib.TP_RELAY_UNKNOWN_STATE),
    (head() + SOUND, event(1, 1, 1, 0, 0, at=FAR), lib.TP_RELAY_STAMP_TOO_FAR),
]


@pytest.mark.parametrize(("data", "events", "fault"), BROKEN)
def test_relay_entry_that_cannot_be_is_refused_with_the_reason(
    data: bytes, events: bytes, fault: int
) -> None:
    with pytest.raises(WireError) as refused:
        read(data, events)
    assert FAULTS[fault] in str(refused.value)


@pytest.mark.parametrize("ahead_s", [-5, 3600])
def test_relay_stamp_of_the_future_is_now(ahead_s: int) -> None:
    """A source whose clock is an hour ahead must not make a book fresh for an hour."""
    unix_ns = time.time_ns() + ahead_s * 10**9
    stamps = dict.fromkeys(("received", "taken", "decoded", "message"), 1)
    data = head(instrument=0, offset=unix_ns - 1) + book([(10, 1)], [], instrument=0, **stamps)
    entry = ffi.new("struct tp_relay_entry *")
    read_entry(entry, {b"b": data, b"e": b""}, 0)
    instance = f"unit-relay-{os.getpid()}"
    made = LocalSegment(instance, INSTRUMENTS)
    try:
        with open_reader(instance, stale_after_ns=60 * 10**9) as reader:
            before_ns = time.monotonic_ns()
            made.put(entry)
            after_ns = time.monotonic_ns()
            record = reader.book(0)
            found = (record.received_ns, record.decoded_ns)
    finally:
        made.close()
    slack_ns = 1_000_000
    if ahead_s > 0:
        assert all(before_ns - slack_ns <= one <= after_ns + slack_ns for one in found)
    else:
        least_ns = before_ns + ahead_s * 10**9 - 10**9  # this test may be held up before
        assert all(least_ns <= one <= after_ns + ahead_s * 10**9 + slack_ns for one in found)


def test_relay_entry_crossed_is_sound_where_it_is_not_live() -> None:
    assert read(head() + book([(10, 1)], [(10, 1)], state=3)).record.state == 3


def test_relay_every_fault_has_words() -> None:
    kind = ffi.typeof("enum tp_relay_fault")
    assert set(FAULTS) == set(kind.elements) - {lib.TP_RELAY_SOUND}


@given(st.binary(max_size=900), st.binary(max_size=400))
@settings(max_examples=300)
def test_relay_entry_of_any_bytes_is_refused_or_sound(data: bytes, events: bytes) -> None:
    try:
        entry = read(data, events)
    except WireError:
        return
    assert entry.record.bid_count <= 20


@given(st.data())
@settings(max_examples=300)
def test_relay_entry_with_bytes_changed_is_refused_or_in_order(data: st.DataObject) -> None:
    whole = bytearray(head() + SOUND)
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        record = read(bytes(whole), LEVEL + TOP).record
    except WireError:
        return
    bids = [record.bids[i].price for i in range(record.bid_count)]
    assert bids == sorted(bids, reverse=True)
    assert record.instrument == 7


def test_relay_wake_up_and_feed_come_back_as_they_went() -> None:
    wake = Wake(KIND_HEARTBEAT, 3, 1 << 63, 9, 10**18, (0, 4))
    assert read_wake(write_wake(wake), 5) == wake
    record = FeedRecord((1 << 63) + 1, INSTRUMENTS)
    assert read_feed(write_feed(record)) == record


def test_relay_wake_up_layout_is_the_documented_one() -> None:
    data = struct.pack("<HHIIIQQq2I", 2, 1, 2, 3, 0, 5, 6, 7, 0, 1)
    assert read_wake(data, 2) == Wake(1, 3, 5, 6, 7, (0, 1))


@pytest.mark.parametrize(
    "data",
    [
        None,
        7,
        b"",
        b"\0" * 40,
        struct.pack("<HHIIIQQq", 1, 1, 0, 0, 0, 1, 1, 1),
        struct.pack("<HHIIIQQq", 2, 3, 0, 0, 0, 1, 1, 1),
        struct.pack("<HHIIIQQq", 2, 1, 9, 0, 0, 1, 1, 1),
        struct.pack("<HHIIIQQqI", 2, 1, 1, 0, 0, 1, 1, 1, 2),
    ],
)
def test_relay_wake_up_that_cannot_be_is_refused(data: object) -> None:
    with pytest.raises(WireError):
        read_wake(data, 2)


def row(**changes: Any) -> bytes:
    values = {"venue": b"mexc", "symbol": b"BTC", "price": -2, "quantity": -6, "tick": 1} | changes
    head = struct.pack("<16s72s64xBBbbbbH", *list(values.values())[:2], 0, 1, *scale(values))
    return head + struct.pack("<5q48x", values["tick"], 1, 0, 0, 1)


def scale(values: dict[str, Any]) -> tuple[int, ...]:
    return values["price"], values["quantity"], 0, 0, 0


def feed(**changes: bytes) -> dict[bytes, bytes]:
    fields = {"format": b"2", "schema": f"{schema_hash(SCHEMA):016x}".encode(), "epoch": b"5"}
    fields["instruments"] = row()
    return {name.encode(): value for name, value in (fields | changes).items()}


def test_relay_feed_with_a_row_that_its_source_cannot_read_has_all_others() -> None:
    instruments = (*INSTRUMENTS, unreadable(2))
    assert read_feed(write_feed(FeedRecord(5, instruments))).instruments == instruments


def test_relay_events_of_every_type_are_read() -> None:
    more = [event(5, 10, 1, 2, 77, flags=2 | 8 | 0x20), event(6, 10, 1, 11, 1, flags=0x10)]
    more += [
        event(7, 5, 5, 2, 1),
        event(8, 2, 2, 0, 0),
        event(9, 3, 0, 2, 0),
        event(10, 5, 1, 0, 9),
    ]
    assert read(head() + SOUND, b"".join(more)).event_count == 6


def test_relay_feed_built_by_hand_is_read() -> None:
    assert read_feed(feed()) == FeedRecord(5, (Instrument(0, "mexc", "BTC", -2, -6, 1),))
    foreign = FeedRecord(5, (Instrument(0, "mexc", "币安人生USDT", -2, -6, 1),))
    assert read_feed(feed(instruments=row(symbol="币安人生USDT".encode()))) == foreign
    assert write_feed(foreign)[b"instruments"] == row(symbol="币安人生USDT".encode())


@pytest.mark.parametrize(
    "changes",
    [
        {"format": b"1"},
        {"schema": b"0" * 16},
        {"epoch": b"0"},
        {"epoch": b"-1"},
        {"epoch": b"18446744073709551616"},
        {"epoch": b"9" * 5000},
        {"instruments": b""},
        {"instruments": row()[:-1]},
        {"instruments": row() + row()},
        {"instruments": row(symbol=b"")},
        {"instruments": row(symbol=b"x" * 72)},
        {"instruments": row(symbol=b"a\0b")},
        {"instruments": row(symbol=b"a b")},
        {"instruments": row(symbol=b"a\xff")},
        {"instruments": row(symbol="a\N{IDEOGRAPHIC SPACE}b".encode())},
        {"instruments": row(symbol="a\N{RIGHT-TO-LEFT OVERRIDE}b".encode())},
        {"instruments": row(venue=b"\x1b[2J")},
        {"instruments": row(price=1)},
        {"instruments": row(quantity=-19)},
        {"instruments": row(tick=0)},
    ],
)
def test_relay_feed_that_cannot_be_is_refused(changes: dict[str, bytes]) -> None:
    with pytest.raises(WireError):
        read_feed(feed(**changes))


@given(st.binary(max_size=200), st.dictionaries(st.binary(max_size=12), st.binary(max_size=130)))
@settings(max_examples=300)
def test_relay_any_bytes_as_wake_up_or_feed_are_refused(
    data: bytes, fields: dict[bytes, bytes]
) -> None:
    for read_it in (lambda: read_wake(data, 4), lambda: read_feed(feed() | fields)):
        try:
            read_it()
        except WireError:
            continue


def test_relay_keys_are_the_documented_ones() -> None:
    keys = Keys("demo")
    assert keys.feed == b"tickpath:{demo}:feed"
    assert keys.book(INSTRUMENTS[0]) == b"tickpath:{demo:mexc:BTCUSDT}:book"
    assert keys.events(INSTRUMENTS[0]) == b"tickpath:{demo:mexc:BTCUSDT}:events"
