"""The hot thread stays out of the kernel: one call to send, and a rare look at the device.

Nor does it leave its way for readers that sleep: the waker, another thread, makes their calls. The
one thread that it wakes by itself is the cold one, where it noted something for it: a text of the
venue, a connection that opened or ended; with one write for all notes of a tick. And where a book
wants a base, as at the start, which may not be over for all of them.
"""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tickpath.engine.client.reader import open_reader
from tickpath.engine.feed_handler.process import COUNTERS_EVERY_S
from tickpath.engine.supervisor.feed_handler_watch import HOT_THREAD_NAME

from tests.netns.rig import LIVE, PATIENCE_S, Exchange, Settings, Supervised, VethPair

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tickpath.engine.client.reader import FeedReader

pytestmark = pytest.mark.needs("root", "netns", "af_xdp", "strace", "two_cpus")

SYMBOLS = ("BTCUSDT", "ETHUSDT")
RATE = 400
LOOK_S = 1.5
ROW = re.compile(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(?P<count>\d+)\s+(?:\d+\s+)?(?P<name>\w+)$")


@pytest.fixture(params=["", "[record]\ntap = true\ncheckpoint_s = 0.01\n"], ids=["plain", "tap"])
def run(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Supervised]:
    with VethPair.open() as pair:
        Exchange(pair, tmp_path, "--instruments", ",".join(SYMBOLS), "--rate", str(RATE))
        settings = Settings(symbols=SYMBOLS, feed_handler="spin = true", network=request.param)
        supervised = Supervised(pair, tmp_path, settings)
        yield supervised
        supervised.end()


def hot_thread(pid: int) -> int:
    """Return the thread id of a feed handler's hot thread."""
    for comm in Path(f"/proc/{pid}/task").glob("*/comm"):
        if comm.read_text().strip() == HOT_THREAD_NAME:
            return int(comm.parent.name)
    raise AssertionError("no hot thread")


def count_calls(thread: int) -> dict[str, int]:
    """Watch one thread for a while; returns how often it made which system call."""
    strace = subprocess.Popen(
        ["strace", "-c", "-p", str(thread)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(LOOK_S)
    strace.send_signal(signal.SIGINT)
    _, table = strace.communicate(timeout=PATIENCE_S)
    assert "attached" in table, table
    rows = [found for line in table.splitlines() if (found := ROW.match(line))]
    return {row["name"]: int(row["count"]) for row in rows if row["name"] != "total"}


@contextlib.contextmanager
def sleepers(run: Supervised, count: int) -> Iterator[list[FeedReader]]:
    """Keep readers that sleep until they are woken, each in a thread, until the end."""
    with contextlib.ExitStack() as stack:
        readers = [stack.enter_context(open_reader(run.instance)) for _ in range(count)]
        threads = [threading.Thread(target=list, args=(reader,)) for reader in readers]
        for reader, thread in zip(readers, threads, strict=True):
            reader.shm.set_wait(100_000_000, spin_ns=0, sleep_ns=50_000)
            thread.start()
        yield readers
        for reader, thread in zip(readers, threads, strict=True):
            reader.stop()
            thread.join()


@pytest.mark.parametrize("sleeper_count", [0, 3])
def test_hot_thread_makes_no_system_call_but_to_send(run: Supervised, sleeper_count: int) -> None:
    watcher = run.watch()
    watcher.wait_state(LIVE)
    with sleepers(run, sleeper_count) as readers:
        judge(run)
        slept = [reader.shm.sleeps for reader in readers]
    assert all(slept), slept
    wakes = run.counters()["consumers.wakes"]
    assert wakes == 0 if sleeper_count == 0 else wakes > RATE * LOOK_S / 10, wakes
    watcher.reader.close()


def judge(run: Supervised) -> None:
    """Count what the hot thread calls for a while, and hold it against what it may."""
    before = run.counters()
    calls = count_calls(hot_thread(run.feed_handler_pid))
    time.sleep(2 * COUNTERS_EVERY_S)  # until what was watched is in the segment's copy
    after = run.counters()
    print(calls)
    messages = after["feed.messages"] - before["feed.messages"]
    assert messages > RATE * LOOK_S / 4
    # recvfrom: the link asks about once in 10 ms of idling whether the device is still there.
    assert set(calls) <= {"sendto", "recvfrom", "write"}, calls
    texts = after["hot.text_messages"] - before["hot.text_messages"]
    assert calls.get("write", 0) <= texts + after["feed.bases_applied"] + 1, calls
    assert calls.get("recvfrom", 0) < 300 * LOOK_S, calls
    kicks = after["link.tx_kicks"] - before["link.tx_kicks"]
    assert 0 < calls["sendto"] <= kicks + 20, (calls, kicks)
    assert calls["sendto"] <= messages, "an acknowledgement a message at most"
