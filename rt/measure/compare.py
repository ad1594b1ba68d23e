"""Before and after, in turn: is B different from A, and by how much at the least and the most.

A side is a saved set (file:PATH), other CPUs (cpu:LIST), or a setting that a command makes
(cmd:WORDS). Live sides alternate, A B then B A, so that drift of the machine falls on both. The
interval is a bootstrap over rounds, not samples: waits come in bursts, and a round is the least
that is independent. Commands run without a shell, A's before anything is measured; whatever ends
the run, B's command is the last one run: B is the state that stays.
Called by: rt.measure.command. Calls: run, histogram, verdict.
"""

from __future__ import annotations

import json
import random
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tickpath.rt.errors import HostError, RequestError
from tickpath.rt.limits import parse_cpu_list
from tickpath.rt.measure.histogram import PERCENTILES, Histogram, walk
from tickpath.rt.measure.run import histogram_of
from tickpath.rt.measure.verdict import INCONCLUSIVE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tickpath.rt.host import Output

RESAMPLES = 1000
BUCKETS_KEPT = 128  # more of them in one round are made coarser for the interval
# That all intervals hold together, not each by itself: of six figures one is soon odd by chance.
CONFIDENCE_TOGETHER = 0.95
CONFIDENCE = 1 - (1 - CONFIDENCE_TOGETHER) / len(PERCENTILES)
ROUNDS_MIN = 8  # a bootstrap of fewer is narrower than it ought to be
SEED = 20_240_229  # any: the same rounds shall give the same interval
KINDS = ("file", "cpu", "cmd")
SAVED_BYTES_MAX = 256 << 20


@dataclass(frozen=True, slots=True)
class Side:
    """One side as it was asked for."""

    name: str  # "A" or "B"
    kind: str
    value: str

    @property
    def cpus(self) -> tuple[int, ...] | None:
        return parse_cpu_list(self.value) if self.kind == "cpu" else None


@dataclass(slots=True)
class Rounds:
    """What one side measured: a histogram a round, and why some say nothing."""

    side: Side
    histograms: list[Histogram] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Difference:
    """B minus A at one percentile, in ns; the interval is of CONFIDENCE."""

    percentile: str
    a_ns: int | None
    b_ns: int | None
    low_ns: float | None
    high_ns: float | None

    @property
    def word(self) -> str:
        if self.low_ns is None or self.high_ns is None:
            return "too few samples"
        if self.low_ns > 0:
            return "B is slower"
        return "B is faster" if self.high_ns < 0 else "no difference shown"


def parse_side(name: str, text: str) -> Side:
    """Read KIND:VALUE. Raises RequestError."""
    kind, colon, value = text.partition(":")
    if not colon or kind not in KINDS or not value.strip():
        raise RequestError(f"--ab {text!r}: expected file:SAVED.json, cpu:LIST, or cmd:COMMAND")
    side = Side(name, kind, value)
    try:
        if side.cpus == ():
            raise ValueError("no CPU")
        if kind == "cmd":
            shlex.split(value)
    except ValueError as error:
        raise RequestError(f"--ab {text!r}: {error}") from error
    return side


def load_rounds(side: Side, tool: str) -> Rounds:
    """Read a saved set: its runs of this tool are its rounds. Raises RequestError."""
    path = Path(side.value)
    try:
        if path.stat().st_size > SAVED_BYTES_MAX:
            raise ValueError(f"larger than {SAVED_BYTES_MAX} bytes")
        whole = json.loads(path.read_text())
        runs = whole.get("runs") if isinstance(whole, dict) else None
        if not isinstance(runs, list):
            raise ValueError('no "runs": expected what `tickpath rt measure --json` prints')
        mine = [run for run in runs if isinstance(run, dict) and run.get("tool") == tool]
        rounds = Rounds(side, [histogram_of(run) for run in mine])
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RequestError(f"{path}: {reason}") from error
    if not mine:
        raise RequestError(f"{path}: no run of {tool} in it: choose one by --tools")
    rounds.doubts = [str(run.get("reasons")) for run in mine if run.get("verdict") == INCONCLUSIVE]
    return rounds


def switch(side: Side, run: Callable[[Sequence[str]], Output]) -> None:
    """Run a side's command. Raises HostError where it fails."""
    if side.kind != "cmd":
        return
    done = run(shlex.split(side.value))
    if done.status != 0:
        said = " ".join(done.stderr.split())[-300:]
        raise HostError(f"side {side.name}: {side.value!r} ended with status {done.status}: {said}")


def interleave(
    sides: tuple[Side, Side],
    count: int,
    run: Callable[[Sequence[str]], Output],
    measure_round: Callable[[Side, int], tuple[Histogram, list[str]]],
) -> tuple[Rounds, Rounds]:
    """Measure both sides in turn, `count` rounds each; B's command is the last one run."""
    rounds = {side.name: Rounds(side) for side in sides}
    try:
        for number in range(count):
            for side in sides if number % 2 == 0 else sides[::-1]:
                switch(side, run)
                histogram, doubts = measure_round(side, number)
                rounds[side.name].histograms.append(histogram)
                rounds[side.name].doubts += doubts
    finally:
        switch(sides[1], run)
    return rounds["A"], rounds["B"]


def compare(a: Rounds, b: Rounds) -> list[Difference]:
    """Return the difference at each percentile, with its bootstrap interval over rounds."""
    chooser = random.Random(SEED)  # noqa: S311 # statistics, no secret
    few = [[coarse(one) for one in side.histograms] for side in (a, b)]
    drawn = [tuple(_resampled(side, chooser) for side in few) for _ in range(RESAMPLES)]
    whole = (_Pool(a.histograms), _Pool(b.histograms))
    found = []
    for percent in PERCENTILES:
        middle = [pool.percentile(percent) for pool in whole]
        differences = sorted(
            at_b - at_a
            for pool_a, pool_b in drawn
            if (at_a := pool_a.percentile(percent)) is not None
            and (at_b := pool_b.percentile(percent)) is not None
        )
        low, high = interval(differences)
        if None in middle or min(len(a.histograms), len(b.histograms)) < ROUNDS_MIN:
            low = high = None
        found.append(Difference(f"p{percent:g}", middle[0], middle[1], low, high))
    return found


def interval(ordered: Sequence[int]) -> tuple[float | None, float | None]:
    """Return the middle CONFIDENCE of sorted values; none of too few."""
    if len(ordered) < RESAMPLES // 2:
        return None, None
    cut = int((1 - CONFIDENCE) / 2 * len(ordered))
    return float(ordered[cut]), float(ordered[-1 - cut])


class _Pool:
    """Histograms added up, their buckets in order once for all percentiles."""

    def __init__(self, histograms: Sequence[Histogram]) -> None:
        merged = Histogram()
        for one in histograms:
            merged.merge(one)
        self._samples, self._beyond = merged.samples, merged.maximum_ns
        self._ordered = sorted(merged.counts.items())

    def percentile(self, percent: float) -> int | None:
        return walk(self._ordered, self._samples, percent, self._beyond)


def coarse(histogram: Histogram) -> Histogram:
    """Keep so few buckets that a thousand resamples take a second: 7 significant bits, 1 %."""
    if len(histogram.counts) <= BUCKETS_KEPT:
        return histogram
    found = Histogram(over=histogram.over)
    found.stretch(histogram.minimum_ns, histogram.maximum_ns)
    for value, count in histogram.counts.items():
        shift = max(0, value.bit_length() - 7)
        found.add(value >> shift << shift, count)
    return found


def _resampled(histograms: Sequence[Histogram], chooser: random.Random) -> _Pool:
    return _Pool(chooser.choices(histograms, k=len(histograms)))


def conclude(differences: Sequence[Difference], a: Rounds, b: Rounds) -> tuple[str, list[str]]:
    """Return the word of the whole comparison, and why.

    Inconclusive where more than half of a side's rounds say nothing about this host (verdict), or
    where no percentile has an interval; doubts about fewer rounds fall on both sides alike.
    """
    for side in (a, b):
        if 2 * len(side.doubts) > len(side.histograms):
            return INCONCLUSIVE, [
                f"{len(side.doubts)} of {len(side.histograms)} rounds of side {side.side.name}: "
                f"{side.doubts[0]}"
            ]
    words = [each.word for each in differences if each.low_ns is not None]
    if not words:
        return INCONCLUSIVE, [f"expected at least {ROUNDS_MIN} rounds a side: measure longer"]
    told = [f"{each.percentile}: {each.word}" for each in differences if each.word.startswith("B")]
    if not told:
        return "no difference shown", []
    kinds = {each.partition(": ")[2] for each in told}
    return (kinds.pop() if len(kinds) == 1 else "B is faster here and slower there"), told
