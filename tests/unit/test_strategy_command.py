"""`tickpath strategy` as a user runs it: its arguments, its output, its end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tickpath.engine.strategy import Strategy
from tickpath.engine.strategy.command import load_strategy
from tickpath.engine.strategy.rehearsal import RehearsalFeed
from tickpath.engine.strategy.stats import read_stats
from tickpath.proto.instrument import Instrument
from tickpath.shm.errors import LocalError
from tickpath.shm.segment import SegmentNotReadyError, remove_dead

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = f"{ROOT}/examples/top_of_book.py:TopOfBook"
INSTANCE = f"unit-{os.getpid():07d}"
INSTRUMENTS = (Instrument(0, "mexc", "BTCUSDT", -2, -6, 1),)


@pytest.fixture
def feed() -> Iterator[RehearsalFeed]:
    """A feed in /dev/shm, whose writer publishes a book every millisecond."""
    done = threading.Event()
    with RehearsalFeed(INSTANCE, INSTRUMENTS) as feed:

        def publish() -> None:
            price = 100
            while not done.is_set():
                price += 1
                feed.publish_top((price, 1), (price + 1, 2))
                feed.heartbeat()
                time.sleep(0.001)

        thread = threading.Thread(target=publish)
        thread.start()
        try:
            yield feed
        finally:
            done.set()
            thread.join()


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "tickpath.engine.cli", "strategy", *arguments]


def run(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, check=False, timeout=60, cwd=cwd
    )


def test_command_runs_the_example_and_sums_up(feed: RehearsalFeed) -> None:
    done = run(EXAMPLE, "--instance", INSTANCE, "--seconds", "0.3", "--block")
    assert (done.returncode, done.stderr) == (0, "")
    assert feed.consumers.counters()["wakes"] > 0  # it slept, and was woken
    lines = done.stdout.splitlines()
    assert any(line.split()[:2] == ["mexc:BTCUSDT", "LIVE"] for line in lines)
    assert any(
        len(line.split()) == 3 and line.split()[2].replace(".", "").isdigit() for line in lines
    )
    assert f"strategy TopOfBook on {INSTANCE}" in done.stdout
    assert "published to seen" in done.stdout


def test_command_prints_json_figures(feed: RehearsalFeed) -> None:
    done = run(
        EXAMPLE, "--instance", INSTANCE, "--seconds", "0.3", "--block", "--json", "--name", "a"
    )
    assert done.returncode == 0
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["strategy"], told["instance"]) == ("a", INSTANCE)
    assert told["counters"]["tops"] == told["hops"]["published_to_seen"]["n"] > 0


def test_command_finds_a_module_in_the_current_directory(
    feed: RehearsalFeed, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(
        "from tickpath.engine.strategy import Strategy\nclass Mine(Strategy): pass\n"
    )
    done = run("mine:Mine", "--instance", INSTANCE, "--seconds", "0.05", "--block", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_command_prints_the_traceback_of_a_strategy_that_raises(
    feed: RehearsalFeed, tmp_path: Path
) -> None:
    (tmp_path / "bad.py").write_text(
        "from tickpath.engine.strategy import Strategy\n"
        "class Bad(Strategy):\n"
        "    def on_book(self, instrument, book):\n"
        "        return 1 // 0\n"
    )
    done = run("bad.py:Bad", "--instance", INSTANCE, "--seconds", "20", "--block", cwd=tmp_path)
    assert done.returncode == 4
    assert "return 1 // 0" in done.stderr
    assert "ZeroDivisionError" in done.stderr
    assert done.stderr.splitlines()[-1] == "tickpath: strategy bad.py:Bad raised; it has ended"
    assert f"strategy Bad on {INSTANCE}" in done.stdout
    assert feed.ring.next > 0


HEAD = "from tickpath.engine.strategy import Strategy\n"


@pytest.mark.parametrize(
    ("code", "status", "last_line"),
    [
        ("import nowhere_at_all\n", 2, "it imports nowhere_at_all, which is not there"),
        ("class Bad(Strategy)\n", 2, "bad.py line 2: "),
        ("1 // 0\n", 4, "tickpath: strategy bad.py:Bad raised; it has ended"),
        (
            "class Bad(Strategy):\n    def __init__(self):\n        1 // 0\n",
            4,
            "tickpath: strategy bad.py:Bad raised; it has ended",
        ),
        (
            "class Bad(Strategy):\n    def __init__(self, cpu):\n        pass\n",
            4,
            "tickpath: strategy bad.py:Bad raised; it has ended",
        ),
        (
            "class Bad(Strategy):\n    def counter_names(self):\n        return [1 // 0]\n",
            4,
            "tickpath: strategy bad.py:Bad raised; it has ended",
        ),
    ],
)
def test_command_module_that_cannot_run_is_told_by_its_own_frames(
    feed: RehearsalFeed, tmp_path: Path, code: str, status: int, last_line: str
) -> None:
    (tmp_path / "bad.py").write_text(HEAD + code)
    done = run("bad.py:Bad", "--instance", INSTANCE, cwd=tmp_path)
    assert done.returncode == status
    lines = done.stderr.splitlines()
    assert last_line in lines[-1]
    assert len(lines) == 1 or "importlib" not in done.stderr
    assert len(lines) == 1 or "ZeroDivisionError" in done.stderr or "cpu" in done.stderr


def test_command_strategy_that_exits_is_summed_up(feed: RehearsalFeed, tmp_path: Path) -> None:
    code = "class Bad(Strategy):\n    def on_book(self, i, b):\n        raise SystemExit(5)\n"
    (tmp_path / "bad.py").write_text(HEAD + code)
    done = run("bad.py:Bad", "--instance", INSTANCE, "--block", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (5, "")
    assert f"strategy Bad on {INSTANCE}" in done.stdout


RAISES = {
    "import": "{}\nclass Bad(Strategy): pass\n",
    "init": "class Bad(Strategy):\n    def __init__(self):\n        {}\n",
    "start": "class Bad(Strategy):\n    def on_start(self):\n        {}\n",
    "book": "class Bad(Strategy):\n    def on_book(self, i, b):\n        {}\n",
    "stop": "class Bad(Strategy):\n    def on_stop(self):\n        {}\n",
}


@pytest.mark.parametrize("when", RAISES)
def test_command_strategy_that_exits_with_words_says_them_and_is_4(
    feed: RehearsalFeed, tmp_path: Path, when: str
) -> None:
    """By Python's rule it were status 1, which is the remote end's here."""
    (tmp_path / "bad.py").write_text(HEAD + RAISES[when].format("raise SystemExit('no money')"))
    done = run("bad.py:Bad", "--instance", INSTANCE, "--block", "--seconds", "0.2", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (
        4,
        "tickpath: strategy bad.py:Bad ended: no money\n",
    )


@pytest.mark.parametrize("when", RAISES)
def test_command_what_is_no_exception_is_the_strategys_own_fault_too(
    feed: RehearsalFeed, tmp_path: Path, when: str
) -> None:
    """asyncio's CancelledError is none: it was status 1, with our frames and without figures."""
    (tmp_path / "bad.py").write_text(HEAD + RAISES[when].format("raise GeneratorExit('odd')"))
    done = run("bad.py:Bad", "--instance", INSTANCE, "--block", "--seconds", "0.2", cwd=tmp_path)
    assert done.returncode == 4
    assert done.stderr.splitlines()[-1] == "tickpath: strategy bad.py:Bad raised; it has ended"
    assert "runtime.py" not in done.stderr
    assert (f"strategy Bad on {INSTANCE}" in done.stdout) == (when in {"start", "book", "stop"})


@pytest.mark.parametrize(
    ("writes", "status"), [("print('x', flush=True)", 141), ("raise BrokenPipeError(32, 'x')", 4)]
)
def test_command_strategy_whose_output_nobody_reads_ends_in_silence(
    feed: RehearsalFeed, tmp_path: Path, writes: str, status: int
) -> None:
    code = f"class Quiet(Strategy):\n    def on_book(self, i, b):\n        {writes}\n"
    (tmp_path / "quiet.py").write_text(HEAD + code)
    reading, writing = os.pipe()
    if status == 141:
        os.close(reading)  # else it is another pipe that broke, not its output
    argv = command("quiet.py:Quiet", "--instance", INSTANCE, "--block")
    try:
        done = subprocess.run(
            argv, cwd=tmp_path, stdout=writing, stderr=subprocess.PIPE, check=False, timeout=30
        )
    finally:
        os.close(writing)
        if status == 4:
            os.close(reading)
    assert done.returncode == status
    assert (done.stderr == b"") == (status == 141)


@pytest.mark.slow
def test_command_strategy_that_falls_behind_ends_in_time(
    feed: RehearsalFeed, tmp_path: Path
) -> None:
    code = "import time\nclass Slow(Strategy):\n"
    code += "    def on_book(self, i, b):\n        time.sleep(0.2)\n"
    (tmp_path / "slow.py").write_text(HEAD + code)
    done = run("slow.py:Slow", "--instance", INSTANCE, "--seconds", "1", "--json", cwd=tmp_path)
    assert done.returncode == 0
    # Five fit into a second; without a look at the time between them it would be 512.
    assert 0 < json.loads(done.stdout)["counters"]["tops"] <= 6


def test_command_ends_in_good_order_on_sigterm(feed: RehearsalFeed) -> None:
    with started(EXAMPLE, "--instance", INSTANCE, "--block") as child:
        child.send_signal(signal.SIGTERM)
        out, errors = child.communicate(timeout=30)
        assert (child.returncode, errors) == (0, "")
        assert f"strategy TopOfBook on {INSTANCE}" in out
    with pytest.raises(SegmentNotReadyError):
        read_stats(INSTANCE, "TopOfBook")


def test_strategy_killed_harms_nobody_and_can_be_started_again(feed: RehearsalFeed) -> None:
    with started(EXAMPLE, "--instance", INSTANCE, "--block") as child:
        child.kill()
        child.communicate()
    published = feed.ring.next
    left = read_stats(INSTANCE, "TopOfBook")
    assert not left.is_running
    done = run(EXAMPLE, "--instance", INSTANCE, "--seconds", "0.05", "--block")
    assert done.returncode == 0
    assert feed.ring.next > published
    assert not remove_dead(f"{INSTANCE}.strategy.TopOfBook")  # the second one cleaned up


@contextlib.contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start the command, and wait until its strategy has seen books."""
    with subprocess.Popen(
        command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as child:
        end = time.monotonic() + 30
        while time.monotonic() < end:
            with contextlib.suppress(SegmentNotReadyError):
                if read_stats(INSTANCE, "TopOfBook").counters["tops"] > 0:
                    break
            time.sleep(0.01)
        try:
            yield child
        finally:
            child.kill()


def test_command_pins_and_raises_priority(feed: RehearsalFeed, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("missing capability: SCHED_FIFO needs root")
    (tmp_path / "where.py").write_text(
        "import os\n"
        "from tickpath.engine.strategy import Strategy\n"
        "class Where(Strategy):\n"
        "    def on_start(self):\n"
        "        print(os.sched_getaffinity(0), os.sched_getscheduler(0) & 0xff)\n"
    )
    cpu = max(os.sched_getaffinity(0))
    done = run(
        "where:Where",
        "--instance",
        INSTANCE,
        "--seconds",
        "0.05",
        "--cpu",
        str(cpu),
        "--priority",
        "1",
        "--block",
        cwd=tmp_path,
    )
    assert done.stdout.splitlines()[0] == f"{{{cpu}}} {os.SCHED_FIFO}"


@pytest.mark.needs("root", "two_cpus")
def test_command_strategy_that_hangs_loses_its_priority_and_tells(
    feed: RehearsalFeed, tmp_path: Path
) -> None:
    code = (
        "import time\n"
        "from tickpath.engine.strategy import Strategy\n"
        "class Hangs(Strategy):\n"
        "    def on_book(self, instrument, book):\n"
        "        end = time.monotonic() + 30\n"
        "        while time.monotonic() < end:\n            pass\n"
    )
    (tmp_path / "hangs.py").write_text(code)
    words = ["hangs:Hangs", "--instance", INSTANCE, "--priority", "2"]
    words += ["--cpu", str(max(os.sched_getaffinity(0)))]
    with subprocess.Popen(
        command(*words), stderr=subprocess.PIPE, text=True, cwd=tmp_path
    ) as child:
        try:
            assert child.stderr is not None
            while "ran without a heartbeat" not in (line := child.stderr.readline()):
                assert line, "ended untold"
            assert f"guard: thread {child.pid} " in line
            assert os.sched_getscheduler(child.pid) & ~os.SCHED_RESET_ON_FORK == os.SCHED_OTHER
        finally:
            child.kill()
    remove_dead(f"{INSTANCE}.strategy.Hangs")


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("nowhere:X", "--instance", INSTANCE), 2, "strategy module 'nowhere': not found"),
        (("nowhere.py:X", "--instance", INSTANCE), 2, "no such file"),
        (("top_of_book", "--instance", INSTANCE), 2, "expected MODULE:CLASS"),
        ((f"{ROOT}/examples/top_of_book.py:Nothing", "--instance", INSTANCE), 2, "is not there"),
        (("json:JSONDecoder", "--instance", INSTANCE), 2, "no class derived from Strategy"),
        ((EXAMPLE, "--instance", "unit-no-such", "--wait", "0"), 3, "start its writer"),
        ((EXAMPLE, "--instance", INSTANCE, "--seconds", "0"), 2, "expected more than 0"),
        ((EXAMPLE, "--instance", INSTANCE, "--seconds", "inf"), 2, "expected more than 0"),
        ((EXAMPLE, "--instance", INSTANCE, "--wait", "-1"), 2, "expected 0 or more"),
        ((EXAMPLE, "--instance", "../x"), 2, "--instance is '../x' (a string), expected 1 to 64"),
        ((EXAMPLE, "--instance", "x", "--name", "a/b"), 2, "--name is 'a/b' (a string), expected"),
    ],
)
def test_command_refuses_in_one_line(arguments: tuple[str, ...], status: int, message: str) -> None:
    done = run(*arguments)
    assert done.returncode == status
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_command_refuses_a_cpu_that_is_not_there(feed: RehearsalFeed) -> None:
    done = run(EXAMPLE, "--instance", INSTANCE, "--cpu", "4095", "--seconds", "1")
    assert done.returncode == 2
    assert "CPU 4095" in done.stderr.splitlines()[-1]


def test_example_is_short_and_derives_from_strategy() -> None:
    assert issubclass(load_strategy(EXAMPLE), Strategy)
    assert len((ROOT / "examples" / "top_of_book.py").read_text().splitlines()) < 30


def test_load_strategy_names_what_is_wrong() -> None:
    with pytest.raises(LocalError, match="MODULE:CLASS"):
        load_strategy("x")
