"""Numbers that go back on one connection: a duplicate, or a venue that counts anew."""

from __future__ import annotations

import pytest
from tickpath._core import lib

from tests.unit.feed.conftest import (
    BID,
    LIVE,
    MS,
    NONE,
    RESET,
    SECOND,
    SETTLE,
    STARTING,
    SYNCING,
    Rig,
    Venue,
    assert_book,
    go_live,
    message,
)


def renumber(venue: Venue, version: int = 0) -> None:
    venue.version = version
    venue.remember()


def heal(rig: Rig, venue: Venue) -> None:
    """Answer with the venue's book, whose number is low."""
    assert rig.wanted() == [0]
    assert rig.offer(venue.version, *venue.book)
    rig.tick()
    assert rig.state() == (LIVE, NONE)
    assert_book(rig, venue)
    assert rig.message(venue.step()) == lib.TP_FEED_APPLIED
    assert_book(rig, venue)


def test_feed_number_below_the_base_is_a_reset_at_once(rig: Rig) -> None:
    venue = Venue()
    go_live(rig, venue)
    rig.message(venue.step())
    renumber(venue)
    assert rig.message(venue.step()) == lib.TP_FEED_BUFFERED
    assert rig.state() == (SYNCING, RESET)
    assert rig.counters.resets == 1
    assert rig.message(venue.step()) == lib.TP_FEED_BUFFERED
    heal(rig, venue)


def test_feed_low_base_is_met_by_what_was_kept_since_the_reset(rig: Rig) -> None:
    venue = Venue()
    go_live(rig, venue)
    rig.message(venue.step())
    renumber(venue)
    rig.message(venue.step())
    assert rig.wanted() == [0]
    at = venue.version
    rig.message(venue.step())
    rig.message(venue.step())
    rig.offer(at, *venue.history[at])
    rig.tick()
    assert rig.state() == (LIVE, NONE)
    assert_book(rig, venue)


@pytest.mark.parametrize("after_ns", [0, 499 * MS, 500 * MS])
def test_feed_number_that_was_received_is_a_duplicate_for_half_a_second(
    rig: Rig, after_ns: int
) -> None:
    venue = Venue()
    go_live(rig, venue)
    first, second = venue.step(), venue.step()
    rig.message(first)
    rig.message(second)
    rig.now += after_ns
    assert rig.message(first) == lib.TP_FEED_IGNORED
    assert rig.state() == (LIVE, NONE)


@pytest.mark.parametrize("back", [2, 5, 30])
def test_feed_numbering_a_little_further_back_never_catches_up(rig: Rig, back: int) -> None:
    """It would soon reach the book's number, and go on as if nothing had been left out."""
    venue = Venue()
    go_live(rig, venue)
    for _ in range(40):
        rig.message(venue.step(versions=1))
    renumber(venue, venue.version - back)
    assert rig.message(venue.step(versions=1)) == lib.TP_FEED_IGNORED
    assert rig.message(venue.step(versions=1)) == lib.TP_FEED_BUFFERED
    assert rig.state() == (SYNCING, RESET)
    for _ in range(40):
        rig.now += MS
        rig.message(venue.step(versions=1))
        assert rig.state() == (SYNCING, RESET)
    heal(rig, venue)


def test_feed_numbering_a_little_further_back_is_found_among_what_was_kept(rig: Rig) -> None:
    venue = Venue()
    rig.up()
    rig.tick(SETTLE)
    rig.wanted()
    at = venue.version
    for _ in range(10):
        rig.message(venue.step(versions=1))
    renumber(venue, venue.version - 4)
    for _ in range(8):
        rig.message(venue.step(versions=1))
    rig.offer(at, *venue.history[at])
    rig.tick()
    assert rig.state() == (SYNCING, RESET)
    heal(rig, venue)


def test_feed_same_message_many_times_is_a_duplicate_each_time(rig: Rig) -> None:
    venue = Venue()
    go_live(rig, venue)
    first, second = venue.step(), venue.step()
    rig.message(first)
    rig.message(second)
    for data in (second, second, first):
        assert rig.message(data) == lib.TP_FEED_IGNORED
    assert rig.message(venue.step()) == lib.TP_FEED_APPLIED
    assert rig.message(second) == lib.TP_FEED_IGNORED
    assert rig.state() == (LIVE, NONE)
    assert_book(rig, venue)


def test_feed_nothing_but_received_numbers_for_half_a_second_is_a_reset(rig: Rig) -> None:
    venue = Venue()
    go_live(rig, venue)
    base = venue.version
    for _ in range(10):
        rig.message(venue.step(versions=1))
    renumber(venue, base)
    rig.now += 400 * MS
    assert rig.message(venue.step(versions=1)) == lib.TP_FEED_IGNORED
    rig.now += 101 * MS
    assert rig.message(venue.step(versions=1)) == lib.TP_FEED_BUFFERED
    assert rig.state() == (SYNCING, RESET)
    heal(rig, venue)


def test_feed_stream_behind_its_base_is_no_reset(rig: Rig) -> None:
    venue = Venue()
    rig.up()
    rig.tick(SETTLE)
    rig.wanted()
    late = [venue.step() for _ in range(5)]
    rig.offer(venue.version, *venue.book)
    rig.tick()
    for data in late:
        rig.now += 90 * MS
        assert rig.message(data) == lib.TP_FEED_IGNORED
    assert rig.message(venue.step()) == lib.TP_FEED_APPLIED
    assert_book(rig, venue)


def test_feed_restart_below_a_base_that_nothing_followed_is_a_reset(rig: Rig) -> None:
    venue = Venue()
    rig.up()
    rig.tick(SETTLE)
    rig.wanted()
    rig.offer(venue.version, *venue.book)
    rig.tick()
    renumber(venue)
    rig.now += SECOND
    assert rig.message(venue.step()) == lib.TP_FEED_BUFFERED
    assert rig.state() == (SYNCING, RESET)
    heal(rig, venue)


def test_feed_restart_while_messages_are_kept_is_a_reset(rig: Rig) -> None:
    """Old numbers are kept, the base has new ones: they never meet."""
    venue = Venue()
    rig.up()
    rig.message(venue.step())
    rig.message(venue.step())
    renumber(venue)
    rig.message(venue.step())
    assert rig.wanted() == [0]
    rig.offer(venue.version, *venue.book)
    rig.tick()
    assert rig.state() == (SYNCING, STARTING)
    rig.message(venue.step())
    assert rig.state() == (SYNCING, RESET)
    heal(rig, venue)


def test_feed_restart_behind_kept_messages_of_the_base_is_a_reset(rig: Rig) -> None:
    venue = Venue()
    rig.up()
    old = venue.version
    rig.message(venue.step())
    renumber(venue)
    rig.message(venue.step())
    assert rig.wanted() == [0]
    rig.offer(old, *venue.history[old])
    rig.tick()
    assert rig.state() == (SYNCING, RESET)
    heal(rig, venue)


def test_feed_restart_of_a_book_that_waits_is_a_reset(rig: Rig) -> None:
    """The base must reach what was seen, unless the venue counts anew."""
    venue = Venue()
    go_live(rig, venue)
    rig.message(venue.step()[:-3])
    renumber(venue)
    rig.message(venue.step())
    assert rig.wanted() == [0]
    rig.offer(venue.version, *venue.book)
    rig.tick()
    assert rig.state()[0] == SYNCING
    rig.message(venue.step())
    assert rig.state() == (SYNCING, RESET)
    heal(rig, venue)


def test_feed_base_asked_for_before_the_reset_is_not_taken(rig: Rig) -> None:
    venue = Venue()
    go_live(rig, venue)
    old = venue.version
    venue.step()
    rig.message(venue.step())
    assert rig.wanted() == [0]
    rig.offer(old, *venue.history[old])
    rig.tick()
    renumber(venue)
    assert rig.wanted() == [0]
    rig.message(message(1, 1, [(BID, 49_000, 1)]))
    assert rig.state() == (SYNCING, RESET)
    assert rig.offer(old + 100, *venue.history[old]), "taken and forgotten"
    rig.tick()
    assert rig.state() == (SYNCING, RESET)


def test_feed_base_below_what_was_shown_before_a_reconnect_is_too_old(rig: Rig) -> None:
    """A REST service that lags must not take a quiet book back (live.md, lines 2 and 4)."""
    venue = Venue()
    go_live(rig, venue)
    old_version, old_book = venue.version, venue.book
    rig.message(venue.step())
    rig.down()
    rig.up()
    rig.tick(SETTLE)
    assert rig.wanted() == [0]
    assert rig.offer(old_version, *old_book)
    rig.tick()
    assert rig.state() == (SYNCING, STARTING)
    assert rig.counters.bases_too_old == 1
    heal(rig, venue)


def test_feed_first_message_shows_that_the_venue_counts_anew_since_before_the_reconnect(
    rig: Rig,
) -> None:
    venue = Venue()
    go_live(rig, venue)
    rig.message(venue.step())
    rig.down()
    renumber(venue)
    rig.up()
    assert rig.message(venue.step()) == lib.TP_FEED_BUFFERED
    assert rig.state() == (SYNCING, RESET)
    heal(rig, venue)
    assert rig.counters.bases_too_old == 0
