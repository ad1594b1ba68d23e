"""What stands below a deployment in virtual time: a wire, streams on one end, servers on the other.

`VirtualTransport` is the transport of netstack/transport.py over a memory link: the loop's own TCP
speaks through it. Each stream meets a `FarEnd`, a TCP endpoint of ours that carries the bytes of
the simulator's `Connection`, in the place of asyncio's transport. Time comes from the caller.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from typing import TYPE_CHECKING, Any

from tickpath._core import ffi, lib
from tickpath.netstack.link_watch import LinkWatch
from tickpath.netstack.transport import Stream

from tests.sim.virtual import ADDRESSES, BURST, NEVER

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from tickpath.engine.sim.connection import Connection

NEAR_PORT, FAR_PORT, PORT_COUNT = 61000, 40000, 4096
BUFFER_SIZE = 1 << 18
FRAME_COUNT = 512
FRAME_FAULTS = 5_000  # millionths of the frames lost, doubled, damaged, reordered, where any are


def tcp_new(local: int, number: int) -> tuple[Any, Any, Any]:
    """Make one endpoint of connection `number`: the TCP, its configuration, its memory."""
    config = ffi.new("struct tp_tcp_config *")
    lib.tp_tcp_config_init(config)
    ports = (NEAR_PORT + number, FAR_PORT + number)
    config.local_address, config.remote_address = ADDRESSES[local], ADDRESSES[1 - local]
    config.local_port, config.remote_port = ports[local], ports[1 - local]
    config.isn_secret = bytes([local] * 16)
    config.receive_buffer_size = config.send_buffer_size = BUFFER_SIZE
    memory = ffi.new("uint8_t[]", lib.tp_tcp_memory_size(config) + 64)
    aligned = int(ffi.cast("uintptr_t", memory)) + 63 & ~63
    return lib.tp_tcp_init(ffi.cast("void *", aligned), config), config, memory


class FarEnd(asyncio.Transport):
    """The venue's end of one connection: what asyncio's transport is to a `Connection`."""

    def __init__(self, number: int, stream: Stream, tls: ssl.SSLContext | None) -> None:
        super().__init__()
        self.stream, self.address = stream, ""
        self.connection: Connection | None = None
        self.tcp, self.config, self._memory = tcp_new(1, number)
        self.flow: Any = None
        self.is_over = self._is_closing = self._is_asked = False
        self._unsent = bytearray()
        self._delivery = ffi.new("struct tp_tcp_delivery *")
        self._span = ffi.new("struct tp_span *")
        self._tls: ssl.SSLObject | None = None
        self._is_shaken = tls is None
        if tls is not None:
            self._from, self._to = ssl.MemoryBIO(), ssl.MemoryBIO()
            self._tls = tls.wrap_bio(self._from, self._to, server_side=True)

    # What a Connection calls.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Queue bytes, sealed where it is TLS."""
        if self._tls is None:
            self._unsent += data
        elif not self._is_closing:
            self._tls.write(data)
            self._unsent += self._to.read()

    def get_write_buffer_size(self) -> int:
        return len(self._unsent)

    def close(self) -> None:
        """End after what is queued."""
        self._is_closing = True

    def abort(self) -> None:
        """Reset."""
        lib.tp_tcp_abort(self.tcp)
        self._lose()

    # What the wire calls.

    def meet(self, connection: Connection) -> None:
        """Take the connection that is served over this end."""
        self.connection = connection
        connection.connection_made(self)

    def segment(self, segment: Any, now_ns: int) -> None:
        status = lib.tp_tcp_input(self.tcp, segment, now_ns, self._delivery)
        if status == lib.TP_ERROR:
            self._lose()
            return
        for i in range(self._delivery.count):
            span = self._delivery.span[i]
            self._take(bytes(ffi.buffer(span.data, span.size)))
        if status == lib.TP_CLOSED and self.connection is not None:
            self.connection.eof_received()
            self._is_closing = True

    def _take(self, data: bytes) -> None:
        if self._tls is None:
            self._pass(data)
            return
        self._from.write(data)
        try:
            if not self._is_shaken:
                self._tls.do_handshake()
                self._is_shaken = True
            while plain := self._tls.read(1 << 16):
                self._pass(plain)
        except ssl.SSLError:  # more is wanted, or the peer's close_notify came
            pass
        self._unsent += self._to.read()

    def _pass(self, data: bytes) -> None:
        if self.connection is not None:
            self.connection.data_received(data)

    def _lose(self) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.connection_lost(None)

    def output(self, netif: Any, now_ns: int) -> int:
        """Build what is due; returns how many frames that was."""
        if not self._is_asked:
            if lib.tp_tcp_state(self.stream.tcp) == lib.TP_TCP_CLOSED:
                return 0  # it has not been handed to the loop, or was and is gone
            self._is_asked = True
            lib.tp_tcp_connect(self.tcp, now_ns)
        if self._unsent:
            data = bytes(self._unsent)
            self._span.data, self._span.size = ffi.from_buffer("uint8_t[]", data), len(data)
            del self._unsent[: lib.tp_tcp_send(self.tcp, self._span[0])]
        if self._is_closing and not self._unsent:
            lib.tp_tcp_close(self.tcp)
        count = int(lib.tp_netif_output(netif, self.flow, now_ns, BURST))
        if lib.tp_tcp_state(self.tcp) in (lib.TP_TCP_CLOSED, lib.TP_TCP_TIME_WAIT):
            self._lose()
            self.is_over = True
        return count

    def deadline_ns(self) -> int:
        return int(lib.tp_tcp_deadline(self.tcp)) if self._is_asked else NEVER


class VirtualLink(LinkWatch):
    """The interface under the wire: it carries frames until the test says what is wrong."""

    def __init__(self) -> None:
        self.interface, self.trouble = "virtual0", ""
        self.seen = ""
        self._bell = os.eventfd(0, os.EFD_CLOEXEC)

    def fileno(self) -> int:
        """Return what never rings: the cold side looks as often as the test lets it."""
        return self._bell

    def look(self) -> str | None:
        before, self.seen = self.seen, self.trouble
        return None if before == self.seen else self.seen

    def close(self) -> None:
        os.close(self._bell)


class VirtualTransport:
    """Streams of our own TCP over a memory link; `accept` serves what comes out at its end."""

    def __init__(
        self, random: Random, accept: Callable[[FarEnd], None], tls: ssl.SSLContext | None
    ) -> None:
        self.description = "virtual wire"
        self.is_reachable = True
        self._accept, self._tls, self._count = accept, tls, 0
        self._pair = ffi.gc(
            lib.tp_memory_link_pair_create(FRAME_COUNT, 2048), lib.tp_memory_link_pair_destroy
        )
        self.delay_ns = random.randrange(50_000, 20_000_000)
        config = ffi.new("struct tp_fault_config *")
        config.seed, config.frame_count = random.getrandbits(63), FRAME_COUNT
        config.rx.delay_ns = config.tx.delay_ns = self.delay_ns
        near = lib.tp_memory_link_end(self._pair, 0)
        self.injector = ffi.gc(
            lib.tp_fault_injector_create(near, config), lib.tp_fault_injector_destroy
        )
        self._far_link = lib.tp_memory_link_end(self._pair, 1)
        self.netif, self._near_flows = self._netif(lib.tp_fault_injector_link(self.injector), 0)
        self._far, self._far_flows = self._netif(self._far_link, 1)
        self.ends: dict[int, FarEnd] = {}  # by the address of their TCP
        self._frames = ffi.new("struct tp_frame[]", BURST)
        self._segment = ffi.new("struct tp_tcp_segment *")

    def _netif(self, link: Any, local: int) -> tuple[Any, Any]:
        netif = ffi.new("struct tp_netif *")
        flows = ffi.new("struct tp_netif_flow[]", PORT_COUNT)
        lib.tp_netif_init(netif, link, bytes([2, 0, 0, 0, 0, local]), ADDRESSES[local])
        lib.tp_netif_ports(netif, flows, (NEAR_PORT, FAR_PORT)[local], PORT_COUNT)
        return netif, flows

    def damage(self, millionths: int) -> None:
        """Lose, double, damage and reorder so many of the frames from now on."""
        profile = ffi.new("struct tp_fault_profile *")
        profile.loss = profile.duplicate = profile.corrupt = profile.reorder = millionths
        profile.delay_ns, profile.reorder_delay_ns = self.delay_ns, self.delay_ns // 2
        lib.tp_fault_injector_set_profiles(self.injector, profile, profile)

    # What Connections calls.

    def open_stream(self, address: str, port: int) -> Stream:
        """Prepare both ends; the far one is there only while the venue can be reached."""
        number, self._count = self._count, self._count + 1
        tcp, config, memory = tcp_new(0, number)
        handle = ffi.new("struct tp_stream *")
        lib.tp_stream_init_tcp(handle, tcp)
        stream = Stream(handle, tcp, config, bytes(6), NEAR_PORT + number, memory)
        if self.is_reachable:
            end = FarEnd(number, stream, self._tls)
            end.address = address
            end.flow = lib.tp_netif_bind(self._far, end.config, end.tcp, end.tcp)
            lib.tp_netif_next_hop(end.flow, bytes(6))
            self.ends[int(ffi.cast("uintptr_t", end.tcp))] = end
            self._accept(end)
        return stream

    def moved(self, _stream: Stream, /) -> str:
        """No frame is dropped here."""
        return ""

    def release(self, stream: Stream) -> None:
        """Ports are used once."""

    def close(self) -> None:
        """Nothing outlives the memory."""

    # What time does.

    def advance(self, now_ns: int) -> None:
        """Let frames arrive and leave at the far end."""
        lib.tp_fault_injector_advance(self.injector, now_ns)
        count = int(lib.tp_link_rx_burst(self._far_link, self._frames, BURST))
        for i in range(count):
            frame = ffi.addressof(self._frames, i)
            owner = lib.tp_netif_input(self._far, frame, self._segment)
            end = self.ends.get(int(ffi.cast("uintptr_t", owner)))
            if end is not None:
                end.segment(self._segment, now_ns)
        lib.tp_link_rx_release(self._far_link, self._frames, count)
        sent = sum([end.output(self._far, now_ns) for end in self.ends.values()])
        if sent:
            lib.tp_link_tx_kick(self._far_link)
        for key in [key for key, end in self.ends.items() if end.is_over]:
            lib.tp_netif_unbind(self.ends.pop(key).flow)

    def next_ns(self) -> int:
        """Return when something is due at the latest."""
        deadlines = (end.deadline_ns() for end in self.ends.values())
        return min(int(lib.tp_fault_injector_deadline(self.injector)), *deadlines, NEVER)
