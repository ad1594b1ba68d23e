"""The cold side of rehearsals: whether there is one, what is measured, what is decided and said."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from tickpath._core import ffi, lib
from tickpath.engine.config.schema import FeedHandlerConfig
from tickpath.engine.feed_handler import rehearsal
from tickpath.engine.feed_handler.hot_path import HotPath
from tickpath.engine.feed_handler.rehearsal import AGAIN_S, ENOUGH, PHASE_S, Rehearsals, Trial
from tickpath.shm.clock import Clock
from tickpath.shm.histogram import BUCKET_COUNT

from tests.unit.feed.conftest import Rig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NS_PER_S = 1_000_000_000


class Side:
    """A cold side with a clock and a histogram of the test's."""

    def __init__(self, rig: Rig, **fields: Any) -> None:
        self.lines: list[str] = []
        self.now_s = 0.0
        self.histogram = ffi.new("uint64_t[]", 8 + BUCKET_COUNT)
        self.hot = HotPath(rig.feed, rig.segment.pointer)
        clock = Clock(lambda: int(self.now_s * NS_PER_S), lambda: 0)
        self.made = Rehearsals(FeedHandlerConfig(**fields), self.lines.append, clock)

    def open(self, *, has_frames: bool = True) -> Any:
        self.made.open(self.hot, has_frames=has_frames)
        return self.made._rehearsal

    @property
    def is_on(self) -> bool:
        return self.made.counters()["on"] == 1

    def step(self) -> None:
        self.made.step(ffi.cast("struct tp_histogram *", self.histogram))

    def measure(self, off_ns: int, on_ns: int) -> None:
        """Let one trial come to its end."""
        self.step()
        for _ in range(2):
            value = on_ns if self.is_on else off_ns
            for _ in range(ENOUGH):
                lib.tp_histogram_record(ffi.cast("struct tp_histogram *", self.histogram), value)
            self.now_s += PHASE_S
            self.step()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("fields", "has_frames"),
    [({"rehearse": "off"}, True), ({"spin": False}, True), ({}, False)],
)
def test_rehearsal_is_only_where_a_loop_spins_over_frames(
    rig: Rig, fields: dict[str, Any], has_frames: bool
) -> None:
    side = Side(rig, **fields)
    assert side.open(has_frames=has_frames) is None
    side.measure(9_000, 3_000)
    assert side.hot.handle.rehearsal == ffi.NULL
    assert set(side.made.counters().values()) == {0}
    assert side.lines == []


@pytest.mark.parametrize(("share", "rests"), [(0.05, 19), (0.5, 1), (0.1, 9)])
def test_rehearsal_rests_as_long_as_its_share_says(rig: Rig, share: float, rests: int) -> None:
    assert int(Side(rig, rehearse_share=share).open().handle.rests) == rests


def test_median_is_the_middle_value() -> None:
    buckets = [0] * BUCKET_COUNT
    assert rehearsal.median(buckets) == 0
    buckets[10], buckets[20], buckets[30] = 1, 1, 1
    assert rehearsal.median(buckets) == 20
    buckets[30] = 3
    assert rehearsal.median(buckets) == 30


def test_trial_ends_only_once_both_are_known() -> None:
    buckets = [0] * BUCKET_COUNT
    trial = Trial([*buckets], 0.0)
    assert not trial.is_on
    assert not trial.is_due(PHASE_S - 0.1)
    buckets[40] += 10 * ENOUGH  # while it is off
    assert trial.change([*buckets], PHASE_S) is None
    assert trial.is_on
    buckets[20] += ENOUGH - 1
    assert trial.change([*buckets], 2 * PHASE_S) is None
    assert not trial.is_on
    assert trial.change([*buckets], 3 * PHASE_S) is None
    buckets[20] += 1
    assert trial.change([*buckets], 4 * PHASE_S) == (40, 20)


@pytest.mark.parametrize(("on_ns", "is_kept"), [(3_000, True), (8_900, True), (9_600, False)])
def test_rehearsal_is_kept_where_it_helps_and_the_log_says_how_much(
    rig: Rig, on_ns: int, is_kept: bool
) -> None:
    side = Side(rig)
    side.open()
    side.measure(10_000, on_ns)
    assert side.is_on == is_kept
    (line,) = side.lines
    assert line.startswith(f"rehearsal: {'kept' if is_kept else 'off'}: 10 ms and more after ")
    said = [1_000 * float(one) for one in re.findall(r"([0-9.]+) us", line)]
    assert said == pytest.approx([on_ns, 10_000], rel=0.04)  # a bucket is so wide, and rounded
    side.now_s += AGAIN_S - PHASE_S
    side.step()
    assert side.is_on == is_kept
    side.now_s += 2 * PHASE_S
    side.step()  # a host changes: measured anew
    assert not side.is_on
    side.measure(10_000, 20_000)
    assert not side.is_on
    assert len(side.lines) == 2


def test_rehearsal_that_is_asked_for_is_not_measured(rig: Rig) -> None:
    side = Side(rig, rehearse="on")
    side.open()
    for _ in range(3):
        side.step()
        side.now_s += PHASE_S
        assert side.is_on
    assert side.lines == []


def test_rehearsal_that_is_broken_ends_and_says_so_once(rig: Rig) -> None:
    side = Side(rig)
    side.open().handle.is_broken = True
    side.step()
    side.step()
    assert not side.is_on
    assert side.lines == [
        "rehearsal: off: its understudy ended a message otherwise: please report this"
    ]
