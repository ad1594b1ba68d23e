#!/usr/bin/python3
"""Write the host's score and the appliance's counters where node_exporter picks them up.

Asks `tickpath rt check --json` and `tickpath stat --json`, and renders their answers in
Prometheus's text format. The file appears by a rename, so that no half of it is ever read. The
standard library only: it runs on the host's own python3.

Called by: tickpath-metrics.service, by its timer. Calls: the two commands, as programs.
Source: prometheus.io, Exposition formats, text format 0.0.4.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TIMEOUT_S = 60
STATES = ("ok", "drift", "pending reboot", "unsupported", "conflict", "unknown")
BAD = frozenset({"drift", "pending reboot", "conflict"})
QUANTILES = (("p50", "0.5"), ("p90", "0.9"), ("p99", "0.99"), ("p999", "0.999"))
NS_PER_S = 1e9
# name: (type, help), in the order of the file.
METRICS: dict[str, tuple[str, str]] = {
    "tickpath_metrics_time_seconds": ("gauge", "When this file was written, Unix time."),
    "tickpath_metrics_source_up": ("gauge", "Whether the command answered."),
    "tickpath_host_score": ("gauge", "Score of tickpath rt check, 0 to 100."),
    "tickpath_host_area_score": ("gauge", "Score of one area, 0 to 100."),
    "tickpath_host_items": ("gauge", "Items of the host by state."),
    "tickpath_host_item_bad": ("gauge", "An item that is not as it should be."),
    "tickpath_up": ("gauge", "Whether the writer of a segment runs."),
    "tickpath_heartbeat_age_seconds": ("gauge", "Age of the writer's heartbeat."),
    "tickpath_events_total": ("counter", "Events published."),
    "tickpath_count_total": ("counter", "Counters of feed handlers and strategies by name."),
    "tickpath_books": ("gauge", "Books by state."),
    "tickpath_hop_seconds": ("summary", "Latency of a hop since its writer's start."),
}


class Exposition:
    """Samples, gathered by metric: the format wants those of one metric together."""

    def __init__(self) -> None:
        self._samples: dict[str, list[str]] = {name: [] for name in METRICS}

    def add(self, name: str, value: object, *, suffix: str = "", **labels: object) -> None:
        """Add a sample; a value that is no number is left out."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return
        inner = ",".join(f'{key}="{escaped(str(text))}"' for key, text in labels.items())
        told = f"{{{inner}}}" if inner else ""
        self._samples[name].append(f"{name}{suffix}{told} {value!r}\n")

    def text(self) -> str:
        """Render all metrics that have samples."""
        return "".join(
            f"# HELP {name} {METRICS[name][1]}\n# TYPE {name} {METRICS[name][0]}\n" + "".join(lines)
            for name, lines in self._samples.items()
            if lines
        )


def escaped(text: str) -> str:
    """Escape a label's value as the format asks."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def add_check(out: Exposition, answer: dict[str, Any]) -> None:
    """Add the score, its areas, and the items that are not as they should be."""
    out.add("tickpath_host_score", answer.get("score"))
    areas = answer.get("areas")
    for area, score in sorted(areas.items()) if isinstance(areas, dict) else ():
        out.add("tickpath_host_area_score", score, area=area)
    items = answer.get("items", [])
    for state in STATES:
        out.add(
            "tickpath_host_items", sum(item.get("state") == state for item in items), state=state
        )
    for item in items:
        if item.get("state") in BAD:
            out.add(
                "tickpath_host_item_bad",
                1,
                id=item.get("id"),
                state=item["state"],
                severity=str(item.get("severity")).lower(),
            )


def add_segment(out: Exposition, status: dict[str, Any]) -> None:
    """Add what one segment says of its writer."""
    segment = status["instance"]
    out.add("tickpath_up", int(status.get("state") == "running"), segment=segment)
    age_ms = status.get("heartbeat_age_ms", 0)
    out.add("tickpath_heartbeat_age_seconds", age_ms / 1000, segment=segment)
    out.add("tickpath_events_total", status.get("events"), segment=segment)
    for name, value in status.get("counters", {}).items():
        out.add("tickpath_count_total", value, segment=segment, counter=name)
    states = [book.get("state") for book in status.get("books", [])]
    for state in sorted({*states, "LIVE"}) if states else ():
        out.add("tickpath_books", states.count(state), segment=segment, state=state)
    for hop, told in status.get("hops", {}).items():
        add_hop(out, segment, hop, told)


def add_hop(out: Exposition, segment: str, hop: str, told: dict[str, Any]) -> None:
    """Add a hop's percentiles as a summary, in seconds."""
    name = "tickpath_hop_seconds"
    for key, quantile in QUANTILES:
        out.add(name, told[key] / NS_PER_S, segment=segment, hop=hop, quantile=quantile)
    total_s = told["mean"] * told["n"] / NS_PER_S
    out.add(name, total_s, suffix="_sum", segment=segment, hop=hop)
    out.add(name, told["n"], suffix="_count", segment=segment, hop=hop)


def ask(command: list[str]) -> list[dict[str, Any]] | None:
    """Run a command that prints JSON objects; None where it gave none that can be read.

    The status is not looked at: check tells the host's state by it.
    """
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        print(f"tickpath-metrics: {command[0]}: {error}", file=sys.stderr)
        return None
    found = objects(done.stdout)
    if found is None or (done.returncode != 0 and not found):
        said = done.stderr.strip() or "no JSON"
        print(f"tickpath-metrics: {' '.join(command)}: {said}", file=sys.stderr)
        return None
    return found


def objects(text: str) -> list[dict[str, Any]] | None:
    """Parse objects that follow each other, one a line or spread over lines; None if broken."""
    decoder, found, place = json.JSONDecoder(), [], 0
    text = text.strip()
    while place < len(text):
        try:
            one, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            return None
        if not isinstance(one, dict):
            return None
        found.append(one)
        place += len(text[place:]) - len(text[place:].lstrip())
    return found


def render(
    check: list[dict[str, Any]] | None, stat: list[dict[str, Any]] | None, now_s: float
) -> str:
    """Return the file's text from the two answers; None for a command that did not answer."""
    out = Exposition()
    out.add("tickpath_metrics_time_seconds", round(now_s, 3))
    out.add("tickpath_metrics_source_up", int(bool(check)), source="check")
    out.add("tickpath_metrics_source_up", int(stat is not None), source="stat")
    for answer in (check or [])[:1]:
        add_check(out, answer)
    for status in stat or ():
        add_segment(out, status)
    return out.text()


def write(path: Path, text: str) -> None:
    """Replace the file by a rename; node_exporter reads it as another user."""
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, prefix=".tickpath-", delete=False
    ) as new:
        new.write(text)
    made = Path(new.name)
    made.chmod(0o644)
    made.replace(path)


def main(argv: list[str] | None = None) -> int:
    """Ask, render, write."""
    parser = argparse.ArgumentParser(
        description="Write tickpath's metrics for node_exporter's textfile collector.",
        epilog="example: tickpath_metrics.py --output /tmp/tickpath.prom",
    )
    parser.add_argument("--zipapp", default="/opt/tickpath/tickpath-rt.pyz", help="of tickpath rt")
    parser.add_argument("--tickpath", default="/opt/tickpath/current/bin/tickpath")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE.prom")
    args = parser.parse_args(argv)
    check = ask([sys.executable, args.zipapp, "check", "--json"])
    stat = ask([args.tickpath, "stat", "--json", "--interval", "0"])
    write(args.output, render(check, stat, time.time()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
