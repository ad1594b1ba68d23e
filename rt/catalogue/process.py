"""Process: what real-time processes may do here, and whether one does too much.

Source: sched(7), limits.conf(5), Documentation/scheduler/sched-rt-group.rst.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tickpath.rt.catalogue.declare import Area, Seen
from tickpath.rt.command_line import parse_command_line, values_of
from tickpath.rt.item import Severity, State
from tickpath.rt.profile import PROFILE_PATH, to_json
from tickpath.rt.setting import DropIn
from tickpath.rt.tasks import SCHED_FIFO, SCHED_RR, read_tasks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tickpath.rt.item import Context
    from tickpath.rt.setting import Setting

AREA = Area("process")
LIMITS_PATH = "/etc/security/limits.d/60-tickpath.conf"
LIMITS = """\
# Written by tickpath rt: who belongs to the group may use SCHED_FIFO below the kernel's threaded
# interrupts (50), and lock memory. Services have their own limits in their units.
@tickpath - rtprio 40
@tickpath - memlock unlimited
"""
IRQ_THREAD_PRIORITY = 50
SUBTREE = "/sys/fs/cgroup/cgroup.subtree_control"  # of the root group of version 2
DISABLED_BY_DEFAULT = "CONFIG_RT_GROUP_SCHED_DEFAULT_DISABLED"  # its kernels have rt_group_sched=
GROUP_RUNTIME = "cpu.rt_runtime_us"
SHOWN_MAX = 3


def keep_profile(context: Context) -> tuple[Setting, ...]:
    return (DropIn(PROFILE_PATH, to_json(context.profile)),)


def limits_file(_: Context) -> tuple[Setting, ...]:
    return (DropIn(LIMITS_PATH, LIMITS),)


def too_high(context: Context) -> Seen:
    where = ("/proc/*/task/*/stat",)
    desired = f"nobody busy at priority {IRQ_THREAD_PRIORITY} or above"
    tasks = list(read_tasks(context.host))
    if not tasks:
        return Seen(State.UNKNOWN, desired, "no thread readable", where)
    found = [
        task
        for task in tasks
        if task.policy in {SCHED_FIFO, SCHED_RR}
        and task.rt_priority >= IRQ_THREAD_PRIORITY
        and task.state == "R"
        and not task.is_kernel
    ]
    if not found:
        return Seen(State.OK, desired, "nobody", where)
    live = ", ".join(
        f"{task.name} ({task.tid}) at {task.rt_priority} on CPU {task.cpu}"
        for task in found[:SHOWN_MAX]
    )
    return Seen(State.CONFLICT, desired, live, where, f"chrt -f -p 40 {found[0].tid}")


def group_budget(context: Context) -> Seen:
    """Find the real-time budget of groups: of this process's group in version 1; version 2 has no
    such file, and gives every group but the root's a budget of 0."""
    desired = "more than 0, or no real-time budgets"
    config = context.topology.kernel_config
    where = (f"/sys/fs/cgroup/cpu/…/{GROUP_RUNTIME}", "CONFIG_RT_GROUP_SCHED")
    if not config:
        return Seen(State.UNKNOWN, desired, "the kernel's configuration is not readable", where)
    if config.get("CONFIG_RT_GROUP_SCHED") != "y" or switched_off(context):
        return Seen(State.OK, desired, "no budgets in this kernel", (*where, "/proc/cmdline"))
    own = own_budget(context)
    if own is not None:
        place, budget = own
        fix = f"echo 900000 > {place}, and before it in each group above"
        if budget == "0":
            return Seen(State.CONFLICT, desired, "0", (place,), fix)
        return Seen(State.OK, desired, f"{budget} µs", (place,))
    if "cpu" in (context.host.read(SUBTREE) or "").split():
        live = "0: SCHED_FIFO is refused outside the root group"
        return Seen(State.CONFLICT, desired, live, (SUBTREE, where[1]), budget_remedy(config))
    return Seen(State.OK, desired, "not in a group with a budget", where)


def own_budget(context: Context) -> tuple[str, str] | None:
    """Return the file of this process's group in version 1, and its budget; None: in none."""
    for line in (context.host.read("/proc/self/cgroup") or "").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if "cpu" in controllers.split(","):
            place = f"/sys/fs/cgroup/cpu{path if path != '/' else ''}/{GROUP_RUNTIME}"
            budget = context.host.read(place)
            return None if budget is None else (place, budget)
    return None


def switched_off(context: Context) -> bool:
    """Report whether the kernel was told to schedule without groups (rt_group_sched=)."""
    by_default = context.topology.kernel_config.get(DISABLED_BY_DEFAULT) == "y"
    said = values_of("rt_group_sched", parse_command_line(context.topology.command_line))
    if not said:
        return by_default
    return said[-1] is not None and said[-1].lower() in {"0", "n", "no", "off", "f", "false"}


def budget_remedy(config: Mapping[str, str]) -> str:
    """Offer the boot parameter only where this kernel has it."""
    if DISABLED_BY_DEFAULT in config:
        return "boot with rt_group_sched=0"
    return "boot a kernel without CONFIG_RT_GROUP_SCHED (Debian's have none)"


ITEMS = (
    AREA.setting(
        "process.profile",
        Severity.LOW,
        "what was asked of this host is kept, so that a later check judges by it",
        keep_profile,
    ),
    AREA.setting(
        "process.limits",
        Severity.LOW,
        "a person of the group tickpath can try a strategy from a login shell",
        limits_file,
    ),
    AREA.seen(
        "process.priority",
        Severity.CRITICAL,
        "a busy loop at or above the interrupts' priority starves the NIC that it waits for",
        too_high,
    ),
    AREA.seen(
        "process.rt_group",
        Severity.HIGH,
        "with real-time budgets of groups a new group has none: SCHED_FIFO is refused",
        group_budget,
    ),
)
