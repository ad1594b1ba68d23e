"""What a machine is: each file of its system with bytes and owner, each kernel setting, each unit.

One script (guest_state.py), run in the guest, gives a mapping from a name to a value; two of them
are compared name by name. Everything counts but what changes by itself, which is listed here with
its reason. Called by: the tests. Calls: machine, phases.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from tests.vm.phases import phase

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.vm.machine import Machine

SCRIPT = Path(__file__).with_name("guest_state.py")

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
        output = machine.shell(f"python3 - <<'SCRIPT'\n{SCRIPT.read_text()}\nSCRIPT\n")
    seen: dict[str, str] = json.loads(output)
    return {name: value for name, value in seen.items() if not RESTLESS.search(name)}


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return the names whose values differ, with both; "(none)" where one is not there."""
    return {
        name: (old, new)
        for name in sorted({*before, *after})
        if (old := before.get(name, "(none)")) != (new := after.get(name, "(none)"))
    }
