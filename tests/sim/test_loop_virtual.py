"""The connection loop in virtual time: which events it returns, in which order, and what waits.

Its caller is the test: it may take one event and leave, send while it handles one, or ask no more.
"""

from __future__ import annotations

import errno
import os
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any

import pytest
from tickpath._core import ffi, lib

from tests.sim.loop_world import (
    BYTES,
    COMMAND,
    DOWN,
    MESSAGE,
    OPENED,
    TICK,
    TURN,
    TURN_NS,
    Event,
    LoopWorld,
)
from tests.sim.virtual import SECOND, Plan, certificate, contexts

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sim.virtual import Certificate

    MakeWorld = Callable[..., LoopWorld]

__all__ = ["certificate", "contexts"]  # fixtures

MESSAGES = [b"%d" % i for i in range(40)]


def quiet(seed: int = 1, **fields: Any) -> Plan:
    return Plan(seed=seed, closer="nobody", buffer_size=1 << 17, **fields)


@pytest.fixture
def make_world(certificate: Certificate, contexts: Callable[[Plan], Any]) -> MakeWorld:
    def make(*plans: Plan | None) -> LoopWorld:
        context = contexts(next((plan for plan in plans if plan is not None), quiet()))
        return LoopWorld(*plans, certificate=certificate, context=context)

    return make


def opened(world: LoopWorld) -> LoopWorld:
    world.offer_all()
    world.run(lambda: world.count(OPENED) == len(world.near))
    return world


def say(world: LoopWorld, number: int, *messages: bytes) -> None:
    """Have a server send messages, as many to a segment as fit."""
    server = world.servers[number]
    for message in messages:
        server.protocol.send_binary(message)
    server._collect()


def begin_with_burst(world: LoopWorld) -> None:
    """Begin a turn whose burst holds what the servers have just been told to say."""
    for server in world.servers:
        server.output(world.now_ns)
    assert world.begin()


@pytest.mark.parametrize("tls", ["TLSv1.3", ""])
def test_loop_tells_a_connection_from_its_opening_to_its_end(
    make_world: MakeWorld, tls: str
) -> None:
    plan = quiet(tls=tls, server_messages=MESSAGES, ping_every=15)
    plan.closer = "server"
    world = make_world(plan)
    world.offer_all()
    world.run(lambda: (lib.TP_NOTE_ENDED, 0) in world.notes)
    kinds = [event.kind for event in world.heard]
    assert kinds == [OPENED, *[MESSAGE] * (len(MESSAGES) + 3), DOWN]  # two pings, one close
    assert world.payloads(0) == MESSAGES
    assert [event.opcode for event in world.heard].count(lib.TP_WS_PING) == 2
    assert world.heard[-2].opcode == lib.TP_WS_CLOSE
    assert world.notes == [(lib.TP_NOTE_OPENED, 0), (lib.TP_NOTE_ENDED, 0)]
    assert world.loop.counters.messages == len(MESSAGES) + 3


def test_loop_turn_ends_with_one_turn_event_and_ticks_every_200_us(make_world: MakeWorld) -> None:
    world = opened(make_world(quiet()))
    ticked = []
    for _ in range(20):
        now_ns, events = world.now_ns, world.turn()
        assert [event.kind for event in events].count(TURN) == 1
        assert events[-1].kind == TURN
        if TICK in [event.kind for event in events]:
            assert events[-2].kind == TICK
            ticked.append(now_ns)
    assert {after - before for before, after in pairwise(ticked)} == {2 * TURN_NS}


def test_loop_message_comes_before_the_tick_of_its_turn(make_world: MakeWorld) -> None:
    world = opened(make_world(quiet()))
    seen = []
    for i in range(4):
        say(world, 0, b"%d" % i)
        begin_with_burst(world)
        seen.append([event.kind for event in world.events()])
        world.serve()
    assert sorted(seen) == sorted([[MESSAGE, TICK, TURN], [MESSAGE, TURN]] * 2)


def test_loop_left_in_the_middle_of_a_burst_acknowledges_nothing_of_it(
    make_world: MakeWorld,
) -> None:
    world = opened(make_world(quiet(1), quiet(2)))
    for number in (0, 1):
        say(world, number, *MESSAGES)
    begin_with_burst(world)
    taken, received_ns = 0, world.now_ns
    while (event := world.next()) is not None and event.kind == MESSAGE:
        taken += 1
        assert world.event_ns == received_ns, "one clock reading a burst"
        assert world.take_frames() == 0, f"output before message {taken} was handled"
        world.now_ns += TURN_NS  # the caller takes its time
    assert taken == 2 * len(MESSAGES)
    world.events()
    assert world.take_frames() > 0
    assert world.payloads(0) == world.payloads(1) == MESSAGES


def test_loop_whose_caller_stops_asking_loses_nothing_and_opens_no_window(
    make_world: MakeWorld,
) -> None:
    data = [bytes([i]) * 1000 for i in range(200)]  # three times the window
    world = opened(make_world(quiet(tls="")))
    server = world.servers[0]
    say(world, 0, *data)
    begin_with_burst(world)
    first = world.next()
    assert first is not None
    assert first.payload == data[0]
    left = []
    for _ in range(2 * SECOND // TURN_NS):  # meanwhile the server sends, again and again
        assert world.serve() == 0
        left.append(len(server.to_send))
    assert left[-1] == left[len(left) // 2] > 0, "the window holds the rest back"
    assert world.count(DOWN) == 0
    world.events()
    world.run(lambda: len(world.payloads(0)) == len(data))
    assert world.payloads(0) == data
    assert world.count(DOWN) == 0


def test_loop_message_sent_while_an_event_is_handled_leaves_with_the_turn(
    make_world: MakeWorld,
) -> None:
    world = make_world(quiet(1), quiet(2))
    world.react = lambda event: (
        None
        if event.kind != OPENED
        else check(world.send(event.connection, b"hello", lib.TP_WS_TEXT))
    )
    opened(world)
    world.turn()
    assert [server.received for server in world.servers] == [[b"hello"]] * 2
    # The turn's last event is an occasion too: what came over 0 is answered over 1.
    world.react = lambda event: (
        None if event.kind != TURN else check(world.send(1, b"order", lib.TP_WS_TEXT))
    )
    say(world, 0, b"price")
    begin_with_burst(world)
    kicks = world.near[0].link.counters.tx_kicks
    world.events()
    assert world.near[0].link.counters.tx_kicks == kicks + 1
    world.take_frames()
    assert world.servers[1].received[-1] == b"order"


def check(status: int) -> None:
    assert status == lib.TP_OK


def test_loop_sends_nothing_over_a_connection_that_is_not_open(make_world: MakeWorld) -> None:
    world = make_world(quiet(), None)
    assert world.begin()
    assert world.send(0, b"early", lib.TP_WS_TEXT) == lib.TP_CLOSED
    assert world.send(1, b"early") == lib.TP_CLOSED


def test_loop_drop_lets_the_burst_be_taken_first(make_world: MakeWorld) -> None:
    world = opened(make_world(quiet()))
    server = world.servers[0]
    say(world, 0, *MESSAGES)
    world.command(lib.TP_COMMAND_DROP, 0)
    begin_with_burst(world)
    world.heard.clear()
    world.events()
    world.serve()
    world.run(lambda: (lib.TP_NOTE_ENDED, 0) in world.notes)
    assert [event.kind for event in world.heard] == [*[MESSAGE] * len(MESSAGES), DOWN]
    assert server.is_reset


def test_loop_drop_of_a_connection_that_is_gone_does_nothing(make_world: MakeWorld) -> None:
    world = opened(make_world(quiet(1), quiet(2)))
    for _ in range(3):
        assert world.command(lib.TP_COMMAND_DROP, 0)
    world.run(lambda: (lib.TP_NOTE_ENDED, 0) in world.notes)
    assert world.command(lib.TP_COMMAND_DROP, 0)
    for _ in range(20):
        world.turn()
    assert [event for event in world.heard if event.kind == DOWN] == [Event(DOWN, 0)]


def test_loop_takes_so_many_commands_a_tick_and_all_in_order(make_world: MakeWorld) -> None:
    world = opened(make_world(quiet()))
    limit = lib.TP_LOOP_COMMANDS_PER_TICK
    sent = list(range(2 * limit + 3))
    for argument in sent:
        assert world.command(lib.TP_COMMAND_CALLER, argument=argument)
    by_tick = []
    for _ in range(12):
        events = world.turn()
        if any(event.kind == TICK for event in events):
            by_tick.append([event.argument for event in events if event.kind == COMMAND])
    assert [len(one) for one in by_tick[:4]] == [limit, limit, 3, 0]
    assert list(chain(*by_tick)) == sent


def test_loop_adopts_several_offers_in_one_tick(make_world: MakeWorld) -> None:
    world = make_world(quiet(1), quiet(2), quiet(3))
    world.offer_all()
    world.turn()
    assert [lib.tp_tcp_state(near.tcp) for near in world.near] == [lib.TP_TCP_SYN_SENT] * 3
    world.run(lambda: world.count(OPENED) == 3)
    assert sorted(world.notes) == [(lib.TP_NOTE_OPENED, number) for number in range(3)]


def test_loop_tells_of_several_that_end_at_once_one_by_one(make_world: MakeWorld) -> None:
    world = make_world(quiet(1), quiet(2), quiet(3))
    world.offer_all(silent_drop_ns=SECOND)
    world.run(lambda: world.count(OPENED) == 3)
    world.heard.clear()
    say(world, 1, b"alive until then")
    end_ns = world.now_ns + SECOND // 2
    world.run(lambda: world.now_ns > end_ns)
    for server in world.servers:  # all were heard at the same time from here on
        server.protocol.send_binary(b"last")
        server._collect()
    said_ns = world.now_ns
    world.run(lambda: world.count(DOWN) > 0, limit_ns=3 * SECOND)
    assert SECOND < world.now_ns - said_ns < SECOND + SECOND // 100
    assert [event for event in world.heard if event.kind == DOWN] == [
        Event(DOWN, number) for number in range(3)
    ]
    world.run(lambda: len(world.notes) == 6)
    assert [kind for kind, _ in world.notes[3:]] == [lib.TP_NOTE_ENDED] * 3
    assert sorted(number for _, number in world.notes[3:]) == [0, 1, 2]
    reasons = ffi.new("char[256]")
    lib.tp_session_error_text(world.sessions[0], reasons, 256)
    assert ffi.string(reasons) == b"timeout: silent for too long"


def test_loop_handshake_that_fails_is_no_down_but_an_ended_note(make_world: MakeWorld) -> None:
    world = make_world(quiet())
    world.servers[0].segment = lambda _segment, _now_ns: None  # nobody listens
    world.offer_all()
    world.run(lambda: (lib.TP_NOTE_ENDED, 0) in world.notes, limit_ns=30 * SECOND)
    assert world.heard == []
    assert world.notes == [(lib.TP_NOTE_ENDED, 0)]
    counters = world.loop.counters
    assert (counters.connects, counters.disconnects, counters.connect_failures) == (0, 0, 1)


def test_loop_connection_may_be_offered_anew_after_its_end(make_world: MakeWorld) -> None:
    world = opened(make_world(quiet(1), quiet(2)))
    world.command(lib.TP_COMMAND_DROP, 0)
    world.run(lambda: (lib.TP_NOTE_ENDED, 0) in world.notes)
    world.heard.clear()
    world.renew(0, quiet(3, server_messages=[b"again"]))
    world.offer(0)
    world.run(lambda: world.payloads(0) == [b"again"])
    assert world.heard[0] == Event(OPENED, 0)
    assert world.count(DOWN) == 0


def test_loop_message_keeps_a_connection_from_being_silent(make_world: MakeWorld) -> None:
    world = make_world(quiet(1), quiet(2))
    world.offer_all(silent_drop_ns=SECOND)
    world.run(lambda: world.count(OPENED) == 2)
    for i in range(6):
        say(world, 0, b"%d" % i)
        end_ns = world.now_ns + SECOND // 2
        while world.now_ns < end_ns:
            world.turn()
    assert [event for event in world.heard if event.kind == DOWN] == [Event(DOWN, 1)]


def test_loop_acknowledges_a_burst_in_its_own_turn(make_world: MakeWorld) -> None:
    world = opened(make_world(quiet()))
    kinds = set()
    for _ in range(4):  # with a tick and without one
        say(world, 0, b"x" * 4000)  # three segments: no delayed acknowledgement
        begin_with_burst(world)
        kinds.add(TICK in [event.kind for event in world.events()])
        assert world.take_frames() > 0
        world.serve()
    assert kinds == {True, False}


def test_loop_kicks_only_where_something_leaves(make_world: MakeWorld) -> None:
    world = opened(make_world(quiet()))
    for _ in range(20):  # what opening left to say
        world.turn()
    counters = world.near[0].link.counters
    kicks, frames = counters.tx_kicks, counters.tx_frames
    for _ in range(50):
        world.turn()
    assert (counters.tx_kicks, counters.tx_frames) == (kicks, frames)


def test_loop_port_of_a_connection_that_ended_is_free_again(make_world: MakeWorld) -> None:
    world = opened(make_world(quiet()))
    near = world.near[0]
    assert lib.tp_netif_bind(near.netif, near.config, near.tcp, ffi.NULL) == ffi.NULL
    world.command(lib.TP_COMMAND_DROP, 0)
    world.run(lambda: (lib.TP_NOTE_ENDED, 0) in world.notes)
    assert lib.tp_netif_bind(near.netif, near.config, near.tcp, ffi.NULL) != ffi.NULL


def test_loop_lets_a_peer_that_takes_nothing_hold_an_ended_connection_for_a_second(
    make_world: MakeWorld,
) -> None:
    world = opened(make_world(quiet()))
    world.servers[0].protocol.send_close(1000, "done")
    world.servers[0]._collect()
    world.servers[0].segment = lambda _segment, _now_ns: None  # it takes nothing from here on
    world.run(lambda: world.count(DOWN) == 1)
    down_ns = world.now_ns
    world.run(lambda: (lib.TP_NOTE_ENDED, 0) in world.notes, limit_ns=30 * SECOND)
    assert SECOND <= world.now_ns - down_ns < SECOND + SECOND // 100


def test_loop_stop_takes_every_open_connection_down_and_says_goodbye(
    make_world: MakeWorld,
) -> None:
    world = opened(make_world(quiet(1), quiet(2)))
    world.heard.clear()
    lib.tp_loop_stop(world.loop)
    for _ in range(3):
        world.turn()
    assert world.heard == [Event(DOWN, 0), Event(DOWN, 1)]
    assert [server.close_code for server in world.servers] == [1001, 1001]
    assert not world.begin()
    assert world.loop.error == 0
    assert os.eventfd_read(world.handover.wake_fd) > 0  # the cold thread hears of it


def test_loop_stop_leaves_what_was_commanded_behind_it(make_world: MakeWorld) -> None:
    world = opened(make_world(quiet()))
    world.command(lib.TP_COMMAND_CALLER, argument=1)
    lib.tp_loop_stop(world.loop)
    world.command(lib.TP_COMMAND_CALLER, argument=2)
    for _ in range(5):
        world.turn()
    assert [event.argument for event in world.heard if event.kind == COMMAND] == [1]


def test_loop_whose_link_is_gone_takes_all_down_and_stops(make_world: MakeWorld) -> None:
    world = opened(make_world(quiet(1), quiet(2)))
    world.near[0].link.error = -errno.ENETDOWN
    kicks = world.near[0].link.counters.tx_kicks
    for _ in range(3):
        world.turn()
    assert world.count(DOWN) == 2
    assert world.near[0].link.counters.tx_kicks == kicks  # a link that is gone is let alone
    assert not world.begin()
    assert world.loop.error == -errno.ENETDOWN


def test_loop_rides_http_beside_websocket(make_world: MakeWorld) -> None:
    world = make_world(quiet(1), None)
    answers: list[bytes] = []

    def react(event: Event) -> None:
        if (event.kind, event.connection) == (OPENED, 1):
            check(world.send(1, b"GET /first HTTP/1.1\r\nHost: x\r\n\r\n"))
        elif event.kind == BYTES:
            answers.append(event.payload)
            if b"".join(answers).endswith(b"/first"):
                check(world.send(1, b"GET /second HTTP/1.1\r\nHost: x\r\n\r\n"))

    world.react = react
    world.offer_all()
    world.run(lambda: world.count(OPENED) == 2)
    for message in MESSAGES:
        say(world, 0, message)
        world.turn()
    world.run(lambda: len(world.payloads(0)) == len(MESSAGES))
    assert world.payloads(0) == MESSAGES
    assert world.servers[1].paths == ["/first", "/second"]
    whole = b"".join(world.payloads(1, BYTES))
    assert whole.count(b"HTTP/1.1 200 OK") == 2
    assert whole.endswith(b"\r\n\r\n/second")
    assert world.count(DOWN) == 0
    assert world.command(lib.TP_COMMAND_DROP, 1)
    world.run(lambda: (lib.TP_NOTE_ENDED, 1) in world.notes)
    assert [event for event in world.heard if event.kind == DOWN] == [Event(DOWN, 1)]


def test_loop_http_peer_that_closes_is_down_after_its_last_bytes(make_world: MakeWorld) -> None:
    world = opened(make_world(None))
    server = world.servers[0]
    server.to_send = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"
    server.peer_ended = True  # so that it closes
    world.heard.clear()
    world.run(lambda: world.count(DOWN) == 1)
    assert [event.kind for event in world.heard] == [BYTES, DOWN]
    world.run(lambda: (lib.TP_NOTE_ENDED, 0) in world.notes)
    assert lib.tp_session_error(world.sessions[0]) == lib.TP_SESSION_ERROR_NONE


def test_loop_text_notes_leave_room_for_what_must_not_get_lost(make_world: MakeWorld) -> None:
    world = opened(make_world(quiet()))
    world.take_notes()
    text = ffi.new("uint8_t[]", b"x" * 5000)
    span = ffi.new("struct tp_span *", {"data": text, "size": 5000})
    while world.loop.counters.inbox_full == 0:
        lib.tp_loop_note_text(world.loop, 0, span[0])
    world.command(lib.TP_COMMAND_DROP, 0)
    for _ in range(20):
        if world.begin():
            world.events()
        world.now_ns += TURN_NS
    note = lib.tp_handover_note(world.handover)
    assert (note.size, len(note.text)) == (5000, lib.TP_HANDOVER_TEXT_MAX)
    world.take_notes()
    texts = [kind for kind, _ in world.notes if kind == lib.TP_NOTE_TEXT]
    assert len(texts) == lib.TP_HANDOVER_NOTE_COUNT - 2 * world.loop.connection_max
    assert world.notes[-1] == (lib.TP_NOTE_ENDED, 0)


def test_loop_shows_messages_only_while_half_of_the_notes_are_free(make_world: MakeWorld) -> None:
    world = opened(make_world(quiet()))
    world.take_notes()
    world.notes.clear()
    text = ffi.new("uint8_t[]", b"x" * 5000)
    span = ffi.new("struct tp_span *", {"data": text, "size": 5000})
    for _ in range(lib.TP_HANDOVER_NOTE_COUNT):
        lib.tp_loop_show(world.loop, lib.TP_NOTE_REFUSED, 0, span[0])
    world.take_notes()
    room = lib.TP_HANDOVER_NOTE_COUNT - 2 * world.loop.connection_max
    assert world.notes == [(lib.TP_NOTE_REFUSED, 0)] * (room // 2)
    assert world.loop.counters.inbox_full == 0


def test_loop_measures_its_longest_turn_since_it_was_asked(make_world: MakeWorld) -> None:
    world = make_world(quiet())
    loop = world.loop
    clock = ffi.new("struct tp_clock *", {"tsc_base": 2**64 - 1, "ns_base": SECOND})
    loop.clock = clock

    def turn(took_ns: int) -> None:
        assert lib.tp_loop_again(loop)
        world.events()
        clock.ns_base += took_ns

    for took_ns in (50_000, 900_000, 100_000):
        turn(took_ns)
    turn(0)
    assert lib.tp_loop_longest_turn_ns(loop) == 900_000
    turn(300_000)
    turn(0)
    assert lib.tp_loop_longest_turn_ns(loop) == 300_000
    assert lib.tp_loop_longest_turn_ns(loop) == 0
    assert loop.counters.turn_ns_max == 900_000
    assert loop.counters.long_turns == 2


def test_loop_that_may_not_spin_sleeps_and_does_not_count_it_as_a_turn(
    make_world: MakeWorld,
) -> None:
    world = make_world(quiet())
    loop = world.loop
    clock = ffi.new("struct tp_clock *")  # the kernel's
    loop.clock, loop.idle_spin_ns, loop.idle_sleep_ns = clock, 0, 20_000_000
    loop.yield_every_ns = loop.yield_for_ns = 1
    for _ in range(4):
        assert lib.tp_loop_again(loop)
        world.events()
    assert loop.counters.yields == 4
    assert loop.counters.turn_ns_max < 20_000_000
