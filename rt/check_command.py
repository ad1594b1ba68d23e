"""`tickpath rt check`: judge this host, print a table or one JSON object. Nothing is changed.

Called by: rt.command. Calls: rt.arguments, rt.catalogue, rt.remembered, rt.counters, rt.check.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import textwrap
import time
from argparse import RawDescriptionHelpFormatter
from collections import Counter
from pathlib import Path
from shutil import get_terminal_size
from typing import TYPE_CHECKING

from tickpath.rt.arguments import add_arguments, make_context, make_host
from tickpath.rt.catalogue import all_items, selected_items
from tickpath.rt.catalogue.tried import trial_of, tried_on, untried_because
from tickpath.rt.check import NOT_WELL, check_host, write_command
from tickpath.rt.counters import difference, take_sample
from tickpath.rt.errors import RequestError
from tickpath.rt.item import State
from tickpath.rt.limits import format_cpu_list
from tickpath.rt.remembered import remembering, units_asked

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Sequence

    from tickpath.rt.check import Report
    from tickpath.rt.item import Context, Finding, Item

EXIT_NOT_WELL = 10  # plus the greatest severity: 11 low, 12 medium, 13 high, 15 critical
WINDOW_S = 1.0
WINDOW_S_MAX = 60.0
PIPED_WIDTH = 160
CELL_WIDTH_MAX = 36
PLACES_SHOWN_MAX = 4
COLOURS = {
    State.OK: "32",
    State.DRIFT: "33",
    State.PENDING_REBOOT: "33",
    State.CONFLICT: "1;31",
    State.UNKNOWN: "36",
    State.UNSUPPORTED: "2",
}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `check`."""
    parser = subparsers.add_parser(
        "check",
        description="Judge this host for real-time work: each item desired, persisted and live, "
        "why it matters and how to fix it. Nothing is changed.",
        epilog="example: tickpath rt check --isolated 2-3 --nic eth1\n"
        "exit status: 0 all that is asked for is OK; else 10 plus the greatest severity of what "
        "is\nnot: 11 low, 12 medium, 13 high, 15 critical; 2 wrong usage, or a request that this\n"
        "machine cannot be asked",
        formatter_class=RawDescriptionHelpFormatter,
    )
    add_arguments(parser)
    parser.add_argument("--only", metavar="WHAT", help="areas or ids: boot,cpu,mem.swap")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--all", action="store_true", help="show what is OK or unsupported too")
    parser.add_argument("--explain", metavar="ID", help="explain one item and how to fix it")
    parser.add_argument("--list", action="store_true", help="print the catalogue and end")
    parser.add_argument(
        "--window",
        metavar="S",
        type=float,
        default=WINDOW_S,
        help=f"seconds in which effects are counted (default {WINDOW_S:g}; 0: none)",
    )


def run(args: argparse.Namespace) -> int:
    """Judge, print, and say by the exit status how bad it is."""
    if args.list:
        print_catalogue(all_items(), as_json=args.json)
        return 0
    if not 0 <= args.window <= WINDOW_S_MAX:
        raise RequestError(f"--window {args.window:g}: expected 0 to {WINDOW_S_MAX:g} seconds")
    is_explaining = args.explain is not None
    items = selected_items(
        args.explain if is_explaining else args.only, "--explain" if is_explaining else "--only"
    )
    host = remembering(make_host(args))
    context = make_context(args, host)
    settings = (one for item in items if item.settings for one in item.settings(context))
    context = units_asked(context, settings)
    if host.root == Path("/") and args.window > 0:
        context = measured(context, args.window)
    report = check_host(context, items)
    if args.json:
        print(json.dumps(as_json(report, context)))
    elif args.explain is not None:
        print_explanations(report.findings, items, context)
    else:
        print_report(report, context, args.all)
    return 0 if report.worst is None else EXIT_NOT_WELL + report.worst


def measured(context: Context, window_s: float) -> Context:
    """Count effects for a while."""
    if sys.stderr.isatty():
        print(f"counting interruptions for {window_s:g} s …", file=sys.stderr)
    before = take_sample(context.host, context.topology)
    time.sleep(window_s)
    after = take_sample(context.host, context.topology)
    return dataclasses.replace(context, deltas=difference(before, after))


def as_json(report: Report, context: Context) -> dict[str, object]:
    """Return what --json prints; severity as a word, the profile as it was judged by."""
    return {
        "score": report.score,
        "areas": dict(report.areas),
        "confidence": dataclasses.asdict(report.confidence),
        "profile": dataclasses.asdict(context.profile),
        "items": [
            {
                **dataclasses.asdict(each),
                "severity": each.severity.name.lower(),
                "tried": tried_on(each.id),
                "untried": untried_because(each.id),
            }
            for each in report.findings
        ],
    }


def print_report(report: Report, context: Context, everything: bool) -> None:
    """Print what was read, why and the remedy of each that is not well, then all rows, the score
    last: where a terminal ends."""
    shown = [
        each
        for each in report.findings
        if everything or each.state not in {State.OK, State.UNSUPPORTED}
    ]
    for each in shown:
        if each.state in NOT_WELL:
            print_details(each)
            print()
    print(describe_profile(context))
    print_rows(shown)
    counts = Counter(each.state for each in report.findings)
    print("\n" + ", ".join(f"{counts[state]} {state}" for state in State if counts[state]))
    areas = (f"{area} {'-' if value is None else value}" for area, value in report.areas.items())
    print("areas: " + ", ".join(areas))
    print(f"score: {'-' if report.score is None else report.score} of 100", end="")
    print(f", confidence {report.confidence.level}")
    for reason in report.confidence.reasons:
        print(f"  {reason}")


def describe_profile(context: Context) -> str:
    profile = context.profile
    return (
        f"profile {profile.name}: isolated {format_cpu_list(profile.isolated) or 'none'}, "
        f"housekeeping {format_cpu_list(profile.housekeeping)}, interface {profile.nic or 'none'}"
    )


def print_rows(findings: Sequence[Finding]) -> None:
    """Print aligned columns, shortened to the terminal's width; coloured on a terminal only."""
    width = get_terminal_size().columns if sys.stdout.isatty() else PIPED_WIDTH
    headings = ("state", "severity", "item", "desired", "persisted", "live")
    rows = [
        (
            str(each.state),
            each.severity.name.lower(),
            each.id,
            one_line(each.desired),
            one_line(each.persisted or ""),
            one_line(each.live or "-"),
        )
        for each in findings
    ]
    widths = [max(len(row[at]) for row in [headings, *rows]) for at in range(len(headings))]
    print(aligned(headings, widths)[:width])
    for each, row in zip(findings, rows, strict=True):
        line = aligned(row, widths)
        if each.state is State.UNSUPPORTED:  # a reason, which takes the room of all values
            line = aligned([*row[:3], printable(each.desired)], widths[:4])
        print(painted(line[:width], each.state, len(row[0])))


def aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    pairs = zip(cells, widths, strict=True)
    return "  ".join(cell.ljust(width) for cell, width in pairs).rstrip()


def one_line(text: str) -> str:
    """Escape control characters, and shorten: what a file says must not drive the terminal."""
    said = "".join(one if one.isprintable() else " " for one in text)
    return said if len(said) <= CELL_WIDTH_MAX else said[: CELL_WIDTH_MAX - 1] + "…"


def painted(line: str, state: State, length: int) -> str:
    if not sys.stdout.isatty():
        return line
    return f"\x1b[{COLOURS[state]}m{line[:length]}\x1b[0m{line[length:]}"


def print_details(finding: Finding) -> None:
    print(f"{finding.state} {finding.id}: {printable(finding.live or 'not there')}")
    print(f"  desired    {printable(finding.desired)}")
    if finding.persisted is not None:
        print(f"  persisted  {printable(finding.persisted)}")
    more = len(finding.where) - PLACES_SHOWN_MAX
    places = ", ".join(finding.where[:PLACES_SHOWN_MAX]) + (f" and {more} more" if more > 0 else "")
    print(f"  read       {printable(places) or 'nothing'}")
    print(f"  why        {finding.why}")
    print(f"  to do      {printable(finding.fix) or 'nothing'}")


def printable(text: str) -> str:
    return "".join(one if one.isprintable() else " " for one in text)


def print_explanations(
    findings: Sequence[Finding], items: Sequence[Item], context: Context
) -> None:
    """Print all about an item, with the lines that set it by hand."""
    for item, finding in zip(items, findings, strict=True):
        print_details(finding)
        print(f"  trial      {trial_of(item.id)}")
        settings = item.settings(context) if item.settings is not None else ()
        if settings:
            print("  by hand")
        for setting in settings:
            print(f"    {printable(write_command(setting))}")


def catalogue_row(item: Item) -> dict[str, str]:
    """Return what --list --json has of an item; the names are those of --json."""
    return {
        "id": item.id,
        "area": item.area,
        "severity": item.severity.name.lower(),
        "kind": "seen" if item.observe is not None else "set",
        "why": item.why,
        "tried": tried_on(item.id),
        "untried": untried_because(item.id),
    }


def print_catalogue(items: Iterable[Item], *, as_json: bool) -> None:
    """Print every item as a row: id, severity, how it is judged, why, where it was tried."""
    if as_json:
        print(json.dumps({"items": [catalogue_row(item) for item in items]}))
        return
    for item in items:
        kind = "seen" if item.observe is not None else "set"
        head = f"{item.id:<28}{item.severity.name.lower():<10}{kind:<6}"
        said = f"{head}{item.why} ({trial_of(item.id)})"
        print(textwrap.fill(said, PIPED_WIDTH, subsequent_indent=" " * 44))
