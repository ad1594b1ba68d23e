"""A feed's segment that claims what no writer of ours writes is refused, or read as STALE."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import pytest
from tickpath.engine.reader import BookState, open_reader
from tickpath.engine.strategy.rehearsal import RehearsalFeed
from tickpath.proto.instrument import Instrument
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


@pytest.mark.parametrize("words", [0, 1, 50, 86])
def test_feed_with_another_number_of_words_is_refused(
    feed: RehearsalFeed, tmp_path: Path, words: int
) -> None:
    header = feed.segment.header
    with feed.segment.path.open("r+b") as file:
        file.seek(WORDS)
        assert file.read(4) == struct.pack("<I", 87)
        file.seek(WORDS)
        file.write(struct.pack("<I", words))
        file.seek(0)
        crc = zlib.crc32(file.read(int(header.static_size)))
        feed.segment.live.crc32 = crc
    with pytest.raises(SystemSetupError, match=f"words of a snapshot .*{words}, bound 87"):
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
