"""Every change to the host's files: whole files replaced atomically, kernel files, links, folders.

System holds the single system calls, so that a test can stop the process at each of them; Disk
builds on it what survives such a stop. A whole file is written beside its place under a name that
ends in "~", which GRUB, systemd and sysctl leave alone, and renamed over it.
Called by: journal, apply, revert, promote. Calls: rt.host.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tickpath.rt.host import Host

BESIDE = ".tickpath~"  # ends the name of a file that is being written
FILE_MODE = 0o644
FOLDER_MODE = 0o755


@dataclass(frozen=True, slots=True)
class FileState:
    """A regular file as it can be put back: its bytes, and who may do what with it."""

    data: bytes
    mode: int = FILE_MODE
    uid: int = 0
    gid: int = 0
    mtime_ns: int | None = None  # None: now


class System:
    """The system calls that change something, one a method."""

    def write(self, descriptor: int, data: bytes) -> None:
        """Write all of it, and have it on the disk."""
        while data:
            data = data[os.write(descriptor, data) :]
        os.fsync(descriptor)

    def store(self, path: Path, text: str) -> None:
        """Hand a text to the kernel's file in one write, as `echo` does."""
        descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)

    def truncate(self, descriptor: int, size: int) -> None:
        os.ftruncate(descriptor, size)

    def replace(self, source: Path, target: Path) -> None:
        source.replace(target)
        sync_folder(target.parent)

    def unlink(self, path: Path) -> None:
        path.unlink()
        sync_folder(path.parent)

    def link(self, path: Path, target: str) -> None:
        path.symlink_to(target)
        sync_folder(path.parent)

    def make_folder(self, path: Path) -> None:
        before = os.umask(0o777 & ~FOLDER_MODE)  # not the session's: services read what lies there
        try:
            path.mkdir(mode=FOLDER_MODE)
        finally:
            os.umask(before)
        sync_folder(path.parent)

    def remove_folder(self, path: Path) -> None:
        path.rmdir()
        sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Have the names in a folder on the disk. Kernel file systems cannot, and need not."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EROFS):
            raise
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Disk:
    """The files of one host, changed through one System."""

    host: Host
    system: System

    def state(self, name: str) -> FileState | None:
        """Return a regular file as it stands; None where there is none.

        Raises OSError for a link or anything else that is not a regular file.
        """
        path = self.host.path(name)
        try:
            found = path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        mode = stat.S_IMODE(found.st_mode)
        return FileState(path.read_bytes(), mode, found.st_uid, found.st_gid, found.st_mtime_ns)

    def missing_folders(self, name: str) -> tuple[str, ...]:
        """List the folders above a path that are not there, the highest first."""
        missing: list[str] = []
        folder = name.rpartition("/")[0]
        while folder and not self.host.path(folder).is_dir():
            missing.append(folder)
            folder = folder.rpartition("/")[0]
        return tuple(reversed(missing))

    def put(
        self, name: str, wanted: FileState, accept: Callable[[Path], None] | None = None
    ) -> None:
        """Make a file what is wanted, all at once. accept may raise to keep the old one."""
        path = self.host.path(name)
        beside = path.with_name(path.name + BESIDE)
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        try:
            self.system.write(descriptor, wanted.data)
            os.fchown(descriptor, wanted.uid, wanted.gid)
            os.fchmod(descriptor, wanted.mode)
            if wanted.mtime_ns is not None:
                os.utime(descriptor, ns=(wanted.mtime_ns, wanted.mtime_ns))
        finally:
            os.close(descriptor)
        if accept is not None:
            try:
                accept(beside)
            except Exception:
                self.system.unlink(beside)
                raise
        self.system.replace(beside, path)

    def remove(self, name: str) -> None:
        """Remove a file or link; one that is gone already is well."""
        if os.path.lexists(self.host.path(name)):
            self.system.unlink(self.host.path(name))

    def clear_beside(self, name: str) -> None:
        """Remove what a stopped `put` left."""
        self.remove(name + BESIDE)

    def remove_folder(self, name: str) -> bool:
        """Remove a folder if it is empty; tell whether it is gone."""
        path = self.host.path(name)
        if not path.is_dir():
            return True
        if any(path.iterdir()):
            return False
        self.system.remove_folder(path)
        return True

    def store(self, name: str, text: str) -> None:
        """Write a kernel file. Raises OSError where the kernel refuses."""
        self.system.store(self.host.path(name), text)
