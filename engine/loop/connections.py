"""Keep every venue connection of the hot path alive: prepare, hand over, take back, try again.

Runs on the cold thread of the reader process. The hot thread adopts what `tp_hot_path_offer` hands
over and gives ended sessions back; see engine/feed_handler/hot_path.h.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tickpath._core import ffi, lib
from tickpath.netstack.session import ERROR_TEXT_SIZE, Target
from tickpath.netstack.transport import RECEIVE_WINDOW, resolve
from tickpath.shm.errors import LocalError, RemoteError, SystemSetupError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tickpath.netstack.transport import KernelTransport, Stream, UserTransport

NS_PER_S = 1_000_000_000
MESSAGE_SIZE_MAX = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconnect:
    """How long to wait before another try: doubling, jittered, reset by a stable connection."""

    first_s: float = 0.1
    max_s: float = 30.0
    stable_after_s: float = 30.0
    handshake_timeout_s: float = 10.0

    def delay_s(self, failures: int, jitter: float) -> float:
        """Return the pause before try number `failures` + 1; the first retry is immediate.

        jitter: uniform in [0, 1).
        """
        if failures <= 1:
            return 0.0
        limit = min(self.max_s, self.first_s * 2.0 ** min(failures - 2, 32))
        return limit * (0.5 + 0.5 * jitter)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a connection goes and what it says once it is open."""

    target: Target
    server_name: str
    addresses: dict[str, str]
    open_messages: tuple[bytes, ...]
    ping_message: bytes
    ping_interval_s: float


@dataclass(slots=True)
class _Slot:
    endpoint: Endpoint
    kept: list[Any]  # cffi memory that the C struct points into
    session: Any = None
    stream: Stream | None = None
    failures: int = 0
    retry_at: float = 0.0
    offered_at: float = 0.0
    open: bool = False


@dataclass(slots=True)
class Connections:
    """All connections of one hot path. `step` is called when `wait_s` is over, or sooner."""

    hot: Any
    transport: KernelTransport | UserTransport
    tls_context: Any
    reconnect: Reconnect
    log: Callable[[str], None]
    random: random.Random = field(default_factory=random.SystemRandom)
    slots: list[_Slot] = field(default_factory=list)

    def add(self, endpoint: Endpoint) -> int:
        """Register a connection and return its number. Before the hot path runs."""
        number = len(self.slots)
        connection = self.hot.connection[number]
        kept = [ffi.new("uint8_t[]", message) for message in endpoint.open_messages]
        limit = lib.TP_HOT_PATH_OPEN_MESSAGE_MAX
        if len(kept) > limit:
            raise LocalError(f"{len(kept)} messages on connecting: expected at most {limit}")
        for i, (memory, message) in enumerate(zip(kept, endpoint.open_messages, strict=True)):
            connection.open_message[i].data = memory
            connection.open_message[i].size = len(message)
        connection.open_message_count = len(kept)
        ping = ffi.new("uint8_t[]", endpoint.ping_message)
        connection.ping_message.data, connection.ping_message.size = (
            ping,
            len(endpoint.ping_message),
        )
        connection.ping_interval_ns = int(endpoint.ping_interval_s * NS_PER_S)
        self.slots.append(_Slot(endpoint, [*kept, ping]))
        self.hot.connection_count = len(self.slots)
        return number

    def step(self) -> None:
        """Take back what ended, report it, and try again what is due."""
        now = time.monotonic()
        for number, slot in enumerate(self.slots):
            retired = lib.tp_hot_path_take_retired(self.hot, number)
            if retired != ffi.NULL:
                self._take_back(number, slot, retired, now)
            if slot.session is None:
                if now >= slot.retry_at:
                    self._try(number, slot, now)
                continue
            is_open = lib.tp_hot_path_phase(self.hot, number) == lib.TP_SESSION_OPEN
            if is_open and not slot.open:
                slot.open = True
                self.log(f"connection {number}: open to {self._name(slot)}{self._tls(slot)}")
            if is_open and now - slot.offered_at > self.reconnect.stable_after_s:
                slot.failures = 0

    def wait_s(self, max_s: float) -> float:
        """Return how long until a try is due, at most `max_s`."""
        now = time.monotonic()
        due = (slot.retry_at for slot in self.slots if slot.session is None)
        return max(0.0, min(max_s, min(due, default=max_s + now) - now))

    def drop(self, number: int) -> None:
        """End a connection; it is tried again as after a failure."""
        lib.tp_hot_path_drop(self.hot, number)

    def close(self) -> None:
        """Free all sessions. The hot path must have stopped."""
        for number, slot in enumerate(self.slots):
            lib.tp_hot_path_take_retired(self.hot, number)
            if slot.session is not None:
                lib.tp_session_free(slot.session)
                slot.session = None

    def _name(self, slot: _Slot) -> str:
        return f"{slot.endpoint.target.host}:{slot.endpoint.target.port}"

    def _tls(self, slot: _Slot) -> str:
        tls = lib.tp_session_tls(slot.session)
        if tls == ffi.NULL:
            return ""
        version, cipher = lib.tp_tls_version(tls), lib.tp_tls_cipher(tls)
        layer = lib.tp_tls_record_layer_name(tls)
        return ", " + " ".join(ffi.string(text).decode() for text in (version, cipher, layer))

    def _take_back(self, number: int, slot: _Slot, retired: Any, now: float) -> None:
        text = ffi.new("char[]", ERROR_TEXT_SIZE)
        lib.tp_session_error_text(retired, text, ERROR_TEXT_SIZE)
        failed = lib.tp_session_error(retired) != lib.TP_SESSION_ERROR_NONE
        code = int(lib.tp_session_close_code(retired))
        reason = ffi.string(text).decode(errors="replace") if failed else f"closed with code {code}"
        lib.tp_session_free(retired)
        slot.session, slot.open = None, False
        if slot.stream is not None:
            self.transport.release(slot.stream)
            slot.stream = None
        self._fail(number, slot, reason, now)

    def _fail(self, number: int, slot: _Slot, reason: str, now: float) -> None:
        slot.failures += 1
        delay = self.reconnect.delay_s(slot.failures, self.random.random())
        slot.retry_at = now + delay
        again = "now" if delay == 0 else f"in {delay:.2f} s"
        self.log(f"connection {number}: {self._name(slot)}: {reason}; trying again {again}")

    def _try(self, number: int, slot: _Slot, now: float) -> None:
        endpoint = slot.endpoint
        try:
            address = resolve(endpoint.target.host, endpoint.addresses, endpoint.target.port)
            stream = self.transport.open_stream(address, endpoint.target.port)
        except (LocalError, RemoteError, SystemSetupError) as error:
            self._fail(number, slot, str(error), now)
            return
        try:
            session = self._new_session(endpoint, stream)
        except BaseException:
            lib.tp_stream_deinit(stream.handle)
            self.transport.release(stream)
            raise
        self.hot.connection[number].next_hop_mac = list(stream.next_hop or bytes(6))
        config = stream.tcp_config
        if not lib.tp_hot_path_offer(self.hot, number, session, stream.tcp, config):
            raise AssertionError("the hot path still holds an earlier session of this connection")
        slot.session, slot.stream, slot.offered_at = session, stream, now

    def _new_session(self, endpoint: Endpoint, stream: Stream) -> Any:
        config = ffi.new("struct tp_session_config *")
        words = (endpoint.server_name, endpoint.target.authority, endpoint.target.path, "")
        texts = [ffi.new("char[]", word.encode()) for word in words]
        config.tls = self.tls_context if endpoint.target.tls else ffi.NULL
        config.websocket = True
        config.server_name, config.host, config.target, config.extra_headers = texts
        config.message_size_max, config.receive_window = MESSAGE_SIZE_MAX, RECEIVE_WINDOW
        config.handshake_timeout_ns = int(self.reconnect.handshake_timeout_s * NS_PER_S)
        error = ffi.new("char[]", ERROR_TEXT_SIZE)
        session = lib.tp_session_new(config, stream.handle, error, ERROR_TEXT_SIZE)
        if session == ffi.NULL:
            raise LocalError(ffi.string(error).decode(errors="replace"))
        return session
