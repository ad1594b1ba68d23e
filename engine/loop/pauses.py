"""What an address of ours may ask of a venue, and what the venue asked it to wait for.

A venue counts by address, and whoever asks on after a 429, a 418 or a Retry-After lengthens it: the
process that restarts, and the other one that reads the same venue. So requests, connections and
messages are taken from the budget of shm/budget.py, in the run directory, by the venue's host and
our own address; a pause is kept there too, for all processes and their next starts. It is only ever
made longer. On the same boot it is counted by CLOCK_MONOTONIC, after another one by the time of
day, and never as longer than the venue asked for. A host that gives no directory to write in keeps
all of it for the process alone.
Called by: engine/feed_handler (REST, what is said), engine/loop/connections.py (the upgrade).
"""

from __future__ import annotations

import os
import socket
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tickpath.proto.venue import parse_retry_after
from tickpath.shm.budget import FILE_NAME, PAUSE_S_MAX, Budget, BudgetFullError, Kind
from tickpath.shm.clock import SYSTEM, Clock
from tickpath.shm.segment import SegmentError

if TYPE_CHECKING:
    from datetime import datetime

    from tickpath.proto.venue import Rate

ENVIRONMENT: Final = "TICKPATH_RUN_DIRECTORY"
BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
LENGTH_S_MAX: Final = PAUSE_S_MAX  # longer than any venue's ban
OPEN_AGAIN_S: Final = 5.0  # after a failure
# Answers that are for a while: forbidden, banned, too many requests, unavailable.
PAUSING: Final = frozenset({403, 418, 429, 503})


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


@dataclass(frozen=True, slots=True)
class Whose:
    """Who counts, and whom: host and port, an address of ours, and the venue's name, for people."""

    host: str
    address: str
    venue: str = ""

    @property
    def names(self) -> tuple[str, str, str]:
        """Return them as the budget takes them."""
        return self.host, self.address, self.venue


@dataclass(slots=True)
class Pauses:
    """The budgets and pauses of all venues. For any thread."""

    clock: Clock = SYSTEM
    directory: Path | None = field(default_factory=run_directory)
    """None: kept by this object alone."""
    boot: str = field(default_factory=boot_id)
    _own: Budget = field(init=False)  # should the directory be of no use
    _shared: Budget | None = None
    _opens_at_s: float = float("-inf")

    def __post_init__(self) -> None:
        """Know what is our own; the directory is looked at when something is asked."""
        self._own = Budget(None, self.clock, self.boot)

    def _open(self, *, builds: bool) -> Budget | None:
        """Return the directory's budget; None: it is of no use, or there is none to look at."""
        if self.directory is None:
            return None
        if self._shared is not None and self._shared.is_current():
            return self._shared
        self._shared = None  # another one stands there, or none
        if not builds and not os.path.lexists(self.directory / FILE_NAME):
            return None
        if self.clock.now_s() < self._opens_at_s:
            return None
        try:
            self.directory.mkdir(mode=0o755, parents=True, exist_ok=True)
            self._shared = Budget(self.directory, self.clock, self.boot)
        except (OSError, SegmentError):
            self._opens_at_s = self.clock.now_s() + OPEN_AGAIN_S
        return self._shared

    def find(self, host: str, address: str) -> tuple[float, str]:
        """Return how long host is not to be asked from our address, and why; 0 s: it may be."""
        shared = self._open(builds=False)
        budgets = [self._own] if shared is None else [self._own, shared]
        return max((one.paused(host, address) for one in budgets), key=lambda found: found[0])

    def note(self, host: str, address: str, length_s: float, reason: str, venue: str = "") -> None:
        """Keep that host is not to be asked for so long, unless it is not for longer already."""
        length_s = min(length_s, LENGTH_S_MAX)
        if length_s <= 0:
            return
        shared = self._open(builds=True)
        for one in [self._own] if shared is None else [self._own, shared]:
            try:
                one.pause((host, address, venue), length_s, reason)
            except BudgetFullError:  # its table is full of others that wait
                continue

    def _budgets(self) -> list[Budget]:
        """Return whom to ask, in order: where the first has no room, the next one counts."""
        shared = self._open(builds=True)
        return [self._own] if shared is None else [shared, self._own]

    def take(self, whose: Whose, kind: Kind, rate: Rate, weight: int = 1) -> float:
        """Spend so much now and return 0.0, or return how many seconds to wait."""
        for one in self._budgets():
            try:
                return one.take(whose.names, kind, rate, weight)
            except BudgetFullError:
                continue
        return 0.0

    def wait_s(self, whose: Whose, kind: Kind, rate: Rate, weight: int = 1) -> float:
        """Return how long to wait before so much may be spent; none of it was."""
        for one in self._budgets():
            try:
                return one.wait_s(whose.names, kind, rate, weight)
            except BudgetFullError:
                continue
        return 0.0

    def spend(self, whose: Whose, kind: Kind, rate: Rate, weight: int = 1) -> None:
        """Count what is asked whatever is left."""
        self._budgets()[0].spend(whose.names, kind, rate, weight)

    def correct(self, whose: Whose, kind: Kind, rate: Rate, used: tuple[int, float]) -> None:
        """Believe the venue: how much of its window is used, and how many seconds it goes on."""
        self._budgets()[0].correct(whose.names, kind, rate, used)
