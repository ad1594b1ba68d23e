"""Percentiles of the log-linear histograms that processes keep in shared memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

OCTAVE_BITS = 5
VALUE_BITS = 36
BUCKET_COUNT = (VALUE_BITS - OCTAVE_BITS + 1) << OCTAVE_BITS
HEADER_WORDS = 8
WORD_COUNT = HEADER_WORDS + BUCKET_COUNT
_UINT64_MAX = (1 << 64) - 1


class Percentiles(msgspec.Struct, frozen=True):
    """Hold what is told of one hop: nanoseconds, all 0 where nothing was recorded."""

    n: int = 0
    min: int = 0
    mean: int = 0
    p50: int = 0
    p90: int = 0
    p99: int = 0
    p999: int = 0
    max: int = 0


def bucket_middle(index: int) -> int:
    """Return the value in the middle of a bucket, in nanoseconds."""
    if index < 2 << OCTAVE_BITS:
        return index
    shift = (index >> OCTAVE_BITS) - 1
    low = ((index & ((1 << OCTAVE_BITS) - 1)) + (1 << OCTAVE_BITS)) << shift
    return low + (1 << shift) // 2


def percentiles(words: NDArray[np.uint64]) -> Percentiles:
    """Summarise one histogram of WORD_COUNT words; a live one is copied first."""
    import numpy as np  # noqa: PLC0415 - readers of events and books do without it

    copy = words.copy()
    buckets = copy[HEADER_WORDS:]
    cumulative = np.cumsum(buckets)
    count = int(cumulative[-1])
    if count == 0:
        return Percentiles()
    smallest, largest = _UINT64_MAX - int(copy[2]), int(copy[3])

    def at(fraction: float) -> int:
        rank = min(count, int(fraction * count) + 1)
        middle = bucket_middle(int(np.searchsorted(cumulative, rank)))
        return max(smallest, min(middle, largest))

    return Percentiles(
        n=count,
        min=smallest,
        mean=int(copy[1]) // count,
        p50=at(0.5),
        p90=at(0.9),
        p99=at(0.99),
        p999=at(0.999),
        max=largest,
    )
