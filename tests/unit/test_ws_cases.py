"""The client's duties under RFC 6455, category by category; each rule just kept and just broken.

The categories are those by which WebSocket test suites are commonly ordered: 1 framing, 2 pings,
3 reserved bits, 4 opcodes, 5 fragmentation, 6 UTF-8, 7 close, 9 limits, 10 cutting. Expected values
are the RFC's, and Python's own decoder says what is UTF-8.
"""

import contextlib
import itertools
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tickpath.netstack.ws import ws
from tickpath.netstack.ws.ws import Message, Opcode

CUTS = [1, 2, 3, 997, 1 << 20]


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, first: int = 0) -> bytes:
    """Return a server's frame; first is or-ed into its first byte."""
    size = len(payload)
    length = (
        bytes([size])
        if size < 126
        else b"\x7e" + struct.pack(">H", size)
        if size < 65536
        else b"\x7f" + struct.pack(">Q", size)
    )
    return bytes([first | (0x80 if fin else 0) | opcode]) + length + payload


def close(code: int, reason: bytes = b"") -> bytes:
    """Return a close frame."""
    return frame(8, struct.pack(">H", code) + reason)


def play(data: bytes, cut: int = 1 << 20, **limits: int) -> tuple[list[Message], int]:
    """Feed data in pieces; return the messages and the close code of the error, or 0."""
    reader = ws.Reader(**limits)
    messages: list[Message] = []
    try:
        for start in range(0, len(data), cut):
            messages += reader.feed(data[start : start + cut])
        messages += reader.feed(b"")
    except ws.WsError as error:
        return messages, error.close_code
    return messages, 0


@pytest.mark.parametrize("size", [0, 125, 126, 127, 128, 65535, 65536])
@pytest.mark.parametrize("opcode", [1, 2])
@pytest.mark.parametrize("cut", [997, 1 << 20])
def test_case_1_payload_of_every_length_form_is_read(size: int, opcode: int, cut: int) -> None:
    assert play(frame(opcode, b"*" * size), cut) == ([Message(Opcode(opcode), b"*" * size)], 0)


@pytest.mark.parametrize("opcode", [9, 10])
@pytest.mark.parametrize("payload", [b"", b"Hello", bytes(range(0xFE, 0x100)), b"\xfe" * 125])
@pytest.mark.parametrize("cut", CUTS)
def test_case_2_control_frame_up_to_125_bytes_is_read(
    opcode: int, payload: bytes, cut: int
) -> None:
    expected = [Message(Opcode(opcode), payload)]
    assert play(frame(opcode, payload) * 10, cut) == (expected * 10, 0)


@pytest.mark.parametrize("opcode", [8, 9, 10])
@pytest.mark.parametrize("cut", CUTS)
def test_case_2_control_frame_of_126_bytes_is_1002(opcode: int, cut: int) -> None:
    assert play(frame(opcode, b"\x03\xe8" + b"x" * 124), cut) == ([], 1002)
    assert play(bytes([0x80 | opcode, 126]), cut) == ([], 1002)
    assert play(bytes([0x80 | opcode, 127]), cut) == ([], 1002)


@pytest.mark.parametrize("rsv", [0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70])
@pytest.mark.parametrize("opcode", [0, 1, 2, 8, 9, 10])
@pytest.mark.parametrize("cut", [1, 1 << 20])
def test_case_3_reserved_bit_is_1002_from_the_first_byte(rsv: int, opcode: int, cut: int) -> None:
    good = frame(1, b"Hello")
    bad = frame(opcode, b"", first=rsv)
    assert play(good + bad[:1], cut) == ([Message(Opcode.TEXT, b"Hello")], 1002)
    assert play(good + bad + good, cut) == ([Message(Opcode.TEXT, b"Hello")], 1002)


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
@pytest.mark.parametrize("payload", [b"", b"x"])
def test_case_4_reserved_opcode_is_1002(opcode: int, payload: bytes) -> None:
    good = frame(1, b"Hello")
    for data in (frame(opcode, payload), frame(opcode, payload)[:1]):
        assert play(good + data) == ([Message(Opcode.TEXT, b"Hello")], 1002)


@pytest.mark.parametrize("opcode", [1, 2, 8, 9, 10])
def test_case_4_masked_frame_from_the_server_is_1002(opcode: int) -> None:
    assert play(bytes([0x80 | opcode, 0x80]) + b"mask") == ([], 1002)
    assert play(bytes([0x80 | opcode, 0x85])) == ([], 1002)


@pytest.mark.parametrize("opcode", [8, 9, 10])
@pytest.mark.parametrize("cut", [1, 1 << 20])
def test_case_5_fragmented_control_frame_is_1002(opcode: int, cut: int) -> None:
    assert play(frame(opcode, b"", fin=False) + frame(0, b""), cut) == ([], 1002)


@pytest.mark.parametrize("cut", CUTS)
def test_case_5_control_frames_stand_between_fragments(cut: int) -> None:
    data = (
        frame(1, b"fragment1", fin=False)
        + frame(9, b"ping 1")
        + frame(0, b"fragment2", fin=False)
        + frame(10, b"pong")
        + frame(9, b"ping 2")
        + frame(0, b"")
        + frame(2, b"next")
    )
    expected = [
        Message(Opcode.PING, b"ping 1"),
        Message(Opcode.PONG, b"pong"),
        Message(Opcode.PING, b"ping 2"),
        Message(Opcode.TEXT, b"fragment1fragment2"),
        Message(Opcode.BINARY, b"next"),
    ]
    assert play(data, cut) == (expected, 0)


@pytest.mark.parametrize("fin", [True, False])
@pytest.mark.parametrize("before", [b"", frame(1, b"whole"), frame(2, b"a", fin=False) + frame(0)])
def test_case_5_continuation_without_a_message_is_1002(fin: bool, before: bytes) -> None:
    messages, code = play(before + frame(0, b"x", fin=fin))
    assert (len(messages), code) == (1 if before else 0, 1002)


@pytest.mark.parametrize("opcode", [1, 2])
@pytest.mark.parametrize("fin", [True, False])
def test_case_5_new_message_inside_a_fragmented_one_is_1002(opcode: int, fin: bool) -> None:
    assert play(frame(1, b"a", fin=False) + frame(opcode, b"b", fin=fin)) == ([], 1002)


@pytest.mark.parametrize("cut", CUTS)
def test_case_5_close_may_stand_inside_a_fragmented_message(cut: int) -> None:
    data = frame(1, b"a", fin=False) + close(1000)
    assert play(data, cut) == ([Message(Opcode.CLOSE, b"", 1000)], 0)


VALID_TEXTS = [
    "Hello-\u00b5@\u00df\u00f6\u00e4\u00fc\u00e0\u00e1-UTF-8!!".encode(),
    "\u03ba\u1f79\u03c3\u03bc\u03b5".encode(),
    b"\x00",
    b"\x7f",
    b"\xc2\x80",
    b"\xdf\xbf",
    b"\xe0\xa0\x80",
    b"\xed\x9f\xbf",
    b"\xee\x80\x80",
    b"\xef\xbf\xbd",
    b"\xef\xbf\xbe",
    b"\xef\xbf\xbf",
    b"\xf0\x90\x80\x80",
    b"\xf4\x8f\xbf\xbf",
]
INVALID_TEXTS = [
    b"\x80",
    b"\xbf",
    b"\x80" * 6,
    b"\xc0\x80",
    b"\xc1\xbf",
    b"\xe0\x80\x80",
    b"\xe0\x9f\xbf",
    b"\xf0\x80\x80\x80",
    b"\xf0\x8f\xbf\xbf",
    b"\xed\xa0\x80",
    b"\xed\xbf\xbf",
    b"\xed\xa0\x80\xed\xb0\x80",
    b"\xf4\x90\x80\x80",
    b"\xf5\x80\x80\x80",
    b"\xf8\x88\x80\x80\x80",
    b"\xfc\x84\x80\x80\x80\x80",
    b"\xfe",
    b"\xff",
    b"\xc3(",
    b"\xe2\x28\xa1",
    b"\xe2\x82(",
    b"\xf0\x28\x8c\xbc",
    "\u03ba\u1f79\u03c3\u03bc\u03b5".encode() + b"\xf4\x90\x80\x80" + b"edited",
]
INCOMPLETE_TEXTS = [b"\xc2", b"\xe2", b"\xe2\x82", b"\xf0", b"\xf0\x90", b"\xf0\x90\x80"]


def fragmented(payload: bytes, size: int) -> bytes:
    """Return a text message in fragments of the given size."""
    pieces = [payload[i : i + size] for i in range(0, len(payload), size)] or [b""]
    return b"".join(
        frame(1 if i == 0 else 0, piece, fin=i == len(pieces) - 1) for i, piece in enumerate(pieces)
    )


@pytest.mark.parametrize("text", VALID_TEXTS)
@pytest.mark.parametrize("padding", [b"", b"0123456", b"0123456789abcdef"])
def test_case_6_text_in_utf_8_is_read_however_it_is_cut(text: bytes, padding: bytes) -> None:
    payload = padding + text + padding
    for size, cut in itertools.product([1, 2, 3, 1000], [1, 2, 1 << 20]):
        assert play(fragmented(payload, size), cut) == ([Message(Opcode.TEXT, payload)], 0)


@pytest.mark.parametrize("text", INVALID_TEXTS + INCOMPLETE_TEXTS)
@pytest.mark.parametrize("padding", [b"", b"0123456", b"0123456789abcdef"])
def test_case_6_text_not_in_utf_8_is_1007_however_it_is_cut(text: bytes, padding: bytes) -> None:
    for size, cut in itertools.product([1, 2, 3, 1000], [1, 2, 1 << 20]):
        assert play(fragmented(padding + text, size), cut) == ([], 1007)
        assert play(fragmented(padding + text + padding, size), cut)[1] in (
            {1007} if padding or text in INVALID_TEXTS else {0, 1007}
        )


@pytest.mark.parametrize("text", INCOMPLETE_TEXTS)
def test_case_6_character_open_at_the_end_of_a_message_does_not_reach_the_next(text: bytes) -> None:
    assert play(frame(1, text) + frame(1, b"\x80")) == ([], 1007)
    assert play(frame(2, text) + frame(1, b"ok"))[1] == 0


def test_case_6_binary_is_not_text() -> None:
    assert play(frame(2, b"\xff\xfe", fin=False) + frame(0, b"\x80"))[1] == 0


ENDINGS = [b"", *(a + b for a in (b"\x80", b"\x90", b"\xa0") for b in (b"", b"\x80", b"\x80\x80"))]


def first_bad_size(text: bytes) -> int | None:
    """Return how many bytes it takes to see that no ending makes Python's decoder take text."""
    for size in range(1, len(text) + 1):
        for ending in ENDINGS:
            with contextlib.suppress(UnicodeDecodeError):
                (text[:size] + ending).decode()
                break
        else:
            return size
    return None


@given(
    text=st.binary(max_size=40)
    | st.lists(st.sampled_from(VALID_TEXTS + INVALID_TEXTS)).map(b"".join)
)
@example(text=b"\xf4\x90")
@example(text=b"\xe0\x9f")
@example(text=b"\xed\xa0")
def test_case_6_text_fails_at_the_first_byte_that_no_valid_text_has_there(text: bytes) -> None:
    """Cases 6.4: the frame is announced with 200 bytes more, which never come."""
    wrong = first_bad_size(text)
    reader = ws.Reader()
    reader.feed(bytes([0x81, 126]) + struct.pack(">H", len(text) + 200))
    for size in range(1, len(text) + 1):
        if size == wrong:
            with pytest.raises(ws.WsError) as caught:
                reader.feed(text[size - 1 : size])
            assert caught.value.close_code == 1007
            break
        assert reader.feed(text[size - 1 : size]) == []


def test_case_6_text_fails_in_its_first_fragment() -> None:
    assert play(frame(1, b"ok \xf4\x90", fin=False)) == ([], 1007)
    assert play(frame(1, b"ok \xf4", fin=False) + frame(9) + frame(0, b"\x90", fin=False)) == (
        [Message(Opcode.PING, b"")],
        1007,
    )


VALID_CODES = [*range(1000, 1004), *range(1007, 1015), 3000, 3999, 4000, 4999]
INVALID_CODES = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535]


@pytest.mark.parametrize("code", VALID_CODES)
@pytest.mark.parametrize("cut", [1, 1 << 20])
def test_case_7_close_with_a_valid_code_is_read(code: int, cut: int) -> None:
    assert play(close(code, b"why"), cut) == ([Message(Opcode.CLOSE, b"why", code)], 0)
    assert play(close(code), cut) == ([Message(Opcode.CLOSE, b"", code)], 0)
    assert ws.close_code_valid(code)


@pytest.mark.parametrize("code", INVALID_CODES)
@pytest.mark.parametrize("cut", [1, 1 << 20])
def test_case_7_close_with_a_code_that_must_not_be_sent_is_1002(code: int, cut: int) -> None:
    assert play(close(code, b"why"), cut) == ([], 1002)
    assert play(close(code), cut) == ([], 1002)
    with pytest.raises(ValueError, match=str(code)):
        ws.close_frame(code)


def test_case_7_close_without_a_payload_is_1005() -> None:
    assert play(frame(8)) == ([Message(Opcode.CLOSE, b"", 1005)], 0)


def test_case_7_close_with_one_byte_is_1002() -> None:
    assert play(frame(8, b"\x03")) == ([], 1002)


def test_case_7_close_reason_may_have_123_bytes() -> None:
    assert play(close(1000, b"x" * 123)) == ([Message(Opcode.CLOSE, b"x" * 123, 1000)], 0)


@pytest.mark.parametrize("reason", INVALID_TEXTS + INCOMPLETE_TEXTS)
def test_case_7_close_reason_not_in_utf_8_is_1007(reason: bytes) -> None:
    assert play(close(1000, reason)) == ([], 1007)


@pytest.mark.parametrize("reason", VALID_TEXTS)
def test_case_7_close_reason_in_utf_8_is_read(reason: bytes) -> None:
    assert play(close(1000, reason)) == ([Message(Opcode.CLOSE, reason, 1000)], 0)


def test_case_7_nothing_counts_after_a_close() -> None:
    for after in (frame(1, b"late"), frame(9), close(1001), b"\xff" * 50):
        for cut in (1, 1 << 20):
            assert play(close(1000) + after, cut) == ([Message(Opcode.CLOSE, b"", 1000)], 0)


NON_MINIMAL = [
    b"\x82\x7e\x00\x00",
    b"\x82\x7e\x00\x7d",
    b"\x82\x7f" + struct.pack(">Q", 0),
    b"\x82\x7f" + struct.pack(">Q", 125),
    b"\x82\x7f" + struct.pack(">Q", 65535),
]


@pytest.mark.parametrize("header", NON_MINIMAL)
@pytest.mark.parametrize("cut", [1, 1 << 20])
def test_case_9_length_not_in_its_shortest_form_is_1002(header: bytes, cut: int) -> None:
    assert play(header, cut) == ([], 1002)


@pytest.mark.parametrize("length", [1 << 63, (1 << 64) - 1, (1 << 63) + 5])
@pytest.mark.parametrize("cut", [1, 1 << 20])
def test_case_9_length_with_its_top_bit_is_1002(length: int, cut: int) -> None:
    assert play(b"\x82\x7f" + struct.pack(">Q", length), cut) == ([], 1002)
    assert play(b"\x82\x7f" + struct.pack(">Q", length)[:1], cut) == ([], 1002)


@pytest.mark.parametrize("length", [70_001, 1 << 31, 1 << 32, 1 << 62, (1 << 63) - 1])
@pytest.mark.parametrize("cut", [1, 1 << 20])
def test_case_9_length_over_the_limit_is_1009_from_the_header_alone(length: int, cut: int) -> None:
    for opcode in (1, 2):
        data = bytes([0x80 | opcode, 127]) + struct.pack(">Q", length)
        assert play(data, cut, message_size_max=70_000) == ([], 1009)
        assert play(data[:-1], cut, message_size_max=70_000) == ([], 0)


@pytest.mark.parametrize("cut", [1, 7, 1 << 20])
def test_case_9_message_of_just_the_limit_is_read_and_one_byte_more_is_1009(cut: int) -> None:
    just = [Message(Opcode.BINARY, b"x" * 1000)]
    assert play(frame(2, b"x" * 1000), cut, message_size_max=1000) == (just, 0)
    assert play(frame(2, b"x" * 1001), cut, message_size_max=1000) == ([], 1009)
    begin = frame(2, b"x" * 600, fin=False) + frame(9)
    ping = [Message(Opcode.PING, b"")]
    assert play(begin + frame(0, b"x" * 400), cut, message_size_max=1000) == (ping + just, 0)
    assert play(begin + frame(0, b"x" * 401)[:4], cut, message_size_max=1000) == (ping, 1009)
    assert play(frame(2, b"x" * 999), cut, message_size_max=0) == ([], 1009)


@pytest.mark.parametrize("cut", [1, 64, 1 << 20])
def test_case_9_message_over_the_buffer_is_1009(cut: int) -> None:
    limits = {"message_size_max": 1 << 20, "capacity": 200}
    assert play(frame(2, b"x" * 196), cut, **limits)[1] == 0
    assert play(frame(2, b"x" * 197), cut, **limits) == ([], 1009)
    begin = frame(2, b"x" * 100, fin=False)
    assert play(begin + frame(0, b"y" * 98), cut, **limits)[1] == 0
    assert play(begin + frame(0, b"y" * 99), cut, **limits) == ([], 1009)


@pytest.mark.parametrize("cut", [1, 1 << 20])
@pytest.mark.parametrize("payload", [b"", b"x"])
def test_case_9_fragment_flood_is_1008(payload: bytes, cut: int) -> None:
    begin = frame(1, payload, fin=False) + frame(0, payload, fin=False) * 14
    whole = [Message(Opcode.TEXT, payload * 16)]
    assert play((begin + frame(0, payload)) * 2, cut, fragment_count_max=16) == (whole * 2, 0)
    begin += frame(0, payload, fin=False)
    assert play(begin, cut, fragment_count_max=16) == ([], 0)
    assert play(begin + frame(0, payload)[:2], cut, fragment_count_max=16) == ([], 1008)


@pytest.mark.parametrize("size", [1, 64, 256, 1024, 4096, 16384, 65536])
def test_case_9_message_of_256_kib_in_fragments_is_read(size: int) -> None:
    payload = b"\xce\xba" * (1 << 17)
    data = fragmented(payload[: 1 << 12] if size == 1 else payload, size)
    expected = payload[: 1 << 12] if size == 1 else payload
    messages, code = play(data, 5000, fragment_count_max=4096)
    assert (messages, code) == ([Message(Opcode.TEXT, expected)], 0)


@pytest.mark.parametrize("cut", CUTS)
def test_case_10_message_cut_anywhere_is_read(cut: int) -> None:
    payload = b"*" * 65536
    size = 3000 if cut < 4 else 65536
    assert play(frame(1, payload[:size]), cut) == ([Message(Opcode.TEXT, payload[:size])], 0)
