"""The far end of `bench burst` in memory: TCP by script, TLS by Python's ssl, WebSocket by hand.

Every frame is whole and valid: checksums, sequence numbers, timestamps, one TLS record and one
WebSocket message each. Nothing here is timed.
"""

from __future__ import annotations

import base64
import hashlib
import re
import time
from typing import TYPE_CHECKING, Any

from tickpath._bench import ffi, lib
from tickpath.engine.bench.tls_server import TlsServer
from tickpath.shm.errors import SystemSetupError

if TYPE_CHECKING:
    import ssl

EXCHANGE_ADDRESS, FEED_HANDLER_ADDRESS = 0xC6120001, 0xC6120002  # 198.18.0.1 and .2 (RFC 2544)
EXCHANGE_PORT = 443
FRAME_SIZE_MAX = 2048
MSS = 1400
FULL_S_MAX, FULL_PAUSE_S = 5.0, 0.0002
HEADERS_SIZE = 34  # Ethernet and IPv4 without options
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 1.3
_SYN, _ACK, _PSH = lib.TP_TCP_SYN, lib.TP_TCP_ACK, lib.TP_TCP_PSH


def websocket_frame(payload: bytes) -> bytes:
    """Return a server's binary frame."""
    size = len(payload)
    head = bytes([0x82, size]) if size < 126 else b"\x82\x7e" + size.to_bytes(2, "big")
    return head + payload


class Connection:
    """One connection's server side."""

    def __init__(self, context: ssl.SSLContext, reader_port: int) -> None:
        """Wait for the reader's SYN."""
        self._tls = TlsServer(context)
        self._request = b""
        self.upgraded = False
        self._flow = ffi.new("struct tp_bench_flow *")
        self._flow.source_address, self._flow.destination_address = (
            EXCHANGE_ADDRESS,
            FEED_HANDLER_ADDRESS,
        )
        self._flow.source_port, self._flow.destination_port = EXCHANGE_PORT, reader_port
        self._flow.sequence = 1_000_000 + reader_port
        self._flow.timestamp_value = 1
        self._frame = ffi.new("uint8_t[]", FRAME_SIZE_MAX)
        self._span = ffi.new("struct tp_span *")

    def _write(self, flags: int, payload: bytes) -> bytes:
        kept = ffi.from_buffer("uint8_t[]", payload)
        self._span.data, self._span.size = kept, len(payload)
        size = lib.tp_bench_frame_write(self._flow, flags, self._span[0], self._frame)
        return bytes(ffi.buffer(self._frame, size))

    def _stream(self, data: bytes) -> list[bytes]:
        return [
            self._write(_ACK | _PSH, data[start : start + MSS])
            for start in range(0, len(data), MSS)
        ]

    def segment(self, segment: Any) -> list[bytes]:
        """Take one segment of the reader; return the frames that answer it."""
        flow, payload = self._flow, bytes(ffi.buffer(segment.payload.data, segment.payload.size))
        if segment.has_timestamps:
            flow.timestamp_echo = segment.timestamp_value
        if segment.flags & _SYN:
            return self._accept(segment.sequence + 1 & 0xFFFFFFFF)
        if not payload:
            return []
        # What was retransmitted before our answer came is known already; nothing gets lost here.
        payload = payload[flow.acknowledgment - segment.sequence & 0xFFFFFFFF :]
        if not payload:
            return [self._write(_ACK, b"")]
        flow.acknowledgment = flow.acknowledgment + len(payload) & 0xFFFFFFFF
        answer = self._tls.exchange(payload)
        if self._tls.connected and not self.upgraded:
            answer += self._upgrade()
        return self._stream(answer) or [self._write(_ACK, b"")]

    def _accept(self, acknowledgment: int) -> list[bytes]:
        """Answer the first SYN; one that was retransmitted meanwhile needs no other answer."""
        if self._flow.acknowledgment:
            return []
        self._flow.acknowledgment = acknowledgment
        return [self._write(_SYN | _ACK, b"")]

    def _upgrade(self) -> bytes:
        self._request += self._tls.read()
        key = re.search(rb"(?i)sec-websocket-key: *(\S+)", self._request)
        if key is None or not self._request.endswith(b"\r\n\r\n"):
            return b""
        self._tls.check()
        self.upgraded = True
        digest = hashlib.sha1(key[1] + _GUID, usedforsecurity=False).digest()
        accept = base64.b64encode(digest)
        return self._tls.seal(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )

    def message(self, payload: bytes) -> bytes:
        """Return one frame that carries one message."""
        record = self._tls.seal(websocket_frame(payload))
        if len(record) > MSS:
            raise SystemSetupError(f"a message of {len(payload)} bytes does not fit one frame")
        return self._write(_ACK | _PSH, record)


class Exchange:
    """All connections, at one end of a memory link."""

    def __init__(self, link: Any, connections: dict[int, Connection]) -> None:
        """Take the link's end; connections by the reader's port."""
        self._link, self._connections = link, connections
        self._frames = ffi.new("struct tp_frame[64]")
        self._segment = ffi.new("struct tp_tcp_segment *")

    def step(self) -> None:
        """Answer what has come."""
        count = lib.tp_link_rx_burst(self._link, self._frames, 64)
        answers = []
        for frame in self._frames[0:count]:
            span = ffi.new("struct tp_span *")
            span.data, span.size = frame.data + HEADERS_SIZE, frame.size - HEADERS_SIZE
            if lib.tp_tcp_segment_parse(span[0], self._segment):
                connection = self._connections[self._segment.source_port]
                answers += connection.segment(self._segment)
        lib.tp_link_rx_release(self._link, self._frames, count)
        for answer in answers:
            self.send(answer)

    def send(self, frame: bytes) -> None:
        """Send one frame. Raises SystemSetupError when the ring stays full: nobody takes them."""
        end = time.monotonic() + FULL_S_MAX
        while (room := lib.tp_link_tx_claim(self._link)) == ffi.NULL:
            if time.monotonic() > end:
                raise SystemSetupError("the reader takes no frames")
            time.sleep(FULL_PAUSE_S)
        ffi.memmove(room, frame, len(frame))
        lib.tp_link_tx_commit(self._link, len(frame))
        lib.tp_link_tx_kick(self._link)
