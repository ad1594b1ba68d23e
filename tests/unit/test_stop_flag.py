"""The flag of `tickpath run`: a signal at any moment of its wait must not hang the process."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import signal
from tickpath.engine.stop_flag import StopFlag
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


def test_stop_flag_set_by_signals_at_any_moment_of_wait_never_hangs() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "ended\n"
