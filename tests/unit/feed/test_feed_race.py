"""One book over several connections: copies, holes, members that end, stray, or say no.

`Members` is one book of a venue with several streams of the same messages, each of which a test
delivers at its own pace. The ten lines of LIVE and what each means in a race: docs/adr/0014.
"""

from __future__ import annotations

import random
from collections import deque
from typing import TYPE_CHECKING, Any

import pytest
from tickpath._core import ffi, lib
from tickpath.proto.records import SyncReason

from tests.unit.feed.conftest import (
    BROKEN,
    CLEAR,
    DISCONNECTED,
    GAP,
    LIVE,
    MS,
    NONE,
    REFUSED,
    RESET,
    SECOND,
    SILENT,
    STALE,
    STARTING,
    SYNCING,
    Rig,
    Venue,
    assert_book,
    channel,
)
from tests.unit.feed.test_feed_venues import SampleVenue, base, delta, kinds

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOLD = int(lib.TP_RACE_HOLD_NS)
APPLIED, BUFFERED, IGNORED = lib.TP_FEED_APPLIED, lib.TP_FEED_BUFFERED, lib.TP_FEED_IGNORED
UNCONFIRMED, HALTED = int(SyncReason.UNCONFIRMED), int(SyncReason.HALTED)
COUNT = 3
BY_NUMBER = int(lib.TP_COPIES_BY_NUMBER)
IN_BAND_RULE = {
    **{"chain": int(lib.TP_CHAIN_RANGE), "base": int(lib.TP_BASE_IN_BAND)},
    **{"in_band_base": True, "copies": BY_NUMBER},
}


class Race(Rig):
    """A feed with one race of `count` connections; instrument 0 is in it."""

    def __init__(self, directory: Path, count: int = COUNT, **config: Any) -> None:
        super().__init__(directory, added=0, races=True, connection_count=count + 1, **config)
        assert lib.tp_feed_race(self.feed, 0, count)
        assert self.add(0, channel(0))

    def confirm(self, connection: int) -> None:
        lib.tp_feed_confirmed_on(self.feed, connection, 0, self.now)

    def refuse(self, connection: int) -> None:
        lib.tp_feed_refused_on(self.feed, connection, 0, self.now)

    @property
    def carrier(self) -> int:
        return int(lib.tp_feed_carrier(self.feed, 0))

    def score(self, connection: int) -> tuple[int, int]:
        won, copied = ffi.new("uint64_t *"), ffi.new("uint64_t *")
        lib.tp_feed_race_score(self.feed, connection, won, copied)
        return int(won[0]), int(copied[0])


@pytest.fixture
def race(tmp_path: Path) -> Iterator[Race]:
    rig = Race(tmp_path)
    yield rig
    rig.close()


@pytest.fixture
def venue() -> Venue:
    return Venue()


@pytest.fixture
def in_band(tmp_path: Path) -> Iterator[Race]:
    rig = Race(tmp_path, venue=SampleVenue(dict(IN_BAND_RULE)).c)
    yield rig
    rig.close()


def go_live(race: Race, venue: Venue, members: tuple[int, ...] = (0, 1, 2)) -> None:
    """All members are open and have met the book."""
    for member in members:
        race.up(member)
    race.message(venue.step(), members[0])
    assert race.wanted() == [0]
    assert race.offer(venue.version, *venue.history[venue.version])
    race.tick()
    assert race.state() == (LIVE, NONE)
    data = venue.step()
    for member in members:
        race.message(data, member)
    race.events()


def open_in_band(race: Race, number: int = 10, members: tuple[int, ...] = (0, 1, 2)) -> None:
    for member in members:
        race.up(member)
        race.message(base(number), member)
    assert race.state() == (LIVE, NONE)


# ---- copies --------------------------------------------------------------------------------------


def test_race_first_copy_is_applied_whoever_brings_it(race: Race, venue: Venue) -> None:
    go_live(race, venue)
    copies = race.counters.copies
    for turn in range(9):
        data = venue.step()
        for place in range(COUNT):
            expected = APPLIED if place == 0 else IGNORED
            assert race.message(data, (turn + place) % COUNT) == expected
    assert race.state() == (LIVE, NONE)
    assert_book(race, venue)
    assert race.counters.copies == copies + 9 * (COUNT - 1)
    assert race.counters.duplicates == race.counters.gaps == 0
    assert [race.score(member)[0] for member in range(COUNT)] == [4, 3, 3]
    assert sum(race.score(member)[1] for member in range(COUNT)) == race.counters.copies


def test_race_event_and_record_name_the_connection_that_won(race: Race, venue: Venue) -> None:
    go_live(race, venue)
    data = venue.step()
    race.message(data, 2)
    race.message(data, 0)
    word = race.reader.poll() and race.reader.event[1:]
    assert word
    assert race.reader.read_snapshot(0)
    raw = bytes(memoryview(race.reader.snapshot).cast("B"))[32:]
    record = ffi.cast("struct tp_book_record *", ffi.from_buffer(raw))
    assert record.connection == 2
    assert race.carrier == 0, "trades and best prices come from one"


def test_race_member_that_lags_far_costs_nothing(race: Race, venue: Venue) -> None:
    go_live(race, venue)
    late = []
    for _ in range(50):
        late.append(venue.step())
        race.message(late[-1], 0)
    race.now += 3 * SECOND  # long after the book's last change: its own stream ascends
    for data in late:
        assert race.message(data, 1) == IGNORED
    assert race.state() == (LIVE, NONE)
    assert race.counters.resets == 0
    assert_book(race, venue)


def test_race_copy_does_not_make_a_quiet_book_fresh(race: Race, venue: Venue) -> None:
    go_live(race, venue)
    data = venue.step()
    race.message(data, 0)
    before = race.record()["message_ns"]
    race.now += 300 * MS
    race.message(data, 1)
    assert race.record()["message_ns"] == before


# ---- holes ---------------------------------------------------------------------------------------


def test_race_hole_of_one_member_is_filled_by_another(race: Race, venue: Venue) -> None:
    go_live(race, venue)
    lost, after, later = venue.step(), venue.step(), venue.step()
    assert race.message(after, 0) == BUFFERED
    assert race.message(later, 0) == BUFFERED
    assert race.state() == (LIVE, NONE)
    race.tick(HOLD - 1)
    assert race.message(lost, 1) == APPLIED
    assert race.state() == (LIVE, NONE)
    assert_book(race, venue)
    assert (race.counters.filled, race.counters.unfilled, race.counters.gaps) == (2, 0, 0)
    assert race.message(after, 1) == IGNORED
    assert CLEAR not in kinds(race)
    race.tick(2 * HOLD)
    assert race.state() == (LIVE, NONE)


def test_race_hole_that_members_fill_in_any_order_is_closed(race: Race, venue: Venue) -> None:
    go_live(race, venue)
    one, two, three, four = (venue.step() for _ in range(4))
    race.message(four, 0)
    race.message(two, 1)
    race.message(three, 1)
    assert race.state() == (LIVE, NONE)
    assert race.message(one, 2) == APPLIED
    assert_book(race, venue)


def test_race_hole_that_nobody_fills_in_time_is_a_gap(race: Race, venue: Venue) -> None:
    go_live(race, venue)
    venue.step()
    race.message(venue.step(), 0)
    race.tick(HOLD)
    assert race.state() == (LIVE, NONE)
    race.tick(1)
    assert race.state() == (SYNCING, GAP)
    assert (race.counters.unfilled, race.counters.gaps) == (1, 1)
    assert race.wanted() == [0]
    held = venue.version
    race.offer(held - 1, *venue.history[max(n for n in venue.history if n < held)])
    race.tick()
    assert race.state()[0] == SYNCING, "a base must show what was held"
    race.message(venue.step(), race.carrier)
    race.wanted()
    race.offer(venue.version, *venue.history[venue.version])
    race.tick()
    assert race.state() == (LIVE, NONE)
    assert_book(race, venue)


def test_race_hole_that_all_members_have_is_a_gap_at_once(race: Race, venue: Venue) -> None:
    go_live(race, venue)
    venue.step()
    data = venue.step()
    assert [race.message(data, member) for member in (0, 1)] == [BUFFERED, BUFFERED]
    assert race.state() == (LIVE, NONE)
    race.message(data, 2)
    assert race.state() == (SYNCING, GAP)


def test_race_hole_is_a_gap_once_the_last_member_that_could_fill_it_ends(
    race: Race, venue: Venue
) -> None:
    go_live(race, venue)
    race.down(2)
    venue.step()
    race.message(venue.step(), 0)
    assert race.state() == (LIVE, NONE)
    race.down(1)
    assert race.state() == (SYNCING, GAP)


# ---- members that end, fall silent, say no -------------------------------------------------------


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_race_loss_of_a_member_costs_no_book_its_live(race: Race, venue: Venue, lost: int) -> None:
    go_live(race, venue)
    race.down(lost)
    assert race.state() == (LIVE, NONE)
    for member in range(COUNT):
        data = venue.step()
        race.message(data, member)
        if member == lost:
            race.message(data, (member + 1) % COUNT)  # it is down: nothing comes of it
    assert race.state() == (LIVE, NONE)
    assert_book(race, venue)
    race.up(lost)
    assert race.state() == (LIVE, NONE)
    assert kinds(race).count(CLEAR) == 0


def test_race_loss_of_all_members_is_stale_and_the_first_one_begins_anew(
    race: Race, venue: Venue
) -> None:
    go_live(race, venue)
    for member in (1, 0, 2):
        race.down(member)
    assert race.state() == (STALE, DISCONNECTED)
    race.up(1)
    assert race.state() == (SYNCING, STARTING)
    race.message(venue.step(), 1)
    assert race.wanted() == [0]
    race.offer(venue.version, *venue.history[venue.version])
    race.tick()
    assert race.state() == (LIVE, NONE)
    assert race.carrier == 1


def test_race_member_that_brought_nothing_yet_carries_no_book(race: Race, venue: Venue) -> None:
    go_live(race, venue, members=(0,))
    race.up(1)
    race.confirm(1)
    race.down(0)
    assert race.state() == (SYNCING, STARTING)
    assert race.carrier == 1
    race.message(venue.step(), 1)
    assert race.wanted() == [0]


def test_race_member_of_other_numbers_carries_no_book(race: Race, venue: Venue) -> None:
    go_live(race, venue, members=(0,))
    race.up(1)
    other = Venue(seed=5, version=7)  # a server that numbers anew, or an old one
    assert race.message(other.step(), 1) == IGNORED
    race.down(0)
    assert race.state()[0] == SYNCING


def test_race_member_that_was_silent_when_a_book_was_proved_carries_it(
    tmp_path: Path, venue: Venue
) -> None:
    config = {"verify_after_ns": 30 * SECOND, "verify_limit_ns": 60 * SECOND}
    race = Race(tmp_path, silent_after_ns=0, **config)
    go_live(race, venue, members=(0,))
    race.up(1)
    race.confirm(1)
    race.tick(31 * SECOND)
    out = ffi.new("uint32_t[]", 4)
    assert lib.tp_feed_check_wanted(race.feed, 0, out, 4) == 1
    race.offer(venue.version, *venue.history[venue.version])
    race.tick()
    race.down(0)
    assert race.state() == (LIVE, NONE)
    assert race.message(venue.step(), 1) == APPLIED
    race.close()


def test_race_silence_of_the_carrier_is_taken_over(race: Race, venue: Venue) -> None:
    go_live(race, venue)
    for _ in range(5):
        race.tick(SECOND)
        assert race.state() == (LIVE, NONE), "another brings it"
        race.message(venue.step(), 1)
    assert race.state() == (LIVE, NONE)
    assert race.carrier == 1
    assert race.counters.silences == 2
    assert race.counters.relieved == 1
    for _ in range(3):
        race.tick(SECOND)
    assert race.state() == (STALE, SILENT)
    assert race.message(venue.step(), 2) == APPLIED
    assert race.state() == (LIVE, NONE)
    assert_book(race, venue)


def test_race_member_that_speaks_again_makes_a_silent_book_live(race: Race, venue: Venue) -> None:
    go_live(race, venue)
    race.tick(3 * SECOND)
    assert race.state() == (STALE, SILENT)
    race.message(b"", 2, opcode=10)
    race.tick()
    assert race.state() == (LIVE, NONE)


def test_race_sync_goes_on_by_another_member_once_its_own_ends(race: Race, venue: Venue) -> None:
    race.up(0)
    race.up(1)
    race.message(venue.step(), 0)
    race.message(venue.step(), 0)
    assert race.wanted() == [0]
    stale = venue.version
    race.down(0)
    assert race.state() == (SYNCING, STARTING)
    race.offer(stale, *venue.history[stale])
    race.tick()
    assert race.state()[0] == SYNCING, "it was asked for by the stream before"
    race.message(venue.step(), 1)
    assert race.wanted() == [0]
    race.offer(venue.version, *venue.history[venue.version])
    race.tick()
    assert race.state() == (LIVE, NONE)


def test_race_base_needs_the_yes_of_its_own_member(tmp_path: Path, venue: Venue) -> None:
    race = Race(tmp_path, needs_confirmation=True)
    race.up(0)
    race.up(1)
    race.tick(SECOND)
    assert race.state() == (SYNCING, UNCONFIRMED)
    assert race.wanted() == []
    race.confirm(1)
    assert race.carrier == 1
    assert race.wanted() == [0]
    race.offer(venue.version, *venue.history[venue.version])
    race.tick()
    assert race.state() == (LIVE, NONE)
    race.down(1)
    assert race.state()[0] == SYNCING, "nothing ever came of the other"
    race.close()


def test_race_book_is_refused_once_all_members_are(race: Race, venue: Venue) -> None:
    go_live(race, venue)
    race.refuse(0)
    race.refuse(1)
    assert race.state() == (LIVE, NONE)
    assert race.message(venue.step(), 2) == APPLIED
    race.refuse(2)
    assert race.state() == (STALE, REFUSED)
    race.message(venue.step(), 1)
    assert race.state() == (SYNCING, STARTING)
    assert race.carrier == 1


def test_race_member_that_was_not_heard_is_overdue_by_itself(race: Race, venue: Venue) -> None:
    go_live(race, venue, members=(0, 1))
    race.up(2)
    assert not lib.tp_feed_is_unconfirmed_on(race.feed, 1, 0)
    assert lib.tp_feed_is_unconfirmed_on(race.feed, 2, 0)
    race.confirm(2)
    assert not lib.tp_feed_is_unconfirmed_on(race.feed, 2, 0)


# ---- what cannot be read -------------------------------------------------------------------------


def garbage(venue: Venue) -> bytes:
    data = venue.step([(0, venue.middle - 1, 3)])
    text = f"{venue.middle - 1:03d}".encode()
    return data.replace(b"%s.%s" % (text[:-2], text[-2:]), b"x%s.%s" % (text[1:-2], text[-2:]))


def test_race_garbage_of_one_member_is_made_up_by_another(race: Race, venue: Venue) -> None:
    go_live(race, venue)
    before = venue.version
    bad = garbage(venue)
    race.message(bad, 0)
    assert race.counters.broken == 1
    assert race.state() == (LIVE, NONE)
    good = Venue()
    while good.version < before:
        good.step()
    assert race.record()["version"] == before
    race.tick(HOLD - 1)
    assert race.state() == (LIVE, NONE)
    race.tick(2)
    assert race.state() == (SYNCING, BROKEN), "nobody brought what it had said"
    race.offer(before, *venue.history[before])
    race.tick()
    assert race.state()[0] == SYNCING


def test_race_garbage_that_another_member_brought_whole_costs_nothing(in_band: Race) -> None:
    open_in_band(in_band)
    in_band.message(delta(11, {100: 0}, bad=1), 0)
    assert in_band.message(delta(11, {100: 7}), 1) == APPLIED
    in_band.message(delta(11, {100: 0}, bad=1), 2)
    in_band.tick(2 * HOLD)
    assert in_band.state() == (LIVE, NONE)
    assert in_band.counters.broken == 2


def test_race_garbage_without_a_number_is_a_loss_as_ever(in_band: Race) -> None:
    open_in_band(in_band)
    in_band.message(delta(11, {100: 0}, bad=2), 0)
    assert in_band.state() == (SYNCING, BROKEN)


# ---- numbers that begin anew ---------------------------------------------------------------------


def test_race_numbering_that_begins_anew_is_followed_by_the_member_that_shows_it(
    race: Race, venue: Venue
) -> None:
    go_live(race, venue)
    before = [venue.step(), venue.step()]
    for data in before:
        race.message(data, 0)
    venue.version = 5
    race.message(venue.step(), 0)
    assert race.state() == (SYNCING, RESET)
    assert race.carrier == 0
    race.message(venue.step(), 0)
    race.wanted()
    race.offer(venue.version, *venue.history[venue.version])
    race.tick()
    assert race.state() == (LIVE, NONE)
    for data in before:  # the others are still in the numbering before
        assert race.message(data, 1) == IGNORED
    assert race.state() == (LIVE, NONE)
    assert_book(race, venue)
    race.down(0)
    assert race.state()[0] == SYNCING, "none of them ever brought a number of the new one"


def test_race_member_whose_numbers_went_back_too_counts_again(race: Race, venue: Venue) -> None:
    go_live(race, venue)
    old = venue.step()
    race.message(old, 0)
    venue.version = 5
    anew = [venue.step() for _ in range(3)]
    race.message(anew[0], 0)
    race.wanted()
    race.offer(venue.version, *venue.history[venue.version])
    race.tick()
    assert race.state() == (LIVE, NONE)
    race.message(old, 1)
    for data in anew:
        assert race.message(data, 1) == IGNORED
    assert race.state() == (LIVE, NONE)
    assert race.message(venue.step(), 1) == APPLIED
    race.down(0)
    assert race.state() == (LIVE, NONE)
    assert_book(race, venue)


def test_race_message_said_twice_by_a_member_is_no_reset(race: Race, venue: Venue) -> None:
    go_live(race, venue)
    data = venue.step()
    race.message(data, 0)
    race.message(data, 0)
    assert race.state() == (LIVE, NONE)
    assert race.counters.duplicates == 1


# ---- bases in-band -------------------------------------------------------------------------------


def test_race_in_band_base_of_the_first_member_is_taken_and_no_other(in_band: Race) -> None:
    for member in range(COUNT):
        in_band.up(member)
    assert in_band.message(base(10), 1) == APPLIED
    assert in_band.state() == (LIVE, NONE)
    assert in_band.carrier == 1
    in_band.events()
    assert in_band.message(base(9, {90: 1}, {91: 1}), 0) == IGNORED
    assert in_band.message(base(11, {90: 1}, {91: 1}), 2) == IGNORED
    assert kinds(in_band) == []
    assert in_band.message(delta(11, {100: 7}), 1) == APPLIED
    assert in_band.message(delta(12, {100: 8}), 2) == APPLIED
    assert in_band.record()["version"] == 12


def test_race_member_without_a_base_of_its_own_is_not_believed(in_band: Race) -> None:
    open_in_band(in_band, members=(0,))
    in_band.up(1)
    assert in_band.message(delta(11, {100: 7}), 1) == IGNORED
    assert in_band.record()["version"] == 10
    in_band.message(base(11, {100: 7}), 1)
    assert in_band.message(delta(11, {100: 7}), 0) == APPLIED
    in_band.down(0)
    assert in_band.state() == (LIVE, NONE)


def test_race_in_band_base_that_replaces_the_book_is_taken_from_any_member(in_band: Race) -> None:
    open_in_band(in_band)
    assert in_band.message(base(20, {90: 1}, {91: 1}), 2) == APPLIED
    assert in_band.levels() == ({90: 1}, {91: 1})
    assert in_band.message(delta(11, {100: 7}), 0) == IGNORED
    assert in_band.message(delta(21, {90: 2}), 2) == APPLIED
    assert in_band.message(delta(21, {90: 2}), 0) == IGNORED, "it shows that it counts alike"
    assert in_band.message(delta(22, {90: 4}), 0) == APPLIED
    assert in_band.levels() == ({90: 4}, {91: 1})


def test_race_in_band_base_that_counts_anew_is_its_members_alone(in_band: Race) -> None:
    open_in_band(in_band)
    assert in_band.message(base(1, {90: 1}, {91: 1}), 2) == APPLIED
    assert in_band.carrier == 2
    assert in_band.message(delta(11, {100: 7}), 0) == IGNORED
    assert in_band.state() == (LIVE, NONE)
    assert in_band.message(base(1, {90: 1}, {91: 1}), 0) == IGNORED
    assert in_band.message(delta(2, {90: 3}), 0) == APPLIED
    assert in_band.levels() == ({90: 3}, {91: 1})


def test_race_gap_of_in_band_members_is_asked_for_on_the_carrier(in_band: Race) -> None:
    open_in_band(in_band)
    in_band.message(delta(13, {100: 7}), 1)
    in_band.tick(HOLD + 1)
    assert in_band.state() == (SYNCING, GAP)
    assert in_band.carrier == 1
    assert in_band.wanted() == [0]
    assert in_band.message(base(12), 1) == BUFFERED, "older than what was held"
    assert in_band.message(base(14), 1) == APPLIED
    assert in_band.state() == (LIVE, NONE)


# ---- what does not race --------------------------------------------------------------------------


def test_race_is_refused_where_no_rule_says_what_a_copy_is(tmp_path: Path) -> None:
    rule = {**IN_BAND_RULE, "copies": 0}
    rig = Rig(tmp_path, added=0, races=True, venue=SampleVenue(rule).c)
    assert lib.tp_feed_race(rig.feed, 0, 2)
    assert not rig.add(0, channel(0))
    rig.close()


@pytest.mark.parametrize(("first", "count"), [(0, 1), (0, 9), (1, 2), (2, 2), (3, 1)])
def test_race_out_of_range_is_refused(tmp_path: Path, first: int, count: int) -> None:
    rig = Rig(tmp_path, added=0, races=True, connection_count=2)
    assert not lib.tp_feed_race(rig.feed, first, count)
    assert lib.tp_feed_race(rig.feed, 0, 2)
    rig.close()


def test_race_needs_a_feed_that_was_made_for_it(rig: Rig) -> None:
    assert not lib.tp_feed_race(rig.feed, 0, 2)


def test_race_other_connection_is_none_of_its_members(race: Race, venue: Venue) -> None:
    go_live(race, venue)
    race.up(COUNT)
    assert race.message(venue.step(), COUNT) == lib.TP_FEED_UNKNOWN
    race.down(COUNT)
    assert race.state() == (LIVE, NONE)


def test_race_stop_of_trading_is_believed_from_any_member(tmp_path: Path) -> None:
    race = Race(tmp_path, venue=SampleVenue(dict(IN_BAND_RULE)).c)
    open_in_band(race)
    status = int(lib.TP_MEANING_STATUS)
    halted, trading = (b'{"m":%d,"trading":%d}' % (status, word) for word in (3, 1))
    race.message(trading, 0)
    race.message(halted, 2)
    assert race.state() == (STALE, HALTED)
    race.message(trading, 0)
    assert race.state() == (STALE, HALTED), "it may be of before"
    race.message(trading, 2)  # the last of those that said it
    assert race.state()[0] == SYNCING
    race.close()


# ---- any mixture ---------------------------------------------------------------------------------

NUMBERING = 1_000_000
ACTIONS = (
    *("deliver",) * 30,
    *("lose", "repeat", "swap", "garbage", "base", "base", "base", "tick", "tick", "quiet"),
    *("down", "up", "up", "refuse", "confirm", "renumber", "check"),
)


class Members:
    """Streams of one venue to several members; whatever comes, a LIVE book is the venue's."""

    def __init__(self, rig: Race, seed: int) -> None:
        self.rig, self.venue = rig, Venue(seed, version=NUMBERING)
        self.random = random.Random(seed)  # not a secret
        self.streams: dict[int, deque[tuple[bytes, int, int]]] = {}
        self.newest: dict[int, int] = {}  # of the present numbering, that a member delivered
        self.numbering = 0
        self.last: dict[int, bytes] = {}

    def emit(self) -> None:
        data = self.venue.step()
        for stream in self.streams.values():
            stream.append((data, self.venue.version, self.numbering))

    def act(self, action: str) -> None:
        self.rig.now += self.random.choice((1, MS, 20 * MS))
        if self.random.random() < 0.4:
            self.emit()
        if action == "up":
            closed = [one for one in range(COUNT) if one not in self.streams]
            if closed:
                member = self.random.choice(closed)
                self.streams[member] = deque()
                self.rig.up(member)
            return
        if not self.streams:
            return
        getattr(self, action)(self.random.choice(list(self.streams)))

    def deliver(self, member: int) -> None:
        for _ in range(self.random.randrange(1, 4)):
            if self.streams[member]:
                data, number, numbering = self.streams[member].popleft()
                self.rig.message(data, member)
                self.last[member] = data
                if numbering == self.numbering:
                    self.newest[member] = number

    def lose(self, member: int) -> None:
        if self.streams[member]:
            self.streams[member].popleft()

    def repeat(self, member: int) -> None:
        if member in self.last:
            self.rig.message(self.last[member], member)

    def swap(self, member: int) -> None:
        stream = self.streams[member]
        if len(stream) > 1:
            stream[0], stream[1] = stream[1], stream[0]

    def garbage(self, member: int) -> None:
        if self.streams[member]:
            data, *_ = self.streams[member].popleft()
            self.rig.message(data[: len(data) - self.random.randrange(1, 40)], member)

    def base(self, _member: int) -> None:
        if self.rig.wanted():
            version = self.venue.version
            self.rig.offer(version, *self.venue.history[version])
        self.rig.tick()

    def tick(self, _member: int) -> None:
        self.rig.tick(50 * MS)

    def quiet(self, _member: int) -> None:
        self.rig.tick(3 * SECOND)

    def down(self, member: int) -> None:
        del self.streams[member]
        self.newest.pop(member, None)
        self.last.pop(member, None)
        self.rig.down(member)

    def refuse(self, member: int) -> None:
        if self.random.random() < 0.3:
            self.rig.refuse(member)

    def confirm(self, member: int) -> None:
        self.rig.confirm(member)

    def renumber(self, _member: int) -> None:
        if self.random.random() < 0.2:
            self.numbering += 1
            self.venue.version = NUMBERING - 10_000 * self.numbering
            self.venue.remember()
            self.newest.clear()

    def check(self, _member: int) -> None:
        """Let time pass: what any member brought by now, a LIVE book has."""
        self.rig.tick(HOLD + 1)
        self.rig.tick()
        if self.rig.state()[0] != LIVE:
            return
        version = self.rig.record()["version"]
        if self.numbering == 0 and self.rig.counters.resets == 0 and self.newest:
            assert version >= max(self.newest.values())
        if self.rig.carrier in self.newest:  # what its carrier brought, whatever the others count
            assert version >= self.newest[self.rig.carrier]
            assert version < NUMBERING - 10_000 * (self.numbering - 1), "another numbering"

    def look(self) -> bool:
        if self.rig.state()[0] != LIVE:
            return False
        assert_book(self.rig, self.venue, self.rig.record()["version"])
        return True

    def settle(self) -> None:
        """Let all end well: the book becomes LIVE by itself."""
        for member in list(self.streams):
            self.down(member)
        for _ in range(COUNT):
            self.act("up")
        for _ in range(12):
            self.emit()
            for member in self.streams:
                self.deliver(member)
            self.base(0)
            self.rig.tick(SECOND // 10)
            self.look()
        for member in self.streams:
            while self.streams[member]:
                self.deliver(member)
        assert self.rig.state() == (LIVE, NONE)
        assert_book(self.rig, self.venue)


def test_race_live_book_is_the_venues_whatever_happens(tmp_path: Path) -> None:
    live = 0
    for seed in range(24):
        rig = Race(tmp_path, silent_after_ns=2 * SECOND)
        members = Members(rig, seed)
        try:
            for _ in range(250):
                members.act(members.random.choice(ACTIONS))
                live += members.look()
            members.settle()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        finally:
            rig.close()
    assert live > 1000, "the books are LIVE at times, or nothing was looked at"
