"""Parsers of cyclictest, oslat and rtla: on recorded output of the real tools, and on anything."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tickpath.rt.measure.histogram import Histogram, from_json
from tickpath.rt.measure.tools import Task, command, parse

HERE = Path(__file__).parent
CYCLICTEST, OVER, OSLAT = (
    (HERE / name).read_text() for name in ("cyclictest.json", "cyclictest-over.json", "oslat.json")
)
RTLA = """\
# RTLA timerlat histogram
# Time unit is microseconds (us)
# Duration:   0 00:00:02
Index   IRQ-000   Thr-000   IRQ-001   Thr-001
0             3         0         4         0
1            95         2        90         0
7             2        96         5       100
over:         0         2         1         0
count:      100       100       100       100
min:          0         1         0         7
avg:          1         7         1         7
max:          7     20003       310         7
"""
TOOLS = ("cyclictest", "oslat", "rtla")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=20,
)


def threads(text: str) -> list[dict[str, int]]:
    return list(json.loads(text)["thread"].values())


def test_parse_cyclictest_recorded_output_agrees_with_its_own_summary() -> None:
    (histogram,) = parse("cyclictest", CYCLICTEST).values()
    said = threads(CYCLICTEST)
    assert histogram.samples == sum(each["cycles"] for each in said)
    assert histogram.minimum_ns == min(each["min"] for each in said) * 1000
    assert histogram.maximum_ns == max(each["max"] for each in said) * 1000
    mean_us = sum(value * count for value, count in histogram.counts.items()) / histogram.samples
    wanted_us = sum(each["avg"] * each["cycles"] for each in said) / histogram.samples
    assert mean_us / 1000 == pytest.approx(wanted_us, abs=0.01)


def test_parse_cyclictest_beyond_its_histogram_is_counted_up_to_the_maximum() -> None:
    (histogram,) = parse("cyclictest", OVER).values()
    (said,) = threads(OVER)
    assert histogram.over == said["cycles"] - sum(histogram.counts.values()) > 0
    assert histogram.percentile(99) == said["max"] * 1000  # an upper bound: it is not told apart


def test_parse_oslat_recorded_output_agrees_with_its_own_summary() -> None:
    (histogram,) = parse("oslat", OSLAT).values()
    said = threads(OSLAT)
    assert histogram.maximum_ns == max(each["max"] for each in said) * 1000
    assert histogram.over == sum(json.loads(OSLAT)["thread"][n]["histogram"].get("1024", 0)
                                 for n in ("0", "1"))  # fmt: skip
    assert histogram.percentile(50) == 1000


def test_parse_rtla_columns_become_interrupt_and_wake_up() -> None:
    found = parse("rtla", RTLA)
    assert list(found) == ["timer interrupt", "wake-up"]
    interrupt, wake_up = found.values()
    assert interrupt.counts == {0: 7, 1000: 185, 7000: 7}
    assert (interrupt.over, interrupt.samples, interrupt.maximum_ns) == (1, 200, 310_000)
    assert (wake_up.over, wake_up.samples, wake_up.maximum_ns) == (2, 200, 20_003_000)
    assert wake_up.minimum_ns == 1000


@pytest.mark.parametrize(
    ("tool", "text", "complaint"),
    [
        ("cyclictest", "", "no JSON"),
        ("cyclictest", "[]", 'no "thread" object'),
        ("oslat", '{"thread": {}}', 'no "thread" object'),
        ("oslat", '{"thread": {"0": []}}', "a thread is list"),
        ("oslat", '{"thread": {"0": {"histogram": {}}}}', "measured nothing"),
        ("oslat", '{"thread": {"0": {"histogram": {"1": -1}}}}', "a count is -1"),
        ("oslat", '{"thread": {"0": {"histogram": {"x": 1}}}}', "a latency is 'x'"),
        ("cyclictest", '{"thread": {"0": {"histogram": {"1": true}}}}', "a count is True"),
        ("cyclictest", "[" * 100_000, "no JSON"),
        ("rtla", "Failed to open tracer\n", "timerlat tracer"),
        ("rtla", "Index nonsense\n0 1\n", "expected IRQ-000"),
    ],
)
def test_parse_broken_output_says_what_is_wrong(tool: str, text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse(tool, text)


def is_answered(tool: str, text: str) -> None:
    try:
        found = parse(tool, text)
    except ValueError:
        return
    assert found
    for histogram in found.values():
        assert histogram.samples > 0
        assert from_json(json.loads(json.dumps(histogram.as_json()))) == histogram


@given(st.sampled_from(TOOLS), st.text())
def test_parse_any_text_is_a_histogram_or_a_value_error(tool: str, text: str) -> None:
    is_answered(tool, text)


@given(st.sampled_from(TOOLS[:2]), st.dictionaries(st.text(max_size=4), JSON), JSON)
@pytest.mark.slow
def test_parse_any_json_is_a_histogram_or_a_value_error(
    tool: str, thread: dict[str, object], histogram: object
) -> None:
    thread |= {"histogram": histogram}
    is_answered(tool, json.dumps({"thread": {"0": thread}}))


@given(st.sampled_from([*zip(TOOLS, (CYCLICTEST, OSLAT, RTLA), strict=True)]), st.data())
def test_parse_damaged_output_is_a_histogram_or_a_value_error(
    recorded: tuple[str, str], data: st.DataObject
) -> None:
    tool, text = recorded
    at = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(at, min(len(text), at + 20)))
    is_answered(tool, text[:at] + data.draw(st.text(max_size=5)) + text[end:])


@given(JSON)
def test_from_json_any_value_is_a_histogram_or_a_value_error(value: object) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(from_json(value), Histogram)


def test_command_ordinary_priority_asks_for_no_real_time_class() -> None:
    task = Task((2, 3), 5, 0)
    output = Path("out")
    assert "--policy=other" in command("cyclictest", task, output)
    assert not [word for word in command("oslat", task, output) if "rtprio" in word]
    assert "--affinity=2-3" in command("cyclictest", task, output)
    assert "--priority=o:0" in command("rtla", task, output)
