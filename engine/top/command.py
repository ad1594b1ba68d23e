"""`tickpath top`: look, draw, wait for a key.

The terminal is in cbreak mode on its alternate screen meanwhile, and as it was afterwards, however
it ends. Called by: engine/cli.py. Calls: samples, view, screens, keys.
"""

from __future__ import annotations

import os
import select
import sys
import termios
import time
import tty
from contextlib import ExitStack
from typing import TYPE_CHECKING

from tickpath.engine.console import Console
from tickpath.engine.supervisor.end_signals import EndSignals
from tickpath.engine.supervisor.stop_flag import StopFlag
from tickpath.engine.top.keys import read_keys
from tickpath.engine.top.samples import Watch
from tickpath.engine.top.screens import render
from tickpath.engine.top.view import INSTANCES, View
from tickpath.proto.venues import DEFAULT_NAME
from tickpath.shm.errors import LocalError
from tickpath.shm.segment import Segment

if TYPE_CHECKING:
    import argparse

INTERVAL_S_DEFAULT, INTERVAL_S_MIN, INTERVAL_S_MAX = 0.5, 0.1, 60.0
READ_SIZE = 256
WAKE_S = 0.1  # how long a signal may wait


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the options of `tickpath top`."""
    parser = subparsers.add_parser(
        "top",
        description="Watch instances, books, readers and latencies of this machine in a terminal "
        "(80 x 24 or larger; ? shows the keys). Scripts use `tickpath stat --json`.",
        epilog=f"example: tickpath top {DEFAULT_NAME}",
    )
    parser.add_argument("instance", nargs="?", help="begin inside this instance")
    parser.add_argument(
        "--interval",
        type=float,
        default=INTERVAL_S_DEFAULT,
        metavar="S",
        help="look again after so many seconds (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Watch until q, Ctrl-C or SIGTERM; 0."""
    if not INTERVAL_S_MIN <= args.interval <= INTERVAL_S_MAX:
        raise LocalError(
            f"--interval {args.interval:g}: expected {INTERVAL_S_MIN:g} to {INTERVAL_S_MAX:g} "
            "seconds"
        )
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise LocalError("top needs a terminal: use `tickpath stat --json` in scripts")
    view = View()
    if args.instance:
        Segment(args.instance).close()  # raises, saying why, where it cannot be read
        view.screen, view.instance = "instance", args.instance
    with ExitStack() as stack:
        watch = Watch()
        stack.callback(watch.close)
        _Top(view, watch, args.interval).run(stack)
    return 0


class _Top:
    """The loop: one screen an interval, and one after every key."""

    def __init__(self, view: View, watch: Watch, interval_s: float) -> None:
        self._view, self._watch, self._interval_s = view, watch, interval_s
        self._stop = StopFlag()
        self._console = Console()

    def run(self, stack: ExitStack) -> None:
        """Take the terminal, and give it back when the stack unwinds."""
        stack.enter_context(EndSignals(self._stop.set, "the terminal"))
        descriptor = sys.stdin.fileno()
        mode = termios.tcgetattr(descriptor)
        stack.callback(termios.tcsetattr, descriptor, termios.TCSADRAIN, mode)
        tty.setcbreak(descriptor, termios.TCSADRAIN)  # keys that came already are not lost
        screen = stack.enter_context(self._console.screen(hide_cursor=True))
        due = 0.0
        while not (self._view.is_over or self._stop.is_set()):
            if time.monotonic() >= due:
                self._look()
                due = time.monotonic() + self._interval_s
            size = self._console.size
            when = time.strftime("%H:%M:%S")
            screen.update(render(self._view, size.width, size.height, when))
            before_instance = self._view.instance
            self._wait_for_keys(descriptor, due)
            if self._view.instance != before_instance:
                due = 0.0  # look into it at once

    def _look(self) -> None:
        inside = None if self._view.screen == INSTANCES else self._view.instance
        self._view.take(self._watch.look(inside))

    def _wait_for_keys(self, descriptor: int, due: float) -> None:
        while not self._stop.is_set() and (rest := due - time.monotonic()) > 0:
            if select.select([descriptor], [], [], min(rest, WAKE_S))[0]:
                data = os.read(descriptor, READ_SIZE)
                if not data:  # the terminal is gone
                    self._stop.set()
                for key in read_keys(data.decode("utf-8", "replace")):
                    self._view.press(key)
                return
