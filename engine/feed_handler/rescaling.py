"""Between the hot thread, the thread of bases and `Scales`: what did not fit, and where to go.

A number that did not fit comes from the feed or from a base; the list is asked for by whoever reads
it for all. A scale moves in this order: the instrument's row in shared memory (and in
the tap's table), then the hot thread, which publishes INSTRUMENT and all that follows. Called by:
venue_feed.py and process.py beside it (the cold thread). Calls: engine/feed/rescale.h, scales.py,
bases.py.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec
from tickpath._core import ffi, lib
from tickpath.engine.feed_handler.scales import Misfit, Scales
from tickpath.proto.instrument import Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from tickpath.engine.feed_handler.bases import BaseWorker
    from tickpath.engine.feed_handler.hot_path import HotPath
    from tickpath.engine.feed_handler.scales import What
    from tickpath.proto.instrument import Instrument
    from tickpath.proto.venue import InstrumentList

_WHATS: dict[int, What] = {lib.TP_NUMBER_PRICE: "price", lib.TP_NUMBER_QUANTITY: "quantity"}


def take_misfits(feed: Any, take: Callable[[Any], None]) -> None:
    """Give each number that a feed could not hold to whoever moves its instrument's scale."""
    misfit = ffi.new("struct tp_feed_misfit *")
    while lib.tp_feed_misfit_take(feed, misfit):
        take(misfit)


def _nobody_reads() -> None:
    raise AssertionError("nobody was named who reads the list")


class Rescaling:
    """The moves of one venue's scales; `instruments` in the feed's order, replaced as they move."""

    def __init__(
        self,
        hot: HotPath,
        bases: BaseWorker,
        instruments: list[Instrument],
        write_row: Callable[[Instrument], int],
        log: Callable[[str], None],
    ) -> None:
        """`write_row` writes a row that readers see, and returns its generation."""
        self._hot, self._instruments = hot, instruments
        self._write_row = write_row
        self._scales = Scales(instruments, self._move, log)
        # Of the bases' threads.
        self._of_bases: deque[tuple[int, Misfit]] = deque()
        self.want_list: Callable[[], None] = _nobody_reads
        """Has the list read soon, which `listed` is then given."""
        self._written: dict[int, tuple[Instrument, int]] = {}
        bases.on_misfit = lambda instrument, misfit: self._of_bases.append((instrument, misfit))

    def step(self, now_s: float) -> None:
        """Take what did not fit of bases, and do what is due; never waits."""
        while self._of_bases:
            place, misfit = self._of_bases.popleft()
            self._scales.misfit(place, misfit, now_s)
        if self._scales.wants_list(now_s):
            self.want_list()
        self._scales.step(now_s)

    def listed(self, listed: InstrumentList, now_s: float) -> None:
        """Take the venue's list."""
        self._scales.listed(listed.instruments, now_s)

    def take(self, from_c: Any, now_s: float) -> None:
        """Take a `struct tp_feed_misfit *` of one of its instruments."""
        size = min(from_c.text_size, lib.TP_FEED_MISFIT_TEXT_MAX)
        text = bytes(ffi.buffer(from_c.text, size)).decode("ascii", "backslashreplace")
        misfit = Misfit(
            _WHATS.get(int(from_c.kind), ""), text, from_c.price_exponent, from_c.quantity_exponent
        )
        if from_c.status == lib.TP_DECODE_OK:
            self._scales.doubt(int(from_c.instrument), now_s)
        elif from_c.status == lib.TP_DECODE_BAD_NUMBER:
            self._scales.garbage(int(from_c.instrument), misfit, now_s)
        else:
            self._scales.misfit(int(from_c.instrument), misfit, now_s)

    def _move(self, place: int, row: Instrument) -> bool:
        """Move a scale; False: the hot thread has no room now."""
        if self._instruments[place].status is Status.REMOVED:
            return True  # nobody reads it any more
        # Whether it trades is another command's to tell: the feed would not hear of it here.
        row = msgspec.structs.replace(row, status=self._instruments[place].status)
        if place not in self._written or self._written[place][0] != row:
            self._written[place] = row, self._write_row(row)
        if not self._hot.rescale(row, self._written[place][1]):
            return False
        self._instruments[place] = row
        del self._written[place]
        return True
