"""Commands and notes between a loop's threads: order, limits, and how often the cold one is woken.

What several threads may see is the business of test_handover_model and of the stress test.
"""

from __future__ import annotations

import os
import time
from typing import Any

import pytest
from tickpath._core import ffi, lib

COMMANDS, NOTES = lib.TP_HANDOVER_COMMAND_COUNT, lib.TP_HANDOVER_NOTE_COUNT


@pytest.fixture
def loop() -> Any:
    return ffi.gc(lib.tp_loop_new(64), lib.tp_loop_free)


@pytest.fixture
def handover(loop: Any) -> Any:
    return ffi.addressof(loop, "handover")


def send(handover: Any, kind: int, argument: int = 0) -> bool:
    command = ffi.new("struct tp_command *", {"kind": kind, "argument": argument})
    return bool(lib.tp_handover_command(handover, command))


def take_command(handover: Any) -> tuple[int, int] | None:
    command = lib.tp_handover_command_peek(handover)
    if command == ffi.NULL:
        return None
    taken = int(command.kind), int(command.argument)
    lib.tp_handover_command_release(handover)
    return taken


def note(handover: Any, connection: int, kept: int = 0) -> bool:
    claimed = lib.tp_handover_note_claim(handover, kept)
    if claimed == ffi.NULL:
        return False
    claimed.kind, claimed.connection = lib.TP_NOTE_TEXT, connection
    lib.tp_handover_note_commit(handover)
    return True


def take_note(handover: Any) -> int | None:
    found = lib.tp_handover_note(handover)
    if found == ffi.NULL:
        return None
    connection = int(found.connection)
    lib.tp_handover_note_release(handover)
    return connection


def rung(handover: Any) -> int:
    """Return how often the cold thread was woken since the last look."""
    try:
        return os.eventfd_read(handover.wake_fd)
    except BlockingIOError:
        return 0


def test_handover_commands_come_in_order_around_the_ring(handover: Any) -> None:
    sent, taken = 0, 0
    for batch in (1, 100, 200, 255, 7):
        for _ in range(batch):
            assert send(handover, lib.TP_COMMAND_CALLER, sent)
            sent += 1
        for _ in range(batch):
            assert take_command(handover) == (lib.TP_COMMAND_CALLER, taken)
            taken += 1
    assert take_command(handover) is None


def test_handover_full_ring_refuses_all_but_one_stop(handover: Any) -> None:
    for i in range(COMMANDS - 1):
        assert send(handover, lib.TP_COMMAND_CALLER, i)
    assert not send(handover, lib.TP_COMMAND_CALLER)
    assert not send(handover, lib.TP_COMMAND_DROP)
    assert send(handover, lib.TP_COMMAND_STOP)
    assert not send(handover, lib.TP_COMMAND_STOP)
    for i in range(COMMANDS - 1):
        assert take_command(handover) == (lib.TP_COMMAND_CALLER, i)
    assert take_command(handover) == (lib.TP_COMMAND_STOP, 0)
    assert send(handover, lib.TP_COMMAND_CALLER)


def test_handover_notes_leave_what_is_kept(handover: Any) -> None:
    kept = 100
    count = 0
    while note(handover, count, kept):
        count += 1
    assert count == NOTES - kept
    while note(handover, count):
        count += 1
    assert count == NOTES
    assert [take_note(handover) for _ in range(NOTES)] == list(range(NOTES))
    assert take_note(handover) is None


def test_handover_wakes_once_for_all_that_was_noted_since(handover: Any) -> None:
    lib.tp_handover_wake(handover)
    assert rung(handover) == 0
    for i in range(5):
        note(handover, i)
    assert rung(handover) == 0
    for _ in range(3):
        lib.tp_handover_wake(handover)
    assert rung(handover) == 1
    note(handover, 5)
    lib.tp_handover_wake(handover)
    assert rung(handover) == 1


def test_handover_wakes_when_the_hot_thread_leaves_without_a_note(handover: Any) -> None:
    lib.tp_handover_leave(handover)
    begin = time.monotonic()
    lib.tp_handover_await(handover, 20_000_000_000)
    assert time.monotonic() - begin < 10


def test_handover_await_with_a_note_does_not_sleep(handover: Any) -> None:
    note(handover, 1)
    begin = time.monotonic()
    lib.tp_handover_await(handover, 20_000_000_000)
    assert time.monotonic() - begin < 10
    assert take_note(handover) == 1


def test_handover_await_without_a_note_sleeps_to_its_end(handover: Any) -> None:
    begin = time.monotonic()
    lib.tp_handover_await(handover, 30_000_000)
    assert time.monotonic() - begin >= 0.03
