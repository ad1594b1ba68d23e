"""The process beside a strategy that guards it (rt/guard) and speaks to the service manager.

A process, not a thread: user code that never gives the interpreter up would stop a thread of ours
too. Started only where there is something to do: a real-time class to take away, or a manager that
listens. Called by: command. Calls: rt/guard as `python -m`, rt/notify.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from tickpath._core import ffi
from tickpath.rt.guard import REAL_TIME
from tickpath.rt.notify import Notifier, watchdog_s

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tickpath.engine.strategy.runtime import Placement
    from tickpath.shm.segment import SegmentWriter

END_TIMEOUT_S = 2.0


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


@contextlib.contextmanager
def guarded(stats: SegmentWriter, name: str, placement: Placement) -> Iterator[None]:
    """Keep a guard beside this process while the strategy runs, where one is of use.

    The manager hears of the start from the guard, at the strategy's first heartbeat, and of the end
    from here. The guard ends with this process, however that ends.
    """
    policy = os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK
    with Notifier.from_environment() as notifier:
        if placement.priority is None and policy not in REAL_TIME and not notifier.is_heard:
            yield
            return
        guard = subprocess.Popen(guard_command(stats, name, placement), stdin=subprocess.DEVNULL)
        try:
            yield
        finally:
            notifier.stopping()
            guard.terminate()
            try:
                guard.wait(END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                guard.kill()
                guard.wait()
