"""Where Python's side reads time: one object, an argument of whatever waits, retries or expires.

The process passes `SYSTEM`; a test in virtual time passes its own two functions, so that a whole
deployment runs on a time that the test moves. The hot thread's clock is C's (clock.h); both count
nanoseconds of CLOCK_MONOTONIC.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Clock:
    """Two readings of one time; `SYSTEM` is the host's."""

    now_ns: Callable[[], int] = time.monotonic_ns
    """Never goes back; what durations and deadlines are counted in."""
    unix_ns: Callable[[], int] = time.time_ns
    """What venues and people call the time."""

    def now_s(self) -> float:
        """Return now_ns in seconds."""
        return self.now_ns() / NS_PER_S


SYSTEM = Clock()
