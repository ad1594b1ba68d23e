"""What became of our subscriptions: asked for, accepted, refused and asked for again.

`opened` begins anew for a connection, `ended` forgets it, `said` takes note of a text of ours,
`take` reads one of the venue's, `step` does what time brings; both say what follows. What the venue
refuses, leaves out of its answer or does not answer is asked for again on the open connection, at
growing distances, and is spoken of once, and once more when it is accepted. A message of the
channel is as good as a yes: that is the feed's to see, so its published reason is looked at before
anything is asked again. No I/O.
Called by: venue_feed.py beside it (the cold thread). Calls: the venue's `parse_notes`.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final

from tickpath.engine.feed_handler.notices import Notices
from tickpath.engine.feed_handler.plan import ConnectionChange
from tickpath.proto.records import SyncReason
from tickpath.proto.venue import BaseSource, Meaning, Note

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tickpath.engine.feed_handler.plan import Plan
    from tickpath.proto.instrument import Status

SHOWN_MAX: Final = 8
CONFIRM_S: Final = 10.0
ENDED_S: Final = 2.0  # our own requests for another base leave a channel out for a round trip
RETRY_FIRST_S: Final = 1.0
RETRY_MAX_S: Final = 60.0
ASKED_MAX: Final = 4096  # requests of a connection that are remembered
NEVER_S: Final = float("inf")
# What a book says of itself as long as nothing of its channel came.
UNHEARD: Final = frozenset({SyncReason.REFUSED, SyncReason.UNCONFIRMED, SyncReason.HALTED})
BASELESS: Final = UNHEARD | {SyncReason.STARTING}


class State(Enum):
    """Of one channel on its connection, and what ends it besides the connection's end."""

    ASKED = "asked"  # > ACCEPTED by a yes, > REFUSED by a no or CONFIRM_S of silence
    ACCEPTED = "accepted"  # > REFUSED by a no, or ENDED_S after a list of all without it
    REFUSED = "refused"  # > ASKED when its pause is over, > ACCEPTED by a yes or by its data


@dataclass(slots=True)
class _Channel:
    due_s: float  # when ASKED is overdue, REFUSED is asked for again, ACCEPTED had no base in time
    state: State = State.ASKED
    refusals: int = 0
    is_alone: bool = False
    """Refused by an answer that named nothing: another one of the request may be at fault."""
    was_answered: bool = False
    """The venue said no, rather than nothing."""
    is_missing: bool = False
    """ACCEPTED, and not among all that the venue last said is subscribed to."""


@dataclass(slots=True)
class Answer:
    """What follows: lines for the log, instruments to speak of to the feed, what is to be said."""

    lines: list[str] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    confirmed: list[int] = field(default_factory=list)
    overdue: list[int] = field(default_factory=list)
    """Refused, unless something of their channels came."""
    overdue_on: list[int] = field(default_factory=list)
    """The connection of each of them."""
    connection: int = 0
    """Where the venue said so."""
    changes: list[ConnectionChange] = field(default_factory=list)
    said_back: list[tuple[int, bytes]] = field(default_factory=list)
    """Connection and text: what the venue must be answered, such as its pings."""
    is_ending: bool = False
    """The venue will close the connection soon."""
    trading: Status | None = None
    """What the venue said of all that it trades."""


@dataclass(slots=True)
class Subscriptions:
    """Every channel's state. `jitter` gives numbers uniform in [0, 1)."""

    plan: Plan
    jitter: Callable[[], float] = field(default_factory=lambda: random.SystemRandom().random)
    numbers: Sequence[int] = range(1 << 16)
    """What the lines call the plan's connections."""
    is_heard: Callable[[int, int], bool] | None = None
    """In a race: whether something of a book's channel came on just this connection."""
    _channels: dict[int, dict[str, _Channel]] = field(default_factory=dict)  # as they were asked
    _books: dict[str, int] = field(default_factory=dict)
    _asked: dict[int, dict[int, tuple[str, ...]]] = field(default_factory=dict)  # by request
    _next_s: float = NEVER_S  # nothing is due before
    _said: set[str] = field(default_factory=set)  # channels of which trouble was reported
    _notices: Notices = field(default_factory=Notices)

    def __post_init__(self) -> None:
        """Know which channel is whose book."""
        self._books = {one.name: one.instrument for one in self.plan.book_channels()}

    def opened(self, connection: int, now_s: float) -> None:
        """Wait for all of a connection's channels: it has just subscribed to them."""
        planned = self.plan.connections[connection]
        names = planned.channels if planned is not None else ()
        self._channels[connection] = {name: _Channel(now_s + CONFIRM_S) for name in names}
        self._next_s = min(self._next_s, now_s + CONFIRM_S)

    def changed(self, plan: Plan, changes: Iterable[ConnectionChange], now_s: float) -> None:
        """Take a new plan: on open connections wait for what is asked for now, and for no more."""
        self.plan = plan
        self._books = {one.name: one.instrument for one in plan.book_channels()}
        for change in changes:
            channels = self._channels.get(change.connection)
            if channels is None:
                continue  # it is not open: what it opens with is the new plan's
            for name in change.unsubscribe:
                channels.pop(name, None)
            channels |= {name: _Channel(now_s + CONFIRM_S) for name in change.subscribe}
        self._next_s = min(self._next_s, now_s + CONFIRM_S)

    def ended(self, connection: int) -> None:
        """Wait for nothing of a connection that is down: it subscribes anew once it is open."""
        self._channels.pop(connection, None)
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

    def _name(self, connection: int) -> str:
        return f"connection {self.numbers[connection]}"

    def pending(self, connection: int) -> tuple[str, ...]:
        """Return what is not acknowledged yet."""
        channels = self._channels.get(connection, {})
        return tuple(name for name, one in channels.items() if one.state is State.ASKED)

    def take(self, connection: int, text: bytes, now_s: float) -> Answer:
        """Read a text message of the venue."""
        answer = Answer()
        requests = self._asked.get(connection, {})
        for note in self.plan.venue.parse_notes(text):
            asked = None if note.request is None else requests.get(note.request)
            if note.answer:
                answer.said_back.append((connection, note.answer))
            answer.trading = note.trading or answer.trading
            answer.is_ending |= note.is_ending
            match note.meaning:
                case Meaning.ACKNOWLEDGEMENT:
                    self._accept(connection, note.channels or asked or (), now_s, answer)
                    if note.is_all:
                        self._miss(connection, note.channels, now_s)
                case Meaning.REFUSAL:
                    self._refuse(connection, (note, asked), now_s, answer)
                case Meaning.BROKEN | Meaning.NOTICE:
                    answer.lines += self._notices.take(self.numbers[connection], note.reason, now_s)
        return answer

    def _accept(self, connection: int, names: Iterable[str], now_s: float, answer: Answer) -> None:
        of = self._channels.get(connection, {})
        known = [one for one in names if one in of and of[one].state is not State.ACCEPTED]
        answer.confirmed += [self._books[name] for name in known if name in self._books]
        self._has(connection, known, "accepted now", answer)
        comes_by_rest = self.plan.base_source is BaseSource.REST
        for name in known:
            of[name].due_s = NEVER_S if comes_by_rest else self._at(now_s + CONFIRM_S)

    def _miss(self, connection: int, names: Iterable[str], now_s: float) -> None:
        """Note what the venue's list of all has no more, and what it has again."""
        listed = frozenset(names)
        for name, one in self._channels.get(connection, {}).items():
            if one.state is not State.ACCEPTED or one.is_missing == (name not in listed):
                continue
            one.is_missing = name not in listed
            one.due_s = self._at(now_s + (ENDED_S if one.is_missing else CONFIRM_S))

    def _end(
        self,
        connection: int,
        names: list[str],
        at: tuple[float, Callable[[int], int]],
        answer: Answer,
    ) -> None:
        """Take as refused what the venue ended by itself: nothing of it would come any more.

        A book that waits for a base is subscribed to anew by us, and LIVE only with an answer.
        """
        now_s, reason_of = at
        of = self._channels[connection]
        ended = [
            name
            for name in names
            if name not in self._books or reason_of(self._books[name]) == SyncReason.NONE
        ]
        for name in names:
            of[name].is_missing = name not in ended
            of[name].due_s = self._at(now_s + ENDED_S)
        why = "not among what the venue says is subscribed to"
        if ended:
            no = Note(meaning=Meaning.REFUSAL, channels=tuple(ended), reason=why)
            self._refuse(connection, (no, None), now_s, answer)

    def _has(self, connection: int, names: list[str], words: str, answer: Answer) -> None:
        """Take channels as accepted; say so of those whose trouble was reported."""
        of = self._channels[connection] if names else {}
        for name in names:
            of[name] = _Channel(NEVER_S, State.ACCEPTED)
        again = tuple(name for name in names if name in self._said)
        self._said.difference_update(again)
        if again:
            answer.lines.append(f"{self._name(connection)}: {words}: {_names(again)}")

    def _refuse(
        self,
        connection: int,
        said: tuple[Note, tuple[str, ...] | None],
        now_s: float,
        answer: Answer,
    ) -> None:
        note, asked = said
        names, why = note.channels, note.reason or "no reason given"
        of = self._channels.get(connection, {})
        all_of_it = self.pending(connection) if asked is None else asked
        meant = tuple(name for name in names or all_of_it if name in of)
        new = tuple(name for name in meant if name not in self._said)
        self._said.update(new)
        for name in meant:
            one = of[name]
            one.is_alone, one.was_answered = not names, True
            self._pause(one, now_s)
        answer.refused += [self._books[name] for name in meant if name in self._books]
        if new:
            answer.lines.append(
                f"{self._name(connection)}: refused {_names(new)}: {why}: asking again in "
                f"{RETRY_FIRST_S:g} s at most, then at growing distances up to {RETRY_MAX_S:g} s"
            )
        elif not meant:
            answer.lines.append(f"{self._name(connection)}: refused {_names(names)}: {why}")

    def _pause(self, one: _Channel, now_s: float) -> None:
        limit = min(RETRY_MAX_S, RETRY_FIRST_S * 2.0 ** min(one.refusals, 32))
        one.state, one.refusals = State.REFUSED, one.refusals + 1
        one.due_s = self._at(now_s + limit * (0.5 + 0.5 * self.jitter()))

    def _at(self, due_s: float) -> float:
        self._next_s = min(self._next_s, due_s)
        return due_s

    def step(self, now_s: float, reason_of: Callable[[int], int]) -> Answer:
        """Do what is due; `reason_of` gives what shared memory says of an instrument's book."""
        answer = Answer()
        if now_s < self._next_s:
            return answer
        for connection, channels in self._channels.items():
            due = [name for name, one in channels.items() if one.due_s <= now_s]
            by_state = {
                state: [name for name in due if channels[name].state is state] for state in State
            }
            self._be_overdue(connection, by_state[State.ASKED], now_s, answer)
            self._ask_again(connection, by_state[State.REFUSED], (now_s, reason_of), answer)
            accepted = by_state[State.ACCEPTED]
            ended = [name for name in accepted if channels[name].is_missing]
            self._end(connection, ended, (now_s, reason_of), answer)
            based = [name for name in accepted if name not in ended]
            self._miss_base(connection, based, (now_s, reason_of), answer)
        self._next_s = min(
            (one.due_s for of in self._channels.values() for one in of.values()), default=NEVER_S
        )
        return answer

    def _be_overdue(self, connection: int, names: list[str], now_s: float, answer: Answer) -> None:
        of = self._channels[connection]
        for name in names:
            of[name].was_answered = False
            self._pause(of[name], now_s)
        books = [self._books[name] for name in names if name in self._books]
        answer.overdue += books
        answer.overdue_on += [connection] * len(books)

    def _reason(self, connection: int, name: str, reason_of: Callable[[int], int]) -> int:
        """Return the reason of a channel's book; a channel that is no book's proves nothing.

        In a race a book may be LIVE by other connections, which proves nothing of this one.
        """
        book = self._books.get(name)
        if book is None:
            return SyncReason.REFUSED
        if self.is_heard is not None and not self.is_heard(connection, book):
            return SyncReason.UNCONFIRMED
        return reason_of(book)

    def _ask_again(
        self,
        connection: int,
        names: list[str],
        at: tuple[float, Callable[[int], int]],
        answer: Answer,
    ) -> None:
        now_s, reason_of = at
        of = self._channels[connection]
        unheard = [name for name in names if self._reason(connection, name, reason_of) in UNHEARD]
        heard = [name for name in names if name not in unheard]
        self._has(connection, heard, "data came after all", answer)
        silent = tuple(name for name in unheard if not of[name].was_answered)
        new = tuple(name for name in silent if name not in self._said)
        self._said.update(new)
        if new:
            answer.lines.append(
                f"{self._name(connection)}: not acknowledged within {CONFIRM_S:.0f} s: "
                f"{_names(new)}: asking again, at growing distances up to {RETRY_MAX_S:g} s"
            )
        together = tuple(name for name in unheard if not of[name].is_alone)
        groups = [together] if together else []
        groups += [(name,) for name in unheard if of[name].is_alone]
        answer.changes += [ConnectionChange(connection=connection, subscribe=one) for one in groups]
        for name in unheard:
            of[name].state = State.ASKED
            of[name].due_s = now_s + CONFIRM_S

    def _miss_base(
        self,
        connection: int,
        names: list[str],
        at: tuple[float, Callable[[int], int]],
        answer: Answer,
    ) -> None:
        """Say what was acknowledged and brings no base; who fetches bases subscribes to it anew."""
        now_s, reason_of = at
        of = self._channels[connection]
        books = [name for name in names if name in self._books]
        missing = [name for name in books if self._reason(connection, name, reason_of) in BASELESS]
        self._has(connection, [name for name in names if name not in missing], "base came", answer)
        for name in missing:
            of[name].due_s = now_s + CONFIRM_S
        new = tuple(name for name in missing if name not in self._said)
        self._said.update(new)
        if new:
            answer.lines.append(
                f"{self._name(connection)}: acknowledged, and no base within {CONFIRM_S:.0f} s: "
                f"{_names(new)}: asking for it again"
            )


def _names(names: tuple[str, ...]) -> str:
    if not names:
        return "a request"
    more = len(names) - SHOWN_MAX
    return ", ".join(names[:SHOWN_MAX]) + (f" and {more} more" if more > 0 else "")
