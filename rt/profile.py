"""What is asked of a host: which CPUs are isolated, which trade-offs are taken.

Called by: rt.check, rt.plan, rt.catalogue. Calls: rt.topology (types).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ProfileName = Literal["metal-irq", "metal-busy-poll", "cloud", "vm-lab"]


@dataclass(frozen=True, slots=True)
class Profile:
    """Computed from a machine's topology, or given by the user and checked against it.

    isolated and housekeeping are disjoint and together all CPUs; CPU 0 is never isolated.
    """

    name: ProfileName
    isolated: tuple[int, ...]
    housekeeping: tuple[int, ...]
    nic: str | None  # the trading interface; None: none chosen, network items are not asked for
    wants_rt_kernel: bool
    wants_busy_poll: bool
    huge_pages_2m: int
    unthrottled_rt: bool  # kernel.sched_rt_runtime_us = -1: only with the starvation guard
    mitigations_off: bool = False  # a security decision: never taken silently
    idle_poll: bool = False
