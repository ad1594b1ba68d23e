"""The flag of `tickpath run`: a signal at any moment of its wait must not hang the process."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import threading

import pytest
from tickpath.engine.supervisor import stop_flag
from tickpath.engine.supervisor.stop_flag import StopFlag

CODE = """
import signal
from tickpath.engine.supervisor.stop_flag import StopFlag
seen = 0
def stop(*_):
    global seen, flag
    seen += 1
    flag.set()
flag = StopFlag()
signal.signal(signal.SIGALRM, stop)
signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0002)
while seen < 3000:
    flag.wait(0.001)
    flag = StopFlag()
signal.setitimer(signal.ITIMER_REAL, 0)
print("ended")
"""


WAITING = """
import signal
from tickpath.engine.supervisor import stop_flag
from tickpath.engine.supervisor.stop_flag import StopFlag
stop_flag.LOOK_EVERY_S = 3600  # the bell alone wakes it
flag = StopFlag()
signal.signal(signal.SIGALRM, lambda *_: flag.set())
signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)  # one may fall between the flag and the wait
print(flag.wait(3600), flag.wait(3600), flag.is_set())
"""


def test_stop_flag_signal_ends_the_wait_and_later_ones() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", WAITING],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == "True True True\n"


def test_stop_flag_another_thread_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stop_flag, "LOOK_EVERY_S", 3600)
    flag = StopFlag()
    waiting = threading.Thread(target=flag.wait, args=(3600,), daemon=True)
    waiting.start()
    waiting.join(0.05)
    assert waiting.is_alive()
    flag.set()
    waiting.join(30)
    assert not waiting.is_alive()


def test_stop_flag_bell_rung_without_the_flag_wakes_once() -> None:
    flag = StopFlag()
    os.eventfd_write(flag._bell, 1)
    assert not flag.wait(0.3)
    assert not select.select([flag._bell], [], [], 0)[0]


def test_stop_flag_wait_ends_with_its_time_and_its_descriptor_with_the_flag() -> None:
    flag = StopFlag()
    assert not flag.wait(0.001)
    bell = flag._bell
    del flag
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(bell)


def test_stop_flag_set_by_signals_at_any_moment_of_wait_never_hangs() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", CODE], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "ended\n"
