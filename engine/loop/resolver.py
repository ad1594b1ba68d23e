"""Addresses of names without waiting: DNS in an outage takes seconds, and the cold thread has none.

While it waited, a lost link would be seen late, and books that nobody feeds would stay LIVE.
Where a name has several addresses, the thread also finds the nearest one that answers now, by TCP
connects of kernel sockets (RFC 8305), which it ends: the hot thread has one session a connection,
and an address that is dead must not cost it a time-out.
Called by: connections.py. Calls: netstack/transport.resolve_all, netstack/eyeballs.py, in a thread
a question.
"""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, field
from functools import partial
from ipaddress import AddressValueError, IPv4Address
from typing import TYPE_CHECKING

from tickpath.netstack.eyeballs import RoundTrips, Schedule, connect_first
from tickpath.netstack.transport import resolve_all
from tickpath.shm.clock import SYSTEM, Clock
from tickpath.shm.errors import RemoteError

if TYPE_CHECKING:
    from collections.abc import Callable

POLL_S = 0.005
"""How soon to ask again where the answer is not there yet."""
CONNECT_WITHIN_S = 5.0


def try_connect(schedule: Schedule, port: int) -> None:
    """Fill a schedule with what connects of its addresses come to; the connection is ended."""
    with contextlib.suppress(OSError):  # the schedule says why
        connect_first(schedule, port, CONNECT_WITHIN_S)[0].close()


@dataclass(slots=True)
class _Question:
    """One look-up under way. `is_over` is set last, by its thread."""

    is_over: threading.Event = field(default_factory=threading.Event)
    addresses: list[str] = field(default_factory=list)
    error: RemoteError | None = None


def _is_address(host: str) -> bool:
    try:
        IPv4Address(host)
    except AddressValueError:
        return False
    return True


class Resolver:
    """Look names up, one thread for each name that is asked; for one calling thread."""

    def __init__(
        self,
        look_up: Callable[[str, int], list[str]] = resolve_all,
        connect: Callable[[Schedule, int], None] = try_connect,
        clock: Clock = SYSTEM,
    ) -> None:
        self._look_up, self._connect, self._clock = look_up, connect, clock
        self._questions: dict[tuple[str, int], _Question] = {}
        self._round_trips = RoundTrips()
        self._lock = threading.Lock()  # of the round trips: each question has a thread

    def ask(
        self,
        host: str,
        overrides: dict[str, str],
        port: int,
        is_held: Callable[[str], bool] = lambda _: False,
    ) -> str | None:
        """Return an address, or None where it is not known yet: ask again after POLL_S.

        Of several, the nearest that answers; but where the venue wants nobody to come to the first
        one now (is_held), that one, and none is connected to. Each answer is given once, since
        addresses change. Raises RemoteError as `resolve_all` does.
        """
        fixed = overrides.get(f"{host}:{port}", host if _is_address(host) else "")
        if fixed and "," not in fixed:
            return fixed
        question = self._questions.get((host, port))
        if question is None:
            look_up = partial(self._look_up, host, port)
            self._aside((host, port), partial(fixed.split, ",") if fixed else look_up)
            question = self._questions[host, port]
        if not question.is_over.is_set():
            return None
        del self._questions[host, port]
        if question.error is not None:
            raise question.error
        if len(question.addresses) > 1 and not is_held(question.addresses[0]):
            self._aside((host, port), partial(self._nearest, question.addresses, port))
            return None
        return question.addresses[0]

    def failed(self, address: str, port: int) -> None:
        """Take note that no session came to be open there: others go first for a while."""
        with self._lock:
            self._round_trips.failed(address, port, self._clock.now_s())

    def _aside(self, place: tuple[str, int], find: Callable[[], list[str]]) -> None:
        question = self._questions[place] = _Question()
        thread = threading.Thread(
            target=self._answer, args=(question, place[0], find), name="resolver", daemon=True
        )
        try:
            thread.start()
        except (RuntimeError, MemoryError) as error:  # the host bears no more threads now
            question.error = RemoteError(f"cannot resolve {place[0]!r}: {error}")
            question.is_over.set()

    @staticmethod
    def _answer(question: _Question, host: str, find: Callable[[], list[str]]) -> None:
        try:
            question.addresses = find()
        except RemoteError as error:
            question.error = error
        except Exception as error:
            question.error = RemoteError(f"cannot resolve {host!r}: {error}")
        finally:
            question.is_over.set()

    def _nearest(self, addresses: list[str], port: int) -> list[str]:
        """Return the address that answers first; raises RemoteError where none does."""
        with self._lock:
            schedule = Schedule(self._round_trips.order(addresses, port, self._clock.now_s()))
        self._connect(schedule, port)
        with self._lock:
            self._round_trips.note(schedule, port, self._clock.now_s())
        for one in schedule.tried:
            if one.seconds is not None:
                return [one.address]
        raise RemoteError(f"no address can be reached: {schedule.text}")
