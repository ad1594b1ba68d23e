"""The figures of a running strategy, in a small segment of its own that any process may read.

Its name is `<instance>.strategy.<name>`. Called by: engine/strategy/runtime.py (writer),
engine/strategy/command.py, the demo's table (feed handlers).
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import msgspec
from tickpath._core import lib
from tickpath.shm.histogram import Percentiles  # noqa: TC002  # msgspec resolves it at run time
from tickpath.shm.segment import (
    DIRECTORY,
    Segment,
    SegmentError,
    SegmentLayout,
    SegmentWriter,
    instances,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

COUNTERS = ("events", "tops", "laps", "lost", "restarts", "silences", "turns_idle", "yields")
HOPS = ("received_to_seen", "published_to_seen")
SCHEMA = "strategy statistics 1\n"
NAME_LENGTH_MAX = int(lib.TP_SEGMENT_NAME_SIZE) - 1
SPLIT, INLINE_NATIVE = "split", "inline native"
IN_CALL = "in_call"
"""The counter that only an inline strategy has: 1 while it is called."""
_INFIX = ".strategy."


class StrategyStats(msgspec.Struct, frozen=True):
    """Hold what a strategy did so far; hops in nanoseconds."""

    strategy: str
    instance: str
    counters: dict[str, int]
    hops: dict[str, Percentiles]
    is_running: bool = False
    placement: str = SPLIT


def create_stats(
    instance: str, name: str, own: Sequence[str] = (), *, directory: Path = DIRECTORY
) -> SegmentWriter:
    """Create the segment; raises SegmentLockedError where a strategy of this name runs.

    own: names of the strategy's own counters, which come behind those of every strategy. Raises
    ValueError for one that cannot be.
    """
    check_own(own)
    layout = SegmentLayout(schema=SCHEMA, counters=(*COUNTERS, *own), histograms=HOPS)
    segment = SegmentWriter(stats_name(instance, name), layout, directory=directory)
    segment.ready()
    return segment


def stats_name(instance: str, name: str) -> str:
    """Return the name of a strategy's segment."""
    return f"{instance}{_INFIX}{name}"


def check_own(names: Sequence[str]) -> None:
    """Raise ValueError where a strategy's own counters cannot have these names."""
    for name in names:
        if not (name.isascii() and name.isprintable() and 0 < len(name) <= NAME_LENGTH_MAX):
            raise ValueError(
                f"counter {name!r}: expected 1 to {NAME_LENGTH_MAX} printable ASCII characters"
            )
    twice = [name for name in names if [*COUNTERS, *names].count(name) > 1]
    if twice:
        raise ValueError(
            f"counter {twice[0]!r}: named twice; every strategy has {', '.join(COUNTERS)}"
        )


def own_counters(counters: dict[str, int]) -> dict[str, int]:
    """Return those that only this strategy has."""
    return {name: count for name, count in counters.items() if name not in COUNTERS}


def summarise(segment: Any) -> StrategyStats:
    """Read a stats segment, one's own or another process's."""
    instance, _, name = segment.instance.partition(_INFIX)
    return StrategyStats(
        strategy=name,
        instance=instance,
        counters=segment.counters(),
        hops=segment.histograms(),
        is_running=segment.writer_lives(),
        placement=placement(segment.counters()),
    )


def placement(counters: Mapping[str, int]) -> str:
    """Say where a strategy with such counters runs."""
    return INLINE_NATIVE if IN_CALL in counters else SPLIT


def called_when_died(instance: str, pid: int, *, directory: Path = DIRECTORY) -> str | None:
    """Return the inline strategy that a process which died was in, where it was in one."""
    for name in running(instance, directory=directory):
        path = stats_name(instance, name)
        with (
            contextlib.suppress(SegmentError),
            Segment(path, schema=SCHEMA, directory=directory) as segment,
        ):
            if int(segment.header.writer_pid) == pid and segment.counters().get(IN_CALL):
                return name
    return None


def running(instance: str, *, directory: Path = DIRECTORY) -> Iterator[str]:
    """Yield the names of strategies that have (or, killed, left) statistics for this instance."""
    for name in instances(directory):
        owner, infix, strategy = name.partition(_INFIX)
        if infix and owner == instance:
            yield strategy


def read_stats(instance: str, name: str, *, directory: Path = DIRECTORY) -> StrategyStats:
    """Read a strategy's figures once; raises SegmentNotReadyError where it does not run."""
    path = stats_name(instance, name)
    with Segment(path, schema=SCHEMA, directory=directory) as segment:
        return summarise(segment)
