"""The kinds of things that tuning sets on a host, as plain data: what, and to which value.

One kind, one way to be read, written, persisted and undone:

    kind           live                             persisted in
    BootParameter  /proc/cmdline                    /etc/default/grub.d/60-tickpath.cfg
    Sysctl         /proc/sys/...                    /etc/sysctl.d/60-tickpath.conf
    KernelFile     the file itself                  /etc/tmpfiles.d/60-tickpath.conf (w lines)
    Ethtool        ethtool's answer                 the boot service (tickpath-rt.service)
    UnitState      systemctl                        systemctl
    DropIn         the file itself (own files only) the same file

Called by: rt.catalogue (builds them), rt.reading (reads), tuning.plan, tuning.apply, tuning.revert
(writes). Calls: nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class BootParameter:
    """A word of the kernel's command line; value None: a bare word ("nosoftlockup")."""

    name: str
    value: str | None = None

    @property
    def word(self) -> str:
        return self.name if self.value is None else f"{self.name}={self.value}"


@dataclass(frozen=True, slots=True)
class Sysctl:
    """A kernel setting by its dotted name ("vm.swappiness")."""

    name: str
    value: str

    @property
    def path(self) -> str:
        return "/proc/sys/" + self.name.replace(".", "/")


@dataclass(frozen=True, slots=True)
class KernelFile:
    """A file of /sys, /proc/irq or debugfs and the text to be written into it.

    reads_as: what the file then reads, where that differs from what is written ("always madvise
    [never]" after "never" reads as "never": the bracketed word is taken by rt.reading).
    """

    path: str
    value: str
    reads_as: str | None = None


@dataclass(frozen=True, slots=True)
class Ethtool:
    """A NIC setting. group is ethtool's letter: G rings, C coalescing, K features, L channels,
    A pause; name is ethtool's own word ("rx-usecs", "lro")."""

    interface: str
    group: Literal["G", "C", "K", "L", "A"]
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class UnitState:
    """A systemd unit that is to be masked (and stopped) or enabled (and started)."""

    unit: str
    state: Literal["masked", "enabled"]


@dataclass(frozen=True, slots=True)
class DropIn:
    """A whole file that is ours alone, never another's. reload: the command that makes it live."""

    path: str
    text: str
    reload: tuple[str, ...] = ()


Setting = BootParameter | Sysctl | KernelFile | Ethtool | UnitState | DropIn
