"""How deep a book is known: what a base does not show is never published as absent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tickpath._core import ffi, lib
from tickpath.engine.feed_handler.feed_books import FeedBooks
from tickpath.proto.instrument import Instrument
from tickpath.proto.venues import load_venue
from tickpath.proto.venues.mexc.settings import MexcSettings

from tests.unit.feed.conftest import (
    ASK,
    BID,
    CLEAR,
    LEVEL,
    LIVE,
    NONE,
    SETTLE,
    SHALLOW,
    STATE,
    SYNCING,
    TOP,
    Rig,
    Venue,
    assert_book,
    assert_known,
    shown,
)

if TYPE_CHECKING:
    from pathlib import Path

DEEP = 300


def deep_venue() -> Venue:
    """Return a venue whose book has far more levels than a base shows."""
    venue = Venue()
    for side, sign in ((BID, -1), (ASK, 1)):
        venue.book[side].update({venue.middle + sign * i: 5 for i in range(1, DEEP + 1)})
    venue.remember()
    return venue


def offer(rig: Rig, venue: Venue, depth: int, version: int | None = None) -> None:
    """Answer as a venue does that was asked for so many levels a side."""
    version = venue.version if version is None else version
    bids, asks, truncated = shown(venue.history[version], depth)
    assert rig.offer(version, bids, asks, truncated=truncated)
    rig.tick()


def go_live(rig: Rig, venue: Venue, depth: int) -> None:
    rig.up()
    rig.message(venue.step([]))
    assert rig.wanted() == [0]
    offer(rig, venue, depth)
    assert rig.state() == (LIVE, NONE)
    assert_known(rig, venue)
    rig.events()


def sweep(venue: Venue, side: int = BID) -> bytes:
    """Remove the best level: the one behind it was never named."""
    best = max(venue.book[BID]) if side == BID else min(venue.book[ASK])
    return venue.step([(side, best, 0)], versions=1)


@pytest.mark.parametrize("side", [BID, ASK])
@pytest.mark.parametrize("depth", [2, 5, 6, 20, 40, 100])
def test_feed_sweep_past_the_base_is_shallow_never_a_wrong_best(
    rig: Rig, depth: int, side: int
) -> None:
    venue = deep_venue()
    go_live(rig, venue, depth)
    for _ in range(depth):
        rig.message(sweep(venue, side))
        if rig.state()[0] != LIVE:
            break
        assert_known(rig, venue)
    assert rig.state() == (SYNCING, SHALLOW)
    rig.wanted()
    offer(rig, venue, depth)
    assert rig.state() == (LIVE, NONE)
    assert_known(rig, venue)


@pytest.mark.parametrize("depth", [5, 20, 40, 100])
def test_feed_touch_that_nears_the_end_of_the_base_wants_another_while_live(
    rig: Rig, depth: int
) -> None:
    venue = deep_venue()
    go_live(rig, venue, depth)
    while not (wanted := rig.wanted()):
        rig.message(sweep(venue))
        assert rig.state() == (LIVE, NONE), "wanted before too little is left"
    assert wanted == [0]
    asked = venue.version
    rig.message(venue.step([(BID, max(venue.book[BID]), 77)], versions=3))
    rig.message(venue.step([(ASK, min(venue.book[ASK]), 78)], versions=1))
    rig.events()
    offer(rig, venue, depth, asked)
    assert rig.state() == (LIVE, NONE)
    assert_known(rig, venue)
    assert [kind for kind, _, _ in rig.events()] == [CLEAR, TOP], "it stayed LIVE"
    assert rig.message(venue.step(versions=1)) == lib.TP_FEED_APPLIED
    assert_known(rig, venue)


def test_feed_deeper_base_that_is_too_old_leaves_the_book_as_it_is(rig: Rig) -> None:
    venue = deep_venue()
    go_live(rig, venue, 40)
    old = venue.version
    while not rig.wanted():
        rig.message(sweep(venue))
    offer(rig, venue, 40, old)
    assert rig.state() == (LIVE, NONE)
    assert rig.counters.bases_too_old == 1
    assert_known(rig, venue)
    assert rig.wanted() == [0]
    offer(rig, venue, 40)
    assert_known(rig, venue)


def test_feed_gap_while_a_deeper_base_is_fetched_heals(rig: Rig) -> None:
    venue = deep_venue()
    go_live(rig, venue, 40)
    while not rig.wanted():
        rig.message(sweep(venue))
    venue.step([])
    rig.message(venue.step([]))
    assert rig.state()[0] == SYNCING
    assert rig.wanted() == [0]
    offer(rig, venue, 40)
    assert_known(rig, venue)


def test_feed_deeper_base_is_taken_although_too_much_was_kept(tmp_path: Path) -> None:
    rig, venue = Rig(tmp_path, buffered_bytes_max=400), deep_venue()
    go_live(rig, venue, 40)
    while not rig.wanted():
        rig.message(sweep(venue))
    for _ in range(20):
        rig.message(venue.step([(BID, max(venue.book[BID]), 8)], versions=1))
        assert rig.state() == (LIVE, NONE)
    assert rig.counters.overflows > 0
    offer(rig, venue, 40)
    assert rig.state() == (LIVE, NONE)
    assert_known(rig, venue)
    rig.close()


def test_feed_level_beyond_the_base_is_not_taken_for_the_next_one(rig: Rig) -> None:
    venue = deep_venue()
    go_live(rig, venue, 20)
    beyond = venue.middle - 25
    rig.message(venue.step([(BID, beyond, 99)], versions=1))
    assert beyond not in rig.levels()[BID]
    for _ in range(5):
        rig.message(sweep(venue))
    assert rig.state() == (LIVE, NONE)
    assert_known(rig, venue)
    assert min(rig.levels()[BID]) == venue.middle - 20


@pytest.mark.parametrize("depth", [31, 1000])
def test_feed_base_that_came_back_short_is_whole(rig: Rig, depth: int) -> None:
    venue = Venue()
    rig.up()
    rig.tick(SETTLE)
    rig.wanted()
    offer(rig, venue, depth)
    while venue.book[BID]:
        rig.message(sweep(venue))
        assert rig.state() == (LIVE, NONE)
        assert_book(rig, venue)
    rig.message(venue.step([(BID, 3, 9)], versions=1))
    assert_book(rig, venue)
    assert rig.wanted() == []


def test_feed_price_between_the_ticks_behind_the_last_level_is_not_known(tmp_path: Path) -> None:
    """The base's last bid is 900: nobody said what stands at 895."""
    rig = Rig(tmp_path, added=0)
    assert rig.add(0, b"spot@public.aggre.depth.v3.api.pb@100ms@COIN0USDT", tick_size=100)
    venue = Venue()
    bids, asks = {1000: 1, 900: 1}, {1100: 1, 1200: 1}
    rig.up()
    rig.tick(SETTLE)
    rig.wanted()
    rig.offer(venue.version, bids, asks, truncated=3)
    rig.tick()
    assert rig.state() == (LIVE, NONE)
    rig.message(venue.step([(BID, 895, 4), (ASK, 1205, 4), (ASK, 1195, 6)], versions=1))
    assert rig.levels() == (bids, asks | {1195: 6})
    rig.close()


def test_feed_state_comes_before_the_levels_that_are_not_known(rig: Rig) -> None:
    venue = deep_venue()
    go_live(rig, venue, 2)
    events: list[Any] = []
    while rig.state()[0] == LIVE:
        rig.message(sweep(venue))
        events = rig.events()
    assert [kind for kind, _, _ in events] == [STATE]
    assert LEVEL not in [kind for kind, _, _ in events]
    assert events[0][2][:2] == [SYNCING, SHALLOW]


@pytest.mark.parametrize(
    ("asked", "sent", "truncated"),
    [(5000, 2000, 3), (5000, 1999, 0), (1000, 1000, 3), (1000, 999, 0), (5, 5, 3), (5, 4, 0)],
)
def test_feed_books_know_a_base_that_came_back_full(
    rig: Rig, asked: int, sent: int, truncated: int
) -> None:
    """MEXC sends 2,000 levels at most, and nothing in its answer says that there are more."""
    mexc = load_venue("mexc")
    books = FeedBooks(rig.feed, 0, mexc.base_depth(MexcSettings(depth=asked)))
    sides = {
        "bids": [[f"{10_000 - i}", "1"] for i in range(sent)],
        "asks": [[f"{10_001 + i}", "1"] for i in range(sent)],
    }
    body = msgspec.json.encode({"lastUpdateId": 1000} | sides)
    rig.up()
    rig.tick(SETTLE)
    assert list(books.wanted()) == [0]
    assert books.offer(0, mexc.parse_base(body, Instrument(0, "mexc", "COIN0USDT", -2, -8)))
    rig.tick()
    assert rig.state() == (LIVE, NONE)
    book = lib.tp_feed_book(rig.feed, 0)
    last = ((10_000 - sent + 1) * 100, (10_000 + sent) * 100)
    extents = [lib.tp_book_extent(book, side) for side in (BID, ASK)]
    assert extents == [last[side] if truncated >> side & 1 else 0 for side in (BID, ASK)]


def test_feed_restored_checkpoint_knows_how_deep_it_is_known(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    book = ffi.new("struct tp_record_book *")
    book.instrument, book.version, book.flags = 0, 1000, 3 | 10 << 8 | 15 << 16
    bids = [(50_000 - i, 5) for i in range(12)] + [(49_980, 0)]
    asks = [(50_001 + i, 5) for i in range(12)] + [(50_021, 0)]
    rows = [ffi.new("struct tp_level[]", side) for side in (bids, asks)]
    book.bid_count = book.ask_count = 13
    sides = ffi.new("struct tp_level *[2]", rows)
    rig.up()
    assert lib.tp_feed_restore(rig.feed, book, sides, rig.now) == lib.TP_FEED_RESTORED
    venue = Venue()
    venue.book = (dict(bids[:-1]), dict(asks[:-1]))
    rig.message(venue.step([(BID, 49_979, 1), (BID, 49_981, 1)], versions=1))
    assert min(rig.levels()[BID]) == 49_981
    assert rig.wanted() == [0], "13 of 15 levels: low"
    for _ in range(4):
        rig.message(sweep(venue))
    assert rig.state() == (SYNCING, SHALLOW)
    rig.close()
