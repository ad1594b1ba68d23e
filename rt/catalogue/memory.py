"""Memory: huge pages, swap, background work of the memory manager.

Source: Documentation/admin-guide/sysctl/vm.rst, Documentation/admin-guide/mm/{transhuge,ksm,
hugetlbpage}.rst.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tickpath.rt.catalogue.declare import (
    Area,
    Seen,
    file,
    missing_file,
    missing_sysctl,
    sysctl,
    sysctl_at_least,
    sysctl_at_most,
)
from tickpath.rt.item import Severity, State
from tickpath.rt.setting import KernelFile

if TYPE_CHECKING:
    from tickpath.rt.item import Context
    from tickpath.rt.setting import Setting

AREA = Area("memory")
TRANSPARENT = "/sys/kernel/mm/transparent_hugepage"
POOL = "/sys/kernel/mm/hugepages/hugepages-2048kB"


def huge_pages(context: Context) -> tuple[Setting, ...]:
    """Want at least the profile's pages; more, which another asked for, are kept."""
    live = context.host.read(f"{POOL}/nr_hugepages") or "0"
    wanted = context.profile.huge_pages_2m
    count = max(wanted, int(live)) if live.isdigit() else wanted
    return (KernelFile(f"{POOL}/nr_hugepages", str(count)),)


def no_huge_pages_asked(context: Context) -> str | None:
    return None if context.profile.huge_pages_2m else "no huge pages are asked for"


def bytes_instead(context: Context) -> str | None:
    """Lack, where the limits are given in bytes: the kernel knows one of both, and forgets it when
    the other is written."""
    for name in ("dirty_bytes", "dirty_background_bytes"):
        if (context.host.read(f"/proc/sys/vm/{name}") or "0") != "0":
            return f"vm.{name} is set instead"
    return None


def one_node(context: Context) -> str | None:
    return None if len(context.topology.nodes) > 1 else "one memory node: nothing to balance"


def swap(context: Context) -> Seen:
    text = context.host.read("/proc/swaps")
    where = ("/proc/swaps",)
    if text is None:
        return Seen(State.UNSUPPORTED, "no swap", "the kernel has none", where)
    devices = [line.split()[0] for line in text.splitlines()[1:] if line.split()]
    if not devices:
        return Seen(State.OK, "no swap", "none", where)
    fix = f"swapoff -a, and take {', '.join(devices)} out of /etc/fstab"
    return Seen(State.DRIFT, "no swap", ", ".join(devices), where, fix)


def huge_pages_near(context: Context) -> Seen:
    desired = "huge pages on the node of the hot CPUs"
    where = ("/sys/devices/system/node/node*/hugepages/hugepages-2048kB/nr_hugepages",)
    nodes = [
        node
        for node, cpus in context.topology.nodes.items()
        if set(cpus) & set(context.profile.isolated)
    ]
    if len(context.topology.nodes) < 2 or not nodes or not context.profile.huge_pages_2m:
        return Seen(State.UNSUPPORTED, "one memory node, or no huge pages asked for", None, where)
    there = {node: context.host.read(where[0].replace("*", str(node), 1)) for node in nodes}
    live = ", ".join(f"node {node}: {count or 'not reported'}" for node, count in there.items())
    if all(count is not None and count.isdigit() and int(count) > 0 for count in there.values()):
        return Seen(State.OK, desired, live, where)
    place = where[0].replace("*", str(nodes[0]), 1)
    fix = f"echo {context.profile.huge_pages_2m} > {place}"
    return Seen(State.DRIFT, desired, live, where, fix)


ITEMS = (
    AREA.setting(
        "mem.huge_pages",
        Severity.HIGH,
        "UMEM and rings in huge pages miss the TLB less and cannot be paged out",
        huge_pages,
        no_huge_pages_asked,
        missing_file(f"{POOL}/nr_hugepages", "no 2 MiB pages here"),
    ),
    AREA.seen(
        "mem.huge_node",
        Severity.MEDIUM,
        "a page of the other node is reached over the link between the sockets",
        huge_pages_near,
    ),
    AREA.setting(
        "mem.thp",
        Severity.MEDIUM,
        "no page is compacted or split under the hot path: stalls of 0.1 to 1 ms",
        file(f"{TRANSPARENT}/enabled", "never"),
        missing_file(f"{TRANSPARENT}/enabled", "no transparent huge pages here"),
    ),
    AREA.setting(
        "mem.thp_defrag",
        Severity.LOW,
        "khugepaged does not compact memory for others",
        file(f"{TRANSPARENT}/khugepaged/defrag", "0"),
        missing_file(f"{TRANSPARENT}/khugepaged/defrag", "no khugepaged here"),
    ),
    AREA.setting(
        "mem.ksm",
        Severity.MEDIUM,
        "no page is merged away behind a write",
        file("/sys/kernel/mm/ksm/run", "0"),
        missing_file("/sys/kernel/mm/ksm/run", "no page merging here"),
    ),
    AREA.seen("mem.swap", Severity.HIGH, "a page that was swapped out costs milliseconds", swap),
    AREA.setting(
        "vm.swappiness",
        Severity.LOW,
        "page cache is dropped before pages of processes",
        sysctl_at_most("vm.swappiness", 10),
        missing_sysctl("vm.swappiness"),
    ),
    AREA.setting(
        "vm.stat_interval",
        Severity.MEDIUM,
        "the worker that folds memory statistics wakes on every CPU, hot ones too",
        sysctl_at_least("vm.stat_interval", 10),
        missing_sysctl("vm.stat_interval"),
    ),
    AREA.setting(
        "vm.dirty_ratio",
        Severity.LOW,
        "writers are stopped before a great burst has gathered",
        sysctl_at_most("vm.dirty_ratio", 10),
        missing_sysctl("vm.dirty_ratio"),
        bytes_instead,
    ),
    AREA.setting(
        "vm.dirty_background_ratio",
        Severity.LOW,
        "writing back begins early, in small bursts",
        sysctl_at_most("vm.dirty_background_ratio", 3),
        missing_sysctl("vm.dirty_background_ratio"),
        bytes_instead,
    ),
    AREA.setting(
        "vm.compaction_proactiveness",
        Severity.MEDIUM,
        "kcompactd does not move pages ahead of need",
        sysctl("vm.compaction_proactiveness", "0"),
        missing_sysctl("vm.compaction_proactiveness"),
    ),
    AREA.setting(
        "kernel.numa_balancing",
        Severity.HIGH,
        "pages are not unmapped to learn who uses them: page faults and interruptions",
        sysctl("kernel.numa_balancing", "0"),
        missing_sysctl("kernel.numa_balancing"),
        one_node,
    ),
    AREA.setting(
        "vm.zone_reclaim_mode",
        Severity.LOW,
        "a full node borrows from the other one, and does not reclaim under an allocation",
        sysctl("vm.zone_reclaim_mode", "0"),
        missing_sysctl("vm.zone_reclaim_mode"),
    ),
)
