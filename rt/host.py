"""The one door to the machine that is checked or tuned: its files beneath a root, and commands.

A test hands in a tree of its own and the answers of commands; nothing else in rt opens a file of
the host or starts a program. Called by: all of rt but process. Calls: parent_death.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tickpath.rt.parent_death import die_with

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

COMMAND_TIMEOUT_S = 30
# Under emulation grub-mkconfig takes minutes, and systemd half of one to begin anew. These die with
# us: one that went on by itself would change units while a revert puts them back.
SLOW_COMMANDS_S = {"grub-mkconfig": 900, "systemctl": 120}


@dataclass(frozen=True, slots=True)
class Output:
    """What a command left behind. status 127: there is no such program; 126:
    it cannot be run."""

    status: int
    stdout: str
    stderr: str


def absolute_path(path: str) -> str:
    """Return a PATH without the current folder, whatever its name there ("", ".", "bin"): root may
    stand where others can write."""
    return ":".join(one for one in path.split(":") if one.startswith("/"))


def command_environment() -> dict[str, str]:
    """Return an environment in which administrators' tools are found and speak English."""
    path = absolute_path(f"{os.environ.get('PATH', '/usr/bin:/bin')}:/usr/sbin:/sbin")
    return {**os.environ, "PATH": path, "LC_ALL": "C"}


def run_command(argv: Sequence[str]) -> Output:
    """Run a program without a shell, its output captured, within COMMAND_TIMEOUT_S."""
    timeout_s = SLOW_COMMANDS_S.get(argv[0], COMMAND_TIMEOUT_S)
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
            env=command_environment(),
            preexec_fn=partial(die_with, os.getpid()) if argv[0] in SLOW_COMMANDS_S else None,
        )
    except FileNotFoundError:
        return Output(127, "", f"{argv[0]}: not installed")
    except OSError as error:
        return Output(126, "", f"{argv[0]}: {error.strerror}")
    except subprocess.TimeoutExpired:
        return Output(124, "", f"{argv[0]}: no answer within {timeout_s} s")
    return Output(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True, slots=True)
class Host:
    """A machine: paths are given as the machine itself names them ("/proc/cmdline")."""

    root: Path = Path("/")
    run: Callable[[Sequence[str]], Output] = field(default=run_command)

    def path(self, name: str) -> Path:
        """Return where an absolute path of the machine lies for this process."""
        return self.root / name.lstrip("/")

    def read(self, name: str) -> str | None:
        """Return a file's text without the final newline, or None where it cannot be read."""
        try:
            return self.path(name).read_text(errors="replace").rstrip("\n")
        except OSError:
            return None

    def read_bytes(self, name: str) -> bytes | None:
        """Return a file's bytes, or None where it cannot be read."""
        try:
            return self.path(name).read_bytes()
        except OSError:
            return None

    def read_at(self, name: str, offset: int, size: int) -> bytes | None:
        """Return bytes of a device file at an offset, or None where they cannot be read."""
        try:
            with self.path(name).open("rb", buffering=0) as file:
                found = os.pread(file.fileno(), size, offset)
        except OSError:
            return None
        return found if len(found) == size else None

    def exists(self, name: str) -> bool:
        """Tell whether a path is there; a link counts by what it points at."""
        try:
            return self.path(name).exists()
        except OSError:
            return False

    def link(self, name: str) -> str | None:
        """Return what a symbolic link says, or None where there is none."""
        try:
            return str(self.path(name).readlink())
        except OSError:
            return None

    def names(self, folder: str) -> tuple[str, ...]:
        """List the names in a folder, sorted; () where it cannot be read."""
        try:
            return tuple(sorted(path.name for path in self.path(folder).iterdir()))
        except OSError:
            return ()

    def glob(self, pattern: str) -> tuple[str, ...]:
        """List the machine's paths that match, sorted."""
        found = self.root.glob(pattern.lstrip("/"))
        return tuple(sorted("/" + str(path.relative_to(self.root)) for path in found))
