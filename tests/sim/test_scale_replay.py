"""A scale that moves on the hot path: its recording, replayed, gives the same events and books."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import pytest
from tickpath._core import ffi, lib
from tickpath.engine.recording.format import Meta
from tickpath.engine.recording.replayer import Replayer
from tickpath.engine.recording.tap import Subscription
from tickpath.proto.instrument import Instrument

from tests.sim.test_hot_path_virtual import TappedWorld, tap
from tests.sim.virtual import SECOND, Plan, certificate, contexts
from tests.unit.feed.conftest import ASK, LIVE, NONE, SYNCING, Rig, Venue, channel
from tests.unit.feed.test_feed_scale import SCALE_REASON, next_message, scales

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.sim.virtual import Certificate
    from tests.unit.test_message_ring import Ring

__all__ = ["certificate", "contexts", "tap"]  # fixtures

HEADER = struct.Struct("<IIQ")
Record = tuple[int, int, bytes]  # tag, time, payload
Events = list[tuple[int, tuple[int, int], list[int]]]


class Story:
    """A book that gets LIVE, meets a digit more, moves its scale and is LIVE again."""

    def __init__(self, world: TappedWorld, tap: Ring) -> None:
        self.world, self._tap, self.rig = world, tap, world.rig
        self.venue = Venue()
        world.go_live(self.venue)
        world.say(next_message(self.venue, [(ASK, "500.001", "5")]))
        self._until((SYNCING, SCALE_REASON))
        row = Instrument(0, "mexc", "COIN0USDT", -3, -8, 10)
        assert world.hot.rescale(row, 2)
        world.run(lambda: self.rig.counters.rescaled == 1, limit_ns=SECOND)
        world.say(next_message(self.venue, [(ASK, "500.001", "6")]))
        world.run(lambda: bool(self.rig.wanted()), limit_ns=SECOND)
        assert self.rig.offer(self.venue.version, {499_990: 1}, {500_001: 600_000_000})
        self._until((LIVE, NONE))
        self.say_more(3)
        self.records = self.take()
        self.events: Events = scales(self.rig)

    def _until(self, state: tuple[int, int]) -> None:
        self.world.run(lambda: self.rig.state() == state, limit_ns=SECOND)

    def say_more(self, count: int) -> None:
        for number in range(count):
            self.world.say(next_message(self.venue, [(ASK, f"500.00{number + 2}", "7")]))
            self.world.run(lambda: self.rig.record()["version"] == self.venue.version, SECOND)

    def checkpoint(self) -> None:
        """Write the book into the tap, as the hot path does now and then."""
        lib.tp_feed_checkpoint(self.rig.feed, 0, self.world.now_ns)

    def take(self) -> list[Record]:
        self._tap.drain()
        return self._tap.taken()


@pytest.fixture
def story(
    tmp_path: Path, certificate: Certificate, contexts: Callable[[Plan], Any], tap: Ring
) -> Iterator[Story]:
    pointer = ffi.new("struct tp_tap *", {"segment": tap.writer.pointer})
    rig = Rig(tmp_path, moves_scale=True, tap=pointer)
    world = TappedWorld(rig, certificate, contexts(Plan(seed=1)), tap)
    world.hot.handle.tap = pointer
    yield Story(world, tap)
    rig.close()


def replayed(records: list[Record], *, has_scales: bool = True) -> tuple[Events, Any]:
    row = Subscription(
        venue="mexc",
        symbol="COIN0USDT",
        price_exponent=-2,
        quantity_exponent=-8,
        channel=channel(0).decode(),
    )
    found: Events = []

    def take(events: Any) -> None:
        for one in events:
            scale = int(one["price_exponent"]), int(one["quantity_exponent"])
            found.append((int(one["type"]), scale, [int(each) for each in one["u"]["value"]]))

    replayer = Replayer(Meta(instruments=(row,), ticks=True, scales=has_scales), on_events=take)
    data = b"".join(
        HEADER.pack(len(payload), tag, time_ns) + payload + bytes(-len(payload) % 8)
        for tag, time_ns, payload in records
    )
    replayer.play(data)
    return found, replayer


def test_replay_of_a_moved_scale_gives_the_same_events(story: Story) -> None:
    found, replayer = replayed(story.records)
    assert found == story.events
    assert {scale for _, scale, _ in found} == {(-2, -8), (-3, -8)}
    book = lib.tp_feed_book(replayer.feed, 0)
    assert lib.tp_book_step(book) == lib.tp_book_step(lib.tp_feed_book(story.rig.feed, 0))
    assert replayer.c.bases_refused == 0


def test_replay_from_a_checkpoint_on_knows_its_scale(story: Story) -> None:
    """Whoever begins behind the move has the scale of the file's header, which is the old one."""
    story.checkpoint()
    story.say_more(5)
    later = story.take()
    found, replayer = replayed(later)
    assert {scale for kind, scale, _ in found if kind in (1, 2) and scale[0]} == {(-3, -8)}
    assert lib.tp_feed_state(replayer.feed, 0) == LIVE
    best = lib.tp_book_best(lib.tp_feed_book(replayer.feed, 0), ASK)
    live = lib.tp_book_best(lib.tp_feed_book(story.rig.feed, 0), ASK)
    assert (best.price, best.quantity) == (live.price, live.quantity)


def test_replay_of_a_recording_without_moves_is_as_it_was(story: Story) -> None:
    """A misfit was a broken message then: a base of the same scale brings the book back."""
    upto = [tag & 0xFF for tag, _, _ in story.records].index(int(lib.TP_RECORD_SCALED))
    found, replayer = replayed(story.records[:upto], has_scales=False)
    assert lib.tp_feed_reason(replayer.feed, 0) == 7
    assert found[-1][2][:2] == [SYNCING, 7]
