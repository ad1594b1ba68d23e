"""MEXC spot, from its side of the wire: subscriptions, protobuf pushes, REST.

Answers are worded as the venue words them (proto/venues/mexc/README.md). Called by: ../exchange.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

import msgspec
from tickpath.engine.sim.dialect import Dialect, HttpResponse, Message, json_response
from tickpath.proto.records import format_fixed
from tickpath.proto.venues.mexc import requests
from tickpath.proto.venues.mexc.mexc_pb2 import PushDataV3ApiWrapper
from tickpath.proto.venues.mexc.venue import VENUE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tickpath.engine.sim.dialect import Client, Floor, HttpRequest
    from tickpath.engine.sim.market import Book, Delta, Side

NS_PER_MS: Final = 1_000_000
CUT_BODY: Final = bytes.fromhex("ca13040a7f0a08")
"""An aggregated depth whose one item ends behind the message."""
_LIMIT: Final = "public.limit.depth.v3.api.pb"


def write_levels(target: Any, book: Book, levels: Iterable[tuple[int, int]]) -> None:
    """Append levels to a side of a message."""
    row = book.instrument
    for price, quantity in levels:
        target.add(
            price=format_fixed(price, row.price_exponent),
            quantity=format_fixed(quantity, row.quantity_exponent),
        )


def write_depth(push: PushDataV3ApiWrapper, book: Book, delta: Delta) -> None:
    """Write a change with the range of its versions."""
    body = push.publicAggreDepths
    body.eventType = push.channel.rpartition("@")[0]
    body.fromVersion, body.toVersion = str(delta.first_version), str(delta.last_version)
    write_levels(body.asks, book, delta.asks)
    write_levels(body.bids, book, delta.bids)


def write_increase(push: PushDataV3ApiWrapper, book: Book, delta: Delta) -> None:
    """Write a change that has one version: the book counts so once this is listened to."""
    body = push.publicIncreaseDepths
    body.version = str(delta.last_version)
    write_levels(body.asks, book, delta.asks)
    write_levels(body.bids, book, delta.bids)


def write_increase_batch(push: PushDataV3ApiWrapper, book: Book, delta: Delta) -> None:
    """Deal a change's levels out over its versions, an item each."""
    batch = push.publicIncreaseDepthsBatch
    batch.eventType = push.channel.rpartition("@")[0]
    count = delta.last_version - delta.first_version + 1
    for number in range(count):
        item = batch.items.add(version=str(delta.first_version + number))
        write_levels(item.asks, book, delta.asks[number::count])
        write_levels(item.bids, book, delta.bids[number::count])


def write_limit(push: PushDataV3ApiWrapper, book: Book, delta: Delta | None) -> None:
    """Write the whole book, as deep as the channel says."""
    body, depth = push.publicLimitDepths, int(push.channel.rpartition("@")[2])
    body.version = str(book.version if delta is None else delta.last_version)
    write_levels(body.asks, book, book.asks.levels(depth))
    write_levels(body.bids, book, book.bids.levels(depth))


def write_deal(push: PushDataV3ApiWrapper, book: Book, delta: Delta) -> None:
    """Make up a trade at the touch, one a change of the book."""
    sold = delta.last_version % 2 == 0
    price = book.bids.best() if sold else book.asks.best()
    push.publicAggreDeals.deals.add(
        price=format_fixed(price, book.instrument.price_exponent),
        quantity=format_fixed(1 + delta.last_version % 1000, book.instrument.quantity_exponent),
        tradeType=2 if sold else 1,
        time=push.sendTime,
        tradeId=str(delta.last_version),
    )


def _touch(ticker: Any, book: Book) -> None:
    scale = book.instrument
    bid, ask = book.bids.best(), book.asks.best()
    ticker.bidPrice = format_fixed(bid, scale.price_exponent)
    ticker.bidQuantity = format_fixed(book.bids.quantities[bid], scale.quantity_exponent)
    ticker.askPrice = format_fixed(ask, scale.price_exponent)
    ticker.askQuantity = format_fixed(book.asks.quantities[ask], scale.quantity_exponent)


def write_ticker(push: PushDataV3ApiWrapper, book: Book, delta: Delta) -> None:
    """Write the touch."""
    _touch(push.publicAggreBookTicker, book)
    push.publicAggreBookTicker.version = str(delta.last_version)


def write_ticker_batch(push: PushDataV3ApiWrapper, book: Book, delta: Delta) -> None:
    """Write a touch that is no longer true, and the touch."""
    batch = push.publicBookTickerBatch
    _touch(batch.items.add(), book)
    batch.items[0].bidQuantity = batch.items[0].askQuantity = "1"
    _touch(batch.items.add(), book)
    batch.version = str(delta.last_version)


WRITERS: Final[dict[str, Callable[[PushDataV3ApiWrapper, Book, Delta], None]]] = {
    "public.aggre.depth.v3.api.pb": write_depth,
    "public.increase.depth.v3.api.pb": write_increase,
    "public.increase.depth.batch.v3.api.pb": write_increase_batch,
    _LIMIT: write_limit,
    "public.aggre.deals.v3.api.pb": write_deal,
    "public.aggre.bookTicker.v3.api.pb": write_ticker,
    "public.bookTicker.batch.v3.api.pb": write_ticker_batch,
}


def kind_of(channel: str) -> str:
    """Return what stands between its first two @."""
    return [*channel.split("@"), ""][1]


def symbol_of(channel: str) -> str:
    """Return the symbol: the last part, or the one before the number of levels."""
    return ["", *channel.split("@")][-2 if kind_of(channel) == _LIMIT else -1]


def served(symbol: str) -> set[str]:
    """Return all channels of an instrument."""
    fast = (requests.depth_channel, requests.deals_channel, requests.book_ticker_channel)
    return {
        *(make(symbol, speed) for make in fast for speed in requests.SPEEDS),
        *(requests.limited_depth_channel(symbol, count) for count in requests.LIMITED_DEPTHS),
        requests.increase_channel(symbol),
        requests.increase_batch_channel(symbol),
        requests.book_ticker_batch_channel(symbol),
    }


def reply(text: str) -> Message:
    """Say something, with code 0 as always."""
    return Message(msgspec.json.encode({"id": 0, "code": 0, "msg": text}), is_text=True)


def levels(book: Book, side: Side, count: int) -> list[list[str]]:
    """Write the best levels of a side."""
    instrument = book.instrument
    return [
        [
            format_fixed(price, instrument.price_exponent),
            format_fixed(quantity, instrument.quantity_exponent),
        ]
        for price, quantity in side.levels(count)
    ]


class MexcDialect(Dialect):
    """MEXC spot v3."""

    venue = VENUE
    websocket_paths = frozenset({requests.WEBSOCKET_PATH})
    levels_max = requests.BASE_LEVELS_MAX

    def __init__(self, floor: Floor) -> None:
        self._floor = floor

    # WebSocket.

    def opened(self, client: Client, now_ns: int) -> list[Message]:  # noqa: ARG002 - it says nothing
        """Say nothing first."""
        return []

    def due(self, client: Client, now_ns: int) -> list[Message]:  # noqa: ARG002 - it says nothing
        """Say nothing by itself."""
        return []

    def received(self, client: Client, message: Message, now_ns: int) -> list[Message]:  # noqa: ARG002 - no answer has a time
        """Answer SUBSCRIPTION, UNSUBSCRIPTION and PING."""
        try:
            request = msgspec.json.decode(message.data, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError):
            request = {}
        method, channels = request.get("method"), request.get("params", [])
        if method == "PING":
            return [reply("PONG")]
        if method not in {"SUBSCRIPTION", "UNSUBSCRIPTION"} or not isinstance(channels, list):
            return [reply("msg is invalid")]
        act = self._subscribe if method == "SUBSCRIPTION" else self._unsubscribe
        done: list[str] = []
        answers: list[Message] = []
        for channel in map(str, channels):
            reason = act(client, channel)
            if not reason:
                done.append(channel)
                continue
            self._floor.counters.refused += 1
            # A full-width colon and code 0: the venue's own words.
            colon = "\N{FULLWIDTH COLON}"
            text = f"Not Subscribed successfully! [{channel}].  Reason{colon} {reason} "
            answers.append(reply(text))
        return [*answers, reply(",".join(done))] if done else answers

    def _subscribe(self, client: Client, channel: str) -> str:
        floor, symbol = self._floor, symbol_of(channel)
        if kind_of(channel) not in WRITERS:
            return "channel is invalid!"
        if symbol in floor.refused:
            return "Blocked!"
        if symbol not in floor.listings:
            return "symbol is invalid!"
        if channel not in served(symbol):
            return "channel is invalid!"
        is_new = channel not in client.channels
        if is_new and len(client.channels) >= requests.SUBSCRIPTIONS_PER_CONNECTION_MAX:
            return "subscription limit exceeded!"
        floor.subscribe(client, symbol, channel)
        if WRITERS[kind_of(channel)] is write_increase:
            floor.listings[symbol].book.counts_messages = True
        return ""

    def _unsubscribe(self, client: Client, channel: str) -> str:
        if channel not in client.channels:
            return "not subscribed!"
        self._floor.unsubscribe(client, symbol_of(channel), channel)
        return ""

    def pushes(self, symbol: str, delta: Delta, now_ns: int) -> list[tuple[str, Message]]:
        """Write a push for each channel that somebody listens to: speeds do not differ here.

        As the venue orders it: channel, symbol, sendTime, the body last.
        """
        listing = self._floor.listings[symbol]
        pushed = []
        for channel in listing.subscribers:
            push = PushDataV3ApiWrapper(
                channel=channel, symbol=symbol, sendTime=now_ns // NS_PER_MS
            )
            WRITERS[kind_of(channel)](push, listing.book, delta)
            pushed.append((channel, Message(push.SerializeToString(), is_text=False)))
        return pushed

    def base(self, symbol: str, channel: str, now_ns: int) -> Message | None:
        """Write a book as it is, where the channel has whole books."""
        if kind_of(channel) != _LIMIT:
            return None
        push = PushDataV3ApiWrapper(channel=channel, symbol=symbol, sendTime=now_ns // NS_PER_MS)
        write_limit(push, self._floor.listings[symbol].book, None)
        return Message(push.SerializeToString(), is_text=False)

    def garbage(self, symbol: str, channel: str) -> Message:
        """Write a body whose length is not what it says: no protobuf reader may accept it.

        The channel is right, so that the harm is this instrument's.
        """
        head = PushDataV3ApiWrapper(channel=channel, symbol=symbol).SerializeToString()
        return Message(head + CUT_BODY, is_text=False)

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
            requests.DEPTH_PATH: lambda: self._depth(query, time_ms),
        }
        return routes[path]() if path in routes else None

    def _exchange_info(self, time_ms: int) -> HttpResponse:
        rows = []
        for symbol, listing in self._floor.listed():
            instrument, name = listing.book.instrument, listing.book.name
            rows.append(
                {
                    "symbol": symbol,
                    "status": "2" if symbol in self._floor.halted else "1",
                    "baseAsset": name.base,
                    "baseAssetPrecision": -instrument.quantity_exponent,
                    "quoteAsset": name.quote,
                    "quotePrecision": -instrument.price_exponent,
                    "quoteAssetPrecision": -instrument.price_exponent,
                    "baseSizePrecision": format_fixed(1, instrument.quantity_exponent),
                    "quoteAmountPrecision": "1",
                    "isSpotTradingAllowed": True,
                    "orderTypes": ["LIMIT", "MARKET", "LIMIT_MAKER"],
                    "permissions": ["SPOT"],
                }
            )
        return json_response(200, {"timezone": "CST", "serverTime": time_ms, "symbols": rows})

    def _depth(self, query: dict[str, str], time_ms: int) -> HttpResponse:
        listing = self._floor.listings.get(query.get("symbol", ""))
        limit = query.get("limit", "100")
        if listing is None:
            return json_response(400, {"code": -1121, "msg": "Invalid symbol."})
        if not limit.isdigit() or not 1 <= int(limit) <= self.levels_max:
            return json_response(400, {"code": 700, "msg": f"limit {limit}: expected 1 to 5000"})
        book = listing.book
        return json_response(
            200,
            {
                "lastUpdateId": book.version,
                "bids": levels(book, book.bids, int(limit)),
                "asks": levels(book, book.asks, int(limit)),
                "timestamp": time_ms,
            },
        )


DIALECT: Final = MexcDialect
