"""`tickpath doctor`: run every check, print a table or one JSON object.

Called by: cli. Calls: kernel, privileges, interface, software.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections import Counter

from rich.table import Table
from tickpath.engine.console import Console
from tickpath.engine.doctor import interface, kernel, privileges, software
from tickpath.engine.doctor.finding import Finding, Host, State
from tickpath.rt.limits import available_cpus

PIPED_WIDTH = 160
EXIT_SYSTEM = 3  # as of every command: this machine lacks something
STYLES = {State.OK: "green", State.WARN: "yellow", State.FAIL: "bold red", State.UNKNOWN: "cyan"}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `doctor` to the command line."""
    parser = subparsers.add_parser(
        "doctor",
        help="say what this host can do, and what to do about a lack",
        description="Say what this host can do for tickpath, and what to do about each lack. "
        "Nothing on the host is changed.",
        epilog="example: tickpath doctor --interface eth0\n"
        "the host's tuning in full, with a score: tickpath rt check\n"
        "exit status: 0, or 3 where a check failed (the main job cannot run over AF_XDP)",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--interface", metavar="NAME", help="look at this one only")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print the findings; return 3 if one is a failure."""
    findings = examine(Host(available_cpus()), args.interface)
    counts = Counter(finding.state for finding in findings)
    if args.json:
        print(json.dumps({"findings": [dataclasses.asdict(each) for each in findings]}))
    else:
        print_table(findings, counts)
    return EXIT_SYSTEM if counts[State.FAIL] else 0


def examine(host: Host, only: str | None) -> list[Finding]:
    """Run every check. Raises LocalError where the interface named does not exist."""
    return [
        *interface.check(host, only),
        *kernel.check(host),
        *privileges.check(host),
        *software.check(host),
    ]


def print_table(findings: list[Finding], counts: Counter[State]) -> None:
    """Print a row a finding, then for each that is not well what was read, why, and the remedy."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else PIPED_WIDTH)
    table = Table(box=None, pad_edge=False)
    for heading in ("state", "check", "read"):
        table.add_column(heading, overflow="fold")
    for each in findings:
        table.add_row(f"[{STYLES[each.state]}]{each.state}[/]", each.check, each.read)
    console.print(table)
    for each in findings:
        if each.remedy:
            console.print(f"\n[{STYLES[each.state]}]{each.state}[/] {each.check}: {each.read}")
            console.print(f"  read   {each.where}", markup=False)
            console.print(f"  why    {each.why}", markup=False)
            console.print(f"  to do  {each.remedy}", markup=False)
    console.print("\n" + ", ".join(f"{counts[state]} {state}" for state in State))
    console.print("the host's tuning in full, with a score: tickpath rt check", markup=False)
