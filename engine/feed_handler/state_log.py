"""Say in the log what became of each book: instrument, state before and after, cause, time.

Gap, resync, crossed, STALE, LIVE and refused are changes of state, which the hot thread publishes
as events; the cold thread reads them from the ring and writes a line each, at most LINES_MAX in a
second: of a flood it says how many more there were. Called by: engine/feed_handler/process.py.
Calls: engine/feed/state_watch.c.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from tickpath._core import ffi, lib
from tickpath.engine.supervisor.wall_time import wall_time
from tickpath.proto.records import BookState, SyncReason

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tickpath.proto.instrument import Instrument
    from tickpath.shm.segment import SegmentWriter

LINES_MAX: Final = 10
WINDOW_S: Final = 1.0
CHANGES_MAX: Final = 256  # a look takes so many at most; the rest is the next look's
NS_PER_S: Final = 1e9


def state_words(state: int, reason: int) -> str:
    """Name a state, and why a book that is not LIVE is in it."""
    name = BookState(state).name
    if reason == SyncReason.NONE:
        return name
    return f"{name} ({SyncReason(reason).name.lower().replace('_', ' ')})"


class StateLog:
    """The changes of one feed's books; `step` after each look at the hot thread, and at the end."""

    def __init__(
        self, segment: SegmentWriter, instruments: Sequence[Instrument], say: Callable[[str], None]
    ) -> None:
        """Stand at the ring's head; the segment outlives this."""
        self._segment, self._instruments, self._say = segment, instruments, say
        self._watch = ffi.new("struct tp_state_watch *")
        self._changes = ffi.new("struct tp_state_change[]", CHANGES_MAX)
        lib.tp_state_watch_init(self._watch, segment.pointer)
        self._offset_ns = int(segment.header.clock.realtime_offset_ns)
        self._before: dict[int, int] = {}
        self._window_ends_s = 0.0
        self._lines = 0
        self._untold: Counter[str] = Counter()
        self._untold_of: set[int] = set()
        self._unseen = 0

    def step(self, now_s: float) -> None:
        """Say what changed since the last look; `now_s` is of a clock that only goes on."""
        if now_s >= self._window_ends_s:
            self.flush()
            self._window_ends_s = now_s + WINDOW_S
        count = lib.tp_state_watch_take(self._watch, self._changes, CHANGES_MAX)
        for change in self._changes[0:count]:
            self._take(change)

    def reason(self, instrument: int) -> int:
        """Return why a book is not LIVE, as shared memory has it now."""
        now = ffi.new("struct tp_state_change *")
        lib.tp_state_watch_now(self._segment.pointer, instrument, now)
        return int(now.reason)

    def flush(self) -> None:
        """Say how many changes had no line of their own."""
        unseen = int(self._watch.ring.lapped) - self._unseen
        self._unseen += unseen
        if unseen:
            self._say(f"{unseen:,} events came faster than this log reads: changes may be missing")
        if self._untold:
            each = ", ".join(f"{count:,} {words}" for words, count in self._untold.most_common())
            self._say(
                f"{self._untold.total():,} more changes of state of {len(self._untold_of):,} "
                f"instruments within {WINDOW_S:g} s: {each}; `tickpath tail "
                f"{self._segment.instance} --type state` shows each"
            )
        self._lines = 0
        self._untold.clear()
        self._untold_of.clear()

    def _take(self, change: Any) -> None:
        index = int(change.instrument)
        words = state_words(change.state, change.reason)
        before, self._before[index] = self._before.get(index), int(change.state)
        if self._lines >= LINES_MAX:
            self._untold[words] += 1
            self._untold_of.add(index)
            return
        self._lines += 1
        one = self._instruments[index]
        was = "" if before in (None, change.state) else f", was {BookState(before).name}"
        at = wall_time((change.published_ns + self._offset_ns) / NS_PER_S)
        self._say(f"{one.venue} {one.symbol}: {words}{was}, at {at}")
