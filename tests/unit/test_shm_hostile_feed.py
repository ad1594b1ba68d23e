"""A feed's segment that claims what no writer of ours writes is refused, or read as STALE."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import pytest
from tickpath.engine.client.reader import BookState, open_reader
from tickpath.engine.strategy.rehearsal import RehearsalFeed
from tickpath.proto.instrument import Instrument, Status
from tickpath.shm.errors import SystemSetupError
from tickpath.shm.reader import Result

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WORDS = 68  # docs/shared-memory.md: the place of "words of a snapshot" in the header


@pytest.fixture
def feed(tmp_path: Path) -> Iterator[RehearsalFeed]:
    row = Instrument(0, "mexc", "BTCUSDT", -2, -6)
    with RehearsalFeed("unit", [row], directory=tmp_path, ring_capacity=1024) as made:
        made.publish_book([(100, 1)], [(101, 1)])
        made.heartbeat()
        yield made


@pytest.mark.parametrize("words", [0, 1, 87, 93])
def test_feed_with_another_number_of_words_is_refused(
    feed: RehearsalFeed, tmp_path: Path, words: int
) -> None:
    header = feed.segment.header
    with feed.segment.path.open("r+b") as file:
        file.seek(WORDS)
        assert file.read(4) == struct.pack("<I", 94)
        file.seek(WORDS)
        file.write(struct.pack("<I", words))
        file.seek(0)
        crc = zlib.crc32(file.read(int(header.static_size)))
        feed.segment.live.crc32 = crc
    with pytest.raises(SystemSetupError, match=f"words of a snapshot .*{words}, bound 94"):
        open_reader("unit", directory=tmp_path)


@pytest.mark.parametrize("beat", [1 << 63, (1 << 64) - 1])
def test_feed_whose_heartbeat_lies_in_the_future_is_silent(
    feed: RehearsalFeed, tmp_path: Path, beat: int
) -> None:
    with open_reader("unit", directory=tmp_path) as reader:
        feed.segment.live.heartbeat_ns = beat
        assert reader.next() == Result.SILENT
        assert reader.book(0).state == BookState.STALE
        assert feed.segment.heartbeat_age_ns() > 1 << 62


ROW = 256  # docs/shared-memory.md: bytes of a row, its sequence word first


def damage_row(feed: RehearsalFeed, row: int, offset: int, data: bytes) -> None:
    with feed.segment.path.open("r+b") as file:
        file.seek(int(feed.segment.header.table.offset) + row * ROW + offset)
        file.write(data)


BAD_ROWS = {
    "exponent": (8 + 154, b"\x05", "exponents 5 and"),
    "symbol": (8 + 16, b"\xff\xfe", "symbol"),
    "a terminal's commands": (8 + 16, b"\x1b]0;x\x07", "symbol"),
    "kind": (8 + 152, b"\xff", "kind 255"),
    "in writing for ever": (0, struct.pack("<Q", 3), "did not finish"),
    "never written": (0, bytes(8), "did not finish"),
}


@pytest.mark.parametrize("bad", BAD_ROWS)
def test_feed_with_a_bad_row_reads_all_others_and_names_it(
    bad: str, feed: RehearsalFeed, tmp_path: Path
) -> None:
    feed.change_instrument(Instrument(1, "mexc", "ETHUSDT", -2, -5))
    feed.publish_book([(200, 1)], [(201, 1)], 1)
    offset, data, named = BAD_ROWS[bad]
    damage_row(feed, 0, offset, data)
    with open_reader("unit", directory=tmp_path) as reader:
        broken, whole = reader.instruments
        assert (broken.venue, broken.symbol, broken.status) == ("", "?0", Status.HALTED)
        assert whole == Instrument(1, "mexc", "ETHUSDT", -2, -5)
        assert named in reader.row_troubles.pop(0)
        assert reader.row_troubles == {}
        assert reader.book("ETHUSDT").bid == (200, 1)
        assert reader.book(0).price_exponent == -2  # the book itself is sound


def test_row_that_turns_bad_keeps_what_was_read_before(feed: RehearsalFeed, tmp_path: Path) -> None:
    with open_reader("unit", directory=tmp_path) as reader:
        before = reader.instruments
        damage_row(feed, 0, 0, struct.pack("<Q", 5))
        feed.segment.live.row_changes += 1
        assert reader.instruments == before
        assert "did not finish" in reader.row_troubles[0]


@pytest.mark.parametrize("count", [(1 << 32) - 1, 1 << 16, 18])
def test_feed_that_claims_more_rows_than_it_has_is_read_as_far_as_it_goes(
    feed: RehearsalFeed, tmp_path: Path, count: int
) -> None:
    feed.segment.live.row_count = count
    with open_reader("unit", directory=tmp_path) as reader:
        assert len(reader.instruments) == 17  # its table's size
        assert reader.instruments[0].symbol == "BTCUSDT"
        assert len(reader.row_troubles) == 16
        with pytest.raises(IndexError):
            reader.book(17)


def test_feed_with_events_and_books_of_an_impossible_scale_is_read(
    feed: RehearsalFeed, tmp_path: Path
) -> None:
    with open_reader("unit", directory=tmp_path) as reader:
        feed.scales[0] = (5, -128)
        feed.publish_top((1, 1), (2, 2))
        feed.publish_event(200, (1, 2, 3, 4), flags=0xFF)  # a type that nobody knows
        assert reader.next() == Result.EVENT
        assert (reader.event.price_exponent, reader.event.quantity_exponent) == (5, -128)
        assert reader.book(0).quantity_exponent == -128
        assert reader.next() == Result.EVENT
        assert reader.event.type == 200


@pytest.mark.parametrize(
    ("offset", "size", "reason"),
    [(12, 72, "table, entry size"), (12, 64, "table, size"), (8, 1 << 17, "table, count")],
)
def test_feed_whose_table_cannot_be_is_refused(
    feed: RehearsalFeed, tmp_path: Path, offset: int, size: int, reason: str
) -> None:
    header, table = feed.segment.header, 232
    with feed.segment.path.open("r+b") as file:
        if reason == "table, size":
            file.seek(table)
            file.write(struct.pack("<Q", (int(header.total_size) - 64) // 64 * 64))
        file.seek(table + offset)
        file.write(struct.pack("<I", size))
        file.seek(0)
        feed.segment.live.crc32 = zlib.crc32(file.read(int(header.static_size)))
    with pytest.raises(SystemSetupError, match=reason):
        open_reader("unit", directory=tmp_path)
