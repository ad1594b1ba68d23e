"""Speak the client's side of WebSocket as bytes in and bytes out (RFC 6455).

Called by tests and tools; a live connection's hot path stays in C. Calls netstack/ws/*.c through
tickpath._core. One thread.
"""

from __future__ import annotations

import base64
import enum
import secrets
from typing import TYPE_CHECKING

import msgspec
from tickpath._core import ffi, lib
from tickpath.netstack.http1 import http1
from tickpath.shm.errors import RemoteError

if TYPE_CHECKING:
    from collections.abc import Sequence

REQUEST_SIZE_MAX = http1.REQUEST_SIZE_MAX


class Opcode(enum.IntEnum):
    """Name the frame types of RFC 6455 5.2."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


class WsError(RemoteError):
    """The server broke RFC 6455 or a limit; close_code is what to close the connection with."""

    def __init__(self, close_code: int, text: str) -> None:
        super().__init__(f"WebSocket close code {close_code}: {text}")
        self.close_code = close_code
        self.text = text


class HandshakeError(RemoteError):
    """The server did not agree to speak WebSocket."""


class Message(msgspec.Struct, frozen=True):
    """Hold a whole message or control frame; close_code is 0 unless it is a CLOSE."""

    opcode: Opcode
    payload: bytes
    close_code: int = 0


class Reader:
    """Turn a server's bytes into messages, in a receive buffer of a fixed capacity."""

    def __init__(
        self,
        message_size_max: int = 1 << 20,
        fragment_count_max: int = 1024,
        capacity: int | None = None,
    ) -> None:
        if capacity is None:
            capacity = message_size_max + (1 << 15)
        self.closed = False
        self._data = ffi.new("uint8_t[]", capacity)
        self._buffer = ffi.new("struct tp_buffer *", (self._data, capacity, 0, 0))
        self._ws = ffi.new("struct tp_ws *")
        self._message = ffi.new("struct tp_ws_message *")
        lib.tp_ws_init(
            self._ws, ffi.new("struct tp_ws_config *", (message_size_max, fragment_count_max))
        )

    def feed(self, data: bytes) -> list[Message]:
        """Take bytes in order; return the messages that they complete.

        After a CLOSE the rest is ignored. A broken rule raises WsError once the messages before it
        were returned, that is from the next call if there were any; feed(b"") asks.
        """
        messages: list[Message] = []
        position = 0
        while not self.closed:
            buffer = self._buffer
            size = min(len(data) - position, buffer.capacity - buffer.tail)
            ffi.memmove(buffer.data + buffer.tail, data[position : position + size], size)
            buffer.tail += size
            position += size
            if not self._drain(messages) or position == len(data):
                break
        return messages

    def _drain(self, messages: list[Message]) -> bool:
        """Append what the buffer holds; False if nothing can follow."""
        while True:
            status = lib.tp_ws_input(self._ws, self._buffer, self._message)
            if status == lib.TP_NEED_MORE:
                return True
            if status == lib.TP_ERROR and not messages:
                raise WsError(self._ws.close_code, ffi.string(self._ws.error).decode())
            if status != lib.TP_OK:
                return False
            message = self._message
            payload = bytes(ffi.buffer(message.payload.data, message.payload.size))
            messages.append(Message(Opcode(message.opcode), payload, message.close_code))
            self.closed = message.opcode == lib.TP_WS_CLOSE
            if self.closed:
                return False


def frame(opcode: Opcode, payload: bytes, *, fin: bool = True, mask: bytes | None = None) -> bytes:
    """Return one masked client frame; mask is 4 fresh random bytes unless a test gives them.

    Raises ValueError for a control frame that is fragmented or over 125 bytes.
    """
    if mask is None:
        mask = secrets.token_bytes(4)
    capacity = len(payload) + lib.TP_WS_FRAME_HEADER_SIZE_MAX
    out = ffi.new("uint8_t[]", capacity)
    span = (ffi.from_buffer("uint8_t[]", payload), len(payload))
    size = lib.tp_ws_frame_write(out, capacity, int(opcode), fin, mask, span)
    if size == 0:
        raise ValueError(
            f"cannot write a {opcode!r} frame of {len(payload)} bytes, fin={fin}: a control frame "
            f"is whole and has at most {lib.TP_WS_CONTROL_PAYLOAD_SIZE_MAX} bytes"
        )
    return bytes(ffi.buffer(out, size))


def close_frame(code: int | None = None, reason: str = "") -> bytes:
    """Return a masked close frame; raise ValueError for a code that must not be sent."""
    if code is None:
        return frame(Opcode.CLOSE, b"")
    if not lib.tp_ws_close_code_valid(code):
        raise ValueError(
            f"close code {code} must not be sent: expected 1000-1003, 1007-1014, "
            f"or 3000-4999 (RFC 6455 7.4)"
        )
    return frame(Opcode.CLOSE, code.to_bytes(2, "big") + reason.encode())


def close_code_valid(code: int) -> bool:
    """Say whether this code may stand in a close frame on the wire (RFC 6455 7.4)."""
    return bool(lib.tp_ws_close_code_valid(code))


def new_key() -> str:
    """Return a fresh Sec-WebSocket-Key: base64 of 16 random bytes."""
    return base64.b64encode(secrets.token_bytes(16)).decode()


def handshake_request(
    host: str, target: str, key: str, headers: Sequence[tuple[str, str]] = ()
) -> bytes:
    """Return the opening request; raise ValueError if an argument could break out of its place."""
    arguments = (host, target, http1.header_lines(headers), key)
    out = ffi.new("uint8_t[]", REQUEST_SIZE_MAX)
    size = 0
    if len(key) == lib.TP_WS_KEY_SIZE and not any("\0" in text for text in arguments):
        encoded = [text.encode() for text in arguments]
        size = lib.tp_ws_handshake_request(out, REQUEST_SIZE_MAX, *encoded)
    if size == 0:
        raise ValueError(
            f"cannot ask host {host!r} for {target!r} with key {key!r} and headers "
            f"{list(headers)!r}: expected visible ASCII, a target that starts with '/', a key of "
            f"base64 of 16 bytes, no line breaks, and no header that the handshake itself writes"
        )
    return bytes(ffi.buffer(out, size))


def check_handshake(data: bytes, key: str) -> int | None:
    """Check the server's answer to key; None if its head is not complete.

    Returns the head's size: bytes behind it are WebSocket already. Raises http1.Http1Error for a
    malformed head, HandshakeError for a refusal.
    """
    parsed = http1.parse_c_head(data)
    if parsed is None:
        return None
    head, size = parsed
    error = ffi.new("char **")
    if not lib.tp_ws_handshake_accepted(head, key.encode(), error):
        raise HandshakeError(f"the server refused WebSocket: {ffi.string(error[0]).decode()}")
    return size
