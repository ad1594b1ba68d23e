"""Which address of a name each connection of a race goes to: the nearest ones, one each.

Addresses are those that the configuration names, else all that DNS has. How near one is says the
time that a TCP connect takes, the best of a few, measured by kernel sockets in a thread of its own
and again every `AGAIN_S`: a connection that is made anew then goes by the newest order. `ask` never
waits. Called by: connections.py (the cold thread). Calls: netstack/transport.resolve_all.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tickpath.netstack.transport import resolve_all
from tickpath.shm.clock import SYSTEM, Clock
from tickpath.shm.errors import RemoteError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

AGAIN_S: Final = 600.0
AFTER_FAILURE_S: Final = 10.0
"""How soon they are measured anew where one brought no connection."""
TRIES: Final = 3
TIMEOUT_S: Final = 2.0
ADDRESSES_MAX: Final = 16
UNREACHED_S: Final = float("inf")


def connect_s(address: str, port: int, clock: Clock = SYSTEM) -> float:
    """Return the shortest of a few connects in seconds; infinite: none was answered."""
    best = UNREACHED_S
    for _ in range(TRIES):
        with contextlib.suppress(OSError), socket.socket() as one:
            one.settimeout(TIMEOUT_S)
            began_s = clock.now_s()
            one.connect((address, port))
            best = min(best, clock.now_s() - began_s)
        if best == UNREACHED_S:
            break  # it does not answer: the others wait for us
    return best


@dataclass(frozen=True, slots=True)
class Measured:
    """An address, and how long a connect to it took."""

    address: str
    seconds: float


@dataclass(slots=True)
class _Question:
    """One series of measurements under way. `is_over` is set last, by its thread."""

    is_over: threading.Event = field(default_factory=threading.Event)
    found: list[Measured] = field(default_factory=list)
    error: RemoteError | None = None


class Addresses:
    """Those of one host and port, for all connections that go there."""

    def __init__(
        self,
        host: str,
        port: int,
        named: Sequence[str] = (),
        *,
        log: Callable[[str], None] = lambda _: None,
        clock: Clock = SYSTEM,
    ) -> None:
        """`named`: instead of what DNS has."""
        self.host, self.port, self._named, self._log = host, port, tuple(named), log
        self._clock = clock
        self.order: list[Measured] = []
        """The nearest first; empty until the first were measured."""
        self._question: _Question | None = None
        self._next_s = float("-inf")
        self.look_up: Callable[[str, int], list[str]] = resolve_all
        self.measure: Callable[[str, int], float] = connect_s

    def ask(self, place: int) -> str | None:
        """Return where the connection of that place in its race goes; None: not known yet.

        Places beyond the addresses share them. Raises RemoteError where there is none.
        """
        self.step()
        if not self.order:
            return None
        return self.order[place % len(self.order)].address

    def failed(self) -> None:
        """Have them measured anew soon: one of them brought no connection."""
        self._next_s = min(self._next_s, self._clock.now_s() + AFTER_FAILURE_S)

    def step(self) -> None:
        """Take what was measured, and have it measured anew when that is due."""
        question = self._question
        if question is not None and question.is_over.is_set():
            self._question = None
            self._take(question)
        if self._question is None and self._clock.now_s() >= self._next_s:
            self._next_s = self._clock.now_s() + AGAIN_S
            self._question = _Question()
            self._begin(self._question)

    def _begin(self, question: _Question) -> None:
        thread = threading.Thread(
            target=self._measure_all, args=(question,), name="addresses", daemon=True
        )
        try:
            thread.start()
        except (RuntimeError, MemoryError) as error:  # the host bears no more threads now
            question.error = RemoteError(f"cannot measure addresses of {self.host!r}: {error}")
            question.is_over.set()

    def _measure_all(self, question: _Question) -> None:
        try:
            found = list(self._named) or self.look_up(self.host, self.port)
            for address in found[:ADDRESSES_MAX]:
                question.found.append(Measured(address, self.measure(address, self.port)))
        except RemoteError as error:
            question.error = error
        except Exception as error:
            question.error = RemoteError(f"cannot resolve {self.host!r}: {error}")
        finally:
            question.is_over.set()

    def _take(self, question: _Question) -> None:
        if question.error is not None:
            if self.order:
                return  # those of before are good for as long as they answer
            self._next_s = float("-inf")
            raise question.error
        before = [one.address for one in self.order]
        self.order = sorted(question.found, key=lambda one: one.seconds)
        if [one.address for one in self.order] != before:
            shown = ", ".join(_shown(one) for one in self.order)
            self._log(f"addresses of {self.host}:{self.port}, the nearest first: {shown}")


def _shown(one: Measured) -> str:
    if one.seconds == UNREACHED_S:
        return f"{one.address} (no answer)"
    return f"{one.address} ({one.seconds * 1e3:.3f} ms)"
