"""Kraken spot, WebSocket v2, from its side of the wire: subscriptions, books with checksums.

It keeps of each book as many levels a side as a channel has, tells what changes among them, and
nothing of what falls out: what a client must forget by itself. Answers are worded as the venue
words them (proto/venues/kraken/README.md). Called by: ../exchange.py.
"""

from __future__ import annotations

import zlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final

import msgspec
from tickpath.engine.sim.dialect import Dialect, HttpResponse, Message, json_response
from tickpath.proto.records import format_fixed
from tickpath.proto.venues.kraken import requests
from tickpath.proto.venues.kraken.venue import VENUE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tickpath.engine.sim.dialect import Client, Floor, HttpRequest
    from tickpath.engine.sim.market import Book, Delta, Side

NS_PER_S: Final = 1_000_000_000
NS_PER_US: Final = 1_000
HEARTBEAT_NS: Final = NS_PER_S
CHECKSUM_LEVELS: Final = 10
CONNECTION_ID: Final = 15_113_583_034_416_118_705
"""Beyond 63 bits, as real ones are."""
_OLD_NAMES: Final = {"BTC": "XBT", "DOGE": "XDG"}

Levels = list[tuple[int, int]]
View = tuple[Levels, Levels]
"""Bids and asks of a book to a channel's depth, best first."""


def stamp(now_ns: int) -> str:
    """Write a time as the venue does, to the microsecond."""
    at = datetime.fromtimestamp(now_ns // NS_PER_S, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{now_ns % NS_PER_S // NS_PER_US:06}Z"


def text(value: object) -> Message:
    """Write one JSON object."""
    return Message(msgspec.json.encode(value), is_text=True)


class Numbers:
    """How a book's numbers are written: bare, with all digits of the instrument's precision."""

    def __init__(self, book: Book) -> None:
        self._exponents = book.instrument.price_exponent, book.instrument.quantity_exponent

    def level(self, level: tuple[int, int]) -> tuple[str, str]:
        """Write a price and a quantity."""
        price, quantity = (
            format_fixed(number, exponent)
            for number, exponent in zip(level, self._exponents, strict=True)
        )
        return price, quantity

    def levels(self, levels: Sequence[tuple[int, int]]) -> list[dict[str, msgspec.Raw]]:
        """Write levels as objects."""
        rows = map(self.level, levels)
        return [
            {"price": msgspec.Raw(price.encode()), "qty": msgspec.Raw(quantity.encode())}
            for price, quantity in rows
        ]

    def checksum(self, view: View) -> int:
        """Return the CRC-32 of the digits of ten levels a side, asks first."""
        bids, asks = view
        best = [*asks[:CHECKSUM_LEVELS], *bids[:CHECKSUM_LEVELS]]
        words = (word for level in best for word in self.level(level))
        return zlib.crc32("".join(word.replace(".", "").lstrip("0") for word in words).encode())


def view_of(book: Book, depth: int) -> View:
    """Return a book to a depth."""
    return book.bids.levels(depth), book.asks.levels(depth)


def changes(side: Side, before: Levels, after: Levels) -> Levels:
    """Return what the venue tells of a side: not what still is in its book, but too deep."""
    old, new = dict(before), dict(after)
    gone = [(price, 0) for price in old if price not in new and price not in side.quantities]
    return gone + [level for level in after if old.get(level[0]) != level[1]]


class KrakenDialect(Dialect):
    """Kraken spot, WebSocket v2."""

    venue = VENUE
    websocket_paths = frozenset({requests.WEBSOCKET_PATH})
    levels_max = max(requests.DEPTHS)
    exponents: ClassVar = {
        "BTC": (-1, -8),
        "ETH": (-2, -8),
        "SOL": (-2, -8),
        "XRP": (-5, -8),
        "DOGE": (-7, -8),
    }

    def __init__(self, floor: Floor) -> None:
        self._floor = floor
        self._views: dict[str, View] = {}
        """Of each channel of a book that somebody listens to: what was last told of it."""

    # WebSocket.

    def opened(self, client: Client, now_ns: int) -> list[Message]:
        """Say that the system is online, and begin to send heartbeats."""
        client.spoke_ns = now_ns
        system = {
            "version": "2.0.10",
            "system": "online",
            "api_version": "v2",
            "connection_id": CONNECTION_ID,
        }
        return [text({"channel": "status", "type": "update", "data": [system]})]

    def due(self, client: Client, now_ns: int) -> list[Message]:
        """Send a heartbeat each second, once something is subscribed to."""
        if not client.channels or now_ns - client.spoke_ns < HEARTBEAT_NS:
            return []
        client.spoke_ns = now_ns
        return [text({"channel": "heartbeat"})]

    def received(self, client: Client, message: Message, now_ns: int) -> list[Message]:
        """Answer subscribe, unsubscribe and ping."""
        try:
            request = msgspec.json.decode(message.data, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError):
            request = {}
        method, params = request.get("method"), request.get("params", {})
        more = {"req_id": request["req_id"]} if isinstance(request.get("req_id"), int) else {}
        more |= {"time_in": stamp(now_ns), "time_out": stamp(now_ns)}
        if method == "ping":
            return [text({"method": "pong", **more})]
        if method not in ("subscribe", "unsubscribe") or not isinstance(params, dict):
            self._floor.counters.refused += 1
            return [text({"error": "Unsupported method", "success": False, **more})]
        name, symbols = params.get("channel"), params.get("symbol", [])
        if name == "book" and params.get("depth", CHECKSUM_LEVELS) not in requests.DEPTHS:
            words = {"error": "Subscription depth not supported", "method": method}
            self._floor.counters.refused += 1
            return [text({**words, "success": False, **more})]
        kind = f"book-{params.get('depth', CHECKSUM_LEVELS)}" if name == "book" else str(name)
        act = self._subscribe if method == "subscribe" else self._unsubscribe
        answers: list[Message] = []
        for symbol in map(str, symbols if isinstance(symbols, list) else []):
            error = act(client, kind, symbol)
            if error:
                self._floor.counters.refused += 1
                words = {"error": error, "method": method, "success": False, "symbol": symbol}
                answers.append(text(words | more))
                continue
            result = {**requests.KINDS[kind].params, "channel": name, "symbol": symbol}
            answers.append(text({"method": method, "result": result, "success": True, **more}))
            if method == "subscribe" and name == "book" and symbol not in self._floor.deaf:
                channel = f"{kind}:{symbol}"
                view = self._views[channel]
                answers.append(self._book(symbol, "snapshot", view, view, now_ns))
        return answers

    def _subscribe(self, client: Client, kind: str, symbol: str) -> str:
        floor, channel = self._floor, f"{kind}:{symbol}"
        if kind not in requests.KINDS:
            return "Unsupported channel"
        if symbol not in floor.listings or symbol in floor.refused:
            return f"Currency pair not supported {symbol}"
        if channel in client.channels:
            return "Already subscribed"
        listing = floor.listings[symbol]
        if kind.startswith("book-") and channel not in listing.subscribers:
            self._views[channel] = view_of(listing.book, requests.KINDS[kind].params["depth"])
        elif kind == "ticker" and channel not in listing.subscribers:
            self._views[channel] = view_of(listing.book, 1)
        floor.subscribe(client, symbol, channel)
        return ""

    def _unsubscribe(self, client: Client, kind: str, symbol: str) -> str:
        channel = f"{kind}:{symbol}"
        if channel not in client.channels:
            return "Subscription Not Found"
        self._floor.unsubscribe(client, symbol, channel)
        return ""

    def _book(self, symbol: str, type_: str, shown: View, view: View, now_ns: int) -> Message:
        """Write levels of a book, and the checksum of what it is with them."""
        numbers = Numbers(self._floor.listings[symbol].book)
        bids, asks = shown
        item = {
            "symbol": symbol,
            "bids": numbers.levels(bids),
            "asks": numbers.levels(asks),
            "checksum": numbers.checksum(view),
            "timestamp": stamp(now_ns),
        }
        return text({"channel": "book", "type": type_, "data": [item]})

    def pushes(self, symbol: str, delta: Delta, now_ns: int) -> list[tuple[str, Message]]:  # noqa: ARG002 - what a channel shows is compared instead
        """Write what changed among the levels that each channel has; often nothing did."""
        listing = self._floor.listings[symbol]
        pushed: list[tuple[str, Message]] = []
        for channel in listing.subscribers:
            before = self._views.get(channel)
            if before is None:
                continue
            kind, _ = requests.split(channel)
            view = view_of(listing.book, requests.KINDS[kind].params.get("depth", 1))
            self._views[channel] = view
            if view == before:
                continue
            if kind == "ticker":
                pushed.append((channel, self._ticker(symbol, view, now_ns)))
                continue
            book = listing.book
            shown = (
                changes(book.bids, before[0], view[0]),
                changes(book.asks, before[1], view[1]),
            )
            pushed.append((channel, self._book(symbol, "update", shown, view, now_ns)))
        return pushed

    def _ticker(self, symbol: str, view: View, now_ns: int) -> Message:
        numbers = Numbers(self._floor.listings[symbol].book)
        item: dict[str, object] = {"symbol": symbol}
        for name, side in zip(("bid", "ask"), view, strict=True):
            (level,) = numbers.levels(side)
            item |= {name: level["price"], f"{name}_qty": level["qty"]}
        item["timestamp"] = stamp(now_ns)
        return text({"channel": "ticker", "type": "update", "data": [item]})

    def base(self, symbol: str, channel: str, now_ns: int) -> Message | None:
        """Write a snapshot of a book as it was told last."""
        view = self._views.get(channel)
        if view is None or not channel.startswith("book-"):
            return None
        return self._book(symbol, "snapshot", view, view, now_ns)

    def garbage(self, symbol: str, channel: str) -> Message:  # noqa: ARG002 - its messages name no depth
        """Write an update of the book that ends in the middle of a number."""
        head = '{"channel":"book","type":"update","data":[{"symbol":"' + symbol
        return Message(f'{head}","bids":[{{"price":1.'.encode(), is_text=True)

    # REST.

    def http(self, request: HttpRequest, now_ns: int) -> HttpResponse | None:  # noqa: ARG002 - the list has no time
        """Answer AssetPairs, with the names of version 1."""
        if request.target.partition("?")[0] != requests.ASSET_PAIRS_PATH:
            return None
        rows = {}
        for symbol, listing in self._floor.listed():
            instrument, name = listing.book.instrument, listing.book.name
            base, quote = (_OLD_NAMES.get(asset, asset) for asset in (name.base, name.quote))
            rows[base + quote] = {
                "altname": base + quote,
                "wsname": f"{base}/{quote}",
                "base": base,
                "quote": quote,
                "pair_decimals": -instrument.price_exponent,
                "lot_decimals": -instrument.quantity_exponent,
                "ordermin": format_fixed(1, instrument.quantity_exponent),
                "costmin": "0.5",
                "tick_size": format_fixed(1, instrument.price_exponent),
                "status": "maintenance" if symbol in self._floor.halted else "online",
            }
        return json_response(200, {"error": [], "result": rows})


DIALECT: Final = KrakenDialect
