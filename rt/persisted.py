"""What the next boot gives a setting: read from the files that the boot reads, ours and others'.

Called by: rt.reading. Calls: rt.host, rt.setting, rt.command_line, rt.shell. Source: sysctl.d(5),
tmpfiles.d(5), /usr/sbin/grub-mkconfig (which sources /etc/default/grub, then grub.d/*.cfg).
"""

from __future__ import annotations

import fnmatch
import json
import re
from typing import TYPE_CHECKING

from tickpath.rt.command_line import in_force, parse_command_line, values_of
from tickpath.rt.setting import BootParameter, DropIn, Ethtool, KernelFile, Sysctl, UnitState
from tickpath.rt.shell import shell_variables

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tickpath.rt.host import Host
    from tickpath.rt.setting import Setting

BOOT_PATH = "/etc/tickpath/rt-boot.json"
GRUB_MENU = "/boot/grub/grub.cfg"
# Where systemd looks for files of settings; a later folder hides the earlier ones' files.
CONFIGURATION_TOPS = ("/usr/lib", "/usr/local/lib", "/run", "/etc")
# Later words win in the kernel, so the order is that of the finished command line.
GRUB_VARIABLES = ("GRUB_CMDLINE_LINUX", "GRUB_CMDLINE_LINUX_DEFAULT")
OUR_VARIABLES = ("TICKPATH_TRIAL", "TICKPATH_LASTING")
# What the kernel itself begins with; of a file by its last name.
DEFAULTS: Mapping[str, str] = {
    "current_clocksource": "tsc",
    "gro_flush_timeout": "0",
    "kernel.sched_schedstats": "0",
    "napi_defer_hard_irqs": "0",
    "net.core.bpf_jit_enable": "1",
    "net.core.bpf_jit_harden": "0",
    "rps_cpus": "0",
    "run": "0",  # of KSM
    "threaded": "0",
    "vm.zone_reclaim_mode": "0",
}


def read_persisted(host: Host, setting: Setting) -> str | None:
    """Return the value that a boot gives; None where no file says one."""
    match setting:
        case BootParameter():
            return persisted_parameter(host, setting)
        case Sysctl():
            return persisted_sysctl(host, setting.name)
        case KernelFile():
            return persisted_file(host, setting.path)
        case Ethtool():
            return persisted_by_service(
                host, {"interface": setting.interface, "group": setting.group, "name": setting.name}
            )
        case UnitState():
            return persisted_unit(host, setting.unit)
        case DropIn():
            whole = host.read_bytes(setting.path)
            return None if whole is None else whole.decode(errors="replace")


def where_persisted(setting: Setting) -> str:
    """Name the place of our own that keeps such a setting."""
    match setting:
        case BootParameter():
            return "/etc/default/grub.d/60-tickpath.cfg"
        case Sysctl():
            return "/etc/sysctl.d/60-tickpath.conf"
        case KernelFile():
            return f"/etc/tmpfiles.d/60-tickpath.conf, {BOOT_PATH}"
        case Ethtool():
            return BOOT_PATH
        case UnitState():
            return "/etc/systemd/system"
        case DropIn():
            return setting.path


def persisted_command_line(host: Host) -> str:
    """Return the words of the command line that GRUB's settings give the entry booted next.

    Ours is an entry of its own (TICKPATH_TRIAL for one boot, TICKPATH_LASTING once promoted), with
    the distribution's words before it.
    """
    variables = grub_variables(host)
    ours = variables.get("TICKPATH_TRIAL") or variables.get("TICKPATH_LASTING", "")
    return " ".join([*(variables.get(name, "") for name in GRUB_VARIABLES), ours]).strip()


def grub_variables(host: Host, leave_out: str = "") -> Mapping[str, str]:
    """Return GRUB's settings as grub-mkconfig has them after its files. leave_out: a file."""
    names = ("/etc/default/grub", *host.glob("/etc/default/grub.d/*.cfg"))
    texts = tuple(host.read(name) or "" for name in names if name != leave_out)
    return shell_variables(texts, (*GRUB_VARIABLES, *OUR_VARIABLES))


def persisted_parameter(host: Host, setting: BootParameter) -> str | None:
    parameters = parse_command_line(persisted_command_line(host))
    found = in_force(setting.name, parameters)
    if found is None or not in_grub_menu(host, found):
        return None
    if setting.name == "hugepagesz" and setting.value in values_of(setting.name, parameters):
        return setting.word  # given once for each size
    return found.word


def in_grub_menu(host: Host, found: BootParameter) -> bool:
    """Report whether a word is in force on any entry of the menu that GRUB reads: settings that
    update-grub has not seen do nothing. True where the menu cannot be read."""
    lines = re.findall(r"^\s*linux(?:16|efi)?\s+\S+(.*)$", host.read(GRUB_MENU) or "", re.MULTILINE)
    if not lines:
        return True
    return any(
        in_force(found.name, parse_command_line(line)) == found or found in parse_command_line(line)
        for line in lines
    )


def needs_file(setting: Setting) -> bool:
    """Tell whether a right live value must be kept by a file to be well.

    Not where the kernel's own default is right. The number of an interrupt is another one at the
    next boot: irqaffinity= and the boot service keep those.
    """
    match setting:
        case Sysctl():
            return DEFAULTS.get(setting.name) != setting.value
        case KernelFile():
            name = setting.path.rpartition("/")[2]
            return not setting.path.startswith("/proc/irq/") and DEFAULTS.get(name) != setting.value
        case _:
            return True


def configuration_lines(
    host: Host, folder: str, suffix: str, tops: tuple[str, ...] = CONFIGURATION_TOPS
) -> Iterator[str]:
    """Yield the lines of a systemd configuration folder, in the order in which they take effect:
    by file name, /etc hiding /run hiding /usr/local/lib hiding /usr/lib."""
    files: dict[str, str] = {}
    for top in tops:
        for path in host.glob(f"{top}/{folder}/*{suffix}"):
            files[path.rpartition("/")[2]] = path
    for name in sorted(files):
        yield from (host.read(files[name]) or "").splitlines()


def persisted_sysctl(host: Host, wanted: str) -> str | None:
    value: str | None = None
    lines = [*configuration_lines(host, "sysctl.d", ".conf")]
    for line in lines:
        name, equals, right = line.partition("=")
        key = name.strip().removeprefix("-").replace("/", ".")
        if equals and not key.startswith(("#", ";")) and key == wanted:
            value = right.partition("#")[0].strip()
    return value


def persisted_file(host: Host, path: str) -> str | None:
    value: str | None = None
    for line in configuration_lines(host, "tmpfiles.d", ".conf"):
        words = line.split(None, 6)
        if len(words) < 7 or words[0].rstrip("!-=~^") not in {"w", "w+"}:
            continue
        if words[1] == path or fnmatch.fnmatchcase(path, words[1]):
            value = words[6].strip()
    return persisted_by_service(host, {"path": path}) if value is None else value


def persisted_by_service(host: Host, wanted: Mapping[str, str]) -> str | None:
    """Look a setting up in what our boot service applies."""
    try:
        kept = json.loads(host.read(BOOT_PATH) or "{}")
        for entry in kept["settings"]:
            if all(entry.get(name) == value for name, value in wanted.items()):
                return str(entry["value"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return None


def persisted_unit(host: Host, unit: str) -> str | None:
    # A mask in /run is gone at the next boot (systemctl mask --runtime).
    if host.link(f"/etc/systemd/system/{unit}") == "/dev/null":
        return "masked"
    wanted_by = host.glob(f"/etc/systemd/system/*.wants/{unit}")
    return "enabled" if wanted_by else None
