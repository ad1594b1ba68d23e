"""Bybit v5's public data from its side of the wire: bases in-band, one more a message.

Each market has a path and a list of its own; this file speaks for all of them and is spot's. It
keeps of each book what each depth has, tells what enters, changes and leaves, and sends a change
of what is deeper as a message without levels, so that the books' own numbers are those of every
depth. A book of one level comes whole, when it changes and three seconds after. Answers are worded
as the venue words them (proto/venues/bybit/README.md). Called by: ../exchange.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import parse_qsl

import msgspec
from tickpath.engine.sim.depth_view import View, changes, scale_of, view_of
from tickpath.engine.sim.dialect import Dialect, HttpResponse, Message, json_response
from tickpath.proto.records import format_fixed
from tickpath.proto.venues.bybit import requests
from tickpath.proto.venues.bybit.venue import VENUE

if TYPE_CHECKING:
    from tickpath.engine.sim.depth_view import Levels, Scale
    from tickpath.engine.sim.dialect import Client, Floor, HttpRequest
    from tickpath.engine.sim.market import Book, Delta
    from tickpath.proto.venues.bybit.market import BybitMarket

NS_PER_MS: Final = 1_000_000
AGAIN_NS: Final = 3_000 * NS_PER_MS
"""After so long without a change a book of one level is sent again, with the same number."""
CONNECTION_ID: Final = "d9avt8sb86tr31f6ej90-d0qm8"
SEQUENCE_STEP: Final = 7
"""The venue's `seq` grows, and is not one more each time."""
LIST_PAGE: Final = 100
"""Rows a page of a list that comes in pages; the venue's are up to 1,000."""
BAD_REQUEST: Final = 10001
DEPTHS: Final = {f"orderbook.{depth}": depth for depth in requests.DEPTHS}
BEST, TRADES = "orderbook.1", "publicTrade"


def text(value: object) -> Message:
    """Write one JSON object."""
    return Message(msgspec.json.encode(value), is_text=True)


def split(name: str) -> tuple[str, str]:
    """Return a topic's kind and symbol."""
    kind, _, symbol = name.rpartition(".")
    return kind, symbol


def rows(levels: Levels, scale: Scale) -> list[list[str]]:
    """Write levels as pairs of texts; one that is gone has the quantity 0."""
    price_exponent, quantity_exponent = scale
    return [
        [
            format_fixed(price, price_exponent),
            format_fixed(quantity, quantity_exponent) if quantity else "0",
        ]
        for price, quantity in levels
    ]


class BybitDialect(Dialect):
    """Bybit spot."""

    venue: ClassVar[BybitMarket] = VENUE
    websocket_paths = frozenset({requests.websocket_path(requests.SPOT)})
    levels_max = max(requests.DEPTHS)
    arguments_max: ClassVar[int | None] = requests.CHANNELS_PER_MESSAGE
    type_is_first: ClassVar[bool] = False
    """Whether `type` stands in front of `ts` in books of more than one level."""

    def __init__(self, floor: Floor) -> None:
        self._floor = floor
        self._views: dict[str, View] = {}
        """Of each topic of a book that somebody listens to: what was last told of it."""
        self._tops: dict[str, tuple[Message, int]] = {}
        """Of each symbol: the last message of its book of one level, and when it was sent."""
        self._updates: dict[str, int] = {}
        """Of each symbol: the number of its book of one level."""
        self._sequence = 47_474_967_756
        for listing in floor.listings.values():
            listing.book.counts_messages = True

    # WebSocket.

    def opened(self, client: Client, now_ns: int) -> list[Message]:  # noqa: ARG002 - it says nothing
        """Say nothing first."""
        return []

    def due(self, client: Client, now_ns: int) -> list[Message]:
        """Send books of one level again that did not change for three seconds."""
        symbols = {split(one)[1] for one in client.channels if split(one)[0] == BEST}
        told = {
            one: self._tops[one] for one in sorted(symbols - self._floor.deaf) if one in self._tops
        }
        again = [
            message
            for message, sent_ns in told.values()
            if now_ns - max(sent_ns, client.spoke_ns) >= AGAIN_NS
        ]
        if again:
            client.spoke_ns = now_ns
        return again

    def received(self, client: Client, message: Message, now_ns: int) -> list[Message]:
        """Answer what the venue's documents name; an answer has its request's id and no topic."""
        try:
            said = msgspec.json.decode(message.data, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError):
            said = {}
        op, names = said.get("op"), said.get("args", [])
        if op == "ping":
            return [self._answer(said, "pong")]
        topics = [str(one) for one in names] if isinstance(names, list) else []
        if op == "subscribe":
            return self._subscribe(client, said, topics, now_ns)
        if op == "unsubscribe":
            for name in dict.fromkeys(topics):
                if name in client.channels:
                    self._floor.unsubscribe(client, split(name)[1], name)
            return [self._answer(said, "")]
        return [self._refuse(said, "error:unknown op", 0)]

    def _answer(self, said: dict[str, Any], words: str, *, success: bool = True) -> Message:
        more = {"req_id": said["req_id"]} if isinstance(said.get("req_id"), str) else {}
        fields = {"success": success, "ret_msg": words, "conn_id": CONNECTION_ID, **more}
        return text({**fields, "op": str(said.get("op", ""))})

    def _refuse(self, said: dict[str, Any], words: str, count: int) -> Message:
        self._floor.counters.refused += count
        return self._answer(said, words, success=False)

    def _fault(self, client: Client, topics: list[str]) -> str:
        """Return why a request is refused; one bad topic is enough."""
        floor = self._floor
        if not topics or (self.arguments_max is not None and len(topics) > self.arguments_max):
            return f"args size >{self.arguments_max}" if topics else "args size 0"
        if sum(map(len, {*client.channels, *topics})) > requests.ARGUMENTS_SIZE_MAX:
            return "error:args too long"
        for name in topics:
            kind, symbol = split(name)
            if kind not in DEPTHS and kind not in (BEST, TRADES):
                return f"error:handler not found,topic:{name}"
            if symbol not in floor.listings or symbol in floor.refused:
                return f"Invalid symbol :[{name}]"
            if name in client.channels:
                return f"error:already subscribed,topic:{name}"
        return ""

    def _subscribe(
        self, client: Client, said: dict[str, Any], topics: list[str], now_ns: int
    ) -> list[Message]:
        """Take all or nothing; behind the acknowledgement comes each book, whole."""
        why = self._fault(client, topics)
        if why:
            return [self._refuse(said, why, len(topics))]
        answers, deaf = [self._answer(said, "subscribe")], self._floor.deaf
        for name in dict.fromkeys(topics):
            kind, symbol = split(name)
            listing = self._floor.listings[symbol]
            is_first = name not in listing.subscribers
            self._floor.subscribe(client, symbol, name)
            if kind in DEPTHS:
                view = view_of(listing.book, DEPTHS[kind])
                self._views[name] = view
                shown = self._book(name, "snapshot", view, listing.book.version, now_ns)
            elif kind == BEST:
                shown = self._top(symbol, now_ns) if is_first else self._tops[symbol][0]
            else:
                continue
            answers += [shown] if symbol not in deaf else []
        return answers

    # What it pushes.

    def _frame(self, name: str, type_: str, data: object, now_ns: int) -> dict[str, object]:
        """Write what stands in front of the data, in the order of this kind of topic."""
        what, when = {"type": type_}, {"ts": now_ns // NS_PER_MS}
        type_first = self.type_is_first and split(name)[0] != BEST
        order = what | when if type_first else when | what
        return {"topic": name, **order, "data": data}

    def _book(self, name: str, type_: str, shown: View, number: int, now_ns: int) -> Message:
        self._sequence += SEQUENCE_STEP
        data = {
            "s": split(name)[1],
            "b": rows(shown.bids, shown.scale),
            "a": rows(shown.asks, shown.scale),
            "u": number,
            "seq": self._sequence,
        }
        matched_ms = now_ns // NS_PER_MS - 2
        return text({**self._frame(name, type_, data, now_ns), "cts": matched_ms})

    def _top(self, symbol: str, now_ns: int) -> Message:
        name = f"{BEST}.{symbol}"
        view = view_of(self._floor.listings[symbol].book, 1)
        self._updates[symbol] = self._updates.get(symbol, 25_314) + 1
        self._views[name] = view
        message = self._book(name, "snapshot", view, self._updates[symbol], now_ns)
        self._tops[symbol] = message, now_ns
        return message

    def pushes(self, symbol: str, delta: Delta, now_ns: int) -> list[tuple[str, Message]]:
        """Write what each topic says of a change."""
        listing = self._floor.listings[symbol]
        pushed: list[tuple[str, Message]] = []
        for name in listing.subscribers:
            kind, _ = split(name)
            if kind == TRADES:
                pushed.append((name, self._trade(name, listing.book, delta, now_ns)))
                continue
            before = self._views[name].in_scale(scale_of(listing.book))
            after = view_of(listing.book, DEPTHS.get(kind, 1))
            if kind == BEST:
                if after != before:
                    pushed.append((name, self._top(symbol, now_ns)))
                continue
            self._views[name] = after
            # The service began anew: what is numbered 1 is the whole book.
            type_, shown = (
                ("snapshot", after)
                if delta.last_version == 1
                else (
                    "delta",
                    View(
                        changes(before.bids, after.bids),
                        changes(before.asks, after.asks),
                        after.scale,
                    ),
                )
            )
            pushed.append((name, self._book(name, type_, shown, delta.last_version, now_ns)))
        return pushed

    def base(self, symbol: str, channel: str, now_ns: int) -> Message | None:
        """Write a book as it was told last."""
        view = self._views.get(channel)
        if view is None or split(channel)[0] not in DEPTHS:
            return None
        book = self._floor.listings[symbol].book
        return self._book(channel, "snapshot", view, book.version, now_ns)

    def _trade(self, name: str, book: Book, delta: Delta, now_ns: int) -> Message:
        sold = delta.last_version % 2 == 0
        self._sequence += SEQUENCE_STEP
        price = book.bids.best() if sold else book.asks.best()
        ((price_text, quantity_text),) = rows(
            [(price, 1 + delta.last_version % 1000)], scale_of(book)
        )
        trade = {
            **{"T": now_ns // NS_PER_MS, "s": split(name)[1], "S": "Sell" if sold else "Buy"},
            **{"v": quantity_text, "p": price_text, "i": self.trade_id(delta.last_version)},
            **{"BT": False, "RPI": False, "seq": self._sequence},
        }
        return text(self._frame(name, "snapshot", [trade], now_ns))

    def trade_id(self, number: int) -> str:
        """Write a trade's id: digits, on spot."""
        return str(number)

    def garbage(self, symbol: str, channel: str) -> Message:
        """Write a level without its quantity: sound JSON, and nothing that can be applied."""
        data = {"s": symbol, "b": [["1.0"]], "a": [], "u": 2, "seq": 1}
        return text({"topic": channel, "ts": 1, "type": "delta", "data": data})

    # REST.

    def http(self, request: HttpRequest, now_ns: int) -> HttpResponse | None:
        """Answer time and instruments-info."""
        path, _, query_text = request.target.partition("?")
        query = dict(parse_qsl(query_text))
        if path == requests.TIME_PATH:
            seconds = str(now_ns // (1_000 * NS_PER_MS))
            return self._result({"timeSecond": seconds, "timeNano": str(now_ns)}, now_ns)
        if path != requests.INSTRUMENTS_PATH:
            return None
        category = self.venue.category
        if query.get("category") != category:
            said = {"retCode": BAD_REQUEST, "retMsg": "params error: category invalid"}
            return json_response(200, {**said, "result": {}, "retExtInfo": {}})
        listed = [symbol for symbol, _ in self._floor.listed()]
        page: dict[str, object] = {"category": category}
        if category != requests.SPOT:
            first = listed.index(query["cursor"]) if query.get("cursor") in listed else 0
            rest = listed[first + LIST_PAGE :]
            listed = listed[first : first + LIST_PAGE]
            page["nextPageCursor"] = rest[0] if rest else ""
        page["list"] = [self._row(symbol) for symbol in listed]
        return self._result(page, now_ns)

    def _result(self, result: object, now_ns: int) -> HttpResponse:
        said = {"retCode": 0, "retMsg": "OK", "result": result, "retExtInfo": {}}
        return json_response(200, {**said, "time": now_ns // NS_PER_MS})

    def _row(self, symbol: str) -> dict[str, object]:
        listing = self._floor.listings[symbol]
        name, (price, quantity) = listing.book.name, scale_of(listing.book)
        status = "Trading" if symbol not in self._floor.halted else self.halted_status
        return {
            **{"symbol": symbol, "baseCoin": name.base, "quoteCoin": name.quote},
            "status": status,
            "lotSizeFilter": self.lot(format_fixed(1, quantity)),
            "priceFilter": {"tickSize": format_fixed(1, price)},
            **self.contract(name.settle),
        }

    halted_status: ClassVar[str] = "PreLaunch"

    def lot(self, least: str) -> dict[str, str]:
        """Write an instrument's lotSizeFilter."""
        return {
            **{"basePrecision": least, "quotePrecision": "0.0000001", "minOrderQty": least},
            **{"maxOrderQty": "83", "minOrderAmt": "5", "maxOrderAmt": "8000000"},
        }

    def contract(self, settle: str) -> dict[str, object]:  # noqa: ARG002 - of derivatives alone
        """Write what else an instrument's row has."""
        return {"innovation": "0", "marginTrading": "utaOnly", "symbolType": ""}


DIALECT: Final = BybitDialect
