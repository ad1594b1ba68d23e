"""Which interfaces carry the default route, and over which someone is logged in by ssh.

A retuned NIC drops its link for a while: the one that the operator came in over must be known, also
below a tunnel, a bridge, a bond or a VLAN. Where that cannot be known for certain, all that it may
be are named. Called by: rt.topology. Calls: rt.host. Source: proc_net(5): route, ipv6_route, tcp,
tcp6; sshd_config(5); systemd.socket(5); wg(8), "show".
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tickpath.rt.host import Host

ESTABLISHED = "01"
ROUTE_UP = 1
ROUTE_REJECT = 0x200
LISTEN = "0A"
LAYERS_MAX = 16  # a tunnel over a VLAN on a bridge on a bond on a NIC, and room
INCLUDES_MAX = 16
SSH_PROGRAMS = frozenset({"sshd", "sshd-session", "sshd-auth", "dropbear"})
SSH_SOCKETS = ("ssh.socket", "sshd.socket")
# systemd.unit(5), the later folders first in rank; generators write the last one's drop-ins.
UNIT_TOPS = (
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
    "/usr/local/lib/systemd/system",
    "/run/systemd/generator.late",
    "/run/systemd/generator",
    "/run/systemd/generator.early",
    "/run/systemd/system",
    "/etc/systemd/system",
)
LISTEN_STREAM = re.compile(r"^[ \t]*ListenStream[ \t]*=[ \t]*(\S*)", re.MULTILINE)
INCLUDE = re.compile(r"^[ \t]*Include[ \t=]+(.+)$", re.MULTILINE | re.IGNORECASE)
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
    ssh = {name for address in read_ssh_addresses(host) for name in ways_to(address, routes)}
    return Carriers(with_lower(host, defaults), below(host, ssh, routes))


def ways_to(address: Address, routes: Sequence[tuple[Network, str]]) -> set[str]:
    """Name the interfaces of the longest prefix that holds an address."""
    matching = [(network.prefixlen, name) for network, name in routes if address in network]
    longest = max(matching)[0] if matching else 0
    return {name for length, name in matching if length == longest}


def below(host: Host, names: set[str], routes: Sequence[tuple[Network, str]]) -> frozenset[str]:
    """Add what carries the named interfaces: those that they lie on, and, of a tunnel, those that
    its outer packets leave by."""
    found = set(with_lower(host, names))
    for _ in range(LAYERS_MAX):
        outer = {
            one for name in found if is_tunnel(host, name) for one in outside(host, name, routes)
        }
        grown = set(with_lower(host, found | outer))
        if grown == found:
            break
        found = grown
    return frozenset(found)


def is_tunnel(host: Host, name: str) -> bool:
    """Report whether an interface has neither hardware nor an interface below it."""
    place = f"/sys/class/net/{name}"
    has_lower = any(entry.startswith("lower_") for entry in host.names(place))
    return (
        name != "lo" and host.exists(place) and not host.exists(f"{place}/device") and not has_lower
    )


def outside(host: Host, name: str, routes: Sequence[tuple[Network, str]]) -> set[str]:
    """Name the interfaces by which a tunnel's outer packets may leave.

    WireGuard tells its peers' addresses. Of others (tailscale, OpenVPN, GRE) nothing does in the
    same way for all: any interface with a default route may carry them.
    """
    defaults = {way for network, way in routes if network.prefixlen == 0 and way != name}
    told: set[str] = set()
    done = host.run(("wg", "show", name, "endpoints"))
    for line in done.stdout.splitlines() if done.status == 0 else ():
        ends = line.split()[-1:]
        text = ends[0].rpartition(":")[0].strip("[]") if ends else ""
        try:
            told |= ways_to(ipaddress.ip_address(text.partition("%")[0]), routes)
        except ValueError:
            continue  # "(none)": a peer that was not heard of yet
    return (told - {name}) or defaults


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
    """Yield both ends of established connections to this machine's sshd: of its ports, and of its
    processes, whatever their port.

    The near end too: with rules for each interface (`ip rule`, as clouds set them up) the way back
    is in a table that is not the main one, and only the subnet of the near end tells the interface.
    """
    ports, inodes = ssh_ports(host), ssh_inodes(host)
    for words in read_connections(host):
        try:
            local_port, state, inode = int(words[1].partition(":")[2], 16), words[3], words[9]
            if state == ESTABLISHED and (local_port in ports or inode in inodes):
                yield parse_address(words[2].partition(":")[0])
                yield parse_address(words[1].partition(":")[0])
        except (IndexError, ValueError):
            continue


def read_connections(host: Host) -> Iterator[list[str]]:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in (host.read(table) or "").splitlines()[1:]:
            yield line.split()


def ssh_inodes(host: Host) -> frozenset[str]:
    """Return the sockets that processes of an ssh server hold; none where they are hidden."""
    found: set[str] = set()
    for path in host.glob("/proc/[0-9]*/comm"):
        if (host.read(path) or "") not in SSH_PROGRAMS:
            continue
        folder = path.removesuffix("/comm") + "/fd"
        links = (host.link(f"{folder}/{name}") or "" for name in host.names(folder))
        found.update(link[8:-1] for link in links if link.startswith("socket:["))
    return frozenset(found)


def parse_address(text: str) -> Address:
    if len(text) == 8:
        return little_endian(text)
    raw = bytes.fromhex(text)
    whole = ipaddress.IPv6Address(b"".join(raw[at : at + 4][::-1] for at in range(0, 16, 4)))
    return whole.ipv4_mapped or whole


def ssh_ports(host: Host) -> frozenset[int]:
    """Return the ports where an ssh server listens: by its own files, by systemd's sockets, and by
    what its processes hold."""
    text = sshd_configuration(host)
    ports = {int(port) for port in PORT.findall(text) or ("22",)}
    ports |= {int(port) for port in LISTEN_ADDRESS.findall(text)}
    for unit in SSH_SOCKETS:
        ports |= socket_ports(host, unit)
    inodes = ssh_inodes(host)
    for words in read_connections(host):
        if len(words) > 9 and words[3] == LISTEN and words[9] in inodes:
            ports.add(int(words[1].partition(":")[2], 16))
    return frozenset(ports)


def sshd_configuration(host: Host) -> str:
    """Return sshd's files in one: its own, and those that they include."""
    waiting = ["/etc/ssh/sshd_config", *host.glob("/etc/ssh/sshd_config.d/*.conf")]
    texts: dict[str, str] = {}
    while waiting and len(texts) < INCLUDES_MAX:
        name = waiting.pop(0)
        if name in texts:
            continue
        texts[name] = host.read(name) or ""
        for patterns in INCLUDE.findall(texts[name]):
            for pattern in patterns.split():
                whole = pattern if pattern.startswith("/") else f"/etc/ssh/{pattern}"
                if ".." not in whole:
                    waiting += host.glob(whole.strip('"'))
    return "\n".join(texts.values())


def socket_ports(host: Host, unit: str) -> set[int]:
    """Return the TCP ports of a socket unit and its drop-ins; an empty value begins anew."""
    places = [f"{top}/{unit}" for top in UNIT_TOPS if host.exists(f"{top}/{unit}")][-1:]
    drop_ins: dict[str, str] = {}
    for top in UNIT_TOPS:
        for path in host.glob(f"{top}/{unit}.d/*.conf"):
            drop_ins[path.rpartition("/")[2]] = path
    ports: set[int] = set()
    for place in (*places, *(drop_ins[name] for name in sorted(drop_ins))):
        for value in LISTEN_STREAM.findall(host.read(place) or ""):
            port = value.rpartition(":")[2]
            if not value:
                ports.clear()
            elif port.isascii() and port.isdigit():
                ports.add(int(port))
    return ports


def with_lower(host: Host, names: set[str]) -> frozenset[str]:
    """Add the interfaces that lie below the named ones."""
    found = set(names)
    for _ in range(LAYERS_MAX):
        found |= {
            entry.removeprefix("lower_")
            for name in found
            for entry in host.names(f"/sys/class/net/{name}")
            if entry.startswith("lower_")
        }
    return frozenset(found)
