"""Explore the slot of engine/feed/rescale.c between the hot and the cold thread.

One slot that is filled twice and taken twice, on a weakly ordered machine, in the way of
test_shm_model: who takes it never sees half of a number, nor a number that was overwritten.
"""

from __future__ import annotations

import pytest

from tests.unit.test_shm_model import Operation, Read, Registers, Write, explore

MUTANTS = (
    "no release of told",
    "no acquire of told",
    "no release of taken",
    "no acquire of taken",
    "no look whether it is free",
    "told before the number",
    "freed before the number was copied",
)
FIRST_TOLD, FIRST, TAKEN, SECOND_TOLD, SECOND = range(5)


def hot_program(mutant: str) -> list[Operation]:
    """As tell, twice; the slot is free at first. told and taken count up."""
    is_release, is_acquire = mutant != "no release of told", mutant != "no acquire of taken"
    first: list[Operation] = [Write("number", 1), Write("told", 1, release=is_release)]
    second: list[Operation] = [Write("number", 2), Write("told", 2, release=is_release)]
    if mutant == "told before the number":
        first.reverse()
        second.reverse()
    return [*first, Read(TAKEN, "taken", acquire=is_acquire), *second]


def cold_program(mutant: str) -> list[Operation]:
    """As tp_feed_misfit_take, twice."""
    is_release, is_acquire = mutant != "no release of taken", mutant != "no acquire of told"
    take: list[Operation] = [Read(FIRST, "number"), Write("taken", 1, release=is_release)]
    if mutant == "freed before the number was copied":
        take.reverse()
    return [
        Read(FIRST_TOLD, "told", acquire=is_acquire),
        *take,
        Read(SECOND_TOLD, "told", acquire=is_acquire),
        Read(SECOND, "number"),
    ]


def goes_wrong(mutant: str) -> tuple[int, bool]:
    def is_wrong(got: Registers) -> bool:
        # Each thread goes on only where its look allowed it: other runs are not of this program.
        may_fill = got[TAKEN] == 1 or mutant == "no look whether it is free"
        if not may_fill or got[FIRST_TOLD] == 0:
            return False
        return got[FIRST] != 1 or (got[SECOND_TOLD] == 2 and got[SECOND] != 2)

    memory = {"number": 0, "told": 0, "taken": 0}
    return explore(hot_program(mutant), cold_program(mutant), memory, is_wrong, to_both_ends=True)


def test_misfit_slot_never_gives_a_number_that_is_not_whole_or_was_overwritten() -> None:
    states, wrong = goes_wrong("none")
    assert states > 100  # the model did explore
    assert not wrong


@pytest.mark.parametrize("mutant", MUTANTS)
def test_misfit_slot_without_one_of_its_parts_does(mutant: str) -> None:
    assert goes_wrong(mutant)[1]
