"""`tickpath venues` and `tickpath instruments`: what they print, whom they blame."""

from __future__ import annotations

import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tickpath._core import ffi, lib
from tickpath.engine.cli import main
from tickpath.engine.commands.text_table import aligned, width
from tickpath.engine.commands.venues import rule_words
from tickpath.engine.commands.venues_table import UNSEEN
from tickpath.engine.config import lists
from tickpath.engine.config.schema import Config, VenueConfig
from tickpath.proto import venues
from tickpath.proto.instrument import Instrument
from tickpath.proto.venue import InstrumentList
from tickpath.proto.venues import REFUSED, load_venue, venue_names, why_refused

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
VENUES = ROOT / "proto" / "venues"
OURS = [name for name in venue_names() if (VENUES / name).is_dir()]
ROWS = [
    {
        "symbol": "BTCUSDT",
        "baseAsset": "BTC",
        "quoteAsset": "USDT",
        "baseAssetPrecision": 6,
        "quotePrecision": 2,
        "baseSizePrecision": "0.0001",
        "quoteAmountPrecision": "5",
        "status": "1",
    },
    {
        "symbol": "ETHUSDC",
        "baseAsset": "ETH",
        "quoteAsset": "USDC",
        "baseAssetPrecision": 4,
        "quotePrecision": 1,
        "status": "2",
    },
]
BROKEN = {"symbol": "SOLUSDT", "baseAsset": "SOL"}


@contextmanager
def venue_that_says(body: bytes, status: int = 200, **headers: str) -> Iterator[list[str]]:
    """Serve one answer to whatever is asked; yields the options that lead to it."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield ["--plain", "--host", "127.0.0.1", "--port", str(server.server_port)]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def listed(*rows: object) -> bytes:
    return json.dumps({"symbols": rows}).encode()


# ---- venues --------------------------------------------------------------------------------------


def test_venues_tells_of_each_venue(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["venues", "--json"]) == 0
    told = {one["name"]: one for one in map(json.loads, capsys.readouterr().out.splitlines())}
    assert set(told) == set(venue_names())
    mexc = told["mexc"]
    assert mexc["title"] == "MEXC spot"
    assert mexc["base"] == "by REST, 1,000 levels a side"
    assert mexc["sync"][0] == "a message begins at the number after the last one's end"
    assert mexc["limits"]["channels_per_connection"] == 30
    assert mexc["channels"][0]["carries"] == "book"
    assert mexc["verification"] == ["a quiet book is compared with a base by REST"]
    assert "none was tried against the live venue" in mexc["never_seen"]
    assert mexc["left_out"].startswith("klines and mini tickers")
    assert told["kraken"]["left_out"] == ""
    assert told["kraken"]["verification"][0] == "CRC-32 of ten levels a side with a message"


def test_venues_as_text_has_a_line_of_each_kind(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["venues", "mexc"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "mexc: MEXC spot"
    labels = ("base", "sync", "verification", "limits", "channels", "left out", "never seen")
    assert [one for one in labels if not any(line.startswith(f"  {one}  ") for line in lines)] == []
    assert max(map(len, lines)) <= 100


def test_venues_table_is_the_one_of_the_docs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["venues", "--table"]) == 0
    lines = capsys.readouterr().out.splitlines()
    named = {line.split("|")[1].strip(): line for line in lines[2:]}
    assert list(named) == list(venue_names())
    told = "\n".join(lines[:2] + [named[name] for name in OURS])
    assert told in (ROOT / "docs" / "venues.md").read_text()


def test_venue_whose_rule_nobody_saw_says_so_in_its_readme_too() -> None:
    said = []
    for name in OURS:
        readme = " ".join((VENUES / name / "README.md").read_text().split())
        is_said = UNSEEN in load_venue(name).never_seen
        assert is_said == (UNSEEN in readme.lower() or name == "bybit_linear"), name
        said += [name] if is_said else []
    assert said == ["binance_sbe", "bybit", "bybit_linear", "coinbase", "gate", "htx", "mexc"]


def test_venues_unknown_one_is_2_and_names_the_likely(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["venues", "mexx"]) == 2
    assert "did you mean mexc?" in capsys.readouterr().err


def test_venues_refused_one_is_2_with_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    """Not "did you mean": the other venue is what the reason names."""
    assert main(["venues", "coinbase_exchange"]) == 2
    said = capsys.readouterr().err
    assert "venue 'coinbase_exchange' is refused: nothing on its public channel of books" in said
    assert "use coinbase, which numbers its messages" in said
    assert "did you mean" not in said


def test_venues_lists_what_is_refused_behind_the_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["venues"]) == 0
    *_, last = capsys.readouterr().out.split("\n\n")
    title, *reason = last.splitlines()
    assert title == "coinbase_exchange: refused"
    assert " ".join(" ".join(reason).split()) == f"why {REFUSED['coinbase_exchange']}"
    assert not REFUSED.keys() & set(venue_names())
    assert all((ROOT / path).is_file() for path in re.findall(r"docs/\S+\.md", last))


def test_venue_outside_of_the_tree_may_have_a_refused_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert why_refused("coinbase_exchange") == REFUSED["coinbase_exchange"]
    monkeypatch.setattr(venues, "venue_names", lambda: ("coinbase_exchange",))
    assert why_refused("coinbase_exchange") == ""


def test_rule_in_words_says_each_part() -> None:
    rule = ffi.new("struct tp_sync_rule *")
    assert rule_words(rule) == ["messages have no numbers"]
    rule.chain, rule.restart = lib.TP_CHAIN_PREVIOUS, lib.TP_RESTART_ZERO
    rule.in_band_base, rule.depth = True, 25
    assert rule_words(rule) == [
        "a message names the last one's number",
        "a whole book may come at any time and replaces the old one",
        "a message after number 0 ends the chain",
        "25 levels a side are kept",
    ]
    assert rule_words(ffi.NULL) == []


# ---- instruments ---------------------------------------------------------------------------------


def test_instruments_lists_exact_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    with venue_that_says(listed(*ROWS)) as options:
        assert main(["instruments", "mexc", "--json", *options]) == 0
    bitcoin, ether = map(json.loads, capsys.readouterr().out.splitlines())
    assert bitcoin == {
        "venue": "mexc",
        "symbol": "BTCUSDT",
        "name": "BTC/USDT",
        "kind": "spot",
        "status": "trading",
        "tick": "0.01",
        "lot": "0.000001",
        "quantity_min": "0.000100",
        "notional_min": "5",
        "multiplier": "1",
    }
    assert (ether["status"], ether["quantity_min"], ether["notional_min"]) == ("halted", "", "")


@pytest.mark.parametrize("pattern", ["btc", "BTC/*", "btcusd?", "BTCUSDT"])
def test_instruments_like_finds_by_either_name(
    capsys: pytest.CaptureFixture[str], pattern: str
) -> None:
    with venue_that_says(listed(*ROWS)) as options:
        assert main(["instruments", "mexc", "--like", pattern, *options]) == 0
    heading, *rows = capsys.readouterr().out.splitlines()
    assert heading.split()[:4] == ["symbol", "name", "status", "tick"]
    assert [row.split()[0] for row in rows] == ["BTCUSDT"]


def test_instruments_like_nothing_is_2_and_names_the_likely(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with venue_that_says(listed(*ROWS)) as options:
        assert main(["instruments", "mexc", "--like", "btcusdx", *options]) == 2
    assert capsys.readouterr().err == (
        "tickpath: --like 'btcusdx': none of 2 instruments of MEXC spot: did you mean BTCUSDT?\n"
    )


def test_instruments_broken_row_leaves_the_others_and_is_1(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with venue_that_says(listed(*ROWS, BROKEN)) as options:
        assert main(["instruments", "mexc", "--json", *options]) == 1
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 2
    assert said.err.startswith("tickpath: mexc: 1 rows left out (SOLUSDT); the first because:")


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"<html>", 200, "expected exchangeInfo JSON"),
        (b"no", 500, "status 500, expected 200"),
        (b"", 429, "MEXC spot wants no requests now (status 429): ask again after 10 s"),
    ],
)
def test_instruments_venue_that_fails_is_1(
    capsys: pytest.CaptureFixture[str], body: bytes, status: int, said: str
) -> None:
    with venue_that_says(body, status) as options:
        assert main(["instruments", "mexc", *options]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_instruments_venue_that_bans_says_how_long(capsys: pytest.CaptureFixture[str]) -> None:
    with venue_that_says(b"", 418, Retry_After="77") as options:
        assert main(["instruments", "mexc", *options]) == 1
    assert "MEXC spot bans this address now (status 418): ask again after 77 s" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nope"], "venue 'nope': expected one of"),
        (["mexc", "--port", "99999"], "--port is 99999 (an integer), expected an integer from 1"),
        (["mexc", "--host", "a b"], "--host is 'a b' (a string), expected a host name"),
        (["mexc", "--plain", "--insecure"], "--insecure with --plain"),
        (["mexc", "--cacert", "/not/there.pem"], "--cacert /not/there.pem: no such file"),
    ],
)
def test_instruments_wrong_option_is_2_and_named(
    capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main(["instruments", *words]) == 2
    assert said in capsys.readouterr().err


# ---- run --check --lists -------------------------------------------------------------------------


def config_of(tmp_path: Path, options: list[str], symbols: list[str]) -> str:
    """Write a configuration for the venue that `options` lead to."""
    path = tmp_path / "lists.toml"
    path.write_text(
        f'[network]\nbackend = "kernel"\n[[venue]]\nname = "mexc"\ntls = false\n'
        f'host = "127.0.0.1"\nport = {options[-1]}\nsymbols = {json.dumps(symbols)}\n'
    )
    return str(path)


def test_check_of_the_lists_names_what_would_be_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with venue_that_says(listed(*ROWS, BROKEN)) as options:
        path = config_of(tmp_path, options, ["BTC/USDT", "BTCUSD", "ETHUSDC"])
        assert main(["run", "--check", "--lists", path]) == 2
        error = capsys.readouterr().err
        assert "mexc: lists 2 of 3 symbols\n" in error
        assert "mexc: left out: venue[0].symbols[1]: symbol 'BTCUSD': did you mean" in error
        assert "1 rows left out (SOLUSDT)" in error
        assert error.endswith(f"{path}: symbols would be left out\n")
        assert main(["run", "--check", "--lists", "--json", path]) == 2
        told = json.loads(capsys.readouterr().out)
    assert told["ok"] is False
    (one,) = told["lists"]
    assert (one["listed"], one["found"], list(one["left_out"])) == (2, 2, ["BTCUSD"])


def test_check_of_the_lists_is_ok_where_all_are_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with venue_that_says(listed(*ROWS)) as options:
        path = config_of(tmp_path, options, ["BTC/USDT", "ETHUSDC"])
        assert main(["run", "--check", "--lists", path]) == 0
    assert capsys.readouterr().err.endswith(f"mexc: lists 2 of 2 symbols\n{path}: OK\n")


def test_check_of_a_list_that_cannot_be_had_says_so_and_is_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = config_of(tmp_path, ["9"], ["BTCUSDT"])
    assert main(["run", "--check", "--lists", path]) == 1
    error = capsys.readouterr().err
    assert "mexc: its list is not available: GET /api/v3/exchangeInfo from 127.0.0.1:9:" in error
    assert main(["run", "--check", path]) == 0  # nothing is asked unless it is asked for


def test_lists_of_all_venues_are_asked_for_at_once_and_shown_in_their_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """None answers before all were asked; an error of one folder is that venue's line."""
    names = ("mexc", "binance", "bybit")
    all_asked = threading.Barrier(len(names))

    def fetch(venue: VenueConfig, *_: object, **__: object) -> InstrumentList:
        all_asked.wait(20)
        if venue.name == "binance":
            raise KeyError("symbols")
        return InstrumentList({"BTCUSDT": Instrument(0, venue.name, "BTCUSDT", -2, -3)}, {})

    monkeypatch.setattr(lists, "fetch_list", fetch)
    sections = tuple(VenueConfig(name=name, symbols=("BTCUSDT",)) for name in names)
    checks = lists.look_at_lists(Config(venues=sections))
    assert [(one.venue, one.found) for one in checks] == [("mexc", 1), ("binance", 0), ("bybit", 1)]
    assert checks[1].error.startswith("KeyError: 'symbols' (test_venue_commands.py:")


def test_lists_without_check_is_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--lists", config_of(tmp_path, ["9"], ["BTCUSDT"])]) == 2
    assert "--lists without --check" in capsys.readouterr().err


# ---- the table -----------------------------------------------------------------------------------


def test_table_aligns_by_cells_not_by_characters() -> None:
    lines = aligned(("name", "n"), [("币安", "1"), ("ab", "22")], left=1)
    assert lines == ["name   n", "币安   1", "ab    22"]
    assert width("币安") == 4
    assert width("e\u0301") == 1
