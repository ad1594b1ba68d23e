"""Instruments that come, go and come back while the others stay LIVE."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tickpath._core import ffi, lib

from tests.unit.feed.conftest import (
    LIVE,
    MS,
    NONE,
    PRICE_EXPONENT,
    QUANTITY_EXPONENT,
    SECOND,
    SETTLE,
    STALE,
    STARTING,
    STATE,
    SYNCING,
    Rig,
    Venue,
    assert_book,
    channel,
    go_live,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

INSTRUMENT = lib.TP_EVENT_INSTRUMENT
REMOVED = lib.TP_SYNC_REASON_REMOVED
UNCONFIRMED = lib.TP_SYNC_REASON_UNCONFIRMED
GONE = lib.TP_INSTRUMENT_REMOVED


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path, instruments=3, added=1, needs_confirmation=True)
    yield rig
    rig.close()


def row(instrument: int, generation: int = 1, connection: int = 0, **record: Any) -> Any:
    one = ffi.new("struct tp_feed_row *")
    one.record.price_exponent, one.record.quantity_exponent = PRICE_EXPONENT, QUANTITY_EXPONENT
    one.record.tick_size = 1
    one.instrument, one.generation, one.connection = instrument, generation, connection
    one.channel = record.pop("name", channel(instrument))
    for name, value in record.items():
        setattr(one.record, name, value)
    return one


def take(rig: Rig, one: Any) -> bool:
    return bool(lib.tp_feed_row_take(rig.feed, one, rig.now))


def sync(rig: Rig, venue: Venue) -> None:
    """Give an instrument that has just joined its base."""
    rig.message(venue.step())
    assert rig.wanted() == [venue.instrument]
    assert rig.offer(venue.version, *venue.book, instrument=venue.instrument)
    rig.tick()
    assert rig.state(venue.instrument) == (LIVE, NONE)


def test_feed_row_joins_an_open_connection_beside_a_live_book(rig: Rig) -> None:
    first, second = Venue(), Venue(seed=1, instrument=1)
    go_live(rig, first)
    assert take(rig, row(1))
    assert rig.events() == [
        (INSTRUMENT, 0, [1, lib.TP_ROW_ADDED, 0, 0]),
        (STATE, 0, [SYNCING, STARTING, 0, 0]),
    ]
    assert rig.state(1) == (SYNCING, STARTING)
    assert rig.state(0) == (LIVE, NONE)
    rig.message(first.step())
    assert_book(rig, first)
    sync(rig, second)
    assert_book(rig, second)
    assert rig.state(0) == (LIVE, NONE)


def test_feed_row_that_joined_wants_no_base_before_its_confirmation(rig: Rig) -> None:
    go_live(rig, Venue())
    take(rig, row(1))
    rig.tick(SETTLE)
    assert rig.state(1) == (SYNCING, UNCONFIRMED)
    assert rig.wanted() == []
    lib.tp_feed_confirmed(rig.feed, 1, rig.now)
    assert rig.wanted() == [1]
    assert rig.state(0) == (LIVE, NONE)


def test_feed_row_joins_before_its_connection_opens(rig: Rig) -> None:
    second = Venue(seed=1, instrument=1)
    assert take(rig, row(1, connection=1))
    assert rig.state(1) == (SYNCING, STARTING)
    rig.message(second.step(), connection=1)
    assert rig.counters.inactive == 1
    rig.up(1)
    rig.message(second.step(), connection=1)
    assert rig.wanted() == [1]
    assert rig.offer(second.version, *second.book, instrument=1)
    rig.tick()
    assert rig.state(1) == (LIVE, NONE)


def test_feed_row_that_leaves_is_stale_and_nothing_of_it_counts(rig: Rig) -> None:
    first, second = Venue(), Venue(seed=1, instrument=1)
    go_live(rig, first)
    take(rig, row(1))
    sync(rig, second)
    rig.events()
    assert take(rig, row(1, 2, status=GONE))
    assert rig.events() == [
        (INSTRUMENT, 0, [2, lib.TP_ROW_CHANGED, 0, 0]),
        (STATE, 0, [STALE, REMOVED, 0, 0]),
    ]
    rig.message(second.step())
    rig.down()
    rig.up()
    rig.tick(10 * SECOND)
    assert rig.state(1) == (STALE, REMOVED)
    assert rig.counters.inactive == 1
    assert rig.counters.unknown_channel == 0
    assert rig.wanted() == []


def test_feed_row_that_leaves_with_a_base_under_way_takes_none(rig: Rig) -> None:
    second = Venue(seed=1, instrument=1)
    rig.up()
    take(rig, row(1))
    rig.message(second.step())
    assert rig.wanted() == [1]
    assert rig.offer(second.version, *second.book, instrument=1)
    take(rig, row(1, 2, status=GONE))
    rig.tick()
    assert rig.state(1) == (STALE, REMOVED)
    assert rig.counters.bases_unasked == 1


def test_feed_row_that_comes_back_is_replaced_and_never_older(rig: Rig) -> None:
    first, second = Venue(), Venue(seed=1, instrument=1)
    go_live(rig, first)
    take(rig, row(1))
    sync(rig, second)
    old, version = second.book, second.version
    take(rig, row(1, 2, status=GONE))
    for _ in range(5):
        second.step()
    assert take(rig, row(1, 3))
    assert rig.state(1) == (SYNCING, STARTING)
    rig.message(second.step())
    assert rig.wanted() == [1]
    rig.offer(version, *old, instrument=1)
    rig.tick()
    assert rig.state(1)[0] == SYNCING
    assert rig.counters.bases_too_old == 1
    assert rig.wanted() == [1]
    rig.offer(second.version, *second.book, instrument=1)
    rig.tick()
    assert rig.state(1) == (LIVE, NONE)
    assert_book(rig, second)
    assert rig.state(0) == (LIVE, NONE)


def test_feed_row_comes_back_with_another_scale_and_connection(rig: Rig) -> None:
    second = Venue(seed=1, instrument=1)
    rig.up()
    take(rig, row(1))
    sync(rig, second)
    take(rig, row(1, 2, status=GONE))
    take(rig, row(1, 3, connection=1, price_exponent=-3))
    rig.message(second.step())
    assert rig.counters.unknown_channel == 1  # it is of the other connection now
    rig.up(1)
    rig.message(second.step(), connection=1)
    assert rig.wanted() == [1]
    book = [{10 * price: of for price, of in side.items()} for side in second.book]
    rig.offer(second.version, book[0], book[1], instrument=1)
    rig.tick()
    assert rig.state(1) == (LIVE, NONE)
    assert rig.levels(1) == tuple(book)


def test_feed_row_that_is_there_only_moves_its_generation(rig: Rig) -> None:
    go_live(rig, Venue())
    assert take(rig, row(0, 7))
    assert rig.events() == [(INSTRUMENT, 0, [7, lib.TP_ROW_CHANGED, 0, 0])]
    assert rig.state(0) == (LIVE, NONE)


@pytest.mark.parametrize(
    "bad",
    [
        row(3),
        row(1, connection=2),
        row(1, tick_size=0),
        row(1, price_exponent=1),
        row(1, quantity_exponent=-19),
        row(1, name=b"spot@public.aggre.deals.v3.api.pb@100ms@AB"),
        row(1, name=b"x"),
        row(1, name=channel(0)),
        row(1, name=b"a" * (lib.TP_CHANNEL_SIZE_MAX + 1)),  # without its NUL
    ],
)
def test_feed_row_that_cannot_be_changes_nothing(rig: Rig, bad: Any) -> None:
    first = Venue()
    go_live(rig, first)
    assert not take(rig, bad)
    assert rig.events() == []
    rig.message(first.step())
    assert_book(rig, first)
    assert take(rig, row(1))


def test_feed_row_that_is_not_there_may_leave(rig: Rig) -> None:
    assert take(rig, row(1, status=GONE))
    assert rig.events() == []


def test_feed_spare_rows_do_not_care_what_happens_to_connections(rig: Rig) -> None:
    first = Venue()
    go_live(rig, first)
    rig.tick(3 * SECOND)  # it is silent
    rig.message(first.step())
    rig.tick()
    rig.down()
    rig.up()
    rig.down(1)
    rig.up(1)
    rig.tick(3 * SECOND)
    lib.tp_feed_refused(rig.feed, 1, rig.now)
    lib.tp_feed_confirmed(rig.feed, 1, rig.now)
    assert not rig.reader.read_snapshot(1)
    assert not rig.reader.read_snapshot(2)


def test_feed_row_that_joins_does_not_hurry_who_came_before(tmp_path: Path) -> None:
    """A base that is asked for before the subscription stands misses what changes meanwhile."""
    rig = Rig(tmp_path, instruments=2, added=1)
    rig.up()
    rig.tick(SETTLE - MS)
    take(rig, row(1))
    rig.tick(SETTLE - MS)
    assert rig.wanted() == []
    rig.tick(MS)
    assert sorted(rig.wanted()) == [0, 1]
    rig.close()
