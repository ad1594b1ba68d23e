"""What this host lets a real-time process do, read and never changed; and who spins on which CPU.

Reading order: CPU lists, privileges, throttling, placement. Every reader takes the root of the file
system, so that a test can hand it a tree of its own. Called by: engine (strategy runtime, app,
doctor). Calls: nothing of ours. Source: Documentation/scheduler/sched-rt-group.rst,
Documentation/admin-guide/cputopology.rst, sched(7), capabilities(7).
"""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

CPU_NUMBER_MAX = 8191  # CONFIG_NR_CPUS of the largest distribution kernels
US_PER_S = 1_000_000
HOST = Path("/")

# include/uapi/linux/capability.h
CAPABILITY_BITS: Mapping[str, int] = {
    "NET_ADMIN": 12,
    "NET_RAW": 13,
    "IPC_LOCK": 14,
    "SYS_ADMIN": 21,
    "SYS_NICE": 23,
    "SYS_RESOURCE": 24,
    "PERFMON": 38,
    "BPF": 39,
}


def read_text(root: Path, name: str) -> str | None:
    """Return a kernel file's text without the final newline, or None where it cannot be read."""
    try:
        return (root / name).read_text().strip()
    except OSError:
        return None


def parse_cpu_list(text: str) -> tuple[int, ...]:
    """Parse the kernel's list format, "0-3,8", into sorted CPU numbers.

    Raises ValueError naming the piece that is wrong. An empty list is none, as the kernel has it.
    """
    if not text.strip():
        return ()
    cpus: set[int] = set()
    for piece in text.split(","):
        first, dash, last = piece.strip().partition("-")
        ends = (first, last) if dash else (first,)
        if not all(end.isascii() and end.isdigit() for end in ends):
            raise ValueError(
                f"{piece.strip()!r} in the CPU list {text!r}: expected a number or a range, "
                'as in "0-3,8"'
            )
        low, high = int(ends[0]), int(ends[-1])
        if high > CPU_NUMBER_MAX:
            raise ValueError(f"CPU {high} in the list {text!r}: expected at most {CPU_NUMBER_MAX}")
        if low > high:
            raise ValueError(f"{piece.strip()!r} in the CPU list {text!r}: {low} is above {high}")
        cpus.update(range(low, high + 1))
    return tuple(sorted(cpus))


def format_cpu_list(cpus: Collection[int]) -> str:
    """Write CPU numbers in the kernel's list format: the inverse of parse_cpu_list."""
    pieces: list[str] = []
    ordered = sorted(set(cpus))
    start = 0
    for index, cpu in enumerate(ordered):
        if index + 1 == len(ordered) or ordered[index + 1] != cpu + 1:
            pieces.append(str(cpu) if index == start else f"{ordered[start]}-{cpu}")
            start = index + 1
    return ",".join(pieces)


def available_cpus() -> tuple[int, ...]:
    """List the CPUs on which this process may run."""
    return tuple(sorted(os.sched_getaffinity(0)))


def isolated_cpus(root: Path = HOST) -> tuple[int, ...]:
    """List the CPUs that the kernel keeps other tasks off (isolcpus=)."""
    return parse_cpu_list(read_text(root, "sys/devices/system/cpu/isolated") or "")


def core_siblings(cpu: int, root: Path = HOST) -> tuple[int, ...]:
    """List the CPUs that share a core with this one, itself included."""
    text = read_text(root, f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
    return parse_cpu_list(text) if text else (cpu,)


@dataclass(frozen=True, slots=True)
class Privileges:
    """What this process may do: effective capabilities by name, and the limits that count."""

    capabilities: frozenset[str]
    rt_priority_max: int
    memlock_bytes: int | None  # None: unlimited

    @property
    def may_use_fifo(self) -> bool:
        return "SYS_NICE" in self.capabilities or self.rt_priority_max > 0

    @property
    def may_lock_all_memory(self) -> bool:
        return "IPC_LOCK" in self.capabilities or self.memlock_bytes is None


def read_privileges(root: Path = HOST) -> Privileges:
    """Read the effective capabilities and the limits of this process."""
    bits = 0
    for line in (read_text(root, "proc/self/status") or "").splitlines():
        if line.startswith("CapEff:"):
            bits = int(line.partition(":")[2], 16)
    memlock = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    return Privileges(
        frozenset(name for name, bit in CAPABILITY_BITS.items() if bits >> bit & 1),
        resource.getrlimit(resource.RLIMIT_RTPRIO)[0],
        None if memlock == resource.RLIM_INFINITY else memlock,
    )


@dataclass(frozen=True, slots=True)
class Throttling:
    """How much of each second the kernel takes from a real-time task that never sleeps.

    Two guards can act: the global limit for real-time tasks, and since Linux 6.12 the fair server,
    which takes its time only where an ordinary task waits for the same CPU. None: not readable, or
    not there (the fair server needs debugfs and root).
    """

    rt_runtime_us: int | None
    rt_period_us: int | None
    fair_server_ns: Mapping[int, int]  # CPU to runtime per second

    @property
    def rt_lost_us_per_s(self) -> int:
        if self.rt_runtime_us is None or self.rt_runtime_us < 0 or not self.rt_period_us:
            return 0
        return max(0, self.rt_period_us - self.rt_runtime_us) * US_PER_S // self.rt_period_us

    @property
    def fair_server_cpus(self) -> tuple[int, ...]:
        return tuple(sorted(cpu for cpu, runtime in self.fair_server_ns.items() if runtime > 0))


def read_throttling(cpus: Collection[int], root: Path = HOST) -> Throttling:
    """Read both guards as they stand for these CPUs."""
    fair: dict[int, int] = {}
    for cpu in cpus:
        runtime = read_integer(root, f"sys/kernel/debug/sched/fair_server/cpu{cpu}/runtime")
        if runtime is not None:
            fair[cpu] = runtime
    return Throttling(
        read_integer(root, "proc/sys/kernel/sched_rt_runtime_us"),
        read_integer(root, "proc/sys/kernel/sched_rt_period_us"),
        fair,
    )


def read_integer(root: Path, name: str) -> int | None:
    """Read a kernel file that holds one number; None where it is not there or is something else."""
    text = read_text(root, name)
    try:
        return int(text) if text is not None else None
    except ValueError:
        return None


def describe_throttling(throttling: Throttling) -> str | None:
    """Say in a sentence a guard what it takes and how to end it; None if nothing is taken."""
    sentences: list[str] = []
    if throttling.rt_lost_us_per_s:
        sentences.append(
            f"The kernel stops a real-time task that never sleeps for up to "
            f"{throttling.rt_lost_us_per_s / 1000:g} ms in each second "
            f"(kernel.sched_rt_runtime_us is {throttling.rt_runtime_us}); "
            "to end it: sysctl -w kernel.sched_rt_runtime_us=-1"
        )
    if throttling.fair_server_cpus:
        worst_ms = max(throttling.fair_server_ns.values()) / 1_000_000
        cpus = format_cpu_list(throttling.fair_server_cpus)
        ranges = [
            f"{{{piece.replace('-', '..')}}}" if "-" in piece else piece
            for piece in cpus.split(",")
        ]
        braces = f"{{{','.join(ranges)}}}" if len(ranges) > 1 else ranges[0]
        sentences.append(
            f"The fair server takes up to {worst_ms:g} ms in each second from a real-time task on "
            f"CPU {cpus} where an ordinary task waits there; to end it: for f in "
            f"/sys/kernel/debug/sched/fair_server/cpu{braces}/runtime; do echo 0 > $f; done"
        )
    return ". ".join(sentences) + "." if sentences else None


@dataclass(frozen=True, slots=True)
class Placement:
    """Where one process that would like to spin is put, and whether it may.

    A process that shares its CPU may not spin: at SCHED_FIFO it would starve the others for good.
    It has to sleep, or to yield after each look.
    """

    name: str
    cpu: int
    shares_with: tuple[str, ...]

    @property
    def may_spin(self) -> bool:
        return not self.shares_with


def order_cpus(cpus: Collection[int], root: Path = HOST) -> tuple[int, ...]:
    """Order CPUs by their worth to a spinning process.

    Isolated ones first; one of each core before its siblings; CPU 0, where the kernel keeps house,
    last of its kind.
    """
    isolated = frozenset(isolated_cpus(root))

    def worth(cpu: int) -> tuple[bool, bool, bool, int]:
        siblings = [other for other in core_siblings(cpu, root) if other in cpus]
        return (cpu not in isolated, bool(siblings) and cpu != max(siblings), cpu == 0, cpu)

    return tuple(sorted(set(cpus), key=worth))


def place(names: Sequence[str], cpus: Sequence[int]) -> tuple[Placement, ...]:
    """Give each process a CPU, in the order of both lists; the last CPU is shared if there are few.

    Name first the process that most deserves a CPU of its own. Raises ValueError without a CPU.
    """
    if not cpus:
        raise ValueError(f"no CPU to place {', '.join(names)} on: expected at least one")
    last = len(cpus) - 1
    chosen = [cpus[min(index, last)] for index in range(len(names))]
    return tuple(
        Placement(
            name,
            cpu,
            tuple(
                other
                for other, where in zip(names, chosen, strict=True)
                if where == cpu and other != name
            ),
        )
        for name, cpu in zip(names, chosen, strict=True)
    )


def describe_placement(placements: Sequence[Placement]) -> str:
    """Say in one line who is where, and who has to sleep or yield instead of spinning."""
    pieces: list[str] = []
    for cpu in dict.fromkeys(placement.cpu for placement in placements):
        here = [placement.name for placement in placements if placement.cpu == cpu]
        if len(here) == 1:
            pieces.append(f"CPU {cpu}: {here[0]}, spinning")
        else:
            pieces.append(f"CPU {cpu}: {', '.join(here)}, taking turns (they yield or sleep)")
    return "; ".join(pieces)
