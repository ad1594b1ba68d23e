"""One meaning for each exit status, over all commands: docs/operations.md has the table."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from tickpath.engine import cli
from tickpath.engine.bench.measure import LOAD_MAX_EACH_CPU, Ratio, Report, Row
from tickpath.engine.feed_handler import process
from tickpath.engine.recording import left_out, record
from tickpath.engine.recording.left_out import LEFT_OUT
from tickpath.engine.recording.recorder import Totals
from tickpath.engine.strategy.rehearsal import RehearsalFeed
from tickpath.engine.strategy.runtime import EXIT_STRATEGY_FAILED
from tickpath.proto.instrument import Instrument
from tickpath.rt.check_command import EXIT_NOT_WELL
from tickpath.rt.item import Severity

from tests.unit.recording.test_replay import session

if TYPE_CHECKING:
    from collections.abc import Callable

TICKPATH = [sys.executable, "-P", "-m", "tickpath.engine.cli"]
INSTRUMENTS = (Instrument(0, "mexc", "BTCUSDT", -2, -6, 1),)
INSTANCE = f"exit-statuses-{os.getpid()}"
OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"
NOT_THERE = f"not-there-{os.getpid()}"

# command line: status. What the user wrote is 2, what this machine lacks is 3.
TABLE = {
    "demo --seconds -1": 2,
    "run /not/there.toml": 2,
    "venues nonsense": 2,
    "instruments nonsense": 2,
    "instruments mexc --plain --host 127.0.0.1 --port 9": 1,
    "book nonsense": 2,
    "book mexc:btc": 2,
    "book mexc:BTCUSDT --depth 0": 2,
    "book mexc:BTCUSDT --once --plain --host 127.0.0.1 --port 9": 1,
    f"strategy nonsense --instance {NOT_THERE}": 2,
    f"strategy tickpath.engine.strategy.spread:Spread --instance {NOT_THERE} --wait -1": 2,
    f"strategy tickpath.engine.strategy.spread:Spread --instance {NOT_THERE} --seconds -1": 2,
    f"strategy tickpath.engine.strategy.spread:Spread --instance {NOT_THERE} --wait 0": 3,
    f"subscribe {NOT_THERE} mexc:BTCUSDT": 3,
    f"subscribe {NOT_THERE} mexc:BTCUSDT --timeout -1": 2,
    f"unsubscribe {NOT_THERE} mexc:BTCUSDT": 3,
    f"stat {NOT_THERE}": 3,
    "stat --interval -1": 2,
    "top --interval -1": 2,
    f"tail {NOT_THERE}": 3,
    f"tail {NOT_THERE} --count -1": 2,
    f"dump {NOT_THERE}": 3,
    f"clean {NOT_THERE}": 0,
    f"record {NOT_THERE} --out /tmp --duration -1": 2,
    f"record {NOT_THERE} --out /tmp --wait -1": 2,
    "replay /not/there.tpr": 2,
    "replay /not/there.tpr --from -1": 2,
    "replay /not/there.tpr --to -1": 2,
    "export /not/there.tpr --out /tmp/x.csv": 2,
    "export /not/there.tpr --out /tmp/x.csv --format hftbacktest": 2,
    "certificate /not/there.tpr": 2,
    f"relay {NOT_THERE} --as other": 2,
    "get nonsense://": 2,
    "ws nonsense://": 2,
    "sim nonsense": 2,
    "bench nonsense": 2,
    "bench decode --count -1": 2,
    "rt nonsense": 2,
    "doctor --nonsense": 2,
}


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_usage_error_is_2_and_help_is_0_of_each_command(name: str) -> None:
    done = subprocess.run([*TICKPATH, name, "--help"], capture_output=True, check=False)
    assert done.returncode == 0
    done = subprocess.run([*TICKPATH, name, "--no-such"], capture_output=True, check=False)
    assert done.returncode == 2


@pytest.mark.parametrize("line", TABLE)
def test_status_says_who_is_to_blame(line: str) -> None:
    done = subprocess.run([*TICKPATH, *line.split()], capture_output=True, text=True, check=False)
    assert done.returncode == TABLE[line], done.stderr
    if done.returncode:
        assert len(done.stderr.splitlines()) == 1, done.stderr


def test_table_covers_each_command() -> None:
    assert {line.split()[0] for line in TABLE} == set(cli.COMMANDS)


def test_each_status_of_the_code_is_one_row_of_the_table_and_means_one_thing() -> None:
    text = OPERATIONS.read_text(encoding="utf-8").partition("## Exit statuses")[2]
    rows = re.findall(r"^\| ([\d, ]+) \|", text.partition("\n## ")[0], re.MULTILINE)
    documented = [int(one) for row in rows for one in row.split(",")]
    used = {
        0,
        cli.EXIT_REMOTE,
        cli.EXIT_LOCAL,
        cli.EXIT_SYSTEM,
        EXIT_STRATEGY_FAILED,
        process.EXIT_LINK_GONE,
        LEFT_OUT,
        cli.EXIT_INTERRUPTED,
        128 + signal.SIGTERM,
        cli.EXIT_PIPE_CLOSED,
        *(EXIT_NOT_WELL + int(one) for one in Severity),
    }
    assert sorted(documented) == sorted(used)
    assert len(used) == 14, "two of them share a number"


# ---- 6: done, but something was left out ---------------------------------------------------------


def test_commands_that_leave_something_out_are_those_of_the_table() -> None:
    """Who ends with it is a module beside engine/recording/left_out.py, named as its command is."""
    row = next(line for line in OPERATIONS.read_text().splitlines() if line.startswith("| 6 |"))
    documented = set(re.findall(r"`(\w+)`", row))
    engine, users = Path(__file__).parents[2] / "engine", set()
    for path in engine.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == left_out.__name__:
                users |= {path.stem for one in node.names if one.name == "LEFT_OUT"}
            if isinstance(node, ast.Return) and isinstance(node.value, ast.Constant):
                assert node.value.value != LEFT_OUT, f"{path}: line {node.lineno}: name it"
    assert users == documented
    assert documented <= set(cli.COMMANDS)


@pytest.mark.parametrize(
    "words",
    [
        ("replay",),
        ("certificate",),
        ("export", "--out", "OUT", "--format", "csv"),
        ("export", "--out", "OUT", "--format", "hftbacktest"),
    ],
)
@pytest.mark.parametrize(("bad", "status"), [([], 0), (["{"], LEFT_OUT)])
def test_line_that_cannot_be_read_is_left_out_and_said_last(
    tmp_path: Path, words: tuple[str, ...], bad: list[str], status: int
) -> None:
    path, texts = tmp_path / "a.ndjson", [json.dumps(one) for one in session(100)[0]]
    path.write_text("\n".join([*texts[:50], *bad, *texts[50:]]) + "\n")
    name, *rest = (one.replace("OUT", str(tmp_path / "out")) for one in words)
    command = [*TICKPATH, name, str(path), "--ndjson", *rest]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    last = ((done.stderr or done.stdout).splitlines() or [""])[-1]
    assert ("left out: 1 line (line 51: " in last) == bool(bad)


@pytest.mark.parametrize(("lost", "status"), [(0, 0), (3, LEFT_OUT)])
def test_record_that_lost_events_is_6_and_says_so_last(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    lost: int,
    status: int,
) -> None:
    class Lapped(SimpleNamespace):
        """A recorder that its feed lapped."""

        def __getattr__(self, _: str) -> Callable[[], None]:
            return lambda: None

    totals = Totals(events=10, lost_events=lost)
    made = Lapped(instance="x", totals=totals, is_waiting=False)
    monkeypatch.setattr(record, "Recorder", lambda **_: made)
    words = ["record", "x", "--out", str(tmp_path), "--duration", "0.01"]
    assert cli.main(words) == status
    assert ("left out: 0 slots of messages and 3 events" in capsys.readouterr().err) == bool(lost)


@pytest.mark.parametrize(
    ("number", "statuses"),
    [(signal.SIGINT, (0, 130, -signal.SIGINT)), (signal.SIGTERM, (0, 143, -signal.SIGTERM))],
)
def test_signal_ends_a_command_by_0_or_as_a_shell_shows_it(
    number: signal.Signals, statuses: tuple[int, ...]
) -> None:
    with RehearsalFeed(INSTANCE, INSTRUMENTS):
        command = [*TICKPATH, "tail", INSTANCE]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as child:
            time.sleep(1.0)
            child.send_signal(number)
            assert child.wait(20) in statuses
            assert child.stderr is not None
            assert child.stderr.read() == ""


@pytest.mark.needs("root")
@pytest.mark.parametrize(
    "words", [("stat",), ("stat", INSTANCE), ("tail", INSTANCE), ("clean", INSTANCE)]
)
def test_what_this_user_may_not_open_is_3_and_says_whose_it_is(words: tuple[str, ...]) -> None:
    with RehearsalFeed(INSTANCE, INSTRUMENTS) as feed:
        shutil.chown(feed.segment.path, group="daemon")
        done = subprocess.run(
            [*TICKPATH, *words],
            user=65534, group=65534, extra_groups=[],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 3, done.stdout + done.stderr
    told = done.stdout + done.stderr
    assert f"tickpath.{INSTANCE}" in told or f"{INSTANCE}:" in told
    assert "Permission denied: owner root, group daemon, mode 0640: run as root" in told
    assert "usermod -aG daemon" in told


# ---- what a benchmark does not judge -------------------------------------------------------------


def judged(*, n: int = 10_000, load: float = 0.0, name: str = "p99, ours / other") -> bool | None:
    report = Report("unit", load_before=load)
    report.rows.append(Row("unit", "tickpath", "case", "ns", n, 1, 1, 1, 1, 1))
    return report.judged(Ratio("unit", "case", name, 0.5, "at most 1", met=True)).met


def test_bench_judges_nothing_on_a_loaded_host_nor_by_too_few_samples() -> None:
    cpus = os.cpu_count() or 1
    assert judged() is True
    assert judged(load=LOAD_MAX_EACH_CPU * cpus) is True
    assert judged(load=LOAD_MAX_EACH_CPU * cpus + 0.1) is None
    assert judged(n=100) is True
    assert judged(n=99) is None
    assert judged(n=999, name="p99.9, ours / other") is None
    assert judged(n=1000, name="p99.9, ours / other") is True
    assert judged(n=1, name="p50, ours / other") is True
