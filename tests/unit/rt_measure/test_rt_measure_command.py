"""`tickpath rt measure` and `report` as they are run: real tools, the bare host's python3."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tickpath.rt import bundle

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.slow

RT = [sys.executable, "-P", "-m", "tickpath.rt"]
CPU = str(max(os.sched_getaffinity(0)))


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.needs("root", "rt_tests")
@pytest.mark.parametrize("tool", ["cyclictest", "oslat"])
def test_measure_real_tool_gives_figures_causes_and_a_verdict(tool: str) -> None:
    done = run(*RT, "measure", "--tools", tool, "--cpus", CPU, "--seconds", "1", "--json")
    assert done.returncode == 0, done.stderr
    assert f"{tool} on CPU {CPU} for 1 s" in done.stderr
    (one,) = json.loads(done.stdout)["runs"]
    assert one["histogram"]["samples"] > 500
    assert one["verdict"] in {"conclusive", "inconclusive"}
    assert one["verdict"] == "conclusive" or one["reasons"]
    assert {"LOC", "steal"} <= {cause["name"] for cause in one["causes"]}


def test_measure_own_sampler_in_the_one_file_of_a_bare_host(tmp_path: Path) -> None:
    target = tmp_path / "rt.pyz"
    bundle.write_bundle(target)
    words = ["/usr/bin/python3", "-I", str(target)]
    options = ["--tools", "gap", "--cpus", CPU, "--seconds", "1", "--priority", "0", "--json"]
    done = run(*words, "measure", *options)
    assert done.returncode == 0, done.stderr
    (one,) = json.loads(done.stdout)["runs"]
    assert one["floor_ns"] > 0
    assert one["histogram"]["samples"] > 100_000
    assert one["histogram"]["min_ns"] == one["floor_ns"]

    saved = tmp_path / "measure.json"
    saved.write_text(done.stdout)
    page = tmp_path / "page.html"
    done = run(*words, "report", "--measure", str(saved), "--output", str(page))
    assert done.returncode == 0, done.stderr
    assert "gap: spin" in page.read_text()


@pytest.mark.needs("root", "two_cpus")
def test_measure_ab_of_cpus_has_an_interval_for_each_percentile() -> None:
    words = ["--tools", "gap", "--seconds", "1", "--rounds", "8", "--priority", "0", "--json"]
    done = run(*RT, "measure", "--ab", "cpu:0", "cpu:1", *words)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)["ab"]
    assert told["interleaved"] is True
    assert [told["sides"][name]["rounds"] for name in ("A", "B")] == [8, 8]
    first = told["differences"][0]
    assert first["low_ns"] <= first["b_ns"] - first["a_ns"] <= first["high_ns"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--cpus", "9999"], "at most 8191"),
        (["--cpus", "8191"], "CPU 8191 is not online"),
        (["--cpus", ""], "no CPU"),
        (["--cpus", "0-"], "expected a number or a range"),
        (["--seconds", "0"], "--seconds 0: expected 1 to"),
        (["--priority", "41"], "--priority 41: expected 0 to 40"),
        (["--tools", "perf"], "--tools perf: expected some of"),
        (["--interval", "1"], "--interval 1: expected"),
        (["--ab", "cpu:0", "cpu:0", "--rounds", "2"], "--rounds 2: expected 8 to"),
        (["--ab", "cpu:0", "file:x"], "a saved set compares with a saved set only"),
        (["--ab", "cpu:0", "cpu:8000"], "not all of them are online"),
        (["--ab", "x", "cpu:0"], "expected file:SAVED.json"),
    ],
)
def test_measure_what_cannot_be_is_refused_in_one_line(words: list[str], complaint: str) -> None:
    done = run(*RT, "measure", *words)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_measure_that_is_killed_leaves_nobody_spinning(number: int) -> None:
    words = ["--tools", "gap", "--cpus", CPU, "--seconds", "600", "--priority", "0"]
    with subprocess.Popen([*RT, "measure", *words], stderr=subprocess.DEVNULL) as child:
        children = Path(f"/proc/{child.pid}/task/{child.pid}/children")
        sampler = until("the sampler", lambda: children.read_text().split())[0]
        child.send_signal(number)
        child.wait(60)
    until("its end", lambda: not Path(f"/proc/{sampler}").exists())


def until(what: str, ready: Callable[[], Any]) -> Any:
    """Return the first true answer."""
    end = time.monotonic() + 60
    while not (answer := ready()):
        assert time.monotonic() < end, f"{what} never came"
        time.sleep(0.01)
    return answer


def test_measure_help_has_an_example() -> None:
    assert "example: tickpath rt measure" in run(*RT, "measure", "--help").stdout
