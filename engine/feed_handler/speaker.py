"""What is said on open connections, at the venue's pace: answers, new bases, changes.

No I/O: `step` hands to `send` what is due. A connection that opens anew says all that it needs by
itself (`Plan.open_messages`), so what waited for it is forgotten. `request_base` and
`subscribe_anew` may be called by any thread, all else by one. Called by: venue_feed.py beside it
(the cold thread).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tickpath.engine.feed_handler.plan import ConnectionChange
from tickpath.proto.venue import BaseSource

if TYPE_CHECKING:
    from collections.abc import Callable

    from tickpath.engine.feed_handler.plan import Plan

ANSWERS_MAX: Final = 16
BASE_MESSAGES: Final = 2
"""Of a base in-band: a subscription's end and a new one; no book is LIVE until both are out."""
SECONDS_PER_HOUR: Final = 3600.0
REQUEST_FIRST: Final = 1_000
"""Ids below are those of what a connection says as it opens."""


@dataclass(slots=True)
class _Said:
    """Messages that belong together; instrument: whose base they ask for."""

    messages: deque[bytes]
    instrument: int | None = None
    is_begun: bool = False
    """The first is out: a book that was unsubscribed from is subscribed to, whatever comes."""


@dataclass(slots=True)
class _Line:
    """One connection: what waits, and from when on the next may be sent."""

    waiting: deque[_Said] = field(default_factory=deque)
    answers: deque[bytes] = field(default_factory=lambda: deque(maxlen=ANSWERS_MAX))
    """What the venue waits for: goes first. Of a flood the newest: a ping's answer is the last."""
    next_s: float = float("-inf")
    whole_s: float = float("-inf")
    """When what may be said in an hour would be whole again."""

    def asks_for(self, instrument: int) -> bool:
        """Say whether a base of it is about to be asked for."""
        return any(one.instrument == instrument and not one.is_begun for one in self.waiting)

    def sent(self) -> None:
        """Take out what was sent."""
        if self.answers:
            self.answers.popleft()
            return
        first = self.waiting[0]
        first.messages.popleft()
        first.is_begun = True


def _hourly_pause_s(hourly: int) -> float:
    """Return how far apart messages are once the first half of an hour's was said at once.

    So no hour has more than all of them, and nobody waits long for the next.
    """
    return SECONDS_PER_HOUR / (hourly // 2)


class Speaker:
    """The voice of open connections. `send(connection, text)`: False where it must try again."""

    def __init__(
        self,
        plan: Plan,
        send: Callable[[int, bytes], bool],
        is_followed: Callable[[int], bool] = lambda _: False,
    ) -> None:
        """`is_followed(instrument)`: its book has a base, and needs no new subscription."""
        self.plan, self._send, self._is_followed = plan, send, is_followed
        self.carrier: Callable[[int], int] | None = None
        """In a race: the connection that an instrument's book is on."""
        self._bases: deque[tuple[int, bool]] = deque()
        self._lines: dict[int, _Line] = {}
        self._request = REQUEST_FIRST

    def request_base(self, instrument: int) -> None:
        """Have an instrument's base asked for on its connection."""
        self._bases.append((instrument, self.plan.base_source is not BaseSource.REQUEST))

    def subscribe_anew(self, instrument: int) -> None:
        """Have the channel of an instrument's book subscribed to anew."""
        self._bases.append((instrument, True))

    def opened(self, connection: int, now_s: float, said_count: int) -> None:
        """Forget what was to be said: the connection is another one.

        It said so many messages as it opened, at once; what follows waits as if they had kept pace.
        """
        limits = self.plan.venue.limits
        line = _Line(next_s=now_s + said_count / limits.messages_per_second)
        if limits.messages_per_hour is not None:
            line.whole_s = now_s + said_count * _hourly_pause_s(limits.messages_per_hour)
        self._lines[connection] = line

    def change(self, change: ConnectionChange, time_s: int) -> None:
        """Say what a change of the plan asks for."""
        messages = self.plan.messages(change, request=self._request, time_s=time_s)
        self._add(change.connection, [one.data for one in messages])

    def answer(self, connection: int, text: bytes) -> None:
        """Say what the venue must be answered, before all that waits."""
        self._lines.setdefault(connection, _Line()).answers.append(text)

    def step(self, now_s: float, time_s: int) -> None:
        """Send what is due; the rest waits for the next step."""
        while self._bases:
            self._ask(*self._bases.popleft(), time_s)
        limits = self.plan.venue.limits
        rate, hourly = limits.messages_per_second, limits.messages_per_hour
        # Any second has `rate` messages at most: those at once, and what then follows more slowly.
        at_once = self._at_once()
        pause = 1.0 / (rate if at_once == 1 else rate - at_once)
        early = (at_once - 1) * pause
        for connection, line in self._lines.items():
            while line.next_s - early <= now_s and (text := self._next(line, now_s)) is not None:
                if not self._send(connection, text):
                    break
                if hourly is not None and not line.answers:
                    line.whole_s = max(line.whole_s, now_s) + _hourly_pause_s(hourly)
                line.sent()
                line.next_s = max(line.next_s, now_s) + pause

    def _at_once(self) -> int:
        """Return how many messages may go out together where none did for a while."""
        is_anew = self.plan.base_source is BaseSource.IN_BAND
        return BASE_MESSAGES if is_anew and self.plan.venue.limits.messages_per_second > 2 else 1

    def _next(self, line: _Line, now_s: float) -> bytes | None:
        if line.answers:
            return line.answers[0]
        while line.waiting:
            first = line.waiting[0]
            if first.messages and not self._is_vain(first):
                has_room = first.is_begun or self._has_hour_left(line, now_s)
                return first.messages[0] if has_room else None
            line.waiting.popleft()
        return None

    def _has_hour_left(self, line: _Line, now_s: float) -> bool:
        """Say whether the venue's limit of an hour bears a base more; what is begun is ended."""
        hourly = self.plan.venue.limits.messages_per_hour
        if hourly is None:
            return True
        early_s = (hourly // 2 - BASE_MESSAGES) * _hourly_pause_s(hourly)
        return now_s >= line.whole_s - early_s

    def _is_vain(self, one: _Said) -> bool:
        """Say whether a base came meanwhile: unsubscribing now would leave a LIVE book without."""
        return (
            one.instrument is not None
            and not one.is_begun
            and self.plan.base_source is BaseSource.IN_BAND
            and self._is_followed(one.instrument)
        )

    def _ask(self, instrument: int, is_anew: bool, time_s: int) -> None:
        channels = [one for one in self.plan.channels if one.instrument == instrument]
        if not channels:
            return  # it left meanwhile
        channel, venue = channels[0], self.plan.venue
        connection = channel.connection if self.carrier is None else self.carrier(instrument)
        if self._lines.setdefault(connection, _Line()).asks_for(instrument):
            return  # the one before did not have its turn yet
        if not is_anew:
            text = venue.base_message(channel.name, request=self._request, time_s=time_s)
            self._add(connection, [text], instrument)
            return
        names = (channel.name,)
        anew = ConnectionChange(connection=connection, unsubscribe=names, subscribe=names)
        messages = self.plan.messages(anew, request=self._request, time_s=time_s)
        self._add(connection, [one.data for one in messages], instrument)

    def _add(self, connection: int, messages: list[bytes], instrument: int | None = None) -> None:
        line = self._lines.setdefault(connection, _Line())
        line.waiting.append(_Said(deque(messages), instrument))
        self._request += len(messages)
