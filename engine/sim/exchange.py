"""The simulated exchange: a venue's dialect on sockets, faults, and the truth for tests to ask.

An instrument's book moves only while somebody subscribes to it; every subscriber gets every version
from then on. Beside the venue's own REST, on the same port: `POST /fault?kind=gap:BTCUSDT` (GET
does too), `GET /truth?symbol=BTCUSDT`, `GET /status`. What is said, and how, is the dialect's.
Time and timers are arguments: `serve` stands on asyncio's and sockets, tests/sim on its own.
Called by: command.py, tests. Calls: dialect.py, market.py, fair.py, connection.py. One thread.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from tickpath.engine.sim.connection import Connection, frame
from tickpath.engine.sim.dialect import Floor, HttpResponse, Message, json_response, packed
from tickpath.engine.sim.fair import Fair
from tickpath.engine.sim.faults import (
    HARMS_INSTRUMENT,
    NEEDS_ARGUMENT,
    Fault,
    Order,
    parse_fault,
)
from tickpath.engine.sim.market import LEVELS_MAX, Delta, make_book
from tickpath.engine.sim.message_faults import NEXT_ANSWER, NEXT_MESSAGE, MessageFaults
from tickpath.engine.sim.rest_faults import REST_FAULTS, RestFaults
from tickpath.proto.instrument import find_instrument
from tickpath.proto.records import format_fixed
from tickpath.proto.venues.decoder import is_packed
from tickpath.shm.clock import SYSTEM, Clock
from tickpath.shm.errors import LocalError, SystemSetupError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence

    from tickpath.engine.sim.dialect import Client, Counters, Dialect, HttpRequest
    from tickpath.engine.sim.market import Book, Side

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
IDLE_S: Final = 30.0
"""A WebSocket without a subscription is closed after so long, where the venue names no time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a simulator is made of. levels: lowest and highest of a message; None: mostly two."""

    instruments: Sequence[str]
    """By the venue's own names."""
    rate: float = 100.0
    levels: tuple[int, int] | None = None
    depth: int = 200
    seed: int = 1
    faults: Sequence[Order] = ()
    idle_s: float | None = None
    """None: the venue's own."""
    is_fair: bool = False
    """Quote around the prices that all simulators with this seed and option have (fair.py)."""


def later_by_asyncio(delay_s: float, act: Callable[[], object]) -> None:
    """Do something after so long, in the running event loop."""
    asyncio.get_running_loop().call_later(delay_s, act)


class Exchange:
    """One venue, simulated. Use `serve`; `port` is known from then on; `close` ends it.

    Who carries bytes and time himself uses `start` instead, gives both arguments, and makes a
    `Connection` for each client.
    """

    def __init__(
        self,
        dialect: type[Dialect],
        options: Options,
        clock: Clock = SYSTEM,
        later: Callable[[float, Callable[[], object]], None] = later_by_asyncio,
    ) -> None:
        self.port = 0
        self.later = later
        self._clock = clock
        self.on_fault: Callable[[Order], None] = lambda _: None
        self._options = options
        self._venue = dialect.venue
        self._floor = Floor(
            dialect.venue,
            options.instruments,
            depth=options.depth,
            seed=options.seed,
            make=Fair(dialect.venue.name, clock.unix_ns, dialect.exponents).make_book
            if options.is_fair
            else make_book,
        )
        self._dialect = dialect(self._floor)
        self._random = random.Random(options.seed)
        self._websockets: dict[Client, Connection] = {}
        wire = packed if is_packed(dialect.venue.name) else None
        self._wire: Callable[[Message], Message] = wire or (lambda message: message)
        self._message_faults = MessageFaults(random.Random(f"faults {options.seed}"), wire)
        self._rest_faults = RestFaults()
        self.spoils_rest = True
        """Whether faults that were ordered reach answers of REST."""
        self._paused = self._is_over = False
        self._due, self._last_s = 0.0, clock.now_s()
        self._next = 0
        self._server: asyncio.Server | None = None

    @property
    def counters(self) -> Counters:
        """Return what happened since the start."""
        return self._floor.counters

    # Life.

    async def serve(self, address: str, port: int, tls: ssl.SSLContext | None) -> None:
        """Listen and begin to push; raises SystemSetupError where the port cannot be had."""
        try:
            self._server = await asyncio.get_running_loop().create_server(
                lambda: Connection(self), address, port, ssl=tls, backlog=1024
            )
        except OSError as error:
            raise SystemSetupError(
                f"cannot listen on {address}:{port}: {error.strerror or error}; "
                "choose an address of this machine and a free port, or port 0 for any"
            ) from error
        self.port = self._server.sockets[0].getsockname()[1]
        self.start()

    def start(self) -> None:
        """Begin to push, and count the time of scheduled faults from now."""
        self._last_s = self._clock.now_s()
        for order in self._options.faults:
            self.later(order.at_s, partial(self.do, order))
        self.later(TICK_S, self._push_on)
        self.later(IDLE_TICK_S, self._talk_on)

    async def close(self) -> None:
        """Say goodbye to every client and stop."""
        self._is_over = True
        for connection in list(self._websockets.values()):
            connection.close(GOING_AWAY, "the simulator ends")
        if self._server is not None:
            self._server.close()
        await asyncio.sleep(0.05)
        for connection in list(self._websockets.values()):
            connection.abort()

    # Pushes.

    def _push_on(self) -> None:
        """Push what is due, and come again when something will be."""
        if self._is_over:
            return
        self._push_due()
        rate, due_s = self._options.rate, IDLE_TICK_S
        # An exchange that sleeps leaves the CPU to others.
        if rate > 0 and self._floor.active and not self._paused:
            due_s = (1 - self._due) / rate
        self.later(max(TICK_S, min(due_s, IDLE_TICK_S)), self._push_on)

    def _push_due(self) -> None:
        # An event loop's own clock stands still within a turn and counts milliseconds only.
        now_s = self._clock.now_s()
        self._due += min(now_s - self._last_s, STALL_MAX_S) * self._options.rate
        self._last_s = now_s
        if self._paused or not self._floor.active:
            self._due = 0.0
            return
        count = int(self._due)
        self._due -= count
        self.push(count)

    def _talk_on(self) -> None:
        """Send what the venue says by itself, again and again."""
        if self._is_over:
            return
        for client, connection in list(self._websockets.items()):
            for message in self._dialect.due(client, self._clock.unix_ns()):
                connection.send(self._wire(message))
        self.later(IDLE_TICK_S, self._talk_on)

    def push(self, count: int) -> None:
        """Send so many messages, over the subscribed instruments in turn."""
        now_ns = self._clock.unix_ns()
        touched: set[Connection] = set()
        active = self._floor.active
        for _ in range(count):
            self._next = (self._next + 1) % len(active)
            symbol = active[self._next]
            delta = self._floor.listings[symbol].book.step(self._level_count())
            pushed = self._dialect.pushes(symbol, delta, now_ns)
            self._send(symbol, delta, pushed, touched)
        for connection in touched:
            connection.flush()

    def _level_count(self) -> int:
        if self._options.levels is not None:
            low, high = self._options.levels
            return low if low == high else self._random.randint(low, high)
        return min(1 + int(self._random.expovariate(1 / (LEVELS_MEAN - 0.5))), LEVELS_MAX)

    def _send(
        self,
        symbol: str,
        delta: Delta,
        pushed: Sequence[tuple[str, Message]],
        touched: set[Connection],
    ) -> None:
        """Queue a change for all who listen; `touched` are those to flush."""
        listing, counters = self._floor.listings[symbol], self._floor.counters
        if symbol in self._floor.deaf:
            return
        for channel, framed in self._message_faults.spoil(symbol, pushed):
            subscribers = listing.subscribers.get(channel, ())
            for client in subscribers:
                connection = self._websockets[client]
                connection.push(framed)
                touched.add(connection)
            counters.messages += len(subscribers)
            counters.bytes += len(subscribers) * len(framed)
        counters.levels += len(delta.bids) + len(delta.asks)

    # What clients say (connection.Service).

    def is_websocket(self, path: str) -> bool:
        """Say whether this path is upgraded."""
        return path in self._dialect.websocket_paths

    def refuses_upgrade(self, request: HttpRequest) -> HttpResponse | None:
        """Refuse upgrades while they are limited, and those that the venue lets not in."""
        refused = self._rest_faults.refuse_upgrade(self._clock.unix_ns())
        return refused or self._dialect.refuses_upgrade(request)

    def opened(self, connection: Connection) -> None:
        """Count a WebSocket, and end it if it subscribes to nothing for long."""
        self._websockets[connection.client] = connection
        self.counters.connections += 1
        idle_s = self._options.idle_s or self._venue.limits.idle_without_channel_s or IDLE_S
        self.later(idle_s, partial(self._end_idle, connection))

    def greet(self, connection: Connection) -> None:
        """Say what the venue says first."""
        for message in self._dialect.opened(connection.client, self._clock.unix_ns()):
            connection.send(self._wire(message))

    def _end_idle(self, connection: Connection) -> None:
        if connection.client in self._websockets and not connection.client.channels:
            connection.close(1000, "no subscription")

    def closed(self, connection: Connection) -> None:
        """Drop its subscriptions."""
        self._websockets.pop(connection.client, None)
        self.counters.connections -= 1
        self._floor.forget(connection.client)

    def received(self, connection: Connection, message: Message) -> None:
        """Answer a client's message."""
        client, late_s = connection.client, 0.0
        before = set(client.channels)
        answers = self._dialect.received(client, message, self._clock.unix_ns())
        if client.channels != before:
            answers, late_s = self._message_faults.spoil_answers(answers)
        if late_s > 0:
            self.later(late_s, partial(self._answer, connection, answers))
        else:
            self._answer(connection, answers)

    def _answer(self, connection: Connection, answers: Sequence[Message]) -> None:
        for answer in answers:
            connection.send(self._wire(answer))

    # REST and control.

    def http(self, request: HttpRequest) -> HttpResponse:
        """Answer a REST or control request."""
        path, _, query_text = request.target.partition("?")
        query = dict(parse_qsl(query_text))
        self.counters.rest += 1
        routes: dict[str, Callable[[dict[str, str]], HttpResponse]] = {
            "/truth": self._truth,
            "/status": lambda _: json_response(200, self.counters),
            "/fault": self._fault,
        }
        if path in routes:
            return routes[path](query)
        now_ns = self._clock.unix_ns()
        delisted = set() if self.spoils_rest else set(self._floor.delisted)
        self._floor.delisted -= delisted
        answer = self._dialect.http(request, now_ns)
        self._floor.delisted |= delisted
        if answer is not None and not self.spoils_rest:
            return answer
        if answer is not None:
            return self._rest_faults.spoil(request.asked, answer, now_ns)
        known = f"the venue's own, {', '.join(routes)}"
        return json_response(404, {"code": 404, "msg": f"no {path}; known: {known}"})

    def _truth(self, query: dict[str, str]) -> HttpResponse:
        try:
            symbol = self._symbol(query.get("symbol", ""))
        except LocalError as error:
            return json_response(404, {"code": 404, "msg": str(error)})
        book = self._floor.listings[symbol].book
        count = len(book.bids.prices) + len(book.asks.prices)
        return json_response(
            200,
            {
                "symbol": symbol,
                "version": book.version,
                "bids": _levels(book, book.bids, count),
                "asks": _levels(book, book.asks, count),
            },
        )

    def _fault(self, query: dict[str, str]) -> HttpResponse:
        try:
            order = parse_fault(query.get("kind", ""))
            done = self.do(order)
        except (LocalError, ValueError) as error:
            return json_response(400, {"code": 400, "msg": str(error)})
        return json_response(
            200, {"fault": order.fault.value, "argument": order.argument, "hit": done}
        )

    # Faults.

    def do(self, order: Order) -> int:
        """Let a fault happen; return how many connections or instruments it hit."""
        self.counters.faults += 1
        self.on_fault(order)
        argument = order.argument
        if argument and order.fault in HARMS_INSTRUMENT | NEEDS_ARGUMENT:
            argument = self._symbol(argument)
        if order.fault in REST_FAULTS:
            self._rest_faults.do(order, self._clock.unix_ns())
            return 1
        if order.fault in HARMS_INSTRUMENT:
            symbols = [one for one in self._floor.active if argument in {"", one}]
            for symbol in symbols:
                self._harm_instrument(order.fault, symbol)
            return len(symbols)
        if order.fault in NEEDS_ARGUMENT:
            begins, _, marked = next(one for one in self._marks() if order.fault in one[:2])
            (marked.add if order.fault is begins else marked.discard)(argument)
            return 1
        if order.fault in NEXT_ANSWER:
            self._message_faults.harm_answer(order)
            return 1
        if order.fault in {Fault.PAUSE, Fault.RESUME}:
            self._paused = order.fault is Fault.PAUSE
            return 1
        connections = list(self._websockets.values())
        for connection in connections:
            self._harm_connection(order.fault, argument, connection)
        return len(connections)

    def _marks(self) -> tuple[tuple[Fault, Fault, set[str]], ...]:
        """Return which faults mark an instrument, and which end that."""
        return (
            (Fault.MUTE, Fault.UNMUTE, self._message_faults.muted),
            (Fault.REFUSE, Fault.ACCEPT, self._floor.refused),
            (Fault.HALT, Fault.REOPEN, self._floor.halted),
            (Fault.DELIST, Fault.RELIST, self._floor.delisted),
            (Fault.DEAFEN, Fault.HEAR, self._floor.deaf),
        )

    def _symbol(self, name: str) -> str:
        """Return the venue's own name of an instrument; raises LocalError for one not simulated."""
        listed = [listing.book.instrument for listing in self._floor.listings.values()]
        try:
            return find_instrument(listed, name).symbol
        except ValueError as error:
            raise LocalError(str(error)) from error

    def _harm_instrument(self, fault: Fault, symbol: str) -> None:
        listing, touched = self._floor.listings[symbol], set[Connection]()
        if fault in NEXT_MESSAGE:
            self._message_faults.harm_next(symbol, fault)
        elif fault is Fault.RENUMBER:
            listing.book.renumber()
        elif fault is Fault.SCALE:
            self._rescale(symbol, touched)
        elif fault is Fault.CROSSED:
            delta = listing.book.cross()
            self._send(
                symbol, delta, self._dialect.pushes(symbol, delta, self._clock.unix_ns()), touched
            )
        for channel, subscribers in listing.subscribers.items():
            data = b""
            if fault in {Fault.DUPLICATE, Fault.OLD}:
                data = self._message_faults.again(channel, fault)
            elif fault is Fault.GARBAGE:
                data = frame(self._wire(self._dialect.garbage(symbol, channel)))
            elif fault is Fault.BASE:
                base = self._dialect.base(symbol, channel, self._clock.unix_ns())
                data = b"" if base is None else frame(self._wire(base))
            for client in subscribers if data else ():
                self._websockets[client].push(data)
                touched.add(self._websockets[client])
        for connection in touched:
            connection.flush()

    def _rescale(self, symbol: str, touched: set[Connection]) -> None:
        book = self._floor.listings[symbol].book
        delta = book.rescale()
        if delta is not None:  # said with the digits of before
            pushed = self._dialect.pushes(symbol, delta, self._clock.unix_ns())
            self._send(symbol, delta, pushed, touched)
        book.take_scale()

    def _harm_connection(self, fault: Fault, argument: str, connection: Connection) -> None:
        if fault is Fault.DISCONNECT:
            connection.abort()
        elif fault is Fault.SILENT:
            connection.silence()
        elif fault is Fault.HALF_FRAME:
            connection.write_half(frame(Message(bytes(200), is_text=False)))
        elif fault is Fault.DRIP:
            connection.drip(float(argument or DRIP_S))
        elif fault is Fault.PING_FLOOD:
            connection.ping(int(argument or PING_FLOOD_COUNT))
        elif fault is Fault.CLOSE:
            connection.close(int(argument or GOING_AWAY))


def _levels(book: Book, side: Side, count: int) -> list[list[str]]:
    instrument = book.instrument
    return [
        [
            format_fixed(price, instrument.price_exponent),
            format_fixed(quantity, instrument.quantity_exponent),
        ]
        for price, quantity in side.levels(count)
    ]
