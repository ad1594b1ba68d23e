"""Open an AF_XDP link: which frames leave the kernel, how fast, and why not faster.

Called by engine (set-up) and the tests; calls af_xdp.c through tickpath._core. Cold: the frames
themselves never come through Python.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tickpath._core import ffi, lib
from tickpath.shm.errors import LocalError, SystemSetupError
from tickpath.shm.ownership import own

if TYPE_CHECKING:
    from types import TracebackType

MODES = ("auto", "native zero-copy", "native copy", "generic copy")  # enum tp_af_xdp_mode

# linux/capability.h; each entry: any one of these numbers will do.
_CAPABILITIES = {
    "CAP_NET_ADMIN": (12,),
    "CAP_NET_RAW": (13,),
    "CAP_BPF": (39, 21),  # CAP_SYS_ADMIN includes it, and the next
    "CAP_PERFMON": (38, 21),  # the program computes with pointers: the verifier asks for it
}


@dataclass(frozen=True, slots=True)
class AfXdpStatistics:
    """Count what the kernel and the link dropped, and where the UMEM's frames are now."""

    rx_dropped: int
    rx_invalid_descriptors: int
    tx_invalid_descriptors: int
    rx_ring_full: int
    fill_ring_empty: int
    tx_ring_empty: int
    rx_malformed: int
    rx_oversize: int
    tx_deferred: int
    frames_free: int
    frames_fill: int
    frames_rx: int
    frames_tx: int


def missing_capabilities() -> list[str]:
    """Return the names of the capabilities that this process lacks for AF_XDP."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("CapEff:"))
    effective = int(line.split()[1], 16)
    return [
        name
        for name, numbers in _CAPABILITIES.items()
        if not any(effective >> number & 1 for number in numbers)
    ]


def _interface_index(interface: str) -> int:
    try:
        return socket.if_nametoindex(interface)
    except OSError as error:
        names = ", ".join(name for _, name in socket.if_nameindex())
        message = (
            f"interface {interface!r} does not exist in this network namespace, "
            f"expected one of: {names}"
        )
        raise SystemSetupError(message) from error


class AfXdpLink:
    """Hold one AF_XDP socket, its memory and its XDP program until close.

    `link` is the `struct tp_link *` that the stack runs over. It belongs to one thread and dies
    with close. `mode` names what is in use, `refused` why the faster modes are not ("" when none
    was refused). The program leaves the interface when the process ends, however it ends.
    """

    __slots__ = ("__weakref__", "_handle", "_in_use", "interface", "mode", "refused")

    def __init__(self, handle: Any, interface: str, refused: str) -> None:
        """Take over a handle from tp_af_xdp_open: use AfXdpLink.open."""
        self._handle = handle
        self._in_use = threading.Lock()  # by a cold call, which another thread's close waits for
        self.interface = interface
        self.refused = refused
        self.mode: str = ffi.string(lib.tp_af_xdp_mode_name(lib.tp_af_xdp_mode(handle))).decode()
        own(self)

    @classmethod
    def open(  # noqa: PLR0913 - keyword-only settings, each with a plain meaning
        cls,
        interface: str,
        *,
        address: str,
        port_low: int,
        port_high: int,
        queue: int = 0,
        mode: str = "auto",
        frame_count: int = 0,
        huge_pages: bool = True,
    ) -> Self:
        """Open one queue of an interface in the calling thread's network namespace.

        TCP to `address` (IPv4) and the local ports from `port_low` to `port_high`, and ICMP errors
        about such segments, come to the link; all else stays with the kernel. `mode` forces one
        mode instead of the first that works. `frame_count` is a power of two of 2048-byte frames
        (0: 4096), in 2 MiB pages with `huge_pages` where enough are free. Raises SystemSetupError
        when privileges, the interface or every mode fail, LocalError for a value out of range.
        """
        if mode not in MODES:
            raise LocalError(f"mode is {mode!r}, expected one of {', '.join(MODES)}")
        if not 1 <= port_low <= port_high <= 65535:
            message = f"ports are {port_low} to {port_high}, expected 1 <= low <= high <= 65535"
            raise LocalError(message)
        if queue < 0 or frame_count < 0:
            raise LocalError(f"queue {queue}, frame_count {frame_count}: expected 0 or more")
        missing = missing_capabilities()
        if missing:
            names = ", ".join(missing)
            raise SystemSetupError(f"AF_XDP needs {names}: run as root or grant them")
        config = ffi.new(
            "struct tp_af_xdp_config *",
            {
                "interface_index": _interface_index(interface),
                "queue": queue,
                "mode": MODES.index(mode),
                "frame_count": frame_count,
                "address": int(ipaddress.IPv4Address(address)),
                "port_low": port_low,
                "port_high": port_high,
                "no_huge_pages": not huge_pages,
            },
        )
        text = ffi.new("char[]", lib.TP_AF_XDP_TEXT_SIZE)
        handle = lib.tp_af_xdp_open(config, text)
        story: str = ffi.string(text).decode()
        if not handle:
            raise SystemSetupError(f"AF_XDP on {interface} queue {queue} refused: {story}")
        return cls(handle, interface, story)

    @property
    def link(self) -> Any:
        """Return the struct tp_link * of the open link."""
        return lib.tp_af_xdp_link(self._open_handle())

    @property
    def napi_id(self) -> int:
        """Return the NAPI instance of the queue; 0 means that busy polling does nothing here."""
        return int(lib.tp_af_xdp_napi_id(self._open_handle()))

    @property
    def has_huge_pages(self) -> bool:
        """Say whether the frames stand in huge pages."""
        return bool(lib.tp_af_xdp_has_huge_pages(self._open_handle()))

    def statistics(self) -> AfXdpStatistics:
        """Return the counters of now."""
        raw = ffi.new("struct tp_af_xdp_statistics *")
        with self._in_use:
            error = lib.tp_af_xdp_statistics(self._open_handle(), raw)
        if error != 0:
            raise SystemSetupError(f"XDP_STATISTICS on {self.interface}: {os.strerror(-error)}")
        return AfXdpStatistics(
            *(getattr(raw, name) for name in AfXdpStatistics.__dataclass_fields__)
        )

    def check(self) -> None:
        """Raise SystemSetupError when the interface went down or away under the link."""
        with self._in_use:
            code = int(self.link.error)
        if code != 0:
            raise SystemSetupError(
                f"AF_XDP on {self.interface} ended: {os.strerror(-code)}: "
                "set the interface up again and reopen the link"
            )

    def close(self) -> None:
        """Detach the program and free the memory; a second call does nothing.

        Sessions and hot paths over the link must have ended.
        """
        with self._in_use:
            handle, self._handle = self._handle, None
            if handle is not None:
                lib.tp_af_xdp_close(handle)

    def disown(self) -> None:
        """Leave program, socket and memory to the parent; closed for this child."""
        self._in_use = threading.Lock()  # a thread of the parent's may have held it
        if self._handle is not None:
            lib.tp_af_xdp_disown(self._handle)
            self._handle = None

    def _open_handle(self) -> Any:
        if self._handle is None:
            raise LocalError(f"the AF_XDP link on {self.interface} is closed")
        return self._handle

    def __enter__(self) -> Self:
        """Return the open link."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the link."""
        self.close()
