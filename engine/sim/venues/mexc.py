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
from tickpath.proto.venues.mexc.mexc_pb2 import PublicAggreDepthsV3Api, PushDataV3ApiWrapper
from tickpath.proto.venues.mexc.venue import VENUE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tickpath.engine.sim.dialect import Client, Floor, HttpRequest
    from tickpath.engine.sim.market import Book, Delta, Side

NS_PER_MS: Final = 1_000_000
AGGREGATED_DEPTHS_TAG: Final = b"\xca\x13"
_DEPTH_PREFIX: Final = "spot@public.aggre.depth.v3.api.pb@"
_DEALS_PREFIX: Final = "spot@public.aggre.deals.v3.api.pb@"
_TICKER_PREFIX: Final = "spot@public.aggre.bookTicker.v3.api.pb@"
_CHANNELS: Final = tuple(
    f"{prefix}{speed}@"
    for prefix in (_DEPTH_PREFIX, _DEALS_PREFIX, _TICKER_PREFIX)
    for speed in requests.SPEEDS
)


def varint(value: int) -> bytes:
    """Encode a protobuf varint."""
    data = bytearray()
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    data.append(value)
    return bytes(data)


def depth_body(book: Book, delta: Delta) -> bytes:
    """Serialize the body of a depth push."""
    price_exponent = book.instrument.price_exponent
    quantity_exponent = book.instrument.quantity_exponent
    body = PublicAggreDepthsV3Api(
        eventType=_DEPTH_PREFIX + "100ms",
        fromVersion=str(delta.first_version),
        toVersion=str(delta.last_version),
    )
    for target, levels in ((body.asks, delta.asks), (body.bids, delta.bids)):
        for price, quantity in levels:
            target.add(
                price=format_fixed(price, price_exponent),
                quantity=format_fixed(quantity, quantity_exponent),
            )
    return body.SerializeToString()


def depth_message(channel: str, symbol: str, time_ms: int, body: bytes) -> Message:
    """Write a push as the venue orders it: channel, symbol, sendTime, the body last."""
    head = PushDataV3ApiWrapper(channel=channel, symbol=symbol, sendTime=time_ms)
    data = head.SerializeToString() + AGGREGATED_DEPTHS_TAG + varint(len(body)) + body
    return Message(data, is_text=False)


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


def write_ticker(push: PushDataV3ApiWrapper, book: Book, delta: Delta) -> None:
    """Write the touch."""
    scale, ticker = book.instrument, push.publicAggreBookTicker
    bid, ask = book.bids.best(), book.asks.best()
    ticker.bidPrice = format_fixed(bid, scale.price_exponent)
    ticker.bidQuantity = format_fixed(book.bids.quantities[bid], scale.quantity_exponent)
    ticker.askPrice = format_fixed(ask, scale.price_exponent)
    ticker.askQuantity = format_fixed(book.asks.quantities[ask], scale.quantity_exponent)
    ticker.version = str(delta.last_version)


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
        floor, symbol = self._floor, channel.rpartition("@")[2]
        if channel not in {prefix + symbol for prefix in _CHANNELS}:
            return "channel is invalid!"
        if symbol in floor.refused:
            return "Blocked!"
        if symbol not in floor.listings:
            return "symbol is invalid!"
        is_new = channel not in client.channels
        if is_new and len(client.channels) >= requests.SUBSCRIPTIONS_PER_CONNECTION_MAX:
            return "subscription limit exceeded!"
        floor.subscribe(client, symbol, channel)
        return ""

    def _unsubscribe(self, client: Client, channel: str) -> str:
        if channel not in client.channels:
            return "not subscribed!"
        self._floor.unsubscribe(client, channel.rpartition("@")[2], channel)
        return ""

    def pushes(self, symbol: str, delta: Delta, now_ns: int) -> list[tuple[str, Message]]:
        """Write a push for each channel that somebody listens to: speeds do not differ here."""
        listing = self._floor.listings[symbol]
        time_ms = now_ns // NS_PER_MS
        pushed = []
        for channel in listing.subscribers:
            if channel.startswith(_DEPTH_PREFIX):
                body = depth_body(listing.book, delta)
                pushed.append((channel, depth_message(channel, symbol, time_ms, body)))
                continue
            push = PushDataV3ApiWrapper(channel=channel, symbol=symbol, sendTime=time_ms)
            write = write_deal if channel.startswith(_DEALS_PREFIX) else write_ticker
            write(push, listing.book, delta)
            pushed.append((channel, Message(push.SerializeToString(), is_text=False)))
        return pushed

    def garbage(self, symbol: str, channel: str) -> Message:
        """Write a body whose length is not what it says: no protobuf reader may accept it.

        The channel is right, so that the harm is this instrument's.
        """
        return depth_message(channel, symbol, 0, b"\x0a\x7f\x0a\x08")

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
