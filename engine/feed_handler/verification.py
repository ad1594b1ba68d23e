"""Have quiet books checked: with what the venue's budget leaves, and how late that may be.

engine/feed/verify.c says which books are quiet, and judges the answers. `Checks` is the queue of
those that wait to be asked about; `within_s` is how old the last proof of a LIVE book can become
where all of them are quiet at once. No I/O.
Called by: bases.py (the queue), venue_feed.py, process.py and engine/config/check.py (the plan).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tickpath.proto.venue import Verification
from tickpath.shm.clock import NS_PER_S
from tickpath.shm.errors import LocalError

if TYPE_CHECKING:
    from tickpath.engine.config.schema import HealthConfig, VenueConfig
    from tickpath.engine.feed_handler.base_schedule import BaseSchedule

INTERVALS_JITTERED: Final = 1.25
"""A pause between two requests is up to so much longer than the budget's own (bases.py)."""
UNCHANGED_MISSED: Final = 2.5
"""Intervals of a venue that says "unchanged" by itself: without so many a book is not LIVE, and
it is asked about after half of them."""
RETRY_FIRST_S, RETRY_MAX_S = 0.5, 10.0
OPENS_EVERY_S: Final = 1.5
"""Where each check needs a connection of its own: aside.py opens one a second at most."""


def cost(venue: VenueConfig) -> float:
    """Return what a check takes of the budget, in bases."""
    own, kind = venue.venue, venue.venue.verification(venue.settings)
    if kind is Verification.ASIDE and own.base_may_precede:
        return max(1.0, own.rest_budget(venue.settings).per_second * OPENS_EVERY_S)
    return own.check_cost(venue.settings) if kind is Verification.REST else 1.0


def per_second(venue: VenueConfig) -> float:
    """Return how many checks are made where nothing else is asked."""
    budget = venue.venue.rest_budget(venue.settings)
    return budget.per_second / cost(venue) / INTERVALS_JITTERED


def quiet_s(venue: VenueConfig, health: HealthConfig) -> float:
    """Return for how long a book may be quiet; it is asked about after half of that."""
    unchanged_s = venue.venue.unchanged_s(venue.settings)
    return max(health.verify_quiet_after_s, UNCHANGED_MISSED * unchanged_s)


def within_s(venue: VenueConfig, health: HealthConfig, books: int) -> float:
    """Return for how long a book may be quiet and not proved, all of them being so.

    A book is asked about at half of `quiet_s`; where there are more than the budget takes until it
    is over, the limit stretches.
    """
    limit_s = quiet_s(venue, health)
    if venue.venue.verification(venue.settings) is Verification.HEARTBEAT:
        return limit_s
    return max(limit_s, 2.0 * books / per_second(venue))


def describe(venue: VenueConfig, health: HealthConfig, books: int) -> str:
    """Say that the limit stretches, "" where it does not."""
    limit_s = within_s(venue, health, books)
    if limit_s <= health.verify_quiet_after_s:
        return ""
    if limit_s == quiet_s(venue, health):
        every_s = venue.venue.unchanged_s(venue.settings)
        return (
            f'verification: the venue says "unchanged" about every {every_s:g} s: a quiet book is '
            f"LIVE for {limit_s:.0f} s after it was last proved instead of "
            f"{health.verify_quiet_after_s:g} (health.verify_quiet_after_s)"
        )
    return (
        f"verification: {books} instruments, {per_second(venue):.1f} checks a second: a quiet book "
        f"is LIVE for {limit_s:.0f} s after it was last proved instead of "
        f"{health.verify_quiet_after_s:g} (health.verify_quiet_after_s) where all are quiet"
    )


def check_plan(venue: VenueConfig, health: HealthConfig, books: int) -> None:
    """Raise LocalError where the budget cannot verify so many books in time."""
    limit_s = within_s(venue, health, books)
    if limit_s > health.verify_max_s:
        most = int(health.verify_max_s * per_second(venue) / 2)
        raise LocalError(
            f"{books} instruments, {per_second(venue):.1f} checks a second: quiet books are "
            f"verified within {limit_s:.0f} s, expected at most {health.verify_max_s:g} "
            f"(health.verify_max_s): keep {most} instruments, run one more instance from another "
            "address, or raise verify_max_s"
        )


def configure(feed: Any, venue: VenueConfig, health: HealthConfig, books: int) -> None:
    """Set a `struct tp_feed_venue`: when a book is asked about, and when it is not LIVE."""
    asks = venue.venue.verification(venue.settings) is not Verification.HEARTBEAT
    feed.verify_after_ns = int(quiet_s(venue, health) / 2 * NS_PER_S) if asks else 0
    feed.verify_limit_ns = int(within_s(venue, health, books) * NS_PER_S)


@dataclass(slots=True)
class _Waiting:
    since: float
    due: float


@dataclass(slots=True)
class Checks:
    """Quiet books that wait to be asked about: who waits longest comes first, after all bases.

    Times are of one monotonic clock, in seconds.
    """

    cost: float = 1.0
    _waiting: dict[int, _Waiting] = field(default_factory=dict)
    _failures: dict[int, int] = field(default_factory=dict)
    _paused_until: float = float("-inf")

    def want(self, instrument: int, now: float) -> None:
        """Note that a book is to be checked; one whose check failed waits a while."""
        failures = self._failures.get(instrument, 0)
        pause = min(RETRY_MAX_S, RETRY_FIRST_S * 2.0 ** min(failures, 16)) if failures else 0.0
        self._waiting.setdefault(instrument, _Waiting(now, now + pause))

    def drop(self, instrument: int) -> None:
        """Forget a book: it is to have a base, which proves it."""
        self._waiting.pop(instrument, None)

    def forget(self) -> None:
        """Forget who waits; who failed is known still."""
        self._waiting.clear()

    def pause(self, left_s: float | None, now: float) -> float:
        """Ask about none for so long, at least RETRY_MAX_S; return for how long."""
        pause = max(RETRY_MAX_S, left_s or 0.0)
        self._paused_until = max(self._paused_until, now + pause)
        return pause

    def take(self, now: float, schedule: BaseSchedule) -> int | None:
        """Return the book to ask about now and count it against the budget, or None."""
        ready = [(row.since, one) for one, row in self._waiting.items() if row.due <= now]
        if not ready or now < self._paused_until or not schedule.is_spare(now):
            return None
        _, instrument = min(ready)
        del self._waiting[instrument]
        schedule.spend(now, self.cost)
        return instrument

    def settled(self, instrument: int, *, well: bool) -> None:
        """Note whether there was an answer."""
        self._failures[instrument] = 0 if well else self._failures.get(instrument, 0) + 1

    def wait_s(self, now: float, schedule: BaseSchedule) -> float:
        """Return how long `take` will have nothing; infinity while nobody waits."""
        if not self._waiting:
            return float("inf")
        due = min(row.due for row in self._waiting.values())
        return max(0.0, due - now, self._paused_until - now, schedule.spare_s(now))
