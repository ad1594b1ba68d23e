"""Binance spot, from its side of the wire: subscriptions by id, combined streams, REST.

Answers are worded as the venue words them (proto/venues/binance/README.md). Trades are made up: one
a change of a book, at the touch. Called by: ../exchange.py.
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
    from collections.abc import Callable, Iterable

    from tickpath.engine.sim.dialect import Client, Floor, HttpRequest
    from tickpath.engine.sim.market import Book, Delta

NS_PER_MS: Final = 1_000_000
INVALID_REQUEST: Final = 2
_KINDS: Final = ("depth@100ms", "depth", "trade", "bookTicker")


def text(**fields: object) -> Message:
    """Write one JSON object."""
    return Message(msgspec.json.encode(fields), is_text=True)


def levels(book: Book, changes: Iterable[tuple[int, int]]) -> list[list[str]]:
    """Write prices and quantities with eight digits, as the venue does."""
    return [[_price(book, price), _quantity(book, size)] for price, size in changes]


def _padded(mantissa: int, exponent: int) -> str:
    whole, _, fraction = format_fixed(mantissa, exponent).partition(".")
    return f"{whole}.{fraction:0<8}"


def _price(book: Book, mantissa: int) -> str:
    return _padded(mantissa, book.instrument.price_exponent)


def _quantity(book: Book, mantissa: int) -> str:
    return _padded(mantissa, book.instrument.quantity_exponent)


class BinanceDialect(Dialect):
    """Binance spot."""

    venue = VENUE
    websocket_paths = frozenset({requests.WEBSOCKET_PATH})
    levels_max = requests.BASE_LEVELS_MAX
    exponents: ClassVar = {
        "BTC": (-2, -5),
        "ETH": (-2, -4),
        "SOL": (-2, -3),
        "XRP": (-4, -1),
        "DOGE": (-5, 0),
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
        if any(name.partition("@")[2] not in _KINDS for name in names):
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
            "trade": lambda: self._trade(listing.book, delta, time_ms),
            "bookTicker": lambda: self._ticker(listing.book, delta),
        }
        pushed = []
        for channel in listing.subscribers:
            write = writers.get(channel.partition("@")[2])
            data = write() if write else self._depth_update(listing.book, delta, time_ms)
            pushed.append((channel, text(stream=channel, data=data)))
        return pushed

    def _depth_update(self, book: Book, delta: Delta, time_ms: int) -> dict[str, object]:
        return {
            **{"e": "depthUpdate", "E": time_ms, "s": book.instrument.symbol},
            **{"U": delta.first_version, "u": delta.last_version},
            **{"b": levels(book, delta.bids), "a": levels(book, delta.asks)},
        }

    def _ticker(self, book: Book, delta: Delta) -> dict[str, object]:
        bid, ask = book.bids.best(), book.asks.best()
        return {
            **{"u": delta.last_version, "s": book.instrument.symbol},
            **{"b": _price(book, bid), "B": _quantity(book, book.bids.quantities[bid])},
            **{"a": _price(book, ask), "A": _quantity(book, book.asks.quantities[ask])},
        }

    def _trade(self, book: Book, delta: Delta, time_ms: int) -> dict[str, object]:
        sold = delta.last_version % 2 == 0
        price = book.bids.best() if sold else book.asks.best()
        return {
            **{"e": "trade", "E": time_ms, "s": book.instrument.symbol, "t": delta.last_version},
            **{"p": _price(book, price), "q": _quantity(book, 1 + delta.last_version % 1000)},
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
            requests.PING_PATH: lambda: json_response(200, {}),
            requests.TIME_PATH: lambda: json_response(200, {"serverTime": time_ms}),
            requests.EXCHANGE_INFO_PATH: lambda: self._exchange_info(time_ms),
            requests.DEPTH_PATH: lambda: self._depth(query),
        }
        return routes[path]() if path in routes else None

    def _exchange_info(self, time_ms: int) -> HttpResponse:
        rows = []
        for symbol, listing in self._floor.listed():
            book, name = listing.book, listing.book.name
            lot = {"minQty": _quantity(book, 1), "stepSize": _quantity(book, 1)}
            rows.append(
                {
                    "symbol": symbol,
                    "status": "HALT" if symbol in self._floor.halted else "TRADING",
                    **{"baseAsset": name.base, "baseAssetPrecision": 8},
                    **{"quoteAsset": name.quote, "quotePrecision": 8, "quoteAssetPrecision": 8},
                    "isSpotTradingAllowed": True,
                    "filters": [
                        {"filterType": "PRICE_FILTER", "tickSize": _price(book, 1)},
                        {"filterType": "LOT_SIZE", "maxQty": "9000.00000000", **lot},
                        {"filterType": "NOTIONAL", "minNotional": "5.00000000"},
                    ],
                    "permissionSets": [],
                }
            )
        return json_response(200, {"timezone": "UTC", "serverTime": time_ms, "symbols": rows})

    def _depth(self, query: dict[str, str]) -> HttpResponse:
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
                "bids": levels(book, book.bids.levels(count)),
                "asks": levels(book, book.asks.levels(count)),
            },
        )


DIALECT: Final = BinanceDialect
