"""What the venue said to our subscriptions: which are acknowledged, which refused.

`opened` begins anew for a connection, `ended` forgets it, `said` takes note of a text of ours,
`take` reads one of the venue's and says what follows. No I/O.
Called by: engine/feed_handler/process.py (the cold thread). Calls: the venue's `parse_notes`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tickpath.proto.venue import Meaning

if TYPE_CHECKING:
    from tickpath.engine.feed_handler.plan import Plan

SHOWN_MAX = 8
CONFIRM_S = 10.0
ASKED_MAX = 4096  # requests of a connection that are remembered


@dataclass(frozen=True, slots=True)
class Answer:
    """What follows from a text: lines for the log, instruments refused, instruments confirmed."""

    lines: tuple[str, ...] = ()
    refused: tuple[int, ...] = ()
    confirmed: tuple[int, ...] = ()


@dataclass(slots=True)
class Subscriptions:
    """What is asked for and not acknowledged yet, by connection."""

    plan: Plan
    _pending: dict[int, dict[str, None]] = field(default_factory=dict)  # in the order of asking
    _books: dict[str, int] = field(default_factory=dict)
    _due_s: dict[int, float] = field(default_factory=dict)
    _asked: dict[int, dict[int, tuple[str, ...]]] = field(default_factory=dict)  # by request

    def __post_init__(self) -> None:
        """Know which channel is whose book."""
        self._books = {one.name: one.instrument for one in self.plan.book_channels()}

    def opened(self, connection: int, now_s: float) -> None:
        """Wait for all of a connection's channels: it has just subscribed to them."""
        self._due_s[connection] = now_s + CONFIRM_S
        planned = self.plan.connections[connection]
        self._pending[connection] = dict.fromkeys(planned.channels if planned is not None else ())

    def ended(self, connection: int) -> None:
        """Wait for nothing of a connection that is down: it subscribes anew once it is open."""
        self._due_s.pop(connection, None)
        self._pending.pop(connection, None)
        self._asked.pop(connection, None)

    def said(self, connection: int, text: bytes) -> None:
        """Know which channels a request has, should its answer not name them."""
        asked = self.plan.venue.asked(text)
        if asked is None:
            return
        requests = self._asked.setdefault(connection, {})
        requests[asked.request] = asked.channels
        if len(requests) > ASKED_MAX:
            del requests[next(iter(requests))]

    def pending(self, connection: int) -> tuple[str, ...]:
        """Return what is not acknowledged yet."""
        return tuple(self._pending.get(connection, ()))

    def take(self, connection: int, text: bytes) -> Answer:
        """Read a text message of the venue."""
        lines: list[str] = []
        refused: list[int] = []
        confirmed: list[int] = []
        pending = self._pending.setdefault(connection, {})
        requests = self._asked.get(connection, {})
        for note in self.plan.venue.parse_notes(text):
            asked = None if note.request is None else requests.get(note.request)
            match note.meaning:
                case Meaning.ACKNOWLEDGEMENT:
                    known = [name for name in note.channels or asked or () if name in pending]
                    confirmed += [self._books[name] for name in known if name in self._books]
                    for name in known:
                        del pending[name]
                case Meaning.REFUSAL:
                    names = note.channels or (tuple(pending) if asked is None else asked)
                    lines.append(f"refused {_names(names)}: {note.reason or 'no reason given'}")
                    refused += [self._books[name] for name in names if name in self._books]
                    for name in names:
                        pending.pop(name, None)
                case Meaning.BROKEN | Meaning.NOTICE:
                    lines += [note.reason] if note.reason else []
        return Answer(tuple(lines), tuple(refused), tuple(confirmed))

    def overdue(self, now_s: float) -> list[tuple[int, str]]:
        """Return what to say, once, of each connection that is not acknowledged in time."""
        late = [one for one, due_s in self._due_s.items() if now_s >= due_s]
        for connection in late:
            del self._due_s[connection]
        return [
            (one, f"not acknowledged within {CONFIRM_S:.0f} s: {_names(self.pending(one))}")
            for one in late
            if self._pending[one]
        ]


def _names(names: tuple[str, ...]) -> str:
    if not names:
        return "a request"
    more = len(names) - SHOWN_MAX
    return ", ".join(names[:SHOWN_MAX]) + (f" and {more} more" if more > 0 else "")
