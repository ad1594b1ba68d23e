"""What a check says: its state, what was read where, why it matters, what to do.

Called by: every check of this folder. Calls: rt.limits for reading files.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tickpath.rt.limits import read_text


class State(StrEnum):
    """How good a finding is; `fail` means that the main job cannot run over AF_XDP here."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. `remedy` is empty where nothing need be done."""

    check: str
    state: State
    read: str
    where: str
    why: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Host:
    """The machine to judge: the root of its file system, and the CPUs this process may use."""

    cpus: tuple[int, ...]
    root: Path = Path("/")

    def text(self, name: str) -> str | None:
        """Return a file's text, or None where it cannot be read; `name` is relative to the root."""
        return read_text(self.root, name)
