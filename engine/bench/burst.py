"""How many messages a second does one core take through the whole path?

MEXC depth messages of 1+1 levels, each in a WebSocket message, a TLS 1.3 AES-128-GCM record and a
TCP segment of its own, instruments in turn, 30 a connection. From memory: real handshakes, then
prepared frames through the real hot path into a real segment, as fast as it takes them.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
from tickpath.engine.bench.burst_reader import BurstReader
from tickpath.engine.bench.measure import (
    OURS,
    Report,
    at_least,
    at_most,
    progress,
    progress_end,
    row,
)
from tickpath.engine.bench.peers import cpus
from tickpath.engine.bench.tls_server import server_context

if TYPE_CHECKING:
    from numpy.typing import NDArray

INSTRUMENTS = (1, 10, 100, 1000)
COUNT = 200_000  # messages a case
GOAL_PER_S, GOAL_RATIO = 3_000_000, 1.3


def _measure_memory(report: Report, count: int, rounds: int) -> None:
    context = server_context()
    mine, cpu = cpus()
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {mine})
    readers: dict[int, BurstReader] = {}
    took: dict[int, list[NDArray[np.float64]]] = {}
    try:
        for instruments in INSTRUMENTS:
            progress(f"burst: connecting {instruments} instruments")
            readers[instruments] = BurstReader(instruments, context, cpu)
            took[instruments] = []
        for turn in range(rounds):
            for instruments, reader in readers.items():
                progress(f"burst: round {turn + 1} of {rounds}: {instruments} instruments")
                took[instruments].append(reader.play(max(1, count // rounds)))
    finally:
        progress_end()
        for reader in readers.values():
            reader.close()
        os.sched_setaffinity(0, before)
    for instruments, samples in took.items():
        case = f"memory {instruments}"
        report.rows.append(row("burst", OURS, case, np.concatenate(samples)))


def measure(count: int, rounds: int) -> Report:
    """Return nanoseconds a message; `count` messages a case, one sample a burst of 64."""
    report = Report("burst")
    report.notes = [
        "nanoseconds a message of 2 levels, each sample the mean of a burst of 64 frames",
        "memory: prepared frames, no wire; one message, record and segment a frame; one hot thread,"
        " pinned, spinning, SCHED_FIFO where allowed; nobody reads the ring",
        "checked: every message applied, every book equal to the sender's",
    ]
    _measure_memory(report, count or COUNT, rounds)
    for instruments in INSTRUMENTS:
        found = report.find(OURS, f"memory {instruments}")
        rate = 1e9 / found.p50
        name = "messages a second"
        report.ratios.append(at_least("burst", found.case, name, rate, GOAL_PER_S))
    first, last = (report.find(OURS, f"memory {one}").p50 for one in (1, 1000))
    name = "cost at 1,000 instruments / at 1"
    report.ratios.append(at_most("burst", "memory", name, last / first, GOAL_RATIO))
    return report
