"""Which interfaces carry the default route, and over which someone is logged in by ssh.

A retuned NIC drops its link for a while: the one that the operator came in over must be known.
Called by: rt.topology. Calls: rt.host. Source: proc_net(5): route, ipv6_route, tcp, tcp6.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tickpath.rt.host import Host

ESTABLISHED = "01"
ROUTE_UP = 1
ROUTE_REJECT = 0x200
LOWER_DEPTH_MAX = 4  # a VLAN on a bridge on a bond on a NIC
# sshd_config(5): "Port 22", "ListenAddress 192.0.2.1:2222", "ListenAddress [2001:db8::1]:2222"
PORT = re.compile(r"^[ \t]*Port[ \t=]+\"?(\d{1,5})\b", re.MULTILINE | re.IGNORECASE)
LISTEN_ADDRESS = re.compile(
    r"^[ \t]*ListenAddress[ \t=]+(?:\[[^\]\n]*\]|[^\s:\[\]]+):(\d{1,5})(?![\w:])",
    re.MULTILINE | re.IGNORECASE,
)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Carriers:
    """Names of interfaces, with those below a bond, bridge or VLAN."""

    default_route: frozenset[str]
    ssh: frozenset[str]


def read_carriers(host: Host) -> Carriers:
    """Read the routing tables and the connections to sshd."""
    routes = [*read_routes_v4(host), *read_routes_v6(host)]
    defaults = {name for network, name in routes if network.prefixlen == 0}
    ssh: set[str] = set()
    for address in read_ssh_addresses(host):
        matching = [(net.prefixlen, name) for net, name in routes if address in net]
        if matching:
            longest = max(matching)[0]
            ssh.update(name for length, name in matching if length == longest)
    return Carriers(with_lower(host, defaults), with_lower(host, ssh))


def read_routes_v4(host: Host) -> Iterator[tuple[Network, str]]:
    for line in (host.read("/proc/net/route") or "").splitlines()[1:]:
        words = line.split()
        try:
            name, destination, flags, mask = words[0], words[1], int(words[3], 16), words[7]
            if flags & ROUTE_UP and not flags & ROUTE_REJECT:
                address, bits = little_endian(destination), little_endian(mask)
                yield ipaddress.IPv4Network((int(address), bin(int(bits)).count("1"))), name
        except (IndexError, ValueError):
            continue


def read_routes_v6(host: Host) -> Iterator[tuple[Network, str]]:
    for line in (host.read("/proc/net/ipv6_route") or "").splitlines():
        words = line.split()
        try:
            flags, name = int(words[8], 16), words[9]
            if flags & ROUTE_UP and not flags & ROUTE_REJECT and name != "lo":
                yield ipaddress.IPv6Network((int(words[0], 16), int(words[1], 16))), name
        except (IndexError, ValueError):
            continue


def little_endian(text: str) -> ipaddress.IPv4Address:
    """Decode an address as /proc/net prints it on a little-endian machine: "0100A8C0"."""
    return ipaddress.IPv4Address(bytes.fromhex(text)[::-1])


def read_ssh_addresses(host: Host) -> Iterator[Address]:
    """Yield both ends of established connections to this machine's sshd.

    The near end too: with rules for each interface (`ip rule`, as clouds set them up) the way back
    is in a table that is not the main one, and only the subnet of the near end tells the interface.
    """
    ports = ssh_ports(host)
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in (host.read(table) or "").splitlines()[1:]:
            words = line.split()
            try:
                local_port, state = int(words[1].partition(":")[2], 16), words[3]
                if state == ESTABLISHED and local_port in ports:
                    yield parse_address(words[2].partition(":")[0])
                    yield parse_address(words[1].partition(":")[0])
            except (IndexError, ValueError):
                continue


def parse_address(text: str) -> Address:
    if len(text) == 8:
        return little_endian(text)
    raw = bytes.fromhex(text)
    whole = ipaddress.IPv6Address(b"".join(raw[at : at + 4][::-1] for at in range(0, 16, 4)))
    return whole.ipv4_mapped or whole


def ssh_ports(host: Host) -> frozenset[int]:
    files = ("/etc/ssh/sshd_config", *host.glob("/etc/ssh/sshd_config.d/*.conf"))
    text = "\n".join(host.read(name) or "" for name in files)
    found = PORT.findall(text)
    beside_addresses = LISTEN_ADDRESS.findall(text)
    return frozenset(int(port) for port in (*(found or ("22",)), *beside_addresses))


def with_lower(host: Host, names: set[str]) -> frozenset[str]:
    """Add the interfaces that lie below the named ones."""
    found = set(names)
    for _ in range(LOWER_DEPTH_MAX):
        found |= {
            entry.removeprefix("lower_")
            for name in found
            for entry in host.names(f"/sys/class/net/{name}")
            if entry.startswith("lower_")
        }
    return frozenset(found)
