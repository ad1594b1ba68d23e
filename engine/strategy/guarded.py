"""The process beside a strategy that guards it (rt/guard) and speaks to the service manager.

A process, not a thread: user code that never gives the interpreter up would stop a thread of ours
too. Started only where there is something to do: a real-time class to take away, or a manager that
listens. The strategy's loop looks at it once a second: a guard that died is started again, and one
that cannot be kept costs the strategy its class, which nobody could take from it any more.
Called by: command, runtime. Calls: rt/guard as `python -P -m`, rt/notify.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from tickpath._core import ffi
from tickpath.engine.strategy.runtime import warn_to_stderr
from tickpath.rt import process
from tickpath.rt.guard import REAL_TIME, leave_cpus
from tickpath.rt.notify import Notifier, watchdog_s
from tickpath.shm.ownership import own

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tickpath.engine.strategy.runtime import Placement
    from tickpath.shm.segment import SegmentWriter

END_TIMEOUT_S = 2.0
RESTARTS_MAX = 3  # of a guard; each costs the loop the milliseconds of a fork


def guard_command(stats: SegmentWriter, name: str, placement: Placement) -> list[str]:
    """Return the guard's command line for this process, whose main thread runs the strategy."""
    offset = int(stats.header.live.offset) + ffi.offsetof("struct tp_segment_live", "heartbeat_ns")
    command = [sys.executable, "-P", "-m", "tickpath.rt.guard", "--tid", str(os.getpid())]
    command += ["--beat", f"{stats.path}:{offset}", "--name", name]
    cpus = os.sched_getaffinity(0)
    cpu = placement.cpu if placement.cpu is not None else min(cpus) if len(cpus) == 1 else None
    if cpu is not None:
        command += ["--avoid", str(cpu)]
    limit_s = watchdog_s()
    return [*command, "--watchdog", str(limit_s)] if limit_s is not None else command


class Guarding:
    """One guard and those that replace it, while the strategy runs."""

    def __init__(self, command: list[str], notifier: Notifier, cpu: int | None) -> None:
        """Start it, before this process is pinned and real-time."""
        self._command, self._notifier, self._cpu = command, notifier, cpu
        self._restarts = 0
        self._guard: subprocess.Popen[bytes] | None = self._start()
        own(self)

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, stdin=subprocess.DEVNULL)

    def look(self) -> None:
        """Replace a guard that ended; where that is of no use, give the real-time class up."""
        if self._guard is None or (status := self._guard.poll()) is None:
            return
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        said = f"the guard (process {self._guard.pid}) {how}"
        if self._restarts < RESTARTS_MAX:
            self._restarts += 1
            try:
                with self._elsewhere():
                    self._guard = self._start()
            except OSError as error:  # no process to be had: the strategy must not end by it
                said += f", and another cannot be started ({error.strerror})"
            else:
                warn_to_stderr(f"{said}: started another (process {self._guard.pid})")
                return
        self._guard = None
        if os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK in REAL_TIME:
            process.set_ordinary()
            said += "; nobody could end a hang at SCHED_FIFO: this strategy is an ordinary one now"
        warn_to_stderr(f"{said}, after {self._restarts} restarts; restart the strategy")

    @contextlib.contextmanager
    def _elsewhere(self) -> Iterator[None]:
        """Start a child where this thread, spinning in real time, does not starve its start."""
        before = os.sched_getaffinity(0)
        if self._cpu is not None:
            leave_cpus({self._cpu})
        try:
            yield
        finally:
            os.sched_setaffinity(0, before)

    def disown(self) -> None:
        """Leave guard and manager to the parent: a forked child's end is none of theirs."""
        self._guard = None
        self._notifier.close()

    def close(self) -> None:
        """Tell the manager, and end the guard."""
        self._notifier.stopping()
        guard, self._guard = self._guard, None
        if guard is None:
            return
        guard.terminate()
        try:
            guard.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            guard.kill()
            guard.wait()


@contextlib.contextmanager
def guarded(stats: SegmentWriter, name: str, placement: Placement) -> Iterator[Guarding | None]:
    """Keep a guard beside this process while the strategy runs, where one is of use.

    The manager hears of the start from the guard, at the strategy's first heartbeat, and of the end
    from here. The guard ends with this process, however that ends.
    """
    policy = os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK
    with Notifier.from_environment() as notifier:
        if placement.priority is None and policy not in REAL_TIME and not notifier.is_heard:
            yield None
            return
        guarding = Guarding(guard_command(stats, name, placement), notifier, placement.cpu)
        try:
            yield guarding
        finally:
            guarding.close()
