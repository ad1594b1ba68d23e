"""Interrupts: where they may go, and where they went.

Source: Documentation/core-api/irq/irq-affinity.rst, Documentation/core-api/genericirq.rst.
A managed interrupt (one for each CPU, of a driver's queue) is the kernel's to place: it is not
asked to move, and counted where it fires.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tickpath.rt.catalogue.declare import (
    Area,
    Seen,
    missing_file,
    not_counted,
    nothing_isolated,
    without_nic,
)
from tickpath.rt.cpu_mask import format_cpu_mask
from tickpath.rt.item import Severity, State
from tickpath.rt.limits import format_cpu_list
from tickpath.rt.setting import KernelFile
from tickpath.rt.topology import read_list

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tickpath.rt.item import Context
    from tickpath.rt.setting import Setting
    from tickpath.rt.topology import Nic

AREA = Area("interrupts")
DEFAULT_MASK = "/proc/irq/default_smp_affinity"
DEVICE_PER_S_MAX = 1.0
IPI_PER_S_MAX = 20.0
SOFTIRQ_PER_S_MAX = 50.0
IPIS = ("CAL", "RES", "TLB", "IWI", "IPI0", "IPI1")
SHOWN_MAX = 3
# What each folder of /proc/irq has; anything else is named after a driver.
IRQ_FILES = frozenset(
    {
        "affinity_hint",
        "effective_affinity",
        "effective_affinity_list",
        "node",
        "smp_affinity",
        "smp_affinity_list",
        "spurious",
    }
)


def chosen_nic(context: Context) -> Nic | None:
    return next((nic for nic in context.topology.nics if nic.name == context.profile.nic), None)


def is_managed(context: Context, irq: int) -> bool:
    """Tell whether the kernel places this interrupt itself, as debugfs has it, else by its name:
    block devices have one interrupt for each CPU's queue."""
    told = context.host.read(f"/sys/kernel/debug/irq/irqs/{irq}")
    if told is not None:
        return "IRQD_AFFINITY_MANAGED" in told
    actions = context.host.read(f"/sys/kernel/irq/{irq}/actions") or ""
    return "-req." in actions or actions.startswith("nvme")


def device_irqs(context: Context) -> tuple[int, ...]:
    """List the interrupts that a device uses and that can be moved."""
    numbers = (int(name) for name in context.host.names("/proc/irq") if name.isdigit())
    used = (irq for irq in numbers if in_use(context, irq))
    return tuple(irq for irq in sorted(used) if not is_managed(context, irq))


def in_use(context: Context, irq: int) -> bool:
    """Tell whether a driver has it; where sysfs does not tell, its folder in /proc/irq does."""
    actions = context.host.read(f"/sys/kernel/irq/{irq}/actions")
    if actions is not None:
        return actions not in {"", "(null)"}
    return bool(set(context.host.names(f"/proc/irq/{irq}")) - IRQ_FILES)


def moved(context: Context, irqs: Iterable[int], near: tuple[int, ...]) -> tuple[Setting, ...]:
    """Want each interrupt within a set of CPUs; one that lies within it stays as it is."""
    settings: list[Setting] = []
    for irq in irqs:
        path = f"/proc/irq/{irq}/smp_affinity_list"
        live = read_list(context.host, path)
        if not live:
            continue
        within = set(live) <= set(near)
        settings.append(KernelFile(path, format_cpu_list(live if within else near)))
    return tuple(settings)


def device_affinity(context: Context) -> tuple[Setting, ...]:
    nic = chosen_nic(context)
    others = [irq for irq in device_irqs(context) if nic is None or irq not in nic.irqs]
    return moved(context, others, context.profile.housekeeping)


def nic_affinity(context: Context) -> tuple[Setting, ...]:
    nic = chosen_nic(context)
    if nic is None:
        return ()
    local = context.topology.nodes.get(nic.node, ()) if nic.node is not None else ()
    near = tuple(cpu for cpu in context.profile.housekeeping if cpu in local)
    movable = [irq for irq in nic.irqs if not is_managed(context, irq)]
    return moved(context, movable, near or context.profile.housekeeping)


def no_nic_irqs(context: Context) -> str | None:
    nic = chosen_nic(context)
    return None if nic and nic.irqs else "the interface has no interrupt of its own"


def default_mask(context: Context) -> tuple[Setting, ...]:
    return (KernelFile(DEFAULT_MASK, format_cpu_mask(context.profile.housekeeping)),)


def rates(context: Context, table: str, wanted: tuple[str, ...]) -> dict[str, float] | None:
    """Return the greatest rate of each row on a hot CPU; None where it was not measured."""
    if context.deltas is None or not context.profile.isolated:
        return None
    deltas = context.deltas
    rows = deltas.interrupts if table == "/proc/interrupts" else deltas.softirqs
    if not rows:
        return None
    return {
        name: max(deltas.per_second(rows, name, cpu) for cpu in context.profile.isolated)
        for name in rows
        if not wanted or name in wanted
    }


def judge(measured: dict[str, float] | None, limit: float, where: str, fix: str) -> Seen:
    """Hold the sum of rates against a limit, and name the greatest."""
    desired = f"at most {limit:g}/s on each hot CPU"
    if measured is None:
        return Seen(State.UNSUPPORTED, "the table is not readable", None, (where,))
    total = sum(measured.values())
    worst = sorted((name for name in measured if measured[name]), key=lambda n: -measured[n])
    live = f"{total:.0f}/s" + (
        f" ({', '.join(f'{name} {measured[name]:.0f}' for name in worst[:SHOWN_MAX])})"
        if worst
        else ""
    )
    if total <= limit:
        return Seen(State.OK, desired, live, (where,))
    return Seen(State.DRIFT, desired, live, (where,), fix)


def device_effect(context: Context) -> Seen:
    every = rates(context, "/proc/interrupts", ())
    devices = None if every is None else {name: every[name] for name in every if name.isdigit()}
    if devices is not None and context.deltas is not None:
        texts = context.deltas.interrupt_texts
        devices = {
            f"{name} {texts.get(name, '').rpartition(' ')[2]}": rate
            for name, rate in devices.items()
        }
    return judge(
        devices,
        DEVICE_PER_S_MAX,
        "/proc/interrupts over a window",
        "tickpath rt apply --only irq.affinity,irq.nic; where managed: fewer queues of its device",
    )


def ipi_effect(context: Context) -> Seen:
    return judge(
        rates(context, "/proc/interrupts", IPIS),
        IPI_PER_S_MAX,
        "/proc/interrupts: CAL, RES, TLB over a window",
        "find who sends them: perf trace -e 'irq_vectors:*' -C CPU, or bpftrace on smp_call",
    )


def nmi_effect(context: Context) -> Seen:
    return judge(
        rates(context, "/proc/interrupts", ("NMI", "PMI")),
        0.0,
        "/proc/interrupts: NMI, PMI over a window",
        "tickpath rt apply --only kernel.nmi_watchdog; stop a running perf",
    )


def softirq_effect(context: Context) -> Seen:
    return judge(
        rates(context, "/proc/softirqs", ()),
        SOFTIRQ_PER_S_MAX,
        "/proc/softirqs over a window",
        "tickpath rt apply --only interrupts,net.rps: what raises them comes in elsewhere then",
    )


ITEMS = (
    AREA.setting(
        "irq.default_affinity",
        Severity.MEDIUM,
        "an interrupt that comes later begins on a housekeeping CPU",
        default_mask,
        nothing_isolated,
        missing_file(DEFAULT_MASK, "not reported"),
    ),
    AREA.setting(
        "irq.affinity",
        Severity.HIGH,
        "disks, timers and consoles interrupt housekeeping CPUs only",
        device_affinity,
        nothing_isolated,
    ),
    AREA.setting(
        "irq.nic",
        Severity.HIGH,
        "the NIC interrupts housekeeping CPUs of its own memory node",
        nic_affinity,
        nothing_isolated,
        without_nic,
        no_nic_irqs,
    ),
    AREA.seen(
        "irq.devices",
        Severity.HIGH,
        "the effect of affinity: devices' interrupts counted on the hot CPUs",
        device_effect,
        nothing_isolated,
        not_counted,
    ),
    AREA.seen(
        "irq.ipis",
        Severity.MEDIUM,
        "interrupts from other CPUs: function calls, wake-ups, TLB shootdowns",
        ipi_effect,
        nothing_isolated,
        not_counted,
    ),
    AREA.seen(
        "irq.nmis",
        Severity.MEDIUM,
        "interrupts that nothing masks: the watchdog's, and those of profiling",
        nmi_effect,
        nothing_isolated,
        not_counted,
    ),
    AREA.seen(
        "irq.softirqs",
        Severity.MEDIUM,
        "deferred work of the kernel, counted on the hot CPUs",
        softirq_effect,
        nothing_isolated,
        not_counted,
    ),
)
