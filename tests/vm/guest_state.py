"""Print what the machine that runs this is, as one JSON object: files, kernel settings, units.

Run in the guest by its own python3, the standard library only. Sent there by: snapshot.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

FILES = ("/etc", "/boot", "/opt", "/usr/local", "/usr/lib/systemd", "/var/lib/tickpath", "/root")
# The appliance itself, which undoing the tuning leaves: thousands of files that nobody tunes.
LEFT_OUT = ("/opt/tickpath/versions", "/opt/tickpath/releases")
# Where the kernel's settings are: the files that root may write.
SETTINGS = (
    "/proc/sys",
    "/proc/irq",
    "/sys/kernel/mm",
    "/sys/kernel/rcu_normal",
    "/sys/kernel/rcu_expedited",
    "/sys/kernel/debug/sched",
    "/sys/devices/system/cpu",
    "/sys/devices/system/clocksource",
    "/sys/devices/system/machinecheck",
    "/sys/devices/system/node",
    "/sys/devices/virtual",
    "/sys/devices/pci0000:00",
    "/sys/module",
    "/sys/bus/workqueue",
    "/sys/fs/cgroup/cpuset.cpus",
    "/sys/fs/cgroup/cgroup.subtree_control",
)
UNITS = ("list-units", "--all", "--plain", "--type=service,timer,socket,path")
SINGLE = ("/sys/kernel/realtime", "/sys/devices/system/cpu/isolated", "/proc/swaps")
READ_TIMEOUT_S = 2
LIST_TRIES = 4
VALUE_BYTES_MAX = 4096

Seen = dict[str, str]


def walk(top: str, describe: Callable[[str, Seen], None], seen: Seen) -> None:
    describe(top, seen)
    for folder, folders, files in os.walk(top):
        if folder in LEFT_OUT:
            folders.clear()
            continue
        for name in (*folders, *files):
            describe(f"{folder}/{name}", seen)


def describe_file(path: str, seen: Seen) -> None:
    """Note kind, permissions, owner and content of a file."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    owner = f"{status.st_mode:o} {status.st_uid}:{status.st_gid}"
    if stat.S_ISLNK(status.st_mode):
        owner += f" -> {Path(path).readlink()}"
    elif stat.S_ISREG(status.st_mode):
        with Path(path).open("rb") as file:
            owner += f" {hashlib.sha256(file.read()).hexdigest()}"
    seen[path] = owner


def describe_setting(path: str, seen: Seen) -> None:
    """Note the value of a file that root may write; some cannot be read, or not at once.

    One system call for each that is none, as most are: three took a snapshot half a minute there.
    """
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not (stat.S_ISREG(mode) and mode & 0o200):
        return
    name = name_of(path)
    try:
        signal.alarm(READ_TIMEOUT_S)
        with Path(path).open("rb") as file:
            value = file.read(VALUE_BYTES_MAX)
        seen[name] = value.decode(errors="replace").strip()
    except OSError as error:
        seen[name] = f"errno {error.errno}"
    finally:
        signal.alarm(0)


def name_of(path: str) -> str:
    """Name a setting; an interrupt's number depends on the boot, so it goes by what it is for."""
    parts = path.split("/")
    if parts[:3] == ["", "proc", "irq"] and len(parts) > 3 and parts[3].isdigit():
        actions = Path("/sys/kernel/irq", parts[3], "actions")
        parts[3] = (actions.read_text().strip() if actions.exists() else "") or "unused"
    return "/".join(parts)


def stuck(_signal: int, _frame: object) -> None:
    raise TimeoutError("read takes too long")


def output(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.stdout.strip() or done.stderr.strip()


def listed(*words: str) -> list[str]:
    """Return what systemctl lists; on a busy host its bus gives up: ask again."""
    argv = ("systemctl", *words, "--no-legend", "--no-pager")
    for _ in range(LIST_TRIES):
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return done.stdout.splitlines()
    raise SystemExit(f"{' '.join(argv)}: {done.stderr.strip()}")


def describe_units(seen: Seen) -> None:
    for line in listed("list-unit-files"):
        name, state = line.split()[:2]
        seen[f"unit file {name}"] = state
    for line in listed(*UNITS):
        name, _, active = line.split()[:3]
        seen[f"unit {name}"] = active


def describe_interfaces(seen: Seen) -> None:
    for path in Path("/sys/class/net").iterdir():
        for letter in "gckla":
            seen[f"ethtool -{letter} {path.name}"] = output("ethtool", f"-{letter}", path.name)


def describe_machine() -> Seen:
    """Return names and values."""
    signal.signal(signal.SIGALRM, stuck)
    seen: Seen = {}
    for top in FILES:
        walk(top, describe_file, seen)
    for top in SETTINGS:
        walk(top, describe_setting, seen)
    describe_units(seen)
    describe_interfaces(seen)
    for name in SINGLE:
        seen[name] = Path(name).read_text() if Path(name).exists() else "none"
    seen["kernel"] = output("uname", "-rv")
    seen["command line"] = Path("/proc/cmdline").read_text().strip()
    return seen


if __name__ == "__main__":
    json.dump(describe_machine(), sys.stdout)
