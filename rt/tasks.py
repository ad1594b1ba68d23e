"""The threads of a machine: where each ran last, how it is scheduled, where it may run.

Called by: rt.catalogue. Calls: rt.host, rt.limits. Source: proc_pid_stat(5), proc_pid_status(5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tickpath.rt.limits import parse_cpu_list

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tickpath.rt.host import Host

KERNEL_THREAD = 0x00200000  # PF_KTHREAD of include/linux/sched.h
SCHED_FIFO, SCHED_RR = 1, 2
FIELDS_MIN = 39


@dataclass(frozen=True, slots=True)
class Task:
    """One thread."""

    pid: int
    tid: int
    name: str
    state: str  # "R" running, "S" sleeping, …
    is_kernel: bool
    cpu: int  # where it ran last
    policy: int
    rt_priority: int


def read_tasks(host: Host) -> Iterator[Task]:
    """Yield the threads that are there now; one that ends meanwhile is left out."""
    for process in host.names("/proc"):
        if not process.isdigit():
            continue
        for thread in host.names(f"/proc/{process}/task"):
            task = parse_stat(host.read(f"/proc/{process}/task/{thread}/stat") or "", int(process))
            if task is not None:
                yield task


def parse_stat(text: str, pid: int) -> Task | None:
    """Parse a stat line; None where it is not one. The name may hold anything, ")" too."""
    head, _, tail = text.rpartition(")")
    number, _, name = head.partition(" (")
    fields = tail.split()
    if len(fields) < FIELDS_MIN or not number.isdigit():
        return None
    try:
        flags, cpu, priority, policy = (int(fields[at]) for at in (6, 36, 37, 38))
    except ValueError:
        return None
    is_kernel = bool(flags & KERNEL_THREAD)
    return Task(pid, int(number), name, fields[0], is_kernel, cpu, policy, priority)


def allowed_cpus(host: Host, task: Task) -> tuple[int, ...]:
    """Return where a thread may run; () where it has ended."""
    text = host.read(f"/proc/{task.pid}/task/{task.tid}/status") or ""
    for line in text.splitlines():
        if line.startswith("Cpus_allowed_list:"):
            try:
                return parse_cpu_list(line.partition(":")[2])
            except ValueError:
                return ()
    return ()
