"""A base is of use once the subscription stands: who must have said so before one is wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tickpath._core import lib

from tests.unit.feed.conftest import (
    BROKEN,
    DISCONNECTED,
    GAP,
    LIVE,
    NONE,
    REFUSED,
    SECOND,
    SETTLE,
    SILENT,
    STALE,
    STARTING,
    STATE,
    SYNCING,
    WS_PONG,
    Levels,
    Rig,
    Venue,
    assert_book,
    message,
)
from tests.unit.feed.test_feed_venues import SampleVenue, base, delta

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

UNCONFIRMED = lib.TP_SYNC_REASON_UNCONFIRMED


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path, needs_confirmation=True)
    yield rig
    rig.close()


def confirm(rig: Rig) -> None:
    lib.tp_feed_confirmed(rig.feed, 0, rig.now)


def wait(rig: Rig) -> None:
    """Open, and hear nothing until whoever needs no confirmation would ask for a base."""
    rig.up()
    rig.tick(SETTLE)
    assert rig.state() == (SYNCING, UNCONFIRMED)


def answer(rig: Rig, version: int, book: tuple[Levels, Levels]) -> None:
    """Offer a base of now, if one is wanted."""
    if rig.wanted():
        rig.offer(version, *book)
        rig.tick()


def states(rig: Rig) -> list[tuple[int, int]]:
    return [(values[0], values[1]) for kind, _, values in rig.events() if kind == STATE]


def test_feed_answer_that_comes_after_its_connection_went_is_of_nothing(rig: Rig) -> None:
    """Else a yes behind a no would make a book active that has no connection."""
    rig.up()
    rig.down()
    lib.tp_feed_refused(rig.feed, 0, rig.now)
    assert rig.state() == (STALE, DISCONNECTED)
    assert rig.message(Venue().step()) == lib.TP_FEED_IGNORED
    lib.tp_feed_confirmed(rig.feed, 0, rig.now)
    assert (rig.state(), rig.wanted()) == ((STALE, DISCONNECTED), [])


def test_feed_base_is_wanted_only_after_the_acknowledgement(rig: Rig) -> None:
    """One that was fetched before could miss what changed before the stream began."""
    venue = Venue()
    wait(rig)
    assert rig.wanted() == []
    assert rig.offer(venue.version, *venue.book), "nobody waits for it: taken and forgotten"
    rig.tick(SECOND)
    assert rig.state() == (SYNCING, UNCONFIRMED)
    venue.step()  # what a base of before would miss
    rig.events()
    confirm(rig)
    assert rig.state() == (SYNCING, STARTING)
    assert rig.wanted() == [0]
    rig.offer(venue.version, *venue.book)
    rig.tick()
    assert states(rig) == [(SYNCING, STARTING), (LIVE, NONE)]
    assert_book(rig, venue)
    assert rig.message(venue.step()) == lib.TP_FEED_APPLIED
    assert_book(rig, venue)


def test_feed_waiting_for_the_acknowledgement_is_a_tick_that_is_replayed(rig: Rig) -> None:
    rig.up()
    assert not lib.tp_feed_tick(rig.feed, rig.now)
    assert lib.tp_feed_tick(rig.feed, rig.now + SETTLE), "it published UNCONFIRMED"
    assert not lib.tp_feed_tick(rig.feed, rig.now + SETTLE + 1)


def test_feed_gap_in_the_first_message_is_never_live(rig: Rig) -> None:
    book = Venue(version=100).book
    rig.up()
    rig.tick(SETTLE)
    answer(rig, 100, book)
    rig.message(message(200, 200, []))
    answer(rig, 100, book)
    assert rig.state()[0] == SYNCING
    assert LIVE not in [state for state, _ in states(rig)]
    assert rig.wanted() == [0]
    rig.offer(199, *book)
    rig.tick()
    assert rig.state() == (LIVE, NONE)


def test_feed_broken_first_message_is_never_live(rig: Rig) -> None:
    venue = Venue()
    rig.up()
    rig.tick(SETTLE)
    answer(rig, venue.version, venue.book)
    rig.message(venue.step()[:-5])
    answer(rig, venue.version, venue.book)
    assert rig.state() == (SYNCING, BROKEN)
    assert LIVE not in [state for state, _ in states(rig)]
    rig.message(venue.step())
    assert rig.wanted() == [0]


def test_feed_broken_first_message_of_an_in_band_rule_is_never_live(tmp_path: Path) -> None:
    venue = SampleVenue({"chain": 2, "base": 0, "in_band_base": True})
    rig = Rig(tmp_path, venue=venue.c, needs_confirmation=True)
    rig.up()
    rig.tick(SETTLE)
    answer(rig, 10, ({100: 1}, {101: 1}))
    assert rig.message(delta(11, bad=1)) == lib.TP_FEED_BROKEN
    assert rig.state() == (SYNCING, BROKEN)
    assert LIVE not in [state for state, _ in states(rig)]
    assert rig.wanted() == [0]
    rig.close()


def test_feed_first_message_that_is_in_the_base_makes_it_live_once(rig: Rig) -> None:
    venue = Venue()
    first = venue.step()
    wait(rig)
    rig.events()
    assert rig.message(first) == lib.TP_FEED_BUFFERED
    assert rig.wanted() == [0]
    rig.offer(venue.version, *venue.book)
    rig.tick()
    assert states(rig) == [(SYNCING, STARTING), (LIVE, NONE)]
    assert rig.message(first) == lib.TP_FEED_IGNORED
    assert rig.state() == (LIVE, NONE)
    assert_book(rig, venue)


@pytest.mark.parametrize("source", ["REST", "REQUEST"])
def test_feed_lost_before_the_acknowledgement_wants_no_base(tmp_path: Path, source: str) -> None:
    """Where messages are numbered by connection, another book's may show a loss."""
    of = int(getattr(lib, f"TP_BASE_{source}"))
    venue = SampleVenue({"chain": 2, "base": of, "counts_connection": True})
    rig = Rig(tmp_path, venue=venue.c, needs_confirmation=True)
    wait(rig)
    note = int(lib.TP_MEANING_NOTICE)
    rig.message(delta(n=1, m=note))
    rig.message(delta(n=3, m=note))
    assert (rig.state(), rig.wanted()) == ((SYNCING, GAP), [])
    confirm(rig)
    assert rig.wanted() == [0]
    rig.close()


def test_feed_in_band_base_that_does_not_come_is_asked_for_unconfirmed(tmp_path: Path) -> None:
    venue = SampleVenue({"chain": 2, "base": 1, "in_band_base": True})
    rig = Rig(tmp_path, venue=venue.c, needs_confirmation=True)
    rig.up()
    rig.tick(10 * SECOND)
    assert rig.wanted() == [0]
    rig.close()


def test_feed_acknowledgement_before_the_base_waits_for_it(rig: Rig) -> None:
    venue = Venue()
    rig.up()
    confirm(rig)
    assert rig.state() == (SYNCING, STARTING)
    rig.tick(SETTLE)
    assert rig.wanted() == [0]
    rig.offer(venue.version, *venue.book)
    rig.tick()
    assert rig.state() == (LIVE, NONE)


def test_feed_kept_message_confirms_it(rig: Rig) -> None:
    venue = Venue()
    rig.up()
    assert rig.message(venue.step()) == lib.TP_FEED_BUFFERED
    assert rig.wanted() == [0]
    rig.offer(venue.version, *venue.book)
    rig.tick()
    assert rig.state() == (LIVE, NONE)


def test_feed_confirmation_is_of_one_connection(rig: Rig) -> None:
    wait(rig)
    confirm(rig)
    rig.down()
    assert rig.state() == (STALE, DISCONNECTED)
    confirm(rig)
    assert rig.state() == (STALE, DISCONNECTED)
    wait(rig)
    assert rig.wanted() == []


def test_feed_connection_that_lives_confirms_nothing(rig: Rig) -> None:
    wait(rig)
    rig.tick(3 * SECOND)
    rig.message(b"", opcode=WS_PONG)
    rig.tick()
    assert rig.state() == (SYNCING, UNCONFIRMED)
    assert rig.wanted() == []


def test_feed_confirmed_on_a_silent_connection_is_stale(rig: Rig) -> None:
    venue = Venue()
    wait(rig)
    rig.tick(3 * SECOND)
    confirm(rig)
    answer(rig, venue.version, venue.book)
    assert rig.state() == (STALE, SILENT)
    rig.message(b"", opcode=WS_PONG)
    rig.tick()
    assert rig.state() == (LIVE, NONE)


def test_feed_unconfirmed_can_be_refused(rig: Rig) -> None:
    wait(rig)
    assert lib.tp_feed_is_unconfirmed(rig.feed, 0)
    lib.tp_feed_refused(rig.feed, 0, rig.now)
    assert rig.state() == (STALE, REFUSED)
    assert not lib.tp_feed_is_unconfirmed(rig.feed, 0)
    rig.tick(SECOND)
    assert rig.wanted() == []
    assert rig.offer(5, {100: 1}, {101: 1}), "nobody waits for it: taken and forgotten"
    rig.tick()
    assert rig.state() == (STALE, REFUSED)


def test_feed_refused_then_accepted_is_synced_anew(rig: Rig) -> None:
    venue = Venue()
    wait(rig)
    lib.tp_feed_refused(rig.feed, 0, rig.now)
    venue.step()
    rig.events()
    confirm(rig)
    assert rig.state() == (SYNCING, STARTING)
    answer(rig, venue.version, venue.book)
    assert states(rig) == [(SYNCING, STARTING), (LIVE, NONE)]
    assert rig.message(venue.step()) == lib.TP_FEED_APPLIED
    assert_book(rig, venue)


def test_feed_refused_whose_data_come_is_synced_anew(rig: Rig) -> None:
    """They came after the refusal: a message of the channel proves the subscription."""
    venue = Venue()
    wait(rig)
    lib.tp_feed_refused(rig.feed, 0, rig.now)
    rig.events()
    assert rig.message(venue.step()) == lib.TP_FEED_BUFFERED
    answer(rig, venue.version, venue.book)
    assert states(rig) == [(SYNCING, STARTING), (LIVE, NONE)]
    assert_book(rig, venue)


def test_feed_refused_while_live_wants_a_base_of_after(rig: Rig) -> None:
    """What it missed meanwhile is in no message: neither the old book nor an old base will do."""
    venue = Venue()
    rig.up()
    rig.message(venue.step())
    answer(rig, venue.version, venue.book)
    assert rig.state() == (LIVE, NONE)
    lib.tp_feed_refused(rig.feed, 0, rig.now)
    venue.step()
    confirm(rig)
    assert rig.wanted() == [0]
    rig.offer(venue.version - 2, *venue.book)
    rig.tick()
    assert rig.state()[0] == SYNCING
    answer(rig, venue.version, venue.book)
    assert rig.state() == (LIVE, NONE)
    assert_book(rig, venue)


def test_feed_refused_in_band_then_accepted_waits_for_its_base(tmp_path: Path) -> None:
    venue = SampleVenue({"chain": 2, "base": 1, "in_band_base": True})
    rig = Rig(tmp_path, venue=venue.c, needs_confirmation=True)
    rig.up()
    rig.tick(20 * SECOND)
    rig.wanted()
    lib.tp_feed_refused(rig.feed, 0, rig.now)
    confirm(rig)
    assert rig.state() == (SYNCING, STARTING)
    rig.tick(9 * SECOND)
    assert rig.wanted() == [], "it comes by itself"
    rig.tick(SECOND)
    assert rig.wanted() == [0]
    assert rig.message(base(10)) == lib.TP_FEED_APPLIED
    assert rig.state() == (LIVE, NONE)
    rig.close()


def test_feed_refused_then_disconnected_is_of_that_connection(rig: Rig) -> None:
    wait(rig)
    lib.tp_feed_refused(rig.feed, 0, rig.now)
    rig.down()
    assert rig.state() == (STALE, DISCONNECTED)
    confirm(rig)
    assert rig.state() == (STALE, DISCONNECTED)
    assert rig.message(Venue().step()) == lib.TP_FEED_IGNORED


def test_feed_in_band_base_is_a_message_of_the_channel(tmp_path: Path) -> None:
    venue = SampleVenue({"chain": 2, "base": 1, "in_band_base": True})
    rig = Rig(tmp_path, venue=venue.c, needs_confirmation=True)
    rig.up()
    assert rig.message(base(10)) == lib.TP_FEED_APPLIED
    assert rig.state() == (LIVE, NONE)
    assert rig.message(delta(11, {100: 1})) == lib.TP_FEED_APPLIED
    rig.close()


def test_feed_refused_after_the_connection_ended_is_of_no_stream(rig: Rig) -> None:
    """The answer came late: neither a message nor a yes begins a sync before the next `up`."""
    venue = Venue()
    rig.down()
    lib.tp_feed_refused(rig.feed, 0, rig.now)
    assert rig.message(venue.step()) == lib.TP_FEED_IGNORED
    confirm(rig)
    rig.tick(SECOND)
    assert rig.wanted() == []
    rig.offer(venue.version, *venue.book)
    rig.tick()
    assert rig.state()[0] == STALE
