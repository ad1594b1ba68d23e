"""The starvation guard: take SCHED_FIFO from a thread that burns its CPU without a heartbeat.

A real-time thread that hangs in a loop starves all that waits for its CPU, for good where the
kernel's own limits are off. The guard runs elsewhere: it looks at a counter that the loop moves,
and at the CPU time that the thread used. Where the counter stood still through `misses_max` looks
while the thread kept running, the thread becomes an ordinary one; it gets its class back when the
counter has moved for `beats_to_restore` looks in a row, at most `restores_max` times: who hangs
again and again stays ordinary. A thread that sleeps starves nobody and is left alone, and looks are
counted, not seconds: where the whole machine stood still, the guard stood still too.

Called by: engine/supervisor/command.py (in the supervisor), engine/strategy/guarded.py (as a
process of its own:
`python -P -m tickpath.rt.guard`). Calls: rt/limits, rt/newcomers, rt/notify. Source: sched(7),
proc(5), sd_notify(3).
"""

from __future__ import annotations

import argparse
import enum
import mmap
import os
import signal
import struct
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tickpath.rt import limits
from tickpath.rt.newcomers import EVERY_S, Newcomers
from tickpath.rt.notify import Notifier, Watchdog

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

POLL_S = 0.05
ORDINARY_POLL_S = 0.25  # an ordinary thread starves nobody: only its heartbeat is passed on
MISSES_MAX = 10  # half a second at POLL_S: a loop beats every millisecond
BEATS_TO_RESTORE = 20
RESTORES_MAX = 3
REAL_TIME = (os.SCHED_FIFO, os.SCHED_RR)
BUSY_SHARE = 0.5  # of the time without a beat that the thread must have run to be starving others
_WORD = struct.Struct("=Q")


class Verdict(enum.Enum):
    """What one look led to."""

    WELL = "well"
    MISSED = "missed"  # no beat, not yet for long
    DEMOTED = "demoted"
    ORDINARY = "ordinary"  # demoted earlier
    RESTORED = "restored"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class ThreadTimes:
    """What /proc says of a thread: when it began (clock ticks since boot), what it used so far."""

    started: int
    used_s: float


def read_times(tid: int, root: Path = Path("/")) -> ThreadTimes | None:
    """Read a thread's times; None where there is none of that number."""
    try:
        # /proc/TID/stat would be the whole process's.
        text = (root / f"proc/{tid}/task/{tid}/stat").read_text()
        # The name may hold anything, ")" too: fields are counted from the last one. proc(5)
        fields = text.rpartition(")")[2].split()
        if fields[0] in "ZX":  # ended, and only its parent has not asked yet
            return None
        ticks = int(fields[11]) + int(fields[12])
        return ThreadTimes(int(fields[19]), ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, IndexError):
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long the guard waits, in looks."""

    misses_max: int = MISSES_MAX
    beats_to_restore: int = BEATS_TO_RESTORE
    restores_max: int = RESTORES_MAX
    poll_s: float = POLL_S


@dataclass(slots=True)
class Guard:
    """Watch one thread; call `look` every `pause_s` from a thread on another CPU."""

    tid: int
    read_beat: Callable[[], int]
    tell: Callable[[str], None]
    patience: Patience = field(default_factory=Patience)
    demotions: int = 0
    restores: int = 0
    has_moved: bool = False
    """Whether the counter moved between the last two looks."""
    is_real_time: bool = False
    """Whether the thread was a real-time one at the last look."""
    _last_beat: int | None = None
    _misses: int = 0
    _beats: int = 0
    _used_at_miss_s: float = 0.0  # at the first look of this silence
    _started: int | None = None
    _taken: tuple[int, int] | None = None  # policy and priority, while it is ordinary

    @property
    def is_demoted(self) -> bool:
        """Say whether the thread's class is taken from it now."""
        return self._taken is not None

    @property
    def pause_s(self) -> float:
        """Return how long to wait until the next look."""
        is_dangerous = self.is_real_time or self.is_demoted
        return self.patience.poll_s if is_dangerous else ORDINARY_POLL_S

    def look(self) -> Verdict:
        """Compare with the last look, and act. Raises nothing for a thread that has ended."""
        beat = self.read_beat()
        self.has_moved = self._last_beat not in (None, beat)
        self._last_beat = beat
        try:
            if self.has_moved:  # it lives: most looks end here, without a file of /proc
                self._misses = 0
                if self._taken is not None:
                    return self._look_at_demoted()
                self.is_real_time = self._policy() in REAL_TIME
                return Verdict.WELL
            return self._look_at_silent()
        except ProcessLookupError:
            return Verdict.GONE

    def _policy(self) -> int:
        return os.sched_getscheduler(self.tid) & ~os.SCHED_RESET_ON_FORK

    def _look_at_silent(self) -> Verdict:
        times = read_times(self.tid)
        if times is None or times.started != (self._started or times.started):
            return Verdict.GONE  # the number may be another thread's by now
        self._started = times.started
        if self._taken is not None:
            return self._look_at_demoted()
        policy = self._policy()
        was_real_time, self.is_real_time = self.is_real_time, policy in REAL_TIME
        if self._misses == 0 or not (was_real_time and self.is_real_time):
            # What it ran as an ordinary thread, or before this silence, starved nobody.
            self._misses, self._used_at_miss_s = 1, times.used_s
            return Verdict.MISSED
        silent_s = self._misses * self.patience.poll_s
        self._misses += 1
        is_busy = times.used_s - self._used_at_miss_s >= BUSY_SHARE * silent_s
        if self._misses < self.patience.misses_max or not is_busy:
            return Verdict.MISSED
        return self._demote(policy)

    def _demote(self, policy: int) -> Verdict:
        priority = os.sched_getparam(self.tid).sched_priority
        # The flag stays: without CAP_SYS_NICE it cannot be taken from a thread.
        os.sched_setscheduler(self.tid, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0))
        self._taken, self._beats = (policy, priority), 0
        self.demotions += 1
        last = self.restores >= self.patience.restores_max
        self.tell(
            f"thread {self.tid} ran without a heartbeat for {self._misses} looks: it is an "
            "ordinary thread now"
            + (
                f", and stays one after {self.demotions} times: restart it"
                if last
                else " and gets its priority back when it beats again"
            )
        )
        return Verdict.DEMOTED

    def _look_at_demoted(self) -> Verdict:
        self._beats = self._beats + 1 if self.has_moved else 0
        if (
            self._taken is None
            or self._beats < self.patience.beats_to_restore
            or self.restores >= self.patience.restores_max
        ):
            return Verdict.ORDINARY
        policy, priority = self._taken
        try:
            os.sched_setscheduler(
                self.tid, policy | os.SCHED_RESET_ON_FORK, os.sched_param(priority)
            )
        except PermissionError:
            self.restores = self.patience.restores_max
            self.tell(
                f"thread {self.tid} beats again and stays ordinary: raising it needs "
                f"CAP_SYS_NICE or RLIMIT_RTPRIO of at least {priority}"
            )
            return Verdict.ORDINARY
        self._taken, self._misses = None, 0
        self.restores += 1
        self.tell(f"thread {self.tid} beats again: priority {priority} is back")
        return Verdict.RESTORED


class MappedBeat:
    """A counter of 8 bytes in a file that another process maps and writes."""

    def __init__(self, path: Path, offset: int) -> None:
        """Map it read-only. Raises OSError, ValueError for an offset beyond its end."""
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if not 0 <= offset <= size - _WORD.size:
                raise ValueError(f"offset {offset} in {path}: expected 0 to {size - _WORD.size}")
            self._map = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        self._offset = offset

    def __call__(self) -> int:
        """Read it; a torn read would still differ from the last, which is all that counts."""
        value: int = _WORD.unpack_from(self._map, self._offset)[0]
        return value

    def close(self) -> None:
        """Unmap."""
        self._map.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def leave_cpus(occupied: set[int]) -> bool:
    """Run the calling thread elsewhere; False where there is no other CPU.

    Where the thread's mask has no other (a service with CPUAffinity= of one CPU), any CPU that is
    not isolated will do: the mask of a parent binds nobody, only a cpuset does.
    """
    isolated = set(limits.isolated_cpus())
    others = os.sched_getaffinity(0) - occupied or (
        set(range(os.cpu_count() or 1)) - occupied - isolated
    )
    try:
        os.sched_setaffinity(0, others)
    except OSError:  # none, or none in our cpuset
        return False
    return True


@dataclass(slots=True)
class Watch:
    """What a guarding process does: guard, and tell the service manager."""

    guard: Guard
    notifier: Notifier
    watchdog: Watchdog
    name: str
    is_ready: bool = False

    def turn(self) -> Verdict:
        """Look once, and tell the manager: ready at the first heartbeat seen, alive at others."""
        verdict = self.guard.look()
        if self.guard.has_moved and verdict is not Verdict.GONE:
            if not self.is_ready:
                self.is_ready = True
                self.notifier.ready(f"{self.name}: running")
            self.watchdog.feed(time.monotonic())
        if self.is_ready:
            state = "demoted: it ran without a heartbeat" if self.guard.is_demoted else "running"
            self.notifier.status(f"{self.name}: {state}")
        return verdict


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -P -m tickpath.rt.guard",
        description="Take SCHED_FIFO from a thread whose heartbeat stops while it burns its CPU, "
        "and feed the service manager's watchdog while it beats.",
        epilog="example: python -P -m tickpath.rt.guard --tid 4711 --beat /dev/shm/tickpath.x:4224",
    )
    parser.add_argument("--tid", type=int, required=True, help="the thread to watch")
    parser.add_argument(
        "--beat", required=True, metavar="FILE:OFFSET", help="8 bytes that change while it lives"
    )
    parser.add_argument("--name", default="strategy", help="the name in its messages")
    parser.add_argument("--watchdog", type=float, metavar="S", help="the manager's limit")
    parser.add_argument("--avoid", type=int, metavar="CPU", help="run anywhere but there")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Guard until the thread is gone or a signal comes."""
    args = _parse(argv)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that we guard

    def tell(text: str) -> None:
        print(f"tickpath: guard: {text}", file=sys.stderr, flush=True)

    os.sched_setscheduler(0, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0))
    newcomers = None
    if args.avoid is not None and leave_cpus({args.avoid}):
        newcomers = Newcomers(args.tid, args.avoid, tell)
    elif args.avoid is not None:
        tell(f"CPU {args.avoid} is the only one: a thread that hangs there starves the guard too")
    path, _, offset = args.beat.rpartition(":")
    with (
        MappedBeat(Path(path), int(offset)) as beat,
        Notifier.from_environment() as notifier,
    ):
        guard = Guard(args.tid, beat, tell)
        watch = Watch(guard, notifier, Watchdog(notifier, args.watchdog), args.name)
        due = 0.0
        while watch.turn() is not Verdict.GONE:
            if newcomers is not None and time.monotonic() >= due:
                due = time.monotonic() + EVERY_S
                newcomers.look()
            time.sleep(guard.pause_s)
    return 0


if __name__ == "__main__":
    sys.exit(main())
