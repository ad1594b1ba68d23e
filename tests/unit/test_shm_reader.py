"""Readers: what they see of events, snapshots, laps, and writers that stop, die and return."""

from __future__ import annotations

import contextlib
import copy
import pickle
import random
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tickpath._core import ffi, lib
from tickpath.engine.client.feed_segment import SCHEMA
from tickpath.engine.client.reader import (
    RESTARTED,
    BookState,
    EventType,
    FeedReader,
    Lapped,
    SyncReason,
    WriterSilent,
    open_reader,
)
from tickpath.engine.strategy.rehearsal import RehearsalFeed
from tickpath.proto.instrument import Instrument
from tickpath.shm.reader import Reader, Result
from tickpath.shm.segment import SegmentError, SegmentLayout, SegmentNotReadyError, SegmentWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

INSTRUMENTS = (
    Instrument(0, "mexc", "BTCUSDT", -2, -6, 1),
    Instrument(1, "mexc", "ETHUSDT", -2, -5, 1),
)


def make_feed(directory: Path, capacity: int = 64) -> RehearsalFeed:
    return RehearsalFeed("unit", INSTRUMENTS, directory=directory, ring_capacity=capacity)


@pytest.fixture
def feed(tmp_path: Path) -> Iterator[RehearsalFeed]:
    with make_feed(tmp_path) as feed:
        yield feed


def calm_reader(directory: Path) -> FeedReader:
    """Open one that a busy test machine does not make call its writer silent."""
    return open_reader("unit", directory=directory, stale_after_ns=60 * 10**9)


def test_reader_takes_events_with_their_fields(feed: RehearsalFeed, tmp_path: Path) -> None:
    feed.publish_event(EventType.TOP, (1, 2, 3, 4))
    with calm_reader(tmp_path) as reader:
        feed.publish_event(EventType.LEVEL, (10_050, 7, 99, 1234), instrument=1, flags=1)
        feed.publish_event(EventType.TOP, (10_049, 5, -1, 0))
        assert reader.next() == Result.EVENT
        event = reader.event
        # Stands at the head: what was published before it opened is in the snapshots.
        assert (event.index, event.instrument, event.type, event.is_ask) == (1, 1, 1, True)
        assert (event.price, event.quantity) == (10_050, 7)
        assert (event.exchange_ns, event.book_sequence) == (99, 1234)
        assert event.published_ns - event.received_ns == 500
        assert reader.next() == Result.EVENT
        assert event.type == EventType.TOP
        assert (event.bid, event.ask, event.ask_quantity) == (10_049, -1, 0)
        assert reader.shm.poll() == Result.EMPTY


def test_reader_shows_instruments_and_their_scale(feed: RehearsalFeed, tmp_path: Path) -> None:
    with calm_reader(tmp_path) as reader:
        assert reader.instruments == INSTRUMENTS
        assert reader.instruments[0].price(6_789_001) == pytest.approx(67890.01)


def test_book_is_read_whole_and_copied(feed: RehearsalFeed, tmp_path: Path) -> None:
    with calm_reader(tmp_path) as reader:
        feed.publish_event(EventType.TOP, (0, 0, 0, 0))
        feed.publish_book([(100, 10)], [(101, 20), (101 + 1, 30)])
        book = reader.book(0)
        assert book.is_live
        assert (book.state, book.why, book.version, book.ring_index) == (BookState.LIVE, "", 1, 1)
        assert (book.bid, book.ask) == ((100, 10), (101, 20))
        assert book.bids == [(100, 10)]
        assert book.asks == [(101, 20), (102, 30)]
        kept = book.copy()
        feed.publish_book([(200, 10)], [(201, 20), (201 + 1, 30)])
        reader.book(0)
        assert book.bid == (200, 10)
        assert kept.bid == (100, 10)


def test_books_of_several_instruments_are_held_side_by_side(
    feed: RehearsalFeed, tmp_path: Path
) -> None:
    with calm_reader(tmp_path) as reader:
        for i in (0, 1):
            feed.publish_book([(100 + i, 10)], [(200 + i, 20)], i)
        first, second = (reader.book(one.index) for one in INSTRUMENTS)
        assert (first.instrument, first.bid) == (0, (100, 10))
        assert (second.instrument, second.bid) == (1, (101, 10))
        feed.publish_book([(150, 10)], [(200, 20)])
        assert reader.book("BTCUSDT") is first
        assert reader.book("BTC/USDT") is first
        assert (first.bid, second.bid) == ((150, 10), (101, 10))


def through_pickle(one: Any) -> Any:
    return pickle.loads(pickle.dumps(one))  # noqa: S301  # our own bytes


@pytest.mark.parametrize("keep", [copy.copy, copy.deepcopy, through_pickle])
def test_books_and_events_are_kept_as_they_are_by_copies_and_pickles(
    feed: RehearsalFeed, tmp_path: Path, keep: Callable[[Any], Any]
) -> None:
    with calm_reader(tmp_path) as reader:
        feed.publish_top((100, 10), (101, 20), 1)
        assert reader.next() == Result.EVENT
        shown = repr(reader.book(1)), repr(reader.event)
        book, event = keep(reader.book(1)), keep(reader.event)
        again = keep(book)
        feed.publish_top((200, 10), (201, 20), 1)
        reader.next()
        reader.book(1)
    assert (repr(book), repr(event)) == shown
    assert (book.instrument, book.bid, book.is_live) == (1, (100, 10), True)
    assert (again.asks, event.bid, event.index) == ([(101, 20)], 100, 0)


@pytest.mark.parametrize("keep", [copy.copy, copy.deepcopy, pickle.dumps])
def test_reader_goes_to_no_other_process_and_says_what_does(
    feed: RehearsalFeed, tmp_path: Path, keep: Callable[[Any], Any]
) -> None:
    """As an argument of multiprocessing (spawn, forkserver), or of a pool's task."""
    with calm_reader(tmp_path) as reader:
        with pytest.raises(TypeError, match=r"give open_reader\('.*'\) to the other process"):
            keep(reader)
        assert reader.shm.look() == Result.EMPTY


def test_books_and_events_print_names_and_values(feed: RehearsalFeed, tmp_path: Path) -> None:
    with calm_reader(tmp_path) as reader:
        feed.publish_top((100, 10), (101, 20), 1)
        reader.next()
        book, event = reader.book(1), reader.event
        assert repr(book) == "Book(instrument=1, LIVE, bid=(100, 10), ask=(101, 20))"
        assert repr(event) == "Event(index=0, instrument=1, TOP, (100, 10, 101, 20))"
        assert f"{event.type} {book.state} {book.reason:>6}" == "TOP LIVE   NONE"
        assert (event.type, f"{event.type:02d}", event.type > 1) == (2, "02", True)
        assert repr(reader.book(0)) == (
            "Book(instrument=0, SYNCING (starting), bid=(0, 0), ask=(0, 0))"
        )
        feed.publish_state(BookState.STALE, SyncReason.GAP)
        reader.next()
        assert (str(event.type), str(event.state), str(event.reason)) == ("STATE", "STALE", "GAP")
        feed.publish_event(77, (1, 2, 3, 4))  # of a newer writer: nothing to stumble over
        reader.next()
        assert event.type == 77


def test_book_never_published_is_syncing_and_empty(feed: RehearsalFeed, tmp_path: Path) -> None:
    feed.publish_book([(100, 10)], [(101, 20), (101 + 1, 30)])
    with calm_reader(tmp_path) as reader:
        reader.book(0)
        book = reader.book(1)
        assert (book.state, book.reason) == (BookState.SYNCING, SyncReason.STARTING)
        assert (book.instrument, book.bids, book.asks, book.bid) == (1, [], [], (0, 0))
        for wrong in (-1, 2):
            with pytest.raises(IndexError, match="0 to 1"):
                reader.book(wrong)


def test_book_with_hostile_counts_stays_inside_the_record(
    feed: RehearsalFeed, tmp_path: Path
) -> None:
    with calm_reader(tmp_path) as reader:
        record = ffi.new("uint64_t[94]", [(1 << 64) - 1] * 94)
        lib.tp_snapshot_publish(feed.snapshots, 0, 0, record, 94)
        book = reader.book(0)
        assert len(book.bids) == len(book.asks) == 20
        assert not book.is_live


def test_reader_lapped_is_told_how_many_and_goes_on_at_the_head(
    feed: RehearsalFeed, tmp_path: Path
) -> None:
    with calm_reader(tmp_path) as reader:
        for i in range(100):
            feed.publish_event(EventType.TOP, (i, 1, i + 1, 1))
        assert next(iter(reader)) == Lapped(100)
        assert reader.shm.poll() == Result.EMPTY
        feed.publish_event(EventType.TOP, (777, 1, 778, 1))
        assert reader.next() == Result.EVENT
        assert (reader.event.index, reader.event.bid) == (100, 777)
        assert reader.shm.lost_total == 100


def test_reader_exactly_one_ring_behind_loses_nothing(feed: RehearsalFeed, tmp_path: Path) -> None:
    with calm_reader(tmp_path) as reader:
        for i in range(64):
            feed.publish_event(EventType.TOP, (i, 1, i + 1, 1))
        got = [reader.event.bid for _ in range(64) if reader.next() == Result.EVENT]
        assert got == list(range(64))


def test_batch_hands_over_rows_and_then_the_loss(feed: RehearsalFeed, tmp_path: Path) -> None:
    dtype = np.dtype(
        [
            ("index", "u8"),
            ("instrument", "u2"),
            ("type", "u1"),
            ("flags", "u1"),
            ("scale", "i1", 2),
            ("connection", "u2"),
            ("received_ns", "u8"),
            ("published_ns", "u8"),
            ("value", "i8", 4),
        ]
    )
    with Reader("unit", directory=tmp_path) as reader:
        for i in range(10):
            feed.publish_event(EventType.TOP, (i, 1, i + 1, 1), instrument=1)
        rows = reader.batch(dtype)
        assert rows["index"].tolist() == list(range(10))
        assert rows["value"][:, 0].tolist() == list(range(10))
        assert set(rows["instrument"]) == {1}
        assert len(reader.batch()) == 0
        for i in range(65):
            feed.publish_event(EventType.TOP, (i, 1, i + 1, 1))
        assert len(reader.batch()) == 0
        assert (reader.lost, reader.lost_total) == (65, 65)


def test_reader_opened_with_another_schema_is_refused(feed: RehearsalFeed, tmp_path: Path) -> None:
    with pytest.raises(SegmentError, match="same tickpath version") as caught:
        Reader("unit", schema=SCHEMA + "book extra 0 u8\n", directory=tmp_path)
    assert caught.value.reason == "wrong schema"


def test_open_reader_waits_for_the_writer_only_so_long(tmp_path: Path) -> None:
    with pytest.raises(SegmentNotReadyError):
        open_reader("unit", directory=tmp_path, wait_s=0.02)


def test_silent_writer_makes_every_book_stale_and_its_return_live(
    feed: RehearsalFeed, tmp_path: Path
) -> None:
    feed.publish_book([(100, 10)], [(101, 20), (101 + 1, 30)])
    feed.heartbeat()
    # Nobody beats the heart here but us, so the clock alone decides.
    with open_reader("unit", directory=tmp_path, stale_after_ns=400_000_000) as reader:
        assert reader.book(0).is_live
        assert next(iter(reader)) == WriterSilent()
        book = reader.book(0)
        assert (book.state, book.reason) == (BookState.STALE, SyncReason.SILENT)
        assert book.published_state == BookState.LIVE
        assert not book.is_live
        assert "its writer is silent for" in book.why
        feed.heartbeat()
        assert reader.next() == Result.ALIVE
        assert reader.book(0).is_live


def test_writer_closed_makes_books_stale_and_a_new_one_is_followed(tmp_path: Path) -> None:
    feed = make_feed(tmp_path)
    feed.publish_book([(100, 10)], [(101, 20), (101 + 1, 30)])
    feed.publish_event(EventType.TOP, (100, 10, 101, 20))
    with calm_reader(tmp_path) as reader:
        feed.publish_event(EventType.TOP, (110, 10, 111, 20))
        feed.close()
        assert reader.next() == Result.EVENT  # the last event is not lost
        assert reader.event.bid == 110
        assert reader.next() == Result.SILENT
        assert reader.next() == Result.EMPTY
        book = reader.book(0)
        assert (book.state, book.reason) == (BookState.STALE, SyncReason.DISCONNECTED)
        assert reader.is_down
        with make_feed(tmp_path) as second:
            second.publish_book([(200, 10)], [(201, 20)])
            assert wait_for(reader, RESTARTED)
            assert reader.book(0).bid == (200, 10)
            assert not reader.is_down
            second.publish_event(EventType.TOP, (210, 1, 211, 1))
            assert reader.next() == Result.EVENT
            assert (reader.event.index, reader.event.bid) == (0, 210)


def test_symbol_is_looked_up_anew_in_the_segment_of_the_next_writer(tmp_path: Path) -> None:
    """Its index may be another instrument's there: its price would be traded on."""
    feed = make_feed(tmp_path)
    feed.publish_book([(100, 10)], [(101, 20)], 0)
    with calm_reader(tmp_path) as reader:
        assert reader.book("BTCUSDT").bid == (100, 10)
        feed.close()
        assert wait_for(reader, Result.SILENT)
        turned = [Instrument(1 - one.index, one.venue, one.symbol, -2, -5) for one in INSTRUMENTS]
        with RehearsalFeed(
            "unit", sorted(turned, key=lambda one: one.index), directory=tmp_path
        ) as second:
            second.publish_book([(7, 1)], [(8, 1)], 0)
            second.publish_book([(200, 10)], [(201, 20)], 1)
            assert wait_for(reader, RESTARTED)
            assert reader.book("BTCUSDT").bid == (200, 10)
            assert reader.book("ETHUSDT").bid == (7, 1)


def wait_for(reader: Any, wanted: int) -> bool:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if reader.next() == wanted:
            return True
    return False


def test_closed_reader_tells_moved_and_does_not_crash(feed: RehearsalFeed, tmp_path: Path) -> None:
    reader = Reader("unit", directory=tmp_path)
    reader.close()
    reader.close()
    assert reader.poll() == Result.EMPTY
    assert reader.look() == Result.MOVED
    assert reader.read_snapshot(0) == 0
    for act in (reader.batch, reader.take_batch, reader.join, reader.reopen):
        with pytest.raises(ValueError, match="closed"):
            act()


def test_closed_feed_reader_says_so_in_every_method(feed: RehearsalFeed, tmp_path: Path) -> None:
    feed.publish_top((1, 1), (2, 2))
    reader = open_reader("unit", directory=tmp_path)
    reader.close()
    acts: list[Callable[[], object]] = [
        reader.next,
        reader.batch,
        reader.tuples,
        reader.join,
        reader.register,
        reader.now_ns,
        lambda: reader.book(0),
        lambda: reader.book("BTCUSDT"),
        lambda: next(iter(reader)),
        lambda: next(reader.batches()),
    ]
    for act in acts:
        with pytest.raises(ValueError, match="closed"):
            act()
    assert reader.is_down


def test_book_is_found_by_its_symbol(feed: RehearsalFeed, tmp_path: Path) -> None:
    feed.publish_top((1, 2), (3, 4), 1)
    with open_reader("unit", directory=tmp_path) as reader:
        symbol = reader.instruments[1].symbol
        assert reader.book(symbol).bid == reader.book(1).bid == (1, 2)
        with pytest.raises(LookupError, match=f"'NO': expected one of .*{symbol}"):
            reader.book("NO")
        with pytest.raises(
            TypeError, match=r"book\(None\): expected an instrument's index or symbol"
        ):
            reader.book(None)  # type: ignore[arg-type] # as a script without types may


def test_book_of_a_symbol_that_two_venues_have_is_found_behind_its_venue(tmp_path: Path) -> None:
    """To take the first one would be to trade on another venue's prices."""
    rows = [Instrument(i, venue, "BTCUSDT", -2, -3) for i, venue in enumerate(("mexc", "binance"))]
    feed = RehearsalFeed("unit", rows, directory=tmp_path)
    try:
        feed.publish_top((1, 2), (3, 4), 1)
        with open_reader("unit", directory=tmp_path) as reader:
            assert reader.book("binance:BTCUSDT").bid == (1, 2)
            assert reader.book("mexc:BTC/USDT").bid != (1, 2)
            assert reader.instrument("binance:BTC/USDT").index == 1
            with pytest.raises(LookupError, match="write one of mexc:BTCUSDT, binance:BTCUSDT"):
                reader.book("BTCUSDT")
            with pytest.raises(LookupError, match="write one of mexc:BTC/USDT, binance:BTC/USDT"):
                reader.instrument("BTC/USDT")
            with pytest.raises(LookupError, match=r"did you mean (mexc|binance):BTCUSDT"):
                reader.book("kraken:BTCUSDT")
    finally:
        feed.close()


def test_open_reader_says_what_it_expects() -> None:
    with pytest.raises(TypeError, match=r"open_reader\(None\): expected an instance's name"):
        open_reader(None)  # type: ignore[arg-type] # as a script without types may


WRITER = """
import sys, time
from pathlib import Path
from tickpath.proto.instrument import Instrument
from tickpath.engine.strategy.rehearsal import RehearsalFeed
instruments = [Instrument(0, "mexc", "BTCUSDT", -2, -6, 1)]
feed = RehearsalFeed("unit", instruments, directory=Path(sys.argv[1]), ring_capacity=1024)
print("up", flush=True)
i = 0
while True:
    for _ in range(500):
        i += 1
        feed.publish_top((i, i), (i + 1, i))
    feed.heartbeat()
    time.sleep(0.0002)
"""


@contextlib.contextmanager
def writer_process(directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-P", "-c", WRITER, str(directory)]
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


@pytest.mark.slow
def test_writer_killed_in_mid_publish_and_restarted_is_followed(tmp_path: Path) -> None:
    chooser = random.Random(5)  # a test wants the same numbers each time
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
            assert wait_for(reader, Result.EVENT)
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


def test_blocking_reader_takes_events_too(feed: RehearsalFeed, tmp_path: Path) -> None:
    with calm_reader(tmp_path) as reader:
        reader.set_wait(block=True)
        assert reader.next() == Result.EMPTY
        feed.publish_event(EventType.TOP, (1, 2, 3, 4))
        assert reader.next() == Result.EVENT


def test_reader_of_a_segment_without_a_ring_is_empty(tmp_path: Path) -> None:
    with SegmentWriter("unit", SegmentLayout(schema="x"), directory=tmp_path) as writer:
        writer.ready()
        with Reader("unit", directory=tmp_path) as reader:
            assert reader.poll() == Result.EMPTY
            assert len(reader.batch()) == 0
            assert reader.read_snapshot(0) == 0
