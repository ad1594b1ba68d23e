"""Coinbase Advanced Trade from its side of the wire: snapshots, updates, one number a connection.

Every message of a connection has a number of its own, from 0, whatever it carries; a product whose
subscription is refused is missing from the answer. As numbers are a client's, each has channels of
its own here. Trades are made up: one a change of a book, at the touch. Answers are worded as the
venue words them (proto/venues/coinbase/README.md). Called by: ../exchange.py.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import parse_qsl

import msgspec
from tickpath.engine.sim.depth_view import decimal
from tickpath.engine.sim.dialect import Dialect, HttpResponse, Message, json_response
from tickpath.proto.records import format_fixed
from tickpath.proto.venues.coinbase import requests
from tickpath.proto.venues.coinbase.venue import VENUE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tickpath.engine.sim.dialect import Client, Floor, HttpRequest
    from tickpath.engine.sim.market import Book, Delta, Side

NS_PER_S: Final = 1_000_000_000
HEARTBEAT_NS: Final = NS_PER_S
OWN_MARK: Final = "~"
"""Before what tells one client's channel from another's of the same name."""
LIMIT_DEFAULT: Final = 1_000_000
_SENT: Final = {requests.BOOK: "l2_data"}
"""What messages call a channel that they name otherwise than requests do."""


def stamp(now_ns: int) -> str:
    """Write a time as the venue does, without zeros at its end."""
    at = datetime.fromtimestamp(now_ns // NS_PER_S, UTC)
    fraction = f"{now_ns % NS_PER_S:09}".rstrip("0")
    return f"{at:%Y-%m-%dT%H:%M:%S}{'.' * bool(fraction)}{fraction}Z"


def updates(
    book: Book, changes: Iterable[tuple[str, Iterable[tuple[int, int]]]], now_ns: int
) -> list[dict[str, str]]:
    """Write levels of sides."""
    row, time = book.instrument, stamp(now_ns // 1000 * 1000)
    return [
        {
            "side": side,
            "event_time": time,
            "price_level": decimal(price, row.price_exponent),
            "new_quantity": decimal(size, row.quantity_exponent),
        }
        for side, levels in changes
        for price, size in levels
    ]


def name_of(channel: str) -> str:
    """Return a channel's name without what makes it a client's own."""
    return channel.partition(OWN_MARK)[0]


class CoinbaseDialect(Dialect):
    """Coinbase Advanced Trade, spot."""

    venue = VENUE
    websocket_paths = frozenset({requests.WEBSOCKET_PATH})
    levels_max = 100_000
    exponents: ClassVar = {
        "BTC": (-2, -8),
        "ETH": (-2, -8),
        "SOL": (-2, -8),
        "XRP": (-4, -6),
        "DOGE": (-5, -1),
    }

    def __init__(self, floor: Floor) -> None:
        self._floor = floor
        self._listeners: dict[str, Client] = {}
        """Whose a channel is, or was last."""
        self._marks = 0

    def _say(self, client: Client, channel: str, events: Sequence[object], now_ns: int) -> Message:
        """Write a message with the connection's next number."""
        said = {
            "channel": channel,
            "timestamp": stamp(now_ns),
            "sequence_num": client.said,
            "events": events,
        }
        client.said += 1
        return Message(msgspec.json.encode(said), is_text=True)

    # WebSocket.

    def opened(self, client: Client, now_ns: int) -> list[Message]:  # noqa: ARG002 - nothing has a time yet
        """Say nothing first; heartbeats begin once they are subscribed to."""
        client.spoke_ns = client.said = 0
        return []

    def due(self, client: Client, now_ns: int) -> list[Message]:
        """Send a heartbeat each second."""
        if client.spoke_ns == 0 or now_ns - client.spoke_ns < HEARTBEAT_NS:
            return []
        client.spoke_ns = now_ns
        beat = {
            "current_time": f"{stamp(now_ns)[:-1].replace('T', ' ')} +0000 UTC m=+1.5",
            "heartbeat_counter": now_ns // HEARTBEAT_NS,
        }
        return [self._say(client, requests.HEARTBEATS, [beat], now_ns)]

    def received(self, client: Client, message: Message, now_ns: int) -> list[Message]:
        """Answer subscribe and unsubscribe."""
        try:
            request = msgspec.json.decode(message.data, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError):
            request = {}
        type_, kind = request.get("type"), request.get("channel")
        products = request.get("product_ids", [])
        if type_ not in ("subscribe", "unsubscribe") or not isinstance(products, list):
            return [self._no("malformed request")]
        if kind == requests.HEARTBEATS:
            client.spoke_ns = now_ns if type_ == "subscribe" else 0
            return [self._answer(client, now_ns)]
        if kind not in requests.CHANNELS:
            return [self._no("authentication failure")]
        answers: list[Message] = []
        for product in map(str, products):
            if type_ == "unsubscribe":
                self._unsubscribe(client, f"{kind}:{product}", product)
            else:
                answers += self._subscribe(client, str(kind), product, now_ns)
        return [*answers, self._answer(client, now_ns)]

    def _no(self, words: str) -> Message:
        self._floor.counters.refused += 1
        said = {"type": "error", "message": words}
        return Message(msgspec.json.encode(said), is_text=True)

    def _answer(self, client: Client, now_ns: int) -> Message:
        """Say all that is subscribed to."""
        listed: dict[str, list[str]] = {}
        if client.spoke_ns:
            listed[requests.HEARTBEATS] = [requests.HEARTBEATS]
        for name in sorted(map(name_of, client.channels)):
            kind, product = requests.split(name)
            listed.setdefault(kind, []).append(product)
        return self._say(client, "subscriptions", [{"subscriptions": listed}], now_ns)

    def _own(self, client: Client, name: str) -> str | None:
        """Return a client's own channel of a name."""
        return next((one for one in client.channels if name_of(one) == name), None)

    def _subscribe(self, client: Client, kind: str, product: str, now_ns: int) -> list[Message]:
        """Show the book; what is refused is left out of the answer."""
        floor, name = self._floor, f"{kind}:{product}"
        if product not in floor.listings or product in floor.refused:
            floor.counters.refused += 1
            return []
        own = self._own(client, name)
        if own is None:
            own = name
            if own in floor.listings[product].subscribers:
                self._marks += 1
                own = f"{name}{OWN_MARK}{self._marks}"
            self._listeners[own] = client
            floor.subscribe(client, product, own)
        if product in self._unheard or kind == requests.TRADES:
            return []
        whole = self._snapshot if kind == requests.BOOK else self._ticker
        return [whole(client, product, now_ns)]

    @property
    def _unheard(self) -> set[str]:
        """Return the products of which nothing comes."""
        return self._floor.deaf

    def _unsubscribe(self, client: Client, name: str, product: str) -> None:
        own = self._own(client, name)
        if own is not None:
            self._floor.unsubscribe(client, product, own)

    # What it pushes.

    def _level2(self, client: Client, event: Mapping[str, object], now_ns: int) -> Message:
        return self._say(client, _SENT[requests.BOOK], [event], now_ns)

    def _snapshot(self, client: Client, product: str, now_ns: int) -> Message:
        book = self._floor.listings[product].book
        sides = (("bid", book.bids), ("offer", book.asks))
        whole = ((name, side.levels(len(side.prices))) for name, side in sides)
        rows = updates(book, whole, now_ns)
        event = {"type": "snapshot", "product_id": product, "updates": rows}
        return self._level2(client, event, now_ns)

    def _update(self, client: Client, product: str, delta: Delta, now_ns: int) -> Message:
        book = self._floor.listings[product].book
        rows = updates(book, (("bid", delta.bids), ("offer", delta.asks)), now_ns)
        event = {"type": "update", "product_id": product, "updates": rows}
        return self._level2(client, event, now_ns)

    def _ticker(self, client: Client, product: str, now_ns: int) -> Message:
        book = self._floor.listings[product].book
        row = book.instrument
        ticker: dict[str, str] = {"type": "ticker", "product_id": product}
        for name, side in (("bid", book.bids), ("ask", book.asks)):
            price, size = side.levels(1)[0]
            ticker[f"best_{name}"] = decimal(price, row.price_exponent)
            ticker[f"best_{name}_quantity"] = decimal(size, row.quantity_exponent)
        event = {"type": "update", "tickers": [ticker]}
        return self._say(client, requests.TICKER, [event], now_ns)

    def _trade(self, client: Client, product: str, delta: Delta, now_ns: int) -> Message:
        book = self._floor.listings[product].book
        sold, row = delta.last_version % 2 == 0, book.instrument
        side: Side = book.bids if sold else book.asks
        trade = {
            "product_id": product,
            "trade_id": str(delta.last_version),
            "price": decimal(side.best(), row.price_exponent),
            "size": decimal(1 + delta.last_version % 1000, row.quantity_exponent),
            "time": stamp(now_ns // 1000 * 1000),
            "side": "SELL" if sold else "BUY",
        }
        event = {"type": "update", "trades": [trade]}
        return self._say(client, requests.TRADES, [event], now_ns)

    def pushes(self, symbol: str, delta: Delta, now_ns: int) -> list[tuple[str, Message]]:
        """Write a change for each client's channels; what then is not sent was counted."""
        pushed: list[tuple[str, Message]] = []
        for channel in self._floor.listings[symbol].subscribers:
            kind, _ = requests.split(name_of(channel))
            client = self._listeners[channel]
            if kind == requests.TICKER:
                message = self._ticker(client, symbol, now_ns)
            else:
                write = self._update if kind == requests.BOOK else self._trade
                message = write(client, symbol, delta, now_ns)
            pushed.append((channel, message))
        return pushed

    def base(self, symbol: str, channel: str, now_ns: int) -> Message | None:
        """Write a snapshot of a book as it is."""
        kind, _ = requests.split(name_of(channel))
        if kind != requests.BOOK:
            return None
        return self._snapshot(self._listeners[channel], symbol, now_ns)

    def garbage(self, symbol: str, channel: str) -> Message:
        """Write a level without its quantity: sound JSON with its number, and no change."""
        row = {"side": "bid", "event_time": stamp(NS_PER_S), "price_level": "1.5"}
        event = {"type": "update", "product_id": symbol, "updates": [row]}
        return self._level2(self._listeners[channel], event, NS_PER_S)

    # REST.

    def http(self, request: HttpRequest, now_ns: int) -> HttpResponse | None:
        """Answer the list of products, and books."""
        path, _, query_text = request.target.partition("?")
        if path == requests.PRODUCTS_PATH:
            rows = self._products()
            return json_response(200, {"products": rows, "num_products": len(rows)})
        if path != requests.BOOK_PATH:
            return None
        query = dict(parse_qsl(query_text))
        product, limit = query.get("product_id", ""), query.get("limit", "")
        if product not in self._floor.listings:
            return json_response(400, {"error": "INVALID_ARGUMENT", "message": "valid product_id"})
        book = self._floor.listings[product].book
        depth = int(limit) if limit.isdigit() and len(limit) < 7 else LIMIT_DEFAULT
        sides = {"bids": book.bids, "asks": book.asks}
        shown = {name: self._levels(book, side, depth) for name, side in sides.items()}
        whole = {"product_id": product, **shown, "time": stamp(now_ns)}
        return json_response(200, {"pricebook": whole})

    @staticmethod
    def _levels(book: Book, side: Side, depth: int) -> list[dict[str, str]]:
        row = book.instrument
        return [
            {
                "price": decimal(price, row.price_exponent),
                "size": decimal(size, row.quantity_exponent),
            }
            for price, size in side.levels(depth)
        ]

    def _products(self) -> list[dict[str, object]]:
        gone = self._floor.delisted
        rows: list[dict[str, object]] = []
        for symbol, listing in self._floor.listings.items():
            if symbol in gone:
                continue
            row, name = listing.book.instrument, listing.book.name
            tick = format_fixed(1, row.price_exponent)
            lot = format_fixed(1, row.quantity_exponent)
            rows.append(
                {
                    "product_id": symbol,
                    "base_increment": lot,
                    "quote_increment": tick,
                    "quote_min_size": "1",
                    "base_min_size": lot,
                    "is_disabled": False,
                    "status": "online",
                    "cancel_only": False,
                    "limit_only": False,
                    "post_only": False,
                    "trading_disabled": symbol in self._floor.halted,
                    "auction_mode": False,
                    "product_type": "SPOT",
                    "quote_currency_id": name.quote,
                    "base_currency_id": name.base,
                    "alias": "",
                    "view_only": False,
                    "price_increment": tick,
                }
            )
        return rows


DIALECT: Final = CoinbaseDialect
