"""A flag that a signal handler may set while the main thread waits for it.

threading.Event must not be: its `set` takes the lock that the interrupted `wait` may hold, and the
process hangs for ever. Called by: engine's commands that run until a signal.
"""

from __future__ import annotations

import os
import select
import time

from tickpath.shm.ownership import own

# A handler runs only after the system call of a wait that began just behind its signal.
LOOK_EVERY_S = 0.25


class StopFlag:
    """Say once that the process is to end; no lock is involved."""

    __slots__ = ("__weakref__", "_bell", "_is_set")

    def __init__(self) -> None:
        """Make its event descriptor; it is closed with the last reference."""
        self._is_set = False
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        own(self)

    def disown(self) -> None:
        """Take a bell of this child's own: the parent's is not its to ring."""
        os.close(self._bell)
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def __del__(self) -> None:
        if hasattr(self, "_bell"):
            os.close(self._bell)

    def set(self) -> None:
        """Raise the flag; from a signal handler or any thread."""
        self._is_set = True
        os.eventfd_write(self._bell, 1)

    def is_set(self) -> bool:
        """Say whether it is raised."""
        return self._is_set

    def wait(self, timeout_s: float) -> bool:
        """Sleep up to `timeout_s`, or until the flag is raised; return whether it is."""
        bell, end = select.poll(), time.monotonic() + timeout_s
        bell.register(self._bell, select.POLLIN)
        while not self._is_set and (rest := end - time.monotonic()) > 0:
            rung = bell.poll(min(rest, LOOK_EVERY_S) * 1000)
            if rung and not self._is_set:
                os.eventfd_read(self._bell)  # by a child, between fork and exec: not for us
        return self._is_set
