"""The log's lines on what became of books: each with cause and time, and never a flood."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import pytest
from tickpath.engine.feed_handler.state_log import LINES_MAX, StateLog
from tickpath.engine.strategy.rehearsal import RehearsalFeed
from tickpath.proto.instrument import Instrument
from tickpath.proto.records import BookState, EventType, SyncReason

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

INSTRUMENTS = tuple(Instrument(i, "mexc", f"COIN{i}USDT", -2, -6, 1) for i in range(3))
CAPACITY = 64


@pytest.fixture
def feed(tmp_path: Path) -> Iterator[RehearsalFeed]:
    with RehearsalFeed("unit", INSTRUMENTS, directory=tmp_path, ring_capacity=CAPACITY) as feed:
        yield feed


def test_each_change_is_a_line_with_instrument_cause_and_a_time_of_a_zone(
    feed: RehearsalFeed,
) -> None:
    lines: list[str] = []
    log = StateLog(feed.segment, INSTRUMENTS, lines.append)
    before = datetime.now().astimezone()
    feed.publish_event(EventType.TOP, (1, 1, 1, 1))
    feed.publish_state(BookState.LIVE, SyncReason.NONE, 1)
    feed.publish_state(BookState.SYNCING, SyncReason.GAP, 1)
    feed.publish_state(BookState.STALE, SyncReason.BROKEN_MESSAGE, 2)
    log.step(0.0)
    log.step(0.1)
    words = [line.rpartition(", at ")[0] for line in lines]
    assert words == [
        "mexc COIN1USDT: LIVE",
        "mexc COIN1USDT: SYNCING (gap), was LIVE",
        "mexc COIN2USDT: STALE (broken message)",
    ]
    for line in lines:
        at = datetime.fromisoformat(line.rpartition(", at ")[2])
        assert at.utcoffset() is not None
        assert abs((at - before).total_seconds()) < 60


def test_flood_is_some_lines_and_one_with_the_counts(feed: RehearsalFeed) -> None:
    lines: list[str] = []
    log = StateLog(feed.segment, INSTRUMENTS, lines.append)
    for number in range(LINES_MAX + 8):
        feed.publish_state(BookState.LIVE, SyncReason.NONE, number % 3)
    feed.publish_state(BookState.STALE, SyncReason.SILENT, 0)
    for hundredths in range(100):
        log.step(hundredths / 100)
    assert len(lines) == LINES_MAX
    log.step(1.5)
    assert lines[LINES_MAX:] == [
        "9 more changes of state of 3 instruments within 1 s: 8 LIVE, 1 STALE (silent); "
        "`tickpath tail unit --type state` shows each"
    ]
    feed.publish_state(BookState.LIVE, SyncReason.NONE, 0)
    log.step(1.6)
    assert lines[-1].startswith("mexc COIN0USDT: LIVE, was STALE, at ")


def test_what_it_could_not_read_in_time_is_said(feed: RehearsalFeed) -> None:
    lines: list[str] = []
    log = StateLog(feed.segment, INSTRUMENTS, lines.append)
    for number in range(CAPACITY + 10):
        feed.publish_event(EventType.TOP, (number, 1, number, 1))
    log.step(0.0)
    log.flush()
    assert lines == [
        f"{CAPACITY + 10} events came faster than this log reads: changes may be missing"
    ]
