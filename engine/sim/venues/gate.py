"""Gate v4's public data from its side of the wire: ranges of numbers, bases in-band or by REST.

Each market has a path and a list of its own; this file speaks for both and is spot's. It keeps of
each book what each depth has and tells what enters, changes and leaves; where nothing of that did,
a message has numbers alone. A subscription's book may come before its acknowledgement, and one of
obu that nobody lists is acknowledged and stays silent. Trades are made up: one a change of a book,
at the touch. Answers are worded as the venue words them (proto/venues/gate/README.md).
Called by: ../exchange.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import parse_qsl

import msgspec
from tickpath.engine.sim.depth_view import View, changes, decimal, scale_of, view_of
from tickpath.engine.sim.dialect import Dialect, HttpResponse, Message, json_response
from tickpath.proto.venues.gate import listing, requests
from tickpath.proto.venues.gate.venue import VENUE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tickpath.engine.sim.dialect import Client, Floor, HttpRequest
    from tickpath.engine.sim.market import Book, Delta
    from tickpath.proto.venues.gate.market import GateMarket
    from tickpath.proto.venues.gate.requests import Channel

NS_PER_S: Final = 1_000_000_000
NS_PER_MS: Final = 1_000_000
CONNECTION_ID, TRACE_ID = "c59a69fd3702aa1d", "5597c780565cf57ad16784743225b18b"
BAD_ARGUMENT: Final = 2
TIME_GAP_MAX_S: Final = 60
BOOK_LEVELS_MAX: Final = 1000
TIME_PATH: Final = "/api/v4/spot/time"

Levels = list[tuple[int, int]]


def text(**fields: object) -> Message:
    """Write one JSON object."""
    return Message(msgspec.json.encode(fields), is_text=True)


class GateDialect(Dialect):
    """Gate spot."""

    venue: ClassVar[GateMarket] = VENUE
    websocket_paths = frozenset({requests.SPOT_PATH})
    levels_max = BOOK_LEVELS_MAX
    list_path: ClassVar[str] = listing.PAIRS_PATH
    book_path: ClassVar[str] = listing.PAIR_BOOK_PATH
    book_key: ClassVar[str] = "currency_pair"
    """What a query names an instrument with."""

    def __init__(self, floor: Floor) -> None:
        self._floor = floor
        self._views: dict[str, View] = {}
        """Of each channel of a book or of best prices: what was last told of it."""

    # WebSocket.

    def opened(self, client: Client, now_ns: int) -> list[Message]:  # noqa: ARG002 - it says nothing
        """Say nothing first."""
        return []

    def due(self, client: Client, now_ns: int) -> list[Message]:  # noqa: ARG002 - it says nothing
        """Say nothing by itself."""
        return []

    def received(self, client: Client, message: Message, now_ns: int) -> list[Message]:
        """Answer ping, subscribe and unsubscribe; an answer repeats what was asked."""
        try:
            said = msgspec.json.decode(message.data, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError):
            said = {}
        channel, event, payload = (said.get(key) for key in ("channel", "event", "payload"))
        if channel == f"{self.venue.market}.ping":
            head = self._head(f"{self.venue.market}.pong", "", now_ns)
            # The documents have "error" in spot's alone.
            error = {"error": None} if self.venue.market == "spot" else {}
            return [text(**head, **error, result=None)]
        time_s = said.get("time")
        if not isinstance(time_s, int) or abs(time_s - now_ns // NS_PER_S) > TIME_GAP_MAX_S:
            return [self._no(said, "request time is out of range", now_ns)]
        if not isinstance(payload, list) or not payload:
            return [self._no(said, "invalid payload", now_ns)]
        if event == "subscribe":
            return self._subscribe(client, said, now_ns)
        if event == "unsubscribe":
            for name in requests.channels_of(str(channel), payload):
                if name in client.channels:
                    self._floor.unsubscribe(client, requests.split(name).symbol, name)
            return [self._yes(said, now_ns)]
        return [self._no(said, "unknown event", now_ns)]

    def _head(self, channel: str, event: str, now_ns: int) -> dict[str, object]:
        time_ms = now_ns // NS_PER_MS
        return {"time": time_ms // 1000, "time_ms": time_ms, "channel": channel, "event": event}

    def _answer(self, said: dict[str, Any], now_ns: int, status: str, **more: object) -> Message:
        head = self._head(str(said.get("channel", "")), str(said.get("event", "")), now_ns)
        id_ = {"id": said["id"]} if isinstance(said.get("id"), int) else {}
        ids = {"conn_id": CONNECTION_ID, "trace_id": TRACE_ID}
        payload = {"payload": said.get("payload")}
        return text(**head, **id_, **ids, **payload, **more, result={"status": status})

    def _yes(self, said: dict[str, Any], now_ns: int) -> Message:
        return self._answer(said, now_ns, "success")

    def _no(self, said: dict[str, Any], words: str, now_ns: int) -> Message:
        self._floor.counters.refused += 1
        error = {"code": BAD_ARGUMENT, "message": words}
        return self._answer(said, now_ns, "fail", error=error)

    def _fault(self, client: Client, names: Sequence[str], wire: str) -> str:
        """Return why a request is refused; one bad name is enough."""
        is_obu = wire.endswith(requests.OBU)
        if not names and not is_obu:
            return f"unknown channel {wire}"
        for name in names:
            one = requests.split(name)
            if one.market != self.venue.market:
                return f"unknown channel {wire}"
            if one.symbol in self._floor.refused:
                return f"unknown currency pair {one.symbol}"
            if one.symbol not in self._floor.listings and not is_obu:
                return f"unknown currency pair {one.symbol}"
            if is_obu and name in client.channels:
                return f"Alert sub ob.{one.symbol}.{one.depth}"
        return ""

    def _subscribe(self, client: Client, said: dict[str, Any], now_ns: int) -> list[Message]:
        """Take all or nothing."""
        wire = str(said.get("channel"))
        names = requests.channels_of(wire, said["payload"])
        why = self._fault(client, names, wire)
        if why:
            return [self._no(said, why, now_ns)]
        books: list[Message] = []
        for name in dict.fromkeys(names):
            one = requests.split(name)
            if one.symbol not in self._floor.listings:
                continue  # acknowledged all the same
            book = self._floor.listings[one.symbol].book
            self._floor.subscribe(client, one.symbol, name)
            if one.kind == requests.TRADES:
                continue
            self._views[name] = view_of(book, one.depth or 1)
            if one.kind == requests.OBU and one.symbol not in self._floor.deaf:
                books.append(self._whole(one, now_ns))
        yes = [self._yes(said, now_ns)]
        number = said.get("id")
        return books + yes if isinstance(number, int) and number % 2 else yes + books

    # What it pushes.

    def _push(self, wire: str, result: object, now_ns: int) -> Message:
        return text(**self._head(wire, "update", now_ns), result=result)

    def pairs(self, levels: Levels, scale: tuple[int, int]) -> list[Any]:
        """Write levels as pairs; one that is gone has the quantity 0."""
        return [[decimal(price, scale[0]), decimal(size, scale[1])] for price, size in levels]

    def levels(self, kind: str, levels: Levels, scale: tuple[int, int]) -> list[Any]:  # noqa: ARG002 - of contracts by their channel
        """Write levels of a channel."""
        return self.pairs(levels, scale)

    def _whole(self, one: Channel, now_ns: int) -> Message:
        """Write all that a channel of a book shows."""
        book, view = self._floor.listings[one.symbol].book, self._views[str(one)]
        view = self._views[str(one)] = view.in_scale(scale_of(book))
        sides = {
            key: self.levels(one.kind, side, view.scale)
            for key, side in (("b", view.bids), ("a", view.asks))
        }
        head = {"t": now_ns // NS_PER_MS, "full": True, "s": self._name(one)}
        return self._push(one.wire, {**head, "u": book.version, **sides}, now_ns)

    @staticmethod
    def _name(one: Channel) -> str:
        return f"ob.{one.symbol}.{one.depth}" if one.kind == requests.OBU else one.symbol

    def pushes(self, symbol: str, delta: Delta, now_ns: int) -> list[tuple[str, Message]]:
        """Write what each channel says of a change."""
        listing_ = self._floor.listings[symbol]
        writers: dict[str, Callable[[Channel, Book, Delta, int], Message | None]] = {
            requests.TRADES: self._trade,
            requests.TICKER: self._ticker,
        }
        pushed: list[tuple[str, Message]] = []
        for name in listing_.subscribers:
            one = requests.split(name)
            write = writers.get(one.kind, self._change)
            message = write(one, listing_.book, delta, now_ns)
            if message is not None:
                pushed.append((name, message))
        return pushed

    def _change(self, one: Channel, book: Book, delta: Delta, now_ns: int) -> Message:
        """Write what changed of what a channel shows, in no order; often nothing did."""
        before = self._views[str(one)].in_scale(scale_of(book))
        after = self._views[str(one)] = view_of(book, one.depth)
        sides = {"b": changes(before.bids, after.bids), "a": changes(before.asks, after.asks)}
        written = {
            key: self.levels(one.kind, side[::-1], after.scale)
            for key, side in sides.items()
            if side or one.kind == requests.UPDATE
        }
        numbers = {"U": delta.first_version, "u": delta.last_version}
        return self._push(one.wire, self.book_fields(one, numbers, written, now_ns), now_ns)

    def book_fields(
        self, one: Channel, numbers: dict[str, int], sides: dict[str, Any], now_ns: int
    ) -> dict[str, object]:
        """Write a change of a book, in the order of its channel."""
        time_ms = now_ns // NS_PER_MS
        if one.kind == requests.OBU:
            return {"t": time_ms, "s": self._name(one), **numbers, **sides}
        event = {"l": str(one.depth), "e": "depthUpdate", "E": time_ms // 1000}
        return {"t": time_ms, **event, "s": one.symbol, **numbers, **sides}

    def _ticker(self, one: Channel, book: Book, delta: Delta, now_ns: int) -> Message | None:
        before, after = self._views[str(one)], view_of(book, 1)
        if before == after:
            return None
        self._views[str(one)] = after
        ((bid, bid_size),), ((ask, ask_size),) = (
            self.pairs(side, after.scale) for side in (after.bids, after.asks)
        )
        best = {"b": bid, "B": bid_size, "a": ask, "A": ask_size}
        head = {"t": now_ns // NS_PER_MS, "u": delta.last_version, "s": one.symbol}
        return self._push(one.wire, head | best, now_ns)

    def _trade(self, one: Channel, book: Book, delta: Delta, now_ns: int) -> Message:
        sold = delta.last_version % 2 == 0
        price = book.bids.best() if sold else book.asks.best()
        ((price_text, size_text),) = self.pairs(
            [(price, 1 + delta.last_version % 1000)], scale_of(book)
        )
        trade = self.trade(one.symbol, (price_text, size_text), sold, delta.last_version, now_ns)
        return self._push(one.wire, trade, now_ns)

    def trade(
        self, symbol: str, what: tuple[str, str], sold: bool, number: int, now_ns: int
    ) -> object:
        """Write a trade: price and quantity, and who took."""
        price, size = what
        return {
            **{"id": number, "create_time": now_ns // NS_PER_S},
            "create_time_ms": f"{now_ns // NS_PER_MS}.{now_ns // 100 % 10_000:04}",
            **{"side": "sell" if sold else "buy", "currency_pair": symbol},
            **{"amount": size, "price": price, "range": f"{number}-{number}"},
        }

    def base(self, symbol: str, channel: str, now_ns: int) -> Message | None:
        """Write a book as it was told last."""
        one = requests.split(channel)
        if channel not in self._views or not one.depth or one.symbol != symbol:
            return None
        return self._whole(one, now_ns)

    def garbage(self, symbol: str, channel: str) -> Message:  # noqa: ARG002 - the channel names it
        """Write a level without its quantity: sound JSON, and nothing that can be applied."""
        one = requests.split(channel)
        result = {"t": 1795000000000, "s": self._name(one), "U": 1, "u": 2, "b": [["1.5"]]}
        return self._push(one.wire, result, 1_795_000_000 * NS_PER_S)

    # REST.

    def http(self, request: HttpRequest, now_ns: int) -> HttpResponse | None:
        """Answer time, the list, and a book."""
        path, _, query_text = request.target.partition("?")
        query = dict(parse_qsl(query_text))
        if path == TIME_PATH:
            return json_response(200, {"server_time": now_ns // NS_PER_MS})
        if path == self.list_path:
            listed = self._floor.listed()
            return json_response(200, [self.row(symbol, one.book) for symbol, one in listed])
        return self._book(request, query, now_ns) if path == self.book_path else None

    def _book(self, request: HttpRequest, query: dict[str, str], now_ns: int) -> HttpResponse:
        listing_ = self._floor.listings.get(query.get(self.book_key, ""))
        limit = query.get("limit", "10")
        if listing_ is None:
            words = {"label": "INVALID_CURRENCY_PAIR", "message": "Invalid currency pair"}
            return json_response(400, words)
        if not limit.isdigit() or not 1 <= int(limit) <= self.levels_max:
            return json_response(400, {"label": "INVALID_PARAM_VALUE", "message": "limit"})
        view = view_of(listing_.book, int(limit))
        sides = {"asks": view.asks, "bids": view.bids}
        written = {key: self.base_levels(one, view.scale, request) for key, one in sides.items()}
        numbered = {"id": listing_.book.version} if query.get("with_id") == "true" else {}
        return json_response(200, {**numbered, **self.base_times(now_ns), **written})

    def base_levels(
        self,
        levels: Levels,
        scale: tuple[int, int],
        request: HttpRequest,  # noqa: ARG002 - of contracts by its header
    ) -> list[Any]:
        """Write levels of a base."""
        return self.pairs(levels, scale)

    def base_times(self, now_ns: int) -> dict[str, object]:
        """Write when a base was made."""
        return {"current": now_ns // NS_PER_MS, "update": now_ns // NS_PER_MS}

    def row(self, symbol: str, book: Book) -> dict[str, object]:
        """Write a row of the list."""
        price, quantity = scale_of(book)
        is_halted = symbol in self._floor.halted
        return {
            **{"id": symbol, "base": book.name.base, "base_name": book.name.base},
            **{"quote": book.name.quote, "quote_name": book.name.quote, "fee": "0.2"},
            **{"min_base_amount": decimal(1, quantity), "min_quote_amount": "3"},
            **{"max_quote_amount": "5000000", "amount_precision": -quantity, "precision": -price},
            **{"trade_status": "untradable" if is_halted else "tradable", "type": "normal"},
            **{"sell_start": 0, "buy_start": 0, "delisting_time": 0, "st_tag": False},
        }


DIALECT: Final = GateDialect
