"""What SIGINT, SIGTERM and SIGHUP do to a command that runs until it is told to end.

The first asks it to end. Where it has not ended a moment later, a line says what it waits for. The
second ends it by an exception, so that what it holds is given back and its figures are kept; the
process then dies of that signal, which is what shells (130, 143) and service managers read. From
then on signals are the kernel's: a third ends it where it stands.

A signal that was ignored when the command started (nohup, a shell's background job) stays ignored.
A forked child has the handlers of before. Called by: engine's commands that run until a signal.
Calls: shm/ownership. Source: signal(7); "Proper handling of SIGINT/SIGQUIT" (the exit by the
signal).
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, NoReturn, Self

from tickpath.shm.ownership import own

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType, TracebackType

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# timeout(1) signals its child and then the child's group; a terminal and a parent do the same.
SAME_REQUEST_S = 0.3
PATIENCE_S = 1.0


class EndedBySignal(KeyboardInterrupt):  # as KeyboardInterrupt, it is no error
    """Raised in the main thread when a second signal came: unwind, then `die_of_it`."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    def die_of_it(self) -> NoReturn:
        """End this process as the signal does to one without a handler."""
        die_of(self.number)


def die_of(number: int) -> NoReturn:
    """End this process by a signal, whatever was printed being written."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # a closed pipe: nobody reads it
            stream.flush()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)  # not reached, unless the signal is blocked


class EndSignals:
    """The handlers, from `with` to its end; `ask` is called once, by the main thread; it may raise.

    `waits_for` is told the frame that was interrupted and says in words what the end waits for.
    SIGALRM and the process's real timer are ours meanwhile: they bring the line, and what
    `ask_after` asks for.
    """

    def __init__(
        self,
        ask: Callable[[], None],
        waits_for: Callable[[FrameType | None], str] | str,
        numbers: Sequence[int] = NUMBERS,
    ) -> None:
        """Install nothing yet."""
        self._numbers = numbers
        self.number = 0
        """Which signal asked; 0: none yet, or the time."""
        self._ask, self._waits_for = ask, waits_for
        self._before: dict[int, object] = {}
        self._asked: float | None = None
        self._is_ending = False

    @property
    def is_asked(self) -> bool:
        """Say whether a signal, or the time, asked for the end."""
        return self._asked is not None

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._asked is None:
            self._request(number)
        elif now - self._asked >= SAME_REQUEST_S or self.number == 0:
            self._is_ending = True
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            for each in self._before:
                signal.signal(each, signal.SIG_DFL)
            raise EndedBySignal(number)

    def _request(self, number: int) -> None:
        self._asked, self.number = time.monotonic(), number
        signal.setitimer(signal.ITIMER_REAL, PATIENCE_S)
        self._ask()

    def _on_alarm(self, _number: int, frame: FrameType | None) -> None:
        if self._asked is None:
            self._request(0)
            return
        name = signal.Signals(self.number).name if self.number else ""
        why = f"asked to end by {name}" if name else "its time is over"
        what = self._waits_for if isinstance(self._waits_for, str) else self._waits_for(frame)
        line = f"tickpath: {why}: waiting for {what}; a signal more (Ctrl-C) ends it now\n"
        with contextlib.suppress(OSError):
            # Not print: the interrupted code may be in the midst of one.
            os.write(2, line.encode(errors="backslashreplace"))

    def __enter__(self) -> Self:
        for number in self._numbers:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._on_signal)
        self._before[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._on_alarm)
        own(self)
        return self

    def ask_after(self, seconds: float) -> None:
        """Ask by ourselves after so long, unless a signal does before."""
        if self._asked is None:
            signal.setitimer(signal.ITIMER_REAL, seconds)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        if not self._is_ending:
            self._restore()

    def disown(self) -> None:
        """Give a forked child the signals of before; the timer is not inherited."""
        self._restore()

    def _restore(self) -> None:
        before, self._before = self._before, {}
        for number, handler in before.items():
            signal.signal(number, handler)  # type: ignore[arg-type] # what signal itself returned
