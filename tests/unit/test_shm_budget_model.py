"""Explore shm/budget.c step by step: whoever is killed wherever, nobody spends what is not there.

Every order of every process's single accesses is tried, a death before each among them. A bucket is
one word, so orders of memory matter only between an entry's word and its name: those accesses are
sequentially consistent in the code, and one that is not is among the faults here. Times are in
intervals; the room is BURST of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

BURST = 2
FREE, OURS, LEAVING, OTHER = 0, 1, 2, 3
"""Keys of entries; LEAVING: ours, about to be given away."""
DONE, DEAD = "done", "dead"


class Process(NamedTuple):
    """step: which access is next; seen: what it read; entry: which it found."""

    step: str = "find"
    seen: int = 0
    entry: int = 0
    granted: int = 0
    looked: int = 0  # the key, read too early


class World(NamedTuple):
    keys: tuple[int, ...]
    whole: tuple[int, ...]  # debts of the entries' buckets, now being 0
    processes: tuple[Process, ...]


Move = tuple[World, Process]
Step = Callable[[World, Process], list[Move]]
Program = dict[str, Step]


def changed(values: tuple[int, ...], place: int, value: int) -> tuple[int, ...]:
    return (*values[:place], value, *values[place + 1 :])


def named(world: World, own: Process, key: int) -> World:
    return world._replace(keys=changed(world.keys, own.entry, key))


# ---- tp_budget_find and tp_budget_take, an access at a time --------------------------------------


def find(world: World, own: Process) -> list[Move]:
    """row_find: the first entry of this name, or the end of its row."""
    steps = {OURS: "read", LEAVING: "take back", FREE: "claim"}
    for key, step in steps.items():
        if key in world.keys:
            return [(world, own._replace(step=step, entry=world.keys.index(key), looked=0))]
    return [(world, own._replace(step=DONE))]


def claim(world: World, own: Process) -> list[Move]:
    if world.keys[own.entry] != FREE:
        return [(world, own._replace(step="find"))]
    return [(named(world, own, OURS), own._replace(step="read"))]


def read(world: World, own: Process) -> list[Move]:
    return [(world, own._replace(step="swap", seen=world.whole[own.entry]))]


def swap(world: World, own: Process) -> list[Move]:
    if own.seen + 1 > BURST:
        return [(world, own._replace(step=DONE))]
    if world.whole[own.entry] != own.seen:
        return [(world, own._replace(seen=world.whole[own.entry]))]
    return store(world, own)


def store(world: World, own: Process) -> list[Move]:
    if own.seen + 1 > BURST:
        return [(world, own._replace(step=DONE))]
    world = world._replace(whole=changed(world.whole, own.entry, own.seen + 1))
    return [(world, own._replace(step="look"))]


def grant(world: World, own: Process) -> list[Move]:
    return [(world, own._replace(step=DONE, granted=own.granted + 1))]


def look(world: World, own: Process) -> list[Move]:
    """entry_is_kept: is it our name's still?"""
    if (own.looked or world.keys[own.entry]) == OURS:
        return grant(world, own)
    return [(world, own._replace(step="take back and grant"))]


def take_back(world: World, own: Process) -> list[Move]:
    if world.keys[own.entry] not in (OURS, LEAVING):
        return [(world, own._replace(step="find"))]
    return [(named(world, own, OURS), own._replace(step="read"))]


def take_back_and_grant(world: World, own: Process) -> list[Move]:
    if world.keys[own.entry] not in (OURS, LEAVING):
        return [(world, own._replace(step="find"))]
    return grant(named(world, own, OURS), own)


def look_first(world: World, own: Process) -> list[Move]:
    """The fault: the look passes the spending, which lies in a store buffer."""
    if own.looked:
        return read(world, own)
    return [(world, own._replace(looked=world.keys[own.entry]))]


def look_only(world: World, own: Process) -> list[Move]:
    return grant(world, own) if own.looked == OURS else [(world, own._replace(step=DONE))]


SPENDER: Program = {
    "find": find,
    "claim": claim,
    "read": read,
    "swap": swap,
    "look": look,
    "take back": take_back,
    "take back and grant": take_back_and_grant,
}


# ---- tp_budget_make_room: another name needs a place; the lock's holder, one at a time -----------


def is_idle(world: World, own: Process) -> list[Move]:
    is_free = world.whole[own.entry] == 0
    return [
        (world, own._replace(step="mark" if is_free else DONE)),
        (world, own._replace(step=DONE)),
    ]


def given(was: int, key: int, then: str) -> Step:
    def step(world: World, own: Process) -> list[Move]:
        if world.keys[own.entry] != was:
            return [(world, own._replace(step=DONE))]
        return [(named(world, own, key), own._replace(step=then))]

    return step


def is_idle_still(world: World, own: Process) -> list[Move]:
    return [(world, own._replace(step="give" if world.whole[own.entry] == 0 else "leave it"))]


THIEF: Program = {
    "find": is_idle,
    "mark": given(OURS, LEAVING, "look again"),
    "look again": is_idle_still,
    "give": given(LEAVING, OTHER, DONE),
    "leave it": given(LEAVING, OURS, DONE),
}

FAULTS: dict[str, tuple[Program, Program]] = {
    "spend by a store": ({"swap": store}, {}),
    "no look at the name": ({"look": grant}, {}),
    "the look passes the spending": ({"read": look_first, "look": look_only}, {}),
    "given away without a mark": ({}, {"mark": given(OURS, OTHER, DONE)}),
    "no second look at what is owed": ({}, {"mark": given(OURS, LEAVING, "give")}),
}


def explore(world: World, programs: list[Program]) -> tuple[int, list[World]]:
    """Return how many worlds there are, and those in which nobody can go on."""
    seen, todo, ends = {world}, [world], []
    while todo:
        world = todo.pop()
        nexts = [one for number in range(len(programs)) for one in moved(world, programs, number)]
        if not nexts:
            ends.append(world)
        todo += [one for one in dict.fromkeys(nexts) if one not in seen]
        seen.update(nexts)
    return len(seen), ends


def moved(world: World, programs: list[Program], number: int) -> list[World]:
    """Return what the world is after one access of a process, or its death."""
    own = world.processes[number]
    if own.step in (DONE, DEAD):
        return []
    moves = [*programs[number][own.step](world, own), (world, own._replace(step=DEAD))]
    before, behind = world.processes[:number], world.processes[number + 1 :]
    return [after._replace(processes=(*before, one, *behind)) for after, one in moves]


def start(count: int, keys: tuple[int, ...]) -> World:
    return World(keys, (0,) * len(keys), (Process(),) * count)


def granted(world: World) -> int:
    return sum(one.granted for one in world.processes)


def run(fault: str = "", *, full: bool = False) -> tuple[int, list[World]]:
    """Three spenders of a free table; or of an entry that another name wants, beside a free one."""
    spender, thief = FAULTS.get(fault, ({}, {}))
    programs = [SPENDER | spender] * 3
    if full:
        return explore(start(4, (OURS, FREE)), [*programs, THIEF | thief])
    return explore(start(3, (FREE, FREE)), programs)


@pytest.mark.parametrize("full", [False, True])
def test_budget_grants_no_more_than_there_is_whoever_dies(*, full: bool) -> None:
    states, ends = run(full=full)
    assert states > 200
    assert max(map(granted, ends)) == BURST


def test_budget_lets_whoever_lives_have_what_is_left() -> None:
    """A dead one holds nothing: nobody waits while something is left."""
    _, ends = run()
    for end in ends:
        alive = [one for one in end.processes if one.step == DONE]
        assert max(end.whole) >= min(BURST, len(alive))
        assert all(one.granted for one in alive) or max(end.whole) == BURST


@pytest.mark.parametrize("fault", FAULTS)
def test_budget_without_one_of_its_parts_does(fault: str) -> None:
    _, ends = run(fault, full=True)
    assert max(map(granted, ends)) > BURST


def test_budget_with_a_lock_would_be_held_by_the_dead() -> None:
    """The model sees it: one waits for a lock whose holder is no more, with all still there."""

    def lock(world: World, own: Process) -> list[Move]:
        if world.keys[0] != FREE:
            return [(world, own)]
        return [(named(world, own, OURS), own._replace(step="spend"))]

    def spend(world: World, own: Process) -> list[Move]:
        world = world._replace(whole=changed(world.whole, 0, world.whole[0] + 1))
        return [(world, own._replace(step="unlock", granted=1))]

    def unlock(world: World, own: Process) -> list[Move]:
        return [(named(world, own, FREE), own._replace(step=DONE))]

    program: Program = {"find": lock, "spend": spend, "unlock": unlock}
    world = start(2, (OURS,))._replace(processes=(Process(), Process(step=DEAD)))
    _, ends = explore(world, [program] * 2)
    assert all(granted(end) == 0 for end in ends)


# ---- tp_budget_pause -----------------------------------------------------------------------------

PAUSES = (5, 600)


def pause_outcomes(*, by_a_store: bool) -> set[int]:
    """Return how long the pause may be once both asked for theirs, in every order of accesses."""
    ends: set[int] = set()

    def go(word: int, seen: tuple[int | None, ...]) -> None:
        """seen: what each read; -1: it is done."""
        if all(one == -1 for one in seen):
            ends.add(word)
        for number, one in enumerate(seen):
            length = PAUSES[number]
            if one is None:
                go(word, (*seen[:number], word if word < length else -1, *seen[number + 1 :]))
            elif one != -1 and (by_a_store or word == one):
                go(length, (*seen[:number], -1, *seen[number + 1 :]))
            elif one != -1:  # the swap failed: it saw what stands there
                go(word, (*seen[:number], word if word < length else -1, *seen[number + 1 :]))

    go(0, (None, None))
    return ends


def test_model_pause_is_only_made_longer_whoever_asks_beside() -> None:
    assert pause_outcomes(by_a_store=False) == {max(PAUSES)}


def test_model_notices_a_pause_that_a_store_makes_shorter() -> None:
    assert min(PAUSES) in pause_outcomes(by_a_store=True)
