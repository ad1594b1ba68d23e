"""A flag that a signal handler may set while the main thread waits for it.

threading.Event must not be: its `set` takes the lock that the interrupted `wait` may hold, and the
process hangs for ever. Called by: engine/app.py, engine/reader_process.py.
"""

from __future__ import annotations

import time

LOOK_EVERY_S = 0.02  # sleep goes on after a handler returned (PEP 475)


class StopFlag:
    """Say once that the process is to end; no lock is involved."""

    __slots__ = ("_is_set",)

    def __init__(self) -> None:
        self._is_set = False

    def set(self) -> None:
        """Raise the flag; from a signal handler or any thread."""
        self._is_set = True

    def is_set(self) -> bool:
        """Say whether it is raised."""
        return self._is_set

    def wait(self, timeout_s: float) -> bool:
        """Sleep up to `timeout_s`, or until a look shows the flag; return whether it is raised."""
        end = time.monotonic() + timeout_s
        while not self._is_set and (rest := end - time.monotonic()) > 0:
            time.sleep(min(rest, LOOK_EVERY_S))
        return self._is_set
