"""Which address of a name to connect to, where it has several: Happy Eyeballs (RFC 8305).

`Schedule` says when to begin with which address, and keeps what came of each. It does no I/O and
takes the time from its caller, who connects: netstack/session.py over either transport,
`connect_first` over kernel sockets (REST, and engine/loop/resolver.py for the hot thread).
`RoundTrips` remembers, so that the next connection begins with the nearest address that answers.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

ATTEMPT_DELAY_S: Final = 0.25  # RFC 8305 5: Connection Attempt Delay
ADDRESSES_MAX: Final = 16
FAILED_FOR_S: Final = 300.0
"""How long an address that failed is the last choice."""


@dataclass(slots=True)
class Tried:
    """One address, and what came of it."""

    address: str
    began_s: float
    seconds: float | None = None
    """From the SYN to the connection; None: there is none."""
    failure: str = ""
    """Why there is none; "": it did not answer until another one had."""

    def __str__(self) -> str:
        if self.seconds is not None:
            return f"{self.address} ({self.seconds * 1e3:.3f} ms)"
        return f"{self.address} ({self.failure or 'no answer'})"


class Schedule:
    """Begin with the first address; with the next one after 0.25 s, or at once after a failure."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._waiting = list(addresses[:ADDRESSES_MAX])
        self._next_s = float("-inf")
        self.tried: list[Tried] = []

    def due(self, now_s: float) -> str | None:
        """Return the address to begin with now, or None."""
        if not self._waiting or now_s < self._next_s:
            return None
        self._next_s = now_s + ATTEMPT_DELAY_S
        self.tried.append(Tried(self._waiting.pop(0), now_s))
        return self.tried[-1].address

    def wait_s(self, now_s: float, max_s: float) -> float:
        """Return how long until another one is due, at most `max_s`."""
        return min(max_s, max(0.0, self._next_s - now_s)) if self._waiting else max_s

    def connected(self, address: str, seconds: float) -> None:
        """Take note of the first that answered: the others are given up, and none begins."""
        self.of(address).seconds = seconds
        self._waiting.clear()

    def failed(self, address: str, failure: str) -> None:
        """Take note of one that cannot be reached: the next one begins at once."""
        self.of(address).failure = failure
        self._next_s = float("-inf")

    @property
    def is_over(self) -> bool:
        """Whether every address failed."""
        return not self._waiting and all(one.failure for one in self.tried)

    @property
    def text(self) -> str:
        """Say what came of each."""
        return ", ".join(map(str, self.tried))

    def of(self, address: str) -> Tried:
        """Return what is known of an address that was begun with."""
        return next(one for one in reversed(self.tried) if one.address == address)


@dataclass(slots=True)
class RoundTrips:
    """The last known round trip to each address of each port; for one thread."""

    _seconds: dict[tuple[str, int], float] = field(default_factory=dict)
    _failed_s: dict[tuple[str, int], float] = field(default_factory=dict)

    def order(self, addresses: Sequence[str], port: int, now_s: float) -> list[str]:
        """Return the addresses as to be tried: the nearest first, those unknown, then failed ones.

        What is equal stays in the order of the answer; of failed ones the longest ago goes first,
        so that all get their turn.
        """

        def rank(address: str) -> tuple[bool, float]:
            failed_s = self._failed_s.get((address, port), float("-inf"))
            if now_s - failed_s < FAILED_FOR_S:
                return True, failed_s
            return False, self._seconds.get((address, port), float("inf"))

        return sorted(dict.fromkeys(addresses), key=rank)

    def note(self, schedule: Schedule, port: int, now_s: float) -> None:
        """Keep what a connect found."""
        for one in schedule.tried:
            if one.seconds is not None:
                self._seconds[one.address, port] = one.seconds
                self._failed_s.pop((one.address, port), None)
            elif one.failure or now_s - one.began_s >= ATTEMPT_DELAY_S:
                self.failed(one.address, port, now_s)

    def failed(self, address: str, port: int, now_s: float) -> None:
        """Keep that an address brings no connection: others go first for a while."""
        self._failed_s[address, port] = now_s


class _Connecting:
    """Non-blocking connects that are under way."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._sockets: dict[int, tuple[socket.socket, str]] = {}
        self._poll = select.poll()

    def begin(self, address: str) -> str:
        """Start one; return why it cannot be, or ""."""
        one = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        code = one.connect_ex((address, self._port))
        if code not in (0, errno.EINPROGRESS):
            one.close()
            return os.strerror(code)
        self._sockets[one.fileno()] = one, address
        self._poll.register(one, select.POLLOUT)
        return ""

    def wait(self, seconds: float) -> list[tuple[socket.socket, str, str]]:
        """Return those that are decided: socket, address, and why it failed, or ""."""
        decided = []
        for number, _ in self._poll.poll(max(0, int(seconds * 1e3 + 0.999))):
            one, address = self._sockets.pop(number)
            self._poll.unregister(one)
            code = one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                one.close()
            decided.append((one, address, os.strerror(code) if code else ""))
        return decided

    def close(self) -> None:
        """Give up what is still under way."""
        for one, _ in self._sockets.values():
            with contextlib.suppress(OSError):
                one.close()
        self._sockets.clear()


def connect_first(schedule: Schedule, port: int, timeout_s: float) -> tuple[socket.socket, str]:
    """Return a connected kernel socket and its address, the first of the schedule's that answers.

    Blocking, for timeout_s at most. Raises TimeoutError or OSError, which name each address where
    there are several.
    """
    began_s = time.monotonic()
    end_s, connecting = began_s + timeout_s, _Connecting(port)
    try:
        while not schedule.is_over and (now_s := time.monotonic()) < end_s:
            address = schedule.due(now_s)
            if address is not None:
                why = connecting.begin(address)
                if why:
                    schedule.failed(address, why)
                continue
            winner = None
            for one, address, why in connecting.wait(schedule.wait_s(now_s, end_s - now_s)):
                if why:
                    schedule.failed(address, why)
                elif winner is None:
                    winner = one, address
                    schedule.connected(address, time.monotonic() - schedule.of(address).began_s)
                else:
                    one.close()
            if winner is not None:
                winner[0].setblocking(True)
                return winner
    finally:
        connecting.close()
    raise _failure(schedule)


def _failure(schedule: Schedule) -> OSError:
    if not schedule.is_over:
        return TimeoutError(
            "timed out" if len(schedule.tried) == 1 else f"no address answered: {schedule.text}"
        )
    if len(schedule.tried) == 1:
        return ConnectionError(schedule.tried[0].failure)
    return ConnectionError(f"no address can be reached: {schedule.text}")
