"""`kill -9` and SIGSTOP of each process of the path: who notices, what is left, who heals it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tickpath.engine.commands.demo_placement import place_processes
from tickpath.engine.strategy.stats import StrategyStats, read_stats
from tickpath.rt import limits
from tickpath.shm.segment import DIRECTORY, SegmentError

from tests.netns.rig import (
    LIVE,
    PATIENCE_S,
    TICKPATH,
    Exchange,
    Program,
    Settings,
    Supervised,
    VethPair,
    Watcher,
    assert_truth,
    children,
    is_gone,
    kill,
    start,
    until,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.needs("root", "netns", "af_xdp", "bpftool")

SYMBOLS = ("BTCUSDT", "ETHUSDT")
STALE_AFTER_NS = 100_000_000
RESTART_MAX_S = 5.0  # 2 s on a quiet machine


class System:
    """Simulator, supervisor with its feed handler, a watcher and a strategy process."""

    def __init__(self, pair: VethPair, directory: Path) -> None:
        self.pair, self.directory = pair, directory
        self.exchange = Exchange(
            pair, directory, "--instruments", ",".join(SYMBOLS), "--rate", "500"
        )
        self.run = Supervised(pair, directory, Settings(symbols=SYMBOLS))
        self.watcher: Watcher = self.run.watch(stale_after_ns=STALE_AFTER_NS)
        self.watcher.wait_state(LIVE)

    def strategy(self, name: str) -> Program:
        """Start a strategy and wait until it saw events."""
        words = ["strategy", "tickpath.engine.strategy.spread:Spread", "--block", "--name", name]
        command = [*TICKPATH, *words, "--instance", self.run.instance]
        program = start(self.pair, self.pair.feed_handler, self.directory / f"{name}.log", command)
        until(f"events in {name}", lambda: self.events(name))
        return program

    def stats(self, name: str) -> StrategyStats:
        """Return a strategy's figures."""
        return read_stats(self.run.instance, name)

    def events(self, name: str) -> int:
        """Return how many events it saw, 0 while it is not there."""
        with contextlib.suppress(SegmentError):
            return self.stats(name).counters["events"]
        return 0

    def xdp(self) -> list[Any]:
        """List the XDP programs in the feed handler's namespace."""
        child = self.pair.spawn(
            self.pair.feed_handler,
            ["bpftool", "-j", "net"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        out, _ = child.communicate(timeout=PATIENCE_S)
        return list(json.loads(out)[0]["xdp"])


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    with VethPair.open() as pair:
        made = System(pair, tmp_path)
        yield made
        made.watcher.reader.close()
        made.run.end()


def until_stale(watcher: Watcher) -> float:
    """Return how long it took, in seconds from now, until every book is STALE."""
    begin = time.monotonic()
    end = begin + PATIENCE_S
    while any(state == LIVE for state in watcher.states()):
        assert time.monotonic() < end
    return time.monotonic() - begin


def test_feed_handler_killed_is_stale_then_restarted_and_strategies_go_on(
    system: System, record_property: Any
) -> None:
    strategy = system.strategy("steady")
    pid = system.run.feed_handler_pid
    assert len(system.xdp()) == 1
    os.kill(pid, signal.SIGSTOP)  # what follows is about its heart, not about its death
    stale_s = until_stale(system.watcher)
    book = system.watcher.reader.book(0)
    assert book.writer_silent_ns > STALE_AFTER_NS or book.why.startswith("its writer ended")
    kill(pid)
    killed = time.monotonic()
    until("the end of the feed handler", lambda: is_gone(pid))
    assert system.run.files(), "a killed writer leaves its segment to its successor"
    before = system.events("steady")
    system.watcher.wait_state(LIVE)
    live_s = time.monotonic() - killed
    print(
        f"STALE {stale_s * 1000:.0f} ms after the heart stopped, LIVE {live_s:.2f} s after kill -9"
    )
    assert live_s < RESTART_MAX_S
    assert system.run.feed_handler_pid != pid
    until("events of the new writer", lambda: system.events("steady") > before)
    assert strategy.process.poll() is None
    assert system.stats("steady").counters["restarts"] == 1
    system.exchange.fault("pause")
    assert_truth(system.exchange, system.watcher)
    assert len(system.xdp()) == 1


def test_feed_handler_killed_takes_its_xdp_program_along(system: System) -> None:
    pid = system.run.feed_handler_pid
    kill(system.run.program.process.pid, signal.SIGSTOP)  # so that nobody restarts it
    kill(pid)
    stale_s = until_stale(system.watcher)
    until("the end of the feed handler", lambda: is_gone(pid))
    until("the end of the program", lambda: not system.xdp())
    kill(system.run.program.process.pid, signal.SIGCONT)
    system.watcher.wait_state(LIVE)
    print(f"STALE {stale_s * 1000:.0f} ms after kill -9")


def test_feed_handler_that_hangs_is_killed_and_restarted(system: System) -> None:
    pid = system.run.feed_handler_pid
    time.sleep(0.5)  # LIVE may come before two looks of the supervisor: it would give it 30 s yet
    kill(pid, signal.SIGSTOP)
    until_stale(system.watcher)
    system.run.program.wait_for("feed handler hangs")
    system.run.program.wait_for("by signal 9")
    system.watcher.wait_state(LIVE)
    assert system.run.feed_handler_pid != pid


def test_strategy_killed_is_noticed_by_nobody(system: System) -> None:
    strategy, other = system.strategy("victim"), system.strategy("other")
    pid = system.run.feed_handler_pid
    system.watcher.changes.clear()
    before = system.run.counters()
    kill(strategy.process.pid)
    strategy.process.wait()
    seen = system.events("other")
    system.run.wait_counter("feed.messages", before["feed.messages"] + 200)
    after = system.run.counters()
    for name in ("feed.gaps", "feed.broken", "feed.resyncs", "hot.disconnects", "hot.connects"):
        assert after[name] == before[name], name
    system.watcher.drain()
    assert system.watcher.changes == []
    assert system.run.feed_handler_pid == pid
    until("more events in the other one", lambda: system.events("other") > seen)
    assert other.process.poll() is None
    assert not system.stats("victim").is_running


def test_supervisor_killed_takes_the_feed_handler_along_and_a_new_one_takes_over(
    system: System,
) -> None:
    pid = system.run.feed_handler_pid
    kill(system.run.program.process.pid)
    until("the end of the feed handler", lambda: is_gone(pid))
    until("the end of the program", lambda: not system.xdp())
    until_stale(system.watcher)
    command = [*TICKPATH, "run", str(system.run.config)]
    again = start(system.pair, system.pair.feed_handler, system.directory / "again.log", command)
    system.watcher.wait_state(LIVE)
    assert again.end() == 0
    assert system.run.files() == []


def test_everything_ends_on_sigterm_and_tells_the_exchange(system: System) -> None:
    assert system.exchange.ask("/status")["connections"] == 1
    assert system.run.program.end() == 0
    assert system.run.files() == []
    assert system.xdp() == []
    assert system.watcher.states() != [LIVE, LIVE]
    until("the connection's end", lambda: system.exchange.ask("/status")["connections"] == 0)


# ---- the demo ------------------------------------------------------------------------------------


def descendants(pid: int) -> set[int]:
    """List all processes below one."""
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        with contextlib.suppress(OSError):
            below = children(waiting.pop())
            found |= set(below)
            waiting += below
    return found


def demo(*words: str) -> subprocess.Popen[str]:
    command = [*TICKPATH, "demo", "--seconds", "60", "--instruments", "2", "--no-paths", *words]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def run_until_live(child: subprocess.Popen[str]) -> set[int]:
    """Wait for the first lines of a running demo; returns its processes."""
    assert child.stdout is not None
    said = ""
    for line in child.stdout:
        said += line
        if re.search(r"[1-9][0-9,]* messages", line):
            return descendants(child.pid)
    raise AssertionError(f"the demo ended early: {said}")


def is_of(name: str, pid: int) -> bool:
    """Tell demo-12 and what belongs to it from demo-123, another run's."""
    return re.match(rf"tickpath\.demo-{pid}\b", name) is not None


def leftovers(pid: int, processes: set[int]) -> list[str]:
    """List what a demo has not cleaned up."""
    left = [f"process {one}" for one in processes if not is_gone(one)]
    left += [str(path) for path in DIRECTORY.glob("tickpath.demo-*") if is_of(path.name, pid)]
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    left += [line for line in links.splitlines() if re.search(rf"\btp[er]{pid}\b", line)]
    return left


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the demo a temporary folder of its own to look into."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_demo_leaves_nothing_however_it_ends(temporary: Path, number: signal.Signals) -> None:
    child = demo()
    try:
        processes = run_until_live(child)
        assert len(processes) >= 7, (
            processes
        )  # two namespaces, simulator, supervisor, feed handler, ...
        assert list(temporary.iterdir())
        child.send_signal(number)
        output, _ = child.communicate(timeout=PATIENCE_S)
        assert child.returncode in (-signal.SIGKILL, 128 + number)
        assert ("all rates are averages" in output) == (number != signal.SIGKILL), output
        assert "STALE" not in output, "the summary comes before anything is stopped"
        until("the last process", lambda: not leftovers(child.pid, processes))
        until("the temporary folder's end", lambda: not list(temporary.iterdir()))
    finally:
        child.kill()
        child.wait()


def command_line(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8").replace("\0", " ")
    return ""


@pytest.mark.parametrize(
    ("victim", "said", "status"),
    [
        (
            "feed_handler.process",
            "feed handler restarted 1 time",
            0,
        ),  # its supervisor starts it again
        ("sys.stdin.buffer", "all rates", 0),  # the janitor: the demo tidies up itself
        ("cli run", "tickpath: feed-handler (process", 1),
        ("sim mexc", "tickpath: exchange (process", 1),
        (
            "spread:CrossVenueSpread",
            "tickpath: strategy-spread (process",
            1,
        ),  # not its guard, which has the same --name
    ],
)
def test_demo_goes_to_its_end_whatever_is_killed_in_it(
    temporary: Path, victim: str, said: str, status: int
) -> None:
    child = demo("--seconds", "3" if said else "9")
    try:
        processes = run_until_live(child)
        kill(next(pid for pid in processes if victim in command_line(pid)))
        output, _ = child.communicate(timeout=PATIENCE_S)
        assert said in output, output
        assert child.returncode == status, output
        until("the last process", lambda: not leftovers(child.pid, processes))
        assert not list(temporary.iterdir())
    finally:
        child.kill()
        child.wait()


def test_demo_killed_while_it_times_paths_leaves_nothing(temporary: Path) -> None:
    command = [*TICKPATH, "demo", "--seconds", "60"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        pattern = f"tickpath.demo-{child.pid}.wire-*"
        until("a segment of the timing", lambda: list(DIRECTORY.glob(pattern)))
        processes = descendants(child.pid)
        child.kill()
        until("the last process", lambda: not leftovers(child.pid, processes))
        until("the temporary folder's end", lambda: not list(temporary.iterdir()))
    finally:
        child.kill()
        child.wait()
        if child.stdout is not None:
            child.stdout.close()


def first_strategy() -> str:
    """Return the one that the demo's headline names, by how many CPUs there are."""
    placed = place_processes(limits.available_cpus())
    return "crossing (inline native)" if placed.inline else "spread"


@pytest.mark.parametrize("bounded", [False, True])
def test_demo_without_privileges_or_asked_to_runs_on_kernel_sockets(
    temporary: Path, bounded: bool
) -> None:
    """Root without capabilities is what a container often has."""
    bounds = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if bounded else []
    words = [] if bounded else ["--backend", "kernel"]
    command = [*bounds, *TICKPATH, "demo", "--seconds", "2", "--instruments", "2", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout
    because = "AF_XDP needs CAP_NET_ADMIN" if bounded else "asked for by --backend kernel"
    assert f"path: kernel sockets over loopback, because: {because}" in done.stdout
    assert "path: kernel sockets" in done.stdout
    assert f"books of 3 venues reached strategy {first_strategy()} " in done.stdout
    assert "you saw 6 books LIVE, kept by one feed handler from " in done.stdout
    assert not list(temporary.iterdir())


def test_demo_compares_three_venues_and_counts_where_they_cross(temporary: Path) -> None:
    command = [*TICKPATH, "demo", "--seconds", "8", "--no-paths", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert {(one["venue"], one["state"]) for one in told["books"]} == {
        (venue, "LIVE") for venue in ("mexc", "binance", "kraken")
    }
    assert len(told["spreads"]) == len(told["books"]) // 3 == 4
    for one in told["spreads"]:
        assert one["compared"] > 0
        assert one["crossings"] <= one["crossed"] < one["compared"]
        assert one["mean_bps"] <= one["widest_bps"] < 20
    assert sum(one["crossings"] for one in told["spreads"]) > 0, "venues cross now and then"
    assert not list(temporary.iterdir())


def test_demo_times_a_message_over_both_paths_or_says_why_not(temporary: Path) -> None:
    command = [*TICKPATH, "demo", "--seconds", "1", "--instruments", "2", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    if told["paths"]:  # a host may be too busy for it, and then that is said
        assert [one["contender"] for one in told["paths"]] == ["tickpath", "kernel"]
        assert all(one["n"] == 2000 and one["p50"] > 0 for one in told["paths"])
    else:
        assert any("not timed, because: wire, " in note for note in told["notes"])
    assert not list(temporary.iterdir())


def test_demo_of_one_venue_has_nothing_to_compare(temporary: Path) -> None:
    scenario = temporary / "one.toml"
    scenario.write_text('instruments = 2\nrate = 500\n[[venue]]\nname = "kraken"\n')
    words = ["--seconds", "2", "--backend", "kernel", "--json", "--scenario", str(scenario)]
    done = subprocess.run(
        [*TICKPATH, "demo", *words], capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert [one["symbol"] for one in told["books"]] == ["BTC/USDT", "ETH/USDT"]
    assert told["spreads"] == []
    reached = f"reached strategy {first_strategy()} "
    assert told["headline"].split(" books ")[1].startswith(reached)
