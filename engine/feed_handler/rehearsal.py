"""The cold side of rehearsal.c: whether there is one, whether it is kept, and what it did.

Rehearsing is worth its share of the core only where it makes messages behind a silence cheaper.
That is measured here, on this host, by the feed's own messages: for a while it is off and on by
turns, and what such messages took from frame to ring is kept apart for either. Then the better one
stays, and the log says so with both figures. Called by: process.py. Calls: rehearsal.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tickpath._core import ffi, lib
from tickpath.shm.errors import SystemSetupError
from tickpath.shm.histogram import HEADER_WORDS, bucket_middle

if TYPE_CHECKING:
    from collections.abc import Callable

    from tickpath.engine.config.schema import FeedHandlerConfig
    from tickpath.engine.feed_handler.hot_path import HotPath
    from tickpath.shm.clock import Clock

AFTER_SILENCE: Final = ("after_1ms", "after_10ms")
"""Histograms of frame to ring, by the time since the instrument's message before."""
COUNTERS: Final = ("rounds", "published", "abandoned", "notes", "spent_ns", "step_ns_max", "on")
ERROR_SIZE: Final = 256
PHASE_S: Final = 2.0
"""On or off for so long at a time while it is measured: what else the host does hits both alike."""
ENOUGH: Final = 200
"""Messages behind a silence, of either kind: their medians say what is to be known."""
WORTH: Final = 0.9
"""Kept where the median with it is this part of that without it, or less."""
AGAIN_S: Final = 3600.0
"""A host changes: so long after a verdict it is measured anew."""
NS_PER_US: Final = 1_000


class Rehearsal:
    """An understudy of one hot path; both end together."""

    def __init__(self, hot: HotPath) -> None:
        """Make it, off, before the hot thread runs. Raises SystemSetupError where it cannot be."""
        error = ffi.new("char[]", ERROR_SIZE)
        made = lib.tp_rehearsal_new(hot.handle, error, ERROR_SIZE)
        if made == ffi.NULL:
            why = ffi.string(error).decode(errors="replace")
            raise SystemSetupError(f"rehearsal: {why}: set feed_handler.rehearse to off")
        self.handle: Any = ffi.gc(made, lib.tp_rehearsal_free)
        self._hot = hot  # which it reads
        hot.handle.rehearsal = self.handle
        hot.handle.next_look_ns = 0

    def switch(self, *, is_on: bool) -> None:
        """Begin or pause; any time."""
        lib.tp_rehearsal_switch(self.handle, is_on)

    def counters(self) -> dict[str, int]:
        """Count what it did."""
        counters = self.handle.counters
        return {name: int(getattr(counters, name)) for name in COUNTERS if name != "on"}


def read_buckets(histogram: Any) -> list[int]:
    """Return how often each bucket was recorded, of a `struct tp_histogram *`."""
    words = memoryview(ffi.buffer(histogram)).cast("Q")
    return words[HEADER_WORDS:].tolist()


def median(buckets: list[int]) -> int:
    """Return the middle value in ns; 0 of none."""
    rank, seen = sum(buckets) // 2 + 1, 0
    for index, count in enumerate(buckets):
        seen += count
        if seen >= rank:
            return bucket_middle(index)
    return 0


class Trial:
    """On and off by turns until both are known; what it is given are a histogram's buckets."""

    def __init__(self, buckets: list[int], now_s: float) -> None:
        """Begin, off, with what was recorded before."""
        self.is_on = False
        self._before = buckets
        self._sums = {is_on: [0] * len(buckets) for is_on in (False, True)}
        self._ends_s = now_s + PHASE_S

    def is_due(self, now_s: float) -> bool:
        """Say whether it is time to change over."""
        return now_s >= self._ends_s

    def change(self, buckets: list[int], now_s: float) -> tuple[int, int] | None:
        """Change over; return the medians off and on, ns, once both are known."""
        came = zip(self._sums[self.is_on], buckets, self._before, strict=True)
        self._sums[self.is_on] = [total + now - before for total, now, before in came]
        self._before, self._ends_s = buckets, now_s + PHASE_S
        self.is_on = not self.is_on
        if min(sum(one) for one in self._sums.values()) < ENOUGH:
            return None
        return median(self._sums[False]), median(self._sums[True])


class Rehearsals:
    """The rehearsal of one feed handler, where it has one."""

    def __init__(self, config: FeedHandlerConfig, log: Callable[[str], None], clock: Clock) -> None:
        """Take the configuration; nothing is made yet."""
        self._config, self._log, self._clock = config, log, clock
        self._rehearsal: Rehearsal | None = None
        self._trial: Trial | None = None
        self._kept: Rehearsal | None = None
        self._is_on = False
        self._again_s = 0.0

    def open(self, hot: HotPath, *, has_frames: bool) -> None:
        """Make it, before the hot thread runs, where this loop has frames and idles by spinning."""
        config = self._config
        if config.rehearse == "off" or not has_frames or not config.spin:
            return
        try:
            self._rehearsal = Rehearsal(hot)
        except SystemSetupError as error:
            self._log(f"{error}: messages behind a silence take longer")
            return
        self._rehearsal.handle.rests = max(1, round(1 / config.rehearse_share) - 1)

    def step(self, histogram: Any) -> None:
        """Measure, and decide; histogram: of messages behind a silence."""
        rehearsal, now_s = self._rehearsal, self._clock.now_s()
        if rehearsal is None:
            return
        if rehearsal.handle.is_broken:
            self._end(rehearsal)
        elif self._config.rehearse == "on":
            self._switch(rehearsal, is_on=True)
        elif self._trial is None and now_s >= self._again_s:
            self._trial = Trial(read_buckets(histogram), now_s)
            self._switch(rehearsal, is_on=False)
        elif self._trial is not None and self._trial.is_due(now_s):
            medians = self._trial.change(read_buckets(histogram), now_s)
            self._switch(rehearsal, is_on=self._trial.is_on)
            if medians is not None:
                self._judge(rehearsal, medians, now_s)

    def _judge(self, rehearsal: Rehearsal, medians: tuple[int, int], now_s: float) -> None:
        off, on = medians
        is_worth = on <= WORTH * off
        self._trial, self._again_s = None, now_s + AGAIN_S
        self._switch(rehearsal, is_on=is_worth)
        self._log(
            f"rehearsal: {'kept' if is_worth else 'off'}: 10 ms and more after its instrument's "
            f"last one a message takes {on / NS_PER_US:.1f} us from frame to ring with it, "
            f"{off / NS_PER_US:.1f} us without (p50)"
        )

    def _switch(self, rehearsal: Rehearsal, *, is_on: bool) -> None:
        if is_on != self._is_on:
            rehearsal.switch(is_on=is_on)
            self._is_on = is_on

    def _end(self, rehearsal: Rehearsal) -> None:
        self._switch(rehearsal, is_on=False)
        self._rehearsal, self._kept = None, rehearsal  # the hot thread still has it
        self._log("rehearsal: off: its understudy ended a message otherwise: please report this")

    def counters(self) -> dict[str, int]:
        """Count what it did; all 0 where there is none."""
        made = self._rehearsal
        counted = dict.fromkeys(COUNTERS, 0) if made is None else made.counters()
        return counted | {"on": int(self._is_on)}
