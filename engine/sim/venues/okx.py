"""OKX, WebSocket v5, from its side of the wire: subscriptions, books that name what came before.

It keeps of each book as many levels a side as a channel has, and tells of each change among them
what came and what left; where nothing changed for a minute it says that. Trades are made up: one a
change of a book, at the touch. Answers are worded as the venue words them
(proto/venues/okx/README.md). Called by: ../exchange.py.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import parse_qsl

import msgspec
from tickpath.engine.sim.depth_view import decimal
from tickpath.engine.sim.dialect import Dialect, HttpResponse, Message, json_response
from tickpath.proto.instrument import Kind
from tickpath.proto.venues.okx import requests
from tickpath.proto.venues.okx.settings import OkxSettings
from tickpath.proto.venues.okx.venue import VENUE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tickpath.engine.sim.dialect import Client, Floor, HttpRequest
    from tickpath.engine.sim.market import Book, Delta, Side

NS_PER_S: Final = 1_000_000_000
NS_PER_MS: Final = 1_000_000
HOUR_NS: Final = 3600 * NS_PER_S
CONNECTION_ID: Final = "a4d3ae55"
BAD_REQUEST, TOO_FREQUENT, NO_SUCH_CHANNEL = "60012", "60014", "60018"
_DEPTHS: Final = {name: depth for depth, name in requests.BOOKS.items()} | {requests.BEST: 1}

Levels = list[tuple[int, int]]


def text(**fields: object) -> Message:
    """Write one JSON object."""
    return Message(msgspec.json.encode(fields), is_text=True)


def levels(book: Book, changes: Iterable[tuple[int, int]]) -> list[list[str]]:
    """Write levels: price, quantity, a zero of old times, and how many orders there are."""
    scale = book.instrument
    return [
        [
            decimal(price, scale.price_exponent),
            decimal(size, scale.quantity_exponent),
            "0",
            str(size and 1 + size % 9),
        ]
        for price, size in changes
    ]


@dataclass(slots=True)
class Told:
    """What a channel of a book was last told, and when."""

    version: int
    at_ns: int
    scale: tuple[int, int]
    bids: Levels
    asks: Levels

    def take_scale(self, scale: tuple[int, int]) -> None:
        """Write it with the digits that the book has now: where they are fewer, the rest are 0."""
        if scale == self.scale:
            return
        factors = [10.0 ** (old - new) for old, new in zip(self.scale, scale, strict=True)]
        self.bids, self.asks = (
            [(_times(price, factors[0]), _times(size, factors[1])) for price, size in side]
            for side in (self.bids, self.asks)
        )
        self.scale = scale


def _times(number: int, factor: float) -> int:
    return number * round(factor) if factor >= 1 else number // round(1 / factor)


def scale_of(book: Book) -> tuple[int, int]:
    """Return the exponents of a book's prices and quantities."""
    return book.instrument.price_exponent, book.instrument.quantity_exponent


def told_of(book: Book, kind: str, now_ns: int) -> Told:
    """Return what a channel shows of a book."""
    sides = (side.levels(_DEPTHS[kind]) for side in (book.bids, book.asks))
    return Told(book.version, now_ns, scale_of(book), *sides)


def changes(before: Levels, after: Levels) -> Levels:
    """Return what came, changed and left: out of the book, or out of the channel's depth."""
    old, new = dict(before), dict(after)
    gone = [(price, 0) for price in old if price not in new]
    return gone + [level for level in after if old.get(level[0]) != level[1]]


class OkxDialect(Dialect):
    """OKX spot and swaps, WebSocket v5."""

    venue = VENUE
    websocket_paths = frozenset({requests.WEBSOCKET_PATH})
    levels_max = max(requests.BOOKS)
    unchanged_ns: ClassVar[int] = int(OkxSettings().unchanged_s * NS_PER_S)

    def __init__(self, floor: Floor) -> None:
        self._floor = floor
        self._told: dict[str, Told] = {}
        """By channel, of books and best prices that somebody listens to."""
        self._asked: dict[Client, deque[int]] = {}
        """When each client asked within the last hour."""

    # WebSocket.

    def opened(self, client: Client, now_ns: int) -> list[Message]:
        """Say nothing first."""
        self._asked = {
            one: times for one, times in self._asked.items() if times[-1] > now_ns - HOUR_NS
        }
        client.spoke_ns = now_ns
        return []

    def due(self, client: Client, now_ns: int) -> list[Message]:
        """Say of a book that stood still for a minute that it does."""
        said = []
        for channel in sorted(client.channels & self._told.keys()):
            if requests.split(channel)[1] in self._floor.deaf:
                continue
            told = self._told[channel]
            before_ns = max(client.spoke_ns - told.at_ns, 0)
            if (now_ns - told.at_ns) // self.unchanged_ns > before_ns // self.unchanged_ns:
                said.append(self._unchanged(channel, told, now_ns))
        client.spoke_ns = now_ns
        return said

    def _unchanged(self, channel: str, told: Told, now_ns: int) -> Message:
        kind, symbol = requests.split(channel)
        if kind != requests.BOOKS[400]:
            return self._whole(channel, told, now_ns)
        return self._book(symbol, ("update", [], []), (told.version, told.version), now_ns)

    def received(self, client: Client, message: Message, now_ns: int) -> list[Message]:
        """Answer ping, subscribe and unsubscribe."""
        if message.data == requests.PING:
            return [Message(requests.PONG, is_text=True)]
        try:
            request = msgspec.json.decode(message.data, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError):
            request = {}
        op, args = request.get("op"), request.get("args")
        more = {"id": request["id"]} if isinstance(request.get("id"), str) else {}
        if op not in ("subscribe", "unsubscribe") or not isinstance(args, list):
            words = f"Invalid request: {message.data[:80].decode(errors='replace')}"
            return [self._no(BAD_REQUEST, words, more)]
        if not self._may_ask(client, now_ns):
            return [self._no(TOO_FREQUENT, "Requests too frequent", more)]
        if len(message.data) > requests.MESSAGE_SIZE_MAX:
            return [self._no(BAD_REQUEST, "Invalid request: too long", more)]
        answers: list[Message] = []
        for arg in args:
            fields = arg if isinstance(arg, dict) else {}
            kind, symbol = str(fields.get("channel")), str(fields.get("instId"))
            act = self._subscribe if op == "subscribe" else self._unsubscribe
            answers += act(client, (kind, symbol), more, now_ns)
        return answers

    def _may_ask(self, client: Client, now_ns: int) -> bool:
        """Count a request against those of the last hour."""
        times = self._asked.setdefault(client, deque())
        while times and times[0] <= now_ns - HOUR_NS:
            times.popleft()
        times.append(now_ns)
        return len(times) <= requests.REQUESTS_PER_HOUR

    def _no(self, code: str, words: str, more: dict[str, str]) -> Message:
        self._floor.counters.refused += 1
        return text(**more, event="error", code=code, msg=words, connId=CONNECTION_ID)

    def _yes(self, event: str, kind: str, symbol: str, more: dict[str, str]) -> Message:
        arg = {"channel": kind, "instId": symbol}
        return text(**more, event=event, arg=arg, connId=CONNECTION_ID)

    def _refuse(self, kind: str, symbol: str, more: dict[str, str]) -> list[Message]:
        words = (
            f"Wrong URL or channel:{kind},instId:{symbol} doesn't exist. Please use the correct "
        )
        words += "URL, channel and parameters referring to API document."
        return [self._no(NO_SUCH_CHANNEL, words, more)]

    def _subscribe(
        self, client: Client, what: tuple[str, str], more: dict[str, str], now_ns: int
    ) -> list[Message]:
        """Acknowledge, and show the book; a second time there is an acknowledgement alone."""
        floor, (kind, symbol) = self._floor, what
        if kind not in requests.CHANNELS or symbol not in floor.listings or symbol in floor.refused:
            return self._refuse(kind, symbol, more)
        channel, listing = f"{kind}:{symbol}", floor.listings[symbol]
        answers = [self._yes("subscribe", kind, symbol, more)]
        if channel in client.channels:
            return answers
        if kind in _DEPTHS:
            if channel not in listing.subscribers:
                self._told[channel] = told_of(listing.book, kind, now_ns)
            if symbol not in floor.deaf:
                answers.append(self._whole(channel, self._told[channel], now_ns))
        floor.subscribe(client, symbol, channel)
        return answers

    def _unsubscribe(
        self,
        client: Client,
        what: tuple[str, str],
        more: dict[str, str],
        now_ns: int,  # noqa: ARG002 - no answer has a time
    ) -> list[Message]:
        kind, symbol = what
        channel = f"{kind}:{symbol}"
        if kind not in requests.CHANNELS or symbol not in self._floor.listings:
            return self._refuse(kind, symbol, more)
        if channel in client.channels:
            self._floor.unsubscribe(client, symbol, channel)
        return [self._yes("unsubscribe", kind, symbol, more)]

    def _whole(self, channel: str, told: Told, now_ns: int) -> Message:
        """Write all that a channel shows."""
        kind, symbol = requests.split(channel)
        book = self._floor.listings[symbol].book
        told.take_scale(scale_of(book))
        if kind == requests.BOOKS[400]:
            shown = "snapshot", told.bids, told.asks
            return self._book(symbol, shown, (-1, told.version), now_ns)
        item = {
            **{"asks": levels(book, told.asks), "bids": levels(book, told.bids)},
            **({} if kind == requests.BEST else {"instId": symbol}),
            **{"ts": str(now_ns // NS_PER_MS), "seqId": told.version},
        }
        return text(arg={"channel": kind, "instId": symbol}, data=[item])

    def _book(
        self,
        symbol: str,
        shown: tuple[str, Levels, Levels],
        numbers: tuple[int, int],
        now_ns: int,
    ) -> Message:
        """Write levels of a book behind its action, and the numbers before it and of it."""
        book, (action, bids, asks) = self._floor.listings[symbol].book, shown
        previous, version = numbers
        item = {
            **{"asks": levels(book, asks), "bids": levels(book, bids)},
            **{"ts": str(now_ns // NS_PER_MS), "checksum": 0},
            **{"seqId": version, "prevSeqId": previous},
        }
        arg = {"channel": requests.BOOKS[400], "instId": symbol}
        return text(arg=arg, action=action, data=[item])

    def pushes(self, symbol: str, delta: Delta, now_ns: int) -> list[tuple[str, Message]]:
        """Write what changed of what each channel shows; often nothing did."""
        listing = self._floor.listings[symbol]
        pushed: list[tuple[str, Message]] = []
        for channel in listing.subscribers:
            kind, _ = requests.split(channel)
            if kind == requests.TRADES:
                pushed.append((channel, self._trade(listing.book, delta, now_ns)))
                continue
            before, now = self._told[channel], told_of(listing.book, kind, now_ns)
            before.take_scale(now.scale)
            if (before.bids, before.asks) == (now.bids, now.asks):
                continue
            self._told[channel] = now
            if kind != requests.BOOKS[400]:
                pushed.append((channel, self._whole(channel, now, now_ns)))
                continue
            bids, asks = changes(before.bids, now.bids), changes(before.asks, now.asks)
            numbers = before.version, now.version
            pushed.append((channel, self._book(symbol, ("update", bids, asks), numbers, now_ns)))
        return pushed

    def _trade(self, book: Book, delta: Delta, now_ns: int) -> Message:
        sold, row = delta.last_version % 2 == 0, book.instrument
        side: Side = book.bids if sold else book.asks
        symbol, size = row.symbol, 1 + delta.last_version % 1000
        item = {
            **{"instId": symbol, "tradeId": str(delta.last_version)},
            **{"px": decimal(side.best(), row.price_exponent)},
            **{"sz": decimal(size, row.quantity_exponent), "side": "sell" if sold else "buy"},
            **{"ts": str(now_ns // NS_PER_MS), "count": "1", "source": "0"},
            "seqId": delta.last_version,
        }
        return text(arg={"channel": requests.TRADES, "instId": symbol}, data=[item])

    def base(self, symbol: str, channel: str, now_ns: int) -> Message | None:  # noqa: ARG002 - the channel names it
        """Write a book as it was told last."""
        told = self._told.get(channel)
        if told is None or requests.split(channel)[0] == requests.BEST:
            return None
        return self._whole(channel, told, now_ns)

    def garbage(self, symbol: str, channel: str) -> Message:
        """Write a level without its quantity: sound JSON, and nothing that can be applied."""
        kind, _ = requests.split(channel)
        item = {"asks": [["1.5"]], "bids": [], "ts": "1", "seqId": 1, "prevSeqId": 0}
        return text(arg={"channel": kind, "instId": symbol}, action="update", data=[item])

    # REST.

    def http(self, request: HttpRequest, now_ns: int) -> HttpResponse | None:  # noqa: ARG002 - the list has no time
        """Answer instruments."""
        path, _, query_text = request.target.partition("?")
        if path != requests.INSTRUMENTS_PATH:
            return None
        kind = dict(parse_qsl(query_text)).get("instType", "")
        if kind not in (requests.SPOT, requests.SWAP):
            return json_response(
                400, {"code": "51000", "msg": "Parameter instType error", "data": []}
            )
        rows = [self._row(symbol) for symbol, _ in self._floor.listed()]
        rows = [row for row in rows if row["instType"] == kind]
        return json_response(200, {"code": "0", "msg": "", "data": rows})

    def _row(self, symbol: str) -> dict[str, str]:
        book = self._floor.listings[symbol].book
        instrument, name = book.instrument, book.name
        is_spot = name.kind is Kind.SPOT
        lot = decimal(1, instrument.quantity_exponent)
        return {
            "instType": requests.SPOT if is_spot else requests.SWAP,
            "instId": symbol,
            "instFamily": "" if is_spot else f"{name.base}-{name.quote}",
            "baseCcy": name.base if is_spot else "",
            "quoteCcy": name.quote if is_spot else "",
            "settleCcy": name.settle,
            "ctVal": "" if is_spot else "0.01",
            "ctMult": "" if is_spot else "1",
            "tickSz": decimal(1, instrument.price_exponent),
            "lotSz": lot,
            "minSz": lot,
            "state": "suspend" if symbol in self._floor.halted else "live",
        }


DIALECT: Final = OkxDialect
