"""Messages of all lengths through a ring of slots: whole, in order, and told when lost."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tickpath._core import ffi, lib
from tickpath.shm.reader import Reader
from tickpath.shm.segment import SegmentLayout, SegmentWriter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SLOTS = 64
HEADER = struct.Struct("<IIQ")
ROOM = 1 << 16


class Ring:
    """A writer and a reader of one ring of messages."""

    def __init__(self, directory: Path, slots: int = SLOTS) -> None:
        layout = SegmentLayout(schema="test", ring_capacity=slots)
        self.writer = SegmentWriter("messages", layout, directory=directory)
        self.writer.ready()
        self.reader = Reader("messages", directory=directory)
        self.memory = ffi.new("uint64_t[]", ROOM // 8)
        self.into = ffi.new("struct tp_message_drain *")
        self.into.data, self.into.capacity = ffi.cast("uint8_t *", self.memory), ROOM
        self.slots = slots

    def publish(self, tag: int, time_ns: int, *pieces: bytes) -> bool:
        buffers = [ffi.new("uint8_t[]", piece) for piece in pieces]
        rows = [
            {"data": row, "size": len(piece)} for row, piece in zip(buffers, pieces, strict=True)
        ]
        array: Any = ffi.new("struct tp_message_piece[]", rows or 1)
        header = ffi.new("struct tp_message_header *", (sum(map(len, pieces)), tag, time_ns))
        ring = lib.tp_segment_ring_writer(self.writer.pointer)
        return bool(lib.tp_message_publish(ring, header, array, len(pieces)))

    def drain(self) -> int:
        return int(lib.tp_message_drain(lib.tp_tap_ring(self.reader.pointer), self.into))

    def taken(self) -> list[tuple[int, int, bytes]]:
        """Take what was drained: (tag, time, payload), each checked for its padding."""
        data = bytes(ffi.buffer(self.memory, self.into.size))
        self.into.size = self.into.count = 0
        out, offset = [], 0
        while offset < len(data):
            size, tag, time_ns = HEADER.unpack_from(data, offset)
            payload = data[offset + 16 : offset + 16 + size]
            offset += 16 + size
            assert data[offset : offset + -size % 8] == bytes(-size % 8)
            offset += -size % 8
            out.append((tag, time_ns, payload))
        return out

    def close(self) -> None:
        self.reader.close()
        self.writer.close()


@pytest.fixture
def ring(tmp_path: Path) -> Iterator[Ring]:
    ring = Ring(tmp_path)
    yield ring
    ring.close()


@given(
    messages=st.lists(
        st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1), st.binary(max_size=700)),
        max_size=60,
    ),
    every=st.integers(1, 4),
)
@pytest.mark.slow
def test_messages_that_are_drained_in_time_come_whole_and_in_order(
    tmp_path_factory: Any, messages: list[tuple[int, int, bytes]], every: int
) -> None:
    ring = Ring(tmp_path_factory.mktemp("ring"))
    try:
        got = []
        for position, (tag, time_ns, payload) in enumerate(messages):
            assert ring.publish(tag, time_ns, payload)
            if position % every == every - 1:
                assert ring.drain() == lib.TP_MESSAGE_EMPTY
                got += ring.taken()
        assert ring.drain() == lib.TP_MESSAGE_EMPTY
        assert got + ring.taken() == messages
    finally:
        ring.close()


def test_message_of_several_pieces_is_their_concatenation(ring: Ring) -> None:
    assert ring.publish(7, 9, b"a" * 16, b"", b"b" * 8, b"tail")
    ring.drain()
    assert ring.taken() == [(7, 9, b"a" * 16 + b"b" * 8 + b"tail")]


def test_message_of_a_quarter_of_the_ring_fits_and_one_byte_more_does_not(ring: Ring) -> None:
    most = lib.tp_message_size_max(SLOTS)
    assert ring.publish(1, 1, b"x" * most)
    assert not ring.publish(1, 1, b"x" * (most + 1))
    ring.drain()
    assert [len(payload) for _, _, payload in ring.taken()] == [most]


def test_reader_that_was_lapped_is_told_and_goes_on_with_a_whole_message(ring: Ring) -> None:
    for number in range(200):
        assert ring.publish(number, number, b"x" * (8 * (number % 40)))
    head = int(ring.reader.segment.live.head)
    assert ring.drain() == lib.TP_MESSAGE_LAPPED
    assert ring.into.lost == head
    assert ring.taken() == []
    ring.publish(1000, 1, b"after")
    assert ring.drain() == lib.TP_MESSAGE_EMPTY
    assert ring.taken() == [(1000, 1, b"after")]


def test_drain_with_a_small_buffer_says_full_and_loses_nothing(ring: Ring) -> None:
    ring.into.capacity = 16 + 104
    for number in range(3):
        ring.publish(number, 10 + number, b"y" * 100)
    for number in range(3):
        full = lib.TP_MESSAGE_FULL if number < 2 else lib.TP_MESSAGE_EMPTY
        assert ring.drain() == full
        assert (ring.into.first_ns, ring.into.last_ns) == (10 + number, 10 + number)
        assert ring.taken() == [(number, 10 + number, b"y" * 100)]


@pytest.mark.parametrize("short", [1, 8])
def test_drain_writes_nothing_beyond_a_buffer_that_is_a_word_too_small(
    ring: Ring, short: int
) -> None:
    size = 16 + 104
    ring.publish(1, 1, b"y" * 100)
    ffi.memmove(ring.memory, b"\xee" * size, size)
    ring.into.capacity = size - short
    assert ring.drain() == lib.TP_MESSAGE_FULL
    assert ring.into.size == 0
    assert bytes(ffi.buffer(ring.memory, size))[-short:] == b"\xee" * short
    ring.into.capacity = size
    assert ring.drain() == lib.TP_MESSAGE_EMPTY
    assert ring.taken() == [(1, 1, b"y" * 100)]


def test_message_whose_writer_stopped_within_it_is_never_delivered(ring: Ring) -> None:
    """A killed writer leaves whole slots behind head, and no head: the reader waits."""
    ring.publish(1, 1, b"first")
    slots = ffi.cast("uint64_t (*)[8]", ring.writer.pointer.base + ring.writer.header.ring.offset)
    header = struct.unpack("<QQ", HEADER.pack(200, 2, 2))
    slots[1] = [2 * 1 + 2, *header, 0, 0, 0, 0, 0]  # the first of four slots, the rest missing
    assert ring.drain() == lib.TP_MESSAGE_EMPTY
    assert [tag for tag, _, _ in ring.taken()] == [1]
    slots[2][0] = 2 * 2 + 1  # the next one half written
    assert ring.drain() == lib.TP_MESSAGE_EMPTY
    assert ring.taken() == []


def test_slot_that_claims_an_impossible_size_is_skipped_to_the_head(ring: Ring) -> None:
    ring.publish(1, 1, b"x" * 100)
    slots = ffi.cast("uint64_t (*)[8]", ring.writer.pointer.base + ring.writer.header.ring.offset)
    slots[0][1] = 0xFFFF_FFF0
    assert ring.drain() == lib.TP_MESSAGE_LAPPED
    ring.publish(2, 2, b"sound")
    ring.drain()
    assert ring.taken() == [(2, 2, b"sound")]
