"""One contender's turn of `bench echo`: `CONTENDER URL SIZE COUNT OUTPUT [CA_FILE]`."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import struct
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from tickpath._bench import ffi, lib
from tickpath.netstack.route import lookup
from tickpath.netstack.session import ConnectOptions, Session
from tickpath.netstack.transport import PORT_LOW, Placement, open_transport
from tickpath.shm.errors import RemoteError

WARM_UP = 2000
BINARY = 2


def _tls(ca_file: str | None) -> ssl.SSLContext | None:
    return ssl.create_default_context(cafile=ca_file) if ca_file else None


def run_tickpath(url: str, size: int, count: int, ca_file: str | None) -> Any:
    """Ours over AF_XDP; fails rather than fall back to another path."""
    options = ConnectOptions(cacert=Path(ca_file) if ca_file else None, backend="af_xdp")
    took = np.zeros(WARM_UP + count, dtype=np.uint64)
    payload = ffi.new("uint8_t[]", bytes(i & 0xFF for i in range(size)))
    span = ffi.new("struct tp_span *", {"data": payload, "size": size})
    with Session(url, options, websocket=True) as session:
        session.connect()
        done = lib.tp_bench_echo(
            session.handle,
            session.transport.netif,
            span[0],
            ffi.from_buffer("uint64_t[]", took, require_writable=True),
            WARM_UP + count,
        )
    if done != WARM_UP + count:
        raise RemoteError(f"echo {done} of {WARM_UP + count} was lost or differed")
    return took[WARM_UP:]


def run_picows(url: str, size: int, count: int, ca_file: str | None) -> Any:
    """The fastest Python client: frame callbacks on uvloop."""
    import picows  # noqa: PLC0415 # an optional package: only this contender needs it
    import uvloop  # noqa: PLC0415 # only this contender needs it

    took = np.zeros(WARM_UP + count, dtype=np.uint64)
    payload = bytes(i & 0xFF for i in range(size))
    done: asyncio.Future[None]

    class Listener(picows.WSListener):
        index = 0
        start = 0

        def on_ws_connected(self, transport: Any) -> None:
            self.start = time.perf_counter_ns()
            transport.send(picows.WSMsgType.BINARY, payload)

        def on_ws_frame(self, transport: Any, frame: Any) -> None:
            if frame.get_payload_as_memoryview() != payload:
                raise RemoteError("the echo differs")
            took[self.index] = time.perf_counter_ns() - self.start
            self.index += 1
            if self.index == WARM_UP + count:
                done.set_result(None)
                return
            self.start = time.perf_counter_ns()
            transport.send(picows.WSMsgType.BINARY, payload)

    async def main() -> None:
        nonlocal done
        done = asyncio.get_running_loop().create_future()
        await picows.ws_connect(Listener, url, ssl_context=_tls(ca_file))
        await done  # the socket dies with the process: a TLS shutdown would wait for its answer

    uvloop.run(main())
    return took[WARM_UP:]


def run_websockets(url: str, size: int, count: int, ca_file: str | None) -> Any:
    """The best-known Python client, on uvloop."""
    import uvloop  # noqa: PLC0415 # only this contender needs it
    from websockets.asyncio.client import connect  # noqa: PLC0415 # only this contender needs it

    took = np.zeros(WARM_UP + count, dtype=np.uint64)
    payload = bytes(i & 0xFF for i in range(size))

    async def main() -> None:
        async with connect(url, ssl=_tls(ca_file), compression=None) as client:
            for i in range(WARM_UP + count):
                start = time.perf_counter_ns()
                await client.send(payload)
                if await client.recv() != payload:
                    raise RemoteError("the echo differs")
                took[i] = time.perf_counter_ns() - start

    uvloop.run(main())
    return took[WARM_UP:]


def run_raw(url: str, size: int, count: int, _ca_file: str | None) -> Any:
    """The floor: frames of the same size there and back, no TCP (peer.c reflect returns them)."""
    address = url.split("/")[2].split(":", maxsplit=1)[0]
    transport = open_transport(address, "af_xdp", Placement())
    took = np.zeros(WARM_UP + count, dtype=np.uint64)
    frame = raw_frame(lookup(address), size)
    kept = ffi.new("uint8_t[]", frame)
    span = ffi.new("struct tp_span *", {"data": kept, "size": len(frame)})
    try:
        done = lib.tp_bench_raw_frames(
            transport.netif.link,
            span[0],
            ffi.from_buffer("uint64_t[]", took, require_writable=True),
            WARM_UP + count,
        )
    finally:
        transport.close()
    if done != WARM_UP + count:
        raise RemoteError(f"raw frame {done} of {WARM_UP + count} did not come back")
    return took[WARM_UP:]


def raw_frame(path: Any, size: int) -> bytes:
    """Return an Ethernet frame that the reflector (peer.c reflect) sends back to our ports.

    TCP-shaped, because the XDP program takes nothing else; addressed to a host behind the far end
    that does not exist, so that its kernel stays silent.
    """
    nowhere = "198.18.0.3"
    ethernet = path.next_hop_mac + path.mac + b"\x08\x00"
    total = 20 + 20 + size
    addresses = socket.inet_aton(path.source) + socket.inet_aton(nowhere)
    ip = struct.pack("!BBHHHBBH", 0x45, 0, total, 0, 0x4000, 64, 6, 0) + addresses
    words = sum(struct.unpack("!10H", ip))
    checksum = ~((words & 0xFFFF) + (words >> 16)) & 0xFFFF
    ip = ip[:10] + struct.pack("!H", checksum) + ip[12:]
    tcp = struct.pack("!HHIIBBHHH", PORT_LOW, PORT_LOW, 0, 0, 0x50, 0x10, 0, 0, 0)
    return bytes(ethernet + ip + tcp + bytes(size))


CONTENDERS = {
    "tickpath": run_tickpath,
    "picows": run_picows,
    "websockets": run_websockets,
    "raw-af_xdp": run_raw,
}


def main(words: list[str]) -> None:
    """Run one turn and write its samples."""
    contender, url, size, count, output, *ca_file = words
    gc.freeze()
    gc.disable()
    took = CONTENDERS[contender](url, int(size), int(count), ca_file[0] if ca_file else None)
    took.tofile(output)


if __name__ == "__main__":
    main(sys.argv[1:])
