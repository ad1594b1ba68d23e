"""The RT kernel alone, without a disk: four seconds that judge a command line by the real parser.

The kernel reads its command line, says what it did not understand, finds no root file system,
panics, and `panic=-1` resets it, which ends qemu. Called by: test_kernel_command_lines.
Calls: image, machine. Source: init/main.c, print_unknown_bootoptions.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.vm.machine import DIES_WITH_US, MACHINE_OPTIONS
from tests.vm.phases import phase

if TYPE_CHECKING:
    from pathlib import Path

TIMEOUT_S = 180
# Read by initramfs and systemd, which are not here: the kernel hands them on, as it says.
NOT_THE_KERNELS = ("BOOT_IMAGE", "systemd.")
UNKNOWN = re.compile(r'Unknown kernel command line parameters "([^"]*)"')
# What the parsers of single parameters say of a value that they refuse.
COMPLAINTS = re.compile(
    r"(?:isolcpus: |Housekeeping: |Malformed early option|mce: mce argument|rcu: rcu_nocbs= bad"
    r"|HugeTLB: (?:unsupported|Invalid|hugepages|default_hugepagesz)|transparent_hugepage= cannot)"
    r"[^\r\n]*"
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the kernel said of a command line, in its own words."""

    unknown: tuple[str, ...]  # words it knows nothing of
    complaints: tuple[str, ...]  # lines about values that it refused or changed
    console: str


def lint(kernel: Path, command_line: str, *, cpus: int = 2) -> Verdict:
    """Boot a kernel with a command line, so many CPUs being possible; read what it says of it."""
    words = f"console=ttyS0 panic=-1 {command_line}"
    argv = [
        *DIES_WITH_US,
        "qemu-system-x86_64",
        *MACHINE_OPTIONS,
        # Lists are judged by the CPUs that may come; bringing up sixteen takes half a minute.
        *("-smp", f"2,maxcpus={cpus}", "-m", "2048"),
        *("-serial", "stdio", "-monitor", "none"),
        *("-kernel", str(kernel), "-append", words),
    ]
    with phase(f"kernel-only boot, {cpus} CPUs"):
        console = _run(argv)
    if "Kernel panic - not syncing: VFS" not in console:
        tail = "\n".join(console.splitlines()[-20:])
        raise RuntimeError(f"{words}: the kernel did not come to its root file system:\n{tail}")
    return judge(console)


def _run(argv: list[str]) -> str:
    """Return all that qemu's serial line said within TIMEOUT_S."""
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as qemu:
        try:
            said, _ = qemu.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            qemu.kill()
            said, _ = qemu.communicate()
    return said.decode(errors="replace")


def judge(console: str) -> Verdict:
    """Take what concerns the command line out of a kernel's log."""
    unknown = [
        word
        for match in UNKNOWN.finditer(console)
        for word in match[1].split()
        if not word.startswith(NOT_THE_KERNELS)
    ]
    return Verdict(tuple(unknown), tuple(COMPLAINTS.findall(console)), console)
