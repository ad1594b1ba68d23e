"""What a forked child of each owner does at its exit: nothing, to anybody but itself."""

from __future__ import annotations

import contextlib
import fcntl
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
from tickpath._core import lib
from tickpath.engine.loop.pauses import Pauses
from tickpath.engine.strategy.guarded import Guarding
from tickpath.engine.strategy.rehearsal import RehearsalFeed
from tickpath.engine.strategy.stats import create_stats, read_stats
from tickpath.engine.supervisor.end_signals import EndSignals
from tickpath.engine.supervisor.stop_flag import StopFlag
from tickpath.netstack.route import PortReservation
from tickpath.netstack.session import ConnectOptions, Session
from tickpath.proto.instrument import Instrument
from tickpath.rt.notify import Notifier
from tickpath.shm.budget import FILE_NAME, LOCK_NAME
from tickpath.shm.control_segment import consumers
from tickpath.shm.ownership import taking
from tickpath.shm.reader import Reader
from tickpath.shm.segment import SegmentLockedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

INSTANCE = f"fork-{os.getpid()}"
INSTRUMENTS = (Instrument(0, "mexc", "BTCUSDT", -2, -6, 1),)
FORKS = """
import multiprocessing, os, sys, time
from tickpath.engine.strategy import Strategy

def double(x): return 2 * x
def sleep(): time.sleep(60)

class Forks(Strategy):
    def on_start(self):
        self.reader.shm.segment
        {body}
"""
EXITS = """
        pid = os.fork()
        if pid == 0:
            self.on_book = None
            {end}
        print("status", os.waitpid(pid, 0)[1], flush=True)"""
POOL = """
        context = multiprocessing.get_context("fork")
        with context.Pool(2) as pool:
            print("doubled", pool.map(double, range(3)), flush=True)
        child = context.Process(target=sleep)
        child.start()
        time.sleep(0.3)
        child.terminate()
        child.join(20)
        print("ended by", child.exitcode, flush=True)"""


@pytest.fixture
def feed() -> Iterator[RehearsalFeed]:
    with RehearsalFeed(INSTANCE, INSTRUMENTS) as feed:
        yield feed


def in_child(do: Callable[[], object]) -> int:
    """Run it in a forked child that ends as one does who forgets os._exit; return its status."""
    pid = os.fork()
    if pid == 0:
        try:
            do()
        finally:
            os._exit(7)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def run(folder: Path, body: str, *words: str) -> subprocess.CompletedProcess[str]:
    path = folder / "forks.py"
    path.write_text(FORKS.format(body=body))
    command = ["tickpath", "strategy", f"{path}:Forks", "--instance", INSTANCE, "--seconds", "1"]
    return subprocess.run(
        [*command, "--json", *words], capture_output=True, text=True, check=False, timeout=60
    )


# ---- the strategy ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("end", "status"), [("sys.exit(3)", 3), ("raise KeyError(1)", 4), ("return", 4)]
)
def test_child_of_a_strategy_ends_alone(
    feed: RehearsalFeed, tmp_path: Path, end: str, status: int
) -> None:
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(address))
        manager.settimeout(20)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("NOTIFY_SOCKET", str(address))
            done = run(tmp_path, EXITS.format(end=end))
        told = [manager.recv(4096)]
        manager.setblocking(False)
        try:
            while True:
                told.append(manager.recv(4096))
        except BlockingIOError:
            pass
    assert done.returncode == 0, done.stderr
    *lines, summary = done.stdout.splitlines()
    assert lines == [f"status {status << 8}"]
    assert json.loads(summary)["is_running"] is True  # its segment was there until its own end
    # Said once, by the strategy at its end; ready by the guard, if it looked before that.
    assert [b"STOPPING=1" in one for one in told].count(True) == 1
    assert not any(b"READY=1" in one for one in told[1:])
    last = {"return": "came back into its loop", "raise KeyError(1)": "the strategy goes on\n"}
    assert last.get(end, "") in done.stderr
    assert "it has ended" not in done.stderr


def test_child_by_multiprocessing_works_and_can_be_ended(
    feed: RehearsalFeed, tmp_path: Path
) -> None:
    done = run(tmp_path, POOL)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:2] == ["doubled [0, 2, 4]", f"ended by {-signal.SIGTERM}"]


def test_child_that_is_told_to_end_before_it_runs_ends() -> None:
    """As a pool's workers are on a busy host, where the pool then waits for them."""
    ends = []
    with EndSignals(lambda: None, "nothing"):
        for _ in range(50):
            pid = os.fork()
            if pid == 0:
                time.sleep(5.0)
                os._exit(0)
            os.kill(pid, signal.SIGTERM)
            ends.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
            if ends[-1] == 0:
                break
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
    assert ends == [-signal.SIGTERM] * 50


def test_child_of_a_pinned_strategy_may_run_elsewhere(feed: RehearsalFeed, tmp_path: Path) -> None:
    cpus = sorted(os.sched_getaffinity(0))
    body = "\n        ".join(
        [
            "if os.fork() == 0:",
            "    print(sorted(os.sched_getaffinity(0)), flush=True)",
            "    os._exit(0)",
            "os.wait()",
        ]
    )
    done = run(tmp_path, body, "--cpu", str(cpus[-1]))
    assert done.stdout.splitlines()[0] == str(cpus), done.stderr


# ---- each owner --------------------------------------------------------------------------------


def test_child_leaves_a_segment_and_its_lock(tmp_path: Path) -> None:
    stats = create_stats("x", "one", directory=tmp_path)
    stats.store_counter(0, 5)

    def spoil() -> None:
        stats.store_counter(0, 99)
        lib.tp_histogram_record(lib.tp_segment_histogram(stats.pointer, 0), 1000)
        stats.close()

    in_child(spoil)
    assert stats.path.exists()
    assert (tmp_path / f"{stats.path.name}.lock").exists()
    with pytest.raises(SegmentLockedError):
        create_stats("x", "one", directory=tmp_path)
    seen = read_stats("x", "one", directory=tmp_path)
    assert seen.counters["events"] == 5
    assert seen.hops["received_to_seen"].n == 0
    assert seen.is_running
    stats.close()
    assert list(tmp_path.iterdir()) == []


def test_lock_is_free_while_a_child_of_the_dead_writer_lives(tmp_path: Path) -> None:
    """A child that outlives its parent would have kept the name from the next writer."""
    context = multiprocessing.get_context("fork")
    stats = create_stats("x", "one", directory=tmp_path)
    child = context.Process(target=time.sleep, args=(30,))
    child.start()
    try:
        stats.close()
        create_stats("x", "one", directory=tmp_path).close()
    finally:
        child.kill()
        child.join()


def test_child_leaves_a_feed_its_control_segment_and_its_consumers(feed: RehearsalFeed) -> None:
    with Reader(INSTANCE) as reader:
        assert reader.register("ours")
        in_child(feed.close)
        assert [one.name for one in consumers(feed.segment)] == ["ours"]
        assert feed.segment.path.with_name(f"{feed.segment.path.name}.ctl").exists()
        feed.publish_top((1, 1), (2, 2))
        assert reader.poll() == lib.TP_READER_EVENT


def test_child_leaves_a_reader_its_place(feed: RehearsalFeed) -> None:
    with Reader(INSTANCE) as reader:
        assert reader.register("ours")

        def read_on() -> None:
            feed_sees = reader.poll()
            why = reader.unregistered_because
            reader.close()
            os._exit(0 if feed_sees == lib.TP_READER_EVENT and "parent" in why else 1)

        feed.publish_top((1, 1), (2, 2))
        assert in_child(read_on) == 0
        assert [one.name for one in consumers(feed.segment)] == ["ours"]
        assert reader.is_registered
        assert reader.poll() == lib.TP_READER_EVENT


def test_child_can_register_for_itself(feed: RehearsalFeed) -> None:
    with Reader(INSTANCE) as reader:
        assert reader.register("ours")

        def join() -> None:
            is_one = reader.register("child's")
            names = {one.name: one.pid for one in consumers(feed.segment)}
            os._exit(0 if is_one and names["child's"] == os.getpid() else 1)

        assert in_child(join) == 0


# ---- a lock that another thread is about to take -------------------------------------------------

# A process that forks children while a thread of it takes locks, and is killed: whoever is left of
# it is such a child, whose pid it said.
DIES = """
import os, signal, sys, threading, time
from pathlib import Path
from tickpath.engine.strategy.stats import create_stats
from tickpath.shm.budget import FILE_NAME, LOCK_NAME
from tickpath.shm.control_segment import consumers
from tickpath.shm.ownership import taking
from tickpath.shm.reader import Reader
from tickpath.shm.segment import Segment

def fork():
    pid = os.fork()
    if pid == 0:
        time.sleep(60)
        os._exit(0)
    os.write(1, f"{{pid}}\\n".encode())

{body}
os.kill(os.getpid(), signal.SIGKILL)
"""
REGISTERS = """
reader = Reader(sys.argv[1])
threading.Thread(target=reader.register, args=("ours",), kwargs={"lossless": True}).start()
look = Segment(sys.argv[1])
while not consumers(look):
    time.sleep(0.001)
fork()
"""
CREATES = """
made = []
def create():
    for number in range(60):
        made.append(create_stats("x", f"s{number}", directory=Path(sys.argv[1])))
thread = threading.Thread(target=create)
thread.start()
while thread.is_alive():
    fork()
"""


@contextlib.contextmanager
def left_by(body: str, *words: str) -> Iterator[None]:
    """Run such a process to its end; its children live until this ends."""
    command = [sys.executable, "-P", "-c", DIES.format(body=body), *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            assert process.wait(60) == -signal.SIGKILL
            yield
        finally:
            process.kill()
            assert process.stdout is not None
            for pid in os.read(process.stdout.fileno(), 1 << 16).split():  # its children hold it
                os.kill(int(pid), signal.SIGKILL)


def test_fork_waits_for_a_thread_that_takes_a_lock() -> None:
    begun, is_taken = threading.Event(), []

    def take() -> None:
        with taking:
            begun.set()
            time.sleep(0.3)
            is_taken.append(True)

    thread = threading.Thread(target=take)
    thread.start()
    begun.wait(20)
    assert in_child(lambda: os._exit(0 if is_taken else 1)) == 0
    thread.join()
    with taking:  # nobody has it behind a fork
        assert in_child(lambda: os._exit(0)) == 0


def test_fork_keeps_no_slot_that_is_being_claimed() -> None:
    """A lossless registration that its feed does not answer takes three seconds."""
    name = f"{INSTANCE}-lossless"
    with RehearsalFeed(name, INSTRUMENTS, lossless_deadline_ns=10**9) as feed:
        path = feed.segment.path.with_name(f"{feed.segment.path.name}.ctl")
        with left_by(REGISTERS, name), path.open("rb") as file:
            held = [one for one in range(64) if lib.tp_control_slot_is_held(file.fileno(), one)]
            assert held == []


def test_fork_keeps_no_name_that_is_being_taken(tmp_path: Path) -> None:
    with left_by(CREATES, str(tmp_path)):
        for number in range(60):
            create_stats("x", f"s{number}", directory=tmp_path).close()


def test_fork_keeps_no_lock_of_the_pauses(tmp_path: Path) -> None:
    one, over, pids = Pauses(directory=tmp_path), threading.Event(), []

    def note() -> None:
        while not over.is_set():
            (tmp_path / FILE_NAME).unlink(missing_ok=True)  # it is built anew, by who has the lock
            one.note("h", "a", 10.0, "status 429")

    one.note("h", "a", 10.0, "status 429")
    thread = threading.Thread(target=note)
    thread.start()
    try:
        for number in range(20):
            time.sleep(0.0005 * (number % 7))
            pids.append(os.fork())
            if pids[-1] == 0:
                time.sleep(60)
                os._exit(0)
        over.set()
        thread.join()
        with (tmp_path / LOCK_NAME).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        over.set()
        thread.join()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def test_child_rings_no_bell_of_the_parent() -> None:
    stop = StopFlag()
    in_child(stop.set)
    assert not stop.wait(0.05)
    stop.set()
    assert stop.wait(5)


def test_child_has_the_signals_of_before() -> None:
    asked: list[int] = []
    before = signal.getsignal(signal.SIGTERM)
    with EndSignals(lambda: asked.append(1), "nothing"):
        assert in_child(lambda: os.kill(os.getpid(), signal.SIGTERM)) == -signal.SIGTERM
        assert in_child(lambda: os._exit(signal.getsignal(signal.SIGTERM) != before)) == 0
        assert signal.getsignal(signal.SIGTERM) != before
    assert asked == []
    assert signal.getsignal(signal.SIGTERM) == before


def test_child_leaves_the_guard_and_the_manager(tmp_path: Path) -> None:
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(address))
        manager.setblocking(False)
        with Notifier(str(address)) as notifier:
            guarding = Guarding(["sleep", "60"], notifier, None)
            in_child(guarding.close)
            assert guarding._guard is not None
            assert guarding._guard.poll() is None
            with pytest.raises(BlockingIOError):
                manager.recv(4096)
            guarding.close()
        assert b"STOPPING=1" in manager.recv(4096)


def test_child_leaves_a_connection() -> None:
    """No FIN and no byte comes of its end, and it does not keep the connection open."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        options = ConnectOptions(backend="kernel")
        session = Session(f"http://127.0.0.1:{port}/", options, websocket=False)
        peer, _ = listener.accept()
        peer.settimeout(5)
        session.connect()
        in_child(session.finish)
        assert session.send_bytes(b"after")
        session.wait(0.1)
        assert peer.recv(100) == b"after"
        context = multiprocessing.get_context("fork")
        child = context.Process(target=time.sleep, args=(30,))
        child.start()
        try:
            session.finish()
            with contextlib.suppress(ConnectionResetError):  # it is closed either way
                assert peer.recv(100) == b""
        finally:
            child.kill()
            child.join()
            peer.close()


@pytest.mark.needs("root")
def test_child_leaves_the_ports() -> None:
    with PortReservation(61990, 61999) as reservation:
        kept = reservation._read()
        in_child(reservation.close)
        assert reservation._read() == kept
