"""The feed handler's hot path in virtual time, one connection: how it opens, ends and retires.

tp_hot_path_turn is called every TURN_NS, as the spinning loop would; the other end is the server of
virtual.py. Books are the business of tests/unit/feed.
"""

from __future__ import annotations

import errno
import gzip
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from tickpath._core import ffi, lib
from tickpath.engine.feed_handler.hot_path import HotPath, Note

from tests.sim.virtual import (
    NAME,
    SECOND,
    Plan,
    Server,
    Station,
    certificate,
    contexts,
)
from tests.unit.feed.conftest import DISCONNECTED, LIVE, NONE, REFUSED, STALE, Rig, Venue
from tests.unit.test_message_ring import Ring

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.sim.virtual import Certificate

__all__ = ["certificate", "contexts"]  # fixtures

TURN_NS = 100_000


class HotWorld:
    """A hot path on one end of a memory link, the server on the other."""

    def __init__(self, plan: Plan, certificate: Certificate, context: Any, rig: Rig) -> None:
        self.now_ns = SECOND
        self.pair = ffi.gc(
            lib.tp_memory_link_pair_create(1024, 2048), lib.tp_memory_link_pair_destroy
        )
        self.near = Station(lib.tp_memory_link_end(self.pair, 0), 0, plan.buffer_size)
        far = Station(lib.tp_memory_link_end(self.pair, 1), 1, plan.buffer_size)
        self.hot = HotPath(rig.feed, rig.segment.pointer)
        self.loop = self.hot.loop
        self.loop.netif, self.loop.clock = self.near.netif, rig.config.clock
        self.loop.connection_count = 1
        self.session = self._session(plan, context)
        self.offer()
        self.server = Server(far, plan, certificate, self.now_ns)
        self.server_broken = False
        self.notes: list[Note] = []
        self.takes_notes = True

    def offer(self) -> None:
        command = ffi.new("struct tp_command *", {"kind": lib.TP_COMMAND_CONNECT})
        command.session, command.tcp = self.session, self.near.tcp
        command.tcp_config = self.near.config[0]
        assert lib.tp_handover_command(ffi.addressof(self.loop, "handover"), command)

    def _session(self, plan: Plan, context: Any) -> Any:
        stream = ffi.new("struct tp_stream *")
        lib.tp_stream_init_tcp(stream, self.near.tcp)
        config = ffi.new("struct tp_session_config *")
        texts = [ffi.new("char[]", word) for word in (NAME.encode(), b"/ws", b"")]
        config.tls, config.server_name, config.websocket = context, texts[0], True
        config.host, config.target, config.extra_headers = texts
        config.message_size_max = plan.message_size_max
        config.receive_window = plan.buffer_size
        config.handshake_timeout_ns = 10 * SECOND
        error = ffi.new("char[256]")
        session = lib.tp_session_new(config, stream, error, 256)
        assert session != ffi.NULL, ffi.string(error)
        return ffi.gc(session, lib.tp_session_free)

    @property
    def phase(self) -> int:
        return int(lib.tp_session_phase(self.session))

    @property
    def retired(self) -> bool:
        return any(note.kind == lib.TP_NOTE_ENDED for note in self.notes)

    def turn(self, *, server_listens: bool = True) -> None:
        now_ns, server = self.now_ns, self.server
        lib.tp_hot_path_turn(self.hot.handle, now_ns)
        if server_listens:
            server.station.take_frames(self._segment)
            server.output(now_ns)
        while self.takes_notes and (note := self.hot.take_note()):
            self.notes.append(note)
        self.now_ns += TURN_NS

    def _segment(self, segment: Any) -> None:
        try:
            self.server.segment(segment, self.now_ns)
        except AssertionError:  # our RST
            self.server_broken = True

    def run(self, until: Callable[[], bool], limit_ns: int) -> None:
        end_ns = self.now_ns + limit_ns
        while not until():
            assert self.now_ns < end_ns, f"not within {limit_ns / SECOND} s, phase {self.phase}"
            self.turn()


def drain_wakes(world: HotWorld) -> None:
    """Let no wake-up for what was taken already stand."""
    for _ in range(3):
        world.turn()
    while world.hot.take_note() is not None:
        pass
    world.hot.await_note(0)


@contextmanager
def awaited(world: HotWorld) -> Iterator[None]:
    """Have a cold thread wait meanwhile: what happens here must end its wait, not its limit."""
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(world.hot.await_note, 20)
        yield
        waiting.result(15)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("tls", ["TLSv1.3", ""])
def test_hot_path_server_closes_connection_ends_on_both_sides(
    tls: str, certificate: Certificate, contexts: Callable[[Plan], Any], rig: Rig
) -> None:
    plan = Plan(seed=1, tls=tls, closer="server", buffer_size=1 << 17)
    world = HotWorld(plan, certificate, contexts(plan), rig)
    world.run(lambda: world.retired, limit_ns=2 * SECOND)
    assert world.server.close_code == 1000
    assert lib.tp_tcp_state(world.server.station.tcp) in (lib.TP_TCP_CLOSED, lib.TP_TCP_TIME_WAIT)
    assert lib.tp_session_error(world.session) == lib.TP_SESSION_ERROR_NONE
    assert not world.server_broken


def test_hot_path_await_ends_when_there_is_a_session_to_take(
    certificate: Certificate, contexts: Callable[[Plan], Any], rig: Rig
) -> None:
    plan = Plan(seed=1, closer="server", buffer_size=1 << 17)
    world = HotWorld(plan, certificate, contexts(plan), rig)
    begin = time.monotonic()
    world.hot.await_note(0.05)
    assert time.monotonic() - begin >= 0.05
    world.run(lambda: bool(world.notes), limit_ns=SECOND)  # it is open
    world.hot.await_note(0)  # the wake-up for that
    world.takes_notes = False
    with awaited(world):
        for _ in range(2 * SECOND // TURN_NS):  # what is to be taken stays
            world.turn()
    note = world.hot.take_note()
    assert note is not None
    assert note.kind == lib.TP_NOTE_ENDED
    drain_wakes(world)
    begin = time.monotonic()
    world.hot.await_note(0.01)  # nothing is left
    assert time.monotonic() - begin >= 0.01


def test_hot_path_await_ends_when_there_is_a_note_to_take(
    certificate: Certificate, contexts: Callable[[Plan], Any], rig: Rig
) -> None:
    plan = Plan(seed=1, closer="nobody", buffer_size=1 << 17)
    world = HotWorld(plan, certificate, contexts(plan), rig)
    world.run(lambda: world.phase == lib.TP_SESSION_OPEN, limit_ns=SECOND)
    drain_wakes(world)
    world.takes_notes = False
    with awaited(world):
        world.server.protocol.send_text(b'{"id":0,"code":0,"msg":"PONG"}')
        world.server._collect()
        world.run(lambda: world.loop.counters.text_messages > 0, limit_ns=SECOND)
        for _ in range(3):  # the wake-up comes with a tick
            world.turn()
    assert world.hot.take_note() == Note(lib.TP_NOTE_TEXT, 0, b'{"id":0,"code":0,"msg":"PONG"}')


def test_hot_path_await_ends_when_the_link_is_gone(
    certificate: Certificate, contexts: Callable[[Plan], Any], rig: Rig
) -> None:
    plan = Plan(seed=1, closer="nobody", buffer_size=1 << 17)
    world = HotWorld(plan, certificate, contexts(plan), rig)
    with awaited(world):
        world.near.netif.link.error = -errno.ENETDOWN
        for _ in range(SECOND // TURN_NS):
            world.turn()


def test_hot_path_peer_that_never_ends_is_reset_before_it_is_retired(
    certificate: Certificate, contexts: Callable[[Plan], Any], rig: Rig
) -> None:
    plan = Plan(seed=1, closer="nobody", buffer_size=1 << 17)
    world = HotWorld(plan, certificate, contexts(plan), rig)
    world.run(lambda: world.phase == lib.TP_SESSION_OPEN, limit_ns=SECOND)
    world.server.may_end = False
    world.server.protocol.send_close(1001)
    world.server._collect()
    world.run(lambda: world.retired, limit_ns=3 * SECOND)
    for _ in range(5):
        world.turn()
    assert world.server_broken


def test_hot_path_vanished_peer_is_retired(
    certificate: Certificate, contexts: Callable[[Plan], Any], rig: Rig
) -> None:
    plan = Plan(seed=1, closer="nobody", buffer_size=1 << 17)
    world = HotWorld(plan, certificate, contexts(plan), rig)
    world.run(lambda: world.phase == lib.TP_SESSION_OPEN, limit_ns=SECOND)
    for _ in range(60 * SECOND // TURN_NS):
        world.turn(server_listens=False)
        if world.retired:
            break
    assert world.retired
    assert lib.tp_session_error(world.session) != lib.TP_SESSION_ERROR_NONE


# ---- what a connection says and what is recorded of it -------------------------------------------


@pytest.fixture
def tap(tmp_path: Path) -> Iterator[Ring]:
    ring = Ring(tmp_path, slots=1024)
    yield ring
    ring.close()


class TappedWorld(HotWorld):
    """A quiet world that is recorded; its connection subscribes, then pings every second."""

    def __init__(self, rig: Rig, certificate: Certificate, context: Any, tap: Ring) -> None:
        super().__init__(
            Plan(seed=1, closer="nobody", buffer_size=1 << 17), certificate, context, rig
        )
        self.rig, self.tap = rig, tap
        self._tap = ffi.new("struct tp_tap *", {"segment": tap.writer.pointer})
        self.hot.handle.tap = self._tap
        self.hot.speak(0, [b"subscribe", b"to more"], b"ping", 1.0)

    def recorded(self) -> list[tuple[int, bytes]]:
        """Return kind and payload of what was recorded since; ticks are left out."""
        self.tap.drain()
        rows = [(tag & 0xFF, payload) for tag, _, payload in self.tap.taken()]
        return [row for row in rows if row[0] != lib.TP_RECORD_TICK]

    def say(self, data: bytes) -> None:
        self.server.protocol.send_binary(data)
        self.server._collect()

    def go_live(self, venue: Venue) -> None:
        self.run(lambda: self.phase == lib.TP_SESSION_OPEN, limit_ns=SECOND)
        self.say(venue.step())
        self.run(lambda: bool(self.rig.wanted()), limit_ns=SECOND)
        assert self.rig.offer(venue.version, *venue.history[venue.version])
        self.run(lambda: self.rig.state() == (LIVE, NONE), limit_ns=SECOND)


@pytest.fixture
def tapped(
    rig: Rig, certificate: Certificate, contexts: Callable[[Plan], Any], tap: Ring
) -> TappedWorld:
    return TappedWorld(rig, certificate, contexts(Plan(seed=1)), tap)


def test_hot_path_orderly_stop_publishes_stale_and_records_down(tapped: TappedWorld) -> None:
    venue = Venue()
    tapped.go_live(venue)
    assert tapped.recorded()
    tapped.rig.events()
    tapped.hot.stop()
    for _ in range(4):  # the next tick hears it; the server answers
        tapped.turn()
    assert tapped.rig.state() == (STALE, DISCONNECTED)
    assert tapped.rig.record()["state"] == STALE
    assert tapped.recorded() == [(lib.TP_RECORD_DOWN, b"")]
    assert tapped.server.close_code == 1001
    assert not lib.tp_hot_path_turn(tapped.hot.handle, tapped.now_ns)


def test_hot_path_link_that_goes_publishes_stale_and_records_down(tapped: TappedWorld) -> None:
    tapped.go_live(Venue())
    tapped.recorded()
    tapped.near.netif.link.error = -errno.ENETDOWN
    for _ in range(4):
        tapped.turn()
    assert tapped.rig.state() == (STALE, DISCONNECTED)
    assert tapped.recorded() == [(lib.TP_RECORD_DOWN, b"")]
    assert tapped.hot.run() == -errno.ENETDOWN


def test_hot_path_records_what_it_said_and_heard_in_order(tapped: TappedWorld) -> None:
    tapped.run(lambda: len(tapped.server.received) == 2, limit_ns=SECOND)
    assert tapped.server.received == [b"subscribe", b"to more"]
    tapped.server.protocol.send_text(b'{"code":0}')
    tapped.say(b"not a message of this venue")
    tapped.run(lambda: tapped.loop.counters.messages == 2, limit_ns=SECOND)
    assert tapped.recorded() == [
        (lib.TP_RECORD_OUT, b"subscribe"),
        (lib.TP_RECORD_OUT, b"to more"),
        (lib.TP_RECORD_UP, b""),
        (lib.TP_RECORD_IN, b'{"code":0}'),
        (lib.TP_RECORD_IN, b"not a message of this venue"),
    ]


def shown(world: HotWorld, kind: int) -> list[bytes]:
    """Return the messages that were shown to the cold thread."""
    return [note.text for note in world.notes if note.kind == kind]


def test_hot_path_shows_an_accepted_message_so_often(tapped: TappedWorld) -> None:
    venue = Venue()
    tapped.hot.sample(0.5)
    tapped.go_live(venue)
    first = len(shown(tapped, lib.TP_NOTE_SAMPLE))
    said = []
    for _ in range(20):  # in 2 s
        said.append(venue.step())
        tapped.say(said[-1])
        end_ns = tapped.now_ns + SECOND // 10
        tapped.run(lambda end_ns=end_ns: tapped.now_ns >= end_ns, limit_ns=SECOND)  # type: ignore[misc] # a loop's value
    samples = shown(tapped, lib.TP_NOTE_SAMPLE)
    assert first == 1
    assert 3 <= len(samples) - first <= 4
    assert set(samples[first:]) <= set(said)
    assert shown(tapped, lib.TP_NOTE_REFUSED) == []


def test_hot_path_shows_no_accepted_message_unless_asked(tapped: TappedWorld) -> None:
    tapped.go_live(Venue())
    assert shown(tapped, lib.TP_NOTE_SAMPLE) == []


def test_hot_path_shows_refused_messages_whole_and_not_all_of_a_flood(tapped: TappedWorld) -> None:
    venue = Venue()
    tapped.go_live(venue)
    good = venue.step()
    broken = good[:-1] + b"\xff"  # its last field does not end
    for _ in range(5):
        tapped.say(broken)
    before = tapped.loop.counters.messages
    tapped.run(lambda: tapped.loop.counters.messages > before, limit_ns=SECOND)
    tapped.run(lambda: bool(shown(tapped, lib.TP_NOTE_REFUSED)), limit_ns=SECOND)
    assert shown(tapped, lib.TP_NOTE_REFUSED) == [broken]


def test_hot_path_shows_what_nobody_asked_for(tapped: TappedWorld) -> None:
    tapped.run(lambda: tapped.phase == lib.TP_SESSION_OPEN, limit_ns=SECOND)
    tapped.say(b"not a message of this venue")
    tapped.run(lambda: bool(shown(tapped, lib.TP_NOTE_SAMPLE)), limit_ns=SECOND)
    assert shown(tapped, lib.TP_NOTE_SAMPLE) == [b"not a message of this venue"]


@pytest.fixture
def packed(tapped: TappedWorld) -> TappedWorld:
    """Have the venue's messages be gzip members."""
    tapped.hot.unpack([0], 1 << 16)
    return tapped


def test_hot_path_inflates_members_for_the_feed_the_tap_and_the_cold_side(
    packed: TappedWorld,
) -> None:
    venue = Venue()
    packed.hot.sample(0.0)
    packed.run(lambda: packed.phase == lib.TP_SESSION_OPEN, limit_ns=SECOND)
    first = venue.step()
    packed.say(gzip.compress(first))
    packed.run(lambda: bool(packed.rig.wanted()), limit_ns=SECOND)
    assert packed.rig.offer(venue.version, *venue.history[venue.version])
    packed.run(lambda: packed.rig.state() == (LIVE, NONE), limit_ns=SECOND)
    packed.recorded()
    said = [venue.step(), b'{"id":0,"code":0,"msg":"PONG"}']
    for one in said:
        packed.say(gzip.compress(one))
    packed.run(lambda: packed.loop.counters.text_messages > 0, limit_ns=SECOND)
    assert packed.recorded() == [(lib.TP_RECORD_IN, one) for one in said]
    assert packed.rig.levels() == venue.history[venue.version]
    assert set(shown(packed, lib.TP_NOTE_SAMPLE)) == {first, said[0]}
    assert shown(packed, lib.TP_NOTE_TEXT) == [said[1]]
    assert packed.loop.counters.not_inflated == 0


def test_hot_path_passes_on_what_is_no_member_and_counts_what_is_a_bad_one(
    packed: TappedWorld,
) -> None:
    packed.go_live(Venue())  # texts that are not packed
    packed.recorded()
    bad = gzip.compress(b'{"id":0,"code":0,"msg":"PONG"}')[:-1]
    packed.say(bad)
    packed.run(lambda: packed.loop.counters.not_inflated == 1, limit_ns=SECOND)
    assert packed.recorded() == [(lib.TP_RECORD_IN, bad)]
    assert packed.rig.state() == (LIVE, NONE)  # its next message shows whether it was its own


def test_hot_path_leaves_pings_of_the_connection_as_they_are(packed: TappedWorld) -> None:
    packed.run(lambda: packed.phase == lib.TP_SESSION_OPEN, limit_ns=SECOND)
    packed.server.protocol.send_ping(gzip.compress(b"x")[:-1])
    packed.server._collect()
    before = packed.loop.counters.messages
    packed.run(lambda: packed.loop.counters.messages > before, limit_ns=SECOND)
    assert packed.loop.counters.not_inflated == 0


@pytest.mark.parametrize("needs", [False, True])
def test_hot_path_record_of_an_open_connection_says_what_its_books_wait_for(
    tapped: TappedWorld, needs: bool
) -> None:
    tapped.hot.handle.needs_confirmation = needs  # a replay begins with the same demand
    tapped.run(lambda: len(tapped.server.received) == 2, limit_ns=SECOND)
    tapped.tap.drain()
    (up,) = (tag for tag, _, _ in tapped.tap.taken() if tag & 0xFF == lib.TP_RECORD_UP)
    assert up >> 8 & 0xFF == needs


def test_hot_path_pings_while_it_is_open_and_not_after(tapped: TappedWorld) -> None:
    end_ns = tapped.now_ns + 3 * SECOND + SECOND // 2
    tapped.run(lambda: tapped.now_ns > end_ns, limit_ns=4 * SECOND)
    assert tapped.server.received[2:] == [b"ping"] * 3
    tapped.server.protocol.send_close(1000)
    tapped.server._collect()
    tapped.run(lambda: tapped.retired, limit_ns=3 * SECOND)
    tapped.recorded()
    end_ns = tapped.now_ns + 3 * SECOND
    tapped.run(lambda: tapped.now_ns > end_ns, limit_ns=4 * SECOND)
    assert tapped.recorded() == []
    assert tapped.loop.counters.texts_unsent == 0


def test_hot_path_text_that_fits_in_part_ends_its_connection(
    certificate: Certificate, contexts: Callable[[Plan], Any], rig: Rig
) -> None:
    """The next text would be read as the rest of the one that was begun."""
    plan = Plan(seed=1, closer="nobody", buffer_size=1 << 17)
    world = HotWorld(plan, certificate, contexts(plan), rig)
    world.hot.speak(0, [b"x" * 200_000, b"next"], b"ping", 100.0)
    world.run(lambda: world.retired, limit_ns=5 * SECOND)
    assert world.loop.counters.texts_unsent == 2
    assert world.server.received == []
    text = ffi.new("char[160]")
    lib.tp_session_error_text(world.session, text, 160)
    assert b"no room for the rest of a message of ours" in ffi.string(text)


def test_hot_path_confirmed_instrument_is_recorded(tapped: TappedWorld) -> None:
    tapped.go_live(Venue())
    tapped.recorded()
    assert tapped.hot.confirm(0)
    for _ in range(3):
        tapped.turn()
    assert tapped.rig.state() == (LIVE, NONE)
    assert tapped.recorded() == [(lib.TP_RECORD_CONFIRMED, bytes(8))]


def test_hot_path_refused_instrument_is_stale_and_recorded(tapped: TappedWorld) -> None:
    tapped.go_live(Venue())
    tapped.recorded()
    assert tapped.hot.refuse(0)
    for _ in range(3):
        tapped.turn()
    assert tapped.rig.state() == (STALE, REFUSED)
    assert tapped.recorded() == [(lib.TP_RECORD_REFUSED, bytes(8))]
