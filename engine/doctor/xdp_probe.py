"""Try XDP and AF_XDP on a veth pair in a network namespace that nobody else sees.

Run as `python -P -m tickpath.engine.doctor.xdp_probe` in a process of its own: the namespace, the
pair and the program vanish with it, and no interface of the host is touched. Prints one JSON
object: step to null (it works) or to the error's name. Called by: privileges. Source: bpf(2),
include/uapi/linux/{bpf,if_xdp,if_link}.h; Documentation/networking/af_xdp.rst.
"""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import platform
import socket
import struct
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

CLONE_NEWNET = 0x40000000
SYS_BPF = {"x86_64": 321, "aarch64": 280}
BPF_MAP_CREATE, BPF_PROG_LOAD, BPF_LINK_CREATE = 0, 5, 28
BPF_MAP_TYPE_ARRAY, BPF_PROG_TYPE_XDP, BPF_XDP = 2, 6, 37
BPF_F_XDP_HAS_FRAGS = 1 << 5
XDP_FLAGS_SKB_MODE, XDP_FLAGS_DRV_MODE = 2, 4
# "r0 = XDP_PASS; exit": the program that changes nothing.
PASS_PROGRAM = struct.pack("<BBhiBBhi", 0xB7, 0, 0, 2, 0x95, 0, 0, 0)
AF_XDP, SOL_XDP = 44, 283
XDP_RX_RING, XDP_UMEM_REG, XDP_UMEM_FILL_RING, XDP_UMEM_COMPLETION_RING = 2, 4, 5, 6
XDP_COPY = 2
CHUNK_BYTES, CHUNKS = 2048, 64
VETH = "tickpath-probe"

libc = ctypes.CDLL(None, use_errno=True)


def checked(result: int) -> int:
    """Return a C function's result; raises OSError where it is negative."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def bpf(command: int, attributes: bytes) -> int:
    """Call bpf(2); return its file descriptor. Raises OSError."""
    number = SYS_BPF.get(platform.machine())
    if number is None:
        raise OSError(errno.ENOSYS, f"the number of bpf(2) on {platform.machine()} is not known")
    buffer = ctypes.create_string_buffer(attributes, 128)
    return checked(libc.syscall(ctypes.c_long(number), command, buffer, len(buffer)))


def create_map() -> None:
    """Create and drop a one-entry array map: the least that bpf(2) does."""
    os.close(bpf(BPF_MAP_CREATE, struct.pack("=IIII", BPF_MAP_TYPE_ARRAY, 4, 4, 1)))


def load_program() -> int:
    """Load the passing program, multi-buffer capable; return its file descriptor."""
    instructions = ctypes.create_string_buffer(PASS_PROGRAM, len(PASS_PROGRAM))
    licence = ctypes.create_string_buffer(b"Dual BSD/GPL")
    return bpf(
        BPF_PROG_LOAD,
        struct.pack(
            "=IIQQIIQII16sII",
            BPF_PROG_TYPE_XDP,
            len(PASS_PROGRAM) // 8,
            ctypes.addressof(instructions),
            ctypes.addressof(licence),
            0,
            0,
            0,
            0,
            BPF_F_XDP_HAS_FRAGS,
            b"tickpath_probe",
            0,
            BPF_XDP,
        ),
    )


def attach(program: int, index: int, mode: int) -> None:
    """Attach the program by a link, which ends as its descriptor is closed."""
    os.close(bpf(BPF_LINK_CREATE, struct.pack("=IIII", program, index, BPF_XDP, mode)))


def bind_socket(index: int) -> None:
    """Bind an AF_XDP socket with a small UMEM to queue 0 in copy mode."""
    with (
        socket.socket(AF_XDP, socket.SOCK_RAW, 0) as port,
        mmap.mmap(-1, CHUNK_BYTES * CHUNKS) as umem,
    ):
        address = ctypes.addressof(ctypes.c_char.from_buffer(umem))
        register = struct.pack("=QQIII4x", address, len(umem), CHUNK_BYTES, 0, 0)
        port.setsockopt(SOL_XDP, XDP_UMEM_REG, register)
        for ring in (XDP_UMEM_FILL_RING, XDP_UMEM_COMPLETION_RING, XDP_RX_RING):
            port.setsockopt(SOL_XDP, ring, CHUNKS)
        where = struct.pack("=HHIII", AF_XDP, XDP_COPY, index, 0, 0)
        checked(libc.bind(port.fileno(), where, len(where)))


def probe() -> dict[str, str | None]:
    """Enter a new namespace and try each step; raises OSError where there can be no namespace."""
    checked(libc.unshare(CLONE_NEWNET))
    add = ["ip", "link", "add", VETH, "type", "veth", "peer", "name", f"{VETH[:11]}-x"]
    subprocess.run(add, check=True, capture_output=True)
    subprocess.run(["ip", "link", "set", VETH, "up"], check=True, capture_output=True)
    index = socket.if_nametoindex(VETH)
    results: dict[str, str | None] = {}
    steps: dict[str, Callable[[], None]] = {
        "bpf map": create_map,
        "XDP native": lambda: attach(load_program(), index, XDP_FLAGS_DRV_MODE),
        "XDP generic": lambda: attach(load_program(), index, XDP_FLAGS_SKB_MODE),
        "AF_XDP copy": lambda: bind_socket(index),
    }
    for step, call in steps.items():
        try:
            call()
        except OSError as error:
            results[step] = errno.errorcode.get(error.errno or 0, str(error))
        else:
            results[step] = None
    return results


def main() -> int:
    """Print the results, or what kept the probe from running."""
    try:
        print(json.dumps(probe()))
    except (OSError, subprocess.CalledProcessError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
