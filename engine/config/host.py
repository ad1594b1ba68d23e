"""Check what a configuration names on this machine: interface, CPU, ports, group, certificates.

Called by: engine/supervisor/command.py.
"""

from __future__ import annotations

import grp
import socket
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from tickpath.engine.config.check import wrong
from tickpath.rt import limits

if TYPE_CHECKING:
    from collections.abc import Collection

    from tickpath.engine.config.schema import Config

KERNEL_PORT_COUNT_MIN = 1024


def _check_interface(name: str, interfaces: Collection[str] | None) -> None:
    # Not /sys/class/net: it shows the namespace that sysfs was mounted in, not necessarily ours.
    present = sorted(interfaces or (name for _, name in socket.if_nameindex()))
    if name not in present:
        raise wrong(
            "network.interface", name, f"one of {', '.join(present) or 'none'}", "see `ip link`"
        )


def _check_certificates(name: str) -> None:
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cafile=name)
        count = len(context.get_ca_certs()) + context.cert_store_stats()["x509"]
    except ssl.SSLError as error:
        raise wrong(
            "venue[0].ca_file", name, "certificates in PEM form", error.reason or str(error)
        ) from error
    except OSError as error:
        raise wrong(
            "venue[0].ca_file", name, "a readable file of PEM certificates", str(error.strerror)
        ) from error
    if count == 0:
        raise wrong("venue[0].ca_file", name, "at least one certificate in PEM form")


def _check_ports(low: int, high: int) -> None:
    """Leave the kernel enough of the ports that it gives to connections of its own."""
    name = "/proc/sys/net/ipv4/ip_local_port_range"
    first, last = map(int, Path(name).read_text(encoding="ascii").split())
    taken = max(0, min(high, last) - max(low, first) + 1)
    if taken > 0 and last - first + 1 - taken < KERNEL_PORT_COUNT_MIN:
        raise wrong(
            "network.port_range",
            [low, high],
            f"{KERNEL_PORT_COUNT_MIN} of the kernel's own ports {first}-{last} left to it",
            f"choose ports outside them, see {name}",
        )


def _check_group(name: str) -> None:
    try:
        grp.getgrnam(name)
    except (KeyError, ValueError) as error:
        raise wrong(
            "shm.group", name, "a group of this machine", f"groupadd {name}, see /etc/group"
        ) from error


def check_host(config: Config, *, interfaces: Collection[str] | None = None) -> None:
    """Check what the configuration names on this machine. Raises LocalError; changes nothing.

    interfaces: None for those of this network namespace.
    """
    if config.network.interface is not None:
        _check_interface(config.network.interface, interfaces)
    _check_ports(*config.network.port_range)
    cpus = limits.available_cpus()
    if config.feed_handler.cpu is not None and config.feed_handler.cpu not in cpus:
        raise wrong(
            "feed_handler.cpu",
            config.feed_handler.cpu,
            f"one of the CPUs that this process may use, {limits.format_cpu_list(cpus)}",
        )
    if config.shm.group is not None:
        _check_group(config.shm.group)
    for venue in config.venues:
        if venue.tls and venue.ca_file is not None:
            _check_certificates(venue.ca_file)
