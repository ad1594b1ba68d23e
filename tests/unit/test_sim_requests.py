"""Requests of the simulator's REST: heads and bodies, however their bytes come."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from tickpath.engine.sim.connection import REQUEST_SIZE_MAX, Connection
from tickpath.engine.sim.dialect import HttpRequest, HttpResponse

if TYPE_CHECKING:
    from collections.abc import Callable

POST = b"POST /info HTTP/1.1\r\nHost: a\r\nContent-Length: 15\r\n\r\n" + b'{"type":"meta"}'
GET = b"GET /status HTTP/1.1\r\nHost: a\r\n\r\n"


class Rig:
    """A connection whose service keeps what is asked."""

    def __init__(self) -> None:
        self.asked: list[HttpRequest] = []
        self.is_aborted = False
        service: Any = SimpleNamespace(
            http=self._http, is_websocket=lambda _: False, refuses_upgrade=lambda: None
        )
        self.connection = Connection(service)
        transport: Any = SimpleNamespace(
            write=lambda _: None,
            get_write_buffer_size=lambda: 0,
            close=lambda: None,
            abort=self._abort,
        )
        self.connection.connection_made(transport)

    def _http(self, request: HttpRequest) -> HttpResponse:
        self.asked.append(request)
        return HttpResponse(200, b"{}")

    def _abort(self) -> None:
        self.is_aborted = True


@pytest.fixture
def rig() -> Rig:
    return Rig()


def in_one(data: bytes, take: Callable[[bytes], None]) -> None:
    take(data)


def by_byte(data: bytes, take: Callable[[bytes], None]) -> None:
    for at in range(len(data)):
        take(data[at : at + 1])


@pytest.mark.parametrize("how", [in_one, by_byte])
def test_body_belongs_to_its_request_and_the_next_one_follows(rig: Rig, how: Any) -> None:
    how(POST + GET + POST, rig.connection.data_received)
    said = [(one.method, one.target, one.body) for one in rig.asked]
    post = ("POST", "/info", b'{"type":"meta"}')
    assert said == [post, ("GET", "/status", b""), post]
    assert [one.asked for one in rig.asked[:2]] == ['/info {"type":"meta"}', "/status"]


def test_body_that_is_not_whole_is_waited_for(rig: Rig) -> None:
    rig.connection.data_received(POST[:-1])
    assert rig.asked == []
    rig.connection.data_received(POST[-1:])
    assert len(rig.asked) == 1


def test_body_that_is_too_long_ends_the_connection(rig: Rig) -> None:
    head = b"POST /info HTTP/1.1\r\nContent-Length: 999999\r\n\r\n"
    rig.connection.data_received(head + bytes(REQUEST_SIZE_MAX))
    assert rig.is_aborted
    assert rig.asked == []


@pytest.mark.parametrize("size", ["", "-1", "x", "1e3", "9" * 20])
def test_length_that_is_none_is_of_no_body(rig: Rig, size: str) -> None:
    rig.connection.data_received(f"POST /a HTTP/1.1\r\nContent-Length: {size}\r\n\r\n".encode())
    assert [one.body for one in rig.asked] == [b""]
