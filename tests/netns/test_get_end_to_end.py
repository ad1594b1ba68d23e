"""`tickpath get` over AF_XDP against nginx on the kernel's sockets, also through faults."""

from __future__ import annotations

import hashlib
import json
import random
import signal
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tickpath.engine.sim.certificates import make_ca
from tickpath.engine.supervisor.sandbox import EXCHANGE_ADDRESS, INTERFACE

from tests.netns.rig import PATIENCE_S, SERVER_NAME, TICKPATH, VethPair, entered, until

if TYPE_CHECKING:
    from collections.abc import Iterator

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
        """Run `tickpath get` in the feed handler's namespace."""
        command = [*TICKPATH, "get", *words]
        child = self.pair.spawn(
            self.pair.feed_handler, command, stdout=subprocess.PIPE, stderr=subprocess.PIPE
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
    for namespace in (pair.exchange, pair.feed_handler):
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


def test_get_over_af_xdp_goes_to_the_second_address_when_the_first_is_dead(site: Site) -> None:
    dead = "198.51.100.1"  # routed by the exchange's namespace, which forwards nothing
    words = ["ip", "route", "replace", f"{dead}/32", "via", EXCHANGE_ADDRESS]
    assert site.pair.spawn(site.pair.feed_handler, words).wait(PATIENCE_S) == 0
    resolve = []
    for address in (dead, EXCHANGE_ADDRESS):
        resolve += ["--resolve", f"two.test:{HTTP}:{address}"]
    done = site.get("--json", "--backend", "af_xdp", *resolve, f"http://two.test:{HTTP}/none")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stderr)
    assert report["path"].startswith("AF_XDP")
    assert [one["address"] for one in report["tried"]] == [dead, EXCHANGE_ADDRESS]
    assert [one["connect_ms"] is None for one in report["tried"]] == [True, False]
    assert report["address"] == EXCHANGE_ADDRESS
    assert report["total_ms"] < 5_000  # the time-out of a connection is 10 s


def test_get_that_times_out_names_the_counters_that_moved(site: Site) -> None:
    """Silence where a counter moved is no diagnosis."""
    words = ["--backend", "af_xdp", "--timeout", "2", "--faults", "corrupt=100%"]
    resolve = ["--resolve", f"{SERVER_NAME}:{HTTP}:{EXCHANGE_ADDRESS}"]
    done = site.get(*words, *resolve, f"{PLAIN}/small")
    assert done.returncode == 1
    assert "no TCP connection within 2000 ms (meanwhile: " in done.stderr
    assert "retransmits" in done.stderr


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
    frames = SIZE // 1500
    for name in ("lost", "reordered", "duplicated"):
        assert report["faults"][name] > frames // 200, report["faults"]
    assert report["faults"]["overflowed"] == 0


@pytest.mark.parametrize("scheme", SCHEMES)
def test_get_through_damaged_frames_arrives_whole(site: Site, scheme: str) -> None:
    spec = "corrupt=2%,loss=1%,reorder=5%,delay_ms=1,seed=5"
    report = site.fetch(f"{scheme}/small", "--faults", spec)
    assert report["faults"]["corrupted"] > 20


def test_get_of_unsegmented_frames_arrives_whole(site: Site) -> None:
    """A veth without `ethtool -K tso off` hands over up to 64 KiB at once, sums not filled in."""
    words = ("tx", "tso", "gso")
    offload(site.pair, *(word for name in words for word in (name, "on")))
    try:
        report = site.fetch(f"{TLS}/large")
        print(f"unsegmented: {SIZE / 1000 / report['total_ms']:.0f} MB/s")
        site.fetch(f"{TLS}/large", "--faults", "loss=1%,reorder=1%,duplicate=1%,seed=3")
    finally:
        offload(site.pair, *(word for name in words for word in (name, "off")))


def test_get_of_nothing_is_no_failure(site: Site) -> None:
    assert site.fetch(f"{PLAIN}/empty")["bytes"] == 0


# ---- what may be wrong: one line, and the status says whose fault it is --------------------------

ADDRESS = EXCHANGE_ADDRESS
REMOTE, LOCAL, SYSTEM = 1, 2, 3


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ((f"http://{ADDRESS}:81/",), REMOTE, "connect: connection refused"),
        ((f"https://{ADDRESS}:{HTTP}/small",), REMOTE, "tls: "),
        ((f"http://{ADDRESS}:{HTTP}/absent",), REMOTE, "status 404"),
        ((f"http://{ADDRESS}:{HTTP}/moved",), REMOTE, "redirects are not followed"),
        ((f"http://{ADDRESS}:{HTTP}/reset",), REMOTE, "before"),
        ((f"https://{ADDRESS}:{HTTPS}/small",), REMOTE, "unable to get local issuer"),
        ((f"https://{ADDRESS}:{HTTPS_EXPIRED}/", "--cacert", "EXPIRED"), REMOTE, "has expired"),
        ((f"https://wrong.test:{HTTPS}/", "--cacert", "GOOD"), REMOTE, "hostname mismatch"),
        (("http://192.0.2.1/",), SYSTEM, "no route to 192.0.2.1"),
        (("http://198.18.0.3/",), SYSTEM, "198.18.0.3"),
        (("http://[::1]:8080/",), LOCAL, "IPv6 is not supported"),
        (("http://name.invalid/",), REMOTE, "cannot resolve 'name.invalid'"),
        ((f"http://{ADDRESS}:{HTTP}/", "--interface", "eth9"), LOCAL, "'eth9' does not exist"),
        ((f"http://{ADDRESS}:{HTTP}/", "--interface", "lo"), LOCAL, "leaves by tp0, expected lo"),
        (("http://127.0.0.1:1/",), LOCAL, "is this host itself"),
        (("ftp://example.com/",), LOCAL, "expected http:// or https://"),
        (("http://example.com:99999/",), LOCAL, "out of range"),
        (("http:///path",), LOCAL, "expected http://HOST"),
        ((f"http://{ADDRESS}/", "--cacert", "/none.pem"), LOCAL, "--cacert /none.pem: no such"),
        ((f"http://{ADDRESS}/", "--faults", "lose=1"), LOCAL, "'lose=1', expected each of loss"),
        ((f"http://{ADDRESS}/", "--faults", "loss=101"), LOCAL, "expected a number from 0 to 100"),
        ((f"http://{ADDRESS}:{HTTP}/small", "-o", "/none/file"), LOCAL, "--output /none/file"),
    ],
)
def test_get_of_something_wrong_says_one_line_and_whose_fault(
    site: Site, words: tuple[str, ...], status: int, said: str
) -> None:
    known = {"GOOD": "good", "EXPIRED": "expired"}
    spelled = [
        str(site.directory / known[word] / "ca.pem") if word in known else word for word in words
    ]
    names = ["--resolve", f"wrong.test:{HTTPS}:{ADDRESS}", "--backend", "af_xdp"]
    done = site.get(*names, "--timeout", "5", *spelled)
    lines = [line for line in done.stderr.splitlines() if line.startswith("tickpath")]
    assert said in done.stderr, done.stderr
    assert done.returncode == status, done.stderr
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr


def test_get_by_the_kernel_keeps_to_its_interface(site: Site) -> None:
    url = f"http://{EXCHANGE_ADDRESS}:{HTTP}/small"
    well = site.get("--backend", "kernel", "--interface", INTERFACE, url, "-o", "/dev/null")
    assert well.returncode == 0, well.stderr
    wrong = site.get("--backend", "kernel", "--interface", "eth9", url)
    assert wrong.returncode == LOCAL
    assert "interface 'eth9' does not exist here" in wrong.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_get_ended_by_a_signal_gives_the_ports_back(site: Site, number: signal.Signals) -> None:
    pair = site.pair
    setting = Path("/proc/sys/net/ipv4/ip_local_reserved_ports")
    with entered(pair.exchange):
        listener = socket.create_server((EXCHANGE_ADDRESS, 8181))
    with listener, entered(pair.feed_handler):
        before = setting.read_text()
        command = [*TICKPATH, "get", "--backend", "af_xdp", f"http://{EXCHANGE_ADDRESS}:8181/"]
        child = pair.spawn(pair.feed_handler, command, stderr=subprocess.PIPE)
        connection, _ = listener.accept()
        with connection:
            assert connection.recv(65536)
            assert "61000-61999" in setting.read_text()
            child.send_signal(number)
            _, err = child.communicate(timeout=6 * PATIENCE_S)
        expected = -signal.SIGTERM if number == signal.SIGTERM else 130
        assert (child.returncode, err) == (expected, "")
        assert setting.read_text() == before


@pytest.mark.parametrize("backend", ["auto", "af_xdp"])
def test_get_route_by_another_interface_is_refused_though_the_kernel_could(
    site: Site, backend: str
) -> None:
    done = site.get(
        "--interface", "lo", "--backend", backend, f"http://{EXCHANGE_ADDRESS}:{HTTP}/empty"
    )
    assert (done.returncode, done.stdout) == (LOCAL, "")
    assert f"leaves by {INTERFACE}, expected lo" in done.stderr
