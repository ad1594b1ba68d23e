"""Trouble around the feed handler: certificates, interfaces, namespaces, ports, configurations.

Each is said in one clear line; what can heal is healed, the rest ends with the right status.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING

import pytest
from pyroute2 import NetNS
from tickpath.engine.sim.certificates import Certificates, make_ca
from tickpath.engine.supervisor.sandbox import EXCHANGE_ADDRESS, FEED_HANDLER_ADDRESS, INTERFACE
from tickpath.proto.records import BookState, SyncReason

from tests.netns.rig import (
    LIVE,
    PATIENCE_S,
    PORT,
    SERVER_NAME,
    TICKPATH,
    Exchange,
    Program,
    Settings,
    Supervised,
    VethPair,
    entered,
    start,
    until,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tickpath.engine.supervisor.sandbox import Namespace

pytestmark = pytest.mark.needs("root", "netns", "af_xdp")

SYMBOLS = ("BTCUSDT",)
DOWN = (BookState.STALE, SyncReason.DISCONNECTED)


@pytest.fixture
def pair() -> Iterator[VethPair]:
    with VethPair.open() as opened:
        yield opened


@pytest.fixture
def run(pair: VethPair, tmp_path: Path) -> Iterator[Supervised]:
    Exchange(pair, tmp_path, "--instruments", ",".join(SYMBOLS))
    supervised = Supervised(pair, tmp_path, Settings(symbols=SYMBOLS))
    yield supervised
    supervised.end()


def set_link(namespace: Namespace, state: str) -> None:
    with NetNS(namespace.path, flags=0) as netlink:
        index = netlink.link_lookup(ifname=INTERFACE)[0]
        netlink.link("set", index=index, state=state)


# ---- certificates --------------------------------------------------------------------------------


@contextlib.contextmanager
def impostor(pair: VethPair, keys: Certificates) -> Iterator[list[str]]:
    """Listen in the exchange's place, and collect what clients say of the certificate."""
    said: list[str] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(keys.certificate, keys.key)
    with entered(pair.exchange):
        listener = socket.create_server((EXCHANGE_ADDRESS, PORT))

    def serve() -> None:
        with contextlib.suppress(OSError):  # the end: the listener is shut down
            while True:
                plain, _ = listener.accept()
                plain.settimeout(PATIENCE_S)
                try:
                    context.wrap_socket(plain, server_side=True).close()
                    said.append("accepted")
                except ssl.SSLError as error:
                    said.append(str(error.reason))
                except OSError as error:
                    said.append(repr(error))
                    plain.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield said
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def delays(program: Program) -> list[float]:
    """Return the pauses before further tries that a feed handler announced."""
    return [float(text) for text in re.findall(r"trying again in ([0-9.]+) s", program.text)]


@pytest.mark.parametrize(
    ("options", "cause", "alert"),
    [
        ({"expired": True}, "certificate has expired", "SSLV3_ALERT_CERTIFICATE_EXPIRED"),
        ({"wrong_name": True}, "hostname mismatch", "SSLV3_ALERT_BAD_CERTIFICATE"),
    ],
)
def test_wrong_certificate_ends_by_its_alert_is_named_and_tried_again_patiently(
    pair: VethPair, tmp_path: Path, options: dict[str, bool], cause: str, alert: str
) -> None:
    """The feed handler starts well; then something else answers in the exchange's place."""
    good = make_ca(tmp_path / "good", [SERVER_NAME], [EXCHANGE_ADDRESS])
    bad = make_ca(tmp_path / "bad", [SERVER_NAME], [EXCHANGE_ADDRESS], **options)
    trusted = tmp_path / "trusted.pem"
    trusted.write_text(good.ca.read_text() + bad.ca.read_text())
    words = ["--instruments", ",".join(SYMBOLS), "--cert", str(good.certificate)]
    exchange = Exchange(pair, tmp_path, *words, "--key", str(good.key))
    settings = Settings(symbols=SYMBOLS, max_s=0.8, venue=f'ca_file = "{trusted}"')
    run = Supervised(pair, tmp_path, settings)
    try:
        watcher = run.watch()
        watcher.wait_state(LIVE)
        exchange.end()
        watcher.wait_change(0, DOWN)
        with impostor(pair, bad) as said:
            until("four refusals", lambda: len(said) >= 4)
            until("the pauses", lambda: len(delays(run.program)) >= 4)
        assert set(said) == {alert}
        assert cause in run.program.text
        assert watcher.states() == [DOWN]
        run.wait_counter("hot.connect_failures", 4)
        waits = delays(run.program)
        assert max(waits) <= 0.8
        assert len(set(waits[-4:])) > 1, f"no jitter in {waits}"
        Exchange(pair, tmp_path, *words, "--key", str(good.key))
        watcher.wait_state(LIVE)
        watcher.reader.close()
    finally:
        run.end()


# ---- interfaces and namespaces -------------------------------------------------------------------


def test_interface_down_is_said_and_healed_when_it_is_up(pair: VethPair, run: Supervised) -> None:
    watcher = run.watch()
    watcher.wait_state(LIVE)
    set_link(pair.feed_handler, "down")
    run.program.wait_for(f"on {INTERFACE} queue 0: Network is down")
    watcher.wait_change(0, DOWN)
    run.program.wait_for("restarting in")
    time.sleep(0.5)
    assert run.program.process.poll() is None
    set_link(pair.feed_handler, "up")
    watcher.wait_state(LIVE)


def test_lost_carrier_makes_books_stale_at_once_and_is_healed_when_it_is_back(
    pair: VethPair, run: Supervised
) -> None:
    """The interface stays up and the peer is cut off: nobody but the link says so."""
    watcher = run.watch()
    watcher.wait_state(LIVE)
    before = time.monotonic()
    set_link(pair.exchange, "down")
    watcher.wait_change(0, DOWN)
    assert time.monotonic() - before < Settings(symbols=SYMBOLS).silent_after_ms / 4000
    run.program.wait_for(f"interface {INTERFACE} has no carrier")
    time.sleep(0.7)
    assert "trying again in" not in run.program.text, "it tried on without a link"
    set_link(pair.exchange, "up")
    watcher.wait_state(LIVE)
    assert run.program.process.poll() is None
    assert "restarting in" not in run.program.text


def test_interface_deleted_is_said_and_healed_when_it_is_back(
    pair: VethPair, run: Supervised
) -> None:
    watcher = run.watch()
    watcher.wait_state(LIVE)
    with NetNS(pair.feed_handler.path, flags=0) as netlink:
        netlink.link("del", index=netlink.link_lookup(ifname=INTERFACE)[0])
    run.program.wait_for("No such device")
    watcher.wait_change(0, DOWN)
    run.program.wait_for("restarting in")
    time.sleep(0.5)
    assert run.program.process.poll() is None
    pair._connect()  # the same two ends anew; the simulator's socket is bound to the address
    watcher.wait_state(LIVE)


def test_exchange_namespace_deleted_is_said_and_ends_cleanly(
    pair: VethPair, run: Supervised
) -> None:
    watcher = run.watch()
    watcher.wait_state(LIVE)
    for child in pair.children:
        if "sim" in child.args:  # type: ignore[operator] # a list of words
            child.kill()
    pair.exchange.holder.kill()
    os.close(pair.exchange.fd)
    pair.exchange.fd = os.open("/dev/null", os.O_RDONLY)
    run.program.wait_for("No such device")
    watcher.wait_change(0, DOWN)
    run.program.wait_for("restarting in")
    assert run.program.end() == 0
    assert run.files() == []
    assert "Traceback" not in run.program.text


def test_port_of_the_range_in_use_by_the_kernel_is_refused(pair: VethPair, tmp_path: Path) -> None:
    Exchange(pair, tmp_path, "--instruments", "1")
    with entered(pair.feed_handler):
        taken = socket.create_server((FEED_HANDLER_ADDRESS, 61007))
    run = Supervised(pair, tmp_path, Settings(symbols=SYMBOLS))
    try:
        assert run.program.process.wait(PATIENCE_S) == 3
        assert "kernel sockets use 61007 of the local ports 61000-61999" in run.program.text
        assert run.files() == []
    finally:
        taken.close()
        run.end()


def test_second_feed_handler_of_one_instance_is_refused(
    run: Supervised, pair: VethPair, tmp_path: Path
) -> None:
    watcher = run.watch()
    watcher.wait_state(LIVE)
    text = run.config.read_text().replace("[network]", "[network]\nport_range = [62000, 62099]")
    config = tmp_path / "second.toml"
    config.write_text(text)
    second = start(
        pair, pair.feed_handler, tmp_path / "second.log", [*TICKPATH, "run", str(config)]
    )
    assert second.process.wait(PATIENCE_S) == 3
    assert "writes it: stop that one, or give this one another `instance`" in second.text
    assert watcher.states() == [LIVE]


def test_exchange_not_there_yet_is_waited_for(pair: VethPair, tmp_path: Path) -> None:
    make_ca(tmp_path, [SERVER_NAME], [EXCHANGE_ADDRESS])
    run = Supervised(pair, tmp_path, Settings(symbols=SYMBOLS))
    try:
        run.program.wait_for("Connection refused")
        run.program.wait_for("restarting in")
        keys = ["--cert", str(tmp_path / "server.pem"), "--key", str(tmp_path / "server.key")]
        Exchange(pair, tmp_path, "--instruments", ",".join(SYMBOLS), *keys)
        watcher = run.watch()
        watcher.wait_state(LIVE)
        assert "Traceback" not in run.program.text
    finally:
        run.end()


# ---- the command line ----------------------------------------------------------------------------

GOOD = """\
instance = "e2e-config"
[network]
interface = "tp0"
[[venue]]
symbols = ["BTCUSDT"]
"""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            ("instance", "instanse"),
            "instanse is 'e2e-config' (a string), expected no such key: did",
        ),
        (('"e2e-config"', "7"), "instance is 7 (an integer), expected a string"),
        (('"tp0"', '"eth9"'), "network.interface is 'eth9' (a string), expected one of lo, tp0"),
        (('["BTCUSDT"]', "[]"), "symbols is [] (an array), expected at least one symbol"),
        (
            ("[network]", "[feed_handler]\ncpu = 4000\n[network]"),
            "feed_handler.cpu is 4000 (an integer), exp",
        ),
        (("[network]", "[shm]\nring_capacity = 5000\n[network]"), "expected a power of two"),
        (('["BTCUSDT"]', '["BTCUSDT"]\nca_file = "/none.pem"'), "a readable file of PEM certific"),
        (('["BTCUSDT"]', '["BTCUSDT"]\nca_file = "/dev/null"'), "venue[0].ca_file is '/dev/null'"),
        (("[[venue]]", "[[venue"), "not TOML"),
    ],
)
def test_run_with_a_wrong_configuration_says_one_line_and_touches_nothing(
    pair: VethPair, tmp_path: Path, change: tuple[str, str], said: str
) -> None:
    assert change[0] in GOOD
    config = tmp_path / "config.toml"
    config.write_text(GOOD.replace(*change))
    program = start(pair, pair.feed_handler, tmp_path / "log", [*TICKPATH, "run", str(config)])
    assert program.process.wait(PATIENCE_S) == 2
    assert said in program.text
    assert program.text.count("\n") == 1, program.text


def test_run_without_a_file_says_so(pair: VethPair, tmp_path: Path) -> None:
    program = start(pair, pair.feed_handler, tmp_path / "log", [*TICKPATH, "run", "/nowhere.toml"])
    assert program.process.wait(PATIENCE_S) == 2
    assert "configuration /nowhere.toml: No such file" in program.text
