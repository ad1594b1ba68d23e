"""The figures of a running strategy, in a small segment of its own that any process may read.

Its name is `<instance>.strategy.<name>`. Called by: engine/strategy/runtime.py (writer),
engine/strategy/command.py, the demo's table (feed handlers).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from tickpath.shm.histogram import Percentiles  # noqa: TC002  # msgspec resolves it at run time
from tickpath.shm.segment import DIRECTORY, Segment, SegmentLayout, SegmentWriter, instances

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COUNTERS = ("events", "tops", "laps", "lost", "restarts", "silences", "turns_idle", "yields")
HOPS = ("received_to_seen", "published_to_seen")
_LAYOUT = SegmentLayout(schema="strategy statistics 1\n", counters=COUNTERS, histograms=HOPS)
_INFIX = ".strategy."


class StrategyStats(msgspec.Struct, frozen=True):
    """Hold what a strategy did so far; hops in nanoseconds."""

    strategy: str
    instance: str
    counters: dict[str, int]
    hops: dict[str, Percentiles]
    is_running: bool = False


def create_stats(instance: str, name: str, *, directory: Path = DIRECTORY) -> SegmentWriter:
    """Create the segment; raises SegmentLockedError where a strategy of this name runs."""
    segment = SegmentWriter(f"{instance}{_INFIX}{name}", _LAYOUT, directory=directory)
    segment.ready()
    return segment


def summarise(segment: Any) -> StrategyStats:
    """Read a stats segment, one's own or another process's."""
    instance, _, name = segment.instance.partition(_INFIX)
    return StrategyStats(
        strategy=name,
        instance=instance,
        counters=segment.counters(),
        hops=segment.histograms(),
        is_running=segment.writer_lives(),
    )


def running(instance: str, *, directory: Path = DIRECTORY) -> Iterator[str]:
    """Yield the names of strategies that have (or, killed, left) statistics for this instance."""
    for name in instances(directory):
        owner, infix, strategy = name.partition(_INFIX)
        if infix and owner == instance:
            yield strategy


def read_stats(instance: str, name: str, *, directory: Path = DIRECTORY) -> StrategyStats:
    """Read a strategy's figures once; raises SegmentNotReadyError where it does not run."""
    path = f"{instance}{_INFIX}{name}"
    with Segment(path, schema=_LAYOUT.schema, directory=directory) as segment:
        return summarise(segment)
