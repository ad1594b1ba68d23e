"""Hold a replay back to the pace of those who read it: nothing that they read is overwritten.

Live, the exchange sets the pace and a slow consumer loses events. A replay has time: it publishes
no further than its slowest consumer's cursor allows. Who registered as lossless is always waited
for; with `is_lossless` everybody is, and the first of them before the first record.
Called by: replay.py. Calls: replayer.py, engine/consumers.py.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tickpath.engine.recording.replayer import Replayer
    from tickpath.engine.supervisor.stop_flag import StopFlag

RING_CAPACITY = 1 << 16  # of a replay's segment: how far its consumers may be behind
LOOK_EVERY_S = 0.0002
BEAT_EVERY_S = 0.01
TOLD_AFTER_S = 5.0


def say(text: str) -> None:
    """Write one line to stderr."""
    print(f"tickpath: {text}", file=sys.stderr, flush=True)


class Pacing:
    """Who is waited for, and how long; over all runs of one replay."""

    def __init__(self, instance: str, stop: StopFlag, *, is_lossless: bool, wait_s: float) -> None:
        """Take what the command line says; `wait_s` is for the first consumer."""
        self._instance, self._stop = instance, stop
        self._is_lossless, self._wait_s = is_lossless, wait_s
        self._count: int | None = None  # of the run before: they come back to the next one

    def attach(self, replayer: Replayer) -> None:
        """Begin a run: wait for those who will read it, then hold it back to their pace."""
        replayer.await_room = lambda: self._await_room(replayer)
        if self._is_lossless:
            self._await_consumers(replayer, 1 if self._count is None else self._count)
        self._set_limit(replayer)

    def _consumers(self, replayer: Replayer) -> tuple[int, int]:
        assert replayer.consumers is not None  # noqa: S101 # a replay with an instance has them
        only_lossless = not self._is_lossless
        return replayer.consumers.slowest(replayer.event_count, only_lossless=only_lossless)

    def _await_consumers(self, replayer: Replayer, wanted: int) -> None:
        is_first = self._count is None
        if self._wait_s > 0 and is_first:
            say(
                f"waiting up to {self._wait_s:g} s for a consumer of {self._instance} to register "
                f"(tickpath strategy --instance {self._instance}); --no-lossless does not wait"
            )
        end = time.monotonic() + self._wait_s
        found = 0
        while found < wanted and time.monotonic() < end and not self._stop.is_set():
            replayer.heartbeat()
            time.sleep(BEAT_EVERY_S)
            found = self._consumers(replayer)[1]
        if found == 0 and is_first and not self._stop.is_set():
            say(
                f"no consumer registered with {self._instance} within {self._wait_s:g} s: "
                "replaying without one; start it sooner, or give a longer --wait"
            )

    def _set_limit(self, replayer: Replayer) -> bool:
        """Let it publish up to the slowest; return whether that has room for one record."""
        slowest, self._count = self._consumers(replayer)
        replayer.c.ring_limit = slowest + replayer.ring_capacity
        return slowest + replayer.ring_capacity >= replayer.event_count + replayer.room

    def _await_room(self, replayer: Replayer) -> bool:
        """Wait until the slowest has read on; False: asked to stop."""
        is_told, since, next_beat = False, time.monotonic(), 0.0
        while not self._set_limit(replayer):
            if self._stop.is_set():
                return False
            now = time.monotonic()
            if now >= next_beat:
                replayer.heartbeat()
                next_beat = now + BEAT_EVERY_S
            if now - since > TOLD_AFTER_S and not is_told:
                is_told = True
                say(
                    f"its slowest consumer has read nothing for {TOLD_AFTER_S:g} s, and the replay "
                    f"waits for it: `tickpath stat {self._instance}` shows which"
                )
            time.sleep(LOOK_EVERY_S)
        replayer.heartbeat()
        return True
