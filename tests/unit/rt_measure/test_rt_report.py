"""The page: well-formed, self-contained, and of anything that JSON can hold."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tickpath.rt.measure.histogram import Histogram
from tickpath.rt.report.chart import draw
from tickpath.rt.report.page import Findings, write_page

if TYPE_CHECKING:
    from pathlib import Path

VOID = frozenset({"meta", "link", "br", "hr", "img", "input"})
DRAWN = frozenset({"line", "rect", "path"})
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=8,
)
HOSTILE = "<script>alert(1)</script>\"'&\x1b[31m"


class Reader(HTMLParser):
    """Hold each tag to its end, as the standard's parser would have to guess otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.text: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"{tag} has an attribute twice"
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in DRAWN, f"<{tag}/> is not HTML outside of SVG"
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> ends nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


def item(name: str, state: str, **changes: object) -> dict[str, object]:
    return {
        "id": name,
        "area": "cpu",
        "severity": "high",
        "state": state,
        "desired": "1",
        "persisted": None,
        "live": "0",
        "where": ["/proc/x"],
        "why": "because",
        "fix": "echo 1 > /proc/x",
    } | changes


def run_of(values: dict[int, int]) -> dict[str, object]:
    histogram = Histogram(values)
    histogram.stretch(min(values), max(values))
    causes = [{"kind": "interrupt", "name": "LOC", "count": 5, "per_second": 2.5, "meaning": "t"}]
    return {
        "tool": "oslat",
        "what": "spin",
        "verdict": "inconclusive",
        "reasons": ["stolen"],
        "histogram": histogram.as_json(),
        "causes": causes,
    }


CHECK = {
    "score": 71,
    "areas": {"cpu": 40, "firmware": None},
    "confidence": {"level": "low", "reasons": ["a guest"]},
    "profile": {"name": "cloud", "isolated": [2, 3]},
    "items": [item("a.one", "ok"), item("a.two", "drift"), item("a.three", "unsupported")],
}
MEASURE = {"host": {"release": "6.1", "is_rt": True}, "at": 0, "runs": [run_of({1000: 10**6})]}


def test_page_is_well_formed_and_says_what_was_found() -> None:
    before = Findings({**CHECK, "score": 50}, {"runs": [run_of({1000: 5, 90_000: 3})]})
    reader = read(write_page("host a", Findings(CHECK, MEASURE), before))
    text = " ".join(" ".join(reader.text).split())
    for piece in ("71", "before: 50", "cloud", "a.two", "echo 1 > /proc/x", "stolen", "LOC"):
        assert piece in text
    assert reader.tags.count("svg") == 1
    assert text.index("a.two") < text.index("a.one")  # what is wrong comes first


def test_page_needs_no_network_and_no_script() -> None:
    page = write_page("host", Findings(CHECK, MEASURE), Findings())
    reader = read(page)
    assert "script" not in reader.tags
    assert "link" not in reader.tags
    assert not {name for name, _ in reader.attributes} & {"src", "href", "srcset", "onclick"}
    assert not re.search(r"https?:|url\(|@import", page)


def test_page_text_of_others_is_text() -> None:
    check = {**CHECK, "items": [item(HOSTILE, HOSTILE, why=HOSTILE, where=[HOSTILE], fix=HOSTILE)]}
    reader = read(write_page(HOSTILE, Findings(check, {"runs": []}), Findings()))
    assert "script" not in reader.tags
    assert "<script>alert(1)</script>" in "".join(reader.text)
    assert "\x1b" not in "".join(reader.text)


def test_page_has_a_viewport_and_both_colour_schemes() -> None:
    page = write_page("host", Findings(CHECK, None), Findings())
    assert 'name="viewport"' in page
    assert "prefers-color-scheme: dark" in page


@settings(max_examples=60)
@given(st.dictionaries(st.sampled_from([*CHECK, *MEASURE, "ab", "sides"]), JSON))
def test_page_of_any_json_is_well_formed(found: dict[str, object]) -> None:
    read(write_page("x", Findings(found, found), Findings(found, found)))


@settings(max_examples=60)
@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys(item("", ""), JSON)),
    st.fixed_dictionaries({}, optional=dict.fromkeys(run_of({1: 1}), JSON)),
)
def test_page_of_any_item_and_run_is_well_formed(
    one: dict[str, object], run: dict[str, object]
) -> None:
    found = Findings({"items": [one]}, {"runs": [run | {"histogram": {"counts": {"5": 1}}}]})
    read(write_page("x", found, found))


@given(
    st.dictionaries(st.integers(0, 1 << 62), st.integers(1, 1 << 62), max_size=20),
    st.integers(0, 1 << 62),
)
def test_draw_any_histogram_stays_within_its_frame(counts: dict[int, int], over: int) -> None:
    picture = draw(Histogram(counts, over), Histogram(counts), "x")
    read(picture)
    for height in re.findall(r'height="(-?[\d.]+)"', picture):
        assert 0 <= float(height) <= 220


def test_report_command_refuses_what_is_no_object_by_name(tmp_path: Path) -> None:
    for text, complaint in (
        ("[]", "list, expected an object"),
        ("{", "no JSON"),
        ('{"runs": []}', "--check: not what `tickpath rt check --json` prints"),
    ):
        path = tmp_path / "check.json"
        path.write_text(text)
        words = [sys.executable, "-P", "-m", "tickpath.rt", "report", "--check", str(path)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert complaint in done.stderr
        assert "check" in done.stderr


def test_report_command_without_input_is_refused() -> None:
    words = [sys.executable, "-P", "-m", "tickpath.rt", "report"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "expected --check FILE" in done.stderr


def test_report_command_of_a_check_of_this_host_is_well_formed(tmp_path: Path) -> None:
    words = [sys.executable, "-P", "-m", "tickpath.rt"]
    told = subprocess.run(
        [*words, "check", "--json", "--window", "0"], capture_output=True, text=True, check=False
    )
    path = tmp_path / "check.json"
    path.write_text(told.stdout)
    done = subprocess.run(
        [*words, "report", "--check", str(path)], capture_output=True, text=True, check=True
    )
    text = "".join(read(done.stdout).text)
    assert all(one["id"] in text for one in json.loads(told.stdout)["items"])


@pytest.mark.parametrize("score", [None, 0, 59, 60, 100, "high"])
def test_page_any_score_is_shown(score: object) -> None:
    read(write_page("x", Findings({**CHECK, "score": score}, None), Findings()))
