"""The orders of a handshake's hand-over (netstack/tls/handover.h) on a weakly ordered machine.

Its state changes by exchanges that acquire and release, its pipes by acquire loads and release
stores. What one side wrote before it let go must be there for who read that it did. The logic is
the business of tests/proofs/handshake_handover.pml.
"""

from __future__ import annotations

import pytest

from tests.unit.test_shm_model import Operation, Read, Registers, Write, explore

OLD, NEW, DONE = 0, 1, 4


def taken_over(mutant: str) -> tuple[list[Operation], list[Operation]]:
    """DONE: the record layer and the last flight are the hot side's."""
    cold: list[Operation] = [
        Write("flight", NEW),
        Write("produced.head", NEW, release=mutant != "head without release"),
        Write("record", NEW),
        Write("state", DONE, release=mutant != "state without release"),
    ]
    hot: list[Operation] = [
        Read(0, "state", acquire=mutant != "state without acquire"),
        Read(1, "record"),
        Read(2, "produced.head", acquire=mutant != "head without acquire"),
        Read(3, "flight"),
    ]
    return cold, hot


def is_stale(got: Registers) -> bool:
    keys_missing = got[0] == DONE and got[1] != NEW
    flight_missing = got[0] == DONE and got[2] != NEW
    bytes_missing = got[2] == NEW and got[3] != NEW  # also before DONE: flights leave at once
    return keys_missing or flight_missing or bytes_missing


def memory(*names: str) -> dict[str, int]:
    return dict.fromkeys(names, OLD)


def test_take_over_finds_keys_and_the_last_flight() -> None:
    cold, hot = taken_over("")
    names = memory("flight", "produced.head", "record", "state")
    states, wrong = explore(cold, hot, names, is_stale)
    assert states > 20
    assert not wrong


@pytest.mark.parametrize(
    "mutant",
    [
        "head without release",
        "state without release",
        "state without acquire",
        "head without acquire",
    ],
)
def test_take_over_without_an_order_finds_something_old(mutant: str) -> None:
    cold, hot = taken_over(mutant)
    names = memory("flight", "produced.head", "record", "state")
    assert explore(cold, hot, names, is_stale)[1]


def reused(mutant: str) -> tuple[list[Operation], list[Operation]]:
    """A place of the pipe is written anew only after it was read: here by the other side's tail."""
    producer: list[Operation] = [
        Read(1, "tail", acquire=mutant != "tail without acquire"),
        Write("place", NEW),
    ]
    consumer: list[Operation] = [
        Read(0, "place"),
        Write("tail", NEW, release=mutant != "tail without release"),
    ]
    return producer, consumer


def is_overwritten(got: Registers) -> bool:
    """The producer saw the place free, and the consumer read what was written after that."""
    return got[1] == NEW and got[0] == NEW


@pytest.mark.parametrize("mutant", ["", "tail without acquire", "tail without release"])
def test_reuse_of_a_place_waits_for_its_reader(mutant: str) -> None:
    producer, consumer = reused(mutant)
    # explore makes a register for each read of its second program; the producer's is 1.
    consumer += [Read(2, "unused"), Read(2, "unused")]
    wrong = explore(producer, consumer, memory("place", "tail", "unused"), is_overwritten)[1]
    assert wrong == bool(mutant)
