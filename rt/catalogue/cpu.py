"""CPU: clocks, frequency, idling, isolation in force, the tick.

Source: Documentation/admin-guide/pm/{cpuidle,cpufreq,intel_pstate}.rst,
Documentation/ABI/testing/sysfs-devices-power.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tickpath.rt.catalogue.declare import (
    Area,
    Seen,
    file,
    files,
    missing_file,
    missing_files,
    not_counted,
    nothing_isolated,
    under_hypervisor,
    without_grub,
)
from tickpath.rt.item import Severity, State
from tickpath.rt.limits import format_cpu_list
from tickpath.rt.reading import read_setting
from tickpath.rt.setting import BootParameter, KernelFile
from tickpath.rt.topology import CPU_FOLDER, read_list

if TYPE_CHECKING:
    from tickpath.rt.item import Context
    from tickpath.rt.setting import Setting

AREA = Area("cpu")
POLICIES = f"{CPU_FOLDER}/cpufreq/policy*"
CLOCK = "/sys/devices/system/clocksource/clocksource0"
UNCORE = "/sys/devices/system/cpu/intel_uncore_frequency/*"
TICKS_PER_S_MAX = 10.0  # the kernel's own residual tick is one a second
SHALLOW_STATES = frozenset({"POLL", "C1", "C1E", "C1_ACPI", "haltpoll idle", "WFI"})
DEEP_ENTRIES_PER_S_MAX = 1.0
CPUS_MIN = 3


def uncore(context: Context) -> tuple[Setting, ...]:
    found: list[Setting] = []
    for folder in context.host.glob(UNCORE):
        greatest = context.host.read(f"{folder}/max_freq_khz")
        if greatest:
            found.append(KernelFile(f"{folder}/min_freq_khz", greatest))
    return tuple(found)


def resume_latency(context: Context) -> tuple[Setting, ...]:
    paths = (
        f"{CPU_FOLDER}/cpu{cpu}/power/pm_qos_resume_latency_us" for cpu in context.profile.isolated
    )
    # "n/a" is the kernel's word for no latency at all; 0 is its word for no request.
    return tuple(KernelFile(path, "n/a") for path in paths if context.host.exists(path))


def machine_check(context: Context) -> tuple[Setting, ...]:
    folder = "/sys/devices/system/machinecheck"
    paths = (f"{folder}/machinecheck{cpu}/ignore_ce" for cpu in context.topology.cpus)
    return tuple(KernelFile(path, "1") for path in paths if context.host.exists(path))


def no_tsc(context: Context) -> str | None:
    available = (context.host.read(f"{CLOCK}/available_clocksource") or "").split()
    return None if "tsc" in available else "the kernel refused tsc, or the CPU has none"


def isolation_in_force(context: Context) -> Seen:
    where = (f"{CPU_FOLDER}/isolated",)
    if not context.profile.isolated:
        return Seen(State.UNSUPPORTED, "nothing isolated", None, where)
    wanted = format_cpu_list(context.profile.isolated)
    live = read_list(context.host, where[0])
    said = format_cpu_list(live) or "none"
    if live == context.profile.isolated:
        return Seen(State.OK, wanted, said, where)
    if without_grub(context):
        return Seen(State.UNSUPPORTED, "the command line is set from outside", said, where)
    asked = BootParameter("isolcpus", f"managed_irq,domain,{wanted}")
    if read_setting(context.host, asked).is_persisted:
        return Seen(State.PENDING_REBOOT, wanted, said, where, "reboot")
    return Seen(
        State.DRIFT, wanted, said, where, "tickpath rt apply --only cmd.isolcpus, then reboot"
    )


def whole_cores(context: Context) -> Seen:
    where = (f"{CPU_FOLDER}/isolated", f"{CPU_FOLDER}/cpu*/topology/thread_siblings_list")
    live = read_list(context.host, where[0])
    split = {
        other
        for cpu in live
        for other in context.topology.siblings.get(cpu, (cpu,))
        if other not in live
    }
    if not split:
        return Seen(State.OK, "whole cores", format_cpu_list(live) or "none isolated", where)
    return Seen(
        State.CONFLICT,
        "whole cores",
        f"{format_cpu_list(live)} without the siblings {format_cpu_list(split)}",
        where,
        f"isolate {format_cpu_list({*live, *split})}, or take CPU {format_cpu_list(split)} offline",
    )


def first_cpu(context: Context) -> Seen:
    live = read_list(context.host, f"{CPU_FOLDER}/isolated")
    full = read_list(context.host, f"{CPU_FOLDER}/nohz_full")
    where = (f"{CPU_FOLDER}/isolated", f"{CPU_FOLDER}/nohz_full")
    if 0 not in {*live, *full}:
        return Seen(State.OK, "CPU 0 keeps house", format_cpu_list(live) or "none isolated", where)
    return Seen(
        State.CONFLICT,
        "CPU 0 keeps house",
        f"CPU 0 is among {format_cpu_list({*live, *full})}",
        where,
        "take CPU 0 out of isolcpus= and nohz_full=, then reboot",
    )


def tick_stopped(context: Context) -> Seen:
    where = ("/proc/interrupts, LOC, over a window",)
    desired = f"at most {TICKS_PER_S_MAX:g}/s on each hot CPU"
    if not context.profile.isolated:
        return Seen(State.UNSUPPORTED, desired, None, where)
    if context.deltas is None or "LOC" not in context.deltas.interrupts:
        return Seen(State.UNSUPPORTED, desired, None, where)
    deltas = context.deltas
    rates = {
        cpu: deltas.per_second(deltas.interrupts, "LOC", cpu) for cpu in context.profile.isolated
    }
    worst = max(rates, key=lambda cpu: rates[cpu])
    live = f"{rates[worst]:.0f}/s on CPU {worst}"
    if rates[worst] <= TICKS_PER_S_MAX:
        return Seen(State.OK, desired, live, where)
    fix = "one runnable task a CPU, and tickpath rt apply --only cmd.nohz_full, then reboot"
    return Seen(State.DRIFT, desired, live, where, fix)


def shallow_idle(context: Context) -> Seen:
    where = (f"{CPU_FOLDER}/cpu*/cpuidle/state*/usage, over a window",)
    desired = "no deep idle state on a hot CPU"
    deltas = context.deltas
    if deltas is None or not deltas.idle_states:
        return Seen(State.UNSUPPORTED, "this machine reports no idle states", None, where)
    entered = {
        name: max(
            deltas.per_second(deltas.idle_states, name, cpu) for cpu in context.profile.isolated
        )
        for name in deltas.idle_states
        if name not in SHALLOW_STATES
    }
    deep = {name: rate for name, rate in entered.items() if rate > DEEP_ENTRIES_PER_S_MAX}
    if not deep:
        return Seen(State.OK, desired, "none entered", where)
    live = ", ".join(f"{name} {rate:.0f}/s" for name, rate in deep.items())
    return Seen(State.DRIFT, desired, live, where, "tickpath rt apply --only cpu.pm_qos")


def cpu_count(context: Context) -> Seen:
    count = len(context.topology.cpus)
    return Seen(
        State.OK if count >= CPUS_MIN else State.DRIFT,
        f"{CPUS_MIN} or more",
        f"{count}: {format_cpu_list(context.topology.cpus)}",
        (f"{CPU_FOLDER}/online",),
        "" if count >= CPUS_MIN else f"give the machine {CPUS_MIN} CPUs or more",
    )


ITEMS = (
    AREA.seen(
        "cpu.count",
        Severity.LOW,
        "feed handler and strategy each spin on a CPU of their own; the rest needs one too",
        cpu_count,
    ),
    AREA.seen(
        "cpu.isolated",
        Severity.CRITICAL,
        "isolation in force, whatever was asked for",
        isolation_in_force,
        nothing_isolated,
    ),
    AREA.seen(
        "cpu.smt",
        Severity.HIGH,
        "a sibling's work takes the ports and caches of the hot thread's core",
        whole_cores,
    ),
    AREA.seen(
        "cpu.zero",
        Severity.CRITICAL,
        "the kernel keeps house on CPU 0: time keeping, early interrupts, unmovable work",
        first_cpu,
    ),
    AREA.seen(
        "cpu.tick",
        Severity.HIGH,
        "the effect of nohz_full: timer interrupts counted on the hot CPUs",
        tick_stopped,
        nothing_isolated,
        not_counted,
    ),
    AREA.seen(
        "cpu.idle",
        Severity.MEDIUM,
        "the effect of the idle limits: entries into deep states counted on the hot CPUs",
        shallow_idle,
        nothing_isolated,
        not_counted,
    ),
    AREA.setting(
        "cpu.pm_qos",
        Severity.HIGH,
        "hot CPUs take the idle state that ends at once; the others may save power",
        resume_latency,
        nothing_isolated,
        missing_files(
            f"{CPU_FOLDER}/cpu*/power/pm_qos_resume_latency_us", "no limit for each CPU here"
        ),
    ),
    AREA.setting(
        "cpu.governor",
        Severity.HIGH,
        "the clock does not ramp up when a packet comes",
        files(f"{POLICIES}/scaling_governor", "performance"),
        missing_files(f"{POLICIES}/scaling_governor", "no frequency scaling here"),
    ),
    AREA.setting(
        "cpu.epp",
        Severity.MEDIUM,
        "the CPU's own firmware prefers speed to saving",
        files(f"{POLICIES}/energy_performance_preference", "performance"),
        missing_files(f"{POLICIES}/energy_performance_preference", "no such hint here"),
    ),
    AREA.setting(
        "cpu.min_perf",
        Severity.LOW,
        "no frequency below the greatest is chosen",
        file(f"{CPU_FOLDER}/intel_pstate/min_perf_pct", "100"),
        missing_file(f"{CPU_FOLDER}/intel_pstate/min_perf_pct", "no intel_pstate in force"),
    ),
    AREA.setting(
        "cpu.uncore",
        Severity.LOW,
        "mesh and last-level cache keep their greatest clock",
        uncore,
        missing_files(f"{UNCORE}/max_freq_khz", "no uncore limits here"),
    ),
    AREA.setting(
        "cpu.clocksource",
        Severity.HIGH,
        "stamps come from the time stamp counter: 20 ns, any other source up to 1 µs",
        file(f"{CLOCK}/current_clocksource", "tsc"),
        no_tsc,
    ),
    AREA.setting(
        "cpu.machine_check",
        Severity.LOW,
        "no timer that polls for corrected errors",
        machine_check,
        under_hypervisor,
        missing_files("/sys/devices/system/machinecheck/machinecheck*/ignore_ce", "not x86"),
    ),
)
