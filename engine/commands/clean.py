"""`tickpath clean`: remove what dead writers left in shared memory and /run, and nothing else.

A writer is gone where the kernel freed its locks, the one of its name and the one on its segment:
they end with the process, and are seen from every container. All that belongs to a name goes
together: the segment, one half built (.new), its control segment (.ctl), its lock. A record of
reserved ports goes where its owner is dead and its network namespace gone. Called by:
engine/cli.py. Calls: shm/segment, netstack/port_record.
"""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from tickpath._core import lib
from tickpath.netstack.port_record import orphans, remove_orphans
from tickpath.shm.segment import (
    DIRECTORY,
    SegmentError,
    SegmentLockedError,
    remove_dead,
    who_may,
)

if TYPE_CHECKING:
    import argparse

PREFIX = "tickpath."
# Longest first. A .raw is a segment with a lock of its own, so it is a name by itself.
ENDINGS = (".ctl.new", ".lock", ".new", ".ctl")
_HEADER = struct.Struct("<QQHHIQQQQQII")  # struct tp_segment_header up to its words
MAGIC = 0x485441504B434954  # "TICKPATH"
EXIT_DENIED = 3  # as where this machine lacks something
BYTE_ORDER = 0x0102030405060708


class Finding(msgspec.Struct, frozen=True):
    """Tell what became of one name."""

    instance: str
    action: str  # removed, would remove, kept
    why: str
    bytes: int
    is_denied: bool = False  # this user may not: it may be dead all the same


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the options of `tickpath clean`."""
    parser = subparsers.add_parser(
        "clean",
        description="Remove segments whose writer is certainly gone: it holds neither the lock of "
        "its name nor that of its segment; and records of reserved ports whose owner and network "
        "namespace are gone.",
        epilog="example: tickpath clean --dry-run",
    )
    parser.add_argument("instance", nargs="?", help="only this name and what belongs to it")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def run(args: argparse.Namespace) -> int:
    """Remove and tell; 0, or 3 where this user may not judge or remove one."""
    if args.instance is None:
        _tell_records(is_dry=args.dry_run, as_json=args.json)
    names = left_names(args.instance)
    if args.instance is not None and not names and not args.json:
        print(f"nothing of {args.instance} is in {DIRECTORY}")
    status = 0
    for name in names:
        found = clean(name, is_dry=args.dry_run)
        if args.json:
            print(msgspec.json.encode(found).decode())
        elif found.action != "kept":
            print(f"{found.action} {found.instance} ({found.bytes:,} bytes): {found.why}")
        else:
            print(f"kept {found.instance}: {found.why}")
        status = EXIT_DENIED if found.is_denied else status
    return status


def _tell_records(*, is_dry: bool, as_json: bool) -> None:
    """Remove records of ports that were reserved in network namespaces which are gone."""
    action = "would remove" if is_dry else "removed"
    for path in orphans() if is_dry else remove_orphans():
        found = Finding(str(path), action, "its network namespace is gone", 0)
        text = f"{action} {path}: {found.why}"
        print(msgspec.json.encode(found).decode() if as_json else text)


def left_names(instance: str | None, directory: Path = DIRECTORY) -> list[str]:
    """Return every name that has a file, sorted; those of one instance where it is given."""
    names = set()
    for path in directory.glob(f"{PREFIX}*"):
        name = path.name.removeprefix(PREFIX)
        ending = next((one for one in ENDINGS if name.endswith(one)), "")
        names.add(name.removesuffix(ending))
    if instance is not None:
        names = {name for name in names if name == instance or name.startswith(f"{instance}.")}
    return sorted(names - {""})


def clean(name: str, *, is_dry: bool = False) -> Finding:
    """Remove one name's files where its writer is certainly gone."""
    size = sum(path.stat().st_size for path in _files(name) if path.exists())
    try:
        living = _why_kept(name)
    except PermissionError as error:
        path = Path(error.filename)
        why = f"{path} cannot be read: {error.strerror}: {who_may(path)}"
        return Finding(name, "kept", why, 0, is_denied=True)
    if living:
        return Finding(name, "kept", living, 0)
    if is_dry:
        return Finding(name, "would remove", "its writer is gone", size)
    return _remove(name, size)


def _remove(name: str, size: int) -> Finding:
    try:
        remove_dead(name)
        for path in _files(name)[1:]:
            path.unlink(missing_ok=True)
    except SegmentLockedError:
        return Finding(name, "kept", "a writer took the name just now", 0)
    except PermissionError as error:
        # /dev/shm is sticky: only a file's owner may remove it.
        path = Path(error.filename or DIRECTORY / f"{PREFIX}{name}")
        why = f"{path} cannot be removed: {error.strerror}: {who_may(path)}"
        return Finding(name, "kept", why, 0, is_denied=True)
    except (SegmentError, OSError) as error:
        return Finding(name, "kept", str(error), 0)
    return Finding(name, "removed", "its writer was gone", size)


def _files(name: str) -> list[Path]:
    return [DIRECTORY / f"{PREFIX}{name}{ending}" for ending in ("", *ENDINGS)]


def _why_kept(name: str) -> str:
    """Say why a name must stay; empty where its writer is certainly gone."""
    if _is_locked(DIRECTORY / f"{PREFIX}{name}.lock"):
        return "its writer holds the lock"
    for path in (DIRECTORY / f"{PREFIX}{name}", DIRECTORY / f"{PREFIX}{name}.new"):
        if why := writer_of(path):
            return why
    return ""


def _is_locked(lock: Path) -> bool:
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def writer_of(path: Path) -> str:
    """Say why a segment's file must stay, judged by the writer that its header names."""
    try:
        with path.open("rb") as file:
            data = file.read(_HEADER.size)
            is_held = bool(lib.tp_segment_file_is_held(file.fileno()))
    except FileNotFoundError:
        return ""
    except PermissionError:
        raise
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if is_held:
        return "its writer has it open" + _by_name(data)
    if not data.strip(b"\0"):
        return ""  # never filled: whoever made it would hold the lock
    magic, order, *_ = _HEADER.unpack(data.ljust(_HEADER.size, b"\0"))
    if len(data) < _HEADER.size or magic != MAGIC or order != BYTE_ORDER:
        return "not a segment of ours: remove it by hand"
    return ""


def _by_name(data: bytes) -> str:
    """Name the writer, for people: the pid is that of its own PID namespace."""
    pid = _HEADER.unpack(data)[-2] if len(data) == _HEADER.size else 0
    return f" (pid {pid})" if pid else ""
