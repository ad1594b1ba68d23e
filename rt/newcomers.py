"""What a guarded thread started: threads and children that inherited its CPU, and starve there.

A new thread may run where its creator may (its class is ordinary, by SCHED_RESET_ON_FORK). On the
CPU of one that spins at SCHED_FIFO it gets no turn, and whoever waits for it waits for ever. The
guard, which lives elsewhere, gives newcomers the CPUs that itself has: once each, so that one that
later pins itself there on purpose is left alone. Called by: guard. Calls: nothing of ours.
Source: sched(7), sched_setaffinity(2), proc(5) (task, children).
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

EVERY_S = 0.25
TOLD_MAX = 8  # lines; a pool of threads that come and go says nothing new


@dataclass(slots=True)
class Newcomers:
    """Those of one process, whose main thread has `cpu` for itself."""

    pid: int
    cpu: int
    tell: Callable[[str], None]
    told: int = 0
    _seen: set[int] = field(default_factory=set)

    def look(self) -> None:
        """Move whoever came since the last look and may run on that CPU only."""
        there = self._there()
        for tid in there - self._seen:
            # One that ended meanwhile, or that is another user's by now: neither starves here.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                self._move(tid)
        self._seen = there

    def _there(self) -> set[int]:
        there: set[int] = set()
        for task in Path(f"/proc/{self.pid}/task").glob("[0-9]*"):
            there.add(int(task.name))
            with contextlib.suppress(OSError):  # ended, or a kernel without CONFIG_PROC_CHILDREN
                there.update(map(int, (task / "children").read_text().split()))
        return there - {self.pid, os.getpid()}

    def _move(self, tid: int) -> None:
        if os.sched_getaffinity(tid) != {self.cpu}:
            return
        home = os.sched_getaffinity(0) - {self.cpu}
        if not home:
            return
        os.sched_setaffinity(tid, home)
        self.told += 1
        if self.told <= TOLD_MAX:
            self.tell(
                f"thread {tid} was started on CPU {self.cpu}, which thread {self.pid} keeps busy: "
                f"it runs on CPU {', '.join(map(str, sorted(home)))} now"
            )
