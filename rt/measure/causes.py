"""What the kernel counted on the measured CPUs while they were measured: the suspects.

A count is no proof: it says what happened there and how often, in the very window of the figures.
Called by: rt.measure.run. Calls: rt.counters, rt.limits. Source: proc_interrupts(5),
Documentation/admin-guide/pm/cpuidle.rst, Documentation/scheduler/sched-rt-group.rst.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tickpath.rt.limits import format_cpu_list

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tickpath.rt.counters import Deltas, PerCpu
    from tickpath.rt.limits import Throttling
    from tickpath.rt.measure.histogram import Histogram

MEANINGS: Mapping[str, str] = {
    "LOC": "local timer: the tick, or a timer of a task here (cyclictest's own too)",
    "CAL": "function call from another CPU: TLB, static keys, RCU",
    "RES": "rescheduling asked for by another CPU",
    "TLB": "TLB flush asked for by another CPU",
    "IWI": "interrupt work",
    "PMI": "performance counter (watchdog, perf)",
    "NMI": "non-maskable",
    "MCE": "machine check",
    "MCP": "machine check poll",
}
THROTTLE_TOLERANCE = 0.1
CAUSES_MAX = 24


@dataclass(frozen=True, slots=True)
class Cause:
    """One thing that was counted: how often in the window, and in a second."""

    kind: str  # interrupt, softirq, idle state, firmware, scheduler, hypervisor
    name: str
    count: int
    per_second: float
    meaning: str


def find_causes(deltas: Deltas, cpus: tuple[int, ...]) -> list[Cause]:
    """List what disturbed these CPUs, the most frequent first of its kind."""
    found = [
        *_rows(deltas, "interrupt", deltas.interrupts, cpus),
        *_rows(deltas, "softirq", deltas.softirqs, cpus),
        *_rows(deltas, "idle state", deltas.idle_states, cpus),
    ]
    found.sort(key=lambda cause: -cause.count)
    found = found[:CAUSES_MAX]
    if deltas.context_switches is not None:
        text = "of the whole machine: the kernel counts them for no CPU by itself"
        found.append(_cause(deltas, "scheduler", "context switches", deltas.context_switches, text))
    smi = sum(count for cpu, count in deltas.smi.items() if cpu in cpus)
    if deltas.smi:
        text = "firmware took the CPU: no setting of the kernel's prevents it"
        found.append(_cause(deltas, "firmware", "SMI", smi, text))
    steal = sum(count for cpu, count in deltas.steal_ticks.items() if cpu in cpus)
    text = "hundredths of a second that the hypervisor says it took; many say nothing"
    found.append(_cause(deltas, "hypervisor", "steal", steal, text))
    return found


def _rows(
    deltas: Deltas, kind: str, table: Mapping[str, PerCpu], cpus: tuple[int, ...]
) -> list[Cause]:
    found = []
    for name, row in table.items():
        count = sum(row.get(cpu, 0) for cpu in cpus)
        if count:
            meaning = MEANINGS.get(name, deltas.interrupt_texts.get(name, ""))
            found.append(_cause(deltas, kind, name, count, meaning if kind == "interrupt" else ""))
    return found


def _cause(deltas: Deltas, kind: str, name: str, count: int, meaning: str) -> Cause:
    return Cause(kind, name, count, round(count / deltas.seconds, 2), meaning)


def throttle_sentence(
    histogram: Histogram, throttling: Throttling, cpus: tuple[int, ...]
) -> str | None:
    """Say that the longest wait is what the kernel's own limits take, where it has that length.

    Only tasks that never sleep meet the limits: ask for a spinning tool's histogram.
    """
    longest = histogram.maximum_ns or 0
    fair = [ns for cpu, ns in throttling.fair_server_ns.items() if cpu in cpus and ns > 0]
    limits = {
        "kernel.sched_rt_runtime_us": throttling.rt_lost_us_per_s * 1000,
        "the fair server": max(fair, default=0),
    }
    guilty = [
        name
        for name, taken in limits.items()
        if taken and abs(longest - taken) <= THROTTLE_TOLERANCE * taken
    ]
    if not guilty:
        return None
    return (
        f"the longest gap, {longest / 1e6:.1f} ms, has the length that {' and '.join(guilty)} "
        f"takes from a real-time task that never sleeps (CPU {format_cpu_list(cpus)})"
    )
