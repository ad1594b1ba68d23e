"""`tickpath run` with a strategy inline: its figures, its end, and who is named when it faults."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from tickpath.engine.client.reader import open_reader
from tickpath.engine.config.check import parse_config
from tickpath.engine.feed_handler.inline import InlineStrategies
from tickpath.engine.strategy.stats import read_stats
from tickpath.proto.instrument import Instrument
from tickpath.shm.segment import DIRECTORY

from tests.unit.feed.conftest import Rig
from tests.unit.native_library import DOES, compile_probe
from tests.unit.test_run_reconnect import CONFIG, Child, count, free_port, start

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tickpath.engine.feed_handler.hot_path import HotPath

__all__ = ["start"]  # fixture

STRATEGY = """
[[strategy]]
name = "tried"
source = "{source}"
placement = "inline-native"
trust_strategy = true
instruments = ["BTCUSDT"]
parameters = {{ does = {does}, factor = 0.5 }}
"""


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_probe(tmp_path_factory.mktemp("inline"))


class Run:
    """A simulated exchange and a feed handler with one strategy inline."""

    def __init__(
        self, folder: Path, start: Callable[..., Child], source: str, does: str, *words: str
    ) -> None:
        self.instance, port = f"inl{os.getpid():08d}", free_port()
        path = folder / "run.toml"
        text = CONFIG.format(instance=self.instance, port=port, tls="false", ca="")
        path.write_text(text + STRATEGY.format(source=source, does=DOES[does]), encoding="utf-8")
        exchange = start("sim", "mexc", "--plain", "--listen", f"127.0.0.1:{port}")
        exchange.wait_for("listening", lambda lines: count("listening")(lines) == 1)
        self.child = start("run", *words, str(path))

    def figures(self) -> dict[str, int]:
        return read_stats(self.instance, "tried").counters


def test_run_calls_a_strategy_inline_and_reports_name_its_placement(
    probe: Path, tmp_path: Path, start: Callable[..., Child]
) -> None:
    run = Run(tmp_path, start, f"{probe}:probe", "places")
    run.child.wait_for("said", lambda lines: count("strategy tried: inline native")(lines) == 1)
    run.child.wait_for("open", lambda lines: count(": open to")(lines) == 1)
    run.child.wait_for("intents", lambda _: run.figures()["places"] > 3)
    stats = read_stats(run.instance, "tried")
    assert stats.placement == "inline native"
    assert stats.counters["tops"] >= stats.counters["places"]
    assert (stats.counters["refused"], stats.counters["stopped"]) == (0, 0)
    assert stats.hops["published_to_seen"].n > 3
    words = [sys.executable, "-P", "-m", "tickpath.engine.cli", "stat", run.instance]
    told = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout
    assert "  placement: inline native\n" in told
    assert run.child.end() == 0
    assert not list(DIRECTORY.glob(f"tickpath.{run.instance}*"))


def test_run_says_once_that_a_strategy_stopped_and_reads_on(
    probe: Path, tmp_path: Path, start: Callable[..., Child]
) -> None:
    run = Run(tmp_path, start, f"{probe}:probe", "stops")
    told = "strategy tried is stopped: its on_event returned 7, expected 0"
    run.child.wait_for("stop", lambda lines: count(told)(lines) == 1)
    with open_reader(run.instance, name=None) as reader:
        before = reader.shm.segment.live.head
        run.child.wait_for("more", lambda _: reader.shm.segment.live.head > before + 50)
    assert run.figures()["events"] == 1
    run.child.end()
    assert count(told)(run.child.lines) == 1


@pytest.mark.parametrize(
    ("does", "number"),
    [
        ("faults", 11),
        # pytest.mark.slow: the supervisor gives a heartbeat three seconds.
        pytest.param("hangs", 9, marks=pytest.mark.slow),
    ],
)
def test_run_names_the_strategy_that_its_feed_handler_died_in(
    probe: Path, tmp_path: Path, start: Callable[..., Child], does: str, number: int
) -> None:
    run = Run(tmp_path, start, f"{probe}:probe", does, "--json")
    with open_reader(run.instance, name=None, wait_s=20.0) as reader:
        run.child.wait_for("death", lambda lines: count('"ended"')(lines) >= 1)
        ended = next(json.loads(one) for one in run.child.lines if '"ended"' in one)
        assert ended["by"].startswith(f"signal {number}")
        assert ended["by"].endswith(" in strategy tried")
        # Readers see the dead writer as they do any.
        run.child.wait_for("stale", lambda _: not reader.book(0).is_live)
    run.child.end()
    assert not list(DIRECTORY.glob(f"tickpath.{run.instance}*"))


def test_check_says_where_each_strategy_runs(
    probe: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from tickpath.engine.cli import main  # noqa: PLC0415 - as the other tests of commands

    path = tmp_path / "run.toml"
    text = CONFIG.format(instance="x", port=1, tls="false", ca="")
    inline = STRATEGY.format(source=f"{probe}:probe", does=0)
    split = '[[strategy]]\nname = "other"\nsource = "examples/top_of_book.py:TopOfBook"\n'
    path.write_text(text + inline + split, encoding="utf-8")
    assert main(["run", "--check", str(path)]) == 0
    told = capfd.readouterr().err
    assert f"strategy tried: inline native, {probe}:probe\n" in told
    assert (
        "strategy other: split: start it by tickpath strategy examples/top_of_book.py:TopOfBook "
        "--instance x --name other\n"
    ) in told
    native = split.replace("examples/top_of_book.py:TopOfBook", f"{probe}:probe")
    path.write_text(text + native + "parameters = { does = 0, factor = 0.5 }\n", encoding="utf-8")
    assert main(["run", "--check", str(path)]) == 0
    told = capfd.readouterr().err
    assert "--name other --parameter does=0 --parameter factor=0.5\n" in told
    assert "Numba" not in told
    plain = tmp_path / "plain.py"  # root's alone, whoever owns this tree
    plain.write_text("import tickpath\nclass Plain(tickpath.Strategy): pass\n", encoding="utf-8")
    plain.chmod(0o644)
    of_class = split.replace("examples/top_of_book.py:TopOfBook", f"{plain}:Plain")
    for wrong, said in (
        (native + "parameters = { nope = 1 }\n", "parameter nope: known are does, factor"),
        (of_class + "parameters = { nope = 1 }\n", "a class"),
        (split.replace("top_of_book", "absent"), "examples/absent.py: no such file"),
    ):
        path.write_text(text + wrong, encoding="utf-8")
        assert main(["run", "--check", str(path)]) == 2
        assert said in capfd.readouterr().err
    path.write_text(text + inline.replace(":probe", ":absent"), encoding="utf-8")
    assert main(["run", "--check", str(path)]) == 2
    assert "no such symbol" in capfd.readouterr().err


def test_row_that_comes_later_is_the_strategys_that_names_it(probe: Path, tmp_path: Path) -> None:
    text = CONFIG.format(instance="x", port=1, tls="false", ca="")
    config = parse_config(text + STRATEGY.format(source=f"{probe}:probe", does=0))
    lines: list[str] = []
    rig = Rig(tmp_path, instruments=2)
    strategies = InlineStrategies(config, lines.append)
    strategies.load()
    hot = SimpleNamespace(handle=SimpleNamespace())
    try:
        strategies.attach(cast("HotPath", hot), rig.segment, (), tmp_path)
        wants = hot.handle.strategies.strategies[0].wants
        assert [wants[0], wants[1]] == [0, 0]
        assert "BTCUSDT is not read yet" in lines[0]
        assert "run --check --lists" in lines[0]
        for index, symbol in enumerate(("ETHUSDT", "BTCUSDT")):
            strategies.take_row(Instrument(index, "mexc", symbol, -2, -6, 1))
        assert [wants[0], wants[1]] == [0, 1]
        assert lines[-1] == "strategy tried: mexc:BTCUSDT is read now"
        said = len(lines)
        strategies.take_row(Instrument(1, "mexc", "BTCUSDT", -2, -6, 1))  # its status changed
        assert (wants[1], len(lines)) == (1, said)
        strategies.take_row(Instrument(1, "mexc", "ETHUSDT", -2, -6, 1))  # another took its place
        assert wants[1] == 0
    finally:
        strategies.close()
        rig.close()
