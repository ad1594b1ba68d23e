"""A base alone is no proof of a subscription: who else must have spoken before a book is LIVE."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tickpath._core import lib

from tests.unit.feed.conftest import (
    DISCONNECTED,
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
    Rig,
    Venue,
    assert_book,
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


def take_base(rig: Rig, venue: Venue) -> None:
    """Open, hear nothing, and take a base by REST."""
    rig.up()
    rig.tick(SETTLE)
    assert rig.wanted() == [0]
    rig.offer(venue.version, *venue.book)
    rig.tick()


def test_feed_base_alone_is_unconfirmed_and_an_acknowledgement_makes_it_live(rig: Rig) -> None:
    venue = Venue()
    take_base(rig, venue)
    assert rig.state() == (SYNCING, UNCONFIRMED)
    rig.events()
    confirm(rig)
    assert rig.state() == (LIVE, NONE)
    assert [(kind, values[:2]) for kind, _, values in rig.events()] == [(STATE, [LIVE, NONE])]
    assert_book(rig, venue)
    assert rig.message(venue.step()) == lib.TP_FEED_APPLIED
    assert_book(rig, venue)


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


def test_feed_message_of_the_channel_confirms_it(rig: Rig) -> None:
    venue = Venue()
    take_base(rig, venue)
    assert rig.message(venue.step()) == lib.TP_FEED_APPLIED
    assert rig.state() == (LIVE, NONE)
    assert_book(rig, venue)


def test_feed_message_older_than_the_base_confirms_it_too(rig: Rig) -> None:
    venue = Venue()
    late = venue.step()
    take_base(rig, venue)
    assert rig.message(late) == lib.TP_FEED_IGNORED
    assert rig.state() == (LIVE, NONE)
    assert_book(rig, venue)


def test_feed_kept_message_confirms_it(rig: Rig) -> None:
    venue = Venue()
    rig.up()
    assert rig.message(venue.step()) == lib.TP_FEED_BUFFERED
    assert rig.wanted() == [0]
    rig.offer(venue.version, *venue.book)
    rig.tick()
    assert rig.state() == (LIVE, NONE)


def test_feed_confirmation_is_of_one_connection(rig: Rig) -> None:
    venue = Venue()
    take_base(rig, venue)
    confirm(rig)
    rig.down()
    assert rig.state() == (STALE, DISCONNECTED)
    confirm(rig)
    assert rig.state() == (STALE, DISCONNECTED)
    take_base(rig, venue)
    assert rig.state() == (SYNCING, UNCONFIRMED)


def test_feed_connection_that_lives_confirms_nothing(rig: Rig) -> None:
    take_base(rig, Venue())
    rig.tick(3 * SECOND)
    rig.message(b"", opcode=WS_PONG)
    rig.tick()
    assert rig.state() == (SYNCING, UNCONFIRMED)


def test_feed_confirmed_on_a_silent_connection_is_stale(rig: Rig) -> None:
    take_base(rig, Venue())
    rig.tick(3 * SECOND)
    confirm(rig)
    assert rig.state() == (STALE, SILENT)
    rig.message(b"", opcode=WS_PONG)
    rig.tick()
    assert rig.state() == (LIVE, NONE)


def test_feed_unconfirmed_can_be_refused(rig: Rig) -> None:
    take_base(rig, Venue())
    lib.tp_feed_refused(rig.feed, 0, rig.now)
    assert rig.state() == (STALE, REFUSED)
    confirm(rig)
    assert rig.state() == (STALE, REFUSED)


def test_feed_in_band_base_is_a_message_of_the_channel(tmp_path: Path) -> None:
    venue = SampleVenue({"chain": 2, "base": 1, "in_band_base": True})
    rig = Rig(tmp_path, venue=venue.c, needs_confirmation=True)
    rig.up()
    assert rig.message(base(10)) == lib.TP_FEED_APPLIED
    assert rig.state() == (LIVE, NONE)
    assert rig.message(delta(11, {100: 1})) == lib.TP_FEED_APPLIED
    rig.close()
