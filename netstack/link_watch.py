"""Whether an interface still carries frames: seen when it changes, not when somebody looks.

The kernel says on a netlink socket that a link changed; that only rings. What it is now is asked
anew, so that a message that was lost in between does no harm. The kernel says it at once, unless
another link changed less than a second before: then up to a second later. Cold thread.
Called by: engine/feed_handler/process.py. Source: rtnetlink(7), netdevice(7);
net/core/link_watch.c.
"""

from __future__ import annotations

import fcntl
import socket
import struct
from typing import Self

from tickpath.netstack.netlink import Netlink
from tickpath.shm.errors import SystemSetupError

# linux/rtnetlink.h
_RTMGRP_LINK, _RTN_LOCAL = 1, 2
_SIOCGIFFLAGS = 0x8913  # asm-generic/sockios.h
_IFREQ_SIZE, _NAME_SIZE = 40, 16  # linux/if.h
_IFF_UP, _IFF_RUNNING = 0x1, 0x40  # linux/if.h; running: it has a carrier as well
_MESSAGE_SIZE, _MESSAGES_MAX = 1 << 16, 1000


def leaves_by(address: str) -> str | None:
    """Name the interface by which frames to an address leave now; None: this host, or no way."""
    try:
        with Netlink() as netlink:
            found = netlink.route(address)
        return None if found.kind == _RTN_LOCAL else socket.if_indextoname(found.index)
    except OSError:  # ENXIO too: the interface vanished since the kernel named it
        return None


class LinkWatch:
    """Watch one interface of the calling thread's network namespace."""

    def __init__(self, interface: str) -> None:
        """Begin to listen. Raises SystemSetupError where the kernel does not let us."""
        self.interface = interface
        self._trouble: str | None = None
        try:
            self._netlink = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
            )
            self._netlink.bind((0, _RTMGRP_LINK))
            self._control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        except OSError as error:
            raise SystemSetupError(
                f"interface {interface} cannot be watched: {error.strerror}"
            ) from error

    def fileno(self) -> int:
        """Return what becomes readable when a link of the namespace changes."""
        return self._netlink.fileno()

    def look(self) -> str | None:
        """Return what is wrong now, empty where nothing is; None: as at the last look."""
        for _ in range(_MESSAGES_MAX):  # more than a queue holds: the rest rings again
            try:
                self._netlink.recv(_MESSAGE_SIZE)
            except BlockingIOError:
                break
            except OSError:  # ENOBUFS: some were lost; what is now is asked for below
                continue
        before, self._trouble = self._trouble, self._ask()
        return None if self._trouble == before else self._trouble

    def _ask(self) -> str:
        try:
            request = self.interface.encode().ljust(_IFREQ_SIZE, b"\0")
            answer = fcntl.ioctl(self._control, _SIOCGIFFLAGS, request)
        except OSError as error:
            return f"interface {self.interface} is gone: {error.strerror}"
        (flags,) = struct.unpack_from("H", answer, _NAME_SIZE)
        if not flags & _IFF_UP:
            return f"interface {self.interface} is down"
        return "" if flags & _IFF_RUNNING else f"interface {self.interface} has no carrier"

    def close(self) -> None:
        """Listen no more."""
        self._netlink.close()
        self._control.close()

    def __enter__(self) -> Self:
        """Return the watch."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()
