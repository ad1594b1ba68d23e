"""The thread that runs a loop's TLS handshakes: where it runs, how it ends."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tickpath.engine.loop.handshakes import THREAD_NAME, Handshakes

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS_MAX = 10


@pytest.fixture
def handshakes() -> Iterator[Handshakes]:
    made = Handshakes()
    yield made
    made.close()


def task() -> Path:
    """Return the kernel's folder of the thread, as soon as it has its name."""
    end = time.monotonic() + SECONDS_MAX
    while time.monotonic() < end:
        for comm in Path("/proc/self/task").glob("*/comm"):
            if comm.read_text(encoding="ascii").strip() == THREAD_NAME:
                return comm.parent
        time.sleep(0.001)
    raise AssertionError(f"no thread is called {THREAD_NAME}")


@pytest.mark.needs("two_cpus")
def test_handshakes_keep_off_the_hot_threads_cpu(handshakes: Handshakes) -> None:
    hot_cpu = min(os.sched_getaffinity(0))
    handshakes.start(hot_cpu)
    thread = int(task().name)
    end = time.monotonic() + SECONDS_MAX
    while hot_cpu in os.sched_getaffinity(thread) and time.monotonic() < end:
        time.sleep(0.001)
    assert os.sched_getaffinity(thread) == os.sched_getaffinity(0) - {hot_cpu}


def test_handshakes_without_work_sleep_and_stop_at_once(handshakes: Handshakes) -> None:
    handshakes.start()
    ticks = task() / "stat"
    time.sleep(0.3)
    used = sum(int(word) for word in ticks.read_text(encoding="ascii").split()[13:15])
    assert used <= 2  # of 10 ms each: a spinning thread has thirty
    started = time.monotonic()
    handshakes.stop()
    assert time.monotonic() - started < SECONDS_MAX
    assert THREAD_NAME not in [thread.name for thread in threading.enumerate()]
    assert handshakes.works == 0


def test_handshakes_close_twice_is_harmless() -> None:
    made = Handshakes()
    made.start()
    made.close()
    made.close()
