"""Quiet books: who is asked about, what an answer proves, and what is not LIVE any more.

engine/feed/verify.c: equal, different, the stream brings nothing, or nobody answers.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from tickpath._core import ffi, lib

from tests.unit.feed.conftest import (
    ASK,
    BID,
    CROSSED,
    GAP,
    LIVE,
    MS,
    NONE,
    REFUSED,
    SECOND,
    SILENT,
    STALE,
    STATE,
    SYNCING,
    WS_PONG,
    Levels,
    Rig,
    Venue,
    assert_book,
    go_live,
    shown,
)
from tests.unit.feed.test_feed_venues import SampleVenue, base, delta

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

UNVERIFIED, VERIFIED = 14, 10
AFTER, LIMIT = 30 * SECOND, 60 * SECOND
GRACE = 2 * SECOND


def quiet_rig(directory: Path, **config: Any) -> Rig:
    return Rig(
        directory,
        **{"verify_after_ns": AFTER, "verify_limit_ns": LIMIT, "silent_after_ns": 0, **config},
    )


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    one = quiet_rig(tmp_path)
    yield one
    one.close()


def checks(rig: Rig) -> list[int]:
    out = ffi.new("uint32_t[]", 16)
    return list(out[0 : lib.tp_feed_check_wanted(rig.feed, 0, out, 16)])


def anew(rig: Rig) -> list[int]:
    out = ffi.new("uint32_t[]", 16)
    return list(out[0 : lib.tp_feed_anew_wanted(rig.feed, 0, out, 16)])


def fall_quiet(rig: Rig, venue: Venue) -> int:
    """Go LIVE and let so much time pass that the book is asked about; returns when it was."""
    go_live(rig, venue)
    rig.tick(AFTER)
    assert checks(rig) == []
    rig.tick(1)
    assert checks(rig) == [0]
    assert checks(rig) == [], "once"
    assert rig.wanted() == [], "not as a base that a sync starts from"
    return rig.now


def answer(rig: Rig, version: int, book: tuple[Levels, Levels], truncated: int = 0) -> None:
    assert rig.offer(version, *book, truncated=truncated)
    rig.tick(MS)


def verdicts(rig: Rig) -> list[tuple[int, int]]:
    return [(values[1], values[3]) for kind, _, values in rig.events() if kind == VERIFIED]


def test_quiet_book_that_is_equal_is_proved_as_of_the_question(rig: Rig) -> None:
    venue = Venue()
    asked_ns = fall_quiet(rig, venue)
    message_ns = rig.record()["message_ns"]
    rig.now += SECOND
    answer(rig, venue.version, venue.book)
    assert verdicts(rig) == [(1, venue.version)]
    assert rig.state() == (LIVE, NONE)
    assert_book(rig, venue)
    record = rig.record()
    assert (record["verified_ns"], record["message_ns"]) == (asked_ns, message_ns)
    assert (rig.counters.checks, rig.counters.verified) == (1, 1)
    rig.tick(AFTER - SECOND)  # that long after the question it is asked about again
    assert checks(rig) == [0]


def strange(rig: Rig, data: bytes = b"{") -> None:
    rig.message(data)
    rig.tick(0)


@pytest.mark.parametrize("data", [b"{", b"\x0a\x05other\x1a\x01x", b"[1]"])
def test_strange_message_has_quiet_books_of_its_connection_asked_about_soon(
    rig: Rig, data: bytes
) -> None:
    """It may have been their own, under another name: they stayed LIVE without it for long."""
    venue = Venue()
    go_live(rig, venue)
    checks(rig)
    rig.tick(SECOND // 2)
    strange(rig, data)
    rig.tick(SECOND // 2)
    assert checks(rig) == [], "its own next message may come yet"
    rig.tick(1)
    assert checks(rig) == [0]
    venue.step([(BID, venue.middle - 1, 99)])
    answer(rig, venue.version, venue.book)
    rig.tick(GRACE + 1)
    assert rig.state() == (SYNCING, SILENT)


def test_book_that_was_proved_is_asked_about_ever_less_for_strange_messages(rig: Rig) -> None:
    venue = Venue()
    go_live(rig, venue)
    asked = []
    for tenth in range(10 * 65):
        strange(rig)
        rig.tick(SECOND // 10)
        if checks(rig):
            asked.append(tenth / 10)
            answer(rig, venue.version, venue.book)
    gaps = [after - before for before, after in pairwise(asked)]
    assert len(asked) == 6
    assert all(1.8 * before < after for before, after in pairwise(gaps))
    assert gaps[-1] <= AFTER / SECOND + 0.2


def test_strange_message_asks_about_no_book_that_has_messages_of_its_own(rig: Rig) -> None:
    venue = Venue()
    go_live(rig, venue)
    for _ in range(20):
        strange(rig)
        rig.tick(SECOND // 2)
        rig.message(venue.step())
        assert checks(rig) == []
    assert rig.state() == (LIVE, NONE)


def test_quiet_book_with_other_levels_at_its_number_is_built_anew(rig: Rig) -> None:
    venue = Venue()
    fall_quiet(rig, venue)
    bids, asks = venue.book
    answer(rig, venue.version, (bids | {max(bids): 77}, asks))
    assert rig.state() == (SYNCING, GAP)
    assert verdicts(rig) == [(0, venue.version)]
    assert rig.wanted() == [0]
    assert rig.counters.checks_different == 1
    answer(rig, venue.version, venue.book)
    assert rig.state() == (LIVE, NONE)


@pytest.mark.parametrize(
    ("change", "truncated", "equal"),
    [
        ("best", 0, False),
        ("last", 0, False),
        ("one more", 0, False),
        ("one less", 0, False),
        ("one less", 3, True),  # it ends before the book does
        ("ten", 3, True),
        ("ten", 1 << BID, False),  # the asks are said to be whole, and are not the book's
        ("", 0, True),
    ],
)
@pytest.mark.parametrize("side", [BID, ASK])
def test_books_are_compared_as_far_as_both_are_known(
    rig: Rig, side: int, change: str, truncated: int, equal: bool
) -> None:
    venue = Venue()
    fall_quiet(rig, venue)
    book = (dict(venue.book[BID]), dict(venue.book[ASK]))
    prices = sorted(book[side], reverse=side == BID)
    match change:
        case "best":
            book[side][prices[0]] += 1
        case "last":
            book[side][prices[-1]] += 1
        case "one more":
            book[side][prices[-1] + (1 if side == ASK else -1)] = 5
        case "one less":
            del book[side][prices[-1]]
        case "ten":
            book = shown(book, 10)[:2]
    answer(rig, venue.version, book, truncated)
    assert rig.state() == ((LIVE, NONE) if equal else (SYNCING, GAP))


def test_a_base_that_is_deeper_than_a_book_known_in_part_is_compared_with_what_is_known(
    rig: Rig,
) -> None:
    venue = Venue()
    rig.up()
    rig.message(venue.step([], versions=1))
    rig.wanted()
    bids, asks, truncated = shown(venue.book, 25)
    rig.offer(venue.version, bids, asks, truncated=truncated)
    rig.tick()
    rig.wanted()
    rig.tick(AFTER + 1)
    if checks(rig) == [0]:
        answer(rig, venue.version, venue.book)
        assert rig.counters.checks_different == 0
    assert rig.state() == (LIVE, NONE)


def test_newer_base_with_equal_levels_is_equal(rig: Rig) -> None:
    """Venues count changes that they do not send: nobody sees a level that came and went."""
    venue = Venue()
    fall_quiet(rig, venue)
    answer(rig, venue.version + 7, venue.book)
    assert rig.state() == (LIVE, NONE)
    assert rig.counters.verified == 1


def test_newer_base_and_no_message_of_it_is_a_stream_that_brings_nothing(rig: Rig) -> None:
    venue = Venue()
    fall_quiet(rig, venue)
    venue.step([(BID, venue.middle - 1, 99)])
    answer(rig, venue.version, venue.book)
    assert rig.state() == (LIVE, NONE), "its message may be on its way"
    rig.tick(GRACE)
    assert rig.state() == (LIVE, NONE)
    rig.events()
    rig.tick(1)
    assert rig.state() == (SYNCING, SILENT)
    assert [kind for kind, _, _ in rig.events()] == [VERIFIED, STATE]
    assert rig.counters.checks_deaf == 1
    # No base makes it LIVE, nor a word of the venue, but a message of its own.
    assert (rig.wanted(), anew(rig)) == ([], [0])
    lib.tp_feed_confirmed(rig.feed, 0, rig.now)
    rig.tick(10 * LIMIT)
    assert (rig.wanted(), checks(rig), rig.state()) == ([], [], (SYNCING, SILENT))
    assert rig.message(venue.step()) == lib.TP_FEED_BUFFERED
    assert rig.wanted() == [0]
    answer(rig, venue.version, venue.book)
    assert rig.state() == (LIVE, NONE)
    assert_book(rig, venue)


def test_deaf_book_is_syncing_as_any_other_once_its_connection_is_another(rig: Rig) -> None:
    venue = Venue()
    fall_quiet(rig, venue)
    venue.step([(BID, venue.middle - 1, 99)])
    answer(rig, venue.version, venue.book)
    rig.tick(GRACE + 1)
    assert rig.state() == (SYNCING, SILENT)
    rig.down()
    rig.up()
    rig.tick(SECOND)
    assert rig.wanted() == [0]


def be_deaf(rig: Rig) -> Venue:
    """Have a book whose stream brings nothing of what the venue has, subscribed to anew."""
    venue = Venue()
    fall_quiet(rig, venue)
    venue.step([(BID, venue.middle - 1, 99)])
    answer(rig, venue.version, venue.book)
    rig.tick(GRACE + 1)
    assert (rig.state(), anew(rig)) == ((SYNCING, SILENT), [0])
    return venue


def test_deaf_book_is_deaf_still_behind_a_refusal_and_an_acknowledgement(rig: Rig) -> None:
    """The venue's words change nothing: it said yes before, and sent nothing."""
    venue = be_deaf(rig)
    lib.tp_feed_refused(rig.feed, 0, rig.now)
    assert rig.state() == (STALE, REFUSED)
    lib.tp_feed_confirmed(rig.feed, 0, rig.now)
    assert (rig.state(), rig.wanted(), anew(rig)) == ((SYNCING, SILENT), [], [0])
    rig.tick(LIMIT)
    assert rig.wanted() == []
    assert rig.message(venue.step()) == lib.TP_FEED_BUFFERED
    assert rig.wanted() == [0]
    answer(rig, venue.version, venue.book)
    assert rig.state() == (LIVE, NONE)


def test_deaf_book_is_deaf_still_behind_a_halt(rig: Rig) -> None:
    venue = be_deaf(rig)
    for status in (3, 1):
        listing = ffi.new("struct tp_feed_listing *", (0, status, 2))
        assert lib.tp_feed_list_status(rig.feed, listing, rig.now)
    assert (rig.state(), rig.wanted(), anew(rig)) == ((SYNCING, SILENT), [], [0])
    assert rig.message(venue.step()) == lib.TP_FEED_BUFFERED
    assert rig.wanted() == [0]


def test_deaf_book_whose_scale_moves_is_subscribed_to_anew_all_the_same(rig: Rig) -> None:
    venue = Venue()
    fall_quiet(rig, venue)
    venue.step([(BID, venue.middle - 1, 99)])
    answer(rig, venue.version, venue.book)
    rig.tick(GRACE + 1)
    scale = {"price_exponent": -3, "quantity_exponent": -8, "tick_size": 1, "generation": 2}
    made = ffi.new("struct tp_feed_scale *", scale)
    assert lib.tp_feed_rescale(rig.feed, 0, made, rig.now)
    assert (rig.wanted(), anew(rig)) == ([], [0])


def test_connection_that_speaks_again_makes_no_unproved_book_live(tmp_path: Path) -> None:
    """It was silent for longer than a book may be quiet: no moment of LIVE in between."""
    rig, venue = quiet_rig(tmp_path, silent_after_ns=SECOND), Venue()
    go_live(rig, venue)
    rig.tick(2 * SECOND)
    assert rig.state() == (STALE, SILENT)
    rig.tick(LIMIT)
    rig.events()
    assert rig.message(b"", opcode=WS_PONG) == lib.TP_FEED_IGNORED
    rig.tick(1)
    assert rig.state() == (STALE, UNVERIFIED)
    assert [values[0] for kind, _, values in rig.events() if kind == STATE] == [STALE]
    rig.close()


def test_newer_base_whose_message_comes_in_the_grace_time_is_no_alarm(rig: Rig) -> None:
    venue = Venue()
    fall_quiet(rig, venue)
    late = venue.step([(BID, venue.middle - 1, 99)])
    answer(rig, venue.version, venue.book)
    rig.now += GRACE
    assert rig.message(late) == lib.TP_FEED_APPLIED
    rig.tick(1)
    rig.tick(GRACE)
    assert rig.state() == (LIVE, NONE)
    assert rig.counters.checks_deaf == 0


@pytest.mark.parametrize("same", [True, False])
def test_message_that_comes_before_the_answer_proves_more_than_it(rig: Rig, same: bool) -> None:
    venue = Venue()
    fall_quiet(rig, venue)
    before = venue.history[venue.version], venue.version
    rig.now += MS
    rig.message(venue.step([(BID, venue.middle - 1, 99)]))
    if same:
        answer(rig, venue.version, ({1: 1}, {2: 1}))
    else:
        answer(rig, before[1], before[0])
    assert rig.state() == (LIVE, NONE)
    assert (rig.counters.verified, rig.counters.checks) == (0, 1)
    rig.tick(AFTER + 1)
    assert checks(rig) == [0]


def test_older_base_says_nothing_and_is_asked_for_again_in_a_second(rig: Rig) -> None:
    venue = Venue()
    fall_quiet(rig, venue)
    answer(rig, venue.version - 1, ({1: 1}, {2: 1}))
    assert rig.state() == (LIVE, NONE)
    assert checks(rig) == []
    rig.tick(SECOND)
    assert checks(rig) == [0]


def test_quiet_book_that_nobody_proves_is_stale_at_its_limit_and_live_again_when_proved(
    rig: Rig,
) -> None:
    venue = Venue()
    fall_quiet(rig, venue)
    rig.tick(LIMIT - AFTER - 1)
    assert rig.state() == (LIVE, NONE)
    rig.tick(1)
    assert rig.state() == (STALE, UNVERIFIED)
    assert rig.counters.checks_unanswered == 1
    rig.tick(10 * LIMIT)
    assert rig.counters.checks_unanswered == 1
    answer(rig, venue.version, venue.book)
    assert rig.state() == (STALE, UNVERIFIED), "as of when it was asked it is too old already"
    assert verdicts(rig) == []
    assert checks(rig) == [0]
    answer(rig, venue.version, venue.book)
    assert rig.state() == (LIVE, NONE)
    assert_book(rig, venue)


def test_stale_unverified_book_is_live_with_its_next_message(rig: Rig) -> None:
    venue = Venue()
    fall_quiet(rig, venue)
    rig.tick(LIMIT)
    assert rig.state() == (STALE, UNVERIFIED)
    assert rig.message(venue.step()) == lib.TP_FEED_APPLIED
    assert rig.state() == (LIVE, NONE)
    assert_book(rig, venue)


def test_failed_check_is_wanted_again_as_a_check(rig: Rig) -> None:
    fall_quiet(rig, Venue())
    lib.tp_feed_base_failed(rig.feed, 0, 0)
    assert (rig.wanted(), checks(rig)) == ([], [0])


def test_gap_while_a_check_is_under_way_wants_a_base_and_takes_no_answer_to_the_check(
    rig: Rig,
) -> None:
    venue = Venue()
    fall_quiet(rig, venue)
    venue.step(versions=1)
    assert rig.message(venue.step(versions=1)) == lib.TP_FEED_BUFFERED
    rig.offer(venue.version, *venue.book)  # of the check: what it showed is less deep, may be
    rig.tick()
    assert rig.state() == (SYNCING, GAP)
    assert rig.wanted() == [0]
    assert checks(rig) == []


def test_heartbeat_of_the_connection_proves_no_book(rig: Rig) -> None:
    go_live(rig, Venue())
    for _ in range(61):
        rig.now += SECOND
        rig.message(b"", opcode=WS_PONG)
        rig.tick()
    assert rig.state() == (STALE, UNVERIFIED)


def test_proof_while_the_connection_is_silent_makes_nothing_live(tmp_path: Path) -> None:
    rig, venue = quiet_rig(tmp_path, silent_after_ns=90 * SECOND), Venue()
    fall_quiet(rig, venue)
    rig.tick(LIMIT)
    assert rig.state() == (STALE, UNVERIFIED)
    rig.tick(LIMIT)
    answer(rig, venue.version, venue.book)
    assert rig.state()[0] == STALE
    rig.close()


def test_quiet_crossed_book_is_no_exception(tmp_path: Path) -> None:
    facts = {"crossed_ms_max": 65535}
    venue = SampleVenue({"chain": 1, "base": 1, "in_band_base": True}, facts=facts)
    rig = quiet_rig(tmp_path, venue=venue.c)
    rig.up()
    rig.message(base(10))
    rig.message(delta(11, {102: 1}))
    rig.tick(LIMIT + 1)
    assert rig.state()[0] in (STALE, CROSSED)
    assert rig.state() == (STALE, UNVERIFIED)
    rig.close()


def test_in_band_base_that_was_asked_for_replaces_the_book_and_proves_it(tmp_path: Path) -> None:
    venue = SampleVenue({"chain": 1, "base": 1, "in_band_base": True})
    rig = quiet_rig(tmp_path, venue=venue.c)
    rig.up()
    rig.message(base(10))
    rig.tick(AFTER + 1)
    assert checks(rig) == [0]
    rig.now += SECOND
    assert rig.message(base(10)) == lib.TP_FEED_APPLIED
    assert rig.state() == (LIVE, NONE)
    assert rig.record()["verified_ns"] == rig.now
    rig.tick(AFTER)
    assert checks(rig) == []
    rig.close()


def test_whole_books_without_a_chain_are_not_live_forever(tmp_path: Path) -> None:
    """Of such a channel quiet means nothing: not even a gap can be seen."""
    venue = SampleVenue({"chain": 0, "base": 1, "in_band_base": True, "depth": 20})
    rig = quiet_rig(tmp_path, venue=venue.c)
    rig.up()
    rig.message(base())
    assert rig.state() == (LIVE, NONE)
    rig.tick(LIMIT + 1)
    assert rig.state() == (STALE, UNVERIFIED)
    rig.message(base())
    assert rig.state() == (LIVE, NONE)
    rig.close()


def test_unchanged_on_its_own_channel_proves_a_book(tmp_path: Path) -> None:
    venue = SampleVenue({"chain": 3, "base": 1, "in_band_base": True, "unchanged": True})
    rig = quiet_rig(tmp_path, venue=venue.c, verify_after_ns=0)
    rig.up()
    rig.message(base(10))
    for _ in range(5):
        rig.tick(LIMIT)
        assert checks(rig) == [], "nobody asks where the channel says so itself"
        assert rig.message(delta(10, p=10, f=11)) == lib.TP_FEED_IGNORED
        assert rig.state() == (LIVE, NONE)
        assert rig.record()["verified_ns"] == rig.now
    rig.tick(LIMIT + 1)
    assert rig.state() == (STALE, UNVERIFIED)
    assert rig.message(delta(10, p=10, f=11)) == lib.TP_FEED_IGNORED
    assert rig.state() == (LIVE, NONE)
    rig.close()


def test_quiet_books_of_many_are_all_looked_at(tmp_path: Path) -> None:
    rig = quiet_rig(tmp_path, instruments=9)
    venues = [Venue(seed=number, instrument=number) for number in range(9)]
    rig.up()
    for venue in venues:
        rig.message(venue.step())
    assert rig.wanted() == list(range(9))
    for venue in venues:
        rig.offer(venue.version, *venue.book, instrument=venue.instrument)
        rig.tick()
    rig.now += AFTER + 1
    asked: set[int] = set()
    for _ in range(5):
        rig.tick(MS)
        asked |= set(checks(rig))
    assert asked == set(range(9))
    rig.close()


def test_limits_of_zero_ask_nobody(tmp_path: Path) -> None:
    rig, venue = quiet_rig(tmp_path, verify_after_ns=0, verify_limit_ns=0), Venue()
    go_live(rig, venue)
    rig.tick(1000 * LIMIT)
    assert (checks(rig), rig.state()) == ([], (LIVE, NONE))
    rig.close()
