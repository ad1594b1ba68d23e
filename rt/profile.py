"""What is asked of a host: which CPUs are isolated, which trade-offs are taken.

Computed from the machine's topology, or asked for and then checked against it. `apply` keeps it in
PROFILE_PATH, so that a later `check` judges by what was applied. Called by: rt.arguments, rt.check,
tuning.plan, rt.catalogue. Calls: rt.topology (types), rt.limits.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from tickpath.rt.errors import RequestError
from tickpath.rt.limits import format_cpu_list, parse_cpu_list

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tickpath.rt.topology import Nic, Topology

ProfileName = Literal["metal-irq", "metal-busy-poll", "cloud", "vm-lab"]
PROFILE_NAMES: tuple[ProfileName, ...] = get_args(ProfileName)
PROFILE_PATH = "/etc/tickpath/rt-profile.json"
CLOUD_DRIVERS = frozenset({"ena", "gve", "hv_netvsc", "mana"})
CLOUD_VENDORS = frozenset({"Amazon EC2", "Google Compute Engine", "Hyper-V", "Alibaba Cloud"})
HUGE_PAGES_2M: Mapping[ProfileName, int] = {
    "metal-irq": 512,
    "metal-busy-poll": 512,
    "cloud": 256,
    "vm-lab": 64,
}


@dataclass(frozen=True, slots=True)
class Profile:
    """Computed from a machine's topology, or given by the user and checked against it.

    isolated and housekeeping are disjoint and together all CPUs; CPU 0 is never isolated.
    """

    name: ProfileName
    isolated: tuple[int, ...]
    housekeeping: tuple[int, ...]
    nic: str | None  # the trading interface; None: none chosen, network items are not asked for
    wants_rt_kernel: bool
    wants_busy_poll: bool
    huge_pages_2m: int
    unthrottled_rt: bool  # kernel.sched_rt_runtime_us = -1: only with the starvation guard
    mitigations_off: bool = False  # a security decision: never taken silently
    idle_poll: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """What the user asked for; None: computed from the topology."""

    name: str | None = None
    isolated: str | None = None  # a CPU list; "": none
    nic: str | None = None  # "none": no network item is asked for
    huge_pages_2m: int | None = None
    unthrottled_rt: bool | None = None  # None here and below: what was kept, else no
    mitigations_off: bool | None = None
    idle_poll: bool | None = None


def choose_profile(topology: Topology, request: Request) -> Profile:
    """Compute the profile. Raises RequestError, with the reason, for what this machine cannot be
    asked: a NIC that is not there, all CPUs isolated, half a core."""
    name = choose_name(topology, request.name)
    nic = choose_nic(topology, request.nic)
    isolated = (
        choose_isolated(topology, nic)
        if request.isolated is None
        else require_isolated(topology, request.isolated)
    )
    huge_pages = HUGE_PAGES_2M[name] if request.huge_pages_2m is None else request.huge_pages_2m
    if huge_pages < 0:
        raise RequestError(f"{huge_pages} huge pages: expected 0 or more")
    return Profile(
        name=name,
        isolated=isolated,
        housekeeping=tuple(cpu for cpu in topology.cpus if cpu not in isolated),
        nic=nic.name if nic else None,
        wants_rt_kernel=name in {"metal-irq", "vm-lab"},
        wants_busy_poll=name in {"metal-busy-poll", "cloud"},
        huge_pages_2m=huge_pages,
        unthrottled_rt=request.unthrottled_rt is True,
        mitigations_off=request.mitigations_off is True,
        idle_poll=request.idle_poll is True,
    )


def choose_name(topology: Topology, asked: str | None) -> ProfileName:
    if asked is not None:
        for name in PROFILE_NAMES:
            if name == asked:
                return name
        raise RequestError(f"profile {asked!r}: expected one of {', '.join(PROFILE_NAMES)}")
    if topology.hypervisor is None:
        return "metal-irq"
    drivers = {nic.driver for nic in topology.nics}
    in_cloud = topology.hypervisor in CLOUD_VENDORS or drivers & CLOUD_DRIVERS
    return "cloud" if in_cloud else "vm-lab"


def choose_nic(topology: Topology, asked: str | None) -> Nic | None:
    """Take the NIC asked for, else one that carries no ssh session, best without default route."""
    if asked == "none":
        return None
    if asked is not None:
        for nic in topology.nics:
            if nic.name == asked:
                return nic
        known = ", ".join(nic.name for nic in topology.nics) or "none with hardware behind it"
        raise RequestError(
            f"network interface {asked!r} is not there: this machine has {known}; "
            '"none" leaves the network as it is'
        )
    free = [nic for nic in topology.nics if not nic.carries_ssh]
    return min(
        free, key=lambda nic: (nic.carries_default_route, -nic.queues, nic.name), default=None
    )


def choose_isolated(topology: Topology, nic: Nic | None) -> tuple[int, ...]:
    """Isolate whole cores, those of the NIC's memory node first: at most half of all cores, the
    highest numbers, never the core of CPU 0 or of the first CPU."""
    kept = {*topology.siblings.get(0, ()), *topology.siblings[topology.cpus[0]]}
    cores = sorted({topology.siblings[cpu] for cpu in topology.cpus})
    near = topology.nodes.get(nic.node if nic and nic.node is not None else min(topology.nodes), ())
    free = [core for core in cores if not kept & set(core)]
    free.sort(key=lambda core: (core[0] in near, core), reverse=True)
    near_count = sum(core[0] in near for core in free) or len(free)
    count = min(max(1, len(cores) // 2), near_count)
    return tuple(sorted(cpu for core in free[:count] for cpu in core))


def require_isolated(topology: Topology, text: str) -> tuple[int, ...]:
    """Parse a CPU list and hold it against the machine. Raises RequestError with the reason."""
    try:
        isolated = parse_cpu_list(text)
    except ValueError as error:
        raise RequestError(f"isolated CPUs: {error}") from error
    online = format_cpu_list(topology.cpus)
    absent = [cpu for cpu in isolated if cpu not in topology.cpus]
    if absent:
        raise RequestError(
            f"isolated CPUs {text!r}: CPU {format_cpu_list(absent)} is not online; "
            f"this machine has {online}"
        )
    if set(isolated) >= set(topology.cpus):
        raise RequestError(
            f"isolated CPUs {text!r} are all of this machine ({online}): leave at least CPU 0 "
            "to the kernel, sshd and interrupts"
        )
    if 0 in isolated:
        raise RequestError(
            f"isolated CPUs {text!r}: CPU 0 stays with the kernel, which keeps house there; "
            "choose others"
        )
    for cpu in isolated:
        split = [other for other in topology.siblings[cpu] if other not in isolated]
        if split:
            raise RequestError(
                f"isolated CPUs {text!r}: CPU {cpu} shares its core with CPU "
                f"{format_cpu_list(split)}, whose work would disturb it; isolate both or neither"
            )
    return isolated


def to_json(profile: Profile) -> str:
    """Write what PROFILE_PATH holds."""
    return json.dumps(dataclasses.asdict(profile), indent=2, sort_keys=True) + "\n"


def request_from_json(text: str) -> Request:
    """Read back what `apply` was asked for. Raises RequestError where it is not ours."""
    try:
        known = json.loads(text)
        return Request(
            name=str(known["name"]),
            isolated=format_cpu_list([int(cpu) for cpu in known["isolated"]]),
            nic="none" if known["nic"] is None else str(known["nic"]),
            huge_pages_2m=int(known["huge_pages_2m"]),
            unthrottled_rt=known["unthrottled_rt"] is True,
            mitigations_off=known["mitigations_off"] is True,
            idle_poll=known["idle_poll"] is True,
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RequestError(
            f"{PROFILE_PATH} is not what apply wrote ({error}): remove it, or give --profile"
        ) from error
