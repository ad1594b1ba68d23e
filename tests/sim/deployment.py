"""A whole deployment in one process and in virtual time: venue, wire, feed handler, shared memory.

The venue is engine/sim's exchange with its dialect, the feed handler is `FeedHandler` with its
real hot path, connections, bases and plan; between them a memory link, our TCP and WebSocket, with
TLS where asked for. REST is the dialect's answer after a delay. The truth that books are held to is
the market's own, kept by the exchange at every version; where the venue numbers nothing, a book is
known by what it shows, to the depth that its channel has. One seed decides everything; nothing
reads the host's clock, sleeps, or outlives the run.
"""

from __future__ import annotations

import heapq
import random
import select
import struct
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import chain, count
from typing import TYPE_CHECKING, Any

from tickpath._core import ffi, lib
from tickpath.engine.config.schema import (
    Config,
    FeedHandlerConfig,
    HealthConfig,
    ReconnectConfig,
    ShmConfig,
    VenueConfig,
)
from tickpath.engine.feed_handler.aside import BaseSubscription, read_base
from tickpath.engine.feed_handler.bases import STOP_WITHIN_S
from tickpath.engine.feed_handler.process import PAUSE_S, FeedHandler, Outside
from tickpath.engine.feed_handler.rest_client import LateError, read_answer
from tickpath.engine.loop.pauses import Pauses
from tickpath.engine.sim.connection import Connection
from tickpath.engine.sim.dialect import Client, HttpRequest, Message
from tickpath.engine.sim.exchange import DRIP_S, Exchange, Options
from tickpath.engine.sim.faults import parse_fault
from tickpath.engine.sim.venues import load_dialect
from tickpath.proto.venue import HttpResponse
from tickpath.proto.venues.decoder import find_decoder
from tickpath.shm.clock import Clock
from tickpath.shm.reader import Reader

from tests.sim.members import LAG_MAX_S as MEMBER_LAG_MAX_S
from tests.sim.members import Member
from tests.sim.virtual import NEVER, SECOND
from tests.sim.virtual_wire import FarEnd, VirtualLink, VirtualTransport

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tickpath.engine.feed_handler.bases import Question
    from tickpath.engine.feed_handler.venue_feed import VenueFeed
    from tickpath.engine.sim.dialect import Dialect
    from tickpath.engine.sim.market import Book
    from tickpath.proto import venue
    from tickpath.proto.instrument import Instrument

START_NS = 1_000 * SECOND
UNIX_NS = 1_800_000_000 * SECOND
HOSTS, PORT = ("exchange.test", "other.test", "third.test"), 443
ADDRESSES = ("10.0.0.2", "10.0.0.3", "10.0.0.4")
IDLE_NS = 10_000_000  # a hot loop turns at least so often
TICK_NS = 200_000  # engine/loop: so often it takes commands, and so often it turns after there are
BUSY_NS = 1_000_000  # for so long
COLD_NS = 1_000_000  # a cold thread that is called looks so often at most
TURN_NS = 20_000  # and not sooner: the frames of such a time come in one burst
LAG_LOOK_NS = 20_000_000  # how often it is asked whether LIVE books lag
DEPTH_SHOWN = 20
SILENT_S = 2.0
DROP_S = 1.25 * SILENT_S
RECONNECT_MAX_S = 2.0
KEEP_S = 10.0
HANDSHAKE_S = 10.0
BASE_RETRY_MAX_S = 10.0
# The longest way back to LIVE by the rules: a silence is noticed, a handshake that was under way
# ends, then comes the pause before the next one; a base that was limited or failed is asked for
# again after its longest backoff, and may take its time-out.
RECOVERY_S = DROP_S + HANDSHAKE_S + RECONNECT_MAX_S + BASE_RETRY_MAX_S + KEEP_S + 2.0
# A LIVE book may be so old: what a dripping connection holds back counts as life.
LAG_MAX_S = SILENT_S + DRIP_S
SYNCING = 0
LIST_EVERY_S = 60.0
LIVE = 1
STALE = 2
STATES = ("SYNCING", "LIVE", "STALE", "CROSSED")


class DeploymentError(AssertionError):
    """Raised when a promise of the deployment does not hold; the text has seed and story."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a deployment is made of; the defaults are small and fast."""

    seed: int
    directory: Path
    dialect: type[Dialect] = field(default_factory=lambda: load_dialect("mexc"))
    symbols: tuple[str, ...] = ("BTCUSDT", "ETHUSDT")
    listed: tuple[str, ...] | None = None
    """What the venue lists, where that is not the same."""
    rate: float = 40.0
    depth: int = 60
    settings: Any = None
    list_every_s: float = LIST_EVERY_S
    tls: ssl.SSLContext | None = None
    ca_file: Path | None = None
    keep_s: float = KEEP_S
    quiet_s: float = 60.0
    race: int = 1
    overlap: bool = False
    beside: Setup | None = None
    """Another [[venue]] of the same feed handler; what is not of a venue alone is the first's."""

    def chain(self) -> list[Setup]:
        """Return it and those beside it."""
        return [self] if self.beside is None else [self, *self.beside.chain()]


@dataclass(slots=True)
class Seen:
    """What shared memory says of one instrument."""

    version: int
    state: int
    reason: int
    bids: bytes
    asks: bytes
    price_exponent: int = 0
    quantity_exponent: int = 0
    live_ns: int = 0
    """Since when it is LIVE, where it is."""


class VirtualRest:
    """The venue's REST without a wire: for the instrument list, fetched before time runs."""

    def __init__(
        self,
        ask: Callable[[venue.HttpRequest], tuple[HttpResponse, float]],
        config: VenueConfig,
    ) -> None:
        self._ask, self._config = ask, config

    def ask(
        self,
        request: venue.HttpRequest,
        *,
        size_max: int,
        timeout_s: float = KEEP_S,
    ) -> bytes:
        now = datetime.fromtimestamp(UNIX_NS / SECOND, UTC)
        answer, _ = self._ask(request)
        return read_answer(self._config, request, answer, size_max=size_max, now=now)

    def close(self) -> None:
        """Nothing is open."""


class Deployment:
    """One of each part. `run` lets time pass, `order` does a fault, `stop` ends it in order."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.now_ns = START_NS
        self.random = random.Random(setup.seed)
        self.story: list[str] = []
        self._numbers = count()
        self._due: list[tuple[int, int, Callable[[], object]]] = []
        clock = Clock(lambda: self.now_ns, lambda: self.now_ns - START_NS + UNIX_NS)
        self._setups = setup.chain()
        self.truth: dict[str, dict[int, Truth]] = {}
        # What a version was before a numbering began anew, and until when: it may be on its way.
        self._former: dict[str, dict[int, tuple[Truth, int]]] = {}
        self.places: dict[str, dict[int, int]] = {}  # in `times`
        self.times: dict[str, list[int]] = {}  # of the versions
        self.lag_max_s = LAG_MAX_S
        self._next_lag_ns = START_NS
        self._latest: dict[str, Truth] = {}
        # The last version that showed just this; asked only where nothing is numbered.
        self._shown: dict[str, dict[Values, int]] = {}
        self._whose: dict[str, int] = {}  # the number of its venue
        self._rules = [book_rule(one) for one in self._setups]
        self._depths = [min(DEPTH_SHOWN, rule.depth or DEPTH_SHOWN) for rule in self._rules]
        self.exchanges = [self._make_exchange(number, clock) for number in range(len(self._setups))]
        self.exchange = self.exchanges[0]
        self.checks = 0  # bases asked for on a connection of their own
        self.starts = 0
        self.restart_due = ""
        """How the feed handler is to be ended and started anew after this turn; "": it is not."""
        self._clocks, self._pauses = clock, Pauses(clock, None)
        self._start(self._config())
        for exchange in self.exchanges:
            exchange.start()

    # Making.

    def _make_exchange(self, number: int, clock: Clock) -> Exchange:
        setup = self._setups[number]
        listed = setup.listed or setup.symbols
        options = Options(instruments=listed, rate=setup.rate, depth=setup.depth, seed=setup.seed)
        exchange = Exchange(setup.dialect, options, clock, self.later)
        for symbol, listing in exchange._floor.listings.items():
            name = self.name(number, symbol)
            self._whose[name] = number
            self.truth[name], self.places[name], self._shown[name] = {}, {}, {}
            self._former[name] = {}
            self.times[name] = []
            self._witness(name, listing.book)
            listing.book.witness = partial(self._witness, name)
        return exchange

    def name(self, number: int, symbol: str) -> str:
        """Return how an instrument of a venue is called here: the first venue's by its symbol."""
        return f"{self._setups[number].dialect.venue.name}:{symbol}" if number else symbol

    def _name_of(self, row: Instrument) -> str:
        names = [one.dialect.venue.name for one in self._setups]
        return self.name(names.index(row.venue), row.symbol)

    def _open_rest(self, of: VenueConfig) -> VirtualRest:
        names = [one.dialect.venue.name for one in self._setups]
        return VirtualRest(partial(self._http, names.index(of.name)), of)

    def _section(self, number: int) -> VenueConfig:
        setup, host = self._setups[number], HOSTS[number]
        return VenueConfig(
            symbols=setup.symbols,
            name=setup.dialect.venue.name,
            host=host,
            port=PORT,
            tls=self.setup.tls is not None,
            ca_file=None if self.setup.ca_file is None else str(self.setup.ca_file),
            resolve={f"{host}:{PORT}": ADDRESSES[number]},
            race=setup.race,
            overlap=setup.overlap,
            settings=setup.settings,
        )

    def _config(self) -> Config:
        setup = self.setup
        return Config(
            venues=tuple(self._section(number) for number in range(len(self._setups))),
            instance=f"virtual-{setup.seed}",
            feed_handler=FeedHandlerConfig(huge_pages=False, lock_memory=False),
            shm=ShmConfig(ring_capacity=1 << 10),
            health=HealthConfig(
                silent_after_ms=int(SILENT_S * 1000),
                keep_s=setup.keep_s,
                verify_quiet_after_s=setup.quiet_s,
                list_every_s=setup.list_every_s,
            ),
            reconnect=ReconnectConfig(max_s=RECONNECT_MAX_S),
        )

    def _start(self, config: Config) -> None:
        self.starts += 1
        self.link = VirtualLink()
        self.transport = VirtualTransport(self.random, self._accept, self.setup.tls)
        outside = Outside(
            clock=self._clocks,
            open_transport=lambda *_: self.transport,
            open_rest=self._open_rest,
            directory=self.setup.directory,
            pauses=self._pauses,
            leaves_by=lambda _: self.link.interface,
            watch_link=lambda _: self.link,
            aside=lambda work: work(),
            segment_clock=ffi.new("struct tp_clock *"),
        )
        self.feed_handler = FeedHandler(config, self.tell, outside)
        self._cold_ns = self._cold_due_ns = self._busy_ns = 0
        self._ask_ns = [0] * len(self._setups)
        self._is_opening = True
        self._open()
        self._is_opening = False

    def restart(self, *, in_order: bool) -> None:
        """End the feed handler, in order or at once, and start another one of its configuration."""
        self.tell("restart, in order" if in_order else "restart, at once")
        if in_order:
            self.stop()
        config = self.feed_handler.config  # behind a reload while it ended: whoever starts reads it
        for end in list(self.transport.ends.values()):
            end.abort()
        self.close()
        self._start(config)

    def _open(self) -> None:
        feed_handler = self.feed_handler
        if not feed_handler.open():
            raise DeploymentError("the feed handler was stopped while it opened")
        feed_handler.connections.random = random.Random(self.random.getrandbits(63))
        for one in feed_handler.venues:
            one.list_reader.jitter = random.Random(self.random.getrandbits(63)).random
            one.bases.schedule.jitter = random.Random(self.random.getrandbits(63)).random
        # The writer's copy, which the hot path reads, is what was last stored (shm/clock.h).
        self._clock = feed_handler.segment.header.clock
        self._clock.tsc_base, self._clock.ns_base = 2**64 - 1, self.now_ns
        self._symbols = [self._name_of(row) for row in feed_handler.instruments]
        self.seen = [Seen(-1, 0, 0, b"", b"")] * len(self._symbols)
        self._memory = Reader(feed_handler.config.instance, directory=self.setup.directory)
        self._records = [0] * len(self._symbols)
        self._handle = feed_handler.hot.handle
        self._bell = select.poll()
        self._bell.register(feed_handler.hot._handover.wake_fd, select.POLLIN)
        self._worker = feed_handler.handshakes.worker if self.setup.tls is not None else None

    def _accept(self, end: FarEnd) -> None:
        number = ADDRESSES.index(end.address)
        exchange, races = self.exchanges[number], self._setups[number].race > 1
        races = races or self._setups[number].overlap
        lag_s = self.random.uniform(0.0, MEMBER_LAG_MAX_S) if races else 0.0
        end.meet(Member(exchange, lag_s) if races else Connection(exchange))

    def _witness(self, name: str, book: Book) -> None:
        number = self._whose[name]
        bids, asks = (side.levels(self._depths[number]) for side in (book.bids, book.asks))
        row = book.instrument
        true = Truth(bids, asks, row.price_exponent, row.quantity_exponent)
        latest = self._latest.get(name)
        is_same = true == latest or (
            latest is not None and true.scale != latest.scale and true.values == latest.values
        )
        known = self.truth[name].get(book.version)
        if known is not None and known.values != true.values:
            self._former[name][book.version] = known, self.now_ns
        self.truth[name][book.version] = self._latest[name] = true
        if self._rules[number].chain == lib.TP_CHAIN_NONE:
            self._shown[name][true.values] = book.version
        if not is_same:  # the same with another number, or other digits, makes no book old
            self.times[name].append(self.now_ns)
        self.places[name][book.version] = len(self.times[name]) - 1

    def tell(self, text: str) -> None:
        """Take a line of the log or of the story."""
        self.story.append(f"{(self.now_ns - START_NS) / SECOND:9.4f} {text}")

    # Time.

    def later(self, delay_s: float, act: Callable[[], object]) -> None:
        """Do something after so long: the timers of all parts."""
        at_ns = self.now_ns + int(delay_s * SECOND)
        heapq.heappush(self._due, (at_ns, next(self._numbers), act))

    def order(self, text: str, venue: int = 0) -> None:
        """Let a fault of an exchange happen now."""
        self.tell(f"fault {text}" + (f" at venue {venue}" if venue else ""))
        self.exchanges[venue].do(parse_fault(text))

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> bool:
        """Let time pass, until something holds if told what; returns whether it does."""
        end_ns = self.now_ns + int(seconds * SECOND)
        while self.now_ns < end_ns:
            soon_ns = self._turn()
            if self.restart_due:
                in_order, self.restart_due = self.restart_due == "in order", ""
                self.restart(in_order=in_order)
                continue
            if until is not None and until():
                return True
            self.now_ns = min(max(soon_ns, self.now_ns + TURN_NS), end_ns)
        return until is None or until()

    def _turn(self) -> int:
        """Let all parts do what is due now; returns when the next turn is."""
        now_ns = self._clock.ns_base = self.now_ns
        due = self._due
        while due and due[0][0] <= now_ns:
            heapq.heappop(due)[2]()
        self.transport.advance(now_ns)
        if self._worker is not None:
            lib.tp_tls_handshake_worker_step(self._worker)
        lib.tp_hot_path_turn(self._handle, now_ns)
        if now_ns >= self._cold_ns and (now_ns >= self._cold_due_ns or self._is_called()):
            self._cold_ns = now_ns + COLD_NS
            self.feed_handler.hot.await_note(0.0)  # which ends the call
            self.feed_handler.step()
            wait_s = self.feed_handler.connections.wait_s(PAUSE_S)
            self._cold_due_ns = now_ns + int(wait_s * SECOND)
        for number, of in enumerate(self.feed_handler.venues):
            if now_ns >= self._ask_ns[number] or of.bases._called.is_set():
                of.bases._called.clear()
                self._ask_for_bases(of)
                self._ask_ns[number] = now_ns + int(min(STOP_WITHIN_S, of.bases._wait_s()) * SECOND)
        self._look()
        soon_ns = now_ns + (TICK_NS if now_ns < self._busy_ns else IDLE_NS)
        return min(soon_ns, self.transport.next_ns(), due[0][0] if due else NEVER)

    # REST: the question takes half of its time to the venue, the answer the other half back.

    def _http(self, number: int, request: venue.HttpRequest) -> tuple[HttpResponse, float]:
        """Ask an exchange; returns the answer and how late it is."""
        exchange, method = self.exchanges[number], "POST" if request.body else "GET"
        fields = {name.lower(): value for name, value in request.headers}
        # Without a list of its own it would wait by the host's clock, or end, to be started again.
        exchange.spoils_rest = not self._is_opening
        answer = exchange.http(HttpRequest(method, request.target, fields, request.body))
        headers = {name.lower(): value for name, value in answer.headers.items()}
        return HttpResponse(answer.status, headers, answer.body), answer.delay_s

    def _is_called(self) -> bool:
        """Say whether the cold thread would wake: for a note, a book that waits, or the link."""
        return bool(self._bell.poll(0)) or self.link.trouble != self.link.seen

    def _ask_for_bases(self, of: VenueFeed) -> None:
        while (question := of.bases.ask()) is not None:
            half_s = self.random.uniform(0.001, 0.05)
            self.later(half_s, partial(self._answer, of, question, half_s))

    def _answer(self, of: VenueFeed, question: Question, half_s: float) -> None:
        if of not in self.feed_handler.venues:
            return  # of a feed handler that has ended
        if isinstance(question.request, BaseSubscription):
            fetch = self._beside(of, question.request)
            self.later(half_s, partial(self._hand_over, of, question, fetch))
            return
        answer, delay_s = self._http(of.number, question.request)
        timeout_s = of.bases.timeout_s
        is_late = delay_s + 2 * half_s > timeout_s
        after_s = timeout_s - half_s if is_late else delay_s + half_s
        self.later(after_s, lambda: self._settle(of, question, None if is_late else answer))

    def _settle(self, of: VenueFeed, question: Question, answer: HttpResponse | None) -> None:
        def fetch() -> bytes:
            if answer is None:
                raise LateError("timed out")
            now = datetime.fromtimestamp((self.now_ns - START_NS + UNIX_NS) / SECOND, UTC)
            return read_answer(of.config, question.request, answer, size_max=1 << 23, now=now)

        self._hand_over(of, question, fetch)

    def _hand_over(self, of: VenueFeed, question: Question, fetch: Callable[[], bytes]) -> None:
        if of not in self.feed_handler.venues:
            return
        self._busy_ns = self.now_ns + BUSY_NS
        of.bases.settle(question, fetch)

    def _beside(self, of: VenueFeed, asked: BaseSubscription) -> Callable[[], bytes]:
        """Subscribe and unsubscribe on a connection of its own, which is as good as any other."""
        exchange, client = self.exchanges[of.number], Client()
        dialect, active = exchange._dialect, exchange._floor.active
        moving = list(active)
        venue, names = of.config.venue, (asked.channel,)
        unix_ns = self.now_ns - START_NS + UNIX_NS
        said = venue.subscribe(names, request=1, time_s=unix_ns // SECOND)
        answers = [
            answer.data
            for text in said
            for answer in dialect.received(client, Message(text, is_text=True), unix_ns)
        ]
        for text in venue.unsubscribe(names, request=2, time_s=unix_ns // SECOND):
            dialect.received(client, Message(text, is_text=True), unix_ns)
        active[:] = moving  # an instrument that rests does so still
        self.checks += 1

        def fetch() -> bytes:
            for answer in answers:
                if read_base(venue.name, asked, answer) is not None:
                    return answer
            raise LateError("no base came")

        return fetch

    # What shared memory says, against the truth.

    def _look(self) -> None:
        for row in self.feed_handler.instruments[len(self._symbols) :]:  # that came since
            self._symbols.append(self._name_of(row))
            self._records.append(0)
            self.seen.append(Seen(-1, 0, 0, b"", b""))
        looks = self.now_ns >= self._next_lag_ns  # a lag is of seconds
        if looks:
            self._next_lag_ns = self.now_ns + LAG_LOOK_NS
        for slot in range(len(self._symbols)):
            version = self._memory.read_snapshot(slot)
            if version != self._records[slot]:
                self._records[slot] = version
                self._check(slot)
            elif looks and self.seen[slot].state == LIVE and self._old_s(slot) > self.lag_max_s:
                raise self.failure(f"{self._symbols[slot]} is LIVE and {self.lag_s(slot)} s old")

    def _old_s(self, slot: int) -> float:
        """Return for how long a book is LIVE without what the venue has newer.

        A base by REST may be an old one to begin with: only a message of the channel shows it.
        """
        if self._rules[self._whose[self._symbols[slot]]].base != lib.TP_BASE_REST:
            return self.lag_s(slot)
        return min(self.lag_s(slot), (self.now_ns - self.seen[slot].live_ns) / SECOND)

    def _check(self, slot: int) -> None:
        raw = bytes(self._memory.snapshot[4:].cast("B"))
        record = ffi.cast("struct tp_book_record *", ffi.from_buffer(raw))
        bids = bytes(ffi.buffer(record.bids, 16 * record.bid_count))
        asks = bytes(ffi.buffer(record.asks, 16 * record.ask_count))
        before, name = self.seen[slot], self._symbols[slot]
        scale = record.price_exponent, record.quantity_exponent
        seen = Seen(record.book_sequence, record.state, record.reason, bids, asks, *scale)
        seen.version = self._version(name, seen)
        seen.live_ns = before.live_ns if before.state == LIVE else self.now_ns
        self.seen[slot] = seen
        if (before.state, before.reason) != (seen.state, seen.reason):
            self.tell(f"{name} {STATES[seen.state]} reason {seen.reason} at {seen.version}")
        if seen.state != LIVE:
            return
        true = self.truth[name].get(seen.version)
        if true is None:
            raise self.failure(f"{name} is LIVE at version {seen.version}, which never was")
        # A base that shows little makes a book LIVE with half of it, but not where the venue keeps
        # it to a depth.
        number = self._whose[name]
        settings = self.feed_handler.venues[number].config.settings
        depth = getattr(settings, "depth", self._setups[number].depth)
        must_truncate = self._rules[number].must_truncate
        least = 16 * (self._depths[number] if must_truncate else min(20, max(1, depth // 2 - 1)))
        former, ended_ns = self._former[name].get(seen.version, (true, self.now_ns))
        may_be = (true, former) if self.now_ns - ended_ns < self.lag_max_s * SECOND else (true,)
        shown = [
            [side[: max(len(of), least)] for side, of in zip(sides, (bids, asks), strict=True)]
            for sides in (one.packed(*scale) for one in may_be)
        ]
        if [bids, asks] not in shown:
            raise self.failure(
                f"{name} is LIVE at version {seen.version} with {unpacked(bids)}, "
                f"{unpacked(asks)}; "
                f"the venue had {true}"
            )

    def _version(self, name: str, seen: Seen) -> int:
        """Return which version a book is of; -1: none that ever was."""
        if self._rules[self._whose[name]].chain != lib.TP_CHAIN_NONE:
            return seen.version
        scale = seen.price_exponent, seen.quantity_exponent
        shown = Truth(unpacked(seen.bids), unpacked(seen.asks), *scale)
        return self._shown[name].get(shown.values, -1)

    def is_live(self, slot: int) -> bool:
        """Say whether a book is LIVE, and as new as the wire allows."""
        return self.seen[slot].state == LIVE and self.lag_s(slot) < 0.2

    def is_live_by_name(self, symbol: str) -> bool:
        """Say whether an instrument is there, and LIVE."""
        return symbol in self._symbols and self.is_live(self._symbols.index(symbol))

    def lag_s(self, slot: int) -> float:
        """Return for how long the venue has had a newer book than shared memory."""
        name = self._symbols[slot]
        place = self.places[name].get(self._version(name, self.seen[slot]), -1) + 1
        times = self.times[name]
        return 0.0 if place == len(times) else (self.now_ns - times[place]) / SECOND

    def are_live(self) -> bool:
        """Say whether all books are."""
        return all(self.is_live(slot) for slot in range(len(self.seen)))

    def failure(self, what: str) -> DeploymentError:
        """Describe what does not hold, with the seed and the story."""
        story = "\n".join(self.story[-60:])
        return DeploymentError(f"seed {self.setup.seed}: {what}\n{story}")

    @property
    def counters(self) -> Any:
        """Return the feed's."""
        return lib.tp_feed_counters(self.feed_handler.feed)[0]

    # The end.

    def stop(self) -> None:
        """End in order: every book is STALE afterwards, or SYNCING yet where none is connected."""
        slots = self.feed_handler.connections.slots
        # Without a list as yet a venue has connections and no slot of them.
        is_open = [
            any(slots[one].open for one in of.connections if one < len(slots))
            for of in self.feed_handler.venues
        ]
        self.feed_handler.hot.stop()
        self.run(0.1)
        for symbol, seen in zip(self._symbols, self.seen, strict=True):
            state = STATES[seen.state]
            if state != "STALE" and (state != "SYNCING" or is_open[self._whose[symbol]]):
                raise self.failure(f"after an orderly stop {symbol} is {state}")

    def close(self) -> None:
        """Free everything."""
        self._memory.close()
        self.feed_handler.close()


def book_rule(setup: Setup) -> Any:
    """Return by which rule messages keep the deployment's books whole."""
    venue = setup.dialect.venue
    settings = setup.settings or venue.settings()
    channel, *_ = venue.channels(setup.symbols[0], settings)
    return find_decoder(venue.name).describe(ffi.new("char[]", channel.encode())).rule


Values = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Truth:
    """What the venue had at one version, with its digits of then."""

    bids: list[tuple[int, int]]
    asks: list[tuple[int, int]]
    price_exponent: int
    quantity_exponent: int

    def packed(self, price_exponent: int, quantity_exponent: int) -> tuple[bytes, bytes]:
        """Write the same numbers at another scale, as shared memory has them."""
        if (price_exponent, quantity_exponent) == self.scale:
            return packed(self.bids), packed(self.asks)
        bids, asks = (
            packed(
                [
                    (
                        rescaled(price, self.price_exponent - price_exponent),
                        rescaled(quantity, self.quantity_exponent - quantity_exponent),
                    )
                    for price, quantity in side
                ]
            )
            for side in (self.bids, self.asks)
        )
        return bids, asks

    @property
    def scale(self) -> tuple[int, int]:
        """Return its exponents."""
        return self.price_exponent, self.quantity_exponent

    @property
    def values(self) -> Values:
        """Return the numbers themselves, times a power of ten that no scale goes beyond."""
        price, quantity = 10 ** (18 + self.price_exponent), 10 ** (18 + self.quantity_exponent)
        return tuple(
            (one * price, size * quantity) for one, size in (*self.bids, (0, 0), *self.asks)
        )


def rescaled(mantissa: int, power: int) -> int:
    """Return mantissa * 10**power; one that is no whole number there is none of the book's."""
    factor: int = 10 ** abs(power)
    if power >= 0:
        return mantissa * factor
    whole, rest = divmod(mantissa, factor)
    return -1 if rest else whole


def packed(levels: Sequence[tuple[int, int]]) -> bytes:
    """Write levels as shared memory has them."""
    return struct.pack(f"{2 * len(levels)}q", *chain.from_iterable(levels))


def unpacked(levels: bytes) -> list[tuple[int, int]]:
    """Read them, for a message."""
    return list(struct.iter_unpack("qq", levels))
