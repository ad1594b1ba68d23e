"""Latencies counted by value, and the percentiles that so many samples can bear.

Called by: all of rt.measure, rt.report. Calls: nothing of ours.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PERCENTILES = (50.0, 90.0, 99.0, 99.9, 99.99, 99.999)
WHOLE_PARTS = 100_000  # of a hundred percent
NS_MAX = 1 << 62  # a latency of a century: what is above was never measured
BUCKETS_MAX = 1 << 20


@dataclass(slots=True)
class Histogram:
    """Counts by latency in ns; `over` counts those beyond what the tool tells apart."""

    counts: dict[int, int] = field(default_factory=dict)
    over: int = 0
    minimum_ns: int | None = None
    maximum_ns: int | None = None

    @property
    def samples(self) -> int:
        """Count them all."""
        return sum(self.counts.values()) + self.over

    def add(self, value_ns: int, count: int = 1) -> None:
        """Count a latency."""
        self.counts[value_ns] = self.counts.get(value_ns, 0) + count
        self.stretch(value_ns, value_ns)

    def stretch(self, minimum_ns: int | None, maximum_ns: int | None) -> None:
        """Take an extreme into account, which a tool may tell more exactly than its buckets."""
        if minimum_ns is not None:
            known = self.minimum_ns
            self.minimum_ns = minimum_ns if known is None else min(known, minimum_ns)
        if maximum_ns is not None:
            known = self.maximum_ns
            self.maximum_ns = maximum_ns if known is None else max(known, maximum_ns)

    def merge(self, other: Histogram) -> None:
        """Add all of another."""
        for value, count in other.counts.items():
            self.counts[value] = self.counts.get(value, 0) + count
        self.over += other.over
        self.stretch(other.minimum_ns, other.maximum_ns)

    def percentile(self, percent: float) -> int | None:
        """Return the least latency that so many percent do not exceed, in ns.

        None where fewer samples lie above than one: the figure would be the maximum by another
        name. Among those beyond the buckets it is the maximum, an upper bound.
        """
        return walk(sorted(self.counts.items()), self.samples, percent, self.maximum_ns)

    def count_above(self, value_ns: int) -> int:
        """Count the latencies that exceed a value."""
        return self.over + sum(count for value, count in self.counts.items() if value > value_ns)

    def as_json(self) -> dict[str, object]:
        """Return what `from_json` reads."""
        return {
            "counts": {str(value): self.counts[value] for value in sorted(self.counts)},
            "over": self.over,
            "min_ns": self.minimum_ns,
            "max_ns": self.maximum_ns,
            "samples": self.samples,
            "percentiles_ns": {f"{each:g}": self.percentile(each) for each in PERCENTILES},
        }


def walk(
    ordered: Iterable[tuple[int, int]], samples: int, percent: float, beyond: int | None
) -> int | None:
    """Go up the buckets until so many percent are passed; `beyond` lies behind the last.

    Counted in whole thousandths of a percent: 99.9 is none in binary, and one sample decides.
    """
    parts = round(percent * 1000)
    if samples * (WHOLE_PARTS - parts) < WHOLE_PARTS:
        return None
    wanted, passed = -(-samples * parts // WHOLE_PARTS), 0
    for value, count in ordered:
        passed += count
        if passed >= wanted:
            return value
    return beyond


def from_json(value: object) -> Histogram:
    """Read one back. Raises ValueError naming what is wrong with it."""
    if not isinstance(value, dict):
        raise ValueError(f"histogram is {type(value).__name__}, expected an object")
    counts = read_counts(value.get("counts"), 1)
    over = read_whole(value.get("over", 0), "over")
    extremes = [value.get(name) for name in ("min_ns", "max_ns")]
    low, high = (None if each is None else read_whole(each, "an extreme") for each in extremes)
    return Histogram(counts, over, low, high)


def read_counts(value: object, unit_ns: int) -> dict[int, int]:
    """Read a tool's buckets, {"12": 3}, of a unit; raises ValueError."""
    if not isinstance(value, dict) or len(value) > BUCKETS_MAX:
        raise ValueError("histogram: expected an object of latencies and counts")
    return tidy((read_whole(each, "a latency") * unit_ns, count) for each, count in value.items())


def tidy(rows: Iterable[tuple[int, object]]) -> dict[int, int]:
    """Add up rows of one latency, leave out those of no count."""
    found: dict[int, int] = {}
    for latency, count in rows:
        number = read_whole(count, "a count")
        if number:
            found[latency] = found.get(latency, 0) + number
    return found


def read_whole(value: object, what: str) -> int:
    """Read a whole number from JSON, or text of digits; raises ValueError."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= NS_MAX:
        raise ValueError(f"{what} is {value!r:.40}, expected a whole number from 0 to {NS_MAX}")
    return value


def describe_ns(value: int | float | None) -> str:
    """Write a latency as people read it, in microseconds."""
    if value is None:
        return "-"
    if value < 100:
        return f"{value / 1000:.2f}"
    return f"{value / 1000:,.1f}" if value < 10_000 else f"{value / 1000:,.0f}"


def percentile_row(histogram: Histogram) -> Mapping[str, int | None]:
    """Return the percentiles by name, p50 first, max last."""
    row = {f"p{each:g}": histogram.percentile(each) for each in PERCENTILES}
    return {**row, "max": histogram.maximum_ns}
