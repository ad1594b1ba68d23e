"""`tickpath ws` against the `websockets` package's server and against broken ones, on loopback."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING

import pytest
from tickpath.engine import cli
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.sync.server import ServerConnection, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from websockets.typing import Data


@contextlib.contextmanager
def server(handler: Callable[[ServerConnection], None]) -> Iterator[str]:
    """Run a server of `websockets`; yields its URL. What the handler raises fails the test."""
    raised: list[BaseException] = []

    def guarded(connection: ServerConnection) -> None:
        try:
            handler(connection)
        except ConnectionClosed:
            pass
        except BaseException as error:
            raised.append(error)

    with serve(guarded, "127.0.0.1", 0, max_size=None, compression=None) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{running.socket.getsockname()[1]}/"
        finally:
            running.shutdown()
            thread.join(10)
    if raised:
        raise raised[0]


@contextlib.contextmanager
def raw_server(*pieces: bytes, linger_s: float = 0.3) -> Iterator[tuple[str, list[bytes]]]:
    """Accept the handshake, send bytes, collect what comes until the client closes."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    protocol = ServerProtocol()
                    protocol.receive_data(connection.recv(65536))
                    (request,) = protocol.events_received()
                    assert isinstance(request, Request)
                    protocol.send_response(protocol.accept(request))
                    connection.sendall(b"".join(protocol.data_to_send()) + pieces[0])
                    for piece in pieces[1:]:
                        time.sleep(0.01)
                        connection.sendall(piece)
                    connection.settimeout(linger_s)
                    while data := connection.recv(65536):
                        heard.append(data)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{listener.getsockname()[1]}/", heard
        finally:
            thread.join(10)


def unmasked(data: bytes) -> bytes:
    """Return the payload of one small masked frame."""
    mask = data[2:6]
    return bytes(a ^ b for a, b in zip(data[6:], itertools.cycle(mask), strict=False))


def ws(*arguments: str) -> int:
    """Run the command over kernel sockets."""
    return cli.main(["ws", "--backend", "kernel", "--timeout", "5", *arguments])


@pytest.fixture
def stdin() -> Iterator[int]:
    """A pipe in place of stdin; yields the end to write to."""
    kept = os.dup(0)
    read_end, write_end = os.pipe()
    os.dup2(read_end, 0)
    os.close(read_end)
    yield write_end
    os.dup2(kept, 0)
    os.close(kept)
    with contextlib.suppress(OSError):
        os.close(write_end)


def echo_server(connection: ServerConnection) -> None:
    for message in connection:
        connection.send(message)


def test_ws_lines_are_sent_and_answers_printed(
    stdin: int, capfd: pytest.CaptureFixture[str]
) -> None:
    os.write(stdin, "one\ntwo \u20ac\r\n\nlast".encode())
    os.close(stdin)
    with server(echo_server) as url:
        assert ws(url) == 0
    assert capfd.readouterr() == ("one\ntwo \u20ac\n\nlast\n", "closed: 1000\n")


def test_ws_binary_is_printed_as_base64(stdin: int, capfd: pytest.CaptureFixture[str]) -> None:
    def handler(connection: ServerConnection) -> None:
        connection.send(b"\x00\xff")
        connection.send(b"")
        connection.close(1001, "going")

    assert stdin > 0
    with server(handler) as url:
        assert ws(url) == 0
    assert capfd.readouterr() == ("base64:AP8=\nbase64:\n", "closed: 1001 going\n")


def test_ws_json_prints_objects(stdin: int, capfd: pytest.CaptureFixture[str]) -> None:
    def handler(connection: ServerConnection) -> None:
        connection.send('line\n"break"')
        connection.send(b"\x00")
        connection.close(3000, "r\n")

    assert stdin > 0
    with server(handler) as url:
        assert ws("--json", url) == 1
    out, err = capfd.readouterr()
    assert [json.loads(line) for line in out.splitlines()] == [
        {"opcode": "text", "text": 'line\n"break"'},
        {"opcode": "binary", "base64": "AA=="},
        {"closed": 3000, "reason": "r\n", "path": "kernel sockets (asked for by backend kernel)"},
    ]
    assert err == "closed: 3000 r\\n\n"


def test_ws_keep_open_stays_after_stdin_ended(
    stdin: int, capfd: pytest.CaptureFixture[str]
) -> None:
    def handler(connection: ServerConnection) -> None:
        assert connection.recv() == "subscribe"
        time.sleep(0.2)
        connection.send("late")

    os.write(stdin, b"subscribe\n")
    os.close(stdin)
    with server(handler) as url:
        assert ws("--keep-open", url) == 0
    assert capfd.readouterr().out == "late\n"


@pytest.mark.slow
def test_ws_server_that_talks_on_after_stdin_ended_is_closed(
    stdin: int, capfd: pytest.CaptureFixture[str]
) -> None:
    def handler(connection: ServerConnection) -> None:
        while True:
            connection.send("tick")
            time.sleep(0.05)

    os.close(stdin)
    with server(handler) as url:
        assert ws(url) == 0
    out, err = capfd.readouterr()
    assert set(out.splitlines()) == {"tick"}
    assert err == "closed: 1000\n"


def test_ws_line_that_is_not_utf_8_is_2(stdin: int, capfd: pytest.CaptureFixture[str]) -> None:
    os.write(stdin, b"\xff\n")
    with server(echo_server) as url:
        assert ws(url) == 2
    assert "not UTF-8" in capfd.readouterr().err


def arbitrary(size: int) -> bytes:
    return hashlib.shake_128(b"echo").digest(size)


ECHOED: list[Data] = [
    "",
    b"",
    "Hello",
    b"\x00\xff",
    *(arbitrary(size) for size in (125, 126, 127, 65535, 65536, 1 << 20)),
    "\u03ba\u1f79\u03c3\u03bc\u03b5" * 10_000,
]


def test_ws_echo_returns_every_message_with_its_opcode(capfd: pytest.CaptureFixture[str]) -> None:
    def handler(connection: ServerConnection) -> None:
        for message in ECHOED:
            connection.send(message)
            assert connection.recv() == message
        for message in ECHOED:
            connection.send([message[:2], message[2:2], message[2:]])
            assert connection.recv() == message
        assert connection.ping(b"p" * 125).wait(5)
        connection.close(1000, "done")

    with server(handler) as url:
        assert ws("--echo", url) == 0
    assert capfd.readouterr() == ("", "closed: 1000 done\n")


def test_ws_echo_of_16_mib_in_a_burst_is_whole() -> None:
    """Sending has to wait here while more arrives behind the message that is being sent."""
    sizes = [16 << 20, 5, 16 << 20, 1 << 20]

    def handler(connection: ServerConnection) -> None:
        def send_all() -> None:
            for size in sizes:
                connection.send(arbitrary(size))

        sender = threading.Thread(target=send_all)
        sender.start()
        for size in sizes:
            message = connection.recv(timeout=20)
            assert len(message) == size
            assert message == arbitrary(size)
        sender.join()

    with server(handler) as url:
        assert ws("--echo", url) == 0


def test_ws_echo_of_65536_fragments_is_whole() -> None:
    def handler(connection: ServerConnection) -> None:
        connection.send(b"%063d " % index for index in range(65535))
        message = connection.recv(timeout=30)
        assert message == b"".join(b"%063d " % index for index in range(65535))

    with server(handler) as url:
        assert ws("--echo", url) == 0


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True) -> bytes:
    return Frame(Opcode(opcode), payload, fin).serialize(mask=False)


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1011, 3000, 4999])
def test_ws_close_is_answered_with_its_code(code: int, capfd: pytest.CaptureFixture[str]) -> None:
    payload = struct.pack(">H", code)
    with raw_server(frame(8, payload + b"why")) as (url, heard):
        assert ws("--echo", url) == (0 if code in (1000, 1001) else 1)
    assert capfd.readouterr().err == f"closed: {code} why\n"
    data = b"".join(heard)
    assert data[0] == 0x88
    assert unmasked(data)[:2] == payload


def test_ws_close_without_a_code_is_clean(capfd: pytest.CaptureFixture[str]) -> None:
    with raw_server(frame(8)) as (url, heard):
        assert ws("--echo", url) == 0
    assert capfd.readouterr().err == "closed: 1005\n"
    assert b"".join(heard)[:2] == b"\x88\x80"


def test_ws_pings_are_answered_in_order_between_fragments() -> None:
    pieces = [
        frame(9, b"1") + frame(2, b"a", fin=False) + frame(9, b"2"),
        frame(0, b"b") + frame(8, b"\x03\xe8"),
    ]
    with raw_server(*pieces) as (url, heard):
        assert ws("--echo", url) == 0
    data = b"".join(heard)
    answers = [(data[at] & 15, unmasked(data[at : at + 7])) for at in (0, 7)]
    assert answers == [(10, b"1"), (10, b"2")]
    assert (data[14], unmasked(data[14:22])) == (0x82, b"ab")


BROKEN = {
    "masked": (b"\x81\x85maskHello", 1002),
    "rsv": (b"\xc1\x00", 1002),
    "opcode": (b"\x83\x00", 1002),
    "text": (frame(1, b"\xff"), 1007),
    "size": (b"\x82\x7f" + struct.pack(">Q", 1 << 62), 1009),
    "close code": (frame(8, b"\x00\x00"), 1002),
}


@pytest.mark.parametrize("name", BROKEN)
def test_ws_broken_frame_is_closed_with_its_code(
    name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    data, code = BROKEN[name]
    with raw_server(frame(1, b"ok") + data) as (url, heard):
        assert ws("--echo", url) == 1
    error = capfd.readouterr().err
    if code == 1009:
        assert error == "closed: 1009 a message is larger than --max-message 67108864\n"
    else:
        assert error.startswith("closed: 1006 ")
        assert f"({code})" in error
    said = b"".join(heard)
    assert (said[0], unmasked(said[:8])) == (0x81, b"ok")
    assert (said[8], unmasked(said[8:16])[:2]) == (0x88, struct.pack(">H", code))


def test_ws_stream_that_ends_without_a_close_frame_is_1006(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with raw_server(frame(1, b"half")[:3], linger_s=0.05) as (url, _):
        assert ws("--echo", url) == 1
    assert capfd.readouterr().err.startswith("closed: 1006 ")


def test_ws_max_message_is_kept(capfd: pytest.CaptureFixture[str]) -> None:
    with raw_server(frame(2, b"x" * 101)) as (url, _):
        assert ws("--echo", "--max-message", "100", url) == 1
    said = "closed: 1009 a message is larger than --max-message 100\n"
    assert capfd.readouterr().err == said
    with raw_server(frame(2, b"x" * 100) + frame(8, b"\x03\xe8")) as (url, _):
        assert ws("--echo", "--max-message", "100", url) == 0


def test_ws_refused_upgrade_is_1_and_names_the_status(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=refuse)
        thread.start()
        assert ws(f"ws://127.0.0.1:{listener.getsockname()[1]}/") == 1
        thread.join()
    assert "403 Forbidden" in capfd.readouterr().err


def test_ws_upgrade_has_our_agent_and_the_headers_that_were_asked_for() -> None:
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse() -> None:
            connection, _ = listener.accept()
            with connection:
                asked.append(connection.recv(65536))

        for _ in range(2):
            thread = threading.Thread(target=refuse)
            thread.start()
            words = ["-H", "Origin: https://there.test"] + ["-H", "User-agent: m"] * len(asked)
            assert ws(*words, f"ws://127.0.0.1:{listener.getsockname()[1]}/") == 1
            thread.join()
    usual, mine = asked
    assert b"\r\nUser-Agent: tickpath/" in usual
    assert b"\r\nOrigin: https://there.test\r\n" in usual
    assert b"\r\nUser-agent: m\r\n" in mine
    assert mine.lower().count(b"user-agent") == 1


REFUSED = "the server answered"
VERDICTS = {
    "length": (
        [b"HTTP/1.1 403 Forbidden\r\nContent-Length: 14\r\n\r\nnot\x1b from here"],
        f'{REFUSED} 403 Forbidden, expected 101; it says "not from here"',
    ),
    "later": (
        [b"HTTP/1.1 400 Bad Request\r\nContent-Length: 9\r\n\r\n", b"no ", b"stream"],
        f'{REFUSED} 400 Bad Request, expected 101; it says "no stream"',
    ),
    "chunked": (
        [b"HTTP/1.1 500\r\nTransfer-Encoding: chunked\r\n\r\n", b"5\r\nsorry\r\n0\r\n\r\n"],
        f'{REFUSED} 500, expected 101; it says "sorry',
    ),
    "unframed": (
        [b"HTTP/1.1 403 Forbidden\r\n\r\nnot", b" here"],
        f'{REFUSED} 403 Forbidden, expected 101; it says "not here"',
    ),
    "long": (
        [b"HTTP/1.1 502 Bad Gateway\r\n\r\n" + b"<p>" * 1000],
        f'expected 101; it says "{("<p>" * 54)[:160]}..."',
    ),
    "wait": (
        [b"HTTP/1.1 429 Slow\r\nRetry-After: 120\r\nContent-Length: 0\r\n\r\n"],
        f"{REFUSED} 429 Slow, expected 101; Retry-After: 120",
    ),
    "redirect": (
        [b"HTTP/1.1 302 Found\r\nLocation: wss://b.test/\r\nContent-Length: 0\r\n\r\n"],
        f"{REFUSED} 302 Found, expected 101; redirects are not followed, this one points to "
        "wss://b.test/",
    ),
}


@pytest.mark.parametrize("ends", ["stays", "closes", "resets"])
@pytest.mark.parametrize("name", VERDICTS)
def test_ws_refused_upgrade_shows_the_verdict(
    name: str, ends: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """A status is an answer, not a broken line: what the server says of it is shown."""
    pieces, shown = VERDICTS[name]
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                for piece in pieces:
                    connection.sendall(piece)
                    time.sleep(0.02)
                if ends == "resets":
                    connection.setsockopt(
                        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                    )
                elif ends == "stays":
                    connection.settimeout(5)
                    with contextlib.suppress(OSError):
                        connection.recv(65536)

        thread = threading.Thread(target=refuse)
        thread.start()
        began_s = time.monotonic()
        assert ws(f"ws://127.0.0.1:{listener.getsockname()[1]}/") == 1
        assert time.monotonic() - began_s < 4.0
        thread.join()
    assert shown in capfd.readouterr().err


@pytest.mark.parametrize("pause_s", [0.0, 0.02])
def test_ws_server_that_resets_behind_its_close_frame_is_no_failure(
    capfd: pytest.CaptureFixture[str], pause_s: float
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            connection, _ = listener.accept()
            with connection:
                protocol = ServerProtocol()
                protocol.receive_data(connection.recv(65536))
                (request,) = protocol.events_received()
                assert isinstance(request, Request)
                protocol.send_response(protocol.accept(request))
                connection.sendall(b"".join(protocol.data_to_send()) + frame(8, b"\x03\xe8"))
                time.sleep(pause_s)
                linger = struct.pack("ii", 1, 0)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

        for _ in range(10):
            thread = threading.Thread(target=run)
            thread.start()
            assert ws("--echo", f"ws://127.0.0.1:{listener.getsockname()[1]}/") == 0
            thread.join()
    assert set(capfd.readouterr().err.splitlines()) == {"closed: 1000"}


@pytest.mark.parametrize("size", ["0", "-1", "x", "1e6", str((1 << 30) + 1)])
def test_ws_wrong_max_message_is_2(capfd: pytest.CaptureFixture[str], size: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        ws("--max-message", size, "ws://127.0.0.1/")
    assert "expected bytes" in capfd.readouterr().err


def test_ws_control_characters_do_not_reach_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    data = frame(1, b"\x1b[2Ja\tb\xc2\x9b\xe2\x82\xac") + frame(8, b"\x03\xe8")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    with raw_server(data) as (url, _):
        assert ws("--keep-open", url) == 0
    assert capfd.readouterr().out == "\\x1b[2Ja\tb\\x9b€\n"
