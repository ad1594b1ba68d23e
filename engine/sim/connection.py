"""One TCP connection of the simulator: HTTP/1.1 requests, or, once upgraded, WebSocket messages.

Both live on one port, as behind the venue's front end. The WebSocket state machine is the
`websockets` package's own (sans-IO); pushes bypass it, framed here, since they are many. All bytes
leave through `write`, in whole frames, so that a fault can hold back or trickle the stream.
Called by: asyncio, or a test that carries bytes and time itself. Calls: exchange.py, by the
`Service` protocol.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Protocol, cast

from tickpath.engine.sim.dialect import Client, HttpRequest, HttpResponse, Message
from websockets.exceptions import InvalidState
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

if TYPE_CHECKING:
    from collections.abc import Callable

REQUEST_SIZE_MAX: Final = 16 * 1024
"""Of a head and its body."""
SIZE_DIGITS_MAX: Final = 6
UNSENT_SIZE_MAX: Final = 64 * 1024 * 1024
"""A client that lets so much pile up is disconnected, as the venue would do."""
DRIP_SIZE: Final = 7
DRIP_PAUSE_S: Final = 0.01
_REASONS: Final = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    418: "I'm a teapot",
    422: "Unprocessable Entity",
    429: "Too Many Requests",
    503: "Service Unavailable",
}


class Service(Protocol):
    """What the exchange does with a connection."""

    def http(self, request: HttpRequest) -> HttpResponse:
        """Answer a request that is no upgrade."""

    def is_websocket(self, path: str) -> bool:
        """Say whether this path is upgraded."""

    def refuses_upgrade(self, request: HttpRequest) -> HttpResponse | None:
        """Return what an upgrade is answered with that is not wanted now."""

    def opened(self, connection: Connection) -> None:
        """Take note of a new WebSocket."""

    def greet(self, connection: Connection) -> None:
        """Say what is said first, once the upgrade was answered."""

    def received(self, connection: Connection, message: Message) -> None:
        """Take one message of the client."""

    def closed(self, connection: Connection) -> None:
        """Forget a WebSocket; called once."""

    def later(self, delay_s: float, act: Callable[[], object]) -> None:
        """Do something after so long."""


def frame(message: Message) -> bytes:
    """Frame an unmasked, final message (RFC 6455 section 5.2)."""
    payload, size = message.data, len(message.data)
    first = 0x81 if message.is_text else 0x82
    if size < 126:
        return bytes((first, size)) + payload
    if size < 1 << 16:
        return bytes((first, 0x7E)) + size.to_bytes(2, "big") + payload
    return bytes((first, 0x7F)) + size.to_bytes(8, "big") + payload


def parse_head(head: bytes) -> HttpRequest | None:
    """Parse a request's head without its empty line; None where it is none."""
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    if len(words) != 3 or words[2] not in {"HTTP/1.1", "HTTP/1.0"}:
        return None
    fields = (line.partition(":") for line in lines[1:])
    headers = {name.strip().lower(): value.strip() for name, _, value in fields}
    return HttpRequest(words[0], words[1], headers)


def body_size(request: HttpRequest | None) -> int:
    """Return how many bytes follow a request's head; one that does not say so right has none."""
    text = "" if request is None else request.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= SIZE_DIGITS_MAX else 0


class Connection(asyncio.Protocol):
    """One TCP connection; `client`: the WebSocket that it may become."""

    def __init__(self, service: Service) -> None:
        self.client = Client()
        self._service = service
        self._received = b""
        self._websocket: ServerProtocol | None = None
        self._transport: asyncio.Transport | None = None
        self._pending: list[bytes] = []
        self._silent = False
        self._held: deque[bytes] | None = None

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Forget the transport, and tell the service of a WebSocket's end."""
        self._transport = None
        if self._websocket is not None:
            self._service.closed(self)

    def data_received(self, data: bytes) -> None:
        """Take bytes: requests until the upgrade, frames after it."""
        if self._websocket is not None:
            self._websocket.receive_data(data)
            self._run_websocket()
            return
        self._received += data
        while self._websocket is None and b"\r\n\r\n" in self._received:
            head, _, rest = self._received.partition(b"\r\n\r\n")
            request = parse_head(head)
            size = body_size(request)
            if len(rest) < size:
                break  # more of its body is to come
            self._received = rest[size:]
            self._serve(head, request and replace(request, body=rest[:size]))
        if self._websocket is None and len(self._received) > REQUEST_SIZE_MAX:
            self.abort()

    def eof_received(self) -> bool:
        """Answer the end of the client's stream by our own."""
        if self._websocket is not None:
            self._websocket.receive_eof()
            self._run_websocket()
        return False

    # HTTP.

    def _serve(self, head: bytes, request: HttpRequest | None) -> None:
        if request is None:
            self._respond(HttpResponse(400, b'{"code":400,"msg":"no HTTP/1.1 request"}'), False)
        elif self._service.is_websocket(request.target.partition("?")[0]):
            refusal = self._service.refuses_upgrade(request)
            if refusal is None:
                self._upgrade(head)
            else:
                self._respond(refusal, False)
        else:
            keep = request.headers.get("connection", "").lower() != "close"
            self._respond(self._service.http(request), keep)

    def _respond(self, response: HttpResponse, keep: bool) -> None:
        if response.delay_s > 0:
            self._service.later(
                response.delay_s, lambda: self._respond(replace(response, delay_s=0.0), keep)
            )
            return
        fields = "".join(f"{name}: {value}\r\n" for name, value in response.headers.items())
        head = (
            f"HTTP/1.1 {response.status} {_REASONS[response.status]}\r\n"
            "Content-Type: application/json;charset=utf-8\r\n"
            f"Content-Length: {len(response.body)}\r\n{fields}"
            f"Connection: {'keep-alive' if keep else 'close'}\r\n\r\n"
        )
        self.write(head.encode() + response.body)
        if not keep and self._transport is not None:
            self._transport.close()

    # WebSocket.

    def _upgrade(self, head: bytes) -> None:
        self._websocket = ServerProtocol(max_size=1 << 16)
        self._service.opened(self)
        self._websocket.receive_data(head + b"\r\n\r\n" + self._received)
        self._received = b""
        self._run_websocket()

    def _run_websocket(self) -> None:
        assert self._websocket is not None  # noqa: S101 - only called once upgraded
        for event in self._websocket.events_received():
            if isinstance(event, Request):
                self._websocket.send_response(self._websocket.accept(event))
                self._flush_websocket()
                self._service.greet(self)
            elif isinstance(event, Frame) and event.opcode in {Opcode.TEXT, Opcode.BINARY}:
                is_text = event.opcode is Opcode.TEXT
                self._service.received(self, Message(bytes(event.data), is_text))
        self._flush_websocket()
        if self._websocket.close_expected() and self._transport is not None:
            self._transport.close()

    def _flush_websocket(self) -> None:
        assert self._websocket is not None  # noqa: S101 - only called once upgraded
        for data in self._websocket.data_to_send():
            if data:
                self.write(data)

    def send(self, message: Message) -> None:
        """Send a message; nothing happens on a connection that is closing."""
        if self._websocket is not None and self._websocket.state is State.OPEN:
            send = self._websocket.send_text if message.is_text else self._websocket.send_binary
            send(message.data)
            self._flush_websocket()

    def ping(self, count: int) -> None:
        """Send so many WebSocket pings back to back."""
        if self._websocket is not None and self._websocket.state is State.OPEN:
            for index in range(count):
                self._websocket.send_ping(index.to_bytes(4, "big"))
            self._flush_websocket()

    def close(self, code: int, reason: str = "") -> None:
        """Begin a WebSocket close; raises ValueError for a code that may not be sent."""
        if self._websocket is None or self._websocket.state is not State.OPEN:
            return
        try:
            self._websocket.send_close(code, reason)
        except (InvalidState, ValueError) as error:
            raise ValueError(f"close code {code}: {error}") from error
        self._flush_websocket()

    def push(self, frame: bytes) -> None:
        """Queue one framed message for `flush`."""
        self._pending.append(frame)

    def flush(self) -> None:
        """Send what was queued, in one write."""
        if not self._pending:
            return
        data = self._pending[0] if len(self._pending) == 1 else b"".join(self._pending)
        self._pending.clear()
        if self._websocket is not None and self._websocket.state is State.OPEN:
            self.write(data)

    # The way out, and what may go wrong on it.

    def write(self, data: bytes) -> None:
        """Send whole frames, unless a fault holds them."""
        if self._transport is None or self._silent:
            return
        if self._held is not None:
            self._held.append(data)
            return
        self._transport.write(data)
        if self._transport.get_write_buffer_size() > UNSENT_SIZE_MAX:
            self.abort()

    def abort(self) -> None:
        """Reset the TCP connection."""
        if self._transport is not None:
            self._transport.abort()

    def write_half(self, frame: bytes) -> None:
        """Send the first half of a frame, then never anything again."""
        self.write(frame[: len(frame) // 2])
        self.silence()

    def silence(self) -> None:
        """Send nothing any more; what comes is still taken."""
        self._silent = True

    def drip(self, seconds: float) -> None:
        """For so long, let a few bytes out at a time; then all that waited."""
        if self._held is None:
            self._held = deque()
            self._drip_on(int(seconds / DRIP_PAUSE_S))

    def _drip_on(self, pauses: int) -> None:
        if self._held is None or self._transport is None:
            return
        if pauses <= 0:
            rest, self._held = b"".join(self._held), None
            self.write(rest)
            return
        if self._held:
            data = self._held.popleft()
            self._transport.write(data[:DRIP_SIZE])
            if len(data) > DRIP_SIZE:
                self._held.appendleft(data[DRIP_SIZE:])
        self._service.later(DRIP_PAUSE_S, lambda: self._drip_on(pauses - 1))
