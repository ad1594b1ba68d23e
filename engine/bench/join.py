"""How long until a late joiner has exact books of 1,000 instruments?

Position first, then every snapshot, as the layout asks: in C, and through FeedReader in Python.
Opening (map, check, populate) is timed by itself: it happens once.
"""

from __future__ import annotations

import time

import numpy as np
from tickpath._bench import ffi, lib
from tickpath.engine.bench import lanes
from tickpath.engine.bench.measure import (
    OURS,
    Ratio,
    Report,
    at_most,
    progress,
    progress_end,
    row,
)
from tickpath.proto.records import BOOK_WORDS
from tickpath.shm.errors import SystemSetupError
from tickpath.shm.reader import Reader

SLOTS = 1000
COUNT = 500
NS_PER_MS = 1e6


def measure(count: int, rounds: int) -> Report:
    """Return nanoseconds for all books."""
    report = Report("join")
    report.notes = [f"{SLOTS} instruments, 20 levels a side; an ordinary task on the second CPU"]
    in_c: list[int] = []
    in_python: list[int] = []
    opening: list[int] = []
    with lanes.segment(SLOTS) as (segment, reader):
        words = ffi.new("uint64_t[]", BOOK_WORDS)
        table = lib.tp_segment_snapshot_writer(segment.pointer)
        for slot in range(SLOTS):
            lib.tp_snapshot_publish(table, slot, 0, words, BOOK_WORDS)
        with lanes.on_readers_cpu(fifo=False):
            for number in range(count or COUNT):
                progress(f"join: {number + 1} of {count or COUNT}")
                in_c.append(int(lib.tp_bench_join(reader.pointer, SLOTS)))
                in_python.append(_join_in_python(reader))
                if number % max(1, (count or COUNT) // (10 * rounds)) == 0:
                    opening.append(_open(reader.instance))
    progress_end()
    if 0 in in_c:
        raise SystemSetupError("join: a snapshot could not be read")
    for case, samples in (("C", in_c), ("Python", in_python), ("open", opening)):
        report.rows.append(row("join", OURS, case, np.array(samples)))
    report.ratios = [
        at_most("join", "C", "p50 ms", report.find(OURS, "C").p50 / NS_PER_MS, 1),
        at_most("join", "Python", "p50 ms", report.find(OURS, "Python").p50 / NS_PER_MS, 1),
        Ratio("join", "open", "p50 ms", round(report.find(OURS, "open").p50 / NS_PER_MS, 3)),
    ]
    return report


def _join_in_python(reader: Reader) -> int:
    read = reader.read_snapshot
    start = time.perf_counter_ns()
    reader.join()
    for slot in range(SLOTS):
        if read(slot) == 0:
            raise SystemSetupError(f"join: slot {slot} could not be read")
    return time.perf_counter_ns() - start


def _open(instance: str) -> int:
    start = time.perf_counter_ns()
    with Reader(instance):
        return time.perf_counter_ns() - start
