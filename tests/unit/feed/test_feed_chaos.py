"""Any mixture of faults: whenever a book is LIVE, it is the venue's book of that version."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from hypothesis import example, given, settings
from hypothesis import strategies as st
from tickpath._core import ffi, lib

from tests.unit.feed.conftest import (
    BID,
    CLEAR,
    CROSSED,
    LEVEL,
    LIVE,
    MS,
    PRICE_EXPONENT,
    SECOND,
    SETTLE,
    STATE,
    SYNCING,
    TOP,
    Levels,
    Rig,
    Venue,
    assert_known,
    decimal,
    shown,
)

if TYPE_CHECKING:
    import pytest

ACTIONS = (
    ("deliver",) * 12
    + ("renumber", "renumber", "acknowledge")
    + ("lose", "repeat", "swap", "cut", "snapshot", "snapshot", "late_snapshot", "fail", "tick")
    + ("garbage", "cached_snapshot", "cached_snapshot", "halt", "open")
    + ("quiet", "reconnect", "down", "refuse", "cross", "tick")
)


NUMBERING = 1_000_000
"""Where the venue begins to count; each new numbering is below all that was."""


class Chaos:
    """Drive rig and venue through random actions and compare whenever the book is LIVE."""

    def __init__(self, rig: Rig, seed: int) -> None:
        self.rig, self.venue = rig, Venue(seed, version=NUMBERING)
        self.numberings, self.oldest = 1, NUMBERING  # where the present one begins
        self.needs_proof, self.is_up, self.is_proved = bool(seed & 1), False, False
        self.random = random.Random(seed)  # not a secret
        self.last: tuple[bytes, int] | None = None
        self.heard = 0  # the newest number that any message had, of this connection and numbering
        self.asked: list[int] = []  # the venue's version when the snapshot was asked for

    def act(self, action: str) -> None:
        self.rig.now += self.random.choice((1, 50 * MS))
        if action in ("snapshot", "late_snapshot", "cached_snapshot", "fail"):
            self.answer(action)
        else:
            getattr(self, action)()

    def deliver(self) -> None:
        self.last = self.venue.step(), self.venue.version
        self.send(*self.last)

    def lose(self) -> None:
        self.venue.step()

    def repeat(self) -> None:
        if self.last is not None:
            self.send(*self.last)

    def swap(self) -> None:
        first, between = self.venue.step(), self.venue.version
        self.send(self.venue.step(), between)  # it overtook: the next one shows that it is missing
        self.send(first, between)

    def cut(self) -> None:
        self.send(self.venue.step()[: -self.random.randrange(1, 40)])

    def garbage(self) -> None:
        price = self.venue.middle - 1
        data = self.venue.step([(BID, price, 3)])
        text = decimal(price, PRICE_EXPONENT)
        self.send(data.replace(text, b"x" + text[1:]))

    def halt(self, status: int = 3) -> None:
        listing = ffi.new("struct tp_feed_listing *", (0, status, 1))
        assert lib.tp_feed_list_status(self.rig.feed, listing, self.rig.now)

    def open(self) -> None:
        self.halt(1)

    def cross(self) -> None:
        self.send(self.venue.step(self.venue.crossing()))

    def send(self, data: bytes, version: int | None = None) -> None:
        self.is_proved |= self.is_up
        if self.is_up:
            self.heard = max(self.heard, self.venue.version if version is None else version)
        self.rig.message(data)

    def acknowledge(self) -> None:
        self.is_proved |= self.is_up
        lib.tp_feed_confirmed(self.rig.feed, 0, self.rig.now)

    def up(self) -> None:
        self.is_up, self.is_proved, self.heard = True, not self.needs_proof, 0
        self.rig.up()

    def renumber(self) -> None:
        self.venue.version = NUMBERING - 1000 * self.numberings
        self.numberings += 1
        self.venue.remember()
        self.asked.clear()  # a venue has no book of the old numbering any more
        self.oldest = self.venue.version
        self.last, self.heard = None, 0

    def tick(self) -> None:
        self.rig.tick(SETTLE)

    def quiet(self) -> None:
        self.rig.tick(3 * SECOND)

    def reconnect(self) -> None:
        self.rig.down()
        self.asked.clear()
        for _ in range(self.random.randrange(3)):
            self.venue.step()
        self.up()

    def down(self) -> None:
        self.is_up = False
        self.rig.down()

    def refuse(self) -> None:
        lib.tp_feed_refused(self.rig.feed, 0, self.rig.now)

    def answer(self, action: str) -> None:
        if self.rig.wanted():
            self.asked = [self.venue.version]
        if not self.asked:
            return
        if action == "fail":
            lib.tp_feed_base_failed(self.rig.feed, 0, 0)
            self.asked.clear()
            return
        if action == "cached_snapshot":  # anything that the venue ever had
            end = self.oldest + 1000
            known = [v for v in self.venue.history if self.oldest <= v < end]
            version = self.random.choice(known)
        elif action == "late_snapshot":  # anything between the request and now
            candidates = [v for v in self.venue.history if v >= self.asked[0]]
            version = self.random.choice(candidates)
        else:
            version = self.venue.version
        self.asked.clear()
        depth = self.random.choice((1, 3, 8, 20, 25, 1000))
        bids, asks, truncated = shown(self.venue.history[version], depth)
        self.rig.offer(version, bids, asks, truncated=truncated)
        self.rig.tick()

    def check(self) -> None:
        state, _ = self.rig.state()
        if state in (LIVE, CROSSED):
            assert self.is_proved, "a base alone proves no subscription"
            version = self.rig.record()["version"]
            expected = self.venue.history[version]
            assert_known(self.rig, self.venue, version)
            assert version >= self.heard, "a message came, and what it says is not in the book"
            crossed = bool(expected[0] and expected[1] and max(expected[0]) >= min(expected[1]))
            assert crossed == (state == CROSSED)


class Mirror:
    """What a strategy does with the ring: it holds the same book without a look at the C one."""

    def __init__(self) -> None:
        self.book: tuple[Levels, Levels] = ({}, {})
        self.state = SYNCING
        self.whole = False

    def follow(self, rig: Rig) -> None:
        record = None
        for kind, flags, values in rig.events():
            if kind == STATE:
                self.state = values[0]
            elif kind == CLEAR:
                record = rig.record()  # the latest: it holds all the events that follow too
                self.book = (dict(record["bids"]), dict(record["asks"]))
                self.whole = True
            elif kind == LEVEL:
                side = self.book[flags & 1]
                side[values[0]] = values[1]
                if not values[1]:
                    del side[values[0]]
            elif kind == TOP and self.whole and self.state == LIVE and record is None:
                assert values[0] == max(self.book[0], default=0)
                assert values[2] == min(self.book[1], default=0)


# A message behind a gap comes again, below all that was kept: no new numbering for all that.
REPEATED_BEHIND_A_GAP = (
    ["deliver", "deliver", "snapshot"]
    + ["deliver"] * 10
    + ["acknowledge", "acknowledge", "lose", "swap", "repeat", "snapshot", "cached_snapshot"]
)


@example(seed=0, actions=REPEATED_BEHIND_A_GAP)
@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 1 << 32), actions=st.lists(st.sampled_from(ACTIONS), max_size=80))
def test_feed_whatever_happens_a_live_book_is_the_venues(
    tmp_path_factory: pytest.TempPathFactory, seed: int, actions: list[str]
) -> None:
    rig = Rig(tmp_path_factory.mktemp("feed"), needs_confirmation=bool(seed & 1))
    try:
        chaos, mirror = Chaos(rig, seed), Mirror()
        chaos.up()
        for action in actions:
            chaos.act(action)
            chaos.check()
            mirror.follow(rig)
            assert mirror.state == rig.state()[0]
        # And it heals: a reconnection, a message, a snapshot.
        chaos.act("open")
        chaos.act("reconnect")
        chaos.act("deliver")
        chaos.act("snapshot")
        assert rig.state()[0] in (LIVE, CROSSED)
        chaos.check()
        # A numbering that begins anew is found out, and healed, by the venue's own pace.
        chaos.act("renumber")
        rig.now += SECOND
        chaos.act("deliver")
        chaos.act("snapshot")
        chaos.act("deliver")
        assert rig.record()["version"] == chaos.venue.version
        chaos.check()
    finally:
        rig.close()
