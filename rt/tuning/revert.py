"""Put back what apply wrote: backwards, byte for byte, and only what is still ours.

A live value is ours if it still reads as after our write, in the same boot; a file if its bytes are
ours. All else is left and told, with both values. An entry is marked as undone only when its target
is as it was, so that a revert that was killed goes on where it stopped. Called by: revert_command.
Calls: journal, writing, rt.reading, grub.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tickpath.rt.catalogue.services import AFFINITY_PATH
from tickpath.rt.errors import HostError
from tickpath.rt.limits import parse_cpu_list
from tickpath.rt.reading import read_live, same
from tickpath.rt.setting import KernelFile
from tickpath.rt.tuning import grub
from tickpath.rt.tuning.apply import run_systemctl, unit_state
from tickpath.rt.tuning.journal import (
    LIVE_KINDS,
    Entry,
    Journal,
    clear_building,
    read_journal,
    remove_home,
)
from tickpath.rt.tuning.plan_files import (
    SYSCTL_FILE,
    TMPFILES_FILE,
    parse_ethtool,
    reload_commands,
)
from tickpath.rt.tuning.writing import FileState

if TYPE_CHECKING:
    from tickpath.rt.host import Host
    from tickpath.rt.tuning.journal import Log
    from tickpath.rt.tuning.writing import Disk

BRACKETED = re.compile(r"\[([^\]]+)\]")
UNIT_VERBS = ("unmask", "disable", "start", "stop")  # in this order: a masked unit cannot start
SHOWN = 120  # characters of a value in a report


@dataclass(frozen=True, slots=True)
class Left:
    """What was not put back: what is there, what was there before us, and why it stays."""

    kind: str
    target: str
    now: str
    previous: str
    why: str


@dataclass(slots=True)
class Reverted:
    """What a revert did, or would do."""

    restored: list[Entry] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    reboot_required: bool = False


def revert(disk: Disk, boot: str, dry_run: bool = False) -> Reverted:
    """Put everything back that is still ours. The caller holds `exclusive`, unless dry_run.

    Raises HostError where a file of ours cannot be written.
    """
    log = read_journal(disk.host)
    reverter = Reverter(disk, boot, log, dry_run)
    if dry_run:
        return reverter.run()
    if not log.entries and not log.damaged and not disk.host.exists("/var/lib/tickpath/rt"):
        clear_building(disk)
        return reverter.result
    with Journal(disk) as journal:
        reverter.journal = journal
        try:
            result = reverter.run()
        except OSError as error:
            raise HostError(
                f"{error.filename or 'a file'}: {error.strerror}; run revert again once it can be "
                "written"
            ) from error
    if not result.left and not log.damaged:
        remove_home(disk, log.made)
    return result


class Reverter:
    """Goes through a journal backwards."""

    def __init__(self, disk: Disk, boot: str, log: Log, dry_run: bool) -> None:
        self.disk = disk
        self.host = disk.host
        self.boot = boot
        self.log = log
        self.dry_run = dry_run
        self.journal: Journal | None = None
        self.result = Reverted()
        # Marked only once their command has run: a kill before it must not forget it.
        self.waiting: list[Entry] = []
        self.menu_anew: list[Entry] = []
        # Refused while another value stood in the way: tried once more after all the others.
        self.refused: list[Entry] = []
        self.is_last_round = False
        # Judged, and to be changed together; with the commands that each needs.
        self.units: list[tuple[Entry, tuple[str, ...]]] = []

    def run(self) -> Reverted:
        for number in self.log.damaged:
            self.result.left.append(
                Left(
                    "journal", f"line {number}", "not a record", "", "the journal is damaged there"
                )
            )
        for entry in reversed(self.log.open_entries):
            if not self.joins_units(entry):
                self.change_units()
            self.undo(entry)
        self.change_units()
        self.is_last_round = True
        for entry in self.refused:
            self.undo_kernel(entry)
        self.finish()
        return self.result

    def undo(self, entry: Entry) -> None:
        if entry.kind in LIVE_KINDS and entry.boot != self.boot:
            self.forget(entry)
            return
        match entry.kind:
            case "kernel":
                self.undo_kernel(entry)
            case "ethtool":
                self.undo_ethtool(entry)
            case "unit":
                self.undo_unit(entry)
            case "file":
                self.undo_file(entry)
            case "link":
                self.undo_link(entry)
            case "folder":
                self.undo_folder(entry)
            case "grub-next":
                self.undo_choice(entry)

    def forget(self, entry: Entry) -> None:
        """A value of an earlier boot went with it; a file may have set it again since."""
        now = self.host.read(entry.target) if entry.kind == "kernel" else None
        if now is not None and isinstance(entry.wrote, str) and ours(entry, now):
            self.result.reboot_required = True
            self.result.notes.append(
                f"{entry.target} stays {shown(now)} until the next boot: it was set before this one"
            )
        self.mark(entry)

    def undo_kernel(self, entry: Entry) -> None:
        previous = text_value(entry.previous)
        if not self.is_last_round and any(one.target == entry.target for one in self.refused):
            self.refused.append(entry)
            return
        try:
            now = self.host.path(entry.target).read_text(errors="replace")
        except OSError:
            self.leave(entry, "not there", "it is gone, or cannot be read")
            return
        if now == previous:
            self.mark(entry)
        elif not ours(entry, now):
            self.leave(entry, now, "somebody changed it since")
        elif self.dry_run or (why := self.store_kernel(entry.target, previous)) is None:
            self.restored(entry)
        elif self.is_last_round:
            self.leave(entry, now, why)
        else:
            self.refused.append(entry)

    def store_kernel(self, target: str, previous: str) -> str | None:
        """Write a kernel file and read it back; return why it is not as before, None if it is."""
        chosen = BRACKETED.search(previous)
        try:
            self.disk.store(target, f"{chosen[1]}\n" if chosen else previous)
            after = self.host.path(target).read_text(errors="replace")
        except OSError as error:
            return f"the kernel refused: {error.strerror}"
        return None if after == previous else f"the kernel made {shown(after)!r} of it"

    def undo_ethtool(self, entry: Entry) -> None:
        interface, group, name = entry.target.split(" ", 2)
        previous = text_value(entry.previous)
        setting = parse_ethtool(
            {"interface": interface, "group": group, "name": name, "value": previous}
        )
        now = read_live(self.host, setting)
        if now == previous:
            self.mark(entry)
        elif now is None:
            self.leave(entry, "not known", "the interface is gone")
        elif now not in (entry.wrote, entry.reads):
            self.leave(entry, now, "somebody changed it since")
        elif self.dry_run:
            self.restored(entry)
        else:
            done = self.host.run(("ethtool", f"-{group}", interface, name, previous))
            if read_live(self.host, setting) == previous:
                self.restored(entry)
            else:
                self.leave(entry, now, f"ethtool: {done.stderr.strip() or 'the driver kept it'}")

    def undo_unit(self, entry: Entry) -> None:
        """Judge a unit; it is changed together with those beside it in the journal."""
        was_enabled, was_active = text_value(entry.previous).split(" ", 1)
        enabled, active = unit_state(self.disk, entry.target).split(" ", 1)
        masked = entry.wrote == "masked"
        if enabled == was_enabled and (active == "active") == (was_active == "active"):
            self.mark(entry)
            return
        still_ours = enabled.startswith("masked") if masked else enabled == "enabled"
        if enabled != was_enabled and not still_ours:
            self.leave(entry, f"{enabled} {active}", "somebody changed it since")
            return
        verbs: list[str] = []
        if enabled != was_enabled:
            verbs.append("unmask" if masked else "disable")
        if (active == "active") != (was_active == "active"):
            verbs.append("start" if was_active == "active" else "stop")
        self.units.append((entry, tuple(verbs)))

    def joins_units(self, entry: Entry) -> bool:
        """Tell whether an entry is one more unit to be changed alike.

        All else waits for these, an older entry of the same unit too: it is judged by what they
        leave.
        """
        return entry.kind == "unit" and all(
            one.wrote == entry.wrote and one.target != entry.target for one, _ in self.units
        )

    def change_units(self) -> None:
        """Put the units back that were judged last, then look at each."""
        pending, self.units = self.units, []
        for verb in UNIT_VERBS:
            units = [entry.target for entry, verbs in pending if verb in verbs]
            if units and not self.dry_run:
                run_systemctl(self.host, (verb,), units)
        for entry, _ in pending:
            if self.dry_run or self.unit_is_back(entry):
                self.restored(entry)
            else:
                now = unit_state(self.disk, entry.target)
                self.leave(entry, now, "systemctl did not bring it back")

    def unit_is_back(self, entry: Entry) -> bool:
        was_enabled, was_active = text_value(entry.previous).split(" ", 1)
        enabled, active = unit_state(self.disk, entry.target).split(" ", 1)
        # A job that has ended since, and did its work, is no failure.
        return enabled == was_enabled and not (was_active == "active" and active == "failed")

    def undo_file(self, entry: Entry) -> None:
        if not self.dry_run:
            self.disk.clear_beside(entry.target)
        try:
            now = self.disk.state(entry.target)
        except OSError:
            self.leave(entry, "not a regular file", "somebody replaced it")
            return
        previous = entry.previous if isinstance(entry.previous, FileState) else None
        wrote = entry.wrote if isinstance(entry.wrote, FileState) else None
        if now == previous or (now is None and previous is None):
            self.mark(entry)
        elif now is not None and wrote is not None and now.data == wrote.data:
            if self.outlives(entry):
                self.result.reboot_required = True
                self.result.notes.append(
                    f"what {entry.target} set stays in force until the next boot"
                )
            if not self.dry_run:
                if previous is None:
                    self.disk.remove(entry.target)
                else:
                    self.disk.put(entry.target, previous)
            self.restored(entry)
            if entry.target == grub.DROP_IN and previous is None:
                self.tell_of_kernel()
        elif now is not None and previous is not None and now.data == previous.data:
            self.mark(entry)
        elif entry.target == grub.CONFIG:
            self.menu_anew.append(entry)
        else:
            self.leave(
                entry,
                "not there" if now is None else now.data.decode(errors="replace"),
                "somebody changed it since",
            )

    def tell_of_kernel(self) -> None:
        """Our menu kept the kernel of before as the default: without it the first entry is."""
        kernels = self.host.glob(grub.RT_KERNELS)
        if kernels:
            self.result.notes.append(
                f"{kernels[-1]} stays installed, and where GRUB boots its first entry that may be "
                "it: to be rid of it, boot the other one (grub-reboot), then remove its package"
            )

    def outlives(self, entry: Entry) -> bool:
        """Tell whether what a file set at boot is in force without a value to put back."""
        if entry.target == grub.DROP_IN:
            return grub.booted_entry(self.host.read("/proc/cmdline") or "") is not None
        if entry.target == AFFINITY_PATH:
            # Without CPUAffinity= systemd leaves its own mask as it is, and all it starts has it.
            return not may_run_everywhere(self.host)
        return entry.boot != self.boot and entry.target in (SYSCTL_FILE, TMPFILES_FILE)

    def undo_link(self, entry: Entry) -> None:
        now = self.host.link(entry.target)
        if now is None:
            self.mark(entry)
        elif now != entry.wrote:
            self.leave(entry, now, "somebody changed it since")
        else:
            if not self.dry_run:
                self.disk.remove(entry.target)
            self.restored(entry)

    def undo_folder(self, entry: Entry) -> None:
        if self.dry_run or self.disk.remove_folder(entry.target):
            self.mark(entry)
        elif any(left.target.startswith(entry.target + "/") for left in self.result.left):
            self.leave(entry, "not empty", "what is left lies in it")
        else:
            self.result.notes.append(f"{entry.target} stays: it holds files that are not ours")
            self.mark(entry)

    def undo_choice(self, entry: Entry) -> None:
        """Put back the entry chosen for the next boot; GRUB may have used ours up since."""
        previous = entry.previous if isinstance(entry.previous, FileState) else None
        before = grub.next_entry(previous.data) if previous else None
        now = grub.next_entry(self.host.read_bytes(entry.target) or b"")
        if now == before and (previous is not None or not self.host.exists(entry.target)):
            self.mark(entry)
            return
        if now not in (entry.wrote, "", before):
            self.leave(entry, now or "", "another entry was chosen since")
            return
        if not self.dry_run:
            change = ("unset", "next_entry") if before is None else ("set", f"next_entry={before}")
            self.host.run(("grub-editenv", entry.target, *change))
            data = self.host.read_bytes(entry.target) or b""
            if grub.next_entry(data) != before:
                self.leave(entry, now or "", "grub-editenv did not change it")
                return
            if previous is None and not any(b"=" in line for line in data.split(b"\n")):
                self.disk.remove(entry.target)
        self.restored(entry)

    def finish(self) -> None:
        """Make live what was put back, then mark what waited for that."""
        if not self.dry_run:
            for argv in reload_commands(entry.reload for entry in self.waiting):
                done = self.host.run(argv)
                if done.status != 0:
                    self.result.notes.append(f"{' '.join(argv)}: {done.stderr.strip()[:SHOWN]}")
            if self.menu_anew:
                self.make_menu()
        for entry in self.menu_anew:
            self.restored(entry)
        for entry in self.waiting:
            self.write_mark(entry)

    def make_menu(self) -> None:
        """The menu was made anew since, and has entries of ours: make it once more, without."""
        done = self.host.run(("grub-mkconfig",))
        now = self.disk.state(grub.CONFIG)
        if done.status != 0 or not done.stdout.strip() or now is None:
            for entry in self.menu_anew:
                self.leave(entry, "of another run", f"grub-mkconfig: {done.stderr.strip()[:SHOWN]}")
            self.menu_anew.clear()
            return
        wanted = done.stdout.encode()
        if wanted != now.data:
            self.disk.put(grub.CONFIG, FileState(wanted, now.mode, now.uid, now.gid))

    def restored(self, entry: Entry) -> None:
        self.result.restored.append(entry)
        self.mark(entry)

    def mark(self, entry: Entry) -> None:
        """Note that the target is as it was, at once or once its command has run."""
        if entry.reload:
            self.waiting.append(entry)
        else:
            self.write_mark(entry)

    def write_mark(self, entry: Entry) -> None:
        if self.journal is not None:
            self.journal.undid(entry)

    def leave(self, entry: Entry, now: str, why: str) -> None:
        previous = entry.previous
        before = (
            previous.data.decode(errors="replace")
            if isinstance(previous, FileState)
            else "not there"
            if previous is None
            else previous
        )
        self.result.left.append(Left(entry.kind, entry.target, shown(now), shown(before), why))


def may_run_everywhere(host: Host) -> bool:
    """Tell whether the first process may run on all CPUs; True where that is not told."""
    status = host.read("/proc/1/status") or ""
    allowed = re.search(r"^Cpus_allowed_list:\s*(\S+)$", status, re.MULTILINE)
    online = host.read("/sys/devices/system/cpu/online")
    if allowed is None or online is None:
        return True
    return set(parse_cpu_list(allowed[1])) >= set(parse_cpu_list(online))


def text_value(value: object) -> str:
    return value if isinstance(value, str) else ""


def shown(text: str) -> str:
    stripped = text.strip()
    return stripped if len(stripped) <= SHOWN else stripped[:SHOWN] + "…"


def ours(entry: Entry, now: str) -> bool:
    """Tell whether a kernel file still reads as our write left it."""
    if entry.reads and now.rstrip("\n") == entry.reads:
        return True
    wrote = KernelFile(entry.target, text_value(entry.wrote), entry.expects)
    return same(wrote, now.rstrip("\n")) or (entry.reads is None and half_done(entry, now))


def half_done(entry: Entry, now: str) -> bool:
    """Tell whether a count lies between what was there and what we wanted.

    The kernel hands out huge pages one by one, and a kill stops it anywhere on the way.
    """
    try:
        ends = sorted((int(text_value(entry.previous)), int(text_value(entry.wrote))))
        return ends[0] <= int(now) <= ends[1]
    except ValueError:
        return False
