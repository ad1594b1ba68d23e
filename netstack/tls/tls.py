"""A TLS client as bytes in, bytes out, for tests and tools: the Python face of tls.h.

It copies at every step; the hot path never comes here. Called by: tests. Calls: tls.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from tickpath._core import ffi, lib
from tickpath.shm.errors import LocalError, RemoteError

if TYPE_CHECKING:
    from pathlib import Path

RECORD_SIZE_MAX = (1 << 14) + 256
OUTPUT_SIZE = 1 << 16
ERROR_SIZE = 512
RECORD_LAYERS = ("auto", "ipsec_mb", "evp", "openssl")


class TlsClient:
    """One client connection over no transport at all. Not thread-safe.

    Send what output() returns before anything else and after every input(); stop when `closed`.
    """

    def __init__(
        self,
        server_name: str,
        *,
        ca_file: Path | None = None,
        insecure: bool = False,
        record_layer: str = "auto",
    ) -> None:
        """Prepare the ClientHello; raises LocalError for a bad CA file, name or record layer."""
        self._owned: Any = None
        if record_layer not in RECORD_LAYERS:
            raise LocalError(
                f"record layer {record_layer!r}: expected one of {', '.join(RECORD_LAYERS)}"
            )
        ca_text = ffi.new("char[]", str(ca_file).encode()) if ca_file is not None else ffi.NULL
        layer = getattr(lib, f"TP_TLS_RECORD_{record_layer.upper()}")
        config = ffi.new("struct tp_tls_context_config *", (ca_text, insecure, layer))
        error = ffi.new("char[]", ERROR_SIZE)
        context = lib.tp_tls_context_new(config, error, ERROR_SIZE)
        if context == ffi.NULL:
            raise LocalError(ffi.string(error).decode(errors="replace"))
        owned_context = ffi.gc(context, lib.tp_tls_context_free)
        tls = lib.tp_tls_new(owned_context, server_name.encode())
        if tls == ffi.NULL:
            raise LocalError(
                f"server name {server_name!r}: expected a DNS name of at most 255 bytes or an IP "
                "address"
            )

        def free(one: Any, _context: Any = owned_context) -> None:  # the context after it
            lib.tp_tls_free(one)

        self._owned = ffi.gc(tls, free)  # a call that is under way keeps it over `free`
        self._plaintext = ffi.new("uint8_t[]", RECORD_SIZE_MAX)
        self._buffer = ffi.new("struct tp_buffer *", (self._plaintext, RECORD_SIZE_MAX, 0, 0))
        self._sealed = ffi.new("uint8_t[]", OUTPUT_SIZE)
        self.closed = False
        self.opened = b""  # the plaintext of the latest input()

    def free(self) -> None:
        """Wipe the keys and give the memory back; harmless when repeated.

        From any thread: a call that is under way ends first. Calls after it raise ValueError.
        """
        self._owned = None

    @property
    def _tls(self) -> Any:
        owned = self._owned
        if owned is None:
            raise ValueError("TLS connection is freed: make a new one")
        return owned

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.free()

    def input(self, data: bytes) -> bytes:
        """Take bytes from the server and return the plaintext in them.

        Raises RemoteError when the server broke the protocol; output() then has the alert, and
        `opened` the plaintext of the records before the broken one.
        """
        plaintext = bytearray()
        held = ffi.from_buffer(data)
        span = ffi.new("struct tp_span *", (held, len(data)))
        while True:
            status = lib.tp_tls_input(self._tls, span, self._buffer)
            plaintext += ffi.buffer(self._plaintext, self._buffer.tail)
            self._buffer.head = self._buffer.tail = 0
            if status != lib.TP_FULL and (status != lib.TP_OK or span.size == 0):
                break
        self.opened = bytes(plaintext)
        self._judge(status)
        return self.opened

    def end_of_input(self) -> None:
        """Say that the transport ended; raises RemoteError unless close_notify came before."""
        self._judge(lib.tp_tls_end_of_input(self._tls))

    def _judge(self, status: int) -> None:
        if status == lib.TP_CLOSED:
            self.closed = True
        if status == lib.TP_ERROR:
            raise RemoteError(f"{self.error}: {self.error_text}")

    def output(self) -> bytes:
        """Return what TLS itself must send now: flights, alerts, KeyUpdate."""
        found = bytearray()
        while size := lib.tp_tls_output(self._tls, self._sealed, OUTPUT_SIZE):
            found += ffi.buffer(self._sealed, size)
        return bytes(found)

    def seal(self, plaintext: bytes) -> bytes:
        """Return plaintext as records; raises LocalError when there is no connection."""
        capacity = lib.tp_tls_sealed_size(self._tls, len(plaintext))
        out = ffi.new("uint8_t[]", capacity)
        span = (ffi.from_buffer(plaintext), len(plaintext))
        size = lib.tp_tls_seal(self._tls, span, out, capacity)
        if size == 0 and plaintext:
            raise LocalError("cannot seal: expected a connection after its handshake, not closed")
        return bytes(ffi.buffer(out, size))

    def close(self) -> None:
        """Queue close_notify for output()."""
        lib.tp_tls_close(self._tls)

    @property
    def connected(self) -> bool:
        """True from the end of the handshake to an error or the server's close_notify."""
        return bool(lib.tp_tls_connected(self._tls))

    @property
    def error(self) -> str:
        """The error's name, `none` without one."""
        return self._text(lib.tp_tls_error_name(lib.tp_tls_error(self._tls)))

    @property
    def error_text(self) -> str:
        """The error in words."""
        return self._text(lib.tp_tls_error_text(self._tls))

    @property
    def version(self) -> str:
        """As in `TLSv1.3`."""
        return self._text(lib.tp_tls_version(self._tls))

    @property
    def cipher(self) -> str:
        """As in `TLS_AES_128_GCM_SHA256`."""
        return self._text(lib.tp_tls_cipher(self._tls))

    @property
    def record_layer(self) -> str:
        """Return `libipsec-mb`, `libcrypto` or `openssl`."""
        return self._text(lib.tp_tls_record_layer_name(self._tls))

    @staticmethod
    def _text(pointer: Any) -> str:
        return str(ffi.string(pointer).decode(errors="replace"))
