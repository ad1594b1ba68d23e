"""Percentiles, verdicts, causes and the comparison of two sides."""

from __future__ import annotations

import json
import random
import time
from array import array
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tickpath.rt.counters import Deltas
from tickpath.rt.errors import HostError, RequestError
from tickpath.rt.host import Output
from tickpath.rt.limits import Throttling
from tickpath.rt.measure import compare, gap
from tickpath.rt.measure.causes import find_causes, throttle_sentence
from tickpath.rt.measure.histogram import Histogram
from tickpath.rt.measure.verdict import CONCLUSIVE, INCONCLUSIVE, Surroundings, judge

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tickpath.rt.measure.compare import Side

QUIET = Surroundings(None, 0.0, None)
GUEST = Surroundings("KVM", 0.0, None)


def histogram(values: Sequence[int]) -> Histogram:
    one = Histogram()
    for value in values:
        one.add(value)
    return one


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=300), st.sampled_from([50.0, 90, 99]))
def test_percentile_of_samples_is_numpys(values: list[int], percent: float) -> None:
    found = histogram(values).percentile(percent)
    if len(values) * (100 - percent) < 100:
        assert found is None
    else:
        assert found == np.percentile(values, percent, method="inverted_cdf")


def test_percentile_of_too_few_samples_is_none_not_the_maximum() -> None:
    one = histogram(range(1000))
    assert one.percentile(99.9) == 998
    assert one.percentile(99.99) is None


@pytest.mark.parametrize(
    ("longest", "around", "word", "reason"),
    [
        (20_000, QUIET, CONCLUSIVE, ""),
        (30_000_000, QUIET, CONCLUSIVE, ""),
        (20_000, GUEST, CONCLUSIVE, ""),
        (30_000_000, GUEST, INCONCLUSIVE, "1 waits above 100 µs"),
        (30_000_000, Surroundings("KVM", 0.0, "throttled"), CONCLUSIVE, "throttled"),
        (30_000_000, Surroundings("KVM", 0.0, None, 3), CONCLUSIVE, ""),
        (20_000, Surroundings("KVM", 0.002, None), INCONCLUSIVE, "took 0.20% of a measured CPU"),
    ],
)
def test_judge_follows_the_rule(longest: int, around: Surroundings, word: str, reason: str) -> None:
    one = histogram([1000] * 5000 + [longest])
    verdict = judge(one, around)
    assert verdict.word == word
    assert reason in " ".join(verdict.reasons)


def test_judge_few_samples_is_inconclusive() -> None:
    assert judge(histogram([1000] * 999), QUIET).word == INCONCLUSIVE


def test_judge_guest_says_which_percentiles_stand() -> None:
    one = histogram([1000] * 9950 + [500_000] * 50)
    assert judge(one, GUEST).reasons[1] == "figures up to p99 stand"


def test_throttle_sentence_names_the_limit_of_that_length() -> None:
    one = histogram([1000, 49_000_000])
    limit = Throttling(950_000, 1_000_000, {1: 0})
    said = throttle_sentence(one, limit, (1,))
    assert said is not None
    assert "kernel.sched_rt_runtime_us takes" in said
    assert throttle_sentence(histogram([1000, 9_000_000]), limit, (1,)) is None
    assert throttle_sentence(one, Throttling(-1, 1_000_000, {1: 50_000_000}), (0,)) is None
    fair = throttle_sentence(one, Throttling(-1, 1_000_000, {1: 50_000_000}), (1,))
    assert fair is not None
    assert "the fair server takes" in fair


def test_find_causes_counts_only_the_measured_cpus() -> None:
    deltas = Deltas(
        seconds=2.0,
        interrupts={"LOC": {0: 9, 1: 100}, "33": {0: 50, 1: 4}, "RES": {0: 7, 1: 0}},
        interrupt_texts={"33": "eth0-rx-0"},
        softirqs={"NET_RX": {0: 5, 1: 10}},
        idle_states={},
        steal_ticks={0: 0, 1: 3},
        context_switches=12,
        smi={1: 2},
    )
    found = {cause.name: cause for cause in find_causes(deltas, (1,))}
    assert list(found) == ["LOC", "NET_RX", "33", "context switches", "SMI", "steal"]
    assert (found["LOC"].count, found["LOC"].per_second) == (100, 50.0)
    assert found["33"].meaning == "eth0-rx-0"
    assert (found["SMI"].count, found["steal"].count) == (2, 3)


def test_spin_notes_each_gap_of_a_clock_that_jumps(monkeypatch: pytest.MonkeyPatch) -> None:
    # Two stamps a gap: one shows it, the next is where the loop goes on.
    stamps = iter([0, 50, 100, 5100, 5150, 5200, 1_005_200, 1_005_250, 1_005_300])
    monkeypatch.setattr(time, "perf_counter_ns", lambda: next(stamps))
    gaps = array("Q", bytes(8 * 4))
    assert gap.spin(gaps, 0, 6) == (2, 0)
    assert list(gaps[:2]) == [5000, 1_000_000]


def sides(kind: str, a: str = "a", b: str = "b") -> tuple[Side, Side]:
    return compare.Side("A", kind, a), compare.Side("B", kind, b)


def rounds(name: str, shift: int, seed: int, count: int = 8) -> compare.Rounds:
    chooser = random.Random(seed)
    return compare.Rounds(
        compare.Side(name, "cpu", "0"),
        [
            histogram([int(chooser.gauss(20_000, 2000)) + shift for _ in range(2000)])
            for _ in range(count)
        ],
    )


def test_compare_shifted_side_has_an_interval_around_the_shift() -> None:
    a, b = rounds("A", 0, 1), rounds("B", 5000, 2)
    found = compare.compare(a, b)
    by_name = {each.percentile: each for each in found}
    for name in ("p50", "p90", "p99"):
        one = by_name[name]
        assert one.low_ns is not None
        assert one.high_ns is not None
        assert one.low_ns < 5000 < one.high_ns
        assert one.word == "B is slower"
    assert by_name["p99.999"].word == "too few samples"  # 16,000 samples cannot bear it
    assert compare.conclude(found, a, b)[0] == "B is slower"
    back = compare.compare(b, a)
    assert compare.conclude(back, b, a)[0] == "B is faster"


def test_compare_same_distribution_shows_no_difference() -> None:
    a, b = rounds("A", 0, 1), rounds("B", 0, 2)
    assert compare.conclude(compare.compare(a, b), a, b)[0] == "no difference shown"


def test_compare_doubtful_rounds_are_inconclusive() -> None:
    a, b = rounds("A", 0, 1), rounds("B", 5000, 2)
    b.doubts = ["stolen"] * 5
    word, reasons = compare.conclude(compare.compare(a, b), a, b)
    assert word == INCONCLUSIVE
    assert "5 of 8 rounds of side B: stolen" in reasons[0]


def test_compare_too_few_rounds_is_inconclusive() -> None:
    a, b = rounds("A", 0, 1, count=3), rounds("B", 5000, 2, count=3)
    assert compare.conclude(compare.compare(a, b), a, b)[0] == INCONCLUSIVE


def test_interleave_takes_turns_and_leaves_b_set() -> None:
    ran: list[str] = []

    def run(argv: Sequence[str]) -> Output:
        ran.append(argv[0])
        return Output(0, "", "")

    def measure(side: Side, _number: int) -> tuple[Histogram, list[str]]:
        ran.append(f"measure {side.name}")
        return histogram([1]), []

    a, b = compare.interleave(sides("cmd"), 2, run, measure)
    assert ran == ["a", "measure A", "b", "measure B", "b", "measure B", "a", "measure A", "b"]
    assert (len(a.histograms), len(b.histograms)) == (2, 2)


@pytest.mark.parametrize("error", [KeyboardInterrupt, HostError])
def test_interleave_broken_off_leaves_b_set(error: type[BaseException]) -> None:
    ran: list[str] = []

    def run(argv: Sequence[str]) -> Output:
        ran.append(argv[0])
        return Output(0, "", "")

    def measure(_side: Side, _number: int) -> tuple[Histogram, list[str]]:
        raise error("broken off")

    with pytest.raises(error):
        compare.interleave(sides("cmd"), 2, run, measure)
    assert ran == ["a", "b"]


def test_interleave_command_that_fails_is_told_and_b_is_set() -> None:
    ran: list[str] = []

    def run(argv: Sequence[str]) -> Output:
        ran.append(argv[0])
        return Output(1 if argv[0] == "a" else 0, "", "no such\nkey")

    with pytest.raises(HostError, match="side A: 'a' ended with status 1: no such key"):
        compare.interleave(sides("cmd"), 2, run, lambda _side, _number: (Histogram(), []))
    assert ran == ["a", "b"]


@pytest.mark.parametrize("text", ["", "cpu", "cpu:", "cpu:x", "cpu:3-1", "what:x", "cmd:'open"])
def test_parse_side_broken_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="--ab"):
        compare.parse_side("A", text)


def test_load_rounds_reads_the_runs_of_one_tool(tmp_path: Path) -> None:
    path = tmp_path / "saved.json"
    runs = [
        {"tool": "oslat", "histogram": histogram([5, 6]).as_json(), "verdict": "conclusive"},
        {"tool": "cyclictest", "histogram": histogram([7]).as_json()},
        {"tool": "oslat", "histogram": histogram([8]).as_json(), "verdict": "inconclusive"},
    ]
    path.write_text(json.dumps({"runs": runs}))
    loaded = compare.load_rounds(compare.Side("A", "file", str(path)), "oslat")
    assert [one.counts for one in loaded.histograms] == [{5: 1, 6: 1}, {8: 1}]
    assert len(loaded.doubts) == 1
    with pytest.raises(RequestError, match="no run of rtla"):
        compare.load_rounds(compare.Side("A", "file", str(path)), "rtla")


@pytest.mark.parametrize("text", ["", "[]", '{"runs": 1}', '{"runs": [{"tool": "oslat"}]}'])
def test_load_rounds_broken_file_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "saved.json"
    path.write_text(text)
    with pytest.raises(RequestError, match=r"saved\.json"):
        compare.load_rounds(compare.Side("A", "file", str(path)), "oslat")
