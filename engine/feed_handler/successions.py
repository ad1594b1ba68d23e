"""Replaces a connection by one beside it, so that no book leaves LIVE by that.

With `overlap` each connection of the plan has a second number, its successor's: both are a race of
two for the time of the hand-over (docs/adr/0014). `begin` opens the successor, which subscribes to
the same; from then on the hot thread is asked to let the old one go, and does so at once when all
of its books that are followed have a heir. The roles then are changed. No I/O.
Called by: venue_feed.py beside it, and connections.py when a connection is old. Calls: hot_path.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tickpath.engine.feed_handler.venue_feed import VenueFeed

ASK_S: Final = 0.2
"""Between two questions whether the old connection may go."""


class Successions:
    """The hand-overs of one venue; the cold thread's."""

    def __init__(self, of: VenueFeed) -> None:
        """Borrow a venue's feed."""
        self._of = of
        self._leaving: dict[int, float] = {}  # plan's connections that go, and when to ask next

    def _successor(self, planned: int) -> int:
        return planned ^ 1  # both of a pair, of which the first is even

    def begin(self, planned: int) -> int:
        """Open a connection's successor, and return its number in the feed."""
        successor = self._successor(planned)
        self._of.shared.connections.leave(self._of.connections[planned])
        self._of.open(successor)
        self._leaving[planned] = 0.0
        return self._of.connections[successor]

    def ended(self, planned: int) -> None:
        """Take note that a connection ended: one that was leaving has left."""
        self._leaving.pop(planned, None)

    def step(self, now_s: float) -> None:
        """Ask for each that is leaving whether it may go now."""
        connections, numbers = self._of.shared.connections, self._of.connections
        for planned, due_s in self._leaving.items():
            if now_s < due_s or not connections.slots[numbers[self._successor(planned)]].open:
                continue
            if self._of.shared.hot.let_go(numbers[planned]):
                self._leaving[planned] = now_s + ASK_S
