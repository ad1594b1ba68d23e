"""A session whose TLS handshake a slow worker does: what comes meanwhile is not lost nor judged.

The worker works when the test says so. What a session says of a broken handshake must not depend on
who did it, nor on how the transport ended while the worker had not looked yet.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from typing import TYPE_CHECKING

import pytest
from tickpath._core import ffi, lib

from tests.unit.handshake_worker import new_worker
from tests.unit.test_session import PUMP_COUNT, SECOND, Pair, certificate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["certificate"]  # fixture

HANDSHAKE_FAILURE = bytes([21, 3, 3, 0, 2, 2, 40])  # a fatal alert record (RFC 8446 6)
PIPE_SIZE = 1 << 16  # TP_TLS_RECEIVED_SIZE


@pytest.fixture(params=["inline", "worker"])
def side(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def new_pair(side: str, certificate: Path, version: ssl.TLSVersion, *, websocket: bool) -> Pair:
    worker = new_worker() if side == "worker" else ffi.NULL
    made = Pair(certificate, websocket=websocket, worker=worker, version=version)
    made.may_work = False
    return made


@pytest.fixture
def bytes_pair(side: str, certificate: Path) -> Iterator[Pair]:
    """Plain bytes over TLS 1.2, in which the server's flight may end the handshake."""
    made = new_pair(side, certificate, ssl.TLSVersion.TLSv1_2, websocket=False)
    yield made
    made.peer.close()


@pytest.fixture
def pair(side: str, certificate: Path) -> Iterator[Pair]:
    made = new_pair(side, certificate, ssl.TLSVersion.TLSv1_3, websocket=True)
    yield made
    made.peer.close()


def read_all(pair: Pair) -> bytes:
    found = b""
    span = ffi.new("struct tp_span *")
    for _ in range(PUMP_COUNT):
        pair.client_turn()
        while lib.tp_session_read(pair.session, span) == lib.TP_OK:
            found += bytes(ffi.buffer(span.data, span.size))
    return found


def last_flight(pair: Pair) -> bytes:
    """Run the handshake up to the server's last flight and return that, not delivered."""
    assert pair.tls is not None
    pair.may_work = True
    pair.client_turn()  # ClientHello
    pair.server_turn()
    pair.client_turn()  # certificate taken, key exchange and Finished sent
    pair._from.write(pair.peer.recv(1 << 16))
    pair.tls.do_handshake()
    pair.may_work = False
    return pair._to.read()


@pytest.mark.parametrize("size", [1, 5_000, 60_000])
def test_session_data_glued_to_the_last_flight_is_read(bytes_pair: Pair, size: int) -> None:
    flight = last_flight(bytes_pair)
    data = bytes(range(256)) * (size // 256 + 1)
    bytes_pair.peer.sendall(flight + bytes_pair.seal(data))
    bytes_pair.client_turn()
    bytes_pair.may_work = True
    assert read_all(bytes_pair) == data
    assert bytes_pair.phase == lib.TP_SESSION_OPEN


def test_session_close_notify_glued_to_the_last_flight_is_too_early(bytes_pair: Pair) -> None:
    flight = last_flight(bytes_pair)
    assert bytes_pair.tls is not None
    with contextlib.suppress(ssl.SSLError):
        bytes_pair.tls.unwrap()
    bytes_pair.peer.sendall(flight + bytes_pair._to.read())
    bytes_pair.peer.shutdown(socket.SHUT_WR)
    for _ in range(3):
        bytes_pair.client_turn()
    bytes_pair.may_work = True
    bytes_pair.client_turn()
    assert bytes_pair.error_text() == (
        "truncated: the peer closed the connection during the handshake"
    )


def test_session_more_than_the_handover_holds_waits_in_the_socket(bytes_pair: Pair) -> None:
    flight = last_flight(bytes_pair)
    data = bytes(range(256)) * 4 * (PIPE_SIZE // 256)
    whole, sent = flight + bytes_pair.seal(data), 0
    found = b""
    for turn in range(4):
        with contextlib.suppress(BlockingIOError):
            sent += bytes_pair.peer.send(whole[sent:])
        bytes_pair.may_work = turn == 3  # until then it takes what it has room for
        bytes_pair.client_turn()
    for _ in range(4):
        found += read_all(bytes_pair)
        with contextlib.suppress(BlockingIOError):
            sent += bytes_pair.peer.send(whole[sent:])
    assert bytes_pair.error_text() == "no error: "
    assert found == data


def test_session_broken_record_behind_the_last_flight_is_named(bytes_pair: Pair) -> None:
    flight = last_flight(bytes_pair)
    broken = bytearray(bytes_pair.seal(b"damaged"))
    broken[-1] ^= 1
    bytes_pair.peer.sendall(flight + bytes(broken))
    bytes_pair.client_turn()
    bytes_pair.may_work = True
    bytes_pair.client_turn()
    assert bytes_pair.error_text().startswith("tls: bad_record_mac: ")


@pytest.mark.parametrize("end", ["stays", "ends"])
def test_session_alert_before_the_end_of_the_stream_is_named(pair: Pair, end: str) -> None:
    pair.client_turn()
    pair.peer.recv(1 << 16)
    pair.peer.sendall(HANDSHAKE_FAILURE)
    if end == "ends":
        pair.peer.shutdown(socket.SHUT_WR)
    for _ in range(3):
        pair.client_turn()
    pair.may_work = True
    pair.client_turn()
    assert pair.phase == lib.TP_SESSION_CLOSED
    assert pair.error_text() == (
        "tls: alert_received: exchange.test ended the TLS handshake with the alert "
        '"handshake failure" (40)'
    )


def test_session_end_of_the_stream_in_the_handshake_is_truncation(pair: Pair) -> None:
    pair.client_turn()
    pair.server_turn()
    pair.peer.shutdown(socket.SHUT_WR)
    for _ in range(3):
        pair.client_turn()
    if pair.worker != ffi.NULL:
        assert pair.phase == lib.TP_SESSION_TLS_HANDSHAKE  # the worker may have more to say
    pair.may_work = True
    for _ in range(3):
        pair.client_turn()
    # The server's flight was whole: the handshake is done, the upgrade is not.
    assert pair.phase == lib.TP_SESSION_CLOSED
    assert pair.error_text() == ("truncated: the peer closed the connection during the handshake")


def test_session_worker_that_never_works_is_a_timeout(certificate: Path) -> None:
    pair = new_pair("worker", certificate, ssl.TLSVersion.TLSv1_3, websocket=True)
    pair.client_turn()
    pair.server_turn()
    pair.client_turn()
    assert lib.tp_session_deadline(pair.session) == 11 * SECOND
    pair.now_ns += 10 * SECOND
    pair.client_turn()
    assert pair.error_text() == "timeout: no TLS handshake within 10000 ms"


def test_session_closed_in_the_handshake_sends_nothing_more(pair: Pair) -> None:
    pair.client_turn()
    pair.server_turn()
    pair.client_turn()  # the server's flight is there, a worker has not looked
    lib.tp_session_close(pair.session, 1000, pair.now_ns)
    pair.client_turn()
    sent = b""
    while piece := pair.peer.recv(1 << 16):  # up to our end
        sent += piece
    pair.may_work = True
    for _ in range(3):
        pair.client_turn()
    assert not lib.tp_session_finished(pair.session)  # nor has it failed: the peer's end is due
    assert pair.error_text() == "no error: "
    assert (sent == b"") == (pair.worker != ffi.NULL)  # inline its flight had left before


def test_session_freed_in_the_handshake_is_forgotten_by_the_worker(certificate: Path) -> None:
    worker = new_worker()
    for turns in range(6):
        made = Pair(certificate, worker=worker)
        for turn in range(turns):
            made.may_work = turn % 2 == 1
            made.client_turn()
            made.server_turn()
        made.peer.close()
        ffi.release(made.session)
    lib.tp_tls_handshake_worker_free(worker)  # asserts that nothing is left


def test_session_worker_takes_256_handshakes_and_refuses_the_next(certificate: Path) -> None:
    worker = new_worker()
    made = [Pair(certificate, worker=worker) for _ in range(256)]
    with pytest.raises(AssertionError, match="more than 256 TLS handshakes at once"):
        Pair(certificate, worker=worker)
    ffi.release(made[7].session)
    lib.tp_tls_handshake_worker_step(worker)
    Pair(certificate, worker=worker).open()
