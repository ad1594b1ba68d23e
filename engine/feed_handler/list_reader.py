"""Read the venue's instrument list again and again while the feed runs: what has changed in it?

A read is due every so often, or sooner where somebody wants one: no sooner than LEAST_S after the
one before, and not while the venue wants no requests. It runs beside the cold loop, which it never
holds up. What it finds is the caller's to follow; a list that cannot be read changes nothing and is
reported once. Called by: venue_feed.py beside it (the cold thread). Calls:
instrument_list.py.
"""

from __future__ import annotations

import queue
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tickpath.engine.feed_handler.base_schedule import BaseSchedule, Budget
from tickpath.engine.feed_handler.instrument_list import fetch_list
from tickpath.engine.feed_handler.rest_client import RateLimitError
from tickpath.engine.loop.pauses import pause_text
from tickpath.engine.supervisor.wall_time import wall_time
from tickpath.shm.clock import NS_PER_S, SYSTEM, Clock
from tickpath.shm.errors import RemoteError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tickpath.engine.config.schema import VenueConfig
    from tickpath.engine.feed_handler.rest_client import Rest
    from tickpath.proto.venue import InstrumentList

LEAST_S: Final = 5.0
RETRY_FIRST_S: Final = 10.0
JITTER: Final = 0.1  # of the interval, so that feed handlers started together drift apart


@dataclass(slots=True)
class ListReader:
    """One venue's list; `step` is called again and again and never waits."""

    venue: VenueConfig
    open_rest: Callable[[VenueConfig], Rest]
    log: Callable[[str], None]
    every_s: float
    run: Callable[[Callable[[], None]], None]
    """Does it beside the cold thread."""
    clock: Clock = SYSTEM
    jitter: Callable[[], float] = field(default_factory=lambda: random.SystemRandom().random)
    _came: queue.SimpleQueue[InstrumentList | Exception] = field(default_factory=queue.SimpleQueue)
    _is_reading: bool = False
    _due_s: float = 0.0
    _least_s: float = 0.0  # not before, whoever wants one
    _failures: int = 0
    _schedule: BaseSchedule = field(init=False)

    def __post_init__(self) -> None:
        """Begin when the first list was just read."""
        self._schedule = BaseSchedule(
            Budget.of_venue(self.venue.venue.rest_budget(self.venue.settings)), self.jitter
        )
        self._plan(self.every_s)

    def _plan(self, in_s: float) -> None:
        now_s = self.clock.now_s()
        self._due_s = now_s + in_s * (1.0 + JITTER * self.jitter())
        self._least_s = now_s + LEAST_S

    def want(self) -> None:
        """Have it read as soon as may be."""
        self._due_s = min(self._due_s, self._least_s)

    def step(self) -> InstrumentList | None:
        """Begin a read that is due; return a list that came since, once."""
        if self._is_reading:
            return self._take()
        if self.clock.now_s() >= self._due_s:
            self._is_reading = True
            try:
                self.run(self._read)
            except RuntimeError as error:  # no thread can be started now
                self._came.put(error)
        return None

    def _read(self) -> None:
        try:
            rest = self.open_rest(self.venue)
            try:
                self._came.put(fetch_list(self.venue, rest))
            finally:
                rest.close()
        except Exception as error:  # of a venue's folder, the system or the remote: said by `_take`
            self._came.put(error)

    def _take(self) -> InstrumentList | None:
        try:
            came = self._came.get_nowait()
        except queue.Empty:
            return None
        self._is_reading = False
        if not isinstance(came, Exception):
            if self._failures:
                self.log("instrument list: read again")
            self._failures = 0
            self._schedule.succeeded()
            self._plan(self.every_s)
            return came
        self._fail(came)
        return None

    def _fail(self, error: Exception) -> None:
        """Try again later; said at the first failure, and where the venue wants a pause."""
        wait_s = min(self.every_s, RETRY_FIRST_S * 2.0 ** min(self._failures, 16))
        reason = (
            str(error) if isinstance(error, RemoteError) else f"{type(error).__name__}: {error}"
        )
        is_limit = isinstance(error, RateLimitError)
        if isinstance(error, RateLimitError):
            wait_s = self._schedule.limited(error, self.clock.now_s())
        if self._failures == 0 or is_limit:
            at = wall_time(self.clock.unix_ns() / NS_PER_S + wait_s)
            self.log(
                f"instrument list: {reason}: what was read before still counts; reading it again "
                f"in {pause_text(wait_s)}, at {at}"
            )
        self._failures += 1
        self._plan(wait_s)
        if is_limit:
            self._least_s = self._due_s
