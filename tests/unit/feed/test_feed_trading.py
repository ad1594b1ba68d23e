"""What the venue does not trade is not LIVE: its list says so, or its stream."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tickpath._core import ffi, lib

from tests.unit.feed.conftest import (
    DISCONNECTED,
    GAP,
    LIVE,
    MS,
    NONE,
    REFUSED,
    SECOND,
    SETTLE,
    STALE,
    STARTING,
    STATE,
    SYNCING,
    Rig,
    Venue,
    assert_book,
    go_live,
)
from tests.unit.feed.test_feed_venues import SampleVenue, base, delta

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HALTED = int(lib.TP_SYNC_REASON_HALTED)
UNCONFIRMED = int(lib.TP_SYNC_REASON_UNCONFIRMED)
ROW_EVENT = int(lib.TP_EVENT_INSTRUMENT)
STATUS_EVENT = int(lib.TP_EVENT_STATUS)
UNKNOWN, OPEN, CANCEL_ONLY, HALT, DELISTED = range(5)
IN_BAND_RULE = {"chain": 2, "base": 1, "in_band_base": True}


def listed(rig: Rig, status: int, instrument: int = 0) -> None:
    listing = ffi.new("struct tp_feed_listing *", (instrument, status, 2))
    assert lib.tp_feed_list_status(rig.feed, listing, rig.now)


def streamed(trading: int, instrument: int = 0, **more: int) -> bytes:
    part = {"m": int(lib.TP_MEANING_STATUS), "i": instrument, "trading": trading, **more}
    return json.dumps(part).encode()


@pytest.fixture
def stream(tmp_path: Path) -> Iterator[Rig]:
    """A venue that gives bases in-band, and statuses, with one LIVE book."""
    venue = SampleVenue(IN_BAND_RULE)
    rig = Rig(tmp_path, instruments=2, venue=venue.c)
    rig.up()
    assert rig.message(base(10)) == lib.TP_FEED_APPLIED
    rig.events()
    yield rig
    rig.close()


def test_feed_status_of_a_place_that_nobody_has_is_refused(tmp_path: Path) -> None:
    venue = SampleVenue(IN_BAND_RULE)
    rig = Rig(tmp_path, instruments=2, venue=venue.c, added=1)
    listing = ffi.new("struct tp_feed_listing *", (1, HALT, 2))
    assert not lib.tp_feed_list_status(rig.feed, listing, rig.now)
    assert rig.events() == []
    rig.close()


@pytest.mark.parametrize("status", [CANCEL_ONLY, HALT, DELISTED])
def test_feed_listed_as_not_trading_is_stale_until_it_is_open_again(rig: Rig, status: int) -> None:
    venue = Venue()
    go_live(rig, venue)
    listed(rig, OPEN)
    assert rig.state() == (LIVE, NONE)
    rig.events()
    listed(rig, status)
    assert rig.state() == (STALE, HALTED)
    assert [(kind, values[0]) for kind, _, values in rig.events()] == [
        (ROW_EVENT, 2),
        (STATUS_EVENT, status),
        (STATE, STALE),
    ]
    assert rig.counters.halts == 1
    assert rig.message(venue.step()) == lib.TP_FEED_IGNORED
    rig.tick(SECOND)
    assert (rig.state(), rig.wanted()) == ((STALE, HALTED), [])
    listed(rig, OPEN)
    assert rig.state() == (SYNCING, STARTING)
    assert rig.wanted() == [0]
    rig.offer(venue.version, *venue.book)
    rig.tick()
    assert rig.state() == (LIVE, NONE)
    assert_book(rig, venue)


def test_feed_same_status_again_says_nothing(rig: Rig) -> None:
    go_live(rig, Venue())
    listed(rig, HALT)
    rig.events()
    listed(rig, HALT)
    assert [kind for kind, _, _ in rig.events()] == [ROW_EVENT]
    listed(rig, DELISTED)
    assert [kind for kind, _, _ in rig.events()] == [ROW_EVENT, STATUS_EVENT]
    assert rig.state() == (STALE, HALTED)


def test_feed_not_trading_from_the_start_is_never_live(tmp_path: Path) -> None:
    rig, venue = Rig(tmp_path, added=0), Venue()
    assert rig.add(0, b"spot@public.aggre.depth.v3.api.pb@100ms@COIN0USDT", status=HALT)
    rig.up()
    assert rig.state() == (STALE, HALTED)
    rig.tick(SETTLE)
    rig.message(venue.step())
    assert (rig.state(), rig.wanted()) == ((STALE, HALTED), [])
    listed(rig, OPEN)
    assert rig.wanted() == [0]
    rig.close()


def test_feed_halted_book_stays_so_over_a_reconnection(rig: Rig) -> None:
    venue = Venue()
    go_live(rig, venue)
    listed(rig, HALT)
    rig.down()
    assert rig.state() == (STALE, DISCONNECTED)
    rig.up()
    assert rig.state() == (STALE, HALTED)
    rig.down()
    listed(rig, OPEN)
    assert rig.state() == (STALE, DISCONNECTED)
    rig.up()
    assert rig.state() == (SYNCING, STARTING)


def test_feed_halted_while_it_waits_for_its_yes_wants_no_base_before_that(tmp_path: Path) -> None:
    rig = Rig(tmp_path, needs_confirmation=True)
    rig.up()
    rig.tick(SETTLE)
    listed(rig, HALT)
    listed(rig, OPEN)
    assert (rig.state(), rig.wanted()) == ((SYNCING, STARTING), [])
    lib.tp_feed_confirmed(rig.feed, 0, rig.now)
    assert rig.wanted() == [0]
    rig.close()


@pytest.mark.parametrize("by", ["yes", "message"])
def test_feed_confirmed_while_halted_is_known_afterwards(tmp_path: Path, by: str) -> None:
    rig = Rig(tmp_path, needs_confirmation=True)
    rig.up()
    rig.tick(SETTLE)
    listed(rig, HALT)
    if by == "yes":
        lib.tp_feed_confirmed(rig.feed, 0, rig.now)
    else:
        rig.message(Venue().step())
    assert (rig.state(), rig.wanted()) == ((STALE, HALTED), [])
    listed(rig, OPEN)
    assert rig.wanted() == [0]
    rig.close()


@pytest.mark.parametrize("order", ["refused first", "halted first"])
def test_feed_refused_and_halted_is_unconfirmed_when_it_is_open_again(
    tmp_path: Path, order: str
) -> None:
    rig = Rig(tmp_path, needs_confirmation=True)
    rig.up()
    rig.tick(SETTLE)
    if order == "halted first":
        listed(rig, HALT)
    lib.tp_feed_refused(rig.feed, 0, rig.now)
    if order == "refused first":
        assert rig.state() == (STALE, REFUSED)
        listed(rig, HALT)
    assert rig.state() == (STALE, HALTED)
    listed(rig, OPEN)
    assert rig.state()[0] == SYNCING
    assert rig.wanted() == []
    assert lib.tp_feed_is_unconfirmed(rig.feed, 0)
    rig.close()


def test_feed_streamed_status_halts_one_instrument_and_opens_it_again(stream: Rig) -> None:
    assert stream.message(base(10, i=1)) == lib.TP_FEED_APPLIED
    stream.events()
    assert stream.message(streamed(HALT, t=77)) == lib.TP_FEED_APPLIED
    assert stream.state() == (STALE, HALTED)
    assert stream.state(1) == (LIVE, NONE)
    kind, _, values = stream.events()[0]
    assert (kind, values[0], values[2]) == (STATUS_EVENT, HALT, 77)
    assert stream.message(delta(11, {100: 1})) == lib.TP_FEED_IGNORED
    stream.message(streamed(OPEN))
    assert stream.state() == (SYNCING, STARTING)
    assert stream.wanted() == [0], "a new subscription brings its base"
    stream.message(base(12))
    assert stream.state() == (LIVE, NONE)


@pytest.mark.parametrize(("in_list", "in_stream"), [(HALT, OPEN), (OPEN, HALT), (UNKNOWN, HALT)])
def test_feed_open_is_what_list_and_stream_call_open(
    stream: Rig, in_list: int, in_stream: int
) -> None:
    listed(stream, in_list)
    stream.message(streamed(in_stream))
    assert stream.state() == (STALE, HALTED)
    listed(stream, OPEN)
    stream.message(streamed(OPEN))
    assert stream.state() == (SYNCING, STARTING)


def test_feed_streamed_status_is_of_its_connection(stream: Rig) -> None:
    stream.message(streamed(HALT))
    stream.down()
    stream.up()
    assert stream.state() == (SYNCING, STARTING)


class Told:
    """What the cold thread finds of statuses, look by look."""

    def __init__(self, rig: Rig) -> None:
        self._feed, self._known = rig.feed, ffi.new("uint8_t[]", 2)

    def look(self) -> dict[int, int]:
        found, index = {}, -1
        while (index := lib.tp_feed_status_next(self._feed, self._known, index + 1)) < 2:
            found[int(index)] = int(self._known[index])
        return found


def test_feed_status_of_list_and_stream_is_told_to_who_writes_the_row(stream: Rig) -> None:
    told = Told(stream)
    assert told.look() == {}, "nothing was said as yet"
    listed(stream, OPEN)
    assert told.look() == {0: OPEN}
    stream.message(streamed(HALT))
    assert told.look() == {0: HALT}
    listed(stream, CANCEL_ONLY)
    assert told.look() == {}, "the graver one counts"
    stream.message(streamed(OPEN))
    stream.message(streamed(DELISTED, instrument=1))
    assert told.look() == {0: CANCEL_ONLY, 1: DELISTED}
    assert told.look() == {}


def test_feed_status_of_a_stream_that_ended_is_taken_back(stream: Rig) -> None:
    """Readers would see it for ever: who connects anew says it anew."""
    told = Told(stream)
    listed(stream, OPEN)
    stream.message(streamed(HALT))
    assert told.look() == {0: HALT}
    stream.down()
    stream.events()
    stream.up()
    assert told.look() == {0: OPEN}
    statuses = [values[0] for kind, _, values in stream.events() if kind == STATUS_EVENT]
    assert statuses == [OPEN]


def test_feed_status_of_a_row_that_came_is_its_own(tmp_path: Path) -> None:
    venue = SampleVenue(IN_BAND_RULE)
    rig = Rig(tmp_path, instruments=2, venue=venue.c, added=1)
    assert Told(rig).look() == {}
    rig.close()


@pytest.mark.parametrize("message", [streamed(HALT, bad=1), streamed(9)])
def test_feed_broken_status_is_counted_and_harms_no_book(stream: Rig, message: bytes) -> None:
    assert stream.message(message) == lib.TP_FEED_BROKEN
    assert stream.counters.broken == 1
    assert stream.state() == (LIVE, NONE)


def test_feed_status_of_a_gap_or_a_silence_does_not_hide_the_halt(rig: Rig) -> None:
    venue = Venue()
    go_live(rig, venue)
    venue.step()
    rig.message(venue.step())
    assert rig.state() == (SYNCING, GAP)
    listed(rig, HALT)
    assert rig.state() == (STALE, HALTED)
    rig.tick(3 * SECOND + MS)
    assert rig.state() == (STALE, HALTED)
    assert rig.offer(venue.version, *venue.book), "nobody waits for it: taken and forgotten"
    rig.tick()
    assert rig.state() == (STALE, HALTED)


def test_feed_status_that_the_venue_does_not_decode_is_counted(tmp_path: Path) -> None:
    venue = SampleVenue(IN_BAND_RULE)
    venue.c.decode_status = ffi.NULL
    rig = Rig(tmp_path, venue=venue.c)
    rig.up()
    assert rig.message(streamed(HALT)) == lib.TP_FEED_IGNORED
    assert rig.counters.unpublished == 1
    assert rig.state() == (SYNCING, STARTING)
    rig.close()
