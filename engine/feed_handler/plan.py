"""The subscription plan: instrument > channel > connection > endpoint.

Computed once from a venue's limits and the symbols, before anything is opened; the configuration's
check, the tap, the feed, the connections and a replay all ask it. `change` plans symbols that come
and go while connections stand, and says what must be sent on which. Where the venue's section says
`race`, each connection is there so many times, one after another. Pure: no I/O, no clock.
Called by: engine/config/check.py, engine/feed_handler/venue_feed.py, engine/bench. Calls:
proto/venue.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from tickpath._core import ffi, lib
from tickpath.proto.venues.decoder import find_decoder

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tickpath.engine.config.schema import VenueConfig
    from tickpath.proto.venue import BaseSource, Endpoint, Venue

CONNECTIONS_MAX: Final = int(lib.TP_LOOP_CONNECTION_MAX)
OPEN_MESSAGES_MAX: Final = int(lib.TP_HOT_PATH_OPEN_MESSAGE_MAX)


@dataclass(frozen=True, slots=True)
class Channel:
    """One subscription, by the venue's name for it."""

    name: str
    instrument: int
    connection: int
    """The first of its race."""


@dataclass(frozen=True, slots=True)
class PlannedConnection:
    """Where a connection goes and what it subscribes to, in order."""

    endpoint: Endpoint
    channels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A text message, and how long after the first of its series it may be sent at the earliest."""

    after_s: float
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionChange:
    """What changes on one connection: unsubscribed first, so that there is room.

    A new connection is opened, and says all this once it is open; a closed one has nothing left.
    """

    connection: int
    unsubscribe: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()
    is_new: bool = False
    is_closed: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """Which channel goes where. The number of an instrument or a connection never changes.

    The place of a symbol that left (None) is its own when it comes back, and nobody else's: readers
    hold it. A connection that was given up is the next one's that needs one.
    """

    config: VenueConfig
    symbols: tuple[str | None, ...] = ()
    connections: tuple[PlannedConnection | None, ...] = ()
    channels: tuple[Channel, ...] = ()
    """In order of instruments; an instrument's first is that of its book."""
    former: tuple[tuple[str, int], ...] = ()
    """Symbols that left, and their places."""

    @property
    def venue(self) -> Venue:
        """Return the venue."""
        return self.config.venue

    @property
    def base_source(self) -> BaseSource:
        """Return where the bases of its books come from."""
        return self.venue.base_from(self.config.settings)

    @property
    def race(self) -> int:
        """Return how many connections may carry the same, numbered one after another.

        A successor's is among them, which is closed but for the time of a hand-over.
        """
        return self.config.seats

    @property
    def capacity(self) -> int:
        """Return how many channels a connection carries: what it may subscribe to as it opens."""
        limits = self.venue.limits
        messages = min(OPEN_MESSAGES_MAX, max(1, int(limits.messages_per_second)))
        of_a_message = self.venue.channels_per_message(self.config.settings)
        return min(limits.channels_per_connection, messages * of_a_message)

    def book_channel(self, instrument: int) -> Channel:
        """Return the channel of an instrument's book."""
        return next(one for one in self.channels if one.instrument == instrument)

    def book_channels(self) -> list[Channel]:
        """Return the channel of each instrument's book, in their order."""
        first: dict[int, Channel] = {}
        for channel in self.channels:
            first.setdefault(channel.instrument, channel)
        return [first[instrument] for instrument in sorted(first)]

    def open_messages(self, connection: int, *, request: int, time_s: int) -> list[bytes]:
        """Return what a connection says as soon as it is open."""
        planned = self.connections[connection]
        names = planned.channels if planned is not None else ()
        said = self.venue.greeting(request=request, time_s=time_s)
        return said + self.venue.subscribe(names, request=request + len(said), time_s=time_s)

    def change(
        self, *, add: Sequence[str] = (), remove: Iterable[str] = ()
    ) -> tuple[Plan, tuple[ConnectionChange, ...]]:
        """Plan that symbols come and go; what stays is not touched.

        Raises ValueError for a symbol that is there already or was not, and where there is no room.
        """
        draft = _Draft(self)
        for symbol in remove:
            draft.remove(symbol)
        for symbol in add:
            draft.add(symbol)
        return draft.finish()

    def messages(
        self, change: ConnectionChange, *, request: int, time_s: int
    ) -> tuple[Outgoing, ...]:
        """Return what to send on a connection for a change of it, at the venue's pace.

        A closed connection is told nothing: it is closed.
        """
        if change.is_closed:
            return ()
        venue = self.venue
        gone = venue.unsubscribe(change.unsubscribe, request=request, time_s=time_s)
        come = venue.subscribe(change.subscribe, request=request + len(gone), time_s=time_s)
        pause = 1.0 / venue.limits.messages_per_second
        return tuple(Outgoing(index * pause, data) for index, data in enumerate([*gone, *come]))


class _Draft:
    """A plan while it is being changed. Its numbers are of races: each stands for all its members.

    Without a race that is the connection itself.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan, self._capacity, self._race = plan, plan.capacity, plan.race
        self._symbols: list[str | None] = list(plan.symbols)
        self._places = {symbol: i for i, symbol in enumerate(plan.symbols) if symbol is not None}
        self._former = dict(plan.former)
        firsts = plan.connections[:: self._race]
        self._endpoints: list[Any] = [one and one.endpoint for one in firsts]
        self._names: list[list[str]] = [
            list(one.channels) if one is not None else [] for one in firsts
        ]
        self._channels = {one.name: one for one in plan.channels}
        self._first_with_room: dict[Endpoint, int] = {}

    def remove(self, symbol: str) -> None:
        place = self._places.pop(symbol, None)
        if place is None:
            raise ValueError(f"symbol {symbol!r}: not subscribed to")
        self._symbols[place] = None
        self._former[symbol] = place
        for channel in [one for one in self._channels.values() if one.instrument == place]:
            del self._channels[channel.name]
            self._names[channel.connection // self._race].remove(channel.name)
        self._first_with_room.clear()

    def add(self, symbol: str) -> None:
        if symbol in self._places:
            raise ValueError(f"symbol {symbol!r}: subscribed to already")
        config = self._plan.config
        venue, settings = config.venue, config.settings
        place = self._former.pop(symbol, len(self._symbols))
        self._symbols[place : place + 1] = [symbol]
        self._places[symbol] = place
        groups: dict[Endpoint, list[str]] = {}
        for name in venue.channels(symbol, settings):
            if name in self._channels:
                raise ValueError(f"symbol {symbol!r}: its channel {name} is another's already")
            groups.setdefault(config.endpoint(venue.endpoint(name, settings)), []).append(name)
        for endpoint, names in groups.items():
            number = self._room(endpoint, len(names))
            self._names[number] += names
            first = number * self._race
            self._channels |= {name: Channel(name, place, first) for name in names}

    def _room(self, endpoint: Endpoint, count: int) -> int:
        """Return the first connection with room for so many; all of an instrument's go together."""
        if count > self._capacity:
            raise ValueError(
                f"{count} channels for one instrument: expected at most {self._capacity}, "
                "what a connection carries"
            )
        number = self._first_with_room.get(endpoint, 0)
        while number < len(self._names):
            fits = len(self._names[number]) + count <= self._capacity
            if fits and (self._is_free(number) or self._endpoints[number] == endpoint):
                break
            number += 1
        if number == len(self._names):
            self._names.append([])
            self._endpoints.append(None)
        self._endpoints[number] = endpoint
        self._first_with_room[endpoint] = number
        return number

    def _is_free(self, number: int) -> bool:
        """Say whether a connection may go anywhere; one that is open now may not."""
        before = self._plan.connections[:: self._race]
        return not self._names[number] and (number >= len(before) or before[number] is None)

    def finish(self) -> tuple[Plan, tuple[ConnectionChange, ...]]:
        before, symbols = self._plan, tuple(self._symbols)
        groups = sum(1 for names in self._names if names)
        if groups * self._race > CONNECTIONS_MAX and before.config.has_successors:
            raise ValueError(
                f"{groups} connections and as many successors, expected at most {CONNECTIONS_MAX} "
                "together: leave overlap out, or run a second instance for the rest"
            )
        # One hand-over at a time.
        used = before.config.race * groups + bool(before.config.has_successors and groups)
        self._check_count(used, sum(1 for symbol in symbols if symbol is not None))
        connections = tuple(
            PlannedConnection(endpoint, tuple(names)) if names else None
            for endpoint, names in zip(self._endpoints, self._names, strict=True)
            for _ in range(self._race)
        )
        ordered = sorted(self._channels.values(), key=lambda one: one.instrument)
        plan = replace(
            before,
            symbols=symbols,
            connections=connections,
            channels=tuple(ordered),
            former=tuple(self._former.items()),
        )
        self._check_messages(plan)
        changes = (
            _compare(number, before.connections[number : number + 1], now)
            for number, now in enumerate(connections)
        )
        return plan, tuple(change for change in changes if change is not None)

    def _check_count(self, used: int, symbols: int) -> None:
        limit = min(CONNECTIONS_MAX, self._plan.venue.limits.connections or CONNECTIONS_MAX)
        if used <= limit:
            return
        raced, remedy = "", "run a second instance for the rest"
        config = self._plan.config
        if config.race > 1:
            raced, remedy = f", raced by {config.race}", f"race by less, or {remedy}"
        elif config.has_successors:
            raced, remedy = ", one successor included", f"leave overlap out, or {remedy}"
        raise ValueError(
            f"{symbols} symbols need {used} connections of {self._capacity} channels{raced}, "
            f"expected at most {limit}: {remedy}"
        )

    def _check_messages(self, plan: Plan) -> None:
        """Hold the venue's own numbers to each other: what opens a connection is sent at once."""
        for number in range(len(plan.connections)):
            count = len(plan.open_messages(number, request=0, time_s=0))
            if count > OPEN_MESSAGES_MAX:
                raise ValueError(
                    f"{count} messages to open a connection with, expected at most "
                    f"{OPEN_MESSAGES_MAX}: the channels' names are too long for the limits of "
                    f"{plan.venue.title}"
                )


def _compare(
    number: int, before: tuple[PlannedConnection | None, ...], now: PlannedConnection | None
) -> ConnectionChange | None:
    old = before[0] if before else None
    if old is None:
        if now is None:
            return None
        return ConnectionChange(connection=number, subscribe=now.channels, is_new=True)
    if now is None:
        return ConnectionChange(connection=number, unsubscribe=old.channels, is_closed=True)
    had, has = set(old.channels), set(now.channels)
    gone = tuple(name for name in old.channels if name not in has)
    come = tuple(name for name in now.channels if name not in had)
    if not gone and not come:
        return None
    if old.endpoint != now.endpoint:
        raise AssertionError("a connection in use goes elsewhere")
    return ConnectionChange(connection=number, unsubscribe=gone, subscribe=come)


def why_no_race(config: VenueConfig) -> str:
    """Return why a venue's books cannot be read over several connections; "": they can."""
    venue = config.venue
    decoder = find_decoder(venue.name)
    (channel, *_) = venue.channels(venue.example_symbol, config.settings)
    kind = decoder.describe(channel.encode())
    rule = ffi.NULL if kind == ffi.NULL else kind.rule
    if rule == ffi.NULL:
        return f"no book is made of {channel}"
    if rule.base == lib.TP_BASE_REQUEST:
        return "its bases answer requests on one connection"
    if rule.copies == lib.TP_COPIES_BY_NUMBER:
        return ""
    if rule.counts_connection:
        return "it numbers each connection's messages by themselves: no copy is known as one"
    return "its messages are not numbered: no copy is known as one"


def make_plan(config: VenueConfig, symbols: Sequence[str]) -> Plan:
    """Plan a venue's symbols, by its own names, from nothing; raises ValueError."""
    plan, _ = Plan(config).change(add=symbols)
    return plan
