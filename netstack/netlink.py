"""Three questions to the kernel over rtnetlink: a link, its neighbours, the route to an address.

Called by netstack/route.py. Cold. In the network namespace of the thread that opens it. The whole
of a netlink library costs 13 MiB, which a feed handler would keep locked for these three.
Sources: netlink(7), rtnetlink(7), linux/rtnetlink.h, linux/if_link.h, linux/neighbour.h.
"""

from __future__ import annotations

import os
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

_NETLINK_ROUTE = 0
_ANSWER_SIZE_MAX = 1 << 18
_TIMEOUT_S = 5.0  # the kernel answers within the call
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_ERROR, _DONE = 2, 3
_REQUEST, _DUMP = 0x1, 0x300
_GET_LINK, _GET_NEIGHBOUR, _GET_ROUTE = 18, 30, 26
_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, change
_NEIGHBOUR = struct.Struct("=BxxxiHBB")  # struct ndmsg: family, index, state, flags, type
_ROUTE = struct.Struct("=8BI")  # struct rtmsg: family, destination's bits, ..., type, flags
_ATTRIBUTE = struct.Struct("=HH")  # struct rtattr: length, type
_TYPE_MASK = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER
_IFLA_ADDRESS, _IFLA_NAME, _IFLA_MTU, _IFLA_TX_QUEUES, _IFLA_RX_QUEUES = 1, 3, 4, 31, 32
_NDA_DST, _NDA_LLADDR = 1, 2
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PREFSRC, _RTA_METRICS, _RTA_VIA = 1, 4, 5, 7, 8, 18
_RTAX_MTU = 2
_IPV4_SIZE = 4


@dataclass(frozen=True, slots=True)
class Link:
    """An interface."""

    name: str
    flags: int
    mac: bytes
    mtu: int
    rx_queues: int
    tx_queues: int


@dataclass(frozen=True, slots=True)
class Neighbour:
    """What is known of an address on a link; `mac` may be empty."""

    address: str
    state: int
    mac: bytes


@dataclass(frozen=True, slots=True)
class RouteTo:
    """How the kernel would send to an address; 0 and "": it does not say."""

    kind: int
    index: int
    source: str
    gateway: str
    mtu: int
    via_other_family: bool


def _attributes(data: bytes) -> dict[int, bytes]:
    """Split attributes; the last of a type counts."""
    found: dict[int, bytes] = {}
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size:
            break
        found[kind & _TYPE_MASK] = data[at + _ATTRIBUTE.size : at + length]
        at += length + -length % 4
    return found


def _number(attributes: dict[int, bytes], kind: int) -> int:
    return int.from_bytes(attributes.get(kind, b""), "little" if _IS_LITTLE else "big")


_IS_LITTLE = struct.pack("=H", 1)[0] == 1


def _address(attributes: dict[int, bytes], kind: int) -> str:
    raw = attributes.get(kind, b"")
    return socket.inet_ntop(socket.AF_INET, raw) if len(raw) == _IPV4_SIZE else ""


class Netlink:
    """An open socket; closed by `close` or as a context manager."""

    def __init__(self) -> None:
        """Open it in the calling thread's network namespace."""
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_NETLINK, kind, _NETLINK_ROUTE)
        self._socket.settimeout(_TIMEOUT_S)
        self._socket.bind((0, 0))
        self._sequence = 0

    def link(self, index: int) -> Link:
        """Return an interface. Raises OSError (ENODEV) where there is none of that index."""
        body = _LINK.pack(socket.AF_UNSPEC, 0, index, 0, 0)
        answer = next(self._ask(_GET_LINK, 0, body))
        flags = _LINK.unpack_from(answer)[3]
        found = _attributes(answer[_LINK.size :])
        return Link(
            name=found[_IFLA_NAME].rstrip(b"\0").decode(),
            flags=flags,
            mac=found.get(_IFLA_ADDRESS, b""),
            mtu=_number(found, _IFLA_MTU),
            rx_queues=_number(found, _IFLA_RX_QUEUES),
            tx_queues=_number(found, _IFLA_TX_QUEUES),
        )

    def neighbours(self, index: int) -> Iterator[Neighbour]:
        """Return the IPv4 neighbours of an interface."""
        body = _NEIGHBOUR.pack(socket.AF_INET, index, 0, 0, 0)
        for answer in self._ask(_GET_NEIGHBOUR, _DUMP, body):
            _, at, state, _, _ = _NEIGHBOUR.unpack_from(answer)
            found = _attributes(answer[_NEIGHBOUR.size :])
            if at == index:
                yield Neighbour(_address(found, _NDA_DST), state, found.get(_NDA_LLADDR, b""))

    def route(self, address: str) -> RouteTo:
        """Return the route to an IPv4 address. Raises OSError (ENETUNREACH) where there is none."""
        body = _ROUTE.pack(socket.AF_INET, 32, 0, 0, 0, 0, 0, 0, 0)
        body += _ATTRIBUTE.pack(8, _RTA_DST) + socket.inet_aton(address)
        answer = next(self._ask(_GET_ROUTE, 0, body))
        found = _attributes(answer[_ROUTE.size :])
        return RouteTo(
            kind=_ROUTE.unpack_from(answer)[7],
            index=_number(found, _RTA_OIF),
            source=_address(found, _RTA_PREFSRC),
            gateway=_address(found, _RTA_GATEWAY),
            mtu=_number(_attributes(found.get(_RTA_METRICS, b"")), _RTAX_MTU),
            via_other_family=_RTA_VIA in found,
        )

    def _ask(self, kind: int, flags: int, body: bytes) -> Iterator[bytes]:
        """Send a request; return the answers' bodies. Raises OSError with the kernel's number."""
        self._sequence += 1
        size = _HEADER.size + len(body)
        request = _HEADER.pack(size, kind, _REQUEST | flags, self._sequence, 0) + body
        self._socket.sendto(request, (0, 0))
        answers: list[bytes] = []
        while True:  # until DONE, an error, or the one answer; the timeout bounds the wait
            data = self._socket.recv(_ANSWER_SIZE_MAX)
            at = 0
            while at + _HEADER.size <= len(data):
                length, of, _, sequence, _ = _HEADER.unpack_from(data, at)
                part = data[at + _HEADER.size : at + length]
                at += max(_HEADER.size, length + -length % 4)
                if sequence != self._sequence:
                    continue  # of a request that timed out
                if of == _ERROR:
                    (number,) = struct.unpack_from("=i", part)
                    raise OSError(-number, os.strerror(-number))
                if of == _DONE:
                    return iter(answers)
                answers.append(part)
                if not flags & _DUMP:
                    return iter(answers)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def __enter__(self) -> Self:
        """Return the socket."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()
