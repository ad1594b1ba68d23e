"""One client connection for a program: `connect`, `wait`, `read` or `next`, `send`, `close`.

Python crosses into C once per burst; payloads are memoryviews into the connection's buffer and
die at the next call. `tickpath get` and `tickpath ws` use it; the feed handler has its own loop.
"""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import urlsplit

from tickpath._core import ffi, lib
from tickpath.netstack.eyeballs import Schedule, Tried
from tickpath.netstack.http1.http1 import agent_line
from tickpath.netstack.transport import (
    RECEIVE_WINDOW,
    KernelTransport,
    Placement,
    Stream,
    Transport,
    UserTransport,
    open_transport,
    resolve_all,
)
from tickpath.shm.errors import LocalError, RemoteError, SystemSetupError
from tickpath.shm.ownership import own
from tickpath.shm.segment import kept_by

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from tickpath.netstack.faults import Faults

Unread = TypeVar("Unread", memoryview, "Message")
DEFAULT_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}
NS_PER_S = 1_000_000_000
ERROR_TEXT_SIZE = 512
PATH_EVERY_S = 0.25


@dataclass(frozen=True, slots=True)
class Target:
    """What a URL names."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def tls(self) -> bool:
        """Whether the scheme asks for TLS."""
        return self.scheme in ("https", "wss")

    @property
    def websocket(self) -> bool:
        """Whether it asks for WebSocket; otherwise bytes are spoken, HTTP/1.1 for instance."""
        return self.scheme in ("ws", "wss")

    @property
    def authority(self) -> str:
        """Host header: the port stands only when it is not the scheme's own (RFC 9110 7.2)."""
        return self.host if self.port == DEFAULT_PORTS[self.scheme] else f"{self.host}:{self.port}"


def parse_url(url: str, schemes: tuple[str, ...]) -> Target:
    """Split a URL. Raises LocalError naming the part that is wrong."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise LocalError(f"URL {url!r}: {error}") from error
    if parts.scheme not in schemes:
        expected = " or ".join(f"{scheme}://" for scheme in schemes)
        raise LocalError(f"URL {url!r}: scheme {parts.scheme!r}, expected {expected}")
    if not parts.hostname or parts.username is not None:
        raise LocalError(f"URL {url!r}: expected {parts.scheme}://HOST[:PORT]/PATH")
    if ":" in parts.hostname:
        raise LocalError(
            f"URL {url!r}: IPv6 is not supported, expected a host name or an IPv4 address"
        )
    if any(character <= " " or character > "~" for character in url):
        raise LocalError(
            f"URL {url!r}: has a space, control or non-ASCII character: percent-encode it"
        )
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, parts.hostname, port or DEFAULT_PORTS[parts.scheme], path)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectOptions:
    """How to connect; the defaults are the careful ones."""

    cacert: Path | None = None
    insecure: bool = False
    resolve: dict[str, str] = field(default_factory=dict)
    """ "host:port" to an IPv4 address, or to several with commas between."""
    interface: str | None = None
    backend: str = "auto"
    timeout_s: float = 10.0
    message_size_max: int = 64 << 20
    spin_us: int = 50
    record_layer: str = "auto"
    faults: Faults | None = None
    server_name: str = ""
    """The certificate's name and SNI; "": the host's."""


@dataclass(frozen=True, slots=True)
class Message:
    """One WebSocket message or control frame; payload dies at the next call on its session."""

    opcode: int
    payload: memoryview
    close_code: int


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A connection to one address. There are several only while none of them is connected."""

    address: str
    stream: Stream
    handle: Any
    began_s: float


WAIT_SLICE_S, SLICE_MARGIN_S = 0.05, 0.001
ATTEMPT_SLICE_S = 0.002  # each of several attempts in turn: poll() cannot sleep for less than 1 ms
RECORD_LAYERS = {"auto": 0, "ipsec-mb": 1, "evp": 2, "openssl": 3}


def new_tls_context(cacert: Path | None, *, insecure: bool, record_layer: str = "auto") -> Any:
    """Return a self-freeing `struct tp_tls_context *`. Raises LocalError with OpenSSL's reason."""
    if record_layer not in RECORD_LAYERS:
        raise LocalError(
            f"record layer {record_layer!r}: expected one of {', '.join(RECORD_LAYERS)}"
        )
    config = ffi.new("struct tp_tls_context_config *")
    ca_file = ffi.new("char[]", str(cacert).encode()) if cacert is not None else ffi.NULL
    config.ca_file, config.insecure = ca_file, insecure
    config.record_layer = RECORD_LAYERS[record_layer]
    error = ffi.new("char[]", ERROR_TEXT_SIZE)
    context = lib.tp_tls_context_new(config, error, ERROR_TEXT_SIZE)
    if context == ffi.NULL:
        raise LocalError(ffi.string(error).decode(errors="replace"))
    return ffi.gc(context, lib.tp_tls_context_free)


def failure_text(handle: Any, transport: Transport, stream: Stream) -> str:
    """Say what ended a session and, where the transport got nowhere, which counters moved."""
    text = ffi.new("char[]", ERROR_TEXT_SIZE)
    lib.tp_session_error_text(handle, text, ERROR_TEXT_SIZE)
    said = ffi.string(text).decode(errors="replace")
    if lib.tp_session_error(handle) not in (
        lib.TP_SESSION_ERROR_CONNECT,
        lib.TP_SESSION_ERROR_STREAM,
        lib.TP_SESSION_ERROR_TIMEOUT,
    ):
        return said
    moved = transport.moved(stream)
    return f"{said} (meanwhile: {moved})" if moved else said


def _new_handle(pointer: Any, stream: Any) -> Any:
    """Return a `struct tp_session *` that frees itself, and keeps its stream's memory until then.

    A call that is under way, or a view, keeps it over `Session.finish`.
    """

    def free(one: Any, _stream: Any = stream) -> None:
        lib.tp_session_free(one)

    return ffi.gc(pointer, free)


class Session:
    """A connected session. For one thread, but `finish` may come from another one.

    Who waits in it then, or uses it later, gets ValueError.
    """

    def __init__(
        self, url: str, options: ConnectOptions, *, websocket: bool, headers: str = ""
    ) -> None:
        """Take the lines that go with the upgrade, beside our User-Agent."""
        schemes = ("ws", "wss") if websocket else ("http", "https")
        self.target = parse_url(url, schemes)
        self._options = options
        started = time.monotonic_ns()
        addresses = resolve_all(self.target.host, self.target.port, options.resolve)
        self.resolved_ns = time.monotonic_ns() - started
        self._tls = (
            new_tls_context(
                options.cacert, insecure=options.insecure, record_layer=options.record_layer
            )
            if self.target.tls
            else ffi.NULL
        )
        self._transport: KernelTransport | UserTransport = open_transport(
            addresses,
            options.backend,
            Placement(interface=options.interface, faults=options.faults),
        )
        self.ready_ns = time.monotonic_ns() - started  # link or socket layer is open
        self._texts = [
            ffi.new("char[]", text.encode())
            for text in (
                options.server_name or self.target.host,
                self.target.authority,
                self.target.path,
                agent_line(headers),
            )
        ]
        self._wait = ffi.new("struct tp_session_wait *")
        self._wait.faults = getattr(self._transport, "injector", ffi.NULL)
        self._span = ffi.new("struct tp_span *")
        self._message = ffi.new("struct tp_ws_message *")
        self._schedule = Schedule(addresses)
        self._attempts: list[_Attempt] = []
        self._in_use = threading.RLock()  # held by a wait, which uses the link below as well
        self._is_finished = False
        self._next_path_check = 0.0
        own(self)
        try:
            self._begin_due()
        except BaseException:
            self._transport.close()
            raise

    def _begin_due(self) -> None:
        """Begin with the address that is due, or with the next one where that cannot be.

        Raises what the last of them raises, where no attempt is under way.
        """
        while (address := self._schedule.due(time.monotonic())) is not None:
            try:
                self._attempts.append(self._open(address))
            except (LocalError, RemoteError, SystemSetupError) as error:
                self._schedule.failed(address, str(error))
                if self._schedule.is_over and not self._attempts:
                    raise

    def _open(self, address: str) -> _Attempt:
        options, websocket = self._options, self.target.websocket
        stream = self._transport.open_stream(address, self.target.port)
        config = ffi.new("struct tp_session_config *")
        config.tls, config.server_name = self._tls, self._texts[0]
        config.websocket = websocket
        config.host, config.target, config.extra_headers = self._texts[1:]
        config.message_size_max = options.message_size_max if websocket else 1 << 20
        config.receive_window = RECEIVE_WINDOW
        config.handshake_timeout_ns = int(options.timeout_s * NS_PER_S)
        error = ffi.new("char[]", ERROR_TEXT_SIZE)
        handle = lib.tp_session_new(config, stream.handle, error, ERROR_TEXT_SIZE)
        if handle == ffi.NULL:
            lib.tp_stream_deinit(stream.handle)
            self._transport.release(stream)
            raise LocalError(ffi.string(error).decode(errors="replace"))
        handle = _new_handle(handle, stream)
        if isinstance(self._transport, UserTransport):
            lib.tp_session_set_flow(handle, self._transport.bind(stream, handle))
        began_ns = time.monotonic_ns()
        lib.tp_session_connect(handle, began_ns)
        return _Attempt(address, stream, handle, began_ns / NS_PER_S)

    @property
    def address(self) -> str:
        """The address that is connected, or tried."""
        return self._attempts[0].address if self._attempts else self._schedule.tried[-1].address

    @property
    def tried(self) -> list[Tried]:
        """What came of each address that a connection was tried to, in their order."""
        return self._schedule.tried

    def _judge(self) -> None:
        """Keep the first attempt that is connected, drop those that failed, begin what is due."""
        for one in list(self._attempts):
            phase = int(lib.tp_session_phase(one.handle))
            if phase == lib.TP_SESSION_CLOSED and not lib.tp_session_times(one.handle).connected:
                self._schedule.failed(one.address, self._error_text(one))
            elif phase > lib.TP_SESSION_CONNECTING:
                times = lib.tp_session_times(one.handle)
                self._schedule.connected(one.address, (times.connected - times.started) / NS_PER_S)
                for other in [other for other in self._attempts if other is not one]:
                    self._drop(other)
                return
        self._begin_due()
        for one in list(self._attempts):  # the last one is kept: it says why
            if len(self._attempts) > 1 and self._schedule.of(one.address).failure:
                self._drop(one)

    def _drop(self, one: _Attempt) -> None:
        self._attempts.remove(one)
        lib.tp_session_abort(one.handle)  # its RST, if it needs one, leaves with the next kick
        lib.tp_session_output(one.handle, self._transport.netif, time.monotonic_ns())
        self._transport.release(one.stream)

    @property
    def handle(self) -> Any:
        """Borrow the C `struct tp_session *`. Raises ValueError after finish."""
        if not self._attempts:
            raise self._finished()
        return self._attempts[0].handle

    def _finished(self) -> ValueError:
        where = f"{self.target.host}:{self.target.port}"
        return ValueError(f"session with {where} is finished: open a new one")

    @property
    def transport(self) -> KernelTransport | UserTransport:
        """Borrow what carries the bytes."""
        return self._transport

    @property
    def path(self) -> str:
        """Name what carries the bytes: "AF_XDP native copy on veth0 queue 0", "kernel sockets"."""
        return self._transport.description

    @property
    def fallback(self) -> str:
        """Say why the kernel's sockets carry the bytes though AF_XDP was tried; "" otherwise."""
        return getattr(self._transport, "fallback", "")

    @property
    def faults(self) -> dict[str, int]:
        """Count what was done to frames on purpose; empty without ConnectOptions.faults."""
        if self._wait.faults == ffi.NULL:
            return {}
        counters = lib.tp_fault_injector_counters(self._wait.faults)
        names = [name for name, _ in ffi.typeof("struct tp_fault_counters").fields]
        return {name: int(getattr(counters, name)) for name in names}

    @property
    def phase(self) -> int:
        """One of lib.TP_SESSION_*."""
        return int(lib.tp_session_phase(self.handle))

    def wait(self, timeout_s: float, want_space: int = 0) -> None:
        """Move bytes until something can be read or sent, the phase changes, or the time is up.

        Raises SystemSetupError when the link is gone.
        """
        started = time.monotonic()
        end = started + timeout_s
        while True:  # in slices, between which another thread's `finish` gets its turn
            slice_end = min(end, time.monotonic() + WAIT_SLICE_S)
            with self._in_use:
                if self._is_finished:
                    raise self._finished()
                self._wait_until(slice_end, want_space)
            if slice_end == end or time.monotonic() < slice_end - SLICE_MARGIN_S:
                break
        if isinstance(self._transport, UserTransport):
            self._transport.link.check()
            now = time.monotonic()
            if now - started >= timeout_s and now >= self._next_path_check:  # nothing came
                self._next_path_check = now + PATH_EVERY_S
                self._transport.check_path()

    def _wait_until(self, end: float, want_space: int = 0) -> None:
        self._wait.spin_ns = self._options.spin_us * 1000
        self._wait.want_space = want_space
        while True:
            left_s = max(0.0, end - time.monotonic())
            handles = [one.handle for one in self._attempts] or [self.handle]
            slice_s = left_s if len(handles) == 1 else min(left_s, ATTEMPT_SLICE_S)
            self._wait.timeout_ns = int(slice_s * NS_PER_S)
            for one in handles:
                lib.tp_session_wait(one, self._transport.netif, self._wait)
            phases = {int(lib.tp_session_phase(one)) for one in handles}
            if len(handles) == 1 or left_s == 0 or phases != {int(lib.TP_SESSION_CONNECTING)}:
                return

    def connect(self) -> Self:
        """Wait until the session is open. Raises RemoteError with the layer and the reason.

        Of several addresses the first that answers is taken (RFC 8305).
        """
        is_connected = False
        while self.phase < lib.TP_SESSION_OPEN:
            self.wait(1.0 if is_connected else self._schedule.wait_s(time.monotonic(), 1.0))
            if not is_connected:
                with self._in_use:
                    if self._is_finished:
                        raise self._finished()
                    self._judge()
                is_connected = self.phase > lib.TP_SESSION_CONNECTING
            if self.phase == lib.TP_SESSION_CLOSED and not self._was_open:
                raise self.error()
            if self._was_open:
                break  # also where it has ended meanwhile: what came before is to be read
        return self

    @property
    def _was_open(self) -> bool:
        return bool(lib.tp_session_times(self.handle).open)

    def error(self) -> RemoteError:
        """Return what ended the session, as an exception to raise."""
        if len(self.tried) > 1 and self._schedule.is_over:
            where = f"{self.target.host}:{self.target.port}"
            return RemoteError(f"{where}: no address can be reached: {self._schedule.text}")
        where = f"{self.target.host}:{self.target.port} ({self.address})"
        if not self._attempts:
            raise self._finished()
        return RemoteError(f"{where}: {self._error_text(self._attempts[0])}")

    def _error_text(self, attempt: _Attempt) -> str:
        return failure_text(attempt.handle, self._transport, attempt.stream)

    def read(self) -> memoryview | None:
        """Return unread bytes, an empty view when there are none yet, None at the orderly end.

        The view dies at the next call. Raises RemoteError when the stream broke.
        """
        status = lib.tp_session_read(self.handle, self._span)
        if status == lib.TP_OK:
            return self._view(self._span)
        return self._empty_or_end(status, memoryview(b""))

    def next(self) -> Message | None:
        """Return the next WebSocket message; opcode -1: none yet; None: the end.

        Pings and closes are already answered. Raises RemoteError when the peer broke a rule.
        """
        status = lib.tp_session_next(self.handle, self._message)
        if status == lib.TP_OK:
            message = self._message
            payload = self._view(message.payload)
            return Message(int(message.opcode), payload, int(message.close_code))
        return self._empty_or_end(status, Message(-1, memoryview(b""), 0))

    def _view(self, span: Any) -> memoryview:
        """Return a view that keeps the session's memory, though not its contents."""
        return memoryview(ffi.buffer(kept_by(span.data, self.handle), span.size))

    def _empty_or_end(self, status: int, empty: Unread) -> Unread | None:
        if status == lib.TP_ERROR:
            raise self.error()
        return None if status == lib.TP_CLOSED else empty

    def send(self, opcode: int, payload: bytes | memoryview) -> bool:
        """Queue one WebSocket message, waiting for room. False: not open any more."""
        return self._send_all(
            payload, lambda span, taken: lib.tp_session_send(self.handle, opcode, span, taken)
        )

    def send_bytes(self, data: bytes) -> bool:
        """Queue raw bytes, waiting for room. False: the session is not open any more."""
        return self._send_all(
            data, lambda span, taken: lib.tp_session_send_bytes(self.handle, span, taken)
        )

    def _send_all(self, data: bytes | memoryview, send: Any) -> bool:
        kept = ffi.from_buffer("uint8_t[]", data)
        span = ffi.new("struct tp_span *", {"data": kept, "size": len(data)})
        taken = ffi.new("size_t *")
        while (status := send(span[0], taken)) == lib.TP_FULL:
            self.wait(1.0, want_space=1 << 15)
        return bool(status == lib.TP_OK)

    def close(self, code: int = 1000) -> None:
        """Start the orderly end; go on reading until it returns None."""
        lib.tp_session_close(self.handle, code, time.monotonic_ns())

    @property
    def close_code(self) -> int:
        """What the peer's close frame said; 1006: there was none."""
        return int(lib.tp_session_close_code(self.handle))

    @property
    def close_reason(self) -> str:
        """The peer's close reason."""
        span = lib.tp_session_close_reason(self.handle)
        return bytes(ffi.buffer(span.data, span.size)).decode(errors="replace") if span.size else ""

    @property
    def times_ns(self) -> dict[str, int]:
        """Nanoseconds from the start to connected, tls_done, open, first_byte; 0: not reached."""
        times = lib.tp_session_times(self.handle)
        names = ("connected", "tls_done", "open", "first_byte")
        return {
            name: max(0, getattr(times, name) - times.started) if getattr(times, name) else 0
            for name in names
        }

    def finish(self, timeout_s: float = 2.0) -> None:
        """Deliver what is still queued (FIN, close_notify), then free everything.

        From any thread: who waits leaves first.
        """
        self._is_finished = True
        with self._in_use:
            if not self._attempts:
                return
            end = time.monotonic() + timeout_s
            for other in self._attempts[1:]:
                self._drop(other)
            handle = self.handle
            if self.phase != lib.TP_SESSION_CLOSED:
                lib.tp_session_abort(handle)
            with contextlib.suppress(
                SystemSetupError
            ):  # without a link nothing is to be waited for
                while not lib.tp_session_finished(handle) and time.monotonic() < end:
                    self._wait_until(time.monotonic() + WAIT_SLICE_S)
                    if isinstance(self._transport, UserTransport):
                        self._transport.link.check()
            self._transport.release(self._attempts.pop().stream)
            self._transport.close()

    def disown(self) -> None:
        """Leave the connection to the parent, which nothing is sent for; closed for this child."""
        self._is_finished = True
        self._in_use = threading.RLock()  # a thread of the parent's may have held it
        self._attempts = []  # frees this child's memory and descriptors, sends nothing

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.finish()
