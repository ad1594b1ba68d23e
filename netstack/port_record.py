"""Who added which ports to the kernel's reserved ones: records that die with their owners.

One file for each reservation, under /run (which a reboot empties) and named after the network
namespace; its owner holds flock on it for as long as it lives, so that a record whose lock can be
taken is a dead owner's. One lock over all makes each change of the setting one step.
Where a namespace is gone, its dead owners' records have nothing left to give back.
Called by: netstack/route.py, engine/commands/clean.py, engine/commands/demo.py. Sources: flock(2),
socket(7) SO_NETNS_COOKIE.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import re
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from tickpath.shm.errors import SystemSetupError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

DIRECTORY = Path("/run/tickpath")
_CLONE_NEWNET = 0x40000000  # sched.h
_SO_NETNS_COOKIE = 71  # asm-generic/socket.h, since Linux 5.14: never used twice before a reboot


def parse_ports(text: str) -> set[int]:
    """Read the kernel's list form: "8080,61000-61999"."""
    ports: set[int] = set()
    for item in text.strip().split(","):
        if item:
            low, _, high = item.partition("-")
            ports.update(range(int(low), int(high or low) + 1))
    return ports


def format_ports(ports: Iterable[int]) -> str:
    """Write the kernel's list form, with its line end."""
    ranges: list[list[int]] = []
    for port in sorted(ports):
        if ranges and port == ranges[-1][1] + 1:
            ranges[-1][1] = port
        else:
            ranges.append([port, port])
    return ",".join(f"{low}-{high}" if low < high else f"{low}" for low, high in ranges) + "\n"


def _namespace() -> str:
    """Name the calling thread's network namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            cookie = probe.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8)
        except OSError as error:
            if error.errno != errno.ENOPROTOOPT:
                raise
            return f"inode-{Path('/proc/thread-self/ns/net').stat().st_ino}"
    return f"cookie-{int.from_bytes(cookie, 'little')}"


def _namespaces_there() -> set[str]:
    """Name every network namespace that a process is in, holds open, or that is mounted."""
    files: dict[int, Path] = {}
    for pattern in ("[0-9]*/task/*/ns/net", "[0-9]*/fd/*"):
        for path in Path("/proc").glob(pattern):
            with contextlib.suppress(OSError):
                if found := re.fullmatch(r"net:\[(\d+)\]", str(path.readlink())):
                    files.setdefault(int(found[1]), path)
    for path in (Path("/run/netns"), Path("/run/docker/netns")):
        for one in path.glob("*"):
            with contextlib.suppress(OSError):
                files.setdefault(one.stat().st_ino, one)
    names: set[str] = set()

    def look() -> None:  # in a thread: only that one leaves our namespace
        libc = ctypes.CDLL(None, use_errno=True)
        for inode, path in files.items():
            names.add(f"inode-{inode}")
            with contextlib.suppress(OSError):
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    if libc.setns(descriptor, _CLONE_NEWNET) == 0:
                        names.add(_namespace())
                finally:
                    os.close(descriptor)

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    return names


def orphans() -> list[Path]:
    """Return records of dead owners whose namespace is gone: nothing is left to give back."""
    dead = [path for path in sorted(DIRECTORY.glob("ports-*.*")) if not _is_held(path)]
    if not dead:
        return []
    there = _namespaces_there()
    return [
        path for path in dead if path.name.removeprefix("ports-").rpartition(".")[0] not in there
    ]


def remove_orphans() -> list[Path]:
    """Remove what `orphans` finds; return it. For `tickpath clean` and the demo's janitor."""
    removed = []
    with contextlib.suppress(OSError):  # no right to look is none to remove either
        for path in orphans():
            path.unlink(missing_ok=True)
            removed.append(path)
    return removed


def _is_held(path: Path) -> bool:
    """Say whether its owner lives; also where it cannot be told."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


class PortRecords:
    """The records of the network namespace of the thread that made this; at most one is our own."""

    def __init__(self) -> None:
        """Open the lock. Raises SystemSetupError where /run cannot be written."""
        self._prefix = f"ports-{_namespace()}"
        self._own: int | None = None
        self._own_path = Path()
        try:
            DIRECTORY.mkdir(mode=0o755, exist_ok=True)
            self._lock = os.open(
                DIRECTORY / "ports.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
        except OSError as error:
            raise SystemSetupError(
                f"{DIRECTORY}: {error.strerror}: records of reserved ports are kept there, it "
                "must be writable"
            ) from error

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock: whoever has it changes the setting and the records."""
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def claim(self, added: set[int]) -> None:
        """Record that `added` go when this process goes. Call it under the lock."""
        number = 0
        while True:  # ends: each number is taken by one open reservation of this process
            self._own_path = DIRECTORY / f"{self._prefix}.{os.getpid()}-{number}"
            with contextlib.suppress(FileExistsError):
                flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                self._own = os.open(self._own_path, flags, 0o600)
                break
            number += 1
        fcntl.flock(self._own, fcntl.LOCK_EX)
        os.write(self._own, format_ports(added).encode("ascii"))

    def live(self) -> set[int]:
        """Return the ports of all records that are there. Call it after take_dead."""
        return {port for path in self._paths() for port in parse_ports(path.read_text("ascii"))}

    def take_dead(self) -> set[int]:
        """Remove the records of dead owners, and return their ports. Call it under the lock."""
        ports: set[int] = set()
        for path in self._paths():
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            else:
                ports |= parse_ports(path.read_text("ascii"))
                path.unlink()
            finally:
                os.close(descriptor)
        return ports

    def release(self) -> None:
        """Give up our own record; the next take_dead finds it."""
        if self._own is not None:
            os.close(self._own)
            self._own = None

    def close(self) -> None:
        """Close the lock; it stays for others, empty."""
        self.release()
        os.close(self._lock)

    def _paths(self) -> list[Path]:
        return list(DIRECTORY.glob(f"{self._prefix}.*"))
