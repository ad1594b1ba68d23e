"""Hyperliquid from its side of the wire: whole books, again and again, and no number on anything.

A book is sent at each of its changes, and where there are none once in as long as its channel takes
for blocks: twice a second if `fast`, else every five seconds. The venue sends no oftener than that
even where books change; here each change is seen, so that tests may hold each book to the market's.
Trades are made up: one a change of a book, at the touch; a subscription to them begins with old
ones. Answers are worded as the venue words them (proto/venues/hyperliquid/README.md).
Called by: ../exchange.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

import msgspec
from tickpath.engine.sim.dialect import Dialect, HttpResponse, Message, json_response
from tickpath.proto.instrument import Kind
from tickpath.proto.records import format_fixed
from tickpath.proto.venues.hyperliquid import requests
from tickpath.proto.venues.hyperliquid.venue import VENUE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tickpath.engine.sim.dialect import Client, Floor, HttpRequest
    from tickpath.engine.sim.market import Book, Delta, Side

NS_PER_MS: Final = 1_000_000
AGAIN_NS: Final = {requests.BOOK: 5_000 * NS_PER_MS, requests.FAST: 500 * NS_PER_MS}
"""How long a book that does not change is not sent."""
HISTORY: Final = 3
HISTORY_AGE_NS: Final = 20_000 * NS_PER_MS
HASH: Final = f"0x{0:064x}"
USERS: Final = (f"0x{1:040x}", f"0x{2:040x}")

Levels = list[tuple[int, int]]


def text(channel: str, data: object) -> Message:
    """Write one JSON object."""
    return Message(msgspec.json.encode({"channel": channel, "data": data}), is_text=True)


def decimal(mantissa: int, exponent: int) -> str:
    """Write a number as the venue does: with a digit behind the point, and no zeros behind it."""
    written = format_fixed(mantissa, exponent)
    whole, _, fraction = written.partition(".")
    return f"{whole}.{fraction.rstrip('0') or '0'}"


def level(book: Book, price: int, size: int) -> dict[str, object]:
    """Write a level: price, size and how many orders there are."""
    row = book.instrument
    return {
        "px": decimal(price, row.price_exponent),
        "sz": decimal(size, row.quantity_exponent),
        "n": 1 + size % 40,
    }


def book_data(symbol: str, book: Book, depth: int, now_ns: int) -> dict[str, object]:
    """Write a book to so many levels a side."""
    sides = (side.levels(depth) for side in (book.bids, book.asks))
    return {
        "coin": symbol,
        "time": now_ns // NS_PER_MS,
        "levels": [[level(book, *one) for one in side] for side in sides],
    }


def trade(book: Book, number: int, now_ns: int) -> dict[str, object]:
    """Make up a trade at the touch."""
    sold, row = number % 2 == 0, book.instrument
    side: Side = book.bids if sold else book.asks
    return {
        "coin": row.symbol,
        "side": "A" if sold else "B",
        "px": decimal(side.best(), row.price_exponent),
        "sz": decimal(1 + number % 1000, row.quantity_exponent),
        "time": now_ns // NS_PER_MS,
        "hash": HASH,
        "tid": number,
        "users": USERS,
    }


class HyperliquidDialect(Dialect):
    """Hyperliquid, perpetuals and spot."""

    venue = VENUE
    websocket_paths = frozenset({requests.WEBSOCKET_PATH})
    levels_max = 5_000
    """The venue's book may be deeper than what it shows of it."""
    exponents: ClassVar = {
        "BTC": (-1, -5),
        "ETH": (-2, -4),
        "SOL": (-4, -2),
        "XRP": (-6, 0),
        "DOGE": (-6, 0),
    }

    def __init__(self, floor: Floor) -> None:
        self._floor = floor
        self._sent_ns: dict[str, int] = {}
        """When each channel of a book was sent last."""
        for listing in floor.listings.values():
            self._take_digits(listing.book)

    @staticmethod
    def _take_digits(book: Book) -> None:
        """Write sizes with the digits that the venue's rule leaves beside those of prices."""
        price = book.instrument.price_exponent
        most = requests.SPOT_DIGITS if book.name.kind is Kind.SPOT else requests.PERP_DIGITS
        if (quantity := min(0, -most - price)) == book.instrument.quantity_exponent:
            return
        book.set_scale(price, quantity)
        for side in (book.bids, book.asks):  # what is less than the least size is that
            side.quantities = {one: size or 1 for one, size in side.quantities.items()}

    # WebSocket.

    def opened(self, client: Client, now_ns: int) -> list[Message]:
        """Say nothing first."""
        client.spoke_ns = now_ns
        return []

    def due(self, client: Client, now_ns: int) -> list[Message]:
        """Send books again that were not sent for long."""
        said = []
        for channel in sorted(client.channels & self._sent_ns.keys()):
            kind, symbol = requests.split(channel)
            sent_ns = max(self._sent_ns[channel], client.spoke_ns)
            if symbol in self._unheard or now_ns - sent_ns < AGAIN_NS[kind]:
                continue
            client.spoke_ns = now_ns
            said.append(self._book(channel, now_ns))
        return said

    @property
    def _unheard(self) -> set[str]:
        """Return the instruments of which nothing comes."""
        return self._floor.deaf

    def received(self, client: Client, message: Message, now_ns: int) -> list[Message]:
        """Answer ping, subscribe and unsubscribe."""
        try:
            request = msgspec.json.decode(message.data, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError):
            request = {}
        method, asked = request.get("method"), request.get("subscription")
        if method == "ping":
            return [Message(b'{"channel":"pong"}', is_text=True)]
        known = method in ("subscribe", "unsubscribe") and isinstance(asked, dict)
        kind = self._kind(asked) if known and isinstance(asked, dict) else ""
        if not kind or not isinstance(asked, dict):
            words = message.data[:200].decode(errors="replace")
            return [self._no(f"Error parsing JSON into valid websocket request: {words}")]
        symbol = str(asked.get("coin"))
        channel = f"{kind}:{symbol}"
        if method == "unsubscribe":
            return [self._unsubscribe(client, channel, asked)]
        return self._subscribe(client, channel, asked, now_ns)

    @staticmethod
    def _kind(asked: dict[str, Any]) -> str:
        """Return our name of a channel; "": it is not served here."""
        kind = str(asked.get("type"))
        if kind == requests.BOOK and asked.get("fast") is True:
            return requests.FAST
        return kind if kind in (requests.BOOK, requests.BEST, requests.TRADES) else ""

    def _no(self, words: str) -> Message:
        self._floor.counters.refused += 1
        return text("error", words)

    @staticmethod
    def _echo(asked: dict[str, Any]) -> dict[str, object]:
        """Write a subscription as the venue does: with what was left out."""
        shown: dict[str, object] = {"type": asked["type"], "coin": asked.get("coin")}
        if asked["type"] == requests.BOOK:
            shown |= {"nSigFigs": None, "mantissa": None, "fast": bool(asked.get("fast"))}
        return shown

    def _subscribe(
        self, client: Client, channel: str, asked: dict[str, Any], now_ns: int
    ) -> list[Message]:
        floor, (kind, symbol) = self._floor, channel.split(":", 1)
        shown = self._echo(asked)
        words = msgspec.json.encode(shown).decode()
        if symbol not in floor.listings or symbol in floor.refused:
            return [self._no(f"Invalid subscription: {words}")]
        if channel in client.channels:
            return [self._no(f"Already subscribed: {words}")]
        floor.subscribe(client, symbol, channel)
        answers = [text("subscriptionResponse", {"method": "subscribe", "subscription": shown})]
        if symbol in self._unheard:
            return answers
        book = floor.listings[symbol].book
        if kind == requests.TRADES:
            old_ns = now_ns - HISTORY_AGE_NS
            numbers = range(book.version - HISTORY, book.version)
            rows = [trade(book, number, old_ns) for number in numbers]
            return [*answers, text(requests.TRADES, rows)]
        return [*answers, self._shown(channel, now_ns)]

    def _unsubscribe(self, client: Client, channel: str, asked: dict[str, Any]) -> Message:
        shown = self._echo(asked)
        if channel not in client.channels:
            return self._no(f"Already unsubscribed: {msgspec.json.encode(shown).decode()}")
        self._floor.unsubscribe(client, channel.split(":", 1)[1], channel)
        return text("subscriptionResponse", {"method": "unsubscribe", "subscription": shown})

    # What it pushes.

    def _shown(self, channel: str, now_ns: int) -> Message:
        """Write what a channel shows of a book."""
        kind, symbol = requests.split(channel)
        return self._best(symbol, now_ns) if kind == requests.BEST else self._book(channel, now_ns)

    def _book(self, channel: str, now_ns: int) -> Message:
        kind, symbol = requests.split(channel)
        self._sent_ns[channel] = now_ns
        book = self._floor.listings[symbol].book
        return text(requests.BOOK, book_data(symbol, book, requests.DEPTHS[kind], now_ns))

    def _best(self, symbol: str, now_ns: int) -> Message:
        book = self._floor.listings[symbol].book
        sides = [side.levels(1) for side in (book.bids, book.asks)]
        bbo = [level(book, *side[0]) if side else None for side in sides]
        return text(requests.BEST, {"coin": symbol, "time": now_ns // NS_PER_MS, "bbo": bbo})

    def pushes(self, symbol: str, delta: Delta, now_ns: int) -> list[tuple[str, Message]]:
        """Write the book for each channel that shows it, and a trade."""
        listing = self._floor.listings[symbol]
        pushed: list[tuple[str, Message]] = []
        for channel in listing.subscribers:
            kind, _ = requests.split(channel)
            if kind == requests.TRADES:
                rows = [trade(listing.book, delta.last_version, now_ns)]
                pushed.append((channel, text(requests.TRADES, rows)))
            else:
                pushed.append((channel, self._shown(channel, now_ns)))
        return pushed

    def base(self, symbol: str, channel: str, now_ns: int) -> Message | None:  # noqa: ARG002 - the channel names it
        """Write a book as it is."""
        return self._book(channel, now_ns) if requests.split(channel)[0] in AGAIN_NS else None

    def garbage(self, symbol: str, channel: str) -> Message:  # noqa: ARG002 - its messages name no other channel
        """Write a level without its quantity: sound JSON, and nothing that can be applied."""
        return text(requests.BOOK, {"coin": symbol, "time": 1, "levels": [[{"px": "1.5"}], []]})

    # REST.

    def http(self, request: HttpRequest, now_ns: int) -> HttpResponse | None:
        """Answer POST /info: spotMeta, meta and l2Book."""
        if request.target.partition("?")[0] != requests.INFO_PATH:
            return None
        try:
            asked = msgspec.json.decode(request.body, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError):
            asked = {}
        answers: dict[object, Callable[[], object]] = {
            "spotMeta": self._spot,
            "meta": lambda: {"universe": self._perpetuals(), "collateralToken": 0},
            requests.BOOK: lambda: self._whole(str(asked.get("coin")), now_ns),
        }
        answer = answers.get(str(asked.get("type")))
        if answer is None:
            return json_response(422, "Failed to deserialize the JSON body into the target type")
        return json_response(200, answer())

    def _whole(self, symbol: str, now_ns: int) -> dict[str, object] | None:
        """Return a book by REST; None: no such coin."""
        listing = self._floor.listings.get(symbol)
        if listing is None:
            return None
        return book_data(symbol, listing.book, requests.DEPTHS[requests.BOOK], now_ns)

    def _listed(self, *kinds: Kind) -> list[tuple[str, Book]]:
        """Return what the list has of some kinds."""
        gone = self._floor.delisted
        books = {symbol: one.book for symbol, one in self._floor.listings.items()}
        return [(s, one) for s, one in books.items() if one.name.kind in kinds and s not in gone]

    def _perpetuals(self) -> list[dict[str, object]]:
        return [
            {
                "szDecimals": -book.instrument.quantity_exponent,
                "name": symbol,
                "maxLeverage": 40,
                "marginTableId": 40,
                **({"isDelisted": True} if symbol in self._floor.halted else {}),
            }
            for symbol, book in self._listed(Kind.LINEAR)
        ]

    def _spot(self) -> dict[str, object]:
        tokens: list[dict[str, object]] = []
        pairs: list[dict[str, object]] = []
        for index, (symbol, book) in enumerate(self._listed(Kind.SPOT)):
            digits = -book.instrument.quantity_exponent
            named = ((book.name.base, digits), (book.name.quote, 8))
            tokens += [
                {"name": name, "szDecimals": size, "weiDecimals": 8, "index": 2 * index + side}
                for side, (name, size) in enumerate(named)
            ]
            pairs.append(
                {
                    "name": symbol,
                    "tokens": [2 * index, 2 * index + 1],
                    "index": index,
                    "isCanonical": True,
                }
            )
        return {"tokens": tokens, "universe": pairs}


DIALECT: Final = HyperliquidDialect
