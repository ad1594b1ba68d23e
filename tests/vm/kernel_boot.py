"""The RT kernel alone, without a disk: four seconds that judge a command line by the real parser.

The kernel reads its command line, says what it did not understand, finds no root file system,
panics, and `panic=-1` resets it, which ends qemu. `ask` gives it a first process that shows files
of /proc and /sys: what the words became. Called by: test_1_command_lines. Calls: image, machine,
gcc. Source: init/main.c, print_unknown_bootoptions; early-userspace/buffer-format.rst.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.vm.machine import DIES_WITH_US, MACHINE_OPTIONS
from tests.vm.phases import phase

if TYPE_CHECKING:
    from collections.abc import Sequence

TIMEOUT_S = 180
NO_ROOT = "Kernel panic - not syncing: VFS"
SHOWN_ALL = "SHOWN all"
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


SHOWN = re.compile(r"^SHOWN (\S+) (?:is (.*?)|absent)\s*$", re.MULTILINE)
FIRST_PROCESS = Path(__file__).with_name("first_process.c")


def ask(
    kernel: Path,
    command_line: str,
    paths: Sequence[str],
    folder: Path,
    trials: Sequence[tuple[str, str]] = (),
) -> dict[str, str]:
    """Boot four CPUs with a command line; return the first line of each file, "" where absent.

    trials: paths and values that are written before they are read. folder: where the initramfs is
    built. Raises RuntimeError where the kernel does not come up.
    """
    archive = folder / "initramfs.cpio"
    program = folder / "init"
    subprocess.run(["gcc", "-O1", "-static", "-o", program, FIRST_PROCESS], check=True)
    lines = "".join(f"{path}\t{value}\n" for path, value in trials)
    files = {"dev": None, "init": program.read_bytes(), "trials": lines.encode()}
    archive.write_bytes(pack(files))
    words = f"console=ttyS0 panic=-1 {command_line} show={','.join(paths)}"
    argv = [
        *DIES_WITH_US,
        "qemu-system-x86_64",
        *MACHINE_OPTIONS,
        *("-smp", "4", "-m", "1024", "-serial", "stdio", "-monitor", "none"),
        *("-kernel", str(kernel), "-initrd", str(archive), "-append", words),
    ]
    with phase("kernel asked, 4 CPUs"):
        console = _run(argv, SHOWN_ALL)
    if SHOWN_ALL not in console:
        tail = "\n".join(console.splitlines()[-20:])
        raise RuntimeError(f"{words}: the first process did not come to its end:\n{tail}")
    return {match[1]: match[2] or "" for match in SHOWN.finditer(console)}


def pack(files: dict[str, bytes | None]) -> bytes:
    """Write a cpio archive of format newc; None: a folder."""
    whole = b""
    for number, (name, data) in enumerate([*files.items(), ("TRAILER!!!", b"")], 1):
        mode = 0o40755 if data is None else 0o100755
        content = data or b""
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
        whole += head + bytes(-len(head) % 4) + content + bytes(-len(content) % 4)
    return whole


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
        console = _run(argv, NO_ROOT)
    if NO_ROOT not in console:
        tail = "\n".join(console.splitlines()[-20:])
        raise RuntimeError(f"{words}: the kernel did not come to its root file system:\n{tail}")
    return judge(console)


def _run(argv: list[str], last: str) -> str:
    """Return all that qemu's serial line said within TIMEOUT_S, at the second try if need be.

    Seen once, on a loaded host: no word for three minutes, 1.3 s into the boot; `last` was not
    said. A command line that the kernel cannot live with stops it both times.
    """
    said = b""
    for _turn in range(2):
        with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as qemu:
            try:
                said, _ = qemu.communicate(timeout=TIMEOUT_S)
            except subprocess.TimeoutExpired:
                qemu.kill()
                said, _ = qemu.communicate()
        if last.encode() in said:
            break
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
