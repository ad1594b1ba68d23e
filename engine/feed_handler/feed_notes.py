"""Say what a feed counts and an operator should know: once each, with what to do about it.

The hot thread never logs: it counts. `step` looks at the counts now and then. Called by:
engine/feed_handler/process.py (the cold thread). Calls: engine/feed (counters).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tickpath._core import ffi, lib

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tickpath.proto.instrument import Instrument


class FeedNotes:
    """What was said of one feed so far."""

    def __init__(
        self, feed: Any, instruments: Sequence[Instrument], say: Callable[[str], None]
    ) -> None:
        """Borrow the feed; `instruments` in its order."""
        self._feed, self._instruments, self._say = feed, instruments, say
        self._doubled = ffi.new("uint32_t *")
        self._has_said_doubled = False

    def step(self) -> None:
        """Say what is new."""
        if not self._has_said_doubled and lib.tp_feed_doubled(self._feed, self._doubled):
            self._has_said_doubled = True
            symbol = self._instruments[self._doubled[0]].symbol
            self._say(
                f"base of {symbol}: it names a price twice: the last quantity counts (said once; "
                "the counter feed.doubled goes on)"
            )
