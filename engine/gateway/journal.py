"""The files of a journal: one account's, one writer's, replaced whole by a rename.

`ACCOUNT.journal.PART` in a folder that outlives a reboot: hexadecimal parts that count up, of which
the greatest counts. A start writes the next part beside the others (`.new`), with a new epoch and
all orders that had not ended, syncs it, renames it, syncs the folder, and only then removes what
was before: killed at any call, the old part or the new one is there, whole. `rotate` does the same
within an epoch, before a part is full. Called by: the gateway, cold side.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import re
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tickpath._core import ffi, lib
from tickpath.shm.errors import LocalError
from tickpath.shm.ownership import own, taking

if TYPE_CHECKING:
    from pathlib import Path

HEADER_SIZE: Final = int(lib.TP_JOURNAL_HEADER_SIZE)
RECORD_SIZE: Final = int(lib.TP_JOURNAL_RECORD_SIZE)
CAPACITY: Final = 1 << 17  # 16 MiB: some 30,000 orders of four changes
KEPT_SHARE: Final = 8  # new orders leave an eighth for what becomes of the open ones
NAME = re.compile(r"[A-Za-z0-9_-]{1,47}")
PART = re.compile(r"\.journal\.([0-9a-f]{8})")


@dataclass(slots=True)
class Found:
    """What a journal had when it was opened."""

    orders: list[Any] = field(default_factory=list)
    """`struct tp_order *` of each that had not ended, and of ABSENT ones, oldest first."""
    epoch: int = 0
    broken: int = 0
    """Unreadable records with readable ones behind them: power, or the disk, lost them."""
    torn: int = 0
    """1 where the writer died within its last record: nothing was sent of what it would say."""


def read_file(data: bytes | mmap.mmap, path: Path) -> tuple[Any, Found]:
    """Return the header of a file, and what it says; raises LocalError."""
    memory = ffi.from_buffer("uint8_t[]", data)
    header = ffi.new("struct tp_journal_header *")
    status = lib.tp_journal_header_read(memory, len(data), header)
    if status != lib.TP_JOURNAL_OK:
        what = {
            int(lib.TP_JOURNAL_NOT_OURS): "is no journal of this machine",
            int(lib.TP_JOURNAL_OTHER_VERSION): "is a journal of another version: "
            f"{header.version}.{header.orders_version}, expected "
            f"{lib.TP_JOURNAL_VERSION}.{lib.TP_ORDERS_VERSION}",
        }.get(int(status), "has a damaged header")
        raise LocalError(
            f"{path} {what}: no order is sent while it is unread. Move it away to begin a new one: "
            "orders of before are then known by what the venue says"
        )
    positions = ffi.new("uint32_t[]", header.capacity)
    scan = ffi.new("struct tp_journal_scan *")
    lib.tp_journal_scan(memory, header, positions, scan)
    found = Found(epoch=int(header.epoch), broken=int(scan.broken), torn=int(scan.torn))
    last: dict[int, Any] = {}
    for i in range(scan.count):
        order = ffi.new("struct tp_order *")
        lib.tp_journal_read(memory, header, positions[i], order)
        last[int(order.id)] = order
    found.orders = [one for _, one in sorted(last.items()) if _is_kept(one)]
    return header, found


def _is_kept(order: Any) -> bool:
    return bool(lib.tp_order_is_open(order)) or order.place == int(lib.TP_AT_ABSENT)


class Journal:
    """A journal that is appended to: `pointer` is its `struct tp_journal *`.

    Made by `open_journal`. One process at a time: the account's lock is held until `close`, or
    death.
    """

    def __init__(self, folder: Path, account: str, capacity: int) -> None:
        self.folder, self.account, self.capacity = folder, account, capacity
        self.pointer = ffi.new("struct tp_journal *")
        self.tag = 0
        self._part = 0
        self._map: mmap.mmap | None = None
        with taking:
            self._lock = os.open(
                folder / f"{account}.journal.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600
            )
            own(self)

    def _paths(self) -> list[tuple[int, Path]]:
        found = []
        for path in self.folder.glob(f"{self.account}.journal.*"):
            match = PART.fullmatch(path.name.removeprefix(self.account))
            if match:
                found.append((int(match[1], 16), path))
        return sorted(found)

    def begin(self) -> Found:
        """Take the lock, read what is there, and begin an epoch; raises LocalError."""
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LocalError(
                f"account {self.account}: another gateway holds {self.folder}/"
                f"{self.account}.journal.lock; one gateway an account: stop that one first"
            ) from None
        found, paths = Found(), self._paths()
        if paths:
            self._part, path = paths[-1]
            data = path.read_bytes()
            header, found = read_file(data, path)
            if ffi.string(header.account).decode() != self.account:
                raise LocalError(f"{path} is the journal of another account; move it away")
            self.tag = int(header.tag)
        self._write_part(found.epoch + 1, found.orders)
        return found

    def rotate(self, orders: list[Any]) -> None:
        """Go on in a new part, with these orders; ids go on counting.

        Raises OSError where the disk refuses: what comes stands in the part that the next start
        reads all the same.
        """
        self._write_part(int(self.pointer.epoch), orders, int(self.pointer.number))

    def _write_part(self, epoch: int, orders: list[Any], number: int = 0) -> None:
        kept = self.capacity // KEPT_SHARE
        if len(orders) + kept >= self.capacity:
            raise LocalError(
                f"account {self.account}: {len(orders)} open orders do not fit a journal of "
                f"{self.capacity} records; expected fewer than {self.capacity - kept}"
            )
        self.tag = self.tag or secrets.randbelow((1 << 32) - 1) + 1
        new = self.folder / f"{self.account}.journal.new"
        size = HEADER_SIZE + self.capacity * RECORD_SIZE
        file = os.open(new, os.O_CREAT | os.O_TRUNC | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(file, 0, size)
            memory = mmap.mmap(file, size)
        finally:
            os.close(file)
        pointer = ffi.new("struct tp_journal *")
        header = ffi.new("struct tp_journal_header *")
        header.tag, header.epoch, header.capacity = self.tag, epoch, self.capacity
        header.part, header.made_ns = self._part + 1, time.time_ns()
        header.account = self.account.encode()
        start = ffi.from_buffer("uint8_t[]", memory)
        lib.tp_journal_header_write(start, header)
        lib.tp_journal_begin(pointer, start, kept)
        pointer.number = number
        for order in orders:
            lib.tp_journal_append(pointer, order)
        memory.flush()
        old = self._paths()
        new.rename(self.folder / f"{self.account}.journal.{self._part + 1:08x}")
        # The greatest part counts from here on, whatever fails below: what comes must stand in it.
        self.pointer[0] = pointer[0]
        self._start, self._map = start, memory
        self._part += 1
        self._sync_folder()
        for _, path in old:
            path.unlink()

    def _sync_folder(self) -> None:
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def id_text(self, id_: int) -> str:
        """Return the client order id of an order, as it stands on the wire."""
        text = ffi.new("char[]", int(lib.TP_ORDER_ID_TEXT_SIZE))
        lib.tp_order_id_write(self.tag, id_, text)
        return str(ffi.string(text, len(text)).decode())

    def disown(self) -> None:
        """Append nothing, and hold no lock, in a forked child."""
        self.close()

    def close(self) -> None:
        """Let go of the file and the lock; what was appended stays."""
        self.pointer.capacity = self.pointer.next  # whoever appends is told that it is full
        if self._lock >= 0:
            os.close(self._lock)
        self._lock = -1


def open_journal(folder: Path, account: str, capacity: int = CAPACITY) -> tuple[Journal, Found]:
    """Open an account's journal in a new epoch; raises LocalError."""
    if not NAME.fullmatch(account):
        raise LocalError(f"account {account!r}: expected 1 to 47 letters, digits, - and _")
    if not folder.is_dir():
        raise LocalError(f"{folder}: no such folder; make it, for the gateway's user alone")
    journal: Journal | None = None
    try:
        journal = Journal(folder, account, capacity)
        return journal, journal.begin()
    except BaseException as error:
        if journal is not None:
            journal.close()
        if isinstance(error, OSError):
            raise LocalError(
                f"{folder}: the journal of account {account} cannot be kept there: "
                f"{error.strerror}: no order is sent without one; mend that, or choose another "
                "folder"
            ) from error
        raise
