"""Who added which ports to the kernel's reserved ones: records that die with their owners.

One file for each reservation, under /run (which a reboot empties) and named after the network
namespace; its owner holds flock on it for as long as it lives, so that a record whose lock can be
taken is a dead owner's. One lock over all makes each change of the setting one step.
Called by: netstack/route.py. Sources: flock(2), socket(7) SO_NETNS_COOKIE.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from tickpath.shm.errors import SystemSetupError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

DIRECTORY = Path("/run/tickpath")
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
