"""What else a host did when something was timed: just before it began, and by its hypervisor.

Not the load average: that still counts the build from which `make demo` comes. Called by: demo.py.
Calls: rt/counters.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from tickpath.rt.counters import TICKS_PER_S, parse_steal

BUSY_SHARE_MAX, STEAL_SHARE_MAX = 0.25, 0.01
WINDOW_S = 0.4
STAT = Path("/proc/stat")
_IDLE = slice(3, 5)  # idle and iowait among the numbers of a CPU, proc_stat(5)


@dataclass(frozen=True, slots=True)
class HostLoad:
    """The CPUs' time before what is timed began, and what is counted while it runs."""

    busy: float = 0.0
    """The share of all CPUs' time that others used."""
    steal: dict[int, int] = field(default_factory=dict)
    """Ticks that the hypervisor took of each CPU until then."""
    began: float = 0.0

    @classmethod
    def before(cls) -> HostLoad:
        """Watch the host for WINDOW_S, in which the caller does nothing."""
        first = read_stat()
        time.sleep(WINDOW_S)
        last = read_stat()
        return cls(busy_share(first, last), parse_steal(last), time.monotonic())

    def remarks(self, cpus: tuple[int, ...]) -> list[str]:
        """Warn where latencies are others' doing more than the path's."""
        lines = []
        if self.busy > BUSY_SHARE_MAX:
            lines.append(
                f"others used {self.busy:.0%} of this host's CPUs just before the demo began: "
                "these latencies are theirs, too: end what else runs, and repeat"
            )
        seconds, now = max(time.monotonic() - self.began, 1.0), parse_steal(read_stat())
        known = [now[cpu] - self.steal[cpu] for cpu in cpus if cpu in now and cpu in self.steal]
        share = max(known, default=0) / TICKS_PER_S / seconds
        if share >= STEAL_SHARE_MAX:
            lines.append(
                f"the hypervisor took {share:.1%} of a CPU meanwhile: p99 and above are its doing: "
                "repeat on a host of your own"
            )
        return lines


def read_stat() -> str:
    """Return the CPUs' times; nothing where they are not shown."""
    try:
        return STAT.read_text(encoding="ascii")
    except OSError:
        return ""


def busy_share(first: str, last: str) -> float:
    """Return the share of all CPUs' time between two readings in which they were not idle."""
    before, after = (_all_cpus(text) for text in (first, last))
    ticks = [late - early for early, late in zip(before, after, strict=False)]
    return 1 - sum(ticks[_IDLE]) / sum(ticks) if sum(ticks) > 0 else 0.0


def _all_cpus(stat: str) -> list[int]:
    """Read the first line's user, nice, system, idle, iowait, irq, softirq and steal."""
    return [int(word) for word in stat.partition("\n")[0].split()[1:9]]
