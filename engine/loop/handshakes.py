"""The thread that runs a loop's TLS handshakes: a reconnect then costs the hot thread nothing.

Called by the process that owns the loop. Calls: netstack/tls/handshake_worker.c, without the GIL.
"""

from __future__ import annotations

import os
import threading
from typing import Any

from tickpath._core import ffi, lib
from tickpath.rt.process import name_thread
from tickpath.shm.errors import SystemSetupError

THREAD_NAME = "handshakes"


class Handshakes:
    """The worker and its thread; sessions that have `worker` in their configuration end before."""

    def __init__(self) -> None:
        """Make the worker. Raises SystemSetupError where there is no memory."""
        self.worker: Any = lib.tp_tls_handshake_worker_new()
        if self.worker == ffi.NULL:
            raise SystemSetupError("out of memory for the TLS handshakes' worker")
        self._thread: threading.Thread | None = None
        self.is_alive = False
        """The thread runs and uses the sessions, even if a signal cut `stop` short."""

    @property
    def works(self) -> int:
        """Count how often it has worked on a handshake."""
        return int(lib.tp_tls_handshake_worker_works(self.worker))

    def start(self, hot_cpu: int | None = None) -> None:
        """Start the thread, away from the hot thread's CPU."""
        self.is_alive = True
        self._thread = threading.Thread(
            target=self._run, args=(hot_cpu,), name=THREAD_NAME, daemon=True
        )
        self._thread.start()

    def _run(self, hot_cpu: int | None) -> None:
        try:
            name_thread(THREAD_NAME)
            others = os.sched_getaffinity(0) - {hot_cpu}
            if hot_cpu is not None and others:
                os.sched_setaffinity(0, others)
            lib.tp_tls_handshake_worker_run(self.worker)
        finally:
            self.is_alive = False

    def stop(self) -> None:
        """End the thread; what is not done stays so."""
        if self._thread is not None:
            lib.tp_tls_handshake_worker_stop(self.worker)
            self._thread.join()
            self._thread = None

    def close(self) -> None:
        """Stop and free the worker. All its sessions were freed before."""
        self.stop()
        lib.tp_tls_handshake_worker_free(self.worker)
        self.worker = ffi.NULL
