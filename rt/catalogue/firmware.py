"""Firmware and hypervisor: what no setting of the kernel can mend, seen and reported.

Source: Intel SDM vol. 4 (MSR_SMI_COUNT), Documentation/admin-guide/hw-vuln, proc_stat(5).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tickpath.rt.catalogue.declare import (
    Area,
    Seen,
    file,
    missing_file,
    not_counted,
    under_hypervisor,
)
from tickpath.rt.item import Severity, State
from tickpath.rt.topology import CPU_FOLDER, cpu_flags

if TYPE_CHECKING:
    from tickpath.rt.item import Context

AREA = Area("firmware")
ASPM = "/sys/module/pcie_aspm/parameters/policy"
STEAL_SHARE_MAX = 0.001
STEADY = ("constant_tsc", "nonstop_tsc")


def smi(context: Context) -> Seen:
    where = ("/dev/cpu/*/msr, MSR_SMI_COUNT over a window",)
    if context.deltas is None or not context.deltas.smi:
        reason = "not counted here: it needs root, an Intel CPU and modprobe msr"
        return Seen(State.UNSUPPORTED, reason, None, where)
    count = max(context.deltas.smi.values())
    if count == 0:
        return Seen(State.OK, "none", "none", where)
    live = f"{count} in {context.deltas.seconds:.1f} s"
    fix = "in the firmware setup: power capping, USB legacy support, memory scrubbing off"
    return Seen(State.DRIFT, "none", live, where, fix)


def steal(context: Context) -> Seen:
    where = ("/proc/stat, steal over a window",)
    desired = f"at most {STEAL_SHARE_MAX:.1%}"
    if context.deltas is None or context.topology.hypervisor is None:
        return Seen(State.UNSUPPORTED, "no hypervisor that could take time", None, where)
    share = context.deltas.steal_share
    live = f"{share:.1%}"
    if share <= STEAL_SHARE_MAX:
        return Seen(State.OK, desired, live, where)
    return Seen(State.DRIFT, desired, live, where, "a dedicated host, or an instance without burst")


def tsc_marks(context: Context) -> Seen:
    where = ("dmesg",)
    desired = "never marked unstable"
    log = context.host.run(("dmesg",)).stdout
    if "Marking TSC unstable" in log or "TSC: unstable" in log:
        fix = "update the firmware; until then do not boot with tsc=reliable"
        return Seen(State.DRIFT, desired, "marked unstable", where, fix)
    if "Linux version " not in log:
        return Seen(State.UNKNOWN, desired, "the log's beginning is not readable", where)
    return Seen(State.OK, desired, "never", where)


def steady_tsc(context: Context) -> Seen:
    where = ("/proc/cpuinfo",)
    desired = ", ".join(STEADY)
    flags = cpu_flags(context.host)
    if not flags:
        return Seen(State.UNSUPPORTED, "not x86", None, where)
    lacking = [flag for flag in STEADY if flag not in flags]
    if not lacking:
        return Seen(State.OK, desired, "both", where)
    live = f"without {', '.join(lacking)}"
    fix = "a CPU (or an instance type) with an invariant time stamp counter"
    return Seen(State.DRIFT, desired, live, where, fix)


def throttled(context: Context) -> Seen:
    desired = "never since the boot"
    pattern = f"{CPU_FOLDER}/cpu*/thermal_throttle/*_throttle_count"
    counts = {path: context.host.read(path) or "" for path in context.host.glob(pattern)}
    numbers = [int(text) for text in counts.values() if text.isdigit()]
    if not numbers:
        return Seen(State.UNSUPPORTED, "this CPU does not count it", None, (pattern,))
    if max(numbers) == 0:
        return Seen(State.OK, desired, "never", (pattern,))
    fix = "look after cooling, and the power limits in the firmware setup"
    return Seen(State.DRIFT, desired, f"up to {max(numbers)} times a CPU", (pattern,), fix)


ITEMS = (
    AREA.seen(
        "fw.smi",
        Severity.HIGH,
        "the firmware stops all CPUs for 10 to 500 µs, and no setting of the kernel helps",
        smi,
        not_counted,
    ),
    AREA.seen(
        "fw.steal",
        Severity.HIGH,
        "time that the hypervisor gave to another machine",
        steal,
        not_counted,
    ),
    AREA.seen(
        "fw.tsc_steady",
        Severity.MEDIUM,
        "stamps of two CPUs and two moments are comparable",
        steady_tsc,
    ),
    AREA.seen(
        "fw.tsc_marked",
        Severity.MEDIUM,
        "the kernel once saw the counter jump, and fell back to a slower clock",
        tsc_marks,
    ),
    AREA.seen(
        "fw.thermal",
        Severity.MEDIUM,
        "a CPU that was too hot ran slower than its clock says",
        throttled,
    ),
    AREA.setting(
        "fw.pcie_aspm",
        Severity.MEDIUM,
        "the link to the NIC does not sleep between packets",
        file(ASPM, "performance"),
        under_hypervisor,
        missing_file(ASPM, "no link power saving here"),
    ),
)
