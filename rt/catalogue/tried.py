"""On which kernels the rule of an item was tried, not only read of.

tests/vm/test_1_command_lines.py boots each kernel alone: a word of the command line must be known
to it and have its effect, a file must have the value that was written. It holds this list. What
is not here was taken from the kernel's source and documents, or needs hardware that an emulated
machine lacks. Called by: rt.check_command.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

KERNELS: Final = {"rt": "Linux 6.1 PREEMPT_RT", "cloud": "Linux 6.1 cloud"}
"""Both of Debian 12, on an emulated x86-64 machine."""
BOTH: Final = ("rt", "cloud")

TRIED: Final[Mapping[str, tuple[str, ...]]] = {
    "cmd.isolcpus": BOTH,
    "cmd.nohz_full": BOTH,
    "cmd.rcu_nocbs": BOTH,
    "cmd.rcu_nocb_poll": BOTH,
    "cmd.irqaffinity": BOTH,
    "cmd.skew_tick": BOTH,
    "cmd.tsc": BOTH,
    "cmd.nosoftlockup": BOTH,
    "cmd.mce": ("rt",),
    "cmd.cstates": BOTH,
    "cmd.idle_poll": ("rt",),
    "cmd.mitigations": ("rt",),
    "cmd.psi": BOTH,
    "cmd.preempt": ("cloud",),
    "rcu.normal": ("cloud",),
    "rcu.patience": BOTH,
    "cpu.pm_qos": BOTH,
    "mem.huge_pages": BOTH,
    "mem.thp": ("cloud",),
    "mem.thp_defrag": ("cloud",),
    "mem.ksm": BOTH,
    "vm.swappiness": BOTH,
    "vm.stat_interval": BOTH,
    "vm.dirty_ratio": BOTH,
    "vm.dirty_background_ratio": BOTH,
    "vm.compaction_proactiveness": BOTH,
    "kernel.numa_balancing": ("cloud",),
    "vm.zone_reclaim_mode": BOTH,
    "wq.cpumask": BOTH,
    "wq.writeback": BOTH,
    "kernel.nmi_watchdog": BOTH,
    "kernel.soft_watchdog": BOTH,
    "kernel.hung_task_timeout": BOTH,
    "kernel.timer_migration": BOTH,
    "sched.autogroup": BOTH,
    "sched.schedstats": BOTH,
    "irq.default_affinity": BOTH,
    "net.bpf_jit": BOTH,
    "net.bpf_jit_harden": BOTH,
}


def tried_on(item: str) -> str:
    """Say on which kernels the rule of an item was tried; "" where on none."""
    return ", ".join(KERNELS[one] for one in TRIED.get(item, ()))
