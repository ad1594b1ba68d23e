"""When bases are asked for: whoever has waited longest, as the venue's budget allows.

Injected time, no I/O; what a venue refused holds all requests back. Called by: bases.py,
verification.py and list_reader.py beside it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tickpath.engine.feed_handler.rest_client import RateLimitError
    from tickpath.proto.venue import RestBudget


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How many requests are made, and how a failure slows them. Seconds.

    Another program may share our address, and bases are asked for in storms (every reconnection):
    what a venue's folder asks for leaves room for both.
    """

    per_second: float = 10.0
    burst: int = 10
    retry_first_s: float = 0.2
    retry_max_s: float = 10.0
    settled_after_s: float = 30.0
    """An instrument that was content for so long starts the next series anew."""
    limited_s: float = 10.0
    banned_s: float = 120.0
    """Pauses after refusals that do not say how long."""
    pause_max_s: float = 3 * 24 * 3600.0
    """The venue's longest ban."""

    @classmethod
    def of_venue(cls, rest: RestBudget) -> Budget:
        """Return what a venue bears, with our own patience."""
        return cls(
            per_second=rest.per_second,
            burst=rest.burst,
            limited_s=rest.limited_s,
            banned_s=rest.banned_s,
            pause_max_s=rest.banned_max_s,
        )


@dataclass(slots=True)
class _Waiting:
    since: float
    due: float


@dataclass(slots=True)
class _History:
    fetches: int = 0  # in the present series
    last: float = float("-inf")


@dataclass(slots=True)
class BaseSchedule:
    """Choose the next base to fetch: whoever has waited longest, as the budget allows.

    `jitter` gives numbers uniform in [0, 1). All times are of one monotonic clock, in seconds.
    """

    budget: Budget = field(default_factory=Budget)
    jitter: Callable[[], float] = field(default_factory=lambda: random.SystemRandom().random)
    _waiting: dict[int, _Waiting] = field(default_factory=dict)
    _history: dict[int, _History] = field(default_factory=dict)
    _next_slot: float = float("-inf")  # GCRA: when the budget would be whole again
    _paused_until: float = float("-inf")
    _limited: int = 0  # 429s in a row
    _limited_at: float = float("-inf")

    def want(self, instrument: int, now: float) -> None:
        """Note that an instrument waits; one that came back soon after a fetch waits a while."""
        if instrument in self._waiting:
            return
        history = self._history.setdefault(instrument, _History())
        if now - history.last > self.budget.settled_after_s:
            history.fetches = 0
        self._waiting[instrument] = _Waiting(now, now + self._backoff_s(history.fetches))

    def _backoff_s(self, failures: int) -> float:
        if failures == 0:
            return 0.0
        doubled = self.budget.retry_first_s * 2.0 ** min(failures - 1, 32)
        return min(self.budget.retry_max_s, doubled) * (0.5 + 0.5 * self.jitter())

    def _budget_from(self) -> float:
        tolerance = (self.budget.burst - 1) / self.budget.per_second
        return max(self._paused_until, self._next_slot - tolerance)

    def spend(self, now: float, cost: float = 1.0) -> None:
        """Count a request against the budget; cost: of that of a base."""
        # A quarter of jitter, so that feed handlers started together drift apart.
        interval = (1.0 + 0.25 * self.jitter()) / self.budget.per_second
        self._next_slot = max(self._next_slot, now) + interval * cost

    def is_spare(self, now: float) -> bool:
        """Say whether something else may be asked: no base is due, and the budget is whole."""
        return now >= max(self._paused_until, self._next_slot) and not any(
            row.due <= now for row in self._waiting.values()
        )

    def spare_s(self, now: float) -> float:
        """Return for how long nothing else may be asked, at least."""
        return max(0.0, self._paused_until - now, self._next_slot - now)

    def take(self, now: float) -> int | None:
        """Return the instrument to fetch now and count it against the budget, or None."""
        if now < self._budget_from():
            return None
        ready = [(row.since, one) for one, row in self._waiting.items() if row.due <= now]
        if not ready:
            return None
        _, instrument = min(ready)
        del self._waiting[instrument]
        history = self._history[instrument]
        history.fetches += 1
        history.last = now
        self.spend(now)
        return instrument

    def wait_s(self, now: float) -> float:
        """Return how long `take` will have nothing; infinity while nobody waits."""
        if not self._waiting:
            return float("inf")
        due = min(row.due for row in self._waiting.values())
        return max(0.0, due - now, self._budget_from() - now)

    def forget(self) -> None:
        """Forget who waits; what the venue bears, and what it asked for, still counts."""
        self._waiting.clear()

    def succeeded(self) -> None:
        """Note that the venue answered."""
        self._limited = 0

    def limited(self, error: RateLimitError, now: float, asked: float | None = None) -> float:
        """Stop all requests for as long as the venue asks; return for how long.

        asked: when the request was made. Several that were under way together are refused once:
        what is refused of a time before the pause makes it no longer, unless the venue says so.
        """
        refusal = error.refusal
        is_same = asked is not None and asked <= self._limited_at
        least = self.budget.banned_s if refusal.is_ban else self.budget.limited_s
        pause = refusal.retry_after_s
        if pause is None:
            pause = least * 2.0 ** min(max(0, self._limited - is_same), 10)
        pause = min(pause, self.budget.pause_max_s) * (1.0 + 0.1 * self.jitter())
        if not is_same:
            self._limited += 1
            self._limited_at = now
        self._paused_until = max(self._paused_until, now + pause)
        return pause
