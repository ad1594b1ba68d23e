"""One session over a socket pair, call by call: how it ends, and what it says in between.

The other end is Python's `ssl` and the sans-IO server of `websockets`; no clock is read.
"""

from __future__ import annotations

import contextlib
import mmap
import socket
import ssl
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from tickpath._core import ffi, lib
from websockets.frames import Close, Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from tests.unit.handshake_worker import new_worker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


NAME = "exchange.test"
SECOND = 1_000_000_000
PUMP_COUNT = 50
WINDOW = 1 << 16
MESSAGE_SIZE_MAX = 1 << 16


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for NAME and its key in one file, which is its own authority too."""
    folder = tmp_path_factory.mktemp("tls")
    made, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", f"/CN={NAME}"),
            *("-addext", f"subjectAltName=DNS:{NAME}", "-keyout", str(key), "-out", str(made)),
        ],
        check=True,
        capture_output=True,
    )
    made.write_text(made.read_text() + key.read_text())
    return made


class Pair:
    """A session and its server."""

    def __init__(
        self,
        certificate: Path | None,
        *,
        websocket: bool = True,
        worker: Any = ffi.NULL,
        version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
        memory: Any = ffi.NULL,
    ) -> None:
        """With a worker: client_turn lets it work between input and tick, while it may."""
        self.may_work = True
        near, self.peer = socket.socketpair()
        near.setblocking(False)
        self.peer.setblocking(False)
        self.now_ns = SECOND
        self.stream = ffi.new("struct tp_stream *")
        assert lib.tp_stream_init_socket(self.stream, near.detach())
        config = ffi.new("struct tp_session_config *")
        self.context = self._context(certificate)
        texts = [ffi.new("char[]", word) for word in (NAME.encode(), b"/ws", b"")]
        config.tls, config.server_name, config.websocket = self.context, texts[0], websocket
        config.handshake_worker = self.worker = worker
        config.host, config.target, config.extra_headers = texts
        config.message_size_max, config.receive_window = MESSAGE_SIZE_MAX, WINDOW
        config.handshake_timeout_ns = 10 * SECOND
        config.memory = memory
        error = ffi.new("char[256]")
        session = lib.tp_session_new(config, self.stream, error, 256)
        assert session != ffi.NULL, ffi.string(error)
        self.session = ffi.gc(session, lib.tp_session_free)
        self.message = ffi.new("struct tp_ws_message *")
        self.protocol = ServerProtocol(max_size=None)
        self.frames: list[Frame] = []
        self.tls: ssl.SSLObject | None = None
        if certificate is not None:
            server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            server.load_cert_chain(certificate)
            server.maximum_version = version
            self._from, self._to = ssl.MemoryBIO(), ssl.MemoryBIO()
            self.tls = server.wrap_bio(self._from, self._to, server_side=True)
        lib.tp_session_connect(self.session, self.now_ns)

    def _context(self, certificate: Path | None) -> Any:
        if certificate is None:
            return ffi.NULL
        config = ffi.new("struct tp_tls_context_config *")
        ca_file = ffi.new("char[]", str(certificate).encode())
        config.ca_file = ca_file
        error = ffi.new("char[256]")
        context = lib.tp_tls_context_new(config, error, 256)
        assert context != ffi.NULL, ffi.string(error)
        return ffi.gc(context, lib.tp_tls_context_free)

    # -- the session

    def client_turn(self) -> bool:
        """Take one burst and answer, as the loop of engine/loop does."""
        came = lib.tp_session_receive(self.session, self.now_ns)
        if self.worker != ffi.NULL and self.may_work:
            lib.tp_tls_handshake_worker_step(self.worker)
        lib.tp_session_tick(self.session, self.now_ns)
        lib.tp_session_output(self.session, ffi.NULL, self.now_ns)
        return bool(came)

    def next(self) -> tuple[int, int, bytes]:
        status = lib.tp_session_next(self.session, self.message)
        if status != lib.TP_OK:
            return int(status), -1, b""
        payload = self.message.payload
        return int(status), int(self.message.opcode), bytes(ffi.buffer(payload.data, payload.size))

    @property
    def phase(self) -> int:
        return int(lib.tp_session_phase(self.session))

    def error_text(self) -> str:
        text = ffi.new("char[256]")
        lib.tp_session_error_text(self.session, text, 256)
        return bytes(ffi.string(text)).decode()

    # -- the server

    def server_turn(self, *, accept: bool = True) -> None:
        """Take what came; answer the handshakes."""
        with contextlib.suppress(BlockingIOError):
            while data := self.peer.recv(1 << 16):
                self._take(data)
        for event in self.protocol.events_received():
            if isinstance(event, Frame):
                self.frames.append(event)
            elif isinstance(event, Request) and accept:
                self.protocol.send_response(self.protocol.accept(event))
                self.write(b"".join(self.protocol.data_to_send()))
        if self.tls is not None:
            self._flush()

    def _take(self, data: bytes) -> None:
        if self.tls is None:
            self.protocol.receive_data(data)
            return
        self._from.write(data)
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            self.tls.do_handshake()
            while plain := self.tls.read(1 << 16):
                self.protocol.receive_data(plain)

    def _flush(self) -> None:
        if data := self._to.read():
            self.peer.sendall(data)

    def seal(self, plain: bytes) -> bytes:
        assert self.tls is not None
        self.tls.write(plain)
        return self._to.read()

    def write(self, plain: bytes) -> None:
        self.peer.sendall(plain if self.tls is None else self.seal(plain))

    def open(self) -> Pair:
        """Shake hands."""
        for _ in range(PUMP_COUNT):
            self.client_turn()
            self.server_turn()
            if self.phase == lib.TP_SESSION_OPEN:
                return self
        raise AssertionError(self.error_text())


def new_pair(kind: str, certificate: Path) -> Pair:
    worker = new_worker() if kind == "worker" else ffi.NULL
    return Pair(None if kind == "plain" else certificate, worker=worker)


@pytest.fixture(params=["tls", "worker", "plain"])
def pair(request: pytest.FixtureRequest, certificate: Path) -> Iterator[Pair]:
    made = new_pair(request.param, certificate)
    yield made
    made.peer.close()


@pytest.fixture(params=["tls", "worker"])
def tls_pair(request: pytest.FixtureRequest, certificate: Path) -> Iterator[Pair]:
    made = new_pair(request.param, certificate)
    yield made
    made.peer.close()


def close_frame(code: int = 1000) -> bytes:
    return Frame(Opcode.CLOSE, Close(code, "").serialize()).serialize(mask=False)


def text_frame(text: bytes) -> bytes:
    return Frame(Opcode.TEXT, text).serialize(mask=False)


# ---- memory that sessions share ------------------------------------------------------------------

USUAL_SIZE, LARGE_SIZE = 1000, 50_000


class Memory:
    """Buffers for some sessions, of which `large` may read a large message at a time."""

    def __init__(self, sessions: int, large: int) -> None:
        sizes = (sessions, large, USUAL_SIZE, LARGE_SIZE, WINDOW)
        config = ffi.new("struct tp_session_memory_config *", sizes)
        self.pages = mmap.mmap(-1, lib.tp_session_memory_size(config))
        self.c = lib.tp_session_memory_init(ffi.from_buffer(self.pages), config)

    @property
    def counts(self) -> tuple[int, int, int]:
        """Times borrowed, times refused, large buffers out now."""
        return (
            int(lib.tp_session_memory_borrowed(self.c)),
            int(lib.tp_session_memory_refused(self.c)),
            int(lib.tp_session_memory_in_use(self.c)),
        )


def free(pair: Pair) -> None:
    """Free the session now, as a loop's cold thread does."""
    ffi.release(pair.session)


def binary(size: int) -> tuple[bytes, bytes]:
    payload = bytes(index * 7 & 0xFF for index in range(size))
    return payload, Frame(Opcode.BINARY, payload).serialize(mask=False)


@pytest.mark.parametrize("kind", ["tls", "plain"])
def test_session_without_a_free_large_buffer_fails_and_others_go_on(
    kind: str, certificate: Path
) -> None:
    memory = Memory(3, 1)
    made = [Pair(certificate if kind == "tls" else None, memory=memory.c).open() for _ in range(3)]
    first, second, third = made
    payload, frame = binary(10_000)
    cut = 5000
    first.write(frame[:cut])  # it borrows, and waits for the rest
    first.client_turn()
    assert first.next()[0] == lib.TP_NEED_MORE
    assert memory.counts == (1, 0, 1)
    second.write(frame[:cut])
    second.client_turn()
    assert second.next()[0] == lib.TP_ERROR
    assert second.error_text() == (
        "memory: a message of more than 1000 bytes came while all 1 large buffers were in use"
    )
    assert second.phase == lib.TP_SESSION_CLOSED
    third.write(binary(USUAL_SIZE)[1])
    third.client_turn()
    assert third.next() == (lib.TP_OK, Opcode.BINARY, binary(USUAL_SIZE)[0])
    first.write(frame[cut:])
    first.client_turn()
    assert first.next() == (lib.TP_OK, Opcode.BINARY, payload)
    assert memory.counts == (1, 1, 1)  # the payload is still being read
    assert first.next()[0] == lib.TP_NEED_MORE
    assert memory.counts == (1, 1, 0)
    third.write(frame)
    third.client_turn()
    assert third.next() == (lib.TP_OK, Opcode.BINARY, payload)
    for one in made:
        free(one)
        one.peer.close()
    assert memory.counts == (2, 1, 0)


def test_session_that_ends_in_a_large_message_gives_its_buffers_back(certificate: Path) -> None:
    memory = Memory(1, 1)
    for count in range(1, 4):
        pair = Pair(certificate, memory=memory.c).open()
        pair.write(binary(10_000)[1][:5000])
        pair.client_turn()
        assert pair.next()[0] == lib.TP_NEED_MORE
        assert memory.counts == (count, 0, 1)
        free(pair)
        pair.peer.close()
        assert memory.counts == (count, 0, 0)


def test_session_large_messages_in_a_row_borrow_once(certificate: Path) -> None:
    memory = Memory(1, 1)
    pair = Pair(certificate, memory=memory.c).open()
    payload, frame = binary(10_000)
    for step in range(4):  # each piece ends within the next large message, whose size is known
        pair.write(frame[100 if step else 0 :] + frame[:100])
        pair.client_turn()
        assert pair.next() == (lib.TP_OK, Opcode.BINARY, payload)
        assert pair.next()[0] == lib.TP_NEED_MORE
    assert memory.counts == (1, 0, 1)
    pair.write(frame[100:])
    pair.client_turn()
    assert pair.next()[2] == payload
    assert pair.next()[0] == lib.TP_NEED_MORE
    assert memory.counts == (1, 0, 0)
    free(pair)
    pair.peer.close()


def test_session_half_a_record_follows_into_the_large_buffer_and_back(certificate: Path) -> None:
    memory = Memory(1, 1)
    pair = Pair(certificate, memory=memory.c).open()
    payload, frame = binary(10_000)
    small, small_frame = binary(700)
    head, rest = pair.seal(frame[:3000]), pair.seal(frame[3000:] + small_frame)
    tail = pair.seal(small_frame)
    received = []
    for piece in (head + rest[:2000], rest[2000:] + tail[:300], tail[300:]):
        pair.peer.sendall(piece)
        pair.client_turn()
        while (message := pair.next())[0] == lib.TP_OK:
            received.append(message[2])
    assert received == [payload, small, small]
    assert memory.counts == (1, 0, 0)
    free(pair)
    pair.peer.close()


def test_session_message_above_the_largest_is_refused_as_ever(certificate: Path) -> None:
    memory = Memory(1, 1)
    pair = Pair(certificate, memory=memory.c).open()
    pair.write(binary(LARGE_SIZE + 1)[1][:5000])
    pair.client_turn()
    assert pair.next()[0] == lib.TP_ERROR
    assert pair.error_text() == "websocket: message larger than message_size_max (1009)"
    assert memory.counts == (0, 0, 0)
    free(pair)
    pair.peer.close()


@pytest.mark.parametrize(
    "sizes",
    [
        (0, 1, 10, 20, 1000),
        (257, 1, 10, 20, 1000),
        (1, 257, 10, 20, 1000),
        (1, 1, 0, 20, 1000),
        (1, 1, 21, 20, 1000),
        (1, 1, 10, 20, 0),
    ],
)
def test_session_memory_out_of_range_has_no_size(sizes: tuple[int, ...]) -> None:
    assert lib.tp_session_memory_size(ffi.new("struct tp_session_memory_config *", sizes)) == 0


def test_session_close_frame_before_a_broken_record_ends_without_abort(tls_pair: Pair) -> None:
    tls_pair.open()
    sealed = tls_pair.seal(text_frame(b"last words") + close_frame())
    broken = bytearray(tls_pair.seal(b"damaged"))
    broken[-1] ^= 1
    tls_pair.peer.sendall(sealed + bytes(broken))
    tls_pair.client_turn()
    assert tls_pair.phase == lib.TP_SESSION_CLOSED
    assert tls_pair.next() == (lib.TP_OK, lib.TP_WS_TEXT, b"last words")
    assert tls_pair.next()[:2] == (lib.TP_OK, lib.TP_WS_CLOSE)
    assert tls_pair.phase == lib.TP_SESSION_CLOSED
    assert tls_pair.next()[0] == lib.TP_ERROR
    assert "bad_record_mac" in tls_pair.error_text()


def test_session_ping_then_end_without_close_notify_is_answered(pair: Pair) -> None:
    pair.open()
    pair.write(Frame(Opcode.PING, b"there?").serialize(mask=False))
    pair.peer.shutdown(socket.SHUT_WR)
    while pair.client_turn():
        pass
    assert pair.next() == (lib.TP_OK, lib.TP_WS_PING, b"there?")
    pair.client_turn()
    pair.server_turn()
    assert [(frame.opcode, bytes(frame.data)) for frame in pair.frames] == [
        (Opcode.PONG, b"there?")
    ]
    assert pair.next()[0] == lib.TP_ERROR
    assert pair.error_text() == "truncated: the stream ended without a close frame"


def test_session_close_frame_then_end_without_close_notify_is_clean(pair: Pair) -> None:
    pair.open()
    pair.write(close_frame(1001))
    pair.peer.shutdown(socket.SHUT_WR)
    while pair.client_turn():
        pass
    assert pair.next()[:2] == (lib.TP_OK, lib.TP_WS_CLOSE)
    assert pair.next()[0] == lib.TP_CLOSED
    assert lib.tp_session_close_code(pair.session) == 1001
    pair.client_turn()
    pair.server_turn()
    assert [frame.opcode for frame in pair.frames] == [Opcode.CLOSE]


def test_session_close_notify_then_end_of_stream_is_finished(tls_pair: Pair) -> None:
    tls_pair.open()
    assert tls_pair.tls is not None
    tls_pair.write(close_frame())
    with contextlib.suppress(ssl.SSLError):
        tls_pair.tls.unwrap()
    tls_pair._flush()
    tls_pair.peer.shutdown(socket.SHUT_WR)
    tls_pair.client_turn()
    while tls_pair.next()[0] == lib.TP_OK:
        pass
    for _ in range(PUMP_COUNT):
        tls_pair.client_turn()
    assert lib.tp_session_finished(tls_pair.session)


def test_session_peer_ends_after_close_frame_our_end_follows_without_reading(pair: Pair) -> None:
    pair.open()
    pair.write(close_frame())
    pair.client_turn()
    assert pair.next()[:2] == (lib.TP_OK, lib.TP_WS_CLOSE)
    pair.client_turn()
    assert pair.phase == lib.TP_SESSION_CLOSING
    pair.peer.shutdown(socket.SHUT_WR)
    pair.client_turn()
    assert pair.phase == lib.TP_SESSION_CLOSED
    assert lib.tp_session_error(pair.session) == lib.TP_SESSION_ERROR_NONE
    pair.peer.setblocking(True)
    pair.peer.settimeout(1.0)
    while pair.peer.recv(1 << 16):  # the answer, close_notify, then our end
        pass


def test_session_close_notify_during_upgrade_fails_at_once(tls_pair: Pair) -> None:
    assert tls_pair.tls is not None
    for _ in range(PUMP_COUNT):
        tls_pair.client_turn()
        tls_pair.server_turn(accept=False)
        if tls_pair.phase == lib.TP_SESSION_UPGRADING:
            break
    with contextlib.suppress(ssl.SSLError):
        tls_pair.tls.unwrap()
    tls_pair._flush()
    tls_pair.client_turn()
    assert tls_pair.phase == lib.TP_SESSION_CLOSED
    assert lib.tp_session_error(tls_pair.session) == lib.TP_SESSION_ERROR_TRUNCATED


def fill_send_buffer(pair: Pair) -> int:
    """Send until nothing more fits; return how many bytes that was."""
    data = bytes(1 << 12)
    span = ffi.new("struct tp_span *", {"data": ffi.from_buffer("uint8_t[]", data)})
    taken = ffi.new("size_t *")
    total = 0
    for size in (len(data), 1):
        span.size, taken[0] = size, 0
        while lib.tp_session_send(pair.session, lib.TP_WS_BINARY, span[0], taken) == lib.TP_OK:
            total += size
            taken[0] = 0
    return total


@pytest.mark.parametrize("ours", [True, False])
def test_session_close_with_a_full_send_buffer_is_sent_later(pair: Pair, *, ours: bool) -> None:
    pair.open()
    total = fill_send_buffer(pair)
    if ours:
        lib.tp_session_close(pair.session, 1001, pair.now_ns)
    else:
        pair.write(close_frame(1001))
        assert lib.tp_session_receive(pair.session, pair.now_ns)
        assert pair.next()[:2] == (lib.TP_OK, lib.TP_WS_CLOSE)
    for _ in range(PUMP_COUNT):
        pair.client_turn()
        pair.server_turn()
    assert sum(len(frame.data) for frame in pair.frames[:-1]) == total
    assert pair.frames[-1].opcode == Opcode.CLOSE
    assert Close.parse(bytes(pair.frames[-1].data)).code == 1001


def test_session_slow_application_is_not_an_overflow(certificate: Path) -> None:
    pair = Pair(certificate, websocket=False).open()
    sealed = pair.seal(bytes(range(256)) * (1 << 14))  # 4 MiB, far more than the buffer
    sent = read = 0
    span = ffi.new("struct tp_span *")
    for _ in range(1000):
        with contextlib.suppress(BlockingIOError):
            sent += pair.peer.send(sealed[sent:])
        if pair.client_turn():
            continue  # the application does not read as long as anything comes
        if lib.tp_session_read(pair.session, span) == lib.TP_OK:
            assert bytes(ffi.buffer(span.data, 1))[0] == read % 256
            read += span.size
    assert pair.error_text() == "no error: "
    assert read == 256 << 14


def test_session_output_that_sends_nothing_says_so(pair: Pair) -> None:
    pair.open()
    fill_send_buffer(pair)
    sent = [lib.tp_session_output(pair.session, ffi.NULL, pair.now_ns) for _ in range(PUMP_COUNT)]
    assert sent[-1] == 0  # the socket takes no more: the waiting loop may sleep
