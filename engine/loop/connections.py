"""Keep every connection of a loop alive: prepare, hand over, take back, try again.

Runs on the cold thread beside the loop's hot thread, which adopts the session of a CONNECT command
and gives an ended one back by a note; see handover.h. Called by the process that owns the loop,
which passes the notes on.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tickpath._core import ffi, lib
from tickpath.engine.config.credential import header_lines
from tickpath.engine.loop.pauses import (
    LENGTH_S_MAX,
    Pauses,
    Whose,
    asked_pause_s,
    own_address,
    pause_text,
)
from tickpath.engine.loop.resolver import POLL_S, Resolver
from tickpath.engine.supervisor.wall_time import wall_time
from tickpath.netstack.http1.http1 import agent_line
from tickpath.netstack.session import ERROR_TEXT_SIZE, Target, failure_text
from tickpath.netstack.transport import RECEIVE_WINDOW
from tickpath.shm.budget import Kind
from tickpath.shm.clock import NS_PER_S, SYSTEM, Clock
from tickpath.shm.errors import LocalError, RemoteError, SystemSetupError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tickpath.engine.loop.addresses import Addresses
    from tickpath.netstack.transport import Stream, Transport
    from tickpath.proto.venue import Rate

MESSAGE_SIZE_MAX = 1 << 20
NEVER = float("inf")
# Of the age that a venue allows, when a connection is replaced: connections that opened together
# must not be replaced together, and the venue's own clock may run ahead.
AGE_LEAST, AGE_SPREAD = 0.8, 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconnect:
    """How long to wait before another try: doubling, jittered, reset by a stable connection."""

    first_s: float = 0.1
    max_s: float = 30.0
    stable_after_s: float = 30.0
    handshake_timeout_s: float = 10.0

    def delay_s(self, failures: int, jitter: float) -> float:
        """Return the pause before try number `failures` + 1; the first retry is immediate.

        jitter: uniform in [0, 1).
        """
        if failures <= 1:
            return 0.0
        limit = min(self.max_s, self.first_s * 2.0 ** min(failures - 2, 32))
        return limit * (0.5 + 0.5 * jitter)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a connection goes, what it speaks, and when its silence ends it."""

    target: Target
    server_name: str
    addresses: dict[str, str]
    tls_context: Any = ffi.NULL
    """NULL: the target is without TLS."""
    headers: tuple[tuple[str, str], ...] = ()
    """Sent with the upgrade."""
    credentials: tuple[tuple[str, str], ...] = ()
    """Likewise, by where their values are kept: read before each try."""
    silent_drop_ns: int = 0
    """0: never."""
    age_max_s: float | None = None
    """The venue ends a connection that is so old: it is replaced before that. None: it does not."""
    pause_s: Callable[[int, str, datetime], float | None] = asked_pause_s
    """How long an upgrade that was refused asks to wait, by its status and Retry-After."""
    venue: str = ""
    """For people: whose limits the next two are."""
    connects: Rate | None = None
    """How many connections the venue bears of our address; None: it names no limit."""
    messages: Rate | None = None
    """Of ours, on all connections of our address."""
    opens_with: Callable[[], int] = lambda: 0
    """How many of them are said as soon as it is open."""
    after_end: str = "resync"
    """What its books do when it is replaced, in words."""
    is_raced: bool = False
    """Others carry the same all the time."""
    succeed: Callable[[], int] | None = None
    """Opens another one beside it and lets it go once that has its books; returns its number."""
    near: Addresses | None = None
    """Of a race: the addresses of its name, of which each member takes one of its own."""
    place: int = 0
    """Its place in the race."""
    prepare: Callable[[], None] = lambda: None
    """Called before each try: the hot thread has no session of the connection then."""

    def costs(self) -> list[tuple[Kind, Rate, int]]:
        """Return what opening it spends of what an address may."""
        asks = [
            (Kind.CONNECTS, self.connects, 1),
            (Kind.MESSAGES, self.messages, self.opens_with()),
        ]
        return [(kind, rate, cost) for kind, rate, cost in asks if rate is not None and cost]


@dataclass(slots=True)
class _Slot:
    endpoint: Endpoint
    session: Any = None
    stream: Stream | None = None
    failures: int = 0
    retry_at: float = 0.0
    offered_at: float = 0.0
    open: bool = False
    is_dropped: bool = False
    is_retired: bool = False
    replace_at: float = NEVER
    is_planned: bool = False
    """It is being replaced, since it is old."""
    is_leaving: bool = False
    """Its successor is opened: it is not tried again."""
    address: str = ""
    """Where it goes, of the addresses of its name."""
    own: str = ""
    """Our address, as its venue sees it."""
    is_paced: bool = False
    """That it waits for its turn was said."""


@dataclass(slots=True)
class Connections:
    """All connections of one loop. `step` is called when `wait_s` is over, or sooner."""

    loop: Any
    transport: Transport
    reconnect: Reconnect
    log: Callable[[str], None]
    handshake_worker: Any = ffi.NULL
    """Runs the TLS handshakes; NULL: the hot thread does."""
    memory: Any = ffi.NULL
    """Where the sessions' buffers are, a `struct tp_session_memory *`; NULL: each has its own."""
    random: random.Random = field(default_factory=random.SystemRandom)
    clock: Clock = SYSTEM
    resolver: Resolver = field(default_factory=Resolver)
    slots: list[_Slot] = field(default_factory=list)
    pauses: Pauses = field(default_factory=Pauses)
    _held_because: str = ""

    def add(self, endpoint: Endpoint) -> int:
        """Register a connection and return its number.

        Before the loop runs, or as long as its connection_count leaves room.
        """
        number = len(self.slots)
        self.put(number, endpoint)
        return number

    def put(self, number: int, endpoint: Endpoint) -> None:
        """Register a connection by a number that is new or retired; as `add`.

        Numbers below it that have none yet are left to those who come later.
        """
        if number >= lib.TP_LOOP_CONNECTION_MAX:
            raise LocalError(
                f"{number + 1} connections: expected at most {lib.TP_LOOP_CONNECTION_MAX}"
            )
        while len(self.slots) <= number:
            self.slots.append(_Slot(endpoint, is_retired=True))
        slot = self.slots[number]
        slot.endpoint, slot.is_retired = endpoint, False
        slot.failures, slot.retry_at, slot.is_leaving = 0, 0.0, False
        if self.loop.connection_count < len(self.slots):  # noqa: PLR1730 # the hot thread reads it
            self.loop.connection_count = len(self.slots)

    def retire(self, number: int) -> None:
        """End a connection and try it no more, until `put`."""
        slot = self.slots[number]
        slot.is_retired = True
        if slot.session is not None:
            slot.is_dropped = self.drop(number)  # the queue may be full: the next step

    def leave(self, number: int) -> None:
        """Try a connection no more once it ends; who asks for this sees to its end."""
        slot = self.slots[number]
        slot.is_leaving, slot.replace_at = True, NEVER

    def replace_soon(self, number: int) -> None:
        """Replace a connection that the venue will close, where that costs its books nothing."""
        slot = self.slots[number]
        if not slot.open or slot.is_leaving:
            return
        if slot.endpoint.succeed is not None:  # nothing ends by that: it need not be calm
            self._replace(number, "the venue will close it")
        elif slot.endpoint.is_raced:
            slot.replace_at = self.clock.now_s()

    def begin_again(self, number: int) -> None:
        """End a connection that is not open yet: what it would open with is not right any more."""
        slot = self.slots[number]
        if slot.session is not None and not slot.open and not slot.is_dropped:
            slot.is_dropped = self.drop(number)

    def opened(self, number: int) -> None:
        """Take note that a connection's handshakes are done (TP_NOTE_OPENED)."""
        slot = self.slots[number]
        slot.open = True
        age_max_s = slot.endpoint.age_max_s
        if age_max_s is not None:
            share = AGE_LEAST + AGE_SPREAD * self.random.random()
            slot.replace_at = self.clock.now_s() + share * age_max_s
        self.log(f"connection {number}: open to {self._name(slot)}{self._tls(slot)}")

    def ended(self, number: int) -> None:
        """Take back the session of a connection that ended (TP_NOTE_ENDED), and report why."""
        slot = self.slots[number]
        session = slot.session
        failed = lib.tp_session_error(session) != lib.TP_SESSION_ERROR_NONE
        code = int(lib.tp_session_close_code(session))
        reason = f"closed with code {code}"
        if failed and slot.stream is not None:
            reason = failure_text(session, self.transport, slot.stream)
        if slot.is_dropped and slot.is_retired:
            reason = "ended, since nothing is read by it any more"
        elif slot.is_dropped:
            reason = self._held_because or "ended: its link was lost, or its symbols changed"
        if slot.is_planned:
            reason = "ended as planned"
        if slot.is_leaving:
            slot.is_leaving, slot.is_retired = False, True
            reason = "ended as planned: its books go on by its successor"
        pause_s = self._note_pause(slot)
        if not slot.open and not slot.is_dropped and not pause_s:
            self._note_failure(slot)
        self._take_back(number, slot, reason, pause_s)

    def step(self) -> None:
        """Try again what is due; nothing while it is held."""
        if self._held_because:
            self._drop_all()
            return
        now = self.clock.now_s()
        for number, slot in enumerate(self.slots):
            if slot.is_retired:
                if slot.session is not None and not slot.is_dropped:
                    slot.is_dropped = self.drop(number)
            elif slot.session is None and now >= slot.retry_at:
                self._try(number, slot, now)
            elif slot.open and now - slot.offered_at > self.reconnect.stable_after_s:
                slot.failures = 0
        self._replace_old(now)

    def _replace_old(self, now: float) -> None:
        """End one connection that is old, while all others are open and settled: no two at once."""
        old = [number for number, slot in enumerate(self.slots) if slot.replace_at <= now]
        is_calm = all(
            slot.open and now - slot.offered_at > self.reconnect.stable_after_s
            for slot in self.slots
            if not slot.is_retired
        )
        if not old or not is_calm:
            return
        number = min(old, key=lambda one: self.slots[one].replace_at)
        slot = self.slots[number]
        age_h = (now - slot.offered_at) / 3600
        limit_h = (slot.endpoint.age_max_s or 0) / 3600
        self._replace(
            number, f"open for {age_h:.3g} h of the {limit_h:.3g} h that the venue allows"
        )

    def _replace(self, number: int, why: str) -> None:
        slot, endpoint = self.slots[number], self.slots[number].endpoint
        after = endpoint.after_end
        if endpoint.succeed is not None:
            after = f"go on by its successor, connection {endpoint.succeed()}"
        elif not self.drop(number):
            return
        else:
            slot.is_planned = True
        slot.replace_at = NEVER
        self.log(
            f"connection {number}: {self._name(slot)}: planned reconnect: {why}; its books {after}"
        )

    def _idle(self) -> list[_Slot]:
        return [slot for slot in self.slots if slot.session is None and not slot.is_retired]

    def wait_s(self, max_s: float) -> float:
        """Return how long until a try is due, at most `max_s`."""
        if self._held_because:
            return max_s
        now = self.clock.now_s()
        due = (slot.retry_at for slot in self._idle())
        return max(0.0, min(max_s, min(due, default=max_s + now) - now))

    @property
    def is_held(self) -> bool:
        """Say whether no connection is tried until `resume`."""
        return bool(self._held_because)

    def hold(self, why: str) -> None:
        """End all connections now and try none until `resume`: their link is lost.

        At once, since a peer that is cut off never says so, and its books would stay LIVE.
        """
        self._held_because = why
        self._drop_all()

    def resume(self) -> None:
        """Try them all again now."""
        self._held_because = ""
        for slot in self.slots:
            slot.retry_at = 0.0

    def _drop_all(self) -> None:
        for number, slot in enumerate(self.slots):
            if slot.session is not None and not slot.is_dropped:
                slot.is_dropped = self.drop(number)  # the queue may be full: the next step

    def drop(self, number: int) -> bool:
        """End a connection; it is tried again as after a failure. False: the queue is full."""
        command = ffi.new("struct tp_command *", {"kind": lib.TP_COMMAND_DROP})
        command.connection = number
        return bool(lib.tp_handover_command(self._handover, command))

    def close(self) -> None:
        """Free all sessions. The loop must have stopped."""
        for slot in self.slots:
            if slot.session is not None:
                lib.tp_session_free(slot.session)
                slot.session = None

    @property
    def _handover(self) -> Any:
        return ffi.addressof(self.loop, "handover")

    def _name(self, slot: _Slot) -> str:
        return f"{slot.endpoint.target.host}:{slot.endpoint.target.port}"

    def _tls(self, slot: _Slot) -> str:
        tls = lib.tp_session_tls(slot.session)
        if tls == ffi.NULL:
            return ""
        version, cipher = lib.tp_tls_version(tls), lib.tp_tls_cipher(tls)
        layer = lib.tp_tls_record_layer_name(tls)
        return ", " + " ".join(ffi.string(text).decode() for text in (version, cipher, layer))

    def _note_pause(self, slot: _Slot) -> float:
        """Keep what the answer to an upgrade asks us to wait, for all who connect there."""
        status = int(lib.tp_session_http_status(slot.session))
        if status == 0:
            return 0.0
        after = ffi.string(lib.tp_session_retry_after(slot.session)).decode(errors="replace")
        now = datetime.fromtimestamp(self.clock.unix_ns() / NS_PER_S, UTC)
        pause_s = slot.endpoint.pause_s(status, after, now)
        if not pause_s:
            return 0.0
        pause_s = min(pause_s, LENGTH_S_MAX)
        why = f"the upgrade was answered with status {status}"
        self.pauses.note(self._name(slot), slot.own, pause_s, why, slot.endpoint.venue)
        return pause_s

    def _take_back(self, number: int, slot: _Slot, reason: str, pause_s: float = 0.0) -> None:
        lib.tp_session_free(slot.session)
        slot.session, slot.open, slot.is_dropped = None, False, False
        slot.replace_at, slot.is_planned = NEVER, False
        if slot.stream is not None:
            self.transport.release(slot.stream)
            slot.stream = None
        self._fail(number, slot, reason, pause_s)

    def _note_failure(self, slot: _Slot) -> None:
        """The address brought no connection: another one of the name goes first."""
        if slot.endpoint.near is not None:
            slot.endpoint.near.failed()
        else:
            self.resolver.failed(slot.address, slot.endpoint.target.port)

    def _fail(self, number: int, slot: _Slot, reason: str, pause_s: float = 0.0) -> None:
        """Plan the next try, and say so; pause_s: the venue wants none before."""
        now = self.clock.now_s()
        slot.failures += 1
        delay = self.reconnect.delay_s(slot.failures, self.random.random())
        delay = max(delay, pause_s * (1.0 + 0.1 * self.random.random()))
        slot.retry_at = now + delay
        again = "now" if delay == 0 else f"in {delay:.2f} s"
        if pause_s:
            again = f"in {pause_text(delay)}, as it asks, at {self._time_of_day(delay)}"
        if self._held_because:
            again = "once the link is back"
        if slot.is_retired:
            again = "only when it is needed"
        self.log(f"connection {number}: {self._name(slot)}: {reason}; trying again {again}")

    def _must_wait(self, number: int, slot: _Slot, address: str, now: float) -> bool:
        """Wait where another connection, process or start of ours was asked to."""
        slot.address = address
        slot.own = own_address(address, slot.endpoint.target.port)
        left_s, why = self.pauses.find(self._name(slot), slot.own)
        if left_s <= 0:
            return self._awaits_turn(number, slot, now)
        delay = left_s * (1.0 + 0.1 * self.random.random())
        slot.retry_at = now + delay
        self.log(
            f"connection {number}: {self._name(slot)}: {why}, not long ago: trying in "
            f"{pause_text(delay)}, at {self._time_of_day(delay)}"
        )
        return True

    def _turn_s(self, whose: Whose, slot: _Slot) -> float:
        costs = slot.endpoint.costs()
        return max((self.pauses.wait_s(whose, *cost) for cost in costs), default=0.0)

    def _awaits_turn(self, number: int, slot: _Slot, now: float) -> bool:
        """Take what opening it costs of what our address may; else wait for that."""
        whose = self.whose(number)
        wait_s = self._turn_s(whose, slot)
        for cost in slot.endpoint.costs() if wait_s == 0 else ():
            wait_s = max(wait_s, self.pauses.take(whose, *cost))
        if wait_s > 0:
            slot.retry_at = now + wait_s
            if not slot.is_paced:
                self.log(
                    f"connection {number}: {whose.host}: waiting for its turn: the venue limits "
                    f"how many {whose.address} opens"
                )
        slot.is_paced = wait_s > 0
        return slot.is_paced

    def whose(self, number: int) -> Whose:
        """Return by whom, and of whom, what a connection does is counted; after its first try."""
        slot = self.slots[number]
        return Whose(self._name(slot), slot.own, slot.endpoint.venue)

    def _time_of_day(self, in_s: float) -> str:
        return wall_time(self.clock.unix_ns() / NS_PER_S + in_s)

    def _try(self, number: int, slot: _Slot, now: float) -> None:
        endpoint = slot.endpoint
        try:
            headers = header_lines(endpoint.headers, endpoint.credentials)
            address = self._address(slot)
            if address is None:
                slot.retry_at = now + POLL_S
                return
            if self._must_wait(number, slot, address, now):
                return
            stream = self.transport.open_stream(address, endpoint.target.port)
        except (LocalError, RemoteError, SystemSetupError) as error:
            self._fail(number, slot, str(error))
            return
        try:
            session = self._new_session(endpoint, stream, headers)
        except BaseException as error:
            lib.tp_stream_deinit(stream.handle)
            self.transport.release(stream)
            if not isinstance(error, LocalError):
                raise
            # No memory, no free buffer, too many handshakes: this one waits, the others go on.
            self._fail(number, slot, str(error))
            return
        slot.session, slot.stream, slot.offered_at = session, stream, now
        try:
            endpoint.prepare()
        except Exception as error:  # a venue's folder may raise what it likes: its connection's
            why = f"what it says could not be made: {type(error).__name__}: {error}"
            self._take_back(number, slot, why)
            return
        if not self._offer(number, slot):
            self._take_back(number, slot, "the hot thread is behind with its commands")

    def _address(self, slot: _Slot) -> str | None:
        """Return where to connect to; None: it is not known yet."""
        endpoint, target = slot.endpoint, slot.endpoint.target
        if endpoint.near is not None:
            return endpoint.near.ask(endpoint.place)

        def is_held(address: str) -> bool:
            whose = Whose(self._name(slot), own_address(address, target.port), endpoint.venue)
            return (
                self.pauses.find(whose.host, whose.address)[0] > 0 or self._turn_s(whose, slot) > 0
            )

        return self.resolver.ask(target.host, endpoint.addresses, target.port, is_held)

    def _offer(self, number: int, slot: _Slot) -> bool:
        stream = slot.stream
        command = ffi.new("struct tp_command *", {"kind": lib.TP_COMMAND_CONNECT})
        command.connection, command.session = number, slot.session
        command.silent_drop_ns = slot.endpoint.silent_drop_ns
        if stream is not None and stream.tcp != ffi.NULL:
            command.tcp, command.tcp_config = stream.tcp, stream.tcp_config[0]
            command.next_hop_mac = list(stream.next_hop or bytes(6))
        return bool(lib.tp_handover_command(self._handover, command))

    def _new_session(self, endpoint: Endpoint, stream: Stream, headers: str) -> Any:
        config = ffi.new("struct tp_session_config *")
        words = (
            endpoint.server_name,
            endpoint.target.authority,
            endpoint.target.path,
            agent_line(headers),
        )
        texts = [ffi.new("char[]", word.encode()) for word in words]
        config.tls = endpoint.tls_context
        config.handshake_worker = self.handshake_worker
        config.websocket = endpoint.target.websocket
        config.server_name, config.host, config.target, config.extra_headers = texts
        config.memory = self.memory
        config.message_size_max, config.receive_window = MESSAGE_SIZE_MAX, RECEIVE_WINDOW
        config.handshake_timeout_ns = int(self.reconnect.handshake_timeout_s * NS_PER_S)
        error = ffi.new("char[]", ERROR_TEXT_SIZE)
        session = lib.tp_session_new(config, stream.handle, error, ERROR_TEXT_SIZE)
        if session == ffi.NULL:
            raise LocalError(ffi.string(error).decode(errors="replace"))
        return session
