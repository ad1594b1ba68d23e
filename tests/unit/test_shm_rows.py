"""Instruments added and changed while readers read: nothing is lost, no scales are mixed."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import msgspec
import pytest
from tickpath.engine.client.reader import Event, FeedReader, open_reader
from tickpath.engine.strategy.rehearsal import RehearsalFeed
from tickpath.proto.instrument import Instrument
from tickpath.proto.records import BookState, EventType, RowChange, SyncReason
from tickpath.shm.reader import Result
from tickpath.shm.segment import Segment, SegmentLayout, SegmentWriter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BTC = Instrument(0, "mexc", "BTCUSDT", -2, -6)
ETH = Instrument(1, "mexc", "ETHUSDT", -2, -5)
FINER = msgspec.structs.replace(BTC, price_exponent=-4, tick_size=1)


@pytest.fixture
def feed(tmp_path: Path) -> Iterator[RehearsalFeed]:
    with RehearsalFeed("unit", [BTC], directory=tmp_path, ring_capacity=1024) as made:
        yield made


@pytest.fixture
def reader(feed: RehearsalFeed, tmp_path: Path) -> Iterator[FeedReader]:
    with open_reader("unit", directory=tmp_path, stale_after_ns=60 * 10**9) as made:
        assert made.instruments == (BTC,)
        yield made


def events(reader: FeedReader) -> Iterator[Event]:
    while reader.next() == Result.EVENT:
        yield reader.event


def test_instrument_added_while_reading_is_there_with_its_event(
    feed: RehearsalFeed, reader: FeedReader
) -> None:
    with pytest.raises(IndexError, match="0 to 0"):
        reader.book(1)
    feed.change_instrument(ETH)
    feed.publish_top((300, 1), (301, 2), 1)
    kinds = []
    for event in events(reader):
        kinds.append(event.type)
        assert reader.instruments[event.instrument] == ETH
        if event.type == EventType.INSTRUMENT:
            assert (event.change, event.generation) == (RowChange.ADDED, 1)
    assert kinds == [EventType.INSTRUMENT, EventType.TOP]
    assert reader.book(1).bid == reader.book("ETHUSDT").bid == (300, 1)


def test_instrument_added_is_found_without_any_event(
    feed: RehearsalFeed, reader: FeedReader
) -> None:
    feed.change_instrument(ETH)
    feed.publish_book([(300, 1)], [(301, 2)], 1)
    assert reader.book(1).bid == (300, 1)
    assert reader.generation(1) == 1


def test_row_changed_is_read_anew_and_its_book_says_of_which_it_is(
    feed: RehearsalFeed, reader: FeedReader
) -> None:
    feed.publish_book([(1, 1)], [(2, 1)])
    changed = msgspec.structs.replace(BTC, lot_size=100)
    feed.change_instrument(changed)
    assert reader.instruments == (changed,)
    assert (reader.generation(0), reader.book(0).generation) == (2, 1)
    feed.publish_book([(1, 1)], [(2, 1)])
    assert reader.book(0).generation == 2


def test_table_full_takes_no_more_and_says_so(feed: RehearsalFeed, reader: FeedReader) -> None:
    for index in range(1, 17):  # the spare rows
        feed.change_instrument(msgspec.structs.replace(ETH, index=index, symbol=f"S{index}"))
    with pytest.raises(IndexError, match="row 17: expected up to 17, of 17 at most"):
        feed.change_instrument(msgspec.structs.replace(ETH, index=17))
    assert len(reader.instruments) == 17


def test_scale_moved_while_running_drops_nothing_and_mixes_nothing(
    feed: RehearsalFeed, reader: FeedReader
) -> None:
    # 100.00 to 100.99 at two digits, then the same prices at four: all in the ring at once, so that
    # the reader meets events of the old scale when the row is of the new one already.
    for cent in range(100):
        feed.publish_top((10_000 + cent, 1), (10_001 + cent, 1))
    feed.change_instrument(FINER)
    assert reader.book(0).state == BookState.SYNCING
    assert reader.book(0).reason == SyncReason.SCALE
    for cent in range(100):
        feed.publish_top((1_000_000 + 100 * cent, 1), (1_000_100 + 100 * cent, 1))
    assert reader.instruments == (FINER,)
    prices = []
    for event in events(reader):
        if event.type == EventType.TOP:
            prices.append(event.bid * 10 ** (event.price_exponent + 4))
        if event.type == EventType.INSTRUMENT:
            assert event.change == RowChange.SCALED
            assert len(prices) == 100
    assert prices == [1_000_000 + 100 * cent for cent in range(100)] * 2
    book = reader.book(0)
    assert (book.price_exponent, book.bid[0], book.is_live) == (-4, 1_009_900, True)


def test_batch_has_the_scale_of_each_row(feed: RehearsalFeed, reader: FeedReader) -> None:
    feed.publish_top((10_000, 1), (10_001, 1))
    feed.change_instrument(FINER)
    feed.publish_top((1_000_000, 1), (1_000_100, 1))
    rows = reader.batch()
    tops = rows[rows["type"] == EventType.TOP]
    assert tops["price_exponent"].tolist() == [-2, -4]
    assert tops["bid"].tolist() == [10_000, 1_000_000]
    assert tops["bid_quantity"].tolist() == [1, 1]
    change = rows[rows["type"] == EventType.INSTRUMENT]
    assert (change["generation"].tolist(), change["change"].tolist()) == ([2], [3])


WRITER = """
import sys, time
from pathlib import Path
from tickpath.shm.segment import SegmentLayout, SegmentWriter
layout = SegmentLayout(schema="unit 1\\n", table_rows=4, table_row_size=248)
with SegmentWriter("rows", layout, directory=Path(sys.argv[1])) as writer:
    for row in range(4):
        writer.write_row(row, bytes([0]) * 248)
    writer.ready()
    print("ready", flush=True)
    end = time.monotonic() + 1.5
    turn = 0
    while time.monotonic() < end:
        turn += 1
        writer.write_row(turn % 4, bytes([turn % 251]) * 248)
    print(turn, flush=True)
    sys.stdin.read()
"""


def test_rows_of_another_process_are_always_whole_and_never_go_back(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", WRITER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == "ready\n"
    is_over = threading.Event()
    threading.Timer(1.2, is_over.set).start()
    last, reads, seen = [0] * 4, 0, set()
    with Segment("rows", directory=tmp_path) as segment:
        while not is_over.is_set():
            changes, has_all = segment.row_changes, True
            for row in range(4):
                generation, data = segment.row(row)
                if not generation:  # a writer that does nothing else may keep a reader from one
                    has_all = False
                    continue
                assert len(set(data)) <= 2  # one value, and the zeroes behind it
                assert len(set(data[:248])) == 1
                assert generation >= last[row]
                last[row] = generation
                reads += 1
                seen.add(data[0])
            if has_all:  # each is at least as new as the count that was seen before it
                assert sum(last) >= changes
    process.communicate("")
    assert reads > 1000
    assert len(seen) > 20


def test_layout_of_a_row_is_the_pages(tmp_path: Path) -> None:
    layout = SegmentLayout(schema="unit 1\n", table_rows=3, table_row_size=248)
    with SegmentWriter("rows", layout, directory=tmp_path) as writer:
        assert writer.write_row(0, b"A" * 248) == 1
        assert writer.write_row(1, b"B" * 248) == 1
        assert writer.write_row(0, b"C" * 248) == 2
        writer.ready()
        data, table = writer.path.read_bytes(), writer.header.table
        live = int(writer.header.live.offset)
        assert (table.entry_size, table.offset % 128, table.count) == (256, 0, 3)
        assert data[table.offset : table.offset + 512] == (
            (4).to_bytes(8, "little") + b"C" * 248 + (2).to_bytes(8, "little") + b"B" * 248
        )
        assert int.from_bytes(data[live + 16 : live + 20], "little") == 2  # row_count
        assert int.from_bytes(data[live + 24 : live + 32], "little") == 3  # row_changes
        for wrong in (-1, 3):
            with pytest.raises(IndexError):
                writer.write_row(wrong, b"")
        with pytest.raises(ValueError, match="249 bytes"):
            writer.write_row(0, b"D" * 249)
