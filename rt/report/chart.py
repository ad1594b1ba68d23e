"""Histograms of latencies as inline SVG: both axes logarithmic, after filled, before outlined.

Called by: rt.report.page. Calls: rt.measure.histogram.
"""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

from tickpath.rt.measure.histogram import describe_ns

if TYPE_CHECKING:
    from tickpath.rt.measure.histogram import Histogram

BINS_A_DECADE = 10
NS_MIN = 10.0
WIDTH, HEIGHT = 720, 220
LEFT, RIGHT, TOP, BOTTOM = 46, 30, 10, 30
UNITS = ((1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns"))


def bins_of(histogram: Histogram) -> dict[int, int]:
    """Count by logarithmic bin; those beyond the tool's buckets stand at the maximum."""
    found: dict[int, int] = {}
    rows = [*histogram.counts.items()]
    if histogram.over:
        rows.append((histogram.maximum_ns or max(histogram.counts, default=0), histogram.over))
    for value, count in rows:
        place = math.floor(math.log10(max(float(value), NS_MIN)) * BINS_A_DECADE)
        found[place] = found.get(place, 0) + count
    return found


def draw(after: Histogram, before: Histogram | None, label: str) -> str:
    """Return the <svg> element; an empty histogram gives a paragraph that says so."""
    bins, old = bins_of(after), bins_of(before) if before is not None else {}
    if not bins and not old:
        return '<p class="dim">no samples</p>'
    low = min([*bins, *old]) // BINS_A_DECADE
    high = max(max([*bins, *old]) // BINS_A_DECADE + 1, low + 1)
    most = max([*bins.values(), *old.values()])
    top = max(1, math.ceil(math.log10(most + 1)))
    scale = _Scale(low, high, top)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label, quote=True)}">',
        *_grid(scale),
        *(_bar(scale, place, count) for place, count in sorted(bins.items())),
    ]
    if old:
        parts.append(f'<path class="before" d="{_outline(scale, old)}"/>')
    return "\n".join([*parts, "</svg>"])


class _Scale:
    """Where a bin and a count lie."""

    def __init__(self, low: int, high: int, top: int) -> None:
        self.low, self.high, self.top = low, high, top
        self.step = (WIDTH - LEFT - RIGHT) / ((high - low) * BINS_A_DECADE)

    def x(self, place: int) -> float:
        return LEFT + (place - self.low * BINS_A_DECADE) * self.step

    def y(self, count: int) -> float:
        share = math.log10(count + 1) / self.top
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def _grid(scale: _Scale) -> list[str]:
    parts = []
    for decade in range(scale.low, scale.high + 1):
        x = scale.x(decade * BINS_A_DECADE)
        name = describe_decade(10.0**decade)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" '
                     f'y2="{HEIGHT - BOTTOM}"/>')  # fmt: skip
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - 12}" text-anchor="middle">{name}</text>')
    for power in range(0, scale.top, max(1, scale.top // 4)):
        y = scale.y(10**power)
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">'
                     f"{describe_count(power)}</text>")  # fmt: skip
    return parts


def _bar(scale: _Scale, place: int, count: int) -> str:
    x, y = scale.x(place), scale.y(count)
    height = HEIGHT - BOTTOM - y
    told = f"{describe_ns(10 ** (place / BINS_A_DECADE))} µs and more: {count:,}"
    return (
        f'<rect class="after" x="{x:.1f}" y="{y:.1f}" width="{scale.step * 0.9:.1f}" '
        f'height="{height:.1f}"><title>{told}</title></rect>'
    )


def _outline(scale: _Scale, bins: dict[int, int]) -> str:
    floor = HEIGHT - BOTTOM
    pieces = [f"M{scale.x(min(bins)):.1f} {floor}"]
    for place in range(min(bins), max(bins) + 1):
        y = scale.y(bins.get(place, 0))
        pieces.append(f"V{y:.1f}H{scale.x(place + 1):.1f}")
    return "".join([*pieces, f"V{floor}"])


def describe_decade(ns: float) -> str:
    """Write a power of ten with its unit."""
    for size, unit in UNITS:
        if ns >= size:
            return f"{ns / size:g} {unit}"
    return f"{ns:g} ns"


def describe_count(power: int) -> str:
    """Write ten to a power shortly."""
    names = ("1", "10", "100", "1k", "10k", "100k", "1M", "10M", "100M", "1G", "10G", "100G")
    return names[power] if power < len(names) else f"1e{power}"
