"""Bases that answer a request on the socket: what they are good for, and what they prove.

How a base so asked for is met by what was kept: test_feed_venues.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from tickpath._core import ffi, lib

from tests.unit.feed.conftest import BROKEN, GAP, LIVE, NONE, SECOND, STARTING, SYNCING, Levels, Rig
from tests.unit.feed.test_feed_venues import PREVIOUS, REQUEST, SampleVenue, base, delta

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Make = Callable[..., Rig]
APPLIED, BUFFERED, IGNORED = lib.TP_FEED_APPLIED, lib.TP_FEED_BUFFERED, lib.TP_FEED_IGNORED
ANSWER = int(lib.TP_MEANING_BASE)
ASKED = {"chain": PREVIOUS, "base": REQUEST, "in_band_base": True}


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    rigs: list[Rig] = []

    def made(**config: Any) -> Rig:
        rigs.append(Rig(tmp_path, venue=SampleVenue(ASKED).c, **config))
        return rigs[-1]

    yield made
    for rig in rigs:
        rig.close()


def answer(last: int, bids: Levels | None = None, **more: Any) -> bytes:
    """Write a base that answers a request on the socket."""
    return base(last, bids, m=ANSWER, **more)


def follow(last: int, price: int = 100, **more: Any) -> bytes:
    """Write a change that follows the one before it."""
    return delta(last, {price: last}, p=last - 1, **more)


def asking(make: Make) -> Rig:
    """Return a rig with a LIVE book at 10 that is asked about after a quiet second."""
    verify = {"verify_after_ns": SECOND, "verify_limit_ns": 60 * SECOND}
    rig = make(**verify, silent_after_ns=0)
    rig.up()
    rig.message(follow(10))
    assert rig.message(answer(10)) == APPLIED
    assert rig.state() == (LIVE, NONE)
    rig.events()
    return rig


def questions(rig: Rig) -> list[int]:
    wanted = ffi.new("uint32_t[8]")
    return list(wanted[0 : lib.tp_feed_check_wanted(rig.feed, 0, wanted, 8)])


def quiet(rig: Rig) -> None:
    for _ in range(5):
        rig.tick(SECOND // 2)
    assert questions(rig) == [0]


def test_answer_without_a_question_moves_no_book(make: Make) -> None:
    """It may stand before or behind the changes around it."""
    rig = asking(make)
    for last in (9, 10, 12):
        assert rig.message(answer(last, {100: 1})) == IGNORED
    assert (rig.state(), rig.record()["version"], rig.levels()[0][100]) == ((LIVE, NONE), 10, 5)
    assert rig.counters.bases_unasked == 3
    assert rig.message(follow(11)) == APPLIED


def test_answer_that_is_the_book_proves_it(make: Make) -> None:
    rig = asking(make)
    quiet(rig)
    assert rig.message(answer(10)) == IGNORED
    assert (rig.counters.verified, rig.state()) == (1, (LIVE, NONE))
    rig.tick()
    assert questions(rig) == [], "it is answered"
    lib.tp_feed_base_failed(rig.feed, 0, 0)
    assert questions(rig) == [], "and whoever waited for it asks no more"


def test_answer_of_other_levels_under_the_same_number_becomes_the_book(make: Make) -> None:
    rig = asking(make)
    quiet(rig)
    assert rig.message(answer(10, {100: 7})) == APPLIED
    assert rig.counters.checks_different == 1
    assert (rig.state(), rig.levels()[0]) == ((LIVE, NONE), {100: 7})
    assert rig.wanted() == []


def test_answer_of_before_the_book_says_nothing_and_is_asked_for_again(make: Make) -> None:
    rig = asking(make)
    quiet(rig)
    assert rig.message(answer(9, {100: 7})) == IGNORED
    assert (rig.state(), rig.levels()[0][100], rig.counters.verified) == ((LIVE, NONE), 5, 0)
    quiet(rig)


def test_answer_ahead_of_a_channel_that_stays_silent_ends_live(make: Make) -> None:
    rig = asking(make)
    quiet(rig)
    assert rig.message(answer(12, {100: 7})) == IGNORED
    assert rig.state() == (LIVE, NONE), "its messages may be on their way"
    rig.tick(3 * SECOND)
    assert rig.state() == (SYNCING, int(lib.TP_SYNC_REASON_SILENT))
    assert rig.message(answer(12, {100: 7})) == IGNORED, "no base, before a message comes"
    assert rig.message(follow(13)) == BUFFERED
    assert rig.message(answer(12, {100: 7})) == APPLIED
    assert (rig.state(), rig.levels()[0][100]) == ((LIVE, NONE), 13)


def test_answer_that_is_older_than_what_was_shown_is_no_base(make: Make) -> None:
    rig = asking(make)
    rig.message(follow(12))
    assert rig.state() == (SYNCING, GAP)
    assert rig.message(answer(9, {100: 7})) == BUFFERED, "12 names 11"
    rig.down()
    rig.up()
    assert rig.message(answer(8)) == BUFFERED
    assert rig.state() == (SYNCING, STARTING)
    assert rig.message(answer(12)) == APPLIED


def test_answer_that_cannot_be_read_costs_no_book_its_place(make: Make) -> None:
    rig = asking(make)
    quiet(rig)
    assert rig.message(answer(10, bad=1)) == lib.TP_FEED_BROKEN
    assert rig.state() == (LIVE, NONE)
    assert rig.message(answer(10)) == IGNORED
    assert rig.counters.verified == 1


def test_answer_is_no_subscription(make: Make) -> None:
    rig = make(needs_confirmation=True)
    rig.up()
    assert rig.message(answer(10)) == IGNORED
    assert rig.state()[0] == SYNCING
    lib.tp_feed_confirmed(rig.feed, 0, rig.now)
    assert rig.message(answer(10)) == APPLIED


def test_answer_before_the_next_message_shows_no_lost_one(make: Make) -> None:
    """Of one whose number cannot be read the next message says what came before it."""
    rig = asking(make)
    assert rig.message(follow(11, bad=2)) == lib.TP_FEED_BROKEN
    assert rig.state() == (SYNCING, BROKEN)
    assert rig.message(answer(10)) == IGNORED
    rig.message(follow(12, 99))
    assert rig.wanted() == [0]
    assert rig.message(answer(10)) == BUFFERED
    assert rig.message(answer(12)) == APPLIED
    assert rig.state() == (LIVE, NONE)
