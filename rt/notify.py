"""Tell the service manager how this process is: sd_notify(3) in a few lines, without libsystemd.

A notifier without a socket says nothing, so that callers need not ask whether they run as a
service. Called by: engine (app, strategy), rt/guard. Calls: nothing of ours. Source: sd_notify(3),
sd_watchdog_enabled(3).
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

US_PER_S = 1_000_000
STATUS_LENGTH_MAX = 512
SEND_TIMEOUT_S = 0.5  # a manager that starts many services at once is slow for a moment


class Notifier:
    """Hold a datagram socket to the service manager until `close`; never raises.

    Sending waits up to SEND_TIMEOUT_S for a manager whose queue is full: not for the hot path.
    """

    def __init__(self, address: str | None) -> None:
        """Take what NOTIFY_SOCKET holds: a path, "@" and an abstract name, or None for nobody."""
        self._address: str | None = None
        self._socket: socket.socket | None = None
        self._said_status = ""
        if address and address[0] in "/@":  # the manager of a virtual machine (vsock:) is not ours
            self._address = f"\0{address[1:]}" if address[0] == "@" else address
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.settimeout(SEND_TIMEOUT_S)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Make one for whoever started this process; it says nothing where that listens not."""
        return cls(environment.get("NOTIFY_SOCKET"))

    @property
    def is_heard(self) -> bool:
        """Say whether there is anybody to tell."""
        return self._socket is not None

    def send(self, **assignments: str | int) -> bool:
        """Send NAME=value lines in one datagram; False where it did not arrive.

        A line end in a value would begin another assignment: it becomes a space.
        """
        if self._socket is None or self._address is None:
            return False
        lines = [f"{name}={' '.join(str(value).split())}" for name, value in assignments.items()]
        with contextlib.suppress(OSError):  # deaf or gone: the manager's own timeouts judge then
            self._socket.sendto("\n".join(lines).encode(), self._address)
            return True
        return False

    def ready(self, status: str) -> None:
        """Say that the service does what it is for."""
        self._said_status = status
        self.send(READY=1, STATUS=status[:STATUS_LENGTH_MAX])

    def status(self, text: str) -> None:
        """Say in one line what the service does; said once, however often it is told."""
        if text != self._said_status:
            self._said_status = text
            self.send(STATUS=text[:STATUS_LENGTH_MAX])

    def alive(self) -> None:
        """Feed the manager's watchdog."""
        self.send(WATCHDOG=1)

    def stopping(self) -> None:
        """Say that the end was asked for and is under way."""
        self.send(STOPPING=1, STATUS="stopping")

    def close(self) -> None:
        """Close the socket; everything said later goes nowhere."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def watchdog_s(environment: Mapping[str, str] = os.environ) -> float | None:
    """Return after how many seconds of silence the manager kills this process; None: never.

    A WATCHDOG_PID of somebody else means that the time is meant for them.
    """
    text, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    is_number = text.isascii() and text.isdigit()
    if not is_number or int(text) == 0 or (pid and pid != str(os.getpid())):
        return None
    return int(text) / US_PER_S


class Watchdog:
    """Feed the manager's watchdog, not more often than it needs; only ever after a heartbeat."""

    def __init__(self, notifier: Notifier, limit_s: float | None) -> None:
        """Take the manager's limit as `watchdog_s` gives it; None: there is nothing to feed."""
        self._notifier = notifier
        self._every_s = limit_s / 4 if limit_s is not None else None
        self._next_s = 0.0

    def feed(self, now_s: float) -> bool:
        """Say that the heartbeat moved since the last call; return whether the manager was told."""
        if self._every_s is None or now_s < self._next_s:
            return False
        self._next_s = now_s + self._every_s
        self._notifier.alive()
        return True
