"""Explore the message ring's protocol on a weakly ordered machine, in the way of test_shm_model.

A ring of two slots and messages of two slots each: every message overwrites the whole one before,
so that a reader may meet any mixture of two. Also: a reader that lost its place goes on at head,
which must be where a message begins.
"""

from __future__ import annotations

import pytest

from tests.unit.test_shm_model import Fence, Operation, Read, Registers, Write, explore

MESSAGES = 2
MUTANTS = (
    "no odd mark",
    "no writer fence",
    "no release",
    "no acquire",
    "no reader fence",
    "no re-check",
)


def whole(message: int, slot: int) -> int:
    return 2 * (2 * message + slot) + 2


def writer_program(mutant: str = "none") -> list[Operation]:
    writer: list[Operation] = []
    for message in range(MESSAGES):
        for slot in range(2):
            if mutant != "no odd mark":
                writer.append(Write(f"seq{slot}", whole(message, slot) - 1))
            if mutant != "no writer fence":
                writer.append(Fence("release"))
            writer.append(Write(f"part{slot}", 10 + message))
            done = Write(f"seq{slot}", whole(message, slot), release=mutant != "no release")
            writer.append(done)
            if mutant == "head in every slot":
                writer.append(Write("head", 2 * message + slot + 1, release=True))
        if mutant != "head in every slot":
            writer.append(Write("head", 2 * message + 2, release=True))
    return writer


def reader_program(mutant: str) -> list[Operation]:
    reader: list[Operation] = []
    for slot in range(2):
        base = 3 * slot
        reader.append(Read(base, f"seq{slot}", acquire=mutant != "no acquire"))
        reader.append(Read(base + 1, f"part{slot}"))
        if mutant != "no reader fence":
            reader.append(Fence("acquire"))
        reader.append(Read(base + 2, f"seq{slot}"))
    return reader


MEMORY = {"seq0": 0, "seq1": 0, "part0": 0, "part1": 0, "head": 0}


def can_tear(mutant: str) -> tuple[int, bool]:
    states, torn = 0, False
    for message in range(MESSAGES):

        def is_wrong(got: Registers, message: int = message) -> bool:
            for slot in range(2):
                before, _, after = got[3 * slot : 3 * slot + 3]
                fits = before == whole(message, slot)
                if not fits or (mutant != "no re-check" and after != whole(message, slot)):
                    return False
            return (got[1], got[4]) != (10 + message, 10 + message)

        visited, wrong = explore(writer_program(mutant), reader_program(mutant), MEMORY, is_wrong)
        states, torn = states + visited, torn or wrong
    return states, torn


def test_message_ring_protocol_never_delivers_a_torn_message() -> None:
    states, torn = can_tear("none")
    assert states > 1000  # the model did explore
    assert not torn


@pytest.mark.parametrize("mutant", MUTANTS)
def test_message_ring_protocol_without_one_of_its_parts_tears(mutant: str) -> None:
    assert can_tear(mutant)[1]


@pytest.mark.parametrize("mutant", ["none", "head in every slot"])
def test_message_ring_head_is_a_boundary_only_if_it_moves_behind_the_run(mutant: str) -> None:
    # Where a lapped reader goes on: an even index is the first slot of a message.
    reader: list[Operation] = [Read(0, "head", acquire=True)]
    _, astray = explore(writer_program(mutant), reader, MEMORY, lambda got: got[0] % 2 != 0)
    assert astray is (mutant != "none")


def test_message_ring_at_head_finds_the_message_before_it_whole() -> None:
    reader: list[Operation] = [Read(0, "head", acquire=True), Read(1, "seq1")]
    _, misses = explore(
        writer_program(), reader, MEMORY, lambda got: got[0] > 0 and got[1] < 2 * got[0]
    )
    assert not misses
