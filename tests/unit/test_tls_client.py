"""TLS end to end against OpenSSL's servers: every cipher, both record layers, any split of bytes.

The oracle is OpenSSL itself: Python's `ssl` on memory BIOs in this process, `openssl s_server`
where a test needs what `ssl` cannot do (choice of TLS 1.3 cipher, KeyUpdate).
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
import ssl
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tickpath.netstack.tls.tls import TlsClient
from tickpath.shm.errors import LocalError, RemoteError

from tests.unit.handshake_worker import DelegatingClient

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

IPSEC_MB = pytest.param("ipsec_mb", marks=pytest.mark.needs("ipsec_mb"))
LAYERS = (IPSEC_MB, "evp", "openssl")
OURS = (IPSEC_MB, "evp")
TLS12_CIPHERS = {
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
}
TLS13_CIPHERS = {
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
}
NAME = "exchange.test"
BIG = 1 << 20
SECONDS_MAX = 20
LAYER_NAMES = {"ipsec_mb": "libipsec-mb", "evp": "libcrypto", "openssl": "openssl"}


@pytest.fixture(scope="module", autouse=True, params=["inline", "worker"])
def handshakes(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run every test with the handshake done by the client itself, and by a worker."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "worker":
            patch.setattr(f"{__name__}.TlsClient", DelegatingClient)
        yield


def noise(seed: int, size: int) -> bytes:
    return hashlib.shake_128(b"%d" % seed).digest(size)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A self-signed certificate for NAME that serves as its own authority."""

    certificate: Path
    key: Path


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    folder = tmp_path_factory.mktemp("tls")
    made = Certificate(folder / "certificate.pem", folder / "key.pem")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", f"/CN={NAME}"),
            *("-addext", f"subjectAltName=DNS:{NAME}"),
            *("-keyout", str(made.key), "-out", str(made.certificate)),
        ],
        check=True,
        capture_output=True,
    )
    return made


class Server:
    """OpenSSL's server on memory BIOs."""

    def __init__(
        self, certificate: Certificate, cipher: str = "TLS_AES_128_GCM_SHA256", tickets: int = 2
    ) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.certificate, certificate.key)
        context.set_alpn_protocols(["h2", "http/1.1"])
        context.num_tickets = tickets
        if cipher.startswith("TLS_"):
            context.minimum_version = ssl.TLSVersion.TLSv1_3
            # OpenSSL's own order begins with AES-256; the client's with AES-128.
            context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
            if "256_GCM" in cipher:
                context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
        else:
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.set_ciphers(cipher)
        self.to_server, self.to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.to_server, self.to_client, server_side=True)
        self.connected = False

    def shake(self, data: bytes) -> bytes:
        self.to_server.write(data)
        if not self.connected:
            try:
                self.tls.do_handshake()
                self.connected = True
            except ssl.SSLWantReadError:
                pass
        return self.to_client.read()

    def seal(self, plaintext: bytes) -> bytes:
        self.tls.write(plaintext)
        return self.to_client.read()

    def open(self, sealed: bytes) -> bytes:
        self.to_server.write(sealed)
        plaintext = bytearray()
        try:
            while piece := self.tls.read(1 << 14):
                plaintext += piece
        except ssl.SSLWantReadError:
            pass
        return bytes(plaintext)


def connect(client: TlsClient, server: Server) -> None:
    flight = client.output()
    for _ in range(4):
        answer = server.shake(flight)
        assert client.input(answer) == b""
        flight = client.output()
        if client.connected and server.connected:
            break
    assert client.connected
    assert server.connected


def connected(
    certificate: Certificate, layer: str = "auto", cipher: str = "TLS_AES_128_GCM_SHA256"
) -> tuple[TlsClient, Server]:
    client = TlsClient(NAME, ca_file=certificate.certificate, record_layer=layer)
    server = Server(certificate, cipher)
    connect(client, server)
    return client, server


IN_PROCESS_CIPHERS = sorted(TLS12_CIPHERS | TLS13_CIPHERS - {"TLS_CHACHA20_POLY1305_SHA256"})


@pytest.mark.parametrize("cipher", IN_PROCESS_CIPHERS)
@pytest.mark.parametrize("layer", LAYERS)
def test_client_each_cipher_carries_data_both_ways(
    certificate: Certificate, layer: str, cipher: str
) -> None:
    client, server = connected(certificate, layer, cipher)
    assert client.cipher == cipher
    assert client.record_layer == LAYER_NAMES[layer]
    assert client.version == ("TLSv1.3" if cipher.startswith("TLS_") else "TLSv1.2")
    assert server.tls.selected_alpn_protocol() == "http/1.1"
    for text in (b"x", b"subscribe" * 30, b"y" * 16384, b"z" * 40000):
        assert client.input(server.seal(text)) == text
        assert server.open(client.seal(text)) == text


@pytest.mark.parametrize("cipher", IN_PROCESS_CIPHERS)
@pytest.mark.parametrize("layer", OURS)
def test_client_input_byte_by_byte_yields_same_plaintext(
    certificate: Certificate, layer: str, cipher: str
) -> None:
    client = TlsClient(NAME, ca_file=certificate.certificate, record_layer=layer)
    server = Server(certificate, cipher)
    flight = client.output()
    for _ in range(4):
        for byte in server.shake(flight):
            assert client.input(bytes([byte])) == b""
        flight = client.output()
    text = noise(1, 700)
    sealed = server.seal(text) + server.seal(b"") + server.seal(text[:1])
    assert b"".join(client.input(bytes([byte])) for byte in sealed) == text + text[:1]


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    layer=st.sampled_from(("auto", "evp")),
    cipher=st.sampled_from(IN_PROCESS_CIPHERS),
    sizes=st.lists(st.integers(1, 3000), min_size=1, max_size=6),
    pieces=st.lists(st.integers(1, 400), min_size=1, max_size=40),
)
def test_client_input_at_random_splits_yields_same_plaintext(
    certificate: Certificate, layer: str, cipher: str, sizes: list[int], pieces: list[int]
) -> None:
    client, server = connected(certificate, layer, cipher)
    texts = [noise(size, size) for size in sizes]
    sealed = b"".join(server.seal(text) for text in texts)
    opened, position, turn = bytearray(), 0, 0
    while position < len(sealed):
        size = pieces[turn % len(pieces)]
        opened += client.input(sealed[position : position + size])
        position, turn = position + size, turn + 1
    assert opened == b"".join(texts)


@pytest.mark.parametrize("cipher", ["TLS_AES_128_GCM_SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"])
@pytest.mark.parametrize("layer", LAYERS)
def test_client_megabyte_each_way_arrives_whole(
    certificate: Certificate, layer: str, cipher: str
) -> None:
    client, server = connected(certificate, layer, cipher)
    text = noise(2, BIG)
    sealed = server.seal(text)
    opened = b"".join(client.input(sealed[at : at + 1448]) for at in range(0, len(sealed), 1448))
    assert opened == text
    assert server.open(client.seal(text)) == text


@pytest.mark.parametrize("layer", LAYERS)
def test_client_data_behind_finished_in_one_segment_is_opened(
    certificate: Certificate, layer: str
) -> None:
    client = TlsClient(NAME, ca_file=certificate.certificate, record_layer=layer)
    server = Server(certificate, "ECDHE-ECDSA-AES128-GCM-SHA256")
    client.input(server.shake(client.output()))
    finished = server.shake(client.output())
    assert server.connected
    assert client.input(finished + server.seal(b"at once")) == b"at once"


@pytest.mark.parametrize("layer", LAYERS)
def test_client_tickets_beside_data_are_ignored(certificate: Certificate, layer: str) -> None:
    client = TlsClient(NAME, ca_file=certificate.certificate, record_layer=layer)
    server = Server(certificate, tickets=10)
    client.input(server.shake(client.output()))
    tickets = server.shake(client.output())
    assert len(tickets) > 10 * 100
    assert client.input(tickets + server.seal(b"data")) == b"data"


@pytest.mark.parametrize("cipher", ["TLS_AES_128_GCM_SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"])
@pytest.mark.parametrize("layer", LAYERS)
def test_client_close_notify_ends_both_directions(
    certificate: Certificate, layer: str, cipher: str
) -> None:
    client, server = connected(certificate, layer, cipher)
    with pytest.raises(ssl.SSLWantReadError):
        server.tls.unwrap()
    assert client.input(server.to_client.read()) == b""
    assert client.closed
    assert not client.connected
    client.end_of_input()
    client.close()
    server.to_server.write(client.output())
    server.tls.unwrap()


@pytest.mark.parametrize("layer", LAYERS)
def test_client_end_without_close_notify_is_truncation(
    certificate: Certificate, layer: str
) -> None:
    client, _ = connected(certificate, layer)
    with pytest.raises(RemoteError, match=r"truncated: .*without close_notify"):
        client.end_of_input()


@pytest.mark.parametrize("layer", LAYERS)
def test_client_flipped_bit_yields_alert_and_no_plaintext(
    certificate: Certificate, layer: str
) -> None:
    client, server = connected(certificate, layer)
    good, bad = server.seal(b"good"), bytearray(server.seal(b"evil"))
    later = server.seal(b"later")
    bad[-1] ^= 1
    with pytest.raises(RemoteError, match="bad_record_mac"):
        client.input(good + bytes(bad) + later)
    assert client.opened == b"good"
    with pytest.raises(ssl.SSLError, match="BAD_RECORD_MAC"):
        server.open(client.output())
    with pytest.raises(RemoteError):
        client.input(later)
    with pytest.raises(LocalError):
        client.seal(b"x")


def test_client_seal_before_handshake_is_refused(certificate: Certificate) -> None:
    client = TlsClient(NAME, ca_file=certificate.certificate)
    with pytest.raises(LocalError, match="after its handshake"):
        client.seal(b"x")


def test_client_seal_of_nothing_is_nothing(certificate: Certificate) -> None:
    client, _ = connected(certificate)
    assert client.seal(b"") == b""


def test_client_unknown_record_layer_is_refused_with_the_choices() -> None:
    with pytest.raises(LocalError, match="expected one of auto, ipsec_mb"):
        TlsClient(NAME, record_layer="best")


class CommandServer:
    """`openssl s_server` in a process of its own, its console on pipes."""

    def __init__(self, certificate: Certificate, *options: str) -> None:
        self.process = subprocess.Popen(
            [
                *("openssl", "s_server", "-accept", "127.0.0.1:0", "-naccept", "1"),
                *("-cert", str(certificate.certificate), "-key", str(certificate.key), *options),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        port = int(self.console_until(b"ACCEPT 127.0.0.1:", b"\n").split(b":")[-1])
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=SECONDS_MAX)

    def console_until(self, start: bytes, end: bytes) -> bytes:
        """Read the console up to the first `end` behind `start`."""
        assert self.process.stdout is not None
        seen = bytearray()
        while start not in seen or end not in seen[seen.index(start) + len(start) :]:
            byte = self.process.stdout.read(1)
            assert byte, f"s_server ended; it said {bytes(seen)!r}"
            seen += byte
        return bytes(seen)

    def type(self, line: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def stop(self) -> None:
        self.socket.close()
        self.process.kill()
        self.process.communicate()

    def exchange(self, client: TlsClient, until: bytes = b"") -> bytes:
        """Carry bytes until this plaintext came, or without it until the handshake is done."""
        plaintext = bytearray()
        while not (client.connected and until in plaintext):
            self.socket.sendall(client.output())
            plaintext += client.input(self.socket.recv(1 << 16))
        self.socket.sendall(client.output())
        return bytes(plaintext)


@pytest.mark.parametrize("cipher", sorted(TLS13_CIPHERS))
@pytest.mark.parametrize("layer", LAYERS)
def test_client_key_updates_both_ways_keep_the_data_whole(
    certificate: Certificate, layer: str, cipher: str
) -> None:
    server = CommandServer(certificate, "-tls1_3", "-ciphersuites", cipher)
    client = TlsClient(NAME, ca_file=certificate.certificate, record_layer=layer)
    try:
        server.exchange(client)
        assert client.cipher == cipher
        for turn, command in enumerate([b"K", b"k", b"K", b"K"]):
            server.type(command)
            time.sleep(0.05)  # s_server takes one command a read
            server.type(b"from the server %d" % turn)
            server.exchange(client, b"from the server %d" % turn)
            server.socket.sendall(client.seal(b"from the client %d\n" % turn))
            server.console_until(b"from the client %d" % turn, b"\n")
    finally:
        server.stop()


def test_client_renegotiation_request_is_refused_and_the_connection_lives(
    certificate: Certificate,
) -> None:
    server = CommandServer(certificate, "-tls1_2")
    client = TlsClient(NAME, ca_file=certificate.certificate)
    try:
        server.exchange(client)
        server.type(b"r")
        assert client.input(server.socket.recv(1 << 16)) == b""
        assert client.connected
        assert len(client.output()) == 5 + 8 + 2 + 16  # one alert record: no_renegotiation
    finally:
        server.stop()


@pytest.mark.parametrize("layer", LAYERS)
def test_client_key_update_not_yet_sent_leaves_in_front_of_data(
    certificate: Certificate, layer: str
) -> None:
    server = CommandServer(certificate, "-tls1_3")
    client = TlsClient(NAME, ca_file=certificate.certificate, record_layer=layer)
    try:
        server.exchange(client)
        server.socket.settimeout(0.2)
        with contextlib.suppress(TimeoutError):  # tickets, if they come apart from the handshake
            while True:
                client.input(server.socket.recv(1 << 16))
        server.socket.settimeout(SECONDS_MAX)
        server.type(b"K")
        assert client.input(server.socket.recv(1 << 16)) == b""
        server.socket.sendall(client.seal(b"under the next key\n"))
        server.console_until(b"under the next key", b"\n")
    finally:
        server.stop()
