"""What an address of ours may still ask of a venue, shared by all processes of the host.

`Budget` maps the file of a directory; whoever is about to ask takes from the entry of the venue's
host and our own address: at once, or how long to wait. Nobody holds anything: a process that is
killed has spent what it spent. A pause that a venue asked for holds for all kinds, and over
restarts and reboots. C's side decides (budget.h); layout: docs/shared-memory.md. For any thread.
Called by: engine/loop/pauses.py, engine/commands/stat.py.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
from tickpath._core import ffi, lib
from tickpath.shm.clock import NS_PER_S, SYSTEM, Clock
from tickpath.shm.errors import LocalError
from tickpath.shm.ownership import taking
from tickpath.shm.segment import raise_status

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILE_NAME: Final = "budget-1"
LOCK_NAME: Final = "budget.lock"
BOOT_SIZE: Final = 16
PAUSE_S_MAX: Final = int(lib.TP_BUDGET_PAUSE_MAX_NS) / NS_PER_S
WEIGHT_MAX: Final = (1 << 32) - 1
LOST_TRIES: Final = 8
SHOWN_MS: Final = 3_600_000
"""What was not asked of for so long is of no interest to people."""
_FULL: Final = "the budget's table is full"
_MS_PER_S: Final = 1000


class BudgetFullError(LocalError):
    """Say that as many hosts and addresses as the table has places are waiting or spent."""


class Kind(IntEnum):
    """What is counted; as enum tp_budget_kind."""

    REST = lib.TP_BUDGET_REST
    CONNECTS = lib.TP_BUDGET_CONNECTS
    MESSAGES = lib.TP_BUDGET_MESSAGES
    ORDERS = lib.TP_BUDGET_ORDERS


class RateLike(Protocol):
    """So much weight in any window of so long, so much of it at once."""

    @property
    def count(self) -> int:
        """In any window at most."""

    @property
    def per_s(self) -> float:
        """The window's length."""

    @property
    def burst(self) -> int:
        """At once, where nothing was asked for long; the rest is earned evenly."""


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of an entry, for people: how much of its limit was used in the present window."""

    kind: str
    used: int
    limit: int
    window_s: float


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One host and own address, for people."""

    host: str
    address: str
    venue: str
    uses: tuple[Use, ...] = ()
    paused_s: float = 0.0
    """For how long the venue wants nothing more; 0: it does not say so."""
    reason: str = ""


def boot_bytes(boot: str) -> bytes:
    """Return what names a boot in the file, of what the kernel calls it."""
    try:
        data = bytes.fromhex(boot.replace("-", ""))
    except ValueError:
        data = boot.encode()
    return data[:BOOT_SIZE].ljust(BOOT_SIZE, b"\0")


def c_rate(rate: RateLike, kind: Kind = Kind.REST) -> Any:
    """Return a `struct tp_budget_rate *`; raises LocalError for a rate that no bucket can keep."""
    window_ns, most = round(rate.per_s * NS_PER_S), int(lib.TP_BUDGET_COUNT_MAX)
    if not (
        0 < rate.burst < rate.count <= most
        and rate.count <= window_ns <= lib.TP_BUDGET_WINDOW_MAX_NS
    ):
        raise LocalError(
            f"a rate of {rate.count} in {rate.per_s:g} s, {rate.burst} at once: expected 2 to "
            f"{most} in at most {lib.TP_BUDGET_WINDOW_MAX_NS // NS_PER_S} s, fewer at once"
        )
    return ffi.new("struct tp_budget_rate *", [kind, rate.count, rate.burst, window_ns])


class Budget:
    """The entries of one directory's file; None: of this object alone."""

    def __init__(self, directory: Path | None, clock: Clock = SYSTEM, boot: str = "") -> None:
        """Map it, or build it; raises SegmentError where neither can be."""
        self.directory, self._clock = directory, clock
        out, error = ffi.new("struct tp_budget **"), ffi.new("struct tp_segment_error *")
        name = ffi.NULL if directory is None else os.fsencode(directory)
        with taking:  # a child forked meanwhile would keep the builder's lock
            status = lib.tp_budget_open(out, name, boot_bytes(boot), self._now(), error)
        raise_status(status, error, str(directory))
        self._pointer = ffi.gc(out[0], lib.tp_budget_close)

    def _now(self) -> Any:
        return ffi.new("uint64_t[2]", [self._clock.now_ns(), self._clock.unix_ns()])

    def is_current(self) -> bool:
        """Say whether the file of that name is the one that is mapped: it may be another one's."""
        if self.directory is None:
            return True
        try:
            found = (self.directory / FILE_NAME).stat(follow_symlinks=False)
        except OSError:
            return False
        return (found.st_ino, found.st_dev) == (self._pointer.inode, self._pointer.device)

    def _find(self, host: str, address: str, venue: str) -> tuple[Any, int]:
        name, whose = _name(host, address), venue.encode()
        entry = lib.tp_budget_find(self._pointer, name, whose)
        if entry == ffi.NULL:
            with self._alone() as is_alone:
                if is_alone:
                    now_ns = self._clock.now_ns()
                    entry = lib.tp_budget_make_room(self._pointer, name, whose, now_ns)
        return entry, int(lib.tp_budget_key(name))

    @contextlib.contextmanager
    def _alone(self) -> Iterator[bool]:
        """Be the only one who gives entries to other names; False: another one is, for long."""
        if self.directory is None:
            yield True
            return
        with taking:  # a child forked meanwhile would keep the lock for as long as it lives
            lock = os.open(self.directory / LOCK_NAME, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                is_alone = True
            except BlockingIOError:
                is_alone = False
            try:
                yield is_alone
            finally:
                os.close(lock)

    def take(self, whose: tuple[str, str, str], kind: Kind, rate: RateLike, weight: int) -> float:
        """Spend so much now and return 0.0, or return how many seconds to wait.

        whose: host and port, our own address, the venue's name.
        """
        for _ in range(LOST_TRIES):
            entry, key = self._find(*whose)
            if entry == ffi.NULL:
                break
            now_ns = self._clock.now_ns()
            wait_ns = lib.tp_budget_take(entry, key, c_rate(rate, kind), weight, now_ns)
            if wait_ns != lib.TP_BUDGET_LOST:
                return float(wait_ns) / NS_PER_S
        raise BudgetFullError(_FULL)

    def wait_s(self, whose: tuple[str, str, str], kind: Kind, rate: RateLike, weight: int) -> float:
        """Return how long to wait before so much may be spent; 0.0: none of it was."""
        entry, _ = self._find(*whose)
        if entry == ffi.NULL:
            raise BudgetFullError(_FULL)
        now_ns = self._clock.now_ns()
        return float(lib.tp_budget_wait_ns(entry, c_rate(rate, kind), weight, now_ns)) / NS_PER_S

    def spend(self, whose: tuple[str, str, str], kind: Kind, rate: RateLike, weight: int) -> None:
        """Count what is asked whatever is left."""
        entry, _ = self._find(*whose)
        if entry != ffi.NULL:
            lib.tp_budget_spend(entry, c_rate(rate, kind), weight, self._clock.now_ns())

    def correct(
        self,
        whose: tuple[str, str, str],
        kind: Kind,
        rate: RateLike,
        used: tuple[int, float],
    ) -> None:
        """Believe the venue, which says how much of the window is used and how long it goes on.

        0.0 s: it does not say.
        """
        entry, _ = self._find(*whose)
        count, left_s = used
        if entry != ffi.NULL:
            left_ns = round(max(0.0, min(left_s, rate.per_s)) * NS_PER_S)
            at = ffi.new("uint64_t[2]", [self._clock.now_ns(), left_ns])
            lib.tp_budget_correct(entry, c_rate(rate, kind), min(max(0, count), WEIGHT_MAX), at)

    def pause(self, whose: tuple[str, str, str], length_s: float, reason: str) -> None:
        """Keep that nothing is to be asked for so long, unless it is for longer already."""
        length_ns = round(min(length_s, PAUSE_S_MAX) * NS_PER_S)
        for _ in range(LOST_TRIES):
            entry, key = self._find(*whose)
            if entry == ffi.NULL:
                break
            if lib.tp_budget_pause(entry, key, length_ns, _cut(reason), self._now()):
                return
        raise BudgetFullError(_FULL)

    def paused(self, host: str, address: str) -> tuple[float, str]:
        """Return for how long nothing is to be asked, and why; 0.0: it may be."""
        entry = lib.tp_budget_look(self._pointer, _name(host, address))
        if entry == ffi.NULL:
            return 0.0, ""
        left_s = float(lib.tp_budget_pause_left_ns(entry, self._clock.now_ns())) / NS_PER_S
        return left_s, _text(entry, lib.TP_BUDGET_TEXT_REASON) if left_s > 0 else ""

    def entries(self) -> Iterator[Entry]:
        """Return what is known of each host and address, as of now."""
        return _entries(self._pointer.memory, self._clock.now_ns())


def read_entries(directory: Path, clock: Clock = SYSTEM) -> tuple[Entry, ...]:
    """Return what a directory's file says, for who only looks; none where it cannot be read."""
    try:
        data = (directory / FILE_NAME).read_bytes()
    except OSError:
        return ()
    if len(data) != ffi.sizeof("struct tp_budget_memory"):
        return ()
    memory = ffi.from_buffer("struct tp_budget_memory *", data)
    error = ffi.new("struct tp_segment_error *")
    status = lib.tp_budget_header_check(ffi.addressof(memory, "header"), len(data), error)
    if status != lib.TP_SEGMENT_OK:
        return ()
    return tuple(_entries(memory, clock.now_ns()))


def _entries(memory: Any, now_ns: int) -> Iterator[Entry]:
    for number in range(int(lib.TP_BUDGET_ENTRY_COUNT)):
        entry = ffi.addressof(memory.entry, number)
        if entry.key == 0:
            continue
        host, _, address = _text(entry, lib.TP_BUDGET_TEXT_NAME).rpartition(" ")
        left_s = float(lib.tp_budget_pause_left_ns(entry, now_ns)) / NS_PER_S
        yield Entry(
            host=host,
            address=address,
            venue=_text(entry, lib.TP_BUDGET_TEXT_VENUE),
            uses=tuple(_uses(entry, now_ns)),
            paused_s=left_s,
            reason=_text(entry, lib.TP_BUDGET_TEXT_REASON) if left_s > 0 else "",
        )


def _uses(entry: Any, now_ns: int) -> Iterator[Use]:
    for kind in Kind:
        bucket = entry.bucket[kind]
        limit, window_ms = bucket.limit >> 32, bucket.limit & WEIGHT_MAX
        if limit == 0 or window_ms == 0:
            continue
        number = now_ns // (window_ms * (NS_PER_S // _MS_PER_S)) & WEIGHT_MAX
        past = number - (bucket.window >> 32) & WEIGHT_MAX  # windows since it was used
        if past * window_ms > max(SHOWN_MS, window_ms):
            continue
        used = bucket.window & WEIGHT_MAX if past == 0 else 0
        yield Use(kind=kind.name.lower(), used=used, limit=limit, window_s=window_ms / _MS_PER_S)


def _name(host: str, address: str) -> bytes:
    return f"{host} {address}".encode()


def _cut(text: str) -> bytes:
    return text.encode()[: lib.TP_BUDGET_REASON_SIZE - 1]


def _text(entry: Any, which: int) -> str:
    """Return a text that does nothing to a terminal, whoever wrote it."""
    size = int(lib.TP_BUDGET_REASON_SIZE) + 8
    text = ffi.new("char[]", size)
    lib.tp_budget_text(entry, which, text, size)
    whole = ffi.string(text).decode(errors="replace")
    return "".join(one if one.isprintable() else "?" for one in whole)
