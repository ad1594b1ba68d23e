"""Which member of a race is believed, and for how long: what a book that stays LIVE rests on.

Each test is a way in which a book was once LIVE and not the venue's, or RESET and whole. The rules
that the expected values follow from: docs/adr/0014.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tickpath._core import lib

from tests.unit.feed.conftest import (
    BID,
    GAP,
    LIVE,
    MS,
    NONE,
    RESET,
    SECOND,
    STALE,
    SYNCING,
    Rig,
    Venue,
    assert_book,
    channel,
    field,
)
from tests.unit.feed.test_feed_race import (
    APPLIED,
    HALTED,
    HOLD,
    IGNORED,
    IN_BAND_RULE,
    Race,
    go_live,
    open_in_band,
)
from tests.unit.feed.test_feed_venues import SampleVenue, base, delta

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PONG = 10
VERIFY = {"verify_after_ns": 5 * SECOND, "verify_limit_ns": 600 * SECOND}


@pytest.fixture
def venue() -> Venue:
    return Venue()


@pytest.fixture
def race(tmp_path: Path) -> Iterator[Race]:
    rig = Race(tmp_path, count=2)
    yield rig
    rig.close()


@pytest.fixture
def in_band(tmp_path: Path) -> Iterator[Race]:
    rig = Race(tmp_path, count=2, venue=SampleVenue(dict(IN_BAND_RULE)).c)
    yield rig
    rig.close()


def sync(race: Race, venue: Venue, member: int) -> None:
    """Let a waiting book become LIVE on the member."""
    race.message(venue.step(), member)
    assert race.wanted() == [0]
    race.offer(venue.version, *venue.history[venue.version])
    race.tick()
    assert race.state() == (LIVE, NONE)


def renumber(race: Race, venue: Venue, member: int) -> None:
    """Let the member's numbers begin anew, and the book be LIVE on it."""
    race.tick(SECOND)
    venue.version = 100
    venue.remember()
    race.message(venue.step(), member)
    assert race.state() == (SYNCING, RESET)
    race.wanted()
    race.offer(venue.version, *venue.history[venue.version])
    race.tick()
    race.message(venue.step(), member)
    assert race.state() == (LIVE, NONE)


# ---- heirs ---------------------------------------------------------------------------------------


def test_race_member_whose_channel_ended_inherits_no_book(race: Race, venue: Venue) -> None:
    go_live(race, venue, members=(0, 1))
    for _ in range(200):
        race.tick(100 * MS)
        race.message(venue.step(), 0)
        race.message(b"", 1, PONG)  # its connection lives, by another channel's
    race.down(0)
    assert race.state()[0] == SYNCING


def test_race_heir_that_is_behind_must_bring_the_same_in_time(race: Race, venue: Venue) -> None:
    go_live(race, venue, members=(0, 1))
    data = venue.step()
    race.message(data, 0)
    race.down(0)
    assert race.state() == (LIVE, NONE)
    race.tick(HOLD + 1)
    assert race.state() == (SYNCING, GAP), "its channel may have ended before"


def test_race_heir_that_brings_the_same_in_time_goes_on(race: Race, venue: Venue) -> None:
    go_live(race, venue, members=(0, 1))
    data = venue.step()
    race.message(data, 0)
    race.down(0)
    race.tick(HOLD // 2)
    assert race.message(data, 1) == IGNORED
    race.tick(HOLD)
    assert race.state() == (LIVE, NONE)
    assert race.message(venue.step(), 1) == APPLIED
    assert_book(race, venue)


def test_race_carrier_whose_channel_ended_is_left_for_who_brings(race: Race, venue: Venue) -> None:
    go_live(race, venue, members=(0, 1))
    for _ in range(40):
        race.tick(100 * MS)
        race.message(venue.step(), 1)
        race.message(b"", 0, PONG)
    assert race.carrier == 1
    race.down(1)
    assert race.state()[0] == SYNCING


def test_race_carrier_is_asked_once_who_brought_more_is_gone(race: Race, venue: Venue) -> None:
    go_live(race, venue, members=(0, 1))
    race.message(venue.step(), 1)
    race.down(1)
    assert race.carrier == 0
    race.tick(HOLD + 1)
    assert race.state() == (SYNCING, GAP)


def test_race_silent_member_that_brought_more_leaves_the_same_question(
    race: Race, venue: Venue
) -> None:
    go_live(race, venue, members=(0, 1))
    race.message(venue.step(), 1)
    for _ in range(3):
        race.tick(SECOND)
        race.message(b"", 0, PONG)
    race.tick(HOLD + 1)
    assert race.state() == (SYNCING, GAP)


def test_race_proof_by_silence_ends_with_the_next_change(tmp_path: Path, venue: Venue) -> None:
    race = Race(tmp_path, count=2, needs_confirmation=True, **VERIFY)
    for member in (0, 1):
        race.up(member)
        race.confirm(member)
    sync(race, venue, 0)
    race.message(venue.step(), 0)
    race.tick(SECOND)
    lib.tp_feed_conclude(race.feed, 0, lib.TP_VERDICT_EQUAL, race.now, race.now)
    race.message(venue.step(), 0)
    race.down(0)
    assert race.state()[0] == SYNCING
    race.close()


def test_race_deaf_member_inherits_no_book(race: Race, venue: Venue) -> None:
    go_live(race, venue, members=(0, 1))
    lib.tp_feed_conclude(race.feed, 0, lib.TP_VERDICT_DEAF, 0, race.now)
    assert not lib.tp_feed_hears(race.feed, 0, 0)
    sync(race, venue, 1)
    for _ in range(10):
        race.tick(100 * MS)
        race.message(venue.step(), 1)
        race.message(b"", 0, PONG)
    race.confirm(0)  # it takes the subscription as before
    race.down(1)
    assert race.state()[0] == SYNCING
    race.tick(SECOND)
    assert race.wanted() == [], "an acknowledgement confirms it no more"
    sync(race, venue, 0)


@pytest.mark.parametrize("says_so", [True, False])
@pytest.mark.parametrize("trouble", ["ends", "is silent"])
def test_race_book_of_a_lost_carrier_begins_where_it_is_accepted_later(
    race: Race, venue: Venue, trouble: str, *, says_so: bool
) -> None:
    """The venue refused it on the member that stayed, and takes it after all: STALE for ever."""
    if trouble == "ends":
        go_live(race, venue, members=(0, 1))
        race.refuse(1)
        race.down(0)
    else:
        race.up(0)
        race.up(1)
        race.message(venue.step(), 0)
        race.refuse(1)
        race.tick(100 * SECOND)
    assert race.state()[0] == (STALE if trouble == "ends" else SYNCING)
    race.message(b"", 1, PONG)
    race.tick()
    if says_so:
        race.confirm(1)
    else:
        race.message(venue.step(), 1)
    assert race.carrier == 1
    sync(race, venue, 1)
    assert_book(race, venue)


def test_race_base_in_band_of_one_accepted_later_is_the_books(in_band: Race) -> None:
    open_in_band(in_band, members=(0, 1))
    in_band.refuse(1)
    in_band.down(0)
    assert in_band.state()[0] == STALE
    in_band.message(base(10), 1)
    assert in_band.state() == (LIVE, NONE)


def test_race_refused_member_takes_no_book_of_a_lost_carrier(race: Race, venue: Venue) -> None:
    go_live(race, venue, members=(0, 1))
    race.refuse(1)
    race.down(0)
    race.message(b"", 1, PONG)
    assert race.state()[0] == STALE
    assert race.carrier == 0


# ---- the carrier counts --------------------------------------------------------------------------


@pytest.mark.parametrize("moves_scale", [False, True])
def test_race_estranged_member_carries_nothing_by_garbage(
    tmp_path: Path, moves_scale: bool
) -> None:
    race, venue = Race(tmp_path, count=2, moves_scale=moves_scale), Venue(version=1_000_000)
    go_live(race, venue, members=(0, 1))
    renumber(race, venue, 0)
    bad = field(1, channel(0)) + field(3, b"COIN0USDT") + field(313, b"\xff" * 40)
    race.message(bad, 1)
    venue.step([(BID, 40_000, 7)])
    assert race.state() == (LIVE, NONE)
    assert race.carrier == 0
    race.close()


def test_race_member_that_a_book_begins_on_counts(race: Race) -> None:
    venue = Venue(version=1_000_000)
    go_live(race, venue, members=(0, 1))
    renumber(race, venue, 0)
    race.refuse(0)
    assert race.carrier == 1
    sync(race, venue, 1)
    for _ in range(20):
        race.tick(100 * MS)
        assert race.message(venue.step(), 1) == APPLIED
    assert race.state() == (LIVE, NONE)
    assert_book(race, venue)


def test_race_estranged_member_that_a_base_is_asked_for_counts(race: Race, venue: Venue) -> None:
    """It brought what is missing, then numbers that go back, and carries the book all the same."""
    go_live(race, venue, members=(0,))
    old = venue.step()
    race.message(old, 0)
    race.up(1)
    venue.step()
    race.message(venue.step(), 1)
    assert race.message(old, 1) == IGNORED
    race.tick(HOLD + 1)
    assert race.state() == (SYNCING, GAP)
    assert race.carrier == 1
    sync(race, venue, 1)
    race.down(0)
    for _ in range(20):
        race.tick(100 * MS)
        assert race.message(venue.step(), 1) == APPLIED
    assert race.state() == (LIVE, NONE)
    assert_book(race, venue)


# ---- bases ---------------------------------------------------------------------------------------


def test_race_opening_base_that_is_newer_must_be_reached(in_band: Race) -> None:
    in_band.up(0)
    in_band.message(base(10), 0)
    in_band.up(1)
    in_band.message(base(50), 1)
    in_band.tick(HOLD)
    assert in_band.state() == (LIVE, NONE)
    in_band.tick(1)
    assert in_band.state() == (SYNCING, GAP)
    assert in_band.carrier == 1


def test_race_member_of_numbers_of_its_own_is_not_believed(in_band: Race) -> None:
    """Both serve the same book; the second one's numbers are three ahead."""
    in_band.up(0)
    in_band.up(1)
    in_band.message(base(10, t=1010), 0)
    in_band.message(base(9, t=1006), 1)
    assert in_band.message(delta(11, {90: 1}, t=1011), 0) == APPLIED
    assert in_band.message(delta(12, {90: 2}, t=1012), 0) == APPLIED
    for number in range(10, 17):
        assert in_band.message(delta(number, {90: 7}, t=997 + number), 1) == IGNORED
    assert in_band.message(delta(13, {91: 3}, t=1013), 0) == APPLIED
    assert in_band.levels()[0][90] == 2
    in_band.tick(2 * HOLD)
    assert in_band.state() == (LIVE, NONE)


def test_race_member_that_is_ahead_counts_once_the_book_is_there(in_band: Race) -> None:
    in_band.up(0)
    in_band.up(1)
    in_band.message(base(10, t=1010), 0)
    in_band.message(base(9, t=1009), 1)
    assert in_band.message(delta(11, {90: 1}, t=1011), 1) == IGNORED
    assert in_band.message(delta(11, {90: 1}, t=1011), 0) == APPLIED
    assert in_band.message(delta(12, {90: 2}, t=1012), 1) == APPLIED


def test_race_check_is_answered_on_the_carrier_of_before(tmp_path: Path) -> None:
    race = Race(tmp_path, count=2, venue=SampleVenue(dict(IN_BAND_RULE)).c, **VERIFY)
    open_in_band(race, members=(0, 1))
    for _ in range(6):
        race.tick(SECOND)
        for member in (0, 1):
            race.message(b"", member, PONG)
    for _ in range(3):  # the carrier falls silent; the check was asked for on it
        race.tick(SECOND)
        race.message(b"", 1, PONG)
    assert race.carrier == 1
    assert race.message(base(10), 0) == APPLIED
    assert race.record()["verified_ns"] == race.now
    race.close()


# ---- a stream behind a base by REST --------------------------------------------------------------


def test_race_stream_behind_its_base_is_no_restart(race: Race, venue: Venue) -> None:
    race.up(0)
    race.up(1)
    late = [venue.step() for _ in range(10)]
    race.message(late[0], 0)
    assert race.wanted() == [0]
    race.offer(venue.version, *venue.history[venue.version])
    race.tick()
    for data in late[1:]:
        race.now += 10 * MS
        assert race.message(data, 0) == IGNORED
    assert race.state() == (LIVE, NONE)
    assert race.counters.resets == 0
    assert race.message(venue.step(), 0) == APPLIED
    assert_book(race, venue)


def test_race_stream_that_stays_behind_its_base_is_a_restart(race: Race, venue: Venue) -> None:
    race.up(0)
    race.up(1)
    late = [venue.step() for _ in range(10)]
    race.message(late[0], 0)
    assert race.wanted() == [0]
    race.offer(venue.version, *venue.history[venue.version])
    race.tick()
    race.message(late[1], 0)
    race.now += 501 * MS
    race.message(late[2], 0)
    assert race.state() == (SYNCING, RESET)


def test_race_numbers_anew_of_one_that_was_at_the_base_are_a_restart(
    race: Race, venue: Venue
) -> None:
    race.up(0)
    race.up(1)
    race.message(venue.step(), 0)
    race.wanted()
    race.message(venue.step(), 1)
    race.offer(venue.version, *venue.history[venue.version])
    race.tick()
    race.down(0)
    assert race.state() == (LIVE, NONE)
    venue.version = 5
    race.message(venue.step(), 1)
    assert race.state() == (SYNCING, RESET)


# ---- trading -------------------------------------------------------------------------------------


def word(trading: int) -> bytes:
    return b'{"m":%d,"trading":%d}' % (int(lib.TP_MEANING_STATUS), trading)


def test_race_late_word_of_trading_is_taken_back_by_who_said_it(in_band: Race) -> None:
    open_in_band(in_band, members=(0, 1))
    for one in (1, 3, 1):
        in_band.message(word(one), 0)
    in_band.message(word(3), 1)
    assert in_band.state() == (STALE, HALTED)
    in_band.message(word(1), 1)
    assert in_band.state()[0] == SYNCING


def test_race_word_of_trading_outlives_the_first_that_said_it(in_band: Race) -> None:
    open_in_band(in_band, members=(0, 1))
    in_band.message(word(3), 0)
    in_band.message(word(3), 1)
    in_band.down(0)
    assert in_band.state() == (STALE, HALTED)
    in_band.message(word(1), 1)
    assert in_band.state()[0] == SYNCING


def test_race_word_of_trading_goes_with_its_member(in_band: Race) -> None:
    open_in_band(in_band, members=(0, 1))
    in_band.message(word(3), 1)
    assert in_band.state() == (STALE, HALTED)
    in_band.down(1)
    assert in_band.state()[0] == SYNCING


# ---- what asks about races -----------------------------------------------------------------------


def test_race_questions_are_answered_without_a_race(tmp_path: Path, race: Race) -> None:
    (tmp_path / "alone").mkdir()
    rig = Rig(tmp_path / "alone")
    rig.up()
    assert lib.tp_feed_carrier(rig.feed, 0) == 0
    assert lib.tp_feed_hears(rig.feed, 0, 0)
    assert lib.tp_feed_hears(race.feed, 2, 0), "a connection outside the race"
    rig.close()


def test_race_many_held_messages_take_a_bounded_turn(tmp_path: Path) -> None:
    race = Race(tmp_path, count=2, venue=SampleVenue(dict(IN_BAND_RULE)).c)
    open_in_band(race, members=(0, 1))
    for number in range(211, 11, -1):
        race.message(delta(number, {100: number}), 0)
    race.message(delta(11, {100: 11}), 1)
    assert race.counters.filled <= 5, "of 200, each look at which passes those behind it"
    race.tick(HOLD + 1)
    assert race.state()[0] == SYNCING or race.record()["version"] == 211
    race.close()
