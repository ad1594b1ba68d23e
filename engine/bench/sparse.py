"""What does silence cost, from the exchange's send call until a strategy holds the book?

As wire.py, but with a pause before each message, up to 10 ms: caches, translations and branch
predictors forget meanwhile, on the far end too. Contenders in turn: our feed handler, which
rehearses while nothing comes; the same without that; picows in Python. Of ours the part within our
process stands beside it, frame to decoded, by its own histograms. Ratios are of one run.
"""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from tickpath.engine.bench.measure import (
    OURS,
    Report,
    Row,
    at_least,
    at_most,
    interleave,
    progress,
    progress_end,
    row,
)
from tickpath.engine.bench.peers import Bench
from tickpath.engine.bench.wire import OTHER, Turn, one_way, ours, theirs, write_inputs
from tickpath.engine.client.reader import open_reader
from tickpath.engine.commands.live_view import merge_histograms
from tickpath.rt import limits
from tickpath.shm.histogram import percentiles

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tickpath.engine.bench.measure import Ratio

RATES = (100, 1_000, 10_000)
"""Messages a second, of one instrument."""
COUNT = {100: 1_000, 1_000: 5_000, 10_000: 20_000}
WARM_UP = 100
UNREHEARSED = "no rehearsal"
HOP, INSIDE = "taken_to_decoded", "frame to decoded, "
NS_PER_S = 1_000_000_000


def _command(bench: Bench, contender: str, instance: str) -> list[str]:
    if contender == OTHER:
        return theirs(bench, instance)
    throttled = limits.describe_throttling(limits.read_throttling([0]))
    lines = [f'rehearse = "{"on" if contender == OURS else "off"}"']
    lines += ["yield_to_others = true"] * bool(throttled)
    return ours(bench, instance, more="\n".join(lines))


def measure(count: int, rounds: int) -> Report:
    """Return nanoseconds one way by rate; count: of each contender and rate."""
    report = Report("sparse")
    report.notes = [
        "one way: SSL_write of the exchange to book in a strategy that spins, one clock",
        "the far end sleeps most of a pause: its own send path is cold too, for all alike",
        "a veth pair, not a NIC: the far end's kernel TCP is part of it",
    ]
    bench, prefix = Bench.open(), f"bench-sparse-{os.getpid()}"
    taken: dict[tuple[str, int], list[NDArray[np.uint64]]] = {
        (name, rate): [] for rate in RATES for name in (OURS, UNREHEARSED, OTHER)
    }
    inside: dict[tuple[str, int], list[NDArray[np.uint64]]] = {
        (name, rate): [] for name, rate in taken if name != OTHER
    }
    try:
        each = {rate: WARM_UP + max(1, (count or COUNT[rate]) // rounds) for rate in RATES}
        write_inputs(bench, max(each.values()))
        for turn in range(rounds):
            for (name, rate), samples in taken.items():
                progress(f"sparse: round {turn + 1} of {rounds}: {name} at {rate} a second")
                instance = f"{prefix}-{name.replace(' ', '-')}"
                command = _command(bench, name, instance)
                pause_ns = 2 * NS_PER_S // (3 * rate)
                turn_of = Turn(instance, command, each[rate], pause_ns)
                if name != OTHER:
                    look = partial(_look, inside[name, rate])
                    turn_of = replace(turn_of, look=look)
                samples.append(one_way(bench, turn_of)[WARM_UP:])
    finally:
        progress_end()
        bench.close()
    report.rows = [
        row("sparse", name, f"{rate} a second", interleave(samples))
        for (name, rate), samples in taken.items()
    ]
    report.rows += [_inside_row(name, rate, words) for (name, rate), words in inside.items()]
    report.ratios = _ratios(report)
    return report


def _look(kept: list[NDArray[np.uint64]], instance: str) -> None:
    """Keep the words of the hop's histogram."""
    with open_reader(instance, name=None) as reader:
        words = reader.shm.segment.histogram_words().get(HOP)
        if words is not None:
            kept.append(words.copy())


def _inside_row(name: str, rate: int, words: list[NDArray[np.uint64]]) -> Row:
    whole = words[0]
    for one in words[1:]:
        whole = merge_histograms(whole, one)
    of = percentiles(whole)
    case = f"{INSIDE}{rate} a second"
    return Row("sparse", name, case, "ns", of.n, of.min, of.p50, of.p99, of.p999, of.max)


def _ratios(report: Report) -> list[Ratio]:
    """Judge the rarest rate against picows, against no rehearsal, and against the densest."""
    rare, dense = f"{RATES[0]} a second", f"{RATES[-1]} a second"
    mine, cold, other = (report.find(name, rare) for name in (OURS, UNREHEARSED, OTHER))
    mine_in, busy_in = (report.find(OURS, INSIDE + case) for case in (rare, dense))
    return [
        at_least("sparse", rare, "p50 picows / ours", other.p50 / mine.p50, 6),
        at_least("sparse", rare, "p99 picows / ours", other.p99 / mine.p99, 6),
        at_most("sparse", rare, "p50 ours / without rehearsal", mine.p50 / cold.p50, 1),
        at_most("sparse", INSIDE + rare, f"p50 / at {dense}", mine_in.p50 / busy_in.p50, 2),
        at_most("sparse", INSIDE + rare, f"p99 / at {dense}", mine_in.p99 / busy_in.p99, 3),
    ]
