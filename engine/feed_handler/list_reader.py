"""Read a venue's instrument list: at the start, again and again, and when somebody wants it.

One of these for each venue reads for all who need its list: the start, symbols that come and go,
scales, what is traded. A read is due every so often, or sooner where somebody wants one: no sooner
than LEAST_S after the one before began, and not while the venue wants no requests. It runs beside
the cold loop, which it never holds up; so does a venue's read another venue's. A list that cannot
be read changes nothing and is reported once. Called by: venue_feed.py beside it (the cold thread).
Calls: instrument_list.py.
"""

from __future__ import annotations

import queue
import random
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tickpath.engine.feed_handler.base_schedule import BaseSchedule, Budget
from tickpath.engine.feed_handler.faults import describe
from tickpath.engine.feed_handler.instrument_list import fetch_list
from tickpath.engine.feed_handler.rest_client import RateLimitError
from tickpath.engine.loop.pauses import pause_text
from tickpath.engine.supervisor.wall_time import wall_time
from tickpath.shm.clock import NS_PER_S, SYSTEM, Clock
from tickpath.shm.errors import LocalError, RemoteError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tickpath.engine.config.schema import VenueConfig
    from tickpath.engine.feed_handler.rest_client import Rest
    from tickpath.proto.venue import InstrumentList

LEAST_S: Final = 5.0
RETRY_FIRST_S: Final = 10.0
JITTER: Final = 0.1  # of the interval, so that feed handlers started together drift apart
LONG_AGO_S: Final = float("-inf")


def start_thread(work: Callable[[], None]) -> None:
    """Do some work beside the cold thread."""
    threading.Thread(target=work, name="list", daemon=True).start()


@dataclass(slots=True)
class ListReader:
    """One venue's list; `step` is called again and again and never waits. The first is due now."""

    venue: VenueConfig
    open_rest: Callable[[VenueConfig], Rest]
    log: Callable[[str], None]
    every_s: float
    run: Callable[[Callable[[], None]], None]
    """Does it beside the cold thread."""
    clock: Clock = SYSTEM
    jitter: Callable[[], float] = field(default_factory=lambda: random.SystemRandom().random)
    spend: Callable[[], None] = lambda: None
    """Is told of each request, for the budget of all that are made of the venue; any thread."""
    failure: Exception | None = None
    """Why the last read brought none."""
    is_reading: bool = False
    has_list: bool = False
    """One was read some time."""
    again_s: float = LONG_AGO_S
    """When the next read is due."""
    _came: queue.SimpleQueue[InstrumentList | Exception] = field(default_factory=queue.SimpleQueue)
    _began_s: float = LONG_AGO_S
    _rests_until_s: float = LONG_AGO_S  # whoever wants one
    _failures: int = 0
    _untold: str = ""
    _schedule: BaseSchedule = field(init=False)

    def __post_init__(self) -> None:
        """Know how long the venue's refusals last."""
        budget = Budget.of_venue(self.venue.venue.rest_budget(self.venue.settings))
        self._schedule = BaseSchedule(budget, self.jitter)

    def want(self, least_s: float = LEAST_S) -> None:
        """Have it read soon: not sooner than so long after the last read began."""
        if not self.is_reading:  # else it is about to come
            soonest_s = max(self._began_s + least_s, self._rests_until_s)
            self.again_s = min(self.again_s, soonest_s)

    @property
    def is_limited(self) -> bool:
        """Say whether the venue wants no requests for a while: to ask on would lengthen that."""
        return isinstance(self.failure, RateLimitError)

    def step(self) -> InstrumentList | None:
        """Begin a read that is due; return a list that came since, once."""
        now_s = self.clock.now_s()
        if not self.is_reading and now_s >= self.again_s:
            self.is_reading, self._began_s = True, now_s
            try:
                self.run(self._read)
            except (RuntimeError, MemoryError) as error:  # no thread can be started now
                self._came.put(LocalError(str(error)))
        return self._take() if self.is_reading else None

    def say(self) -> None:
        """Say what is to be said of the last failure, and when it is read again."""
        line, self._untold = self._untold, ""
        if line:
            left_s = max(0.0, self.again_s - self.clock.now_s())
            at = wall_time(self.clock.unix_ns() / NS_PER_S + left_s)
            self.log(f"{line}reading it again in {pause_text(left_s)}, at {at}")

    def _read(self) -> None:
        try:
            rest = self.open_rest(self.venue)
            try:
                self._came.put(fetch_list(self.venue, rest, asks=self.spend))
            finally:
                rest.close()
        except Exception as error:  # of a venue's folder, the system or the remote: said by `say`
            self._came.put(error)

    def _take(self) -> InstrumentList | None:
        try:
            came = self._came.get_nowait()
        except queue.Empty:
            return None
        self.is_reading = False
        if isinstance(came, Exception):
            self._fail(came)
            return None
        if self._failures:
            self.log("instrument list: read again")
        self._failures, self.failure, self._untold = 0, None, ""
        self.has_list = True
        self._schedule.succeeded()
        self._plan(self.every_s)
        return came

    def _plan(self, in_s: float) -> None:
        self.again_s = self.clock.now_s() + in_s * (1.0 + JITTER * self.jitter())

    def _fail(self, error: Exception) -> None:
        """Try again later; said at the first failure, and where the venue wants a pause."""
        now_s = self.clock.now_s()
        wait_s = min(self.every_s, RETRY_FIRST_S * 2.0 ** min(self._failures, 16))
        is_foreseen = isinstance(error, RemoteError | LocalError)
        reason = str(error) if is_foreseen else describe(error)
        if isinstance(error, RateLimitError):
            self._plan(self._schedule.limited(error, now_s))
            self._rests_until_s = self.again_s
        else:
            self._plan(wait_s)
            self._rests_until_s = now_s + LEAST_S
        if self._failures == 0 or isinstance(error, RateLimitError):
            counts = "what was read before still counts; " if self.has_list else ""
            self._untold = f"instrument list: {reason}: {counts}"
        self._failures += 1
        self.failure = error
