"""Explore the hand-over between a loop's hot and cold thread on a weakly ordered machine.

The records: one slot, so that the second record overwrites the first, explored in the way of
test_shm_model. The wake-up: an eventfd, explored in the way of test_shm_wake_model; its system
calls are full barriers, and poll() compares and sleeps in one step.
"""

from __future__ import annotations

import pytest

from tests.unit.test_shm_model import Operation, Read, Registers, Write, explore
from tests.unit.test_shm_wake_model import END, Add, Block, Machine, Wait, Wake, then
from tests.unit.test_shm_wake_model import Read as Look
from tests.unit.test_shm_wake_model import Write as Store

RING_MUTANTS = (
    "no release of head",
    "no acquire of head",
    "no release of tail",
    "no acquire of tail",
    "no look at tail",
    "head before the record",
    "tail before the record was read",
)
FIRST_HEAD, FIRST, SECOND_HEAD, SECOND, TAIL = range(5)


def producer_program(mutant: str) -> list[Operation]:
    """As may_claim and commit of engine/loop/handover.c, twice; the first claim needs no look."""
    is_release, is_acquire = mutant != "no release of head", mutant != "no acquire of tail"
    look: list[Operation] = [Read(TAIL, "tail", acquire=is_acquire)]
    first: list[Operation] = [Write("record", 1), Write("head", 1, release=is_release)]
    second: list[Operation] = [Write("record", 2), Write("head", 2, release=is_release)]
    if mutant == "head before the record":
        first.reverse()
        second.reverse()
    return [*first, *look, *second]


def consumer_program(mutant: str) -> list[Operation]:
    """As is_any and release_oldest of engine/loop/handover.c, twice."""
    is_release, is_acquire = mutant != "no release of tail", mutant != "no acquire of head"
    take: list[Operation] = [Read(FIRST, "record"), Write("tail", 1, release=is_release)]
    if mutant == "tail before the record was read":
        take.reverse()
    return [
        Read(FIRST_HEAD, "head", acquire=is_acquire),
        *take,
        Read(SECOND_HEAD, "head", acquire=is_acquire),
        Read(SECOND, "record"),
    ]


def ring_goes_wrong(mutant: str) -> tuple[int, bool]:
    def is_wrong(got: Registers) -> bool:
        # Each thread goes on only where its look allowed it: other runs are not of this program.
        may_fill = got[TAIL] == 1 or mutant == "no look at tail"
        if not may_fill or got[FIRST_HEAD] == 0:
            return False
        return got[FIRST] != 1 or (got[SECOND_HEAD] == 2 and got[SECOND] != 2)

    memory = {"record": 0, "head": 0, "tail": 0}
    producer, consumer = producer_program(mutant), consumer_program(mutant)
    return explore(producer, consumer, memory, is_wrong, to_both_ends=True)


def test_handover_ring_never_gives_a_record_that_is_not_whole_or_was_overwritten() -> None:
    states, wrong = ring_goes_wrong("none")
    assert states > 100  # the model did explore
    assert not wrong


@pytest.mark.parametrize("mutant", RING_MUTANTS)
def test_handover_ring_without_one_of_its_parts_does(mutant: str) -> None:
    assert ring_goes_wrong(mutant)[1]


# Two notes and their wake-ups; the cold thread wants both.
WAKE_MUTANTS = (
    "no wake-up",
    "the second note wakes nobody",
    "wake-up before the note",
    "cleared after the look",
    "sleep without comparing",
)


def hot_thread(mutant: str) -> list[Block]:
    """As tp_handover_note_commit and tp_handover_wake: two ticks with a note each."""
    blocks: list[Block] = []
    for note in (1, 2):
        has_wake = mutant != "no wake-up" and (
            note == 1 or mutant != "the second note wakes nobody"
        )
        wake: Block = ([Add("event"), Wake("event")] if has_wake else [], then(2 * note))
        commit: Block = ([Store("head", note, release=True)], then(2 * note - 1))
        pair = [commit, wake]
        if mutant == "wake-up before the note":
            pair = [(wake[0], commit[1]), (commit[0], wake[1])]
        blocks += pair
    blocks[-1] = (blocks[-1][0], then(END))
    return blocks


def cold_thread(mutant: str) -> list[Block]:
    """As tp_handover_await and the notes taken after it."""
    sleep: Block = ([Wait("event", 0, is_compared=mutant != "sleep without comparing")], then(2))
    clear: Block = ([Store("event", 0)], then(0))

    def choose(registers: Registers) -> int:
        return END if registers[0] == 2 else 1

    look: Block = ([Look(0, "head", acquire=True)], choose)
    if mutant == "cleared after the look":

        def clear_then_sleep(registers: Registers) -> int:
            return END if registers[0] == 2 else 3

        return [look, sleep, ([Look(0, "head", acquire=True)], clear_then_sleep), clear_to(1)]
    return [look, sleep, clear]


def clear_to(block: int) -> Block:
    return ([Store("event", 0)], then(block))


def wakes_get_lost(mutant: str) -> tuple[int, bool]:
    machine = Machine([cold_thread(mutant), hot_thread(mutant)], {"head": 0, "event": 0})
    return machine.explore(lambda state: state.threads[0].block == END)


def test_handover_never_loses_a_wake_up() -> None:
    states, is_lost = wakes_get_lost("none")
    assert states > 50  # the model did explore
    assert not is_lost


@pytest.mark.parametrize("mutant", WAKE_MUTANTS)
def test_handover_without_one_of_its_parts_loses_one(mutant: str) -> None:
    assert wakes_get_lost(mutant)[1]
