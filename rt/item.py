"""One line of the catalogue, and what checking it found.

Called by: rt.catalogue (declares items), rt.check (judges them), tuning.plan (collects settings).
Calls: rt.setting, rt.host, rt.topology, rt.profile (types).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tickpath.rt.counters import Deltas
    from tickpath.rt.host import Host
    from tickpath.rt.profile import Profile
    from tickpath.rt.setting import Setting
    from tickpath.rt.topology import Topology


class State(StrEnum):
    """How an item stands. UNSUPPORTED (this host cannot have it, or the profile does not ask for
    it) never lowers the score."""

    OK = "ok"
    DRIFT = "drift"
    PENDING_REBOOT = "pending reboot"
    UNSUPPORTED = "unsupported"
    CONFLICT = "conflict"
    UNKNOWN = "unknown"


class Severity(IntEnum):
    """The weight of an item in the score."""

    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 5


@dataclass(frozen=True, slots=True)
class Context:
    """What an item is judged against: the machine, its shape, and what is asked of it."""

    host: Host
    topology: Topology
    profile: Profile
    deltas: Deltas | None = None  # None: not measured (a tree of files, or a plan)


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found: the row of `check`'s table, and its JSON.

    where: the files or commands that were read. fix: the command that mends it, "" if none is
    needed or none can.
    """

    id: str
    area: str
    severity: Severity
    state: State
    desired: str
    persisted: str | None
    live: str | None
    where: tuple[str, ...]
    why: str
    fix: str


@dataclass(frozen=True, slots=True)
class Item:
    """A setting, an effect or a rule that a low-latency host should keep.

    settings: what the profile wants here, () where it does not ask or the host cannot have it; the
    same tuple is read by `check` and written by `apply`. observe: for effects, firmware and
    conflict rules, which are not set but seen; its Finding replaces the generic one.
    """

    id: str  # "cmd.isolcpus": area of the catalogue, dot, name
    area: str  # boot, cpu, memory, scheduler, interrupts, network, services, firmware, process
    severity: Severity
    why: str
    settings: Callable[[Context], tuple[Setting, ...]] | None = None
    observe: Callable[[Context], Finding] | None = None
    lacks: Callable[[Context], str | None] | None = None  # why settings is () here, in words
    is_pending: Callable[[Context], bool] | None = None  # all is set, and in force from a boot on
