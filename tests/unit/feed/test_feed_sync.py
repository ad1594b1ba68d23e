"""What one message or snapshot does to a book: chains, faults in them, and what is published."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tickpath._core import lib

from tests.unit.feed.conftest import (
    ASK,
    BID,
    BROKEN,
    CLEAR,
    GAP,
    LEVEL,
    LIVE,
    MS,
    NONE,
    SETTLE,
    STARTING,
    STATE,
    SYNCING,
    TOP,
    WS_BINARY,
    WS_TEXT,
    Rig,
    Venue,
    assert_book,
    channel,
    field,
    go_live,
    message,
)

if TYPE_CHECKING:
    from pathlib import Path


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
    assert rig.counters.bases_too_old == 1
    assert rig.wanted() == [0]
    rig.offer(venue.version, *venue.book)
    rig.tick()
    assert rig.state() == (LIVE, NONE)
    assert_book(rig, venue)


def test_feed_what_a_base_was_too_old_for_is_kept_for_the_next_one(rig: Rig) -> None:
    venue = Venue()
    rig.up()
    missed = venue.version
    venue.step(versions=1)
    rig.message(venue.step(versions=1))
    rig.message(venue.step(versions=1))
    assert rig.wanted() == [0]
    rig.offer(missed, *venue.history[missed])
    rig.tick()
    assert rig.state() == (SYNCING, STARTING)
    assert rig.wanted() == [0]
    rig.offer(missed + 1, *venue.history[missed + 1])
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
    rig.message(venue.step())
    assert rig.wanted() == [0]
    rig.offer(old, *venue.history[old])
    rig.tick()
    assert rig.state() == (SYNCING, BROKEN)
    assert rig.wanted() == [0]


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
    rig.message(venue.step())
    assert rig.wanted() == [0]
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


@pytest.mark.parametrize("opcode", [WS_TEXT, WS_BINARY])
def test_feed_the_message_says_what_it_means_not_its_opcode(rig: Rig, opcode: int) -> None:
    venue = Venue()
    go_live(rig, venue)
    pong = b'{"id":0,"code":0,"msg":"PONG"}'
    assert rig.message(pong, opcode=opcode) == lib.TP_FEED_NOTE
    assert (rig.counters.control, rig.counters.unknown_channel) == (1, 0)
    assert rig.message(venue.step(), opcode=opcode) == lib.TP_FEED_APPLIED
    assert_book(rig, venue)


def test_feed_ticker_and_whole_book_on_a_depth_channel_are_not_applied(rig: Rig) -> None:
    venue = Venue()
    ticker = field(1, b"499.99") + field(2, b"1") + field(3, b"500.01") + field(4, b"1")
    for data in (message(1, 2, [], body=303), field(1, channel(0)) + field(315, ticker)):
        go_live(rig, venue)
        unknown = rig.counters.unknown_body
        assert rig.message(data) == lib.TP_FEED_BROKEN
        assert rig.counters.unknown_body == unknown + 1
        assert rig.state() == (SYNCING, BROKEN)


def test_feed_zero_quantity_text_removes_the_level(rig: Rig) -> None:
    venue = Venue()
    go_live(rig, venue)
    price = max(venue.book[BID])
    rig.message(venue.step([(BID, price, 0)], versions=1))
    assert price not in rig.levels()[BID]
    assert_book(rig, venue)
