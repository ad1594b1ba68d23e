"""The toy from its side of the wire: `DIALECT` (engine/sim/dialect.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from tickpath.engine.sim.dialect import Dialect, HttpResponse, Message, json_response
from tickpath.proto.records import format_fixed
from tickpath.proto.venues.toy import requests
from tickpath.proto.venues.toy.venue import VENUE

if TYPE_CHECKING:
    from tickpath.engine.sim.dialect import Client, Floor, HttpRequest
    from tickpath.engine.sim.market import Book, Delta

NS_PER_MS: Final = 1_000_000
_ANSWERS: Final = {"subscribe": "subscribed", "unsubscribe": "unsubscribed"}


def text(**fields: object) -> Message:
    """Write one JSON object."""
    return Message(msgspec.json.encode(fields), is_text=True)


def levels(book: Book, changes: list[tuple[int, int]]) -> list[list[str]]:
    """Write prices and quantities."""
    scale = book.instrument
    return [
        [format_fixed(price, scale.price_exponent), format_fixed(size, scale.quantity_exponent)]
        for price, size in changes
    ]


def symbol_of(channel: str) -> str:
    """Return whose book a channel is."""
    return channel.removeprefix(requests.PREFIX)


class ToyDialect(Dialect):
    """Subscriptions, a base first, then deltas."""

    venue = VENUE
    websocket_paths = frozenset({"/stream"})
    levels_max = 5000

    def __init__(self, floor: Floor) -> None:
        self._floor = floor

    def opened(self, client: Client, now_ns: int) -> list[Message]:
        """Say nothing first."""
        return []

    def due(self, client: Client, now_ns: int) -> list[Message]:
        """Say nothing by itself."""
        return []

    def received(self, client: Client, message: Message, now_ns: int) -> list[Message]:
        """Answer subscribe, unsubscribe and ping."""
        try:
            request = msgspec.json.decode(message.data, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError):
            request = {}
        op, channels = request.get("op"), request.get("channels")
        if op == "ping":
            return [text(op="pong")]
        if op not in _ANSWERS or not isinstance(channels, list):
            return [text(op="notice", reason="what is this?")]
        done: list[str] = []
        refused: list[str] = []
        for channel in map(str, channels):
            (done if self._take(client, op, channel) else refused).append(channel)
        answers = []
        if refused:
            self._floor.counters.refused += len(refused)
            words = {"op": "refused", "channels": refused, "id": request.get("id")}
            answers.append(text(**words, reason="no such book"))
        if done:
            answers.append(text(op=_ANSWERS[op], channels=done, id=request.get("id")))
        bases = done if op == "subscribe" else []
        heard = [one for one in bases if symbol_of(one) not in self._floor.deaf]
        return answers + [self._base(channel, now_ns) for channel in heard]

    def _take(self, client: Client, op: str, channel: str) -> bool:
        floor, symbol = self._floor, symbol_of(channel)
        if symbol == channel or symbol not in floor.listings or symbol in floor.refused:
            return False
        if op == "subscribe":
            floor.subscribe(client, symbol, channel)
        elif channel in client.channels:
            floor.unsubscribe(client, symbol, channel)
        return True

    def _base(self, channel: str, now_ns: int) -> Message:
        book = self._floor.listings[symbol_of(channel)].book
        return text(
            channel=channel,
            kind="base",
            id=book.version,
            time=now_ns // NS_PER_MS,
            bids=levels(book, book.bids.levels(len(book.bids.prices))),
            asks=levels(book, book.asks.levels(len(book.asks.prices))),
        )

    def pushes(self, symbol: str, delta: Delta, now_ns: int) -> list[tuple[str, Message]]:
        """Write the change, which names the number before it."""
        listing = self._floor.listings[symbol]
        return [
            (
                channel,
                text(
                    channel=channel,
                    kind="delta",
                    previous=delta.first_version - 1,
                    id=delta.last_version,
                    time=now_ns // NS_PER_MS,
                    bids=levels(listing.book, delta.bids),
                    asks=levels(listing.book, delta.asks),
                ),
            )
            for channel in listing.subscribers
        ]

    def base(self, symbol: str, channel: str, now_ns: int) -> Message:
        """Write the book as it is."""
        return self._base(channel, now_ns)

    def garbage(self, symbol: str, channel: str) -> Message:
        """Write a delta without its end."""
        data = b'{"channel":"' + channel.encode() + b'","kind":"delta","id":'
        return Message(data, is_text=True)

    def http(self, request: HttpRequest, now_ns: int) -> HttpResponse | None:
        """Answer the list."""
        if request.target != requests.INSTRUMENTS_PATH:
            return None
        rows = [
            {
                "symbol": symbol,
                "price_digits": -listing.book.instrument.price_exponent,
                "quantity_digits": -listing.book.instrument.quantity_exponent,
                "open": symbol not in self._floor.halted,
            }
            for symbol, listing in self._floor.listed()
        ]
        return json_response(200, rows)


DIALECT: Final = ToyDialect
