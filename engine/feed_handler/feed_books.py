"""The books that wait for bases: what a worker asks of them, and the cold side of a C feed.

Called by: bases.py and venue_feed.py beside it. Calls: engine/feed (the cold thread's functions).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from tickpath._core import ffi, lib
from tickpath.proto.venue import BaseSource, Verification

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tickpath.engine.config.schema import VenueConfig
    from tickpath.proto.instrument import Instrument
    from tickpath.proto.venue import Base

WANTED_AT_ONCE: Final = 256


class Books(Protocol):
    """Who waits for bases: a feed, or a test's stand-in."""

    def wanted(self) -> Sequence[int]:
        """Return the instruments that want one and were not reported since."""

    def offer(self, instrument: int, base: Base) -> bool:
        """Hand one over; False: no room yet, try again."""

    def failed(self, instrument: int) -> None:
        """Say that it could not be had; it will be wanted anew, as what it was."""

    def quiet(self) -> Sequence[int]:
        """Return the instruments whose books a base is to be compared with; as `wanted`."""

    def compare(self, instrument: int, base: Base) -> bool:
        """Hand one over to be compared; False: no room yet, try again."""

    def unheard(self) -> Sequence[int]:
        """Return the instruments whose channels are to be subscribed to anew; as `wanted`."""


class Beside(Protocol):
    """Who has a base that comes in-band without the book's own subscription: aside.py."""

    def request(self, row: Instrument) -> Any:
        """Return what asks for it."""

    def ask(self, request: Any) -> bytes:
        """Return what came; raises as `Rest.ask` does."""

    def read(self, request: Any, data: bytes) -> Base:
        """Read it; raises ValueError."""

    def cut(self) -> None:
        """End what is under way; any thread."""

    def close(self) -> None:
        """Close what is open."""


class FeedBooks:
    """The cold thread's side of a C feed."""

    def __init__(self, feed: Any, venue: int, base_depth: int = 0, check_depth: int = 0) -> None:
        """Take a feed and the venue's number in it.

        base_depth: how many levels a side a base has that does not show all; 0: none. check_depth:
        the same of those that are compared.
        """
        self._feed, self._venue = feed, venue
        self._base_depth, self._check_depth = base_depth, check_depth
        self._wanted = ffi.new("uint32_t[]", WANTED_AT_ONCE)
        self._base = ffi.new("struct tp_feed_base *")

    @classmethod
    def of_venue(cls, feed: Any, number: int, config: VenueConfig) -> FeedBooks:
        """Take a feed, and a venue with its number in it."""
        venue, settings = config.venue, config.settings
        bases_end = config.base_source is BaseSource.REST
        checks_end = bases_end or venue.verification(settings) is Verification.REST
        return cls(
            feed,
            number,
            venue.base_depth(settings) if bases_end else 0,
            venue.check_depth(settings) if checks_end else 0,
        )

    def wanted(self) -> Sequence[int]:
        """Return the instruments that want a base."""
        return self._listed(lib.tp_feed_base_wanted)

    def quiet(self) -> Sequence[int]:
        """Return the instruments whose books are to be checked."""
        return self._listed(lib.tp_feed_check_wanted)

    def unheard(self) -> Sequence[int]:
        """Return the instruments whose channels bring nothing."""
        return self._listed(lib.tp_feed_anew_wanted)

    def _listed(self, look: Callable[[Any, int, Any, int], int]) -> Sequence[int]:
        count = look(self._feed, self._venue, self._wanted, WANTED_AT_ONCE)
        return list(self._wanted[0:count]) if count else ()

    def offer(self, instrument: int, base: Base) -> bool:
        """Copy a base into the feed's mailbox; False: full."""
        return self._offer(instrument, base, self._base_depth)

    def compare(self, instrument: int, base: Base) -> bool:
        """Do the same: the request that it answers says what it is for."""
        return self._offer(instrument, base, self._check_depth)

    def _offer(self, instrument: int, base: Base, depth: int) -> bool:
        row = self._base
        row.instrument, row.version = instrument, base.version
        row.scale = 0 if base.scale is None else lib.tp_record_scale_flags(*base.scale)
        row.bids, row.bid_count = base.bids, len(base.bids)
        row.asks, row.ask_count = base.asks, len(base.asks)
        row.truncated = sum(
            1 << side
            for side, levels in enumerate((base.bids, base.asks))
            if 0 < depth <= len(levels)
        )
        return bool(lib.tp_feed_base_offer(self._feed, self._venue, row))

    def failed(self, instrument: int) -> None:
        """Want it again."""
        lib.tp_feed_base_failed(self._feed, self._venue, instrument)
