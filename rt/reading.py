"""How a setting stands on a host: its live value, the persisted one, and whether they are right.

Called by: rt.check, tuning.plan, tuning.apply, tuning.revert. Calls: rt.host, rt.setting,
rt.persisted, rt.ethtool_answer. Values of several spellings are compared by meaning: "ff" and
"000000ff", "0-1" and "0,1", "always [never]" and "never", "Y" and "1".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tickpath.rt.command_line import in_force, parse_command_line, split_isolation, values_of
from tickpath.rt.cpu_mask import parse_cpu_mask
from tickpath.rt.ethtool_answer import read_ethtool
from tickpath.rt.limits import parse_cpu_list
from tickpath.rt.persisted import read_persisted, where_persisted
from tickpath.rt.setting import BootParameter, DropIn, Ethtool, KernelFile, Sysctl, UnitState

if TYPE_CHECKING:
    from collections.abc import Callable

    from tickpath.rt.host import Host
    from tickpath.rt.setting import Setting

BRACKETED = re.compile(r"\[([^\]]+)\]")
MASK_FILES = frozenset(
    {"smp_affinity", "default_smp_affinity", "cpumask", "rps_cpus", "xps_cpus", "rps_default_mask"}
)
LIST_FILES = ("smp_affinity_list", "cpuset.cpus", "cpuset.cpus.exclusive")
CPU_LIST_PARAMETERS = frozenset({"nohz_full", "rcu_nocbs", "irqaffinity"})
TOLD_BY_KERNEL = {
    "isolcpus": "/sys/devices/system/cpu/isolated",
    "nohz_full": "/sys/devices/system/cpu/nohz_full",
}
TRUE_WORDS = {"Y": "1", "N": "0", "on": "1", "off": "0"}


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read of one setting. live None: not there, or not readable (readable False)."""

    live: str | None
    persisted: str | None
    is_live: bool
    is_persisted: bool
    readable: bool
    where: tuple[str, ...]


def read_setting(host: Host, setting: Setting) -> Reading:
    """Read a setting's live and persisted value."""
    live = read_live(host, setting)
    persisted = read_persisted(host, setting)
    return Reading(
        live=live,
        persisted=persisted,
        is_live=live is not None and same(setting, live),
        is_persisted=persisted is not None and same_persisted(setting, persisted),
        readable=live is not None or not is_hidden(host, setting),
        where=(where_live(setting), where_persisted(setting)),
    )


def read_live(host: Host, setting: Setting) -> str | None:
    """Return the value in force now, None where there is none or it cannot be read."""
    match setting:
        case BootParameter():
            return live_parameter(host, setting)
        case Sysctl() | KernelFile():
            return host.read(setting.path)
        case Ethtool():
            return read_ethtool(host, setting)
        case UnitState():
            return live_unit(host, setting)
        case DropIn():
            whole = host.read_bytes(setting.path)
            return None if whole is None else whole.decode(errors="replace")


def is_live(host: Host, setting: Setting) -> bool:
    """Tell whether the value in force is the one that is wanted."""
    live = read_live(host, setting)
    return live is not None and same(setting, live)


def exists(host: Host, setting: Setting) -> bool:
    """Tell whether the host has the thing that is set at all, readable or not."""
    match setting:
        case Sysctl() | KernelFile() | DropIn():
            return host.exists(setting.path)
        case BootParameter():
            return host.exists("/proc/cmdline")
        case Ethtool():
            return False  # a driver that does not tell it cannot be set either
        case UnitState():
            return unit_exists(host, setting.unit)


def is_hidden(host: Host, setting: Setting) -> bool:
    """Tell, of what gave no value, whether it is there all the same and cannot be read."""
    if isinstance(setting, BootParameter):  # a word that is not there is no secret
        return host.read("/proc/cmdline") is None
    return exists(host, setting)


def where_live(setting: Setting) -> str:
    """Name the file or the command that tells the live value."""
    match setting:
        case BootParameter():
            return "/proc/cmdline"
        case Sysctl() | KernelFile() | DropIn():
            return setting.path
        case Ethtool():
            return f"ethtool -{setting.group.lower()} {setting.interface}"
        case UnitState():
            return f"systemctl show {setting.unit}"


def live_parameter(host: Host, setting: BootParameter) -> str | None:
    parameters = parse_command_line(host.read("/proc/cmdline") or "")
    if setting.name == "hugepagesz" and setting.value in values_of(setting.name, parameters):
        return setting.word  # given once for each size
    found = in_force(setting.name, parameters)
    if found is None:
        return None
    told = told_by_kernel(host, found)
    return found.word if told is None else f"{found.word}, and the kernel has {told}"


def told_by_kernel(host: Host, found: BootParameter) -> str | None:
    """Return the kernel's own list where it is another than the command line's; else None.

    A list of CPUs that are not there, or flags that it does not know, make such a difference.
    """
    flags, text = split_isolation(found.name, found.value or "")
    path = TOLD_BY_KERNEL.get(found.name)
    told = host.read(path) if path is not None else None
    if told is None or (found.name == "isolcpus" and "domain" not in flags):
        return None
    try:
        have = parse_cpu_list("" if told == "(null)" else told)
        return None if set(have) == set(parse_cpu_list(text)) else told.strip() or "none"
    except ValueError:
        return None


def unit_exists(host: Host, unit: str) -> bool:
    folders = ("/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system")
    return any(
        host.exists(f"{folder}/{unit}") or host.link(f"{folder}/{unit}") is not None
        for folder in (*folders, "/lib/systemd/system")
    )


def unit_question(*units: str) -> tuple[str, ...]:
    """Return the words that ask systemd about units: a block of lines each, in their order."""
    return ("systemctl", "show", "-p", "ActiveState,UnitFileState", *units)


def live_unit(host: Host, setting: UnitState) -> str | None:
    """Return "masked", "enabled", or what systemd says the unit does; None: no such unit."""
    if not unit_exists(host, setting.unit):
        return None
    done = host.run(unit_question(setting.unit))
    told = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    file_state = told.get("UnitFileState", "")
    if done.status != 0 or not told:
        return read_persisted(host, setting)
    active = told.get("ActiveState", "inactive")
    if setting.state == "masked":
        running = active not in {"inactive", "failed"}
        masked = file_state.startswith("masked")
        return "masked" if masked and not running else f"{file_state or 'static'}, {active}"
    return (
        "enabled" if file_state == "enabled" and active == "active" else f"{file_state}, {active}"
    )


def same(setting: Setting, text: str) -> bool:
    """Tell whether a text read means what is wanted."""
    match setting:
        case BootParameter():
            return same_parameter(setting, text)
        case Sysctl():
            return text.split() == setting.value.split()
        case KernelFile():
            return same_file(setting, text)
        case Ethtool():
            return text == setting.value
        case UnitState():
            return text == setting.state
        case DropIn():
            return text == setting.text


def same_persisted(setting: Setting, text: str) -> bool:
    """Tell whether a persisted text has the wanted effect: a file is told what is written to it."""
    if isinstance(setting, KernelFile) and text.strip() == setting.value.strip():
        return True
    return same(setting, text)


def same_parameter(setting: BootParameter, word: str) -> bool:
    _, _, value = word.partition("=")
    if setting.value is None or word == setting.word:
        return word == setting.word
    if setting.name in CPU_LIST_PARAMETERS:
        return same_by(parse_cpu_list, setting.value, value)
    if setting.name == "isolcpus":
        return split_isolcpus(setting.value) == split_isolcpus(value)
    return False


def split_isolcpus(value: str) -> tuple[frozenset[str], frozenset[int]] | None:
    """Split "managed_irq,domain,2-3" into flags and CPUs; None where the list is not one."""
    flags, text = split_isolation("isolcpus", value)
    try:
        return flags, frozenset(parse_cpu_list(text))
    except ValueError:
        return None


def same_file(setting: KernelFile, text: str) -> bool:
    wanted = setting.value if setting.reads_as is None else setting.reads_as
    bracketed = BRACKETED.search(text)
    live = bracketed[1] if bracketed and not BRACKETED.search(wanted) else text
    name = setting.path.rpartition("/")[2]
    if name in MASK_FILES:
        return same_by(parse_cpu_mask, wanted, live)
    if name in LIST_FILES:
        return same_by(parse_cpu_list, wanted, live)
    if live.split() == wanted.split():
        return True
    return TRUE_WORDS.get(live.strip(), live.strip()) == TRUE_WORDS.get(wanted, wanted)


def same_by(parse: Callable[[str], tuple[int, ...]], wanted: str, live: str) -> bool:
    try:
        return parse(wanted) == parse(live)
    except ValueError:
        return False
