"""How every benchmark measures and reports: raw nanoseconds in, one row a contender, then ratios.

A row is `bench, contender, case, unit, n, min, p50, p99, p999, max`; with `--json` one object a
line, rows first, ratios after. Contenders take turns in rounds of one run: drift hits all alike.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table
from tickpath.engine.console import Console

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

OURS = "tickpath"
WIDTH_UNFOLDED = 200
LOAD_MAX_EACH_CPU = 0.5  # runnable tasks of others, as the last minute had them
# A percentile has at least one sample above it.
SAMPLES_NEEDED = (("p99.9", 1000), ("p99", 100))


@dataclass(frozen=True, slots=True)
class Row:
    """One contender's figures in one case."""

    bench: str
    contender: str
    case: str
    unit: str
    n: int
    min: float
    p50: float
    p99: float
    p999: float
    max: float


@dataclass(frozen=True, slots=True)
class Ratio:
    """Ours against a contender; `goal` in words, empty where none was set; was it met?"""

    bench: str
    case: str
    name: str
    value: float
    goal: str = ""
    met: bool | None = None


def row(bench: str, contender: str, case: str, samples: NDArray[Any], unit: str = "ns") -> Row:
    """Summarise samples, numbers of any type."""
    values = np.percentile(samples, [0, 50, 99, 99.9, 100])
    low, p50, p99, p999, high = (round(float(value), 2) for value in values)
    return Row(bench, contender, case, unit, len(samples), low, p50, p99, p999, high)


def at_most(bench: str, case: str, name: str, value: float, limit: float) -> Ratio:
    """Return a ratio whose goal is an upper bound."""
    return Ratio(bench, case, name, round(value, 3), f"at most {limit:g}", value <= limit)


def at_least(bench: str, case: str, name: str, value: float, limit: float) -> Ratio:
    """Return a ratio whose goal is a lower bound."""
    return Ratio(bench, case, name, round(value, 2), f"at least {limit:g}", value >= limit)


def conditions() -> dict[str, str]:
    """Return what a figure depends on: machine, kernel, clock, Python."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    clock = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
    source = clock.read_text(encoding="ascii").strip() if clock.exists() else "unknown"
    return {
        "machine": f"{cpu}, {os.cpu_count()} CPUs",
        "kernel": platform.release(),
        "clock": f"CLOCK_MONOTONIC ({source})",
        "python": platform.python_version(),
    }


@dataclass(slots=True)
class Report:
    """Collects rows and ratios of a run and prints them."""

    bench: str
    notes: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    ratios: list[Ratio] = field(default_factory=list)
    load_before: float = field(default_factory=lambda: os.getloadavg()[0])
    """Of the last minute, before this bench added its own: a report is made first."""

    @property
    def is_worthless(self) -> bool:
        """Say whether others kept this host's CPUs from the contenders."""
        return self.load_before > LOAD_MAX_EACH_CPU * (os.cpu_count() or 1)

    def judged(self, ratio: Ratio) -> Ratio:
        """Take the judgement from a ratio that nothing can be judged by."""
        needed = next((n for word, n in SAMPLES_NEEDED if word in ratio.name), 0)
        is_thin = any(one.n < needed for one in self.rows if one.case == ratio.case)
        return replace(ratio, met=None) if self.is_worthless or is_thin else ratio

    def _remark(self) -> str:
        if self.is_worthless:
            return (
                f"load {self.load_before:.1f} on {os.cpu_count()} CPUs before it began: these "
                "figures are worthless, no goal is judged: end what else runs"
            )
        if any(one.n < SAMPLES_NEEDED[0][1] for one in self.rows):
            return "a percentile of too few samples is not shown (p99 takes 100, p99.9 takes 1,000)"
        return ""

    def find(self, contender: str, case: str) -> Row:
        """Return one row."""
        return next(one for one in self.rows if (one.contender, one.case) == (contender, case))

    def print(self, *, as_json: bool) -> int:
        """Print everything; returns 0: a missed goal is a result, not a failure."""
        if as_json:
            if remark := self._remark():
                print(f"tickpath: {remark}", file=sys.stderr)
            objects = [asdict(one) for one in self.rows]
            objects += [asdict(self.judged(one)) for one in self.ratios]
            for item in objects:
                print(json.dumps(item))
            return 0
        console = Console()
        if not console.is_terminal:  # nobody folds a pipe: no figure is cut
            console = Console(width=WIDTH_UNFOLDED)
        for name, value in conditions().items():
            console.print(f"{name}: {value}", highlight=False)
        for note in [*self.notes, *filter(None, [self._remark()])]:
            console.print(f"note: {note}", highlight=False)
        console.print(self._rows_table())
        if self.ratios:
            console.print(self._ratios_table())
        return 0

    def _rows_table(self) -> Table:
        table = Table(title=self.bench, title_justify="left")
        for name in ("contender", "case"):
            table.add_column(name, overflow="fold")
        for name in ("unit", "n", "min", "p50", "p99", "p99.9", "max"):
            table.add_column(name, justify="right", no_wrap=True, overflow="fold", min_width=3)
        for one in self.rows:
            needed = (0, 0, *(n for _, n in reversed(SAMPLES_NEEDED)), 0)
            figures = (one.min, one.p50, one.p99, one.p999, one.max)
            shown = (
                f"{v:,.0f}" if one.n >= n else "-" for v, n in zip(figures, needed, strict=True)
            )
            table.add_row(one.contender, one.case, one.unit, f"{one.n:,}", *shown)
        return table

    def _ratios_table(self) -> Table:
        table = Table(title="ratios", title_justify="left")
        for name in ("case", "what", "value", "goal", "met"):
            table.add_column(name)
        for one in map(self.judged, self.ratios):
            met = "" if one.met is None else "yes" if one.met else "no"
            table.add_row(one.case, one.name, f"{one.value:g}", one.goal, met)
        return table


def progress(text: str) -> None:
    """Say on stderr what is running, where a person looks."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def progress_end() -> None:
    """Clear the progress line."""
    progress("")


def interleave(samples: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Join the rounds of one contender."""
    return np.concatenate(list(samples))
