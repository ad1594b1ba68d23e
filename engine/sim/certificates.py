"""A throw-away CA and a server certificate from it, by the `openssl` command.

For tests and the demo: good, expired, or with somebody else's name. Called by: command.py, tests,
the demo. Takes a few tens of milliseconds.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tickpath.shm.errors import SystemSetupError

if TYPE_CHECKING:
    from collections.abc import Sequence

WRONG_NAME: Final = "somebody-else.example"
_LONG_AGO: Final = ("20200101000000Z", "20200201000000Z")
_LONG: Final = ("20200101000000Z", "20491231235959Z")
_CONFIG: Final = """
[ca]
default_ca = authority
[authority]
new_certs_dir = {folder}
database = {folder}/index.txt
serial = {folder}/serial.txt
certificate = {folder}/ca.pem
private_key = {folder}/ca.key
default_md = sha256
policy = anything
unique_subject = no
[anything]
commonName = supplied
[req]
distinguished_name = name
[name]
[authority_extensions]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server_extensions]
basicConstraints = CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = {names}
"""


@dataclass(frozen=True, slots=True)
class Certificates:
    """Paths of what make_ca wrote."""

    ca: Path
    certificate: Path
    key: Path


def _openssl(*words: str | Path) -> None:
    try:
        subprocess.run(["openssl", *words], check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise SystemSetupError(
            "the openssl command is not installed; run: apt-get install openssl"
        ) from error
    except subprocess.CalledProcessError as error:
        raise SystemSetupError(
            f"openssl {words[0]} failed: {error.stderr.strip()}; "
            "expected OpenSSL 3 and a folder that can be written"
        ) from error


def _key(path: Path) -> None:
    _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", path)
    os.chmod(path, 0o600)  # noqa: PTH101 - Path.chmod would follow a link


def make_ca(
    folder: Path | str,
    names: Sequence[str] = ("localhost",),
    ips: Sequence[str] = ("127.0.0.1",),
    *,
    expired: bool = False,
    wrong_name: bool = False,
) -> Certificates:
    """Write ca.pem, server.pem and server.key into the folder, made if absent; return the paths.

    expired: the server's certificate ended in 2020. wrong_name: it is for another host. Raises
    SystemSetupError where openssl is missing or fails.
    """
    folder = Path(folder).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    subjects = [f"DNS:{WRONG_NAME}"] if wrong_name else []
    subjects = subjects or [f"DNS:{name}" for name in names] + [f"IP:{ip}" for ip in ips]
    config = folder / "openssl.cnf"
    config.write_text(_CONFIG.format(folder=folder, names=", ".join(subjects)))
    (folder / "index.txt").write_text("")
    (folder / "serial.txt").write_text("1000\n")
    made = Certificates(folder / "ca.pem", folder / "server.pem", folder / "server.key")
    _key(folder / "ca.key")
    _openssl(
        *("req", "-x509", "-new", "-key", folder / "ca.key", "-out", made.ca, "-days", "3650"),
        *("-subj", "/CN=tickpath simulator CA", "-config", config),
        *("-extensions", "authority_extensions"),
    )
    _key(made.key)
    request = folder / "server.csr"
    _openssl(
        *("req", "-new", "-key", made.key, "-out", request, "-config", config),
        *("-subj", f"/CN={WRONG_NAME if wrong_name else [*names, *ips][0]}"),
    )
    start, end = _LONG_AGO if expired else _LONG
    _openssl(
        *("ca", "-batch", "-notext", "-config", config, "-in", request, "-out", made.certificate),
        *("-extensions", "server_extensions", "-startdate", start, "-enddate", end),
    )
    return made
