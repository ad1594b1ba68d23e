"""`tickpath rt promote`: keep the kernel and command line that were booted once.

Called by: rt.command. Calls: promote, apply.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from tickpath.rt.arguments import make_host
from tickpath.rt.item import Context
from tickpath.rt.profile import Request, choose_profile
from tickpath.rt.topology import read_topology
from tickpath.rt.tuning.apply import apply_steps
from tickpath.rt.tuning.apply_command import progress
from tickpath.rt.tuning.journal import exclusive
from tickpath.rt.tuning.plan_refusals import refuse_user
from tickpath.rt.tuning.plan_request import step_row
from tickpath.rt.tuning.promote import promotion_steps
from tickpath.rt.tuning.writing import Disk, System

if TYPE_CHECKING:
    from tickpath.rt.host import Host
    from tickpath.rt.tuning.plan_step import Step

EPILOG = """\
example: tickpath rt apply && reboot; then: tickpath rt promote
Exit status: 0 it lasts (also: it did already); 2 this boot is not the trial, or the trial
failed, with the reason; 3 this machine lacks something."""


LASTS = "From now on each boot is by the tuned line."


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the parser of `promote`."""
    parser = subparsers.add_parser(
        "promote",
        help="keep the kernel and command line booted once",
        description="Check that this boot is the trial that `apply` chose and that its words are "
        "in force, then make its entry GRUB's default.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--root", metavar="DIR", type=Path, default=Path("/"), help="a tree instead of this machine"
    )
    parser.add_argument("--dry-run", action="store_true", help="check only")
    parser.add_argument("--json", action="store_true", help="one JSON object, for programs")


def run(args: argparse.Namespace) -> int:
    """Check and promote. Raises RequestError, HostError."""
    host = make_host(args)
    refusal = None if args.dry_run else refuse_user(os.geteuid())
    if args.dry_run or refusal is not None:
        _, steps = promotion_of(host)
        if steps and refusal is not None:
            raise refusal
    else:
        with exclusive(host):
            context, steps = promotion_of(host)
            apply_steps(context, steps, Disk(host, System()), progress)
    if args.json:
        promoted = not steps or not args.dry_run
        print(json.dumps({"promoted": promoted, "writes": [step_row(step) for step in steps]}))
    elif not steps:
        print("The tuned line is the lasting one already, and runs.")
    else:
        print("\n".join(step.command for step in steps))
        last = "The trial holds; nothing was written." if args.dry_run else LASTS
        print(last)
    return 0


def promotion_of(host: Host) -> tuple[Context, list[Step]]:
    """Read the host and plan. Raises RequestError."""
    topology = read_topology(host)
    context = Context(host, topology, choose_profile(topology, Request()))
    return context, promotion_steps(context)
