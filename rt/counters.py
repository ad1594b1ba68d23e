"""What a CPU was disturbed by: counters of the kernel read twice, and their difference.

Reading the values of settings shows what was asked; only these show what happens. Called by:
rt.check_command (samples), rt.catalogue (judges), rt.measure. Calls: rt.host. Source: proc_stat(5),
proc_interrupts(5), Documentation/admin-guide/pm/cpuidle.rst, Intel SDM vol. 4 (MSR_SMI_COUNT).
"""

from __future__ import annotations

import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tickpath.rt.host import Host
    from tickpath.rt.topology import Topology

SMI_COUNT_MSR = 0x34
STEAL_COLUMN = 7  # of a cpu line of /proc/stat, after user nice system idle iowait irq softirq
TICKS_PER_S = 100  # USER_HZ, which is 100 on every architecture we run on

PerCpu = dict[int, int]


@dataclass(frozen=True, slots=True)
class Sample:
    """Counters at one moment; each table by name, then by CPU."""

    at_ns: int  # CLOCK_MONOTONIC
    interrupts: Mapping[str, PerCpu]  # "LOC", "CAL", "38"
    interrupt_texts: Mapping[str, str]
    softirqs: Mapping[str, PerCpu]
    idle_states: Mapping[str, PerCpu]  # "C6" to how often it was entered
    steal_ticks: PerCpu
    context_switches: int | None
    smi: PerCpu


@dataclass(frozen=True, slots=True)
class Deltas:
    """What happened in a window of time."""

    seconds: float
    interrupts: Mapping[str, PerCpu]
    interrupt_texts: Mapping[str, str]
    softirqs: Mapping[str, PerCpu]
    idle_states: Mapping[str, PerCpu]
    steal_ticks: PerCpu
    context_switches: int | None
    smi: PerCpu

    def per_second(self, table: Mapping[str, PerCpu], name: str, cpu: int) -> float:
        """Return a count of a table for one CPU, in a second."""
        return table.get(name, {}).get(cpu, 0) / self.seconds

    @property
    def steal_share(self) -> float:
        """Return the greatest share of a CPU's time that the hypervisor says it took."""
        worst = max(self.steal_ticks.values(), default=0)
        return worst / TICKS_PER_S / self.seconds


def take_sample(host: Host, topology: Topology) -> Sample:
    """Read all counters once; a table that cannot be read is empty."""
    stat = host.read("/proc/stat") or ""
    interrupts, texts = parse_table(host.read("/proc/interrupts") or "")
    return Sample(
        at_ns=time.monotonic_ns(),
        interrupts=interrupts,
        interrupt_texts=texts,
        softirqs=parse_table(host.read("/proc/softirqs") or "")[0],
        idle_states=read_idle_states(host, topology),
        steal_ticks=parse_steal(stat),
        context_switches=parse_context_switches(stat),
        smi=read_smi(host, topology),
    )


def difference(before: Sample, after: Sample) -> Deltas:
    """Subtract two samples."""
    switches = None
    if before.context_switches is not None and after.context_switches is not None:
        switches = after.context_switches - before.context_switches
    return Deltas(
        seconds=max(after.at_ns - before.at_ns, 1) / 1e9,
        interrupts=subtract(before.interrupts, after.interrupts),
        interrupt_texts=after.interrupt_texts,
        softirqs=subtract(before.softirqs, after.softirqs),
        idle_states=subtract(before.idle_states, after.idle_states),
        steal_ticks=subtract_row(before.steal_ticks, after.steal_ticks),
        context_switches=switches,
        smi=subtract_row(before.smi, after.smi),
    )


def subtract(before: Mapping[str, PerCpu], after: Mapping[str, PerCpu]) -> dict[str, PerCpu]:
    return {name: subtract_row(before.get(name, {}), row) for name, row in after.items()}


def subtract_row(before: PerCpu, after: PerCpu) -> PerCpu:
    """Subtract what both have: a counter that was not there before tells no difference."""
    return {cpu: max(0, count - before[cpu]) for cpu, count in after.items() if cpu in before}


def parse_table(text: str) -> tuple[dict[str, PerCpu], dict[str, str]]:
    """Parse /proc/interrupts or /proc/softirqs: counts by name and CPU, and the words behind."""
    header, _, rows = text.partition("\n")
    cpus = [int(word[3:]) for word in header.split() if word[:3] == "CPU" and word[3:].isdigit()]
    counts: dict[str, PerCpu] = {}
    texts: dict[str, str] = {}
    for row in rows.splitlines():
        name, colon, rest = row.partition(":")
        words = rest.split()
        numbers = words[: len(cpus)]
        # ERR and MIS have one count for the machine, not one for each CPU.
        if colon and len(numbers) == len(cpus) and all(word.isdigit() for word in numbers):
            counts[name.strip()] = dict(zip(cpus, map(int, numbers), strict=True))
            texts[name.strip()] = " ".join(words[len(cpus) :])
    return counts, texts


def parse_steal(stat: str) -> PerCpu:
    found: PerCpu = {}
    for line in stat.splitlines():
        words = line.split()
        if len(words) <= STEAL_COLUMN + 1 or words[0][:3] != "cpu":
            continue
        number, steal = words[0][3:], words[STEAL_COLUMN + 1]
        if number.isdigit() and steal.isdigit():
            found[int(number)] = int(steal)
    return found


def parse_context_switches(stat: str) -> int | None:
    for line in stat.splitlines():
        name, _, value = line.partition(" ")
        if name == "ctxt" and value.strip().isdigit():
            return int(value)
    return None


def read_idle_states(host: Host, topology: Topology) -> dict[str, PerCpu]:
    found: dict[str, PerCpu] = {}
    for cpu in topology.cpus:
        folder = f"/sys/devices/system/cpu/cpu{cpu}/cpuidle"
        for state in host.names(folder):
            name = host.read(f"{folder}/{state}/name") or state
            usage = host.read(f"{folder}/{state}/usage") or ""
            if usage.isdigit():
                found.setdefault(name, {})[cpu] = int(usage)
    return found


def read_smi(host: Host, topology: Topology) -> PerCpu:
    """Read how many system management interrupts each CPU took; needs root and the msr module."""
    found: PerCpu = {}
    for cpu in topology.cpus:
        raw = host.read_at(f"/dev/cpu/{cpu}/msr", SMI_COUNT_MSR, 8)
        if raw is None:
            break
        found[cpu] = struct.unpack("<Q", raw)[0] & 0xFFFFFFFF
    return found
