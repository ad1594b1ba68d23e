"""One feed handler as its supervisor sees it: its segment, its heartbeat, its hot thread's class.

Called by: engine/supervisor/command.py, every few milliseconds, never on the path. Calls:
rt/guard, shm/segment.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from tickpath.rt.guard import Guard, Verdict
from tickpath.shm.segment import Segment, SegmentError

if TYPE_CHECKING:
    from collections.abc import Callable

HOT_THREAD_NAME = "tp-hot"
HANG_AFTER_S = 3.0  # a hot loop that makes no heartbeat for so long is stuck, not slow
# Between the segment's making, which counts as a beat, and the loop's own first one lie TLS, the
# locking of all memory and a thread's start: seconds on a slow or crowded machine.
START_WITHIN_S = 30.0


class FeedHandlerWatch:
    """Watch one feed handler from its start to its end; `close` unmaps its segment."""

    def __init__(
        self, instance: str, pid: int, *, has_priority: bool, tell: Callable[[str], None]
    ) -> None:
        """Take what the supervisor knows; the segment comes up later."""
        self._instance, self._pid, self._has_priority = instance, pid, has_priority
        self._tell = tell
        self._segment: Segment | None = None
        self._guard: Guard | None = None
        self._last_beat = 0
        self._has_beaten = False
        self.is_beating = False
        """Whether the heartbeat moved between the last two looks."""

    @property
    def is_up(self) -> bool:
        """Say whether this feed handler's own segment is there for strategies to open."""
        return self._segment is not None

    @property
    def is_demoted(self) -> bool:
        """Say whether the guard took SCHED_FIFO from the hot thread."""
        return self._guard is not None and self._guard.is_demoted

    def look(self) -> Verdict:
        """Open what has come up since the last look, and guard the hot thread."""
        if self._segment is None:
            self._open()
        if self._segment is None:
            return Verdict.MISSED
        beat = int(self._segment.live.heartbeat_ns)
        self.is_beating, self._last_beat = self._last_beat not in (0, beat), beat
        self._has_beaten |= self.is_beating
        if self._guard is None and self._has_priority:
            self._guard = self._find_hot_thread(self._segment)
        if self._guard is None:
            return Verdict.WELL if self.is_beating else Verdict.MISSED
        return self._guard.look()

    def hangs_since_s(self) -> float | None:
        """Return how long ago the hot loop last beat, where that is too long; else None."""
        if self._segment is None:
            return None
        age_s = self._segment.heartbeat_age_ns() / 1e9
        return age_s if age_s > (HANG_AFTER_S if self._has_beaten else START_WITHIN_S) else None

    def close(self) -> None:
        """Unmap the segment."""
        self._guard = None
        if self._segment is not None:
            self._segment.close()
            self._segment = None

    def _open(self) -> None:
        with contextlib.suppress(SegmentError):
            segment = Segment(self._instance)
            if int(segment.header.writer_pid) == self._pid:
                self._segment = segment
            else:  # its predecessor's
                segment.close()

    def _find_hot_thread(self, segment: Segment) -> Guard | None:
        for task in Path(f"/proc/{self._pid}/task").glob("*"):
            with contextlib.suppress(OSError):
                if (task / "comm").read_text().strip() == HOT_THREAD_NAME:
                    return Guard(int(task.name), lambda: int(segment.live.heartbeat_ns), self._tell)
        return None
