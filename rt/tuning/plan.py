"""What apply would do, step by step and in order: pure reading, no write.

Order: noisy services stop first, then values of the kernel, then the NIC (channels before all else
of it, since changing them resets the rest), then interrupts and queues; then the files that keep
all this; units of ours; last the boot loader. Called by: plan_command, apply. Calls:
rt.reading, plan_files, plan_boot, plan_refusals, journal (what apply learnt before).
"""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tickpath.rt.persisted import read_persisted
from tickpath.rt.reading import exists, is_live, read_live, same
from tickpath.rt.setting import BootParameter, DropIn, Ethtool, KernelFile, Sysctl, UnitState
from tickpath.rt.tuning import grub, plan_files
from tickpath.rt.tuning.plan_boot import boot_steps, reboot_is_due
from tickpath.rt.tuning.plan_refusals import find_refusals
from tickpath.rt.tuning.plan_step import Skipped, Step, Wanted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tickpath.rt.errors import HostError, RequestError
    from tickpath.rt.host import Host
    from tickpath.rt.item import Context, Item
    from tickpath.rt.setting import Setting
    from tickpath.rt.tuning.journal import Log

ETHTOOL_ORDER = "LGACK"  # channels first: changing them resets the others
INSTALLED_BUNDLE = "/opt/tickpath/tickpath-rt.pyz"
SYSTEMD_RUNS = "/run/systemd/system"
NIC_ROOMS = ("/sys/class/net/", "/proc/irq/")


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in order; what is skipped and why; why nothing may be written at all."""

    steps: tuple[Step, ...]
    skipped: tuple[Skipped, ...]
    refusals: tuple[RequestError | HostError, ...] = ()
    reboot_is_due: bool = False  # for what was written before

    @property
    def reboot_required(self) -> bool:
        return self.reboot_is_due or any(step.effect == "reboot" for step in self.steps)


@dataclass(frozen=True, slots=True)
class Options:
    """How to plan. partial: leave what our files say of other items (--only). rt_kernel_later: the
    RT kernel is installed between this plan and its application."""

    partial: bool = False
    allow_ssh_nic: bool = False
    rt_kernel_later: bool = False


def collect(context: Context, items: Iterable[Item]) -> tuple[Wanted, ...]:
    """Ask the catalogue what this profile wants on this machine."""
    return tuple(
        Wanted(item.id, setting)
        for item in items
        if item.settings is not None
        for setting in item.settings(context)
    )


def make_plan(
    context: Context, wanted: Sequence[Wanted], log: Log, options: Options = Options()
) -> Plan:
    """Plan from what the host says now. log: the journal, which tells what the kernel refused."""
    skipped: list[Skipped] = []
    usable = [each for each in unique(wanted) if usable_here(context.host, each, skipped)]
    steps = [
        *live_steps(context, usable, log, skipped),
        *file_steps(context, usable, options),
    ]
    has_systemd = context.host.exists(SYSTEMD_RUNS)
    asked = [entry.reload for entry in log.waiting_for_reload(context.topology.boot_id)]
    asked += [step.reload for step in steps if step.reload]
    reloads = plan_files.reload_commands(asked)
    steps += [
        Step("run", shlex.join(argv), None, "", "", reload=argv)
        for argv in reloads
        if has_systemd or argv[0] != "systemctl"
    ]
    steps += unit_steps(context.host, usable, "enabled")
    steps += boot_steps(context, wanted, options.partial)
    refusals = find_refusals(context, wanted, steps, options)
    skipped += overridden(context.host, usable, steps)
    if context.profile.wants_rt_kernel and not context.host.exists(grub.CONFIG):
        skipped.append(
            Skipped("kernel.rt", "the kernel", f"no {grub.CONFIG}: it is chosen from outside")
        )
    return Plan(tuple(steps), tuple(skipped), tuple(refusals), reboot_is_due(context))


def unique(wanted: Sequence[Wanted]) -> tuple[Wanted, ...]:
    """Drop settings that an earlier item asked for in the same words."""
    first: dict[Setting, Wanted] = {}
    for each in wanted:
        first.setdefault(each.setting, each)
    return tuple(first.values())


def name_of(setting: Setting) -> str:
    match setting:
        case BootParameter():
            return setting.word
        case Sysctl() | KernelFile() | DropIn():
            return setting.path
        case Ethtool():
            return f"{setting.interface} {setting.group} {setting.name}"
        case UnitState():
            return setting.unit


def usable_here(host: Host, wanted: Wanted, skipped: list[Skipped]) -> bool:
    """Tell whether a setting can be written, and put back, on this host; note why not."""
    why: str | None = None
    match wanted.setting:
        case Sysctl() | KernelFile() as setting:
            why = kernel_lacks(host, setting)
        case Ethtool() as setting:
            there = host.exists(f"/sys/class/net/{setting.interface}")
            # A NIC that is not there is refused, not skipped.
            if there and read_live(host, setting) is None:
                why = "the driver does not report it, or ethtool is not installed"
        case UnitState() as setting:
            why = systemd_lacks(host, setting)
        case BootParameter() | DropIn():
            pass
    if why is not None:
        skipped.append(Skipped(wanted.item, name_of(wanted.setting), why))
    return why is None


def kernel_lacks(host: Host, setting: Sysctl | KernelFile) -> str | None:
    if not exists(host, setting):
        return "this kernel does not have it"
    if host.read(setting.path) is None:
        return "it cannot be read, and so could not be put back"
    if not writable(host, setting.path):
        return "not even root may write it here (a container without the host's rights)"
    return excluded(host, setting)


def systemd_lacks(host: Host, setting: UnitState) -> str | None:
    if not host.exists(SYSTEMD_RUNS):
        return "systemd does not run here"
    if setting.state == "enabled":
        return None
    if not exists(host, setting):
        return "there is no such unit"
    if own_unit_file(host, setting.unit):
        return f"/etc/systemd/system/{setting.unit} is a file, which cannot be masked"
    return None


def writable(host: Host, name: str) -> bool:
    """Tell whether root may write a kernel file. A read-only file system is refused elsewhere, and
    whoever only plans need not be root."""
    path = host.path(name)
    if os.geteuid() != 0 or os.statvfs(path).f_flag & os.ST_RDONLY:
        return True
    return os.access(path, os.W_OK)


def excluded(host: Host, setting: Sysctl | KernelFile) -> str | None:
    """The kernel forgets vm.dirty_bytes when the ratio is set, and cannot take 0 for it back."""
    if not isinstance(setting, Sysctl) or not setting.name.startswith("vm.dirty"):
        return None
    other = setting.path.replace("_ratio", "_bytes")
    value = host.read(other)
    if setting.name.endswith("_ratio") and value not in {None, "0"}:
        return f"{other} is {value}, which excludes it: clear that where it is set"
    return None


def own_unit_file(host: Host, unit: str) -> bool:
    path = host.path(f"/etc/systemd/system/{unit}")
    return path.is_file() and not path.is_symlink()


def live_steps(
    context: Context, wanted: Sequence[Wanted], log: Log, skipped: list[Skipped]
) -> list[Step]:
    """Plan what takes effect at once, in its order."""
    host = context.host
    steps = unit_steps(host, wanted, "masked")
    for each in sorted(wanted, key=live_order):
        setting = each.setting
        if not isinstance(setting, Sysctl | KernelFile | Ethtool) or is_live(host, setting):
            continue
        step = Step(
            kind="ethtool" if isinstance(setting, Ethtool) else "kernel",
            target=name_of(setting),
            before=read_live(host, setting),
            after=setting.value,
            item=each.item,
            persisted_in=plan_files.persisted_in(setting),
            setting=setting,
        )
        kept = kept_by_kernel(log, step, context.topology.boot_id)
        if kept is None:
            steps.append(step)
        else:
            skipped.append(Skipped(each.item, step.target, kept))
    return steps


def live_order(wanted: Wanted) -> tuple[int, int]:
    match wanted.setting:
        case Sysctl():
            return (0, 0)
        case KernelFile(path=path):
            return (3, 0) if path.startswith(NIC_ROOMS) else (1, 0)
        case Ethtool(group=group):
            return (2, ETHTOOL_ORDER.index(group))
        case _:
            return (4, 0)


def kept_by_kernel(log: Log, step: Step, boot_id: str) -> str | None:
    """Tell whether the same write was tried in this boot, and the kernel kept what is read now."""
    for entry in reversed(log.open_entries):
        if (entry.kind, entry.target, entry.boot) == (step.kind, step.target, boot_id):
            asked = entry.wrote if isinstance(entry.wrote, str) else None
            if asked == step.after and entry.reads is not None and entry.reads == step.before:
                return f"{asked!r} was written before, and {entry.reads!r} is what the kernel keeps"
            return None
    return None


def unit_steps(
    host: Host, wanted: Sequence[Wanted], state: Literal["masked", "enabled"]
) -> list[Step]:
    return [
        Step(
            kind="unit",
            target=each.setting.unit,
            before=read_live(host, each.setting),
            after=state,
            item=each.item,
            persisted_in="/etc/systemd/system",
            setting=each.setting,
        )
        for each in wanted
        if isinstance(each.setting, UnitState)
        and each.setting.state == state
        and not is_live(host, each.setting)
    ]


def file_steps(context: Context, wanted: Sequence[Wanted], options: Options) -> list[Step]:
    """Plan the files that keep what is set, and those that are settings themselves."""
    host = context.host
    files = [
        Step(
            "file",
            each.setting.path,
            None,
            each.setting.text,
            each.item,
            persisted_in=each.setting.path,
            reload=each.setting.reload,
        )
        for each in wanted
        if isinstance(each.setting, DropIn)
    ]
    files += persisting_files(context, wanted, options.partial)
    steps = [changed for step in files if (changed := if_changed(host, step)) is not None]
    service = host.link(plan_files.SERVICE_LINK) is None and any(
        step.target == plan_files.SERVICE_FILE for step in files
    )
    if service:
        steps.append(
            Step(
                "link",
                plan_files.SERVICE_LINK,
                None,
                plan_files.SERVICE_FILE,
                "",
                reload=plan_files.DAEMON_RELOAD,
            )
        )
    return steps


def if_changed(host: Host, step: Step) -> Step | None:
    """Complete a file's step by what is there; None where that is what is wanted."""
    data = host.read_bytes(step.target)
    if data is None:
        return step
    if data == step.after.encode():
        return None
    return replace(step, before=data.decode(errors="replace"))


def persisting_files(context: Context, wanted: Sequence[Wanted], partial: bool) -> list[Step]:
    """Write what keeps values over a reboot, together with what an earlier apply put there."""
    host = context.host
    kept: dict[str, list[Wanted]] = {}
    for each in sorted(wanted, key=live_order):
        if isinstance(each.setting, Sysctl | KernelFile | Ethtool):
            kept.setdefault(plan_files.persisted_in(each.setting), []).append(each)
    steps: list[Step] = []
    for path, parse, render in (
        (plan_files.SYSCTL_FILE, plan_files.parse_sysctl, plan_files.format_sysctl),
        (plan_files.TMPFILES_FILE, plan_files.parse_tmpfiles, plan_files.format_tmpfiles),
    ):
        there = host.read(path)
        values = parse(there) if there is not None and partial else {}
        for each in kept.get(path, ()):
            if isinstance(each.setting, Sysctl | KernelFile):
                named = each.setting.name if isinstance(each.setting, Sysctl) else each.setting.path
                values[named] = each.setting.value
        if values or (there is not None and not partial):
            steps.append(file_step(path, render(values), kept.get(path, ())))
    return steps + boot_list_steps(host, kept.get(plan_files.BOOT_LIST, ()), partial)


def boot_list_steps(host: Host, kept: Sequence[Wanted], partial: bool) -> list[Step]:
    """Write the list of the boot service and the service itself, where one of them is needed."""
    there = host.read(plan_files.BOOT_LIST)
    settings: dict[str, plan_files.BootSetting] = {}
    if there is not None and partial:
        try:
            before, _ = plan_files.parse_boot_list(host, there)
            settings = {plan_files.boot_key(setting): setting for setting in before}
        except ValueError:
            settings = {}  # not as we write it: written anew
    for each in kept:
        if isinstance(each.setting, Ethtool | KernelFile):
            settings[plan_files.boot_key(each.setting)] = each.setting
    if not settings and (there is None or partial):
        return []
    ordered = sorted(settings.values(), key=lambda setting: live_order(Wanted("", setting)))
    interfaces = [one.interface for one in ordered if isinstance(one, Ethtool)]
    unit = plan_files.format_service(service_command(host), interfaces)
    listed = file_step(plan_files.BOOT_LIST, plan_files.format_boot_list(host, ordered), kept)
    return [
        listed,
        replace(file_step(plan_files.SERVICE_FILE, unit, kept), reload=plan_files.DAEMON_RELOAD),
    ]


def overridden(host: Host, wanted: Sequence[Wanted], steps: Sequence[Step]) -> list[Skipped]:
    """List what our files say already, and another's file gives another value at boot."""
    written = {step.target for step in steps}
    found: list[Skipped] = []
    for each in wanted:
        setting = each.setting
        if isinstance(setting, Sysctl) and plan_files.SYSCTL_FILE not in written:
            at_boot = read_persisted(host, setting)
            if at_boot is not None and not same(setting, at_boot):
                why = f"a later file of /etc/sysctl.d gives {at_boot!r} at boot: fix it there"
                found.append(Skipped(each.item, setting.path, why))
    return found


def file_step(path: str, text: str, kept: Sequence[Wanted]) -> Step:
    items = ",".join(dict.fromkeys(each.item for each in kept))
    return Step("file", path, None, text, items, persisted_in=path)


def service_command(host: Host) -> tuple[str, ...]:
    """Say how the boot service starts us."""
    program = service_program(host)
    return ("/usr/bin/python3", program) if program == INSTALLED_BUNDLE else (program, "rt")


def service_program(host: Host) -> str:
    """Name the program of the boot service: the installed bundle, else the tool of this Python.

    A bundle that was started from elsewhere is no place to start root's service from: a download,
    or /tmp, where after a boot anybody may put another one.
    """
    if host.exists(INSTALLED_BUNDLE) or sys.argv[0].endswith(".pyz"):
        return INSTALLED_BUNDLE
    return str(Path(sys.executable).with_name("tickpath"))
