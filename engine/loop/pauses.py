"""What venues asked this address to wait for, known to all its processes and their next starts.

A venue that answers 429, 418 or a Retry-After counts by address, and whoever asks on lengthens it:
the process that restarts, and the other one that reads the same venue. So each pause is a small
file of the run directory, named after the venue's host and our own address: whoever is about to ask
looks there first. A pause is only ever made longer; one that is over is removed by whoever sees it.
Time steps: on the same boot it is counted by CLOCK_MONOTONIC, after another one by the time of day,
and never as longer than the venue asked for. Crash-safe: written beside, renamed over; the lock is
flock, which dies with its owner. A host that gives no directory to write in keeps pauses for the
process alone.
Called by: engine/feed_handler (REST), engine/loop/connections.py (the upgrade).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import socket
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from tickpath.proto.venue import parse_retry_after
from tickpath.shm.clock import NS_PER_S, SYSTEM, Clock
from tickpath.shm.ownership import taking

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

ENVIRONMENT: Final = "TICKPATH_RUN_DIRECTORY"
BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
SIZE_MAX: Final = 4096
LENGTH_S_MAX: Final = 31 * 24 * 3600.0  # longer than any venue's ban
REASON_SIZE_MAX: Final = 200
# Answers that are for a while: forbidden, banned, too many requests, unavailable.
PAUSING: Final = frozenset({403, 418, 429, 503})
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9.-]")


def run_directory() -> Path:
    """Return where records are kept that a reboot may forget, as this user may write them."""
    named = os.environ.get(ENVIRONMENT)
    if named:
        return Path(named)
    if os.access("/run/tickpath", os.W_OK) or os.geteuid() == 0:
        return Path("/run/tickpath")
    own = os.environ.get("XDG_RUNTIME_DIR")
    if own:
        return Path(own) / "tickpath"
    return Path(tempfile.gettempdir()) / f"tickpath-{os.geteuid()}"


def boot_id() -> str:
    """Return what names this boot; "" where the kernel does not say."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return ""


def own_address(address: str, port: int) -> str:
    """Return which address of ours packets to another one leave with; nothing is sent."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((address, port))
            return str(probe.getsockname()[0])
    except OSError:
        return ""  # no way there, or no descriptor: nothing will be asked either


def asked_pause_s(status: int, retry_after: str, now: datetime) -> float | None:
    """Return how long the answer to an upgrade asks us to wait; None: it does not."""
    return parse_retry_after(retry_after, now) if status in PAUSING else None


def pause_text(seconds: float) -> str:
    """Write a pause for people: in whole seconds, below ten in tenths."""
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f}".removesuffix(".0") + " s"


class Pause(msgspec.Struct, frozen=True):
    """One record: for how long, since when by both clocks, and why."""

    length_s: float
    reason: str
    boot: str
    monotonic_ns: int
    unix_ns: int

    def left_s(self, clock: Clock, boot: str) -> float:
        """Return how much of it is left; 0 or less: it is over."""
        if boot and boot == self.boot and clock.now_ns() >= self.monotonic_ns:
            passed_ns = clock.now_ns() - self.monotonic_ns
        else:
            passed_ns = clock.unix_ns() - self.unix_ns
        return min(self.length_s, self.length_s - passed_ns / NS_PER_S)


_decoder = msgspec.json.Decoder(Pause)


@dataclass(slots=True)
class Pauses:
    """The pauses of all venues. For any thread."""

    clock: Clock = SYSTEM
    directory: Path | None = field(default_factory=run_directory)
    """None: kept by this object alone."""
    boot: str = field(default_factory=boot_id)
    _own: dict[str, Pause] = field(default_factory=dict)  # should the directory be of no use

    def find(self, host: str, address: str) -> tuple[float, str]:
        """Return how long host is not to be asked from our address, and why; 0 s: it may be."""
        name = _name(host, address)
        left_s, reason = 0.0, ""
        for pause in (self._own.get(name), self._read(name)):
            if pause is not None and pause.left_s(self.clock, self.boot) > left_s:
                left_s, reason = pause.left_s(self.clock, self.boot), pause.reason
        return left_s, reason

    def note(self, host: str, address: str, length_s: float, reason: str) -> None:
        """Keep that host is not to be asked for so long, unless it is not for longer already."""
        length_s = min(length_s, LENGTH_S_MAX)
        if length_s <= 0:
            return
        name = _name(host, address)
        now = self.clock.now_ns(), self.clock.unix_ns()
        pause = Pause(length_s, reason[:REASON_SIZE_MAX], self.boot, *now)
        if self.directory is not None:
            with contextlib.suppress(OSError), _locked(self.directory):
                self._forget_old(self.directory)
                if self.find(host, address)[0] < length_s:
                    _write(self.directory / name, pause)
        self._own[name] = max(
            pause, self._own.get(name, pause), key=lambda one: one.left_s(self.clock, self.boot)
        )

    def _read(self, name: str) -> Pause | None:
        """Read a record; what is none, or not ours, is as good as none."""
        if self.directory is None:
            return None
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            file = os.open(self.directory / name, flags)
        except OSError:
            return None
        try:
            owner = os.fstat(file).st_uid
            if owner not in {0, os.geteuid()} and owner != self.directory.stat().st_uid:
                return None
            pause = _decoder.decode(os.read(file, SIZE_MAX))
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return None
        finally:
            os.close(file)
        return pause if 0 < pause.length_s <= LENGTH_S_MAX else None

    def _forget_old(self, directory: Path) -> None:
        for path in directory.glob("pause-*"):
            pause = self._read(path.name)  # None: another user's, or none at all: not ours to end
            if pause is not None and pause.left_s(self.clock, self.boot) <= 0:
                path.unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Be the only writer; raises OSError."""
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    with taking:  # a child forked meanwhile would keep the lock for as long as it lives
        lock = os.open(directory / "pauses.lock", flags, 0o600)
        with contextlib.suppress(OSError):  # by root: for the user whose directory it is
            os.fchown(lock, directory.stat().st_uid, -1)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def _write(path: Path, pause: Pause) -> None:
    beside = path.with_name(f"{path.name}.new")
    beside.write_bytes(msgspec.json.encode(pause))
    beside.replace(path)


def _name(host: str, address: str) -> str:
    return _NOT_IN_NAMES.sub("_", f"pause-{host}-{address}")
