"""HTX spot's market data from its side of the wire: bases by request, each change names the last.

It keeps of each topic of a book what its depth shows and tells what enters, changes and leaves; a
base is what was told last, so that its number is one of a change. It pings every five seconds and
refuses requests for bases that come too fast. Trades are made up: two a change of a book, newest
first. Whoever carries the bytes packs them (../exchange.py). Answers are worded as the venue words
them (proto/venues/htx/README.md). Called by: ../exchange.py.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec
from tickpath.engine.sim.depth_view import View, changes, decimal, scale_of, view_of
from tickpath.engine.sim.dialect import Dialect, HttpResponse, Message, json_response
from tickpath.proto.venues.htx import requests
from tickpath.proto.venues.htx.settings import REFRESH_DEPTH
from tickpath.proto.venues.htx.venue import VENUE

if TYPE_CHECKING:
    from tickpath.engine.sim.depth_view import Levels
    from tickpath.engine.sim.dialect import Client, Floor, HttpRequest
    from tickpath.engine.sim.market import Book, Delta

NS_PER_S: Final = 1_000_000_000
NS_PER_MS: Final = 1_000_000
PING_NS: Final = 5 * NS_PER_S
ASKED_MAX: Final = 21
"""Requests for bases in a second, as many as were answered of a burst; a network bunches them."""
_DEPTHS: Final = {name: depth for depth, name in requests.BOOKS.items()} | {
    requests.REFRESH: REFRESH_DEPTH,
    requests.BEST: 1,
}


def text(data: str) -> Message:
    """Write a text."""
    return Message(data.encode(), is_text=True)


def reply(**fields: object) -> Message:
    """Write an answer; keys with a hyphen by an underscore."""
    names = {key.replace("_", "-"): value for key, value in fields.items()}
    return Message(msgspec.json.encode(names), is_text=True)


def number(mantissa: int, exponent: int) -> str:
    """Write a number as Java does: 84093.0, 4.1E-4, 1.3640078E7."""
    plain = decimal(mantissa, exponent)
    digits = str(mantissa).rstrip("0")
    power = exponent + len(str(mantissa)) - 1
    if mantissa and not -3 <= power < 7:
        return f"{digits[0]}.{digits[1:] or '0'}E{power}"
    return plain if "." in plain else f"{plain}.0"


def pairs(levels: Levels, scale: tuple[int, int]) -> str:
    """Write a side."""
    written = (f"[{number(price, scale[0])},{number(size, scale[1])}]" for price, size in levels)
    return f"[{','.join(written)}]"


@dataclass(slots=True)
class Told:
    """What a topic of a book was last told."""

    view: View
    version: int


class HtxDialect(Dialect):
    """HTX spot."""

    venue = VENUE
    websocket_paths = frozenset({requests.BOOK_PATH, requests.MARKET_PATH})
    levels_max = 400  # of its books; what is shown of them is a topic's

    def __init__(self, floor: Floor) -> None:
        self._floor = floor
        self._told: dict[str, Told] = {}
        """By topic, of books and best prices that somebody listens to."""
        self._asked: dict[Client, deque[int]] = {}
        """When each client asked for a base within the last second."""

    # WebSocket.

    def opened(self, client: Client, now_ns: int) -> list[Message]:
        """Say nothing first."""
        self._asked = {
            one: times for one, times in self._asked.items() if times[-1] > now_ns - NS_PER_S
        }
        client.spoke_ns = now_ns
        return []

    def due(self, client: Client, now_ns: int) -> list[Message]:
        """Ping."""
        if now_ns - client.spoke_ns < PING_NS:
            return []
        client.spoke_ns = now_ns
        return [reply(ping=now_ns // NS_PER_MS)]

    def received(self, client: Client, message: Message, now_ns: int) -> list[Message]:
        """Answer sub, unsub and req; take what answers a ping."""
        try:
            said = msgspec.json.decode(message.data, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError):
            return [self._no("", "not json, is not json string", now_ns)]
        id_ = said.get("id") if isinstance(said.get("id"), str) else ""
        for op, act in (("sub", self._sub), ("unsub", self._unsub), ("req", self._req)):
            if isinstance(said.get(op), str):
                return act(client, said[op], str(id_), now_ns)
        return [] if "pong" in said else [self._no(str(id_), "invalid command", now_ns)]

    def _no(self, id_: str, words: str, now_ns: int) -> Message:
        self._floor.counters.refused += 1
        time_ms = now_ns // NS_PER_MS
        return reply(status="error", ts=time_ms, id=id_, err_code="bad-request", err_msg=words)

    def _find(self, topic: str) -> tuple[str, str] | None:
        """Return kind and symbol of a topic that is served; None for another."""
        try:
            kind, symbol = requests.split(topic)
        except ValueError:
            return None
        is_served = symbol in self._floor.listings and symbol not in self._floor.refused
        return (kind, symbol) if is_served else None

    def _sub(self, client: Client, topic: str, id_: str, now_ns: int) -> list[Message]:
        """Acknowledge; whole books come at once, bases of changes by a request alone."""
        found = self._find(topic)
        if found is None:
            return [self._no(id_, f"invalid topic {topic}", now_ns)]
        kind, symbol = found
        listing = self._floor.listings[symbol]
        answers = [reply(id=id_, status="ok", subbed=topic, ts=now_ns // NS_PER_MS)]
        if kind in _DEPTHS and topic not in listing.subscribers:
            self._told[topic] = self._look(kind, listing.book)
        self._floor.subscribe(client, symbol, topic)
        if kind == requests.REFRESH and symbol not in self._floor.deaf:
            answers.append(self._whole(topic, now_ns))
        return answers

    def _unsub(self, client: Client, topic: str, id_: str, now_ns: int) -> list[Message]:
        if topic not in client.channels:
            return [self._no(id_, f"unsub with not subbed topic {topic}", now_ns)]
        self._floor.unsubscribe(client, requests.split(topic)[1], topic)
        return [reply(id=id_, status="ok", unsubbed=topic, ts=now_ns // NS_PER_MS)]

    def _req(self, client: Client, topic: str, id_: str, now_ns: int) -> list[Message]:
        found = self._find(topic)
        if found is None or found[0] not in requests.BOOKS.values():
            return [self._no(id_, f"invalid topic {topic}", now_ns)]
        times = self._asked.setdefault(client, deque())
        while times and times[0] <= now_ns - NS_PER_S:
            times.popleft()
        times.append(now_ns)
        if len(times) > ASKED_MAX:
            return [self._no(id_, f"429 too many request topic is {topic}", now_ns)]
        return [self._base(topic, id_, now_ns)]

    # What is said of books.

    @staticmethod
    def _look(kind: str, book: Book) -> Told:
        return Told(view_of(book, _DEPTHS[kind]), book.version)

    def _shown(self, topic: str) -> Told:
        """Return what a topic was last told, in the digits of now; of a new one what it shows."""
        kind, symbol = requests.split(topic)
        book = self._floor.listings[symbol].book
        told = self._told.get(topic)
        if told is None or topic not in self._floor.listings[symbol].subscribers:
            return self._look(kind, book)
        told.view = told.view.in_scale(scale_of(book))
        return told

    @staticmethod
    def _sides(view: View) -> str:
        return f'"bids":{pairs(view.bids, view.scale)},"asks":{pairs(view.asks, view.scale)}'

    def _base(self, topic: str, id_: str, now_ns: int) -> Message:
        told = self._shown(topic)
        data = f'{{"seqNum":{told.version},{self._sides(told.view)}}}'
        head = f'"id":"{id_}","rep":"{topic}","status":"ok","ts":{now_ns // NS_PER_MS}'
        return text(f'{{{head},"data":{data}}}')

    @staticmethod
    def _push(topic: str, tick: str, now_ns: int) -> Message:
        return text(f'{{"ch":"{topic}","ts":{now_ns // NS_PER_MS},"tick":{{{tick}}}}}')

    def _whole(self, topic: str, now_ns: int) -> Message:
        told = self._shown(topic)
        return self._push(topic, f'"seqNum":{told.version},{self._sides(told.view)}', now_ns)

    def pushes(self, symbol: str, delta: Delta, now_ns: int) -> list[tuple[str, Message]]:
        """Write what changed of what each topic shows; often nothing did."""
        listing = self._floor.listings[symbol]
        pushed: list[tuple[str, Message]] = []
        for topic in listing.subscribers:
            kind, _ = requests.split(topic)
            if kind == requests.TRADES:
                pushed.append((topic, self._trades(topic, listing.book, delta, now_ns)))
                continue
            before, after = self._shown(topic), self._look(kind, listing.book)
            if before.view == after.view:
                continue
            self._told[topic] = after
            writers = {requests.REFRESH: self._whole, requests.BEST: self._best}
            if kind in writers:
                pushed.append((topic, writers[kind](topic, now_ns)))
            else:
                pushed.append((topic, self._change(topic, (before, after), now_ns)))
        return pushed

    def _change(self, topic: str, of: tuple[Told, Told], now_ns: int) -> Message:
        """Write what differs; topics of few levels leave out a side that does not."""
        before, after = of
        sides = {
            "bids": changes(before.view.bids, after.view.bids),
            "asks": changes(before.view.asks, after.view.asks),
        }
        has_blanks = topic.endswith(requests.BOOKS[150])
        written = [
            f',"{key}":{pairs(side, after.view.scale)}'
            for key, side in sides.items()
            if side or has_blanks
        ]
        tick = f'"seqNum":{after.version},"prevSeqNum":{before.version}{"".join(written)}'
        return self._push(topic, tick, now_ns)

    def _best(self, topic: str, now_ns: int) -> Message:
        told = self._told[topic]
        fields = [f'"seqId":{told.version}']
        for name, side in (("ask", told.view.asks), ("bid", told.view.bids)):
            for price, size in side:
                fields.append(f'"{name}":{number(price, told.view.scale[0])}')
                fields.append(f'"{name}Size":{number(size, told.view.scale[1])}')
        symbol = requests.split(topic)[1]
        fields += [f'"quoteTime":{now_ns // NS_PER_MS}', f'"symbol":"{symbol}"']
        return self._push(topic, ",".join(fields), now_ns)

    def _trades(self, topic: str, book: Book, delta: Delta, now_ns: int) -> Message:
        """Write two, the newest first."""
        sold, time_ms = delta.last_version % 2 == 0, now_ns // NS_PER_MS
        price, quantity = scale_of(book)
        at = number((book.bids if sold else book.asks).best(), price)
        written = []
        for which in (1, 0):
            number_of = 2 * delta.last_version + which
            size = number(1 + number_of % 1000, quantity)
            written.append(
                f'{{"id":{delta.last_version}255757567457{which:03},"ts":{time_ms},'
                f'"tradeId":{number_of},"amount":{size},"price":{at},'
                f'"direction":"{"sell" if sold else "buy"}"}}'
            )
        tick = f'"id":{delta.last_version},"ts":{time_ms},"data":[{",".join(written)}]'
        return self._push(topic, tick, now_ns)

    def base(self, symbol: str, channel: str, now_ns: int) -> Message | None:  # noqa: ARG002 - the topic names it
        """Write a book as it was told last."""
        kind, _ = requests.split(channel)
        if kind == requests.REFRESH:
            return self._whole(channel, now_ns)
        return self._base(channel, "0", now_ns) if kind in requests.BOOKS.values() else None

    def garbage(self, symbol: str, channel: str) -> Message:  # noqa: ARG002 - the topic names it
        """Write a level without its quantity: sound JSON, and nothing that can be applied."""
        return self._push(channel, '"seqNum":2,"prevSeqNum":1,"bids":[[1.5]]', 0)

    # REST.

    def http(self, request: HttpRequest, now_ns: int) -> HttpResponse | None:
        """Answer the list."""
        if request.target.partition("?")[0] != requests.INSTRUMENTS_PATH:
            return None
        rows = [self._row(symbol, one.book) for symbol, one in self._floor.listed()]
        time_ms = str(now_ns // NS_PER_MS)
        return json_response(200, {"status": "ok", "data": rows, "ts": time_ms, "full": 1})

    def _row(self, symbol: str, book: Book) -> dict[str, object]:
        price, quantity = scale_of(book)
        return {
            **{"symbol": symbol, "state": "suspend" if symbol in self._floor.halted else "online"},
            **{"bc": book.name.base.lower(), "qc": book.name.quote.lower()},
            **{"pp": -price, "ap": -quantity, "sp": "main", "vp": 8},
            **{"minoa": 10.0**quantity, "maxoa": 1000, "minov": 10, "at": "enabled", "tags": ""},
        }


DIALECT: Final = HtxDialect
