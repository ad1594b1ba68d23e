"""What else a host did while something was timed: before it began, and by its hypervisor.

Called by: demo.py. Calls: rt/counters, engine/bench/measure (the same limit).
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from tickpath.engine.bench.measure import LOAD_MAX_EACH_CPU
from tickpath.rt.counters import TICKS_PER_S, parse_steal

STEAL_SHARE_MAX = 0.01


def read_steal() -> dict[int, int]:
    """Return the ticks that the hypervisor took of each CPU; empty where they are not known."""
    try:
        return dict(parse_steal(Path("/proc/stat").read_text(encoding="ascii")))
    except OSError:
        return {}


@dataclass(frozen=True, slots=True)
class HostLoad:
    """What else this host did: before the demo added its own, and what its hypervisor took."""

    before: float = field(default_factory=lambda: os.getloadavg()[0])
    """Processes that wanted a CPU, over the last minute."""
    steal: dict[int, int] = field(default_factory=read_steal)
    began: float = field(default_factory=time.monotonic)

    def remarks(self, cpus: tuple[int, ...]) -> list[str]:
        """Warn where latencies are others' doing more than the path's."""
        lines = []
        if self.before > LOAD_MAX_EACH_CPU * len(cpus):
            lines.append(
                f"load {self.before:.1f} on {len(cpus)} CPUs before the demo began: others kept "
                "CPUs from it, these latencies are theirs: end what else runs, and repeat"
            )
        seconds, now = max(time.monotonic() - self.began, 1.0), read_steal()
        taken = max((now.get(cpu, 0) - self.steal.get(cpu, 0) for cpu in cpus), default=0)
        share = taken / TICKS_PER_S / seconds
        if share >= STEAL_SHARE_MAX:
            lines.append(
                f"the hypervisor took {share:.1%} of a CPU meanwhile: p99 and above are its doing: "
                "repeat on a host of your own"
            )
        return lines
