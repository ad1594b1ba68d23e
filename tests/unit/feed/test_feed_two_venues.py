"""Two venues in one feed: each connection has its venue's router, rules, decoder and mailbox."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from tickpath._core import ffi, lib

from tests.unit.feed.conftest import GAP, LIVE, NONE, SECOND, STALE, STARTING, SYNCING, Rig
from tests.unit.feed.test_feed_venues import (
    APPLIED,
    BASE_TIMEOUT,
    IGNORED,
    IN_BAND,
    IN_BAND_RULE,
    RANGE,
    REST,
    SampleVenue,
    base,
    delta,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SETTLE = int(lib.TP_FEED_SETTLE_NS_DEFAULT)
REST_RULE = {"chain": RANGE, "base": REST}
COUNTED_RULE = {"chain": 0, "base": IN_BAND, "in_band_base": True, "counts_connection": True}


@dataclass
class Two:
    """Instrument 0 is the first venue's, 1 the second's; so are the connections."""

    rig: Rig
    first: SampleVenue
    second: SampleVenue

    def wanted(self, venue: int) -> list[int]:
        """Return what a venue's cold thread is asked for."""
        self.rig.venue = venue
        return self.rig.wanted()

    def offer(self, venue: int, version: int, price: int, instrument: int) -> bool:
        """Offer a base as a venue's cold thread does."""
        self.rig.venue = venue
        return self.rig.offer(version, {price: 1}, {price + 1: 1}, instrument=instrument)


@pytest.fixture
def two(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Two]:
    """The same channel name at both: to each it is its own."""
    first, second = (SampleVenue(rule) for rule in request.param)
    rig = Rig(tmp_path, 2, venues=[first.c, second.c], added=0)
    for number in (0, 1):
        assert rig.add(number, b"spot", connection=number)
        rig.up(number)
    yield Two(rig, first, second)
    rig.close()


@pytest.mark.parametrize("two", [(REST_RULE, IN_BAND_RULE)], indirect=True)
def test_message_is_read_by_its_connections_venue_and_rule(two: Two) -> None:
    rig = two.rig
    assert (two.first.rows, two.second.rows) == (["0"], ["1"])
    assert (two.first.resets, two.second.resets) == ([0], [1])
    assert rig.message(base(10, i=1), connection=1) == APPLIED
    assert (two.first.heard, two.second.heard) == ([], [1])
    assert rig.state(1) == (LIVE, NONE)
    assert rig.state(0) == (SYNCING, STARTING)
    assert rig.message(base(10), connection=0) == lib.TP_FEED_BUFFERED  # its rule has no such base
    assert (two.first.heard, two.second.heard) == ([0], [1])


@pytest.mark.parametrize("two", [(REST_RULE, REST_RULE)], indirect=True)
def test_message_that_names_the_other_venues_instrument_is_of_no_channel(two: Two) -> None:
    assert two.rig.message(delta(10, i=1), connection=0) == lib.TP_FEED_UNKNOWN
    assert two.rig.counters.unknown_channel == 1


@pytest.mark.parametrize("two", [(REST_RULE, REST_RULE)], indirect=True)
def test_bases_are_wanted_from_and_offered_by_the_own_venue_alone(two: Two) -> None:
    rig = two.rig
    rig.tick(SETTLE)
    assert two.wanted(1) == [1]
    assert two.wanted(0) == [0]
    two.offer(0, 5, 100, 1)  # nobody asked that one
    rig.tick()
    assert rig.state(1) == (SYNCING, STARTING)
    lib.tp_feed_base_failed(rig.feed, 0, 1)
    assert two.wanted(0) == two.wanted(1) == []
    two.offer(1, 5, 100, 1)
    two.offer(0, 6, 200, 0)
    rig.tick()  # one a tick
    assert sorted(rig.state(number)[0] for number in (0, 1)) == [SYNCING, LIVE]
    rig.tick()
    assert [rig.state(number) for number in (0, 1)] == [(LIVE, NONE), (LIVE, NONE)]
    assert (rig.levels(0)[0], rig.levels(1)[0]) == ({200: 1}, {100: 1})


@pytest.mark.parametrize("two", [(REST_RULE, REST_RULE)], indirect=True)
def test_venues_whose_bases_stay_in_the_mailbox_hold_up_no_other(two: Two) -> None:
    """A full mailbox of one is taken in turn with the other's."""
    rig = two.rig
    rig.tick(SETTLE)
    assert two.wanted(0) == [0]
    assert two.wanted(1) == [1]
    assert two.offer(0, 5, 100, 0)
    for _ in range(3):  # each tick takes one, and more of the first come at once
        rig.down(0)
        rig.up(0)
        rig.tick(SETTLE)
        assert two.wanted(0) == [0]
        assert two.offer(0, 5, 100, 0)
    assert two.offer(1, 5, 100, 1)
    rig.tick()
    rig.tick()
    assert rig.state(1) == (LIVE, NONE)


@pytest.mark.parametrize("two", [(COUNTED_RULE, IN_BAND_RULE)], indirect=True)
def test_only_connections_of_a_venue_that_counts_them_are_counted(two: Two) -> None:
    rig = two.rig
    assert rig.message(base(n=1), connection=0) == APPLIED
    assert rig.message(base(10, i=1, n=1), connection=1) == APPLIED
    assert rig.message(delta(11, {97: 2}, i=1, n=9), connection=1) == APPLIED
    assert rig.message(delta(bids={97: 2}, n=9), connection=0) == IGNORED
    assert [rig.state(number) for number in (0, 1)] == [(SYNCING, GAP), (LIVE, NONE)]
    assert rig.counters.gaps == 1


@pytest.mark.parametrize("two", [(IN_BAND_RULE, IN_BAND_RULE)], indirect=True)
def test_end_of_one_venues_connection_leaves_the_others_books_live(two: Two) -> None:
    rig = two.rig
    for number in (0, 1):
        assert rig.message(base(10, i=number), connection=number) == APPLIED
    rig.down(0)
    assert [rig.state(number)[0] for number in (0, 1)] == [STALE, LIVE]
    assert rig.message(delta(11, {97: 2}, i=1), connection=1) == APPLIED
    rig.up(0)
    assert two.second.resets == [1]


@pytest.mark.parametrize("two", [(IN_BAND_RULE, REST_RULE)], indirect=True)
def test_base_in_band_that_is_late_is_asked_of_the_own_venue(two: Two) -> None:
    rig = two.rig
    rig.tick(BASE_TIMEOUT)
    assert two.wanted(0) == [0]
    assert two.wanted(1) == [1]


def test_memory_of_one_venue_more_is_its_router_its_mailbox_and_no_more() -> None:
    venue = SampleVenue(REST_RULE)
    sizes = []
    for count in (1, 2, 3):
        config = ffi.new("struct tp_feed_config *", {"instrument_count": 8, "connection_count": 4})
        for place in range(count):
            config.venues[place].venue = venue.c
        sizes.append(int(lib.tp_feed_memory_size(config)))
    assert sizes[2] - sizes[1] == sizes[1] - sizes[0] > 0
    assert sizes[1] - sizes[0] < 700_000  # four cells of 160 KiB


def test_config_without_a_venue_or_with_too_many_channels_is_refused() -> None:
    config = ffi.new("struct tp_feed_config *", {"instrument_count": 8, "connection_count": 4})
    assert lib.tp_feed_memory_size(config) == 0
    venue = SampleVenue(REST_RULE)
    config.venues[0].venue = venue.c
    assert lib.tp_feed_memory_size(config) > 0
    config.venues[0].channel_count = (1 << 16) + 1
    assert lib.tp_feed_memory_size(config) == 0


def test_book_may_be_quiet_for_as_long_as_its_own_venue_says(tmp_path: Path) -> None:
    first, second = SampleVenue(IN_BAND_RULE), SampleVenue(IN_BAND_RULE)
    limits = {"verify_after_ns": SECOND, "verify_limit_ns": 2 * SECOND}
    venues = [{"venue": first.c, **limits}, {"venue": second.c, "verify_limit_ns": 9 * SECOND}]
    rig = Rig(tmp_path, 2, venues=venues, added=0, silent_after_ns=0)
    two = Two(rig, first, second)
    assert lib.tp_feed_counters(rig.feed).verify_within_ms == 9_000
    for number in (0, 1):
        assert rig.add(number, b"spot", connection=number)
        rig.up(number)
        assert rig.message(base(10, i=number), connection=number) == APPLIED
    assert checks(two) == ([], [])
    rig.tick(3 * SECOND // 2)
    assert checks(two) == ([0], [])  # the second says that nobody asks
    rig.tick(SECOND)
    assert (rig.state(0)[0], rig.state(1)[0]) == (STALE, LIVE)
    rig.tick(7 * SECOND)
    assert (rig.state(0)[0], rig.state(1)[0]) == (STALE, STALE)
    rig.close()


def checks(two: Two) -> tuple[list[int], list[int]]:
    """Return which books each venue's cold thread is to have checked."""
    wanted = ffi.new("uint32_t[8]")
    counts = (lib.tp_feed_check_wanted(two.rig.feed, venue, wanted, 8) for venue in (0, 1))
    first, second = (list(wanted[0:count]) for count in counts)
    return first, second
