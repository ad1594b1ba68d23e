"""How long does it take to read a book that is written a million times a second?

The record of 20 levels a side, slot 0 of a feed's snapshot table; writer and reader in C, each on
its CPU; the reader reads on and on. Also while nobody writes, as the floor.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from tickpath._bench import lib
from tickpath.engine.bench import lanes
from tickpath.engine.bench.measure import OURS, Report, at_most, progress, progress_end, row
from tickpath.engine.bench.peers import cpus

CASES = {"idle": 0, "100 k/s": 10_000, "1 M/s": 1000}  # nanoseconds between writes, 0: none
GOAL = "1 M/s"
COUNT = 2_000_000
READ_NS = 250  # about: sizes a turn and the writes that it needs


def _turn(
    segment: Any, reader: Any, count: int, pace_ns: int, *, fifo: bool
) -> tuple[np.ndarray[Any, Any], int]:
    memory, samples = lanes.room(count)
    # Enough for a reader that is slower than thought; the rest runs out after it.
    writes = max(1, 2 * count * READ_NS // pace_ns) if pace_ns else 1
    with (
        lanes.writing(
            fifo=fifo,
            lane=lib.TP_BENCH_SNAPSHOT,
            segment=segment.pointer,
            count=writes,
            pace_ns=max(pace_ns, 1),
        ) as go,
        lanes.on_readers_cpu(fifo=fifo),
    ):
        go()
        retries = lib.tp_bench_snapshot_receive(reader.pointer, count, memory)
    return samples, int(retries)


def measure(count: int, rounds: int) -> Report:
    """Return nanoseconds a read, the clock's 10 included."""
    cpus()
    fifo = lanes.may_use_fifo()
    report = Report("snapshot")
    report.notes = [
        "one read of a record of 20 levels a side (696 bytes), back to back, C, both sides pinned, "
        + ("SCHED_FIFO" if fifo else "ordinary tasks (SCHED_FIFO is not permitted here)"),
    ]
    worst = 0
    with lanes.segment() as (segment, reader):
        for case, pace_ns in CASES.items():
            taken = []
            for number, turn in enumerate(lanes.turns(count or COUNT, 2 * READ_NS, rounds)):
                progress(f"snapshot {case}: turn {number + 1}")
                samples, retries = _turn(segment, reader, turn, pace_ns, fifo=fifo)
                taken.append(samples)
                worst = max(worst, retries) if case == GOAL else worst
            report.rows.append(row("snapshot", OURS, case, np.concatenate(taken)))
    progress_end()
    report.ratios = [
        at_most("snapshot", GOAL, "p99 ns", report.find(OURS, GOAL).p99, 300),
        at_most("snapshot", GOAL, "most retries of one read", worst, 1),
    ]
    return report
