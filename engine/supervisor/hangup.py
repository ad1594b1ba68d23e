"""SIGHUP, which says one of two things: the terminal is gone, or the configuration is to be read.

A process of a terminal gets it when that goes away, and ends; a service gets it from who changed
its configuration (systemctl reload). The terminal itself tells which: once it is gone, it can no
longer be opened. Called by: engine/supervisor/command.py. Source: signal(7), tty(4).
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable

TERMINAL = "/dev/tty"


def has_terminal() -> bool:
    """Say whether this process has a terminal that is there."""
    try:
        os.close(os.open(TERMINAL, os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


class Hangup:
    """The handler, from `with` to its end. `end` is called where the terminal went away.

    A signal that was ignored from the start (nohup) stays ignored.
    """

    def __init__(
        self, end: Callable[[], None], terminal: Callable[[], bool] = has_terminal
    ) -> None:
        """Install nothing yet."""
        self._end, self._terminal = end, terminal
        self._had_terminal = terminal()
        self._before: object = None
        self._is_asked = False

    def take(self) -> bool:
        """Say whether a reload was asked for since the last call."""
        was, self._is_asked = self._is_asked, False
        return was

    def _on_signal(self, _number: int, _frame: object) -> None:
        if self._had_terminal and not self._terminal():
            self._end()
        else:
            self._is_asked = True

    def __enter__(self) -> Self:
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            self._before = signal.signal(signal.SIGHUP, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGHUP, self._before)  # type: ignore[arg-type] # signal's own answer
