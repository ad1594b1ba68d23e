"""A recording of packed messages and answers on the socket, replayed, gives the same events."""

from __future__ import annotations

import gzip
import struct
from typing import TYPE_CHECKING, Any

import pytest
from tickpath._core import ffi, lib
from tickpath.engine.recording.format import Meta
from tickpath.engine.recording.replayer import Replayer
from tickpath.engine.recording.tap import Subscription
from tickpath.proto.venues.decoder import find_decoder

from tests.sim.test_hot_path_virtual import TappedWorld, tap
from tests.sim.virtual import SECOND, Plan, certificate, contexts
from tests.unit.feed.conftest import ASK, BID, GAP, LIVE, NONE, SYNCING, Rig
from tests.unit.feed.test_feed_scale import scales

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.sim.virtual import Certificate
    from tests.unit.test_message_ring import Ring

__all__ = ["certificate", "contexts", "tap"]  # fixtures

HEADER = struct.Struct("<IIQ")
TOPIC = "market.btcusdt.mbp.150"
Events = list[tuple[int, tuple[int, int], list[int]]]


def packed(text: bytes) -> bytes:
    """Pack it; no clock is in it."""
    return gzip.compress(text, mtime=0)


def change(number: int, bid: str, size: str) -> bytes:
    tick = f'"seqNum":{number},"prevSeqNum":{number - 1},"bids":[[{bid},{size}]],"asks":[]'
    return f'{{"ch":"{TOPIC}","ts":1795000000100,"tick":{{{tick}}}}}'.encode()


def answer(number: int, size: str) -> bytes:
    sides = f'"bids":[[99.5,{size}],[99.25,2.0]],"asks":[[100.5,1.0],[101.0,4.1E-4]]'
    data = f'{{"seqNum":{number},{sides}}}'
    head = f'"id":"1000","rep":"{TOPIC}","status":"ok","ts":1795000000090'
    return f'{{{head},"data":{data}}}'.encode()


class Story:
    """A book that begins, loses a message, is cut, proved, and found to be another one."""

    def __init__(self, world: TappedWorld, tap: Ring) -> None:
        self.world, self.rig = world, world.rig
        world.run(lambda: world.phase == lib.TP_SESSION_OPEN, limit_ns=SECOND)
        self.say(change(10, "99.5", "1.0"))
        self.say(answer(10, "1.0"))
        self.until((LIVE, NONE))
        self.say(change(11, "99.5", "1.5"))
        self.say(change(13, "99.5", "1.25"))
        self.until((SYNCING, GAP))
        self.say(answer(12, "3.0"))
        self.until((LIVE, NONE))
        world.say(packed(change(14, "99.5", "9.0"))[:-9])
        self.say(change(15, "99.5", "1.75"))
        self.until((SYNCING, GAP))
        self.say(answer(9, "1.0"))
        self.say(answer(15, "1.75"))
        self.until((LIVE, NONE))
        self.quiet(lambda: self.say(answer(15, "1.75")))
        world.run(lambda: self.rig.counters.verified == 1, SECOND)
        self.quiet(lambda: self.say(answer(15, "2.75")))
        world.run(lambda: self.rig.counters.checks_different == 1, SECOND)
        self.say(change(16, "99.25", "0.0"))
        world.run(lambda: self.rig.record()["version"] == 16, SECOND)
        tap.drain()
        self.records = tap.taken()
        self.events: Events = scales(self.rig)

    def say(self, text: bytes) -> None:
        before = self.rig.counters.messages
        self.world.say(packed(text))
        self.world.run(lambda: self.rig.counters.messages > before, limit_ns=SECOND)

    def until(self, state: tuple[int, int]) -> None:
        self.world.run(lambda: self.rig.state() == state, limit_ns=SECOND)

    def quiet(self, then: Callable[[], None]) -> None:
        wanted = ffi.new("uint32_t[1]")
        self.world.run(
            lambda: lib.tp_feed_check_wanted(self.rig.feed, 0, wanted, 1) == 1, 3 * SECOND
        )
        then()


@pytest.fixture
def story(
    tmp_path: Path, certificate: Certificate, contexts: Callable[[Plan], Any], tap: Ring
) -> Iterator[Story]:
    pointer = ffi.new("struct tp_tap *", {"segment": tap.writer.pointer})
    quiet = {"verify_after_ns": SECOND, "verify_limit_ns": 60 * SECOND, "silent_after_ns": 0}
    rig = Rig(tmp_path, venue=find_decoder("htx"), added=0, tap=pointer, **quiet)
    assert rig.add(0, TOPIC.encode())
    world = TappedWorld(rig, certificate, contexts(Plan(seed=1)), tap)
    world.hot.handle.tap = pointer
    world.hot.unpack([0], 1 << 16)
    yield Story(world, tap)
    rig.close()


def test_replay_of_packed_messages_and_answers_gives_the_same_events(story: Story) -> None:
    row = Subscription(
        venue="htx", symbol="btcusdt", price_exponent=-2, quantity_exponent=-8, channel=TOPIC
    )
    found: Events = []

    def take(events: Any) -> None:
        for one in events:
            scale = int(one["price_exponent"]), int(one["quantity_exponent"])
            found.append((int(one["type"]), scale, [int(each) for each in one["u"]["value"]]))

    replayer = Replayer(Meta(instruments=(row,), ticks=True), on_events=take)
    replayer.play(
        b"".join(
            HEADER.pack(len(payload), tag, time_ns) + payload + bytes(-len(payload) % 8)
            for tag, time_ns, payload in story.records
        )
    )
    assert found == story.events
    assert lib.tp_feed_state(replayer.feed, 0) == LIVE
    for side in (BID, ASK):
        best = lib.tp_book_best(lib.tp_feed_book(replayer.feed, 0), side)
        live = lib.tp_book_best(lib.tp_feed_book(story.rig.feed, 0), side)
        assert (best.price, best.quantity) == (live.price, live.quantity)
    assert replayer.counters.unreadable == story.rig.counters.unreadable == 1


def test_recording_has_the_texts_and_what_was_no_member_as_it_came(story: Story) -> None:
    came = [payload for tag, _, payload in story.records if tag & 0xFF == lib.TP_RECORD_IN]
    assert came[0] == change(10, "99.5", "1.0")
    (cut,) = [one for one in came if not one.startswith(b"{")]
    assert cut == packed(change(14, "99.5", "9.0"))[:-9]
    assert story.world.loop.counters.not_inflated == 1
