"""Why nothing may be written: found before the first write, told with value and remedy.

Called by: plan. Calls: grub, rt.limits, plan_files, rt.catalogue.scheduler (which kernels stall).
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from tickpath.rt.catalogue.scheduler import stalls
from tickpath.rt.command_line import ISOLATION_WORDS, in_force, parse_word
from tickpath.rt.errors import HostError, RequestError
from tickpath.rt.limits import format_cpu_list, parse_cpu_list
from tickpath.rt.reading import same_parameter
from tickpath.rt.setting import BootParameter, DropIn, Ethtool, KernelFile, Sysctl
from tickpath.rt.tuning import grub
from tickpath.rt.tuning.plan_boot import words_of_others
from tickpath.rt.tuning.plan_files import malformed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tickpath.rt.host import Host
    from tickpath.rt.item import Context
    from tickpath.rt.topology import Topology
    from tickpath.rt.tuning.plan import Options
    from tickpath.rt.tuning.plan_step import Step, Wanted

ISOLATING = frozenset({"isolcpus", "nohz_full", "rcu_nocbs"})
HOUSEKEEPING = frozenset({"irqaffinity"})
HUGE_PAGES = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
HUGE_PAGE_KIB = 2048
WORKQUEUE_FILES = ("/workqueue/", "/cpuset.cpus.partition")

Refusal = RequestError | HostError


def find_refusals(
    context: Context, wanted: Sequence[Wanted], steps: Sequence[Step], options: Options
) -> Iterator[Refusal]:
    """Yield each reason; what was asked for comes first, what the host lacks second."""
    yield from refuse_settings(wanted)
    yield from refuse_memory(context.host, wanted)
    yield from refuse_cpus(context, wanted)
    yield from refuse_dropped_words(context.host, wanted)
    yield from refuse_interfaces(context, wanted, steps, options.allow_ssh_nic)
    yield from refuse_stall(context.topology, steps)
    yield from refuse_places(context.host, steps)
    yield from refuse_boot(context, steps, options.rt_kernel_later)


def refuse_settings(wanted: Sequence[Wanted]) -> Iterator[Refusal]:
    """Refuse names and values that are none, files of others, and items at odds."""
    asked: dict[str, tuple[str, str]] = {}
    for each in wanted:
        match each.setting:
            case Sysctl() | KernelFile() as setting:
                if (why := malformed(setting)) is not None:
                    yield RequestError(f"{each.item}: {why}")
                before = asked.setdefault(setting.path, (setting.value, each.item))
                if before[0] != setting.value:
                    yield RequestError(
                        f"{before[1]} wants {before[0]!r} in {setting.path}, {each.item} wants "
                        f"{setting.value!r}: choose one with --only"
                    )
            case DropIn(path=path):
                if "tickpath" not in path or ".." in path or not path.startswith("/etc/"):
                    yield RequestError(
                        f"{each.item}: {path} is not a file of ours: expected a name below /etc "
                        'with "tickpath" in it'
                    )
            case _:
                pass


def refuse_memory(host: Host, wanted: Sequence[Wanted]) -> Iterator[Refusal]:
    """Refuse huge pages that would leave nothing, at this boot and at each later one."""
    total = re.search(r"^MemTotal:\s+(\d+) kB", host.read("/proc/meminfo") or "", re.MULTILINE)
    for each in wanted:
        setting = each.setting
        if total is None or not isinstance(setting, KernelFile) or setting.path != HUGE_PAGES:
            continue
        asked_kib, total_kib = int(setting.value) * HUGE_PAGE_KIB, int(total[1])
        if asked_kib >= total_kib:
            yield RequestError(
                f"{setting.value} huge pages of 2 MiB: this machine has {total_kib >> 10} MiB; "
                f"expected fewer than {total_kib // HUGE_PAGE_KIB} (--huge-pages)"
            )


def refuse_cpus(context: Context, wanted: Sequence[Wanted]) -> Iterator[Refusal]:
    """Refuse lists that are none, CPUs that are not there, and to isolate CPU 0 or all CPUs."""
    present = set(context.topology.cpus)
    for each in wanted:
        setting = each.setting
        if not isinstance(setting, BootParameter) or setting.name not in ISOLATING | HOUSEKEEPING:
            continue
        pieces = (setting.value or "").split(",")
        flags = {"managed_irq", "domain", "nohz"} if setting.name == "isolcpus" else set[str]()
        try:
            cpus = set(parse_cpu_list(",".join(one for one in pieces if one not in flags)))
        except ValueError as error:
            yield RequestError(f"{setting.word}: {error}")
            continue
        absent = cpus - present
        if not cpus or absent:
            what = f"CPU {format_cpu_list(absent)} is not online" if absent else "no CPU is named"
            yield RequestError(
                f"{setting.word}: {what}; this machine has {format_cpu_list(present)}"
            )
        elif setting.name in ISOLATING and cpus >= present:
            yield RequestError(
                f"{setting.word}: these are all CPUs of this machine; leave at least CPU 0 to the "
                "kernel, sshd and interrupts"
            )
        elif setting.name in ISOLATING and 0 in cpus:
            yield RequestError(
                f"{setting.word}: CPU 0 stays with the kernel, which keeps house there; choose "
                "others"
            )


def refuse_dropped_words(host: Host, wanted: Sequence[Wanted]) -> Iterator[Refusal]:
    """Refuse a list that the kernel would drop for another that stands before it on the line."""
    others = words_of_others(host)
    kept = [word for word in others if isolates(word)]
    if not kept:
        return
    ours = [each.setting for each in wanted if isinstance(each.setting, BootParameter)]
    line = (*(parse_word(word) for word in others), *ours)
    for setting in ours:
        if setting.name not in ISOLATION_WORDS:
            continue
        found = in_force(setting.name, line)
        if found is not None and same_parameter(setting, found.word):
            continue
        yield RequestError(
            f"{setting.word}: {' '.join(kept)} comes before it on the command line, and the kernel "
            f"keeps the first list: remove that from {where_written(host, kept)}, or ask for the "
            "same CPUs with --isolated"
        )


def isolates(word: str) -> bool:
    return parse_word(word).name.replace("-", "_") in ISOLATION_WORDS


def where_written(host: Host, words: Sequence[str]) -> str:
    """Name the files of GRUB's settings that have one of the words."""
    names = ("/etc/default/grub", *host.glob("/etc/default/grub.d/*.cfg"))
    found = [
        name
        for name in names
        if name != grub.DROP_IN and any(word in (host.read(name) or "") for word in words)
    ]
    return ", ".join(found) or "GRUB's settings (/etc/default/grub)"


def refuse_interfaces(
    context: Context, wanted: Sequence[Wanted], steps: Sequence[Step], allow_ssh_nic: bool
) -> Iterator[Refusal]:
    """Refuse interfaces that are not there, and to cut off the one ssh came in over."""
    asked = {each.setting.interface for each in wanted if isinstance(each.setting, Ethtool)}
    for name in sorted(asked):
        if not context.host.exists(f"/sys/class/net/{name}"):
            known = ", ".join(nic.name for nic in context.topology.nics) or "none"
            yield RequestError(f"network interface {name!r} is not there: this machine has {known}")
    written = {step.setting.interface for step in steps if isinstance(step.setting, Ethtool)}
    for nic in context.topology.nics:
        if nic.carries_ssh and nic.name in written and not allow_ssh_nic:
            yield RequestError(
                f"this host is reached by ssh over {nic.name}, and ethtool may reset that link: "
                "choose another interface with --nic, or give --allow-ssh-nic"
            )


def refuse_stall(topology: Topology, steps: Sequence[Step]) -> Iterator[Refusal]:
    """Refuse to move workqueues where the kernel may stall over it."""
    if not stalls(topology.version):
        return
    for step in steps:
        if step.kind == "kernel" and any(part in step.target for part in WORKQUEUE_FILES):
            release = ".".join(str(number) for number in topology.version)
            yield HostError(
                f"{step.target}: Linux {release} can stall when workqueues move to other CPUs; "
                "take 6.12.82, 6.18.23, 6.19.13, 7.0 or newer, or leave it out with --only"
            )


def refuse_places(host: Host, steps: Sequence[Step]) -> Iterator[Refusal]:
    """Refuse read-only file systems and links in the place of files of ours."""
    told: set[str] = set()
    for step in steps:
        if step.kind in {"run", "unit", "ethtool"}:
            continue
        path = host.path(step.target)
        if step.kind in {"file", "grub-config"} and (path.is_symlink() or path.is_dir()):
            yield HostError(f"{step.target} is a link or a folder: expected a file, or none")
        while not path.exists():
            path = path.parent
        top = "/".join(step.target.split("/")[: 3 if step.target.startswith("/proc/") else 2])
        if top not in told and os.statvfs(path).f_flag & os.ST_RDONLY:
            told.add(top)
            yield HostError(
                f"{top} is read-only here (a container?), so {step.target} cannot be written: "
                "run on the host itself, or mount it writable"
            )


def refuse_boot(
    context: Context, steps: Sequence[Step], rt_kernel_later: bool
) -> Iterator[Refusal]:
    """Refuse a trial that could not be made, or that could not fall back."""
    if not any(step.kind in {"grub-config", "grub-next"} for step in steps):
        return
    for text in grub.refusals(context.host):
        yield HostError(text)
    if context.profile.wants_rt_kernel and not context.topology.is_rt and not rt_kernel_later:
        why = grub.rt_kernel_refusal(context.host)
        if why is not None:
            yield HostError(why)


def refuse_user(euid: int) -> HostError | None:
    """Refuse whoever is not root. Only apply and revert ask: a plan needs no rights."""
    if euid == 0:
        return None
    return HostError(f"user {euid} may not write the host's settings: run as root (sudo)")
