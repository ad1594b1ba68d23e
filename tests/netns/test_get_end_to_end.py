"""`tickpath get` over AF_XDP against nginx on the kernel's sockets, through a link that harms frames."""

from __future__ import annotations

import hashlib
import json
import random
import signal
import socket
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from tickpath.engine.sandbox import EXCHANGE_ADDRESS, INTERFACE, READER_ADDRESS
from tickpath.engine.sim.certificates import make_ca

from tests.netns.rig import PATIENCE_S, SERVER_NAME, TICKPATH, VethPair, entered, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.needs("root", "netns", "af_xdp", "nginx")

SIZE = 64 << 20
SMALL = 3 << 20
HTTP, HTTPS, HTTPS_EXPIRED = 8080, 8443, 9443
CONFIG = """\
user root;
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/error.log warn;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  root {directory}/www;
  server {{
    listen {address}:{http};
    listen {address}:{https} ssl;
    server_name {name};
    ssl_certificate {directory}/good/server.pem;
    ssl_certificate_key {directory}/good/server.key;
    location /moved {{ return 302 /small; }}
    location /none {{ return 204; }}
    location /reset {{ return 444; }}
  }}
  server {{
    listen {address}:{expired} ssl;
    ssl_certificate {directory}/expired/server.pem;
    ssl_certificate_key {directory}/expired/server.key;
  }}
}}
"""


@dataclass(slots=True)
class Site:
    """nginx in the exchange's namespace, and what it serves."""

    pair: VethPair
    directory: Path
    digests: dict[str, str]

    def get(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `tickpath get` in the reader's namespace."""
        command = [*TICKPATH, "get", *words]
        child = self.pair.spawn(
            self.pair.reader, command, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        out, err = child.communicate(timeout=6 * PATIENCE_S)
        return subprocess.CompletedProcess(command, child.returncode, out, err)

    def fetch(self, url: str, *words: str) -> dict[str, Any]:
        """Get a file, hold it against what nginx has, and return the report."""
        output = self.directory / "output"
        options = ["--cacert", str(self.directory / "good" / "ca.pem"), "--backend", "af_xdp"]
        options += ["--resolve", f"{SERVER_NAME}:{HTTPS}:{EXCHANGE_ADDRESS}", "--json"]
        options += ["--resolve", f"{SERVER_NAME}:{HTTP}:{EXCHANGE_ADDRESS}", "-o", str(output)]
        done = self.get(*options, *words, url)
        assert done.returncode == 0, done.stderr
        report: dict[str, Any] = json.loads(done.stdout)
        with output.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        assert digest == self.digests[url.rpartition("/")[2]], report
        output.unlink()
        return report


def offload(pair: VethPair, *words: str) -> None:
    for namespace in (pair.exchange, pair.reader):
        child = pair.spawn(namespace, ["ethtool", "-K", INTERFACE, *words])
        assert child.wait(PATIENCE_S) == 0


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("site")
    (directory / "www").mkdir()
    made = random.Random(2)
    digests = {}
    for name, size in (("large", SIZE), ("small", SMALL), ("empty", 0)):
        data = made.randbytes(size)
        (directory / "www" / name).write_bytes(data)
        digests[name] = hashlib.sha256(data).hexdigest()
    make_ca(directory / "good", [SERVER_NAME], [EXCHANGE_ADDRESS])
    make_ca(directory / "expired", [SERVER_NAME], [EXCHANGE_ADDRESS], expired=True)
    config = directory / "nginx.conf"
    ports = {"http": HTTP, "https": HTTPS, "expired": HTTPS_EXPIRED}
    config.write_text(
        CONFIG.format(directory=directory, address=EXCHANGE_ADDRESS, name=SERVER_NAME, **ports)
    )
    with VethPair.open() as pair:
        # What a wire carries: whole checksums, segments of the MTU.
        offload(pair, "tx", "off", "tso", "off", "gso", "off", "gro", "off")
        command = ["/usr/sbin/nginx", "-p", str(directory), "-c", str(config)]
        nginx = pair.spawn(pair.exchange, command, stderr=subprocess.DEVNULL)

        def listens() -> bool:
            with entered(pair.exchange), socket.socket() as probe:
                return probe.connect_ex((EXCHANGE_ADDRESS, HTTPS_EXPIRED)) == 0

        until("nginx", listens)
        yield Site(pair, directory, digests)
        nginx.send_signal(signal.SIGTERM)
        nginx.wait(PATIENCE_S)


SCHEMES = [f"http://{SERVER_NAME}:{HTTP}", f"https://{SERVER_NAME}:{HTTPS}"]
PLAIN, TLS = SCHEMES


@pytest.mark.parametrize("scheme", SCHEMES)
def test_get_large_file_arrives_whole(site: Site, scheme: str) -> None:
    report = site.fetch(f"{scheme}/large")
    assert report["path"].startswith("AF_XDP")
    assert report["bytes"] == SIZE
    print(f"{scheme}: {SIZE / 1000 / report['total_ms']:.0f} MB/s")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_get_large_file_through_loss_reordering_and_duplicates_arrives_whole(
    site: Site, scheme: str
) -> None:
    seed = random.SystemRandom().randrange(1 << 30)
    print(f"seed {seed}")
    report = site.fetch(
        f"{scheme}/large", "--faults", f"loss=1%,reorder=1%,duplicate=1%,seed={seed}"
    )
    print(f"{scheme}: {SIZE / 1000 / report['total_ms']:.0f} MB/s with faults")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_get_through_damaged_frames_arrives_whole(site: Site, scheme: str) -> None:
    site.fetch(f"{scheme}/small", "--faults", "corrupt=2%,loss=1%,reorder=5%,delay_ms=1,seed=5")
