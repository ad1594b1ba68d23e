"""What `tickpath run` refuses before it touches anything, and how it says so."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import msgspec
import pytest
from tickpath.engine.cli import main
from tickpath.engine.config.check import load_config, parse_config
from tickpath.engine.config.host import check_host
from tickpath.engine.config.schema import (
    Config,
    FeedHandlerConfig,
    HealthConfig,
    NetworkConfig,
    ReconnectConfig,
    ShmConfig,
    VenueConfig,
)
from tickpath.proto.venue import Endpoint
from tickpath.proto.venues import load_venue
from tickpath.shm.errors import LocalError

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples/mexc.toml"
MINIMAL = '[[venue]]\nsymbols = ["BTCUSDT"]\n'


def test_config_minimal_is_the_defaults() -> None:
    config = parse_config(MINIMAL)
    assert config == Config(venues=(VenueConfig(symbols=("BTCUSDT",)),))


def test_config_example_shows_every_key_with_its_default() -> None:
    config = load_config(EXAMPLE)
    assert config == Config(venues=(VenueConfig(symbols=("BTCUSDT", "ETHUSDT")),))
    text = EXAMPLE.read_text()
    top: list[type[msgspec.Struct]] = [Config, FeedHandlerConfig, NetworkConfig, ShmConfig]
    more: list[type[msgspec.Struct]] = [HealthConfig, ReconnectConfig]
    for section in top + more:
        for field in msgspec.structs.fields(section):
            assert re.search(rf"^(# |\[+)?{field.encode_name}\b", text, re.MULTILINE), field.name
    own = msgspec.structs.fields(config.venues[0].venue.settings)
    for field in (*msgspec.structs.fields(VenueConfig), *own):
        shown = re.search(rf"^(# |\[venue\.)?{field.name}\b", text, re.MULTILINE)
        assert shown or field.name == "settings", field.name


def test_config_example_commented_keys_are_valid_too() -> None:
    text = re.sub(r"^# (\w+ = |\"wbs)", r"\1", EXAMPLE.read_text(), flags=re.MULTILINE)
    text = text.replace('"..."', '"wbs-api.mexc.com"')
    config = parse_config(text)
    assert config.feed_handler.cpu == 1
    assert config.venues[0].resolve == {"wbs-api.mexc.com:443": "192.0.2.1"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("instance = 3", "instance is 3 (an integer), expected a string"),
        ("[feed_handler]\ncpu = '1'", "feed_handler.cpu is '1' (a string), expected an integer "),
        ("[feed_handler]\ncpu = true", "feed_handler.cpu is True (a boolean), expected an integer"),
        ("[feed_handler]\npriority = 100", "feed_handler.priority is 100 (an integer), expected"),
        ("[feed_handler]\nspin = 1", "feed_handler.spin is 1 (an integer), expected true or false"),
        ("[feed_handler]\ncpus = 1", "feed_handler.cpus is 1 (an integer), expected no such key"),
        ("feed_handler = 1", "feed_handler is 1 (an integer), expected a table: write [feed_"),
        ("[nonsense]\nx = 1", "nonsense is {'x': 1} (a table), expected no such key: known are"),
        ("[network]\nbackend = 'xdp'", "network.backend is 'xdp' (a string), expected one of"),
        ("[network]\nport_range = [61000]", "network.port_range is [61000] (an array), expected"),
        ("[network]\nport_range = [80, 90]", "network.port_range[0] is 80 (an integer), expected"),
        ("[network]\nport_range = [62000, 61000]", "expected the first port not above the last"),
        ("[network]\nport_range = [1024, 65535]", "network.port_range is [1024, 65535] (an array), "
         "expected at most 4096 ports: no other program can use them meanwhile; [1024, 5119] fits"),
        ("[shm]\nring_capacity = 1", "an integer from 1024 to 16777216"),
        ("[shm]\nring_capacity = 10000", "shm.ring_capacity is 10000 (an integer), expected a "
         "power of two: 8192 or 16384"),
        ("[shm]\nring_capacity = 2", "an integer from 1024 to 16777216: 16384 slots"),
        ("[shm]\nring_capacity = 1", "shm.ring_capacity is 1 (an integer), expected an integer"),
        ("[shm]\nmode = '0666'", 'shm.mode is \'0666\' (a string), expected one of "0600"'),
        ("[shm]\nlossless_deadline_us = 50001", "an integer from 0 to 50000: 0: the feed waits"),
        ("[health]\nsilent_after_ms = 0", "health.silent_after_ms is 0 (an integer), expected an"),
        ("[reconnect]\nmax_s = 'long'", "reconnect.max_s is 'long' (a string), expected a number"),
        ("[reconnect]\nfirst_s = 0", "reconnect.first_s is 0 (an integer), expected a number"),
        ("[reconnect]\nfirst_s = 2\nmax_s = 1", "reconnect.first_s is 2.0 (a number), expected at"),
        ("instance = '../etc'", "instance is '../etc' (a string), expected 1 to 64 letters"),
        ("instance = ''", "instance is '' (a string), expected 1 to 64 letters"),
    ],
)  # fmt: skip
def test_config_wrong_value_is_named(text: str, message: str) -> None:
    with pytest.raises(LocalError, match=re.escape(message)):
        parse_config(f"{text}\n{MINIMAL}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "venue is missing, expected an array, each a table: examples/mexc.toml shows it"),
        ("[[venue]]\nport = 1", "venue[0].symbols is missing, expected an array, each a string"),
        ("[[venue]]\nsymbols = []", "venue[0].symbols is [] (an array), expected at least one"),
        ("[[venue]]\nsymbols = ['btcusdt']", "venue[0].symbols[0] is 'btcusdt' (a string)"),
        ("[[venue]]\nsymbols = ['A', 'B', 'A']", "venue[0].symbols[2] is 'A' (a string), expected "
         "each symbol once, and it is venue[0].symbols[0] already"),
        (MINIMAL + "race = 9", "venue[0].race is 9 (an integer), expected an integer from 1 to 8"),
        (MINIMAL + "race = 0", "venue[0].race is 0 (an integer), expected an integer from 1 to 8"),
        (
            "[[venue]]\nname = 'coinbase'\nsymbols = ['BTC-USD']\nrace = 2",
            "venue[0].race is 2 (an integer), expected 1 for Coinbase",
        ),
        (
            "[[venue]]\nname = 'kraken'\nsymbols = ['BTC/USD']\nrace = 2",
            "venue[0].race is 2 (an integer), expected 1 for Kraken",
        ),
        (
            "[[venue]]\nname = 'kraken'\nsymbols = ['BTC/USD']\noverlap = true",
            "venue[0].overlap is True (a boolean), expected false for Kraken",
        ),
        (
            MINIMAL + "addresses = ['a.b']",
            "venue[0].addresses[0] is 'a.b' (a string), expected an IPv4 address",
        ),
        ("[[venue]]\nsymbols = [5]", "venue[0].symbols[0] is 5 (an integer), expected a string"),
        ("[venue]\nsymbols = ['A']", "venue is {'symbols': ['A']} (a table), expected an array"),
        (MINIMAL * 2, "venue[1].name is 'mexc' (a string), expected each venue once, and it is "
         "that of venue[0] already: a row says which venue it is of"),
        (MINIMAL + "[[venue]]\nname = 'binance'\nsymbols = ['btcusdt']",
         "venue[1].symbols[0] is 'btcusdt' (a string)"),
        (MINIMAL * 17, "17 [[venue]] sections, expected 1 to 16"),
        (
            "[[venue]]\nname = 'kraken'\nsymbols = ['BTC/USD']\ndepth = 20",
            "venue[0].depth is 20 (an integer), expected one of 10, 25, 100, 500, 1000",
        ),
        (
            "[[venue]]\nname = 'kraken'\nsymbols = ['BTC/USD']\ndepth = '10'",
            "venue[0].depth is '10' (a string), expected one of 10, 25, 100, 500, 1000",
        ),
        (MINIMAL + "name = 'nope'", "venue[0].name is 'nope' (a string), expected one of"),
        (
            MINIMAL + "name = 'coinbase_exchange'",
            "venue[0].name is 'coinbase_exchange', which is refused: nothing on its public channel",
        ),
        (MINIMAL + "name = [5]", "venue[0].name is [5]"),
        (MINIMAL + "name = 5", "venue[0].name is 5 (an integer), expected one of"),
        (MINIMAL + "settings = 5", "venue[0].settings is 5 (an integer), expected no such key"),
        (MINIMAL + "sped = '10ms'", "venue[0].sped is '10ms' (a string), expected no such key: did "
         "you mean speed?"),
        (MINIMAL + "hots = 'x'", "venue[0].hots is 'x' (a string), expected no such key: did you "
         "mean host?"),
        (MINIMAL + "bases_per_second = 46", "venue[0].bases_per_second is 46 (an integer), "
         "expected an integer from 1 to 45: MEXC bans"),
        ("[[venue]]\nsymbols = ['BTC/USDT:USDT']", "venue[0].symbols[0] is 'BTC/USDT:USDT' (a "
         "string): MEXC spot lists nothing of this kind (linear)"),
        ("[[venue]]\nsymbols = ['BTCUSDT', 'BTC/USDT']", "venue[0].symbols[1] is 'BTC/USDT' (a "
         "string), expected each symbol once, and it is venue[0].symbols[0] already"),
        (MINIMAL + "host = 'https://x'", "venue[0].host is 'https://x' (a string), expected a"),
        (MINIMAL + "port = 0", "venue[0].port is 0 (an integer), expected an integer from 1 to"),
        (MINIMAL + "path = 'ws'", "venue[0].path is 'ws' (a string), expected printable ASCII"),
        (MINIMAL + "path = \"/a\\r\\nb\"", "venue[0].path is '/a\\r\\nb' (a string), expected"),
        (MINIMAL + "depth = 5001", "venue[0].depth is 5001 (an integer), expected an integer"),
        (MINIMAL + "resolve = {'a' = '1.2.3.4'}", 'venue[0].resolve."a" is \'1.2.3.4\' (a string)'),
        (MINIMAL + "resolve = {'a:1' = 'b'}", 'venue[0].resolve."a:1" is \'b\' (a string), '
         "expected an IPv4 address"),
        ("x = ", "not TOML: Invalid value"),
    ],
)  # fmt: skip
def test_config_wrong_venue_is_named(text: str, message: str) -> None:
    with pytest.raises(LocalError, match=re.escape(message)):
        parse_config(text)


def test_config_integer_where_a_number_is_expected_is_taken() -> None:
    assert parse_config(f"[reconnect]\nmax_s = 5\n{MINIMAL}").reconnect.max_s == 5.0


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("", ("api.mexc.com", 443)),
        ("host = '10.0.0.1'\nport = 8443", ("10.0.0.1", 8443)),
        ("host = 'a'\nrest_host = 'b'\nrest_port = 80", ("b", 80)),
        ("host = 'a'", ("a", 443)),
        ("port = 8443", ("api.mexc.com", 8443)),
    ],
)
def test_config_rest_follows_the_host(text: str, rest: tuple[str, int]) -> None:
    assert parse_config(MINIMAL + text).venues[0].rest == rest


def test_config_more_symbols_than_connections_carry_is_refused() -> None:
    symbols = [f"S{index}USDT" for index in range(256 * 10 + 1)]
    three_each = "trades = true\nbest = true\n[health]\nverify_max_s = 3600\n"
    assert parse_config(f"[[venue]]\nsymbols = {symbols[:-1]}\n{three_each}")
    message = (
        "venue[0].symbols: 2561 symbols need 257 connections of 30 channels, expected at most 256: "
        "run a second instance for the rest"
    )
    with pytest.raises(LocalError, match=re.escape(message)):
        parse_config(f"[[venue]]\nsymbols = {symbols}\n{three_each}")


def test_config_own_keys_are_the_venues_settings() -> None:
    config = parse_config(MINIMAL + "speed = '10ms'\ninsecure = true\n")
    venue = config.venues[0]
    assert (venue.settings.speed, venue.settings.depth, venue.insecure) == ("10ms", 1000, True)
    assert config.instance == venue.name


def test_config_rest_port_is_not_the_port_of_a_venues_own_websocket(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = type(load_venue("mexc"))
    monkeypatch.setattr(own, "endpoint", lambda *_: Endpoint("ws.venue.test", "/ws", 8443))
    assert parse_config(MINIMAL).venues[0].rest == (own.rest_host, 443)


def test_config_unreadable_file_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "no.toml"
    with pytest.raises(LocalError, match=rf"{missing}: No such file"):
        load_config(missing)
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe")
    with pytest.raises(LocalError, match="not UTF-8"):
        load_config(binary)


OLD_NAMES = {
    "[reader]\ncpu = 3\n" + MINIMAL: ("reader", "feed_handler"),
    MINIMAL + "snapshots_per_second = 7\n": (
        "venue[0].snapshots_per_second",
        "venue[0].bases_per_second",
    ),
}


@pytest.mark.parametrize(("text", "names"), OLD_NAMES.items())
def test_config_key_under_its_old_name_counts_and_is_warned_of_once(
    text: str, names: tuple[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "old.toml"
    file.write_text(text)
    lines: list[str] = []
    config = load_config(file, lines.append)
    old, new = names
    assert lines == [
        f"{file}: {old} is now called {new}: rename it; the next version refuses the old name"
    ]
    old, new = (name.rpartition(".")[2] for name in names)
    assert config == parse_config(text.replace(old, new), pytest.fail)
    assert config != parse_config(MINIMAL)


@pytest.mark.parametrize(("text", "names"), OLD_NAMES.items())
def test_config_key_under_both_names_is_refused(text: str, names: tuple[str, str]) -> None:
    new = names[1].rpartition(".")[2]
    both = text + f"{new} = 7\n" if text.startswith("[[") else f"[{new}]\ncpu = 3\n{text}"
    message = rf"{re.escape(names[0])} is the old name of {re.escape(names[1])}, and both are there"
    with pytest.raises(LocalError, match=message):
        parse_config(both)


def test_config_old_name_with_a_wrong_value_is_refused_under_the_new_one() -> None:
    with pytest.raises(LocalError, match=r"^feed_handler\.cpu is -1"):
        parse_config("[reader]\ncpu = -1\n" + MINIMAL)


def test_run_check_warns_of_an_old_name_on_stderr(tmp_path: Path) -> None:
    file = tmp_path / "old.toml"
    file.write_text("[reader]\nspin = false\n" + MINIMAL)
    command = [sys.executable, "-P", "-m", "tickpath.engine.cli", "run", "--check", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (warned,) = (line for line in done.stderr.splitlines() if "is now called" in line)
    assert warned.startswith(f"tickpath: {file}: reader is now called feed_handler: rename it")


@pytest.mark.parametrize(
    "name",
    [
        *("binance_sbe", "binance_usdm", "bitget", "bitget_usdt"),
        *("mexc", "binance", "bybit", "bybit_linear", "coinbase", "gate", "gate_usdt"),
        *("htx", "hyperliquid", "kraken", "okx", "three_venues"),
    ],
)
def test_run_check_accepts_each_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = ROOT / f"examples/{name}.toml"
    assert main(["run", "--check", str(path)]) == 0
    assert capsys.readouterr().err.endswith(f"{path}: OK\n")


def test_config_error_in_a_file_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text("[feed_handler]\ncpu = -1\n" + MINIMAL)
    with pytest.raises(LocalError, match=rf"{file}: feed_handler\.cpu is -1"):
        load_config(file)


def configured(text: str) -> Config:
    return parse_config(text)


def test_config_host_missing_interface_is_named() -> None:
    present = ("lo", "wan0")
    config = configured("[network]\ninterface = 'wan1'\n" + MINIMAL)
    message = r"network\.interface is 'wan1' \(a string\), expected one of lo, wan0: see `ip link`"
    with pytest.raises(LocalError, match=message):
        check_host(config, interfaces=present)
    check_host(configured("[network]\ninterface = 'wan0'\n" + MINIMAL), interfaces=present)


def test_config_host_wrong_cpu_is_named() -> None:
    config = configured("[feed_handler]\ncpu = 8191\n" + MINIMAL)
    with pytest.raises(
        LocalError, match=r"feed_handler\.cpu is 8191 .* expected one of the CPUs that"
    ):
        check_host(config)


def test_config_host_certificate_file_is_read(tmp_path: Path) -> None:
    def with_file(path: Path) -> Config:
        return configured(f"{MINIMAL}ca_file = '{path}'\n")

    with pytest.raises(LocalError, match=r"venue\[0\]\.ca_file is .* expected a readable file"):
        check_host(with_file(tmp_path / "none.pem"))
    bad = tmp_path / "bad.pem"
    bad.write_text("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
    with pytest.raises(LocalError, match=r"venue\[0\]\.ca_file is .* expected certificates in PEM"):
        check_host(with_file(bad))
    good, key = tmp_path / "good.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-keyout", str(key), "-out", str(good), "-subj", "/CN=test", "-days", "2"],
        check=True, capture_output=True,
    )  # fmt: skip
    check_host(with_file(good))
    with pytest.raises(LocalError, match=r"expected certificates in PEM form"):
        check_host(with_file(key))
    check_host(configured(f"{MINIMAL}tls = false\nca_file = '{tmp_path / 'none.pem'}'\n"))


def test_config_example_is_plain_toml() -> None:
    assert set(tomllib.loads(EXAMPLE.read_text())) == {
        "instance", "feed_handler", "network", "venue", "record",
        "shm", "health", "reconnect",
    }  # fmt: skip


def test_config_ports_must_leave_the_kernel_some_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = configured("[network]\nport_range = [61000, 61999]\n" + MINIMAL)
    for own, refused in (("32768\t60999\n", False), ("60500 62000\n", True), ("1 65535", False)):
        monkeypatch.setattr(Path, "read_text", lambda _, encoding, own=own: own)
        if refused:
            with pytest.raises(LocalError, match="1024 of the kernel's own ports 60500-62000 left"):
                check_host(config)
        else:
            check_host(config)


def test_config_group_must_be_one_of_this_machine() -> None:
    check_host(configured("[shm]\ngroup = 'root'\n" + MINIMAL))
    with pytest.raises(LocalError, match=r"shm\.group is 'no-such-group'.* groupadd no-such-group"):
        check_host(configured("[shm]\ngroup = 'no-such-group'\n" + MINIMAL))
