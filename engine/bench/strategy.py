"""From an event to a native strategy's decision: Numba against C, over the same events.

Both are examples/crossing, called inline by tp_native_run as the hot thread calls them: the event
in its slot, the book in its cell, intents judged and counted. Each instrument has another bid in
each batch, so that each event is a decision: a cancel and a place. Compiled when the bench starts.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tickpath._core import ffi, lib
from tickpath.engine.bench import lanes
from tickpath.engine.bench.measure import Report, at_most, progress, progress_end, row
from tickpath.engine.strategy.c_reader import compiler_arguments
from tickpath.engine.strategy.native import NativeSet, figures, load_native, make_state
from tickpath.engine.strategy.rehearsal import RehearsalFeed
from tickpath.proto.instrument import Instrument
from tickpath.proto.records import EventType
from tickpath.shm.errors import SystemSetupError

if TYPE_CHECKING:
    from collections.abc import Iterator

BATCH = 512  # events a sample, one an instrument
COUNT = 200  # samples a contender
CASE = "decide"
RATIO_MAX = 1.2
SOURCES = Path(__file__).parent  # examples/meson.build installs them here
PARAMETERS = {"spread_min": 2, "quantity": 1000}
INSTRUMENTS = tuple(Instrument(i, "bench", f"COIN{i}", -2, -6, 1) for i in range(BATCH))
BIDS = 50  # different ones


def _compile_c(folder: str) -> str:
    library = f"{folder}/crossing.so"
    command = ["cc", "-std=c11", "-O2", "-shared", "-fPIC", str(SOURCES / "crossing.c")]
    try:
        subprocess.run([*command, "-o", library, *compiler_arguments()[:-1]], check=True)
    except OSError as error:
        raise SystemSetupError(
            f"strategy: cc: {error.strerror}: a C compiler is needed (apt-get install gcc)"
        ) from error
    except subprocess.CalledProcessError as error:
        raise SystemSetupError(
            f"strategy: cc ended with status {error.returncode}: what it says stands above"
        ) from error
    return f"{library}:crossing"


_turn = itertools.count()


class _Contender:
    """One strategy over the feed's ring; a call returns what a batch of events took it."""

    def __init__(self, feed: RehearsalFeed, source: str) -> None:
        loaded = load_native(source)
        self._set = NativeSet(len(INSTRUMENTS))
        clock = ffi.addressof(feed.segment.pointer.header, "clock")
        self._set.inline(feed.ring, feed.snapshots, clock)
        self.row = self._set.add(loaded, make_state(loaded, PARAMETERS), None)
        self._feed = feed

    def __call__(self) -> int:
        self._set.begin()
        for one in INSTRUMENTS:  # another bid for each: what was placed is cancelled
            self._feed.publish_book([(100 + next(_turn) // BATCH % BIDS, 5)], [(200, 5)], one.index)
            self._feed.publish_event(EventType.TOP, (1, 1, 1, 1), one.index)
        handle = self._set.handle
        start = time.perf_counter_ns()
        lib.tp_native_run(handle)
        return time.perf_counter_ns() - start

    def told(self) -> dict[str, int]:
        return figures(self._set.handle, self.row)


def _contenders(feed: RehearsalFeed) -> Iterator[tuple[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        yield "c", _Contender(feed, _compile_c(folder))
    yield "numba", _Contender(feed, f"{SOURCES / 'crossing.py'}:crossing")


def measure(count: int, rounds: int) -> Report:
    """Return nanoseconds from an event in the ring to its intents, judged; means of batches."""
    report = Report("strategy")
    report.notes = [
        f"nanoseconds an event, each sample the mean of {BATCH}: the call, a decision, and a "
        "cancel and a place that are judged and counted; nothing else runs between them"
    ]
    instance = f"bench-strategy-{os.getpid()}"
    with RehearsalFeed(instance, INSTRUMENTS, ring_capacity=2 * BATCH) as feed:
        contenders = dict(_contenders(feed))
        taken: dict[str, list[float]] = {name: [] for name in contenders}
        with lanes.on_readers_cpu(fifo=False):
            for turn in range(rounds):
                for name, contender in contenders.items():
                    progress(f"strategy: round {turn + 1} of {rounds}: {name}")
                    contender()  # warm-up, left out
                    samples = max(1, (count or COUNT) // rounds)
                    taken[name] += [contender() / BATCH for _ in range(samples)]
        told = [contender.told() for contender in contenders.values()]
    progress_end()
    if told[0] != told[1] or told[0]["places"] < BATCH:
        raise SystemSetupError(f"strategy: the contenders decided differently: {told}")
    report.rows = [row("strategy", name, CASE, np.array(all_)) for name, all_ in taken.items()]
    ratio = report.find("numba", CASE).p50 / report.find("c", CASE).p50
    report.ratios.append(at_most("strategy", CASE, "p50 numba / c", ratio, RATIO_MAX))
    return report
