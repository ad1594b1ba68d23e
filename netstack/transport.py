"""Streams for sessions: user-space TCP over an AF_XDP link, or the kernel's sockets.

The choice is made once, by `open_transport`, and told by `Transport.description`.
"""

from __future__ import annotations

import errno
import os
import secrets
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, Self

from tickpath._core import ffi, lib
from tickpath.netstack import route
from tickpath.netstack.faults import Faults, open_injector
from tickpath.netstack.link.af_xdp import AfXdpLink
from tickpath.shm.errors import LocalError, RemoteError, SystemSetupError

if TYPE_CHECKING:
    from types import TracebackType

BACKENDS = ("auto", "af_xdp", "kernel")
PORT_LOW, PORT_HIGH = 61000, 61999
IPV4_TCP_HEADERS_SIZE = 40
RECEIVE_WINDOW = 4 << 20
SEND_BUFFER = 1 << 20
# What `moved` names: of struct tp_netif_counters, and of struct tp_tcp_counters.
DROP_COUNTERS = ("bad_checksum", "bad_ipv4", "bad_tcp", "no_connection", "tx_full")
REFUSAL_COUNTERS = (
    *("paws_rejected", "window_rejected", "bad_acks", "resets_ignored", "reassembly_dropped"),
    *("retransmits", "timeouts"),
)


class PlacementError(LocalError):
    """Say that what was asked for by name cannot be: no fallback would honour it."""


@dataclass(slots=True)
class Stream:
    """One connection's way to its peer; `handle` is a `struct tp_stream *` that a session takes."""

    handle: Any
    tcp: Any
    tcp_config: Any
    next_hop: bytes
    local_port: int
    memory: Any
    flow: Any = None
    before: dict[str, int] = field(default_factory=dict)
    """The interface's counters when it was opened."""


class Transport(Protocol):
    """What makes streams. `netif` is NULL where the kernel's sockets are used."""

    description: str
    netif: Any

    def open_stream(self, address: str, port: int) -> Stream: ...
    def moved(self, stream: Stream, /) -> str: ...
    def release(self, stream: Stream) -> None: ...
    def close(self) -> None: ...


class KernelTransport:
    """Streams over the kernel's own TCP."""

    def __init__(self, reason: str = "", interface: str | None = None) -> None:
        """Take why it is not AF_XDP, and the only interface by which connections may leave."""
        self._interface = interface
        self.fallback = reason
        self.description = "kernel sockets" + (f" ({reason})" if reason else "")
        self.netif = ffi.NULL

    def open_stream(self, address: str, port: int) -> Stream:
        """Start a non-blocking connect. Raises RemoteError when it fails at once."""
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        if self._interface is not None:
            try:
                name = self._interface.encode()
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name)
            except OSError as error:
                connection.close()
                raise LocalError(
                    f"interface {self._interface!r}: {error.strerror}: see `ip link`"
                ) from error
        code = connection.connect_ex((address, port))
        if code not in (0, errno.EINPROGRESS):
            connection.close()
            raise RemoteError(f"connect to {address}:{port}: {os.strerror(code)}")
        handle = ffi.new("struct tp_stream *")
        if not lib.tp_stream_init_socket(handle, connection.detach()):
            lib.tp_stream_deinit(handle)
            raise SystemSetupError("out of memory for a socket's buffers")
        return Stream(handle, ffi.NULL, ffi.NULL, b"", 0, None)

    def moved(self, _stream: Stream, /) -> str:
        """Nothing is known: the kernel's counters are not a connection's."""
        return ""

    def release(self, stream: Stream) -> None:
        """Nothing is kept per stream: the session closed the socket."""

    def close(self) -> None:
        """Nothing is shared between streams."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where AF_XDP is to run; None: wherever the route leads."""

    interface: str | None = None
    mode: str = "auto"
    queue: int = 0
    ports: tuple[int, int] = (PORT_LOW, PORT_HIGH)
    huge_pages: bool = True
    receive_window: int = RECEIVE_WINDOW
    """What TCP may have in flight to each connection, and keeps of it out of order."""
    send_buffer: int = SEND_BUFFER
    faults: Faults | None = None
    """For tests. Whoever waits must let the injector's time pass (tp_fault_injector_advance)."""


class UserTransport:
    """Streams of our own TCP over one AF_XDP queue; owns link, port range and neighbours."""

    def __init__(self, local: route.Route, placement: Placement) -> None:
        self._low, self._high = placement.ports
        self._receive_window, self._send_buffer = placement.receive_window, placement.send_buffer
        queue = placement.queue
        self._free_ports = list(range(self._low, self._high + 1))
        secrets.SystemRandom().shuffle(self._free_ports)
        self._isn_secret = secrets.token_bytes(16)
        self._local, self._next_hop = local, local.next_hop_mac
        _check_queue(local.interface, queue)
        self._reservation = route.PortReservation(self._low, self._high)
        self._reservation.open()
        try:
            self._link = AfXdpLink.open(
                local.interface,
                queue=queue,
                address=local.source,
                port_low=self._low,
                port_high=self._high,
                mode=placement.mode,
                huge_pages=placement.huge_pages,
            )
        except SystemSetupError as error:
            self._reservation.close()
            if queue > 0:
                raise SystemSetupError(
                    f"{error} (is there a queue {queue}? see `ethtool -l {local.interface}`)"
                ) from error
            raise
        except BaseException:
            self._reservation.close()
            raise
        self._watch = route.PathWatch(local)
        self._streams: dict[int, Stream] = {}  # by local port
        self.description = f"AF_XDP {self._link.mode} on {local.interface} queue {queue}"
        self.netif = ffi.new("struct tp_netif *")
        self._flows = ffi.new("struct tp_netif_flow[]", self._high - self._low + 1)
        address = int.from_bytes(socket.inet_aton(local.source), "big")
        self.injector = ffi.NULL
        link = self._link.link
        if placement.faults is not None:
            self.injector = open_injector(link, placement.faults)
            link = lib.tp_fault_injector_link(self.injector)
            self.description += f", {placement.faults}"
        lib.tp_netif_init(self.netif, link, local.mac, address)
        lib.tp_netif_ports(self.netif, self._flows, self._low, self._high - self._low + 1)

    @property
    def interface(self) -> str:
        """The interface that carries the frames."""
        return self._local.interface

    @property
    def link(self) -> AfXdpLink:
        """The AF_XDP port, for its counters."""
        return self._link

    def open_stream(self, address: str, port: int) -> Stream:
        """Prepare a connection from a random reserved port.

        Raises SystemSetupError when no port is free or the next hop does not answer, LocalError
        when the route leaves by another interface.
        """
        path = route.lookup(address)
        if path.interface != self._local.interface:
            raise LocalError(
                f"route to {address} leaves by {path.interface}, expected {self._local.interface}: "
                "add a route or name the other interface"
            )
        if not self._free_ports:
            raise SystemSetupError(
                f"all local ports {self._low}-{self._high} are in use: widen the port range"
            )
        local_port = self._free_ports.pop(0)
        config = ffi.new("struct tp_tcp_config *")
        lib.tp_tcp_config_init(config)
        config.local_address = int.from_bytes(socket.inet_aton(self._local.source), "big")
        config.remote_address = int.from_bytes(socket.inet_aton(address), "big")
        config.local_port, config.remote_port = local_port, port
        config.mss = self._local.mtu - IPV4_TCP_HEADERS_SIZE
        config.receive_buffer_size = self._receive_window
        config.send_buffer_size = self._send_buffer
        config.isn_secret = list(self._isn_secret)
        size = lib.tp_tcp_memory_size(config)
        if size == 0:
            raise LocalError(f"interface MTU {self._local.mtu} gives no usable TCP segment size")
        memory = ffi.new("char[]", size + 64)
        aligned = int(ffi.cast("uintptr_t", memory)) + 63 & ~63
        tcp = lib.tp_tcp_init(ffi.cast("void *", aligned), config)
        handle = ffi.new("struct tp_stream *")
        lib.tp_stream_init_tcp(handle, tcp)
        stream = Stream(handle, tcp, config, path.next_hop_mac, local_port, memory)
        stream.before = self._dropped()
        self._streams[local_port] = stream
        return stream

    def check_path(self) -> None:
        """Follow a next hop whose MAC changed; call it a few times a second, from a cold thread.

        Raises SystemSetupError when the interface is down or gone.
        """
        state = self._watch.poll()
        if not state.up:
            raise SystemSetupError(
                f"{self.description}: {os.strerror(errno.ENETDOWN)}: set the interface up again"
            )
        before, self._next_hop = self._next_hop, state.next_hop_mac or self._next_hop
        if self._next_hop == before:
            return
        for port, stream in self._streams.items():
            if stream.next_hop == before:
                stream.next_hop = self._next_hop
                lib.tp_netif_next_hop(self._flows + (port - self._low), self._next_hop)

    def bind(self, stream: Stream, owner: Any) -> Any:
        """Route frames of the stream's port to `owner` and return the flow."""
        flow = lib.tp_netif_bind(self.netif, stream.tcp_config, stream.tcp, owner)
        lib.tp_netif_next_hop(flow, stream.next_hop)
        stream.flow = flow
        return flow

    def _dropped(self) -> dict[str, int]:
        counters = self.netif.counters
        return {name: int(getattr(counters, name)) for name in DROP_COUNTERS}

    def moved(self, stream: Stream, /) -> str:
        """Name the counters that tell why a stream got nowhere; "" where none moved.

        Those of frames that were dropped are of all streams of the link, since this one was opened.
        """
        counts = {name: count - stream.before[name] for name, count in self._dropped().items()}
        own = lib.tp_tcp_counters(stream.tcp)
        counts |= {name: int(getattr(own, name)) for name in REFUSAL_COUNTERS}
        return ", ".join(f"{name} {count}" for name, count in counts.items() if count)

    def release(self, stream: Stream) -> None:
        """Take the port back; it goes to the end of the queue, so that it rests before reuse."""
        if stream.flow is not None:
            lib.tp_netif_unbind(stream.flow)
            stream.flow = None
        del self._streams[stream.local_port]
        self._free_ports.append(stream.local_port)

    def close(self) -> None:
        """Detach the XDP program and give the ports back to the kernel."""
        self._watch.close()
        self._link.close()
        self._reservation.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def resolve(host: str, overrides: dict[str, str], port: int) -> str:
    """Return the first of `resolve_all`."""
    return resolve_all(host, port, overrides)[0]


def resolve_all(host: str, port: int, overrides: dict[str, str] | None = None) -> list[str]:
    """Return all IPv4 addresses of host, in the order of the answer.

    `overrides` maps "host:port" to an address, or to several with commas between. Raises
    RemoteError when the name has none.
    """
    override = (overrides or {}).get(f"{host}:{port}")
    if override is not None:
        return override.split(",")
    try:
        found = socket.getaddrinfo(host, port, socket.AF_INET, socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise RemoteError(f"cannot resolve {host!r}: {error.strerror}") from error
    return list(dict.fromkeys(str(one[4][0]) for one in found))


def open_transport(
    address: str | list[str], backend: str = "auto", placement: Placement | None = None
) -> KernelTransport | UserTransport:
    """Choose how to reach `address`: AF_XDP where it can be had, else (only "auto") the kernel.

    Of several addresses, the first that has a route and a next hop decides.

    Raises LocalError for a bad argument, SystemSetupError when "af_xdp" is asked for and refused.
    """
    if backend not in BACKENDS:
        raise LocalError(f"backend {backend!r}: expected one of {', '.join(BACKENDS)}")
    placement = placement or Placement()
    if placement.interface is not None:
        _check_interface(placement.interface)
    if backend == "kernel":
        if placement.faults is not None:
            raise LocalError("faults are done to AF_XDP frames, expected backend af_xdp or auto")
        asked = KernelTransport(interface=placement.interface)
        asked.description += " (asked for by backend kernel)"
        return asked
    try:
        local = _first_route([address] if isinstance(address, str) else address)
        return _open_user_transport(local, placement)
    except PlacementError:
        raise
    except (LocalError, SystemSetupError) as error:
        if backend == "af_xdp" or placement.faults is not None:
            raise
        return KernelTransport(reason=str(error), interface=placement.interface)


def _check_interface(name: str) -> None:
    """Raise PlacementError unless the interface is in this network namespace."""
    present = [name for _, name in socket.if_nameindex()]
    if name not in present:
        raise PlacementError(
            f"interface {name!r} does not exist here, expected one of {', '.join(present)}"
        )


def _check_queue(interface: str, queue: int) -> None:
    """Raise PlacementError for a queue that the interface does not have."""
    count = route.interface(interface).rx_queues
    if queue >= count:
        raise PlacementError(
            f"interface {interface} has no receive queue {queue}, expected 0 to {count - 1}: "
            f"see `ethtool -l {interface}`"
        )


def _first_route(addresses: list[str]) -> route.Route:
    """Return the route to the first address that has one; raises what the first one's raised."""
    first: LocalError | SystemSetupError | None = None
    for address in addresses:
        try:
            return route.lookup(address)
        except (LocalError, SystemSetupError) as error:
            first = first or error
    raise first or LocalError("no address to connect to")


def _open_user_transport(local: route.Route, placement: Placement) -> UserTransport:
    if placement.interface is not None and local.interface != placement.interface:
        raise PlacementError(
            f"route to {local.destination} leaves by {local.interface}, expected "
            f"{placement.interface}: "
            "add a route or name the other interface"
        )
    if local.local:
        raise LocalError(
            f"{local.destination} is this host itself (route by lo): AF_XDP needs a peer behind an "
            "interface: use the kernel backend"
        )
    return UserTransport(local, placement)
