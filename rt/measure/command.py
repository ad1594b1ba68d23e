"""`tickpath rt measure`: measure this host's noise; print a table or one JSON object.

Called by: rt.command. Calls: run, compare. What the tools need: root, or the right to SCHED_FIFO.
"""

from __future__ import annotations

import dataclasses
import json
import time
from argparse import RawDescriptionHelpFormatter
from typing import TYPE_CHECKING

from tickpath.rt.errors import RequestError
from tickpath.rt.host import Host
from tickpath.rt.measure import compare
from tickpath.rt.measure.histogram import describe_ns
from tickpath.rt.measure.run import (
    TOOLS,
    Bench,
    Measurement,
    available,
    choose_cpus,
    measure,
    table,
    tell_on_stderr,
)
from tickpath.rt.measure.tools import Task
from tickpath.rt.process import FIFO_PRIORITY_MAX
from tickpath.rt.topology import read_topology

if TYPE_CHECKING:
    import argparse

    from tickpath.rt.measure.compare import Difference, Rounds, Side
    from tickpath.rt.measure.histogram import Histogram
    from tickpath.rt.topology import Topology

SECONDS_MAX = 86_400
INTERVAL_US_MIN, INTERVAL_US_MAX = 50, 1_000_000
ROUNDS_DEFAULT, ROUNDS_MAX = 10, 1000
CAUSES_SHOWN_MAX = 8


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `measure`."""
    parser = subparsers.add_parser(
        "measure",
        description="Measure how long this host keeps a real-time task waiting, and count what "
        "happened meanwhile. The CPUs are busy for as long: do it when nothing trades.",
        epilog="example: tickpath rt measure --cpus 2-3 --seconds 60\n"
        "         tickpath rt measure --ab 'cmd:sysctl -w kernel.timer_migration=1' \\\n"
        "                             'cmd:sysctl -w kernel.timer_migration=0' --rounds 10\n"
        "--ab measures two sides in turn: cpu:LIST, cmd:COMMAND (run before each of its rounds;\n"
        "B's is the last one run, however it ends), or file:SAVED.json of an earlier --json.",
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("--cpus", metavar="LIST", help="default: the isolated ones, else the last")
    parser.add_argument(
        "--seconds", type=int, default=10, metavar="N", help="of each tool (default 10)"
    )
    parser.add_argument(
        "--tools",
        metavar="LIST",
        help=f"of {','.join(TOOLS)} (default: those installed; gap, our own, where oslat is not)",
    )
    parser.add_argument(
        "--priority",
        type=int,
        default=FIFO_PRIORITY_MAX,
        metavar="N",
        help=f"of SCHED_FIFO (default {FIFO_PRIORITY_MAX}); 0: an ordinary task",
    )
    parser.add_argument(
        "--interval",
        type=int,
        default=1000,
        metavar="US",
        help="between wake-ups (default 1000)",
    )
    parser.add_argument("--ab", nargs=2, metavar=("A", "B"), help="two sides; --tools names one")
    parser.add_argument(
        "--rounds",
        type=int,
        metavar="N",
        help="of each side of --ab (default 10), else of each tool",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object, histograms too")


def run(args: argparse.Namespace) -> int:
    """Measure and print; 0 also where the verdict is inconclusive: it is part of the answer."""
    check(args)
    host = Host()
    topology = read_topology(host)
    chosen = choose_tools(args)
    bench = Bench(host, topology, tell_on_stderr)
    task = make_task(args, topology)
    answer: dict[str, object] = {"host": describe_host(topology), "at": time.time(), "runs": []}
    if args.ab is not None:
        sides = tuple(compare.parse_side(*pair) for pair in zip(("A", "B"), args.ab, strict=True))
        a, b = run_sides(
            (sides[0], sides[1]), bench, chosen[0], task, args.rounds or ROUNDS_DEFAULT
        )
        return print_comparison(answer, chosen[0], a, b, as_json=args.json)
    runs = [
        one
        for _ in range(args.rounds or 1)
        for tool in chosen
        for one in measure(bench, tool, task)
    ]
    if args.json:
        print(json.dumps({**answer, "runs": [one.as_json() for one in runs]}))
    else:
        print_runs(runs)
    return 0


def check(args: argparse.Namespace) -> None:
    """Refuse what cannot be, before anything runs."""
    bounds = {
        "seconds": (1, SECONDS_MAX),
        "priority": (0, FIFO_PRIORITY_MAX),
        "interval": (INTERVAL_US_MIN, INTERVAL_US_MAX),
        "rounds": (1 if args.ab is None else compare.ROUNDS_MIN, ROUNDS_MAX),
    }
    for name, (low, high) in bounds.items():
        value = getattr(args, name)
        if value is not None and not low <= value <= high:
            raise RequestError(f"--{name} {value}: expected {low} to {high}")


def choose_tools(args: argparse.Namespace) -> list[str]:
    """Return the tools to run, in the order from the kernel to the application."""
    if args.tools is None:
        found = [tool for tool in TOOLS if tool not in ("gap", "rtla") and available(tool)]
        found += [] if "oslat" in found else ["gap"]
        return found[-1:] if args.ab is not None else found
    asked = [word.strip() for word in args.tools.split(",")]
    unknown = sorted(set(asked) - set(TOOLS))
    if unknown or not asked:
        raise RequestError(f"--tools {args.tools}: expected some of {', '.join(TOOLS)}")
    if args.ab is not None and len(asked) != 1:
        raise RequestError(f"--tools {args.tools}: --ab compares one tool: name one")
    return [tool for tool in TOOLS if tool in asked]


def make_task(args: argparse.Namespace, topology: Topology) -> Task:
    """Return the task that all tools are given."""
    try:
        cpus = choose_cpus(args.cpus, topology)
    except ValueError as error:
        raise RequestError(str(error)) from error
    return Task(cpus, args.seconds, args.priority, args.interval)


def describe_host(topology: Topology) -> dict[str, object]:
    """Return what a figure is worth nothing without."""
    return {
        "release": topology.release,
        "is_rt": topology.is_rt,
        "hypervisor": topology.hypervisor,
        "cpus": len(topology.cpus),
        "command_line": topology.command_line,
    }


def run_sides(
    sides: tuple[Side, Side], bench: Bench, tool: str, task: Task, count: int
) -> tuple[Rounds, Rounds]:
    """Measure, or read, both sides."""
    saved = [side.kind == "file" for side in sides]
    if all(saved):
        return compare.load_rounds(sides[0], tool), compare.load_rounds(sides[1], tool)
    if any(saved):
        raise RequestError("--ab: a saved set compares with a saved set only: measure both again")
    for side in sides:
        if side.cpus is not None and set(side.cpus) - set(bench.topology.cpus):
            raise RequestError(f"--ab cpu:{side.value}: not all of them are online")

    def measure_round(side: Side, number: int) -> tuple[Histogram, list[str]]:
        bench.tell(f"round {number + 1} of {count}, side {side.name}")
        here = dataclasses.replace(task, cpus=side.cpus or task.cpus)
        last = measure(bench, tool, here)[-1]
        reasons = [] if last.verdict.is_conclusive else ["; ".join(last.verdict.reasons)]
        return last.histogram, reasons

    return compare.interleave(sides, count, bench.host.run, measure_round)


def print_comparison(
    answer: dict[str, object], tool: str, a: Rounds, b: Rounds, *, as_json: bool
) -> int:
    """Print what was found, the verdict last."""
    differences = compare.compare(a, b)
    word, reasons = compare.conclude(differences, a, b)
    if as_json:
        print(json.dumps({**answer, "ab": comparison_json(tool, (a, b), differences)}))
        return 0
    print(f"A {a.side.kind}:{a.side.value}, B {b.side.kind}:{b.side.value}; {tool}, µs")
    print(f"{'':<10}{'A':>10}{'B':>10}   B - A, 95 % sure together")
    for each in differences:
        line = f"{each.percentile:<10}{describe_ns(each.a_ns):>10}{describe_ns(each.b_ns):>10}   "
        bounds = [f"{ns / 1000:+,.1f}" for ns in (each.low_ns, each.high_ns) if ns is not None]
        print(line + (f"{' to '.join(bounds):<22}" if bounds else "") + each.word)
    if a.side.kind == "file":
        print("not measured in turn: what drifted in between counts as difference")
    print_verdict(word, tuple(reasons))
    return 0


def comparison_json(
    tool: str, both: tuple[Rounds, Rounds], differences: list[Difference]
) -> dict[str, object]:
    """Return the comparison as `measure --json` prints it."""
    word, reasons = compare.conclude(differences, *both)
    sides = {}
    for rounds in both:
        merged = rounds.histograms[0]
        for one in rounds.histograms[1:]:
            merged.merge(one)
        sides[rounds.side.name] = {
            "side": f"{rounds.side.kind}:{rounds.side.value}",
            "rounds": len(rounds.histograms),
            "doubts": rounds.doubts,
            "histogram": merged.as_json(),
        }
    return {
        "tool": tool,
        "interleaved": both[0].side.kind != "file",
        "verdict": word,
        "reasons": reasons,
        "sides": sides,
        "differences": [{**dataclasses.asdict(each), "word": each.word} for each in differences],
    }


def print_runs(runs: list[Measurement]) -> None:
    """Print figures, suspects, verdicts."""
    for one in runs:
        floor = f", nothing below {one.floor_ns} ns is seen" if one.floor_ns else ""
        print(f"{one.tool}: what was counted meanwhile on its CPUs{floor}")
        shown = [cause for cause in one.causes if cause.count or cause.name == "steal"]
        for cause in shown[:CAUSES_SHOWN_MAX] + shown[CAUSES_SHOWN_MAX:][-3:]:
            name = f"{cause.kind} {cause.name}"
            print(f"  {name:<28}{cause.count:>9}{cause.per_second:>11,.1f}/s  {cause.meaning}")
    print(table(runs))
    for one in runs:
        print_verdict(f"{one.tool}, {one.what}: {one.verdict.word}", one.verdict.reasons)


def print_verdict(word: str, reasons: tuple[str, ...]) -> None:
    print(word)
    for reason in reasons:
        print(f"  {reason}")
