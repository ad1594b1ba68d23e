"""A recording of connections that race, replayed: the same copies win, holes are filled alike."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import pytest
from tickpath._core import ffi, lib
from tickpath.engine.recording.format import Meta, pack_record
from tickpath.engine.recording.replayer import Replayer
from tickpath.engine.recording.tap import Subscription
from tickpath.shm.errors import LocalError

from tests.unit.feed.conftest import DISCONNECTED, GAP, LIVE, NONE, STALE, SYNCING, Venue, channel
from tests.unit.feed.test_feed_race import COUNT, HOLD, Race

if TYPE_CHECKING:
    from pathlib import Path

BOOK = struct.Struct("<IIQQQII")
Events = list[tuple[int, list[int]]]


class Recorded:
    """A race whose every call is a record too, as the hot path taps them."""

    def __init__(self, directory: Path) -> None:
        self.race, self.venue = Race(directory), Venue()
        self.records: list[bytes] = []
        self.events: Events = []

    def _note(self, kind: int, opcode: int, connection: int, payload: bytes = b"") -> None:
        self.records.append(pack_record(kind, opcode, connection, self.race.now, payload))
        self.events += [(kind, values) for kind, _, values in self.race.events()]

    def up(self, connection: int) -> None:
        self.race.up(connection)
        self._note(lib.TP_RECORD_UP, 0, connection)

    def down(self, connection: int) -> None:
        self.race.down(connection)
        self._note(lib.TP_RECORD_DOWN, 0, connection)

    def confirm(self, connection: int) -> None:
        self.race.confirm(connection)
        self._note(lib.TP_RECORD_CONFIRMED, 0, connection, struct.pack("<Q", 0))

    def say(self, data: bytes, connection: int) -> None:
        self.race.now += 1000
        self.race.message(data, connection)
        self._note(lib.TP_RECORD_IN, 2, connection, data)

    def base(self) -> None:
        assert self.race.wanted() == [0]
        sides, version = self.venue.history[self.venue.version], self.venue.version
        self.race.offer(version, *sides)
        self.race.tick()
        bids = sorted(sides[0].items(), reverse=True)
        levels = [*bids, *sorted(sides[1].items())]
        head = BOOK.pack(0, 0, version, 0, 0, len(sides[0]), len(sides[1]))
        payload = head + b"".join(struct.pack("<qq", *level) for level in levels)
        self._note(lib.TP_RECORD_BASE, 0, self.race.carrier, payload)

    def tick(self, after_ns: int) -> None:
        self.race.tick(after_ns)
        self._note(lib.TP_RECORD_TICK, 0, 0)


def replay(records: list[bytes], **row: Any) -> tuple[Events, Replayer]:
    words: dict[str, Any] = {"price_exponent": -2, "quantity_exponent": -8, "race": COUNT} | row
    one = Subscription(venue="mexc", symbol="COIN0USDT", channel=channel(0).decode(), **words)
    found: Events = []

    def take(events: Any) -> None:
        found.extend((int(e["type"]), [int(each) for each in e["u"]["value"]]) for e in events)

    replayer = Replayer(Meta(instruments=(one,), ticks=True), on_events=take)
    replayer.play(b"".join(records))
    return found, replayer


def test_replay_of_a_race_gives_the_same_events(tmp_path: Path) -> None:
    live = Recorded(tmp_path)
    venue = live.venue
    for member in range(COUNT):
        live.up(member)
    live.say(venue.step(), 0)
    live.base()
    for turn in range(12):
        data = venue.step()
        for place in range(COUNT):
            live.say(data, (turn + place) % COUNT)
    lost, after = venue.step(), venue.step()
    live.say(after, 1)
    live.say(lost, 2)
    live.down(0)
    live.say(venue.step(), 1)
    assert live.race.state() == (LIVE, NONE)
    venue.step()
    live.say(venue.step(), 1)
    live.tick(HOLD + 1)
    assert live.race.state() == (SYNCING, GAP)
    live.say(venue.step(), 1)
    live.base()
    live.up(0)
    live.confirm(0)
    live.down(1)
    live.down(2)
    live.down(0)
    assert live.race.state() == (STALE, DISCONNECTED)
    found, replayer = replay(live.records)
    assert found == live.events
    assert len(found) > 60
    assert replayer.counters.copies == live.race.counters.copies > 20
    assert replayer.counters.unfilled == live.race.counters.unfilled == 1
    live.race.close()


def test_replay_from_the_midst_follows_whoever_is_recorded_first(tmp_path: Path) -> None:
    """The first member may be down all along: the base says on which one the book was."""
    live = Recorded(tmp_path)
    live.up(2)
    live.say(live.venue.step(), 2)
    live.base()
    for _ in range(3):
        live.say(live.venue.step(), 2)
    _, replayer = replay(live.records[2:])
    assert lib.tp_feed_state(replayer.feed, 0) == LIVE
    assert lib.tp_feed_carrier(replayer.feed, 0) == 2
    live.race.close()


def test_replay_refuses_a_race_that_cannot_be() -> None:
    with pytest.raises(LocalError, match=r"race of 9 connections of 'COIN0USDT': expected 1 to 8"):
        replay([], race=9)
    assert ffi.sizeof("struct tp_feed_row") == 376, "older recordings are read as ever"
