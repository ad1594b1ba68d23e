"""TLS end to end against OpenSSL's servers: every cipher, both record layers, any split of bytes.

The oracle is OpenSSL itself: Python's `ssl` on memory BIOs in this process, `openssl s_server`
where a test needs what `ssl` cannot do (choice of TLS 1.3 cipher, KeyUpdate).
"""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from tickpath.netstack.tls.tls import TlsClient

if TYPE_CHECKING:
    from pathlib import Path

LAYERS = ("ipsec_mb", "evp", "openssl")
OURS = ("ipsec_mb", "evp")
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

    def __init__(self, certificate: Certificate, cipher: str = "TLS_AES_128_GCM_SHA256") -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.certificate, certificate.key)
        context.set_alpn_protocols(["h2", "http/1.1"])
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
