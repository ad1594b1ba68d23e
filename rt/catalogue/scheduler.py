"""Scheduler: real-time limits, workqueues, watchdogs, who runs on the hot CPUs.

Source: Documentation/scheduler/sched-rt-group.rst, Documentation/core-api/workqueue.rst,
Documentation/admin-guide/sysctl/kernel.rst; the stall of changed workqueue masks: Linux commit
703ccb63ae9f and the stable releases that have it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tickpath.rt.catalogue.declare import (
    Area,
    Seen,
    bounded,
    missing_file,
    missing_sysctl,
    not_counted,
    nothing_isolated,
    sysctl,
)
from tickpath.rt.cpu_mask import format_cpu_mask, parse_cpu_mask
from tickpath.rt.item import Severity, State
from tickpath.rt.persisted import CONFIGURATION_TOPS, configuration_lines
from tickpath.rt.setting import KernelFile, Sysctl
from tickpath.rt.tasks import allowed_cpus, read_tasks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tickpath.rt.item import Context
    from tickpath.rt.setting import Setting
    from tickpath.rt.tasks import Task

AREA = Area("scheduler")
WORKQUEUE_MASK = "/sys/devices/virtual/workqueue/cpumask"
WRITEBACK_MASK = "/sys/bus/workqueue/devices/writeback/cpumask"
FAIR_SERVER = "/sys/kernel/debug/sched/fair_server"
RT_RUNTIME = "/proc/sys/kernel/sched_rt_runtime_us"
STALL_SINCE = (6, 9, 0)
# The first release of each branch that mends it; a branch without one never did.
STALL_MENDED = {(6, 12): 82, (6, 18): 23, (6, 19): 13}
STALL_GONE_SINCE = (7, 0, 0)
GUARD_MODULE = "tickpath.rt.guard"
SWITCHES_PER_CPU_PER_S_MAX = 20_000
STRANGERS_SHOWN_MAX = 4


def stalls(version: tuple[int, int, int]) -> bool:
    """Tell whether changing the mask of unbound workqueues can hang this kernel."""
    if version < STALL_SINCE or version >= STALL_GONE_SINCE:
        return False
    mended = STALL_MENDED.get(version[:2])
    return mended is None or version[2] < mended


def stalling_kernel(context: Context) -> str | None:
    if not stalls(context.topology.version):
        return None
    return f"changing it can hang Linux {'.'.join(map(str, context.topology.version))}"


def housekeeping_mask(context: Context, path: str) -> tuple[Setting, ...]:
    return (KernelFile(path, format_cpu_mask(context.profile.housekeeping)),)


def workqueue_stall(context: Context) -> Seen:
    where = (WORKQUEUE_MASK, "/proc/sys/kernel/version")
    desired = "no changed mask on a kernel that it can hang"
    mask = context.host.read(WORKQUEUE_MASK)
    version = ".".join(map(str, context.topology.version))
    if mask is None:
        return Seen(State.UNSUPPORTED, desired, f"Linux {version}, no mask to change", where)
    if not stalls(context.topology.version):
        return Seen(State.OK, desired, f"Linux {version}", where)
    try:
        changed = not set(parse_cpu_mask(mask)) >= set(context.topology.cpus)
    except ValueError:
        return Seen(State.UNKNOWN, desired, f"Linux {version}, mask {mask}", where)
    if not changed:
        return Seen(State.OK, desired, f"Linux {version}, mask of all CPUs", where)
    fix = "boot a kernel with the fix: 6.12.82, 6.18.23, 6.19.13, 7.0, or one before 6.9"
    return Seen(State.CONFLICT, desired, f"Linux {version}, mask {mask}", where, fix)


def throttled_by_choice(context: Context) -> str | None:
    if context.profile.unthrottled_rt:
        return None
    return "not asked for: it needs a starvation guard (--unthrottled-rt)"


def fair_server(context: Context) -> tuple[Setting, ...]:
    paths = (f"{FAIR_SERVER}/cpu{cpu}/runtime" for cpu in context.profile.isolated)
    return tuple(KernelFile(path, "0") for path in paths if context.host.exists(path))


def find_guard(context: Context) -> str | None:
    """Return the command line of a process that ends starvation; None where there is none."""
    for path in context.host.glob("/proc/[0-9]*/cmdline"):
        words = (context.host.read(path) or "").rstrip("\0").split("\0")
        if is_guard(words):
            return " ".join(words)
    return None


def is_guard(words: Sequence[str]) -> bool:
    """Tell whether a command line is a guard's: ours, `tickpath run` (which has it in itself), or
    stalld. A word somewhere in it (of an editor, of sudo) makes none."""
    programs = [word.rpartition("/")[2] for word in words]
    if programs[0].startswith("python"):  # of a script, or of -m
        of_module = words[2:] if words[1:2] == ["-P"] else words[1:]
        return of_module[:2] == ["-m", GUARD_MODULE] or programs[1:3] == ["tickpath", "run"]
    return programs[0] == "stalld" or programs[:2] == ["tickpath", "run"]


def unguarded(context: Context) -> Seen:
    where = (RT_RUNTIME, "/proc/*/cmdline")
    desired = "no limit taken away without a guard"
    runtime = context.host.read(RT_RUNTIME)
    if runtime is None:
        return Seen(State.UNKNOWN, desired, None, where)
    if not runtime.startswith("-"):
        return Seen(State.OK, desired, f"limit {runtime} µs", where)
    guard = find_guard(context)
    if guard:
        return Seen(State.OK, desired, f"no limit, guard: {guard[:60]}", where)
    fix = "run `tickpath run`, which has the guard, or sysctl -w kernel.sched_rt_runtime_us=950000"
    return Seen(State.CONFLICT, desired, "no limit, no guard", where, fix)


def dead_sysctls(context: Context) -> Seen:
    where = ("/etc/sysctl.d", "/proc/sys")
    desired = "each configured name is in the kernel"
    dead: list[str] = []
    for line in configuration_lines(context.host, "sysctl.d", ".conf", tops=CONFIGURATION_TOPS[1:]):
        name, equals, _ = line.partition("=")
        name = name.strip()
        # A minus says that the name may be missing; a star names several.
        if not equals or name.startswith(("#", ";", "-")) or "*" in name:
            continue
        dotted = name.replace("/", ".")
        if not context.host.exists(Sysctl(dotted, "").path) and dotted not in dead:
            dead.append(dotted)
    if not dead:
        return Seen(State.OK, desired, "none dead", where)
    return Seen(
        State.DRIFT, desired, ", ".join(dead), where, "remove these lines: the kernel has no such"
    )


def context_switches(context: Context) -> Seen:
    where = ("/proc/stat, ctxt, over a window",)
    desired = f"at most {SWITCHES_PER_CPU_PER_S_MAX}/s and CPU"
    if context.deltas is None or context.deltas.context_switches is None:
        return Seen(State.UNSUPPORTED, desired, None, where)
    deltas = context.deltas
    switches = context.deltas.context_switches
    rate = switches / deltas.seconds / len(context.topology.cpus)
    live = f"{rate:.0f}/s and CPU"
    if rate <= SWITCHES_PER_CPU_PER_S_MAX:
        return Seen(State.OK, desired, live, where)
    return Seen(State.DRIFT, desired, live, where, "find who: pidstat -w 1, or perf trace -s")


def is_stranger(context: Context, task: Task) -> bool:
    """Tell whether a thread came to a hot CPU by chance: it may run there, and elsewhere too. One
    that was moved away since, and slept, has only its last place there."""
    if task.cpu not in context.profile.isolated or task.state in {"Z", "X"}:
        return False
    allowed = allowed_cpus(context.host, task)
    return task.cpu in allowed and bool(set(allowed) & set(context.profile.housekeeping))


def strangers(context: Context) -> Seen:
    where = ("/proc/*/task/*/stat", "/proc/*/task/*/status")
    desired = "nobody who may run elsewhere"
    if not context.profile.isolated:
        return Seen(State.UNSUPPORTED, desired, None, where)
    tasks = list(read_tasks(context.host))
    if not tasks:
        return Seen(State.UNKNOWN, desired, "no thread readable", where)
    found = [task for task in tasks if is_stranger(context, task)]
    if not found:
        return Seen(State.OK, desired, "nobody", where)
    shown = ", ".join(f"{task.name} ({task.tid})" for task in found[:STRANGERS_SHOWN_MAX])
    more = len(found) - STRANGERS_SHOWN_MAX
    live = f"{shown} and {more} more" if more > 0 else shown
    fix = "tickpath rt apply --only cmd.isolcpus,svc.affinity, then reboot"
    return Seen(State.DRIFT, desired, live, where, fix)


ITEMS = (
    AREA.setting(
        "sched.rt_runtime",
        Severity.HIGH,
        "the kernel stops a real-time task that never sleeps for 50 ms in each second",
        sysctl("kernel.sched_rt_runtime_us", "-1"),
        throttled_by_choice,
        missing_sysctl("kernel.sched_rt_runtime_us"),
    ),
    AREA.setting(
        "sched.fair_server",
        Severity.MEDIUM,
        "since Linux 6.12 ordinary tasks get 50 ms a second of a hot CPU where they wait for it",
        fair_server,
        throttled_by_choice,
        nothing_isolated,
        missing_file(FAIR_SERVER, "no fair server, or debugfs is not mounted"),
    ),
    AREA.seen(
        "sched.unguarded",
        Severity.CRITICAL,
        "a real-time task that hangs takes its CPU for good where no limit and no guard stops it",
        unguarded,
    ),
    AREA.setting(
        "wq.cpumask",
        Severity.MEDIUM,
        "work that is bound to no CPU stays on housekeeping CPUs",
        lambda context: housekeeping_mask(context, WORKQUEUE_MASK),
        nothing_isolated,
        missing_file(WORKQUEUE_MASK, "no mask here"),
        stalling_kernel,
    ),
    AREA.setting(
        "wq.writeback",
        Severity.LOW,
        "writing back to disks stays on housekeeping CPUs",
        lambda context: housekeeping_mask(context, WRITEBACK_MASK),
        nothing_isolated,
        missing_file(WRITEBACK_MASK, "no mask here"),
        stalling_kernel,
    ),
    AREA.seen(
        "wq.stall",
        Severity.CRITICAL,
        "on some kernels unbound work stops for good after the mask of workqueues changed",
        workqueue_stall,
    ),
    AREA.seen(
        "sched.strangers",
        Severity.HIGH,
        "the effect of isolation: whose thread ran last on a hot CPU without having to",
        strangers,
        nothing_isolated,
    ),
    AREA.seen(
        "sched.context_switches",
        Severity.LOW,
        "a machine that switches without pause disturbs caches that all CPUs share",
        context_switches,
        not_counted,
    ),
    AREA.setting(
        "kernel.nmi_watchdog",
        Severity.MEDIUM,
        "no interrupt that cannot be masked on every CPU; hangs are no longer detected by it",
        sysctl("kernel.nmi_watchdog", "0"),
        missing_sysctl("kernel.nmi_watchdog"),
    ),
    AREA.setting(
        "kernel.soft_watchdog",
        Severity.LOW,
        "no timer and no thread of highest priority that looks for hangs on every CPU",
        sysctl("kernel.soft_watchdog", "0"),
        missing_sysctl("kernel.soft_watchdog"),
    ),
    AREA.setting(
        "kernel.hung_task_timeout",
        Severity.LOW,
        "all tasks are searched for hung ones less often",
        # 0: they are not searched at all
        bounded("kernel.hung_task_timeout_secs", 600, lambda value: value == 0 or value >= 600),
        missing_sysctl("kernel.hung_task_timeout_secs"),
    ),
    AREA.setting(
        "kernel.timer_migration",
        Severity.LOW,
        "a timer fires on the CPU that set it: no other CPU must interrupt the hot one to wake it",
        sysctl("kernel.timer_migration", "0"),
        missing_sysctl("kernel.timer_migration"),
    ),
    AREA.setting(
        "sched.autogroup",
        Severity.LOW,
        "nice values count between sessions too",
        sysctl("kernel.sched_autogroup_enabled", "0"),
        missing_sysctl("kernel.sched_autogroup_enabled"),
    ),
    AREA.setting(
        "sched.schedstats",
        Severity.LOW,
        "no statistics at each task switch",
        sysctl("kernel.sched_schedstats", "0"),
        missing_sysctl("kernel.sched_schedstats"),
    ),
    AREA.seen(
        "sched.dead_sysctls",
        Severity.LOW,
        "a name that left the kernel has no effect, though its line looks like tuning",
        dead_sysctls,
    ),
)
