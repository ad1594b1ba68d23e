"""The demo's arguments, and what it says of processes that ended; none is started here."""

from __future__ import annotations

import argparse
import inspect
import json
import signal
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from tickpath.engine.bench import wire
from tickpath.engine.bench.measure import Row
from tickpath.engine.cli import main
from tickpath.engine.commands import demo, demo_placement, host_load
from tickpath.engine.commands.demo import Death, Demo, path_told
from tickpath.engine.commands.demo_placement import place_processes
from tickpath.engine.commands.host_load import HostLoad
from tickpath.engine.commands.live_view import SPREAD_COUNTERS, Top
from tickpath.engine.config.check import load_config
from tickpath.engine.feed_handler import inline
from tickpath.engine.sim.venues import dialect_names
from tickpath.engine.strategy.command import load_strategy
from tickpath.engine.strategy.native import parse_parameters
from tickpath.proto.records import BookState
from tickpath.shm.errors import LocalError, SystemSetupError
from tickpath.shm.segment import DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Iterator
WELL = {
    "seconds": 20.0,
    "instruments": 4,
    "rate": 2000,
    "backend": "auto",
    "json": True,
    "no_paths": False,
}
WELL["scenario"] = demo.SCENARIO
HEAD = "instruments = 2\nrate = 5\n"
MEXC, KRAKEN = ("[[venue]]\nname = 'mexc'\nspeed = '100ms'\n", "[[venue]]\nname = 'kraken'\n")


def arguments(**changes: object) -> argparse.Namespace:
    return argparse.Namespace(**(WELL | changes))


@pytest.mark.parametrize(
    "change",
    [{"seconds": value} for value in (float("nan"), float("inf"), -float("inf"), 0.0, -1.0, 86401)]
    + [{"instruments": value} for value in (0, 101)]
    + [{"rate": value} for value in (0, 20_001)],
)
def test_check_value_that_cannot_be_is_refused_by_name(change: dict[str, float]) -> None:
    ((name, value),) = change.items()
    with pytest.raises(LocalError, match=rf"^--{name} {value}: expected "):
        demo.check(arguments(**change))


@pytest.mark.parametrize("change", [{"seconds": 0.1}, {"seconds": 86_400}, {"rate": 20_000}])
def test_check_value_at_its_limit_passes(change: dict[str, float]) -> None:
    demo.check(arguments(**change))


def test_check_scenario_gives_what_the_command_line_leaves_out(tmp_path: Path) -> None:
    file = tmp_path / "one.toml"
    file.write_text('instruments = 2\nrate = 5\n[venue]\nname = "mexc"\nspeed = "100ms"\n')
    scenario = demo.check(arguments(scenario=file, instruments=None, rate=None))
    assert (scenario.instruments, scenario.rate, scenario.venues["mexc"]["speed"]) == (
        2,
        5,
        "100ms",
    )
    assert demo.check(arguments(scenario=file, instruments=7)).instruments == 7


def test_check_scenario_has_one_venue_or_several(tmp_path: Path) -> None:
    for text, names in ((MEXC, ["mexc"]), (KRAKEN + MEXC, ["kraken", "mexc"])):
        file = tmp_path / "some.toml"
        file.write_text(HEAD + text)
        scenario = demo.check(arguments(scenario=file, instruments=None, rate=None))
        assert list(scenario.venues) == names
        assert scenario.venues["mexc"]["speed"] == "100ms"


def test_own_scenario_has_three_venues_that_can_be_simulated() -> None:
    names = demo.read_scenario().venues.keys()
    assert len(names) == 3
    assert names <= set(dialect_names())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No such file or directory: expected a TOML file"),
        ("x =", "expected instruments, rate and a"),
        ("instruments = 2\nrate = 5\n", "missing required field `venue`"),
        ("instruments = 2\nrate = 5\n[venue]\nname = 'x'\n", "venue.name 'x': expected one of "),
        (HEAD + MEXC + "[[venue]]\nname = 'x'\n", "venue.name 'x': expected one of "),
        (HEAD + MEXC + MEXC, "two \\[\\[venue\\]\\] are 'mexc': expected each venue once"),
        (HEAD + "[[venue]]\n" + MEXC, "two \\[\\[venue\\]\\] are 'mexc'"),  # the default
        (HEAD + "venue = []\n", "no venue: expected a "),
        ("instruments = 0\nrate = 5\n[venue]\n", "--instruments 0: expected 1 to 100"),
    ],
)
def test_check_scenario_that_cannot_be_is_refused(
    tmp_path: Path, text: str | None, message: str
) -> None:
    file = tmp_path / "one.toml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(LocalError, match=message):
        demo.check(arguments(scenario=file, instruments=None, rate=None))


def test_run_seconds_nan_starts_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--seconds", "nan"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "tickpath: --seconds nan: expected more than 0, up to 86400\n"


def test_help_tells_every_limit(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["demo", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    for text in ("up to 86400", "1 to 100 ", "1 to 20000", "default auto"):
        assert text in told


def test_death_by_signal_or_status_is_told_in_words() -> None:
    assert str(Death("exchange", 7, -9, 1.26)) == (
        "exchange (process 7) ended by signal 9 after 1.3 s"
    )
    assert (
        str(Death("feed-handler", 7, 3, 0))
        == "feed-handler (process 7) ended by status 3 after 0.0 s"
    )


@pytest.mark.parametrize(
    ("log", "path"),
    [
        ("12:00:00 path: AF_XDP native copy on tp0 queue 0\nmore\n", "AF_XDP native copy on tp0"),
        ("some\n12:00:00 path: kernel sockets\n", "kernel sockets"),
        ("", "not known"),
    ],
)
def test_path_told_drops_the_log_lines_clock(log: str, path: str) -> None:
    assert path_told(log).startswith(path)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 8])
def test_place_processes_spinners_never_share(count: int) -> None:
    placed = place_processes(tuple(range(count)))
    assert (*placed.strategies, *placed.inline) == demo_placement.STRATEGIES
    if placed.strategies_spin:
        used = {placed.feed_handler, placed.others, *placed.strategies.values()}
        assert len(used) == 2 + len(demo_placement.STRATEGIES)
    assert (placed.feed_handler is None) == (count == 1)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 8])
def test_place_processes_runs_one_inline_where_both_cannot_spin(count: int) -> None:
    placed = place_processes(tuple(range(count)))
    assert placed.inline == (("crossing",) if count < 4 else ())
    assert placed.strategies_spin == (count >= 4)
    assert ("inline native" in placed.text) == bool(placed.inline)
    assert "split" in placed.text


@pytest.mark.parametrize("count", [2, 4])
def test_native_strategy_is_the_example_and_loads_where_it_is_placed(
    made: Demo, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As configured, or as called; also where others may write the installed library."""
    made._placed = place_processes(tuple(range(count)))
    made._ports = {"mexc": 4001, "binance": 4002, "kraken": 4003}
    for is_others in (False, True):
        if is_others:
            monkeypatch.setattr(demo_placement, "check_writers", refuse)
        config = load_config(made._write_config("kernel"))
        assert [one.name for one in config.strategies] == list(made._placed.inline)
        inline.check_inline(config, made._directory)  # loads it with its parameters
        source = demo_placement.native_source(made._directory)
        assert source.startswith(f"{made._directory}/") == is_others
        words = demo_placement.words_of("crossing", source)
        parsed = parse_parameters([word.partition("=")[2] for word in words[1:]])
        assert load_strategy(words[0], parsed).__name__ == "crossing"


def refuse(path: Path) -> None:
    raise LocalError(f"{path}: others may write it")


def test_ports_told_are_each_venues_and_half_a_line_is_none() -> None:
    lines = [
        '{"event":"listening","venue":"mexc","url":"wss://127.0.0.1:4001/ws","ca":null}',
        "tickpath: a complaint, not JSON",
        '{"event":"listening","venue":"kraken","url":"wss://[::1]:4002/v2","ca":null}',
        '{"event":"status","venue":"kraken","messages":3}',
        '{"event":"listening","venue":"binance","url":"wss://127.0.0.1:40',
    ]
    assert demo.ports_told("\n".join(lines)) == {"mexc": 4001, "kraken": 4002}


def test_write_config_has_a_section_a_venue_that_the_feed_handler_takes(made: Demo) -> None:
    made._ports = {"mexc": 4001, "binance": 4002, "kraken": 4003}
    config = load_config(made._write_config("kernel"))
    assert [(one.name, one.port) for one in config.venues] == list(made._ports.items())
    assert len({one.symbols for one in config.venues}) == 1
    assert config.venues[2].resolve == {"exchange.test:4003": "127.0.0.1"}
    assert config.venues[0].settings.speed == "10ms"


def test_paths_are_described_in_a_line_and_timed_only_beside_af_xdp(
    made: Demo, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        Row("wire", name, "tls 1+1", "ns", 9, 1, p50, p99, 3, 4)
        for name, p50, p99 in (("tickpath", 3_400.0, 6_215.54), ("kernel", 5_820.5, 8_117.04))
    ]
    line = demo.describe_paths(rows)
    assert line == (
        "one message alone, send call to a strategy that spins: 3.40 µs over AF_XDP, 5.82 over "
        "kernel sockets (p50; p99 6.22, 8.12)"
    )
    asked: list[str] = []

    def compare(directory: Path, prefix: str) -> list[Row]:
        asked.append(prefix)
        assert directory == made._directory
        if len(asked) > 1:
            raise SystemSetupError("many lines\n1 CPU available")
        return rows

    monkeypatch.setattr(wire, "compare_paths", compare)
    made._compare_paths()
    made._summary()
    assert asked == [f"{made._instance}.wire"]  # the janitor removes what is left of it
    assert made._view.beside == line
    told = json.loads(capsys.readouterr().out)
    assert [one["p50"] for one in told["paths"]] == [3_400.0, 5_820.5]
    made._compare_paths()
    assert made._notes == ["the kernel's path beside ours: not timed, because: 1 CPU available"]


def test_spread_strategy_is_the_example() -> None:
    found = load_strategy(demo_placement.words_of("spread", "")[0])
    example = Path(__file__).parents[2] / "examples" / "spread.py"
    assert Path(inspect.getfile(found)).read_text() == example.read_text()
    assert set(SPREAD_COUNTERS) == set(inspect.getmodule(found).FIGURES)  # type: ignore[union-attr]  # it has one


@pytest.mark.parametrize(
    ("busy", "taken", "words"),
    [
        (0.25, 9, []),
        (0.26, 0, ["others used 26% of this host's CPUs just before"]),
        (0.0, 50, ["the hypervisor took 5.0% of a CPU"]),
        (0.9, 50, ["others used 90%", "the hypervisor took 5.0%"]),
    ],
)
def test_host_load_warns_of_others_and_of_the_hypervisor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, busy: float, taken: int, words: list[str]
) -> None:
    """Ticks are hundredths of a second, of 10 s; CPU 7 is not ours, CPU 2 is not shown."""
    stat = tmp_path / "stat"
    monkeypatch.setattr(host_load, "STAT", stat)
    stat.write_text(f"cpu 1\ncpu0 1 1 1 1 1 1 1 100\ncpu1 1 1 1 1 1 1 1 {200 + taken}\n")
    monkeypatch.setattr(host_load, "time", SimpleNamespace(monotonic=lambda: 17.0))
    load = HostLoad(busy, {0: 100, 1: 200, 7: 0}, 7.0)
    said = load.remarks((0, 1, 2))
    assert len(said) == len(words)
    assert all(one.startswith(word) for one, word in zip(said, words, strict=True)), said
    stat.unlink()  # hidden: nothing is known of the hypervisor
    assert load.remarks((0, 1)) == [line for line in said if line.startswith("others")]


def test_busy_share_is_of_all_that_is_not_idle() -> None:
    """user nice system idle iowait irq softirq steal guest guest_nice, proc_stat(5)."""
    first = "cpu  100 0 50 1000 10 0 0 5 7 0\ncpu0 1 2 3 4\n"
    last = "cpu  140 0 60 1030 20 5 5 5 99 0\ncpu0 1 2 3 4\n"
    assert host_load.busy_share(first, last) == pytest.approx(0.6)
    assert host_load.busy_share(first, first) == 0
    assert host_load.busy_share("", "") == 0


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Demo]:
    with ExitStack() as stack:
        made = Demo(arguments(), demo.read_scenario(), stack)
        made._directory = tmp_path / "directory"
        made._directory.mkdir()
        yield made


def test_tidy_without_janitor_removes_its_own_and_no_other_demos_files(made: Demo) -> None:
    own = [DIRECTORY / f"tickpath.{made._instance}{end}" for end in ("", ".lock", ".strategy.x")]
    other = DIRECTORY / f"tickpath.{made._instance}0"  # its process id begins as ours does
    (made._directory / "feed-handler.log").write_text("x")
    try:
        for path in (*own, other):
            path.write_bytes(b"")
        made._tidy()
        made._tidy()  # the janitor was here already
        assert [path.exists() for path in own] == [False] * 3
        assert other.exists()
        assert not made._directory.exists()
    finally:
        for path in (*own, other):
            path.unlink(missing_ok=True)


def test_summary_of_a_demo_that_saw_nothing_is_json_and_names_the_dead(
    made: Demo, capsys: pytest.CaptureFixture[str]
) -> None:
    (made._directory / "feed-handler.log").write_text("begin\ntickpath: no such host\n")
    made._deaths += [Death("exchange", 5, -9, 2.0), Death("feed-handler", 6, 3, 2.5)]
    assert made._summary() == 1
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert told["status"] == 1
    assert [one["name"] for one in told["ended"]] == ["exchange", "feed-handler"]
    assert (told["messages"], told["books"], told["hops"], told["spreads"]) == (0, [], [], [])
    assert told["headline"] == "no book has reached a strategy yet"
    lines = err.splitlines()
    assert lines[0] == "tickpath: exchange (process 5) ended by signal 9 after 2.0 s"
    assert lines[1].endswith("its log ends: tickpath: no such host")
    assert all(line.startswith("tickpath: ") for line in lines)


def test_troubles_of_many_books_are_a_short_line(made: Demo) -> None:
    made._view._tops = [
        Top(index, "mexc", f"S{index}", f"S{index}", BookState.SYNCING, None, None, None, None)
        for index in range(10)
    ]
    (line, *_) = made._troubles()
    assert line.startswith("books that are not LIVE at the end: mexc:S0 SYNCING, mexc:S1 ")
    assert line.endswith("mexc:S7 SYNCING and 2 more")


def test_summary_after_ctrl_c_ends_by_130_whatever_else(
    made: Demo, capsys: pytest.CaptureFixture[str]
) -> None:
    made._signal = signal.SIGINT
    assert made._summary() == 130
    assert json.loads(capsys.readouterr().out)["status"] == 130


def test_json_says_nothing_but_its_object(made: Demo, capsys: pytest.CaptureFixture[str]) -> None:
    made._note("path: kernel sockets over loopback, because: asked for")
    assert capsys.readouterr() == ("", "")
    assert made._facts(0, [])["notes"] == ["path: kernel sockets over loopback, because: asked for"]
