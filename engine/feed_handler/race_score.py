"""What each connection of a race did: changes of which its copy was the first, copies, and by how
much these came behind the first.

Counters and histograms of the segment, so that `tickpath stat` shows them.
Called by: process.py beside it. Calls: engine/feed/race.h.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tickpath._core import ffi, lib

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tickpath.engine.feed_handler.venue_feed import VenueFeed

WORDS: Final = ("won", "copies")


@dataclass(frozen=True, slots=True)
class RaceScore:
    """Those of all raced connections, by their numbers in the feed."""

    connections: tuple[int, ...] = ()

    @classmethod
    def of_venues(cls, venues: Iterable[VenueFeed]) -> RaceScore:
        """Take the connections of those that race, the ones to come included."""
        raced = (venue.connections for venue in venues if venue.config.race > 1)
        return cls(tuple(number for numbers in raced for number in numbers))

    def counters(self) -> tuple[str, ...]:
        """Return the counters' names, in the order of `values`."""
        return tuple(f"race.{number}.{word}" for number in self.connections for word in WORDS)

    def histograms(self) -> tuple[str, ...]:
        """Return the names of the histograms, one a connection."""
        return tuple(f"race_{number}_behind" for number in self.connections)

    def measure(self, feed: Any, segment: Any, first: int) -> None:
        """Let a feed fill the histograms, the first of which is the segment's of that number."""
        for place, number in enumerate(self.connections):
            histogram = lib.tp_segment_histogram(segment, first + place)
            lib.tp_feed_race_measure(feed, number, histogram)

    def values(self, feed: Any) -> list[int]:
        """Return what was counted so far."""
        pair = ffi.new("uint64_t[2]")
        found: list[int] = []
        for number in self.connections:
            lib.tp_feed_race_score(feed, number, pair, pair + 1)
            found += (int(pair[0]), int(pair[1]))
        return found
