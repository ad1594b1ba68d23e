"""WebSocket frames against RFC 6455's examples and the `websockets` package's own protocol code."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tickpath._core import ffi, lib
from tickpath.netstack.ws import ws
from tickpath.netstack.ws.ws import Message, Opcode
from websockets import frames
from websockets.protocol import OPEN, Protocol, Side

MASK = bytes.fromhex("37fa213d")  # RFC 6455 5.7


def arbitrary_bytes(size: int) -> bytes:
    """Return bytes without a pattern, the same each time."""
    return hashlib.shake_128(b"tickpath").digest(size)


def feed_in_pieces(reader: ws.Reader, data: bytes, sizes: list[int]) -> list[Message]:
    """Feed data cut into pieces of the given sizes, over and over."""
    messages: list[Message] = []
    position = index = 0
    while position < len(data):
        size = sizes[index % len(sizes)]
        messages += reader.feed(data[position : position + size])
        position += size
        index += 1
    return messages


RFC_5_7_SERVER = {
    "810548656c6c6f": [Message(Opcode.TEXT, b"Hello")],
    "010348656c80026c6f": [Message(Opcode.TEXT, b"Hello")],
    "890548656c6c6f": [Message(Opcode.PING, b"Hello")],
    "827e0100" + "ab" * 256: [Message(Opcode.BINARY, b"\xab" * 256)],
    "827f0000000000010000" + "cd" * 65536: [Message(Opcode.BINARY, b"\xcd" * 65536)],
}


@pytest.mark.parametrize("hexadecimal", RFC_5_7_SERVER, ids=lambda text: text[:20])
@pytest.mark.parametrize("piece_size", [1, 3, 1 << 20])
def test_frames_of_rfc_6455_5_7_are_read(hexadecimal: str, piece_size: int) -> None:
    data = bytes.fromhex(hexadecimal)
    assert feed_in_pieces(ws.Reader(), data, [piece_size]) == RFC_5_7_SERVER[hexadecimal]


def test_frames_of_rfc_6455_5_7_are_written() -> None:
    assert ws.frame(Opcode.TEXT, b"Hello", mask=MASK).hex() == "818537fa213d7f9f4d5158"
    assert ws.frame(Opcode.PONG, b"Hello", mask=MASK).hex() == "8a8537fa213d7f9f4d5158"


@given(
    opcode=st.sampled_from([Opcode.TEXT, Opcode.BINARY, Opcode.CONTINUATION]),
    size=st.integers(0, 300) | st.sampled_from([125, 126, 127, 65535, 65536, 65537]),
    fin=st.booleans(),
    mask=st.binary(min_size=4, max_size=4),
)
def test_frame_written_is_what_websockets_reads(
    opcode: Opcode, size: int, fin: bool, mask: bytes
) -> None:
    payload = arbitrary_bytes(size)
    data = ws.frame(opcode, payload, fin=fin, mask=mask)
    server = Protocol(Side.SERVER, state=OPEN)
    if opcode is Opcode.CONTINUATION:
        server.receive_data(ws.frame(Opcode.BINARY, b"", fin=False))
        server.events_received()
    server.receive_data(data)
    (event,) = server.events_received()
    assert isinstance(event, frames.Frame)
    assert (int(event.opcode), bytes(event.data), event.fin) == (int(opcode), payload, fin)
    assert len(data) == size + 6 + (0 if size < 126 else 2 if size < 65536 else 8)
    assert data[-size - 4 :][:4] == mask


@pytest.mark.parametrize("opcode", [Opcode.CLOSE, Opcode.PING, Opcode.PONG])
def test_frame_control_over_125_bytes_or_fragmented_is_not_written(opcode: Opcode) -> None:
    assert len(ws.frame(opcode, b"x" * 125)) == 131
    with pytest.raises(ValueError, match="125"):
        ws.frame(opcode, b"x" * 126)
    with pytest.raises(ValueError, match="fin=False"):
        ws.frame(opcode, b"x", fin=False)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
def test_frame_is_written_whole_or_not_at_all(size: int) -> None:
    whole = size + 6 + (0 if size < 126 else 2 if size < 65536 else 8)
    payload = ffi.new("uint8_t[]", b"x" * size + b"\0")
    span = ffi.new("struct tp_span *", {"data": payload, "size": size})
    for capacity in {max(0, whole - less) for less in (0, 1, 7, 8, 14, whole)}:
        out = ffi.new("uint8_t[]", b"\xee" * (whole + 16))
        written = lib.tp_ws_frame_write(out, capacity, lib.TP_WS_BINARY, True, b"\1\2\3\4", span[0])
        fits = capacity >= whole
        assert written == (whole if fits else 0)
        assert bytes(out[max(0, capacity) : whole + 16]) == b"\xee" * (
            whole + 16 - max(0, capacity)
        )


def test_frame_masks_are_fresh() -> None:
    assert len({ws.frame(Opcode.BINARY, b"")[2:6] for _ in range(32)}) > 30


# A message: its opcode, its fragments, and the control frames before each of them.
controls = st.lists(
    st.tuples(st.sampled_from([Opcode.PING, Opcode.PONG]), st.binary(max_size=125)), max_size=2
)
fragments = st.lists(
    st.tuples(controls, st.binary(max_size=40) | st.integers(0, 3000).map(bytes)),
    min_size=1,
    max_size=6,
)
message = st.tuples(st.sampled_from([Opcode.TEXT, Opcode.BINARY]), fragments, st.text(max_size=60))
conversation = st.lists(message, max_size=6)
piece_sizes = st.lists(st.integers(1, 50) | st.integers(1, 5000), min_size=1, max_size=5)
Conversation = list[tuple[Opcode, list[tuple[list[tuple[Opcode, bytes]], bytes]], str]]


def server_frame(opcode: int, payload: bytes, *, fin: bool = True) -> bytes:
    """Return an unmasked frame, written by `websockets`."""
    return frames.Frame(frames.Opcode(opcode), payload, fin).serialize(mask=False)


def server_bytes(messages: Conversation) -> bytes:
    """Return the conversation's frames; text messages are their text, cut at arbitrary bytes."""
    out = b""
    for opcode, parts, text in messages:
        pieces = [payload for _, payload in parts]
        if opcode is Opcode.TEXT:
            step = -(-len(text.encode()) // len(parts)) or 1
            pieces = [text.encode()[i * step : (i + 1) * step] for i in range(len(parts))]
        for index, (before, _) in enumerate(parts):
            for control, payload in before:
                out += server_frame(control, payload)
            code = opcode if index == 0 else Opcode.CONTINUATION
            out += server_frame(code, pieces[index], fin=index == len(parts) - 1)
    return out


def websockets_reads(data: bytes) -> list[Message]:
    """Return what `websockets` reads as a client, its frames put together into messages."""
    client = Protocol(Side.CLIENT, state=OPEN)
    client.receive_data(data)
    messages: list[Message] = []
    joined, first = b"", Opcode.CONTINUATION
    for event in client.events_received():
        assert isinstance(event, frames.Frame)
        payload = bytes(event.data)
        if event.opcode in frames.CTRL_OPCODES:
            code = frames.Close.parse(payload).code if event.opcode is frames.Opcode.CLOSE else 0
            body = payload[2:] if event.opcode is frames.Opcode.CLOSE else payload
            messages.append(Message(Opcode(event.opcode), body, int(code)))
            continue
        if event.opcode is not frames.Opcode.CONT:
            joined, first = b"", Opcode(event.opcode)
        joined += payload
        if event.fin:
            messages.append(Message(first, joined))
    assert client.parser_exc is None
    return messages


CLOSES = st.none() | st.tuples(
    st.sampled_from([1000, 1001, 1003, 1011, 3000, 4999]), st.text(max_size=20)
)


@settings(max_examples=200)
@given(messages=conversation, sizes=piece_sizes, close=CLOSES, slack=st.integers(0, 300))
def test_messages_are_those_of_websockets_however_the_bytes_are_cut(
    messages: Conversation, sizes: list[int], close: tuple[int, str] | None, slack: int
) -> None:
    data = server_bytes(messages)
    if close is not None:
        data += server_frame(8, frames.Close(close[0], close[1]).serialize())
    expected = websockets_reads(data)
    assert ws.Reader().feed(data) == expected
    # The smallest buffer that holds the largest message and a control frame, to make it move bytes.
    largest = max((len(m.payload) for m in expected), default=0)
    reader = ws.Reader(capacity=largest + 131 + slack)
    assert feed_in_pieces(reader, data, sizes) == expected
    assert reader.closed == (close is not None)


@given(messages=conversation, sizes=piece_sizes, bad=st.sampled_from(["mask", "rsv", "opcode"]))
def test_messages_before_a_broken_frame_are_those_of_websockets(
    messages: Conversation, sizes: list[int], bad: str
) -> None:
    data = server_bytes(messages)
    broken = {"mask": b"\x82\x80abcd", "rsv": b"\xc2\x00", "opcode": b"\x83\x00"}[bad]
    client = Protocol(Side.CLIENT, state=OPEN)
    client.receive_data(data + broken)
    assert client.parser_exc is not None
    client.receive_eof()
    assert client.close_exc.sent is not None
    reader = ws.Reader()
    assert feed_in_pieces(reader, data, sizes) == websockets_reads(data)
    with pytest.raises(ws.WsError) as caught:
        reader.feed(broken)
    assert caught.value.close_code == client.close_exc.sent.code == 1002
    with pytest.raises(ws.WsError):
        reader.feed(b"")


def test_message_of_16_mib_is_read_whole_and_in_fragments() -> None:
    payload = arbitrary_bytes(16 << 20)
    reader = ws.Reader(message_size_max=16 << 20)
    whole = server_frame(2, payload)
    pieces = [payload[i : i + 65536] for i in range(0, len(payload), 65536)]
    cut = b"".join(
        server_frame(2 if i == 0 else 0, piece, fin=i == len(pieces) - 1)
        for i, piece in enumerate(pieces)
    )
    for data in (whole, cut, whole):
        assert feed_in_pieces(reader, data, [100_000, 1, 16_384]) == [
            Message(Opcode.BINARY, payload)
        ]


def test_reader_with_pings_without_end_inside_a_message_does_not_fill_its_buffer() -> None:
    reader = ws.Reader(capacity=1 << 16)
    reader.feed(server_frame(2, b"start", fin=False))
    pings = server_frame(9, b"p" * 125) * 100
    for _ in range(50):
        assert len(feed_in_pieces(reader, pings, [1000])) == 100
    assert reader.feed(server_frame(0, b" end")) == [Message(Opcode.BINARY, b"start end")]


def test_reader_ignores_all_that_follows_a_close() -> None:
    reader = ws.Reader(capacity=200)
    data = server_frame(8, b"\x03\xe8bye") + b"\xff" * 1000
    assert reader.feed(data) == [Message(Opcode.CLOSE, b"bye", 1000)]
    assert reader.feed(b"\xff" * 1000) == []
    assert reader.closed
