"""How many messages a second does one core take through the whole path?

Depth messages of 1+1 levels, each in a WebSocket message, a TLS 1.3 AES-128-GCM record and a
TCP segment of its own, instruments in turn, 30 a connection. From memory: real handshakes, then
prepared frames through the real hot path into a real segment, as fast as it takes them. Over the
veth, as root: the real feed handler over AF_XDP against a sender that never waits.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
from tickpath.engine.bench.burst_feed_handler import BurstFeedHandler
from tickpath.engine.bench.burst_veth import measure_veth
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
from tickpath.engine.bench.peers import Bench, cpus
from tickpath.engine.bench.tls_server import server_context

if TYPE_CHECKING:
    from numpy.typing import NDArray

INSTRUMENTS = (1, 10, 100, 1000)
COUNT = 200_000  # messages a case
VETH_ROUNDS_MAX = 2  # 1,000 instruments ask for their bases at the venue's pace: 22 s each time
GOAL_PER_S, GOAL_RATIO = 3_000_000, 1.3


def _measure_memory(report: Report, count: int, rounds: int) -> None:
    context = server_context()
    mine, cpu = cpus()
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {mine})
    readers: dict[int, BurstFeedHandler] = {}
    took: dict[int, list[NDArray[np.float64]]] = {}
    try:
        for instruments in INSTRUMENTS:
            progress(f"burst: connecting {instruments} instruments")
            readers[instruments] = BurstFeedHandler(instruments, context, cpu)
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


def _measure_veth(report: Report, count: int, rounds: int) -> None:
    """Add a row a case; its samples are whole runs."""
    took: dict[int, list[float]] = {instruments: [] for instruments in INSTRUMENTS}
    resent = 0
    bench = Bench.open()
    try:
        for turn in range(min(rounds, VETH_ROUNDS_MAX)):
            for instruments, samples in took.items():
                progress(f"burst over veth: round {turn + 1}: {instruments} instruments")
                one, again = measure_veth(bench, instruments, count)
                samples.append(one)
                resent += again
    finally:
        progress_end()
        bench.close()
    for instruments, samples in took.items():
        found = row("burst", OURS, f"veth {instruments}", np.array(samples))
        report.rows.append(found)
        rate = round(1e9 / found.p50)
        report.ratios.append(Ratio("burst", found.case, "messages a second", rate))
    report.notes.append(f"veth: {resent} segments were sent again")


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
    _add_goals(report)
    if os.geteuid() == 0:
        report.notes.append(
            "veth: the kernel's TCP packs messages; from first send to last book, a sample a run"
        )
        _measure_veth(report, count or COUNT, rounds)
    else:
        report.notes.append("veth: left out, namespaces and AF_XDP need root")
    return report


def _add_goals(report: Report) -> None:
    for instruments in INSTRUMENTS:
        found = report.find(OURS, f"memory {instruments}")
        rate = 1e9 / found.p50
        name = "messages a second"
        report.ratios.append(at_least("burst", found.case, name, rate, GOAL_PER_S))
    first, last = (report.find(OURS, f"memory {one}").p50 for one in (1, 1000))
    name = "cost at 1,000 instruments / at 1"
    report.ratios.append(at_most("burst", "memory", name, last / first, GOAL_RATIO))
