"""What a machine is: each file of its system with bytes and owner, each kernel setting, each unit.

One script, run in the guest, gives a mapping from a name to a value; two of them are compared name
by name. Everything counts but what changes by itself, which is listed here with its reason.
Called by: the tests. Calls: machine, phases.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from tests.vm.phases import phase

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.vm.machine import Machine

# Run by the guest's own python3. Kernel settings are the files that root may write.
SCRIPT = r"""
import hashlib, json, os, signal, subprocess, sys

FILES = ("/etc", "/boot", "/opt", "/usr/local", "/usr/lib/systemd", "/var/lib/tickpath", "/root")
SETTINGS = ("/proc/sys", "/proc/irq", "/sys/kernel/mm", "/sys/kernel/rcu_normal",
    "/sys/kernel/rcu_expedited", "/sys/devices/system/cpu", "/sys/devices/system/clocksource",
    "/sys/devices/system/machinecheck", "/sys/devices/system/node", "/sys/devices/virtual",
    "/sys/devices/pci0000:00", "/sys/module", "/sys/bus/workqueue", "/sys/kernel/debug/sched",
    "/sys/fs/cgroup/cpuset.cpus", "/sys/fs/cgroup/cgroup.subtree_control")
seen = {}

def content(path, limit=None):
    with open(path, "rb") as file:
        return file.read(limit)

def tree(top, describe):
    if not os.path.isdir(top):
        describe(top)
    for folder, folders, files in os.walk(top):
        for name in (*folders, *files):
            describe(os.path.join(folder, name))

def describe_file(path):
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    owner = f"{status.st_mode:o} {status.st_uid}:{status.st_gid}"
    if os.path.islink(path):
        seen[path] = f"{owner} -> {os.readlink(path)}"
    elif os.path.isfile(path):
        seen[path] = f"{owner} {hashlib.sha256(content(path)).hexdigest()}"
    else:
        seen[path] = owner

def name_of(path):
    # An interrupt's number depends on the order of a boot: it goes by what it is for.
    parts = path.split("/")
    if path.startswith("/proc/irq/") and parts[3].isdigit():
        actions = content(f"/sys/kernel/irq/{parts[3]}/actions").decode().strip()
        parts[3] = actions or "unused"
    return "/".join(parts)

def describe_setting(path):
    name = name_of(path)
    try:
        status = os.lstat(path)
        if os.path.isfile(path) and not os.path.islink(path) and status.st_mode & 0o200:
            signal.alarm(2)
            seen[name] = content(path, 4096).decode(errors="replace").strip()
    except OSError as error:
        seen[name] = f"errno {error.errno}"
    finally:
        signal.alarm(0)

def stuck(*_):
    raise OSError(62, "read takes too long")

def run(*argv):
    done = subprocess.run(argv, capture_output=True, text=True)
    return done.stdout.strip() or done.stderr.strip()

signal.signal(signal.SIGALRM, stuck)
for top in FILES:
    tree(top, describe_file)
for top in SETTINGS:
    tree(top, describe_setting)
for line in run("systemctl", "list-unit-files", "--no-legend", "--no-pager").splitlines():
    name, state = line.split()[:2]
    seen[f"unit file {name}"] = state
for line in run("systemctl", "list-units", "--all", "--plain", "--no-legend", "--no-pager",
        "--type=service,timer,socket").splitlines():
    name, _, active = line.split()[:3]
    seen[f"unit {name}"] = active
for interface in os.listdir("/sys/class/net"):
    for letter in "gcklax":
        seen[f"ethtool -{letter} {interface}"] = run("ethtool", f"-{letter}", interface)
for link in ("/sys/kernel/realtime", "/sys/devices/system/cpu/isolated", "/proc/swaps"):
    seen[link] = content(link).decode() if os.path.exists(link) else "none"
seen["kernel"] = run("uname", "-rv")
seen["command line"] = content("/proc/cmdline").decode().strip()
json.dump(seen, sys.stdout)
"""

# Names whose values change without anybody's doing.
RESTLESS = re.compile(
    "|".join(
        (
            # Counters, random numbers and sizes of the moment that happen to be writable.
            r"/proc/sys/(?:kernel/(?:random/|ns_last_pid|pty/nr|tainted|seccomp/)|fs/.*(?:-nr|nr_|state)|fs/inode)",
            r"/sys/.*/(?:uevent|rescan|reset|trigger|clear|wakeup_count)$",
            # Sized or measured by the kernel itself.
            r"/proc/sys/vm/user_reserve_kbytes|.*/max_newidle_lb_cost$",
            # The journal's and ssh's own traces of a run.
            r"/etc/(?:resolv\.conf|ld\.so\.cache)$|/root/\.(?:ansible|ssh|cache|bash_history|lesshst)",
            # Started and ended by every connection.
            r"unit (?:user|session|run)[-@]|unit .*tmpfiles-clean|unit systemd-(?:fsckd|hostnamed)",
        )
    )
)


def take(machine: Machine) -> dict[str, str]:
    """Return what the guest is: paths, settings and units to their values."""
    with phase("snapshot"):
        output = machine.shell(f"python3 - <<'SCRIPT'\n{SCRIPT}\nSCRIPT\n")
    seen: dict[str, str] = json.loads(output)
    return {name: value for name, value in seen.items() if not RESTLESS.search(name)}


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return the names whose values differ, with both; "(none)" where one is not there."""
    return {
        name: (old, new)
        for name in sorted({*before, *after})
        if (old := before.get(name, "(none)")) != (new := after.get(name, "(none)"))
    }
