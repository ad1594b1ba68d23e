"""When a connection may end: no book leaves LIVE by that, whatever the others bring afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tickpath._core import lib

from tests.unit.feed.conftest import LIVE, MS, NONE, Venue, channel
from tests.unit.feed.test_feed_race import HOLD, Race, go_live

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OLD, NEW, OUTSIDE = 0, 1, 2


@pytest.fixture
def race(tmp_path: Path) -> Iterator[Race]:
    rig = Race(tmp_path, count=2)
    yield rig
    rig.close()


@pytest.fixture
def venue() -> Venue:
    return Venue()


def may_leave(race: Race, connection: int = OLD) -> bool:
    return bool(lib.tp_feed_may_leave(race.feed, connection, race.now))


def test_connection_may_leave_once_another_has_all_that_its_book_has(
    race: Race, venue: Venue
) -> None:
    go_live(race, venue, members=(OLD,))
    race.up(NEW)
    race.confirm(NEW)
    assert not may_leave(race), "an acknowledgement is no stream"
    data = venue.step()
    race.message(data, OLD)
    assert not may_leave(race)
    race.message(data, NEW)
    assert may_leave(race)
    last = venue.step()
    race.message(last, OLD)
    assert not may_leave(race), "it lags: its channel may have ended there"
    race.message(last, NEW)
    race.tick(10 * HOLD)
    assert may_leave(race), "it has the newest change, however old that is"
    race.down(OLD)
    race.tick(2 * HOLD)
    assert race.state() == (LIVE, NONE)
    assert race.carrier == NEW


def test_connection_that_does_not_carry_may_leave_only_a_carrier_that_lacks_nothing(
    race: Race, venue: Venue
) -> None:
    go_live(race, venue, members=(OLD, NEW))
    assert may_leave(race, NEW)
    data = venue.step()
    race.message(data, NEW)
    assert race.carrier == OLD
    assert not may_leave(race, NEW), "the carrier would have to bring the same in time"
    race.message(data, OLD)
    assert may_leave(race, NEW)


def test_connection_may_not_leave_while_something_is_held(race: Race, venue: Venue) -> None:
    go_live(race, venue, members=(OLD, NEW))
    missing, ahead = venue.step(), venue.step()
    race.message(ahead, NEW)
    assert not may_leave(race), "only this one may still bring what is missing"
    race.message(missing, OLD)
    race.message(ahead, OLD)
    assert may_leave(race)


def test_connection_may_not_leave_while_one_of_its_books_has_no_heir(
    tmp_path: Path, venue: Venue
) -> None:
    race, other = Race(tmp_path, count=2, instruments=2), Venue(seed=2, instrument=1)
    assert race.add(1, channel(1))
    for connection in (OLD, NEW):
        race.up(connection)
    for one in (venue, other):
        data = one.step()
        race.message(data, OLD)
        race.wanted()
        race.offer(one.version, *one.history[one.version], instrument=one.instrument)
        race.tick()
        assert race.state(one.instrument) == (LIVE, NONE)
    for one in (venue, other):
        assert not may_leave(race)
        data = one.step()
        for connection in (OLD, NEW):
            race.message(data, connection)
    assert may_leave(race)
    race.close()


def test_connection_without_another_may_not_leave(race: Race, venue: Venue) -> None:
    go_live(race, venue, members=(OLD,))
    assert not may_leave(race)
    assert not may_leave(race, OUTSIDE)


def test_book_that_waits_for_its_base_keeps_nobody(race: Race, venue: Venue) -> None:
    for connection in (OLD, NEW):
        race.up(connection)
    race.message(venue.step(), OLD)
    race.now += MS
    assert may_leave(race)
