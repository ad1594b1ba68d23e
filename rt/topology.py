"""The shape of a machine: CPUs, siblings, memory nodes, NICs with their queues, kernel, hypervisor.

Read once, never changed. Called by: rt.check, rt.plan. Calls: rt.host, rt.limits.
Source: Documentation/admin-guide/cputopology.rst, Documentation/ABI/testing/sysfs-class-net.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Nic:
    """A network interface with hardware behind it. irqs: interrupt numbers of its queues."""

    name: str
    driver: str
    node: int | None  # None: no memory node told
    queues: int
    irqs: tuple[int, ...]
    carries_default_route: bool
    carries_ssh: bool  # an established connection to sshd came in over it


@dataclass(frozen=True, slots=True)
class Topology:
    """The machine as the kernel tells it."""

    cpus: tuple[int, ...]  # online
    siblings: Mapping[int, tuple[int, ...]]  # CPU to those of its core, itself included
    nodes: Mapping[int, tuple[int, ...]]  # memory node to its CPUs
    nics: tuple[Nic, ...]
    hypervisor: str | None  # None: bare metal
    release: str  # uname -r
    version: tuple[int, int, int]  # of the kernel
    is_rt: bool  # PREEMPT_RT is running
    kernel_config: Mapping[str, str]  # CONFIG_X to y, m or a value; empty: not readable
    boot_id: str
    command_line: str
