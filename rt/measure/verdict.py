"""When a measurement says something about this host, and when it does not.

The rule, in order; the first that holds makes it inconclusive:
1. fewer than SAMPLES_MIN samples;
2. the hypervisor says that it took STEAL_SHARE_MAX or more of a measured CPU's time;
3. under a hypervisor, a wait of UNSEEN_NS or longer that nothing counted here explains: many
   hypervisors take the CPU and say nothing, and from inside that looks like any other wait.
   Percentiles below UNSEEN_NS stand even then: they are told.
Called by: rt.measure.run, rt.measure.compare. Calls: rt.measure.histogram.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tickpath.rt.measure.histogram import PERCENTILES

if TYPE_CHECKING:
    from tickpath.rt.measure.histogram import Histogram

SAMPLES_MIN = 1000
STEAL_SHARE_MAX = 0.001
UNSEEN_NS = 100_000
CONCLUSIVE, INCONCLUSIVE = "conclusive", "inconclusive"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is known of the window besides the latencies."""

    hypervisor: str | None
    steal_share: float  # greatest of the measured CPUs
    explanation: str | None  # of the longest wait, by something of this host's own
    firmware_interrupts: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """The word, and the sentences that bear it."""

    word: str
    reasons: tuple[str, ...]

    @property
    def is_conclusive(self) -> bool:
        return self.word == CONCLUSIVE


def judge(histogram: Histogram, around: Surroundings) -> Verdict:
    """Apply the rule of this file's head."""
    if histogram.samples < SAMPLES_MIN:
        text = f"{histogram.samples} samples, at least {SAMPLES_MIN} are needed: measure longer"
        return Verdict(INCONCLUSIVE, (text,))
    if around.steal_share >= STEAL_SHARE_MAX:
        text = f"the hypervisor says that it took {around.steal_share:.2%} of a measured CPU"
        return Verdict(INCONCLUSIVE, (text,))
    longest = histogram.maximum_ns or 0
    told = (around.explanation,) if around.explanation else ()
    if around.hypervisor is None or longest < UNSEEN_NS or told or around.firmware_interrupts:
        return Verdict(CONCLUSIVE, told)
    return Verdict(INCONCLUSIVE, (_unseen(histogram, around.hypervisor), standing(histogram)))


def _unseen(histogram: Histogram, hypervisor: str) -> str:
    count = histogram.count_above(UNSEEN_NS)
    return (
        f"{count} waits above {UNSEEN_NS // 1000} µs, the longest "
        f"{(histogram.maximum_ns or 0) / 1000:,.0f} µs, under {hypervisor}, which may take the CPU "
        "unseen: nothing counted here explains them"
    )


def standing(histogram: Histogram) -> str:
    """Say up to which percentile the figures are too short to be the hypervisor's doing."""
    stand = [each for each in PERCENTILES if (histogram.percentile(each) or UNSEEN_NS) < UNSEEN_NS]
    return f"figures up to p{stand[-1]:g} stand" if stand else "no figure stands"
