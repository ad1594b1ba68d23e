"""What Prometheus and Grafana are given, held against Prometheus's own tool, promtool."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

if TYPE_CHECKING:
    from types import ModuleType

FILES = Path(__file__).resolve().parents[2] / "ansible" / "roles" / "monitoring" / "files"
NOW_S = 1795356832.413
# As `tickpath rt check --json` and `tickpath stat --json` answer.
CHECK: dict[str, Any] = {
    "score": 52,
    "areas": {"boot": 71, "cpu": 65},
    "items": [
        {"id": "cmd.isolcpus", "state": "drift", "severity": "critical"},
        {"id": "vm.swappiness", "state": "ok", "severity": "low"},
        {"id": "kernel.rt", "state": "pending reboot", "severity": "high"},
        {"id": "cpu.smt", "state": "unsupported", "severity": "high"},
    ],
}
READER: dict[str, Any] = {
    "instance": "mexc",
    "state": "running",
    "heartbeat_age_ms": 8.5,
    "events": 36053,
    "counters": {"feed.gaps": 3, "hot.frames": 3476},
    "hops": {
        "taken_to_decoded": {
            "n": 1000,
            "min": 340,
            "mean": 2000,
            "p50": 1840,
            "p90": 4416,
            "p99": 21760,
            "p999": 32512,
            "max": 109063,
        }
    },
    "books": [{"symbol": "A", "state": "STALE"}, {"symbol": "B", "state": "STALE"}],
}
STRATEGY: dict[str, Any] = {"instance": "mexc.strategy.x", "state": "dead", "heartbeat_age_ms": 9e6}


def load() -> ModuleType:
    """Import the program that runs on the host by itself."""
    spec = importlib.util.spec_from_file_location("tickpath_metrics", FILES / "tickpath_metrics.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


METRICS = load()


def promtool(*words: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["promtool", *words], input=given, capture_output=True, text=True, check=False
    )


def test_metrics_of_both_answers_are_what_promtool_asks_for() -> None:
    text = METRICS.render([CHECK], [READER, STRATEGY], NOW_S)
    done = promtool("check", "metrics", given=text)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    for line in (
        "tickpath_host_score 52",
        'tickpath_host_area_score{area="cpu"} 65',
        'tickpath_host_items{state="ok"} 1',
        'tickpath_host_items{state="conflict"} 0',
        'tickpath_host_item_bad{id="cmd.isolcpus",state="drift",severity="critical"} 1',
        'tickpath_up{segment="mexc"} 1',
        'tickpath_up{segment="mexc.strategy.x"} 0',
        'tickpath_heartbeat_age_seconds{segment="mexc"} 0.0085',
        'tickpath_count_total{segment="mexc",counter="feed.gaps"} 3',
        'tickpath_books{segment="mexc",state="STALE"} 2',
        'tickpath_books{segment="mexc",state="LIVE"} 0',
        'tickpath_hop_seconds_sum{segment="mexc",hop="taken_to_decoded"} 0.002',
        'tickpath_hop_seconds_count{segment="mexc",hop="taken_to_decoded"} 1000',
        'tickpath_metrics_source_up{source="stat"} 1',
    ):
        assert line in text.splitlines()
    assert "unsupported" not in [
        match[1] for match in re.finditer(r'item_bad\{[^}]*state="([^"]+)"', text)
    ]


def test_metrics_without_an_answer_say_that_there_was_none() -> None:
    text = METRICS.render(None, None, NOW_S)
    assert 'tickpath_metrics_source_up{source="check"} 0' in text
    assert 'tickpath_metrics_source_up{source="stat"} 0' in text
    assert promtool("check", "metrics", given=text).returncode == 0


def test_metrics_label_with_quotes_and_lines_stays_one_sample() -> None:
    text = METRICS.render([], [{**STRATEGY, "instance": 'a"b\\c\nd'}], NOW_S)
    assert 'tickpath_up{segment="a\\"b\\\\c\\nd"} 0' in text.splitlines()
    assert promtool("check", "metrics", given=text).returncode == 0


@given(st.lists(st.dictionaries(st.text(), st.integers() | st.text())), st.sampled_from(["", "\n"]))
def test_metrics_objects_one_a_line_are_read_back(objects: list[dict[str, Any]], last: str) -> None:
    text = "\n".join(json.dumps(one) for one in objects) + last
    assert METRICS.objects(text) == objects


@given(st.text())
def test_metrics_objects_of_any_text_is_objects_or_nothing(text: str) -> None:
    found = METRICS.objects(text)
    assert found is None or all(isinstance(one, dict) for one in found)


def test_metrics_program_writes_a_whole_file_that_others_may_read(tmp_path: Path) -> None:
    answers = {"rt.pyz": CHECK, "tickpath": READER}
    for name, answer in answers.items():
        program = tmp_path / name
        program.write_text(f"#!/usr/bin/python3\nprint({json.dumps(json.dumps(answer))})\n")
        program.chmod(0o755)
    out = tmp_path / "tickpath.prom"
    words = ["--zipapp", str(tmp_path / "rt.pyz"), "--tickpath", str(tmp_path / "tickpath")]
    assert METRICS.main([*words, "--output", str(out)]) == 0
    assert "tickpath_host_score 52" in out.read_text()
    assert 'tickpath_up{segment="mexc"} 1' in out.read_text()
    assert out.stat().st_mode & 0o777 == 0o644
    assert (
        METRICS.main(["--zipapp", "/nowhere", "--tickpath", "/nowhere", "--output", str(out)]) == 0
    )
    assert 'source_up{source="check"} 0' in out.read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rt.pyz", "tickpath", out.name]


def series(name: str, values: str) -> dict[str, str]:
    return {"series": name, "values": values}


# alert: what is seen, minute by minute, when it must be there, and its labels.
ALERTS: dict[str, tuple[dict[str, str], str, dict[str, str]]] = {
    "TickpathHostDrifted": (series('tickpath_host_score{instance="h"}', "85x10"), "6m", {}),
    "TickpathHostItemBad": (
        series(
            'tickpath_host_item_bad{instance="h",id="cmd.x",state="drift",severity="high"}', "1x10"
        ),
        "6m",
        {"id": "cmd.x", "state": "drift"},
    ),
    "TickpathWriterDown": (
        series('tickpath_up{instance="h",segment="mexc"}', "0x10"),
        "2m",
        {"segment": "mexc"},
    ),
    "TickpathBooksNotLive": (
        series('tickpath_books{instance="h",segment="mexc",state="STALE"}', "2x10"),
        "3m",
        {"segment": "mexc"},
    ),
    "TickpathGaps": (
        series('tickpath_count_total{instance="h",segment="mexc",counter="feed.gaps"}', "0+2x20"),
        "15m",
        {"segment": "mexc", "counter": "feed.gaps"},
    ),
    "TickpathMetricsStale": (
        series('tickpath_metrics_time_seconds{instance="h"}', "0x20"),
        "12m",
        {},
    ),
    "TickpathMetricsSourceDown": (
        series('tickpath_metrics_source_up{instance="h",source="check"}', "0x10"),
        "6m",
        {"source": "check"},
    ),
}


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((FILES / "tickpath.rules.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_alerts_each_has_a_case() -> None:
    assert [rule["alert"] for rule in rules()] == list(ALERTS)
    assert promtool("check", "rules", str(FILES / "tickpath.rules.yml")).returncode == 0


@pytest.mark.parametrize("name", ALERTS)
def test_alert_fires_on_what_it_is_for_and_not_before(name: str, tmp_path: Path) -> None:
    seen, when, labels = ALERTS[name]
    (rule,) = (rule for rule in rules() if rule["alert"] == name)
    # promtool holds annotations against ours too: as the server fills them in.
    firing = {
        "exp_labels": {"instance": "h", **labels, **rule["labels"]},
        "exp_annotations": filled(rule, name),
    }
    case = {
        "rule_files": [str(FILES / "tickpath.rules.yml")],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [seen],
                "alert_rule_test": [
                    {"eval_time": "0m", "alertname": name, "exp_alerts": []},
                    {"eval_time": when, "alertname": name, "exp_alerts": [firing]},
                ],
            }
        ],
    }
    path = tmp_path / "case.yml"
    path.write_text(yaml.safe_dump(case))
    done = promtool("test", "rules", str(path))
    assert done.returncode == 0, done.stdout + done.stderr


VALUES = {
    "TickpathHostDrifted": "85",
    "TickpathBooksNotLive": "2",
    "TickpathGaps": "20",
    "TickpathMetricsStale": "12m 0s",
}


def filled(rule: dict[str, Any], name: str) -> dict[str, str]:
    labels = {"instance": "h", **ALERTS[name][2]}

    def fill(text: str) -> str:
        text = re.sub(r"\{\{ \$value[^}]*\}\}", VALUES.get(name, ""), text)
        return re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda match: labels[match[1]], text)

    return {key: fill(text) for key, text in rule["annotations"].items()}


def queries() -> list[str]:
    board = json.loads((FILES / "tickpath-dashboard.json").read_text())
    return [target["expr"] for panel in board["panels"] for target in panel["targets"]]


def test_dashboard_queries_are_promql_about_metrics_that_exist(tmp_path: Path) -> None:
    found = queries()
    assert len(found) >= 8
    records = [
        {"record": f"query:{number}", "expr": text.replace("$host", ".*")}
        for number, text in enumerate(found)
    ]
    path = tmp_path / "queries.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "board", "rules": records}]}))
    done = promtool("check", "rules", str(path))
    assert done.returncode == 0, done.stdout + done.stderr
    for text in [*found, *(rule["expr"] for rule in rules())]:
        names = re.findall(r"\btickpath_\w+", text)
        assert names
        assert set(names) <= set(METRICS.METRICS)


def test_dashboard_panels_have_places_of_their_own() -> None:
    board = json.loads((FILES / "tickpath-dashboard.json").read_text())
    places = [panel["gridPos"] for panel in board["panels"]]
    cells = [
        (x, y)
        for place in places
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in board["panels"]}) == len(places)
