"""One step of a plan: what is written where, and how it is shown.

Called by: plan, plan_boot, plan_refusals, apply. Calls: nothing of ours.
"""

from __future__ import annotations

import difflib
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from tickpath.rt.setting import Setting

# run: a command that makes files live; grub-config: the menu made anew; grub-next: one boot only
StepKind = Literal["kernel", "ethtool", "unit", "file", "link", "run", "grub-config", "grub-next"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A setting, and the item of the catalogue that asks for it."""

    item: str
    setting: Setting


@dataclass(frozen=True, slots=True)
class Step:
    """One write. before None: nothing there yet; for a menu made anew neither is known."""

    kind: StepKind
    target: str
    before: str | None
    after: str
    item: str
    effect: Literal["now", "reboot"] = "now"
    persisted_in: str = ""  # "": nothing but the write itself keeps it
    setting: Setting | None = None
    mode: int = 0o644
    reload: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        """The write as a person would type it."""
        words: list[str] = []
        match self.kind:
            case "kernel":
                words = ["echo", shlex.quote(self.after), ">", self.target]
            case "ethtool":
                interface, group, name = self.target.split(" ", 2)
                words = ["ethtool", f"-{group}", interface, name, self.after]
            case "unit":
                verb = "mask" if self.after == "masked" else "enable"
                words = ["systemctl", verb, "--now", self.target]
            case "file":
                words = ["write", self.target]
            case "link":
                words = ["ln", "-s", self.after, self.target]
            case "run":
                words = [self.target]
            case "grub-config":
                words = ["grub-mkconfig", "-o", self.target]
            case "grub-next":
                words = ["grub-reboot", self.after]
        return " ".join(words)

    @property
    def diff(self) -> str:
        """The unified diff of a file; "" for any other kind."""
        if self.kind != "file":
            return ""
        before = (self.before or "").splitlines(keepends=True)
        source = self.target if self.before is not None else "/dev/null"
        lines = difflib.unified_diff(
            before, self.after.splitlines(keepends=True), source, self.target
        )
        return "".join(line if line.endswith("\n") else line + "\n" for line in lines)


@dataclass(frozen=True, slots=True)
class Skipped:
    """What is asked for and not written, with the reason."""

    item: str
    target: str
    why: str
