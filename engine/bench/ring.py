"""How long does an event take from core to core, and how many a second arrive?

The writer is a C thread on the first CPU, the reader C on the second, one 64-byte event a
microsecond, the stamp taken just before each write. In turn with the bare cache line: one word with
a stamp, spun on, the floor of what two CPUs can do.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from tickpath._bench import lib
from tickpath.engine.bench import lanes
from tickpath.engine.bench.measure import (
    OURS,
    Ratio,
    Report,
    at_least,
    at_most,
    progress,
    progress_end,
    row,
)
from tickpath.engine.bench.peers import cpus
from tickpath.shm.errors import SystemSetupError

BARE = "bare-line"
PACE_NS = 1000
COUNT = 1_000_000
RATES_MILLION = (15, 20, 25, 30, 35, 40, 45, 50)
RATE_EVENTS = 4_000_000
RATE_BURST = 32
PUBLISHES = 1 << 16


def _line_turn(bare: Any, count: int, *, fifo: bool) -> np.ndarray[Any, Any]:
    memory, samples = lanes.room(count)
    with (
        lanes.writing(
            fifo=fifo, lane=lib.TP_BENCH_LINE, line=bare, count=count, pace_ns=PACE_NS
        ) as go,
        lanes.on_readers_cpu(fifo=fifo),
    ):
        go()
        # A reader that is held up sees the later of two stamps only: that is what a line is.
        got = lib.tp_bench_line_receive(bare, count, memory)
    return samples[:got]


def _ring_turn(segment: Any, reader: Any, count: int, *, fifo: bool) -> np.ndarray[Any, Any]:
    memory, samples = lanes.room(count)
    reader.join()
    with (
        lanes.writing(
            fifo=fifo, lane=lib.TP_BENCH_RING, segment=segment.pointer, count=count, pace_ns=PACE_NS
        ) as go,
        lanes.on_readers_cpu(fifo=fifo),
    ):
        go()
        got = lib.tp_bench_ring_receive(reader.pointer, count, memory)
    return samples[:got]


def _rate(segment: Any, reader: Any, million: float, *, fifo: bool) -> float:
    """Return the events a second that arrived, in millions; 0 where one was lost."""
    reader.join()
    with (
        lanes.writing(
            fifo=fifo,
            lane=lib.TP_BENCH_RING,
            segment=segment.pointer,
            count=RATE_EVENTS,
            pace_ns=round(RATE_BURST * 1000 / million),
            burst=RATE_BURST,
        ) as go,
        lanes.on_readers_cpu(fifo=fifo),
    ):
        go()
        took = lib.tp_bench_ring_drain(reader.pointer, RATE_EVENTS)
    return RATE_EVENTS * 1000 / took if took else 0.0


def _best_rate(report: Report, segment: Any, reader: Any, rounds: int, *, fifo: bool) -> float:
    best = 0.0
    for million in RATES_MILLION:
        whole = []
        for turn in range(rounds):
            progress(f"ring: {million} million events a second, round {turn + 1} of {rounds}")
            whole.append(_rate(segment, reader, million, fifo=fifo))
            time.sleep(lanes.REST_S)
        without_lap = sum(rate > 0 for rate in whole)
        report.notes.append(
            f"offered {million} million/s: {without_lap} of {rounds} turns without a lap"
            + (f", median {np.median([r for r in whole if r]):.1f} received" if without_lap else "")
        )
        # Most turns: a hypervisor's pause of a millisecond laps any reader of a 16 Ki ring.
        if without_lap * 2 > rounds:
            best = max(best, float(np.median([rate for rate in whole if rate])))
    return best


def _publish_ns(segment: Any, rounds: int) -> np.ndarray[Any, Any]:
    with lanes.on_readers_cpu(fifo=False):
        took = [lib.tp_bench_ring_publish(segment.pointer, PUBLISHES) for _ in range(rounds * 20)]
    return np.array(took) / PUBLISHES


def measure(count: int, rounds: int) -> Report:
    """Return one-way times in nanoseconds, the cost of a publish, and the rate without a lap."""
    cpus()
    fifo = lanes.may_use_fifo()
    report = Report("ring")
    report.notes = [
        "one way, C to C, both sides spin, each on its CPU, "
        + ("SCHED_FIFO" if fifo else "ordinary tasks (SCHED_FIFO is not permitted here)"),
        f"one event each {PACE_NS} ns; the stamp's 10 ns are in both contenders' times",
    ]
    taken: dict[str, list[np.ndarray[Any, Any]]] = {OURS: [], BARE: []}
    with lanes.line() as bare, lanes.segment() as (segment, reader):
        for number, turn in enumerate(lanes.turns(count or COUNT, PACE_NS, rounds * 2)):
            progress(f"ring: turn {number + 1}")
            taken[OURS].append(_ring_turn(segment, reader, turn, fifo=fifo))
            time.sleep(lanes.REST_S)
            taken[BARE].append(_line_turn(bare, turn, fifo=fifo))
        publish = _publish_ns(segment, rounds)
        rate = _best_rate(report, segment, reader, rounds, fifo=fifo)
    progress_end()
    for name, samples in taken.items():
        if not any(map(len, samples)):
            raise SystemSetupError(f"ring: {name} received nothing; is a CPU taken by another?")
        report.rows.append(row("ring", name, "64 B", np.concatenate(samples)))
    report.rows.append(row("ring", OURS, "publish", publish))
    ours, line = report.find(OURS, "64 B"), report.find(BARE, "64 B")
    report.ratios = [
        at_most("ring", "64 B", f"p50 ours / {BARE}", ours.p50 / line.p50, 1.10),
        at_most("ring", "64 B", f"p99 ours / {BARE}", ours.p99 / line.p99, 1.25),
        Ratio("ring", "64 B", f"p99.9 ours / {BARE}", round(ours.p999 / line.p999, 3)),
        at_most("ring", "publish", "p50 ns", report.find(OURS, "publish").p50, 20),
        at_least("ring", "received without a lap", "million events/s", rate, 25),
    ]
    return report
