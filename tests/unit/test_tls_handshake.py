"""The handshake: which certificates and which tampering are refused, and how that is told.

Certificates come from the openssl command, servers from Python's `ssl`; bytes are tampered with on
their way between the two.
"""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import hmac
import ssl
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from tickpath.netstack.tls.tls import TlsClient
from tickpath.shm.errors import LocalError, RemoteError

from tests.unit.handshake_worker import DelegatingClient

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HANDSHAKE, ALERT = 22, 21
UNEXPECTED_MESSAGE, ILLEGAL_PARAMETER, PROTOCOL_VERSION = 10, 47, 70
SUPPORTED_VERSIONS = bytes([0, 43])


@pytest.fixture(scope="module", autouse=True, params=["inline", "worker"])
def handshakes(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run every test with the handshake done by the client itself, and by a worker."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "worker":
            patch.setattr(f"{__name__}.TlsClient", DelegatingClient)
        yield


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority in a folder, and what it has signed."""

    folder: Path

    @property
    def certificate(self) -> Path:
        return self.folder / "authority.pem"

    def make(self) -> None:
        openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-days", "2", "-subj", "/CN=test authority"),
            *("-addext", "keyUsage=critical,keyCertSign"),
            *("-keyout", str(self.folder / "authority.key"), "-out", str(self.certificate)),
        )

    def issue(self, name: str, alternative: str, days: int = 2, extra: str = "") -> Path:
        """Return a folder-wide certificate with its key in one PEM file."""
        key, request = self.folder / f"{name}.key", self.folder / f"{name}.csr"
        made, extensions = self.folder / f"{name}.crt", self.folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName={alternative}\n{extra}\n")
        openssl(
            *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-subj", f"/CN={name}", "-keyout", str(key), "-out", str(request)),
        )
        openssl(
            *("x509", "-req", "-in", str(request), "-CA", str(self.certificate)),
            *("-CAkey", str(self.folder / "authority.key"), "-days", str(days)),
            *("-extfile", str(extensions), "-out", str(made)),
        )
        both = self.folder / f"{name}.pem"
        both.write_text(made.read_text() + key.read_text())
        return both


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("authority"))
    made.make()
    return made


@pytest.fixture(scope="module")
def good(authority: Authority) -> Path:
    return authority.issue("good", "DNS:exchange.test")


class Server:
    """OpenSSL's server on memory BIOs, before the end of its handshake."""

    def __init__(self, certificate: Path, version: ssl.TLSVersion | None = None) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate)
        if version is not None:
            self.context.minimum_version = version
            self.context.maximum_version = version
        self.names: list[str | None] = []
        self.context.sni_callback = lambda _, name, __: self.names.append(name)
        self.to_server, self.to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = self.context.wrap_bio(self.to_server, self.to_client, server_side=True)

    def shake(self, data: bytes) -> bytes:
        self.to_server.write(data)
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self.to_client.read()


def shake_hands(client: TlsClient, server: Server) -> None:
    for _ in range(3):
        client.input(server.shake(client.output()))


def records(data: bytes) -> list[bytes]:
    found = []
    while data:
        size = 5 + int.from_bytes(data[3:5], "big")
        found.append(data[:size])
        data = data[size:]
    return found


def alert_of(client: TlsClient) -> int:
    """Return the description of the plaintext alert that the client sends."""
    record = records(client.output())[-1]
    assert record[0] == ALERT
    assert len(record) == 7
    return record[6]


# ---- certificates


@pytest.mark.parametrize(
    ("alternative", "name"),
    [
        ("DNS:exchange.test", "exchange.test"),
        ("DNS:exchange.test", "EXCHANGE.test"),
        ("DNS:exchange.test", "exchange.test."),
        ("DNS:*.exchange.test", "ws.exchange.test"),
        ("DNS:other.test,DNS:exchange.test", "exchange.test"),
        ("IP:192.0.2.7", "192.0.2.7"),
        ("IP:2001:db8::7", "2001:db8::7"),
    ],
)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_handshake_certificate_for_the_name_is_accepted(
    authority: Authority, version: ssl.TLSVersion, alternative: str, name: str
) -> None:
    client = TlsClient(name, ca_file=authority.certificate)
    shake_hands(client, Server(authority.issue("accepted", alternative), version))
    assert client.connected


@pytest.mark.parametrize(
    ("alternative", "name", "verdict"),
    [
        ("DNS:other.test", "exchange.test", "hostname mismatch"),
        ("DNS:*.exchange.test", "exchange.test", "hostname mismatch"),
        ("DNS:*.exchange.test", "a.b.exchange.test", "hostname mismatch"),
        ("DNS:w*.exchange.test", "ws.exchange.test", "hostname mismatch"),
        ("DNS:192.0.2.7", "192.0.2.7", "IP address mismatch"),
        ("IP:192.0.2.8", "192.0.2.7", "IP address mismatch"),
    ],
)
def test_handshake_certificate_for_another_name_is_refused(
    authority: Authority, alternative: str, name: str, verdict: str
) -> None:
    client = TlsClient(name, ca_file=authority.certificate)
    with pytest.raises(RemoteError) as caught:
        shake_hands(client, Server(authority.issue("refused", alternative)))
    assert client.error == "certificate"
    assert verdict in str(caught.value)
    assert name in str(caught.value)
    assert client.output()[0] in {ALERT, 20}  # bad_certificate, encrypted or behind the CCS


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_handshake_expired_certificate_is_refused(
    authority: Authority, version: ssl.TLSVersion
) -> None:
    client = TlsClient("exchange.test", ca_file=authority.certificate)
    expired = authority.issue("expired", "DNS:exchange.test", days=-1)
    with pytest.raises(RemoteError, match="certificate has expired"):
        shake_hands(client, Server(expired, version))
    assert client.error == "certificate"


def test_handshake_certificate_of_unknown_authority_names_the_remedy(
    authority: Authority, good: Path, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path)
    stranger.make()
    assert authority.certificate.exists()
    client = TlsClient("exchange.test", ca_file=stranger.certificate)
    with pytest.raises(RemoteError, match="--cacert FILE"):
        shake_hands(client, Server(good))
    assert client.error == "certificate"


def self_signed(folder: Path) -> Path:
    certificate, key = folder / "self.crt", folder / "self.key"
    openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
        *("-days", "2", "-subj", "/CN=x", "-addext", "subjectAltName=DNS:exchange.test"),
        *("-keyout", str(key), "-out", str(certificate)),
    )
    both = folder / "self.pem"
    both.write_text(certificate.read_text() + key.read_text())
    return both


def test_handshake_self_signed_certificate_is_refused(authority: Authority, tmp_path: Path) -> None:
    client = TlsClient("exchange.test", ca_file=authority.certificate)
    with pytest.raises(RemoteError, match="self-signed certificate"):
        shake_hands(client, Server(self_signed(tmp_path)))


def test_handshake_self_signed_certificate_against_system_trust_is_refused(tmp_path: Path) -> None:
    client = TlsClient("exchange.test")
    with pytest.raises(RemoteError, match="self-signed certificate"):
        shake_hands(client, Server(self_signed(tmp_path)))


def test_handshake_insecure_accepts_any_certificate(authority: Authority) -> None:
    client = TlsClient("exchange.test", insecure=True)
    shake_hands(client, Server(authority.issue("any", "DNS:other.test", days=-1)))
    assert client.connected


def test_handshake_certificate_for_client_use_only_is_refused(authority: Authority) -> None:
    client = TlsClient("exchange.test", ca_file=authority.certificate)
    usage = authority.issue("usage", "DNS:exchange.test", extra="extendedKeyUsage=clientAuth")
    with pytest.raises(RemoteError, match="certificate"):
        shake_hands(client, Server(usage))
    assert client.error == "certificate"


# ---- what the client offers


def test_handshake_sends_the_dns_name_but_no_ip_address(authority: Authority, good: Path) -> None:
    server = Server(good)
    server.shake(TlsClient("exchange.test.", ca_file=authority.certificate).output())
    assert server.names == ["exchange.test"]
    server = Server(good)
    server.shake(TlsClient("192.0.2.7", ca_file=authority.certificate).output())
    assert server.names == [None]


def test_handshake_offers_only_aead_ciphers_and_no_old_version(authority: Authority) -> None:
    hello = TlsClient("exchange.test", ca_file=authority.certificate).output()
    position = 5 + 4 + 2 + 32
    position += 1 + hello[position]
    size = int.from_bytes(hello[position : position + 2], "big")
    listed = hello[position + 2 : position + 2 + size]
    ciphers = {listed[at : at + 2].hex() for at in range(0, size, 2)}
    # RFC 8446 B.4, RFC 5289 5, RFC 7905 2; 00ff says that renegotiation is secure (RFC 5746).
    assert ciphers <= {
        *("1301", "1302", "1303", "00ff"),
        *("c02b", "c02c", "c02f", "c030", "cca8", "cca9"),
    }
    assert hello[position + 2 + size : position + 4 + size] == b"\x01\x00"  # null compression only
    versions = hello.index(SUPPORTED_VERSIONS + bytes([0, 5, 4]))
    assert hello[versions + 5 : versions + 9] == bytes([3, 4, 3, 3])


@pytest.mark.parametrize("name", ["", "x" * 256])
def test_handshake_impossible_name_is_refused(name: str) -> None:
    with pytest.raises(LocalError, match="expected a DNS name"):
        TlsClient(name, insecure=True)


def test_handshake_missing_ca_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match=r"none\.pem.*--cacert"):
        TlsClient("exchange.test", ca_file=tmp_path / "none.pem")


def test_handshake_ca_file_without_certificates_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("nothing\n")
    with pytest.raises(LocalError, match=r"empty\.pem"):
        TlsClient("exchange.test", ca_file=tmp_path / "empty.pem")


# ---- tampering (RFC 8446 4.1.3, 4.1.4, 5)


def test_handshake_downgrade_by_removed_version_is_refused(
    authority: Authority, good: Path
) -> None:
    """The server puts its sentinel into its random (RFC 8446 4.1.3); the client must look."""
    client = TlsClient("exchange.test", ca_file=authority.certificate)
    hello = client.output().replace(SUPPORTED_VERSIONS + bytes([0, 5]), bytes([0xFA, 0xFA, 0, 5]))
    with pytest.raises(RemoteError, match="handshake"):
        client.input(Server(good).shake(hello))
    assert alert_of(client) == ILLEGAL_PARAMETER


def test_handshake_second_hello_retry_request_is_refused(authority: Authority, good: Path) -> None:
    client = TlsClient("exchange.test", ca_file=authority.certificate)
    server = Server(good, ssl.TLSVersion.TLSv1_3)
    server.context.set_ecdh_curve("secp384r1")
    server.tls = server.context.wrap_bio(server.to_server, server.to_client, server_side=True)
    retry = records(server.shake(client.output()))[0]
    client.input(retry)
    client.output()
    with pytest.raises(RemoteError):
        client.input(retry)
    assert alert_of(client) == UNEXPECTED_MESSAGE


def test_handshake_hello_retry_request_once_is_followed(authority: Authority, good: Path) -> None:
    client = TlsClient("exchange.test", ca_file=authority.certificate)
    server = Server(good, ssl.TLSVersion.TLSv1_3)
    server.context.set_ecdh_curve("secp384r1")
    server.tls = server.context.wrap_bio(server.to_server, server.to_client, server_side=True)
    shake_hands(client, server)
    assert client.connected


def test_handshake_plaintext_after_keys_is_refused(authority: Authority, good: Path) -> None:
    client = TlsClient("exchange.test", ca_file=authority.certificate)
    server_hello = records(Server(good, ssl.TLSVersion.TLSv1_3).shake(client.output()))[0]
    with pytest.raises(RemoteError):
        client.input(server_hello + bytes([HANDSHAKE, 3, 3, 0, 4, 8, 0, 0, 0]))
    assert not client.connected


def test_handshake_flipped_finished_is_refused(authority: Authority, good: Path) -> None:
    client = TlsClient("exchange.test", ca_file=authority.certificate)
    flight = bytearray(Server(good, ssl.TLSVersion.TLSv1_3).shake(client.output()))
    flight[-1] ^= 1
    with pytest.raises(RemoteError):
        client.input(bytes(flight))
    assert not client.connected


def test_handshake_old_version_is_refused_with_alert(authority: Authority) -> None:
    client = TlsClient("exchange.test", ca_file=authority.certificate)
    client.output()
    # A ServerHello of TLS 1.1 (RFC 4346 7.4.1.3) with an all-zero random.
    body = bytes([3, 2]) + bytes(32) + bytes([0, 0xC0, 0x09, 0])
    hello = bytes([2, 0, 0, len(body)]) + body
    with pytest.raises(RemoteError, match="unsupported protocol"):
        client.input(bytes([HANDSHAKE, 3, 2, 0, len(hello)]) + hello)
    assert alert_of(client) == PROTOCOL_VERSION


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x00" * 64,
        b"\x16\x03\x03\xff\xff" + b"x" * 64,
        b"\x17\x03\x03\x00\x20" + b"x" * 32,
    ],
    ids=["http", "zeros", "oversized", "application-data"],
)
def test_handshake_reply_that_is_not_tls_is_refused(authority: Authority, reply: bytes) -> None:
    client = TlsClient("exchange.test", ca_file=authority.certificate)
    client.output()
    with pytest.raises(RemoteError, match="handshake"):
        client.input(reply)
    assert not client.connected


def test_handshake_alert_of_the_server_is_named(authority: Authority) -> None:
    client = TlsClient("exchange.test", ca_file=authority.certificate)
    client.output()
    with pytest.raises(RemoteError, match=r"alert_received: .*handshake failure.*40"):
        client.input(bytes([ALERT, 3, 3, 0, 2, 2, 40]))


def test_handshake_end_of_transport_is_truncation(authority: Authority) -> None:
    client = TlsClient("exchange.test", ca_file=authority.certificate)
    client.output()
    with pytest.raises(RemoteError, match=r"truncated: .*exchange\.test.*closed"):
        client.end_of_input()


def test_handshake_endless_change_cipher_specs_are_a_flood(
    authority: Authority, good: Path
) -> None:
    client = TlsClient("exchange.test", ca_file=authority.certificate)
    server_hello = records(Server(good, ssl.TLSVersion.TLSv1_3).shake(client.output()))[0]
    client.input(server_hello)
    with pytest.raises(RemoteError):
        client.input(bytes([20, 3, 3, 0, 1, 1]) * 200_000)
    assert not client.connected


class Gcm:
    """AES-128-GCM by libcrypto: what a server that cuts its Finished in pieces would do."""

    def __init__(self, key: bytes, salt: bytes) -> None:
        self._key, self._salt = key, salt
        self._crypto = ctypes.CDLL(ctypes.util.find_library("crypto"))
        for name in ("EVP_CIPHER_CTX_new", "EVP_aes_128_gcm"):
            getattr(self._crypto, name).restype = ctypes.c_void_p

    def _run(self, nonce: bytes, aad: bytes, data: bytes) -> tuple[bytes, bytes]:
        """Return data enciphered and its tag: GCM deciphers by the same stream."""
        crypto = self._crypto
        context = ctypes.c_void_p(crypto.EVP_CIPHER_CTX_new())
        cipher = ctypes.c_void_p(crypto.EVP_aes_128_gcm())
        out, size = ctypes.create_string_buffer(len(data) + 16), ctypes.c_int()
        tag = ctypes.create_string_buffer(16)
        assert crypto.EVP_EncryptInit_ex(context, cipher, None, self._key, nonce) == 1
        assert crypto.EVP_EncryptUpdate(context, None, ctypes.byref(size), aad, len(aad)) == 1
        assert crypto.EVP_EncryptUpdate(context, out, ctypes.byref(size), data, len(data)) == 1
        assert crypto.EVP_EncryptFinal_ex(context, out, ctypes.byref(size)) == 1
        assert crypto.EVP_CIPHER_CTX_ctrl(context, 0x10, 16, tag) == 1  # EVP_CTRL_AEAD_GET_TAG
        crypto.EVP_CIPHER_CTX_free(context)
        return out.raw[: len(data)], tag.raw

    def seal(self, number: int, kind: int, plain: bytes) -> bytes:
        """Return a whole TLS 1.2 record (RFC 5246 6.2.3.3, RFC 5288 3)."""
        explicit = number.to_bytes(8, "big")
        aad = explicit + bytes([kind, 3, 3]) + len(plain).to_bytes(2, "big")
        coded, tag = self._run(self._salt + explicit, aad, plain)
        body = explicit + coded + tag
        return bytes([kind, 3, 3]) + len(body).to_bytes(2, "big") + body

    def open(self, record: bytes) -> bytes:
        """Return what a record has, its tag unchecked."""
        return self._run(self._salt + record[5:13], b"", record[13:-16])[0]


def prf(secret: bytes, label: bytes, seed: bytes, size: int) -> bytes:
    """RFC 5246 5, with SHA-256."""
    seed, made = label + seed, b""
    a = seed
    while len(made) < size:
        a = hmac.digest(secret, a, "sha256")
        made += hmac.digest(secret, a + seed, "sha256")
    return made[:size]


class CuttingServer:
    """A TLS 1.2 server whose Finished comes as the test seals it."""

    def __init__(self, authority: Authority, certificate: Path, keys: Path) -> None:
        self.server = Server(certificate, ssl.TLSVersion.TLSv1_2)
        self.server.context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
        self.server.context.keylog_filename = str(keys)
        self.server.tls = self.server.context.wrap_bio(
            self.server.to_server, self.server.to_client, server_side=True
        )
        self.client = TlsClient("exchange.test", ca_file=authority.certificate)
        hello = self.client.output()
        flight = self.server.shake(hello)
        self.client.input(flight)
        self.change, finished = records(self.server.shake(self.client.output()))
        assert (self.change[0], finished[0]) == (20, HANDSHAKE)
        _, client_random, master = keys.read_text().split()[-3:]
        assert bytes.fromhex(client_random) == hello[11:43]
        block = prf(bytes.fromhex(master), b"key expansion", flight[11:43] + hello[11:43], 40)
        self.of_client, self.of_server = (
            Gcm(block[16 * one : 16 * one + 16], block[32 + 4 * one : 36 + 4 * one])
            for one in (0, 1)
        )
        self.finished = self.of_server.open(finished)
        assert self.finished[:4] == bytes([20, 0, 0, 12])  # twelve bytes


@pytest.mark.parametrize("pieces", [[16], [4, 12], [1, 5, 10], [1] * 16])
def test_handshake_finished_of_tls12_in_several_records_is_followed_by_data(
    authority: Authority, good: Path, tmp_path: Path, pieces: list[int]
) -> None:
    """Each of them takes a sequence number: the records behind it go on from there."""
    one = CuttingServer(authority, good, tmp_path / "keys")
    sealed, at = one.change, 0
    for number, size in enumerate(pieces):
        sealed += one.of_server.seal(number, HANDSHAKE, one.finished[at : at + size])
        at += size
    one.client.input(sealed)
    assert one.client.connected
    one.server.tls.write(b"book")
    (data,) = records(one.server.to_client.read())
    again = one.of_server.seal(len(pieces), data[0], one.of_server.open(data))
    assert one.client.input(again) == b"book"


def test_handshake_bytes_behind_finished_in_its_record_are_refused_with_an_alert(
    authority: Authority, good: Path, tmp_path: Path
) -> None:
    one = CuttingServer(authority, good, tmp_path / "keys")
    sealed = one.of_server.seal(0, HANDSHAKE, one.finished + bytes([4, 0, 0, 6]) + bytes(6))
    with pytest.raises(RemoteError, match="followed the server's Finished within its record"):
        one.client.input(one.change + sealed)
    (alert,) = records(one.client.output())
    assert alert[0] == ALERT
    assert one.of_client.open(alert) == bytes([2, UNEXPECTED_MESSAGE])


def test_handshake_name_in_the_subject_alone_is_refused(authority: Authority) -> None:
    """RFC 9525 2: an identity stands in subjectAltName."""
    for name, extra in (("exchange.test", "IP:192.0.2.7"), ("cn-only.test", "email:a@b.test")):
        certificate = authority.issue(name, extra)
        client = TlsClient(name, ca_file=authority.certificate)
        with pytest.raises(RemoteError, match=r"ostname mismatch.*subjectAltName"):
            shake_hands(client, Server(certificate))


def test_handshake_intermediate_is_a_trust_anchor(authority: Authority, tmp_path: Path) -> None:
    """Who is named as trusted is trusted, though the root is not there."""
    inner = Authority(tmp_path)
    request, made = tmp_path / "inner.csr", inner.certificate
    openssl(
        *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
        *("-subj", "/CN=inner", "-keyout", str(tmp_path / "authority.key"), "-out", str(request)),
    )
    (tmp_path / "inner.ext").write_text("basicConstraints=critical,CA:TRUE\n")
    openssl(
        *("x509", "-req", "-in", str(request), "-CA", str(authority.certificate)),
        *("-CAkey", str(authority.folder / "authority.key"), "-days", "2"),
        *("-extfile", str(tmp_path / "inner.ext"), "-out", str(made)),
    )
    server = Server(inner.issue("leaf", "DNS:exchange.test"))
    client = TlsClient("exchange.test", ca_file=made)
    shake_hands(client, server)
    assert client.connected


@pytest.mark.parametrize(
    ("number", "name"), [(40, "handshake failure"), (116, "certificate required"), (86, "inapp")]
)
def test_handshake_alert_has_a_name(authority: Authority, number: int, name: str) -> None:
    client = TlsClient("exchange.test", ca_file=authority.certificate)
    client.output()
    with pytest.raises(RemoteError, match=rf"{name}.*{number}"):
        client.input(bytes([ALERT, 3, 3, 0, 2, 2, number]))
