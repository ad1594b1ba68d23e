"""Boot: the kernel, its command line, and rules about both.

Source: Documentation/admin-guide/kernel-parameters.txt, Documentation/timers/no_hz.rst.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tickpath.rt.catalogue.declare import (
    Area,
    Seen,
    boot,
    missing_config,
    nothing_isolated,
    target_config,
    under_hypervisor,
    without_grub,
)
from tickpath.rt.command_line import parse_command_line, parse_unknown, values_of
from tickpath.rt.item import Severity, State
from tickpath.rt.limits import format_cpu_list
from tickpath.rt.setting import BootParameter
from tickpath.rt.topology import cpu_flags
from tickpath.rt.tuning import grub

if TYPE_CHECKING:
    from collections.abc import Callable

    from tickpath.rt.item import Context
    from tickpath.rt.setting import Setting

AREA = Area("boot")
HOUSEKEEPING_MIN_TO_POLL = 4  # a polling thread takes one of them whole
PATIENCE = "/sys/module/rcutree/parameters/nohz_full_patience_delay"
# Words that may come several times, each time with its own meaning.
REPEATABLE = frozenset(
    {
        *("bond", "console", "earlycon", "earlyprintk", "hugepages", "hugepagesz", "initrd"),
        *("ip", "mem", "memmap", "module_blacklist", "nameserver", "panic", "vlan"),
    }
)
# Left to user space, which the kernel reports as unknown to itself.
USER_SPACE_WORDS = frozenset({"BOOT_IMAGE", "splash", "nosplash", "noquiet", "single", "auto"})


def isolated(name: str, flags: str = "") -> Callable[[Context], tuple[Setting, ...]]:
    return lambda context: (BootParameter(name, flags + format_cpu_list(context.profile.isolated)),)


def housekeeping(name: str) -> Callable[[Context], tuple[Setting, ...]]:
    return lambda context: (BootParameter(name, format_cpu_list(context.profile.housekeeping)),)


def rt_kernel(context: Context) -> Seen:
    where = ("/sys/kernel/realtime", "/proc/sys/kernel/version", "/boot")
    live = f"{context.topology.release}{', PREEMPT_RT' if context.topology.is_rt else ''}"
    if not context.profile.wants_rt_kernel:
        return Seen(State.UNSUPPORTED, "not asked for by this profile", live, where)
    if context.topology.is_rt:
        return Seen(State.OK, "PREEMPT_RT", live, where)
    if without_grub(context):
        return Seen(State.UNSUPPORTED, "the kernel comes from outside this machine", live, where)
    lines = grub.parse_drop_in(context.host.read(grub.DROP_IN) or "")
    fix = "tickpath rt apply --only boot, then reboot"
    if context.topology.rt_kernels:
        chosen = lines.wanted.flavour == "rt"
        state = State.PENDING_REBOOT if chosen else State.DRIFT
        return Seen(state, "PREEMPT_RT", live, where, "reboot" if chosen else fix)
    # A release ends with Debian's name of the architecture.
    last = context.topology.release.rpartition("-")[2]
    architecture = last if last in {"amd64", "arm64", "armhf"} else "amd64"
    fix = f"apt-get install linux-image-rt-{architecture}; {fix}"
    return Seen(State.DRIFT, "PREEMPT_RT", live, where, fix)


def few_housekeepers(context: Context) -> str | None:
    count = len(context.profile.housekeeping)
    if count >= HOUSEKEEPING_MIN_TO_POLL:
        return None
    return f"{count} housekeeping CPUs: a polling thread would take one of them whole"


def unsteady_tsc(context: Context) -> str | None:
    if {"constant_tsc", "nonstop_tsc"} <= cpu_flags(context.host):
        return None
    return "this CPU does not promise a steady time stamp counter (constant_tsc, nonstop_tsc)"


def c_states(context: Context) -> tuple[Setting, ...]:
    vendor = context.host.read("/proc/cpuinfo") or ""
    intel = (BootParameter("intel_idle.max_cstate", "0"),) if "GenuineIntel" in vendor else ()
    return (*intel, BootParameter("processor.max_cstate", "1"))


def not_asked_idle_poll(context: Context) -> str | None:
    return None if context.profile.idle_poll else "not asked for: heat, lower turbo (--idle-poll)"


def not_asked_mitigations(context: Context) -> str | None:
    if context.profile.mitigations_off:
        return None
    return "a security decision, left to you (--mitigations-off)"


def rt_is_wanted(context: Context) -> str | None:
    return "a PREEMPT_RT kernel has it so" if context.profile.wants_rt_kernel else None


def no_patience(context: Context) -> str | None:
    if context.host.exists(PATIENCE):
        return None
    return "this kernel does not know it, and would silently ignore it"


def unknown_words(context: Context) -> Seen:
    where = ("dmesg",)
    desired = "each word known to the kernel"
    log = context.host.run(("dmesg",))
    found = parse_unknown(log.stdout)
    if not found:
        complete = "Linux version " in log.stdout and "Command line: " in log.stdout
        state = State.OK if complete else State.UNKNOWN
        said = "none unknown" if complete else "the log's beginning is not readable"
        return Seen(state, desired, said, where)
    names = {each.name: each.word for each in found}
    foreign = [word for name, word in names.items() if name not in USER_SPACE_WORDS]
    foreign = [word for word in foreign if "." not in word.partition("=")[0]]
    if not foreign:
        return Seen(State.OK, desired, "none unknown", where)
    fix = f"remove from GRUB_CMDLINE_LINUX_DEFAULT in /etc/default/grub: {' '.join(foreign)}"
    return Seen(State.CONFLICT, desired, " ".join(foreign), where, fix)


def duplicate_words(context: Context) -> Seen:
    parameters = parse_command_line(context.topology.command_line)
    names = dict.fromkeys(each.name for each in parameters if each.name not in REPEATABLE)
    contrary = [
        name for name in names if len(set(values_of(name, parameters))) > 1 and "." not in name
    ]
    live = "; ".join(
        " ".join(BootParameter(name, value).word for value in values_of(name, parameters))
        for name in contrary
    )
    return Seen(
        State.CONFLICT if contrary else State.OK,
        "no word twice with different values",
        live or "none",
        ("/proc/cmdline",),
        f"keep one of each in /etc/default/grub: {', '.join(contrary)}" if contrary else "",
    )


def promoted(context: Context) -> Seen:
    """Tell how far a tuned command line has come: chosen for one boot, booted, made lasting."""
    where = (grub.DROP_IN, grub.ENVIRONMENT, "/proc/cmdline")
    desired = "the tuned entry, for good"
    lines = grub.parse_drop_in(context.host.read(grub.DROP_IN) or "")
    booted = grub.booted_entry(context.topology.command_line)
    if lines.trial is None and lines.lasting is None:
        return Seen(State.UNSUPPORTED, "no tuned entry was applied", booted, where)
    if lines.trial is None:
        if booted is not None:
            return Seen(State.OK, desired, "promoted", where)
        fix = "look for another GRUB_DEFAULT in /etc/default/grub.d, then reboot"
        return Seen(State.DRIFT, desired, "promoted, and another entry was booted", where, fix)
    if booted == "trial":
        live = "on trial: the next boot is by the old entry"
        return Seen(State.DRIFT, desired, live, where, "tickpath rt promote")
    if grub.next_entry(context.host.read_bytes(grub.ENVIRONMENT) or b"") == grub.TRIAL_ENTRY:
        return Seen(State.PENDING_REBOOT, desired, "chosen for the next boot", where, "reboot")
    fix = "look for the reason in journalctl -b -1, then tickpath rt apply --only boot"
    return Seen(State.CONFLICT, desired, "the trial did not come up, or was not booted", where, fix)


def rcu_offload(context: Context) -> Seen:
    where = ("/proc/*/comm", "/proc/cmdline")
    if not context.profile.isolated:
        return Seen(State.UNSUPPORTED, "nothing isolated", None, where)
    wanted = format_cpu_list(context.profile.isolated)
    booted = values_of("rcu_nocbs", parse_command_line(context.topology.command_line))
    config = target_config(context)
    if config and config.get("CONFIG_RCU_NOCB_CPU") != "y":
        return Seen(State.UNSUPPORTED, "built without CONFIG_RCU_NOCB_CPU", None, where)
    names = {context.host.read(path) or "" for path in context.host.glob("/proc/[0-9]*/comm")}
    # A thread a CPU: rcuop/N where preemptible, rcuos/N where not.
    have = [cpu for cpu in context.profile.isolated if {f"rcuop/{cpu}", f"rcuos/{cpu}"} & names]
    live = format_cpu_list(have) or "none"
    if len(have) == len(context.profile.isolated):
        return Seen(State.OK, wanted, live, where)
    fix = "tickpath rt apply --only cmd.rcu_nocbs, then reboot"
    if without_grub(context):
        fix = f"boot with rcu_nocbs={wanted}, wherever this machine's command line is set"
    if wanted in booted:
        fix = "read in dmesg why the kernel made nothing of rcu_nocbs"
    return Seen(State.DRIFT, wanted, live, where, fix)


ITEMS = (
    AREA.seen(
        "kernel.rt",
        Severity.HIGH,
        "bounds how long kernel code of another task delays a waking real-time one",
        rt_kernel,
    ),
    AREA.setting(
        "cmd.isolcpus",
        Severity.CRITICAL,
        "keeps the load balancer and managed interrupts off the hot CPUs; without flags it means "
        "domain only",
        isolated("isolcpus", "managed_irq,domain,"),
        nothing_isolated,
        without_grub,
        missing_config("CONFIG_CPU_ISOLATION"),
    ),
    AREA.setting(
        "cmd.nohz_full",
        Severity.HIGH,
        "stops the timer tick where one task runs: 100 to 1,000 interruptions a second",
        isolated("nohz_full"),
        nothing_isolated,
        without_grub,
        missing_config("CONFIG_NO_HZ_FULL"),
    ),
    AREA.setting(
        "cmd.rcu_nocbs",
        Severity.HIGH,
        "runs the kernel's deferred frees on housekeeping CPUs",
        isolated("rcu_nocbs"),
        nothing_isolated,
        without_grub,
        missing_config("CONFIG_RCU_NOCB_CPU"),
    ),
    AREA.seen(
        "rcu.offload",
        Severity.MEDIUM,
        "the effect of rcu_nocbs: a thread for each hot CPU takes its callbacks",
        rcu_offload,
        nothing_isolated,
    ),
    AREA.setting(
        "cmd.rcu_nocb_poll",
        Severity.LOW,
        "the hot CPU need not wake the thread that runs its callbacks",
        boot("rcu_nocb_poll"),
        nothing_isolated,
        without_grub,
        under_hypervisor,
        few_housekeepers,
        missing_config("CONFIG_RCU_NOCB_CPU"),
    ),
    AREA.setting(
        "cmd.irqaffinity",
        Severity.HIGH,
        "puts interrupts on housekeeping CPUs before drivers load; an IO-APIC's moves later only "
        "when it fires",
        housekeeping("irqaffinity"),
        nothing_isolated,
        without_grub,
    ),
    AREA.setting(
        "cmd.skew_tick",
        Severity.LOW,
        "the ticks of all CPUs do not meet at one lock",
        boot("skew_tick", "1"),
        without_grub,
    ),
    AREA.setting(
        "cmd.tsc",
        Severity.MEDIUM,
        "ends the clock source watchdog, a timer on every CPU in turn",
        boot("tsc", "reliable"),
        without_grub,
        unsteady_tsc,
    ),
    AREA.setting(
        "cmd.nosoftlockup",
        Severity.LOW,
        "a spinning strategy is no lock-up: no report, and no timer for it",
        boot("nosoftlockup"),
        without_grub,
    ),
    AREA.setting(
        "cmd.mce",
        Severity.LOW,
        "no polling for corrected memory errors on every CPU",
        boot("mce", "ignore_ce"),
        without_grub,
        under_hypervisor,
        missing_config("CONFIG_X86_MCE"),
    ),
    AREA.setting(
        "cmd.cstates",
        Severity.HIGH,
        "leaving a deep idle state costs 10 to 200 µs",
        c_states,
        without_grub,
        under_hypervisor,
    ),
    AREA.setting(
        "cmd.idle_poll",
        Severity.LOW,
        "saves the last microseconds of waking",
        boot("idle", "poll"),
        not_asked_idle_poll,
        without_grub,
        under_hypervisor,
    ),
    AREA.setting(
        "cmd.mitigations",
        Severity.LOW,
        "each system call is cheaper; other tenants' code is less contained",
        boot("mitigations", "off"),
        not_asked_mitigations,
        without_grub,
    ),
    AREA.setting(
        "cmd.psi",
        Severity.LOW,
        "no stall accounting at each task switch",
        boot("psi", "0"),
        without_grub,
        under_hypervisor,
        missing_config("CONFIG_PSI"),
    ),
    AREA.setting(
        "cmd.preempt",
        Severity.MEDIUM,
        "kernel code gives way to a waking task wherever it may",
        boot("preempt", "full"),
        rt_is_wanted,
        without_grub,
        missing_config("CONFIG_PREEMPT_DYNAMIC"),
    ),
    AREA.setting(
        "rcu.normal",
        Severity.MEDIUM,
        "no expedited grace periods, which interrupt every CPU",
        boot("rcupdate.rcu_normal_after_boot", "1"),
        rt_is_wanted,
        without_grub,
    ),
    AREA.setting(
        "rcu.patience",
        Severity.LOW,
        "RCU waits a second before it disturbs a CPU without tick",
        boot("rcutree.nohz_full_patience_delay", "1000"),
        nothing_isolated,
        without_grub,
        no_patience,
    ),
    AREA.seen(
        "boot.promoted",
        Severity.HIGH,
        "a new kernel or command line is booted once, and lasts only when it has proved itself",
        promoted,
    ),
    AREA.seen(
        "cmd.unknown",
        Severity.HIGH,
        "a word that the kernel does not know has no effect, and nobody says so",
        unknown_words,
    ),
    AREA.seen(
        "cmd.duplicates",
        Severity.MEDIUM,
        "of two values for one word the kernel takes one, by rules of the word's own",
        duplicate_words,
    ),
)
