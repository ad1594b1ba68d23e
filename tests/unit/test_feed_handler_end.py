"""How a feed handler ends that cannot go on: a second signal."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

from tickpath.engine.supervisor.end_signals import SAME_REQUEST_S

HANGS = """
import signal, sys, threading, time
from types import SimpleNamespace
from tickpath.engine.feed_handler import process

class Stuck(process.FeedHandler):
    def __init__(self, *_):
        self.over, self._runs_hot = threading.Event(), False
        self.hot = SimpleNamespace(run=self.turn, stop=lambda: None)
        self.handshakes = SimpleNamespace(stop=lambda: None, is_alive=False)
        self.venues = [SimpleNamespace(bases=SimpleNamespace(is_alive=False))]
        self.states = SimpleNamespace(step=lambda _: None, flush=lambda: None)
        self._clock = SimpleNamespace(now_s=lambda: 0.0)
    def turn(self):
        self.over.wait({hang_s})
        return 0
    def open(self): return True
    def close(self): print("closed", flush=True)
    def stop(self): self.over.set() if {obeys} else None
    def _prepare_process(self): pass
    def _prepare_hot(self): pass
    def _run_cold(self, hot): print("runs", flush=True)
    def _copy_counters(self, **_): pass

process.load_config, process.FeedHandler = lambda _: None, Stuck
process.Changes = lambda _: SimpleNamespace(over=lambda config: config, open=lambda: None)
process.process.keep_small = lambda: None
try:
    sys.exit(process.main("x"))
except process.EndedBySignal as ended:
    ended.die_of_it()
"""


class Started:
    """A feed handler whose hot thread runs; `obeys`: it ends where it is told to."""

    def __init__(self, *, obeys: bool) -> None:
        code = HANGS.format(hang_s=60, obeys=obeys)
        self.child = subprocess.Popen(
            [sys.executable, "-P", "-c", code], stdout=subprocess.PIPE, text=True
        )
        assert self.child.stdout is not None
        assert self.child.stdout.readline() == "runs\n"

    def end(self) -> tuple[int, str]:
        """Send the last SIGTERM; returns the exit status and what was printed since."""
        self.child.send_signal(signal.SIGTERM)
        said, _ = self.child.communicate(timeout=30)
        return self.child.returncode, said


def test_second_signal_frees_nothing_under_a_hot_thread_that_runs() -> None:
    started = Started(obeys=False)
    started.child.send_signal(signal.SIGTERM)
    time.sleep(2 * SAME_REQUEST_S)
    assert started.child.poll() is None
    assert started.end() == (-signal.SIGTERM, "")


def test_first_signal_frees_all_once_the_hot_thread_ended() -> None:
    assert Started(obeys=True).end() == (0, "closed\n")
