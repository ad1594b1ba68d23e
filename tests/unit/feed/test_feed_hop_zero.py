"""Hop zero: what is published of a message bears when its frame reached the host, or says nothing.

The stamps' way from the XDP program: tests/netns/test_link_af_xdp.py, tests/c/link.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from tickpath._core import ffi, lib
from tickpath.shm.histogram import WORD_COUNT

from tests.unit.feed.conftest import ASK, LEVEL, MS, SECOND, TOP, Rig, Venue, go_live, message
from tests.unit.feed.test_feed_race import Race

if TYPE_CHECKING:
    from pathlib import Path

HOP_ZERO, ASK_FLAG = int(lib.TP_EVENT_HOP_ZERO), int(lib.TP_EVENT_ASK)
LATER_MAX, AGE_MAX = 1 * MS, 10 * SECOND


def stamps(rig: Rig) -> tuple[int, int, int]:
    record = rig.record()
    return record["received_ns"], record["taken_ns"], record["flags"]


def arrive(rig: Rig, data: bytes, waited_ns: int, connection: int = 0) -> int:
    """Give a message as hot_path.c does, so long after its frame came."""
    lib.tp_feed_arrived(rig.feed, rig.now - waited_ns)
    result = rig.message(data, connection)
    lib.tp_feed_arrived(rig.feed, 0)
    return result


def test_feed_change_bears_hop_zero_in_book_and_events_and_the_next_does_not(rig: Rig) -> None:
    venue = Venue()
    go_live(rig, venue)
    first, middle = venue.version + 1, venue.middle
    update = [(0, middle - 3, 7), (ASK, middle + 3, 7), (ASK, middle + 4, 8)]
    rig.now += SECOND
    assert arrive(rig, message(first, first, update), 30 * MS) == lib.TP_FEED_APPLIED
    assert stamps(rig) == (rig.now - 30 * MS, rig.now, HOP_ZERO)
    flags = [(kind, flag) for kind, flag, _ in rig.events()]
    asks = [(LEVEL, ASK_FLAG | HOP_ZERO)] * 2
    assert flags == [(LEVEL, HOP_ZERO), *asks, (TOP, HOP_ZERO)]
    rig.now += SECOND
    assert rig.message(message(first + 1, first + 1, update)) == lib.TP_FEED_APPLIED
    assert stamps(rig) == (rig.now, rig.now, 0)
    assert [flag for _, flag, _ in rig.events()] == [0, ASK_FLAG, ASK_FLAG, 0]


def test_feed_change_by_time_alone_bears_no_hop_zero(rig: Rig) -> None:
    venue = Venue()
    go_live(rig, venue)
    assert arrive(rig, venue.step(), 5 * MS) == lib.TP_FEED_APPLIED
    rig.tick(3 * SECOND)  # silent
    assert stamps(rig) == (rig.now, rig.now, 0)


def test_feed_kept_messages_bear_no_hop_zero_of_the_one_that_frees_them(tmp_path: Path) -> None:
    """What was held was taken long ago: the frame in hand is not the one that it came with."""
    race, venue = Race(tmp_path, 2), Venue()
    for connection in (0, 1):
        race.up(connection)
    first = venue.step()
    for connection in (0, 1):
        race.message(first, connection)
    race.wanted()
    race.offer(venue.version, *venue.history[venue.version])
    race.tick()
    missing, ahead = venue.step(), venue.step()
    held_ns = race.now
    assert arrive(race, ahead, 1 * MS, 1) == lib.TP_FEED_BUFFERED
    race.now += 20 * MS
    assert arrive(race, missing, 2 * MS) == lib.TP_FEED_APPLIED
    assert race.record()["version"] == venue.version
    assert stamps(race) == (held_ns, held_ns, 0)
    race.close()


def test_feed_hops_are_counted_from_the_frame_only_where_it_is_known(tmp_path: Path) -> None:
    names = ("received_to_taken", "taken_to_decoded", "decoded_to_published")
    words = {name: ffi.new("uint64_t[]", WORD_COUNT) for name in names}
    hops: dict[str, Any] = {
        name: ffi.cast("struct tp_histogram *", at) for name, at in words.items()
    }
    rig, venue = Rig(tmp_path, **hops), Venue()
    go_live(rig, venue)
    before = int(words["taken_to_decoded"][0])
    rig.message(venue.step())
    arrive(rig, venue.step(), 7 * MS)
    assert words["taken_to_decoded"][0] == before + 2
    assert list(words["received_to_taken"][0:2]) == [1, 7 * MS]  # count, sum
    rig.close()


@pytest.fixture
def hop_zero() -> Any:
    one = ffi.new("struct tp_hop_zero *")
    lib.tp_hop_zero_follow(one, ffi.new("struct tp_clock *"))  # CLOCK_MONOTONIC itself
    return one


def test_stamp_of_a_clock_that_nobody_compared_is_not_believed() -> None:
    now = time.monotonic_ns()
    assert lib.tp_hop_zero_of(ffi.new("struct tp_hop_zero *"), now, now) == 0


@pytest.mark.parametrize(
    ("waited_ns", "believed"),
    [
        *((0, True), (1, True), (50 * MS, True), (AGE_MAX - MS, True), (AGE_MAX + MS, False)),
        *((-LATER_MAX + MS // 2, True), (-LATER_MAX - MS // 2, False)),
    ],
)
def test_stamp_is_believed_near_the_turn(hop_zero: Any, waited_ns: int, *, believed: bool) -> None:
    """A frame that came while its burst was taken is later than the turn: it waited for nothing."""
    now = time.monotonic_ns()
    found = int(lib.tp_hop_zero_of(hop_zero, now - waited_ns, now))
    assert (found != 0) == believed
    if believed:
        assert abs(found - min(now, now - waited_ns)) <= max(hop_zero.error_ns, 1000)
    assert lib.tp_hop_zero_of(hop_zero, 0, now) == 0


def test_stamp_is_converted_to_a_clock_that_is_off_and_the_error_says_by_how_much() -> None:
    """Two clocks that part by a millisecond a reading: the stated error is no smaller."""
    one, clock = ffi.new("struct tp_hop_zero *"), ffi.new("struct tp_clock *")
    lib.tp_clock_calibrate(clock)
    lib.tp_hop_zero_follow(one, clock)
    assert one.error_ns < MS // 2  # nothing to part from yet
    clock.ns_base += 5 * SECOND
    lib.tp_hop_zero_follow(one, clock)
    if clock.mult != 0:  # a TSC: elsewhere it is CLOCK_MONOTONIC, which is never off
        assert 5 * SECOND - MS <= one.error_ns <= 5 * SECOND + MS
    stamp = time.monotonic_ns()
    now = int(lib.tp_clock_now_ns(clock))
    found = int(lib.tp_hop_zero_of(one, stamp, now))
    assert now - 20 * MS <= found <= now
