"""Explore shm/lease.h on a weakly ordered machine: nobody is in memory that is taken away.

As in test_shm_wake_model.py, whose machine this borrows. membarrier(2) is what is added: at some
moment of the call every other thread of the process passes a full fence, so that none of its later
accesses was performed before an earlier one.
"""

from __future__ import annotations

import pytest

from tests.unit.test_shm_wake_model import (
    END,
    Block,
    Fence,
    Machine,
    Operation,
    Read,
    Registers,
    State,
    Write,
    then,
)

OPEN, CHANGING = 1, 2


class Membarrier(Fence):
    """The caller's fence, and, at the same moment, one in every other thread."""


class LeaseMachine(Machine):
    def _successors(self, state: State) -> list[State]:
        return [one for one in super()._successors(state) if self._is_fenced(state, one)]

    def _is_fenced(self, before: State, after: State) -> bool:
        """Refuse a membarrier while another thread has performed a later access too early."""
        for number, (old, new) in enumerate(zip(before.threads, after.threads, strict=True)):
            performed = new.done & ~old.done if old.block == new.block else 0
            if not performed:
                continue
            operation = self.programs[number][old.block][0][performed.bit_length() - 1]
            if isinstance(operation, Membarrier):
                others = (one.done for i, one in enumerate(before.threads) if i != number)
                return all(done & (done + 1) == 0 for done in others)
        return True


def user(mutant: str) -> list[Block]:
    """The favoured thread: tp_lease_enter, two looks at the memory, tp_lease_leave, once more."""

    def choose(registers: Registers) -> int:
        return 1 if registers[0] == OPEN else 2

    enter: list[Operation] = [
        Write("is_held", 1),
        Read(0, "state", acquire=True),
    ]
    if mutant == "look at the state first":
        enter.reverse()
    leave = Write("is_held", 0, release=mutant != "no release in leave")
    return [
        (enter, choose),
        ([Read(1, "memory"), leave], then(END)),
        ([Write("is_held", 0, release=True)], then(END)),
    ]


def taker(mutant: str) -> list[Block]:
    """lease_take and leases_await of shm/lease.c, then the memory goes."""
    fence: list[Operation] = [Membarrier()]
    if mutant == "no membarrier":
        fence = []
    elif mutant == "a fence of its own only":
        fence = [Fence()]
    look: list[Operation] = [Read(0, "is_held", acquire=True)]
    # The membarrier is a block of its own: a system call, a full barrier for the caller too.
    return [
        ([Write("state", CHANGING)], then(1)),
        (fence, then(2)),
        (look, lambda registers: 2 if registers[0] else 3),
        ([Write("memory", 0)], then(END)),
    ]


def is_used_after_its_end(mutant: str) -> tuple[int, bool]:
    memory = {"state": OPEN, "is_held": 0, "memory": 7}
    machine = LeaseMachine([user(mutant), taker(mutant)], memory)
    seen: list[bool] = []

    def look(state: State) -> bool:
        registers = state.threads[0].registers
        seen.append(registers[0] == OPEN and state.threads[0].block == END and registers[1] == 0)
        return state.threads[1].block == END

    states, is_stuck = machine.explore(look)
    assert not is_stuck  # the one who takes it away gets it
    return states, any(seen)


def test_lease_keeps_the_memory_of_who_holds_it() -> None:
    states, is_wrong = is_used_after_its_end("none")
    assert states > 30
    assert not is_wrong


@pytest.mark.parametrize(
    "mutant",
    [
        "no membarrier",
        "a fence of its own only",
        "look at the state first",
        "no release in leave",
    ],
)
def test_lease_without_one_of_its_parts_does_not(mutant: str) -> None:
    assert is_used_after_its_end(mutant)[1]
