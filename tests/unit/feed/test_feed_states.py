"""What happens to books besides messages: limits, crossing, connections, silence, the mailbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tickpath._core import ffi, lib

from tests.unit.feed.conftest import (
    ASK,
    BID,
    CLEAR,
    CROSSED,
    CROSSED_REASON,
    DISCONNECTED,
    GAP,
    LEVEL,
    LIVE,
    MS,
    NONE,
    OVERFLOW,
    REFUSED,
    SECOND,
    SETTLE,
    SILENT,
    STALE,
    STARTING,
    STATE,
    SYNCING,
    TOP,
    WS_PONG,
    Levels,
    Rig,
    Venue,
    assert_book,
    go_live,
)
from tests.unit.feed.test_feed_venues import SampleVenue, base, delta

if TYPE_CHECKING:
    from pathlib import Path


def test_feed_base_that_lags_is_met_by_a_busy_book(tmp_path: Path) -> None:
    """14 s at 100 kB/s, by the defaults."""
    rig, venue = Rig(tmp_path, buffer_pool_bytes=0), Venue()
    rig.up()
    rig.message(venue.step())
    assert rig.wanted() == [0]
    asked_at, begun, size = venue.version, rig.now, 0
    while rig.now - begun < 14 * SECOND:
        rig.now += 10 * MS
        data = venue.step([(BID, venue.middle - 1 - i % 30, 5 + i) for i in range(40)], versions=1)
        size += len(data)
        rig.message(data)
    assert size > 1_400_000
    assert rig.counters.overflows == 0
    rig.offer(asked_at, *venue.history[asked_at])
    rig.tick()
    assert rig.state() == (LIVE, NONE)
    assert_book(rig, venue)
    rig.close()


def test_feed_keeps_messages_for_so_long_and_says_that_a_base_outlived_them(
    tmp_path: Path,
) -> None:
    rig, venue = Rig(tmp_path, keep_ns=SECOND), Venue()
    rig.up()
    versions = []
    for _ in range(20):
        rig.message(venue.step(versions=1))
        versions.append(venue.version)
        rig.now += 100 * MS
    for lag_ns, state in ((1100 * MS, SYNCING), (1000 * MS, LIVE)):
        number = versions[19 - lag_ns // (100 * MS)] - 1
        assert rig.wanted() == [0]
        rig.offer(number, *venue.history[number])
        rig.tick()
        assert rig.state()[0] == state
    assert_book(rig, venue)
    assert (rig.counters.outlived_keep_s, rig.counters.outlived_keep_bytes) == (1, 0)
    assert rig.counters.overflows == 0
    rig.close()


def test_feed_backlog_that_is_full_pushes_out_its_oldest(tmp_path: Path) -> None:
    """A base that is not older than what is left is met; one that is says what to raise."""
    rig, venue = Rig(tmp_path, buffered_bytes_max=4096, buffer_pool_bytes=1 << 16), Venue()
    rig.up()
    versions = []
    for _ in range(100):
        rig.message(venue.step(versions=1))
        versions.append(venue.version)
    assert rig.counters.overflows == 1, "of one sync"
    for number, state in ((versions[10], SYNCING), (versions[-8], LIVE)):
        assert rig.wanted() == [0]
        rig.offer(number, *venue.history[number])
        rig.tick()
        assert rig.state()[0] == state
    assert_book(rig, venue)
    assert (rig.counters.outlived_keep_s, rig.counters.outlived_keep_bytes) == (0, 1)
    rig.close()


def test_feed_backlog_overflow_starts_again_and_heals(tmp_path: Path) -> None:
    rig, venue = Rig(tmp_path, buffered_bytes_max=4096, buffer_pool_bytes=1 << 16), Venue()
    rig.up()
    while rig.counters.overflows == 0:
        rig.message(venue.step())
        assert rig.counters.messages < 200
    assert rig.state() == (SYNCING, OVERFLOW)
    assert rig.wanted() == [0]
    rig.message(venue.step())
    rig.offer(venue.version, *venue.book)
    rig.tick()
    assert rig.state() == (LIVE, NONE)
    assert_book(rig, venue)
    rig.close()


def test_feed_backlog_pool_exhausted_hurts_only_who_asks(tmp_path: Path) -> None:
    rig = Rig(tmp_path, instruments=3, buffered_bytes_max=1 << 16, buffer_pool_bytes=3 * 2048)
    venues = [Venue(seed=i, instrument=i) for i in range(3)]
    rig.up()
    for _ in range(40):
        for venue in venues:
            rig.message(venue.step())
    assert rig.counters.overflows > 0
    for venue in venues:
        rig.message(venue.step())
    assert sorted(rig.wanted()) == [0, 1, 2]
    for venue in venues:
        rig.offer(venue.version, *venue.book, instrument=venue.instrument)
        rig.tick()
        assert rig.state(venue.instrument) == (LIVE, NONE)
        assert_book(rig, venue)
    rig.close()


def test_feed_book_overflow_near_the_touch_resyncs(tmp_path: Path) -> None:
    rig, venue = Rig(tmp_path, window_ticks=256, overflow_levels=4), Venue()
    bids = {1000 * i: 5 for i in range(1, 26)}
    venue.book = (bids, dict(venue.book[ASK]))
    venue.remember()
    rig.up()
    rig.tick(SETTLE)
    rig.wanted()
    rig.offer(venue.version, *venue.book)
    rig.tick()
    rig.message(venue.step([], versions=1))
    assert rig.state() == (SYNCING, OVERFLOW)
    assert rig.counters.overflows == 1
    rig.close()


def test_feed_crossed_book_is_marked_before_its_levels(rig: Rig) -> None:
    venue = Venue()
    go_live(rig, venue)
    update = venue.crossing()
    rig.message(venue.step(update, versions=1))
    assert rig.state() == (CROSSED, CROSSED_REASON)
    assert [kind for kind, _, _ in rig.events()] == [STATE, LEVEL, TOP]
    assert rig.counters.crossed == 1
    rig.message(venue.step([(BID, update[0][1], 0)], versions=1))
    assert rig.state() == (LIVE, NONE)
    assert [kind for kind, _, _ in rig.events()] == [LEVEL, STATE, TOP]
    assert_book(rig, venue)


def test_feed_locked_book_is_crossed(rig: Rig) -> None:
    venue = Venue()
    go_live(rig, venue)
    rig.message(venue.step([(BID, min(venue.book[ASK]), 9)], versions=1))
    assert rig.state() == (CROSSED, CROSSED_REASON)


def test_feed_crossed_for_a_second_resyncs(rig: Rig) -> None:
    venue = Venue()
    go_live(rig, venue)
    rig.message(venue.step(venue.crossing(), versions=1))
    rig.tick(SECOND)
    assert rig.state() == (CROSSED, CROSSED_REASON)
    rig.tick(100 * MS + 1)
    assert rig.state() == (SYNCING, CROSSED_REASON)
    assert rig.wanted() == [0]


def test_feed_crossed_for_many_messages_resyncs(rig: Rig) -> None:
    venue = Venue()
    go_live(rig, venue)
    rig.message(venue.step(venue.crossing(), versions=1))
    for _ in range(20):
        rig.message(venue.step([], versions=1))
    assert rig.state() == (SYNCING, CROSSED_REASON)


CROSSED_LIMITS = {"crossed_messages_max": 3, "crossed_ms_max": 400}


@pytest.mark.parametrize("more", [0, 1])
def test_feed_crossed_is_given_up_behind_the_venues_own_number_of_messages(
    tmp_path: Path, more: int
) -> None:
    venue = SampleVenue(IN_BAND_RULE, facts=CROSSED_LIMITS)
    rig = Rig(tmp_path, venue=venue.c)
    reach(rig, "CROSSED")
    for number in range(12, 14 + more):
        rig.message(delta(number))
    assert rig.state() == ((SYNCING, CROSSED_REASON) if more else (CROSSED, CROSSED_REASON))
    rig.close()


@pytest.mark.parametrize("more", [0, 1])
def test_feed_crossed_is_given_up_behind_the_venues_own_time(tmp_path: Path, more: int) -> None:
    venue = SampleVenue(IN_BAND_RULE, facts=CROSSED_LIMITS)
    rig = Rig(tmp_path, venue=venue.c)
    reach(rig, "CROSSED")
    rig.tick(400 * MS + more * 100 * MS)  # it is looked at ten times a second
    assert rig.state() == ((SYNCING, CROSSED_REASON) if more else (CROSSED, CROSSED_REASON))
    rig.close()


def test_feed_crossed_for_too_long_is_judged_by_the_grid_not_by_when_the_tick_comes(
    tmp_path: Path,
) -> None:
    """A replay ticks only where something changed: it must not find what the feed did not."""
    states = []
    for ticks in ((5 * MS,), ()):
        venue = SampleVenue(IN_BAND_RULE, facts=CROSSED_LIMITS)  # its functions live as long as it
        rig = Rig(tmp_path, venue=venue.c)
        rig.now += 50 * MS
        reach(rig, "CROSSED")
        rig.now += 350 * MS
        for after_ns in ticks:  # the first of its cell of 100 ms
            rig.tick(after_ns)
        rig.now += 90 * MS - sum(ticks)
        rig.tick()
        states.append(rig.state())
        rig.close()
    assert states == [(CROSSED, CROSSED_REASON)] * 2


def test_feed_crossed_snapshot_is_never_live(rig: Rig) -> None:
    rig.up()
    rig.tick(SETTLE)
    rig.wanted()
    rig.offer(5, {100: 1}, {90: 1})
    rig.tick()
    assert rig.state() == (CROSSED, CROSSED_REASON)
    assert [kind for kind, _, _ in rig.events()] == [STATE, CLEAR, TOP]


def test_feed_disconnect_makes_books_stale_and_keeps_their_levels(rig: Rig) -> None:
    venue = Venue()
    go_live(rig, venue)
    rig.down()
    assert rig.state() == (STALE, DISCONNECTED)
    assert [(kind, values[:2]) for kind, _, values in rig.events()] == [
        (STATE, [STALE, DISCONNECTED])
    ]
    assert_book(rig, venue)
    assert rig.message(venue.step()) == lib.TP_FEED_IGNORED
    assert rig.wanted() == []


def test_feed_reconnect_replaces_the_book(rig: Rig) -> None:
    venue = Venue()
    go_live(rig, venue)
    rig.down()
    other = Venue(seed=9, version=10)  # the venue numbers anew, and has other levels
    other.book = ({40: 1}, {60: 1})
    other.remember()
    rig.up()
    assert rig.state() == (SYNCING, STARTING)
    rig.message(other.step([(BID, 41, 2)], versions=1))
    rig.wanted()
    rig.offer(other.version, *other.book)
    rig.tick()
    assert rig.state() == (LIVE, NONE)
    assert rig.levels() == ({40: 1, 41: 2}, {60: 1})


def test_feed_disconnect_amid_sync_discards_the_offer(rig: Rig) -> None:
    """A snapshot of before the reconnect could hide what changed in between."""
    venue = Venue()
    rig.up()
    rig.message(venue.step())
    assert rig.wanted() == [0]
    rig.offer(venue.version, *venue.book)
    rig.down()
    rig.up()
    rig.tick()
    assert rig.state() == (SYNCING, STARTING)
    assert rig.counters.bases_unasked == 1
    assert rig.offer(venue.version, *venue.book), "nobody waits for it: taken and forgotten"
    rig.tick()
    assert rig.state() == (SYNCING, STARTING)
    rig.message(venue.step())
    assert rig.wanted() == [0]


def test_feed_disconnect_touches_only_its_own_instruments(tmp_path: Path) -> None:
    rig, venue = Rig(tmp_path, instruments=1), Venue()
    go_live(rig, venue)
    rig.down(connection=1)
    assert rig.state() == (LIVE, NONE)
    rig.close()


def test_feed_refused_is_stale_until_the_next_up(rig: Rig) -> None:
    venue = Venue()
    rig.up()
    rig.message(venue.step())
    lib.tp_feed_refused(rig.feed, 0, rig.now)
    assert rig.state() == (STALE, REFUSED)
    assert rig.wanted() == []
    rig.up()
    assert rig.state() == (SYNCING, STARTING)


def test_feed_silence_is_stale_and_the_next_message_revives(rig: Rig) -> None:
    venue = Venue()
    go_live(rig, venue)
    rig.tick(2 * SECOND)
    assert rig.state() == (LIVE, NONE)
    rig.tick(1)
    assert rig.state() == (STALE, SILENT)
    assert rig.counters.silences == 1
    assert rig.message(venue.step()) == lib.TP_FEED_APPLIED
    assert rig.state() == (LIVE, NONE)
    assert_book(rig, venue)


def test_feed_silence_then_gap_is_syncing(rig: Rig) -> None:
    venue = Venue()
    go_live(rig, venue)
    rig.tick(3 * SECOND)
    venue.step()
    rig.message(venue.step())
    assert rig.state() == (SYNCING, GAP)


@pytest.mark.parametrize("sign", ["pong", "other_instrument"])
def test_feed_any_sign_of_life_ends_the_silence_of_all(tmp_path: Path, sign: str) -> None:
    rig, venue = Rig(tmp_path, instruments=2), Venue()
    go_live(rig, venue)
    rig.tick(3 * SECOND)
    assert rig.state() == (STALE, SILENT)
    if sign == "pong":
        assert rig.message(b"", opcode=WS_PONG) == lib.TP_FEED_IGNORED
    else:
        rig.message(Venue(instrument=1).step())
    rig.tick()
    assert rig.state() == (LIVE, NONE)
    rig.close()


def test_feed_syncing_book_is_not_called_silent(rig: Rig) -> None:
    rig.up()
    rig.tick(3 * SECOND)
    assert rig.state() == (SYNCING, STARTING)


def test_feed_snapshot_during_silence_is_not_live_before_the_connection_speaks(rig: Rig) -> None:
    venue = Venue()
    rig.up()
    rig.message(venue.step())
    assert rig.wanted() == [0]
    rig.tick(3 * SECOND)
    assert rig.offer(venue.version, *venue.history[venue.version])
    rig.tick()
    assert rig.state() == (STALE, SILENT)
    assert rig.record()["state"] == STALE
    assert rig.message(venue.step()) == lib.TP_FEED_APPLIED
    assert rig.state() == (LIVE, NONE)
    assert_book(rig, venue)


def test_feed_failed_fetch_is_wanted_again(rig: Rig) -> None:
    rig.up()
    rig.message(Venue().step())
    assert rig.wanted() == [0]
    lib.tp_feed_base_failed(rig.feed, 0, 0)
    assert rig.wanted() == [0]


def test_feed_says_once_that_something_is_wanted(rig: Rig) -> None:
    """The hot thread asks after each tick, and wakes the cold ones."""
    rig.up()
    assert not lib.tp_feed_take_wanted(rig.feed)
    rig.message(Venue().step())
    assert lib.tp_feed_take_wanted(rig.feed)
    assert not lib.tp_feed_take_wanted(rig.feed)
    assert rig.wanted() == [0]
    lib.tp_feed_base_failed(rig.feed, 0, 0)  # the cold thread's own word: it needs no call
    assert not lib.tp_feed_take_wanted(rig.feed)


def test_feed_wanted_count_max_starves_nobody(tmp_path: Path) -> None:
    rig = Rig(tmp_path, instruments=5)
    rig.up()
    rig.tick(SETTLE)
    assert [rig.wanted(2), rig.wanted(2), rig.wanted(2)] == [[0, 1], [2, 3], [4]]
    for i in range(5):
        lib.tp_feed_base_failed(rig.feed, 0, i)
    assert sorted(rig.wanted(2) + rig.wanted(2) + rig.wanted(2)) == list(range(5))
    rig.close()


@pytest.mark.parametrize("levels", [{0: 1}, {-1: 1}, {5: -1}, {1 << 62: 1}])
def test_feed_offer_out_of_range_is_refused_and_wanted_again(rig: Rig, levels: Levels) -> None:
    rig.up()
    rig.message(Venue().step())
    rig.wanted()
    assert rig.offer(5, levels, {})
    rig.tick()
    assert rig.counters.bases_refused == 1
    assert rig.state() == (SYNCING, STARTING)
    assert rig.wanted() == [0]


def test_feed_mailbox_full_says_so(tmp_path: Path) -> None:
    rig = Rig(tmp_path, instruments=6)
    rig.up()
    rig.tick(SETTLE)
    assert rig.wanted() == list(range(6))
    assert [rig.offer(5, {1: 1}, {2: 1}, instrument=i) for i in range(5)] == [True] * 4 + [False]
    rig.tick()
    assert rig.offer(5, {1: 1}, {2: 1}, instrument=4)
    for _ in range(5):
        rig.tick()
    assert [rig.state(i)[0] for i in range(6)] == [LIVE] * 5 + [SYNCING]
    rig.close()


def test_feed_offer_without_order_or_with_zeros_is_sorted(rig: Rig) -> None:
    rig.up()
    rig.message(Venue(version=4).step([], versions=1))
    rig.wanted()
    rig.offer(5, {10: 1, 30: 2, 20: 3, 25: 0}, {70: 1, 50: 2, 60: 0})
    rig.tick()
    record = rig.record()
    assert record["bids"] == [(30, 2), (20, 3), (10, 1)]
    assert record["asks"] == [(50, 2), (70, 1)]


@pytest.mark.parametrize(
    ("bids", "shown", "doubled"),
    [
        ([(30, 2), (20, 3), (30, 4)], [(30, 4), (20, 3)], 1),
        ([(30, 2), (30, 4), (20, 3)], [(30, 4), (20, 3)], 1),
        ([(10, 1), (30, 2), (10, 5), (10, 6)], [(30, 2), (10, 6)], 2),
        ([(30, 2), (20, 3), (30, 0)], [(20, 3)], 1),
        ([(30, 0), (20, 3), (30, 2)], [(30, 2), (20, 3)], 1),
        ([(30, 2), (20, 3)], [(30, 2), (20, 3)], 0),
    ],
)
def test_feed_offer_that_names_a_price_twice_last_wins_and_is_counted(
    rig: Rig, bids: list[tuple[int, int]], shown: list[tuple[int, int]], doubled: int
) -> None:
    rig.up()
    rig.message(Venue(version=4).step([], versions=1))
    rig.wanted()
    rig.offer(5, bids, {70: 1})
    rig.tick()
    assert rig.record()["bids"] == shown
    assert rig.state() == (LIVE, NONE)
    assert (rig.counters.doubled, rig.counters.bases_refused) == (doubled, 0)


def test_feed_offer_of_all_levels_in_any_order_is_sorted(rig: Rig) -> None:
    rig.up()
    rig.message(Venue(version=4).step([], versions=1))
    count = lib.TP_DEPTH_LEVEL_COUNT_MAX
    prices = [1 + (number * 7919) % count for number in range(count)]
    rig.wanted()
    rig.offer(5, [(price, price) for price in prices], {count + 1 + p: 1 for p in range(count)})
    rig.tick()
    bids, asks = rig.levels()
    assert len(bids) > 2000, "as many as the book keeps"
    assert bids == {price: price for price in range(count - len(bids) + 1, count + 1)}
    assert asks == dict.fromkeys(range(count + 1, count + 1 + len(asks)), 1)


@pytest.mark.parametrize(
    "change",
    [
        {"instrument_count": 0},
        {"instrument_count": (1 << 16) + 1},
        {"connection_count": 0},
        {"snapshot_depth": 21},
        {"window_ticks": 100},
    ],
)
def test_feed_memory_size_bad_config_is_zero(rig: Rig, change: dict[str, int]) -> None:
    for name, value in change.items():
        setattr(rig.config, name, value)
    assert lib.tp_feed_memory_size(rig.config) == 0


@pytest.mark.parametrize(
    "row",
    [
        {"tick_size": 0},
        {"price_exponent": 1},
        {"price_exponent": -19},
        {"quantity_exponent": 1},
    ],
)
def test_feed_instrument_add_bad_record_is_refused(tmp_path: Path, row: dict[str, int]) -> None:
    rig = Rig(tmp_path)
    rig.config.instrument_count = 2
    assert not rig.add(1, b"other", **row)
    assert not rig.add(0, b"other"), "added before"
    assert not rig.add(0, b"other", connection=2)
    rig.close()


# ---- the table of engine/feed/states.c, cell by cell ---------------------------------------------

PLACES = ("SYNCING", "LIVE", "CROSSED", "SILENT", "QUIET", "RETIRED", "REFUSED", "HALTED")
EVENTS = (
    "UP",
    "DOWN",
    "REFUSED",
    "SILENCE",
    "SPEECH",
    "BASE",
    "LOST",
    "HALTED",
    "UNPROVED",
    "PROVED",
)
# What comes of a channel that was refused says that it was not: the table is not asked.
PROVES = {("REFUSED", "BASE"): (LIVE, NONE), ("REFUSED", "LOST"): (SYNCING, STARTING)}
IN_BAND_RULE = {"chain": 1, "base": 1, "in_band_base": True}


def conclude(rig: Rig, verdict: int) -> None:
    lib.tp_feed_conclude(rig.feed, 0, verdict, rig.now, rig.now)


def listed(rig: Rig, status: int) -> None:
    assert lib.tp_feed_list_status(
        rig.feed, ffi.new("struct tp_feed_listing *", (0, status, 2)), rig.now
    )


def reach(rig: Rig, place: str) -> None:
    rig.up()
    if place != "SYNCING":
        assert rig.message(base(10)) == lib.TP_FEED_APPLIED
    if place == "CROSSED":
        rig.message(delta(11, {102: 1}))
    elif place == "SILENT":
        rig.tick(3 * SECOND)
    elif place == "QUIET":
        conclude(rig, lib.TP_VERDICT_UNANSWERED)
    elif place == "RETIRED":
        rig.down()
    elif place == "REFUSED":
        lib.tp_feed_refused(rig.feed, 0, rig.now)
    elif place == "HALTED":
        listed(rig, int(lib.TP_INSTRUMENT_HALTED))
    is_stale = place in {"SILENT", "QUIET", "RETIRED", "REFUSED", "HALTED"}
    state = STALE if is_stale else getattr(lib, f"TP_BOOK_{place}")
    assert rig.state()[0] == state
    rig.events()


def cause(rig: Rig, event: str) -> None:
    match event:
        case "UP" if rig.state()[1] == lib.TP_SYNC_REASON_HALTED:
            listed(rig, int(lib.TP_INSTRUMENT_TRADING))
        case "UP":
            rig.up()
        case "DOWN":
            rig.down()
        case "REFUSED":
            lib.tp_feed_refused(rig.feed, 0, rig.now)
        case "SILENCE":
            rig.tick(3 * SECOND)
        case "SPEECH":
            rig.message(b"", opcode=WS_PONG)
            rig.tick()
        case "HALTED":
            listed(rig, int(lib.TP_INSTRUMENT_HALTED))
        case "BASE":
            rig.message(base(20))
        case "UNPROVED":
            conclude(rig, lib.TP_VERDICT_UNANSWERED)
        case "PROVED":
            conclude(rig, lib.TP_VERDICT_EQUAL)
        case "LOST":
            rig.message(delta(99, {100: 1}))


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("place", PLACES)
def test_feed_goes_where_the_table_says(tmp_path: Path, place: str, event: str) -> None:
    venue = SampleVenue(IN_BAND_RULE)
    rig = Rig(tmp_path, venue=venue.c)
    reach(rig, place)
    before = rig.state()
    cause(rig, event)
    if (place, event) in PROVES:
        assert rig.state() == PROVES[place, event]
        rig.close()
        return
    move = lib.tp_feed_next(
        int(getattr(lib, f"TP_PLACE_{place}")), int(getattr(lib, f"TP_FEED_EVENT_{event}"))
    )
    expected = {
        lib.TP_MOVE_STAY: before[0],
        lib.TP_MOVE_SYNCING: SYNCING,
        lib.TP_MOVE_STALE: STALE,
        lib.TP_MOVE_BY_LEVELS: LIVE,  # none of these bases is crossed
    }[move]
    assert rig.state()[0] == expected
    if move == lib.TP_MOVE_STAY:
        assert rig.state() == before
    rig.close()
