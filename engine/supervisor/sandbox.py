"""Two network namespaces and a veth pair that vanish with the processes inside them.

The namespaces have no name: each is held by a sleeping child that dies with us, so that nothing
survives its maker, `kill -9` included. Used by `demo` and `bench`. Calls: child_process.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from pyroute2 import IPRoute, NetNS
from pyroute2.netlink.exceptions import NetlinkError
from tickpath.engine.supervisor.child_process import spawn, stop
from tickpath.shm.errors import SystemSetupError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

INTERFACE = "tp0"
PREFIX_LENGTH = 30
EXCHANGE_ADDRESS, FEED_HANDLER_ADDRESS = "198.18.0.1", "198.18.0.2"  # RFC 2544: never routed
NAMESPACE_TIMEOUT_S = 5.0


@dataclass(slots=True)
class Namespace:
    """One held namespace: `fd` joins it, `path` names it for netlink."""

    holder: subprocess.Popen[str]
    fd: int
    path: str


def _hold() -> Namespace:
    holder = spawn(["sleep", "infinity"], namespace=-1, stdin=subprocess.DEVNULL)
    path = f"/proc/{holder.pid}/ns/net"
    return Namespace(holder, os.open(path, os.O_RDONLY), path)


def _configure(namespace: Namespace, address: str) -> None:
    with NetNS(namespace.path, flags=0) as netlink:
        for name in ("lo", INTERFACE):
            index = netlink.link_lookup(ifname=name)[0]
            if name == INTERFACE:
                netlink.addr("add", index=index, address=address, prefixlen=PREFIX_LENGTH)
            netlink.link("set", index=index, state="up")


@dataclass(slots=True)
class VethPair:
    """An exchange's and a feed handler's namespace, a veth between them; both ends are tp0."""

    exchange: Namespace
    feed_handler: Namespace
    children: list[subprocess.Popen[str]] = field(default_factory=list)

    @classmethod
    def open(cls) -> Self:
        """Make both. Raises SystemSetupError without the privilege to."""
        if os.geteuid() != 0:
            raise SystemSetupError(
                f"user id {os.geteuid()}: network namespaces and AF_XDP need root: run it as root"
            )
        try:
            pair = cls(_hold(), _hold())
        except (OSError, subprocess.SubprocessError) as error:
            why = (error.strerror if isinstance(error, OSError) else None) or error
            raise SystemSetupError(f"cannot make a network namespace: {why}") from error
        try:
            pair._connect()
        except (OSError, NetlinkError) as error:
            pair.close()
            why = (error.strerror if isinstance(error, OSError) else None) or error
            raise SystemSetupError(f"cannot make a veth pair: {why}") from error
        except BaseException:
            pair.close()
            raise
        return pair

    def _connect(self) -> None:
        with IPRoute() as netlink:
            ends = [f"tpe{os.getpid()}", f"tpr{os.getpid()}"]
            netlink.link("add", ifname=ends[0], kind="veth", peer={"ifname": ends[1]})
            for name, namespace in zip(ends, (self.exchange, self.feed_handler), strict=True):
                index = netlink.link_lookup(ifname=name)[0]
                netlink.link("set", index=index, ifname=INTERFACE, net_ns_fd=namespace.path)
        _configure(self.exchange, EXCHANGE_ADDRESS)
        _configure(self.feed_handler, FEED_HANDLER_ADDRESS)

    def spawn(
        self, where: Namespace, command: Sequence[str], **options: object
    ) -> subprocess.Popen[str]:
        """Start a child in one of the two namespaces."""
        child = spawn(command, namespace=where.fd, **options)
        self.children.append(child)
        return child

    def close(self) -> None:
        """End all children, then the namespaces and the veth with them."""
        # All first: one that spins at SCHED_FIFO keeps the others on its CPU from dying.
        for child in self.children:
            if child.poll() is None:
                child.terminate()
        for child in self.children:
            stop(child)
        for namespace in (self.exchange, self.feed_handler):
            os.close(namespace.fd)
            namespace.holder.kill()
            namespace.holder.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def wait_for_port(address: str, port: int, child: subprocess.Popen[str], timeout_s: float) -> None:
    """Wait until something listens. Raises SystemSetupError when the child ends or time is up."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if child.poll() is not None:
            raise SystemSetupError(f"{child.args!r} ended with status {child.returncode}")
        with socket.socket() as probe:
            if probe.connect_ex((address, port)) == 0:
                return
        time.sleep(0.02)
    raise SystemSetupError(f"nothing listens on {address}:{port} after {timeout_s} s")
