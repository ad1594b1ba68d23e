"""How long does an event take until a Python program holds its numbers?

Ours: from a C writer, as the feed is one, and from a Python writer, as the others have; the reader
is Python in both. In turn with iceoryx2, a pipe read without blocking, and pyzmq, each with a
Python writer and a Python reader that spins. Writers are processes of their own (ours in C: a
thread without the GIL); 64 bytes a message; the stamp is taken just before each write.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tickpath._bench import ffi, lib
from tickpath.engine.bench import lanes
from tickpath.engine.bench.measure import (
    OURS,
    Report,
    at_least,
    at_most,
    progress,
    progress_end,
    row,
)
from tickpath.engine.bench.peers import TIMEOUT_S, cpus, module, pinned
from tickpath.engine.bench.ring_contender import iceoryx2_prefix, instance
from tickpath.shm.errors import SystemSetupError
from tickpath.shm.reader import Result
from tickpath.shm.segment import DIRECTORY, SegmentError, remove_dead

C_WRITER, PYTHON_WRITER, BATCHED = "C writer", "Python writer", "batched"
PACE_NS = 2000
COUNT = 400_000
# Slow enough for the slowest of them to have read one message before the next is written.
PYTHON_PACE_NS = 20_000
PYTHON_COUNT = 40_000
BATCH_EVENTS = 1 << 13  # published at once, then taken in batches
OTHERS = {"iceoryx2": "iceoryx2", "os.pipe": None, "pyzmq": "zmq"}  # contender: module it needs
BEST_OTHER = "iceoryx2"
# Its I/O thread runs on its main thread's CPU: spinning at SCHED_FIFO would keep it from that.
ORDINARY = "pyzmq"


def _c_writer_turn(segment: Any, reader: Any, count: int, *, fifo: bool) -> list[int]:
    took: list[int] = []
    event, look, event_result = reader.event, reader.look, Result.EVENT
    now = partial(lib.tp_clock_now_ns, ffi.addressof(segment.header.clock))
    append = took.append
    reader.join()
    reader.set_wait(1_000_000)
    with (
        lanes.writing(
            fifo=fifo, lane=lib.TP_BENCH_RING, segment=segment.pointer, count=count, pace_ns=PACE_NS
        ) as go,
        lanes.on_readers_cpu(fifo=fifo),
    ):
        go()
        while len(took) < count:
            result = look()
            if result != event_result:
                break  # silent for a millisecond, or lapped
            # The values that a strategy looks at, as Python ints; the stamp is the first word.
            stamp, _, _, _ = event[1], event[2], event[3], event[4]
            append(now() - stamp)
    return took


def _batched(segment: Any, reader: Any, repeats: int) -> np.ndarray[Any, Any]:
    """Return nanoseconds an event, taken in batches and summed column by column."""
    took = []
    for _ in range(repeats):
        reader.join()
        lib.tp_bench_ring_publish(segment.pointer, BATCH_EVENTS)
        batch, left, total = reader.batch, BATCH_EVENTS, 0
        start = time.perf_counter_ns()
        while left:
            rows = batch()
            total += int(rows[:, 2].sum())
            left -= len(rows)
        took.append((time.perf_counter_ns() - start) / BATCH_EVENTS)
        if total != BATCH_EVENTS * (BATCH_EVENTS - 1) // 2:
            raise SystemSetupError("ring-python: a batch was not whole")
    return np.array(took)


def _process_turn(contender: str, count: int, folder: Path, *, fifo: bool) -> list[int]:
    """Run a contender's writer and reader as two processes; return the reader's times."""
    output = folder / "took.bin"
    output.unlink(missing_ok=True)
    words = [contender, str(count), str(PYTHON_PACE_NS), str(folder)]
    reader = subprocess.Popen(
        pinned(cpus()[1], module("ring_contender", "read", *words), fifo=fifo),
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
    )
    writer = subprocess.Popen(
        pinned(cpus()[0], module("ring_contender", "write", *words), fifo=fifo),
        stdin=subprocess.PIPE,
        text=True,
    )
    try:
        ready = reader.stdout.readline() if reader.stdout else ""
        if ready != "ready\n":
            raise SystemSetupError(f"ring-python: the reader of {contender} did not start")
        writer.communicate("go\n", timeout=TIMEOUT_S)
        reader.communicate(timeout=TIMEOUT_S)
    finally:
        for process in (writer, reader):
            process.kill()
            process.wait()
        with contextlib.suppress(SegmentError):
            remove_dead(instance(folder))
        for left in DIRECTORY.glob(f"{iceoryx2_prefix(folder)}*"):
            left.unlink(missing_ok=True)
    if writer.returncode != 0 or reader.returncode != 0:
        raise SystemSetupError(f"ring-python: {contender} failed")
    took = [int(one) for one in np.fromfile(output, dtype=np.int64)]
    if not took:
        raise SystemSetupError(f"ring-python: none of {contender}'s {count} messages arrived")
    return took


def measure(count: int, rounds: int) -> Report:
    """Return one-way times in nanoseconds."""
    cpus()
    fifo = lanes.may_use_fifo()
    report = Report("ring-python")
    report.notes = [
        "one way, to Python integers; all sides spin, each on its CPU, "
        + ("SCHED_FIFO" if fifo else "ordinary tasks (SCHED_FIFO is not permitted here)"),
        f"{ORDINARY} runs as ordinary tasks: it has a thread of its own for I/O",
        f"C writer: an event each {PACE_NS} ns; Python writers: a message each {PYTHON_PACE_NS} ns",
        f"Python {sys.version.split()[0]}; the clock through the core: some 50 ns of ours",
    ]
    taken: dict[str, list[int]] = {}
    contenders = ["tickpath", *OTHERS]
    for name, needed in OTHERS.items():
        if needed and importlib.util.find_spec(needed) is None:
            contenders.remove(name)
            report.notes.append(f"{name} is not installed: left out (pip install tickpath[bench])")
    gc.collect()
    gc.disable()
    try:
        with (
            tempfile.TemporaryDirectory(prefix=f"tickpath-bench-{os.getpid()}-") as folder,
            lanes.segment() as (
                segment,
                reader,
            ),
        ):
            for turn in range(rounds):
                progress(f"ring-python: round {turn + 1} of {rounds}")
                for size in lanes.turns((count or COUNT) // rounds, PACE_NS, 1):
                    took = _c_writer_turn(segment, reader, size, fifo=fifo)
                    taken.setdefault(C_WRITER, []).extend(took)
                for name in contenders:
                    progress(f"ring-python: round {turn + 1} of {rounds}: {name}")
                    messages = min(count or PYTHON_COUNT, PYTHON_COUNT) // rounds
                    may_spin = fifo and name != ORDINARY
                    took = _process_turn(name, max(1, messages), Path(folder), fifo=may_spin)
                    taken.setdefault(name, []).extend(took)
            batched = _batched(segment, reader, 40 * rounds)
    finally:
        gc.enable()
        progress_end()
    _fill(report, taken, batched)
    return report


def _fill(report: Report, taken: dict[str, list[int]], batched: np.ndarray[Any, Any]) -> None:
    for name, samples in taken.items():
        case = C_WRITER if name == C_WRITER else PYTHON_WRITER
        contender = OURS if name in (C_WRITER, "tickpath") else name
        report.rows.append(row("ring-python", contender, case, np.array(samples)))
    report.rows.append(row("ring-python", OURS, BATCHED, batched))
    ours, python = report.find(OURS, C_WRITER), report.find(OURS, PYTHON_WRITER)
    report.ratios = [
        at_most("ring-python", C_WRITER, "p50 ns", ours.p50, 310),
        at_most("ring-python", C_WRITER, "p99 ns", ours.p99, 450),
        at_most("ring-python", BATCHED, "p50 ns an event", report.find(OURS, BATCHED).p50, 15),
    ]
    for one in report.rows:
        if one.contender != OURS:
            name = f"p50 {one.contender} / ours"
            goal = 7.0 if one.contender == BEST_OTHER else 1.0
            ratio = one.p50 / python.p50
            report.ratios.append(at_least("ring-python", PYTHON_WRITER, name, ratio, goal))
            if one.contender == BEST_OTHER:
                name = f"p50 {one.contender} / ours from C"
                ratio = one.p50 / ours.p50
                report.ratios.append(at_least("ring-python", C_WRITER, name, ratio, goal))
