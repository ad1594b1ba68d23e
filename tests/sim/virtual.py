"""What whole sessions in virtual time stand on: two stations, a wire with faults, a real server.

Two TCP endpoints of ours open at the same time over a memory link whose frames are lost, doubled,
damaged and reordered by one seed. On one side stands a `tp_session`, driven as the loop of
engine/loop drives it: input when a frame came, tick and output when tp_session_deadline says so,
and never else - a timer that is set too late stops the whole simulation. On the other side stand
Python's `ssl` and the sans-IO server protocol of `websockets`. Nothing here reads a clock or the
kernel.
"""

from __future__ import annotations

import contextlib
import mmap
import random
import ssl
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from tickpath._core import ffi, lib
from websockets.frames import Frame
from websockets.http11 import Request
from websockets.server import ServerProtocol

from tests.unit.handshake_worker import new_worker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


NAME = "exchange.test"
ADDRESSES = ((10 << 24) + 1, (10 << 24) + 2)
PORTS = (61000, 443)
PORT_COUNT = 8  # from there on: connections that share one wire
NEVER = 2**64 - 1
SECOND = 1_000_000_000
TURN_COUNT_MAX = 300_000
IDLE_TURN_COUNT_MAX = 64  # turns without any frame or byte before time must move on
BURST = 64
RTT_NS = 200_000
CLOSE_TIMEOUT_NS = 2 * SECOND  # netstack/session.c
ISN_TICK_NS = 4000
ISN_BELOW_WRAP = 5000  # bytes: the wrap comes early in most runs


@dataclass(frozen=True, slots=True)
class Certificate:
    """A self-signed certificate for NAME that serves as its own authority."""

    certificate: Path
    key: Path


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    folder = tmp_path_factory.mktemp("tls")
    made = Certificate(folder / "certificate.pem", folder / "key.pem")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", f"/CN={NAME}"),
            *("-addext", f"subjectAltName=DNS:{NAME}"),
            *("-keyout", str(made.key), "-out", str(made.certificate)),
        ],
        check=True,
        capture_output=True,
    )
    return made


@dataclass(kw_only=True)
class Plan:
    """What happens in one run; every default is the quiet one."""

    seed: int
    tls: str = "TLSv1.3"  # or "TLSv1.2", or "" for none
    record_layer: int = 0
    faults: int = 0  # millionths of the frames that are lost, and doubled, damaged, reordered
    server_messages: list[bytes] = field(default_factory=list)
    client_messages: list[bytes] = field(default_factory=list)
    fragment_size: int = 0  # of the server's messages; 0: whole
    ping_every: int = 0  # messages
    closer: str = "server"  # "client", "both", "server without a close frame"
    read_every_ns: int = 0  # a slow application: reads at these intervals only
    buffer_size: int = 1 << 18
    usual_message_size: int | None = None  # larger ones borrow; None: a buffer of the session's own
    message_size_max: int = 1 << 20
    websocket: bool = True  # False: the session is of plain bytes
    handshake_delay_ns: int | None = None  # of a worker that does the handshake; None: no worker


def tcp_new(local: int, buffer_size: int, index: int = 0) -> tuple[Any, Any, Any]:
    config = ffi.new("struct tp_tcp_config *")
    lib.tp_tcp_config_init(config)
    config.local_address, config.remote_address = ADDRESSES[local], ADDRESSES[1 - local]
    config.local_port, config.remote_port = PORTS[local] + index, PORTS[1 - local] + index
    config.isn_secret = bytes([local] * 16)
    config.receive_buffer_size = config.send_buffer_size = buffer_size
    size = lib.tp_tcp_memory_size(config)
    assert size > 0
    memory = ffi.new("uint8_t[]", size + 64)
    aligned = int(ffi.cast("uintptr_t", memory)) + 63 & ~63
    return lib.tp_tcp_init(ffi.cast("void *", aligned), config), config, memory


def start_ns(local: int) -> int:
    """Return a time at which this end's initial sequence number is just below 2^32 (RFC 6528)."""
    tcp, _, _memory = tcp_new(local, 1 << 16)
    out = ffi.new("uint8_t[128]")
    lib.tp_tcp_connect(tcp, 0)
    assert lib.tp_tcp_output(tcp, 0, out, 128) > 0
    at_zero = int.from_bytes(bytes(out[4:8]), "big")
    return ((2**32 - ISN_BELOW_WRAP - at_zero) % 2**32) * ISN_TICK_NS


class Station:
    """One end of the wire: netif, one flow, one TCP connection."""

    def __init__(
        self, link: Any, local: int, buffer_size: int, beside: Station | None = None
    ) -> None:
        """beside: the station before this one on the same end, whose netif is shared."""
        self.link = link
        self.index: int = 0 if beside is None else beside.index + 1
        self.tcp, self.config, self._memory = tcp_new(local, buffer_size, self.index)
        if beside is None:
            self.netif = ffi.new("struct tp_netif *")
            self._flows = ffi.new("struct tp_netif_flow[]", PORT_COUNT)
            lib.tp_netif_init(self.netif, link, bytes([2, 0, 0, 0, 0, local]), ADDRESSES[local])
            lib.tp_netif_ports(self.netif, self._flows, PORTS[local], PORT_COUNT)
        else:
            self.netif, self._flows = beside.netif, beside._flows
        self.flow = ffi.NULL
        self._frames = ffi.new("struct tp_frame[]", BURST)
        self._segment = ffi.new("struct tp_tcp_segment *")

    def bind(self, owner: Any) -> None:
        self.flow = lib.tp_netif_bind(self.netif, self.config, self.tcp, owner)
        lib.tp_netif_next_hop(self.flow, bytes(6))

    def take_frames(self, use: Callable[[Any], None]) -> bool:
        count = lib.tp_link_rx_burst(self.link, self._frames, BURST)
        for i in range(count):
            owner = lib.tp_netif_input(self.netif, ffi.addressof(self._frames, i), self._segment)
            if owner != ffi.NULL:
                use(self._segment)
        lib.tp_link_rx_release(self.link, self._frames, count)
        return bool(count)

    def kick(self, count: int) -> bool:
        if count > 0:
            lib.tp_link_tx_kick(self.link)
        return count > 0


class Server:
    """`ssl` and `websockets` behind a TCP endpoint of ours."""

    def __init__(self, station: Station, plan: Plan, certificate: Certificate, now_ns: int) -> None:
        self.station, self.plan = station, plan
        self.protocol = ServerProtocol(max_size=None)
        self.to_send = b""
        self.received: list[bytes] = []
        self.pongs: list[bytes] = []
        self.pings = 0
        self.close_code: int | None = None
        self.may_end = True
        self._parts = b""
        self._messages = list(plan.server_messages)
        self._delivery = ffi.new("struct tp_tcp_delivery *")
        self.accepted = self.ended = self.peer_ended = self.close_notify = False
        self.tls: ssl.SSLObject | None = None
        self._shaken = not plan.tls
        if plan.tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate.certificate, certificate.key)
            version = ssl.TLSVersion.TLSv1_3 if plan.tls == "TLSv1.3" else ssl.TLSVersion.TLSv1_2
            context.minimum_version = context.maximum_version = version
            self._from, self._to = ssl.MemoryBIO(), ssl.MemoryBIO()
            self.tls = context.wrap_bio(self._from, self._to, server_side=True)
        station.bind(station.tcp)
        lib.tp_tcp_connect(station.tcp, now_ns)

    def segment(self, segment: Any, now_ns: int) -> None:
        status = lib.tp_tcp_input(self.station.tcp, segment, now_ns, self._delivery)
        assert status != lib.TP_ERROR, "the server's connection broke"
        for i in range(self._delivery.count):
            span = self._delivery.span[i]
            self._bytes(bytes(ffi.buffer(span.data, span.size)))
        if status == lib.TP_CLOSED:
            self.peer_ended = True
            if not self.ended:
                self.protocol.receive_eof()
                self._act()

    def _bytes(self, data: bytes) -> None:
        if self.tls is None:
            self.protocol.receive_data(data)
            self._act()
            return
        self._from.write(data)
        try:
            if not self._shaken:
                self.tls.do_handshake()
                self._shaken = True
            while plain := self.tls.read(1 << 16):
                self.protocol.receive_data(plain)
                self._act()
            self.close_notify = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:  # the same, after our own close_notify
            self.close_notify = True
        self.to_send += self._to.read()

    def _act(self) -> None:
        for event in self.protocol.events_received():
            if isinstance(event, Request):
                self.protocol.send_response(self.protocol.accept(event))
                self.accepted = True
            elif isinstance(event, Frame):
                self._frame(event)
        self._collect()

    def _frame(self, frame: Frame) -> None:
        if frame.opcode.name == "PONG":
            self.pongs.append(bytes(frame.data))
        elif frame.opcode.name == "CLOSE":
            self.close_code = int.from_bytes(frame.data[:2], "big")
        elif frame.opcode.name in ("BINARY", "TEXT", "CONT"):
            self._parts += bytes(frame.data)
            if frame.fin:
                self.received.append(self._parts)
                self._parts = b""

    def _collect(self) -> None:
        for data in self.protocol.data_to_send():
            if data:
                self.write(data)
            else:
                self.end()

    def write(self, plain: bytes) -> None:
        if self.tls is None:
            self.to_send += plain
        else:
            self.tls.write(plain)
            self.to_send += self._to.read()

    def end(self) -> None:
        if self.ended or not self.may_end:
            return
        self.ended = True
        if self.tls is not None:
            # unwrap wants the peer's close_notify too: ours is in the BIO by then
            with contextlib.suppress(ssl.SSLError):
                self.tls.unwrap()
            self.to_send += self._to.read()

    def speak(self) -> None:
        """Send what the plan says, as long as little is queued."""
        if not self.accepted or self.ended:
            return
        while self._messages and len(self.to_send) < 1 << 17:
            self._message(self._messages.pop(0))
            sent = len(self.plan.server_messages) - len(self._messages)
            if self.plan.ping_every and sent % self.plan.ping_every == 0:
                self.protocol.send_ping(b"%d" % sent)
                self.pings += 1
            self._collect()
        done = not self._messages and len(self.received) == len(self.plan.client_messages)
        if done and self.close_code is None and self.protocol.state.name == "OPEN":
            if self.plan.closer in ("server", "both"):
                self.protocol.send_close(1000, "done")
                self._collect()
            elif self.plan.closer == "server without a close frame":
                self.end()

    def _message(self, data: bytes) -> None:
        size = self.plan.fragment_size or len(data) or 1
        pieces = [data[at : at + size] for at in range(0, len(data), size)] or [b""]
        for index, piece in enumerate(pieces):
            fin = index == len(pieces) - 1
            if index == 0:
                self.protocol.send_binary(piece, fin=fin)
            else:
                self.protocol.send_continuation(piece, fin=fin)

    def output(self, now_ns: int) -> bool:
        station = self.station
        self.speak()
        moved = False
        if self.to_send:
            memory = ffi.from_buffer("uint8_t[]", self.to_send)
            span = ffi.new("struct tp_span *", {"data": memory, "size": len(self.to_send)})
            taken = lib.tp_tcp_send(station.tcp, span[0])
            self.to_send = self.to_send[taken:]
            moved = taken > 0
        if self.ended and not self.to_send:
            lib.tp_tcp_close(station.tcp)
        count = lib.tp_netif_output(station.netif, station.flow, now_ns, 64)
        return station.kick(count) or moved


class Client:
    """A tp_session, driven as the hot path does."""

    def __init__(self, station: Station, plan: Plan, context: Any, now_ns: int) -> None:
        self.station, self.plan = station, plan
        self.stream = ffi.new("struct tp_stream *")
        lib.tp_stream_init_tcp(self.stream, station.tcp)
        config = ffi.new("struct tp_session_config *")
        texts = [ffi.new("char[]", word) for word in (NAME.encode(), b"/ws", b"")]
        config.tls, config.server_name = context, texts[0]
        config.websocket = True
        self.worker = ffi.NULL if plan.handshake_delay_ns is None else new_worker()
        self.work_at_ns = NEVER if self.worker == ffi.NULL else now_ns
        config.handshake_worker = self.worker
        config.host, config.target, config.extra_headers = texts
        config.message_size_max = plan.message_size_max
        config.receive_window = plan.buffer_size
        config.handshake_timeout_ns = 60 * SECOND
        self.memory = self._new_memory(plan)
        config.memory = self.memory
        error = ffi.new("char[256]")
        session = lib.tp_session_new(config, self.stream, error, 256)
        assert session != ffi.NULL, ffi.string(error)
        pages = self._pages  # outlive the session, which gives its buffers back

        def free(one: Any, _pages: Any = pages) -> None:
            lib.tp_session_free(one)

        self.session = ffi.gc(session, free)
        station.bind(session)
        lib.tp_session_set_flow(session, station.flow)
        self.message = ffi.new("struct tp_ws_message *")
        self.taken = ffi.new("size_t *")
        self.received: list[bytes] = []
        self.pings = 0
        self.status = lib.TP_NEED_MORE
        self.read_at_ns = 0
        self._unsent = list(plan.client_messages)
        self.closed_at_ns = 0
        lib.tp_session_connect(session, now_ns)

    def _new_memory(self, plan: Plan) -> Any:
        self._pages: mmap.mmap | None = None
        if plan.usual_message_size is None:
            return ffi.NULL
        sizes = (1, 1, plan.usual_message_size, plan.message_size_max, plan.buffer_size)
        config = ffi.new("struct tp_session_memory_config *", sizes)
        size = lib.tp_session_memory_size(config)
        assert size > 0
        self._pages = mmap.mmap(-1, size)
        return lib.tp_session_memory_init(ffi.from_buffer(self._pages), config)

    @property
    def phase(self) -> int:
        return int(lib.tp_session_phase(self.session))

    def error_text(self) -> str:
        text = ffi.new("char[256]")
        lib.tp_session_error_text(self.session, text, 256)
        return bytes(ffi.string(text)).decode()

    def segment(self, segment: Any, now_ns: int) -> None:
        lib.tp_session_segment(self.session, segment, now_ns)
        if not self.plan.read_every_ns:
            self.read()

    def read(self) -> None:
        while (status := lib.tp_session_next(self.session, self.message)) == lib.TP_OK:
            message = self.message
            payload = bytes(ffi.buffer(message.payload.data, message.payload.size))
            if message.opcode in (lib.TP_WS_TEXT, lib.TP_WS_BINARY):
                self.received.append(payload)
            self.pings += message.opcode == lib.TP_WS_PING
        self.status = status

    def speak(self, now_ns: int) -> None:
        """Queue what fits."""
        while self._unsent and self.phase == lib.TP_SESSION_OPEN:
            data = self._unsent[0]
            memory = ffi.from_buffer("uint8_t[]", data) if data else ffi.new("uint8_t[1]")
            span = ffi.new("struct tp_span *", {"data": memory, "size": len(data)})
            status = lib.tp_session_send(self.session, lib.TP_WS_BINARY, span[0], self.taken)
            if status != lib.TP_OK:
                return
            self._unsent.pop(0)
            self.taken[0] = 0
        done = not self._unsent and len(self.received) == len(self.plan.server_messages)
        closes = self.plan.closer in ("client", "both")
        if done and closes and not self.closed_at_ns and self.phase == lib.TP_SESSION_OPEN:
            self.closed_at_ns = now_ns
            lib.tp_session_close(self.session, 1001, now_ns)

    def output(self, now_ns: int, *, input_came: bool) -> bool:
        if self.plan.read_every_ns and now_ns >= self.read_at_ns:
            self.read()
            self.read_at_ns = now_ns + self.plan.read_every_ns
            input_came = True
        self.speak(now_ns)
        self.work(now_ns)
        due = now_ns >= lib.tp_session_deadline(self.session)
        if due:
            lib.tp_session_tick(self.session, now_ns)
        if not due and not input_came:
            return False
        station = self.station
        return station.kick(lib.tp_session_output(self.session, station.netif, now_ns))

    def work(self, now_ns: int) -> None:
        """Let the worker look once every handshake_delay_ns, as long as there is a handshake."""
        if self.worker != ffi.NULL and now_ns >= self.work_at_ns:
            lib.tp_tls_handshake_worker_step(self.worker)
            self.work_at_ns = now_ns + (self.plan.handshake_delay_ns or 0)
            if self.phase > lib.TP_SESSION_TLS_HANDSHAKE:
                self.work_at_ns = NEVER

    def next_ns(self) -> int:
        deadline = min(int(lib.tp_session_deadline(self.session)), self.work_at_ns)
        if self.plan.read_every_ns and self.status == lib.TP_NEED_MORE:
            deadline = min(deadline, self.read_at_ns)
        return deadline


class World:
    """Both ends, the wire between them, and time."""

    def __init__(self, plan: Plan, certificate: Certificate, context: Any) -> None:
        self.plan = plan
        self.now_ns = self.started_ns = start_ns(plan.seed % 2)
        self.pair = ffi.gc(
            lib.tp_memory_link_pair_create(1024, 2048), lib.tp_memory_link_pair_destroy
        )
        config = ffi.new("struct tp_fault_config *")
        config.seed, config.frame_count = plan.seed, 4096
        for profile in (config.rx, config.tx):
            profile.loss = profile.duplicate = profile.corrupt = profile.reorder = plan.faults
            profile.delay_ns, profile.reorder_delay_ns = RTT_NS // 2, RTT_NS
        self.injector = ffi.gc(
            lib.tp_fault_injector_create(lib.tp_memory_link_end(self.pair, 0), config),
            lib.tp_fault_injector_destroy,
        )
        near = Station(lib.tp_fault_injector_link(self.injector), 0, plan.buffer_size)
        far = Station(lib.tp_memory_link_end(self.pair, 1), 1, plan.buffer_size)
        lib.tp_fault_injector_advance(self.injector, self.now_ns)
        self.client = Client(near, plan, context, self.now_ns)
        self.server = Server(far, plan, certificate, self.now_ns)

    def turn(self) -> bool:
        now_ns, client, server = self.now_ns, self.client, self.server
        lib.tp_fault_injector_advance(self.injector, now_ns)
        came = client.station.take_frames(lambda segment: client.segment(segment, now_ns))
        moved = client.output(now_ns, input_came=came) or came
        came = server.station.take_frames(lambda segment: server.segment(segment, now_ns))
        return server.output(now_ns) or came or moved

    def ended(self) -> bool:
        states = (lib.TP_TCP_CLOSED, lib.TP_TCP_TIME_WAIT)
        return bool(
            lib.tp_session_finished(self.client.session)
            and lib.tp_tcp_state(self.server.station.tcp) in states
        )

    def describe(self) -> str:
        client, server = self.client, self.server
        states = [
            bytes(ffi.string(lib.tp_tcp_state_name(lib.tp_tcp_state(tcp)))).decode()
            for tcp in (client.station.tcp, server.station.tcp)
        ]
        passed_s = (self.now_ns - self.started_ns) / SECOND
        return (
            f"seed {self.plan.seed} at {passed_s:.3f} s: phase {client.phase}, "
            f"TCP {states}, {len(client.received)} of {len(self.plan.server_messages)} and "
            f"{len(server.received)} of {len(self.plan.client_messages)} messages, "
            f"{client.error_text()!r}"
        )

    def run(self, until: Callable[[], bool], limit_ns: int) -> None:
        idle, end_ns = 0, self.started_ns + limit_ns
        for _ in range(TURN_COUNT_MAX):
            if until():
                return
            if self.turn():
                idle = 0
                continue
            times = (
                self.client.next_ns(),
                lib.tp_tcp_deadline(self.server.station.tcp),
                lib.tp_fault_injector_deadline(self.injector),
            )
            idle += 1
            next_ns = max(min(times), self.now_ns)
            assert idle < IDLE_TURN_COUNT_MAX or next_ns > self.now_ns, f"spins: {self.describe()}"
            assert next_ns < end_ns, f"stalls until {next_ns}: {self.describe()}"
            if next_ns > self.now_ns:
                idle = 0
            self.now_ns = next_ns
        raise AssertionError(f"too many turns: {self.describe()}")


@pytest.fixture(scope="module")
def contexts(certificate: Certificate) -> Callable[[Plan], Any]:
    made: dict[int, Any] = {}

    def get(plan: Plan) -> Any:
        if not plan.tls:
            return ffi.NULL
        if plan.record_layer not in made:
            config = ffi.new("struct tp_tls_context_config *")
            ca_file = ffi.new("char[]", str(certificate.certificate).encode())
            config.ca_file, config.record_layer = ca_file, plan.record_layer
            error = ffi.new("char[256]")
            context = lib.tp_tls_context_new(config, error, 256)
            assert context != ffi.NULL, ffi.string(error)
            made[plan.record_layer] = ffi.gc(context, lib.tp_tls_context_free)
        return made[plan.record_layer]

    return get


def noise(generator: random.Random, count: int, size_max: int) -> list[bytes]:
    """Messages of all sizes, small ones most of the time."""
    sizes = (0, 1, 125, 126, 1000, 16383, 16384, 65535, 65536)
    messages = []
    for _ in range(count):
        size = generator.choice(sizes) if generator.random() < 0.3 else generator.randrange(300)
        messages.append(generator.randbytes(min(size, size_max)))
    return messages


def random_plan(seed: int) -> Plan:
    generator = random.Random(seed)
    return Plan(
        seed=seed,
        tls=generator.choice(("TLSv1.3", "TLSv1.3", "TLSv1.2", "")),
        faults=generator.choice((0, 1_000, 10_000, 30_000, 60_000)),
        server_messages=noise(generator, generator.randrange(60), 1 << 17),
        client_messages=noise(generator, generator.randrange(20), 1 << 17),
        fragment_size=generator.choice((0, 0, 7, 1000, 20_000)),
        ping_every=generator.choice((0, 3, 10)),
        closer=generator.choice(("server", "client", "both", "server without a close frame")),
        read_every_ns=generator.choice((0, 0, 3_000_000)),
        buffer_size=1 << generator.randrange(16, 19),
        message_size_max=1 << generator.randrange(17, 21),
        handshake_delay_ns=generator.choice((None, 100_000, 5_000_000)),
        usual_message_size=generator.choice((None, 1, 1000, 16_384, 100_000)),
    )


def check_end(world: World) -> None:
    client, plan = world.client, world.plan
    client.read()
    assert client.received == plan.server_messages, world.describe()
    if plan.usual_message_size is not None:
        larger = [one for one in plan.server_messages if len(one) > plan.usual_message_size]
        borrowed = lib.tp_session_memory_borrowed(client.memory)
        assert (borrowed > 0) == bool(larger), world.describe()
        assert borrowed <= len(larger), world.describe()
        assert lib.tp_session_memory_refused(client.memory) == 0
    assert world.server.received == plan.client_messages, world.describe()
    code = lib.tp_session_close_code(client.session)
    if plan.closer == "server without a close frame":
        assert code == 1006
        assert client.status == lib.TP_ERROR
        assert lib.tp_session_error(client.session) != lib.TP_SESSION_ERROR_NONE
        return
    assert client.status == lib.TP_CLOSED, world.describe()
    assert lib.tp_session_error(client.session) == lib.TP_SESSION_ERROR_NONE, world.describe()
    if code == 1006:  # the answer to our close frame took longer than a session waits for it
        assert 0 < client.closed_at_ns < world.now_ns - CLOSE_TIMEOUT_NS
    else:
        assert code in ((1000,) if plan.closer == "server" else (1000, 1001))
    assert world.server.close_code in ((1000,) if plan.closer == "server" else (1000, 1001))
    assert client.pings == world.server.pings
    assert not world.server.pongs or world.server.pongs[-1] == b"%d" % (
        world.server.pings * plan.ping_every
    )


def opened(plan: Plan, certificate: Certificate, context: Any) -> World:
    """Run until the session is open and the server has accepted it."""
    world = World(plan, certificate, context)
    world.run(lambda: world.client.phase == lib.TP_SESSION_OPEN, limit_ns=SECOND)
    return world


def cut_the_wire(world: World) -> None:
    profile = ffi.new("struct tp_fault_profile *", {"loss": lib.TP_FAULT_CERTAIN})
    lib.tp_fault_injector_set_profiles(world.injector, profile, profile)
