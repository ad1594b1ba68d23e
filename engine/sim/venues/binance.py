"""Binance from its side of the wire: subscriptions by id, combined streams, REST.

This file speaks for all of its markets and is spot's. Answers are worded as the venue words them
(proto/venues/binance/README.md). Trades are made up: one a change of a book, at the touch. Called
by: ../exchange.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import parse_qsl

import msgspec
from tickpath.engine.sim.dialect import Dialect, HttpResponse, Message, json_response
from tickpath.proto.records import format_fixed
from tickpath.proto.venues.binance import requests
from tickpath.proto.venues.binance.venue import VENUE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from tickpath.engine.sim.dialect import Client, Floor, HttpRequest
    from tickpath.engine.sim.market import Book, Delta
    from tickpath.proto.venues.binance.market import BinanceMarket

NS_PER_MS: Final = 1_000_000
INVALID_REQUEST: Final = 2


def text(**fields: object) -> Message:
    """Write one JSON object."""
    return Message(msgspec.json.encode(fields), is_text=True)


class BinanceDialect(Dialect):
    """Binance spot."""

    venue: ClassVar[BinanceMarket] = VENUE
    websocket_paths = frozenset({requests.WEBSOCKET_PATH})
    levels_max = requests.BASE_LEVELS_MAX
    exponents: ClassVar[Mapping[str, tuple[int, int]]] = {
        "BTC": (-2, -5),
        "ETH": (-2, -4),
        "SOL": (-2, -3),
        "XRP": (-4, -1),
        "DOGE": (-5, 0),
    }
    kinds: ClassVar[tuple[str, ...]] = ("depth@100ms", "depth", "trade", "bookTicker")
    paths: ClassVar[Mapping[str, str]] = {
        **{"ping": requests.PING_PATH, "time": requests.TIME_PATH},
        **{"list": requests.EXCHANGE_INFO_PATH, "depth": requests.DEPTH_PATH},
    }

    def __init__(self, floor: Floor) -> None:
        self._floor = floor
        self._symbols = {symbol.lower(): symbol for symbol in floor.listings}

    # WebSocket.

    def opened(self, client: Client, now_ns: int) -> list[Message]:  # noqa: ARG002 - it says nothing
        """Say nothing first."""
        return []

    def due(self, client: Client, now_ns: int) -> list[Message]:  # noqa: ARG002 - it says nothing
        """Say nothing by itself."""
        return []

    def received(self, client: Client, message: Message, now_ns: int) -> list[Message]:  # noqa: ARG002 - no answer has a time
        """Answer what docs name; an answer has its request's id and no channel."""
        try:
            request = msgspec.json.decode(message.data, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError):
            return [self._no(None, "Invalid JSON")]
        number, params = request.get("id"), request.get("params", [])
        if not isinstance(params, list):
            return [self._no(number, "params: expected a list")]
        method, names = request.get("method"), [str(one) for one in params]
        acts: dict[object, Callable[[], Message]] = {
            "SUBSCRIBE": lambda: self._subscribe(client, number, names),
            "UNSUBSCRIBE": lambda: self._unsubscribe(client, number, names),
            "LIST_SUBSCRIPTIONS": lambda: text(result=sorted(client.channels), id=number),
            "GET_PROPERTY": lambda: text(result=True, id=number),
        }
        is_known = isinstance(method, str) and method in acts
        return [acts[method]() if is_known else self._no(number, f"unknown variant {method!r}")]

    def _no(self, number: object, why: str) -> Message:
        error = {"code": INVALID_REQUEST, "msg": f"Invalid request: {why}"}
        return text(error=error, id=number)

    def _symbol(self, name: str) -> str:
        return self._symbols.get(name.partition("@")[0], "")

    def _subscribe(self, client: Client, number: object, names: list[str]) -> Message:
        """Take all or nothing. A stream of no instrument is taken too, and stays silent."""
        floor = self._floor
        if any(name.partition("@")[2] not in self.kinds for name in names):
            return self._no(number, "unknown stream")
        if any(self._symbol(name) in floor.refused for name in names):
            floor.counters.refused += len(names)
            return self._no(number, "stream is not available")
        if len(client.channels | set(names)) > requests.STREAMS_PER_CONNECTION_MAX:
            return self._no(number, "too many streams")
        for name in names:
            if self._symbol(name):
                floor.subscribe(client, self._symbol(name), name)
        return text(result=None, id=number)

    def _unsubscribe(self, client: Client, number: object, names: list[str]) -> Message:
        for name in dict.fromkeys(names):
            if name in client.channels:
                self._floor.unsubscribe(client, self._symbol(name), name)
        return text(result=None, id=number)

    def pushes(self, symbol: str, delta: Delta, now_ns: int) -> list[tuple[str, Message]]:
        """Write what each stream says of a change; both speeds of depth say it at once."""
        listing = self._floor.listings[symbol]
        time_ms = now_ns // NS_PER_MS
        writers: dict[str, Callable[[], dict[str, object]]] = {
            "trade": lambda: self.trade(listing.book, delta, time_ms),
            "bookTicker": lambda: self.ticker(listing.book, delta, time_ms),
        }
        pushed = []
        for channel in listing.subscribers:
            write = writers.get(channel.partition("@")[2])
            data = write() if write else self.depth_update(listing.book, delta, time_ms)
            pushed.append((channel, text(stream=channel, data=data)))
        return pushed

    # How numbers, changes, best prices and trades are written.

    def written(self, mantissa: int, exponent: int) -> str:
        """Write a number with eight digits behind the point."""
        whole, _, fraction = format_fixed(mantissa, exponent).partition(".")
        return f"{whole}.{fraction:0<8}"

    def price(self, book: Book, mantissa: int) -> str:
        """Write a price."""
        return self.written(mantissa, book.instrument.price_exponent)

    def quantity(self, book: Book, mantissa: int) -> str:
        """Write a quantity."""
        return self.written(mantissa, book.instrument.quantity_exponent)

    def levels(self, book: Book, changes: Iterable[tuple[int, int]]) -> list[list[str]]:
        """Write prices and quantities."""
        return [[self.price(book, price), self.quantity(book, size)] for price, size in changes]

    def depth_update(self, book: Book, delta: Delta, time_ms: int) -> dict[str, object]:
        """Write a change."""
        return {
            **{"e": "depthUpdate", "E": time_ms, "s": book.instrument.symbol},
            **{"U": delta.first_version, "u": delta.last_version},
            **{"b": self.levels(book, delta.bids), "a": self.levels(book, delta.asks)},
        }

    def ticker(self, book: Book, delta: Delta, time_ms: int) -> dict[str, object]:  # noqa: ARG002 - spot's has no time
        """Write the best prices."""
        bid, ask = book.bids.best(), book.asks.best()
        return {
            **{"u": delta.last_version, "s": book.instrument.symbol},
            **{"b": self.price(book, bid), "B": self.quantity(book, book.bids.quantities[bid])},
            **{"a": self.price(book, ask), "A": self.quantity(book, book.asks.quantities[ask])},
        }

    def trade(self, book: Book, delta: Delta, time_ms: int) -> dict[str, object]:
        """Write a trade at the touch."""
        sold = delta.last_version % 2 == 0
        price = book.bids.best() if sold else book.asks.best()
        return {
            **{"e": "trade", "E": time_ms, "s": book.instrument.symbol, "t": delta.last_version},
            **{
                "p": self.price(book, price),
                "q": self.quantity(book, 1 + delta.last_version % 1000),
            },
            **{"T": time_ms, "m": sold, "M": True},
        }

    def garbage(self, symbol: str, channel: str) -> Message:  # noqa: ARG002 - the channel says it
        """Write a level without its quantity: sound JSON, and nothing that can be applied."""
        head = f'{{"stream":"{channel}","data":{{"e":"depthUpdate","E":1,"s":"X","U":1,"u":2,'
        return Message((head + '"b":[["1.0"]],"a":[]}}').encode(), is_text=True)

    # REST.

    def http(self, request: HttpRequest, now_ns: int) -> HttpResponse | None:
        """Answer ping, time, exchangeInfo and depth."""
        path, _, query_text = request.target.partition("?")
        query = dict(parse_qsl(query_text))
        time_ms = now_ns // NS_PER_MS
        routes: dict[str, Callable[[], HttpResponse]] = {
            self.paths["ping"]: lambda: json_response(200, {}),
            self.paths["time"]: lambda: json_response(200, {"serverTime": time_ms}),
            self.paths["list"]: lambda: self._exchange_info(time_ms),
            self.paths["depth"]: lambda: self.depth(query, time_ms),
        }
        return routes[path]() if path in routes else None

    def _exchange_info(self, time_ms: int) -> HttpResponse:
        rows = [self.row(symbol, listing.book) for symbol, listing in self._floor.listed()]
        return json_response(200, {"timezone": "UTC", "serverTime": time_ms, "symbols": rows})

    def row(self, symbol: str, book: Book) -> dict[str, object]:
        """Write an instrument's row of exchangeInfo."""
        name = book.name
        lot = {"minQty": self.quantity(book, 1), "stepSize": self.quantity(book, 1)}
        return {
            "symbol": symbol,
            "status": "HALT" if symbol in self._floor.halted else "TRADING",
            **{"baseAsset": name.base, "baseAssetPrecision": 8},
            **{"quoteAsset": name.quote, "quotePrecision": 8, "quoteAssetPrecision": 8},
            "isSpotTradingAllowed": True,
            "filters": [
                {"filterType": "PRICE_FILTER", "tickSize": self.price(book, 1)},
                {"filterType": "LOT_SIZE", "maxQty": "9000.00000000", **lot},
                {"filterType": "NOTIONAL", "minNotional": "5.00000000"},
            ],
            "permissionSets": [],
        }

    def depth(self, query: Mapping[str, str], time_ms: int) -> HttpResponse:  # noqa: ARG002 - spot's has no time
        """Answer depth."""
        listing = self._floor.listings.get(query.get("symbol", ""))
        limit = query.get("limit", "100")
        if listing is None:
            return json_response(400, {"code": -1121, "msg": "Invalid symbol."})
        if not limit.isdigit() or int(limit) < 1:
            return json_response(400, {"code": -1100, "msg": "Illegal characters found in limit"})
        book, count = listing.book, min(int(limit), self.levels_max)
        return json_response(
            200,
            {
                "lastUpdateId": book.version,
                "bids": self.levels(book, book.bids.levels(count)),
                "asks": self.levels(book, book.asks.levels(count)),
            },
        )


DIALECT: Final = BinanceDialect
