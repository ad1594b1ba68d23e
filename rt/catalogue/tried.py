"""On which kernels the rule of an item was tried, or why on none.

tests/vm/test_1_command_lines.py boots each kernel alone: a word of the command line must be known
to it and have its effect, a file must have the value that was written. tests/vm/trials.py boots a
guest: what is spoiled has its effect and is seen, and what is mended likewise. Both hold this list.
What emulation lacks was taken from the kernel's source and documents, and says so (UNTRIED).
Called by: rt.check_command.
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
    # In a guest.
    "kernel.rt": BOTH,
    "rcu.offload": BOTH,
    "boot.promoted": ("rt",),
    "cmd.unknown": BOTH,
    "cmd.duplicates": BOTH,
    "cpu.count": ("rt",),
    "cpu.isolated": BOTH,
    "cpu.smt": BOTH,
    "cpu.zero": BOTH,
    "cpu.tick": BOTH,
    "cpu.clocksource": ("rt",),
    "cpu.machine_check": ("rt",),
    "mem.huge_node": ("rt",),
    "mem.swap": ("rt",),
    "sched.rt_runtime": ("rt",),
    "sched.unguarded": ("rt",),
    "sched.strangers": ("rt",),
    "sched.dead_sysctls": ("rt",),
    "irq.affinity": ("rt",),
    "irq.nic": ("rt",),
    "irq.devices": ("rt",),
    "irq.ipis": ("rt",),
    "irq.nmis": ("rt",),
    "irq.softirqs": ("rt",),
    "net.rt_busy_poll": BOTH,
    "net.busy_poll": ("cloud",),
    "net.busy_read": ("cloud",),
    "nic.defer_hard_irqs": ("rt",),
    "nic.gro_flush_timeout": ("rt",),
    "nic.threaded": ("rt",),
    "net.rps": ("rt",),
    "nic.rings": ("rt",),
    "nic.offloads": ("rt",),
    "nic.node": ("rt",),
    "nic.mtu": ("rt",),
    "nic.ssh": ("rt",),
    "net.netconsole": ("rt",),
    "svc.tuners": ("rt",),
    "svc.irqbalance": ("rt",),
    "svc.apt_daily": ("rt",),
    "svc.unattended_upgrades": ("rt",),
    "svc.fstrim": ("rt",),
    "svc.e2scrub": ("rt",),
    "svc.man_db": ("rt",),
    "svc.dpkg_backup": ("rt",),
    "svc.thermald": ("rt",),
    "svc.power_profiles": ("rt",),
    "svc.update_notices": ("rt",),
    "svc.affinity": ("cloud",),
    "svc.pid1": ("cloud",),
    "fw.tsc_marked": BOTH,
    "process.profile": ("rt",),
    "process.limits": ("rt",),
    "process.priority": ("rt",),
}

UNTRIED: Final[Mapping[str, str]] = {
    "cpu.idle": "bare metal: an emulated CPU has no deep idle state",
    "cpu.governor": "bare metal: an emulated CPU has one frequency",
    "cpu.epp": "bare metal: an emulated CPU has one frequency",
    "cpu.min_perf": "bare metal: an emulated CPU has one frequency",
    "cpu.uncore": "bare metal: an emulated CPU has one frequency",
    "sched.fair_server": "Linux 6.12 or later: the kernels of Debian 12 have no fair server",
    "sched.context_switches": "bare metal: an emulated CPU switches some thousand times a second",
    "wq.stall": "one of the kernels that hang, 6.9 or later: those of Debian 12 do not",
    "nic.coalesce": "bare metal: an emulated interface does not delay its interrupts",
    "nic.pause": "bare metal: an emulated interface has no pause frames",
    "nic.channels": "bare metal: an emulated interface has one queue, or a fixed number of them",
    "fw.smi": "bare metal: an emulated machine has no system management interrupts",
    "fw.steal": "a hypervisor that reports the time it takes: emulation reports none",
    "fw.tsc_steady": "bare metal: no emulated CPU promises a steady time stamp counter",
    "fw.thermal": "bare metal: an emulated CPU has no temperature",
    "fw.pcie_aspm": "bare metal: an emulated link does not sleep",
    "process.rt_group": "a kernel with CONFIG_RT_GROUP_SCHED: those of Debian have it not set",
}
"""What a trial would need that tests/vm has not."""


def tried_on(item: str) -> str:
    """Say on which kernels the rule of an item was tried; "" where on none."""
    return ", ".join(KERNELS[one] for one in TRIED.get(item, ()))


def untried_because(item: str) -> str:
    """Say what trying the rule of an item would need; "" where it was tried."""
    needs = UNTRIED.get(item)
    return "" if needs is None else f"needs {needs}"


def trial_of(item: str) -> str:
    """Say on which kernels the rule of an item was tried, or what that would need."""
    return f"tried on {tried_on(item)}" if item in TRIED else f"not tried: {untried_because(item)}"
