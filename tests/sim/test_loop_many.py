"""A loop of as many connections as there may be: each is heard, and no life is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tickpath._core import ffi, lib

from tests.sim import virtual
from tests.sim.loop_world import BYTES, DOWN, OPENED, TURN_NS, Event, LoopWorld

if TYPE_CHECKING:
    from collections.abc import Iterator

MANY = int(lib.TP_LOOP_CONNECTION_MAX)
WINDOW = 1 << 16


@pytest.fixture
def memory() -> Any:
    config = ffi.new("struct tp_session_memory_config *")
    config.session_count, config.large_count, config.receive_window = MANY, 0, WINDOW
    config.usual_message_size = config.message_size_max = 1 << 12
    size = int(lib.tp_session_memory_size(config))
    room = ffi.new("uint8_t[]", size + 64)
    address = int(ffi.cast("uintptr_t", room))
    made = lib.tp_session_memory_init(room + -address % 64, config)
    return ffi.gc(made, lambda _: room)  # which outlives it


@pytest.fixture
def world(memory: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopWorld]:
    monkeypatch.setattr(virtual, "PORT_COUNT", MANY)
    made = LoopWorld(*[None] * MANY, certificate=None, context=ffi.NULL, memory=memory)  # type: ignore[arg-type] # without TLS
    yield made
    for session in made.sessions:
        ffi.release(session)  # while their buffers are there


def test_loop_of_all_connections_hears_each_and_loses_no_life(world: LoopWorld) -> None:
    answers: dict[int, bytes] = {}

    def react(event: Event) -> None:
        if event.kind == OPENED:
            world.send(event.connection, b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % event.connection)
        elif event.kind == BYTES:
            answers[event.connection] = answers.get(event.connection, b"") + event.payload

    world.react = react
    world.offer_all()
    for _ in range(4000):
        world.turn()
        if len(answers) == MANY:
            break
    assert {number: data.rsplit(b"/", 1)[1] for number, data in answers.items()} == {
        number: b"%d" % number for number in range(MANY)
    }

    # Nobody reads notes: what is said fills all that is not kept for openings and ends.
    text = ffi.new("uint8_t[]", b"x" * 100)
    span = ffi.new("struct tp_span *", {"data": text, "size": 100})
    texts = 0
    while world.loop.counters.inbox_full == 0:
        lib.tp_loop_note_text(world.loop, MANY - 1, span[0])
        texts += 1
    for number in range(MANY):
        assert world.command(lib.TP_COMMAND_DROP, number)
    for _ in range(400):
        if world.begin():
            world.events()
        world.now_ns += TURN_NS
        if world.count(DOWN) == MANY:
            break
    world.run(lambda: sum(kind == lib.TP_NOTE_ENDED for kind, _ in world.notes) == MANY)
    kinds = [kind for kind, _ in world.notes]
    assert kinds.count(lib.TP_NOTE_OPENED) == MANY
    assert kinds.count(lib.TP_NOTE_TEXT) == texts - 1
    assert {number for kind, number in world.notes if kind == lib.TP_NOTE_ENDED} == set(range(MANY))


def test_loop_for_few_connections_takes_no_more_memory_than_before() -> None:
    sizes = [int(lib.tp_loop_size(count)) for count in (1, 64, 65, MANY)]
    page = ffi.sizeof("struct tp_note")
    assert [size - sizes[0] for size in sizes] == [0, 0, 256 * page, 768 * page]
