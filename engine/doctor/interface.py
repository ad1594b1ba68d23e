"""Checks of network interfaces: driver, queues, XDP abilities, offloads. Nothing is attached.

Called by: command. Calls: pyroute2 (generic netlink). Source: include/uapi/linux/netdev.h,
Documentation/netlink/specs/netdev.yaml; the netdev family came with Linux 6.3.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING

from pyroute2 import Ethtool
from pyroute2.netlink import NLM_F_DUMP, NLM_F_REQUEST, genlmsg
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.generic import GenericNetlinkSocket
from tickpath.engine.doctor.finding import Finding, Host, State
from tickpath.shm.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NETDEV_CMD_DEV_GET = 1
XDP_BASIC, XDP_REDIRECT, XDP_ZERO_COPY, XDP_RX_SG = 1, 2, 8, 32
SINGLE_BUFFER_MTU_MAX = 3498  # a page less XDP headroom, Ethernet header and skb_shared_info
# Offloads that join received frames into one larger than an XDP program or a frame can take.
JOINING = ("rx-lro", "rx-gro-hw")
LOOPBACK_TYPE = "772"  # ARPHRD_LOOPBACK


class netdev_msg(genlmsg):  # type: ignore[misc] # noqa: N801 - pyroute2 names its messages so, untyped
    """A message of the netdev family, as much of it as is read here."""

    nla_map = (
        ("NETDEV_A_DEV_UNSPEC", "none"),
        ("NETDEV_A_DEV_IFINDEX", "uint32"),
        ("NETDEV_A_DEV_PAD", "none"),
        ("NETDEV_A_DEV_XDP_FEATURES", "uint64"),
    )


def check(host: Host, only: str | None) -> Iterator[Finding]:
    """Yield the findings of one interface, or of all that are up and not loopback.

    Raises LocalError where the interface named does not exist.
    """
    folder = host.root / "sys/class/net"
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if only is not None and only not in names:
        raise LocalError(f"no interface {only!r} here; expected one of {', '.join(names)}")
    features = read_xdp_features()
    for name in names:
        loopback = host.text(f"sys/class/net/{name}/type") == LOOPBACK_TYPE
        down = host.text(f"sys/class/net/{name}/operstate") == "down"
        if name == only or (only is None and not loopback and not down):
            yield driver_and_queues(host, name)
            yield xdp_abilities(host, name, features)
            yield offloads(name)


def read_xdp_features() -> Mapping[str, int]:
    """Ask the kernel what each driver's XDP can do; empty before Linux 6.3."""
    found: dict[str, int] = {}
    try:
        with GenericNetlinkSocket() as netlink:
            netlink.bind("netdev", netdev_msg)
            request = netdev_msg()
            request["cmd"] = NETDEV_CMD_DEV_GET
            request["version"] = 1
            flags = NLM_F_REQUEST | NLM_F_DUMP
            for reply in netlink.nlm_request(request, msg_type=netlink.prid, msg_flags=flags):
                name = socket.if_indextoname(reply.get_attr("NETDEV_A_DEV_IFINDEX"))
                found[name] = reply.get_attr("NETDEV_A_DEV_XDP_FEATURES") or 0
    except (NetlinkError, OSError):
        return {}
    return found


def driver_and_queues(host: Host, name: str) -> Finding:
    folder = host.root / "sys/class/net" / name
    link = folder / "device" / "driver"
    driver = Path(link.readlink()).name if link.is_symlink() else "virtual"
    queues = len(list(folder.glob("queues/rx-*")))
    state = host.text(f"sys/class/net/{name}/operstate") or "unknown"
    return Finding(
        f"{name}: driver",
        State.OK,
        f"{driver}, {queues} receive queue{'s' if queues != 1 else ''}, "
        f"MTU {host.text(f'sys/class/net/{name}/mtu')}, link {state}",
        f"/sys/class/net/{name}",
        "a port serves one queue: with several, flows must be steered to it",
        f"one queue: ethtool -L {name} combined 1" if queues > 1 else "",
    )


def xdp_abilities(host: Host, name: str, features: Mapping[str, int]) -> Finding:
    mtu = int(host.text(f"sys/class/net/{name}/mtu") or 0)
    bits = features.get(name)
    remedy = ""
    if bits is None:
        state, read = State.UNKNOWN, "this kernel does not say (Linux 6.3 and newer do)"
        remedy = "the mode in use is reported when a port is opened"
    elif bits & XDP_BASIC and bits & XDP_REDIRECT:
        state = State.OK
        read = "native, zero-copy" if bits & XDP_ZERO_COPY else "native, copy"
        if mtu > SINGLE_BUFFER_MTU_MAX and not bits & XDP_RX_SG:
            state, remedy = State.WARN, f"ip link set {name} mtu 1500"
            read += f", but no large frames and the MTU is {mtu}"
    else:
        state, read = State.WARN, "generic only"
        remedy = "use a driver with native XDP (ice, i40e, igc, mlx5, ena, virtio_net, veth, …)"
    return Finding(
        f"{name}: XDP",
        state,
        read,
        "generic netlink, family netdev",
        "generic XDP runs after the kernel has built its packet; zero-copy saves one copy",
        remedy,
    )


def offloads(name: str) -> Finding:
    where, why = "generic netlink, family ethtool", "joined frames outgrow a frame of the port"
    check_name = f"{name}: offloads"
    try:
        with Ethtool() as ethtool:
            features = ethtool.get_features(name).features
    except (NetlinkError, OSError) as error:
        said = (error.strerror if isinstance(error, OSError) else None) or error
        return Finding(check_name, State.UNKNOWN, f"not readable: {said}", where, why)
    joining = [feature for feature in JOINING if feature in features and features[feature].enable]
    checksum = "rx-checksum" in features and features["rx-checksum"].enable
    return Finding(
        check_name,
        State.WARN if joining else State.OK,
        f"joining: {', '.join(joining) or 'none'}; rx-checksum {'on' if checksum else 'off'}",
        where,
        why,
        f"ethtool -K {name} " + " ".join(f"{feature} off" for feature in joining)
        if joining
        else "",
    )
