"""Carry out a plan: journal what is there, write, read back; each step on its own.

A value that the kernel or a driver does not take is told and the rest goes on; a file of ours that
cannot be written ends it, and what was written so far stands in the journal for revert.
Called by: apply_command, promote. Calls: journal, writing, rt.reading, rt.remembered, grub, plan,
plan_files.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from tickpath.rt.errors import HostError
from tickpath.rt.reading import read_live, same
from tickpath.rt.remembered import remembering
from tickpath.rt.setting import KernelFile
from tickpath.rt.tuning import grub, plan_files
from tickpath.rt.tuning.journal import Entry, Journal, compact, exclusive, read_journal
from tickpath.rt.tuning.plan import live_steps, usable_here
from tickpath.rt.tuning.plan_step import Skipped, Wanted
from tickpath.rt.tuning.writing import Disk, FileState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tickpath.rt.host import Host
    from tickpath.rt.item import Context
    from tickpath.rt.tuning.journal import Kind, Value
    from tickpath.rt.tuning.plan_step import Step

UNDO = "`tickpath rt revert` puts back what was written"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a step. kept: something else than what was written is read; failed: refused."""

    step: Step
    status: Literal["written", "kept", "failed"]
    told: str = ""  # what was read instead, or what the kernel or a program said


class Applier:
    """Carries out steps on one host, in one boot."""

    def __init__(
        self, disk: Disk, journal: Journal, boot: str, tell: Callable[[str], None]
    ) -> None:
        self.disk = disk
        self.host = disk.host
        self.journal = journal
        self.boot = boot
        self.tell = tell

    def carry_out_all(self, steps: Sequence[Step]) -> tuple[Outcome, ...]:
        """Do steps in their order; units in a row that become alike change together."""
        outcomes: list[Outcome] = []
        for state, group in itertools.groupby(steps, key=state_of_unit):
            if state is None:
                outcomes += [self.carry_out(step) for step in group]
            else:
                outcomes += self.change_units(tuple(group))
        return tuple(outcomes)

    def carry_out(self, step: Step) -> Outcome:
        """Do one step. Raises HostError where a file of ours cannot be written."""
        match step.kind:
            case "kernel":
                return self.write_kernel(step)
            case "ethtool":
                return self.run_ethtool(step)
            case "unit":
                return self.change_units((step,))[0]
            case "run":
                return self.make_live(step)
            case "grub-next":
                return self.choose_entry(step)
            case "file" | "link" | "grub-config":
                try:
                    return self.write_file(step)
                except OSError as error:
                    raise HostError(f"{step.target}: {error.strerror}; {UNDO}") from error

    def make_live(self, step: Step) -> Outcome:
        """Run a command that makes files live, and note for which it did."""
        done = self.host.run(step.reload)
        if done.status != 0:
            return Outcome(step, "failed", done.stderr.strip())
        for entry in read_journal(self.host).waiting_for_reload(self.boot):
            if plan_files.reload_commands((entry.reload, step.reload)) == (step.reload,):
                self.journal.reloaded(entry)
        return Outcome(step, "written")

    def write_file(self, step: Step) -> Outcome:
        for folder in self.disk.missing_folders(step.target):
            entry = self.add(step, "folder", folder, None, "")
            self.disk.system.make_folder(self.host.path(folder))
            self.journal.wrote(entry, "")
        if step.kind == "link":
            entry = self.add(step, "link", step.target, None, step.after)
            self.disk.system.link(self.host.path(step.target), step.after)
            self.journal.wrote(entry, step.after)
            return Outcome(step, "written")
        if step.kind == "grub-config":
            self.tell("rebuilding the boot menu (grub-mkconfig)")
            step = replace(step, after=self.make_menu())
        before = self.disk.state(step.target)
        if before is not None and before.data == step.after.encode():
            return Outcome(step, "written")
        wanted = FileState(step.after.encode(), step.mode)
        if before is not None:
            wanted = replace(before, data=wanted.data, mtime_ns=None)
            if step.mode != FileState(b"").mode:
                wanted = replace(wanted, mode=step.mode)
        entry = self.add(step, "file", step.target, before, wanted)
        self.disk.put(step.target, wanted, self.check_menu if step.kind == "grub-config" else None)
        self.journal.wrote(entry, "")
        return Outcome(step, "written")

    def make_menu(self) -> str:
        """Run grub-mkconfig. Raises HostError unless the menu has the entries asked for."""
        done = self.host.run(("grub-mkconfig",))
        if done.status != 0 or not done.stdout.strip():
            raise HostError(f"grub-mkconfig: {done.stderr.strip()[-300:] or 'no menu'}; {UNDO}")
        lines = grub.parse_drop_in(self.host.read(grub.DROP_IN) or "")
        for entry, line in ((grub.TRIAL_ENTRY, lines.trial), (grub.LASTING_ENTRY, lines.lasting)):
            words = grub.entry_words(done.stdout, entry)
            if line is not None and not set(line.words) <= set(words or ()):
                raise HostError(
                    f"grub-mkconfig made no entry {entry!r} with the words asked for (no "
                    f"{line.flavour} kernel in /boot, or another 10_linux than Debian's); {UNDO}"
                )
        default = f'set default="{grub.LASTING_ENTRY}"'
        if lines.lasting is not None and default not in done.stdout:
            raise HostError(
                f"the menu has no line {default}: a later file of /etc/default/grub.d sets "
                f"GRUB_DEFAULT; fix it there; {UNDO}"
            )
        return done.stdout

    def check_menu(self, path: Path) -> None:
        done = self.host.run(("grub-script-check", str(path)))
        if done.status not in (0, 127):
            raise HostError(f"grub-script-check: {done.stderr.strip()[-300:]}; {UNDO}")

    def write_kernel(self, step: Step) -> Outcome:
        path = self.host.path(step.target)
        try:
            before = path.read_text(errors="replace")
        except OSError as error:
            return Outcome(step, "failed", error.strerror or str(error))
        entry = self.add(step, "kernel", step.target, before, step.after)
        told = ""
        try:
            self.disk.store(step.target, step.after + "\n")
        except OSError as error:
            told = error.strerror or str(error)
        return self.read_back(step, entry, told)

    def run_ethtool(self, step: Step) -> Outcome:
        entry = self.add(step, "ethtool", step.target, step.before, step.after)
        interface, group, name = step.target.split(" ", 2)
        done = self.host.run(("ethtool", f"-{group}", interface, name, step.after))
        return self.read_back(step, entry, done.stderr.strip() if done.status else "")

    def change_units(self, steps: Sequence[Step]) -> list[Outcome]:
        """Mask units, or enable them, all journaled before the first is changed."""
        entries = [
            self.add(step, "unit", step.target, unit_state(self.disk, step.target), step.after)
            for step in steps
        ]
        verb = "mask" if steps[0].after == "masked" else "enable"
        told = run_systemctl(self.host, (verb, "--now"), [step.target for step in steps])
        return [
            self.read_back(step, entry, told[step.target])
            for step, entry in zip(steps, entries, strict=True)
        ]

    def read_back(self, step: Step, entry: Entry, told: str) -> Outcome:
        """Compare with what is there now: drivers drop silently, the kernel may round."""
        reads = None if step.setting is None else read_live(self.host, step.setting)
        self.journal.wrote(entry, reads or "")
        if step.setting is not None and reads is not None and same(step.setting, reads):
            return Outcome(step, "written")
        if told:
            return Outcome(step, "failed", told)
        return Outcome(step, "kept", reads or "nothing")

    def choose_entry(self, step: Step) -> Outcome:
        before = self.disk.state(step.target)
        entry = self.add(step, "grub-next", step.target, before, step.after)
        done = self.host.run(("grub-editenv", step.target, "set", f"next_entry={step.after}"))
        chosen = grub.next_entry(self.host.read_bytes(step.target) or b"")
        self.journal.wrote(entry, chosen or "")
        if chosen != step.after:
            raise HostError(f"grub-editenv {step.target}: {done.stderr.strip()}; {UNDO}")
        return Outcome(step, "written")

    def add(self, step: Step, kind: Kind, target: str, before: Value, wrote: Value) -> Entry:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        expects = step.setting.reads_as if isinstance(step.setting, KernelFile) else None
        return self.journal.add(
            Entry(0, self.boot, now, step.item, kind, target, before, wrote, step.reload, expects)
        )


def state_of_unit(step: Step) -> str | None:
    return step.after if step.kind == "unit" else None


def run_systemctl(host: Host, words: Sequence[str], units: Sequence[str]) -> dict[str, str]:
    """Run systemctl for units together, since each run has systemd read all its files anew.

    Where that fails, for each by itself: one unit must not keep the others. Returns what each
    unit's failure was told with, "" where there was none.
    """
    done = host.run(("systemctl", *words, *units))
    if done.status == 0 or len(units) == 1:
        answers = dict.fromkeys(units, done)
    else:
        answers = {unit: host.run(("systemctl", *words, unit)) for unit in units}
    return {unit: one.stderr.strip() if one.status else "" for unit, one in answers.items()}


def unit_state(disk: Disk, unit: str) -> str:
    """Return what systemd says a unit is: "enabled active"; "-" for what it does not know."""
    enabled = disk.host.run(("systemctl", "is-enabled", unit)).stdout.strip()
    active = disk.host.run(("systemctl", "is-active", unit)).stdout.strip()
    return f"{enabled or '-'} {active or '-'}"


def silent(_: str) -> None:
    """Tell nobody."""


def apply_steps(
    context: Context, steps: Sequence[Step], disk: Disk, tell: Callable[[str], None] = silent
) -> tuple[Outcome, ...]:
    """Carry out steps in their order, under the journal. The caller holds `exclusive`.

    Without a step nothing is touched, not even the journal. Raises HostError.
    """
    if not steps:
        return ()
    boot = context.topology.boot_id
    try:
        compact(disk, boot)
        with Journal(disk) as journal:
            return Applier(disk, journal, boot, tell).carry_out_all(steps)
    except OSError as error:
        raise HostError(f"{error.filename or 'the journal'}: {error.strerror}; {UNDO}") from error


def apply_boot_list(
    context: Context, disk: Disk
) -> tuple[tuple[Outcome, ...], tuple[Skipped, ...]]:
    """Apply what no standard file keeps, as tickpath-rt.service does at each boot.

    Raises HostError where the list is not there or is not ours.
    """
    host = context.host
    text = host.read(plan_files.BOOT_LIST)
    if text is None:
        raise HostError(f"{plan_files.BOOT_LIST} is not there: `tickpath rt apply` writes it")
    try:
        settings, lost = plan_files.parse_boot_list(host, text)
    except ValueError as error:
        raise HostError(f"{error}: run `tickpath rt apply` again") from error
    skipped: list[Skipped] = []
    from_list = [Wanted("boot", setting) for setting in settings]
    with exclusive(host):
        log = read_journal(host)
        reading = replace(context, host=remembering(host))  # for the plan alone, before any write
        usable = [each for each in from_list if usable_here(reading.host, each, skipped)]
        steps = live_steps(reading, usable, log, skipped)
        outcomes = apply_steps(context, steps, disk)
    return outcomes, (*skipped, *(Skipped("boot", "/proc/irq", why) for why in lost))
