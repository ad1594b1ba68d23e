"""A connection loop on one end of a memory link, several servers on the other, and time.

The loop is asked for its events from Python, one at a time, so that a test can leave off in the
middle of a burst and look at what has left and what has not. The servers are those of virtual.py,
and a small one that speaks HTTP/1.1 with keep-alive.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from tickpath._core import ffi, lib

from tests.sim.virtual import BURST, NAME, SECOND, Plan, Server, Station

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sim.virtual import Certificate

TURN_NS = 100_000
OPENED, MESSAGE, BYTES = lib.TP_LOOP_OPENED, lib.TP_LOOP_MESSAGE, lib.TP_LOOP_BYTES
DOWN, COMMAND, TICK, TURN = (
    lib.TP_LOOP_DOWN,
    lib.TP_LOOP_COMMAND,
    lib.TP_LOOP_TICK,
    lib.TP_LOOP_TURN,
)


class Event(NamedTuple):
    """A copy of one event; what a kind does not have is 0 or empty."""

    kind: int
    connection: int = 0
    payload: bytes = b""
    opcode: int = 0
    argument: int = 0


class Peer(Protocol):
    """What stands behind a far port."""

    station: Station

    def segment(self, segment: Any, now_ns: int) -> None: ...
    def output(self, now_ns: int) -> bool: ...


class HttpServer:
    """Answers every GET with its own path as the body, without closing."""

    def __init__(self, station: Station, now_ns: int) -> None:
        self.station = station
        self.paths: list[str] = []
        self.to_send = b""
        self.peer_ended = self.is_reset = False
        self._head = b""
        self._delivery = ffi.new("struct tp_tcp_delivery *")
        station.bind(station.tcp)
        lib.tp_tcp_connect(station.tcp, now_ns)

    def segment(self, segment: Any, now_ns: int) -> None:
        status = lib.tp_tcp_input(self.station.tcp, segment, now_ns, self._delivery)
        self.is_reset |= status == lib.TP_ERROR
        self.peer_ended |= status == lib.TP_CLOSED
        for i in range(self._delivery.count if status != lib.TP_ERROR else 0):
            span = self._delivery.span[i]
            self._head += bytes(ffi.buffer(span.data, span.size))
        while b"\r\n\r\n" in self._head:
            head, self._head = self._head.split(b"\r\n\r\n", 1)
            self.paths.append(head.split(b" ")[1].decode())
            body = self.paths[-1].encode()
            self.to_send += b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)

    def output(self, now_ns: int) -> bool:
        station = self.station
        if self.to_send:
            span = ffi.new("struct tp_span *")
            span.data, span.size = ffi.from_buffer("uint8_t[]", self.to_send), len(self.to_send)
            self.to_send = self.to_send[lib.tp_tcp_send(station.tcp, span[0]) :]
        if self.peer_ended:
            lib.tp_tcp_close(station.tcp)
        return station.kick(lib.tp_netif_output(station.netif, station.flow, now_ns, BURST))


class LoopWorld:
    """Time moves by TURN_NS a turn; `heard` keeps all events but TICK and TURN."""

    def __init__(
        self,
        *plans: Plan | None,
        certificate: Certificate,
        context: Any,
        worker: Any = ffi.NULL,
        memory: Any = ffi.NULL,
    ) -> None:
        """plans: what each connection's server does; None: it speaks HTTP.

        worker: does the TLS handshakes, in a thread of the test's or by `serve`; memory: where the
        sessions' buffers are, a `struct tp_session_memory *`.
        """
        self.memory = memory
        self.now_ns = SECOND
        self.worker, self.steps_worker = worker, worker != ffi.NULL
        self.pair = ffi.gc(
            lib.tp_memory_link_pair_create(1024, 2048), lib.tp_memory_link_pair_destroy
        )
        self.loop = ffi.gc(lib.tp_loop_new(max(64, len(plans))), lib.tp_loop_free)
        self.handover = ffi.addressof(self.loop, "handover")
        self.loop.handshake_worker = worker
        self.near: list[Station] = []
        self.servers: list[Any] = []
        self.sessions: list[Any] = []
        self.heard: list[Event] = []
        self.event_ns = 0
        self.notes: list[tuple[int, int]] = []  # kind, connection
        self.react: Callable[[Event], None] = lambda _event: None
        self._event = ffi.new("struct tp_loop_event *")
        self._frames = ffi.new("struct tp_frame[]", BURST)
        self._segment = ffi.new("struct tp_tcp_segment *")
        self._latest: tuple[Station, Station] | None = None
        self._certificate, self._context = certificate, context
        self._kept: list[Any] = []
        for plan in plans:
            for made, one in zip(self._ends(plan), self._lists, strict=True):
                one.append(made)
        self.loop.netif, self.loop.connection_count = self.near[0].netif, len(plans)

    @property
    def _lists(self) -> tuple[list[Any], ...]:
        return self.near, self.servers, self.sessions

    def renew(self, number: int, plan: Plan) -> None:
        """Replace a connection that ended: another port, another server, another session."""
        for made, one in zip(self._ends(plan), self._lists, strict=True):
            self._kept.append(one[number])
            one[number] = made

    def _ends(self, plan: Plan | None) -> tuple[Station, Any, Any]:
        """Make both ends of a connection on ports of their own, not offered yet."""
        size = plan.buffer_size if plan is not None else 1 << 16
        near_beside, far_beside = self._latest or (None, None)
        near = Station(self._end(0), 0, size, near_beside)
        far = Station(self._end(1), 1, size, far_beside)
        self._latest = near, far
        if plan is None:
            return near, HttpServer(far, self.now_ns), self._session(near, plan)
        server = Server(far, plan, self._certificate, self.now_ns)
        return near, server, self._session(near, plan)

    def _end(self, local: int) -> Any:
        return lib.tp_memory_link_end(self.pair, local)

    def _session(self, near: Station, plan: Plan | None) -> Any:
        stream = ffi.new("struct tp_stream *")
        lib.tp_stream_init_tcp(stream, near.tcp)
        config = ffi.new("struct tp_session_config *")
        texts = [ffi.new("char[]", word) for word in (NAME.encode(), b"/ws", b"")]
        config.websocket = plan is not None and plan.websocket
        config.handshake_worker, config.memory = self.worker, self.memory
        config.tls = self._context if plan is not None and plan.tls else ffi.NULL
        config.server_name = texts[0]
        config.host, config.target, config.extra_headers = texts
        config.message_size_max, config.receive_window = 1 << 20, 1 << 16
        config.handshake_timeout_ns = 10 * SECOND
        error = ffi.new("char[256]")
        session = lib.tp_session_new(config, stream, error, 256)
        assert session != ffi.NULL, ffi.string(error)
        return ffi.gc(session, lib.tp_session_free)

    def command(self, kind: int, connection: int = 0, **fields: Any) -> bool:
        command = ffi.new("struct tp_command *", {"kind": kind, "connection": connection, **fields})
        return bool(lib.tp_handover_command(self.handover, command))

    def offer(self, number: int, **fields: Any) -> None:
        near = self.near[number]
        ways = {"session": self.sessions[number], "tcp": near.tcp, "tcp_config": near.config[0]}
        assert self.command(lib.TP_COMMAND_CONNECT, number, **ways, **fields)

    def offer_all(self, **fields: Any) -> None:
        for number in range(len(self.near)):
            self.offer(number, **fields)

    def send(self, number: int, data: bytes, opcode: int | None = None) -> int:
        """Send from within an event; bytes where no opcode is named."""
        memory = ffi.new("uint8_t[]", data)
        span = ffi.new("struct tp_span *", {"data": memory, "size": len(data)})
        taken = ffi.new("size_t *")
        if opcode is None:
            return int(lib.tp_loop_send_bytes(self.loop, number, span[0], taken))
        return int(lib.tp_loop_send(self.loop, number, opcode, span[0], taken))

    def begin(self) -> bool:
        return bool(lib.tp_loop_begin(self.loop, self.now_ns))

    def next(self) -> Event | None:
        """Ask for one event."""
        event = self._event
        if not lib.tp_loop_next(self.loop, event):
            return None
        self.event_ns = event.now_ns
        message, kind = event.message, event.kind
        payload, opcode = b"", 0
        if kind in (MESSAGE, BYTES):
            payload = bytes(ffi.buffer(message.payload.data, message.payload.size))
        if kind == MESSAGE:
            opcode = int(message.opcode)
        argument = int(event.argument) if kind == COMMAND else 0
        found = Event(kind, event.connection, payload, opcode, argument)
        if kind not in (TICK, TURN):
            self.heard.append(found)
        self.react(found)
        return found

    def events(self) -> list[Event]:
        """Ask for all that the turn still has."""
        found = []
        while (event := self.next()) is not None:
            found.append(event)
        return found

    def turn(self) -> list[Event]:
        """Take a whole turn, then let the servers have theirs."""
        found = self.events() if self.begin() else []
        self.serve()
        return found

    def serve(self) -> int:
        """Let the servers take and send; time moves. Returns how many frames came from the loop."""
        count = self.take_frames()
        if self.steps_worker:
            lib.tp_tls_handshake_worker_step(self.worker)
        for server in self.servers:
            server.output(self.now_ns)
        self.take_notes()
        self.now_ns += TURN_NS
        return count

    def take_notes(self) -> None:
        while (note := lib.tp_handover_note(self.handover)) != ffi.NULL:
            self.notes.append((int(note.kind), int(note.connection)))
            lib.tp_handover_note_release(self.handover)

    def take_frames(self) -> int:
        """Give the servers what the loop sent; returns how many frames that was."""
        link = self._end(1)
        count = lib.tp_link_rx_burst(link, self._frames, BURST)
        for i in range(count):
            frame = ffi.addressof(self._frames, i)
            owner = lib.tp_netif_input(self.servers[0].station.netif, frame, self._segment)
            for server in self.servers:
                if owner != ffi.NULL and owner == server.station.tcp:
                    self._give(server)
        lib.tp_link_rx_release(link, self._frames, count)
        return int(count)

    def _give(self, server: Any) -> None:
        try:
            server.segment(self._segment, self.now_ns)
        except AssertionError:  # our RST
            server.is_reset = True

    def run(self, until: Callable[[], bool], limit_ns: int = 5 * SECOND) -> None:
        end_ns = self.now_ns + limit_ns
        while not until():
            assert self.now_ns < end_ns, f"not within {limit_ns / SECOND} s: {self.heard[-5:]}"
            self.turn()

    def count(self, kind: int) -> int:
        return sum(event.kind == kind for event in self.heard)

    def payloads(self, number: int, kind: int = MESSAGE) -> list[bytes]:
        """Return what came over a connection, control frames left out."""
        data = (0, lib.TP_WS_TEXT, lib.TP_WS_BINARY)
        return [
            event.payload
            for event in self.heard
            if event.kind == kind and event.connection == number and event.opcode in data
        ]
