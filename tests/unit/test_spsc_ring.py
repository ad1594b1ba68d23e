"""The ring from a strategy to the gateway: on a weakly ordered machine, in order, and with liars.

The model is explored in the way of test_shm_model: one slot, so that the second request overwrites
the first; two words, so that half a request would show.
"""

from __future__ import annotations

import threading
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tickpath._core import ffi, lib

from tests.unit.test_shm_model import Operation, Read, Registers, Write, explore

WORDS = int(lib.TP_SPSC_WORDS)
HEAD_SIZE = int(lib.TP_SPSC_HEAD_SIZE)
TAKEN, EMPTY, BROKEN = (
    int(lib.TP_SPSC_TAKEN),
    int(lib.TP_SPSC_EMPTY),
    int(lib.TP_SPSC_BROKEN),
)
MUTANTS = (
    "no release of head",
    "no acquire of head",
    "no release of tail",
    "no acquire of tail",
    "no look at tail",
    "head before the words",
    "tail before the copy",
)
FIRST_HEAD, FIRST_A, FIRST_B, SECOND_HEAD, SECOND_A, SECOND_B, TAIL = range(7)


def push_program(mutant: str) -> list[Operation]:
    """As tp_spsc_push, twice; the first finds room without a look."""
    program: list[Operation] = []
    for number in (1, 2):
        words: list[Operation] = [Write("a", number), Write("b", number)]
        head = Write("head", number, release=mutant != "no release of head")
        if number == 2:
            program.append(Read(TAIL, "tail", acquire=mutant != "no acquire of tail"))
        program += [head, *words] if mutant == "head before the words" else [*words, head]
    return program


def take_program(mutant: str) -> list[Operation]:
    """As tp_spsc_take, twice."""
    copy: list[Operation] = [Read(FIRST_A, "a"), Read(FIRST_B, "b")]
    tail = Write("tail", 1, release=mutant != "no release of tail")
    is_acquire = mutant != "no acquire of head"
    return [
        Read(FIRST_HEAD, "head", acquire=is_acquire),
        *([tail, *copy] if mutant == "tail before the copy" else [*copy, tail]),
        Read(SECOND_HEAD, "head", acquire=is_acquire),
        Read(SECOND_A, "a"),
        Read(SECOND_B, "b"),
    ]


def goes_wrong(mutant: str) -> tuple[int, bool]:
    def is_wrong(got: Registers) -> bool:
        # Each end goes on only where its look allowed it: other runs are not of this program.
        if (got[TAIL] != 1 and mutant != "no look at tail") or got[FIRST_HEAD] == 0:
            return False
        if (got[FIRST_A], got[FIRST_B]) != (1, 1):
            return True
        return got[SECOND_HEAD] == 2 and (got[SECOND_A], got[SECOND_B]) != (2, 2)

    memory = {"a": 0, "b": 0, "head": 0, "tail": 0}
    return explore(push_program(mutant), take_program(mutant), memory, is_wrong, to_both_ends=True)


def test_order_ring_never_gives_half_a_request_or_one_that_was_overwritten() -> None:
    states, wrong = goes_wrong("none")
    assert states > 100  # the model did explore
    assert not wrong


@pytest.mark.parametrize("mutant", MUTANTS)
def test_order_ring_without_one_of_its_parts_does(mutant: str) -> None:
    assert goes_wrong(mutant)[1]


class Pair:
    """Both ends of a ring of so many slots, with guards around its memory."""

    GUARD = b"\xa5" * 64

    def __init__(self, capacity: int) -> None:
        size = HEAD_SIZE + 8 * WORDS * capacity
        self.bytes = ffi.new("uint8_t[]", self.GUARD + bytes(size) + self.GUARD)
        self.size = size
        self.memory = ffi.cast("struct tp_spsc_memory *", self.bytes + len(self.GUARD))
        self.producer, self.consumer = (
            ffi.new("struct tp_spsc_end *"),
            ffi.new("struct tp_spsc_end *"),
        )
        lib.tp_spsc_begin(self.producer, self.memory, capacity)
        lib.tp_spsc_begin(self.consumer, self.memory, capacity)

    def push(self, number: int) -> bool:
        words = ffi.new("uint64_t[]", [number + i for i in range(WORDS)])
        return bool(lib.tp_spsc_push(self.producer, words))

    def take(self) -> int | None:
        """Return a request's number; None: empty."""
        words = ffi.new("uint64_t[]", WORDS)
        result = int(lib.tp_spsc_take(self.consumer, words))
        assert result != BROKEN
        assert result == EMPTY or list(words) == [words[0] + i for i in range(WORDS)]
        return int(words[0]) if result == TAKEN else None

    def guards(self) -> list[bytes]:
        data = bytes(ffi.buffer(self.bytes))
        return [data[:64], data[64 + self.size : 128 + self.size]]


@given(st.sampled_from([1, 2, 8]), st.lists(st.booleans(), max_size=100))
def test_order_ring_is_a_queue_of_its_capacity(capacity: int, turns: list[bool]) -> None:
    pair, model, number = Pair(capacity), deque[int](), 0
    for pushes in turns:
        if pushes:
            number += 100
            assert pair.push(number) == (len(model) < capacity)
            if len(model) < capacity:
                model.append(number)
        else:
            assert pair.take() == (model.popleft() if model else None)
    assert pair.guards() == [Pair.GUARD, Pair.GUARD]


LIES = st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 20), st.integers(2**64 - 20, 2**64 - 1))


@given(st.lists(st.tuples(st.booleans(), LIES), max_size=40))
def test_order_ring_takes_no_slot_twice_whatever_the_producer_writes(
    turns: list[tuple[bool, int]],
) -> None:
    pair = Pair(4)
    words = ffi.new("uint64_t[]", WORDS)
    for is_lie, lie in turns:
        if is_lie:
            pair.memory.head = lie
            pair.memory.tail = lie ^ 3
        before = int(pair.consumer.next)
        result = int(lib.tp_spsc_take(pair.consumer, words))
        assert int(pair.consumer.next) == before + (result == TAKEN)
        assert not pair.consumer.is_broken or result == BROKEN
        assert int(pair.consumer.next) - int(pair.consumer.seen) in range(-4, 1) or (
            pair.consumer.is_broken
        )
    assert pair.guards() == [Pair.GUARD, Pair.GUARD]


@given(st.lists(st.tuples(st.booleans(), LIES), max_size=60))
def test_order_ring_is_full_or_broken_whatever_the_consumer_writes(
    turns: list[tuple[bool, int]],
) -> None:
    pair = Pair(4)
    for number, (is_lie, lie) in enumerate(turns):
        if is_lie:
            pair.memory.tail = lie
        pair.push(number)
        assert 0 <= int(pair.producer.next) - int(pair.producer.seen) <= 4
    assert pair.guards() == [Pair.GUARD, Pair.GUARD]


def test_order_ring_that_is_broken_stays_so() -> None:
    pair = Pair(4)
    assert pair.push(1)
    pair.memory.head = 9
    words = ffi.new("uint64_t[]", WORDS)
    assert int(lib.tp_spsc_take(pair.consumer, words)) == BROKEN
    pair.memory.head = 1
    assert int(lib.tp_spsc_take(pair.consumer, words)) == BROKEN


def test_order_ring_between_threads_loses_and_repeats_nothing() -> None:
    pair, count = Pair(8), 20_000
    got: list[int] = []

    def produce() -> None:
        sent = 0
        while sent < count:
            sent += pair.push(sent)

    thread = threading.Thread(target=produce)
    thread.start()
    while len(got) < count:
        number = pair.take()
        if number is not None:
            got.append(number)
    thread.join()
    assert got == list(range(count))


def test_execution_is_an_event_of_the_broadcast_ring() -> None:
    assert ffi.sizeof("struct tp_execution") == 8 * 7
    assert ffi.sizeof("struct tp_order_request") == 8 * WORDS
