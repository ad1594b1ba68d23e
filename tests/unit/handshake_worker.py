"""A handshake worker that a test steps by hand, and a TLS client whose handshake it does.

The hand-over is the one between two threads (netstack/tls/handover.h), here on one: the test says
when the cold side works.
"""

from __future__ import annotations

from typing import Any

from tickpath import _core
from tickpath.netstack.tls.tls import TlsClient

ffi: Any = _core.ffi
lib: Any = _core.lib

PIECE_SIZE = 1 << 14  # far below what the hand-over holds


def new_worker() -> Any:
    """Return a worker that is never freed (3 KiB): its sessions are, in an order of Python's."""
    worker = lib.tp_tls_handshake_worker_new()
    assert worker != ffi.NULL
    return worker


class DelegatingClient(TlsClient):
    """A client that hands its handshake to a worker, and takes it back within each input."""

    def __init__(self, *arguments: Any, **words: Any) -> None:
        self._worker = new_worker()
        super().__init__(*arguments, **words)
        assert lib.tp_tls_delegate(self._tls, self._worker)

    def input(self, data: bytes) -> bytes:
        whole = b""
        for start in range(0, max(len(data), 1), PIECE_SIZE):
            for piece in (data[start : start + PIECE_SIZE], b""):
                try:
                    whole += super().input(piece)
                except Exception:
                    self.opened = whole + self.opened
                    raise
                lib.tp_tls_handshake_worker_step(self._worker)
        self.opened = whole
        return whole
