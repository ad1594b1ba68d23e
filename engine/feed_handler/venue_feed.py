"""One venue of a feed handler: its instruments, plan, subscriptions, voice, bases, list and scales.

The feed handler has one for each [[venue]] section and owns what they share (`Shared`): segment,
transport, hot path, connections, tap, rows. A plan counts a venue's own instruments (places) and
connections from 0; everything that a VenueFeed gives and takes bears the feed's numbers: an
instrument's is its place in the table of rows, which is dense whichever venue's came last, and a
venue's connections are a range with room for those to come. In order: `look`, `place`, `join`,
`connect`, then the cold thread's calls. Called by: engine/feed_handler/process.py. Calls: plan.py,
subscriptions.py, successions.py, speaker.py, bases.py, aside.py, rest_check.py, list_reader.py,
trading.py, rescaling.py, replan.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
from tickpath._core import ffi, lib
from tickpath.engine.client.feed_segment import write_instrument
from tickpath.engine.config.credential import complaints
from tickpath.engine.feed_handler import verification
from tickpath.engine.feed_handler.aside import Aside
from tickpath.engine.feed_handler.bases import BaseWorker
from tickpath.engine.feed_handler.faults import Faults
from tickpath.engine.feed_handler.feed_books import FeedBooks
from tickpath.engine.feed_handler.inflate import text_size_max
from tickpath.engine.feed_handler.instrument_list import Chosen, choose_some, own_names
from tickpath.engine.feed_handler.list_reader import ListReader
from tickpath.engine.feed_handler.plan import make_plan
from tickpath.engine.feed_handler.replan import Replan, tap_row
from tickpath.engine.feed_handler.rescaling import Rescaling
from tickpath.engine.feed_handler.rest_check import RestChecks
from tickpath.engine.feed_handler.speaker import Speaker
from tickpath.engine.feed_handler.subscriptions import Subscriptions
from tickpath.engine.feed_handler.successions import Successions
from tickpath.engine.feed_handler.trading import Trading
from tickpath.engine.loop.addresses import Addresses
from tickpath.engine.loop.connections import Endpoint
from tickpath.engine.loop.pauses import Pauses
from tickpath.netstack.session import Target, new_tls_context
from tickpath.proto.instrument import pack_row
from tickpath.proto.records import SyncReason
from tickpath.proto.venue import Verification
from tickpath.proto.venues.decoder import is_packed
from tickpath.shm.budget import Kind
from tickpath.shm.clock import NS_PER_S, SYSTEM, Clock
from tickpath.shm.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tickpath.engine.config.schema import HealthConfig, VenueConfig
    from tickpath.engine.feed_handler.canary import Canaries
    from tickpath.engine.feed_handler.hot_path import HotPath
    from tickpath.engine.feed_handler.plan import ConnectionChange, Plan
    from tickpath.engine.feed_handler.rest_client import Rest
    from tickpath.engine.feed_handler.subscriptions import Answer
    from tickpath.engine.loop.connections import Connections
    from tickpath.engine.recording.tap import Subscription, TapWriter
    from tickpath.proto.instrument import Instrument
    from tickpath.shm.segment import SegmentWriter

NS_PER_MS = 1_000_000
NOT_YET: Final = "not there yet: the other venues start, its instruments come with it"
NEXT_TURN: Final = "what else is due goes on, and this again at the next turn"


@dataclass(slots=True, kw_only=True)
class Shared:
    """What the venues of a feed handler share; it owns all of it, and fills it in as it opens."""

    log: Callable[[str], None]
    open_rest: Callable[[VenueConfig], Rest]
    aside: Callable[[Callable[[], None]], None]
    """Does some work beside the cold thread."""
    health: HealthConfig
    clock: Clock = SYSTEM
    pauses: Pauses = field(default_factory=Pauses)
    rows: list[Instrument] = field(default_factory=list)
    """All instruments, each at its index; the venues add to it."""
    places: int = 0
    """How many rows there can be."""
    on_row: Callable[[Instrument], None] = lambda _: None
    """Hears of each row that is written, before the hot thread has it."""
    venues: list[VenueFeed] = field(default_factory=list)
    segment: SegmentWriter = field(init=False)
    tap: TapWriter | None = None
    feed: Any = None
    hot: HotPath = field(init=False)
    connections: Connections = field(init=False)

    @property
    def silent_ns(self) -> int:
        """Return after how long a silence the books of a connection are STALE."""
        return self.health.silent_after_ms * NS_PER_MS

    def write(self, row: Instrument) -> int:
        """Write a row where readers find it, and return its generation."""
        self.rows[row.index : row.index + 1] = [row]
        self.on_row(row)
        return write_instrument(self.segment, row)

    def rescale(self, row: Instrument) -> int:
        """Write a row whose scale is about to move, for readers and recorders."""
        if self.tap is not None:
            self.tap.rescale(row)
        return write_instrument(self.segment, row)


class VenueFeed:
    """One [[venue]] section at work; all of it but the bases' thread is the cold thread's."""

    def __init__(
        self, config: VenueConfig, number: int, shared: Shared, *, is_named: bool = False
    ) -> None:
        """Know the section and its place in the file; is_named: its lines bear the venue's name."""
        self.config, self.number, self.shared = config, number, shared
        self._is_named = is_named
        self.indexes: list[int] = []
        """The feed's number of each of the plan's instruments."""
        self.connections: range = range(0)
        """The feed's numbers of the plan's connections, those to come included."""
        self._chosen = Chosen()
        self._failure: LocalError | None = None  # of a list that came: none of ours is in it
        self._untold = ""
        self.list_reader = ListReader(
            config,
            shared.open_rest,
            self.log,
            shared.health.list_every_s,
            shared.aside,
            shared.clock,
        )
        self.faults = Faults(self.log, shared.clock)
        self._addresses: dict[tuple[str, int], Addresses] = {}
        self._reason_of: Callable[[int], int] = lambda _: SyncReason.STARTING

    @property
    def section(self) -> str:
        """Return the section's place in the file, for messages."""
        return f"venue[{self.number}]"

    def log(self, line: str) -> None:
        """Write a line; it names the venue where there are several."""
        self.shared.log(f"{self.config.name}: {line}" if self._is_named else line)

    @property
    def rows(self) -> list[Instrument]:
        """Return its instruments, in the order of the plan."""
        return [self.shared.rows[index] for index in self.indexes]

    # ---- at the start ----------------------------------------------------------------------------

    def look(self) -> None:
        """Have the list read, and look into it once it came; `failure` says why there is none.

        Without one the venue starts with no instrument, and `replan` gets them later.
        """
        listed = self.list_reader.step()
        if listed is not None:
            try:
                self._chosen = choose_some(self.config, listed, self.section, self.log)
            except LocalError as error:
                self._failure, self._untold = error, str(error)

    @property
    def failure(self) -> Exception | None:
        """Return why there are no instruments, where that is known."""
        return None if self.has_list else self._failure or self.list_reader.failure

    @property
    def has_list(self) -> bool:
        """Say whether there is an instrument to begin with."""
        return bool(self._chosen.rows)

    @property
    def awaits_list(self) -> bool:
        """Say whether the list may still come by itself, soon."""
        return not self.has_list and self.failure is None

    def say_failure(self) -> None:
        """Say why there is no list, and when it is read again; what comes later is then new."""
        if self.has_list:
            return
        self.list_reader.say()
        why = str(self.failure or NOT_YET)
        if self._untold:
            self.log(f"instrument list: {self._untold}")
        elif self.failure is None:
            self.log(f"instrument list: {NOT_YET}")
        self._untold = ""
        self._chosen = Chosen(left_out=dict.fromkeys(self.config.symbols, why))

    def make_plan(self) -> None:
        """Plan what the list has, and give its instruments the feed's numbers."""
        rows, shared = self._chosen.rows, self.shared
        try:
            self.plan = make_plan(self.config, [row.symbol for row in rows])
        except ValueError as error:
            raise LocalError(f"{self.section}.symbols: {error}") from error
        first = len(shared.rows)
        self.indexes = list(range(first, first + len(rows)))
        self._places = {index: place for place, index in enumerate(self.indexes)}
        shared.rows += [
            msgspec.structs.replace(row, index=first + place) for place, row in enumerate(rows)
        ]

    @property
    def expected(self) -> Plan:
        """Return the plan that room is made for: of all that is configured, where no list came."""
        if self.has_list:
            return self.plan
        return make_plan(self.config, own_names(self.config))

    def place(self, connections: range) -> None:
        """Take these of the feed's connections."""
        self.connections = connections
        self._reserved = self.books
        self.subscriptions = Subscriptions(self.plan, numbers=connections)
        if self.config.seats > 1:
            self.subscriptions.is_heard = self._is_heard
        self.replan = Replan(self, self._chosen)
        if not self.has_list:
            self.replan.ask()

    @property
    def books(self) -> int:
        """Count the instruments at the start, or those that are expected."""
        return len(self.indexes) if self.has_list else len(self.config.symbols)

    @property
    def lacking(self) -> int:
        """Count the rows that are kept for it: of what was configured and had no list as yet."""
        return max(0, min(self._reserved, len(self.config.symbols)) - len(self.indexes))

    def tap_rows(self) -> list[Subscription]:
        """Return what a recorder must know of each instrument."""
        return [
            tap_row(row, channel, self.connections[channel.connection], self.config.seats)
            for row, channel in zip(self.rows, self.plan.book_channels(), strict=True)
        ]

    def join(self, canaries: Canaries) -> None:
        """Give the feed its connections and instruments; the hot thread does not run yet."""
        shared, config = self.shared, self.config
        for number in self.connections:
            lib.tp_feed_connection_assign(shared.feed, number, self.number)
        for first in self.connections[:: config.seats] if config.seats > 1 else ():
            if not lib.tp_feed_race(shared.feed, first, config.seats):
                raise AssertionError(f"connections {first} and {config.seats - 1} more do not race")
        if is_packed(config.name):
            shared.hot.unpack(self.connections, text_size_max(config.name))
        self._within_s = verification.within_s(config, shared.health, self.books)
        stretched = verification.describe(config, shared.health, self.books)
        if stretched:
            self.log(stretched)
        for place, channel in enumerate(self.plan.book_channels()):
            self._add(place, channel.name, self.connections[channel.connection])
        self.canary = canaries.add(self.plan, self.connections)
        self.bases = BaseWorker(
            FeedBooks.of_venue(shared.feed, self.number, config),
            config,
            shared.rows,
            self.log,
            shared.clock,
        )
        self.bases.timeout_s, self.bases.faults = shared.health.keep_s, self.faults
        verified = config.venue.verification(config.settings)
        if verified is Verification.ASIDE:
            self.bases.aside = Aside(config, shared.clock, shared.pauses)
        elif verified is Verification.REST and self.bases.is_in_band:
            self.bases.aside = RestChecks(config)
        self.speaker = Speaker(self.plan, self._say, self._is_followed)
        if config.seats > 1:
            self.speaker.carrier = self._carrier
        self.bases.ask_in_band = partial(self._ask_in_band, self.speaker.request_base)
        self.bases.ask_anew = partial(self._ask_in_band, self.speaker.subscribe_anew)
        self.trading = Trading(shared.rows, self.indexes)
        self._halted: list[Instrument] = []  # or traded again, and not returned by `step` yet
        self.list_reader.spend = self.bases.spend
        self.rescaling = Rescaling(shared.hot, self.bases, shared.rows, shared.rescale, self.log)
        self.rescaling.want_list = self.list_reader.want

    def _add(self, place: int, channel: str, connection: int) -> None:
        row = self.shared.rows[self.indexes[place]]
        record = ffi.from_buffer("struct tp_instrument_record *", pack_row(row))
        if not lib.tp_feed_instrument_add(
            self.shared.feed, row.index, record, channel.encode(), connection
        ):
            raise LocalError(
                f"{self.section}.symbols[{place}] {row.symbol!r}: the feed refused its channel "
                f"{channel} or its scale: leave it out"
            )

    def connect(self) -> None:
        """Have its connections opened."""
        config = self.config
        for line in complaints(config):
            self.log(line)
        ca_file = Path(config.ca_file) if config.ca_file else None
        self._tls = new_tls_context(ca_file, insecure=config.insecure) if config.tls else ffi.NULL
        self.successions = Successions(self)
        for planned in range(len(self.plan.connections)):
            self._seat(planned)

    def _seat(self, planned: int) -> None:
        """Have a connection of the plan opened, or known, where it is a successor's."""
        self.open(planned)
        if planned % self.config.seats >= self.config.race:
            self.shared.connections.retire(self.connections[planned])

    def open(self, planned: int) -> None:
        """Have a connection of the plan opened."""
        self.shared.connections.put(self.connections[planned], self._endpoint(planned))

    def _endpoint(self, planned: int) -> Endpoint:
        """Return where a connection of the plan goes."""
        config, goes = self.config, self.plan.connections[planned]
        if goes is None:
            raise AssertionError(f"connection {planned} of the plan goes nowhere")
        to, silent_ns = goes.endpoint, self.shared.silent_ns
        return Endpoint(
            target=Target("wss" if config.tls else "ws", to.host, to.port, to.path),
            tls_context=self._tls,
            server_name=config.server_name or to.host,
            addresses=config.resolve,
            headers=to.headers,
            credentials=to.credentials,
            silent_drop_ns=silent_ns + silent_ns // 4,  # the books go STALE first
            age_max_s=config.venue.limits.connection_age_max_s,
            venue=config.name,
            connects=config.venue.limits.connects,
            messages=config.venue.limits.address_messages,
            opens_with=partial(self._opens_with, planned),
            after_end="resync" if config.race == 1 else "go on by the others of its race",
            is_raced=config.race > 1,
            near=self._near(to.host, to.port),
            place=planned % config.seats % config.race,
            succeed=partial(self.successions.begin, planned) if config.has_successors else None,
            prepare=partial(self._speak, planned),
        )

    def _near(self, host: str, port: int) -> Addresses | None:
        """Return the addresses of a host, where its connections are to go to different ones."""
        config = self.config
        if f"{host}:{port}" in config.resolve or (config.race == 1 and not config.addresses):
            return None
        if (host, port) not in self._addresses:
            self._addresses[host, port] = Addresses(
                host, port, config.addresses, log=self.log, clock=self.shared.clock
            )
        return self._addresses[host, port]

    # ---- while it runs ---------------------------------------------------------------------------

    def _time_s(self) -> int:
        return self.shared.clock.unix_ns() // NS_PER_S

    def _opens_with(self, planned: int) -> int:
        """Count the messages that a connection says as soon as it is open, if that is limited."""
        if self.config.venue.limits.address_messages is None:
            return 0
        try:
            return len(self.plan.open_messages(planned, request=1, time_s=self._time_s()))
        except Exception:  # of a venue's folder: `_speak` meets it too, whose errors are said
            return 0

    def _speak(self, planned: int) -> None:
        """Set what a connection will say: some venues want the time in it."""
        time_s, own = self._time_s(), self.plan.venue
        messages = self.plan.open_messages(planned, request=1, time_s=time_s)
        ping = own.ping(request=0, time_s=time_s)
        self.shared.hot.speak(self.connections[planned], messages, ping, own.ping_interval_s)
        for message in messages:
            self.subscriptions.said(planned, message)

    def _say(self, planned: int, text: bytes) -> bool:
        number, rate = self.connections[planned], self.config.venue.limits.address_messages
        connections = self.shared.connections
        if rate is not None:
            whose = connections.whose(number)
            if connections.pauses.take(whose, Kind.MESSAGES, rate) > 0:
                return False  # the speaker tries again at its next step
        if not self.shared.hot.say(number, text):
            return False
        self.subscriptions.said(planned, text)
        return True

    def _is_followed(self, place: int) -> bool:
        return self._reason_of(self.indexes[place]) == SyncReason.NONE

    def _is_heard(self, planned: int, place: int) -> bool:
        """Say whether something of a book's channel came on a connection of its race."""
        connection, index = self.connections[planned], self.indexes[place]
        return bool(lib.tp_feed_hears(self.shared.feed, connection, index))

    def _carrier(self, place: int) -> int:
        """Return which connection of its race a book is on."""
        return self.connections.index(lib.tp_feed_carrier(self.shared.feed, self.indexes[place]))

    def opened(self, connection: int) -> None:
        """Take note that a connection is open and has said what it had to."""
        planned, now_s = self.connections.index(connection), self.shared.clock.now_s()
        self.subscriptions.opened(planned, now_s)
        self.speaker.opened(planned, now_s, self.shared.hot.open_message_count(connection))

    def ended(self, connection: int) -> None:
        """Take note that a connection ended."""
        planned = self.connections.index(connection)
        self.subscriptions.ended(planned)
        self.successions.ended(planned)

    def take_misfit(self, misfit: Any) -> None:
        """Take a `struct tp_feed_misfit *`: a number that did not fit."""
        with self.faults.kept("a number that does not fit", "its scale does not move by it"):
            self.rescaling.take(misfit, self.shared.clock.now_s())

    def take(self, connection: int, text: bytes) -> Answer:
        """Read what the venue said on a connection."""
        planned, now_s = self.connections.index(connection), self.shared.clock.now_s()
        answer = self._follow(self.subscriptions.take(planned, text, now_s))
        answer.connection = connection
        if answer.is_ending:
            self.shared.connections.replace_soon(connection)
        if answer.trading is not None:
            self._halted += self.trading.take_system(answer.trading)
        return answer

    def step_subscriptions(self, reason_of: Callable[[int], int]) -> Answer:
        """Do what is due; `reason_of` gives what shared memory says of an instrument's book."""

        self._reason_of = reason_of

        def reason(place: int) -> int:
            return reason_of(self.indexes[place])

        return self._follow(self.subscriptions.step(self.shared.clock.now_s(), reason))

    def _follow(self, answer: Answer) -> Answer:
        """Say what is to be said; the rest is returned by the feed's numbers."""
        for line in answer.lines:
            self.log(line)
        for connection, text in answer.said_back:
            self.speaker.answer(connection, text)
        for change in answer.changes:
            self.speaker.change(change, self._time_s())
        for places in (answer.confirmed, answer.refused, answer.overdue):
            places[:] = [self.indexes[place] for place in places]
        answer.overdue_on[:] = [self.connections[planned] for planned in answer.overdue_on]
        return answer

    def _ask_in_band(self, ask: Callable[[int], None], index: int) -> None:
        """Have a base, or a subscription, asked for by the thread that speaks, soon; any thread."""
        ask(self._places[index])
        self.shared.hot.call()

    def ask_for_bases(self) -> None:
        """Ask for books that wait: the hot thread may have woken us for one."""
        with self.faults.kept("bases", NEXT_TURN):
            self.bases.look()
        if self.bases.is_in_band:
            self._say_due()

    def _say_due(self) -> None:
        with self.faults.kept("what is to be said", NEXT_TURN):
            self.speaker.step(self.shared.clock.now_s(), self._time_s())

    def step(self) -> list[Instrument]:
        """Do what is due of plan, scales and talk; return the rows whose status changed."""
        now_s, kept = self.shared.clock.now_s(), self.faults.kept
        with kept("symbols that come and go", NEXT_TURN):
            self.replan.step()
        with kept("scales", NEXT_TURN):
            self.rescaling.step(now_s)
        self.successions.step(now_s)
        self._say_due()
        listed = self.list_reader.step()
        self.list_reader.say()
        changed, self._halted = self._halted, []
        if listed is None:
            return changed
        with kept("instrument list", "the symbols stay as they are"):
            self.replan.listed(listed)
        with kept("instrument list", "the scales stay as they are"):
            self.rescaling.listed(listed, now_s)
        with kept("instrument list", "what is traded stays as it is"):
            changed += self._follow_trading(*self.trading.take(listed))
        return changed

    def told(self, statuses: Iterable[tuple[int, int]]) -> list[Instrument]:
        """Take statuses that the hot thread published; return the rows that change by them."""
        return self._follow_trading(*self.trading.told(statuses))

    def _follow_trading(self, changed: list[Instrument], line: str) -> list[Instrument]:
        if self.trading.wants_list:
            self.list_reader.want()
        if line:
            self.log(line)
        return changed

    # ---- symbols that come and go: for replan.py -------------------------------------------------

    def owns(self, index: int) -> bool:
        """Say whether an instrument of the feed is its own."""
        return index in self._places

    def reload(self, symbols: Sequence[str]) -> None:
        """Read these symbols from now on."""
        self.config = msgspec.structs.replace(self.config, symbols=tuple(symbols))
        self.replan.ask()
        self.list_reader.want(0.0)  # somebody waits

    @property
    def left_out(self) -> dict[str, str]:
        """Return why a symbol that is wanted is not read, by its name as it was given."""
        return self.replan.left_out

    def forget(self, symbol: str) -> None:
        """Want a symbol no more that could not be had."""
        symbols = tuple(one for one in self.config.symbols if one != symbol)
        self.config = msgspec.structs.replace(self.config, symbols=symbols)
        self.replan.left_out.pop(symbol, None)

    def index_of(self, place: int) -> int:
        """Return the feed's number of a place of the plan; a new place takes the next one."""
        if place == len(self.indexes):
            index = len(self.shared.rows)
            self.indexes.append(index)
            self._places[index] = place
        return self.indexes[place]

    def take_plan(self, plan: Plan, changes: Iterable[ConnectionChange]) -> None:
        """Go on by another plan; `changes` are done once the hot thread knows the rows."""
        self.plan = self.speaker.plan = plan
        self._stretch()
        self.subscriptions.changed(plan, changes, self.shared.clock.now_s())
        self.canary.subscribe([one.name for one in plan.channels], len(self.connections))

    def _stretch(self) -> None:
        """Let quiet books be LIVE for as long as the venue's budget needs for all of them."""
        health, books = self.shared.health, self.replan.symbols
        within_s = verification.within_s(self.config, health, books)
        if within_s == self._within_s:
            return
        self._within_s = within_s
        lib.tp_feed_verify_within(self.shared.feed, self.number, int(within_s * NS_PER_S))
        stretched = verification.describe(self.config, health, books)
        if stretched:
            self.log(stretched)

    def do(self, change: ConnectionChange) -> None:
        """Open, end or talk on a connection, as a change of the plan wants it."""
        connections, number = self.shared.connections, self.connections[change.connection]
        if change.is_closed:
            connections.retire(number)
        elif change.is_new:
            self._seat(change.connection)
        elif connections.slots[number].open:
            self.speaker.change(change, self._time_s())
        else:
            connections.begin_again(number)
