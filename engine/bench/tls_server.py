"""A TLS 1.3 server in memory by Python's ssl: the far end of `bench record` and `bench burst`."""

from __future__ import annotations

import ssl
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tickpath._core import ffi, lib
from tickpath.engine.sim.certificates import make_ca
from tickpath.shm.errors import SystemSetupError

if TYPE_CHECKING:
    from collections.abc import Callable

CIPHER = "TLS_AES_128_GCM_SHA256"
FLIGHTS_MAX = 10
FLIGHT_SIZE = 1 << 16


def server_context() -> ssl.SSLContext:
    """Return a context with a fresh certificate that lets the client choose the cipher."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    context.num_tickets = 0
    with tempfile.TemporaryDirectory(prefix="tickpath-bench-") as directory:
        made = make_ca(Path(directory), ["exchange.test"], ["127.0.0.1"])
        context.load_cert_chain(made.certificate, made.key)
    return context


def client_context() -> Any:
    """Return our client's context; it does not verify: nothing here is secret."""
    config = ffi.new("struct tp_tls_context_config *", {"insecure": True})
    error = ffi.new("char[]", 512)
    context = lib.tp_tls_context_new(config, error, 512)
    if context == ffi.NULL:
        raise SystemSetupError(f"no TLS context: {ffi.string(error).decode()}")
    return ffi.gc(context, lib.tp_tls_context_free)


class TlsServer:
    """One connection's server: bytes in, bytes out."""

    def __init__(self, context: ssl.SSLContext) -> None:
        """Start a connection."""
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._ssl = context.wrap_bio(self._in, self._out, server_side=True)
        self.connected = False

    def exchange(self, data: bytes) -> bytes:
        """Take what the client sent, go on with the handshake, return what it must get."""
        self._in.write(data)
        if not self.connected:
            try:
                self._ssl.do_handshake()
                self.connected = True
            except ssl.SSLWantReadError:
                pass
        return self._out.read()

    def read(self) -> bytes:
        """Return the plaintext that has come."""
        try:
            return self._ssl.read(FLIGHT_SIZE)
        except ssl.SSLWantReadError:
            return b""

    def seal(self, plaintext: bytes) -> bytes:
        """Return one record."""
        self._ssl.write(plaintext)
        return self._out.read()

    def shake_hands(self, client: Callable[[bytes], bytes]) -> None:
        """Connect with a client in memory. Raises SystemSetupError with another cipher."""
        flight = client(b"")
        for _ in range(FLIGHTS_MAX):
            flight = client(self.exchange(flight))
            if self.connected and not flight:
                break
        self.check()

    def check(self) -> None:
        """Raise SystemSetupError unless the handshake ended with the cipher that is measured."""
        cipher = self._ssl.cipher()
        if not self.connected or cipher is None or cipher[0] != CIPHER:
            raise SystemSetupError(f"the handshake ended with {cipher}, expected {CIPHER}")
