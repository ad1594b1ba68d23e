"""One measurement: a tool, a window of counters around it, and what follows from both.

Called by: rt.measure.command, rt.measure.compare. Calls: tools, gap, causes, verdict, rt.counters.
"""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tickpath.rt import limits
from tickpath.rt.counters import TICKS_PER_S, difference, take_sample
from tickpath.rt.errors import HostError
from tickpath.rt.host import command_environment
from tickpath.rt.limits import format_cpu_list, read_throttling
from tickpath.rt.measure import gap, tools
from tickpath.rt.measure.causes import Cause, find_causes, throttle_sentence
from tickpath.rt.measure.histogram import (
    Histogram,
    describe_ns,
    from_json,
    percentile_row,
)
from tickpath.rt.measure.verdict import Surroundings, Verdict, judge

if TYPE_CHECKING:
    from collections.abc import Callable

    from tickpath.rt.counters import Deltas
    from tickpath.rt.host import Host
    from tickpath.rt.measure.tools import Task
    from tickpath.rt.topology import Topology

TOOLS = ("cyclictest", "oslat", "rtla", "gap")
SPINNING = ("oslat", "gap")  # at SCHED_FIFO these meet the kernel's limits for real-time tasks
GRACE_S = 30.0  # oslat preheats; a host under test may be slow
STDERR_SHOWN_MAX = 300


@dataclass(frozen=True, slots=True)
class Measurement:
    """One tool's figures of one kind, and what is known of how they came about."""

    tool: str
    what: str  # "wake-up", "spin", "timer interrupt", …
    task: Task
    histogram: Histogram
    causes: tuple[Cause, ...]
    verdict: Verdict
    seconds: float  # as the clock saw it, starting the tool included
    floor_ns: int | None = None  # of our own sampler: nothing shorter is seen

    def as_json(self) -> dict[str, object]:
        """Return what `measure --json` prints of it."""
        return {
            "tool": self.tool,
            "what": self.what,
            **dataclasses.asdict(self.task),
            "elapsed_s": round(self.seconds, 3),
            "floor_ns": self.floor_ns,
            "verdict": self.verdict.word,
            "reasons": list(self.verdict.reasons),
            "histogram": self.histogram.as_json(),
            "causes": [dataclasses.asdict(cause) for cause in self.causes],
        }


@dataclass(frozen=True, slots=True)
class Bench:
    """Where measurements run: the machine, and whom to tell how far they are."""

    host: Host
    topology: Topology
    tell: Callable[[str], None]


def available(tool: str) -> bool:
    """Say whether a tool is installed; ours always is."""
    path = command_environment()["PATH"]
    return tool == "gap" or shutil.which(tools.PROGRAM_OF[tool], path=path) is not None


def measure(bench: Bench, tool: str, task: Task) -> list[Measurement]:
    """Run one tool, count around it, judge. Raises HostError where the tool fails."""
    bench.tell(f"{tool} on CPU {format_cpu_list(task.cpus)} for {task.seconds} s")
    before = take_sample(bench.host, bench.topology)
    floor = None
    if tool == "gap":
        try:
            histograms, floor = gap.sample(task)
        except (OSError, ValueError) as error:
            raise HostError(f"the sampler: {getattr(error, 'strerror', None) or error}") from error
    else:
        histograms = run_tool(tool, task)
    deltas = difference(before, take_sample(bench.host, bench.topology))
    found = []
    for what, histogram in histograms.items():
        around = surroundings(bench, tool, task, histogram, deltas)
        causes = tuple(find_causes(deltas, task.cpus))
        verdict = judge(histogram, around)
        found.append(
            Measurement(tool, what, task, histogram, causes, verdict, deltas.seconds, floor)
        )
    return found


def surroundings(
    bench: Bench, tool: str, task: Task, histogram: Histogram, deltas: Deltas
) -> Surroundings:
    """Collect what the verdict is made of."""
    explanation = None
    if tool in SPINNING and task.priority:
        throttling = read_throttling(task.cpus, bench.host.root)
        explanation = throttle_sentence(histogram, throttling, task.cpus)
    steal = max((deltas.steal_ticks.get(cpu, 0) for cpu in task.cpus), default=0)
    firmware = sum(count for cpu, count in deltas.smi.items() if cpu in task.cpus)
    share = steal / TICKS_PER_S / deltas.seconds
    return Surroundings(bench.topology.hypervisor, share, explanation, firmware)


def run_tool(tool: str, task: Task) -> dict[str, Histogram]:
    """Run an installed tool to its end, or to ours, and parse what it wrote."""
    if not available(tool):
        packages = {"rtla": "rtla"}
        raise HostError(
            f"{tool} is not installed: apt-get install {packages.get(tool, 'rt-tests')}, or choose "
            "--tools gap, which needs nothing"
        )
    with tempfile.TemporaryDirectory(prefix="tickpath-measure-") as folder:
        output, errors = Path(folder, "out"), Path(folder, "err")
        argv = tools.command(tool, task, output)
        with Path(folder, "stdout").open("wb") as stdout, errors.open("wb") as stderr:
            status = _run_to_the_end(argv, task.seconds, stdout=stdout, stderr=stderr)
        said = " ".join(errors.read_text(errors="replace").split())[-STDERR_SHOWN_MAX:]
        if status != 0:
            raise HostError(f"{tool} ended with status {status}: {said or 'it said nothing'}")
        where = Path(folder, "stdout") if tool == "rtla" else output
        try:
            return tools.parse(tool, where.read_text(errors="replace"))
        except (OSError, ValueError) as error:
            why = (error.strerror if isinstance(error, OSError) else None) or error
            raise HostError(f"{why}{'; it said: ' + said if said else ''}") from error


def _run_to_the_end(argv: list[str], seconds: int, **streams: object) -> int:
    """Wait for a tool; whatever ends us ends it."""
    child = subprocess.Popen(  # type: ignore[call-overload] # the streams are Popen's own
        argv, stdin=subprocess.DEVNULL, env=command_environment(), **streams
    )
    end = time.monotonic() + seconds + GRACE_S
    try:
        while child.poll() is None:
            if time.monotonic() > end:
                raise HostError(f"{argv[0]} did not end within {seconds + GRACE_S:g} s")
            time.sleep(0.05)
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
    return int(child.returncode)


def choose_cpus(text: str | None, topology: Topology) -> tuple[int, ...]:
    """Take the CPUs asked for, else the isolated ones, else the last one we may run on.

    Raises ValueError for a list that is none, or a CPU that is not online.
    """
    if text is None:
        isolated = limits.isolated_cpus()
        return isolated or limits.available_cpus()[-1:]
    cpus = limits.parse_cpu_list(text)
    missing = set(cpus) - set(topology.cpus)
    if not cpus or missing:
        online = format_cpu_list(topology.cpus)
        what = f"CPU {format_cpu_list(missing)} is not online" if missing else "no CPU"
        raise ValueError(f"--cpus {text!r}: {what}; expected some of {online}")
    return cpus


def table(measurements: list[Measurement]) -> str:
    """Write figures as people read them: microseconds."""
    if not measurements:
        return ""
    titles = list(percentile_row(measurements[0].histogram))
    lines = [f"{'latency, µs':<28}{'samples':>12}" + "".join(f"{each:>10}" for each in titles)]
    for one in measurements:
        figures = "".join(f"{describe_ns(v):>10}" for v in percentile_row(one.histogram).values())
        lines.append(f"{one.tool + ': ' + one.what:<28}{one.histogram.samples:>12}{figures}")
    return "\n".join(lines)


def histogram_of(run: object) -> Histogram:
    """Read the histogram of one run of a saved set; raises ValueError."""
    return from_json(run.get("histogram") if isinstance(run, dict) else None)


def tell_on_stderr(text: str) -> None:
    """Say how far it is, where a person is looking or a log is kept."""
    print(f"measure: {text}", file=sys.stderr, flush=True)
