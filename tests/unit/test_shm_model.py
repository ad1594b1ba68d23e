"""Explore the ring's and the snapshot table's protocols on a weakly ordered machine.

Stress tests on x86 prove nothing about fences: the machine keeps stores and loads in order. Here
each thread's operations may run in any order that C11 (as Armv8 implements it: one memory, accesses
performed out of order) leaves open, and every interleaving is visited. Two accesses of one thread
stay in order only if they touch the same location, if the first is an acquire load or the second a
release store, if a fence between them says so, or if an address depends on a value loaded before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

Registers = tuple[int, ...]
Location = str | Callable[[Registers], str]


class Write(NamedTuple):
    location: str
    value: int
    release: bool = False


class Read(NamedTuple):
    register: int
    location: Location
    acquire: bool = False
    depends_on: int = -1  # the register that the location is computed from


class Fence(NamedTuple):
    kind: str


Operation = Write | Read | Fence


def ordered(program: list[Operation], first: int, second: int) -> bool:
    """Tell whether operation `first` must be performed before the later `second`."""
    a, b = program[first], program[second]
    if isinstance(a, Fence) or isinstance(b, Fence):
        return False
    fences = {op.kind for op in program[first:second] if isinstance(op, Fence)}
    return (
        (isinstance(a.location, str) and a.location == b.location)
        or (isinstance(a, Read) and (a.acquire or "acquire" in fences))
        or (isinstance(b, Write) and (b.release or "release" in fences))
        or (isinstance(a, Read) and isinstance(b, Read) and b.depends_on == a.register)
    )


def needs(program: list[Operation]) -> list[int]:
    """Return, for each operation, the bit set of those that come before it."""
    return [sum(1 << i for i in range(j) if ordered(program, i, j)) for j in range(len(program))]


def explore(
    writer: list[Operation],
    reader: list[Operation],
    memory: dict[str, int],
    is_wrong: Callable[[Registers], bool],
    *,
    to_both_ends: bool = False,
) -> tuple[int, bool]:
    """Visit every state; return how many there are and whether a wrong result can be read.

    Judged where the reader has ended, and the writer too if it reads as well (to_both_ends).
    """
    names = sorted(memory)
    slot = {name: i for i, name in enumerate(names)}
    programs = (writer, reader)
    need = (needs(writer), needs(reader))
    fences = [sum(1 << i for i, op in enumerate(p) if isinstance(op, Fence)) for p in programs]
    registers = (-1,) * sum(isinstance(op, Read) for op in (*writer, *reader))
    start = (fences[0], fences[1], tuple(memory[name] for name in names), registers)
    seen, todo = {start}, [start]
    whole, writer_end = (1 << len(reader)) - 1, (1 << len(writer)) - 1
    while todo:
        state = todo.pop()
        if state[1] == whole and (state[0] == writer_end or not to_both_ends):
            if is_wrong(state[3]):
                return len(seen), True
            continue
        for thread, program in enumerate(programs):
            done = (state[0], state[1])[thread]
            for i, op in enumerate(program):
                if done >> i & 1 or done & need[thread][i] != need[thread][i]:
                    continue
                cells, values, now = list(state[2]), list(state[3]), [state[0], state[1]]
                now[thread] |= 1 << i
                if isinstance(op, Write):
                    cells[slot[op.location]] = op.value
                elif isinstance(op, Read):
                    where = op.location if isinstance(op.location, str) else op.location(state[3])
                    values[op.register] = state[2][slot[where]]
                after = (now[0], now[1], tuple(cells), tuple(values))
                if after not in seen:
                    seen.add(after)
                    todo.append(after)
    return len(seen), False


# The ring, as in shm/broadcast_ring.h: one slot, so that every event overwrites the one before.
RING_MUTANTS = (
    "no odd mark",
    "no writer fence",
    "no release",
    "no acquire",
    "no reader fence",
    "no re-check",
)


def ring_programs(mutant: str) -> tuple[list[Operation], list[Operation]]:
    writer: list[Operation] = []
    for event in range(3):
        if mutant != "no odd mark":
            writer.append(Write("seq", 2 * event + 1))
        if mutant != "no writer fence":
            writer.append(Fence("release"))
        writer += [Write("a", 10 + event), Write("b", 10 + event)]
        writer.append(Write("seq", 2 * event + 2, release=mutant != "no release"))
    reader: list[Operation] = [Read(0, "seq", acquire=mutant != "no acquire")]
    reader += [Read(1, "a"), Read(2, "b")]
    if mutant != "no reader fence":
        reader.append(Fence("acquire"))
    reader.append(Read(3, "seq"))

    return writer, reader


def ring_can_tear(mutant: str) -> tuple[int, bool]:
    states, torn = 0, False
    for index in range(3):
        whole = 2 * index + 2

        def is_wrong(got: Registers, whole: int = whole, index: int = index) -> bool:
            accepted = got[0] == whole and (mutant == "no re-check" or got[3] == whole)
            return accepted and got[1:3] != (10 + index, 10 + index)

        writer, reader = ring_programs(mutant)
        visited, wrong = explore(writer, reader, {"seq": 0, "a": 0, "b": 0}, is_wrong)
        states, torn = states + visited, torn or wrong
    return states, torn


def test_ring_protocol_never_delivers_a_torn_event() -> None:
    states, torn = ring_can_tear("none")
    assert states > 1000  # the model did explore
    assert not torn


@pytest.mark.parametrize("mutant", RING_MUTANTS)
def test_ring_protocol_without_one_of_its_parts_tears(mutant: str) -> None:
    assert ring_can_tear(mutant)[1]


# The snapshot table, as in shm/snapshot_table.c, with two cells instead of four. Version 1 stands;
# 2 and 3 are written, so that cell 1 is overwritten while index may still be 1 or 2.
TABLE_MUTANTS = (
    "no odd mark",
    "no writer fence",
    "no reader fence",
    "no re-check",
    "any even sequence",
    "no release, no acquire",
)


def table_programs(mutant: str) -> tuple[list[Operation], list[Operation]]:
    writer: list[Operation] = []
    for version in (2, 3):
        cell = version % 2
        if mutant != "no odd mark":
            writer.append(Write(f"seq{cell}", 2 * version - 1))
        if mutant != "no writer fence":
            writer.append(Fence("release"))
        writer += [Write(f"a{cell}", version), Write(f"b{cell}", version)]
        is_release = mutant != "no release, no acquire"
        writer.append(Write(f"seq{cell}", 2 * version, release=is_release))
        writer.append(Write("index", version, release=is_release))
    reader: list[Operation] = []
    for base in (0, 5):  # read twice

        def at(name: str, base: int = base) -> Callable[[Registers], str]:
            return lambda registers: f"{name}{registers[base] % 2}"

        is_acquire = mutant != "no release, no acquire"
        reader.append(Read(base, "index", acquire=is_acquire))
        reader.append(Read(base + 1, at("seq"), acquire=is_acquire, depends_on=base))
        reader.append(Read(base + 2, at("a"), depends_on=base))
        reader.append(Read(base + 3, at("b"), depends_on=base))
        if mutant != "no reader fence":
            reader.append(Fence("acquire"))
        # depends_on the first read of the sequence: two loads of one location stay in order.
        reader.append(Read(base + 4, at("seq"), depends_on=base + 1))
    return writer, reader


def table_goes_wrong(mutant: str) -> tuple[int, bool]:
    def accepted(got: Registers) -> bool:
        index, before, _, _, after = got
        fits = before % 2 == 0 if mutant == "any even sequence" else before == 2 * index
        return fits and (mutant == "no re-check" or after == before)

    def is_wrong(got: Registers) -> bool:
        reads = [read for read in (got[:5], got[5:]) if accepted(read)]
        if any(a != b or (mutant != "any even sequence" and a != i) for i, _, a, b, _ in reads):
            return True
        return [read[2] for read in reads] != sorted(read[2] for read in reads)

    memory = {"index": 1, "seq0": 0, "a0": 0, "b0": 0, "seq1": 2, "a1": 1, "b1": 1}
    writer, reader = table_programs(mutant)
    return explore(writer, reader, memory, is_wrong)


def test_snapshot_protocol_is_whole_and_never_goes_back_in_time() -> None:
    states, wrong = table_goes_wrong("none")
    assert states > 1000
    assert not wrong


@pytest.mark.parametrize("mutant", TABLE_MUTANTS)
def test_snapshot_protocol_without_one_of_its_parts_fails(mutant: str) -> None:
    assert table_goes_wrong(mutant)[1]


# A row of the table, as in shm/segment_rows.c: generations 1 and 2 of one row, and the count of
# changes, which a reader looks at first. It keeps what it has where it finds the row in writing.
ROW_MUTANTS = (
    "no odd mark",
    "no writer fence",
    "no release",
    "no acquire",
    "no reader fence",
    "no re-check",
    "change before row",
    "change not released",
)


def row_programs(mutant: str) -> tuple[list[Operation], list[Operation]]:
    writer: list[Operation] = []
    for generation in (1, 2):
        change = Write("changes", generation, release=mutant != "change not released")
        if mutant == "change before row":
            writer.append(change)
        if mutant != "no odd mark":
            writer.append(Write("seq", 2 * generation - 1))
        if mutant != "no writer fence":
            writer.append(Fence("release"))
        writer += [Write("a", 10 + generation), Write("b", 10 + generation)]
        writer.append(Write("seq", 2 * generation, release=mutant != "no release"))
        if mutant != "change before row":
            writer.append(change)
    reader: list[Operation] = [
        Read(0, "changes", acquire=True),
        Read(1, "seq", acquire=mutant != "no acquire"),
        Read(2, "a"),
        Read(3, "b"),
    ]
    if mutant != "no reader fence":
        reader.append(Fence("acquire"))
    reader.append(Read(4, "seq"))
    return writer, reader


def row_goes_wrong(mutant: str) -> tuple[int, bool]:
    def is_wrong(got: Registers) -> bool:
        changes, before, a, b, after = got
        if before % 2 or before == 0:  # in writing, or never written: the change is yet to come
            return (before + 1) // 2 <= changes != 0
        if mutant != "no re-check" and after != before:
            return False
        generation = before // 2
        return (a, b) != (10 + generation, 10 + generation) or generation < changes

    writer, reader = row_programs(mutant)
    return explore(writer, reader, {"changes": 0, "seq": 0, "a": 0, "b": 0}, is_wrong)


def test_row_protocol_is_whole_and_as_new_as_the_change_that_was_seen() -> None:
    states, wrong = row_goes_wrong("none")
    assert states > 500
    assert not wrong


@pytest.mark.parametrize("mutant", ROW_MUTANTS)
def test_row_protocol_without_one_of_its_parts_fails(mutant: str) -> None:
    assert row_goes_wrong(mutant)[1]


@pytest.mark.parametrize("is_release", [True, False])
def test_ring_resume_at_head_finds_the_snapshots_only_if_head_is_released(
    is_release: bool,
) -> None:
    # The writer publishes the snapshot of an event before the event, then moves head.
    writer: list[Operation] = [
        Write("snapshot", 1, release=True),
        Write("seq", 2, release=True),
        Write("head", 1, release=is_release),
    ]
    reader: list[Operation] = [Read(0, "head", acquire=True), Read(1, "snapshot")]
    _, misses = explore(
        writer, reader, {"snapshot": 0, "seq": 0, "head": 0}, lambda got: got == (1, 0)
    )
    assert misses is not is_release
