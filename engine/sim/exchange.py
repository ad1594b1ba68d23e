"""MEXC spot, simulated: subscriptions, protobuf pushes, REST, faults; the truth for tests to ask.

Answers are worded as the venue words them (proto/venues/mexc/README.md). An instrument's book moves
only while somebody subscribes to it; every subscriber gets every version from then on. Control, on
the same port: `POST /fault?kind=gap:BTCUSDT` (GET does too), `GET /truth?symbol=BTCUSDT`,
`GET /status`.
Called by: command.py, tests. Calls: market.py, connection.py. One event loop, one thread.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

import msgspec
from tickpath.engine.sim.connection import Connection, HttpRequest, HttpResponse, frame_binary
from tickpath.engine.sim.faults import Fault, Order, parse_fault
from tickpath.engine.sim.market import LEVELS_MAX, Book, Delta, Side, make_book
from tickpath.proto.records import format_fixed
from tickpath.proto.venues.mexc import requests
from tickpath.proto.venues.mexc.mexc_pb2 import PublicAggreDepthsV3Api, PushDataV3ApiWrapper
from tickpath.shm.errors import LocalError, SystemSetupError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence

TICK_S: Final = 0.001
"""How often due messages are sent; at high rates each tick sends several in one write."""
IDLE_TICK_S: Final = 0.1
"""How often it is looked at what changed, where no message is due for so long."""
STALL_MAX_S: Final = 0.25
"""After a stall, messages of at most so long are made up for."""
LEVELS_MEAN: Final = 2.0
PING_FLOOD_COUNT: Final = 1000
DRIP_S: Final = 3.0
GOING_AWAY: Final = 1001
AGGREGATED_DEPTHS_TAG: Final = b"\xca\x13"
_DEPTH_PREFIX: Final = "spot@public.aggre.depth.v3.api.pb@"
_CHANNELS: Final = {speed: f"{_DEPTH_PREFIX}{speed}@" for speed in requests.SPEEDS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a simulator is made of. levels: lowest and highest of a message; None: mostly two."""

    instruments: Sequence[str]
    rate: float = 100.0
    levels: tuple[int, int] | None = None
    depth: int = 200
    seed: int = 1
    faults: Sequence[Order] = ()
    idle_s: float = requests.IDLE_WITHOUT_SUBSCRIPTION_S


class Counters(msgspec.Struct):
    """What happened since the start."""

    messages: int = 0
    levels: int = 0
    bytes: int = 0
    connections: int = 0
    subscriptions: int = 0
    refused: int = 0
    rest: int = 0
    faults: int = 0


@dataclass(slots=True)
class Listing:
    """One instrument: its book and who listens, by channel."""

    book: Book
    subscribers: dict[str, set[Connection]] = field(default_factory=dict)
    last_frames: dict[str, bytes] = field(default_factory=dict)


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


def depth_frame(channel: str, symbol: str, time_ms: int, body: bytes) -> bytes:
    """Frame a push as the venue orders it: channel, symbol, sendTime, the body last."""
    head = PushDataV3ApiWrapper(channel=channel, symbol=symbol, sendTime=time_ms)
    wrapper = head.SerializeToString() + AGGREGATED_DEPTHS_TAG + varint(len(body)) + body
    return frame_binary(wrapper)


def _json(status: int, value: object) -> HttpResponse:
    return HttpResponse(status, msgspec.json.encode(value))


class MexcSimulator:
    """The exchange. Use `serve`; `port` is known from then on; `close` ends it."""

    def __init__(self, options: Options) -> None:
        self.counters = Counters()
        self.port = 0
        self.on_fault: Callable[[Order], None] = lambda _: None
        self._options = options
        self._listings = {
            symbol: Listing(make_book(symbol, options.depth, options.seed))
            for symbol in options.instruments
        }
        self._random = random.Random(options.seed)
        self._active: list[str] = []
        self._websockets: set[Connection] = set()
        self._refused: set[str] = set()
        self._skip: set[str] = set()
        self._paused = False
        self._next = 0
        self._server: asyncio.Server | None = None
        self._tasks: list[asyncio.Task[None]] = []

    # Life.

    async def serve(self, address: str, port: int, tls: ssl.SSLContext | None) -> None:
        """Listen and begin to push; raises SystemSetupError where the port cannot be had."""
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                lambda: Connection(self), address, port, ssl=tls, backlog=1024
            )
        except OSError as error:
            raise SystemSetupError(
                f"cannot listen on {address}:{port}: {error.strerror or error}; "
                "choose an address of this machine and a free port, or port 0 for any"
            ) from error
        self.port = self._server.sockets[0].getsockname()[1]
        self._tasks = [loop.create_task(self._push_forever())]
        self._tasks += [loop.create_task(self._later(order)) for order in self._options.faults]

    async def close(self) -> None:
        """Say goodbye to every client and stop."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in list(self._websockets):
            connection.close(GOING_AWAY, "the simulator ends")
        if self._server is not None:
            self._server.close()
        await asyncio.sleep(0.05)
        for connection in list(self._websockets):
            connection.abort()

    # Pushes.

    async def _push_forever(self) -> None:
        # The loop's own clock stands still within a turn and counts milliseconds only.
        due, last = 0.0, time.monotonic()
        rate = self._options.rate
        while True:
            # An exchange that sleeps leaves the CPU to others.
            is_pushing = rate > 0 and self._active and not self._paused
            due_s = (1 - due) / rate if is_pushing else IDLE_TICK_S
            await asyncio.sleep(max(TICK_S, min(due_s, IDLE_TICK_S)))
            now = time.monotonic()
            due += min(now - last, STALL_MAX_S) * self._options.rate
            last = now
            if self._paused or not self._active:
                due = 0.0
                continue
            count = int(due)
            due -= count
            self.push(count)

    def push(self, count: int) -> None:
        """Send so many messages, over the subscribed instruments in turn."""
        time_ms = time.time_ns() // 1_000_000
        touched: set[Connection] = set()
        for _ in range(count):
            self._next = (self._next + 1) % len(self._active)
            symbol = self._active[self._next]
            listing = self._listings[symbol]
            delta = listing.book.step(self._level_count())
            if symbol in self._skip:
                self._skip.discard(symbol)
                continue
            self._send(symbol, delta, time_ms, touched)
        for connection in touched:
            connection.flush()

    def _level_count(self) -> int:
        if self._options.levels is not None:
            low, high = self._options.levels
            return low if low == high else self._random.randint(low, high)
        return min(1 + int(self._random.expovariate(1 / (LEVELS_MEAN - 0.5))), LEVELS_MAX)

    def _send(
        self, symbol: str, delta: Delta, time_ms: int, touched: set[Connection] | None = None
    ) -> None:
        listing = self._listings[symbol]
        body = depth_body(listing.book, delta)
        for channel, subscribers in listing.subscribers.items():
            frame = depth_frame(channel, symbol, time_ms, body)
            listing.last_frames[channel] = frame
            for connection in subscribers:
                connection.push(frame)
                if touched is None:
                    connection.flush()
                else:
                    touched.add(connection)
            self.counters.messages += len(subscribers)
            self.counters.bytes += len(subscribers) * len(frame)
        self.counters.levels += len(delta.bids) + len(delta.asks)

    # What clients say (connection.Service).

    def opened(self, connection: Connection) -> None:
        """Count a WebSocket, and end it if it subscribes to nothing for long."""
        self._websockets.add(connection)
        self.counters.connections += 1
        asyncio.get_running_loop().call_later(self._options.idle_s, self._end_idle, connection)

    def _end_idle(self, connection: Connection) -> None:
        if connection in self._websockets and not connection.channels:
            connection.close(1000, "no subscription")

    def closed(self, connection: Connection) -> None:
        """Drop its subscriptions."""
        self._websockets.discard(connection)
        self.counters.connections -= 1
        for channel in list(connection.channels):
            self._unsubscribe(connection, channel)

    def text(self, connection: Connection, message: bytes) -> None:
        """Answer SUBSCRIPTION, UNSUBSCRIPTION and PING."""
        try:
            request = msgspec.json.decode(message, type=dict[str, Any])
        except msgspec.DecodeError:
            request = {}
        method, channels = request.get("method"), request.get("params", [])
        if method == "PING":
            self._reply(connection, "PONG")
        elif method in {"SUBSCRIPTION", "UNSUBSCRIPTION"} and isinstance(channels, list):
            act = self._subscribe if method == "SUBSCRIPTION" else self._unsubscribe
            done = [name for name in map(str, channels) if self._acted(act, connection, name)]
            if done:
                self._reply(connection, ",".join(done))
        else:
            self._reply(connection, "msg is invalid")

    def _acted(
        self, act: Callable[[Connection, str], str], connection: Connection, channel: str
    ) -> bool:
        reason = act(connection, channel)
        if reason:
            self.counters.refused += 1
            # A full-width colon and code 0: the venue's own words.
            text = f"Not Subscribed successfully! [{channel}].  Reason\N{FULLWIDTH COLON} {reason} "
            self._reply(connection, text)
        return not reason

    @staticmethod
    def _reply(connection: Connection, text: str) -> None:
        connection.send_text(msgspec.json.encode({"id": 0, "code": 0, "msg": text}))

    def _subscribe(self, connection: Connection, channel: str) -> str:
        symbol = channel.rpartition("@")[2]
        if channel not in {prefix + symbol for prefix in _CHANNELS.values()}:
            return "channel is invalid!"
        if symbol in self._refused:
            return "Blocked!"
        if symbol not in self._listings:
            return "symbol is invalid!"
        if channel in connection.channels:
            return ""
        if len(connection.channels) >= requests.SUBSCRIPTIONS_PER_CONNECTION_MAX:
            return "subscription limit exceeded!"
        listing = self._listings[symbol]
        listing.subscribers.setdefault(channel, set()).add(connection)
        connection.channels.add(channel)
        self.counters.subscriptions += 1
        if symbol not in self._active:
            self._active.append(symbol)
        return ""

    def _unsubscribe(self, connection: Connection, channel: str) -> str:
        if channel not in connection.channels:
            return "not subscribed!"
        connection.channels.discard(channel)
        self.counters.subscriptions -= 1
        symbol = channel.rpartition("@")[2]
        subscribers = self._listings[symbol].subscribers
        subscribers[channel].discard(connection)
        if not subscribers[channel]:
            del subscribers[channel]
        if not subscribers:
            self._active.remove(symbol)
        return ""

    # REST and control.

    def http(self, request: HttpRequest) -> HttpResponse:
        """Answer a REST or control request."""
        path, _, query_text = request.target.partition("?")
        query = dict(parse_qsl(query_text))
        self.counters.rest += 1
        routes: dict[str, Callable[[dict[str, str]], HttpResponse]] = {
            requests.PING_PATH: lambda _: _json(200, {}),
            requests.TIME_PATH: lambda _: _json(200, {"serverTime": time.time_ns() // 1_000_000}),
            requests.EXCHANGE_INFO_PATH: lambda _: self._exchange_info(),
            requests.DEPTH_PATH: self._depth,
            "/truth": self._truth,
            "/status": lambda _: _json(200, self.counters),
            "/fault": self._fault,
        }
        if path not in routes:
            return _json(404, {"code": 404, "msg": f"no {path}; known: {', '.join(routes)}"})
        return routes[path](query)

    def _exchange_info(self) -> HttpResponse:
        rows = []
        for symbol, listing in self._listings.items():
            instrument = listing.book.instrument
            assert instrument.name is not None  # noqa: S101 - make_book gives every one a name
            rows.append(
                {
                    "symbol": symbol,
                    "status": "1",
                    "baseAsset": instrument.name.base,
                    "baseAssetPrecision": -instrument.quantity_exponent,
                    "quoteAsset": instrument.name.quote,
                    "quotePrecision": -instrument.price_exponent,
                    "quoteAssetPrecision": -instrument.price_exponent,
                    "baseSizePrecision": format_fixed(1, instrument.quantity_exponent),
                    "quoteAmountPrecision": "1",
                    "isSpotTradingAllowed": True,
                    "orderTypes": ["LIMIT", "MARKET", "LIMIT_MAKER"],
                    "permissions": ["SPOT"],
                }
            )
        time_ms = time.time_ns() // 1_000_000
        return _json(200, {"timezone": "CST", "serverTime": time_ms, "symbols": rows})

    def _levels(self, book: Book, side: Side, count: int) -> list[list[str]]:
        instrument = book.instrument
        return [
            [
                format_fixed(price, instrument.price_exponent),
                format_fixed(quantity, instrument.quantity_exponent),
            ]
            for price, quantity in side.levels(count)
        ]

    def _depth(self, query: dict[str, str]) -> HttpResponse:
        listing = self._listings.get(query.get("symbol", ""))
        limit = query.get("limit", "100")
        if listing is None:
            return _json(400, {"code": -1121, "msg": "Invalid symbol."})
        if not limit.isdigit() or not 1 <= int(limit) <= requests.SNAPSHOT_LEVELS_MAX:
            return _json(400, {"code": 700, "msg": f"limit {limit}: expected 1 to 5000"})
        book = listing.book
        return _json(
            200,
            {
                "lastUpdateId": book.version,
                "bids": self._levels(book, book.bids, int(limit)),
                "asks": self._levels(book, book.asks, int(limit)),
                "timestamp": time.time_ns() // 1_000_000,
            },
        )

    def _truth(self, query: dict[str, str]) -> HttpResponse:
        listing = self._listings.get(query.get("symbol", ""))
        if listing is None:
            return _json(
                404, {"code": 404, "msg": f"expected symbol=, e.g. {next(iter(self._listings))}"}
            )
        book = listing.book
        count = len(book.bids.prices) + len(book.asks.prices)
        return _json(
            200,
            {
                "symbol": query["symbol"],
                "version": book.version,
                "bids": self._levels(book, book.bids, count),
                "asks": self._levels(book, book.asks, count),
            },
        )

    def _fault(self, query: dict[str, str]) -> HttpResponse:
        try:
            order = parse_fault(query.get("kind", ""))
            done = self.do(order)
        except (LocalError, ValueError) as error:
            return _json(400, {"code": 400, "msg": str(error)})
        return _json(200, {"fault": order.fault.value, "argument": order.argument, "hit": done})

    # Faults.

    async def _later(self, order: Order) -> None:
        await asyncio.sleep(order.at_s)
        self.do(order)

    def do(self, order: Order) -> int:
        """Let a fault happen; return how many connections or instruments it hit."""
        self.counters.faults += 1
        self.on_fault(order)
        argument = order.argument
        if order.fault in {Fault.GAP, Fault.GARBAGE, Fault.CROSSED, Fault.DUPLICATE}:
            symbols = self._symbols(argument)
            for symbol in symbols:
                self._harm_instrument(order.fault, symbol)
            return len(symbols)
        if order.fault in {Fault.REFUSE, Fault.ACCEPT}:
            if argument not in self._listings:
                raise LocalError(f"{argument!r}: expected an instrument of this simulator")
            change = self._refused.add if order.fault is Fault.REFUSE else self._refused.discard
            change(argument)
            return 1
        if order.fault in {Fault.PAUSE, Fault.RESUME}:
            self._paused = order.fault is Fault.PAUSE
            return 1
        connections = list(self._websockets)
        for connection in connections:
            self._harm_connection(order.fault, argument, connection)
        return len(connections)

    def _symbols(self, argument: str) -> list[str]:
        if argument and argument not in self._listings:
            raise LocalError(f"{argument!r}: expected an instrument of this simulator")
        return [symbol for symbol in self._active if argument in {"", symbol}]

    def _harm_instrument(self, fault: Fault, symbol: str) -> None:
        listing = self._listings[symbol]
        if fault is Fault.GAP:
            self._skip.add(symbol)
        elif fault is Fault.CROSSED:
            self._send(symbol, listing.book.cross(), time.time_ns() // 1_000_000)
        for channel, subscribers in listing.subscribers.items():
            frame = b""
            if fault is Fault.DUPLICATE:
                frame = listing.last_frames.get(channel, b"")
            elif fault is Fault.GARBAGE:
                # The channel is right, so that the harm is this instrument's; the body's length
                # is not, and no protobuf reader may accept it.
                frame = depth_frame(channel, symbol, 0, b"\x0a\x7f\x0a\x08")
            for connection in subscribers if frame else ():
                connection.push(frame)
                connection.flush()

    def _harm_connection(self, fault: Fault, argument: str, connection: Connection) -> None:
        if fault is Fault.DISCONNECT:
            connection.abort()
        elif fault is Fault.HALF_FRAME:
            connection.write_half(frame_binary(bytes(200)))
        elif fault is Fault.DRIP:
            connection.drip(float(argument or DRIP_S))
        elif fault is Fault.PING_FLOOD:
            connection.ping(int(argument or PING_FLOOD_COUNT))
        elif fault is Fault.CLOSE:
            connection.close(int(argument or GOING_AWAY))
