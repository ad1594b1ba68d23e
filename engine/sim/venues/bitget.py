"""Bitget from its side of the wire: bases in-band, each message names the number before it.

Each market has a list of its own, and its name in what is said; this file speaks for all of them,
on both WebSockets, and is spot's. It keeps of each book what each channel has and says of a change
what came, changed and left; where nothing of it did, it says nothing. Trades are made up: one a
change of a book, at the touch; a subscription to them begins with one of before. Answers are
worded as the venue words them (proto/venues/bitget/README.md). Called by: ../exchange.py.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import parse_qsl

import msgspec
from tickpath.engine.sim.depth_view import View, changes, decimal, scale_of, view_of
from tickpath.engine.sim.dialect import Dialect, HttpResponse, Message, json_response
from tickpath.proto.venues.bitget import listing, requests
from tickpath.proto.venues.bitget.venue import VENUE

if TYPE_CHECKING:
    from tickpath.engine.sim.depth_view import Levels, Scale
    from tickpath.engine.sim.dialect import Client, Floor, HttpRequest
    from tickpath.engine.sim.market import Book, Delta
    from tickpath.proto.venues.bitget.market import BitgetMarket

NS_PER_S: Final = 1_000_000_000
NS_PER_MS: Final = 1_000_000
HOUR_NS: Final = 3600 * NS_PER_S
UTA_ARGUMENTS_MAX: Final = 20
"""With more in one request the unified WebSocket ended the connection."""
UNREADABLE, NO_CHANNEL, TOO_MANY, BAD_PARAMETER = 30002, 30001, 30006, 30016
CONNECTION_ID: Final = "0ac601fffe2331d1-0000b8a2-02ec8f7d-12be2501ca6d557e-522cdcdf"
DEPTHS: Final = {name: depth for depth, name in requests.BOOKS.items()} | dict.fromkeys(
    requests.BEST, 1
)
OLD_TRADE_MS: Final = 5_000
"""How old the trade is that a subscription begins with."""


def text(fields: dict[str, object]) -> Message:
    """Write one JSON object."""
    return Message(msgspec.json.encode(fields), is_text=True)


def rows(levels: Levels, scale: Scale) -> list[list[str]]:
    """Write levels as pairs of texts."""
    return [[decimal(price, scale[0]), decimal(size, scale[1])] for price, size in levels]


@dataclass(frozen=True, slots=True)
class Told:
    """What a channel of a book was last told, under which number."""

    version: int
    view: View


class BitgetDialect(Dialect):
    """Bitget spot."""

    venue: ClassVar[BitgetMarket] = VENUE
    websocket_paths = frozenset({requests.CLASSIC_PATH, requests.UTA_PATH})
    levels_max = max(requests.BOOKS)

    def __init__(self, floor: Floor) -> None:
        self._floor = floor
        self._told: dict[str, Told] = {}
        """By channel, of books and best prices that somebody listens to."""
        self._asked: dict[Client, deque[int]] = {}
        """When each client asked within the last hour."""

    # WebSocket.

    def opened(self, client: Client, now_ns: int) -> list[Message]:  # noqa: ARG002 - it says nothing
        """Say nothing first."""
        self._asked = {
            one: times for one, times in self._asked.items() if times[-1] > now_ns - HOUR_NS
        }
        return []

    def due(self, client: Client, now_ns: int) -> list[Message]:  # noqa: ARG002 - nor by itself
        """Say nothing by itself."""
        return []

    def received(self, client: Client, message: Message, now_ns: int) -> list[Message]:
        """Answer ping, subscribe and unsubscribe."""
        if message.data == requests.PING:
            return [Message(requests.PONG, is_text=True)]
        try:
            said = msgspec.json.decode(message.data, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError):
            said = {}
        op, args = said.get("op"), said.get("args")
        is_long = len(message.data) > requests.MESSAGE_SIZE_MAX
        if op not in ("subscribe", "unsubscribe") or not isinstance(args, list) or is_long:
            words = message.data[:80].decode(errors="replace")
            return [self._error({}, UNREADABLE, f"Unrecognized request:{words}", "")]
        if not self._may_ask(client, now_ns):
            return [self._error({}, TOO_MANY, "Too many requests", op)]
        act = self._subscribe if op == "subscribe" else self._unsubscribe
        arguments = [one if isinstance(one, dict) else {} for one in args]
        if len(args) > UTA_ARGUMENTS_MAX and any("topic" in one for one in arguments):
            return []
        return [answer for one in arguments for answer in act(client, one, now_ns)]

    def _may_ask(self, client: Client, now_ns: int) -> bool:
        """Count a request against those of the last hour."""
        times = self._asked.setdefault(client, deque())
        while times and times[0] <= now_ns - HOUR_NS:
            times.popleft()
        times.append(now_ns)
        return len(times) <= requests.REQUESTS_PER_HOUR

    def _error(self, arg: dict[str, Any], code: int, words: str, op: str) -> Message:
        """Refuse; the unified WebSocket names what in words alone."""
        self._floor.counters.refused += 1
        if "topic" in arg:
            named = {"instType": arg.get("instType"), "symbol": arg.get("symbol")}
            names = msgspec.json.encode({**named, "topic": arg["topic"]}).decode()
            words = f"{names} doesn't exist" if code == NO_CHANNEL else words
            return text({"event": "error", "code": code, "msg": words, "connId": CONNECTION_ID})
        if arg and code == NO_CHANNEL:
            names = ",".join(f"{key}:{arg.get(key)}" for key in ("instType", "channel", "instId"))
            words = f"{names},precision:null doesn't exist"
        more = {"arg": arg} if arg else {}
        said: dict[str, object] = {"event": "error", **more, "code": code, "msg": words}
        return text(said | ({"op": op} if op else {}))

    def _yes(self, event: str, arg: dict[str, Any]) -> Message:
        more = {"connId": CONNECTION_ID} if "topic" in arg else {}
        return text({"event": event, "arg": arg, **more})

    def _named(self, arg: dict[str, Any]) -> tuple[str, str]:
        """Return our name of a kind and the symbol that an argument asks for."""
        if "topic" in arg:
            return f"{requests.UTA}{arg['topic']}", str(arg.get("symbol"))
        return str(arg.get("channel")), str(arg.get("instId"))

    def _is_of_market(self, arg: dict[str, Any], kind: str) -> bool:
        market = self.venue.market
        return bool(arg.get("instType") == (market.lower() if requests.is_uta(kind) else market))

    def _subscribe(self, client: Client, arg: dict[str, Any], now_ns: int) -> list[Message]:
        """Acknowledge, and show the book; a symbol of another market is acknowledged in vain."""
        floor, (kind, symbol) = self._floor, self._named(arg)
        if kind not in requests.CHANNELS:
            return [self._error(arg, BAD_PARAMETER, "Param error", "subscribe")]
        if symbol not in floor.listings or symbol in floor.refused:
            return [self._error(arg, NO_CHANNEL, "", "subscribe")]
        answers = [self._yes("subscribe", arg)]
        if not self._is_of_market(arg, kind):
            return answers
        channel, listing_ = f"{kind}:{symbol}", floor.listings[symbol]
        is_first = channel not in listing_.subscribers
        floor.subscribe(client, symbol, channel)
        if kind in DEPTHS and is_first:
            self._told[channel] = Told(listing_.book.version, view_of(listing_.book, DEPTHS[kind]))
        if symbol in floor.deaf:
            return answers
        shown = (
            self._whole(channel, self._told[channel], now_ns)
            if kind in DEPTHS
            else self._trade(channel, "snapshot", listing_.book, now_ns - OLD_TRADE_MS * NS_PER_MS)
        )
        return [*answers, shown]

    def _unsubscribe(
        self,
        client: Client,
        arg: dict[str, Any],
        now_ns: int,  # noqa: ARG002 - no answer has a time
    ) -> list[Message]:
        kind, symbol = self._named(arg)
        channel = f"{kind}:{symbol}"
        if kind not in requests.CHANNELS:
            return [self._error(arg, BAD_PARAMETER, "Param error", "unsubscribe")]
        if symbol not in self._floor.listings:
            return [self._error(arg, NO_CHANNEL, "", "unsubscribe")]
        if channel in client.channels:
            self._floor.unsubscribe(client, symbol, channel)
        return [self._yes("unsubscribe", arg)]

    # What it pushes.

    def _frame(self, channel: str, action: str, item: dict[str, object], now_ns: int) -> Message:
        arg = requests.argument(self.venue.market, *requests.split(channel))
        time_ms = now_ns // NS_PER_MS
        return text({"action": action, "arg": arg, "data": [item], "ts": time_ms + 1})

    def _book(
        self, channel: str, action: str, shown: View, numbers: tuple[int, int], now_ns: int
    ) -> Message:
        """Write levels under the number before them and their own, each WebSocket by its keys."""
        bids, asks = rows(shown.bids, shown.scale), rows(shown.asks, shown.scale)
        when = {"ts": str(now_ns // NS_PER_MS)}
        previous, version = numbers
        if not requests.is_uta(channel):
            item = {"asks": asks, "bids": bids, **when, "seq": version, "pseq": previous}
        else:
            item = {"a": asks, "b": bids, "seq": version, "pseq": previous, **when}
            if requests.split(channel)[0] in requests.CHANGED:
                item["maxdepth"] = str(self.levels_max)
        return self._frame(channel, action, item, now_ns)

    def _whole(self, channel: str, told: Told, now_ns: int) -> Message:
        scale = scale_of(self._floor.listings[requests.split(channel)[1]].book)
        return self._book(channel, "snapshot", told.view.in_scale(scale), (0, told.version), now_ns)

    def pushes(self, symbol: str, delta: Delta, now_ns: int) -> list[tuple[str, Message]]:
        """Write what changed of what each channel shows; numbers that begin anew follow 0."""
        book = self._floor.listings[symbol].book
        pushed: list[tuple[str, Message]] = []
        for channel in self._floor.listings[symbol].subscribers:
            kind, _ = requests.split(channel)
            if kind in requests.TRADES:
                pushed.append((channel, self._trade(channel, "update", book, now_ns)))
                continue
            told = self._told[channel]
            before, after = told.view.in_scale(scale_of(book)), view_of(book, DEPTHS[kind])
            if before == after:
                continue
            self._told[channel] = Told(delta.last_version, after)
            if kind not in requests.CHANGED:
                pushed.append((channel, self._whole(channel, self._told[channel], now_ns)))
                continue
            shown = View(
                changes(before.bids, after.bids), changes(before.asks, after.asks), after.scale
            )
            goes_on = told.version < delta.last_version
            numbers = (told.version if goes_on else 0, delta.last_version)
            pushed.append((channel, self._book(channel, "update", shown, numbers, now_ns)))
        return pushed

    def _trade(self, channel: str, action: str, book: Book, now_ns: int) -> Message:
        sold, (price_exponent, quantity_exponent) = book.version % 2 == 0, scale_of(book)
        price = decimal(book.bids.best() if sold else book.asks.best(), price_exponent)
        size = decimal(1 + book.version % 1000, quantity_exponent)
        side, number, when = "sell" if sold else "buy", str(book.version), str(now_ns // NS_PER_MS)
        item: dict[str, object] = (
            {"i": number, "p": price, "v": size, "S": side, "T": when, "L": number, "isRPI": "no"}
            if requests.is_uta(channel)
            else {"ts": when, "price": price, "size": size, "side": side, "tradeId": number}
        )
        return self._frame(channel, action, item, now_ns)

    def base(self, symbol: str, channel: str, now_ns: int) -> Message | None:  # noqa: ARG002 - the channel names it
        """Write a book as it was told last."""
        told = self._told.get(channel)
        if told is None or requests.split(channel)[0] in requests.BEST:
            return None
        return self._whole(channel, told, now_ns)

    def garbage(self, symbol: str, channel: str) -> Message:  # noqa: ARG002 - the channel names it
        """Write a level without its quantity: sound JSON, and nothing that can be applied."""
        action = "update" if requests.split(channel)[0] in requests.CHANGED else "snapshot"
        item: dict[str, object] = {"asks": [["1.5"]], "bids": [], "ts": "1", "seq": 1, "pseq": 0}
        return self._frame(channel, action, item, 0)

    # REST.

    def http(self, request: HttpRequest, now_ns: int) -> HttpResponse | None:
        """Answer the market's list."""
        path, _, query_text = request.target.partition("?")
        wanted, _, query = listing.instruments_request(self.venue.market).target.partition("?")
        if path != wanted:
            return None
        said: dict[str, object] = {"code": listing.SUCCESS, "msg": "success"}
        said["requestTime"] = now_ns // NS_PER_MS
        if dict(parse_qsl(query_text)) != dict(parse_qsl(query)):
            return json_response(400, {**said, "code": "40034", "msg": "Parameter does not exist"})
        return json_response(
            200, {**said, "data": [self._row(one) for one, _ in self._floor.listed()]}
        )

    def _row(self, symbol: str) -> dict[str, object]:
        book = self._floor.listings[symbol].book
        more = self.row(scale_of(book), is_halted=symbol in self._floor.halted)
        coins = {"baseCoin": book.name.base, "quoteCoin": book.name.quote}
        return {"symbol": symbol, **coins, **more}

    def row(self, scale: Scale, *, is_halted: bool) -> dict[str, object]:
        """Write what else an instrument's row has."""
        return {
            **{"minTradeAmount": "0", "maxTradeAmount": "900000000000000000000"},
            **{"takerFeeRate": "0.002", "makerFeeRate": "0.002"},
            **{"pricePrecision": str(-scale[0]), "quantityPrecision": str(-scale[1])},
            **{"quotePrecision": "8", "status": "halt" if is_halted else "online"},
            **{"minTradeUSDT": "1", "buyLimitPriceRatio": "0.02", "sellLimitPriceRatio": "0.02"},
            **{"areaSymbol": "no", "orderQuantity": "200", "openTime": "1532454360000"},
            "offTime": "",
        }


DIALECT: Final = BitgetDialect
