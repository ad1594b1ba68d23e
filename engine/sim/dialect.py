"""How a simulated venue speaks: bytes and time in, messages out. No sockets, no clock, no threads.

A dialect is a file of venues/; its `DIALECT` is made with a `Floor`, which holds the books and who
listens to which. Whoever carries the bytes calls it: exchange.py over sockets, or a test in virtual
time. Times are Unix times in nanoseconds and come from the caller.
Called by: exchange.py, tests. Calls: market.py.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Protocol

import msgspec
from tickpath.engine.sim.market import make_book
from tickpath.proto.venues import name_symbol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from tickpath.engine.sim.market import Book, Delta
    from tickpath.proto.instrument import Symbol
    from tickpath.proto.venue import Venue


@dataclass(frozen=True, slots=True)
class Message:
    """One WebSocket message."""

    data: bytes
    is_text: bool


def packed(message: Message) -> Message:
    """Return a message as a venue sends it whose messages are gzip members."""
    return Message(gzip.compress(message.data, mtime=0), is_text=False)


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request, whole."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def asked(self) -> str:
        """Return what is asked for: of a POST its body says so."""
        return f"{self.target} {self.body.decode(errors='replace')}" if self.body else self.target


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """What goes back, after `delay_s`; body is JSON."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0


def json_response(status: int, value: object) -> HttpResponse:
    """Answer with JSON."""
    return HttpResponse(status, msgspec.json.encode(value))


@dataclass(slots=True, eq=False)
class Client:
    """One WebSocket as a dialect sees it: what it subscribed to."""

    channels: set[str] = field(default_factory=set)
    spoke_ns: int = 0
    """When the venue last spoke by itself, for dialects that do."""
    said: int = 0
    """How many messages it was sent, for dialects that number them."""


@dataclass(slots=True)
class Listing:
    """One instrument: its book and who listens, by channel."""

    book: Book
    subscribers: dict[str, set[Client]] = field(default_factory=dict)


class Counters(msgspec.Struct):
    """What happened since the start."""

    messages: int = 0
    levels: int = 0
    bytes: int = 0
    connections: int = 0
    subscriptions: int = 0
    refused: int = 0
    rest: int = 0
    faults: int = 0


class Floor:
    """All instruments of a simulated venue, by the venue's own names, and their subscribers."""

    def __init__(
        self,
        venue: Venue,
        symbols: Sequence[str],
        *,
        depth: int,
        seed: int,
        make: Callable[[str, Symbol, int, int], Book] = make_book,
    ) -> None:
        """Make a book for each symbol; the same arguments give the same walks."""
        self.counters = Counters()
        self.listings = {
            symbol: Listing(make(symbol, name_symbol(venue, symbol), depth, seed))
            for symbol in symbols
        }
        self.active: list[str] = []
        """Instruments that somebody listens to: only they move."""
        self.refused: set[str] = set()
        """Instruments whose subscriptions a fault refuses."""
        self.halted: set[str] = set()
        """Instruments that the list calls halted."""
        self.delisted: set[str] = set()
        """Instruments that the list does not have."""
        self.deaf: set[str] = set()
        """Instruments whose subscriptions are acknowledged, and nothing comes of them."""

    def subscribe(self, client: Client, symbol: str, channel: str) -> None:
        """Let a client listen to a channel of a listed instrument; twice is once."""
        if channel in client.channels:
            return
        self.listings[symbol].subscribers.setdefault(channel, set()).add(client)
        client.channels.add(channel)
        self.counters.subscriptions += 1
        if symbol not in self.active:
            self.active.append(symbol)

    def unsubscribe(self, client: Client, symbol: str, channel: str) -> None:
        """End that; an instrument that nobody listens to stands still."""
        client.channels.discard(channel)
        self.counters.subscriptions -= 1
        subscribers = self.listings[symbol].subscribers
        subscribers[channel].discard(client)
        if not subscribers[channel]:
            del subscribers[channel]
        if not subscribers and symbol in self.active:  # a test may have let it rest
            self.active.remove(symbol)

    def listed(self) -> Iterable[tuple[str, Listing]]:
        """Return what the list of instruments has."""
        listings = self.listings.items()
        return [(symbol, one) for symbol, one in listings if symbol not in self.delisted]

    def forget(self, client: Client) -> None:
        """End all of a client's subscriptions."""
        for symbol, listing in self.listings.items():
            for channel in client.channels & listing.subscribers.keys():
                self.unsubscribe(client, symbol, channel)


class Dialect(Protocol):
    """One venue's protocol, from its side of the wire."""

    venue: ClassVar[Venue]
    websocket_paths: ClassVar[frozenset[str]]
    levels_max: ClassVar[int]
    """Of a side, in the base that it gives."""
    exponents: ClassVar[Mapping[str, tuple[int, int]]] = {}
    """Of price and quantity, by base asset, where the venue's differ from the market's (market.py).

    Used where several venues quote the same instruments (fair.py).
    """

    def __init__(self, floor: Floor) -> None:
        """Speak for these books."""

    def refuses_upgrade(self, request: HttpRequest) -> HttpResponse | None:  # noqa: ARG002 - most let all in
        """Return what an upgrade is answered with that is not let in."""
        return None

    def opened(self, client: Client, now_ns: int) -> list[Message]:
        """Return what the venue says first."""

    def received(self, client: Client, message: Message, now_ns: int) -> list[Message]:
        """Take a client's message; return the answers to it, in order."""

    def due(self, client: Client, now_ns: int) -> list[Message]:
        """Return what the venue says by itself now: heartbeats, pings. Asked ten times a second."""

    def pushes(self, symbol: str, delta: Delta, now_ns: int) -> list[tuple[str, Message]]:
        """Write a change of a book for each channel that somebody listens to."""

    def base(self, symbol: str, channel: str, now_ns: int) -> Message | None:  # noqa: ARG002 - for those that can
        """Write a base for a channel that somebody listens to; None: none comes by the stream."""
        return None

    def garbage(self, symbol: str, channel: str) -> Message:
        """Write a message that begins as one of this channel's and cannot be read."""

    def http(self, request: HttpRequest, now_ns: int) -> HttpResponse | None:
        """Answer a REST request; None: no such path."""
