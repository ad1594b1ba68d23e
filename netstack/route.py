"""The way to a peer, asked of the kernel: interface, addresses, next hop, and ports to call ours.

Called by netstack/transport.py and the supervisor; calls the kernel through netlink (netlink.py),
ethtool ioctls and /proc. Cold: nothing here runs on the path. Everything happens in the calling
thread's network namespace. Sources: rtnetlink(7), arp(7), Documentation/networking/ip-sysctl.rst.
"""

from __future__ import annotations

import array
import errno
import fcntl
import ipaddress
import os
import socket
import struct
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tickpath.netstack.netlink import Netlink, RouteTo
from tickpath.netstack.port_record import PortRecords, format_ports, parse_ports
from tickpath.shm.errors import LocalError, SystemSetupError
from tickpath.shm.ownership import own, taking

if TYPE_CHECKING:
    from types import TracebackType

PORT_LOW, PORT_HIGH = 61000, 61999  # above ip_local_port_range's default of 32768 to 60999
NEIGHBOUR_TIMEOUT_S = 1.0
MAC_SIZE = 6

_POLL_S = 0.005
_DISCARD_PORT = 9  # RFC 863
_LOCAL, _UNICAST = 2, 1  # rtnetlink.h: RTN_LOCAL, RTN_UNICAST
# neighbour.h. FAILED and INCOMPLETE have no address; STALE has one that wants confirming.
_NUD_REACHABLE, _NUD_STALE, _NUD_DELAY, _NUD_PROBE, _NUD_PERMANENT = 0x02, 0x04, 0x08, 0x10, 0x80
_NUD_USABLE = _NUD_REACHABLE | _NUD_STALE | _NUD_DELAY | _NUD_PROBE | _NUD_PERMANENT
_IFF_UP, _IFF_LOWER_UP = 0x1, 0x10000  # if.h
_SIOCETHTOOL = 0x8946
_DRIVER_INFO, _DRIVER_INFO_SIZE = 0x03, 196  # ethtool.h: ETHTOOL_GDRVINFO
_OFFLOADS = {  # ethtool.h: ETHTOOL_G*
    "rx-checksum": 0x14,
    "tx-checksum": 0x16,
    "tso": 0x1E,
    "gso": 0x23,
    "gro": 0x2B,
}
_TCP_TIME_WAIT = 0x06  # tcp_states.h


@dataclass(frozen=True, slots=True)
class Interface:
    """Describe a network interface as it is now."""

    name: str
    index: int
    mac: bytes
    mtu: int
    driver: str
    rx_queues: int
    tx_queues: int
    up: bool
    carrier: bool
    offloads: frozenset[str]


@dataclass(frozen=True, slots=True)
class Route:
    """Say how frames to `destination` leave: MACs are six bytes, empty where `local`."""

    destination: str
    interface: str
    index: int
    source: str
    next_hop: str
    mac: bytes
    next_hop_mac: bytes
    mtu: int
    local: bool


@dataclass(frozen=True, slots=True)
class PathState:
    """Say what became of a route: `next_hop_mac` is empty while the kernel knows none."""

    up: bool
    carrier: bool
    next_hop_mac: bytes


def _ethtool(name: str, command: int, size: int) -> bytes | None:
    """Return what the ethtool ioctl filled in, or None where the driver has no answer."""
    value = array.array("B", struct.pack("=I", command).ljust(size, b"\0"))
    request = struct.pack("16sP16x", name.encode(), value.buffer_info()[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        try:
            fcntl.ioctl(control, _SIOCETHTOOL, request)
        except OSError:
            return None
    return value.tobytes()


def _driver(name: str) -> str:
    info = _ethtool(name, _DRIVER_INFO, _DRIVER_INFO_SIZE)
    return "" if info is None else info[4:36].split(b"\0")[0].decode()


def _offloads(name: str) -> frozenset[str]:
    answers = {title: _ethtool(name, command, 8) for title, command in _OFFLOADS.items()}
    return frozenset(title for title, answer in answers.items() if answer and any(answer[4:]))


def _describe(netlink: Netlink, index: int) -> Interface:
    try:
        link = netlink.link(index)
    except OSError as error:
        raise SystemSetupError(
            f"interface {index} is gone: {error.strerror}: "
            "was it deleted or moved to another network namespace?"
        ) from error
    return Interface(
        name=link.name,
        index=index,
        mac=link.mac,
        mtu=link.mtu,
        driver=_driver(link.name),
        rx_queues=link.rx_queues,
        tx_queues=link.tx_queues,
        up=bool(link.flags & _IFF_UP),
        carrier=bool(link.flags & _IFF_LOWER_UP),
        offloads=_offloads(link.name),
    )


def interface(name: str) -> Interface:
    """Describe the interface of that name. Raises SystemSetupError when there is none."""
    try:
        index = socket.if_nametoindex(name)
    except OSError as error:
        names = ", ".join(other for _, other in socket.if_nameindex())
        message = f"interface {name!r} does not exist here, expected one of: {names}"
        raise SystemSetupError(message) from error
    with Netlink() as netlink:
        return _describe(netlink, index)


def _neighbour(netlink: Netlink, index: int, address: str) -> tuple[bytes, int]:
    """Return the MAC (empty: unknown) and the NUD state of a neighbour."""
    for one in netlink.neighbours(index):
        if one.address == address:
            return (one.mac if one.state & _NUD_USABLE else b""), one.state
    return b"", 0


def _provoke(name: str, address: str) -> None:
    """Send an empty datagram to the discard port: the kernel resolves or confirms the neighbour."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, suppress(OSError):
        # Refused, unreachable, no buffer: the neighbour table has the answer that counts.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name.encode())
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_DONTROUTE, 1)
        probe.setblocking(False)
        probe.sendto(b"", (address, _DISCARD_PORT))


def _resolve(netlink: Netlink, name: str, index: int, address: str) -> bytes:
    """Return the next hop's MAC, asking for it where the kernel does not know it."""
    deadline = time.monotonic() + NEIGHBOUR_TIMEOUT_S
    mac, state = _neighbour(netlink, index, address)
    if not mac or state & _NUD_STALE:
        _provoke(name, address)
    while not mac and time.monotonic() < deadline:
        time.sleep(_POLL_S)
        mac, _ = _neighbour(netlink, index, address)
    if len(mac) != MAC_SIZE:
        raise SystemSetupError(
            f"next hop {address} on {name} did not answer ARP within {NEIGHBOUR_TIMEOUT_S:g} s: "
            "is it up and on this network?"
        )
    return mac


def _ask(netlink: Netlink, address: str) -> RouteTo:
    try:
        return netlink.route(address)
    except OSError as error:
        raise SystemSetupError(
            f"no route to {address}: {error.strerror}: add one (ip route add ...)"
        ) from error


def lookup(address: str) -> Route:
    """Return the way to an IPv4 address, its next hop resolved (up to a second).

    `local` says that the kernel delivers it on this host, which AF_XDP cannot. Raises LocalError
    for a malformed address, SystemSetupError without a route or an answer from the next hop.
    """
    try:
        ipaddress.IPv4Address(address)
    except ValueError as error:
        raise LocalError(f"address is {address!r}, expected IPv4 like 192.0.2.1") from error
    with Netlink() as netlink:
        found = _ask(netlink, address)
        next_hop = found.gateway or address
        local = found.kind == _LOCAL
        if not local and (found.kind != _UNICAST or found.via_other_family):
            raise SystemSetupError(
                f"route to {address} has type {found.kind} or an IPv6 gateway, "
                "expected plain unicast by IPv4"
            )
        device = _describe(netlink, found.index)
        mac = b"" if local else _resolve(netlink, device.name, found.index, next_hop)
        return Route(
            destination=address,
            interface=device.name,
            index=found.index,
            source=found.source,
            next_hop=next_hop,
            mac=b"" if local else device.mac,
            next_hop_mac=mac,
            mtu=min(device.mtu, found.mtu or device.mtu),
            local=local,
        )


class PathWatch:
    """Look at one route from a cold thread, as often as every 100 ms.

    Keeps its neighbour entry fresh: our own frames pass the kernel by, so that it would take the
    next hop for idle and, in the end, forget it.
    """

    def __init__(self, path: Route) -> None:
        """Open the netlink socket in the calling thread's network namespace."""
        self._path = path
        self._netlink = Netlink()

    def poll(self) -> PathState:
        """Return the state of now. Raises SystemSetupError when the interface is gone."""
        path = self._path
        try:
            flags = self._netlink.link(path.index).flags
        except OSError as error:
            raise SystemSetupError(
                f"interface {path.interface} is gone: {error.strerror}: bring it back and restart"
            ) from error
        up, carrier = bool(flags & _IFF_UP), bool(flags & _IFF_LOWER_UP)
        if not up:
            return PathState(up, carrier, b"")
        mac, state = _neighbour(self._netlink, path.index, path.next_hop)
        if not mac or state & _NUD_STALE:
            _provoke(path.interface, path.next_hop)
        return PathState(up, carrier, mac)

    def close(self) -> None:
        """Close the netlink socket."""
        self._netlink.close()

    def __enter__(self) -> Self:
        """Return the watch."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the watch."""
        self.close()


def _kernel_ports() -> set[int]:
    """Return the local TCP ports in use by the kernel's sockets, TIME-WAIT left out."""
    ports: set[int] = set()
    for family in ("tcp", "tcp6"):
        table = Path(f"/proc/thread-self/net/{family}")
        with suppress(FileNotFoundError):  # no IPv6
            for line in table.read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if int(fields[3], 16) != _TCP_TIME_WAIT:
                    ports.add(int(fields[1].rpartition(":")[2], 16))
    return ports


class PortReservation:
    """Keep the kernel from giving the local TCP ports low to high (both included) to others.

    Adds them to net.ipv4.ip_local_reserved_ports of the calling thread's network namespace, and
    takes out on close what was not there before and no other reservation of ours still needs. What
    was added stands in a record (netstack/port_record.py) that dies with its owner, so that the
    next open or close, by whomever, takes out what a killed process left. An explicit bind by
    someone else is still possible: open refuses where one is there already.
    """

    def __init__(self, low: int = PORT_LOW, high: int = PORT_HIGH) -> None:
        """Say which ports; nothing happens before open. Raises LocalError for a bad range."""
        if not 1 <= low <= high <= 65535:
            raise LocalError(f"ports are {low} to {high}, expected 1 <= low <= high <= 65535")
        self._ports = set(range(low, high + 1))
        self._setting: int | None = None
        self._records: PortRecords | None = None
        own(self)

    def open(self) -> Self:
        """Reserve. Raises SystemSetupError without privilege or when a socket uses the range."""
        if self._setting is not None:
            raise LocalError("this port reservation is open already")
        name = "/proc/sys/net/ipv4/ip_local_reserved_ports"
        try:
            # The open file belongs to this namespace, wherever close is called later.
            self._setting = os.open(name, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise SystemSetupError(
                f"{name}: {os.strerror(error.errno or errno.EIO)}: reserving ports needs root"
            ) from error
        try:
            self._records = PortRecords()
            with taking, self._records.locked():
                present = self._without_the_dead(self._records)
                others = parse_ports(present) - self._records.live()
                self._records.claim(self._ports - others)  # first: a crash now leaves a trace
                if not self._ports <= parse_ports(present):
                    self._write(format_ports(parse_ports(present) | self._ports))
            self._refuse_used()
        except BaseException:
            self.close()
            raise
        return self

    def _without_the_dead(self, records: PortRecords) -> str:
        """Take out what dead owners added; returns the setting as it is then."""
        left = records.take_dead() - records.live()
        present = self._read()
        if left & parse_ports(present):
            self._write(format_ports(parse_ports(present) - left))
            present = self._read()
        return present

    def _refuse_used(self) -> None:
        used = sorted(self._ports & _kernel_ports())
        if used:
            low, high = min(self._ports), max(self._ports)
            raise SystemSetupError(
                f"kernel sockets use {format_ports(used).strip()} of the local ports "
                f"{low}-{high}: end them or choose another range"
            )

    def close(self) -> None:
        """Give the ports back; a second call does nothing."""
        if self._setting is None:
            return
        try:
            if self._records is not None:
                with taking, self._records.locked():
                    self._records.release()  # ours is a dead one now
                    self._without_the_dead(self._records)
                self._records.close()
        finally:
            os.close(self._setting)
            self._setting = None
            self._records = None

    def disown(self) -> None:
        """Leave the ports to the parent; closed for this child."""
        setting, self._setting = self._setting, None
        records, self._records = self._records, None
        if setting is not None:
            os.close(setting)
        if records is not None:
            records.close()  # a lock is given up with its last descriptor, which the parent has

    def _read(self) -> str:
        assert self._setting is not None  # noqa: S101 - our own order of calls, not input
        return os.pread(self._setting, 1 << 20, 0).decode("ascii")

    def _write(self, text: str) -> None:
        assert self._setting is not None  # noqa: S101 - our own order of calls, not input
        os.pwrite(self._setting, text.encode("ascii"), 0)

    def __enter__(self) -> Self:
        """Reserve the ports."""
        return self.open()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the ports back."""
        self.close()
