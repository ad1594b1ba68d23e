"""TCP headers: what is refused, and what is read and written, against scapy."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import TCP
from tickpath._core import ffi, lib

u8, u16, u32 = (st.integers(0, 2**bits - 1) for bits in (8, 16, 32))


def parse(raw: bytes) -> Any | None:
    segment = ffi.new("struct tp_tcp_segment *")
    frame = ffi.from_buffer(raw)
    return segment if lib.tp_tcp_segment_parse((frame, len(raw)), segment) else None


def with_options(options: bytes, payload: bytes = b"") -> bytes:
    options += b"\0" * (-len(options) % 4)
    return bytes(12) + bytes([(20 + len(options)) // 4 << 4, 16]) + bytes(6) + options + payload


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(bytes(12) + b"\x50" + bytes(6), id="19 bytes"),
        pytest.param(bytes(12) + b"\x40" + bytes(7), id="data offset 4"),
        pytest.param(bytes(12) + b"\x60" + bytes(7), id="data offset beyond the segment"),
        pytest.param(bytes(12) + b"\xf0" + bytes(46), id="data offset one byte beyond"),
    ],
)
def test_segment_parse_malformed_is_refused(raw: bytes) -> None:
    assert parse(raw) is None


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(with_options(b"\x08\x00\x01\x01"), id="option length 0"),
        pytest.param(with_options(b"\x08\x01\x01\x01"), id="option length 1"),
        pytest.param(with_options(b"\x01\x01\x01\x02"), id="kind in the last byte, no length"),
        pytest.param(with_options(b"\x02\x05\x05\xb4"), id="option one byte past the end"),
        pytest.param(with_options(b"\xfd\x05\x01\x01"), id="unknown kind one byte past the end"),
        pytest.param(
            with_options(b"\x08\x0a" + bytes(6), b"\xff" * 8), id="timestamps into the payload"
        ),
        pytest.param(
            with_options(b"\x05\x0a" + bytes(6), b"\xff" * 8), id="SACK block into the payload"
        ),
        pytest.param(with_options(b"\x02\x03\x05\x01"), id="MSS of length 3"),
        pytest.param(with_options(b"\x03\x02\x01\x01"), id="window scale of length 2"),
        pytest.param(with_options(b"\x04\x03\x01\x01"), id="SACK permitted of length 3"),
        pytest.param(with_options(b"\x05\x02\x01\x01"), id="SACK without a block"),
        pytest.param(with_options(b"\x05\x0b" + bytes(9)), id="SACK of odd length"),
        pytest.param(with_options(b"\x08\x09" + bytes(7)), id="timestamps of length 9"),
        pytest.param(with_options(b"\xfd\xff" + bytes(38)), id="unknown kind past the end"),
    ],
)
def test_segment_with_an_option_that_cannot_be_read_stands_without_it(raw: bytes) -> None:
    """As Linux and FreeBSD take it: who drops such a SYN-ACK never connects."""
    segment = parse(raw)
    assert segment is not None
    assert not segment.has_mss
    assert not segment.has_window_scale
    assert not segment.has_timestamps
    assert not segment.sack_permitted
    assert segment.sack_count == 0


def test_segment_options_before_one_that_cannot_be_read_are_taken() -> None:
    """A middlebox blanked the length of an option in a SYN-ACK."""
    segment = parse(with_options(b"\x02\x04\x05\xb4" + b"\x03\x00\x07\x00" + b"\x04\x02\x00\x00"))
    assert segment is not None
    assert (segment.has_mss, segment.mss) == (True, 1460)
    assert not segment.has_window_scale
    assert not segment.sack_permitted, "nothing behind it can be placed"


def test_segment_option_of_a_wrong_length_is_skipped_alone() -> None:
    segment = parse(with_options(b"\x03\x04\x07\x00" + b"\x02\x04\x05\xb4"))
    assert segment is not None
    assert not segment.has_window_scale
    assert (segment.has_mss, segment.mss) == (True, 1460)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(bytes(12) + b"\x50" + bytes(7), id="20 bytes"),
        pytest.param(bytes(12) + b"\xf0" + bytes(47), id="data offset 15, all of it"),
        pytest.param(with_options(b"\x02\x04\x05\xb4"), id="MSS to the last byte"),
        pytest.param(with_options(b"\x01\x01\x01\x00"), id="NOP and END"),
        pytest.param(with_options(b"\x00\x08\x00\x00"), id="nothing is read behind END"),
        pytest.param(with_options(b"\xfd\x28" + bytes(38)), id="unknown kind to the last byte"),
        pytest.param(with_options(b"\x05\x22" + bytes(32)), id="four SACK blocks"),
    ],
)
def test_segment_parse_just_valid_is_taken(raw: bytes) -> None:
    assert parse(raw) is not None


option_lists = st.lists(
    st.one_of(
        st.tuples(st.just("MSS"), u16),
        st.tuples(st.just("WScale"), u8),
        st.tuples(st.just("Timestamp"), st.tuples(u32, u32)),
        st.just(("SAckOK", b"")),
        st.just(("NOP", None)),
        st.tuples(st.just("SAck"), st.lists(u32, min_size=2, max_size=2).map(tuple)),
    ),
    max_size=4,
    unique_by=lambda option: option[0],
)


@given(u16, u16, u32, u32, u8, u16, option_lists, st.binary(max_size=40))
@settings(max_examples=200, deadline=None)
def test_segment_parse_equals_scapy(  # noqa: PLR0913, PLR0917 - one argument a header field
    source: int,
    destination: int,
    sequence: int,
    acknowledgment: int,
    flags: int,
    window: int,
    options: list[tuple[str, Any]],
    payload: bytes,
) -> None:
    raw = bytes(
        TCP(sport=source, dport=destination, seq=sequence, ack=acknowledgment, flags=flags,
            window=window, options=options, chksum=0)
        / payload
    )  # fmt: skip
    segment = parse(raw)
    assert segment is not None
    assert (segment.source_port, segment.destination_port) == (source, destination)
    assert (segment.sequence, segment.acknowledgment) == (sequence, acknowledgment)
    assert (segment.flags, segment.window) == (flags, window)
    assert bytes(ffi.buffer(segment.payload.data, segment.payload.size)) == payload
    given_options = dict(options)
    assert segment.has_mss == ("MSS" in given_options)
    assert segment.mss == given_options.get("MSS", 0)
    assert segment.has_window_scale == ("WScale" in given_options)
    assert segment.window_scale == given_options.get("WScale", 0)
    assert segment.sack_permitted == ("SAckOK" in given_options)
    assert segment.has_timestamps == ("Timestamp" in given_options)
    stamps = (segment.timestamp_value, segment.timestamp_echo)
    assert stamps == given_options.get("Timestamp", (0, 0))
    blocks = [(block.left, block.right) for block in list(segment.sack)[: segment.sack_count]]
    assert blocks == ([given_options["SAck"]] if "SAck" in given_options else [])


@given(
    st.tuples(u32, u32, u8),
    st.booleans(),
    st.booleans(),
    st.lists(st.tuples(u32, u32), max_size=3),
)
@settings(max_examples=200, deadline=None)
def test_segment_write_is_read_by_scapy(
    numbers: tuple[int, int, int],
    syn_options: bool,
    timestamps: bool,
    blocks: list[tuple[int, int]],
) -> None:
    segment = ffi.new("struct tp_tcp_segment *")
    segment.source_port, segment.destination_port, segment.window = 1234, 443, 4096
    segment.sequence, segment.acknowledgment, segment.flags = numbers
    wanted: dict[str, Any] = {}
    if syn_options:
        segment.has_mss = segment.has_window_scale = segment.sack_permitted = True
        segment.mss, segment.window_scale = 1460, 7
        wanted |= {"MSS": 1460, "WScale": 7, "SAckOK": b""}
        blocks = []
    if timestamps:
        segment.has_timestamps = True
        segment.timestamp_value, segment.timestamp_echo = 5, 6
        wanted["Timestamp"] = (5, 6)
    segment.sack_count = len(blocks)
    for place, (left, right) in enumerate(blocks):
        segment.sack[place].left, segment.sack[place].right = left, right
    if blocks:
        wanted["SAck"] = tuple(edge for block in blocks for edge in block)
    out = ffi.new("uint8_t[60]")
    size = lib.tp_tcp_segment_write_header(segment, out)
    read = TCP(bytes(ffi.buffer(out, size)))
    assert (read.sport, read.dport, read.window) == (1234, 443, 4096)
    assert (read.seq, read.ack, int(read.flags)) == numbers
    assert read.dataofs * 4 == size
    assert {name: value for name, value in read.options if name != "NOP"} == wanted
