"""Our TCP client against the kernel's TCP, over a TUN device in a throw-away namespace.

The shim between them loses, reorders and duplicates packets in both directions from a printed
seed. The kernel is the independent implementation: both ends compare SHA-256.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import random
import select
import struct
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from tickpath._core import ffi, lib

if TYPE_CHECKING:
    from collections.abc import Iterator


LOCAL, REMOTE = "10.231.7.1", "10.231.7.2"
PORT = 7001
MTU = 1500
MEGABYTE = 1 << 20
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
RUN_LIMIT_S = 60  # a stall ends the test; no assertion depends on how fast it went

# Reads size bytes, answers their digest and size bytes of its own, then closes.
SERVER = f"""
import hashlib, random, socket, struct
listener = socket.create_server(("{REMOTE}", {PORT}))
print("ready", flush=True)
while True:
    connection, _ = listener.accept()
    try:
        with connection, connection.makefile("rb") as stream:
            size, = struct.unpack("!I", stream.read(4))
            digest = hashlib.sha256(stream.read(size)).digest()
            reply = digest + random.Random(size).randbytes(size)
            connection.sendall(reply)
            connection.shutdown(socket.SHUT_WR)
            stream.read()
    except ConnectionError:
        pass
"""

pytestmark = pytest.mark.needs("root", "netns")


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@contextmanager
def kernel_server() -> Iterator[int]:
    """Give the TUN descriptor on whose other side a kernel TCP server listens."""
    name = f"tcp-sim-{os.getpid()}"
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    server: subprocess.Popen[str] | None = None
    try:
        ip("netns", "add", name)
        request = struct.pack("16sH22x", f"tt{os.getpid()}".encode(), IFF_TUN | IFF_NO_PI)
        fcntl.ioctl(device, TUNSETIFF, request)
        ip("link", "set", f"tt{os.getpid()}", "netns", name)
        ip("-n", name, "address", "add", f"{REMOTE}/24", "dev", f"tt{os.getpid()}")
        ip("-n", name, "link", "set", f"tt{os.getpid()}", "mtu", str(MTU), "up")
        server = subprocess.Popen(
            ["ip", "netns", "exec", name, sys.executable, "-P", "-c", SERVER],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        yield device
    finally:
        if server is not None:
            server.kill()
            server.wait()
        os.close(device)
        subprocess.run(["ip", "netns", "delete", name], check=False)


class FaultShim:
    """Pass packets on, or lose, double or hold them back behind a few others."""

    def __init__(self, seed: int, rate: float) -> None:
        self.random = random.Random(seed)
        self.rate = rate
        self.held: list[tuple[int, bytes]] = []

    def pass_on(self, packet: bytes) -> list[bytes]:
        due = [held for left, held in self.held if left == 0]
        self.held = [(left - 1, held) for left, held in self.held if left > 0]
        draw = self.random.random()
        if draw < self.rate:
            return due
        if draw < 2 * self.rate:
            return [packet, packet, *due]
        if draw < 3 * self.rate:
            self.held.append((self.random.randrange(1, 4), packet))
            return due
        return [packet, *due]


def address(text: str) -> int:
    return int.from_bytes(bytes(int(part) for part in text.split(".")), "big")


def ipv4_packet(payload: bytes) -> bytes:
    header = struct.pack(
        "!BBHHHBBHII", 0x45, 0, 20 + len(payload), 0, 0x4000, 64, 6, 0,
        address(LOCAL), address(REMOTE),
    )  # fmt: skip
    total = sum(struct.unpack("!10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return header[:10] + struct.pack("!H", ~total & 0xFFFF) + header[12:] + payload


class Client:
    """Drive one connection over a TUN descriptor with the real clock."""

    def __init__(self, device: int, seed: int, rate: float, buffer_size: int) -> None:
        self.device = device
        self.inward, self.outward = FaultShim(seed, rate), FaultShim(seed + 1, rate)
        config = ffi.new("struct tp_tcp_config *")
        lib.tp_tcp_config_init(config)
        config.local_address, config.remote_address = address(LOCAL), address(REMOTE)
        config.local_port, config.remote_port = 20000 + seed % 40000, PORT
        config.isn_secret = os.urandom(16)
        config.receive_buffer_size = buffer_size
        size = lib.tp_tcp_memory_size(config)
        self.memory = ffi.new("uint8_t[]", size + 64)
        base = (int(ffi.cast("uintptr_t", self.memory)) + 63) & ~63
        self.tcp = lib.tp_tcp_init(ffi.cast("void *", base), config)
        self.out = ffi.new("uint8_t[2048]")
        self.segment = ffi.new("struct tp_tcp_segment *")
        self.delivery = ffi.new("struct tp_tcp_delivery *")
        self.received = bytearray()
        self.peer_closed = False

    def flush(self) -> None:
        while size := lib.tp_tcp_output(self.tcp, time.monotonic_ns(), self.out, 2048):
            for packet in self.outward.pass_on(ipv4_packet(bytes(ffi.buffer(self.out, size)))):
                os.write(self.device, packet)

    def take(self, packet: bytes) -> None:
        if packet[0] >> 4 != 4 or packet[9] != 6:
            return
        frame = ffi.from_buffer(packet)
        header_size = (packet[0] & 15) * 4
        span = (frame + header_size, len(packet) - header_size)
        assert lib.tp_tcp_segment_parse(span, self.segment)
        status = lib.tp_tcp_input(self.tcp, self.segment, time.monotonic_ns(), self.delivery)
        for piece in list(self.delivery.span)[: self.delivery.count]:
            self.received += ffi.buffer(piece.data, piece.size)
        self.peer_closed |= status == lib.TP_CLOSED

    def turn(self) -> None:
        wait_ns = lib.tp_tcp_deadline(self.tcp) - time.monotonic_ns()
        select.select([self.device], [], [], min(max(wait_ns / 1e9, 0), 0.01))
        for _ in range(16):
            try:
                packet = os.read(self.device, 65536)
            except BlockingIOError:
                break
            for passed in self.inward.pass_on(packet):
                self.take(passed)
        self.flush()

    def connect(self) -> None:
        lib.tp_tcp_connect(self.tcp, time.monotonic_ns())
        started = time.monotonic()
        while lib.tp_tcp_state(self.tcp) != lib.TP_TCP_ESTABLISHED:
            assert time.monotonic() - started < RUN_LIMIT_S, "no handshake"
            self.turn()

    def exchange(self, request: bytes) -> None:
        self.connect()
        sent, started = 0, time.monotonic()
        while lib.tp_tcp_state(self.tcp) not in {lib.TP_TCP_CLOSED, lib.TP_TCP_TIME_WAIT}:
            assert time.monotonic() - started < RUN_LIMIT_S, "stalled"
            if sent < len(request):
                piece = request[sent : sent + 65536]
                sent += lib.tp_tcp_send(self.tcp, (ffi.from_buffer(piece), len(piece)))
            if self.peer_closed:
                lib.tp_tcp_close(self.tcp)
            self.turn()


@pytest.mark.parametrize(
    ("rate", "buffer_size"), [(0.0, 4 << 20), (0.01, 4 << 20), (0.05, 1 << 16)]
)
def test_client_exchanges_a_megabyte_with_the_kernel(rate: float, buffer_size: int) -> None:
    seed = int(os.environ.get("TICKPATH_SEED", random.SystemRandom().randrange(1 << 30)))
    print(f"seed {seed}: set TICKPATH_SEED={seed} to repeat")
    body = random.Random(seed).randbytes(MEGABYTE)
    with kernel_server() as device:
        client = Client(device, seed, rate, buffer_size)
        client.exchange(struct.pack("!I", len(body)) + body)
    counters = lib.tp_tcp_counters(client.tcp)
    print(
        {name: getattr(counters, name) for name, _ in ffi.typeof("struct tp_tcp_counters").fields}
    )
    assert lib.tp_tcp_error(client.tcp) == lib.TP_TCP_ERROR_NONE
    assert client.received[:32] == hashlib.sha256(body).digest()
    wanted = random.Random(MEGABYTE).randbytes(MEGABYTE)
    assert hashlib.sha256(client.received[32:]).digest() == hashlib.sha256(wanted).digest()


def test_client_restarted_on_the_same_port_replaces_the_stale_connection() -> None:
    """The kernel answers the second SYN by a challenge ACK; RST and another SYN must follow."""
    seed = 4711
    with kernel_server() as device:
        Client(device, seed, 0.0, 1 << 16).connect()  # and is gone, as after a crash
        client = Client(device, seed, 0.0, 1 << 16)
        client.exchange(struct.pack("!I", 5) + b"hello")
    assert client.received[:32] == hashlib.sha256(b"hello").digest()
    assert lib.tp_tcp_counters(client.tcp).bad_acks == 1
