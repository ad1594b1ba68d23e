"""The tools of others: how they are called, and what their output means.

cyclictest asks a timer to wake it and tells how late it woke; oslat spins and tells how long it was
kept from it; rtla timerlat has the kernel tell how late the timer's interrupt came and how late the
thread. All output is foreign: whatever it holds, a parser returns a histogram or raises ValueError.
Called by: rt.measure.run. Calls: rt.measure.histogram. Source: cyclictest(8), oslat(8) and their
--json of rt-tests 2.4; rtla-timerlat-hist(1).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tickpath.rt.limits import format_cpu_list
from tickpath.rt.measure.histogram import Histogram, read_counts, read_whole, tidy

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

US = 1000
CYCLICTEST_US_MAX = 200_000  # latencies above are counted, not told apart
OSLAT_BUCKETS = 1024  # the most it has: the last one is "or longer"
THREADS_MAX = 8192
RTLA_COLUMN = re.compile(r"(IRQ|Thr|Usr)-(\d+)")
RTLA_ROWS_MAX = 1 << 20
PROGRAM_OF = {"cyclictest": "cyclictest", "oslat": "oslat", "rtla": "rtla"}


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be measured: where, for how long, at which priority (0: an ordinary task)."""

    cpus: tuple[int, ...]
    seconds: int
    priority: int
    interval_us: int = 1000


def command(tool: str, task: Task, output: Path) -> list[str]:
    """Return the command line; JSON goes to `output` where the tool can, else text to stdout."""
    cpus = format_cpu_list(task.cpus)
    if tool == "cyclictest":
        words = ["cyclictest", "--mlockall", "--quiet", f"--threads={len(task.cpus)}"]
        words += [f"--affinity={cpus}", f"--interval={task.interval_us}", "--distance=0"]
        words += [f"--duration={task.seconds}", f"--histogram={CYCLICTEST_US_MAX}"]
        # Idle states are the host's affair: measure what an application would see.
        words += ["--default-system", f"--priority={task.priority}"]
        return [*words, *(["--policy=other"] if task.priority == 0 else []), f"--json={output}"]
    if tool == "oslat":
        words = ["oslat", "--quiet", f"--cpu-list={cpus}", f"--duration={task.seconds}"]
        words += [f"--bucket-size={OSLAT_BUCKETS}", f"--json={output}"]
        return [*words, *([f"--rtprio={task.priority}"] if task.priority else [])]
    words = ["rtla", "timerlat", "hist", f"--cpus={cpus}", f"--duration={task.seconds}s"]
    words += [f"--period={task.interval_us}", "--entries=9999"]
    return [*words, f"--priority={'f:' + str(task.priority) if task.priority else 'o:0'}"]


def parse(tool: str, text: str) -> dict[str, Histogram]:
    """Parse a tool's output: histograms by what they tell of. Raises ValueError."""
    if tool == "rtla":
        return parse_rtla(text)
    try:
        whole = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{tool} wrote no JSON: {error}") from error
    threads = whole.get("thread") if isinstance(whole, dict) else None
    if not isinstance(threads, dict) or not threads or len(threads) > THREADS_MAX:
        raise ValueError(f'{tool} wrote no "thread" object of its threads')
    merged = Histogram()
    for thread in threads.values():
        if not isinstance(thread, dict):
            raise ValueError(f"{tool}: a thread is {type(thread).__name__}, expected an object")
        merged.merge(_cyclictest(thread) if tool == "cyclictest" else _oslat(thread))
    if merged.samples == 0:
        raise ValueError(f"{tool} measured nothing: it ended before its first sample")
    return {"wake-up" if tool == "cyclictest" else "spin": merged}


def _cyclictest(thread: dict[str, object]) -> Histogram:
    histogram = Histogram(read_counts(thread.get("histogram", {}), US))
    cycles = read_whole(thread.get("cycles", 0), "cycles")
    histogram.over = max(0, cycles - histogram.samples)  # those beyond its histogram
    _stretch(histogram, thread)
    return histogram


def _oslat(thread: dict[str, object]) -> Histogram:
    counts = read_counts(thread.get("histogram", {}), US)
    histogram = Histogram(counts)
    histogram.over = counts.pop(OSLAT_BUCKETS * US, 0)
    _stretch(histogram, thread)
    return histogram


def _stretch(histogram: Histogram, thread: dict[str, object]) -> None:
    if histogram.samples:
        low, high = (read_whole(thread.get(name, 0), name) * US for name in ("min", "max"))
        histogram.stretch(low, high)


def parse_rtla(text: str) -> dict[str, Histogram]:
    """Parse the table of `rtla timerlat hist`; a column of "IRQ-000" is CPU 0's interrupt."""
    columns: Sequence[str] = ()
    rows: dict[str, list[tuple[int, object]]] = {}
    summaries: dict[str, Sequence[str]] = {}
    for line in text.splitlines()[:RTLA_ROWS_MAX]:
        words = line.split()
        if words[:1] == ["Index"]:
            columns = words[1:]
            if not columns or not all(RTLA_COLUMN.fullmatch(each) for each in columns):
                raise ValueError(f"rtla: columns {columns!r:.80}, expected IRQ-000, Thr-000, …")
        elif columns and len(words) == len(columns) + 1:
            if words[0].isdigit():
                latency = read_whole(words[0], "a latency") * US
                for column, count in zip(columns, words[1:], strict=True):
                    rows.setdefault(column, []).append((latency, count))
            elif words[0].endswith(":"):
                summaries[words[0][:-1]] = words[1:]
    if not rows:
        raise ValueError("rtla wrote no histogram: is the timerlat tracer there? (see stderr)")
    return _rtla_histograms(columns, rows, summaries)


def _rtla_histograms(
    columns: Sequence[str],
    rows: dict[str, list[tuple[int, object]]],
    summaries: dict[str, Sequence[str]],
) -> dict[str, Histogram]:
    names = {"IRQ": "timer interrupt", "Thr": "wake-up", "Usr": "return to user"}
    found: dict[str, Histogram] = {}
    for position, column in enumerate(columns):
        one = Histogram(tidy(rows[column]))
        if "over" in summaries:
            one.over = read_whole(summaries["over"][position], "over")
        extremes = [
            read_whole(summaries[name][position], name) * US
            if name in summaries and summaries[name][position] != "-"
            else None
            for name in ("min", "max")
        ]
        if one.samples:
            one.stretch(*extremes)
        found.setdefault(names[column[:3]], Histogram()).merge(one)
    if not any(each.samples for each in found.values()):
        raise ValueError("rtla measured nothing: it ended before its first sample")
    return {name: each for name, each in found.items() if each.samples}
