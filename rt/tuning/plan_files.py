"""The text of our own files: what keeps a setting over a reboot, and where that is.

A standard file keeps what a standard service can apply early enough; the rest (NICs, interrupts,
debugfs, cgroups) is listed in BOOT_LIST and applied by tickpath-rt.service. Called by: plan,
apply (--boot), revert, catalogue.services. Calls: rt.host, rt.setting. Source: sysctl.d(5),
tmpfiles.d(5), systemd.unit(5), systemctl(1).
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Literal

from tickpath.rt.setting import Ethtool, KernelFile, Sysctl

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tickpath.rt.host import Host

SYSCTL_FILE = "/etc/sysctl.d/60-tickpath.conf"
TMPFILES_FILE = "/etc/tmpfiles.d/60-tickpath.conf"
BOOT_LIST = "/etc/tickpath/rt-boot.json"
SERVICE = "tickpath-rt.service"
SERVICE_FILE = f"/etc/systemd/system/{SERVICE}"
SERVICE_LINK = f"/etc/systemd/system/multi-user.target.wants/{SERVICE}"
DAEMON_RELOAD = ("systemctl", "daemon-reload")
DAEMON_REEXEC = ("systemctl", "daemon-reexec")
HEADER = "# Written by `tickpath rt apply`, removed by `tickpath rt revert`.\n"
# Where systemd-tmpfiles finds the files before any driver of ours is needed.
TMPFILES_ROOMS = (
    "/sys/kernel/mm/",
    "/sys/module/",
    "/sys/devices/system/",
    "/sys/devices/virtual/workqueue/",
    "/sys/bus/workqueue/",
)
IRQ_FILE = re.compile(r"/proc/irq/(\d+)/(\w+)")
SYSCTL_NAME = re.compile(r"[a-zA-Z0-9_./@:-]+")
KERNEL_PATH = re.compile(r"/[a-zA-Z0-9_./@:,+-]+")
GROUPS: tuple[Literal["L", "G", "A", "C", "K"], ...] = ("L", "G", "A", "C", "K")
BootSetting = Ethtool | KernelFile


def persisted_in(setting: Sysctl | KernelFile | Ethtool) -> str:
    """Name the file of ours that gives a setting its value after a reboot."""
    if isinstance(setting, Sysctl):
        return SYSCTL_FILE
    if isinstance(setting, KernelFile) and setting.path.startswith(TMPFILES_ROOMS):
        return TMPFILES_FILE
    return BOOT_LIST


def reload_commands(asked: Iterable[tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    """List the commands that make files live, each once.

    systemd that begins anew reads all units too ("a heavy-weight daemon-reload", systemctl(1)): no
    reload is needed beside it. It comes last, since systemd does not answer meanwhile.
    """
    once = dict.fromkeys(asked)
    if DAEMON_REEXEC not in once:
        return tuple(once)
    others = (argv for argv in once if argv not in (DAEMON_RELOAD, DAEMON_REEXEC))
    return (*others, DAEMON_REEXEC)


def malformed(setting: Sysctl | KernelFile) -> str | None:
    """Say why a name or value cannot stand in a line of a file of ours; None: it can."""
    name, pattern = (
        (setting.name, SYSCTL_NAME) if isinstance(setting, Sysctl) else (setting.path, KERNEL_PATH)
    )
    if not pattern.fullmatch(name) or ".." in name:
        return f"{name!r} is not the name of a kernel setting"
    if not setting.value.isprintable() or not setting.value.strip():
        return f"the value {setting.value!r} of {name} is not one printable line"
    return None


def parse_sysctl(text: str) -> dict[str, str]:
    """Read our sysctl file back, name to value."""
    pairs = (line.partition("=") for line in text.splitlines() if not line.startswith("#"))
    return {name.strip(): value.strip() for name, equals, value in pairs if equals}


def format_sysctl(values: Mapping[str, str]) -> str:
    return HEADER + "".join(f"{name} = {value}\n" for name, value in sorted(values.items()))


def parse_tmpfiles(text: str) -> dict[str, str]:
    """Read our tmpfiles file back, path to value."""
    rows = (line.split(None, 6) for line in text.splitlines() if line.startswith("w "))
    return {
        row[1]: row[6].replace("%%", "%").replace("\\\\", "\\") for row in rows if len(row) == 7
    }


def format_tmpfiles(values: Mapping[str, str]) -> str:
    """Write the lines of systemd-tmpfiles, which wants "%" and "\\" doubled."""
    lines = (
        f"w {path} - - - - {value.replace(chr(92), chr(92) * 2).replace('%', '%%')}\n"
        for path, value in sorted(values.items())
    )
    return HEADER + "".join(lines)


def boot_key(setting: BootSetting) -> str:
    if isinstance(setting, Ethtool):
        return f"{setting.interface} {setting.group} {setting.name}"
    return setting.path


def irq_action(host: Host, path: str) -> str | None:
    """Return the name of the interrupt that a file of /proc/irq is about."""
    match = IRQ_FILE.fullmatch(path)
    return host.read(f"/sys/kernel/irq/{match[1]}/actions") if match else None


def format_boot_list(host: Host, settings: Sequence[BootSetting]) -> str:
    """List settings for the boot service, in their order of application."""
    rows: list[dict[str, str | None]] = []
    for setting in settings:
        row: dict[str, str | None] = {"kind": type(setting).__name__, **asdict(setting)}
        if isinstance(setting, KernelFile) and (action := irq_action(host, setting.path)):
            row["action"] = action  # interrupt numbers change from boot to boot
        rows.append(row)
    listed = ",\n".join(json.dumps(row) for row in rows)
    return f'{{"settings": [\n{listed}\n]}}\n'


def parse_boot_list(host: Host, text: str) -> tuple[tuple[BootSetting, ...], tuple[str, ...]]:
    """Read the boot list as it applies to this boot, and what of it cannot be.

    An interrupt is looked up by its name. Raises ValueError for a text that is not such a list.
    """
    settings: list[BootSetting] = []
    lost: list[str] = []
    try:
        for row in json.loads(text)["settings"]:
            if row["kind"] == "Ethtool":
                settings.append(parse_ethtool(row))
                continue
            path = str(row["path"])
            action = row.get("action")
            if action and irq_action(host, path) != action:
                found = find_irq(host, str(action))
                if found is None:
                    lost.append(f"{path}: no interrupt is named {action!r} in this boot")
                    continue
                path = IRQ_FILE.sub(rf"/proc/irq/{found}/\2", path)
            reads_as = None if row.get("reads_as") is None else str(row["reads_as"])
            settings.append(KernelFile(path, str(row["value"]), reads_as))
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ValueError(f"{BOOT_LIST} is not what apply wrote ({error!r})") from error
    return tuple(settings), tuple(lost)


def parse_ethtool(row: Mapping[str, object]) -> Ethtool:
    group = next((one for one in GROUPS if one == row["group"]), None)
    if group is None:
        raise ValueError(f"{BOOT_LIST}: group {row['group']!r}, expected one of {GROUPS}")
    return Ethtool(str(row["interface"]), group, str(row["name"]), str(row["value"]))


def find_irq(host: Host, action: str) -> int | None:
    """Find the one interrupt of a name; None where there is none, or more than one."""
    numbers = [
        int(path.split("/")[4])
        for path in host.glob("/sys/kernel/irq/*/actions")
        if host.read(path) == action and path.split("/")[4].isdigit()
    ]
    return numbers[0] if len(numbers) == 1 else None


def format_service(command: Sequence[str], interfaces: Sequence[str]) -> str:
    """Write the unit that applies the boot list once the interfaces of it are there."""
    devices = " ".join(
        f"sys-subsystem-net-devices-{escape_unit(name)}.device" for name in sorted(set(interfaces))
    )
    wait = f"Wants={devices}\nAfter={devices}\n" if devices else ""
    return (
        f"{HEADER}[Unit]\n"
        "Description=tickpath: settings of interfaces and interrupts that no standard file keeps\n"
        f"ConditionPathExists={BOOT_LIST}\n"
        f"After=systemd-modules-load.service systemd-tmpfiles-setup.service network.target\n{wait}"
        "\n[Service]\nType=oneshot\nRemainAfterExit=yes\n"
        f"ExecStart={' '.join(map(quote_word, command))} apply --boot\n"
        "NoNewPrivileges=yes\nProtectHome=read-only\n"
        "\n[Install]\nWantedBy=multi-user.target\n"
    )


def quote_word(word: str) -> str:
    """Quote a word of ExecStart= where it needs that; "%" and "$" mean something there."""
    word = word.replace("%", "%%").replace("$", "$$")
    if any(one in word for one in " \t\"'\\;"):
        word = '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return word


def escape_unit(name: str) -> str:
    """Escape an interface's name as systemd-escape(1) does."""
    return "".join(
        one
        if (one.isascii() and one.isalnum()) or one in ":_" or (one == "." and index)
        else "".join(f"\\x{byte:02x}" for byte in one.encode())
        for index, one in enumerate(name)
    )
