"""Explore the sleep and wake protocol, the interrupt and the gate on a weakly ordered machine.

As in test_shm_model.py every interleaving is visited and accesses are performed in any order that
C11 (as Armv8 implements it) leaves open. Here threads loop and sleep, so each is a few blocks:
inside a block operations are performed out of order, a block begins when the one before is done.
futex(2) compares and sleeps in one step; its calls are full barriers (kernel/futex/waitwake.c). No
sleep has a timeout here: a wake-up is lost where a state can be reached from which, whatever the
threads do, the sleeper never gets its event.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

Registers = tuple[int, ...]
END = -1


class Write(NamedTuple):
    location: str
    value: int
    release: bool = False


class Read(NamedTuple):
    register: int
    location: str
    acquire: bool = False


class Add(NamedTuple):
    """A read-modify-write that adds 1."""

    location: str
    release: bool = False


class Clear(NamedTuple):
    """Compare-and-swap 1 to 0; the register tells whether it did."""

    register: int
    location: str


class Fence(NamedTuple):
    """A sequentially consistent fence."""


class Wait(NamedTuple):
    """FUTEX_WAIT: sleep if the location still has the value (of a register, where >= 100)."""

    location: str
    expected: int
    is_compared: bool = True


class Wake(NamedTuple):
    """FUTEX_WAKE of one; only where the register, if it is not -1, is not 0."""

    location: str
    register: int = -1


REGISTER = 100
Operation = Write | Read | Add | Clear | Fence | Wait | Wake
Block = tuple[list[Operation], Callable[[Registers], int]]


def ordered(program: list[Operation], first: int, second: int) -> bool:
    """Tell whether operation `first` must be performed before the later `second`."""
    a, b = program[first], program[second]
    if any(isinstance(one, Fence | Wait | Wake | Clear) for one in (a, b)):
        return True
    if any(isinstance(one, Fence) for one in program[first:second]):
        return True
    assert not isinstance(a, Fence | Wait | Wake | Clear)
    assert not isinstance(b, Fence | Wait | Wake | Clear)
    return (
        a.location == b.location
        or (isinstance(a, Read) and a.acquire)
        or (isinstance(b, Write | Add) and b.release)
    )


class Thread(NamedTuple):
    block: int
    done: int
    registers: Registers
    sleeps_on: str


class State(NamedTuple):
    threads: tuple[Thread, ...]
    memory: tuple[int, ...]


class Machine:
    """Blocks of every thread and the memory they share."""

    def __init__(self, programs: list[list[Block]], memory: dict[str, int]) -> None:
        self.programs = programs
        self.place = {name: i for i, name in enumerate(sorted(memory))}
        self.start = State(
            tuple(Thread(0, 0, (0,) * 4, "") for _ in programs),
            tuple(memory[name] for name in sorted(memory)),
        )

    def explore(self, is_well: Callable[[State], bool]) -> tuple[int, bool]:
        """Return how many states there are, and whether one is beyond hope of a good one."""
        after: dict[State, list[State]] = {}
        todo = [self.start]
        while todo:
            state = todo.pop()
            if state not in after:
                after[state] = self._successors(state)
                todo += after[state]
        before: dict[State, list[State]] = {}
        for state, nexts in after.items():
            for one in nexts:
                before.setdefault(one, []).append(state)
        hopeful = {state for state in after if is_well(state)}
        todo = list(hopeful)
        while todo:
            for state in before.get(todo.pop(), []):
                if state not in hopeful:
                    hopeful.add(state)
                    todo.append(state)
        return len(after), len(hopeful) < len(after)

    def _successors(self, state: State) -> list[State]:
        found = []
        for number, thread in enumerate(state.threads):
            if thread.block == END or thread.sleeps_on:
                continue
            program, choose = self.programs[number][thread.block]
            if thread.done == (1 << len(program)) - 1:
                moved = thread._replace(block=choose(thread.registers), done=0)
                found.append(with_thread(state, number, moved))
                continue
            for i in range(len(program)):
                needed = sum(1 << j for j in range(i) if ordered(program, j, i))
                if not thread.done >> i & 1 and thread.done & needed == needed:
                    found.append(self._perform(state, number, i))
        return found

    def _perform(self, state: State, number: int, i: int) -> State:
        thread = state.threads[number]
        operation = self.programs[number][thread.block][0][i]
        thread = thread._replace(done=thread.done | 1 << i)
        if isinstance(operation, Fence):
            return with_thread(state, number, thread)
        place = self.place[operation.location]
        value = state.memory[place]
        memory = list(state.memory)
        match operation:
            case Write():
                memory[place] = operation.value
            case Add():
                memory[place] = min(value + 1, 3)  # bounded: more rings than that change nothing
            case Read():
                thread = with_register(thread, operation.register, value)
            case Clear():
                thread = with_register(thread, operation.register, int(value == 1))
                memory[place] = 0 if value == 1 else value
            case Wait():
                expected = operation.expected
                if expected >= REGISTER:
                    expected = thread.registers[expected - REGISTER]
                if value == expected or not operation.is_compared:
                    thread = thread._replace(sleeps_on=operation.location)
            case Wake():
                if operation.register < 0 or thread.registers[operation.register]:
                    state = woken(state, operation.location)
        return with_thread(state._replace(memory=tuple(memory)), number, thread)


def with_thread(state: State, number: int, thread: Thread) -> State:
    threads = (*state.threads[:number], thread, *state.threads[number + 1 :])
    return state._replace(threads=threads)


def with_register(thread: Thread, register: int, value: int) -> Thread:
    registers = (*thread.registers[:register], value, *thread.registers[register + 1 :])
    return thread._replace(registers=registers)


def woken(state: State, location: str) -> State:
    return state._replace(
        threads=tuple(
            one._replace(sleeps_on="") if one.sleeps_on == location else one
            for one in state.threads
        )
    )


def then(block: int) -> Callable[[Registers], int]:
    return lambda _: block


# shm/segment_reader.c (rest), shm/control_segment.c and shm/waker.c; the writer is the ring's.
WAKE_MUTANTS = (
    "no doorbell",
    "doorbell without a wake",
    "wake without moving the doorbell",
    "no release on the doorbell",
    "doorbell before the announcement",
    "no acquire of the doorbell",
    "doorbell read after the slots",
    "sleep without comparing",
    "waker sleeps without comparing",
    "wake before the announcement is withdrawn",
    "no announcement",
)


def sleeper(mutant: str) -> list[Block]:
    announce: list[Operation] = [Write("wants_wake", 1, release=True)]
    bell: list[Operation] = [
        Add("doorbell", release=mutant != "no release on the doorbell"),
        Wake("doorbell"),
    ]
    if mutant == "no doorbell":
        bell = []
    elif mutant == "doorbell without a wake":
        bell = bell[:1]
    elif mutant == "wake without moving the doorbell":
        bell = bell[1:]
    if mutant == "no announcement":
        announce = [Write("wants_wake", 0)]
    wait = Wait("wants_wake", 0 if mutant == "no announcement" else 1)
    if mutant == "sleep without comparing":
        wait = wait._replace(is_compared=False)
    first = bell + announce if mutant == "doorbell before the announcement" else announce + bell
    look: list[Operation] = [Read(0, "sequence", acquire=True)]
    return [
        (look, lambda registers: END if registers[0] else 1),
        ([*first, Fence(), *look], lambda registers: 3 if registers[0] else 2),
        ([wait], then(3)),
        ([Write("wants_wake", 0)], then(0)),
    ]


def waker(mutant: str) -> list[Block]:
    bell: list[Operation] = [
        Read(0, "doorbell", acquire=mutant != "no acquire of the doorbell"),
    ]
    slots: list[Operation] = [Read(1, "wants_wake", acquire=True), Read(2, "head", acquire=True)]
    wake: list[Operation] = [Clear(3, "wants_wake"), Wake("wants_wake", 3)]
    if mutant == "wake before the announcement is withdrawn":
        wake = [Wake("wants_wake"), Clear(3, "wants_wake")]
    wait = Wait("doorbell", REGISTER + 0, is_compared=mutant != "waker sleeps without comparing")

    def choose(registers: Registers) -> int:
        _, wants, head, _ = registers
        if not wants:
            return 2
        return 1 if head else 0

    look = slots + bell if mutant == "doorbell read after the slots" else bell + slots
    return [(look, choose), (wake, then(0)), ([wait], then(0))]


def wakes_get_lost(mutant: str) -> tuple[int, bool]:
    writer: list[Block] = [
        ([Write("sequence", 1, release=True), Write("head", 1, release=True)], then(END))
    ]
    memory = {"sequence": 0, "head": 0, "wants_wake": 0, "doorbell": 0}
    machine = Machine([sleeper(mutant), waker(mutant), writer], memory)
    return machine.explore(lambda state: state.threads[0].block == END)


def test_wake_protocol_never_loses_a_wake_up() -> None:
    states, is_lost = wakes_get_lost("none")
    assert states > 300  # the model did explore
    assert not is_lost


@pytest.mark.parametrize("mutant", WAKE_MUTANTS)
def test_wake_protocol_without_one_of_its_parts_loses_one(mutant: str) -> None:
    assert wakes_get_lost(mutant)[1]


# tp_reader_interrupt against rest of shm/segment_reader.c, with no waker and no event to come.
def interrupts_get_lost(mutant: str) -> tuple[int, bool]:
    def fence(side: str) -> list[Operation]:
        return [] if mutant == f"no {side} fence" else [Fence()]

    announce: list[Operation] = [Write("wants_wake", 1, release=True), *fence("sleeper")]
    reader: list[Block] = [
        ([*announce, Read(0, "stop")], lambda registers: END if registers[0] else 1),
        ([Wait("wants_wake", 1)], then(0)),
    ]
    wake: list[Operation] = [Read(0, "wants_wake")]
    stop: list[Block] = [
        (
            [Write("stop", 1), *fence("interrupter"), *wake],
            lambda registers: 1 if registers[0] else END,
        ),
        ([Clear(1, "wants_wake"), Wake("wants_wake", 1)], then(END)),
    ]
    machine = Machine([reader, stop], {"wants_wake": 0, "stop": 0})
    return machine.explore(lambda state: state.threads[0].block == END)


def test_interrupt_is_never_lost() -> None:
    assert not interrupts_get_lost("none")[1]


@pytest.mark.parametrize("mutant", ["no sleeper fence", "no interrupter fence"])
def test_interrupt_without_a_fence_is_lost(mutant: str) -> None:
    assert interrupts_get_lost(mutant)[1]


# The gate: the reader copies, then moves its cursor; the writer reads the cursor, then overwrites.
def lossless_event_is_overwritten(*, is_release: bool) -> bool:
    reader: list[Block] = [
        ([Read(0, "payload"), Write("cursor", 1, release=is_release)], then(END)),
    ]
    writer: list[Block] = [
        ([Read(0, "cursor", acquire=True)], lambda registers: 1 if registers[0] else 0),
        ([Write("payload", 2)], then(END)),
    ]
    machine = Machine([reader, writer], {"payload": 1, "cursor": 0})

    seen: list[bool] = []

    def look(state: State) -> bool:
        seen.append(state.threads[0].block == END and state.threads[0].registers[0] == 2)
        return False

    states, _ = machine.explore(look)
    assert states > 5
    return any(seen)


@pytest.mark.parametrize("is_release", [True, False])
def test_gate_lets_the_writer_overwrite_too_early_only_without_release(is_release: bool) -> None:
    assert lossless_event_is_overwritten(is_release=is_release) is not is_release


# The gate evicts, then overwrites: shm/ring_gate.c (evict), shm/segment_reader.c (resume).
def eviction_is_missed(mutant: str) -> bool:
    def fence(side: str) -> list[Operation]:
        return [] if mutant == f"no {side} fence" else [Fence()]

    odd_mark = Write("sequence", 1)
    writer: list[Block] = [([Write("is_evicted", 1), *fence("writer"), odd_mark], then(END))]
    look: list[Operation] = [Read(0, "sequence"), *fence("reader"), Read(1, "is_evicted")]
    machine = Machine([[(look, then(END))], writer], {"sequence": 0, "is_evicted": 0})
    seen: list[bool] = []

    def check(state: State) -> bool:
        reader = state.threads[0]
        seen.append(reader.block == END and reader.registers[:2] == (1, 0))
        return False

    assert machine.explore(check)[0] > 5
    return any(seen)


@pytest.mark.parametrize("mutant", ["none", "no writer fence", "no reader fence"])
def test_evicted_reader_is_lapped_without_a_reason_only_without_a_fence(mutant: str) -> None:
    assert eviction_is_missed(mutant) is (mutant != "none")
