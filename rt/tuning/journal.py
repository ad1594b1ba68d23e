"""The journal: what was there before each write, on the disk before the write is done.

One JSON object a line, only ever appended to: an entry {"seq", "boot", "time", "item", "kind",
"target", "previous", "wrote", "reload", "expects"}, then {"seq", "reads"} once it was written and
read back, {"seq", "reloaded"} once the command ran that makes it live, {"seq", "undone"} once it
was put back. The first line names the folders made for the journal. A last line that a kill tore is
cut off. Its folder appears with the first line in it, by a rename, and goes with the last entry, so
that a kill leaves nothing that nobody knows of. Called by: apply, revert, promote. Calls: writing,
rt.errors.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import fcntl
import json
import os
import stat
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

from tickpath.rt.errors import HostError
from tickpath.rt.tuning.writing import FileState, sync_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tickpath.rt.host import Host
    from tickpath.rt.tuning.writing import Disk

HOME = "/var/lib/tickpath/rt"
JOURNAL = f"{HOME}/journal.jsonl"
BUILDING = ".tickpath-journal~"  # the folder under which a new home is prepared, or taken away
LOCK = "/run/tickpath-rt.lock"

# kernel: a file of /proc or /sys; grub-next: the entry chosen for the next boot.
Kind = Literal["kernel", "ethtool", "unit", "file", "link", "folder", "grub-next"]
KINDS: tuple[Kind, ...] = get_args(Kind)
# What a reboot undoes by itself.
LIVE_KINDS: frozenset[Kind] = frozenset({"kernel", "ethtool"})
Value = str | FileState | None  # None: there was none


@dataclass(frozen=True, slots=True)
class Entry:
    """One write: what it found, what it wanted. reload: the command that makes a file live."""

    seq: int
    boot: str
    time: str
    item: str
    kind: Kind
    target: str
    previous: Value
    wrote: Value
    reload: tuple[str, ...] = ()
    expects: str | None = None  # what the target then reads, where it is not what is written
    reads: str | None = None  # what was read back; None: not told, the process may have died
    reloaded: bool = False  # whether `reload` has run since
    undone: bool = False


@dataclass(frozen=True, slots=True)
class Log:
    """A journal as read: folders made for it, entries in order, lines that are no record."""

    made: tuple[str, ...] = ()
    entries: tuple[Entry, ...] = ()
    damaged: tuple[int, ...] = ()
    size: int = 0  # bytes up to the last whole line

    @property
    def open_entries(self) -> tuple[Entry, ...]:
        return tuple(entry for entry in self.entries if not entry.undone)

    def waiting_for_reload(self, boot: str) -> tuple[Entry, ...]:
        """List the writes of a boot that no command has made live: a kill came in between."""
        return tuple(
            entry
            for entry in self.open_entries
            if entry.reload and not entry.reloaded and entry.boot == boot
        )


def encode_value(value: Value) -> object:
    if not isinstance(value, FileState):
        return value
    described: dict[str, object] = {
        "mode": value.mode,
        "uid": value.uid,
        "gid": value.gid,
        "mtime_ns": value.mtime_ns,
    }
    try:
        described["text"] = value.data.decode()
    except UnicodeDecodeError:
        described["base64"] = base64.b64encode(value.data).decode()
    return described


def encode_entry(entry: Entry) -> bytes:
    """Write the line that precedes a write; what was read back comes in a line of its own."""
    return encode_line(
        {
            "seq": entry.seq,
            "boot": entry.boot,
            "time": entry.time,
            "item": entry.item,
            "kind": entry.kind,
            "target": entry.target,
            "previous": encode_value(entry.previous),
            "wrote": encode_value(entry.wrote),
            "reload": list(entry.reload),
            "expects": entry.expects,
        }
    )


def encode_line(record: Mapping[str, object]) -> bytes:
    return json.dumps(record, ensure_ascii=True).encode() + b"\n"


def text_of(record: Mapping[str, object], name: str) -> str:
    value = record[name]
    if not isinstance(value, str):
        raise ValueError(f"{name}: expected text")
    return value


def number_of(record: Mapping[str, object], name: str) -> int:
    value = record[name]
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{name}: expected a number")
    return value


def texts_of(record: Mapping[str, object], name: str) -> tuple[str, ...]:
    value = record[name]
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ValueError(f"{name}: expected a list of texts")
    return tuple(value)


def decode_value(value: object) -> Value:
    if value is None or isinstance(value, str):
        return value
    if not isinstance(value, dict):
        raise ValueError(f"{value!r}: expected a text or a file")
    if "text" in value:
        data = text_of(value, "text").encode()
    else:
        data = base64.b64decode(text_of(value, "base64"), validate=True)
    mtime = None if value["mtime_ns"] is None else number_of(value, "mtime_ns")
    return FileState(
        data, number_of(value, "mode"), number_of(value, "uid"), number_of(value, "gid"), mtime
    )


def decode_entry(record: Mapping[str, object]) -> Entry:
    kind = next((one for one in KINDS if one == record["kind"]), None)
    if kind is None:
        raise ValueError(f"kind: not one of {KINDS}")
    return Entry(
        seq=number_of(record, "seq"),
        boot=text_of(record, "boot"),
        time=text_of(record, "time"),
        item=text_of(record, "item"),
        kind=kind,
        target=text_of(record, "target"),
        previous=decode_value(record["previous"]),
        wrote=decode_value(record["wrote"]),
        reload=texts_of(record, "reload"),
        expects=None if record["expects"] is None else text_of(record, "expects"),
    )


def parse_journal(data: bytes) -> Log:
    """Read a journal's bytes. Never raises: a line that is no record is told by its number."""
    made: tuple[str, ...] = ()
    entries: dict[int, Entry] = {}
    damaged: list[int] = []
    whole, _, _ = data.rpartition(b"\n")
    for number, line in enumerate(whole.split(b"\n") if whole else (), 1):
        try:
            record = json.loads(line)
            if not isinstance(record, dict):
                raise ValueError("expected an object")
            if "made" in record:
                made = texts_of(record, "made")
            elif "kind" in record:
                entry = decode_entry(record)
                if entry.seq in entries:
                    raise ValueError(f"seq {entry.seq} twice")
                entries[entry.seq] = entry
            else:
                seq = number_of(record, "seq")
                entries[seq] = note(entries[seq], record)
        except (ValueError, KeyError, RecursionError, binascii.Error):
            damaged.append(number)
    size = len(whole) + 1 if whole else 0
    ordered = tuple(sorted(entries.values(), key=lambda entry: entry.seq))
    return Log(made, ordered, tuple(damaged), size)


def note(entry: Entry, record: Mapping[str, object]) -> Entry:
    if record.get("undone") is True:
        return replace(entry, undone=True)
    if record.get("reloaded") is True:
        return replace(entry, reloaded=True)
    return replace(entry, reads=text_of(record, "reads"))


def read_journal(host: Host) -> Log:
    """Read the host's journal; an empty one where there is none.

    Raises HostError where it is there but cannot be read.
    """
    try:
        return parse_journal(host.path(JOURNAL).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return Log()
    except PermissionError as error:
        raise HostError(f"{JOURNAL}: cannot be read ({error.strerror}): run as root") from error


class Journal:
    """The journal opened for appending: a context manager that holds its file."""

    def __init__(self, disk: Disk) -> None:
        """Open it, and make it where there is none. Raises HostError, OSError."""
        self.disk = disk
        refuse_foreign(disk.host)
        clear_building(disk)
        if not disk.host.path(HOME).is_dir():
            build_home(disk)
        disk.clear_beside(JOURNAL)
        path = disk.host.path(JOURNAL)
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        sync_folder(path.parent)
        self.log = read_journal(disk.host)
        if os.fstat(self.descriptor).st_size > self.log.size:
            disk.system.truncate(self.descriptor, self.log.size)
        self.next_seq = 1 + max((entry.seq for entry in self.log.entries), default=0)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)

    def add(self, entry: Entry) -> Entry:
        """Have an entry on the disk, with the next number; only then may its write begin."""
        numbered = replace(entry, seq=self.next_seq)
        self.append(encode_entry(numbered))
        self.next_seq += 1
        return numbered

    def wrote(self, entry: Entry, reads: str) -> None:
        """Tell that the write was done, and what was then read."""
        self.append(encode_line({"seq": entry.seq, "reads": reads}))

    def reloaded(self, entry: Entry) -> None:
        """Tell that the command ran that makes a write live."""
        self.append(encode_line({"seq": entry.seq, "reloaded": True}))

    def undid(self, entry: Entry) -> None:
        """Tell that what was there before is there again."""
        self.append(encode_line({"seq": entry.seq, "undone": True}))

    def append(self, line: bytes) -> None:
        self.disk.system.write(self.descriptor, line)


def refuse_foreign(host: Host) -> None:
    """Refuse a journal that somebody else could have written: revert does what stands in it.

    Raises HostError.
    """
    for name in (HOME.rpartition("/")[0], HOME, JOURNAL):
        try:
            found = host.path(name).lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        others_may_write = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if stat.S_ISLNK(found.st_mode) or found.st_uid not in (0, os.geteuid()) or others_may_write:
            raise HostError(
                f"{name} is a link, or another user than root may write there: root would do what "
                f"that user's journal says; look at it, then chown root and chmod go-w {name}"
            )


def build_home(disk: Disk) -> None:
    """Make the journal's folder with its first line in it, in one step."""
    made = disk.missing_folders(JOURNAL)
    top = disk.host.path(made[0])
    building = top.parent / BUILDING
    disk.system.make_folder(building)
    for folder in made:
        disk.system.make_folder(building / disk.host.path(folder).relative_to(top.parent))
    inside = building / disk.host.path(JOURNAL).relative_to(top.parent)
    descriptor = os.open(inside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        disk.system.write(descriptor, encode_line({"made": list(made)}))
    finally:
        os.close(descriptor)
    sync_folder(inside.parent)
    disk.system.replace(building / top.name, top)
    disk.system.remove_folder(building)


def remove_home(disk: Disk, made: tuple[str, ...]) -> None:
    """Remove a journal in which nothing is left, and what was made for it, in one step.

    A folder in which others have put something since stays.
    """
    for index, folder in enumerate(made):
        top = disk.host.path(folder)
        ours = [*(disk.host.path(below) for below in made[index + 1 :]), disk.host.path(JOURNAL)]
        if sorted(top.rglob("*")) == sorted(ours):
            building = top.parent / BUILDING
            disk.system.make_folder(building)
            disk.system.replace(top, building / top.name)
            clear_building(disk)
            return
    disk.remove(JOURNAL)


def clear_building(disk: Disk) -> None:
    """Remove what a kill left while the journal's folder was being made or taken away."""
    folder = HOME
    while folder:
        folder = folder.rpartition("/")[0]
        building = disk.host.path(folder or "/") / BUILDING
        if not building.is_dir():
            continue
        for path in sorted(building.rglob("*"), reverse=True):
            if path.is_dir():
                disk.system.remove_folder(path)
            else:
                disk.system.unlink(path)
        disk.system.remove_folder(building)


def compact(disk: Disk, boot: str) -> None:
    """Drop from the journal what no revert can use: live values of earlier boots, undone writes.

    Without it each boot would add to the journal for good. Raises HostError where it is damaged.
    """
    refuse_foreign(disk.host)
    log = read_journal(disk.host)
    if log.damaged:
        raise HostError(
            f"{JOURNAL}: line {log.damaged[0]} is not a record: look at it; `tickpath rt revert` "
            "puts back the rest"
        )
    kept = [
        entry for entry in log.open_entries if entry.kind not in LIVE_KINDS or entry.boot == boot
    ]
    if len(kept) == len(log.entries):
        return
    lines = [encode_line({"made": list(log.made)})]
    for entry in kept:
        lines.append(encode_entry(entry))
        if entry.reads is not None:
            lines.append(encode_line({"seq": entry.seq, "reads": entry.reads}))
        if entry.reloaded:
            lines.append(encode_line({"seq": entry.seq, "reloaded": True}))
    found = disk.state(JOURNAL)
    if found is not None:
        disk.put(JOURNAL, replace(found, data=b"".join(lines), mtime_ns=None))


@contextlib.contextmanager
def exclusive(host: Host) -> Iterator[None]:
    """Keep other applies and reverts out meanwhile. Raises HostError where one is at work."""
    path = host.path(LOCK)
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise HostError(f"{LOCK}: {error.strerror}: run as root, on a writable /run") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise HostError(
                f"another `tickpath rt` is writing (it holds {LOCK}): wait until it has ended"
            ) from error
        # Whoever held the lock before may have removed the name that was opened here.
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(descriptor).st_ino:
                break
        os.close(descriptor)
    try:
        yield
    finally:
        path.unlink()
        os.close(descriptor)
