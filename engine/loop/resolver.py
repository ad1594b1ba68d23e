"""Addresses of names without waiting: DNS in an outage takes seconds, and the cold thread has none.

While it waited, a lost link would be seen late, and books that nobody feeds would stay LIVE.
Called by: connections.py. Calls: netstack/transport.resolve, in a thread a question.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv4Address
from typing import TYPE_CHECKING

from tickpath.netstack.transport import resolve
from tickpath.shm.errors import RemoteError

if TYPE_CHECKING:
    from collections.abc import Callable

POLL_S = 0.005
"""How soon to ask again where the answer is not there yet."""


@dataclass(slots=True)
class _Question:
    """One look-up under way. `is_over` is set last, by its thread."""

    is_over: threading.Event = field(default_factory=threading.Event)
    address: str = ""
    error: RemoteError | None = None


def _is_address(host: str) -> bool:
    try:
        IPv4Address(host)
    except AddressValueError:
        return False
    return True


class Resolver:
    """Look names up, one thread for each name that is asked; for one calling thread."""

    def __init__(self, look_up: Callable[[str, dict[str, str], int], str] = resolve) -> None:
        self._look_up = look_up
        self._questions: dict[tuple[str, int], _Question] = {}

    def ask(self, host: str, overrides: dict[str, str], port: int) -> str | None:
        """Return an address, or None where it is not known yet: ask again after POLL_S.

        Each answer is given once, since addresses change. Raises RemoteError as `resolve` does.
        """
        if f"{host}:{port}" in overrides or _is_address(host):
            return self._look_up(host, overrides, port)
        question = self._questions.get((host, port))
        if question is None:
            question = self._questions[host, port] = _Question()
            self._look_aside(question, host, port)
        if not question.is_over.is_set():
            return None
        del self._questions[host, port]
        if question.error is not None:
            raise question.error
        return question.address

    def _look_aside(self, question: _Question, host: str, port: int) -> None:
        thread = threading.Thread(
            target=self._answer, args=(question, host, port), name="resolver", daemon=True
        )
        try:
            thread.start()
        except (RuntimeError, MemoryError) as error:  # the host bears no more threads now
            question.error = RemoteError(f"cannot resolve {host!r}: {error}")
            question.is_over.set()

    def _answer(self, question: _Question, host: str, port: int) -> None:
        try:
            question.address = self._look_up(host, {}, port)
        except RemoteError as error:
            question.error = error
        except Exception as error:
            question.error = RemoteError(f"cannot resolve {host!r}: {error}")
        finally:
            question.is_over.set()
