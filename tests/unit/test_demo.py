"""The demo's arguments, and what it says of processes that ended; none is started here."""

from __future__ import annotations

import argparse
import json
import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from tickpath.engine.cli import main
from tickpath.engine.commands import demo
from tickpath.engine.commands.demo import Death, Demo, path_told, place_processes
from tickpath.shm.errors import LocalError
from tickpath.shm.segment import DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WELL = {"seconds": 20.0, "instruments": 4, "rate": 2000, "backend": "auto", "json": True}
WELL["scenario"] = demo.SCENARIO


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
    assert (scenario.instruments, scenario.rate, scenario.venue["speed"]) == (2, 5, "100ms")
    assert demo.check(arguments(scenario=file, instruments=7)).instruments == 7


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No such file or directory: expected a TOML file"),
        ("x =", "expected instruments, rate and a"),
        ("instruments = 2\nrate = 5\n", "missing required field `venue`"),
        ("instruments = 2\nrate = 5\n[venue]\nname = 'x'\n", "venue.name 'x': expected one of "),
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
    assert len(placed.strategies) == len(demo.STRATEGIES)
    if placed.strategies_spin:
        assert len({placed.feed_handler, placed.others, *placed.strategies}) == 2 + len(
            demo.STRATEGIES
        )
    assert (placed.feed_handler is None) == (count == 1)


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
    assert (told["messages"], told["books"], told["hops"]) == (0, [], [])
    lines = err.splitlines()
    assert lines[0] == "tickpath: exchange (process 5) ended by signal 9 after 2.0 s"
    assert lines[1].endswith("its log ends: tickpath: no such host")
    assert all(line.startswith("tickpath: ") for line in lines)


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
