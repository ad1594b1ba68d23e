"""Checks of the kernel, the CPUs and the memory. Called by: command. Calls: rt.limits."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from tickpath.engine.doctor.finding import Finding, Host, State
from tickpath.rt import limits

if TYPE_CHECKING:
    from collections.abc import Iterator

XDP_LINK_SINCE = (5, 9)  # an XDP program that dies with its process
XDP_FRAGS_SINCE = (5, 18)  # XDP on frames larger than a page
FAIR_SERVER_SINCE = (6, 12)
SPINNING_CPUS = 3  # feed handler, strategy, and one for the rest
SHM_BYTES_MIN = 256 << 20  # a feed of 1,000 instruments with room to spare


def check(host: Host) -> Iterator[Finding]:
    """Yield the findings of this file, the most decisive first."""
    yield kernel_version(host)
    yield preemption(host)
    yield cpus(host)
    yield isolation(host)
    yield clocksource(host)
    yield governor(host)
    yield real_time_throttling(host)
    yield fair_server(host)
    yield transparent_hugepages(host)
    yield hugepages(host)
    yield shared_memory(host)


def release(host: Host) -> tuple[int, int]:
    """Return major and minor of the kernel's version; (0, 0) where it cannot be read."""
    match = re.match(r"(\d+)\.(\d+)", host.text("proc/sys/kernel/osrelease") or "")
    return (int(match[1]), int(match[2])) if match else (0, 0)


def kernel_version(host: Host) -> Finding:
    version = release(host)
    state, remedy = State.OK, ""
    if version < XDP_LINK_SINCE:
        state, remedy = State.FAIL, "use Linux 5.18 or newer (Debian 12 has 6.1)"
    elif version < XDP_FRAGS_SINCE:
        state, remedy = State.WARN, "use Linux 5.18 or newer, or keep the interface's MTU at 1500"
    return Finding(
        "kernel",
        state,
        host.text("proc/sys/kernel/osrelease") or "not readable",
        "/proc/sys/kernel/osrelease",
        "XDP programs that die with their process need 5.9; large frames need 5.18",
        remedy,
    )


def preemption(host: Host) -> Finding:
    version = host.text("proc/sys/kernel/version") or ""
    model = next((word for word in version.split() if word.startswith("PREEMPT")), "no PREEMPT")
    dynamic = host.text("sys/kernel/debug/sched/preempt") or ""
    chosen = re.search(r"\((\w+)\)", dynamic)
    state, remedy = State.OK, ""
    if model == "PREEMPT_RT" and host.text("proc/sys/net/core/busy_poll") is None:
        state = State.WARN
        remedy = (
            "for preferred busy polling use PREEMPT_RT of Linux 6.5 or newer without netconsole"
        )
    elif chosen and chosen[1] in {"none", "voluntary"}:
        state, remedy = State.WARN, "echo full > /sys/kernel/debug/sched/preempt"
    return Finding(
        "preemption",
        state,
        f"{model}, {chosen[1]}" if chosen else model,
        "/proc/sys/kernel/version, /sys/kernel/debug/sched/preempt",
        "decides how long a system call of another task can delay a waking real-time one",
        remedy,
    )


def cpus(host: Host) -> Finding:
    enough = len(host.cpus) >= SPINNING_CPUS
    return Finding(
        "CPUs",
        State.OK if enough else State.WARN,
        f"{len(host.cpus)} usable: {limits.format_cpu_list(host.cpus)}",
        "sched_getaffinity(2)",
        "feed handler and strategy each spin on a CPU of their own; the rest needs one too",
        "" if enough else f"give {SPINNING_CPUS} CPUs or more; until then some share and yield",
    )


def isolation(host: Host) -> Finding:
    isolated = limits.isolated_cpus(host.root)
    few = len(host.cpus) < SPINNING_CPUS
    remedy = "boot with isolcpus=managed_irq,domain,LIST nohz_full=LIST for the spinning CPUs"
    return Finding(
        "isolated CPUs",
        State.OK if isolated else State.WARN,
        limits.format_cpu_list(isolated) or "none",
        "/sys/devices/system/cpu/isolated",
        "the scheduler puts other tasks on a CPU that is not isolated, between two packets",
        "" if isolated else f"with {SPINNING_CPUS} CPUs or more, {remedy}" if few else remedy,
    )


def clocksource(host: Host) -> Finding:
    name = "sys/devices/system/clocksource/clocksource0/current_clocksource"
    current = host.text(name)
    steady = {"constant_tsc", "nonstop_tsc"} <= cpu_flags(host)
    state = State.UNKNOWN if current is None else State.OK if current == "tsc" else State.WARN
    return Finding(
        "clock source",
        state,
        f"{current or 'not readable'}{', constant and nonstop' if steady else ''}",
        f"/{name}, /proc/cpuinfo",
        "stamps come from the time stamp counter; any other source is slow",
        ""
        if state is State.OK
        else "find in dmesg why tsc was refused; on a steady CPU boot with tsc=reliable",
    )


def cpu_flags(host: Host) -> frozenset[str]:
    """Return the flags of the first CPU; empty where the architecture has none."""
    for line in (host.text("proc/cpuinfo") or "").splitlines():
        if line.startswith(("flags", "Features")):
            return frozenset(line.partition(":")[2].split())
    return frozenset()


def governor(host: Host) -> Finding:
    places = sorted((host.root / "sys/devices/system/cpu/cpufreq").glob("policy*/scaling_governor"))
    governors = sorted({place.read_text().strip() for place in places})
    if not governors:
        state, read, remedy = State.UNKNOWN, "no frequency control here (usual in a VM)", ""
    elif governors == ["performance"]:
        state, read, remedy = State.OK, "performance", ""
    else:
        state, read = State.WARN, ", ".join(governors)
        remedy = "for f in /sys/devices/system/cpu/cpufreq/policy*/scaling_governor; do "
        remedy += "echo performance > $f; done"
    return Finding(
        "frequency governor",
        state,
        read,
        "/sys/devices/system/cpu/cpufreq/policy*/scaling_governor",
        "a CPU that ramps up answers the first packet after a quiet moment late",
        remedy,
    )


def real_time_throttling(host: Host) -> Finding:
    throttling = limits.read_throttling((), host.root)
    said = limits.describe_throttling(throttling)
    lost_ms = throttling.rt_lost_us_per_s / 1000
    runtime = throttling.rt_runtime_us
    state = State.UNKNOWN if runtime is None else State.WARN if said else State.OK
    return Finding(
        "real-time throttling",
        state,
        "not readable" if runtime is None else f"{lost_ms:g} ms lost a second ({runtime} µs)",
        "/proc/sys/kernel/sched_rt_runtime_us",
        "a spinning real-time task is stopped for that long, packets or not",
        "sysctl -w kernel.sched_rt_runtime_us=-1 (a task that spins on every CPU then hangs all)"
        if said
        else "",
    )


def fair_server(host: Host) -> Finding:
    throttling = limits.read_throttling(host.cpus, host.root)
    said = limits.describe_throttling(limits.Throttling(None, None, throttling.fair_server_ns))
    if release(host) < FAIR_SERVER_SINCE:
        state, read, remedy = State.OK, "this kernel has none", ""
    elif not throttling.fair_server_ns:
        state, read = State.UNKNOWN, "not readable"
        remedy = "as root: mount -t debugfs none /sys/kernel/debug, then run doctor again"
    elif said is None:
        state, read, remedy = State.OK, "off", ""
    else:
        worst_ms = max(throttling.fair_server_ns.values()) / 1e6
        state, read = State.WARN, f"up to {worst_ms:g} ms a second on CPU "
        read += limits.format_cpu_list(throttling.fair_server_cpus)
        remedy = said.partition("to end it: ")[2]
    return Finding(
        "fair server",
        state,
        read,
        "/sys/kernel/debug/sched/fair_server/cpu*/runtime",
        "it takes that time from a real-time task where an ordinary task waits for the same CPU",
        remedy,
    )


def transparent_hugepages(host: Host) -> Finding:
    name = "sys/kernel/mm/transparent_hugepage/enabled"
    text = host.text(name)
    chosen = re.search(r"\[(\w+)\]", text or "")
    always = bool(chosen) and "[always]" in (text or "")
    return Finding(
        "transparent huge pages",
        State.UNKNOWN if chosen is None else State.WARN if always else State.OK,
        chosen[1] if chosen else "not readable",
        f"/{name}",
        "with `always` the kernel rearranges memory when it likes, 0.1 to 1 ms long",
        f"echo madvise > /{name}" if always else "",
    )


def hugepages(host: Host) -> Finding:
    name = "sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages"
    free = limits.read_integer(host.root, name)
    state = State.UNKNOWN if free is None else State.OK
    return Finding(
        "huge pages",
        state,
        "not readable" if free is None else f"{free} free of 2 MiB",
        f"/{name}",
        "rings and frames of many instruments on huge pages miss the TLB less; not required",
        "optional: sysctl -w vm.nr_hugepages=64" if free == 0 else "",
    )


def shared_memory(host: Host) -> Finding:
    place = host.root / "dev" / "shm"
    try:
        stat = os.statvfs(place)
    except OSError as error:
        return Finding(
            "shared memory",
            State.FAIL,
            f"{error.strerror}",
            f"{place}",
            "books and events are published there",
            "mount -t tmpfs tmpfs /dev/shm",
        )
    free = stat.f_bavail * stat.f_frsize
    enough = free >= SHM_BYTES_MIN
    return Finding(
        "shared memory",
        State.OK if enough else State.WARN,
        f"{free >> 20} MiB free",
        "statvfs(/dev/shm)",
        f"books and events are published there; {SHM_BYTES_MIN >> 20} MiB hold 1,000 instruments",
        "" if enough else "mount -o remount,size=1G /dev/shm (docker: --shm-size=1g)",
    )
