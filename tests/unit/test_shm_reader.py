"""Readers: what they see of events, snapshots, laps, and writers that stop, die and return."""

from __future__ import annotations

import contextlib
import random
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tickpath._core import ffi, lib
from tickpath.engine.feed_segment import (
    SCHEMA,
    Instrument,
    make_layout,
    write_instruments,
)
from tickpath.engine.reader import (
    RESTARTED,
    BookState,
    EventType,
    FeedReader,
    Lapped,
    SyncReason,
    WriterSilent,
    open_reader,
)
from tickpath.shm.reader import Reader, Result
from tickpath.shm.segment import SegmentError, SegmentLayout, SegmentNotReadyError, SegmentWriter

if TYPE_CHECKING:
    from collections.abc import Iterator

INSTRUMENTS = (
    Instrument(0, "mexc", "BTCUSDT", -2, -6, 1),
    Instrument(1, "mexc", "ETHUSDT", -2, -5, 1),
)


class Feed:
    """A writer as engine/feed is one: the book first, then the events of the change."""

    def __init__(self, directory: Path, capacity: int = 64) -> None:
        layout = make_layout(INSTRUMENTS, ring_capacity=capacity)
        self.segment = SegmentWriter("unit", layout, directory=directory)
        write_instruments(self.segment, INSTRUMENTS)
        self.segment.ready()
        self.ring = lib.tp_segment_ring_writer(self.segment.pointer)
        self.table = lib.tp_segment_snapshot_writer(self.segment.pointer)
        self.event = ffi.new("uint64_t[7]")
        self.record = ffi.new("uint64_t[87]")

    def publish(
        self, kind: int, value: tuple[int, ...], instrument: int = 0, flags: int = 0
    ) -> int:
        now = self.segment.now_ns()
        head = struct.pack("<IHHQQ", instrument, kind, flags, now - 500, now)
        ffi.buffer(self.event)[:] = head + struct.pack("<4q", *value)
        return int(lib.tp_ring_publish(self.ring, self.event))

    def snapshot(self, bid: int, ask: int, instrument: int = 0, state: int = 1) -> None:
        now = self.segment.now_ns()
        record = struct.pack(
            "<5QIHHII", 7, 1, now - 500, now - 100, now, instrument, state, 0, 1, 2
        )
        bids = struct.pack("<2q", bid, 10).ljust(320, b"\0")
        asks = struct.pack("<4q", ask, 20, ask + 1, 30).ljust(320, b"\0")
        ffi.buffer(self.record)[:] = record + bids + asks
        lib.tp_snapshot_publish(self.table, instrument, self.ring.next, self.record, 87)


@pytest.fixture
def feed(tmp_path: Path) -> Iterator[Feed]:
    feed = Feed(tmp_path)
    yield feed
    feed.segment.close()


def calm_reader(directory: Path) -> FeedReader:
    """Open one that a busy test machine does not make call its writer silent."""
    return open_reader("unit", directory=directory, stale_after_ns=60 * 10**9)


def test_reader_takes_events_with_their_fields(feed: Feed, tmp_path: Path) -> None:
    feed.publish(EventType.TOP, (1, 2, 3, 4))
    with calm_reader(tmp_path) as reader:
        feed.publish(EventType.LEVEL, (10_050, 7, 99, 1234), instrument=1, flags=1)
        feed.publish(EventType.TOP, (10_049, 5, -1, 0))
        assert reader.next() == Result.EVENT
        event = reader.event
        # Stands at the head: what was published before it opened is in the snapshots.
        assert (event.index, event.instrument, event.type, event.is_ask) == (1, 1, 1, True)
        assert (event.price, event.quantity) == (10_050, 7)
        assert (event.exchange_ns, event.book_sequence) == (99, 1234)
        assert event.published_ns - event.received_ns == 500
        assert reader.next() == Result.EVENT
        assert event.type == EventType.TOP
        assert (event.bid_price, event.ask_price, event.ask_quantity) == (10_049, -1, 0)
        assert reader.shm.poll() == Result.EMPTY


def test_reader_shows_instruments_and_their_scale(feed: Feed, tmp_path: Path) -> None:
    with calm_reader(tmp_path) as reader:
        assert reader.instruments == INSTRUMENTS
        assert reader.instruments[0].price(6_789_001) == pytest.approx(67890.01)


def test_book_is_read_whole_and_copied(feed: Feed, tmp_path: Path) -> None:
    with calm_reader(tmp_path) as reader:
        feed.publish(EventType.TOP, (0, 0, 0, 0))
        feed.snapshot(100, 101)
        book = reader.book(0)
        assert book.is_live
        assert (book.state, book.why, book.version, book.ring_index) == (BookState.LIVE, "", 1, 1)
        assert (book.bid, book.ask) == ((100, 10), (101, 20))
        assert book.bids == [(100, 10)]
        assert book.asks == [(101, 20), (102, 30)]
        kept = book.copy()
        feed.snapshot(200, 201)
        reader.book(0)
        assert book.bid == (200, 10)
        assert kept.bid == (100, 10)


def test_book_never_published_is_syncing_and_empty(feed: Feed, tmp_path: Path) -> None:
    feed.snapshot(100, 101)
    with calm_reader(tmp_path) as reader:
        reader.book(0)
        book = reader.book(1)
        assert (book.state, book.reason) == (BookState.SYNCING, SyncReason.STARTING)
        assert (book.instrument, book.bids, book.asks, book.bid) == (1, [], [], (0, 0))
        for wrong in (-1, 2):
            with pytest.raises(IndexError, match="0 to 1"):
                reader.book(wrong)


def test_book_with_hostile_counts_stays_inside_the_record(feed: Feed, tmp_path: Path) -> None:
    with calm_reader(tmp_path) as reader:
        ffi.buffer(feed.record)[:] = b"\xff" * (87 * 8)
        lib.tp_snapshot_publish(feed.table, 0, 0, feed.record, 87)
        book = reader.book(0)
        assert len(book.bids) == len(book.asks) == 20
        assert not book.is_live


def test_reader_lapped_is_told_how_many_and_goes_on_at_the_head(feed: Feed, tmp_path: Path) -> None:
    with calm_reader(tmp_path) as reader:
        for i in range(100):
            feed.publish(EventType.TOP, (i, 1, i + 1, 1))
        assert next(iter(reader)) == Lapped(100)
        assert reader.shm.poll() == Result.EMPTY
        feed.publish(EventType.TOP, (777, 1, 778, 1))
        assert reader.next() == Result.EVENT
        assert (reader.event.index, reader.event.bid_price) == (100, 777)
        assert reader.shm.lost_total == 100


def test_reader_exactly_one_ring_behind_loses_nothing(feed: Feed, tmp_path: Path) -> None:
    with calm_reader(tmp_path) as reader:
        for i in range(64):
            feed.publish(EventType.TOP, (i, 1, i + 1, 1))
        got = [reader.event.bid_price for _ in range(64) if reader.next() == Result.EVENT]
        assert got == list(range(64))


def test_batch_hands_over_rows_and_then_the_loss(feed: Feed, tmp_path: Path) -> None:
    dtype = np.dtype(
        [
            ("index", "u8"),
            ("instrument", "u4"),
            ("type", "u2"),
            ("flags", "u2"),
            ("received_ns", "u8"),
            ("published_ns", "u8"),
            ("value", "i8", 4),
        ]
    )
    with Reader("unit", directory=tmp_path) as reader:
        for i in range(10):
            feed.publish(EventType.TOP, (i, 1, i + 1, 1), instrument=1)
        rows = reader.batch(dtype)
        assert rows["index"].tolist() == list(range(10))
        assert rows["value"][:, 0].tolist() == list(range(10))
        assert set(rows["instrument"]) == {1}
        assert len(reader.batch()) == 0
        for i in range(65):
            feed.publish(EventType.TOP, (i, 1, i + 1, 1))
        assert len(reader.batch()) == 0
        assert (reader.lost, reader.lost_total) == (65, 65)


def test_reader_opened_with_another_schema_is_refused(feed: Feed, tmp_path: Path) -> None:
    with pytest.raises(SegmentError, match="same tickpath version") as caught:
        Reader("unit", schema=SCHEMA + "book extra 0 u8\n", directory=tmp_path)
    assert caught.value.reason == "wrong schema"


def test_open_reader_waits_for_the_writer_only_so_long(tmp_path: Path) -> None:
    with pytest.raises(SegmentNotReadyError):
        open_reader("unit", directory=tmp_path, wait_s=0.02)


def test_silent_writer_makes_every_book_stale_and_its_return_live(
    feed: Feed, tmp_path: Path
) -> None:
    feed.snapshot(100, 101)
    feed.segment.heartbeat()
    # Nobody beats the heart here but us, so the clock alone decides.
    with open_reader("unit", directory=tmp_path, stale_after_ns=400_000_000) as reader:
        assert reader.book(0).is_live
        assert next(iter(reader)) == WriterSilent()
        book = reader.book(0)
        assert (book.state, book.reason) == (BookState.STALE, SyncReason.SILENT)
        assert book.published_state == BookState.LIVE
        assert not book.is_live
        assert "its writer is silent for" in book.why
        feed.segment.heartbeat()
        assert reader.next() == Result.ALIVE
        assert reader.book(0).is_live


def test_writer_closed_makes_books_stale_and_a_new_one_is_followed(tmp_path: Path) -> None:
    feed = Feed(tmp_path)
    feed.snapshot(100, 101)
    feed.publish(EventType.TOP, (100, 10, 101, 20))
    with calm_reader(tmp_path) as reader:
        feed.publish(EventType.TOP, (110, 10, 111, 20))
        feed.segment.close()
        assert reader.next() == Result.EVENT  # the last event is not lost
        assert reader.event.bid_price == 110
        assert reader.next() == Result.EMPTY
        book = reader.book(0)
        assert (book.state, book.reason) == (BookState.STALE, SyncReason.DISCONNECTED)
        assert reader.is_down
        second = Feed(tmp_path)
        second.snapshot(200, 201)
        with contextlib.closing(second.segment):
            assert wait_for(reader, RESTARTED)
            assert reader.book(0).bid == (200, 10)
            assert not reader.is_down
            second.publish(EventType.TOP, (210, 1, 211, 1))
            assert reader.next() == Result.EVENT
            assert (reader.event.index, reader.event.bid_price) == (0, 210)


def wait_for(reader: Any, wanted: int) -> bool:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if reader.next() == wanted:
            return True
    return False


def test_closed_reader_tells_moved_and_does_not_crash(feed: Feed, tmp_path: Path) -> None:
    reader = Reader("unit", directory=tmp_path)
    reader.close()
    reader.close()
    assert reader.poll() == Result.EMPTY
    assert reader.look() == Result.MOVED
    assert reader.read_snapshot(0) == 0
    assert len(reader.batch()) == 0
    with pytest.raises(ValueError, match="closed"):
        reader.reopen()


WRITER = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_shm_reader import Feed, EventType
feed = Feed(Path(sys.argv[1]), 1024)
print("up", flush=True)
i = 0
while True:
    for _ in range(500):
        i += 1
        feed.snapshot(i, i + 1)
        feed.publish(EventType.TOP, (i, i, i + 1, i))
    feed.segment.heartbeat()
    time.sleep(0.0002)
"""


@contextlib.contextmanager
def writer_process(directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", WRITER, str(directory), str(Path(__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == b"up\n"
            yield child
        finally:
            child.kill()


def follow(reader: Any, seconds: float) -> tuple[int, set[int]]:
    """Read on, check every event and book, and say how many events and which results came."""
    end, count, results, last = time.monotonic() + seconds, 0, set(), -1
    while time.monotonic() < end:
        result = reader.next()
        results.add(result)
        if result == Result.EVENT:
            count += 1
            event = reader.event
            bid, quantity, ask, other = event.value
            assert bid == quantity == ask - 1 == other
            assert event.index > last
            last = event.index
            book = reader.book(0)
            # The book was published before the event: it is never older.
            assert book.bid[0] >= bid
            assert book.ask[0] == book.bid[0] + 1
        elif result == RESTARTED:
            last = -1
    return count, results


def test_writer_killed_in_mid_publish_and_restarted_is_followed(tmp_path: Path) -> None:
    chooser = random.Random(5)  # noqa: S311  # a test wants the same numbers each time
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(writer_process(tmp_path))
        reader = stack.enter_context(open_reader("unit", directory=tmp_path))
        for _ in range(3):
            count, _ = follow(reader, 0.1 + chooser.random() / 20)
            assert count > 100
            first.kill()
            first.wait()
            first = stack.enter_context(writer_process(tmp_path))
            assert wait_for(reader, RESTARTED)
            assert reader.book(0).bid[0] > 0


def test_writer_stopped_turns_books_stale_until_it_continues(tmp_path: Path) -> None:
    with writer_process(tmp_path) as child, open_reader("unit", directory=tmp_path) as reader:
        follow(reader, 0.05)
        child.send_signal(signal.SIGSTOP)
        assert wait_for(reader, Result.SILENT)
        assert reader.book(0).state == BookState.STALE
        child.send_signal(signal.SIGCONT)
        assert wait_for(reader, Result.EVENT)
        assert wait_for_live(reader)


def wait_for_live(reader: Any) -> bool:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        reader.next()
        if reader.book(0).is_live and not reader.is_down:
            return True
    return False


def test_blocking_reader_takes_events_too(feed: Feed, tmp_path: Path) -> None:
    with calm_reader(tmp_path) as reader:
        reader.set_wait(block=True)
        assert reader.next() == Result.EMPTY
        feed.publish(EventType.TOP, (1, 2, 3, 4))
        assert reader.next() == Result.EVENT


def test_reader_of_a_segment_without_a_ring_is_empty(tmp_path: Path) -> None:
    with SegmentWriter("unit", SegmentLayout(schema="x"), directory=tmp_path) as writer:
        writer.ready()
        with Reader("unit", directory=tmp_path) as reader:
            assert reader.poll() == Result.EMPTY
            assert len(reader.batch()) == 0
            assert reader.read_snapshot(0) == 0
