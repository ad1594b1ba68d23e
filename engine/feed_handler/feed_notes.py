"""Say what a feed counts and an operator should know: once each, with what to do about it.

The hot thread never logs: it counts. `step` looks at the counts now and then. Called by:
engine/feed_handler/process.py (the cold thread). Calls: engine/feed (counters).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tickpath._core import lib

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tickpath.engine.config.schema import HealthConfig
    from tickpath.proto.instrument import Instrument
    from tickpath.shm.clock import Clock

AGAIN_S: Final = 60.0
"""What goes on is said so often at most."""


class FeedNotes:
    """What was said of one feed so far."""

    def __init__(
        self,
        feed: Any,
        instruments: Sequence[Instrument],
        health: HealthConfig,
        say: Callable[[str], None],
        clock: Clock,
    ) -> None:
        """Borrow the feed; `instruments` in its order."""
        self._feed, self._instruments, self._say, self._clock = feed, instruments, say, clock
        self._has_said_doubled = False
        self._seen: dict[str, int] = {}
        self._next_s: dict[str, float] = {}
        self._remedies = {
            "outlived_keep_s": f"they are kept for {health.keep_s:g} s: raise health.keep_s",
            "outlived_keep_bytes": f"there was no room for {health.keep_s:g} s of them: raise "
            "health.keep_bytes",
        }

    def step(self) -> None:
        """Say what is new."""
        doubled = 0 if self._has_said_doubled else int(lib.tp_feed_doubled(self._feed))
        if doubled:
            self._has_said_doubled = True
            symbol = self._instruments[doubled - 1].symbol
            self._say(
                f"base of {symbol}: it names a price twice: the last quantity counts (said once; "
                "the counter feed.doubled goes on)"
            )
        for name, remedy in self._remedies.items():
            self._tell_outlived(name, remedy)

    def _tell_outlived(self, name: str, remedy: str) -> None:
        now = self._clock.now_s()
        if now < self._next_s.get(name, 0.0):
            return
        count = int(getattr(lib.tp_feed_counters(self._feed), name))
        more = count - self._seen.get(name, 0)
        self._seen[name] = count
        if more:
            self._next_s[name] = now + AGAIN_S
            self._say(f"{more} bases were older than the messages kept until they came: {remedy}")
