"""What a feed's process does for those who read it: registration, lossless reading, wake-ups.

The control segment is made before the data segment is ready, the waker runs on any CPU but the hot
thread's. Called by: engine/feed_handler/process.py, engine/strategy/rehearsal.py. Calls:
shm/control_segment.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

from tickpath._core import lib
from tickpath.rt.process import name_thread
from tickpath.shm.control_segment import COUNTERS, ControlSegment

if TYPE_CHECKING:
    from tickpath.shm.segment import SegmentWriter

__all__ = ["COUNTERS", "WAKER_THREAD_NAME", "Consumers"]

WAKER_THREAD_NAME = "tp-waker"


class Consumers:
    """Own the control segment of a feed and the thread that wakes its consumers."""

    def __init__(
        self,
        segment: SegmentWriter,
        *,
        lossless_deadline_ns: int = 0,
        poll_ns: int = lib.TP_WAKER_POLL_NS_DEFAULT,
    ) -> None:
        """Make the control segment; raises SegmentError where it cannot be."""
        self._control = ControlSegment(
            segment, lossless_deadline_ns=lossless_deadline_ns, poll_ns=poll_ns
        )
        self._thread: threading.Thread | None = None

    @property
    def gate(self) -> Any:
        """Borrow the C gate, for the feed and the hot path; valid until close."""
        return self._control.gate

    def slowest(self, next_index: int, *, only_lossless: bool) -> tuple[int, int]:
        """As ControlSegment.slowest."""
        return self._control.slowest(next_index, only_lossless=only_lossless)

    def start(self, hot_cpu: int | None = None) -> None:
        """Start the waker, away from the hot thread's CPU."""
        self._thread = threading.Thread(
            target=self._run, args=(hot_cpu,), name=WAKER_THREAD_NAME, daemon=True
        )
        self._thread.start()

    def _run(self, hot_cpu: int | None) -> None:
        name_thread(WAKER_THREAD_NAME)
        others = os.sched_getaffinity(0) - {hot_cpu}
        if hot_cpu is not None and others:
            os.sched_setaffinity(0, others)
        self._control.run_waker()

    def counters(self) -> dict[str, int]:
        """Read what waker and gate counted; the names are COUNTERS."""
        return self._control.counters()

    def close(self) -> None:
        """Stop the waker and remove the control segment; before the data segment is closed."""
        if self._thread is not None:
            self._control.stop_waker()
            self._thread.join()
            self._thread = None
        self._control.close()
